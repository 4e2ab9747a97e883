"""Tables of labels -> rows of cells: CSV, tab- and blank-separated text, JSON, JSON lines, Excel."""
import collections
import contextlib
import csv
import functools
import io
import math
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from utils.base import reading
from utils.base.errors import InputError, require_packages
from utils.base.scores import SCORES
from utils.base.text import printable
from utils.data import label_names
from utils.data.image_kinds import BY_ENDING

EXPECTED = 'a file name and ten votes, a mean and a standard deviation, or a mean'
NAMES = 'such as file, v1 ... v10, mean and std'
VOTE_NAMES = [f'v{score:g}' for score in SCORES]
AVA_TAGS = ['tag1', 'tag2', 'challenge']  # what follows the votes in AVA's lines
MOST_DIGITS = 100
THOUSANDS = re.compile(r',\d{3}\s*$')  # 5,125 is a thousand times 5.125 where commas separate columns too
_DELIMITERS = ',;\t=|'


class Part(NamedTuple):
    """Rows with the same columns: all of a text or an Excel sheet, or the JSON objects with the same keys."""

    where: str               # of the first line, or the first object
    names: List[str]         # of the columns
    rows: List[Tuple[int, List[Any]]]  # line or object number from 1, cells
    is_named: bool = True    # whether the first line names the columns


def read(text: str, path: str) -> List[Part]:
    """The rows of a table's text; InputError where it is none."""
    if path.lower().endswith(('.json', '.jsonl')):
        return _json_parts(text, path)
    text = without_comments(text)
    first = next((line for line in text.splitlines() if line.strip()), '')
    delimiter = delimiter_of(first)
    if delimiter is None:
        return _from_rows(_blank_separated(text, first), path)
    return _from_rows(_separated(text, delimiter, path), path)


def read_excel(path: str) -> Tuple[List[Part], str]:
    """The rows of an Excel file's first sheet that is not hidden, and where there are others, which was read.

    InputError where it is none or openpyxl is missing.
    """
    require_packages(path, {'openpyxl': 'openpyxl'}, 'requirements-tables.txt')
    import openpyxl
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheet = next((each for each in book.worksheets if each.sheet_state == 'visible'), book.worksheets[0])
        rows = [(number, [_excel_text(cell) for cell in cells])
                for number, cells in enumerate(sheet.iter_rows(values_only=True), 1)]
        others = ', '.join(each.title for each in book.worksheets if each is not sheet)
        book.close()
    except Exception as error:  # openpyxl raises what its parts raise, of zipfile, xml and its own
        raise InputError(f'{path}: found no Excel file that can be read ({error}), expected {EXPECTED} in each row: '
                         'save the table as CSV in UTF-8') from error
    return _from_rows(iter(rows), path), f'sheet read: {sheet.title}; not read: {others}' if others else ''


def without_comments(text: str) -> str:
    """A table's text whose first lines are empty where they are comments: they begin with # and have no columns."""
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith('#'):
            columns = len(line.split(delimiter_of(line)))
            above = [before for before in lines[:index] if before.strip()]
            are_comments = all(len(before.split(delimiter_of(line))) != columns for before in above)
            return ''.join(['\n'] * index + lines[index:]) if are_comments else text
    return text


