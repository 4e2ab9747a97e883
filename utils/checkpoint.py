"""Checkpoints: their names, writing them whole or not at all, finding and loading them."""
import contextlib
import io
import os
import re
from typing import Any, Callable, Dict, List, Optional

import h5py
import tensorflow as tf

from utils import model_file
from utils.ava import SCORES
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


def remove_others(path: str) -> None:
    """Remove all other checkpoints in the folder of `path`."""
    for other in existing(os.path.dirname(path)):
        if other != path:
            os.remove(other)


def save(model: tf.keras.Model, path: str, record: Dict[str, Any]) -> None:
    """Write model, weights, optimiser state and the record; `path` is either as it was before or complete.

    model_file says what stands in a record. InputError where the file cannot be written.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        model.save(file)
        model_file.write_record(file, record)
    temporary = path + '.tmp'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(temporary, 'wb') as stream:
            stream.write(buffer.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise InputError(f'{path}: found that it cannot be written ({error.strerror}), expected room for a checkpoint: '
                         'free some, or type another folder; the checkpoints before it are whole') from error


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
    """The model of a checkpoint with learning phase 0, without its optimiser.

    InputError where the file is no checkpoint, or its network does not turn square images into ten shares.
    """
    model_file.require_checkpoint(path)
    tf.keras.backend.set_learning_phase(0)
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f'{path}: found a network that tf.keras cannot build ({error}), expected '
                         f'{model_file.CHECKPOINT}: if it holds the weights of a NIMA-MobileNet, import them with '
                         f'{model_file.import_command(path)}') from error
    inputs, outputs = model.input_shape, model.output_shape
    if outputs[1:] != (len(SCORES),) or len(inputs) != 4 or inputs[1] != inputs[2] or inputs[3] != 3:
        raise InputError(f'{path}: found a network from {inputs} to {outputs}, expected a NIMA, from '
                         f'(None, 224, 224, 3) to (None, {len(SCORES)}): give {model_file.CHECKPOINT}')
    return model


def preprocessing_of(path: str, model: tf.keras.Model, report: Callable[[str], Any]) -> Dict[str, Any]:
    """What to do with photographs for the `model` of a checkpoint, as model_file.preprocessing() describes it."""
    return model_file.preprocessing_of(path, model.input_shape[1], report)


def read_record(path: str) -> Optional[Dict[str, Any]]:
    """The record of a checkpoint; None where it has none, as other people's files."""
    return model_file.read(path).record
