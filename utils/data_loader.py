"""AVA photographs as batches: JPEG -> float32 [B, S, S, 3] in [-1, 1], through tf.data on the host."""
import contextlib
import itertools
import os
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils import ava, image_guard, splits
from utils.defaults import IMAGE_SIZE, VAL_SIZE, from_root
from utils.errors import InputError, command_of

# Edit these two lines for your own data. Relative paths count from the repository's root.
base_images_path = r'./AVA_dataset/image/images/'
ava_dataset_path = r'./AVA_dataset/AVA.txt'

RESIZE = 256  # the side that a training photograph is resized to before a crop of IMAGE_SIZE
PREFETCH_BATCHES = 2
CHECK_BATCH = 64  # verdicts a step

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


def decode(data: tf.Tensor, size: int, resize: str = 'bilinear') -> tf.Tensor:
    """A photograph's file as float32 [size, size, 3] in [0, 255], RGB.

    'bilinear' is TF 1's own (legacy) resize. 'nearest' has half-pixel centres, as in Pillow, which gives other
    people's models the scores that their makers published; TF 1's own nearest does not.
    """
    image = image_guard.decode(data)
    if resize == 'nearest':
        return tf.cast(tf.compat.v2.image.resize(image, [size, size], method='nearest'), tf.float32)
    return tf.compat.v1.image.resize_images(image, [size, size])


def read_image(path: tf.Tensor, size: int, resize: str = 'bilinear') -> tf.Tensor:
    """A photograph as float32 [size, size, 3] in [0, 255]: decode() of the file at `path`."""
    return decode(tf.io.read_file(path), size, resize)


def read_training_image(path: tf.Tensor, *, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor,
                        image_size: int, resize: str = 'bilinear') -> tf.Tensor:
    """A photograph as float32 [image_size, image_size, 3] in [-1, 1]: resized, cropped, flipped, scaled."""
    image = read_image(path, resize_before_crop(image_size), resize)
    crop = tf.slice(image, tf.stack([top, left, 0]), [image_size, image_size, 3])
    return scale(tf.cond(flip, lambda: tf.reverse(crop, [1]), lambda: crop))


def _count_decoded(path: tf.Tensor) -> tf.Tensor:
    """The number of values that a photograph decodes to; fails as read_image does."""
    return tf.size(image_guard.decode(tf.io.read_file(path)))


def host_session(graph: tf.Graph, session_config: Optional[tf.compat.v1.ConfigProto]) -> tf.compat.v1.Session:
    """A session for `graph`, which decodes and resizes photographs; the caller closes it."""
    config = tf.compat.v1.ConfigProto()
    config.CopyFrom(session_config or config)
    # Constant folding would turn the division in scale() into a product that differs in the last bit.
    config.graph_options.rewrite_options.constant_folding = RewriterConfig.OFF
    # A `with` around a yield would leak this session into the caller's thread as its default session.
    return tf.compat.v1.Session(graph=graph, config=config)


class _Pipeline:
    """One tf.data pipeline in a graph and a host-only session of its own, started once for each pass.

    `columns` names the arrays that a pass is fed with: dtype and shape of one row each. The first column is
    the photograph's path.
    """

    def __init__(self, read_row: Any, columns: Tuple[Tuple[Any, Tuple[int, ...]], ...], *, batchsize: int,
                 drop_remainder: bool, session_config: Optional[tf.compat.v1.ConfigProto],
                 leave_out_bad: bool = False) -> None:
        with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
            self._feeds = [tf.compat.v1.placeholder(dtype, (None,) + shape) for dtype, shape in columns]
            rows = tf.data.Dataset.from_tensor_slices(tuple(self._feeds))
            batches = rows.map(read_row, num_parallel_calls=tf.data.experimental.AUTOTUNE)
            if leave_out_bad:
                batches = batches.apply(tf.data.experimental.ignore_errors())
            batches = batches.batch(batchsize, drop_remainder=drop_remainder).prefetch(PREFETCH_BATCHES)
            iterator = tf.compat.v1.data.make_initializable_iterator(batches)
            self._start, self._next = iterator.initializer, iterator.get_next()
            self._path = tf.compat.v1.placeholder(tf.string, ())
            self._decode_one = _count_decoded(self._path)
        self._session = host_session(graph, session_config)
        self._batchsize = batchsize

    def run(self, *arrays: np.ndarray) -> Iterator[Batch]:
        """The batches of one pass over the rows of `arrays`."""
        self._session.run(self._start, feed_dict=dict(zip(self._feeds, arrays)))
        for number in itertools.count():
            try:
                batch = self._session.run(self._next)
            except tf.errors.OutOfRangeError:
                return
            except tf.errors.OpError as error:
                first = number * self._batchsize
                self._name_bad_image(arrays[0][first:first + self._batchsize])
                raise InputError(f'a photograph of batch {number + 1} cannot be read: {error.message}') from error
            yield batch

    def _name_bad_image(self, paths: np.ndarray) -> None:
        for path in paths:
            reason = self.why_bad(path)
            if reason:
                raise InputError(f'{path}: found a file that cannot be decoded ({reason}), expected a JPEG: '
                                 'replace the file or take its line out of the labels; with the paths of the '
                                 f'dataset that you typed, {command_of("utils/check_dataset.py")} lists all such files')

    def why_bad(self, path: Any) -> Optional[str]:
        """Why a photograph cannot be decoded, as a clause; None where it can."""
        try:
            self._session.run(self._decode_one, feed_dict={self._path: path})
        except tf.errors.OpError as error:
            return image_guard.reason(error)
        return None

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


