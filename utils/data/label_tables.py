"""Labels as people keep them: a table with file names and ten votes, a mean and a std, a mean alone, or ratings.

label_rows.py reads CSV, tab- and blank-separated text, JSON, JSON lines and Excel; label_names.py has the names of
columns; label_columns.py says which column has what, label_scale.py on which scale. docs/datasets.md shows each form.
"""
import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base.errors import InputError
from utils.base.label_options import AS_USUAL, LabelOptions
from utils.base.scores import SCORES
from utils.data import (
    distributions,
    label_columns,
    label_files,
    label_names,
    label_raters,
    label_report,
    label_rows,
    label_scale,
    label_text,
    panel,
)
from utils.data.label_columns import Layout
from utils.data.label_rows import EXPECTED, Part, number
from utils.data.label_scale import Scale
from utils.data.panel import Panel

ENDINGS = ('.csv', '.tsv', '.json', '.jsonl', '.xlsx')
EXCEL = '.xlsx'

_EXPECTED = f'{EXPECTED} in each line: give a table with labels'

Exists = Optional[Callable[[str], bool]]


class Table(NamedTuple):
    """What a table of labels says."""

    names: List[str]
    votes: np.ndarray           # float64 [N, 10], votes or distributions
    bad: List[Tuple[int, str]]  # lines or objects left out, from 1, and why
    panel: Panel
    about: List[str]            # what was read, and how, as sentences


class Row(NamedTuple):
    """One image's label, or one rating: votes, or a mean and, where known, a std, both on the scale from 1 to 10."""

    layout: Layout
    name: str
    votes: Optional[List[float]]
    said: List[float]          # means beside the votes, on their own scale; NaN for an empty cell
    mean: float = math.nan
    std: float = math.nan      # NaN where there is none
    number: float = math.nan   # of the people who voted
    group: str = ''
    rater: str = ''


def is_table(path: str) -> bool:
    """Whether a label file is a table, by its name's ending."""
    return path.lower().endswith(ENDINGS)


def is_one(path: str) -> bool:
    """Whether a label file is a table, by its name's ending or its content."""
    return is_table(path) or looks_like_one(label_text.read(path, _EXPECTED).data.decode('utf-8'))


def looks_like_one(text: str) -> bool:
    """Whether a text that is not named as a table is one, and no lines of AVA.txt, by its first line."""
    lines = label_rows.without_comments(text).splitlines()
    first = next((line for line in lines if line.strip()), '')
    cells = first.split()
    if len(cells) >= 12 and all(map(label_rows.is_number, cells[2:12])):
        return False
    if label_rows.delimiter_of(first) in (',', ';', '\t'):
        return True
    ends = [cells[0], cells[-1]] if len(cells) > 1 else []
    numbers = sum(map(label_rows.is_number, ends))
    names = first.split(None, 1)[-1:] + [first.rsplit(None, 1)[0]] if ends else []
    return numbers == 1 and any(map(label_rows.is_image_name, names)) or bool(ends) and numbers == 0 and all(
        label_names.is_known(cell) for cell in ends)


def read(path: str, options: LabelOptions = AS_USUAL, exists: Exists = None) -> Table:
    """The labels of a table; `exists` says whether there is an image for a name.

    Raises InputError for a file that is no such table, and for a row that cannot be used unless `options` skip it.
    """
    if path.lower().endswith(EXCEL):
        label_text.read_bytes(path)
        parts, how = label_rows.read_excel(path)
    else:
        text = label_text.read(path, _EXPECTED)
        parts = label_rows.read(text.data.decode('utf-8'), path)
        how = f'read as {text.encoding}' if text.encoding else ''
    parts, raters = label_raters.one_row_a_rating(parts, options)
    layouts = [label_columns.find(part, options, exists) for part in parts]
    label_raters.require_alike(parts, layouts)
    folder = label_files.shared_folder(parts, layouts)
    scales = _scales(path, parts, layouts, options)
    rows, bad = _rows(path, parts, layouts, scales, folder, options)
    about = [f'{path}: {how}'] if how else []
    about += [f'{path}: {folder} in front of all names is cut off'] if folder else []
    about += [f'{path}: {raters}'] if raters else []
    if not rows:
        return Table([], np.zeros((0, len(SCORES))), bad, panel.counted(np.zeros((0, len(SCORES)))), about)
    about.append(f'{path}: {label_report.columns(layouts[0])}')
    _compare_means(rows, path)
    if layouts[0].rater is not None:
        return _of_ratings(path, rows, scales[0], bad, about)
    std = options.std if isinstance(options.std, float) else distributions.ASSUMED_STD
    votes, people = _distributions(rows, std), _panel(rows)
    moved = next((_ends(row) for row in rows if row.votes and len(row.votes) != len(SCORES)), None)
    about.append(f'{path}: {label_report.scores(votes, moved, None if rows[0].votes else scales[0])}')
    if people.assumed.any():
        about.append(f'{path}: {label_report.assumed(people, std)}')
    return Table([row.name for row in rows], votes, bad, people, about)


