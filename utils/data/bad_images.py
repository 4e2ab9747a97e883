"""Photographs that cannot be decoded: each is named once, all are counted, and too many stop the run."""
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from utils.base.defaults import MAX_BAD_IMAGES
from utils.base.errors import InputError, command_of

LISTED = 10  # bad photographs that the error names; the log has all


def _to_log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class BadImages:
    """The bad ones among `count` photographs, such as the training photographs of a run.

    `share` is the largest share of bad ones, from 0 up to, but not, 1, with which a run goes on. `report` gets a
    sentence on each, once; by default standard error.
    """

    def __init__(self, count: int, *, share: float = MAX_BAD_IMAGES, what: str = 'training',
                 report: Optional[Callable[[str], Any]] = None) -> None:
        self.what = what
        self.share, self._report = share, report or _to_log
        self._reasons: Dict[int, str] = {}
        self._paths: Dict[int, str] = {}
        self.mask = np.zeros(count, bool)  # by photograph, whether it is known to be bad

    @property
    def count(self) -> int:
        """How many bad photographs are known so far."""
        return len(self._reasons)

    def known(self, first: int = 0) -> List[Tuple[int, str, str]]:
        """The bad photographs but the `first` ones that were noted: index, path, reason, as add() takes them."""
        return [(index, self._paths[index], self._reasons[index]) for index in list(self._reasons)[first:]]

    def add(self, index: int, path: str, reason: str, *, quiet: bool = False) -> None:
        """Note photograph `index`; InputError, which lists the bad ones, where there are too many.

        With `quiet` it is not named, as another process has named it.
        """
        if self.mask[index]:
            return
        self.mask[index] = True
        self._reasons[index], self._paths[index] = reason, path
        if self.count > self.share * len(self.mask):
            raise InputError(self._too_many())
        if not quiet:
            self._report(f'{path}: cannot be decoded ({reason}), {self._instead()}')

    def _instead(self) -> str:
        return {'training': 'another photograph takes its place', 'packed': 'kept as a gap'}.get(
            self.what, 'left out of the scores')

    def _too_many(self) -> str:
        (first, reason), *others = self._reasons.items()
        also = ', '.join(f'{self._paths[index]} ({why})' for index, why in others[:LISTED - 1])
        more = f' and {len(others) - LISTED + 1} more' if len(others) >= LISTED else ''
        return (f'{self._paths[first]}: found a file that cannot be decoded ({reason}), expected a JPEG: found '
                f'{self.count} bad ones among {len(self.mask)} {self.what} photographs, more than --max_bad_images '
                f'{self.share:g} allows{": also " + also + more if also else ""}; replace such files, take their '
                'lines out of the labels or allow more of them; with the paths of the dataset that you typed, '
                f'{command_of("utils/check_dataset.py")} lists all such files')


def summary(parts: Sequence[BadImages]) -> str:
    """The counts of bad photographs so far, for the end of an epoch's line; empty where there are none."""
    if not any(bad.count for bad in parts):
        return ''
    return '  bad photographs: ' + ', '.join(f'{bad.count} {bad.what}' for bad in parts)
