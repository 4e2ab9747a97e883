"""Images a second of the input pipeline: decoding alone, the way of the published code, this loader, packed datasets.

Every way runs in a process of its own, with the memory settings of its own, and all take turns on the same files; the
order turns from round to round. Figures are medians; a ratio is the median of the rounds' ratios, so that other work
on the machine, which slows neighbouring turns alike, changes it little.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from utils.base import errors  # noqa: E402

SHARED_PHOTOGRAPHS = ROOT.parent / 'shared' / 'ava_sample' / 'images'
LONG_SIDE = 640     # of AVA's photographs
BATCH = 100
WARM_UP = 50        # batches
EPOCH = 10000       # photographs, at least
PUBLISHED, DECODE, RESIZE, JPEG = 'published', 'decode', 'decode + resize', 'loader, JPEG files'
PACKED = {f'packed, {form}': form for form in ('raw', 'jpeg')}
WAYS = [PUBLISHED, DECODE, RESIZE, JPEG, *PACKED]


# --- photographs


def make_dataset(folder: str, count: int, side: int) -> None:
    """`count` photographs of about AVA's size and compression with labels: of the real ones at hand, or drawn."""
    import numpy as np
    from PIL import Image
    os.makedirs(os.path.join(folder, 'images'))
    real = sorted(SHARED_PHOTOGRAPHS.glob('*.jpg'))
    random = np.random.RandomState(0)
    with open(os.path.join(folder, 'AVA.txt'), 'w') as labels:
        for number in range(count):
            if real:
                picture = Image.open(str(real[number % len(real)])).convert('RGB')
                cut = random.randint(0, 40, 4)  # no two files are alike
                picture = picture.crop((cut[0], cut[1], picture.width - cut[2], picture.height - cut[3]))
            else:
                picture = Image.fromarray(_scene(random))
            scale = side / max(picture.size)
            picture = picture.resize([max(1, round(length * scale)) for length in picture.size], Image.LANCZOS)
            picture.save(os.path.join(folder, 'images', f'{number}.jpg'), quality=90)
            votes = ' '.join(map(str, random.randint(1, 60, 10)))
            labels.write(f'{number + 1} {number} {votes} 0 0 1\n')


def _scene(random: Any) -> Any:
    """Waves with noise, uint8 [480, 640, 3], where no real photographs are at hand."""
    import numpy as np
    rows, columns = np.mgrid[:480, :640]
    waves = [np.sin(rows / random.uniform(9, 90) + columns / random.uniform(9, 90) + phase) for phase in range(3)]
    return np.clip(127 + 70 * np.stack(waves, -1) + random.normal(0, 9, (480, 640, 3)), 0, 255).astype(np.uint8)


# --- the ways to read them; each is an endless iterator of batches


def published(paths: Sequence[str], scores: Any) -> Iterator[Any]:
    """As the code this project follows reads: 2 parallel calls, a shuffle of 4, no prefetch, a session's generator."""
    import tensorflow as tf

    def parse(path: Any, row: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.compat.v1.image.resize_images(image, (256, 256))
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (224, 224, 3)))
        return (tf.cast(image, tf.float32) - 127.5) / 127.5, row

    rows = tf.data.Dataset.from_tensor_slices((list(paths), scores)).map(parse, num_parallel_calls=2)
    return _endless(rows.repeat().shuffle(4).batch(BATCH))


