"""AVA's labels: a line of AVA.txt -> (image id, vote distribution), joined with the images on disk."""
import contextlib
import os
import unicodedata
from typing import Any, Callable, Container, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from utils.base import reading
from utils.base.errors import InputError
from utils.base.label_options import AS_USUAL, LabelOptions
from utils.base.scores import SCORES  # noqa: F401  others read it here
from utils.data import ava_lines, image_names, label_report, label_tables, label_text, panel, path_hints
from utils.data.ava_lines import BadLine
from utils.data.image_kinds import ENDINGS
from utils.data.panel import Panel

_LINE = "lines of 'index id v1 ... v10'"


class Labels(NamedTuple):
    """The label file's content, whether or not the images exist."""

    ids: np.ndarray     # object (str) [N]: AVA's image id, or a file name
    distributions: np.ndarray  # float64 [N, 10], of the votes for each of SCORES; rows sum to 1
    bad: List[BadLine]  # the lines left out; empty unless skip_bad
    totals: np.ndarray  # float64 [N]: the sum of an image's votes
    panel: Panel        # what is known of the people who voted
    is_table: bool      # no lines of AVA.txt
    about: List[str]    # what was read of a table, and how, as sentences


class Ratings(NamedTuple):
    """Images that exist and their vote distributions; row i of every array is the same image."""

    ids: np.ndarray     # object (str) [N]
    paths: np.ndarray   # object (str) [N]: path of the image file
    distributions: np.ndarray  # float64 [N, 10], of the votes for each of SCORES; rows sum to 1
    panel: Optional[Panel] = None  # what is known of the people who voted

    @property
    def count(self) -> int:  # type: ignore[override]  # len() of a NamedTuple would be its three fields
        """The number of images, N."""
        return len(self.ids)

    def take(self, indices: Any) -> 'Ratings':
        """The ratings at `indices`: a slice, an int array or a bool mask [N]."""
        return Ratings(self.ids[indices], self.paths[indices], self.distributions[indices],
                       self.panel and self.panel.take(indices))


def read_labels(ava_dataset_path: str, options: LabelOptions = AS_USUAL, *,
                exists: Optional[Callable[[str], bool]] = None) -> Labels:
    """The labels of a file of lines 'index id v1 ... v10 tag tag challenge', in the file's order, or of a table.

    Of lines only id and votes are used, so 12 columns are enough. Votes are finite numbers from 0, decimals allowed,
    not all 0. An id occurs once, its blanks and letters beyond ASCII as image_names.encode() writes them. Blank lines
    are ignored; LF, CRLF, trailing blanks, a BOM, UTF-16 and GBK are read. label_tables reads tables; `exists` says
    whether there is an image for a name in them. With `options.skip_bad` bad lines are listed in `bad`.

    Raises InputError, `AVA.txt:17: found ..., expected ...: what to do`, for a bad line, and for a file that
    is missing, empty or no text.
    """
    is_table, data, encoding = label_tables.is_table(ava_dataset_path), b'', None
    if not is_table:
        data, encoding = label_text.read(ava_dataset_path, _expected(ava_dataset_path))
        is_table = label_tables.looks_like_one(data.decode('utf-8'))
    if is_table:
        ids, votes, bad, people, about = label_tables.read(ava_dataset_path, options, exists)
    else:
        ids, votes, assumed, bad = ava_lines.parse(data, ava_dataset_path, options)
        people = panel.counted(votes)._replace(assumed=assumed)
        about = [f'{ava_dataset_path}: read as {encoding}'] if encoding else []
        about += [f'{ava_dataset_path}: {label_report.assumed(people)}'] if assumed.any() else []
    if not ids:
        raise no_labels(ava_dataset_path, bad)
    totals = votes.sum(axis=1)
    # Strings as objects: in a fixed-width array the longest would set the size of all.
    return Labels(np.array(ids, dtype=object), votes / totals[:, np.newaxis], bad, totals, people, is_table, about)


def find_images(ids: Sequence[str], base_images_path: str) -> Tuple[np.ndarray, np.ndarray]:
    """The path of each id's image, object (str) [N], and whether it is there, bool [N].

    An id that ends like an image file is that file's name; any other is tried with image_kinds.ENDINGS, in their
    order. An image that is not there gets the path where it was expected first. The folder is listed once and
    no file in it is touched. Raises InputError where there is no folder, or none of the images in it.
    """
    listing = list_images(base_images_path, ids)
    names = [_name_in(listing, image_id) for image_id in ids]
    if not all(names):
        # A Mac writes é as e and an accent: the same name in other letters. Windows does not tell a.JPG from A.jpg.
        composed = {unicodedata.normalize('NFC', name): name for name in listing if not name.isascii()}
        names = [name or _composed_in(composed, image_id) for name, image_id in zip(names, ids)]
    if not all(names):
        names = _in_other_case(listing, names, ids)
    mask = np.array([name is not None for name in names], dtype=bool)
    if len(names) and not mask.any():
        unread = with_unread_ending(base_images_path, ids)
        if unread:
            raise InputError(f'{base_images_path}: {_not_read(unread, len(ids))}')
        raise _no_images(base_images_path, f'none of the {len(names)} labelled images', ids)
    folder = os.path.join(base_images_path, '')
    paths = [folder + (name or image_names.file_names(image_id)[0]) for name, image_id in zip(names, ids)]
    return np.array(paths, dtype=object), mask


