"""Kills where a file is replaced or grows: --overwrite, validation, packing, cached features, predict.py --output."""
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

import numpy as np

from benchmarks import kill, turns
from utils.base import files
from utils.model import checkpoint

MOST_CHANGES = 6  # of what a process writes, before it is killed
MOST_LATE = 5     # kills that come too late, for each that has to come in time
EPOCHS = 4
SMALL_STEPS = {  # so that few images have many parts, and features are few: file, text, replacement
    'small.py': ('Dense(30000', 'Dense(300'),
    'utils/data/pack.py': ('SHARD_IMAGES = 1024', 'SHARD_IMAGES = 3'),
    'utils/training/features.py': ('SAVE_EVERY = 50', 'SAVE_EVERY = 1')}


class Window(NamedTuple):
    """A command that is killed while it writes, and how to see that nothing is lost."""

    first: Callable[[Path], List[str]]        # its words, of the folder or file that it writes
    again: Callable[[Path], List[str]]        # those that continue after a kill
    grows: Callable[[Path], Any]              # a value that changes whenever something is written
    result: Callable[[Path], Dict[str, Any]]  # what has to be the same as without a kill
    begins_anew: bool = False                 # whether an earlier training is there before every kill


def state_of(folder: Path) -> Any:
    """The names, files and sizes in a folder or of a file."""
    found = []
    below = [Path(place, name) for place, folders, names in os.walk(str(folder)) for name in folders + names]
    for path in [folder, *sorted(below)]:  # os.walk passes over a folder that is gone meanwhile
        try:
            stat = path.stat()
            found.append((str(path), stat.st_ino, stat.st_size))
        except OSError:  # it was renamed meanwhile
            pass
    return found


def weights(folder: Path) -> Dict[str, Any]:
    """The numbers of the last checkpoint, and the names of all."""
    paths = sorted(folder.glob('*.h5'))
    return {'names': [path.name for path in paths], **dict(enumerate(kill.numbers(paths[-1])))}  # type: ignore


def has_begun(folder: Path, old: Path) -> bool:
    """Whether an --overwrite of what is in `old` has said so on the disk, which --resume continues."""
    first, before = (contents(each).get('model_001.h5') for each in (folder, old))
    return (folder / files.OVERWRITE).exists() or first != before


def contents(folder: Path) -> Dict[str, Any]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def windows(project: kill.Project, model: Path) -> Dict[str, Window]:
    """All of them; `model` is a checkpoint for predict.py."""
    images = project.data / 'image' / 'images'
    labels = ['--ava_dataset_path', str(project.data / 'AVA.txt'), '--base_images_path', str(images)]

    def train(*more: str) -> Callable[[Path], List[str]]:
        return lambda folder: [*project.words(folder), '--epochs', str(EPOCHS), '--checkpoint_steps', '1', *more]

    def head(*more: str) -> Callable[[Path], List[str]]:
        return lambda folder: [*train('--trainable', 'head', '--features', str(folder / 'features'), *more)(folder)]

    def pack(folder: Path) -> List[str]:
        return [sys.executable, '-m', 'utils.records', 'pack', *labels, '--use', 'training', '--val_size', '4',
                '--image_size', '32', '-o', str(folder)]

    def predict(*more: str) -> Callable[[Path], List[str]]:
        return lambda folder: [sys.executable, 'predict.py', str(images), '--checkpoint', str(model), '--device', 'cpu',
                               '--batchsize', '1', '--output', str(folder / 'scores.csv'), *more]

    validating = ['--val_size', '24', '--train_size', '4']
    def overwrite(folder: Path) -> List[str]:
        return train('--overwrite', '--seed', '1')(folder)

    def after_overwrite(folder: Path) -> List[str]:
        return train('--resume', '--seed', '1')(folder) if has_begun(folder, folder.parent / 'old') else overwrite(
            folder)

    return {'overwrite': Window(overwrite, after_overwrite, state_of, weights, begins_anew=True),
            'validation': Window(train(*validating), train(*validating, '--resume'),
                                 lambda folder: state_of(folder / Path(checkpoint.state_path('')).name), weights),
            'packing': Window(pack, pack, state_of, contents),
            'feature caching': Window(head(), head('--resume'), lambda folder: state_of(folder / 'features'), weights),
            'predict --output': Window(predict(), predict('--resume'), state_of, contents)}


def kills(project: kill.Project, window: Window, folder: Path, number: int, draw: random.Random) -> Dict[str, int]:
    """Run to the end with so many kills, and without: how many came in time and too late, how many results differ.

    Where a process has ended before its kill, the next run begins.
    """
    calm, killed, old = (folder / name for name in ('calm', 'killed', 'old'))
    if window.begins_anew:
        project.end([*project.words(old), '--epochs', str(EPOCHS)], old)
        shutil.copytree(str(old), str(calm))
    project.end(window.first(calm), calm)
    found = {'kills': 0, 'late': 0, 'different': 0}
    begun = False
    while found['kills'] < number and found['late'] < MOST_LATE * number:
        if not begun:
            shutil.rmtree(str(killed), ignore_errors=True)
            if window.begins_anew:
                shutil.copytree(str(old), str(killed))
        came = _kill(project, window, (window.again if begun else window.first)(killed), killed, draw)
        found['kills' if came else 'late'] += 1
        begun = came and not window.begins_anew and found['kills'] < number
        if not begun:
            if came:
                project.end(window.again(killed), killed)
            found['different'] += not same(window.result(calm), window.result(killed))
    return found


def _kill(project: kill.Project, window: Window, words: Sequence[str], folder: Path, draw: random.Random) -> bool:
    changes, last = draw.randint(1, MOST_CHANGES), window.grows(folder)
    deadline, process = time.monotonic() + kill.PATIENCE, project.begin(words, folder)
    while changes and process.poll() is None and time.monotonic() < deadline:
        now = window.grows(folder)
        changes, last = changes - (now != last), now
        time.sleep(0.0005)
    time.sleep(draw.choice((0, 0, draw.uniform(0, 0.02), draw.uniform(0, 0.3))))
    came = process.poll() is None
    process.kill()
    if process.wait() and not came:
        raise SystemExit(Path(f'{folder}.txt').read_text())
    return came


def same(calm: Dict[str, Any], killed: Dict[str, Any]) -> bool:
    return bool(calm) and set(calm) == set(killed) and all(np.array_equal(calm[name], killed[name]) for name in calm)


def survive(folder: Path, number: int, seed: int = 0, only: Sequence[str] = ()) -> Dict[str, Dict[str, int]]:
    """`number` kills in each window, or in `only` these: what came of them."""
    project = kill.Project(folder, epochs=1)
    for name, (before, after) in SMALL_STEPS.items():
        path = project.root / name
        text = path.read_text(encoding='utf-8')
        assert before in text
        path.write_text(text.replace(before, after), encoding='utf-8')
    for script in ('predict.py', 'eval.py'):
        shutil.copy(str(turns.ROOT / script), str(project.root))
    model = folder / 'model'
    project.end([*project.words(model), '--epochs', '1'], model)
    found = {}
    for name, window in windows(project, model / 'model_001.h5').items():
        if not only or name in only:
            found[name] = kills(project, window, folder / name.replace(' ', '_'), number,
                                random.Random(f'{name} {seed}'))
            print(f'{name}: {found[name]}', flush=True)
    return found
