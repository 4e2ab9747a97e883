"""Train, SIGKILL at a random moment, resume, and so on; at the end every number is that of a run nobody killed.

The run is a real one, train.py in a process, in a copy of the project whose base network is a small one, unless
--mobilenet is typed. After every kill each file under a final name has to be whole.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.demo import dataset as drawn  # noqa: E402
from utils.model import checkpoint, model_file  # noqa: E402

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

    def __init__(self, folder: Path, *, mobilenet: bool, epochs: int) -> None:
        self.root, self.epochs = folder / 'project', epochs
        shutil.copytree(str(ROOT / 'utils'), str(self.root / 'utils'), ignore=shutil.ignore_patterns('__pycache__'))
        text = (ROOT / 'train.py').read_text(encoding='utf-8')
        if not mobilenet:
            assert IMPORT in text
            text = text.replace(IMPORT, 'from small import MobileNet')
            (self.root / 'small.py').write_text(NETWORK)
        (self.root / 'train.py').write_text(text, encoding='utf-8')
        for name in ('run.sh', 'train_1p.sh', 'requirements.txt'):
            shutil.copy(str(ROOT / name), str(self.root))
        self.data = folder / 'data'
        drawn.make(str(self.data), train_size=TRAIN_SIZE, val_size=VAL_SIZE)

    def start(self, model: Path, *more: str, command: Sequence[str] = (sys.executable, 'train.py'),
              **how: Any) -> 'subprocess.Popen[str]':
        """train.py, or another `command`, in the project's folder; what it says goes to the file FOLDER.txt."""
        command = [*command, '--weights', 'none', '--image_size', '32',
                   '--batchsize', str(BATCHSIZE), '--val_size', str(VAL_SIZE), '--epochs', str(self.epochs),
                   '--dropout', '0', '--learning_rate', '0.01', '--decay', '0.01', '--device', 'cpu', '--threads', '1',
                   '--ava_dataset_path', str(self.data / 'AVA.txt'),
                   '--base_images_path', str(self.data / 'image' / 'images'), '--TMP_MODEL_PATF', str(model),
                   '--TMP_LOG_PATH', str(model / 'log'), *more]
        with open(f'{model}.txt', 'a') as log:
            return subprocess.Popen(command, cwd=str(self.root), stdout=log, stderr=log, universal_newlines=True,
                                    **how)

    def kill(self, model: Path, when: Kill) -> bool:
        """Go on with the run in `model` and kill it; False where it came to its end before that."""
        process = self.start(model, '--checkpoint_steps', '1', '--resume')
        if kill(process, model, when):
            return True
        if process.returncode:
            raise SystemExit(Path(f'{model}.txt').read_text())
        return False


def kill(process: Any, model: Path, when: Kill) -> bool:
    """Wait for the moment and kill; whether the process still lived."""
    state, seen, last = checkpoint.state_path(str(model)), 0, None
    deadline = time.monotonic() + PATIENCE
    last = stamp(state)
    while seen < when.saves and process.poll() is None and time.monotonic() < deadline:
        now = stamp(state)
        seen, last = seen + (now != last), now
        time.sleep(0.001)
    if when.writing:
        while not list(model.glob('*.tmp')) and process.poll() is None and time.monotonic() < deadline:
            pass
    else:
        time.sleep(when.seconds if when.saves else 10 * when.seconds)
    lived = process.poll() is None
    process.kill()
    process.wait()
    return lived


def stamp(path: str) -> Optional[int]:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def numbers(path: Path) -> List[np.ndarray]:
    """All arrays of a checkpoint: weights, moving averages, the optimiser's steps and slots."""
    file = model_file.read(str(path))
    return [array for name in sorted(file.weights) for array in file.weights[name]] + file.slots


def survive(folder: Path, kills: int, seed: int = 0, *, mobilenet: bool = False,
            report: Callable[[str], Any] = print) -> Dict[str, Any]:
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
        there = sorted(killed.glob('*.h5'))
        figures['broken_files'] += [f'{number}: {path.name}' for path in there if not whole(path)]
        report(f'kill {number + 1}: {when}, {", ".join(path.name for path in there[-2:])}')
    for model, more in (killed, ['--checkpoint_steps', '1', '--resume']), (calm, []):
        if project.start(model, *more).wait(PATIENCE):
            raise SystemExit(Path(f'{model}.txt').read_text())
    last = f'model_{project.epochs:03d}.h5'
    pairs = list(zip(numbers(calm / last), numbers(killed / last)))
    figures.update(epochs=project.epochs, arrays=len(pairs), same_bits=all(np.array_equal(*pair) for pair in pairs),
                   rows=(killed / 'log' / 'train.csv').read_text().count('\n') - 1)
    return figures


def whole(path: Path) -> bool:
    try:
        return all(np.isfinite(array).all() for array in numbers(path)) and bool(model_file.read(str(path)).run)
    except ValueError:
        return False


def main(argv: Optional[Sequence[str]] = None) -> Dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--kills', type=int, default=50, metavar='N', help='(default: 50)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the moments (default: 0)')
    parser.add_argument('--mobilenet', action='store_true', help='with the real network, which takes longer')
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = survive(Path(folder), flags.kills, flags.seed, mobilenet=flags.mobilenet)
    print(json.dumps(figures, indent=1))
    if figures['broken_files'] or not figures['same_bits']:
        sys.exit('kill: error: found what the figures above say, expected no broken file and the same bits')
    return figures


if __name__ == '__main__':
    main()
