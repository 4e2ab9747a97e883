"""AVA's labels: a line of AVA.txt -> (image id, ten vote shares), joined with the photographs on disk."""
import math
import os
import unicodedata
from typing import Any, Callable, Container, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import numpy as np

from utils.base.errors import InputError
from utils.base.scores import SCORES
from utils.data import image_names, label_tables, path_hints

ID_COLUMN, FIRST_VOTE, MIN_COLUMNS = 1, 2, 12  # index id v1 ... v10 [tag tag challenge]
MAX_DIGITS = 9  # of a vote count on the fast path: fits an int64 with room to spare

_LINE = "lines of 'index id v1 ... v10'"
_NOT_TEXT = {b'\xff\xd8\xff': 'a JPEG photograph', b'\x89PNG': 'a PNG picture', b'GIF8': 'a GIF picture',
             b'PK\x03\x04': 'a ZIP archive', b'\x1f\x8b': 'a gzip archive', b'\x89HDF': 'an HDF5 file',
             b'\xff\xfe': 'UTF-16 text', b'\xfe\xff': 'UTF-16 text'}
_NOT_THERE: Dict[Type[OSError], str] = {
    FileNotFoundError: 'nothing', IsADirectoryError: 'a folder', NotADirectoryError: 'no folder'}

BadLine = Tuple[int, str]  # line number from 1, what is wrong with it


class Labels(NamedTuple):
    """The label file as it stands, whether or not the photographs are there."""

    ids: np.ndarray     # object (str) [N]: AVA's image id, or a file name
    distributions: np.ndarray  # float64 [N, 10]: share of the votes for each of SCORES, rows sum to 1
    bad: List[BadLine]  # the lines left out; empty unless skip_bad
    totals: np.ndarray  # float64 [N]: the sum of a photograph's votes


class Ratings(NamedTuple):
    """Photographs that exist and how their votes spread; row i of every array is the same photograph."""

    ids: np.ndarray     # object (str) [N]
    paths: np.ndarray   # object (str) [N]: path of the image file
    distributions: np.ndarray  # float64 [N, 10]: share of the votes for each of SCORES, rows sum to 1

    @property
    def count(self) -> int:  # type: ignore[override]  # len() of a NamedTuple would be its three fields
        """The number of photographs, N."""
        return len(self.ids)

    def take(self, indices: Any) -> 'Ratings':
        """The ratings at `indices`: a slice, an int array or a bool mask [N]."""
        return Ratings(self.ids[indices], self.paths[indices], self.distributions[indices])


def read_labels(ava_dataset_path: str, *, skip_bad: bool = False) -> Labels:
    """The labels of a file of lines 'index id v1 ... v10 tag tag challenge', in the file's order.

    Only id and votes are used, so 12 columns are enough. Votes are finite numbers from 0, decimals allowed,
    not all 0; an id stands once, its blanks and letters beyond ASCII as photo_names.encode() writes them. Blank
    lines are ignored; LF, CRLF, trailing blanks and a UTF-8 BOM are read. A file whose name ends with .csv or .json
    is read as own_labels says. `skip_bad` lists bad lines in `bad` instead of raising.

    Raises InputError, `AVA.txt:17: found ..., expected ...: what to do`, for a bad line, and for a file that
    is missing, empty or no UTF-8 text.
    """
    data = read_text(ava_dataset_path)
    if label_tables.is_table(ava_dataset_path):
        ids, votes, bad = label_tables.parse(data, ava_dataset_path, skip_bad=skip_bad)
    else:
        ids, votes, bad = _parse_well_formed(data) or _parse_line_by_line(data, ava_dataset_path, skip_bad)
    if not ids:
        found = f'no usable line (line {bad[0][0]}: {bad[0][1]})' if bad else 'no lines'
        raise InputError(f'{ava_dataset_path}: found {found}, expected {_expected(ava_dataset_path)}')
    totals = votes.sum(axis=1)
    # Strings as objects: in a fixed-width array the longest would set the size of all.
    return Labels(np.array(ids, dtype=object), votes / totals[:, np.newaxis], bad, totals)


def find_images(ids: Sequence[str], base_images_path: str) -> Tuple[np.ndarray, np.ndarray]:
    """The path of each id's photograph, object (str) [N], and whether it is there, bool [N].

    An id that ends like an image file is that file's name; any other is tried with photo_names.ENDINGS, in their
    order. A photograph that is not there gets the path where it was expected first. The folder is listed once and
    no file in it is touched. Raises InputError where there is no folder, or none of the photographs in it.
    """
    try:
        listing = set(os.listdir(base_images_path))
    except tuple(_NOT_THERE) as error:
        raise _no_images(base_images_path, _NOT_THERE[type(error)], ids) from error
    except OSError as error:
        raise _unreadable(base_images_path, error, 'the folder of photographs') from error
    names = [_name_in(listing, image_id) for image_id in ids]
    if not all(names):
        # A Mac writes é as e and an accent: the same name in other letters.
        composed = {unicodedata.normalize('NFC', name): name for name in listing if not name.isascii()}
        names = [name or _composed_in(composed, image_id) for name, image_id in zip(names, ids)]
    mask = np.array([name is not None for name in names], dtype=bool)
    if len(names) and not mask.any():
        raise _no_images(base_images_path, f'none of the {len(names)} labelled photographs', ids)
    folder = os.path.join(base_images_path, '')
    paths = [folder + (name or image_names.file_names(image_id)[0]) for name, image_id in zip(names, ids)]
    return np.array(paths, dtype=object), mask


