"""AVA photographs as batches: JPEG -> float32 [B, S, S, 3] in [-1, 1], through tf.data on the host."""
import itertools
from typing import Any, Callable, Iterator, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils import ava
from utils.errors import InputError
from utils.flags import from_root

# Edit these two lines for your own data. Relative paths count from the repository's root.
base_images_path = r'./AVA_dataset/image/images/'
ava_dataset_path = r'./AVA_dataset/AVA.txt'

IMAGE_SIZE = 224
RESIZE = 256  # the side that a training photograph is resized to before a crop of IMAGE_SIZE
VAL_SIZE = 5000
PREFETCH_BATCHES = 2

Batch = Tuple[np.ndarray, np.ndarray]


class EpochPlan(NamedTuple):
    """What one epoch reads, place by place."""

    order: np.ndarray  # int64 [N]: index into the list of photographs
    top: np.ndarray    # int32 [N]: first row of the crop
    left: np.ndarray   # int32 [N]: first column of the crop
    flip: np.ndarray   # bool [N]: mirrored left to right


def resize_before_crop(image_size: int) -> int:
    """The side in pixels that a training photograph is resized to, 256 for a crop of 224."""
    return int(round(image_size * RESIZE / IMAGE_SIZE))


def epoch_plan(count: int, epoch: int, *, seed: int = 0, shuffle: bool = True, limit: Optional[int] = None,
               image_size: int = IMAGE_SIZE) -> EpochPlan:
    """The order and the augmentation of one epoch, from (seed, epoch) alone.

    All `count` photographs are shuffled and the first `limit` of them kept. Crop and flip are drawn for each
    photograph, not for each place, so they do not depend on the order, the batch size or the number of
    devices. RandomState's stream is the one that NumPy never changes.
    """
    random = np.random.RandomState([seed, epoch])
    offsets = resize_before_crop(image_size) - image_size + 1
    top = random.randint(offsets, size=count).astype(np.int32)
    left = random.randint(offsets, size=count).astype(np.int32)
    flip = random.randint(2, size=count).astype(bool)
    order = random.permutation(count) if shuffle else np.arange(count)
    order = order[:limit]
    return EpochPlan(order, top[order], left[order], flip[order])


def scale(pixels: Any) -> Any:
    """Pixels in [0, 255] -> [-1, 1]."""
    return (pixels - 127.5) / 127.5


def read_image(path: tf.Tensor, size: int) -> tf.Tensor:
    """A photograph as float32 [size, size, 3] in [0, 255]: RGB, TF 1's own (legacy) bilinear resize."""
    image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
    return tf.compat.v1.image.resize_images(image, [size, size])


def read_training_image(path: tf.Tensor, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor,
                        image_size: int) -> tf.Tensor:
    """A photograph as float32 [image_size, image_size, 3] in [-1, 1]: resized, cropped, flipped, scaled."""
    image = read_image(path, resize_before_crop(image_size))
    crop = tf.slice(image, tf.stack([top, left, 0]), [image_size, image_size, 3])
    return scale(tf.cond(flip, lambda: tf.reverse(crop, [1]), lambda: crop))


class _Pipeline:
    """One tf.data pipeline in a graph and a host-only session of its own, started once for each pass.

    `columns` names the arrays that a pass is fed with: dtype and shape of one row each. The first column is
    the photograph's path.
    """

    def __init__(self, read_row: Any, columns: Tuple[Tuple[Any, Tuple[int, ...]], ...], *, batchsize: int,
                 drop_remainder: bool, session_config: Optional[tf.compat.v1.ConfigProto]) -> None:
        with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
            self._feeds = [tf.compat.v1.placeholder(dtype, (None,) + shape) for dtype, shape in columns]
            rows = tf.data.Dataset.from_tensor_slices(tuple(self._feeds))
            batches = rows.map(read_row, num_parallel_calls=tf.data.experimental.AUTOTUNE)
            batches = batches.batch(batchsize, drop_remainder=drop_remainder).prefetch(PREFETCH_BATCHES)
            iterator = tf.compat.v1.data.make_initializable_iterator(batches)
            self._start, self._next = iterator.initializer, iterator.get_next()
            self._path = tf.compat.v1.placeholder(tf.string, ())
            self._decode_one = read_image(self._path, 1)
        config = tf.compat.v1.ConfigProto()
        config.CopyFrom(session_config or config)
        # Constant folding would turn the division in scale() into a product that differs in the last bit.
        config.graph_options.rewrite_options.constant_folding = RewriterConfig.OFF
        # A `with` around a yield would leak this session into the caller's thread as its default session.
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        self._batchsize = batchsize

    def run(self, *arrays: np.ndarray) -> Iterator[Batch]:
        """The batches of one pass over the rows of `arrays`."""
        self._session.run(self._start, feed_dict=dict(zip(self._feeds, arrays)))
        for number in itertools.count():
            try:
                batch = self._session.run(self._next)
            except tf.errors.OutOfRangeError:
                return
            except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
                first = number * self._batchsize
                self._name_bad_image(arrays[0][first:first + self._batchsize])
                raise InputError(f'a photograph of batch {number + 1} cannot be read: {error.message}') from error
            yield batch

    def _name_bad_image(self, paths: np.ndarray) -> None:
        for path in paths:
            try:
                self._session.run(self._decode_one, feed_dict={self._path: path})
            except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
                reason = error.message.splitlines()[0]
                raise InputError(f'{path}: found a file that cannot be decoded ({reason}), expected a JPEG: '
                                 f'replace the file or take its line out of the labels') from error

    def close(self) -> None:
        self._session.close()


