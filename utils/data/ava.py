"""AVA's labels: a line of AVA.txt -> (image id, vote distribution), joined with the images on disk."""
import math
import os
import unicodedata
from typing import Any, Callable, Container, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import numpy as np

from utils.base.errors import InputError
from utils.base.scores import SCORES
from utils.data import image_names, label_tables, path_hints
from utils.data.image_kinds import BMP, ENDINGS, kind_of

ID_COLUMN, FIRST_VOTE, MIN_COLUMNS = 1, 2, 12  # index id v1 ... v10 [tag tag challenge]

_LINE = "lines of 'index id v1 ... v10'"
_NOT_TEXT = {b'PK\x03\x04': 'a ZIP archive', b'\x1f\x8b': 'a gzip archive', b'\x89HDF': 'an HDF5 file',
             b'\xff\xfe': 'UTF-16 text', b'\xfe\xff': 'UTF-16 text'}
_NOT_THERE: Dict[Type[OSError], str] = {
    FileNotFoundError: 'nothing', IsADirectoryError: 'a folder', NotADirectoryError: 'no folder'}

BadLine = Tuple[int, str]  # line number from 1, what is wrong with it


class Labels(NamedTuple):
    """The label file's content, whether or not the images exist."""

    ids: np.ndarray     # object (str) [N]: AVA's image id, or a file name
    distributions: np.ndarray  # float64 [N, 10], of the votes for each of SCORES; rows sum to 1
    bad: List[BadLine]  # the lines left out; empty unless skip_bad
    totals: np.ndarray  # float64 [N]: the sum of an image's votes


class Ratings(NamedTuple):
    """Images that exist and their vote distributions; row i of every array is the same image."""

    ids: np.ndarray     # object (str) [N]
    paths: np.ndarray   # object (str) [N]: path of the image file
    distributions: np.ndarray  # float64 [N, 10], of the votes for each of SCORES; rows sum to 1

    @property
    def count(self) -> int:  # type: ignore[override]  # len() of a NamedTuple would be its three fields
        """The number of images, N."""
        return len(self.ids)

    def take(self, indices: Any) -> 'Ratings':
        """The ratings at `indices`: a slice, an int array or a bool mask [N]."""
        return Ratings(self.ids[indices], self.paths[indices], self.distributions[indices])


def read_labels(ava_dataset_path: str, *, skip_bad: bool = False) -> Labels:
    """The labels of a file of lines 'index id v1 ... v10 tag tag challenge', in the file's order.

    Only id and votes are used, so 12 columns are enough. Votes are finite numbers from 0, decimals allowed, not all 0.
    An id occurs once, its blanks and letters beyond ASCII as image_names.encode() writes them. Blank lines are ignored;
    LF, CRLF, trailing blanks and a UTF-8 BOM are read. A file whose name ends with .csv or .json is read by
    label_tables. `skip_bad` lists bad lines in `bad` instead of raising.

    Raises InputError, `AVA.txt:17: found ..., expected ...: what to do`, for a bad line, and for a file that
    is missing, empty or no UTF-8 text.
    """
    data = read_text(ava_dataset_path)
    if label_tables.is_table(ava_dataset_path):
        ids, votes, bad = label_tables.parse(data, ava_dataset_path, skip_bad=skip_bad)
    else:
        ids, votes, bad = _parse(data, ava_dataset_path, skip_bad)
    if not ids:
        raise no_labels(ava_dataset_path, bad)
    totals = votes.sum(axis=1)
    # Strings as objects: in a fixed-width array the longest would set the size of all.
    return Labels(np.array(ids, dtype=object), votes / totals[:, np.newaxis], bad, totals)


def find_images(ids: Sequence[str], base_images_path: str) -> Tuple[np.ndarray, np.ndarray]:
    """The path of each id's image, object (str) [N], and whether it is there, bool [N].

    An id that ends like an image file is that file's name; any other is tried with image_kinds.ENDINGS, in their
    order. An image that is not there gets the path where it was expected first. The folder is listed once and
    no file in it is touched. Raises InputError where there is no folder, or none of the images in it.
    """
    try:
        listing = set(os.listdir(base_images_path))
    except tuple(_NOT_THERE) as error:
        raise _no_images(base_images_path, _NOT_THERE[type(error)], ids) from error
    except OSError as error:
        raise _unreadable(base_images_path, error, 'the folder of images') from error
    names = [_name_in(listing, image_id) for image_id in ids]
    if not all(names):
        # A Mac writes é as e and an accent: the same name in other letters.
        composed = {unicodedata.normalize('NFC', name): name for name in listing if not name.isascii()}
        names = [name or _composed_in(composed, image_id) for name, image_id in zip(names, ids)]
    mask = np.array([name is not None for name in names], dtype=bool)
    if len(names) and not mask.any():
        _refuse_endings(listing, ids, base_images_path)
        raise _no_images(base_images_path, f'none of the {len(names)} labelled images', ids)
    folder = os.path.join(base_images_path, '')
    paths = [folder + (name or image_names.file_names(image_id)[0]) for name, image_id in zip(names, ids)]
    return np.array(paths, dtype=object), mask


def read(ava_dataset_path: str, base_images_path: str, *, skip_bad: bool = False,
         report: Optional[Callable[[str], Any]] = None) -> Ratings:
    """The labels that have an image, in the file's order.

    `report`, such as print, gets one sentence on the labels without an image and one on the lines that
    `skip_bad` left out, if any. Raises InputError as read_labels and find_images do.
    """
    refuse_exchanged(ava_dataset_path, base_images_path)
    labels = read_labels(ava_dataset_path, skip_bad=skip_bad)
    paths, found = find_images(labels.ids, base_images_path)
    if report and labels.bad:
        line, reason = labels.bad[0]
        report(f'{ava_dataset_path}: bad lines left out: {len(labels.bad)}, first line {line}: {reason}')
    if report and not found.all():
        report(f'{ava_dataset_path}: {np.sum(~found)} of {len(found)} labels left out, which have no image in '
               f'{base_images_path}, first {labels.ids[~found][0]}')
    return Ratings(labels.ids, paths, labels.distributions).take(found)


