"""Training on a CPU: train.py beside the reference script's way, and where the time of a step goes."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, turns  # noqa: E402

MOST = 1.0  # times the reference's seconds
SHOWN = 8   # operations


def measure(*, quick: bool) -> List[turns.Figure]:
    size, batch, rounds = (32, 10, 1) if quick else (224, 32, 5)
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, batch * 30, 64 if quick else 640)
        shape = '--folder', folder, '--batchsize', batch, '--image_size', size
        with turns.workers({way: turns.command('step_worker', way, *shape) for way in ('train', 'reference')}) as ways:
            taken = turns.take_turns(ways, rounds=rounds, amount=1, warm_up=1)
    times = turns.ratio(taken['train'], taken['reference'])
    how = (f'images a second from JPEG files of 640 pixels, batch {batch}: train.py, and fit_generator on a session '
           f'with 2 parallel calls and the learning phase fed; the ratio is of seconds; {rounds} rounds in turn')
    return [turns.Figure('training on a CPU', batch / turns.seconds(taken['train'], 1),
                         batch / turns.seconds(taken['reference'], 1), times, 'images/s',
                         f'at most {MOST:g} times the seconds', times <= MOST, how), _operations(size, batch)]


def _operations(size: int, batch: int) -> turns.Figure:
    command = turns.command('step_worker', 'profile', '--image_size', size, '--batchsize', batch)
    done = subprocess.run(command, input='1\n', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=True)
    found = json.loads(done.stdout)
    total = sum(found.values())
    shares = ', '.join(f'{name} {100 * each / total:.0f} %' for name, each in list(found.items())[:SHOWN])
    return turns.reported(f'all operations of a step, {len(os.sched_getaffinity(0))} cores', total, 's',
                          f'seconds of each operation of one step, batch {batch}, from its beginning to its end, added '
                          f'up by their kind; some run side by side: {shares}')


if __name__ == '__main__':
    turns.main(measure, __doc__ or '')