def list_images(base_images_path: str, ids: Sequence[str] = (), *, special: bool = False) -> Set[str]:
    """The names in the folder of images, and those in its sub-folders that `ids` name, as `session1/a.jpg`.

    Pipes and devices are left out unless `special`. InputError where there is no folder.
    """
    try:
        listing = set(_names(base_images_path, special))
    except tuple(path_hints.NOT_THERE) as error:
        raise _no_images(base_images_path, path_hints.NOT_THERE[type(error)], ids) from error
    except OSError as error:
        raise path_hints.unreadable(base_images_path, error, 'the folder of images') from error
    for below in sorted({os.path.dirname(image_id) for image_id in ids if '/' in image_id}):
        with contextlib.suppress(OSError):
            listing.update(f'{below}/{name}' for name in _names(os.path.join(base_images_path, below), special))
    return listing


def _names(folder: str, special: bool) -> List[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if special
                or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)  # from the listing alone
                or not reading.is_special(entry.path)]


def has_image(base_images_path: str) -> Callable[[str], bool]:
    """A function that says whether the folder has an image for an id."""
    listing = list_images(base_images_path)

    def exists(image_id: str) -> bool:
        image_id = image_id.replace('\\', '/')
        if '/' in image_id:
            return os.path.isfile(os.path.join(base_images_path, image_id))
        return _name_in(listing, image_id) is not None
    return exists


def read(ava_dataset_path: str, base_images_path: str, options: LabelOptions = AS_USUAL, *,
         report: Optional[Callable[[str], Any]] = None) -> Ratings:
    """The labels that have an image, in the file's order.

    `report`, such as print, gets sentences on what was read of a table, on the labels without an image and on the lines
    that were left out, if any. Raises InputError as read_labels and find_images do.
    """
    refuse_exchanged(ava_dataset_path, base_images_path)
    exists = has_image(base_images_path) if os.path.isdir(base_images_path) else None
    report = report or (lambda sentence: None)
    labels = read_labels(ava_dataset_path, options, exists=exists)
    for sentence in labels.about:  # a folder that is cut off may be why no image is found
        report(sentence)
    paths, found = find_images(labels.ids, base_images_path)
    for sentence in _about(ava_dataset_path, base_images_path, labels, paths, found):
        report(sentence)
    return Ratings(labels.ids, paths, labels.distributions, labels.panel).take(found)


def _about(path: str, folder: str, labels: Labels, paths: np.ndarray, found: np.ndarray) -> Iterator[str]:
    """What there is to report of bad lines, and of labels without an image."""
    if labels.bad:
        line, reason = labels.bad[0]
        yield f'{path}: bad lines left out: {len(labels.bad)}, first line {line}: {reason}'
    missing = labels.ids[~found]
    unread = with_unread_ending(folder, missing)
    if len(missing) > len(unread):
        yield (f'{path}: {len(missing) - len(unread)} of {len(found)} labels left out, which have no image in '
               f'{folder}, first {next(each for each in missing if each not in unread)}')
    if unread:
        yield f'{path}: {_not_read(unread, len(found))}'
    other = in_other_case(labels.ids[found], paths[found])
    if other:
        yield f'{path}: {len(other)} names differ from their files in the case of letters only, first {other[0]}'


def in_other_case(ids: Sequence[str], paths: Sequence[str]) -> List[str]:
    """The ids whose file is named so but for the case of its letters."""
    return [image_id for image_id, path in zip(ids, paths)
            if not image_id.isdigit() and not unicodedata.normalize('NFC', path).endswith(
                tuple(unicodedata.normalize('NFC', '/' + name) for name in image_names.file_names(image_id)))]


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


def _name_in(listing: Container[str], image_id: str) -> Optional[str]:
    usual = image_id + ENDINGS[0]
    if image_id.isdigit() and usual in listing:  # AVA's, several times faster than all
        return usual
    return next((name for name in image_names.file_names(image_id) if name in listing), None)


def _composed_in(composed: Dict[str, str], image_id: str) -> Optional[str]:
    """The file of an id among files by their names in composed letters."""
    return composed.get(_name_in(composed, unicodedata.normalize('NFC', image_id)) or '') if composed else None


def with_unread_ending(base_images_path: str, ids: Sequence[str]) -> Dict[str, str]:
    """Of ids without an image those that are files in the folder, with their endings, which are not read."""
    listing = list_images(base_images_path, ids) if len(ids) else set()
    return {image_id: os.path.splitext(image_id)[1] or 'none' for image_id in ids if image_id in listing}


def _not_read(unread: Dict[str, str], count: int) -> str:
    return (f'{len(unread)} of the {count} labelled images are there, with the ending '
            f'{", ".join(sorted(set(unread.values()))[:3])}, which is not read. Convert them to JPEG or PNG, and '
            'correct their names in the labels')


def _in_other_case(listing: Set[str], names: Sequence[Optional[str]], ids: Sequence[str]) -> List[Optional[str]]:
    """`names`, and where there is none the one file whose name differs in case only."""
    folded: Dict[str, List[str]] = {}
    for name in listing:
        folded.setdefault(name.casefold(), []).append(name)

    def only(image_id: str) -> Optional[str]:
        lower = [name.casefold() for name in image_names.file_names(image_id)]
        found = {name for key in lower for name in folded.get(key, ())}
        return found.pop() if len(found) == 1 else None
    return [name or only(image_id) for name, image_id in zip(names, ids)]


def _no_images(base_images_path: str, found: str, ids: Sequence[str]) -> InputError:
    def has_one(listing: Container[str]) -> bool:
        return any(_name_in(listing, image_id) for image_id in ids)

    return InputError(f'{base_images_path}: found {found}, expected the folder of images: '
                      f'{path_hints.images_hint(base_images_path, has_one)}')