# --- scales


def _scales(path: str, parts: Sequence[Part], layouts: Sequence[Layout], options: LabelOptions) -> List[Scale]:
    """The scale of each part's means; InputError where it has to be asked."""
    unknown: List[Tuple[int, float]] = []
    for part, layout in zip(parts, layouts):
        label_scale.require_sane(layout.scale, part.where)
        if layout.votes or layout.vote_list is not None:
            continue
        column = layout.means[0]
        values = [(line, number(cells[column])) for line, cells in part.rows if column < len(cells)]
        values = [(line, value) for line, value in values if not math.isnan(value)]
        if layout.asks_direction:
            raise label_scale.ask_direction(part.where, layout.names[column], [value for _, value in values])
        if layout.scale is None:
            unknown += values
    what = 'ratings' if layouts and layouts[0].rater is not None else 'means'
    label_scale.require_known(sorted(unknown), options.max_bad if options.skip_bad else 0, path, what)
    return [layout.scale or label_scale.OWN for layout in layouts]


def _compare_means(rows: Sequence[Row], path: str) -> None:
    """InputError where means beside votes are others than theirs."""
    by_layout: Dict[int, List[Row]] = {}
    for row in rows:
        if row.said:
            by_layout.setdefault(id(row.layout), []).append(row)
    for group in by_layout.values():
        layout = group[0].layout
        votes = np.array([np.dot(row.votes, label_columns.positions(len(row.votes or []))) / sum(row.votes or [])
                          for row in group])
        scales = [layout.scale or label_scale.OWN]
        if layout.scale is None:
            scales.append(_ends(group[0]))
        for index, column in enumerate(layout.means):
            said = np.array([row.said[index] for row in group], np.float64)
            label_scale.require_same_means(said, votes, scales, path, layout.names[column], [
                layout.names[each] for each in layout.votes or [layout.vote_list or 0]])


def _ends(row: Row) -> label_scale.Scale:
    """The lowest and the highest score of a row's votes; a list of five or nine has those of five stars."""
    if row.layout.votes:
        return row.layout.ends
    return label_scale.OWN if len(row.votes or []) == len(SCORES) else (label_scale.LOWEST, label_scale.FIVE)


# --- rows


def _rows(path: str, parts: Sequence[Part], layouts: Sequence[Layout], scales: Sequence[Scale], folder: str,
          options: LabelOptions) -> Tuple[List[Row], List[Tuple[int, str]]]:
    """The labels, and the lines that are left out; InputError where none may be, or too many are."""
    unit = 'object' if path.lower().endswith(('.json', '.jsonl')) else 'line'
    entries = sorted(((line, cells, layout, scale) for part, layout, scale in zip(parts, layouts, scales)
                      for line, cells in part.rows), key=lambda entry: entry[0])
    rows: List[Row] = []
    bad: List[Tuple[int, str]] = []
    line_of: Dict[Tuple[str, str], int] = {}
    for line, cells, layout, scale in entries:
        try:
            row = _row(cells, layout, scale, folder)
            if (row.name, row.rater) in line_of:
                by = f' of {row.rater!r}' if row.rater else ''
                raise InputError(f'found {row.name!r}{by} again, which {unit} {line_of[row.name, row.rater]} has too, '
                                 f'expected each name once{by and " for each rater"}: delete one of the two')
        except InputError as error:
            if not options.skip_bad:
                where = f'{path}: object {line}' if unit == 'object' else f'{path}:{line}'
                offer = ', or leave out bad lines with --skip_bad_labels' if rows else ''
                raise InputError(f'{where}: {error}{offer}') from error
            bad.append((line, str(error)))
        else:
            line_of[row.name, row.rater] = line
            rows.append(row)
    label_scale.require_few(bad, len(entries), options.max_bad, path)
    return rows, bad


def _row(cells: Sequence[Any], layout: Layout, scale: Scale, folder: str) -> Row:
    """One label; InputError, which does not say where, if it cannot be used."""
    if max([layout.file, *layout.votes, layout.vote_list or 0, *layout.means[:1], layout.rater or 0]) >= len(cells):
        raise InputError(f'found {len(cells)} columns, expected as many as in the first line: correct or delete '
                         'the line')
    if len(cells) > len(layout.names):
        raise InputError(f'found {len(cells) - len(layout.names)} more columns than in the first line: put a number '
                         'or a name with a comma in quotes, or correct or delete the line')

    def cell(column: Optional[int]) -> Any:
        return cells[column] if column is not None and column < len(cells) else None

    name = label_files.safe(label_files.name(cells, layout)[len(folder):])
    group = str(cell(layout.group) or '').strip()
    if layout.votes or layout.vote_list is not None:
        votes = _votes([cells[column] for column in layout.votes] if layout.votes else cells[layout.vote_list or 0])
        return Row(layout, name, votes, [number(cell(column)) for column in layout.means], group=group)
    mean = label_scale.mean_on_ten(cells[layout.means[0]], scale)
    rater = str(cell(layout.rater) or '').strip()
    if layout.rater is not None and not rater:
        raise InputError('found no rater, expected one for each rating: correct or delete the line')
    return Row(layout, name, None, [], mean, label_scale.std_on_ten(cell(layout.std), mean, scale),
               number(cell(layout.number)), group, rater)


