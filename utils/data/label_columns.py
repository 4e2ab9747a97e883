"""Which column of a table of labels has what: the file, votes, a mean and its std, raters, groups."""
import math
import os
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.base.scores import SCORES
from utils.data import label_names
from utils.data.label_names import key, tier
from utils.data.label_rows import EXPECTED, NAMES, Part, is_image_name, number

LOOKED_AT = 500  # rows from which a column of files is chosen
COUNTS = 10, 9, 5  # of columns of votes: on 1 to 10, on 1 to 5 in halves, on 1 to 5
_ANY_STEM = [list(range(1, 11)), list(range(10)), list(range(2, 12)), [half / 2 for half in range(1, 11)],
             [half / 2 for half in range(2, 11)]]
_VOTE_STEM = [list(range(1, 6)), list(range(5))]


class Layout(NamedTuple):
    """The columns of a part by what is in them; of votes, vote list and mean one is there."""

    names: List[str]
    file: int
    votes: List[int]              # COUNTS
    ends: Tuple[float, float]     # the numbers of the first and the last of them
    vote_list: Optional[int]
    means: List[int]              # one, or beside votes any number
    std: Optional[int]
    number: Optional[int]         # how many voted
    group: Optional[int]
    rater: Optional[int]          # there is one row for each rating
    scale: Optional[Tuple[float, float]]  # of the mean, worst and best, as the flag or the column's name says
    asks_direction: bool
    folder: Optional[int]         # of the images' sub-folders, where they are not in the names

    @property
    def used(self) -> List[int]:
        """All of these columns."""
        single = self.file, self.vote_list, self.std, self.number, self.group, self.rater, self.folder
        return sorted({*self.votes, *self.means, *(column for column in single if column is not None)})


def find(part: Part, options: LabelOptions, exists: Optional[Callable[[str], bool]]) -> Layout:
    """Where a part has what; `exists` says whether there is an image for a name.

    InputError, which begins with the first line, where it lacks something or has it twice.
    """
    search = search_in(part, options)
    votes, ends = _vote_columns(search)
    vote_list = search.one(label_names.VOTE_LIST, 'list of votes') if not votes else None
    scalar = vote_list is not None and search.share(vote_list, lambda cell: not math.isnan(number(cell))) > 0.5
    file = _file_column(search, exists)
    means = search.first_tier(label_names.MEAN)
    rater = search.one(label_names.RATER, 'raters')
    counted = search.one(label_names.NUMBER, 'number of votes')
    if scalar:  # one number is no list: a mean, or how many voted
        if means and key(part.names[vote_list or 0]) in ('votes', 'ratings'):
            counted = vote_list
        means, vote_list = means or [vote_list], None  # type: ignore[list-item]
    means = [column for column in means if column != vote_list]
    has_votes = bool(votes) or vote_list is not None
    if file is None or not has_votes and not means:
        shown = ', '.join(map(str, part.names))
        raise InputError(f'{part.where}: found the columns {shown[:80]}, expected {EXPECTED}: name them {NAMES}')
    if len(means) > 1 and not has_votes:
        raise search.several(means, 'mean')
    said = label_names.mean_name(part.names[means[0]]) if means else label_names.MeanName(None, False)
    if has_votes and options.scale:
        raise InputError(f'{part.where}: found votes and a --range, which is the scale of means, expected one of the '
                         'two: leave --range out')
    std = None if has_votes or rater is not None else _std_column(search, part.names[means[0]], options.std)
    return Layout(part.names, file, votes, ends, vote_list, means, std, None if has_votes else counted,
                  search.one(label_names.GROUP, 'group', several_is_none=True), None if has_votes else rater,
                  options.scale or said.scale, said.is_difference and not options.scale,
                  _folder_column(search, file, exists))


def search_in(part: Part, options: LabelOptions) -> 'Search':
    """A part with those of its columns that `options` do not leave out."""
    return Search(part, {column: name for column, name in enumerate(part.names)
                         if not any(label_names.matches(name, pattern) for pattern in options.ignored)})


