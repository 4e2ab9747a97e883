"""Which images are for training and which for validation, and the hashes that identify such a split."""
import collections
import hashlib
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from utils.base import reading
from utils.base.defaults import VAL_SIZE
from utils.base.errors import InputError
from utils.base.label_options import AS_USUAL, LabelOptions
from utils.data import ava, image_names
from utils.data.image_kinds import ENDINGS

LAST, OFFICIAL = 'last', 'official'  # any other split is the path of a list
COLUMN = 'column'  # as a group: that of the label file; any other is a pattern of names
OFFICIAL_LIST = 'generic_test.jpgl'
# Where AVA's own list usually is, seen from the label file's folder: beside it, or as AVA is unpacked.
_LIST_FOLDERS = ('', 'aesthetics_image_lists', 'AVA_dataset/aesthetics_image_lists')
SHORT = 12  # characters of a hash on the screen

Parts = Tuple[ava.Ratings, ava.Ratings]


class Test(NamedTuple):
    """Which images are test images: no training sees them, in no epoch's scores either. At most one is given."""

    labels: Optional[str] = None  # a label file of their own
    split: Optional[str] = None   # OFFICIAL, or the path of a list

    @property
    def source(self) -> Optional[str]:
        """The label file or the list; None where there are no test images."""
        return self.labels or self.split


def data_hash(ratings: ava.Ratings) -> str:
    """SHA-256, in hexadecimal, of ids and vote distributions in their order: the same for the same data in any file."""
    digest = hashlib.sha256('\n'.join(ratings.ids).encode('utf-8', 'surrogateescape'))
    digest.update(np.ascontiguousarray(ratings.distributions, '<f8').tobytes())
    return digest.hexdigest()


def split_hash(val: ava.Ratings) -> str:
    """SHA-256, in hexadecimal, of the ids of the images that are for validation, in any order."""
    return hashlib.sha256('\n'.join(sorted(val.ids)).encode('utf-8', 'surrogateescape')).hexdigest()


def describe(split: str, val: ava.Ratings) -> str:
    """The split as it is printed beside a score: 'split last 5000, hash 1a2b3c4d5e6f'."""
    return f'split {name(split, val)}, hash {split_hash(val)[:SHORT]}'


def name(split: str, val: ava.Ratings) -> str:
    """The split's name and the number of its images, such as 'last 5000'; of a list its file's name."""
    return f'{os.path.basename(split)} {val.count}'


def metadata(split: str, train: ava.Ratings, val: ava.Ratings, test: Optional[ava.Ratings] = None) -> Dict[str, Any]:
    """What a checkpoint's metadata says of the data: the split's name, its hash, and the hash of all labels used.

    `labels_hash` is data_hash() of the training images, in their order, followed by those for validation.
    """
    used = ava.Ratings(*(np.concatenate(columns) for columns in zip(train[:3], val[:3])))
    more = {} if test is None else {'test_hash': split_hash(test), 'test_images': test.count}
    if train.panel is not None and train.panel.assumed.any():
        more['std_assumed'] = int(train.panel.assumed.sum())
    return {'split': name(split, val), 'split_hash': split_hash(val), 'labels_hash': data_hash(used), **more}


def std_assumed(path: str, data: Any) -> Optional[str]:
    """A warning where `data` of the checkpoint at `path` says that its training labels were means alone."""
    count = data.get('std_assumed') if isinstance(data, dict) else None
    return (f'{path}: predicted standard deviations are assumed, not measured: {count} of its training labels were a '
            'mean alone') if count else None


def unlike_trained(path: str, data: Any, split: str, val: ava.Ratings) -> Optional[str]:
    """A warning where `data` of the checkpoint at `path` names another split than the one that is evaluated.

    `data` is what metadata() gave when it was trained; None and anything else name no split.
    """
    trained = data.get('split_hash') if isinstance(data, dict) else None
    if not isinstance(trained, str) or split_hash(val) in (trained, data.get('test_hash')):
        return None
    before, now = f"'{data.get('split', 'unknown')}'", f"'{name(split, val)}'"
    if before == now:
        before, now = f'{before} (hash {trained[:SHORT]})', f'{now} (hash {split_hash(val)[:SHORT]})'
    return f'warning: {path}: trained with split {before}, evaluated on {now}: training images may be among them'


