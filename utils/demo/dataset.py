"""A small AVA made on the spot: drawn scenes, each degraded by a known amount, with votes that fall with it."""
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from numpy.random import RandomState

from utils.base.defaults import DEMO
from utils.base.errors import InputError
from utils.base.progress import progress
from utils.demo.scenes import KINDS, degrade, draw_scene

VERSION = 1  # raise it whenever a seed no longer gives the same files
TRAIN_SIZE, VAL_SIZE = DEMO['train_size'], DEMO['val_size']
JPEG_QUALITY = 90
BEST_MEAN, WORST_MEAN, VOTE_SPREAD = 8.0, 2.0, 1.4  # the spread of votes on one photograph is AVA's own


def draw_votes(amount: float, rng: RandomState) -> np.ndarray:
    """About 200 votes, int [10] for the scores 1 to 10, whose mean falls from BEST_MEAN to WORST_MEAN."""
    mean = BEST_MEAN + (WORST_MEAN - BEST_MEAN) * amount
    shares = np.exp(-0.5 * ((np.arange(1, 11) - mean) / VOTE_SPREAD) ** 2)
    return rng.multinomial(rng.randint(150, 251), shares / shares.sum())


def _plan(train_size: int, val_size: int, seed: int) -> Dict[str, Any]:
    """The manifest: what demo.json says, and all that is needed to draw the files."""
    for name, value, smallest in (('train_size', train_size, 1), ('val_size', val_size, 1), ('seed', seed, 0)):
        if not smallest <= value < 2 ** 32:
            raise InputError(f'{name}: found {value}, expected a whole number from {smallest} to {2 ** 32 - 1}')
    amounts = RandomState(seed).uniform(size=train_size + val_size).round(4).tolist()
    scenes = {str(100001 + index): {'kind': KINDS[index % len(KINDS)], 'amount': amount}
              for index, amount in enumerate(amounts)}
    return {'version': VERSION, 'seed': seed, 'train_size': train_size, 'val_size': val_size, 'scenes': scenes}


def _is_kept(folder: str, manifest: Dict[str, Any]) -> bool:
    """Whether `folder` holds exactly this demo; an InputError if it holds anything else, nothing is ever deleted."""
    if not os.path.lexists(folder) or (os.path.isdir(folder) and not os.listdir(folder)):
        return False
    try:
        found = json.loads(Path(folder, 'demo.json').read_text())
    except (OSError, ValueError) as error:
        raise InputError(f'{folder}: found something that is no demo dataset (it has no readable demo.json), expected '
                         'nothing or an empty folder: remove it or give another folder') from error
    if found == manifest:
        return True
    raise InputError(f'{folder}: found another demo dataset (other sizes, seed or version), expected '
                     + ', '.join(f'{name} {manifest[name]}' for name in ('train_size', 'val_size', 'seed', 'version'))
                     + ': remove it or give another folder')


def _write(folder: str, manifest: Dict[str, Any]) -> None:
    """Draw every scene of the manifest into the new `folder`; demo.json comes last."""
    from PIL import Image
    images = os.path.join(folder, 'image', 'images')
    os.makedirs(images)
    lines: List[str] = []
    for image_id, scene in progress(manifest['scenes'].items(), len(manifest['scenes']), 'drawing the demo dataset'):
        rng = RandomState((manifest['seed'], int(image_id)))
        pixels = degrade(draw_scene(rng), scene['kind'], scene['amount'], rng)
        Image.fromarray(pixels).save(os.path.join(images, image_id + '.jpg'), quality=JPEG_QUALITY)
        lines.append(' '.join(map(str, (len(lines) + 1, image_id, *draw_votes(scene['amount'], rng), 0, 0, 0))) + '\n')
    Path(folder, 'AVA.txt').write_text(''.join(lines))
    Path(folder, 'demo.json').write_text(json.dumps(manifest, indent=1))


def make(folder: str, *, train_size: int = TRAIN_SIZE, val_size: int = VAL_SIZE, seed: int = 0) -> None:
    """Write a demo dataset into `folder`, or keep it where it already is.

    It receives AVA.txt (15 columns, validation scenes on the last `val_size` lines), image/images/ID.jpg and demo.json,
    the kind and the amount, 0 to 1, of each scene's degradation. It appears whole or not at all. InputError: Pillow is
    missing, a number is out of range, `folder` cannot be written or holds something else.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise InputError('Pillow: found no such package, expected it, as the demo dataset is drawn with it: '
                         f"run {shlex.quote(sys.executable)} -m pip install 'Pillow<10'") from error
    manifest = _plan(train_size, val_size, seed)
    folder = os.path.abspath(folder)
    if _is_kept(folder, manifest):
        return
    parent, name = os.path.split(folder)
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{name}.', dir=parent) as scratch:
            fresh = os.path.join(scratch, name)  # a folder inside: the temporary one is readable by its owner alone
            _write(fresh, manifest)
            try:
                os.rename(fresh, folder)
            except OSError:
                if not _is_kept(folder, manifest):  # another process may have made the same demo meanwhile
                    raise
    except OSError as error:
        raise InputError(f'{folder}: found a place that cannot be written ({error.strerror}), expected room for the '
                         'demo dataset: free some, change permissions or work in a copy of the repository') from error
