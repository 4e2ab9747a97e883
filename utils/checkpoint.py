"""Checkpoints: their names, writing them whole or not at all, finding and loading them."""
import contextlib
import io
import os
import re
import shlex
from typing import Any, Callable, Dict, List, Sequence

import h5py
import tensorflow as tf

from utils import model_file
from utils.ava import SCORES
from utils.defaults import DEMO_MODEL
from utils.errors import InputError

_NAME = re.compile(r'model_(\d{3,})\.h5')


def path_of(folder: str, epoch: int) -> str:
    """The checkpoint of an epoch, counted from 1: FOLDER/model_001.h5."""
    return os.path.join(folder, f'model_{epoch:03d}.h5')


def state_path(folder: str) -> str:
    """The state of a run within an epoch: FOLDER/state.h5."""
    return os.path.join(folder, 'state.h5')


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
        try:
            with open(temporary, 'wb') as stream:
                stream.write(buffer.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
    except OSError as error:
        raise InputError(f'{path}: found that it cannot be written ({error.strerror}), expected room for a checkpoint: '
                         'free some, or type another folder; the checkpoints before it are whole') from error


def find(folder: str, checkpoint: str, command: Sequence[str] = ()) -> str:
    """The path of `checkpoint`: an absolute path as it stands, or a name in `folder`.

    Where there is no such file, the InputError lists those that are there, and repeats the words of `command`, where
    given, with one of them.
    """
    path = os.path.join(folder, checkpoint)
    if os.path.isfile(path):
        return path
    folder = os.path.dirname(path)
    trained, others = existing(folder), _other_models(folder)
    if not trained and not others:
        demo = ' --demo' if folder == DEMO_MODEL else ''
        raise InputError(f'{path}: found no checkpoint, and no other in that folder: train first '
                         f'(bash train_1p.sh{demo}), or type --TMP_MODEL_PATF or --checkpoint')
    names = ', '.join(map(os.path.basename, trained or others))
    which = 'the newest' if trained else os.path.basename(others[0])
    choice = (trained[-1:] or others)[0]
    raise InputError(f'{path}: found no such checkpoint, but {names}: for {which} type {_again(command, choice)}')


def _other_models(folder: str) -> List[str]:
    """The .h5 files in `folder` that are no epoch's checkpoint, such as imported ones, by name."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names
            if name.endswith('.h5') and name != state_path('') and not _NAME.fullmatch(name)]


def _again(command: Sequence[str], path: str) -> str:
    """`command` with another --checkpoint, as a shell reads it; the flag alone where no command is given."""
    kept = [word for before, word in zip(['', *command], command)
            if '--checkpoint' not in (before, word) and not word.startswith('--checkpoint=')]
    return ' '.join(map(shlex.quote, [*kept, '--checkpoint', path]))


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
