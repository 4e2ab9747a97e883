"""What a checkpoint says of itself, made and checked. Of the fields in model_file.py, `run` holds:

    id         of the run, the same in all files that it writes
    flags      name -> value, as the flags of train.py stood
    seed       whole number
    threads    of the CPU, whole number; null where the system chose
    device     'cpu', 'gpu' or 'npu'
    devices    how many of them trained together, whole number
    data       labels_hash and split_hash (splits.py), split in words, train_images, val_images; test_hash and
               test_images where some are kept out; photographs: 'files', or 'packed' and the form
    metrics    name -> number of the epoch's end, such as val_srcc; null where it is undefined
    recipe     of a run by --recipe: name and sha256 of its file; stage, counted from 1, of how many stages, its
               stage_name, and first_epoch, the epochs before it
    stopped_early  true where --patience ended the training here
    versions   python, tensorflow, numpy, h5py and nima
    position   epoch: epochs that are complete; images: of the next one that were trained on, by all
               devices; loss_sum and seconds: of that epoch so far
    loss_scaling  with --loss_scale dynamic: scale; finite_steps: since it changed; skipped: steps that overflowed

Each part may be missing. Others are kept, and carried by a run that is resumed.
"""
import numbers
import platform
from typing import Any, Callable, Dict, Optional

from utils.base import preprocessing
from utils.base.defaults import VERSION
from utils.base.errors import InputError
from utils.base.text import finite, short


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set('0123456789abcdef')


def _each(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _or_null(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kind(value)


def _is_anything(value: Any) -> bool:
    return True


_DATA = {'labels_hash': _is_hash, 'split': _is_text, 'split_hash': _is_hash, 'train_images': _is_count,
         'val_images': _is_count, 'test_hash': _is_hash, 'test_images': _is_count, 'photographs': _is_text}
_POSITION = {'epoch': _is_count, 'images': _is_count, 'loss_sum': _is_number, 'seconds': _is_number}
_RECIPE = {'name': _is_text, 'sha256': _is_hash, 'stage': _is_count, 'stages': _is_count, 'stage_name': _is_text,
           'first_epoch': _is_count}
_RUN: Dict[str, Any] = {
    'id': _is_text, 'flags': _each(_is_anything), 'seed': _is_count, 'threads': _or_null(_is_count), 'device': _is_text,
    'devices': _is_count, 'data': _DATA,
    'metrics': _each(_or_null(_is_number)), 'recipe': _RECIPE, 'stopped_early': _is_anything,
    'versions': _each(_is_text), 'position': _POSITION,
}
_METADATA: Dict[str, Any] = {'preprocessing': _is_anything, 'epoch': _is_count, 'origin': _each(_is_text), 'run': _RUN}


def versions(tensorflow: str) -> Dict[str, str]:
    """The versions of what computes, for the metadata; `tensorflow` is tf.__version__."""
    import h5py
    import numpy as np
    return {'python': platform.python_version(), 'tensorflow': tensorflow, 'numpy': np.__version__,
            'h5py': h5py.__version__, 'nima': VERSION}


def metrics(logs: Dict[str, Any]) -> Dict[str, Optional[float]]:
    """Keras's logs as plain numbers; None for what is no finite one, as JSON knows no NaN."""
    return {name: finite(float(value)) for name, value in logs.items() if isinstance(value, numbers.Real)}


def checked(found: Any, path: str) -> Dict[str, Any]:
    """The metadata `found` in the file `path`, with fields that a newer version may have added.

    InputError, which names the field, for a known one of another type, and for all of a pre-processing that this
    version does not know: the scores would differ.
    """
    _check(found, _METADATA, path, 'metadata')
    try:
        preprocessing.from_json(found.get('preprocessing', {}))
    except ValueError as error:
        raise InputError(f'{path}: its pre-processing has {error}, which this version does not know. Use the version '
                         'that wrote the file') from error
    return found


def unknown(found: Dict[str, Any]) -> Dict[str, Any]:
    """The metadata that this version does not know, of `run` too: a run that is resumed carries them."""
    run = {name: value for name, value in found.get('run', {}).items() if name not in _RUN}
    return {**{name: value for name, value in found.items() if name not in _METADATA}, 'run': run}


def _check(found: Any, fields: Dict[str, Any], path: str, where: str) -> None:
    if not isinstance(found, dict):
        raise InputError(f'{path}: found {short(found)} as {where}, expected an object. Use the version that wrote the '
                         'file')
    for name, value in found.items():
        kind = fields.get(name, _is_anything)
        if isinstance(kind, dict):
            _check(value, kind, path, f'{where}.{name}')
        elif not kind(value):
            raise InputError(f'{path}: found {short(value)} as {where}.{name}, expected another type. Use the version '
                             'that wrote the file')