def choose(ratings: ava.Ratings, split: str = LAST, val_size: Optional[int] = None, *, labels: str = '',
           to_train: int = 1, group: Optional[str] = None, flag: str = '--split',
           report: Optional[Callable[[str], Any]] = None) -> Parts:
    """The training and the validation ratings.

    `split` is 'last', the last `val_size` rows; 'official', AVA's own test list, which is near the label file
    `labels`; or the path of a list of ids or file names, one a line. The listed images, in the list's order and
    only the first `val_size` where it is given, are for validation; what the list does not name is for training.
    With `group`, and 'last', images of one group, of the label file's for COLUMN or else of group_of(), are all on one
    side: whole groups from the end of the rows, until `val_size` rows are in them. `report`, such as print, gets one
    sentence on a list's entries that are left out. Errors name the `flag` that `split` comes from.

    Raises InputError where validation has no image or training fewer than `to_train`, 0 or 1, the two share a
    file, or the list cannot be used.
    """
    if split == LAST:
        parts = ava.split(ratings, VAL_SIZE if val_size is None else val_size, to_train=to_train)
        if group:
            parts = _last_groups(ratings, parts[1].count, group, to_train)
    else:
        parts = _listed(ratings, find_official(labels, flag) if split == OFFICIAL else split, val_size, to_train, flag,
                        report)
    _refuse_overlap(*parts)
    return parts


def group_of(name: str, group: str) -> str:
    """The group of an image by its id or file name: what the pattern's first (...), or else all of it, matches.

    An image that it does not match is a group of its own.
    """
    found = re.search(group, name)
    return name if found is None else found.group(1 if found.re.groups else 0) or name


def _groups(ratings: ava.Ratings, group: str) -> List[str]:
    """The group of each image; one without an entry in the column is a group of its own."""
    if group != COLUMN:
        return [group_of(image_names.decode(image_id), group) for image_id in ratings.ids]
    if ratings.panel is None or ratings.panel.groups is None:
        raise InputError('--group column: found no column of groups in the label file, expected one named group, '
                         'scene, session or the like. Name it so, or give a pattern of file names')
    return [each or f'image {image_id}' for each, image_id in zip(ratings.panel.groups, ratings.ids)]


def _last_groups(ratings: ava.Ratings, val_size: int, group: str, to_train: int) -> Parts:
    groups = _groups(ratings, group)
    sizes = collections.Counter(groups)
    chosen, images = set(), 0
    for each in reversed(groups):
        if images < val_size and each not in chosen:
            chosen.add(each)
            images += sizes[each]
    val = np.array([each in chosen for each in groups])
    if ratings.count - images < to_train:
        raise InputError(f'--group: the {val_size} validation images and those of their groups are all '
                         f'{ratings.count} images, which leaves none to train on. The first group is {groups[0]!r}, of '
                         f'{sizes[groups[0]]} images: use smaller ones, or less --val_size')
    return ratings.take(~val), ratings.take(val)


def test_images(ratings: Optional[ava.Ratings], test: Test, images: str, *, labels: str = '',
                options: LabelOptions = AS_USUAL, to_train: int = 1,
                report: Optional[Callable[[str], Any]] = None) -> Parts:
    """The ratings that are left for training and validation, and those of the test images.

    `ratings` are those of the label file `labels`, `images` is the folder of all images. Without `ratings`, test images
    with labels of their own are read alone, and none are left. No image file is opened.
    """
    if test.labels is None:
        assert ratings is not None and test.split is not None
        return choose(ratings, test.split, labels=labels, to_train=to_train, flag='--test_split', report=report)
    found = ava.read(test.labels, images, options, report=report)
    if ratings is None:
        return found.take(slice(0)), found
    rest = ratings.take(~np.isin(ratings.paths.astype(str), found.paths.astype(str)))
    if rest.count < to_train:
        raise InputError(f'--test_labels: {test.labels} has labels of all {ratings.count} images of {labels}, which '
                         'leaves none to train on. Give the labels of the test images alone')
    return rest, found


def of_two_files(train: ava.Ratings, val: ava.Ratings, val_size: Optional[int], to_train: int = 1) -> Parts:
    """The images of two label files, of the second the first `val_size` where it is given.

    Raises InputError where they share a file, or one has too few images.
    """
    if train.count < to_train or not val.count:
        raise InputError(f'--val_dataset_path: found {train.count} images to train and {val.count} to validate, '
                         'expected at least one of each: give two label files of images that are there')
    if val_size is not None and val_size > val.count:
        raise InputError(f'val_size: found {val_size}, expected at most the {val.count} images of --val_dataset_path: '
                         'type less, or leave it out to take all')
    _refuse_overlap(train, val)
    return train, val.take(slice(val_size))


