"""Scores of images as text: a table, CSV, JSON or JSON lines, written as they come, and resumed."""
import contextlib
import csv
import heapq
import io
import json
import os
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, TextIO, Tuple

import numpy as np

from utils import score_utils
from utils.base import files, progress, reading
from utils.base.errors import InputError
from utils.base.percentiles import percentile
from utils.base.scores import SCORES
from utils.base.text import printable

FILE, MEAN, STD, PERCENTILE = COLUMNS = ('file', 'mean_score_1_to_10', 'standard_deviation',
                                         'percentile_among_ava_means')
RANK = 'rank'
SHARES = tuple(f'share_of_{score:.0f}' for score in SCORES)
DECIMALS, SHARE_DECIMALS = 6, 8
SAME_MEAN = 0.01  # further apart than one model's scores on two devices

Scored = Tuple[str, np.ndarray]  # a file and its predicted vote distribution [10]
Row = Dict[str, Any]


def columns(with_shares: bool, with_rank: bool = False) -> Tuple[str, ...]:
    """The names of the columns."""
    return ((RANK,) if with_rank else ()) + COLUMNS + (SHARES if with_shares else ())


def rows(scored: Iterable[Scored], names: Sequence[str]) -> Iterator[Row]:
    """Each file and its predicted distribution [10] as a dict with the keys `names`."""
    for number, (file, distribution) in enumerate(scored, 1):
        mean = float(score_utils.mean_score(distribution))
        row = {RANK: number, FILE: printable(file), MEAN: round(mean, DECIMALS),
               STD: round(float(score_utils.std_score(distribution)), DECIMALS),
               PERCENTILE: round(percentile(mean), 1),
               **dict(zip(SHARES, (round(float(share), SHARE_DECIMALS) for share in distribution)))}
        yield {name: row[name] for name in names}


class Best:
    """The images with the highest mean scores, up to `limit`, among those that watch() let pass."""

    def __init__(self, limit: Optional[int] = None) -> None:
        self.limit = limit
        self._heap: List[Tuple[float, int, Scored]] = []

    def watch(self, scored: Iterable[Scored]) -> Iterator[Scored]:
        """`scored` as it is."""
        for number, one in enumerate(scored):
            entry = (round(float(score_utils.mean_score(one[1])), DECIMALS), -number, one)
            if self.limit is None or len(self._heap) < self.limit:
                heapq.heappush(self._heap, entry)
            else:
                heapq.heappushpop(self._heap, entry)
            yield one

    def ranked(self) -> List[Scored]:
        """The highest mean first; equal ones in the order in which they passed."""
        return [one for _, _, one in sorted(self._heap, reverse=True, key=lambda entry: entry[:2])]


def ranked(scored: Iterable[Scored], limit: Optional[int]) -> Iterator[Scored]:
    """Once all are there, those with the `limit` highest means, or all of them, the highest first."""
    best = Best(limit)
    for _ in best.watch(scored):
        pass
    yield from best.ranked()


# --- text: generators of whole lines, the first of them with the first row, so that an early error prints nothing

def table(rows: Iterable[Row], names: Sequence[str], header: bool = True) -> Iterator[str]:
    """Aligned lines for people, the scale in the header."""
    shares = [name for name in names if name in SHARES]
    head = '  rank  ' if RANK in names else ''
    head += 'mean score (1 to 10)  standard deviation  percentile among AVA  '
    head += ''.join(f'{name.replace("_", " "):>11}  ' for name in shares) + 'file\n'
    for row in rows:
        line = f'{row[RANK]:6d}  ' if RANK in names else ''
        line += f'{row[MEAN]:20.4f}  {row[STD]:18.4f}  {row[PERCENTILE]:20.1f}  '
        yield head + line + ''.join(f'{row[name]:11.6f}  ' for name in shares) + row[FILE] + '\n'
        head = ''
    yield head


def comma_separated(rows: Iterable[Row], names: Sequence[str], header: bool = True) -> Iterator[str]:
    """CSV with `names` as its header."""
    head = _csv_line(names) if header else ''
    for row in rows:
        yield head + _csv_line([row[name] for name in names])
        head = ''
    yield head


def json_lines(rows: Iterable[Row], names: Sequence[str], header: bool = True) -> Iterator[str]:
    """A JSON object on each line."""
    for row in rows:
        yield json.dumps(row, allow_nan=False, ensure_ascii=False) + '\n'


def json_array(rows: Iterable[Row], names: Sequence[str], header: bool = True) -> Iterator[str]:
    """A JSON array with one object for each image; whole once all rows have come."""
    before = '[\n'
    for row in rows:
        yield before + ' ' + json.dumps(row, allow_nan=False, ensure_ascii=False)
        before = ',\n'
    yield '[]\n' if before == '[\n' else '\n]\n'


FORMATS: Dict[str, Callable[..., Iterator[str]]] = {
    'table': table, 'csv': comma_separated, 'json': json_array, 'jsonl': json_lines}


def _csv_line(values: Iterable[Any]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator='\n').writerow(list(values))
    return stream.getvalue()


# --- where it goes

class Output(NamedTuple):
    """A table of scores, and what it holds already."""

    path: Optional[str]      # None for standard output
    format: str              # of FORMATS
    names: Sequence[str]     # of the columns
    append: bool = False
    has_header: bool = False
    means: Dict[str, float] = {}  # by printable() name
    size: int = 0            # in bytes, of what is there


