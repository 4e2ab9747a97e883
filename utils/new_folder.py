"""A folder that appears whole or not at all."""
import contextlib
import os
import tempfile
from typing import Iterator, List

from utils.errors import InputError


@contextlib.contextmanager
def new_folder(path: str, flag: str) -> Iterator[str]:
    """An empty folder to write into, which is renamed to `path` at the end, or removed if anything goes wrong.

    InputError, which names `flag`, where `path` is there already and not empty, or cannot be written.
    """
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise InputError(f'{path}: found something that is there already, expected nothing: remove it or type another '
                         f'{flag}')
    parent, name = os.path.split(os.path.abspath(path))
    made: List[str] = []
    try:
        made = _make(parent)
        with tempfile.TemporaryDirectory(prefix=f'.{name}.', dir=parent) as scratch:
            fresh = os.path.join(scratch, name)  # a folder inside: the temporary one is readable by its owner alone
            os.mkdir(fresh)
            yield fresh
            os.rename(fresh, path)
            made = []
    except OSError as error:
        raise InputError(f'{path}: found a place that cannot be written ({error.strerror or error}), expected room for '
                         f'the output: free some, change permissions or type another {flag}') from error
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _make(folder: str) -> List[str]:
    """Make `folder` and those above it; returns what was made, the topmost first."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    missing.reverse()
    for each in missing:
        os.mkdir(each)
    return missing
