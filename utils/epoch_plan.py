"""What one epoch reads, place by place: order, crops, flips, and what stands in for a photograph that is broken."""
from typing import Callable, Iterator, NamedTuple, Optional

import numpy as np

from utils.defaults import IMAGE_SIZE

RESIZE = 256  # the side that a training photograph is resized to before a crop of IMAGE_SIZE


class EpochPlan(NamedTuple):
    """What one epoch reads, place by place."""

    order: np.ndarray  # int64 [N]: index into the list of photographs
    top: np.ndarray    # int32 [N]: first row of the crop
    left: np.ndarray   # int32 [N]: first column of the crop
    flip: np.ndarray   # bool [N]: mirrored left to right


def resize_before_crop(image_size: int) -> int:
    """The side in pixels that a training photograph is resized to, 256 for a crop of 224."""
    return int(round(image_size * RESIZE / IMAGE_SIZE))


def whole_plan(count: int, epoch: int, *, seed: int = 0, shuffle: bool = True,
               image_size: int = IMAGE_SIZE) -> EpochPlan:
    """The order of an epoch, and the augmentation of each photograph, not of each place.

    Row i of `top`, `left` and `flip` belongs to photograph i, so that it does not depend on the order, the batch
    size or the number of devices. RandomState's stream is the one that NumPy never changes.
    """
    random = np.random.RandomState([seed, epoch])
    offsets = resize_before_crop(image_size) - image_size + 1
    top = random.randint(offsets, size=count).astype(np.int32)
    left = random.randint(offsets, size=count).astype(np.int32)
    flip = random.randint(2, size=count).astype(bool)
    return EpochPlan(random.permutation(count) if shuffle else np.arange(count), top, left, flip)


def epoch_plan(count: int, epoch: int, *, seed: int = 0, shuffle: bool = True, limit: Optional[int] = None,
               image_size: int = IMAGE_SIZE) -> EpochPlan:
    """The order and the augmentation of one epoch, from (seed, epoch) alone, place by place.

    All `count` photographs are shuffled and the first `limit` of them kept.
    """
    order, top, left, flip = whole_plan(count, epoch, seed=seed, shuffle=shuffle, image_size=image_size)
    order = order[:limit]
    return EpochPlan(order, top[order], left[order], flip[order])


def substitutes(count: int, epoch: int, place: int, *, seed: int = 0) -> Iterator[int]:
    """The photographs, by index, that may stand in for a broken one at a place of an epoch, without end.

    They follow from (seed, epoch, place) alone: the first of them that is not broken is the same in every run,
    whatever was found broken before, wherever the run began, and on however many devices.
    """
    random = np.random.RandomState([seed, epoch, place])
    while True:
        yield int(random.randint(count))


def replace_broken(order: np.ndarray, is_broken: np.ndarray, draw: Callable[[int], Iterator[int]],
                   first_place: int = 0) -> np.ndarray:
    """`order` with the first unbroken one of draw(place) wherever a photograph is broken; int64 [N].

    `is_broken` is bool, by photograph. order[0] stands at `first_place`. At least one photograph must be unbroken.
    """
    replaced = np.array(order)
    for row in np.flatnonzero(is_broken[replaced]):
        replaced[row] = next(index for index in draw(first_place + int(row)) if not is_broken[index])
    return replaced