def delimiter_of(line: str) -> Any:
    """What separates the columns of a table's first line; None for blanks."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', '', line)
    if ';' in bare or '\t' in bare:
        bare = re.sub(r'(?<=\d),(?=\d)', '', bare)  # of decimals
    found = max(_DELIMITERS, key=bare.count)
    return found if found in bare else None


def _excel_text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return '' if cell is None else str(cell)


def _separated(text: str, delimiter: str, path: str) -> Iterator[Tuple[int, List[str]]]:
    """Line number and cells of each row."""
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter)
    last = 0
    numbered: List[int] = []  # columns
    try:
        for cells in reader:
            line, last = last + 1, reader.line_num
            numbered = numbered or [column for column, name in enumerate(cells) if label_names.numbered(name)]
            unclear = delimiter == ',' or _has_thousands([cells[at] for at in numbered if at < len(cells)])
            yield line, [_with_point(cell, THOUSANDS if unclear else None) for cell in cells]
    except csv.Error as error:
        raise InputError(f'{path}:{last + 1}: found text that is no CSV ({error}), expected {EXPECTED} in each line: '
                         'close a quote that is open, or save the table as CSV again') from error


def _has_thousands(cells: Sequence[str]) -> bool:
    """Whether numbered columns have whole numbers but for those like 1,234, which may be thousands."""
    others = [cell for cell in cells if not re.fullmatch(r'\s*[1-9]\d{0,2},\d{3}\s*', cell)]
    return 4 <= len(others) < len(cells) and all(cell.strip().isdigit() for cell in others)


def _with_point(cell: str, unclear: Optional['re.Pattern[str]']) -> str:
    """A number as Excel writes it where the comma separates decimals; as it is where it may be another number."""
    is_decimal = ',' in cell and re.fullmatch(r'\s*[-+]?\d*,\d+\s*', cell) and not (unclear and unclear.search(cell))
    return cell.replace(',', '.') if is_decimal else cell


def _blank_separated(text: str, first: str) -> Iterator[Tuple[int, List[str]]]:
    """Line number and cells of each line; in lists of a name and a number, the name may have blanks."""
    cells = first.split()
    number_first = len(cells) > 1 and is_number(cells[0]) and is_image_name(first)
    number_last = len(cells) > 1 and is_number(cells[-1]) and is_image_name(first.rsplit(None, 1)[0])
    pair = len(cells) == 2 or number_first or number_last
    for line, row in enumerate(text.splitlines(), 1):
        yield line, row.split() if not pair else row.split(None, 1) if number_first else row.strip().rsplit(None, 1)


def is_image_name(text: str) -> bool:
    """Whether a text ends like the name of an image, of whatever kind."""
    return text.strip().lower().endswith(tuple(BY_ENDING))


def as_list(cell: Any) -> Optional[List[Any]]:
    """The list in a cell, as JSON or as its text; None where there is none."""
    if isinstance(cell, str) and cell.strip().startswith('['):
        with contextlib.suppress(ValueError):
            cell = reading.parse_json(cell)
    return cell if isinstance(cell, list) else None


def is_number(cell: Any) -> bool:
    return not math.isnan(number(cell))


def number(cell: Any) -> float:
    """A finite number, or NaN for anything else; a percent sign behind it is left out."""
    if isinstance(cell, str) and cell.rstrip().endswith('%'):
        cell = cell.rstrip()[:-1]
    try:
        value = math.nan if isinstance(cell, bool) or isinstance(cell, str) and '_' in cell else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _from_rows(rows: Iterator[Tuple[int, List[str]]], path: str) -> List[Part]:
    """One part: the first row that is not blank names the columns, or has cells like those below."""
    filled = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    if not filled:
        return []
    line, first = filled[0]
    where, width = f'{path}:{line}', len(first)
    is_named = _names_columns(first)
    if is_named:
        names, filled = [_one_line(cell) for cell in first], filled[1:]
    else:
        names = _names_of(first, where)
    return [Part(where, names, [(line, cells[:width] if not any(cells[width:]) else cells) for line, cells in filled],
                 is_named)]


def _one_line(name: str) -> str:
    return str(printable(' '.join(name.split())))


def _names_columns(cells: Sequence[str]) -> bool:
    """Whether a table's first row names its columns: not where all but an image's name are numbers."""
    if label_names.tier(label_names.FILE, cells[0]) is not None:
        return True
    if len(cells) == 2 and is_number(cells[0]) and not label_names.is_known(cells[1]):
        return False  # a mean and a name
    if len(cells) in (12, 15) and all(map(is_number, [cells[0], *cells[2:12]])):
        return False  # AVA's lines
    if any(map(is_image_name, cells)) and any(map(is_number, cells)):
        return False  # perhaps with a column more
    return any(not is_number(cell) and not cell.strip().startswith('[') for cell in cells[1:])


def _names_of(cells: Sequence[str], where: str) -> List[str]:
    """The names of the columns of a table that has none."""
    count = len(cells)
    if count == 2 and is_number(cells[0]) and not is_number(cells[1]):
        return ['mean', 'file']
    if count == 2 and cells[1].strip().startswith('['):
        return ['file', 'votes']
    names = {2: ['file', 'mean'], 3: ['file', 'mean', 'std'], 11: ['file', *VOTE_NAMES],
             12: ['index', 'file', *VOTE_NAMES], 15: ['index', 'file', *VOTE_NAMES, *AVA_TAGS]}.get(count)
    if names is None or count == 3 and not all(not cell.strip() or is_number(cell) for cell in cells[1:]):
        raise InputError(f'{where}: found {count} columns without names, expected {EXPECTED}: name the columns in '
                         f'the first line, {NAMES}')
    return names


def _json_parts(text: str, path: str) -> List[Part]:
    objects = _objects(_parsed(text, path))
    if objects is None:
        raise InputError(f'{path}: found JSON that is no list of objects, expected objects with {EXPECTED}: write '
                         '[{"file": "a.jpg", "mean": 5.5}, ...]')
    parts: Dict[Tuple[str, ...], Part] = {}
    for index, each in enumerate(objects, 1):
        keys = tuple(each)
        part = parts.setdefault(keys, Part(f'{path}: object {index}', [_one_line(key) for key in keys], []))
        part.rows.append((index, list(each.values())))
    return list(parts.values())


def _parsed(text: str, path: str) -> Any:
    """The value of JSON, or the list of the values of JSON lines."""
    def unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise InputError(f'{path}: found {printable(twice[:40])!r} twice in one JSON object, expected each name '
                             'once: delete one of the two')
        return found

    load = functools.partial(reading.parse_json, parse_int=_whole_number, object_pairs_hook=unique)
    if not text.strip():
        return []
    try:
        return load(text)
    except InputError:
        raise
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return [load(line) for line in lines if len(lines) > 1 or _refuse(error)]
        except ValueError:
            raise InputError(f'{path}: found text that is no JSON ({error}), expected a list of objects with '
                             f'{EXPECTED}: correct the file') from error


def _whole_number(digits: str) -> Any:
    """The number, or its text where it is so long that Python may refuse it: then it is no vote, but may be a name."""
    return int(digits) if len(digits) < MOST_DIGITS else digits


def _refuse(error: Exception) -> bool:
    raise error


def _objects(value: Any) -> Any:
    """The objects of a table in JSON, {name: votes, mean or object} among them; None where it is no table."""
    if isinstance(value, dict):
        inside = list(value.values())
        if len(inside) == 1 and isinstance(inside[0], list) and inside[0] and isinstance(inside[0][0], dict):
            value = inside[0]
        elif len(value) > 0 and all(isinstance(each, dict) for each in inside):
            value = [{'file': name, **each} for name, each in value.items()]
        elif not any(isinstance(each, list) and each and isinstance(each[0], dict) for each in inside):
            value = [{'file': name, 'votes' if isinstance(each, list) else 'mean': each}
                     for name, each in value.items()]
    return value if isinstance(value, list) and all(isinstance(each, dict) for each in value) else None
