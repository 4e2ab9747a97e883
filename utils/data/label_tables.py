"""Labels as people keep them: CSV or JSON with file names and ten votes, a mean and a std, or a mean alone.

Column names, in any case, with blanks, '-' or '_' between words; all other columns are ignored:

    file        file, filename, file_name, image, image_id, image_name, id, name, photo, photograph, picture
    ten votes   v1 ... v10, vote1 ... vote10, score1 ... score10, rating1 ... rating10, 1 ... 10; or 0 ... 9
    mean        mean, mean_score, score, mos, rating, average; with a range: mean_0_100, mean_score_1_to_10
    std         std, std_score, sd, stddev, standard_deviation: of the votes, on the mean's range

A CSV without these names in its first line has the file, then ten votes, a mean and a std, or a mean. In JSON a
 list of objects has these names as keys, or, as in idealo's files, ten votes in one list under `label` or `votes`.
"""
import csv
import io
import json
import math
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base.errors import InputError, command_of
from utils.base.scores import SCORES
from utils.data import distributions, image_names

ENDINGS = ('.csv', '.json')
MOST_DIGITS = 100
STD_ROUNDING = 0.02  # points of 1 to 10 by which a std may be beyond the possible, as rounded ones are

_FILE = re.compile('file|filename|file_name|image|image_?id|image_?name|id|name|photo|photograph|picture')
_MEAN = re.compile(r'(?:mean|mean_score|score|mos|rating|average)(?:_(\d+(?:\.\d+)?)(?:_to)?_(\d+(?:\.\d+)?))?')
_STD = re.compile('std|std_score|sd|stddev|std_dev|standard_deviation')
_VOTE = re.compile(r'(?:v|votes?|score|rating|count)?_?(\d{1,2})')
_VOTE_LIST = re.compile('labels?|votes|ratings|distribution')
EXPECTED = 'a file name and ten votes, a mean and a standard deviation, or a mean'
_NAMES = 'such as file, v1 ... v10, mean and std'

Range = Tuple[float, float]
Where = Any  # the index of a CSV's column, the key of a JSON object
Parsed = Tuple[List[str], np.ndarray, List[Tuple[int, str]]]


class Layout(NamedTuple):
    """Where a table has what; of votes, vote list and mean one is there."""

    file: Where
    votes: List[Where]
    vote_list: Optional[Where]
    mean: Optional[Where]
    std: Optional[Where]
    mean_range: Range


class Row(NamedTuple):
    """One image's label; votes, or a mean and, where known, a std, both on the scale from 1 to 10."""

    name: str
    votes: Optional[List[float]]
    mean: float
    std: float  # NaN where there is none


def is_table(path: str) -> bool:
    """Whether a label file is CSV or JSON, by its name's ending."""
    return path.lower().endswith(ENDINGS)


def parse(data: bytes, path: str, *, mean_range: Optional[Range] = None, skip_bad: bool = False) -> Parsed:
    """Names [N], votes or distributions float64 [N, 10], and the bad lines or JSON objects with their numbers from 1.

    `data` is the UTF-8 text of the CSV or JSON file `path`, `mean_range` the lowest and the highest possible mean,
    by default as the column's name says, else 1 and 10. Raises InputError for a file that is no such table, and,
    unless `skip_bad`, for a row that cannot be used.
    """
    is_json = path.lower().endswith('.json')
    rows: List[Row] = []
    bad: List[Tuple[int, str]] = []
    number_of: Dict[str, int] = {}
    for number, layout, cells in (_json_rows if is_json else _csv_rows)(data.decode('utf-8'), path, mean_range):
        try:
            row = _row(layout, cells)
            if row.name in number_of:
                raise InputError(f'found {row.name!r} again, which {"object" if is_json else "line"} '
                                 f'{number_of[row.name]} has too, expected each name once: delete one of the two')
        except InputError as error:
            if not skip_bad:
                where = f'{path}: object {number}' if is_json else f'{path}:{number}'
                raise InputError(f'{where}: {error}, or leave out bad lines with --skip_bad_labels') from error
            bad.append((number, str(error)))
        else:
            number_of[row.name] = number
            rows.append(row)
    return [row.name for row in rows], _distributions(rows), bad


def _distributions(rows: Sequence[Row]) -> np.ndarray:
    """Votes as given, or the distribution of the largest entropy, float64 [N, 10]."""
    votes = np.array([row.votes or [0.0] * len(SCORES) for row in rows], np.float64).reshape(-1, len(SCORES))
    means, stds = (np.array([getattr(row, name) for row in rows], np.float64) for name in ('mean', 'std'))
    counted = np.array([row.votes is not None for row in rows], bool)
    alone, both = ~counted & np.isnan(stds), ~counted & ~np.isnan(stds)
    votes[alone] = distributions.from_means(means[alone])
    votes[both] = distributions.from_means_and_stds(means[both], stds[both])
    return votes


