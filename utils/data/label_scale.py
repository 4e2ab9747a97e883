"""Scales of means and ratings: which one it is, asked and never guessed, and the way to 1 to 10."""
import math
import os
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from utils.base.errors import InputError
from utils.base.scores import SCORES
from utils.data import distributions, label_names
from utils.data.label_rows import number

Scale = Tuple[float, float]  # the values that become 1 and 10; a higher first one is an inverted scale
LOWEST, HIGHEST = float(SCORES[0]), float(SCORES[-1])
OWN: Scale = (LOWEST, HIGHEST)
FIVE = 5.0               # where no mean exceeds it, 1 to 5 is likelier than 1 to 10
STD_ROUNDING = 0.02      # points of 1 to 10 by which a std may be beyond the possible, as rounded ones are
MEAN_ROUNDING = 0.05     # points by which a mean may differ from that of the votes beside it ...
EMPTY = '', 'nan', 'na', 'null', 'none'  # cells without a value
MEANS_THAT_DIFFER = 0.01  # ... in more than this share of the images


def to_ten(values: Any, scale: Scale) -> Any:
    """Values on 1 to 10."""
    first, last = scale
    return LOWEST + (HIGHEST - LOWEST) * ((values - first) / (last - first))


def shown(scale: Scale) -> str:
    return f'{scale[0]:g} to {scale[1]:g}'


def mean_on_ten(cell: Any, scale: Scale) -> float:
    """A cell's mean on 1 to 10; InputError where it is none."""
    value, (low, high) = number(cell), sorted(scale)
    if not low <= value <= high:
        raise InputError(f'found the mean {str(cell)[:40]!r}, expected a number from {low:g} to {high:g}: correct it, '
                         "or state the range of all means, in the column's name, as in mean_0_100, or with --range")
    return float(to_ten(value, scale))


def std_on_ten(cell: Any, mean: float, scale: Scale) -> float:
    """A cell's std on 1 to 10, NaN for an empty cell; InputError where no votes have it together with `mean`."""
    if str(cell).strip().lower() in EMPTY:
        return math.nan
    factor = (HIGHEST - LOWEST) / abs(scale[1] - scale[0])
    std = number(cell) * factor
    least, largest = (float(bound[0]) for bound in distributions.std_range(np.array([mean])))
    if not least - STD_ROUNDING <= std <= largest + STD_ROUNDING:
        raise InputError(f'found the standard deviation {str(cell)[:40]!r}, expected one from {least / factor:.4g} to '
                         f'{largest / factor:.4g}, as votes for the scores 1 to 10 with this mean have: correct or '
                         'delete the line, or leave out the column to use the means alone')
    return std


def require_sane(scale: Optional[Scale], where: str) -> None:
    """InputError where the two ends of a scale are one."""
    if scale and scale[0] == scale[1]:
        raise InputError(f'{where}: found a range from {scale[0]:g} to {scale[1]:g}, expected two different numbers: '
                         'the values of the worst and the best images')


def ask_direction(where: str, name: str, values: Sequence[float]) -> InputError:
    """The error for a column whose name does not say whether a high value is a good image."""
    (low, high), _ = likely(min(values), max(values)) if values else (OWN, OWN)
    return InputError(f'{where}: found the column {name}, expected to know whether a high value is a good image: type '
                      f'--range {low:g} {high:g} where it is, or --range {high:g} {low:g} where a low value is')