def decoding(paths: Sequence[str], resize: bool) -> Iterator[Any]:
    """Decoding, and resizing to 256, on all cores, with as much as nothing after it: the least that JPEG files cost."""
    import tensorflow as tf

    from utils.data import pipeline

    def read(path: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.compat.v1.image.resize_images(image, (256, 256))[0, 0] if resize else image[0, 0]

    options = tf.data.Options()
    options.experimental_threading.private_threadpool_size = pipeline.usable_threads()
    options.experimental_threading.max_intra_op_parallelism = 1
    rows = tf.data.Dataset.from_tensor_slices(list(paths)).repeat()
    rows = rows.map(read, num_parallel_calls=pipeline.usable_threads())
    return _endless(rows.batch(BATCH).prefetch(2).with_options(options))


def _endless(batches: Any) -> Iterator[Any]:
    import tensorflow as tf
    following = tf.compat.v1.data.make_one_shot_iterator(batches).get_next()
    session = tf.compat.v1.Session()
    while True:
        yield session.run(following)


def loader(ratings: Any, folder: str, form: Optional[str]) -> Iterator[Any]:
    from utils import data_loader
    from utils.base.preprocessing import Preprocessing
    from utils.data import ava, packed
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet
    train, _ = ava.split(ratings, 1)
    opened = form and packed.open_fitting(os.path.join(folder, form), train, Preprocessing(), use='training', flag='')
    return data_loader.train_generator(BATCH, images=ImageSet(train, BadImages(train.count), opened or None))


def batches_of(way: str, folder: str) -> Iterator[Any]:
    import numpy as np

    from utils.data import ava
    ratings = ava.read(os.path.join(folder, 'AVA.txt'), os.path.join(folder, 'images'))
    if way == JPEG:  # a long epoch, as AVA's is: at its end the threads have nothing to do for a moment
        ratings = ratings.take(np.tile(np.arange(ratings.count), EPOCH // ratings.count + 1))
    ways: Dict[str, Callable[[], Iterator[Any]]] = {
        PUBLISHED: lambda: published(ratings.paths, ratings.distributions.astype('float32')),
        DECODE: lambda: decoding(ratings.paths, False), RESIZE: lambda: decoding(ratings.paths, True)}
    return ways[way]() if way in ways else loader(ratings, folder, PACKED.get(way))


def work(way: str, folder: str) -> None:
    """One way's process: for each number of batches on standard input, prints the seconds that they took."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # whatever else is printed
    batches = batches_of(way, folder)
    for line in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            next(batches)
        print(time.perf_counter() - started, time.process_time() - used, file=answers, flush=True)


# --- taking turns


class Worker:
    """A way's process, on some cores of the machine; it stands still while it is not its turn."""

    def __init__(self, way: str, folder: str, cores: Sequence[int]) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), '--work', way, '--folder', folder]
        self._process = subprocess.Popen(
            ['taskset', '-c', ','.join(map(str, cores)), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, universal_newlines=True)

    def read(self, batches: int) -> List[float]:
        """Wall and processor seconds for so many batches."""
        assert self._process.stdin and self._process.stdout
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(f'{batches}\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        self._process.send_signal(signal.SIGSTOP)  # else it would read ahead in the time of the others
        if not answer:
            raise errors.InputError('a process of the benchmark ended early: start it alone, with --work, to see why')
        return [float(each) for each in answer.split()]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(folder: str, cores: Sequence[int], *, rounds: int, batches: int,
            warm_up: int) -> Dict[str, Dict[str, float]]:
    """For each way images a second, processor milliseconds an image, and its speed over the published way's and over
    decoding's with resizing."""
    speeds: Dict[str, List[float]] = {way: [] for way in WAYS}
    costs: Dict[str, List[float]] = {way: [] for way in WAYS}
    with contextlib.ExitStack() as stack:
        workers = {way: stack.enter_context(contextlib.closing(Worker(way, folder, cores))) for way in WAYS}
        for worker in workers.values():
            worker.read(warm_up)  # until its buffers are full and its memory no longer grows
        for number in range(rounds):
            for way in WAYS[number % len(WAYS):] + WAYS[:number % len(WAYS)]:
                amount = batches * (4 if way == 'packed, raw' else 1)
                wall, processor = workers[way].read(amount)
                speeds[way].append(amount * BATCH / wall)
                costs[way].append(1000 * processor / (amount * BATCH))
    figures = {}
    for way in WAYS:
        figures[way] = {'images_per_second': statistics.median(speeds[way]),
                        'cpu_ms_per_image': statistics.median(costs[way])}
        for other in (PUBLISHED, RESIZE):
            ratios = [mine / theirs for mine, theirs in zip(speeds[way], speeds[other])]
            figures[way][f'over {other}'] = statistics.median(ratios)
    return figures


def pack_all(folder: str) -> Dict[str, float]:
    """Pack in every form; bytes a photograph by way."""
    for form in PACKED.values():
        subprocess.run([sys.executable, '-m', 'utils.records', 'pack', '--use', 'training', '-o',
                        os.path.join(folder, form), '--form', form, '--val_size', '1', '--ava_dataset_path',
                        os.path.join(folder, 'AVA.txt'), '--base_images_path', os.path.join(folder, 'images')],
                       cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sizes = {}
    for way, form in PACKED.items():
        with open(os.path.join(folder, form, 'manifest.json')) as stream:
            manifest = json.load(stream)
        sizes[way] = sum(shard['bytes'] for shard in manifest['shards']) / manifest['photographs']
    return sizes


def markdown(result: Dict[str, Any]) -> str:
    lines = ['| cores | way | bytes an image | images a second | CPU ms an image | x published | x decode + resize |',
             '|---|---|---|---|---|---|---|']
    for cores, ways in result['cores'].items():
        for way, figures in ways.items():
            lines.append(f'| {cores} | {way} | {result["bytes"][way]:,.0f} | {figures["images_per_second"]:,.0f} | '
                         f'{figures["cpu_ms_per_image"]:.2f} | {figures["over " + PUBLISHED]:.2f} | '
                         f'{figures["over " + RESIZE]:.2f} |')
    return '\n'.join(lines)


def main(argv: Optional[Sequence[str]] = None) -> Optional[Dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--photographs', type=int, default=400, metavar='N', help='files to make (default: 400)')
    parser.add_argument('--rounds', type=int, default=7, metavar='N', help='rounds to time (default: 7)')
    parser.add_argument('--batches', type=int, default=10, metavar='N',
                        help=f'batches of {BATCH} a turn (default: 10)')
    parser.add_argument('--cores', type=int, nargs='+', default=[1, 2], metavar='N', help='(default: 1 2)')
    parser.add_argument('--quick', action='store_true', help='a few small files, to see that it works')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    parser.add_argument('--work', choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument('--folder', help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.work:
        return work(flags.work, flags.folder)
    if flags.quick:
        flags.photographs, flags.rounds, flags.batches = BATCH + 1, 1, 1  # one is for validation
    usable = sorted(os.sched_getaffinity(0))
    if shutil.which('taskset') is None or max(flags.cores) > len(usable):
        parser.error(f'--cores: found {max(flags.cores)}, expected up to {len(usable)} and the program taskset')
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(folder, flags.photographs, 64 if flags.quick else LONG_SIDE)
        sizes = {way: sum(path.stat().st_size for path in (Path(folder) / 'images').iterdir()) / flags.photographs
                 for way in WAYS}
        sizes.update(pack_all(folder))
        result = {'photographs': flags.photographs, 'rounds': flags.rounds, 'batch': BATCH, 'bytes': sizes,
                  'cores': {cores: measure(folder, usable[:cores], rounds=flags.rounds, batches=flags.batches,
                                           warm_up=3 if flags.quick else WARM_UP)
                            for cores in flags.cores}}
    print(json.dumps(result, indent=1) if flags.json else markdown(result))
    return result


if __name__ == '__main__':
    errors.run(main, 'loader')
