"""Train, SIGKILL at a random moment, resume, and so on; at the end every number is that of a run nobody killed.

Half of the kills are these; the others, in kill_windows.py, come where other files are written.

The run is a real one, train.py in a process, in a copy of the project whose base network is a small one, unless
--mobilenet is typed. After every kill each file under a final name has to be whole.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from benchmarks import turns
from utils.base.parser import count
from utils.base.parser import seed as any_seed
from utils.demo import dataset as drawn
from utils.model import checkpoint, model_file

TRAIN_SIZE, VAL_SIZE, BATCHSIZE = 24, 4, 2
STEPS = TRAIN_SIZE // BATCHSIZE  # of an epoch
STEPS_BETWEEN_KILLS = 6
PATIENCE = 300.0                 # seconds for one process

# Wide enough that writing a checkpoint takes a while, and small enough to be built in no time.
NETWORK = '''from tensorflow import keras


def MobileNet(shape, **_):
    image = keras.Input(shape, name='input_1')
    features = keras.layers.BatchNormalization(name='norm')(
        keras.layers.Conv2D(16, 3, strides=4, activation='relu', name='conv1')(image))
    features = keras.layers.GlobalAveragePooling2D(name='pool')(features)
    return keras.Model(image, keras.layers.Dense(30000, name='wide')(features))
'''
IMPORT = 'from tensorflow.keras.applications import MobileNet'


class Kill(NamedTuple):
    """When a process is killed."""

    saves: int       # after so many changes of the state file
    writing: bool    # then at the next moment at which a file is being written, or else
    seconds: float   # after this time


def plan(kills: int, seed: int) -> List[Kill]:
    """Random moments: every third while a file is written, every fifth perhaps before the first step."""
    drawn = random.Random(seed)
    return [Kill(drawn.randrange(0 if number % 5 == 4 else 1, STEPS_BETWEEN_KILLS), number % 3 == 1,
                 drawn.uniform(0, 0.2)) for number in range(kills)]


class Project:
    """A copy of the project with a dataset, in which train.py is started as users start it."""

    def __init__(self, folder: Path, *, epochs: int, mobilenet: bool = False) -> None:
        self.root, self.data, self.epochs = folder / 'project', folder / 'data', epochs
        shutil.copytree(str(turns.ROOT / 'utils'), str(self.root / 'utils'),
                        ignore=shutil.ignore_patterns('__pycache__'))
        for name in ('train.py', 'run.sh', 'train_1p.sh', 'requirements.txt'):
            shutil.copy(str(turns.ROOT / name), str(self.root))
        if not mobilenet:
            text = (self.root / 'train.py').read_text(encoding='utf-8')
            assert IMPORT in text
            (self.root / 'train.py').write_text(text.replace(IMPORT, 'from small import MobileNet'), encoding='utf-8')
            (self.root / 'small.py').write_text(NETWORK)
        drawn.make(str(self.data), train_size=TRAIN_SIZE, val_size=VAL_SIZE)

    def start(self, model: Path, *more: str, command: Sequence[str] = (sys.executable, 'train.py'),
              **how: Any) -> 'subprocess.Popen[str]':
        """train.py, or another `command`, in the project's folder; its output goes to the file FOLDER.txt."""
        return self.begin([*self.words(model, command), '--epochs', str(self.epochs), *more], model, **how)

    def words(self, model: Path, command: Sequence[str] = (sys.executable, 'train.py')) -> List[str]:
        """The command that trains into `model`, but for --epochs."""
        return [*command, '--weights', 'none', '--image_size', '32',
                '--batchsize', str(BATCHSIZE), '--val_size', str(VAL_SIZE),
                '--dropout', '0', '--learning_rate', '0.01', '--decay', '0.01', '--device', 'cpu', '--threads', '1',
                '--ava_dataset_path', str(self.data / 'AVA.txt'),
                '--base_images_path', str(self.data / 'image' / 'images'), '--TMP_MODEL_PATF', str(model),
                '--TMP_LOG_PATH', str(model / 'log')]

    def begin(self, words: Sequence[str], folder: Path, **how: Any) -> 'subprocess.Popen[str]':
        """Any command in the project's folder; its output goes to the file FOLDER.txt."""
        folder.parent.mkdir(exist_ok=True)
        with open(f'{folder}.txt', 'a') as log:
            return subprocess.Popen(list(words), cwd=str(self.root), stdout=log, stderr=log, universal_newlines=True,
                                    **how)

    def end(self, words: Sequence[str], folder: Path) -> None:
        """begin(), and wait for its end; SystemExit with what it said where it fails."""
        if self.begin(words, folder).wait(PATIENCE):
            raise SystemExit(Path(f'{folder}.txt').read_text())

    def kill(self, model: Path, when: Kill) -> bool:
        """Resume the run in `model`, wait for the moment and kill it; False where it came to its end before that."""
        state, deadline = checkpoint.state_path(str(model)), time.monotonic() + PATIENCE
        seen, last = 0, stamp(state)
        process = self.start(model, '--checkpoint_steps', '1', '--resume')

        def waiting() -> bool:
            return process.poll() is None and time.monotonic() < deadline

        while seen < when.saves and waiting():
            now = stamp(state)
            seen, last = seen + (now != last), now
            time.sleep(0.001)
        while when.writing and not list(model.glob('*.tmp')) and waiting():
            pass
        if not when.writing:
            time.sleep(when.seconds if when.saves else 10 * when.seconds)
        lived = process.poll() is None
        process.kill()
        if process.wait() and not lived:
            raise SystemExit(Path(f'{model}.txt').read_text())
        return lived


