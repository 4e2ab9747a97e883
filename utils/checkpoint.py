"""Checkpoints: their names, writing them whole or not at all, finding and loading them."""
import io
import os
import re
from typing import List

import h5py
import tensorflow as tf

from utils.errors import InputError

_NAME = re.compile(r'model_(\d{3,})\.h5')


def path_of(folder: str, epoch: int) -> str:
    """The checkpoint of an epoch, counted from 1: FOLDER/model_001.h5."""
    return os.path.join(folder, f'model_{epoch:03d}.h5')


def existing(folder: str) -> List[str]:
    """Paths of the checkpoints in `folder`, oldest epoch first; none where there is no folder."""
    if not os.path.isdir(folder):
        return []
    found = [match for match in map(_NAME.fullmatch, os.listdir(folder)) if match]
    return [os.path.join(folder, match.group()) for match in sorted(found, key=lambda match: int(match.group(1)))]


def open_folder(folder: str, *, restart: bool = False) -> None:
    """Make the folder that receives checkpoints; with `restart` the checkpoints of an earlier run are removed."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InputError(f'{folder}: found a place where no folder can be made ({error.strerror}), expected one '
                         'for the checkpoints: type another --TMP_MODEL_PATF') from error
    if not os.access(folder, os.W_OK):
        raise InputError(f'{folder}: found a folder that cannot be written, expected one for the checkpoints: '
                         'change its permissions or type another --TMP_MODEL_PATF')
    for path in existing(folder) if restart else []:
        os.remove(path)


def save(model: tf.keras.Model, path: str) -> None:
    """Write model, weights and optimiser state; `path` is either as it was before or complete."""
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        model.save(file)
    temporary = path + '.tmp'
    with open(temporary, 'wb') as stream:
        stream.write(buffer.getbuffer())
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def find(folder: str, checkpoint: str) -> str:
    """The path of `checkpoint`: a path where it names a folder, else a name in `folder`."""
    path = os.path.abspath(checkpoint) if os.path.dirname(checkpoint) else os.path.join(folder, checkpoint)
    if os.path.isfile(path):
        return path
    present = existing(os.path.dirname(path))
    if not present:
        raise InputError(f'{path}: found no checkpoint, and no other in that folder: train first '
                         '(bash train_1p.sh), or type --TMP_MODEL_PATF or --checkpoint')
    names = ', '.join(map(os.path.basename, present))
    raise InputError(f'{path}: found no such checkpoint, but {names}: for the newest type '
                     f'--checkpoint {present[-1]}')


def load_for_scoring(path: str) -> tf.keras.Model:
    """The model of a checkpoint with learning phase 0, without its optimiser."""
    tf.keras.backend.set_learning_phase(0)
    try:
        return tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f'{path}: found a file that Keras cannot load ({error}), expected a checkpoint that '
                         'train.py wrote') from error