def find_official(labels: str, flag: str = '--split') -> str:
    """The path of AVA's own test list, near the label file `labels`; InputError where there is none."""
    folder = os.path.dirname(os.path.abspath(labels))
    paths = [os.path.normpath(os.path.join(folder, below, OFFICIAL_LIST)) for below in _LIST_FOLDERS]
    for path in paths:
        if os.path.isfile(path):
            return path
    raise InputError(f'{flag} official: found no {", no ".join(paths)}, expected the list of test images that '
                     f"AVA comes with: put AVA's folder aesthetics_image_lists beside the label file, or type "
                     f'{flag} with the path of {OFFICIAL_LIST}')


def read_list(path: str, flag: str = '--split') -> List[str]:
    """The lines of a list of images, without blank ones; InputError where it is no text or has none."""
    try:
        lines = [line.strip() for line in reading.read_typed(path).decode('utf-8-sig').splitlines()]
    except OSError as error:
        last = f'{LAST}, ' if flag == '--split' else ''
        raise InputError(f'{flag}: cannot read {path}: {error.strerror}. Give {last}{OFFICIAL} or the path of a '
                         'list of images, one id or file name a line') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{flag}: {path} is no UTF-8 text. Give a list of images, one id or file name a line, in '
                         'UTF-8') from error
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f'{flag}: {path} is empty. Give a list of images, one id or file name a line')
    return lines


def _listed(ratings: ava.Ratings, path: str, val_size: Optional[int], to_train: int, flag: str,
            report: Optional[Callable[[str], Any]]) -> Parts:
    lines = read_list(path, flag)
    row_of = _rows_by_name(ratings)
    rows = [_row(row_of, line) for line in lines]
    listed = list(collections.OrderedDict.fromkeys(row for row in rows if row is not None))
    unknown = [line for line, row in zip(lines, rows) if row is None]
    if not listed:
        raise InputError(f'{flag}: none of the {len(lines)} images in {path} is among the {ratings.count} that have a '
                         f'label and a file; the first is {unknown[0][:40]!r}. Give the list that belongs to these '
                         'labels, with ids or file names as in the label file')
    if report and len(listed) < len(lines):
        first = f', first {unknown[0][:40]}' if unknown else ''
        report(f'{path}: {len(listed)} of {len(lines)} lines are used; left out without label or image: '
               f'{len(unknown)}{first}; listed again: {len(lines) - len(listed) - len(unknown)}')
    if ratings.count - len(listed) < to_train:
        raise InputError(f'{flag}: {path} lists all {ratings.count} images, which leaves none to train on. Take some '
                         'off the list')
    if val_size is not None and val_size > len(listed):
        raise InputError(f'val_size: found {val_size}, expected at most the {len(listed)} images of {path}: type '
                         'less, or leave it out to take all')
    training = np.ones(ratings.count, bool)
    training[listed] = False  # also those beyond val_size: they are no training images
    return ratings.take(training), ratings.take(np.array(listed[:val_size]))


def _rows_by_name(ratings: ava.Ratings) -> Dict[str, int]:
    """The row of each image by its file's name, with and without ending, and, before these, by its id."""
    row_of: Dict[str, int] = {}
    files = [os.path.basename(path) for path in ratings.paths]
    for names in ([os.path.splitext(file)[0] for file in files], files, ratings.ids):
        row_of.update(zip(names, range(ratings.count)))
    return row_of


def _row(row_of: Dict[str, int], line: str) -> Optional[int]:
    """The row that a line of a list means: unchanged, percent-decoded, or without its ending."""
    for text in (line, image_names.decode(line)):
        stem, ending = os.path.splitext(text)
        for name_listed in (text, stem) if ending.lower() in ENDINGS else (text,):
            if name_listed in row_of:
                return row_of[name_listed]
    return None


def _refuse_overlap(train: ava.Ratings, val: ava.Ratings) -> None:
    """Raise InputError where one file is in both parts, under two ids."""
    id_of = dict(zip(train.paths, train.ids))
    for path, image_id in zip(val.paths, val.ids):
        if path in id_of:
            raise InputError(f'{path}: this image is for training, as {id_of[path]}, and for validation, as '
                             f'{image_id}. Delete one of the two label lines')