def _csv_rows(text: str, path: str, mean_range: Optional[Range]) -> Iterator[Tuple[int, Layout, List[str]]]:
    """Line number, layout and cells of each row that is not blank."""
    first = next((line for line in text.splitlines() if line.strip()), '')
    bare = re.sub('"[^"]*"', '', first)
    delimiter = max(',;\t', key=bare.count)
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter)
    layout, last, width = None, 0, 0
    try:
        for cells in reader:
            line, last = last + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if layout is None:
                layout, width = _first_row(cells, f'{path}:{line}', mean_range), len(cells)
                if _names_columns(cells):
                    continue
            # As Excel writes numbers where the comma separates decimals, and so not columns.
            if delimiter != ',':
                cells = [cell if column == layout.file else cell.replace(',', '.') for column, cell in enumerate(cells)]
            yield line, layout, cells[:width] if not any(cells[width:]) else cells
    except csv.Error as error:
        raise InputError(f'{path}:{last + 1}: found text that is no CSV ({error}), expected {EXPECTED} in each line: '
                         'close a quote that is open, or save the table as CSV again') from error


def _names_columns(cells: Sequence[str]) -> bool:
    """Whether a CSV's first row names its columns: not where all but an image's name are numbers."""
    return bool(_FILE.fullmatch(_key(cells[0]))) or any(math.isnan(_number(cell)) for cell in cells[1:])


def _first_row(cells: Sequence[str], where: str, mean_range: Optional[Range]) -> Layout:
    if _names_columns(cells):
        return _layout(dict(enumerate(cells)), where, mean_range)
    count = len(cells) - 1
    if count not in (1, 2, len(SCORES)):
        raise InputError(f'{where}: found {count + 1} columns without names, expected {EXPECTED}: name the columns in '
                         f'the first line, {_NAMES}')
    names = {1: ['mean'], 2: ['mean', 'std'], len(SCORES): [f'v{score:g}' for score in SCORES]}[count]
    return _layout(dict(enumerate(['file', *names])), where, mean_range)


def _json_rows(text: str, path: str, mean_range: Optional[Range]) -> Iterator[Tuple[int, Layout, Dict[str, Any]]]:
    """Number, layout and content of each object."""
    try:
        objects = json.loads(text, parse_int=_whole_number) if text.strip() else []
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: found text that is no JSON ({error}), expected a list of objects with {EXPECTED}: '
                         'correct the file') from error
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise InputError(f'{path}: found JSON that is no list of objects, expected objects with {EXPECTED}: write '
                         '[{"file": "a.jpg", "mean": 5.5}, ...]')
    layouts: Dict[Tuple[str, ...], Layout] = {}
    for number, each in enumerate(objects, 1):
        keys = tuple(each)
        if keys not in layouts:
            layouts[keys] = _layout({key: key for key in keys}, f'{path}: object {number}', mean_range)
        yield number, layouts[keys], each


def _whole_number(digits: str) -> Any:
    """The number, or its text where it is so long that Python may refuse it: then it is no vote, but may be a name."""
    return int(digits) if len(digits) < MOST_DIGITS else digits


def _key(name: str) -> str:
    return re.sub(r'[\s_-]+', '_', name.strip().lower())


def _layout(names: Dict[Any, str], where: str, mean_range: Optional[Range]) -> Layout:
    """Where a table with these column names has what; InputError, which begins with `where`, if it lacks something."""
    def find(pattern: Any, what: str) -> Optional[Where]:
        found = [column for column, name in names.items() if pattern.fullmatch(_key(name))]
        if len(found) > 1:
            raise InputError(f'{where}: found {len(found)} columns for the {what}, '
                             f'{", ".join(names[column] for column in found)}, expected one: rename the others')
        return found[0] if found else None

    file, mean, std = find(_FILE, 'file name'), find(_MEAN, 'mean'), find(_STD, 'standard deviation')
    votes, vote_list = _vote_columns(names, where), find(_VOTE_LIST, 'list of votes')
    if file is None or not votes and vote_list is None and mean is None:
        shown = ', '.join(map(str, names.values()))
        raise InputError(f'{where}: found the columns {shown[:80]}, expected {EXPECTED}: name them {_NAMES}')
    if votes or vote_list is not None:
        mean = std = None
        if mean_range:
            raise InputError(f'{where}: found votes for ten scores and a --range, which is that of a mean, expected '
                             'one of the two: leave --range out')
    match = _MEAN.fullmatch(_key(names[mean])) if mean is not None else None
    stated = (float(match.group(1)), float(match.group(2))) if match and match.group(1) else None
    low, high = mean_range or stated or (SCORES[0], SCORES[-1])
    if not low < high:
        raise InputError(f'{where}: found a range of means from {low:g} to {high:g}, expected the lowest first: '
                         'exchange the two')
    return Layout(file, votes, vote_list, mean, std, (low, high))