def steps_per_epoch(available: int, train_size: int, batchsize: int, *,
                    report: Optional[Callable[[str], Any]] = None) -> int:
    """Full batches in an epoch of `train_size` photographs, or of all `available` where they are fewer.

    `report`, such as print, gets a sentence where they are fewer.
    """
    if report and train_size > available:
        report(f'train_size: asked for {train_size}, found {available} training photographs: taking all')
    images = min(train_size, available)
    if images < batchsize:
        raise InputError(f'batchsize: found {batchsize}, expected at most the {images} training photographs of an '
                         f'epoch: type --batchsize {images} or less')
    return images // batchsize


def read_split(val_size: int = VAL_SIZE, *, labels: Optional[str] = None, images: Optional[str] = None,
               report: Optional[Callable[[str], Any]] = None) -> Tuple[ava.Ratings, ava.Ratings]:
    """The training and the validation ratings of a label file and its photographs, by default the edited paths."""
    ratings = ava.read(labels or from_root(ava_dataset_path), images or from_root(base_images_path), report=report)
    return ava.split(ratings, val_size)


def train_generator(batchsize: int, shuffle: bool = True, *, ratings: Optional[ava.Ratings] = None,
                    train_size: Optional[int] = None, image_size: int = IMAGE_SIZE, seed: int = 0,
                    first_epoch: int = 0,
                    session_config: Optional[tf.compat.v1.ConfigProto] = None) -> Iterator[Batch]:
    """Training batches for ever: images float32 [B, S, S, 3] in [-1, 1], vote shares float32 [B, 10].

    Each epoch is a shuffle of the whole list, of which the first `train_size` photographs are taken; what
    does not fill a batch is left out of that epoch. Without `ratings` the edited paths are read.
    """
    if ratings is None:
        ratings, _ = read_split()
    if train_size is None:
        train_size = ratings.count
    steps_per_epoch(ratings.count, train_size, batchsize)
    scores = ratings.scores.astype(np.float32)

    def read_row(path: tf.Tensor, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor,
                 row: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return read_training_image(path, top, left, flip, image_size), row

    columns = ((tf.string, ()), (tf.int32, ()), (tf.int32, ()), (tf.bool, ()), (tf.float32, (10,)))
    pipeline = _Pipeline(read_row, columns, batchsize=batchsize, drop_remainder=True,
                         session_config=session_config)
    try:
        for epoch in itertools.count(first_epoch):
            plan = epoch_plan(ratings.count, epoch, seed=seed, shuffle=shuffle, limit=train_size,
                              image_size=image_size)
            yield from pipeline.run(ratings.paths[plan.order], plan.top, plan.left, plan.flip,
                                    scores[plan.order])
    finally:
        pipeline.close()


def val_batches(ratings: ava.Ratings, batchsize: int, *, image_size: int = IMAGE_SIZE,
                session_config: Optional[tf.compat.v1.ConfigProto] = None) -> Iterator[Batch]:
    """One pass in the list's order: every photograph once, the last batch as short as it comes."""
    pipeline = _val_pipeline(batchsize, image_size, session_config)
    try:
        yield from pipeline.run(ratings.paths, ratings.scores.astype(np.float32))
    finally:
        pipeline.close()


def val_generator(batchsize: int, *, ratings: Optional[ava.Ratings] = None, image_size: int = IMAGE_SIZE,
                  session_config: Optional[tf.compat.v1.ConfigProto] = None) -> Iterator[Batch]:
    """Validation batches for ever, pass after pass of val_batches. Without `ratings` the edited paths are read."""
    if ratings is None:
        _, ratings = read_split()
    pipeline = _val_pipeline(batchsize, image_size, session_config)
    try:
        while True:
            yield from pipeline.run(ratings.paths, ratings.scores.astype(np.float32))
    finally:
        pipeline.close()


def _val_pipeline(batchsize: int, image_size: int,
                  session_config: Optional[tf.compat.v1.ConfigProto]) -> _Pipeline:
    def read_row(path: tf.Tensor, row: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return scale(read_image(path, image_size)), row

    return _Pipeline(read_row, ((tf.string, ()), (tf.float32, (10,))), batchsize=batchsize,
                     drop_remainder=False, session_config=session_config)
