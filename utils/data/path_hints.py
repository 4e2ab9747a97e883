"""What to do where the labels or the images are not at the given path: where else they are, if nearby."""
import contextlib
import os
from typing import Callable, Dict, Iterator, Sequence, Set, Type

from utils.base.errors import InputError

# Where copies of AVA usually are, seen from a folder at or above the path that was given.
_LIKELY_LABEL_FOLDERS = ('', 'AVA_dataset', 'AVA_dataset/AVA_dataset')
_LIKELY_IMAGE_FOLDERS = ('', 'images', 'image', 'image/images', 'images/images', 'AVA_dataset/image/images',
                         'AVA_dataset/images', 'AVA_dataset/AVA_dataset/image/images')
_HOW = '(a flag, and a line of utils/data_loader.py)'
NOT_THERE: Dict[Type[OSError], str] = {
    FileNotFoundError: 'nothing', IsADirectoryError: 'a folder', NotADirectoryError: 'no folder'}
_DEMO = "or try everything without a dataset: bash train_1p.sh --demo"


def labels_hint(path: str) -> str:
    """What to do where no label file is at `path`, as a clause."""
    for folder in _near(path, _LIKELY_LABEL_FOLDERS):
        for name in (os.path.basename(path), 'AVA.txt'):
            candidate = os.path.join(folder, name)
            if name and os.path.isfile(candidate):
                return f'set ava_dataset_path {_HOW} to {candidate}, which exists'
    return f'set ava_dataset_path {_HOW} to your copy of AVA.txt, {_DEMO}'


def images_hint(path: str, has_one: Callable[[Set[str]], bool]) -> str:
    """What to do where `path` has none of the images, as a clause; `has_one` is asked of file listings."""
    for folder in _near(path, _LIKELY_IMAGE_FOLDERS):
        with contextlib.suppress(OSError):
            if has_one(set(os.listdir(folder))):
                return f'set base_images_path {_HOW} to {folder}, where images are'
    return f'set base_images_path {_HOW} to the folder of ID.jpg'


def unreadable(path: str, error: OSError, expected: str) -> InputError:
    """The error for a file or a folder that is there and cannot be read."""
    return InputError(f'cannot read {path}, {expected}: {error.strerror}. Change its permissions or copy it')


def _near(path: str, likely: Sequence[str]) -> Iterator[str]:
    """Folders, each once, at, below and above `path` or its nearest parent that exists, where AVA usually is."""
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    seen = set()
    for _ in range(3):
        for part in likely:
            candidate = os.path.normpath(os.path.join(folder, part))
            if candidate not in seen and os.path.isdir(candidate):
                yield candidate
            seen.add(candidate)
        folder = os.path.dirname(folder)
