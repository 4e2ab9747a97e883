"""Unreadable images: each is reported once, all are counted, and too many stop the run."""
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from utils.base.defaults import MAX_BAD_IMAGES
from utils.base.errors import InputError, command_of
from utils.base.text import printable

LISTED = 10  # unreadable images that the error names; each but the last was reported before


def _to_log(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


class BadImages:
    """The unreadable ones among `count` images, such as those for training.

    `share` is the largest share of them that is allowed, from 0 to below 1. `report` gets a sentence on each, once; by
    default it is printed to standard error.
    """

    def __init__(self, count: int, *, share: float = MAX_BAD_IMAGES, what: str = 'training',
                 report: Optional[Callable[[str], Any]] = None) -> None:
        self.what = what
        self.share, self._report = share, report or _to_log
        self.reasons: Dict[int, str] = {}  # by image, those that are known to be unreadable
        self._paths: Dict[int, str] = {}
        self.mask = np.zeros(count, bool)  # by image, whether it is one of them

    @property
    def count(self) -> int:
        """How many unreadable images are known so far."""
        return len(self.reasons)

    def known(self, first: int = 0) -> List[Tuple[int, str, str]]:
        """The unreadable images, without the `first` ones that were added: index, path, reason, as for add()."""
        return [(index, self._paths[index], self.reasons[index]) for index in list(self.reasons)[first:]]

    def add(self, index: int, path: str, reason: str, *, quiet: bool = False) -> None:
        """Add image `index`; InputError, which lists the unreadable ones, where there are too many.

        With `quiet` it is not reported: another process has done so.
        """
        if self.mask[index]:
            return
        self.mask[index] = True
        self.reasons[index], self._paths[index] = reason, path
        if self.count > self.share * len(self.mask):
            raise InputError(self._too_many())
        if not quiet:
            self._report(f'{path}: unreadable ({reason}), {self._instead()}')

    def _instead(self) -> str:
        return {'training': 'replaced by another image', 'packed': 'left out of the packed dataset'}.get(
            self.what, 'left out of the scores')

    def _too_many(self) -> str:
        (first, reason), *others = self.reasons.items()
        also = ', '.join(f'{self._paths[index]} ({why})' for index, why in others[:LISTED - 1])
        more = f' and {len(others) - LISTED + 1} more' if len(others) >= LISTED else ''
        others_too = f': also {also}{more}' if also else ''
        return (f'{self._paths[first]}: unreadable ({reason}). {self.count} of {len(self.mask)} {self.what} images are '
                f'unreadable, more than --max_bad_images {self.share:g} allows{others_too}. '
                f'Replace such files, remove their labels or raise --max_bad_images; '
                f'{command_of("utils/check_dataset.py")}, with the same dataset flags, lists all of them')


def summary(parts: Sequence[BadImages]) -> str:
    """The counts of unreadable images so far, for the end of an epoch's line; empty where there are none."""
    if not any(bad.count for bad in parts):
        return ''
    return '  unreadable images: ' + ', '.join(f'{bad.count} {bad.what}' for bad in parts)
