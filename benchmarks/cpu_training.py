"""Training on a CPU: train.py beside the reference script's way, every lever with its measurement, and where time goes.

--intel_python is a Python with intel-tensorflow 1.15.2 and the packages of requirements.txt but TensorFlow,
--torch_python one with PyTorch; what is not given is skipped.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, turns  # noqa: E402

MOST = 1.0  # times the reference's seconds
SHOWN = 8   # operations


def measure(*, quick: bool, intel_python: Optional[str] = None,
            torch_python: Optional[str] = None) -> List[turns.Figure]:
    size, batch, rounds, steps = (32, 10, 1, 1) if quick else (224, 100, 3, 2)
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, batch * 30, 64 if quick else 640)
        shape = '--folder', folder, '--batchsize', batch, '--image_size', size
        with turns.workers({way: turns.command('step_worker', way, *shape) for way in ('train', 'reference')}) as ways:
            taken = turns.take_turns(ways, rounds=rounds, amount=steps, warm_up=1)
    times = turns.ratio(taken['train'], taken['reference'])
    how = (f'images a second from JPEG files of 640 pixels, batch {batch}: train.py, and fit_generator on a session '
           'with 2 parallel calls and the learning phase fed; the ratio is of seconds; '
           f'{rounds} rounds of {steps} steps')
    figures = [turns.Figure('training on a CPU', batch / turns.seconds(taken['train'], steps),
                            batch / turns.seconds(taken['reference'], steps), times, 'images/s',
                            f'at most {MOST:g} times the seconds', times <= MOST, how)]
    python = {'intel-tensorflow 1.15.2': (intel_python, 'step_worker', ['bare']),
              'PyTorch, channels_last': (torch_python, 'torch_worker', [])}
    return figures + _levers(size, 4 if quick else 32, python, rounds=rounds, steps=steps, quick=quick)


def _levers(size: int, batch: int, python: Dict[str, Any], *, rounds: int, steps: int,
            quick: bool) -> List[turns.Figure]:
    def bare(*more: Any, batch: int = batch) -> List[str]:
        return turns.command('step_worker', 'bare', '--image_size', size, '--batchsize', batch, *more)

    batches = {'as it is': batch, 'batch 10': 10, 'batch 100': 100}
    commands = {'as it is': bare(), '1 thread': bare('--threads', 1), '4 threads': bare('--threads', 4),
                'batch 10': bare(batch=10), 'batch 100': bare(batch=100), 'learning phase fed': bare('--fed_phase'),
                'grappler off': bare('--no_grappler'), 'XLA': bare('--xla')}
    if quick:
        commands = {name: commands[name] for name in ('as it is', 'grappler off')}
    missing = [name for name, (path, _, _) in python.items() if not path]
    for name, (path, module, argv) in python.items():
        if path:
            commands[name] = turns.command(module, *argv, '--image_size', size, '--batchsize', batch, python=path)
    with turns.workers(commands) as started:
        taken = turns.take_turns(started, rounds=rounds, amount=steps, warm_up=1)
    standard = taken['as it is']
    images = {name: batches.get(name, batch) * steps for name in taken}
    figures = [turns.Figure(
        f'bare step: {name}', images[name] / turns.seconds(taken[name], 1), batch / turns.seconds(standard, steps),
        images[name] / (batch * steps) / turns.ratio(taken[name], standard), 'images/s', '', None,
        f'train_on_batch, batch {batches.get(name, batch)}, side {size}, beside the same as it is; {rounds} rounds of '
        f'{steps} steps') for name in taken]
    figures += [turns.skipped(f'bare step: {name}', '', 'no Python given') for name in missing]
    return [*figures, _operations(size, batch)]


def _operations(size: int, batch: int) -> turns.Figure:
    command = turns.command('step_worker', 'profile', '--image_size', size, '--batchsize', batch)
    done = subprocess.run(command, input='1\n', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=True)
    found = json.loads(done.stdout)
    total = sum(found.values())
    shares = ', '.join(f'{name} {100 * each / total:.0f} %' for name, each in list(found.items())[:SHOWN])
    return turns.reported(f'all operations of a step, {len(os.sched_getaffinity(0))} cores', total, 's',
                          f'processor seconds of the operations of one step, batch {batch}, by their kind: {shares}')


if __name__ == '__main__':
    turns.main(measure, __doc__ or '', intel_python={'metavar': 'PYTHON'}, torch_python={'metavar': 'PYTHON'})
