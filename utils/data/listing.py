"""The files that typed paths mean: files, folders, patterns, and a list on standard input."""
import collections
import contextlib
import glob
import os
import sys
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from utils.base.text import printable
from utils.data.image_kinds import BY_ENDING

STANDARD_INPUT = '-'


def find(paths: Iterable[str], *, recursive: bool = False,
         report: Optional[Callable[[str], Any]] = None) -> Iterator[str]:
    """The files that `paths` mean, in their order.

    A file means itself, a folder its images by name, with those of its subfolders where `recursive`; a pattern
    such as '*.jpg' for what it matches, and '-' for the names in listed(). What holds no image, cannot be listed or
    matches nothing means itself: reading it as an image says why. `report`, such as print, gets a sentence on the
    files of folders that are left out by their ending.
    """
    left_out: Dict[str, int] = collections.Counter()
    for path in paths:
        names = listed(sys.stdin.buffer) if path == STANDARD_INPUT else _matches(path)
        for name in names:
            yield from _expanded(name, recursive, left_out)
    if report and left_out:
        counts = sorted(left_out.items(), key=lambda each: (-each[1], each[0]))
        report(f'left out by their ending: {sum(left_out.values())} files '
               f'({", ".join(f"{number} {ending}" for ending, number in counts)})')


def listed(stream: BinaryIO) -> List[str]:
    """The names in a list: one a line, or separated by NUL bytes, as `find -print0` writes them."""
    data = stream.read()
    names = data.split(b'\0') if b'\0' in data else [line.rstrip(b'\r') for line in data.split(b'\n')]
    return [os.fsdecode(name) for name in names if name]


def shard(files: Iterable[str], part: Optional[Tuple[int, int]]) -> List[str]:
    """The files of part (I, N): the I-th of every N, I counted from 1; all of them where there is no part."""
    number, parts = part or (1, 1)
    return list(files)[number - 1::parts]


def _matches(path: str) -> Sequence[str]:
    if os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    return sorted(glob.glob(path, recursive=True)) or [path]


def _expanded(path: str, recursive: bool, left_out: Dict[str, int]) -> Iterator[str]:
    found = False
    for file in _inside(path, recursive, left_out):
        found = True
        yield file
    if not found:
        yield path


def _inside(folder: str, recursive: bool, left_out: Dict[str, int]) -> Iterator[str]:
    """The images in a folder, by name; hidden names are left out, and links to folders are not followed.

    `left_out` counts other files by their ending.
    """
    names: List[str] = []
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(folder) if not name.startswith('.'))
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            if recursive and not os.path.islink(path):
                yield from _inside(path, recursive, left_out)
        elif name.lower().endswith(tuple(BY_ENDING)):
            yield path
        else:
            left_out[printable(os.path.splitext(name)[1].lower()) or 'without one'] += 1
