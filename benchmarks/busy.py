"""The share of the time for which train.py keeps a device busy that a sleeping stand-in simulates."""
import sys
import tempfile
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, steps, turns  # noqa: E402

DEVICE_SECONDS = 0.1459  # of the card's Ascend 910 for a batch of 100
BUSY = {'JPEG files': 0.95, 'packed dataset': 0.99}


def measure(*, quick: bool) -> List[turns.Figure]:
    size, batch, rounds, amount = (32, 10, 1, 2) if quick else (224, 100, 3, 9)
    device = DEVICE_SECONDS * batch / 100
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, 300 if quick else 4000, 64 if quick else 640)
        shape = '--folder', folder, '--batchsize', batch, '--image_size', size
        for name, more in steps.sources(folder, size).items():
            command = turns.command('step_worker', 'train', *shape, *more, '--device_seconds', device)
            with turns.workers({name: command}) as started:
                taken = turns.take_turns(started, rounds=rounds, amount=amount, warm_up=amount)[name]
            step = turns.seconds(taken, amount)
            figures.append(turns.Figure(
                f'simulated device busy, {name}', device / step, 1.0, device / step, '', f'at least {BUSY[name]:.2f}',
                device / step >= BUSY[name], f'{device} s, slept in place of the model, over the seconds of a step of '
                f'train.py, batch {batch}, {rounds} rounds of {amount}: {batch / step:.0f} images a second'))
    return figures


if __name__ == '__main__':
    turns.main(measure, __doc__ or '')
