"""What train.py adds to a step, and the share of the time for which its pipeline keeps a simulated device busy."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, turns  # noqa: E402

DEVICE_SECONDS = 0.1459  # of the card's Ascend 910 for a batch of 100
BUSY = {'JPEG files': 0.95, 'packed dataset': 0.99}


def pack(folder: str, image_size: int) -> str:
    """A packed dataset, raw, of the training photographs in `folder`."""
    records = os.path.join(folder, 'packed')
    subprocess.run([sys.executable, '-m', 'utils.records', 'pack', '--use', 'training', '-o', records, '--form', 'raw',
                    '--val_size', '100', '--image_size', str(image_size), '--ava_dataset_path',
                    os.path.join(folder, 'AVA.txt'), '--base_images_path', os.path.join(folder, 'images')],
                   cwd=str(turns.ROOT), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return records


def measure(*, quick: bool) -> List[turns.Figure]:
    size, batch, rounds, steps = (32, 10, 1, 1) if quick else (224, 100, 5, 1)
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, 400 if quick else 4000, 64 if quick else 640)
        shape = '--folder', folder, '--batchsize', batch, '--image_size', size
        sources = {'JPEG files': [], 'packed dataset': ['--records', pack(folder, size)]}
        return (_overhead(shape, sources, rounds=rounds, steps=steps)
                + _busy(shape, sources, batch=batch, steps=2 if quick else 9, rounds=min(rounds, 3)))


def _overhead(shape: tuple, sources: dict, *, rounds: int, steps: int) -> List[turns.Figure]:
    commands = {name: turns.command('step_worker', 'train', *shape, *more) for name, more in sources.items()}
    commands['bare'] = turns.command('step_worker', 'bare', *shape)
    with turns.workers(commands) as started:
        taken = turns.take_turns(started, rounds=rounds, amount=steps, warm_up=1)
    how = (f'seconds a step of train.py, all of it, and of train_on_batch on a constant batch of the same model; '
           f'{rounds} rounds of {steps} steps in turn')
    return [turns.Figure(f'step of train.py, {name}', turns.seconds(taken[name], steps),
                         turns.seconds(taken['bare'], steps), turns.ratio(taken[name], taken['bare']), 's',
                         'at most 1.03 times the bare step', turns.ratio(taken[name], taken['bare']) <= 1.03, how)
            for name in sources]


def _busy(shape: tuple, sources: dict, *, batch: int, steps: int, rounds: int) -> List[turns.Figure]:
    device = DEVICE_SECONDS * batch / 100
    figures = []
    for name, more in sources.items():
        command = turns.command('step_worker', 'train', *shape, *more, '--device_seconds', device)
        with turns.workers({name: command}) as started:
            taken = turns.take_turns(started, rounds=rounds, amount=steps, warm_up=steps)[name]
        step = turns.seconds(taken, steps)
        figures.append(turns.Figure(
            f'simulated device busy, {name}', device / step, 1.0, device / step, '', f'at least {BUSY[name]:.2f}',
            device / step >= BUSY[name], f'{device} s, slept in place of the model, over the seconds of a step of '
            f'train.py: {batch / step:.0f} images a second'))
    return figures


if __name__ == '__main__':
    turns.main(measure, __doc__)