def write(scored: Iterable[Scored], output: Output) -> None:
    """Write each row as it comes. The file is made with the first one.

    A JSON array, which is none without its end, is written into NAME.partial, which gets its name when it is whole.
    """
    chunks = FORMATS[output.format](rows(scored, output.names), output.names, not output.has_header)
    if output.path is None:
        for chunk in chunks:
            progress.write(chunk, sys.stdout)
        return
    path = _written(output)
    stream: Optional[TextIO] = None
    try:
        for chunk in chunks:
            with files.writing(path, 'Free space or choose another --output; the lines so far are complete, but '
                                     'perhaps the last'):
                stream = stream or _opened(path, output)
                stream.write(chunk)
                stream.flush()
        if stream is not None and not files.is_at(path, stream.fileno()):
            raise InputError(f'{path} was removed while it was written. Run the same command again')
        with files.writing(path, 'The scores are in it: rename it'):
            if path != output.path:
                files.rename_new(path, str(output.path))
    finally:
        if stream is not None:
            with contextlib.suppress(OSError):  # each chunk was flushed: closing can only repeat its error
                stream.close()


def _written(output: Output) -> str:
    """The file that is written into."""
    return f'{output.path}.partial' if output.format == 'json' else str(output.path)


def _opened(path: str, output: Output) -> TextIO:
    """The file, locked; InputError where another process has written into it since prepare()."""
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    try:
        stream = open(path, 'a' if output.append else 'x', encoding='utf-8', newline='\n')  # noqa: SIM115
    except FileExistsError as error:
        raise _in_use(path) from error
    if files.try_lock(stream.fileno()) is False or os.fstat(stream.fileno()).st_size != output.size:
        stream.close()
        raise _in_use(path)
    return stream


def _in_use(path: str) -> InputError:
    return InputError(f'{path} is in use: another process writes there. Wait for it, stop it or choose another '
                      '--output')


def prepare(output: Output) -> Output:
    """`output` with what its file holds already, where it is appended to; a last line that was cut short is removed.

    InputError where the file exists and is not appended to, cannot be written, or holds something else.
    """
    path = output.path
    if path is None:
        return output
    if not os.path.lexists(path):
        partial = _written(output)
        if os.path.lexists(partial):
            raise InputError(f'{partial} exists already: another run is writing {path}, or one was stopped. Remove it '
                             'or choose another --output')
        files.require_writable(os.path.dirname(path), '--output')
        return output
    if not output.append:
        more = ', or add --resume to continue it' if output.format in ('csv', 'jsonl') else ''
        raise InputError(f'{path} exists already. Remove it or choose another --output{more}')
    with files.writing(path, 'Choose another --output'), open(path, 'r+b') as stream:
        if files.try_lock(stream.fileno()) is False:
            raise _in_use(path)
        return _continued(stream, output)


def still_to_score(paths: Iterable[str], output: Output) -> List[str]:
    """The files that are not in the output, after the last one that is, for same_model() to compare."""
    paths = list(paths)
    new = [path for path in paths if printable(path) not in output.means]
    before = [path for path in paths if printable(path) in output.means and os.path.isfile(path)]
    return before[-1:] + new if new else []


def same_model(scored: Iterable[Scored], output: Output) -> Iterator[Scored]:
    """`scored` without what is in the output already; InputError where the mean there is another one."""
    for one in scored:
        name = printable(one[0])
        if name not in output.means:
            yield one
            continue
        mean, before = float(score_utils.mean_score(one[1])), output.means[name]
        if abs(mean - before) > SAME_MEAN:
            raise InputError(f'{output.path} has a mean score of {before:.4f} for {name}, but this model predicts '
                             f'{mean:.4f}. Choose the --checkpoint with which the file was begun, or another --output')


def _continued(stream: Any, output: Output) -> Output:
    means: Dict[str, float] = {}
    end = 0
    for number, line in enumerate(stream, 1):
        if not line.endswith(b'\n'):
            break
        end += len(line)
        if output.format == 'csv' and number == 1:
            if line.decode('utf-8', 'replace') != _csv_line(output.names):
                raise _another(output, number)
        else:
            file, mean = _read_row(line, output, number)
            means[file] = mean
    stream.seek(end)
    if end == 0 and output.format == 'csv' and not _csv_line(output.names).encode().startswith(stream.read()):
        raise _another(output, 1)
    stream.truncate(end)
    return output._replace(has_header=end > 0, means=means, size=end)


def _read_row(line: bytes, output: Output, number: int) -> Tuple[str, float]:
    """File and mean score of a line."""
    names, is_csv = output.names, output.format == 'csv'
    try:
        text = line.decode('utf-8')
        row = next(csv.reader([text])) if is_csv else reading.parse_json(text)
        values = row if is_csv else [row[name] for name in names]
        mean = float(values[names.index(MEAN)])
        if len(row) == len(names) and SCORES[0] <= mean <= SCORES[-1]:
            return str(values[names.index(FILE)]), mean
    except (ValueError, TypeError, KeyError, csv.Error):
        pass
    raise _another(output, number)


def _another(output: Output, number: int) -> InputError:
    shares = ' and the ten shares' if len(output.names) > len(COLUMNS) else ''
    return InputError(f'{output.path}:{number}: predict.py did not write this line with these flags, expected '
                      f'{", ".join(COLUMNS)}{shares}. Use the same --format and --shares as before or another '
                      '--output')
