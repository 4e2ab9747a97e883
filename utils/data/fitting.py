"""The parts of the pre-processing that depend on the training images: EXIF orientation and size."""
from typing import Any, Callable, NamedTuple, Optional, Union

import numpy as np

from utils.base.defaults import AVA_VOTES, LONGEST_SIDE, MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, NATIVE
from utils.base.errors import InputError
from utils.base.preprocessing import ANY_SIZE, Preprocessing
from utils.data import image_headers, label_tables, packed
from utils.data.ava import Ratings
from utils.data.epoch_plan import resize_before_crop


class Typed(NamedTuple):
    """What flags say; None where they were not typed."""

    orientation: Optional[str] = None   # --exif_orientation
    longest_side: Optional[int] = None  # --longest_side

    def require(self, found: Preprocessing, path: str) -> Preprocessing:
        """`found`, that of the run in the file `path`; InputError where a typed flag says something else."""
        for flag, typed, stored in (('--exif_orientation', self.orientation, found.orientation),
                                    ('--longest_side', self.longest_side, found.longest_side or ANY_SIZE)):
            if typed not in (None, stored):
                raise InputError(f'{path}: {flag} was {stored or "none"} when this run began, now {typed or "none"}. '
                                 'Resume with what it began with, or start a new run in another --TMP_MODEL_PATF')
        return found


def fit(how: Preprocessing, typed: Typed, train: Ratings, labels: str, *, packed_folder: Optional[str] = None,
        report: Callable[[str], Any]) -> Preprocessing:
    """`how` with the orientation and the longest side for a training on `train`, of the label file `labels`.

    What is not typed is that of a packed dataset, if there is one. Else AVA's images are as they are stored, which is
    what its raters saw, of LONGEST_SIDE; all others are upright, of the median of their own longest sides. `report`,
    such as print, gets a sentence.
    """
    is_ava = _are_avas(train, labels)
    orientation, longest_side = ('ignore' if is_ava else 'apply'), LONGEST_SIDE if is_ava else None
    source = "AVA's" if is_ava else ''
    if packed_folder is not None:
        manifest = packed.read_manifest(packed_folder)
        orientation, longest_side = manifest['orientation'], manifest['longest_side']
        source = f'as in {packed_folder}'
    made = how._replace(orientation=typed.orientation or orientation,
                        longest_side=longest_side if typed.longest_side is None else typed.longest_side)
    if made.longest_side is None and packed_folder is None:
        measured = median_longest_side(train)
        made = made._replace(longest_side=max(measured, resize_before_crop(how.image_size)))
        source = f'the median of the training images is {measured}'
    source = f' ({source})' if source and typed.longest_side is None else ''
    report(f'images: EXIF orientation {_DONE[made.orientation]}, longest side {made.longest_side or "any"}{source}')
    return made


def _are_avas(train: Ratings, labels: str) -> bool:
    """Whether the labels are AVA's: votes for ids that are numbers, in lines, or in a table where most have as many."""
    people = train.panel
    if label_tables.is_table(labels) or not all(map(str.isdigit, train.ids)) or people and people.assumed.any():
        return False
    if people is None or not label_tables.is_one(labels):
        return True
    return people.ratings is None and bool(AVA_VOTES[0] <= np.median(people.numbers) <= AVA_VOTES[1])


def input_size(typed: Union[int, str], train: Ratings, report: Callable[[str], Any]) -> int:
    """The side of the network's input: `typed`, or for NATIVE the median of the training images' longest sides.

    `report`, such as print, gets a sentence on that. InputError where no network has this side.
    """
    if typed != NATIVE:
        return int(typed)
    side = median_longest_side(train)
    if not MIN_IMAGE_SIZE <= side <= MAX_IMAGE_SIZE:
        raise InputError(f"--input {NATIVE}: the median of the training images' longest sides is {side} pixels, "
                         f'expected {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}. Type a number, to which all are resized')
    report(f"--input {NATIVE}: {side} x {side}, by the median of the training images' longest sides; others are "
           'resized to it')
    return side


_DONE = {'apply': 'applied', 'ignore': 'ignored'}


def median_longest_side(ratings: Ratings) -> int:
    """The median of the images' longest sides in pixels; 0 where no header says it."""
    sides = image_headers.longest_sides(ratings.paths)
    return int(round(float(np.median(sides)))) if len(sides) else 0


def affected(ratings: Ratings, how: Preprocessing) -> str:
    """A sentence on the images whose EXIF data ask for a rotation; empty where there are none."""
    turned = int(np.sum(image_headers.orientations(ratings.paths) != 1))
    return '' if not turned else (f'EXIF orientation: {turned} of {ratings.count} images are stored turned or '
                                  f'mirrored, which is {_DONE[how.orientation]}, as in the training')
