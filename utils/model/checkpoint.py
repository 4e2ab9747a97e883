"""Checkpoints: their names, writing them whole or not at all, finding and loading them."""
import contextlib
import io
import json
import os
import re
import shlex
from typing import Any, Callable, Dict, List, Sequence

import h5py
import numpy as np
import tensorflow as tf

from utils.base import files
from utils.base.defaults import DEMO_MODEL
from utils.base.errors import InputError
from utils.base.scores import SCORES
from utils.base.text import short
from utils.model import model_file, trust, trust_network

_NAME = re.compile(r'model_(\d{3,})\.h5')


def path_of(folder: str, epoch: int) -> str:
    """The checkpoint of an epoch, counted from 1: FOLDER/model_001.h5."""
    return os.path.join(folder, f'model_{epoch:03d}.h5')


def state_path(folder: str) -> str:
    """The state of a run within an epoch: FOLDER/state.h5."""
    return os.path.join(folder, 'state.h5')


def existing(folder: str) -> List[str]:
    """Paths of the checkpoints in `folder`, oldest epoch first; none where there is no folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):  # not asked before: the chief of many tries it out and removes it
        return []
    found = [match for match in map(_NAME.fullmatch, names) if match]
    return [os.path.join(folder, match.group()) for match in sorted(found, key=lambda match: int(match.group(1)))]


def remove_others(path: str) -> None:
    """Remove all other checkpoints in the folder of `path`."""
    for other in existing(os.path.dirname(path)):
        if other != path:
            os.remove(other)


def require_savable(model: tf.keras.Model) -> None:
    """InputError where the checkpoints of `model` would be refused: better before the first step than after days."""
    try:
        trust_network.check(json.loads(model.to_json()))
    except (trust.DistrustError, TypeError, NotImplementedError) as error:  # the others where it cannot be described
        raise InputError(f'the model in train.py: found {error}; expected one whose checkpoints can be loaded, made '
                         "of Keras's own layers without Lambda: edit the line of base_model") from error


def save(model: tf.keras.Model, path: str, record: Dict[str, Any]) -> None:
    """Write model, weights, optimiser state and the record; `path` is either as it was before or complete.

    The file is written beside `path` under a name that ends in .tmp, flushed to the disk, read back from there byte
    by byte and checked as one by strangers is; then it gets its name. The folder is made where it is gone.
    model_file says what stands in a record. InputError where the file cannot be written or does not read back.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        model.save(file)
        model_file.write_record(file, record)
    cure = 'Free space or choose another --TMP_MODEL_PATF; earlier checkpoints are intact'
    with files.writing(path, cure), files.new_file(path) as temporary:
        files.flush(temporary, buffer.getbuffer())
        files.require_same(temporary, buffer.getbuffer())
        trust.trust_own(temporary)
        with model_file.opened(temporary, whole=True):
            pass


def prune(folder: str, keep: int, *, keep_best: bool) -> List[str]:
    """Remove all but the `keep` newest epochs' checkpoints; returns the paths of those that are removed.

    With `keep_best` the one with the highest validation SRCC stays too, the newest of several; an undefined SRCC is
    never the best. What cannot be read stays and does not count.
    """
    srccs = {}
    for path in existing(folder):
        with contextlib.suppress(InputError):
            record = model_file.read(path).record or {}
            srccs[path] = record.get('run', {}).get('metrics', {}).get('val_srcc')
    paths = list(srccs)
    best = max((path for path in paths if srccs[path] is not None), default=None,
               key=lambda path: (srccs[path], paths.index(path)))
    removed = [path for path in paths[:-keep] if not (keep_best and path == best)]
    for path in removed:
        os.remove(path)
    return removed


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

    InputError where the file is no checkpoint, holds what it must not (trust.py), or its network does not turn square
    images into ten shares.
    """
    model_file.require_checkpoint(path)
    tf.keras.backend.set_learning_phase(0)
    with model_file.opened(path, whole=True) as file:  # what is built is what was checked: the file stays open
        return _built(file, path)


def _built(file: Any, path: str) -> tf.keras.Model:
    """The network in a file of model_file.opened() with its weights."""
    try:
        model = tf.keras.models.model_from_json(model_file.network_of(file))
        inputs, outputs = model.input_shape, model.output_shape
        variables = variables_of(model)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
            ValueError, tf.errors.OpError) as error:
        raise InputError(f'{path}: found a network that tf.keras cannot build ({short(str(error), 300)}), '
                         f'expected {model_file.CHECKPOINT}: if it holds the weights of a NIMA-MobileNet, import them '
                         f'with {model_file.import_command(path)}') from error
    if outputs[1:] != (len(SCORES),) or len(inputs) != 4 or inputs[1] != inputs[2] or inputs[3] != 3:
        raise InputError(f'{path}: found a network from {inputs} to {outputs}, expected a NIMA, from '
                         f'(None, 224, 224, 3) to (None, {len(SCORES)}): give {model_file.CHECKPOINT}')
    set_weights(variables, model_file.weights_of(file), path)
    return model


def variables_of(model: tf.keras.Model) -> Dict[str, List[tf.Variable]]:
    """The variables of each layer with weights, in the order in which they stand in files."""
    return {layer.name: [*layer.trainable_weights, *layer.non_trainable_weights]
            for layer in model.layers if layer.weights}


def set_weights(variables: Dict[str, List[tf.Variable]], arrays: Dict[str, List[np.ndarray]], path: str) -> None:
    """Give variables_of() a model the `arrays` of the file `path`; InputError where their shapes differ.

    They are compared before any is set: TensorFlow takes other shapes without a word, and makes room for all that a
    network declares.
    """
    shapes = {name: [tuple(each.shape.as_list()) for each in layer] for name, layer in variables.items()}
    for name in [*shapes, *arrays]:
        stored = [array.shape for array in arrays.get(name, [])]
        if stored != shapes.get(name):
            raise InputError(f'{path}: found shapes {stored} for the layer {name!r}, expected those of its network, '
                             f'{shapes.get(name, "none")}: take the file as train.py or the import wrote it')
    tf.keras.backend.batch_set_value([pair for name, layer in variables.items() for pair in zip(layer, arrays[name])])


def preprocessing_of(path: str, model: tf.keras.Model, report: Callable[[str], Any]) -> Dict[str, Any]:
    """What to do with photographs for the `model` of a checkpoint, as model_file.preprocessing() describes it."""
    return model_file.preprocessing_of(path, model.input_shape[1], report)