def require_known(values: List[Tuple[int, float]], allowed: float, path: str, what: str) -> None:
    """InputError, which asks for --range, unless `values`, with their lines, are clearly on 1 to 10.

    They are where one exceeds 5 and none lies outside; with `allowed`, the share of bad lines, above 0, where no more
    of them do.
    """
    if not values:
        return
    numbers = np.array([value for _, value in values])
    outside = (numbers < LOWEST) | (numbers > HIGHEST)
    inside = numbers[~outside]
    if len(inside) and inside.max() > FIVE and outside.sum() <= allowed * len(numbers):
        return
    first, second = likely(float(numbers.min()), float(numbers.max()))
    reason = f'as none exceeds {FIVE:g}'
    if numbers.max() > FIVE:
        line, value = values[int(np.argmax(outside))]
        reason = f'as the {value:g} of line {line} is not on 1 to 10'
    raise InputError(f'{path}: found {what} from {numbers.min():g} to {numbers.max():g}, expected to know their scale, '
                     f'{reason}: type --range {first[0]:g} {first[1]:g}, or --range {second[0]:g} {second[1]:g}, the '
                     'values of the worst and the best images')


def require_few(bad: Sequence[Tuple[int, str]], count: int, share: float, path: str) -> None:
    """InputError where more than a `share` of `count` lines cannot be used."""
    if len(bad) > share * count:
        line, reason = bad[0]
        raise InputError(f'{path}: {len(bad)} of {count} lines cannot be used, more than --max_bad_labels {share:g} '
                         f'allows; the first is line {line}: {reason}. Correct them, or raise --max_bad_labels')


def likely(low: float, high: float) -> Tuple[Scale, Scale]:
    """The two likeliest scales of values from `low` to `high`."""
    if low < 0:
        end = _next(max(-low, high), (1, 2, 3, 5, 10, 100))
        return (-end, end), (end, -end)
    if high > HIGHEST:
        end = _next(high, (100, 1000))
        return (0, end), (1, end) if low >= 1 else (end, 0)
    if high > FIVE:
        return ((0, 10), (0, 9) if high <= 9 else (10, 0)) if low < 1 else ((1, 10), (0, 10))
    if high <= 1 and low < 1:
        return (0, 1), (1, 0)
    return ((1, 5), (1, 10)) if low >= 1 else ((0, 5), (0, 10))


def _next(value: float, ends: Sequence[float]) -> float:
    return next((float(end) for end in ends if value <= end), float(10 ** math.ceil(math.log10(max(value, 1)))))


def require_same_means(said: np.ndarray, votes: np.ndarray, scales: Sequence[Scale], where: str, name: str,
                       others: Sequence[str], of: str = 'votes') -> None:
    """InputError where means beside votes, or what they are `of`, are not those of the votes, on any of `scales`.

    `said` are the cells' means [N] in the column `name`, NaN where there is none, `votes` those of the votes in the
    columns `others`, on 1 to 10.
    """
    known = np.isfinite(said)
    if not known.any():
        return
    apart = [np.abs(to_ten(said[known], scale) - votes[known]) for scale in scales]
    wrong = [each > _tolerance(scale) for each, scale in zip(apart, scales)]
    best = min(range(len(scales)), key=lambda index: (wrong[index].mean(), apart[index].mean()))
    if wrong[best].mean() <= MEANS_THAT_DIFFER:
        return
    row, (first, last) = int(np.argmax(wrong[best])), scales[best]
    pattern = os.path.commonprefix(list(others)) + '*' * (len(others) > 1)
    offer = '' if label_names.matches(name, pattern) else f', or the {of} with --ignore_columns {pattern!r}'
    own = first + (votes[known][row] - LOWEST) / (HIGHEST - LOWEST) * (last - first)
    raise InputError(f'{where}: found means in the column {name} that are not those of the {of} in '
                     f'{100 * wrong[best].mean():.3g} % of the rows, first {said[known][row]:g} beside {of} with the '
                     f'mean {own:.4g}, expected the same: correct the table, or leave the column out with '
                     f'--ignore_columns {name!r}{offer}')


def _tolerance(scale: Scale) -> float:
    """In points of 1 to 10: means of narrower scales are rounded on these, down to 1 to 5."""
    points = (HIGHEST - LOWEST) / abs(scale[1] - scale[0])
    return MEAN_ROUNDING * (points if 1 <= points <= 2.25 else 1) + 1e-9
