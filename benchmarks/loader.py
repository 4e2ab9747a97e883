"""Images a second of the input pipeline: decoding alone, the way of the published code, this loader, packed datasets.

Every way runs in a process of its own, with the memory settings of its own, and all take turns on the same files.
"""
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from benchmarks import dataset, step_worker, turns
from utils.base.errors import InputError
from utils.base.parser import count

BATCH, SIZE = 100, 224
EPOCH = 10000       # images, at least
PUBLISHED, DECODE, RESIZE, JPEG = 'published', 'decode', 'decode + resize', 'loader, JPEG files'
PACKED = {f'packed, {form}': form for form in ('raw', 'jpeg')}
WAYS = [PUBLISHED, DECODE, RESIZE, JPEG, *PACKED]


# --- the ways to read; each is an endless iterator of batches


def decoding(paths: Sequence[str], resize: bool) -> Iterator[Any]:
    """Decoding, and resizing to 256, on all cores, with as much as nothing after it: the least that JPEG files cost."""
    import tensorflow as tf

    from utils.data import pipeline

    def read(path: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.compat.v1.image.resize_images(image, (256, 256))[0, 0] if resize else image[0, 0]

    def rows() -> Any:
        options = tf.data.Options()
        options.experimental_threading.private_threadpool_size = pipeline.usable_threads()
        options.experimental_threading.max_intra_op_parallelism = 1
        read_all = tf.data.Dataset.from_tensor_slices(list(paths)).repeat().map(
            read, num_parallel_calls=pipeline.usable_threads())
        return read_all.batch(BATCH).prefetch(2).with_options(options)

    return step_worker.endless(rows)


def loader(ratings: Any, folder: str, form: Optional[str], as_pixels: bool = False) -> Iterator[Any]:
    from utils import data_loader
    from utils.base.preprocessing import Preprocessing
    from utils.data import ava, packed
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet, Reading
    train, _ = ava.split(ratings, 1)
    opened = form and packed.open_fitting(os.path.join(folder, form), train, Preprocessing(), use='training', flag='')
    return data_loader.train_generator(BATCH, images=ImageSet(train, BadImages(train.count), opened or None),
                                       reading=Reading(Preprocessing(), as_pixels=as_pixels))


def batches_of(way: str, folder: str) -> Iterator[Any]:
    import numpy as np
    ratings = dataset.ratings(folder)
    if way == JPEG:  # a long epoch, as AVA's is: at its end the threads have nothing to do for a moment
        ratings = ratings.take(np.tile(np.arange(ratings.count), EPOCH // ratings.count + 1))
    scores = ratings.distributions.astype('float32')
    ways: Dict[str, Callable[[], Iterator[Any]]] = {
        PUBLISHED: lambda: step_worker.published(ratings.paths, scores, BATCH, SIZE),
        DECODE: lambda: decoding(ratings.paths, False), RESIZE: lambda: decoding(ratings.paths, True)}
    return ways[way]() if way in ways else loader(ratings, folder, PACKED.get(way))


def work(way: str, folder: str) -> Callable[[int], Any]:
    batches = batches_of(way, folder)
    return lambda amount: [next(batches) for _ in range(amount)]


def feed(folder: str, as_pixels: bool) -> Callable[[int], Any]:
    """What a step costs the host: a batch of the packed dataset, fed to a session that looks at one of its values."""
    import tensorflow as tf
    batches = loader(dataset.ratings(folder), folder, 'raw', as_pixels)
    images = tf.compat.v1.placeholder(tf.uint8 if as_pixels else tf.float32, (BATCH, SIZE, SIZE, 3))
    session = turns.OPEN.enter_context(tf.compat.v1.Session())
    value = images[0, 0, 0, 0]
    return lambda amount: [session.run(value, {images: next(batches)[0]}) for _ in range(amount)]


# --- measuring


def measure(*, quick: bool, rounds: Optional[int], cores: List[int]) -> List[turns.Figure]:
    count, side, rounds = (BATCH + 1, 64, rounds or 1) if quick else (400, dataset.LONG_SIDE, rounds or 7)
    usable = sorted(os.sched_getaffinity(0))
    if shutil.which('taskset') is None or max(cores) > len(usable):
        raise InputError(f'--cores: found {max(cores)}, expected up to {len(usable)} and the program taskset')
    with tempfile.TemporaryDirectory() as folder:
        dataset.make(folder, count, side)  # one is for validation
        sizes = dict.fromkeys(WAYS, sum(path.stat().st_size for path in Path(folder, 'images').iterdir()) / count)
        for way, form in PACKED.items():
            manifest = json.loads(Path(dataset.pack(folder, form, val_size=1, image_size=SIZE),
                                       'manifest.json').read_text())
            sizes[way] = sum(shard['bytes'] for shard in manifest['shards']) / manifest['photographs']
        return [*(figure for number in cores
                  for figure in _figures(folder, usable[:number], sizes, rounds, *((1, 3) if quick else (10, 50)))),
                _fed(folder, rounds, *((1, 1) if quick else (10, 20)))]


def _fed(folder: str, rounds: int, amount: int, warm_up: int) -> turns.Figure:
    taken = turns.take_turns({name: turns.process('loader', 'feed', folder=folder, as_pixels=name == 'uint8')
                              for name in ('uint8', 'float32')}, rounds, amount, warm_up)
    cost = {name: [1000 * turn.processor / amount for turn in each] for name, each in taken.items()}
    size = BATCH * SIZE ** 2 * 3
    return turns.compared(
        'host, a step fed as uint8', cost['uint8'], cost['float32'], 'ms', f'milliseconds of CPU to read {BATCH} '
        f'images from a packed dataset (raw) and to feed them, as {size:,} bytes of pixels that the device scales, or '
        f'scaled on the host as {4 * size:,} bytes of float32; {rounds} rounds in turn', most=0.5)


def _figures(folder: str, cores: Sequence[int], sizes: Dict[str, float], rounds: int, amount: int,
             warm_up: int) -> List[turns.Figure]:
    bound = ['taskset', '-c', ','.join(map(str, cores))]
    amounts = {way: amount * (4 if way == 'packed, raw' else 1) for way in WAYS}
    with turns.workers({way: bound + turns.process('loader', 'work', way=way, folder=folder)
                        for way in WAYS}) as started:
        for worker in started.values():
            worker.take(warm_up)  # until its buffers are full and its memory no longer grows
        taken = turns.interleaved({way: lambda way=way: started[way].take(amounts[way]) for way in WAYS}, rounds)
    speeds = {way: turns.speeds(taken[way], amounts[way] * BATCH) for way in WAYS}
    costs = {way: 1000 * sum(turn.processor for turn in taken[way]) / (amounts[way] * BATCH * rounds) for way in WAYS}
    return [turns.compared(
        f'{way}, cores: {len(cores)}', speeds[way], speeds[PUBLISHED], 'images/s',
        f'images a second, over those of the published way; {turns.ratio_of(speeds[way], speeds[RESIZE]):.2f} times '
        f'{RESIZE}; {costs[way]:.2f} ms of CPU and {sizes[way]:,.0f} bytes an image; {rounds} rounds in turn')
        for way in WAYS]


if __name__ == '__main__':
    turns.main(measure, __doc__, rounds=turns.ROUNDS, cores={
        'type': count, 'nargs': '+', 'default': [1, 2], 'metavar': 'N', 'help': '(default: 1 2)'})
