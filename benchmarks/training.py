"""Training: what train.py adds to a step, a simulated device, a CPU's settings, the head alone, and memory.

--intel_python is a Python with intel-tensorflow 1.15.2 and the packages of requirements.txt but TensorFlow,
--torch_python one with torch and timm; what is not given is skipped. All of TensorFlow's steps keep freed memory, as
train.py does, but for those that say otherwise.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Optional

from benchmarks import dataset, step_worker, turns

DEVICE_SECONDS = 0.1459  # of the card's Ascend 910 for a batch of 100
BUSY = {'JPEG files': 0.95, 'packed dataset': 0.99}
LINES = 250000           # of labels, in the measurement of memory
SHOWN = 8                # operations
PLAIN, FROZEN = 'as it is', 'BatchNorm frozen'
SETTINGS: Dict[str, Dict[str, Any]] = {  # of step_worker.bare
    PLAIN: {}, 'freed memory given back': {'keep_memory': False}, 'grappler off': {'grappler': False},
    '1 thread': {'threads': 1}, '4 threads': {'threads': 4}, 'batch 10': {'batchsize': 10},
    'learning phase fed': {'fed_phase': True}, FROZEN: {'trained': ['all', True]}}


class Other(NamedTuple):
    """A step of another build or library."""

    python: str  # intel or torch
    way: str     # a function of step_worker
    more: Dict[str, Any] = {}


INTEL, TORCH = 'intel-tensorflow', 'PyTorch, channels last'
OTHERS = {
    INTEL: Other('intel', 'bare'), f'{INTEL}, {FROZEN}': Other('intel', 'bare', SETTINGS[FROZEN]),
    TORCH: Other('torch', 'pytorch'), f'{TORCH}, {FROZEN}': Other('torch', 'pytorch', {'frozen': True}),
    f'{TORCH}, freed memory given back': Other('torch', 'pytorch', {'keep_memory': False})}
BESIDE_PYTORCH = {PLAIN: TORCH, INTEL: TORCH, FROZEN: f'{TORCH}, {FROZEN}', f'{INTEL}, {FROZEN}': f'{TORCH}, {FROZEN}'}


class Shape(NamedTuple):
    """How much is measured."""

    quick: bool
    rounds: int
    image_size: int
    batchsize: int
    side: int  # of the JPEG files

    @property
    def step(self) -> Dict[str, int]:
        return {'batchsize': self.batchsize, 'image_size': self.image_size}

    def __str__(self) -> str:
        return f'batch {self.batchsize}, side {self.image_size}, {self.rounds} rounds in turn'


def measure(*, quick: bool, rounds: Optional[int], intel_python: Optional[str],
            torch_python: Optional[str]) -> List[turns.Figure]:
    turns.require_python('--intel_python', intel_python, 'intel-tensorflow')
    turns.require_python('--torch_python', torch_python, 'torch and timm')
    shape = Shape(True, rounds or 1, 32, 10, 64) if quick else Shape(False, rounds or 5, 224, 32, dataset.LONG_SIDE)
    large = shape._replace(batchsize=10 if quick else 100)
    pythons = {'intel': intel_python, 'torch': torch_python}
    return [*_steps(shape), *_busy(large), *_settings(shape), *_libraries(shape, pythons), _operations(shape),
            *_blocks(shape), *_head(large), _peak(large), _flat(quick)]


def _sources(folder: str, shape: Shape, steps: int) -> Dict[str, Dict[str, str]]:
    """Where images come from, as arguments of step_worker.train; an epoch has more than `steps` steps."""
    dataset.link(folder, step_worker.VAL_SIZE + shape.batchsize * (steps + 1), shape.side)
    return {'JPEG files': {}, 'packed dataset': {'records': dataset.pack(
        folder, 'raw', val_size=step_worker.VAL_SIZE, image_size=shape.image_size)}}


def _steps(shape: Shape) -> List[turns.Figure]:
    with tempfile.TemporaryDirectory() as folder:
        sources = _sources(folder, shape, 1 + shape.rounds)
        commands = {name: turns.process('step_worker', 'train', folder=folder, **shape.step, **more)
                    for name, more in sources.items()}
        commands['bare'] = turns.process('step_worker', 'bare', **shape.step, pool=True)
        ways = {'training on a CPU': False, 'training on a CPU, freed memory kept': True}
        commands.update((name, turns.process('step_worker', 'reference', folder=folder, **shape.step, keep_memory=kept))
                        for name, kept in ways.items())
        taken = turns.take_turns(commands, shape.rounds, amount=1, warm_up=1)
    images = {name: turns.speeds(each, shape.batchsize) for name, each in taken.items()}
    return [turns.compared(
        f'step of train.py, {name}', turns.seconds(taken[name]), turns.seconds(taken['bare']), 's',
        'seconds a step of train.py, all of it, and of train_on_batch on a constant batch of the same model, both with '
        f'freed memory kept; {shape}', most=1.03) for name in sources] + [turns.compared(
            name, images['JPEG files'], images[name], 'images/s', 'images a second from JPEG files of 640 pixels: '
            f'train.py, and fit_generator on a session with 2 parallel calls and the learning phase fed; {shape}',
            least=1) for name in ways]


def _busy(shape: Shape) -> List[turns.Figure]:
    """The share of the time for which train.py keeps a device busy that a sleeping stand-in simulates."""
    device, amount, figures = DEVICE_SECONDS * shape.batchsize / 100, 2 if shape.quick else 9, []
    with tempfile.TemporaryDirectory() as folder:
        for name, more in _sources(folder, shape, amount * (1 + shape.rounds)).items():
            command = turns.process('step_worker', 'train', folder=folder, **shape.step, **more, device_seconds=device)
            taken = turns.take_turns({name: command}, shape.rounds, amount=amount, warm_up=amount)[name]
            busy = [device / each for each in turns.seconds(taken, amount)]
            figures.append(turns.compared(
                f'simulated device busy, {name}', busy, [1.0] * len(busy), '', f'{device} s, slept in place of the '
                f'model, over the seconds of a step of train.py, batch {shape.batchsize}, {shape.rounds} rounds of '
                f'{amount}: {shape.batchsize * statistics.median(busy) / device:.0f} images a second',
                least=BUSY[name]))
    return figures


def _settings(shape: Shape) -> List[turns.Figure]:
    """What each setting does to a step on a CPU: threads, batch, session, memory, BatchNorm."""
    chosen = dict(list(SETTINGS.items())[:2 if shape.quick else None])
    commands = {name: turns.process('step_worker', 'bare', **{**shape.step, **more}) for name, more in chosen.items()}
    taken = turns.take_turns(commands, shape.rounds, amount=1, warm_up=1)
    speeds = {name: turns.speeds(each, chosen[name].get('batchsize', shape.batchsize)) for name, each in taken.items()}
    return [_beside_plain(name, each, speeds[PLAIN], shape) for name, each in speeds.items()]


def _libraries(shape: Shape, pythons: Dict[str, Optional[str]]) -> List[turns.Figure]:
    """A step of other builds of TensorFlow, and of PyTorch."""
    skipped = [turns.skipped(f'step: {name}', 'no Python given') for name, other in OTHERS.items()
               if not pythons[other.python]]
    if len(skipped) == len(OTHERS):
        return skipped
    commands = {name: turns.process('step_worker', 'bare', **shape.step, **SETTINGS[name]) for name in (PLAIN, FROZEN)}
    commands.update((name, turns.process('step_worker', other.way, pythons[other.python], **shape.step, **other.more))
                    for name, other in OTHERS.items() if pythons[other.python])
    taken = turns.take_turns(commands, shape.rounds, amount=1, warm_up=1)
    speeds = {name: turns.speeds(each, shape.batchsize) for name, each in taken.items()}
    figures = [_beside_plain(name, each, speeds[PLAIN], shape) for name, each in speeds.items() if name != PLAIN]
    figures += [turns.compared(
        f'step beside PyTorch: {name}', speeds[name], speeds[other], 'images/s', 'images a second, and of PyTorch with '
        f'the same layers, BatchNorm in the same mode, both with freed memory kept; {shape}', least=0.8)
        for name, other in BESIDE_PYTORCH.items() if name in speeds and other in speeds]
    return figures + skipped


def _beside_plain(name: str, mine: List[float], plain: List[float], shape: Shape) -> turns.Figure:
    return turns.compared(f'step: {name}', mine, plain, 'images/s', 'images a second of train_on_batch on a constant '
                          f'batch; {shape}; the baseline is TensorFlow 1.15 with freed memory kept')


def _operations(shape: Shape) -> turns.Figure:
    with tempfile.NamedTemporaryFile('r') as file:
        turns.take_turns({'': turns.process('step_worker', 'profile', path=file.name, **shape.step)}, 1, 1, warm_up=2)
        found = json.load(file)
    total = sum(found.values())
    shares = ', '.join(f'{name} {100 * each / total:.0f} %' for name, each in list(found.items())[:SHOWN])
    return turns.reported(f'all operations of a step, {len(os.sched_getaffinity(0))} cores', total, 's',
                          f'seconds of each operation of one step, batch {shape.batchsize}, added up by their kind; '
                          f'some run side by side: {shares}')


def _blocks(shape: Shape) -> List[turns.Figure]:
    """Fewer layers, and BatchNorm on its moving averages, beside all layers."""
    ways = {'last:1': ('last:1', False), 'last:2': ('last:2', False), f'last:2, {FROZEN}': ('last:2', True),
            f'last:7, {FROZEN}': ('last:7', True)}
    if shape.quick:
        ways = dict(list(ways.items())[2:3])
    commands = {name: turns.process('step_worker', 'cached', **shape.step, trained=trained)
                for name, trained in ways.items()}
    commands['all layers'] = turns.process('step_worker', 'bare', **shape.step)
    taken = turns.take_turns(commands, shape.rounds, amount=1, warm_up=1)
    images = {name: turns.speeds(each, shape.batchsize) for name, each in taken.items()}
    return [turns.compared(f'step: {name}', images[name], images['all layers'], 'images/s', 'images a second of '
                           f'train_on_batch on a constant batch of cached maps, and of all layers; {shape}',
                           least=None if name.startswith('last:7') else 5) for name in ways]


def _head(shape: Shape) -> List[turns.Figure]:
    """--trainable head beside full training, and what it learns of drawn scenes from the pre-trained weights."""
    from utils.demo import dataset as drawn
    epochs, train, val, full = (2, 40, 8, 20) if shape.quick else (30, 1500, 150, 200)
    with tempfile.TemporaryDirectory() as folder:
        drawn.make(f'{folder}/data', train_size=train, val_size=val)
        common = ['--ava_dataset_path', f'{folder}/data/AVA.txt', '--base_images_path', f'{folder}/data/image/images',
                  '--val_size', val, '--batchsize', shape.batchsize, '--image_size', shape.image_size,
                  '--device', 'cpu', '--weights', step_worker.weights(shape.image_size)]
        started = time.perf_counter()
        head = _epochs(f'{folder}/head', *common, '--epochs', epochs, '--trainable', 'head', '--learning_rate', 0.1,
                       '--dropout', 0.2)
        wall = time.perf_counter() - started
        whole = _epochs(f'{folder}/all', *common, '--epochs', 2, '--train_size', full)
    speeds = [statistics.median(row['images_per_second'] for row in rows[1:]) for rows in (head, whole)]
    return [turns.compared('--trainable head, beside all layers', speeds[:1], speeds[1:], 'images/s',
                           'images a second of an epoch, as train.py reports them: the median of the epochs after '
                           f'the first, and the second epoch of {full} with all layers', least=20),
            turns.reported('head alone: validation SRCC', head[-1]['val_srcc'] or 0.0, '',
                           f'of {val} drawn scenes after {epochs} epochs on {train}; {wall:.0f} s with features and '
                           f'checkpoints, {epochs * train / wall:.0f} images a second; by epoch: '
                           + ', '.join(f'{row["val_srcc"] or 0:.3f}' for row in head[::max(1, epochs // 6)]))]


def _epochs(model: str, *flags: Any) -> List[Dict[str, Any]]:
    """The rows of train.csv after a run of train.py."""
    from utils.training import log
    subprocess.run([sys.executable, str(turns.ROOT / 'train.py'), '--TMP_MODEL_PATF', model, *map(str, flags)],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return log.read_csv(os.path.join(model, 'log', 'train.csv'))


def _peak(shape: Shape) -> turns.Figure:
    with tempfile.TemporaryDirectory() as folder:
        dataset.link(folder, shape.batchsize * 12 + 100, shape.side)
        taken = turns.take_turns({'train': turns.process('step_worker', 'train', folder=folder, **shape.step),
                                  'bare': turns.process('step_worker', 'bare', **shape.step, pool=True)}, 1, amount=1,
                                 warm_up=1)
    mine, bare = ([taken[way][0].peak / 2 ** 20] for way in ('train', 'bare'))
    return turns.compared(f'peak memory of train.py, batch {shape.batchsize}', mine, bare, 'MiB', 'the most that the '
                          f'process held in 2 steps at side {shape.image_size}, from JPEG files of 640 pixels, and one '
                          'that trains on a constant batch, both with freed memory kept', most=1.15)


def _flat(quick: bool) -> turns.Figure:
    lines, batch, steps = (500, 10, 6) if quick else (LINES, 40, 500)
    with tempfile.TemporaryDirectory() as folder:
        dataset.link(folder, lines, 64 if quick else 320)
        command = turns.process('step_worker', 'train', folder=folder, batchsize=batch, image_size=32)
        with turns.workers({'train': command}) as started:
            first, last = ([started['train'].take(steps // 2).resident / 2 ** 20] for _ in range(2))
    return turns.compared(f'memory of train.py after {steps} steps', last, first, 'MiB',
                          f'memory held after {steps} steps and after {steps // 2}, batch {batch}, side 32, '
                          f'{lines:,} labels', most=1.02)


if __name__ == '__main__':
    turns.main(measure, __doc__, rounds=turns.ROUNDS, intel_python={'metavar': 'PYTHON'},
               torch_python={'metavar': 'PYTHON'})