class Search(NamedTuple):
    """A part and the columns that may be used, by index."""

    part: Part
    names: Dict[int, str]

    def first_tier(self, kind: Sequence[Any]) -> List[int]:
        """The columns of a kind with its most usual names."""
        tiers = {column: tier(kind, name) for column, name in self.names.items()}
        found = {column: level for column, level in tiers.items() if level is not None}
        return [column for column, level in found.items() if level == min(found.values())]

    def one(self, kind: Sequence[Any], what: str, several_is_none: bool = False) -> Optional[int]:
        """The column of a kind, None where there is none; InputError where there are several."""
        found = self.first_tier(kind)
        if len(found) > 1 and not several_is_none:
            raise self.several(found, what)
        return found[0] if len(found) == 1 else None

    def several(self, columns: Sequence[int], what: str) -> InputError:
        names = [self.names[column] for column in columns]
        return InputError(f'{self.part.where}: found {len(columns)} columns for the {what}, {", ".join(names)}, '
                          f'expected one: rename the others, or leave them out with --ignore_columns {names[-1]!r}')

    def share(self, column: int, is_true: Callable[[Any], bool]) -> float:
        """The share of the first rows whose cell in this column satisfies `is_true`."""
        cells = [cells[column] for _, cells in self.part.rows[:LOOKED_AT] if column < len(cells)]
        return sum(map(is_true, cells)) / len(cells) if cells else 0.0


def _folder_column(search: Search, file: int, exists: Optional[Callable[[str], bool]]) -> Optional[int]:
    """The column with the sub-folders of the images, where more of them are there than without it."""
    if exists is None:
        return None
    cells = [cells for _, cells in search.part.rows[:LOOKED_AT] if file < len(cells)]
    best, most = None, sum(exists(str(row[file])) for row in cells)
    for column, name in search.names.items():
        if tier(label_names.FOLDER, name) is not None and column != file:
            found = sum(exists(f'{row[column]}/{row[file]}') for row in cells if column < len(row))
            best, most = (column, found) if found > most else (best, most)
    return best


def _std_column(search: Search, mean: str, typed: Any) -> Optional[int]:
    """The column with the std of `mean`: the `typed` one, one that is named like the mean, or one with a usual name."""
    if isinstance(typed, str):
        found = [column for column, name in search.names.items() if key(name) == key(typed)]
        if len(found) != 1:
            raise InputError(f'{search.part.where}: found {len(found)} columns {typed!r}, expected the one with the '
                             'standard deviations: type --std with a number, or the name of a column')
        return found[0]
    paired = [column for column, name in search.names.items() if label_names.is_std_of(mean, name)]
    return paired[0] if len(paired) == 1 else search.one(label_names.STD, 'standard deviation')


def _file_column(search: Search, exists: Optional[Callable[[str], bool]]) -> Optional[int]:
    """The column with the images' names: of several the one whose values are files, or end like images."""
    found = [column for column, name in search.names.items() if tier(label_names.FILE, name) is not None]
    for is_true in (*([exists] if exists else []), is_image_name):
        if len(found) > 1:
            shares = [search.share(column, lambda cell: is_true(str(cell))) for column in found]  # noqa: B023
            found = [column for column, share in zip(found, shares) if share == max(shares)]
    tiers = [tier(label_names.FILE, search.names[column]) or 0 for column in found]
    found = [column for column, level in zip(found, tiers) if level == min(tiers)]
    if len(found) > 1:
        raise search.several(found, 'file name')
    return found[0] if found else None


def _vote_columns(search: Search) -> Tuple[List[int], Tuple[float, float]]:
    """The columns of the votes in the scores' order, and the numbers of the first and last; none without votes.

    Names that say so are votes where there is no mean beside them; other numbered columns, and these beside a mean,
    only where what they hold can be votes.
    """
    groups = numbered_columns(search)
    complete = {stem: columns for stem, columns in groups.items() if is_complete(stem, columns)}
    has_mean = bool(search.first_tier(label_names.MEAN))
    chosen = {stem: columns for stem, columns in complete.items()
              if not has_mean and _count_votes(search, columns)
              or _hold_votes(search.part, list(columns), strict=stem != '')}
    if len(chosen) > 1:
        shown = [[search.names[column] for column in columns] for columns in chosen.values()]
        others = ' '.join(repr(os.path.commonprefix(names) + '*') for names in shown[1:])
        raise InputError(f'{search.part.where}: found {len(chosen)} groups of columns that may be votes, '
                         f'{" and ".join(f"{names[0]} ... {names[-1]}" for names in shown)}, expected one: leave the '
                         f'others out, as with --ignore_columns {others}')
    if groups[''] and '' not in complete:
        found_scores = ', '.join(f'{score:g}' for score in sorted(groups[''].values()))
        raise InputError(f'{search.part.where}: found columns of votes for the scores {found_scores}, expected one for '
                         'each from 1 to 10, or from 0 to 9: give a mean instead where votes are on another scale')
    columns: Dict[int, float] = next(iter(chosen.values()), {})
    ordered = sorted(columns, key=lambda column: columns[column])
    if not has_mean and (columns or '' in complete):
        _refuse_scores(search, columns or complete[''], bool(columns))
    return ordered, (min(columns.values(), default=1), max(columns.values(), default=10))