def _vote_columns(names: Dict[Any, str], where: str) -> List[Where]:
    """The columns of the votes for 1 to 10, or for 0 to 9; none where no column is named so."""
    matches = {column: _VOTE.fullmatch(_key(name)) for column, name in names.items()}
    scores = sorted((int(match.group(1)), column) for column, match in matches.items() if match)
    found = [score for score, _ in scores]
    if found and found not in (list(range(1, 11)), list(range(10))):
        raise InputError(f'{where}: found columns of votes for the scores {", ".join(map(str, found))}, expected one '
                         'for each from 1 to 10, or from 0 to 9: give a mean instead where votes are on another scale')
    return [column for _, column in scores]


def _row(layout: Layout, cells: Any) -> Row:
    """One label; InputError, which does not say where, if it cannot be used."""
    if isinstance(cells, list):
        needed = [layout.file, *layout.votes, layout.mean or 0, layout.std or 0]
        if max(needed) >= len(cells):
            raise InputError(f'found {len(cells)} columns, expected as many as in the first line: correct or delete '
                             'the line')
    name = cells[layout.file]
    name = str(name).strip() if isinstance(name, (str, int)) and not isinstance(name, bool) else ''
    if not image_names.is_safe(name) or not _encodes(name):
        raise InputError(f"found the file name {name[:40]!r}, expected a name without '/', '\\', '..' and NUL, as all "
                         'images are in one folder: correct or delete the line')
    if layout.mean is None:
        votes = cells[layout.vote_list] if layout.vote_list is not None else [cells[column] for column in layout.votes]
        return Row(name, _votes(votes), math.nan, math.nan)
    mean = _on_ten(cells[layout.mean], layout.mean_range)
    std = cells[layout.std] if layout.std is not None else None
    return Row(name, None, mean, math.nan if std is None else _std(std, mean, layout.mean_range))


def _encodes(name: str) -> bool:
    """Whether a name is text; JSON can hold halves of characters."""
    try:
        return bool(name.encode('utf-8'))
    except UnicodeEncodeError:
        return False


def _votes(cells: Any) -> List[float]:
    if not isinstance(cells, list) or len(cells) != len(SCORES):
        raise InputError(f'found {str(cells)[:40]!r} for the votes, expected a list of ten numbers: correct or delete '
                         'the object')
    votes = [_number(cell) for cell in cells]
    for score, (cell, vote) in enumerate(zip(cells, votes), 1):
        if not vote >= 0:
            raise InputError(f'found {str(cell)[:40]!r} votes for score {score}, expected a number from 0: correct or '
                             'delete the line')
    if not 0 < sum(votes) < math.inf:
        raise InputError(f'found votes that add up to {sum(votes):g}, expected at least one vote: correct or delete '
                         'the line')
    return votes


def _on_ten(cell: Any, mean_range: Range) -> float:
    low, high = mean_range
    value = _number(cell)
    if not low <= value <= high:
        raise InputError(f'found the mean {str(cell)[:40]!r}, expected a number from {low:g} to {high:g}: correct it, '
                         'or state the range of all means in the column\'s name, as in mean_0_100, or convert the file '
                         f'with {command_of("utils/labels.py")} FILE --range LOW HIGH -o AVA.txt')
    return float(SCORES[0] + (SCORES[-1] - SCORES[0]) * ((value - low) / (high - low)))


def _std(cell: Any, mean: float, mean_range: Range) -> float:
    """A std on the scale from 1 to 10; InputError where no votes have it together with `mean`."""
    low, high = mean_range
    factor = (SCORES[-1] - SCORES[0]) / (high - low)
    std = _number(cell) * factor
    least, largest = (float(bound[0]) for bound in distributions.std_range(np.array([mean])))
    if not least - STD_ROUNDING <= std <= largest + STD_ROUNDING:
        raise InputError(f'found the standard deviation {str(cell)[:40]!r}, expected one from {least / factor:.4g} to '
                         f'{largest / factor:.4g}, as votes for the scores 1 to 10 with this mean have: correct or '
                         'delete the line, or leave out the column to use the means alone')
    return std


def _number(cell: Any) -> float:
    """A finite number, or NaN for anything else."""
    try:
        value = math.nan if isinstance(cell, bool) or isinstance(cell, str) and '_' in cell else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return value if math.isfinite(value) else math.nan
