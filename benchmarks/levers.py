"""What each lever does to a training step on a CPU: threads, batch, session, memory, builds of TensorFlow, and PyTorch.

All of TensorFlow's keep freed memory, as train.py does, but for the one that says otherwise.

--intel_python is a Python with intel-tensorflow 1.15.2 and the packages of requirements.txt but TensorFlow,
--torch_python one with PyTorch; what is not given is skipped.
"""
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns  # noqa: E402

STANDARD, GIVEN_BACK = 'as it is', 'freed memory given back'


def measure(*, quick: bool, intel_python: Optional[str] = None,
            torch_python: Optional[str] = None) -> List[turns.Figure]:
    size, batch, rounds = (32, 4, 1) if quick else (224, 32, 3)
    shape = '--image_size', size, '--batchsize', batch
    others = {'intel-tensorflow 1.15.2': (intel_python, ('step_worker', 'bare', '--keep_memory')),
              'PyTorch, channels last': (torch_python, ('torch_worker',))}
    commands = {name: turns.command('step_worker', 'bare', *shape, *more) for name, more in _levers().items()}
    if quick:
        commands = {name: commands[name] for name in (STANDARD, 'grappler off')}
    commands.update((name, turns.command(*worker, *shape, python=python))
                    for name, (python, worker) in others.items() if python)
    with turns.workers(commands) as started:
        taken = turns.take_turns(started, rounds=rounds, amount=1, warm_up=1)
    return ([_figure(name, taken, batch, f'side {size}; {rounds} rounds in turn') for name in taken]
            + [turns.skipped(f'step: {name}', '', 'no Python given') for name, (python, _) in others.items()
               if not python])


def _levers() -> Dict[str, List[Any]]:
    """By name, the flags of step_worker.py; a second --batchsize takes the place of the first."""
    levers: Dict[str, List[Any]] = {
        STANDARD: [], '1 thread': ['--threads', 1], '4 threads': ['--threads', 4], 'batch 10': ['--batchsize', 10],
        'learning phase fed': ['--fed_phase'], 'grappler off': ['--no_grappler'], 'XLA': ['--xla']}
    return {**{name: ['--keep_memory', *more] for name, more in levers.items()}, GIVEN_BACK: []}


def _figure(name: str, taken: Dict[str, List[turns.Turn]], batch: int, how: str) -> turns.Figure:
    images = int(name.split()[1]) if name.startswith('batch ') else batch
    mine, standard = images / turns.seconds(taken[name], 1), batch / turns.seconds(taken[STANDARD], 1)
    times = images / batch / turns.ratio(taken[name], taken[STANDARD])
    return turns.Figure(f'step: {name}', mine, standard, times, 'images/s', '', None,
                        f'images a second of train_on_batch on a constant batch of {images}, {how}; the baseline is '
                        'TensorFlow 1.15 with freed memory kept')


if __name__ == '__main__':
    turns.main(measure, __doc__ or '', intel_python={'metavar': 'PYTHON'}, torch_python={'metavar': 'PYTHON'})