def numbered_columns(search: Search) -> Dict[str, Dict[int, float]]:
    """The numbers of the columns by stem and column; those that are votes by the usual names have the stem ''."""
    usual = {column: label_names.vote_number(name) for column, name in search.names.items()}
    groups: Dict[str, Dict[int, float]] = {'': {column: value for column, value in usual.items() if value is not None}}
    for column, name in search.names.items():
        found = label_names.numbered(name)
        if found and usual[column] is None and not label_names.is_known(name):
            groups.setdefault(found[0], {})[column] = found[1]
    return groups


def is_complete(stem: str, columns: Dict[int, float]) -> bool:
    """Whether columns by their numbers are votes on a whole scale; five only where their name says votes."""
    numbers = sorted(columns.values())
    return not label_names.is_person(stem) and not label_names.is_feature(stem) and (
        numbers in _ANY_STEM or numbers in _VOTE_STEM and label_names.is_vote_stem(stem))


def _count_votes(search: Search, columns: Iterable[int]) -> bool:
    return all(label_names.counts_votes(search.names[column]) for column in columns)


def _refuse_scores(search: Search, numbers: Dict[int, float], are_votes: bool) -> None:
    """InputError where columns may have a rater's scores each, by what they hold or as it is that of no votes."""
    columns = sorted(numbers, key=lambda column: numbers[column])
    names, rows = [search.names[column] for column in columns], numbers_of(search.part, columns)
    is_five = len(columns) == COUNTS[-1] and label_names.says_scores(names[0]) and not _are_shares(rows).all()
    if (search.part.is_named and _count_votes(search, columns) or not np.isfinite(rows).any()
            or are_votes and not is_five and not may_be_scores(rows)):
        return
    where = (f'the columns {names[0]} ... {names[-1]}' if search.part.is_named
             else f'{len(columns)} columns without names')
    low, high = (f'{numbers[columns[end]]:g}' for end in (0, -1))
    raise InputError(f'{search.part.where}: found numbers from {np.nanmin(rows):g} to {np.nanmax(rows):g} alone in '
                     f'{where}, expected to know what they are: name them v{low} ... v{high} where they count votes, '
                     f"or rater1 ... rater{len(columns)} where each has one rater's scores")


def may_be_scores(rows: np.ndarray) -> bool:
    """Whether cells [R, C] may be scores of C raters: all are from 1 to 10, which counts of votes hardly ever are."""
    with np.errstate(invalid='ignore'):  # a cell without a number is no score
        return bool(len(rows)) and bool(np.all((rows >= SCORES[0]) & (rows <= SCORES[-1])))


def numbers_of(part: Part, columns: Sequence[int]) -> np.ndarray:
    """The cells of some columns, float64 [R, C], NaN where there is no number."""
    return np.array([[number(cells[column]) if column < len(cells) else math.nan for column in columns]
                     for _, cells in part.rows], np.float64).reshape(
                         len(part.rows), len(columns))


def _hold_votes(part: Part, columns: Sequence[int], strict: bool) -> bool:
    """Whether the cells are counts, none negative, or shares that sum to 1 or 100: in nearly all rows, or in most.

    Rows that lack a number are bad lines of votes, where most have all.
    """
    rows = numbers_of(part, columns)
    known = np.isfinite(rows).all(axis=1)
    if not len(rows) or known.mean() <= 0.5:
        return False
    rows = rows[known]
    whole = (rows % 1 == 0).all(axis=1)
    good = (rows >= 0).all(axis=1) & (rows.sum(axis=1) > 0) & (whole | _are_shares(rows))
    return bool(good.mean() > (0.98 if strict else 0.5))


def _are_shares(rows: np.ndarray) -> np.ndarray:
    """Whether each row sums to 1 or 100."""
    with np.errstate(invalid='ignore'):
        total = rows.sum(axis=1)
        return (np.abs(total - 1) < 0.02) | (np.abs(total - 100) < 2)


def positions(count: int) -> np.ndarray:
    """The scores from 1 to 10 of the votes in each of so many columns."""
    return np.linspace(SCORES[0], SCORES[-1], count)