def _votes(cells: Any) -> List[float]:
    cells = label_rows.as_list(cells) or cells
    if not isinstance(cells, list) or len(cells) not in label_columns.COUNTS:
        count = f', {len(cells)} numbers,' if isinstance(cells, list) else ''
        raise InputError(f'found {str(cells)[:40]!r}{count} for the votes, expected a list of ten numbers, or of five '
                         'for the scores 1 to 5: correct or delete it')
    votes = [number(cell) for cell in cells]
    for score, (cell, vote) in enumerate(zip(cells, votes), 1):
        if not vote >= 0:
            raise InputError(f'found {str(cell)[:40]!r} votes for score {score}, expected a number from 0: correct or '
                             'delete the line')
    if not 0 < sum(votes) < math.inf:
        raise InputError(f'found votes that add up to {sum(votes):g}, expected at least one vote: correct or delete '
                         'the line')
    return votes


# --- what they say


def _distributions(rows: Sequence[Row], std: float) -> np.ndarray:
    """Votes as given, those on 1 to 5 moved to 1 to 10, or the distribution of the largest entropy, float64 [N, 10]."""
    result = np.zeros((len(rows), len(SCORES)))
    moving = {count: distributions.between_scores(label_columns.positions(count)) for count in label_columns.COUNTS}
    for index, row in enumerate(rows):
        if row.votes:
            result[index] = row.votes @ moving[len(row.votes)]
    means, stds = (np.array([getattr(row, name) for row in rows], np.float64) for name in ('mean', 'std'))
    alone, both = np.isfinite(means) & np.isnan(stds), np.isfinite(means) & ~np.isnan(stds)
    result[alone] = distributions.from_means_alone(means[alone], std)
    result[both] = distributions.from_means_and_stds(means[both], stds[both])
    return result


def _panel(rows: Sequence[Row]) -> Panel:
    numbers, variances = (np.full(len(rows), math.nan) for _ in range(2))
    for count in label_columns.COUNTS:
        chosen = np.array([row.votes is not None and len(row.votes) == count for row in rows], bool)
        if chosen.any():
            votes = np.array([row.votes for row, mine in zip(rows, chosen) if mine], np.float64)
            known = panel.counted(votes, label_columns.positions(count))
            numbers[chosen], variances[chosen] = known.numbers, known.variances
    others = np.array([row.votes is None for row in rows], bool)
    numbers[others] = [row.number for row in rows if row.votes is None]
    variances[others] = [row.std ** 2 for row in rows if row.votes is None]
    assumed = np.array([row.votes is None and math.isnan(row.std) for row in rows], bool)
    groups = np.array([row.group for row in rows], dtype=object) if any(row.group for row in rows) else None
    return Panel(numbers, variances, assumed, groups)


def _of_ratings(path: str, rows: Sequence[Row], scale: Scale, bad: List[Tuple[int, str]], about: List[str]) -> Table:
    """The table of one row a rating: each image's ratings counted into ten votes."""
    images = {name: index for index, name in enumerate(dict.fromkeys(row.name for row in rows))}
    raters = {name: index for index, name in enumerate(dict.fromkeys(row.rater for row in rows))}
    ratings = panel.Ratings(np.array([images[row.name] for row in rows]), np.array([raters[row.rater] for row in rows]),
                            np.array([row.mean for row in rows], np.float64))
    votes = np.zeros((len(images), len(SCORES)))
    np.add.at(votes, ratings.rows, distributions.between_scores(ratings.scores))
    group_of = {row.name: row.group for row in rows}
    groups = np.array([group_of[name] for name in images], dtype=object) if any(group_of.values()) else None
    people, numbers = panel.of_ratings(ratings, len(images))._replace(groups=groups), np.bincount(ratings.rows)
    about = [*about, f'{path}: {len(rows)} ratings of {len(raters)} raters; raters an image: {numbers.min()} to '
                     f'{numbers.max()}, on average {numbers.mean():.1f}',
             f'{path}: {label_report.scores(votes, None, scale)}']
    return Table(list(images), votes, bad, people, about)
