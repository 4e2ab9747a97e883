"""What one epoch reads, by position: order, crops, flips, replacements of unreadable images, the shard of a rank."""
from typing import Iterator, NamedTuple, Optional, Tuple

import numpy as np

from utils.base.defaults import IMAGE_SIZE

RESIZE = 256  # the side that a training image is resized to before a crop of IMAGE_SIZE
ALL = 0, 1     # rank and world size of a single process


class EpochPlan(NamedTuple):
    """What one epoch reads, by position."""

    order: np.ndarray  # int64 [N]: index into the list of images
    top: np.ndarray    # int32 [N]: first row of the crop
    left: np.ndarray   # int32 [N]: first column of the crop
    flip: np.ndarray   # bool [N]: mirrored left to right


def resize_before_crop(image_size: int) -> int:
    """The side in pixels that a training image is resized to, 256 for a crop of 224."""
    return int(round(image_size * RESIZE / IMAGE_SIZE))


def plan_by_image(count: int, epoch: int, *, seed: int = 0, shuffle: bool = True,
               image_size: int = IMAGE_SIZE) -> EpochPlan:
    """The order of an epoch, and the augmentation of each image, not of each position.

    Row i of `top`, `left` and `flip` belongs to image i, so that it does not depend on the order, the batch
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
    """The order and the augmentation of one epoch, a function of (seed, epoch), by position.

    All `count` images are shuffled and the first `limit` of them kept.
    """
    order, top, left, flip = plan_by_image(count, epoch, seed=seed, shuffle=shuffle, image_size=image_size)
    order = order[:limit]
    return EpochPlan(order, top[order], left[order], flip[order])


def replacements(count: int, epoch: int, position: int, *, seed: int = 0) -> Iterator[int]:
    """The images, by index, that may replace an unreadable one at a position of an epoch, without end.

    A function of (seed, epoch, position): the first readable one is the same in every run, resumed or not, whatever was
    found unreadable before, on any number of devices.
    """
    random = np.random.RandomState([seed, epoch, position])
    while True:
        yield int(random.randint(count))


def training_positions(first: int, count: int, batchsize: int, shard: Tuple[int, int] = ALL) -> np.ndarray:
    """The positions of an epoch of `count` that one of several ranks reads, from the position `first` on; int64 [N].

    With shard (r, R) and B = `batchsize`, step k takes the positions from first + (k R + r) B on: all ranks together
    read the common order. What does not fill a batch for each of them is left out by all.
    """
    rank, size = shard
    steps = max(0, count - first) // (size * batchsize)
    positions = first + np.arange(steps * size * batchsize).reshape(steps, size, batchsize)
    return positions[:, rank].ravel()


def rank_slice(count: int, shard: Tuple[int, int] = ALL) -> slice:
    """The part of a list of `count` that one of several ranks scores, in order; their sizes differ by at most one."""
    rank, size = shard
    return slice(count * rank // size, count * (rank + 1) // size)