def refuse_exchanged(ava_dataset_path: str, base_images_path: str) -> None:
    """Raise InputError where the two paths are exchanged."""
    if os.path.isdir(ava_dataset_path) and os.path.isfile(base_images_path):
        raise InputError(f'ava_dataset_path is a folder, {ava_dataset_path}, and base_images_path a file, '
                         f'{base_images_path}: exchange the two')


def split(ratings: Ratings, val_size: int, *, to_train: int = 1) -> Tuple[Ratings, Ratings]:
    """The training and the validation ratings: the last `val_size` rows are for validation.

    Raises InputError unless validation gets at least one image and leaves `to_train`, 0 where nothing is trained.
    """
    most = ratings.count - to_train
    if most < 1:
        raise InputError(f'images with a label: found {ratings.count}, expected at least one to train and one to '
                         'validate: add images')
    if not 1 <= val_size <= most:
        raise InputError(f'val_size: found {val_size}, expected 1 to {most} of the {ratings.count} images: type '
                         f'--val_size {max(1, ratings.count // 10) if to_train else ratings.count}')
    return ratings.take(slice(None, -val_size)), ratings.take(slice(-val_size, None))


def no_labels(path: str, bad: Sequence[BadLine]) -> InputError:
    """The error for a label file without a line that can be used."""
    found = f'no usable line (line {bad[0][0]}: {bad[0][1]})' if bad else 'no lines'
    return InputError(f'{path}: found {found}, expected {_expected(path)}')


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
    kind, other = kind_of(data[:12]), next((what for magic, what in _NOT_TEXT.items() if data.startswith(magic)), None)
    if other or kind not in (None, BMP):  # a text may begin with BM
        raise InputError(f'{path}: found {other or f"a {kind} image"}, expected UTF-8 text with {_expected(path)}')
    try:
        data.decode('utf-8')
    except UnicodeDecodeError as error:
        line = len(data[:error.start + 1].splitlines())
        raise InputError(f'{path}:{line}: found bytes that are not UTF-8, expected UTF-8 text with '
                         f'{_expected(path)} or save it as UTF-8') from error
    return data[3:] if data.startswith(b'\xef\xbb\xbf') else data


def _unreadable(path: str, error: OSError, expected: str) -> InputError:
    return InputError(f'cannot read {path}, {expected}: {error.strerror}. Change its permissions or copy it')


def _parse(data: bytes, path: str, skip_bad: bool) -> Tuple[List[str], np.ndarray, List[BadLine]]:
    """Ids [N], votes float64 [N, 10] and the bad lines, which raise InputError unless `skip_bad`."""
    votes: List[float] = []
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
            votes += line_votes  # one flat list: NumPy takes it several times as fast as a list of lists
    return list(line_of), np.array(votes, np.float64).reshape(-1, len(SCORES)), bad


def _parse_line(line: bytes) -> Tuple[str, List[float]]:
    columns = line.split(None, MIN_COLUMNS)
    if len(columns) < MIN_COLUMNS:
        raise _bad_line(f'{len(columns)} of {MIN_COLUMNS} columns, {_shown(line)}', 'index, id and ten votes')
    image_id = columns[ID_COLUMN].decode()
    if not image_id.isalnum():  # most are digits
        image_id = image_names.decode(image_id)
        if not image_names.is_safe(image_id):
            raise _bad_line(f'id {_shown(columns[ID_COLUMN])}', "a name without '/', '\\', '..' and NUL")
    columns = columns[FIRST_VOTE:MIN_COLUMNS]
    digits = b''.join(columns).isdigit()
    votes = list(map(float, columns)) if digits else [_vote(score, column) for score, column in enumerate(columns, 1)]
    if not 0 < sum(votes) < math.inf:
        raise _bad_line(f'votes that add up to {sum(votes):g}', 'at least one vote')
    return image_id, votes


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


def _name_in(listing: Container[str], image_id: str) -> Optional[str]:
    usual = image_id + ENDINGS[0]
    if image_id.isdigit() and usual in listing:  # AVA's, several times faster than all
        return usual
    return next((name for name in image_names.file_names(image_id) if name in listing), None)


def _composed_in(composed: Dict[str, str], image_id: str) -> Optional[str]:
    """The file of an id among files by their names in composed letters."""
    return composed.get(_name_in(composed, unicodedata.normalize('NFC', image_id)) or '') if composed else None


def _refuse_endings(listing: Container[str], ids: Sequence[str], base_images_path: str) -> None:
    """Raise InputError where labelled files are there whose ending is that of no kind of image that is read."""
    there = [image_id for image_id in ids if image_id in listing]
    if there:
        endings = sorted({os.path.splitext(image_id)[1] or 'none' for image_id in there})
        raise InputError(f'{base_images_path}: {len(there)} of the {len(ids)} labelled images are there, with the '
                         f'ending {", ".join(endings[:3])}, which is not read. Convert them to JPEG or PNG, and '
                         'correct their names in the labels')


def _no_images(base_images_path: str, found: str, ids: Sequence[str]) -> InputError:
    def has_one(listing: Container[str]) -> bool:
        return any(_name_in(listing, image_id) for image_id in ids)

    return InputError(f'{base_images_path}: found {found}, expected the folder of images: '
                      f'{path_hints.images_hint(base_images_path, has_one)}')