def read(ava_dataset_path: str, base_images_path: str, *, skip_bad: bool = False,
         report: Optional[Callable[[str], Any]] = None) -> Ratings:
    """The labels that have a photograph, in the file's order.

    `report`, such as print, gets one sentence on the labels without photograph and one on the lines that
    `skip_bad` left out, where there are any. Raises InputError as read_labels and find_images do.
    """
    refuse_exchanged(ava_dataset_path, base_images_path)
    labels = read_labels(ava_dataset_path, skip_bad=skip_bad)
    paths, found = find_images(labels.ids, base_images_path)
    if report and labels.bad:
        line, reason = labels.bad[0]
        report(f'{ava_dataset_path}: bad lines left out: {len(labels.bad)}, first line {line}: {reason}')
    if report and not found.all():
        report(f'{ava_dataset_path}: labels left out because {base_images_path} has no such photograph: '
               f'{np.sum(~found)} of {len(found)}, first {labels.ids[~found][0]}')
    return Ratings(labels.ids, paths, labels.distributions).take(found)


def refuse_exchanged(ava_dataset_path: str, base_images_path: str) -> None:
    """Raise InputError where the two paths stand the wrong way round."""
    if os.path.isdir(ava_dataset_path) and os.path.isfile(base_images_path):
        raise InputError(f'ava_dataset_path, base_images_path: found a folder, {ava_dataset_path}, and a '
                         f'file, {base_images_path}, expected a file and a folder: exchange the two')


def split(ratings: Ratings, val_size: int, *, to_train: int = 1) -> Tuple[Ratings, Ratings]:
    """The training and the validation ratings: the last `val_size` rows are for validation.

    Raises InputError unless validation gets at least one photograph and leaves `to_train`, 0 where nothing is trained.
    """
    most = ratings.count - to_train
    if most < 1:
        raise InputError(f'photographs with a label: found {ratings.count}, expected one to train and one to '
                         f'validate, or more: add photographs')
    if not 1 <= val_size <= most:
        raise InputError(f'val_size: found {val_size}, expected 1 to {most} of the '
                         f'{ratings.count} photographs: type --val_size '
                         f'{max(1, ratings.count // 10) if to_train else ratings.count}')
    return ratings.take(slice(None, -val_size)), ratings.take(slice(-val_size, None))


def _expected(path: str) -> str:
    """What a label file holds, and what to do about one that does not, as a clause."""
    if label_tables.is_table(path):
        return f'{label_tables.EXPECTED} in each line: give a table with labels'
    return f'{_LINE}: give the label file AVA.txt'


def read_text(path: str) -> bytes:
    """The bytes of a label file without its BOM; InputError where it is not there or no UTF-8 text."""
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except tuple(_NOT_THERE) as error:
        raise InputError(f'{path}: found {_NOT_THERE[type(error)]}, expected the label file: '
                         f'{path_hints.labels_hint(path)}') from error
    except OSError as error:
        raise _unreadable(path, error, 'the label file') from error
    for magic, kind in _NOT_TEXT.items():
        if data.startswith(magic):
            raise InputError(f'{path}: found {kind}, expected UTF-8 text with {_expected(path)}')
    try:
        data.decode('utf-8')
    except UnicodeDecodeError as error:
        line = len(data[:error.start + 1].splitlines())
        raise InputError(f'{path}:{line}: found bytes that are not UTF-8, expected UTF-8 text with '
                         f'{_expected(path)} or save it as UTF-8') from error
    return data[3:] if data.startswith(b'\xef\xbb\xbf') else data


def _unreadable(path: str, error: OSError, expected: str) -> InputError:
    return InputError(f'{path}: found a path that cannot be read ({error.strerror}), expected {expected}: '
                      'change its permissions, or copy it to where it can be read')


