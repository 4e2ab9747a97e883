"""A small AVA made on the spot: drawn scenes, each degraded by a known amount, with votes that fall with it."""
import importlib.util
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np
from numpy.random import RandomState

from utils.base import reading
from utils.base.defaults import DEMO
from utils.base.errors import InputError
from utils.base.files import new_folder
from utils.base.progress import progress
from utils.demo.scenes import KINDS, degrade, draw_scene

VERSION = 1  # raise it whenever a seed no longer gives the same files
TRAIN_SIZE, VAL_SIZE = DEMO['train_size'], DEMO['val_size']
FEWER = TRAIN_SIZE // 2  # on a slow machine
USUAL = 45.0  # scenes a second, of a machine on which the demo takes eight minutes; half of that is slow
TIMED = 32    # scenes
JPEG_QUALITY = 90
BEST_MEAN, WORST_MEAN, VOTE_STD = 8.0, 2.0, 1.4  # the std of votes on one image is AVA's own


def draw_votes(amount: float, rng: RandomState) -> np.ndarray:
    """About 200 votes, int [10] for the scores 1 to 10, whose mean falls from BEST_MEAN to WORST_MEAN."""
    mean = BEST_MEAN + (WORST_MEAN - BEST_MEAN) * amount
    distribution = np.exp(-0.5 * ((np.arange(1, 11) - mean) / VOTE_STD) ** 2)
    return rng.multinomial(rng.randint(150, 251), distribution / distribution.sum())


def _plan(train_size: int, val_size: int, seed: int) -> Dict[str, Any]:
    """The manifest: what demo.json says, and all that is needed to draw the files."""
    for name, value, smallest in (('train_size', train_size, 1), ('val_size', val_size, 1), ('seed', seed, 0)):
        if not smallest <= value < 2 ** 32:
            raise InputError(f'{name}: found {value}, expected a whole number from {smallest} to {2 ** 32 - 1}')
    amounts = RandomState(seed).uniform(size=train_size + val_size).round(4).tolist()
    scenes = {str(100001 + index): {'kind': KINDS[index % len(KINDS)], 'amount': amount}
              for index, amount in enumerate(amounts)}
    return {'version': VERSION, 'seed': seed, 'train_size': train_size, 'val_size': val_size, 'scenes': scenes}


def _found(folder: str) -> Any:
    """The manifest of the demo in `folder`, None where nothing is there; InputError if it holds anything else."""
    if not os.path.lexists(folder) or (os.path.isdir(folder) and not os.listdir(folder)):
        return None
    try:
        return reading.read_json(os.path.join(folder, 'demo.json'))
    except (OSError, ValueError) as error:
        raise InputError(f'{folder} exists and is no demo dataset: it has no readable demo.json. Remove it or choose '
                         'another folder') from error


def _exists(folder: str, manifest: Dict[str, Any]) -> bool:
    """Whether `folder` holds exactly this demo; InputError if it holds anything else, which stays as it is."""
    found = _found(folder)
    if found is None or found == manifest:
        return found is not None
    wanted = ', '.join(f'{name} {manifest[name]}' for name in ('train_size', 'val_size', 'seed', 'version'))
    raise InputError(f'{folder} holds another demo dataset than {wanted}. Remove it or choose another folder')


def _drawn(scene: Dict[str, Any], rng: RandomState) -> np.ndarray:
    return degrade(draw_scene(rng), scene['kind'], scene['amount'], rng)


def _write(folder: str, manifest: Dict[str, Any]) -> None:
    """Draw every scene of the manifest into the new `folder`; demo.json comes last."""
    from PIL import Image
    images = os.path.join(folder, 'image', 'images')
    os.makedirs(images)
    lines: List[str] = []
    for image_id, scene in progress(manifest['scenes'].items(), len(manifest['scenes']), 'drawing the demo dataset'):
        rng = RandomState((manifest['seed'], int(image_id)))
        Image.fromarray(_drawn(scene, rng)).save(os.path.join(images, image_id + '.jpg'), quality=JPEG_QUALITY)
        lines.append(' '.join(map(str, (len(lines) + 1, image_id, *draw_votes(scene['amount'], rng), 0, 0, 0))) + '\n')
    Path(folder, 'AVA.txt').write_text(''.join(lines))
    Path(folder, 'demo.json').write_text(json.dumps(manifest, indent=1))


def _require_pillow() -> None:
    if importlib.util.find_spec('PIL') is None:
        raise InputError('the demo dataset needs Pillow, which this Python does not have. Type '
                         f"{shlex.quote(sys.executable)} -m pip install 'Pillow<10'")


def make(folder: str, *, train_size: int = TRAIN_SIZE, val_size: int = VAL_SIZE, seed: int = 0) -> None:
    """Write a demo dataset into `folder`, or keep the same one that exists.

    It receives AVA.txt (15 columns, validation scenes on the last `val_size` lines), image/images/ID.jpg and demo.json,
    the kind and the amount, 0 to 1, of each scene's degradation. It appears whole or not at all. InputError: Pillow is
    missing, a number is out of range, `folder` cannot be written or holds something else.
    """
    _require_pillow()
    manifest = _plan(train_size, val_size, seed)
    folder = os.path.abspath(folder)
    if _exists(folder, manifest):
        return
    try:
        with new_folder(folder, '--output') as fresh:
            _write(fresh, manifest)
    except InputError:
        if not _exists(folder, manifest):  # another process may have made the same demo meanwhile
            raise


def make_for_this_machine(folder: str, report: Callable[[str], Any]) -> None:
    """make(), with half the scenes to train on where `report` says why; a demo of either size that exists is kept.

    The first scenes are timed: who draws few a second trains slowly too.
    """
    size = _size(folder) or _size_for_this_machine(report)
    try:
        make(folder, train_size=size)
    except InputError:
        other = _size(folder)
        if other is None or other == size:
            raise
        make(folder, train_size=other)  # another process made it meanwhile, and found the machine faster or slower


def _size(folder: str) -> Optional[int]:
    """The scenes to train on of the demo in `folder`; None where there is none of the two sizes."""
    found = _found(folder)
    size = found.get('train_size') if isinstance(found, dict) else None
    return size if size in (TRAIN_SIZE, FEWER) else None


def _size_for_this_machine(report: Callable[[str], Any]) -> int:
    _require_pillow()
    speed = _scenes_a_second()
    if speed >= USUAL / 2:
        return TRAIN_SIZE
    report(f'this machine draws {speed:.0f} scenes a second, where {USUAL:.0f} are usual: the demo trains on '
           f'{FEWER} images an epoch instead of {TRAIN_SIZE}')
    return FEWER


def _scenes_a_second() -> float:
    """The speed at which two cores draw; a single one counts for half."""
    scenes = _plan(TIMED - 1, 1, seed=0)['scenes']
    start = time.perf_counter()
    for image_id, scene in scenes.items():
        _drawn(scene, RandomState(int(image_id)))
    return TIMED / (time.perf_counter() - start) * min(2, len(os.sched_getaffinity(0))) / 2