def stamp(path: str) -> Optional[int]:
    """What changes when a file is replaced."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def numbers(path: Path) -> List[np.ndarray]:
    """All arrays of a checkpoint: weights, moving averages, the optimiser's steps and slots."""
    file = model_file.read(str(path))
    return [array for name in sorted(file.weights) for array in file.weights[name]] + file.slots


def whole(path: Path) -> bool:
    try:
        return all(np.isfinite(array).all() for array in numbers(path)) and bool(model_file.read(str(path)).run)
    except ValueError:
        return False


def survive(folder: Path, kills: int, seed: int = 0, *, mobilenet: bool = False) -> Dict[str, Any]:
    """Kill as often as that and let the last process end; the figures, among them whether all bits are the same."""
    project = Project(folder, mobilenet=mobilenet, epochs=1 + kills * STEPS_BETWEEN_KILLS // STEPS)
    calm, killed = folder / 'calm', folder / 'killed'
    calm.mkdir()
    killed.mkdir()
    figures: Dict[str, Any] = {'kills': 0, 'late': 0, 'while_writing': 0, 'broken_files': []}
    for number, when in enumerate(plan(kills, seed)):
        while not project.kill(killed, when):  # this process was held up, and the other one came to the end
            figures['late'] += 1
            project.epochs += 1 + (kills - number) * STEPS_BETWEEN_KILLS // STEPS
        figures['kills'] += 1
        figures['while_writing'] += bool(list(killed.glob('*.tmp')))
        figures['broken_files'] += [f'{number}: {path.name}' for path in killed.glob('*.h5') if not whole(path)]
    for model, more in (killed, ['--checkpoint_steps', '1', '--resume']), (calm, []):
        project.end([*project.words(model), '--epochs', str(project.epochs), *more], model)
    last = f'model_{project.epochs:03d}.h5'
    pairs = list(zip(numbers(calm / last), numbers(killed / last)))
    return {**figures, 'epochs': project.epochs, 'arrays': len(pairs),
            'same_bits': all(np.array_equal(*pair) for pair in pairs),
            'rows': (killed / 'log' / 'train.csv').read_text().count('\n') - 1}


def measure(*, quick: bool, kills: int, seed: int, mobilenet: bool) -> List[turns.Figure]:
    from benchmarks import kill_windows
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        found = survive(Path(folder), 1 if quick else kills // 2, seed, mobilenet=mobilenet)
        others = {} if quick else kill_windows.survive(Path(other), max(1, kills // 10), seed)
    during = [turns.reported(f'SIGKILLs during {name}', each['kills'], '', json.dumps(each))._replace(
        goal='the same result', met=not each['different']) for name, each in others.items()]
    return [*during, turns.reported('SIGKILLs survived', found['kills'], '', json.dumps(found))._replace(
        goal='no broken file, the same bits', met=found['same_bits'] and not found['broken_files'])]


if __name__ == '__main__':
    turns.main(measure, __doc__, kills={'type': count, 'default': 50, 'metavar': 'N', 'help': '(default: 50)'},
               seed={'type': any_seed, 'default': 0, 'metavar': 'N', 'help': 'of the moments (default: 0)'},
               mobilenet={'action': 'store_true', 'help': 'with the real network, which takes longer'})
