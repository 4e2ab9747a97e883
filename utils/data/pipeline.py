"""Images decoded, resized, cropped and put into batches by tf.data, in a host-only session of its own."""
import contextlib
import itertools
import os
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from utils.base import memory
from utils.base.cores import usable_cores
from utils.base.errors import command_of
from utils.data import decoding
from utils.data.image_kinds import kind_of_file
from utils.data.passes import Pass

PREFETCH_BATCHES = 2
MOST_THREADS = 192
POOL_BATCHES = 8  # batches' worth of memory: as much as training came to hold, a batch more every some dozen steps

UNKNOWN = 'an error that did not occur again'  # why an image was unreadable that now is readable

# What a column of a pass holds for an image.
COLUMNS: Dict[str, Tuple[tf.DType, Tuple[int, ...]]] = {
    'path': (tf.string, ()), 'top': (tf.int32, ()), 'left': (tf.int32, ()), 'flip': (tf.bool, ()),
    'orientation': (tf.int32, ()), 'distribution': (tf.float32, (10,))}

Row = Dict[str, tf.Tensor]


def usable_threads() -> int:
    """Threads that decode: one for each core that this process may use."""
    return min(usable_cores(), MOST_THREADS)


def host_session(graph: tf.Graph, session_config: Optional[tf.compat.v1.ConfigProto]) -> tf.compat.v1.Session:
    """A session for `graph`, which decodes and resizes images; the caller closes it."""
    config = tf.compat.v1.ConfigProto()
    config.CopyFrom(session_config or config)
    # Optimising these graphs takes longer than it gains, and constant folding would turn the division in scale() into
    # a product that differs in the last bit.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    # A `with` around a yield would leak this session into the caller's thread as its default session.
    return tf.compat.v1.Session(graph=graph, config=config)


