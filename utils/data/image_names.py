"""Names of images: which are safe, and how blanks and other letters are written in a column of AVA's lines."""
import os
import re
from typing import List

from utils.data.image_kinds import BY_ENDING, ENDINGS, JPEG, PNG

_PLAIN = bytes(set(range(0x21, 0x7f)) - {ord('%')})  # printable ASCII without blank and '%' is kept
_ESCAPES = re.compile('(?:%[0-9A-Fa-f]{2})+')


def is_safe(name: str) -> bool:
    """Whether a name is one inside a folder or its sub-folders: without '\\', '..' and NUL, no part empty or '.'."""
    forbidden = any(part in name for part in ('\\', '..', '\0'))
    return not forbidden and all(part not in ('', '.') for part in name.split('/'))


def encode(name: str) -> str:
    """A name as one column of an AVA line: blanks, control characters, '%' and all beyond ASCII as %XX of UTF-8."""
    return ''.join(chr(byte) if byte in _PLAIN else f'%{byte:02X}' for byte in name.encode('utf-8'))


def decode(column: str) -> str:
    """The name that a column of an AVA line means.

    A column in which every '%' begins what encode() writes is decoded; any other, such as 100%.jpg or %41.jpg, is
    the name unchanged. So decode(encode(name)) is name for every name.
    """
    if '%' not in column or '%' in _ESCAPES.sub('', column):
        return column
    runs: List[bytes] = [bytes.fromhex(run.group().replace('%', '')) for run in _ESCAPES.finditer(column)]
    if any(byte in _PLAIN for run in runs for byte in run):
        return column
    try:
        texts = iter([run.decode('utf-8') for run in runs])
    except UnicodeDecodeError:
        return column
    return _ESCAPES.sub(lambda _: next(texts), column)


def file_names(image_id: str) -> List[str]:
    """The names that the file of `image_id` may have, preferred first: its own, where it ends like an image file.

    That of a kind which TensorFlow may not read, such as a.webp, may be converted to a.png.
    """
    stem, ending = os.path.splitext(image_id)
    if ending.lower() not in BY_ENDING:
        return [image_id + ending for ending in ENDINGS]
    return [image_id] if BY_ENDING[ending.lower()] in (JPEG, PNG) else [image_id, f'{stem}.png']
