"""Seconds until training on a quarter of a million photographs begins, and the memory that it takes while it goes on.

The photographs are links to a few files, so that the list is long and the disk is not full.
"""
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from benchmarks.loader import BATCH, make_dataset  # noqa: E402

LINES = 250000
FILES = 40


def link_dataset(folder: str, lines: int, side: int) -> None:
    """A label file of `lines` lines, with every photograph there: hard links to a few."""
    few = os.path.join(folder, 'few')
    make_dataset(few, FILES, side)
    os.makedirs(os.path.join(folder, 'images'))
    with open(os.path.join(folder, 'AVA.txt'), 'w') as labels:
        for number in range(lines):
            source = os.path.join(few, 'images', f'{number % FILES}.jpg')
            os.link(source, os.path.join(folder, 'images', f'{number}.jpg'))
            labels.write(f'{number + 1} {number} {1 + number % 7} 2 5 17 38 36 {15 + number % 5} 6 5 1 1 22 1396\n')


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open('/proc/self/statm') as stream:
        return int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def measure(folder: str, batches: Sequence[int]) -> Dict[str, Any]:
    """Seconds from reading the labels to the first batch, TensorFlow being imported; memory after `batches`."""
    import tensorflow as tf
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    from utils import data_loader
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet
    started, used = time.perf_counter(), time.process_time()
    train, _ = data_loader.read_split(5 * BATCH, labels=os.path.join(folder, 'AVA.txt'),
                                      images=os.path.join(folder, 'images'))
    generator = data_loader.train_generator(BATCH, images=ImageSet(train, BadImages(train.count)))
    next(generator)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    held = []
    for number in range(2, max(batches) + 1):
        next(generator)
        if number in batches:
            held.append({'batches': number, 'bytes': resident()})
    generator.close()
    return {'seconds_to_first_batch': seconds, 'cpu_seconds_to_first_batch': processor, 'resident': held,
            'growth': held[-1]['bytes'] / held[0]['bytes'] - 1}


def main(argv: Optional[Sequence[str]] = None) -> Dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--lines', type=int, default=LINES, metavar='N', help=f'photographs (default: {LINES})')
    parser.add_argument('--batches', type=int, nargs=2, default=[50, 200], metavar='N',
                        help=f'batches of {BATCH} after which memory is read (default: 50 200)')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        link_dataset(folder, flags.lines, 640)
        figures = {'lines': flags.lines, **measure(folder, flags.batches)}
    if flags.json:
        print(json.dumps(figures))
    else:
        print(f'{flags.lines} photographs: first batch after {figures["seconds_to_first_batch"]:.2f} s '
              f'({figures["cpu_seconds_to_first_batch"]:.2f} s of processor time)')
        for each in figures['resident']:
            print(f'after {each["batches"]} batches: {each["bytes"] / 2 ** 20:.0f} MiB')
        print(f'growth: {100 * figures["growth"]:.1f} %')
    return figures


if __name__ == '__main__':
    main()
