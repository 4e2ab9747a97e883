"""Start-up: train.py on 250,000 labels to its first step, eval.py and predict.py of 10 images, --help, label files."""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional

from benchmarks import dataset, scoring, step_worker, turns

MODULES = 'check_dataset', 'demo_dataset', 'export', 'labels', 'models', 'records'
COMMANDS = {**{name: [name] for name in ('train.py', 'eval.py', 'predict.py')},
            **{f'utils/{name}.py': ['-m', f'utils.{name}'] for name in MODULES}}
MOST_HELP = 0.5  # seconds
MOST_MORE = 2.0
FEW, MOST_FOR_FEW = 10, 1.5  # images; times the import and the network
REAL_LABELS = turns.SHARED / 'ava_labels' / 'AVA_43533.txt'

LEAST = '''import os, sys
sys.path[0] = {root!r}
from benchmarks import step_worker
step_worker.built({size})
os._exit(0)  # as the other does: neither pays for TensorFlow's end
'''
NETWORK = '''import os, sys
sys.path[0] = {root!r}
import tensorflow as tf
from utils import nima
tf.keras.backend.set_learning_phase(0)
base = tf.keras.applications.MobileNet(({size}, {size}, 3), include_top=False, pooling='avg', weights=None)
nima.with_head(base, 0.75)
os._exit(0)
'''
TRAIN = '''import os, sys
sys.path[0] = {root!r}
import train
from utils.training import state
state.TrainingState.on_batch_begin = lambda *_, **__: os._exit(0)  # the first batch is there, the first step begins
train.main({argv!r})
'''


def seconds(command: List[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=str(turns.ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(*, quick: bool, rounds: Optional[int], labels: str) -> List[turns.Figure]:
    lines, size, rounds = (2000, 32, rounds or 1) if quick else (250000, 224, rounds or 5)
    with tempfile.TemporaryDirectory() as folder:
        dataset.link(folder, lines, 64 if quick else dataset.LONG_SIDE)
        start = _start(folder, lines, size, rounds)
        read = [_reading(path, rounds) for path in (labels, os.path.join(folder, 'AVA.txt')) if os.path.isfile(path)]
    return [start, *_few(size, rounds), _helps(rounds), *read]


def _start(folder: str, lines: int, size: int, rounds: int) -> turns.Figure:
    argv = [*dataset.paths(folder), '--val_size', '100', '--weights', step_worker.weights(size), '--image_size',
            str(size), '--device', 'cpu', '--TMP_MODEL_PATF', os.path.join(folder, 'model')]
    named: Dict[str, Any] = {'root': str(turns.ROOT), 'size': size, 'argv': argv}
    found = turns.interleaved({text: lambda text=text: seconds([sys.executable, '-c', text.format(**named)])
                               for text in (LEAST, TRAIN)}, rounds)
    more = statistics.median(mine - least for least, mine in zip(found[LEAST], found[TRAIN]))
    return turns.compared(
        f'from the start of train.py to its first step, {lines:,} labels', found[TRAIN], found[LEAST], 's',
        'seconds of the process, and of one that imports TensorFlow and builds the model with its weights; '
        f'{rounds} rounds in turn, {more:.2f} s more')._replace(goal=f'at most {MOST_MORE:g} s more',
                                                                met=more <= MOST_MORE)


def _few(size: int, rounds: int) -> List[turns.Figure]:
    """eval.py and predict.py of as few images that starting is all there is."""
    with tempfile.TemporaryDirectory() as folder:
        dataset.make(folder, FEW, 64 if size < 224 else dataset.LONG_SIDE)
        model = ['--checkpoint', scoring.model_in(folder, size), '--device', 'cpu']
        commands = {'least': ['-c', NETWORK.format(root=str(turns.ROOT), size=size)],
                    'eval.py': ['eval.py', *model, *dataset.paths(folder), '--val_size', str(FEW)],
                    'predict.py': ['predict.py', *model, os.path.join(folder, 'images')]}
        found = turns.interleaved({name: lambda words=words: seconds([sys.executable, *words])
                                   for name, words in commands.items()}, rounds)
    how = ('seconds of the process, and of one that imports TensorFlow and builds the network without weights; '
           f'{rounds} rounds in turn')
    return [turns.compared(f'{name} of {FEW} images', found[name], found['least'], 's', how, most=MOST_FOR_FEW)
            for name in ('eval.py', 'predict.py')]


def _helps(rounds: int) -> turns.Figure:
    found = turns.interleaved({name: lambda words=words: seconds([sys.executable, *words, '--help'])
                               for name, words in COMMANDS.items()}, rounds)
    times = {name: statistics.median(each) for name, each in found.items()}
    slowest = max(times, key=lambda name: times[name])
    return turns.Figure(f'--help, the slowest: {slowest}', times[slowest], MOST_HELP, times[slowest] / MOST_HELP, 's',
                        f'below {MOST_HELP:g} s', times[slowest] < MOST_HELP,
                        f'seconds of the process, the median of {rounds}; all: '
                        + ', '.join(f'{name} {each:.2f}' for name, each in times.items()))


def _reading(path: str, rounds: int) -> turns.Figure:
    """utils.data.ava, which checks every line, and a plain str.split loop: the least that reading can cost."""
    from utils.data import ava

    def split_lines(path: str) -> List[List[str]]:
        with open(path, encoding='utf-8') as file:
            return [line.split() for line in file]

    def timed(read: Callable[[str], Any]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            read(path)
            return time.perf_counter() - started
        return run

    ways = {'mine': timed(ava.read_labels), 'plain': timed(split_lines)}
    turns.interleaved(ways, 1)  # warms up
    found, lines = turns.interleaved(ways, rounds), len(split_lines(path))
    return turns.compared(f'reading {lines:,} labels', found['mine'], found['plain'], 's',
                          f'seconds of ava.read_labels, and of str.split on the same lines; {rounds} rounds in turn')


if __name__ == '__main__':
    turns.main(measure, __doc__, rounds=turns.ROUNDS, labels={
        'default': str(REAL_LABELS), 'metavar': 'FILE',
        'help': 'a label file to read, beside a drawn one (default: the real lines of shared/, beside the repository)'})
