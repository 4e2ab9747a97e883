"""The names of image files in tables of labels, with the folders in front of them."""
import re
from typing import Any, Optional, Sequence

from utils.base.errors import InputError
from utils.data import image_names
from utils.data.label_columns import Layout
from utils.data.label_rows import Part


def name(cells: Sequence[Any], layout: Layout) -> str:
    """A row's file name with '/' between folders; '' where it has none."""
    found = _text(cells, layout.file)
    folder = _text(cells, layout.folder)
    found = f'{folder}/{found}' if folder and found else found
    return re.sub(r'^(?:\./)+', '', found.replace('\\', '/'))


def _text(cells: Sequence[Any], column: Optional[int]) -> str:
    found = cells[column] if column is not None and column < len(cells) else ''
    return str(found).strip() if isinstance(found, (str, int)) and not isinstance(found, bool) else ''


def shared_folder(parts: Sequence[Part], layouts: Sequence[Layout]) -> str:
    """The absolute folder that all names begin with, such as D:/x/; '' where they do not."""
    names = [name(cells, layout) for part, layout in zip(parts, layouts) for _, cells in part.rows]
    if not names or not all(re.match(r'(?:[A-Za-z]:)?/[^/]', each) for each in names):
        return ''
    first, last = min(names), max(names)  # what these share, all share
    shared = next((at for at, (one, other) in enumerate(zip(first, last)) if one != other), len(first))
    return first[:first.rfind('/', 0, shared) + 1]


def safe(found: str) -> str:
    """The name; InputError where it is none in the folder of images or its sub-folders."""
    if not image_names.is_safe(found) or not _encodes(found):
        raise InputError(f"found the file name {found[:40]!r}, expected one in the folder of images or its "
                         "sub-folders, without '..' and NUL: correct or delete the line")
    return found


def _encodes(text: str) -> bool:
    """Whether a name is text; JSON can hold halves of characters."""
    try:
        return bool(text.encode('utf-8'))
    except UnicodeEncodeError:
        return False
