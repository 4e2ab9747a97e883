"""The text of a label file, whatever its encoding."""
import codecs
from typing import NamedTuple, Optional, Tuple

from utils.base import reading
from utils.base.errors import InputError
from utils.data import path_hints
from utils.data.image_kinds import BMP, kind_of

_NOT_TEXT = {b'PK\x03\x04': 'a ZIP archive', b'\x1f\x8b': 'a gzip archive', b'\x89HDF': 'an HDF5 file'}
_UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
_UTF8_BOM = codecs.BOM_UTF8


class LabelText(NamedTuple):
    """A label file's content as UTF-8 without a BOM."""

    data: bytes
    encoding: Optional[str]  # the file's own, where it is another than UTF-8


def read(path: str, expected: str) -> LabelText:
    """The text of a label file: UTF-8, UTF-16 with a BOM, or GBK.

    InputError, which says what is `expected`, where the file is not there or is no text.
    """
    data = read_bytes(path)
    kind, other = kind_of(data[:12]), next((what for magic, what in _NOT_TEXT.items() if data.startswith(magic)), None)
    if other or kind not in (None, BMP):  # a text may begin with BM
        raise InputError(f'{path}: found {other or f"a {kind} image"}, expected UTF-8 text with {expected}')
    if data.startswith(_UTF16):
        try:
            return LabelText(data.decode('utf-16').encode('utf-8'), 'UTF-16')
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise InputError(f'{path}: found text that begins like UTF-16 and is not, expected UTF-8 text with '
                             f'{expected} or save it as UTF-8') from error
    try:
        data.decode('utf-8')
    except UnicodeDecodeError as error:
        chinese = _gbk(data)
        if chinese is not None:
            return LabelText(chinese.encode('utf-8'), 'GBK')
        line = len(data[:error.start + 1].splitlines())
        raise InputError(f'{path}:{line}: found bytes that are not UTF-8, expected UTF-8 text with '
                         f'{expected} or save it as UTF-8') from error
    return LabelText(data[len(_UTF8_BOM):] if data.startswith(_UTF8_BOM) else data, None)


def read_bytes(path: str) -> bytes:
    """The bytes of a label file; InputError where it is not there."""
    try:
        return reading.read_typed(path)
    except tuple(path_hints.NOT_THERE) as error:
        raise InputError(f'{path}: found {path_hints.NOT_THERE[type(error)]}, expected the label file: '
                         f'{path_hints.labels_hint(path)}') from error
    except OSError as error:
        raise path_hints.unreadable(path, error, 'the label file') from error


def _gbk(data: bytes) -> Optional[str]:
    """The text of GBK bytes; None where most of what is not ASCII are no common Chinese characters.

    Other 8-bit encodings rarely pass: their letters beyond ASCII seldom come in pairs.
    """
    try:
        text = data.decode('gbk')
    except UnicodeDecodeError:
        return None
    common, others = _count_chinese(text)
    return text if common > 4 * others else None


def _count_chinese(text: str) -> Tuple[int, int]:
    """How many characters beyond ASCII are in GB2312, and how many are not."""
    beyond = [character for character in text if ord(character) > 127]
    common = len(''.join(beyond).encode('gb2312', 'ignore')) // 2
    return common, len(beyond) - common
