"""Tables with the scores of several raters in one row, in a column each or in a list: one row for each rating."""
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.data import label_columns, label_names, label_scale
from utils.data.label_columns import Layout, Search
from utils.data.label_rows import Part, as_list, number
from utils.data.label_scale import Scale

_RATER, _SCORE = 'rater', 'score'  # the columns of the rows that come out
_LISTS_OF_SCORES, _LISTS_OF_VOTES = ('ratings', 'scores'), ('histogram', 'hist', 'label', 'labels', 'distribution',
                                                            'vote_counts', 'vote_distribution')


class _Wide(NamedTuple):
    """The scores of several raters in one row."""

    columns: List[int]          # that hold them
    raters: List[str]
    cells: List[List[Any]]      # [R][C] of each row, '' for none


def one_row_a_rating(parts: Sequence[Part], options: LabelOptions) -> Tuple[List[Part], Optional[str]]:
    """The parts, of which those with several raters in a row have one row for each rating, and a sentence on these.

    Their columns are numbered and named after persons (rater1, observer_2), or are ten or five of another name whose
    averages are the means beside them; or there is one column of lists. InputError where the means beside are others,
    and where a list may as well be one of votes.
    """
    made, about = [], None
    for part in parts:
        search = label_columns.search_in(part, options)
        wide = _columns_of_raters(search) or _lists_of_ratings(search, options.scale)
        if wide:
            shown = ' ... '.join(part.names[column] for column in dict.fromkeys([wide.columns[0], wide.columns[-1]]))
            about = f'{shown}: the scores of a rater each, {len(wide.raters)} in all'
            made.append(_turned(part, wide, _compared_means(search, wide)))
        else:
            made.append(part)
    return made, about


def require_alike(parts: Sequence[Part], layouts: Sequence[Layout]) -> None:
    """InputError where some JSON objects are one rating each, and others an image's votes or mean."""
    for part, layout in zip(parts, layouts):
        if (layout.rater is None) != (layouts[0].rater is None):
            found, other = ('no rater', 'has one') if layout.rater is None else ('a rater', 'has none')
            raise InputError(f'{part.where}: found {found}, where {parts[0].where.split(": ")[-1]} {other}, expected '
                             'one rating, or one image, in each object: give those with a rater in a file of their own')


def _columns_of_raters(search: Search) -> Optional[_Wide]:
    columns = _rater_columns(search)
    cells = [[row[column] if column < len(row) else '' for column in columns] for _, row in search.part.rows]
    return _Wide(columns, [search.names[column] for column in columns], cells) if columns else None


def _rater_columns(search: Search) -> List[int]:
    """The columns that have a rater's scores each, in their order; none where there are none."""
    groups = label_columns.numbered_columns(search)
    persons = [list(columns) for stem, columns in groups.items() if label_names.is_person(stem) and len(columns) > 1]
    if len(persons) > 1:
        raise search.several([columns[0] for columns in persons], 'raters')
    if persons:
        return persons[0]
    means = search.first_tier(label_names.MEAN)
    for stem, columns in groups.items():
        rows = label_columns.numbers_of(search.part, list(columns))
        if means and label_columns.is_complete(stem, columns) and label_columns.may_be_scores(rows):
            said = label_columns.numbers_of(search.part, means[:1])[:, 0]
            apart = np.abs(said - rows.mean(axis=1))[np.isfinite(said)]
            if len(apart) and np.mean(apart <= label_scale.MEAN_ROUNDING) > 0.5:
                return list(columns)
    return []


def _lists_of_ratings(search: Search, scale: Optional[Scale]) -> Optional[_Wide]:
    """Lists in cells that are ratings by their name; InputError where they may be votes, and no `scale` is typed."""
    found = search.first_tier(label_names.VOTE_LIST)
    if len(found) != 1:
        return None
    name, shown = label_names.key(search.names[found[0]]), search.names[found[0]]
    cells = [row[found[0]] if found[0] < len(row) else '' for _, row in search.part.rows]
    lists = [as_list(cell) for cell in cells]
    if name in _LISTS_OF_VOTES or not any(lists):
        return None
    values = np.array([number(cell) for each in lists for cell in each or []])
    are_scores, are_known = label_columns.may_be_scores(values), bool(np.isfinite(values).all())
    may_be_votes = are_known and all(len(each or []) in label_columns.COUNTS for each in lists)
    if name in _LISTS_OF_SCORES and (scale or are_scores or not may_be_votes):
        ratings = [[cell] if each is None else each for cell, each in zip(cells, lists)]
        width = max(map(len, ratings))
        return _Wide(found, [str(rater) for rater in range(1, width + 1)],
                     [[*each, *[''] * (width - len(each))] for each in ratings])
    if name in _LISTS_OF_SCORES:
        span = values.min(), values.max()
        cure = f'type --range {label_scale.shown(label_scale.likely(*span)[0]).replace(" to", "")}'
    elif all(lists) and are_scores:
        span, cure = label_scale.OWN, 'ratings'
    else:
        return None
    raise InputError(f'{search.part.where}: found lists with numbers from {label_scale.shown(span)} alone in {shown}, '
                     f'expected to know what they are: name them histogram where they count votes, or {cure} where '
                     "each number is one rater's score")


def _compared_means(search: Search, wide: _Wide) -> List[int]:
    """The columns of means, which are the raters' averages; InputError where they are not."""
    rows = np.array([[number(cell) for cell in cells] for cells in wide.cells], np.float64).reshape(
        len(wide.cells), len(wide.raters))
    known = np.isfinite(rows)
    averages = np.where(known, rows, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    means = search.first_tier(label_names.MEAN)
    for column in means:
        said = label_columns.numbers_of(search.part, [column])[:, 0]
        said[~known.any(axis=1)] = np.nan
        label_scale.require_same_means(said, averages, [label_scale.OWN], search.part.where, search.names[column],
                                       [search.names[each] for each in wide.columns], of='ratings')
    return means


def _turned(part: Part, wide: _Wide, means: Sequence[int]) -> Part:
    """A row for each rating, with what else the image's row has but for its means; empty cells are no ratings."""
    kept = [column for column in range(len(part.names)) if column not in (*wide.columns, *means)]
    rows = [(line, [*(row[column] if column < len(row) else '' for column in kept), rater, cell,
                    *row[len(part.names):]])
            for (line, row), cells in zip(part.rows, wide.cells) for rater, cell in zip(wide.raters, cells)
            if str(cell).strip().lower() not in label_scale.EMPTY]
    return Part(part.where, [*(part.names[column] for column in kept), _RATER, _SCORE], rows)
