"""Photographs decoded, resized, cropped and put into batches by tf.data, in a host-only session of its own."""
import contextlib
import itertools
import os
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils.base import memory
from utils.data import image_guard
from utils.data.bad_images import BadImages
from utils.data.epoch_plan import replace_unreadable, resize_before_crop

PREFETCH_BATCHES = 2
MOST_THREADS = 192
POOL_BATCHES = 8  # batches' worth of memory: as much as training came to hold, a batch more every some dozen steps

Columns = Tuple[Tuple[Any, Tuple[int, ...]], ...]


class Pass(NamedTuple):
    """One pass over photographs: which one stands at each place, and what stands in for a broken one."""

    order: np.ndarray                                # int64 [N]: index of a photograph, by place
    rows_of: Callable[[np.ndarray], List[np.ndarray]]  # indices -> the pipeline's columns, their paths first
    bad: BadImages                                   # knows, and learns, which photographs are broken
    draw: Callable[[int], Iterator[int]]             # place -> replacements, as epoch_plan.replacements gives them
    places: np.ndarray                               # int64 [N]: the place of the epoch that each stands at


def usable_threads() -> int:
    """Threads that decode: one for each core that this process may use."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


def scale(pixels: Any) -> Any:
    """Pixels in [0, 255] -> [-1, 1]."""
    return (pixels - 127.5) / 127.5


def decode(data: tf.Tensor, size: int, resize: str = 'bilinear', *, max_pixels: int = image_guard.MAX_PIXELS,
           fast: bool = False) -> tf.Tensor:
    """A photograph's file as float32 [size, size, 3] in [0, 255], RGB.

    'bilinear' is TF 1's own (legacy) resize. 'nearest' has half-pixel centres, as in Pillow, which gives other
    people's models the scores that their makers published; TF 1's own nearest does not. `fast` decodes a JPEG of
    more than twice the size at a fraction of its size, which changes pixels.
    """
    image = image_guard.decode(data, max_pixels=max_pixels, at_least=size if fast else None)
    if resize == 'nearest':
        return tf.cast(tf.compat.v2.image.resize(image, [size, size], method='nearest'), tf.float32)
    return tf.compat.v1.image.resize_images(image, [size, size])


def read_image(path: tf.Tensor, size: int, resize: str = 'bilinear', **decoding: Any) -> tf.Tensor:
    """A photograph as float32 [size, size, 3] in [0, 255]: decode() of the file at `path`."""
    return decode(tf.io.read_file(path), size, resize, **decoding)


def read_training_image(path: tf.Tensor, *, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor, image_size: int,
                        resize: str = 'bilinear', **decoding: Any) -> tf.Tensor:
    """A photograph as float32 [image_size, image_size, 3] in [-1, 1]: resized, cropped, flipped, scaled."""
    image = read_image(path, resize_before_crop(image_size), resize, **decoding)
    crop = tf.slice(image, tf.stack([top, left, 0]), [image_size, image_size, 3])
    return scale(tf.cond(flip, lambda: tf.reverse(crop, [1]), lambda: crop))


def count_decoded(path: tf.Tensor, max_pixels: int = image_guard.MAX_PIXELS) -> tf.Tensor:
    """The number of values that a photograph decodes to; fails as read_image does."""
    return tf.size(image_guard.decode(tf.io.read_file(path), max_pixels=max_pixels))


def host_session(graph: tf.Graph, session_config: Optional[tf.compat.v1.ConfigProto]) -> tf.compat.v1.Session:
    """A session for `graph`, which decodes and resizes photographs; the caller closes it."""
    config = tf.compat.v1.ConfigProto()
    config.CopyFrom(session_config or config)
    # Constant folding would turn the division in scale() into a product that differs in the last bit.
    config.graph_options.rewrite_options.constant_folding = RewriterConfig.OFF
    # A `with` around a yield would leak this session into the caller's thread as its default session.
    return tf.compat.v1.Session(graph=graph, config=config)


def decoder() -> Callable[[bytes], np.ndarray]:
    """A function from the bytes of a JPEG or PNG to its pixels, uint8 [H, W, 3]; several threads may call it."""
    with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
        data = tf.compat.v1.placeholder(tf.string, ())
        image = tf.image.decode_jpeg(data, channels=3)
    return host_session(graph, None).make_callable(image, [data])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """map_and_batch says that it is deprecated. What is to replace it is not fused unless an optimiser does that."""
    before = tf.compat.v1.logging.get_verbosity()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    try:
        yield
    finally:
        tf.compat.v1.logging.set_verbosity(before)


class Pipeline:
    """One tf.data pipeline in a graph and a session of its own, started once for each pass.

    `columns` names the arrays that a pass is fed with: dtype and shape of one row each. The first column is the
    photograph's path. `max_pixels` is the header's limit for why_bad(), the same as read_row's.
    """

    def __init__(self, read_row: Callable[..., Tuple[tf.Tensor, ...]], columns: Columns, *, batchsize: int,
                 drop_remainder: bool = False, session_config: Optional[tf.compat.v1.ConfigProto] = None,
                 max_pixels: int = image_guard.MAX_PIXELS) -> None:
        memory.keep_freed()
        # Translating what is graph code already would take as long as all else here together.
        self._read_row = tf.autograph.experimental.do_not_convert(read_row)
        self._good: Any = None
        self._decode_one: Any = None
        with tf.Graph().as_default() as self._graph, tf.device('/cpu:0'), _quiet():
            self._feeds = [tf.compat.v1.placeholder(dtype, (None,) + shape) for dtype, shape in columns]
            self._rows = tf.data.Dataset.from_tensor_slices(tuple(self._feeds))
            self._start, self._next = _iterator(self._rows.apply(tf.data.experimental.map_and_batch(
                self._read_row, batchsize, num_parallel_calls=usable_threads(), drop_remainder=drop_remainder)))
        self._session = host_session(self._graph, session_config)
        self._batchsize, self._max_pixels = batchsize, max_pixels

    def run(self, whole: Pass) -> Iterator[Tuple[np.ndarray, ...]]:
        """The batches of one pass, full whatever is broken: its places hold replacements."""
        chosen = replace_unreadable(whole.order, whole.bad.mask, whole.draw, whole.places)
        self._session.run(self._start, feed_dict=dict(zip(self._feeds, whole.rows_of(chosen))))
        with contextlib.suppress(tf.errors.OutOfRangeError):
            for start in itertools.count(0, self._batchsize):
                yield self._batch(whole, start)  # in no variable: it would be held while the next one is made

    def _batch(self, whole: Pass, start: int) -> Tuple[np.ndarray, ...]:
        try:
            return self._session.run(self._next)
        except tf.errors.OutOfRangeError:
            raise
        except tf.errors.OpError:
            rows = slice(start, start + self._batchsize)
            return self._row_by_row(whole._replace(order=whole.order[rows], places=whole.places[rows]))

    def _row_by_row(self, batch: Pass) -> Tuple[np.ndarray, ...]:
        """A batch in which something is broken, with replacements; what was not known as broken is noted."""
        rows: List[Any] = [None] * len(batch.order)
        before = np.full(len(batch.order), -1)
        while any(row is None for row in rows):
            chosen = replace_unreadable(batch.order, batch.bad.mask, batch.draw, batch.places)
            places = np.flatnonzero(chosen != before)
            columns = batch.rows_of(chosen[places])
            for good in self.good_rows(*columns):
                for number, *row in zip(*good):
                    rows[places[number]] = row
            for number, place in enumerate(places):
                if rows[place] is None:
                    path = columns[0][number]
                    batch.bad.add(int(chosen[place]), os.fsdecode(path),
                                  self.why_bad(path) or 'an error that came and went')
            before = chosen
        return tuple(np.stack(column) for column in zip(*rows))

    def good_rows(self, *arrays: np.ndarray) -> Iterator[Tuple[np.ndarray, ...]]:
        """Batches of the rows of `arrays` that can be read: their numbers, then what read_row gives."""
        if self._good is None:  # most runs never need it
            self._good = self._build_good()
        start, following = self._good
        self._session.run(start, feed_dict=dict(zip(self._feeds, arrays)))
        while True:
            try:
                yield self._session.run(following)
            except tf.errors.OutOfRangeError:
                return

    def _build_good(self) -> Tuple[tf.Operation, Any]:
        """The slow way, for batches in which a photograph is broken: what is missing names it."""
        def read_numbered(number: tf.Tensor, row: Tuple[tf.Tensor, ...]) -> Tuple[tf.Tensor, ...]:
            return (number, *self._read_row(*row))

        with self._graph.as_default(), tf.device('/cpu:0'), _quiet():
            numbered = self._rows.enumerate().map(tf.autograph.experimental.do_not_convert(read_numbered),
                                                  usable_threads())
            return _iterator(numbered.apply(tf.data.experimental.ignore_errors()).batch(self._batchsize))

    def why_bad(self, path: Any) -> Optional[str]:
        """Why a photograph cannot be decoded, as a clause; None where it can."""
        if self._decode_one is None:
            with self._graph.as_default(), tf.device('/cpu:0'):
                self._path = tf.compat.v1.placeholder(tf.string, ())
                self._decode_one = count_decoded(self._path, max_pixels=self._max_pixels)
        try:
            self._session.run(self._decode_one, feed_dict={self._path: path})
        except tf.errors.OpError as error:
            return image_guard.reason(error)
        return None

    def close(self) -> None:
        self._session.close()


def _iterator(batches: tf.data.Dataset) -> Tuple[tf.Operation, Any]:
    """What starts an iterator, and its next element, decoded by threads of its own."""
    options = tf.data.Options()
    options.experimental_threading.private_threadpool_size = usable_threads()
    options.experimental_threading.max_intra_op_parallelism = 1
    iterator = tf.compat.v1.data.make_initializable_iterator(
        batches.prefetch(PREFETCH_BATCHES).with_options(options))
    return iterator.initializer, iterator.get_next()
