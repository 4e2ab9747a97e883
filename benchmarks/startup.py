"""Seconds from `python3 train.py` on 250,000 labels to the first step, and those of every command's --help."""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, step_worker, turns  # noqa: E402

IN_PROJECT = ("import runpy, sys; sys.path[0] = {root!r}; "
              "runpy.run_module({name!r}, run_name='__main__', alter_sys=True)")
COMMANDS = {**{name: [str(turns.ROOT / name)] for name in ('train.py', 'eval.py', 'predict.py')},
            **{name: ['-c', IN_PROJECT.format(root=str(turns.ROOT), name=f'utils.{name}')] for name in (
                'check_dataset', 'demo_dataset', 'export', 'labels', 'models', 'records')}}
MOST_HELP = 0.5
MOST_MORE = 2.0

LEAST = '''import os, sys
sys.path.insert(0, {root!r})
import tensorflow as tf
from utils import nima
tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
tf.keras.backend.set_learning_phase(1)
base = tf.keras.applications.MobileNet(({size}, {size}, 3), include_top=False, pooling='avg', weights=None)
if {weights!r} != 'none':
    base.load_weights({weights!r}, by_name=True)
model = nima.with_head(base, 0.75)
model.compile(nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6), loss=nima.earth_mover_loss)
os._exit(0)  # as the other does: neither pays for TensorFlow's end
'''
TRAIN = '''import os, sys
sys.path.insert(0, {root!r})
import train
from utils.training import state
state.TrainingState.on_batch_begin = lambda *_, **__: os._exit(0)  # the first batch is there, the first step begins
train.main({argv!r})
'''


def seconds(command: List[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=str(turns.ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(*, quick: bool) -> List[turns.Figure]:
    lines, size, rounds = (2000, 32, 1) if quick else (250000, 224, 5)
    weights = step_worker.weights() if size == 224 else 'none'
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, lines, 64 if quick else 640)
        argv = [*step_worker.dataset_flags(folder), '--weights', weights, '--image_size', str(size), '--device', 'cpu',
                '--TMP_MODEL_PATF', os.path.join(folder, 'model'), '--TMP_LOG_PATH', os.path.join(folder, 'log')]
        named: Dict[str, Any] = {'root': str(turns.ROOT), 'size': size, 'weights': weights, 'argv': argv}
        ways = {name: [sys.executable, '-c', text.format(**named)] for name, text in (('least', LEAST),
                                                                                      ('train', TRAIN))}
        pairs = [[seconds(ways['least']), seconds(ways['train'])] for _ in range(rounds)]
    more = statistics.median(mine - least for least, mine in pairs)
    least, mine = (statistics.median(column) for column in zip(*pairs))
    start = turns.Figure(
        f'from python3 train.py to its first step, {lines:,} labels', mine, least, mine / least, 's',
        f'at most {MOST_MORE:g} s more', more <= MOST_MORE,
        f'seconds of the process, and of one that imports TensorFlow and builds the model with its weights; '
        f'{rounds} pairs, {more:.2f} s more')
    return [start, *_helps(rounds)]


def _helps(rounds: int) -> List[turns.Figure]:
    times = {name: statistics.median(seconds([sys.executable, *words, '--help']) for _ in range(rounds))
             for name, words in COMMANDS.items()}
    slowest = max(times, key=lambda name: times[name])
    return [turns.Figure(f'--help, the slowest: {slowest}', times[slowest], MOST_HELP, times[slowest] / MOST_HELP, 's',
                         f'below {MOST_HELP:g} s', times[slowest] < MOST_HELP,
                         f'seconds of the process, the median of {rounds}; all: '
                         + ', '.join(f'{name} {each:.2f}' for name, each in times.items()))]


if __name__ == '__main__':
    turns.main(measure, __doc__)