def dataset_paths(labels: Optional[str] = None, images: Optional[str] = None) -> Tuple[str, str]:
    """The label file and the folder of photographs, each by default the edited path."""
    return labels or from_root(ava_dataset_path), images or from_root(base_images_path)


def read_split(val_size: Optional[int] = VAL_SIZE, *, split: str = splits.LAST, labels: Optional[str] = None,
               images: Optional[str] = None, skip_bad: bool = False,
               report: Optional[Callable[[str], Any]] = None) -> Tuple[ava.Ratings, ava.Ratings]:
    """The training and the validation ratings of a label file and its photographs, by default the edited paths.

    splits.choose() says what `split` and `val_size` mean; `report`, such as print, also gets the split's hash.
    """
    labels, images = dataset_paths(labels, images)
    ratings = ava.read(labels, images, skip_bad=skip_bad, report=report)
    train, val = splits.choose(ratings, split, val_size, labels=labels, report=report)
    if report:
        report(splits.describe(split, val))
    return train, val


def train_generator(batchsize: int, shuffle: bool = True, *, ratings: Optional[ava.Ratings] = None,
                    train_size: Optional[int] = None, image_size: int = IMAGE_SIZE,
                    resize: str = 'bilinear', seed: int = 0, first_epoch: int = 0, first_image: int = 0,
                    session_config: Optional[tf.compat.v1.ConfigProto] = None) -> Iterator[Batch]:
    """Training batches for ever: images float32 [B, S, S, 3] in [-1, 1], vote shares float32 [B, 10].

    The first batch begins at the place `first_image` of the epoch `first_epoch`, both counted from 0.

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
        return read_training_image(path, top=top, left=left, flip=flip, image_size=image_size, resize=resize), row

    columns = ((tf.string, ()), (tf.int32, ()), (tf.int32, ()), (tf.bool, ()), (tf.float32, (10,)))
    pipeline = _Pipeline(read_row, columns, batchsize=batchsize, drop_remainder=True,
                         session_config=session_config)
    try:
        for epoch in itertools.count(first_epoch):
            plan = epoch_plan(ratings.count, epoch, seed=seed, shuffle=shuffle, limit=train_size,
                              image_size=image_size)
            start = first_image if epoch == first_epoch else 0
            plan = EpochPlan(*(column[start:] for column in plan))
            yield from pipeline.run(ratings.paths[plan.order], plan.top, plan.left, plan.flip,
                                    scores[plan.order])
    finally:
        pipeline.close()


def val_batches(ratings: ava.Ratings, batchsize: int, *, image_size: int = IMAGE_SIZE, resize: str = 'bilinear',
                session_config: Optional[tf.compat.v1.ConfigProto] = None) -> Iterator[Batch]:
    """One pass in the list's order: every photograph once, the last batch as short as it comes."""
    pipeline = _val_pipeline(batchsize, image_size, resize, session_config)
    try:
        yield from pipeline.run(ratings.paths, ratings.scores.astype(np.float32))
    finally:
        pipeline.close()


def val_generator(batchsize: int, *, ratings: Optional[ava.Ratings] = None, image_size: int = IMAGE_SIZE,
                  resize: str = 'bilinear',
                  session_config: Optional[tf.compat.v1.ConfigProto] = None) -> Iterator[Batch]:
    """Validation batches for ever, pass after pass of val_batches. Without `ratings` the edited paths are read."""
    if ratings is None:
        _, ratings = read_split()
    pipeline = _val_pipeline(batchsize, image_size, resize, session_config)
    try:
        while True:
            yield from pipeline.run(ratings.paths, ratings.scores.astype(np.float32))
    finally:
        pipeline.close()


def _val_pipeline(batchsize: int, image_size: int, resize: str,
                  session_config: Optional[tf.compat.v1.ConfigProto]) -> _Pipeline:
    def read_row(path: tf.Tensor, row: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return scale(read_image(path, image_size, resize)), row

    return _Pipeline(read_row, ((tf.string, ()), (tf.float32, (10,))), batchsize=batchsize,
                     drop_remainder=False, session_config=session_config)


def verdicts(paths: Sequence[str]) -> Iterator[Optional[str]]:
    """For each photograph, in order, why TensorFlow cannot decode it, as a clause; None where it can.

    They are decoded whole, on all cores.
    """
    def read_row(path: tf.Tensor, index: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return index, _count_decoded(path)  # a result that nobody fetches would be optimised away

    pipeline = _Pipeline(read_row, ((tf.string, ()), (tf.int64, ())), batchsize=CHECK_BATCH, drop_remainder=False,
                         session_config=tf.compat.v1.ConfigProto(device_count={'GPU': 0}), leave_out_bad=True)
    files = np.array(list(map(os.fsencode, paths)), dtype=object)  # as bytes, as names need not be UTF-8
    position = 0
    with contextlib.closing(pipeline):
        for good, _ in pipeline.run(files, np.arange(len(files))):
            for index in good:
                yield from map(pipeline.why_bad, files[position:index])
                yield None
                position = index + 1
        yield from map(pipeline.why_bad, files[position:])