def decoder(decode: Optional[Callable[[tf.Tensor], tf.Tensor]] = None) -> Callable[[bytes], np.ndarray]:
    """A function from the bytes of an image file to its pixels, uint8 [H, W, 3]; several threads may call it.

    `decode` does it in a graph; without it JPEG and PNG are decoded.
    """
    with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
        data = tf.compat.v1.placeholder(tf.string, ())
        image = decode(data) if decode else tf.image.decode_jpeg(data, channels=3)
    return host_session(graph, None).make_callable(image, [data])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that map_and_batch is deprecated: what replaces it is fused by an optimiser only."""
    before = tf.compat.v1.logging.get_verbosity()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    try:
        yield
    finally:
        tf.compat.v1.logging.set_verbosity(before)


class Pipeline:
    """One tf.data pipeline in a graph and a session of its own, started once for each pass.

    `read_row` turns an image's row of the columns `names` into tensors. `max_pixels` is the same limit as read_row's.
    """

    def __init__(self, read_row: Callable[[Row], Tuple[tf.Tensor, ...]], names: Sequence[str], *, batchsize: int,
                 drop_remainder: bool = False, session_config: Optional[tf.compat.v1.ConfigProto] = None,
                 max_pixels: int = decoding.MAX_PIXELS) -> None:
        memory.keep_freed()
        # Autograph would take as long as all the rest, for code that builds graphs already.
        self._read_row = tf.autograph.experimental.do_not_convert(read_row)
        self._good: Any = None
        self._decode_one: Any = None
        with tf.Graph().as_default() as self._graph, tf.device('/cpu:0'), _quiet():
            self._feeds = {name: tf.compat.v1.placeholder(COLUMNS[name][0], (None,) + COLUMNS[name][1])
                           for name in names}
            self._rows = tf.data.Dataset.from_tensor_slices(self._feeds)
            self._start, self._next = _iterator(self._rows.apply(tf.data.experimental.map_and_batch(
                self._read_row, batchsize, num_parallel_calls=usable_threads(), drop_remainder=drop_remainder)))
        self._session = host_session(self._graph, session_config)
        self._batchsize, self._max_pixels = batchsize, max_pixels

    def run(self, one_pass: Pass) -> Iterator[Tuple[np.ndarray, ...]]:
        """The batches of one pass, full ones: replacements are in the positions of unreadable images."""
        self._feed(self._start, one_pass.rows(one_pass.chosen()))
        with contextlib.suppress(tf.errors.OutOfRangeError):
            for start in itertools.count(0, self._batchsize):
                yield self._batch(one_pass, start)  # a variable would keep it alive while the next one is made

    def _feed(self, operation: tf.Operation, rows: Dict[str, np.ndarray]) -> None:
        self._session.run(operation, feed_dict={feed: rows[name] for name, feed in self._feeds.items()})

    def _batch(self, one_pass: Pass, start: int) -> Tuple[np.ndarray, ...]:
        try:
            return self._session.run(self._next)
        except tf.errors.OutOfRangeError:
            raise
        except tf.errors.OpError:
            return self._row_by_row(one_pass.part(slice(start, start + self._batchsize)))

    def _row_by_row(self, batch: Pass) -> Tuple[np.ndarray, ...]:
        """A batch with replacements; its unreadable images are added to `batch.bad`."""
        rows: List[Any] = [None] * len(batch.order)
        before = np.full(len(batch.order), -1)
        while any(row is None for row in rows):
            chosen = batch.chosen()
            changed = np.flatnonzero(chosen != before)
            columns = batch.rows(chosen[changed])
            for good in self.good_rows(columns):
                for number, *row in zip(*good):
                    rows[changed[number]] = row
            for path, index in zip(columns['path'], changed):
                if rows[index] is None:
                    batch.bad.add(int(chosen[index]), os.fsdecode(path),
                                  self.why_unreadable(path) or UNKNOWN)
            before = chosen
        return tuple(np.stack(column) for column in zip(*rows))

    def good_rows(self, columns: Dict[str, np.ndarray]) -> Iterator[Tuple[np.ndarray, ...]]:
        """Batches of the readable rows: their numbers, then what read_row gives."""
        if self._good is None:  # most runs never need it
            self._good = self._build_good()
        start, following = self._good
        self._feed(start, columns)
        while True:
            try:
                yield self._session.run(following)
            except tf.errors.OutOfRangeError:
                return

    def _build_good(self) -> Tuple[tf.Operation, Any]:
        """For batches with an unreadable image, slower: the number that is missing is its row."""
        def read_numbered(number: tf.Tensor, row: Row) -> Tuple[tf.Tensor, ...]:
            return (number, *self._read_row(row))

        with self._graph.as_default(), tf.device('/cpu:0'), _quiet():
            numbered = self._rows.enumerate().map(tf.autograph.experimental.do_not_convert(read_numbered),
                                                  usable_threads())
            return _iterator(numbered.apply(tf.data.experimental.ignore_errors()).batch(self._batchsize))

    def why_unreadable(self, path: Any) -> Optional[str]:
        """Why an image cannot be decoded, as a clause; None where it can.

        Of a kind that TensorFlow does not read it says what to do.
        """
        if self._decode_one is None:
            with self._graph.as_default(), tf.device('/cpu:0'):
                self._path = tf.compat.v1.placeholder(tf.string, ())
                self._decode_one = decoding.count_decoded(self._path, max_pixels=self._max_pixels)
        try:
            self._session.run(self._decode_one, feed_dict={self._path: path})
        except tf.errors.OpError as error:
            reason = decoding.reason(error)
            kind = kind_of_file(os.fsdecode(path))
            return reason if not decoding.needs_pillow(kind, reason) else (
                f'{kind} {decoding.NOT_READ}: convert the images once with '
                f'{command_of("utils/check_dataset.py")} --convert DIR')
        return None

    def close(self) -> None:
        self._session.close()


def _iterator(batches: tf.data.Dataset) -> Tuple[tf.Operation, Any]:
    """What starts an iterator, and its next element, decoded by threads of its own."""
    options = tf.data.Options()
    options.experimental_threading.private_threadpool_size = usable_threads()
    options.experimental_threading.max_intra_op_parallelism = 1
    options.experimental_optimization.apply_default_optimizations = False  # as in host_session()
    iterator = tf.compat.v1.data.make_initializable_iterator(
        batches.prefetch(PREFETCH_BATCHES).with_options(options))
    return iterator.initializer, iterator.get_next()
