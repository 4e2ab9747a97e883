"""Memory of training: its peak beside a bare step's, and whether it grows."""
import sys
import tempfile
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, turns  # noqa: E402

MOST_PEAK, MOST_GROWTH = 1.15, 1.02
STEPS = 500
SMALL_BATCH = 40


def measure(*, quick: bool) -> List[turns.Figure]:
    steps = 6 if quick else STEPS
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, SMALL_BATCH * (steps + 2) + 100, 64 if quick else 320)
        flat = _flat(folder, SMALL_BATCH, 32, steps)
    batch = 10 if quick else 100
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, batch * 12 + 100, 64 if quick else 640)
        return [_peak(folder, batch, 32 if quick else 224, 2), flat]


def _peak(folder: str, batch: int, size: int, steps: int) -> turns.Figure:
    shape = '--batchsize', batch, '--image_size', size
    with turns.workers({'train': turns.command('step_worker', 'train', '--folder', folder, *shape),
                        'bare': turns.command('step_worker', 'bare', *shape)}) as started:
        mine, bare = (started[name].take(steps).peak / 2 ** 20 for name in ('train', 'bare'))
    return turns.Figure(f'peak memory of train.py, batch {batch}', mine, bare, mine / bare, 'MiB',
                        f'at most {MOST_PEAK:g} times', mine <= MOST_PEAK * bare,
                        f'the most memory that the process held in {steps} steps at side {size}, from JPEG files of '
                        '640 pixels, and one that trains on a constant batch')


def _flat(folder: str, batch: int, size: int, steps: int) -> turns.Figure:
    command = turns.command('step_worker', 'train', '--folder', folder, '--batchsize', batch, '--image_size', size)
    with turns.workers({'train': command}) as started:
        first = started['train'].take(steps // 2).resident / 2 ** 20
        last = started['train'].take(steps - steps // 2).resident / 2 ** 20
    return turns.Figure(f'memory of train.py after {steps} steps', last, first, last / first, 'MiB',
                        f'flat: at most {MOST_GROWTH:g} times', last <= MOST_GROWTH * first,
                        f'memory held after {steps} steps and after {steps // 2}, batch {batch}, side {size}')


if __name__ == '__main__':
    turns.main(measure, __doc__)
