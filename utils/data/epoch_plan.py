"""What one epoch reads, place by place: order, crops, flips, replacements of broken photographs, shares of devices."""
from typing import Callable, Iterator, NamedTuple, Optional, Tuple

import numpy as np

from utils.base.defaults import IMAGE_SIZE

RESIZE = 256  # the side that a training photograph is resized to before a crop of IMAGE_SIZE
ALL = 0, 1     # the share, rank and size, of a process alone


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


def replacements(count: int, epoch: int, place: int, *, seed: int = 0) -> Iterator[int]:
    """The photographs, by index, that may stand in for a broken one at a place of an epoch, without end.

    They follow from (seed, epoch, place) alone: the first of them that is not broken is the same in every run,
    whatever was found broken before, wherever the run began, and on however many devices.
    """
    random = np.random.RandomState([seed, epoch, place])
    while True:
        yield int(random.randint(count))


def training_positions(first: int, count: int, batchsize: int, shard: Tuple[int, int] = ALL) -> np.ndarray:
    """The places of an epoch of `count` that one of several devices reads, from the place `first` on; int64 [N].

    With shard (r, R), step k takes the places first + (k R + r) B to first + (k R + r + 1) B - 1, B being `batchsize`:
    all devices together read the common order. What does not fill a batch for each of them is left out by all.
    """
    rank, size = shard
    steps = max(0, count - first) // (size * batchsize)
    places = first + np.arange(steps * size * batchsize).reshape(steps, size, batchsize)
    return places[:, rank].ravel()


def part(count: int, shard: Tuple[int, int] = ALL) -> slice:
    """The share of a list of `count` that one of several devices scores: in its order, equal but for one."""
    rank, size = shard
    return slice(count * rank // size, count * (rank + 1) // size)


def replace_unreadable(order: np.ndarray, is_broken: np.ndarray, draw: Callable[[int], Iterator[int]],
                   places: Optional[np.ndarray] = None) -> np.ndarray:
    """`order` with the first unbroken one of draw(place) wherever a photograph is broken; int64 [N].

    `is_broken` is bool, by photograph. `places` are those that `order` stands at, by default from 0 on. At least one
    photograph must be unbroken.
    """
    replaced = np.array(order)
    for row in np.flatnonzero(is_broken[replaced]):
        place = int(row if places is None else places[row])
        replaced[row] = next(index for index in draw(place) if not is_broken[index])
    return replaced