def _parse_well_formed(data: bytes) -> Optional[Tuple[List[str], np.ndarray, List[BadLine]]]:
    """Ids [N], votes float64 [N, 10] and no bad lines; None where a line needs a closer look.

    All lines at once, several times faster than one by one: `starts` and `ends` are the offsets of every
    column in the file.
    """
    if data.count(b'\r') != data.count(b'\r\n'):
        return None
    text = np.frombuffer(b'\n' + data + b'\n', np.uint8)
    blank = (text == ord(' ')) | ((text >= ord('\t')) & (text <= ord('\r')))
    edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    first = np.searchsorted(starts, np.flatnonzero(text == ord('\n')))  # the first column of each line
    columns = np.diff(first)
    first, columns = first[:-1][columns > 0], columns[columns > 0]
    if not len(first) or columns.min() < MIN_COLUMNS:
        return None
    cells = first[:, np.newaxis] + np.arange(FIRST_VOTE, MIN_COLUMNS)
    votes = _whole_numbers(text, starts[cells], ends[cells])
    # -1: `starts` counts the line feed that was put in front.
    places = zip((starts[first + ID_COLUMN] - 1).tolist(), (ends[first + ID_COLUMN] - 1).tolist())
    characters = data.decode() if data.isascii() else ''  # a slice of them is several times as fast
    ids = [characters[start:end] or data[start:end].decode() for start, end in places]
    if b'%' in data:
        ids = list(map(image_names.decode, ids))
    if votes is None or not votes.any(axis=1).all():
        return None
    if len(set(ids)) < len(ids) or not image_names.is_safe('\n'.join(ids)):
        return None
    return ids, votes.astype(np.float64), []


def _whole_numbers(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Optional[np.ndarray]:
    """The numbers, int64, that stand in text[starts:ends]; None unless all are one to MAX_DIGITS digits."""
    digits = ends - starts
    if digits.max() > MAX_DIGITS:
        return None
    numbers = np.zeros(starts.shape, np.int64)
    for place in range(digits.max()):
        inside = place < digits
        digit = text[np.where(inside, starts + place, starts)].astype(np.int64) - ord('0')
        if ((digit < 0) | (digit > 9)).any():
            return None
        numbers = np.where(inside, 10 * numbers + digit, numbers)
    return numbers


def _parse_line_by_line(data: bytes, path: str, skip_bad: bool) -> Tuple[List[str], np.ndarray, List[BadLine]]:
    """Ids [N], votes float64 [N, 10] and the bad lines, which raise InputError unless `skip_bad`."""
    votes: List[List[float]] = []
    bad: List[BadLine] = []
    line_of: Dict[str, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            image_id, line_votes = _parse_line(line)
            if image_id in line_of:
                raise InputError(f'found id {image_id}, which line {line_of[image_id]} has too, '
                                 f'expected each id once: delete one of the two lines')
        except InputError as error:
            if not skip_bad:
                raise InputError(f'{path}:{number}: {error}, or leave out bad lines with '
                                 '--skip_bad_labels') from error
            bad.append((number, str(error)))
        else:
            line_of[image_id] = number
            votes.append(line_votes)
    return list(line_of), np.array(votes, dtype=np.float64).reshape(-1, len(SCORES)), bad


def _parse_line(line: bytes) -> Tuple[str, List[float]]:
    columns = line.split(None, MIN_COLUMNS)
    if len(columns) < MIN_COLUMNS:
        raise _bad_line(f'{len(columns)} of {MIN_COLUMNS} columns, {_shown(line)}', 'index, id and ten votes')
    image_id = image_names.decode(columns[ID_COLUMN].decode())
    if not image_names.is_safe(image_id):
        raise _bad_line(f'id {_shown(columns[ID_COLUMN])}', "a name without '/', '\\', '..' and NUL")
    votes = [_vote(column) for column in columns[FIRST_VOTE:MIN_COLUMNS]]
    for score, vote in enumerate(votes, 1):
        if not 0 <= vote < math.inf:
            column = columns[ID_COLUMN + score]
            raise _bad_line(f'{_shown(column)} votes for score {score}', 'a number from 0')
    if not 0 < sum(votes) < math.inf:
        raise _bad_line(f'votes that add up to {sum(votes):g}', 'at least one vote')
    return image_id, votes


def _bad_line(found: str, expected: str) -> InputError:
    return InputError(f'found {found}, expected {expected}: correct or delete the line')


def _vote(column: bytes) -> float:
    try:
        return float(column) if b'_' not in column else math.nan  # Python reads 1_0 as 10
    except ValueError:
        return math.nan


def _shown(text: bytes) -> str:
    shown = text.decode().strip()
    return repr(shown if len(shown) <= 40 else shown[:40] + '...')


def _name_in(listing: Container[str], image_id: str) -> Optional[str]:
    usual = image_id + image_names.ENDINGS[0]
    if image_id.isdigit() and usual in listing:  # AVA's, several times faster than all
        return usual
    return next((name for name in image_names.file_names(image_id) if name in listing), None)


def _composed_in(composed: Dict[str, str], image_id: str) -> Optional[str]:
    """The file of an id among files by their names in composed letters."""
    return composed.get(_name_in(composed, unicodedata.normalize('NFC', image_id)) or '') if composed else None


def _no_images(base_images_path: str, found: str, ids: Sequence[str]) -> InputError:
    def has_one(listing: Container[str]) -> bool:
        return any(_name_in(listing, image_id) for image_id in ids)

    return InputError(f'{base_images_path}: found {found}, expected the folder of photographs: '
                      f'{path_hints.images_hint(base_images_path, has_one)}')
