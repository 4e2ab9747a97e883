"""Lines of AVA's label file, read and written.

A label whose std is assumed has the columns '0 0 -1' behind its votes, where AVA has two tags and the challenge: no
tags, no challenge. Who reads AVA's lines reads these, and the fact stays with its line.
"""
import math
import os
from typing import Dict, List, Sequence, Tuple

import numpy as np

from utils.base import files
from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.base.scores import SCORES
from utils.data import image_names, label_scale, label_tables

ID_COLUMN, FIRST_VOTE, MIN_COLUMNS = 1, 2, 12  # index id v1 ... v10 [tag tag challenge]
ASSUMED = '0 0 -1'
_NAME = "a name without '\\', '..' and NUL, in the folder of images or below it"

_ASSUMED = ASSUMED.encode().split()
BadLine = Tuple[int, str]  # line number from 1, what is wrong with it


def to_line(index: int, name: str, votes: Sequence[float], is_assumed: bool = False) -> str:
    """A line of AVA's label file: index, encoded name, ten votes, and ASSUMED where their std is."""
    numbers = (str(int(vote)) if float(vote).is_integer() else repr(float(vote)) for vote in votes)
    return f'{index} {image_names.encode(name)} {" ".join(numbers)}{" " + ASSUMED if is_assumed else ""}'


def to_lines(names: Sequence[str], votes: np.ndarray, assumed: np.ndarray, rows: Sequence[int],
             first: int = 1) -> List[str]:
    """The lines of some `rows` of names [N], votes [N, 10] and whether their std is assumed, bool [N], in this order.

    Their indices count from `first`.
    """
    return [to_line(index, names[row], votes[row], bool(assumed[row])) for index, row in enumerate(rows, first)]


def require_new(path: str, flag: str) -> None:
    """Raise InputError, which names `flag`, where `path` exists, cannot be written or would be read as a table."""
    if label_tables.is_table(path):
        raise InputError(f'{flag}: {path} would be read as a table. Choose another ending, such as AVA.txt')
    if os.path.lexists(path):
        raise InputError(f'{flag}: {path} exists already. Choose another name')
    files.require_writable(os.path.dirname(path), flag)


def write_new(path: str, lines: Sequence[str], flag: str) -> None:
    """Write `lines` to the new file `path`, whole or not at all; InputError as require_new() has it."""
    require_new(path, flag)
    with files.writing(path, f'Free space or choose another {flag}'):
        files.write(path, ''.join(line + '\n' for line in lines))


def parse(data: bytes, path: str, options: LabelOptions) -> Tuple[List[str], np.ndarray, np.ndarray, List[BadLine]]:
    """Ids [N], votes float64 [N, 10], whether their std is assumed, bool [N], and the bad lines.

    Bad lines raise InputError unless they are skipped.
    """
    votes: List[float] = []
    assumed: List[bool] = []
    bad: List[BadLine] = []
    line_of: Dict[str, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            image_id, line_votes, is_assumed = _parse_line(line)
            if image_id in line_of:
                raise InputError(f'found id {image_id}, which line {line_of[image_id]} has too, '
                                 f'expected each id once: delete one of the two lines')
        except InputError as error:
            if not options.skip_bad:
                offer = ', or leave out bad lines with --skip_bad_labels' if line_of else ''
                raise InputError(f'{path}:{number}: {error}{offer}') from error
            bad.append((number, str(error)))
        else:
            line_of[image_id] = number
            assumed.append(is_assumed)
            votes += line_votes  # one flat list: NumPy takes it several times as fast as a list of lists
    if line_of:
        label_scale.require_few(bad, len(line_of) + len(bad), options.max_bad, path)
    return list(line_of), np.array(votes, np.float64).reshape(-1, len(SCORES)), np.array(assumed, bool), bad


def _parse_line(line: bytes) -> Tuple[str, List[float], bool]:
    columns = line.split(None, MIN_COLUMNS)
    if len(columns) < MIN_COLUMNS:
        raise _bad_line(f'{len(columns)} of {MIN_COLUMNS} columns, {_shown(line)}', 'index, id and ten votes')
    image_id = columns[ID_COLUMN].decode()
    if not image_id.isalnum():  # most are digits
        image_id = image_names.decode(image_id)
        if not image_names.is_safe(image_id):
            raise _bad_line(f'id {_shown(columns[ID_COLUMN])}', _NAME)
    is_assumed = columns[MIN_COLUMNS:] != [] and columns[MIN_COLUMNS].split() == _ASSUMED
    columns = columns[FIRST_VOTE:MIN_COLUMNS]
    digits = b''.join(columns).isdigit()
    votes = list(map(float, columns)) if digits else [_vote(score, column) for score, column in enumerate(columns, 1)]
    if not 0 < sum(votes) < math.inf:
        raise _bad_line(f'votes that add up to {sum(votes):g}', 'at least one vote')
    return image_id, votes, is_assumed


def _bad_line(found: str, expected: str) -> InputError:
    return InputError(f'found {found}, expected {expected}: correct or delete the line')


def _vote(score: int, column: bytes) -> float:
    try:
        vote = float(column) if b'_' not in column else math.nan  # Python reads 1_0 as 10
    except ValueError:
        vote = math.nan
    if not 0 <= vote < math.inf:
        raise _bad_line(f'{_shown(column)} votes for score {score}', 'a number from 0')
    return vote


def _shown(text: bytes) -> str:
    shown = text.decode().strip()
    return repr(shown if len(shown) <= 40 else shown[:40] + '...')
