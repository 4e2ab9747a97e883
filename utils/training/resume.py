"""--resume: finds the position of a run, checks that it is the same run, restores its weights and optimiser."""
import contextlib
import json
import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf

from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.model import build, checkpoint, model_file
from utils.model.model_file import ModelFile
from utils.training.state import Position

# Parts of metadata['run'] that must not change, in words.
MUST_AGREE = {'image_size': '--image_size', 'test_hash': 'the hash of the test images',
              'labels_hash': 'the hash of the votes and image names',
              'split_hash': 'the hash of the validation images',
              'train_size': '--train_size (at most all training images)', 'batchsize': '--batchsize', 'seed': '--seed',
              'optimizer': '--optimizer', 'trainable': '--trainable',
              'freeze_batchnorm': '--freeze_batchnorm', 'crops': '--crops'}
# Those that may change, which is reported; the new value is used.
MAY_DIFFER = {'threads': '--threads', 'device': 'the device', 'learning_rate': '--learning_rate',
              'momentum': '--momentum', 'decay': '--decay', 'loss_scale': '--loss_scale', 'dropout': '--dropout',
              'scale_lr': '--scale_lr', 'rate_schedule': '--rate_schedule', 'head_rate_factor': '--head_rate_factor',
              'max_pixels': '--max_megapixels in pixels',
              'photographs': 'the source of the images', 'npu': 'the flags of the NPU',
              'tensorflow': 'the version of TensorFlow', 'numpy': 'the version of NumPy'}

# Those that may change between two stages.
OF_A_STAGE = 'train_size', 'batchsize', 'optimizer', 'trainable', 'freeze_batchnorm', 'crops'

Report = Callable[[str], Any]


class Start(NamedTuple):
    """Where a training into `folder` begins: at the first epoch, or at the position in `file`."""

    folder: str
    file: Optional[ModelFile] = None
    position: Position = Position()
    replaces: bool = False  # whether the first save removes the checkpoints of an earlier run
    found: Tuple[Any, ...] = ()  # what was in the folder, see _stamps()
    first_epoch: int = 0     # epochs before the stage in which it begins
    begins_stage: bool = False  # with the weights of the file, an optimiser and data order of its own

    @property
    def path(self) -> Optional[str]:
        """Of the file; None for a new run."""
        return self.file.path if self.file else None

    @property
    def preprocessing(self) -> Optional[Preprocessing]:
        """That of the stored run; None for a new one."""
        return self.file.own_preprocessing if self.file else None

    def without_numbers(self) -> 'Start':
        """The start without the arrays of its file, once they are restored."""
        return self._replace(file=self.file._replace(weights={}, slots=[]) if self.file else None)

    @property
    def run(self) -> Dict[str, Any]:
        """What the file says of its run; empty for a new one."""
        return self.file.run if self.file else {}


def find(folder: str, *, resume: bool, overwrite: bool, own_folder: bool, report: Report) -> Start:
    """Where to begin with `folder` for the checkpoints; `report` gets a sentence on it.

    InputError where it holds a run and neither `resume` nor `overwrite` is asked for, or where nothing in it can be
    resumed. `own_folder` is whether every run in it replaces the one before, as the demo does.
    """
    if resume and overwrite:
        raise InputError('--resume and --overwrite exclude each other. Leave one out')
    stamps = _stamps(folder)
    paths = [path for path, *_ in stamps]
    if not resume:
        if paths and not overwrite and not own_folder:
            raise InputError(f'{paths[-1]} is from an earlier run. Continue it with --resume, choose another '
                             '--TMP_MODEL_PATF, or replace it with --overwrite')
        return Start(folder, replaces=overwrite or own_folder or checkpoint.is_overwritten(folder), found=stamps)
    replacing = checkpoint.overwriting(folder)
    if not paths:
        report(f'{folder}: no run to resume; starting with the first epoch')
        return Start(folder, replaces=replacing is not None, found=stamps)
    start = _newest(folder, replacing, report)
    if start is None and replacing is not None:
        report(f'{folder}: the run that was started with --overwrite has saved nothing; starting it with the first '
               'epoch')
        return Start(folder, replaces=True, found=stamps)
    if start is None:
        raise InputError(f'{folder}: no checkpoint there can be resumed. Choose another --TMP_MODEL_PATF, or start '
                         'afresh with --overwrite')
    return start._replace(found=stamps, replaces=replacing is not None)


def _newest(folder: str, run: Optional[str], report: Report) -> Optional[Start]:
    """The training state or checkpoint that is furthest on and can be used, each file opened once; None without one.

    Where `run` is an id, that of a run which replaces others, their files are passed over.
    """
    def read(path: str) -> Optional[Start]:
        start = _read(path, report)
        if start is None or run is None or start.file is None or start.file.run.get('id') == run:
            return start
        report(f'{path}: passed over: it is of the run that --overwrite replaces')
        return None

    state = read(checkpoint.state_path(folder)) if os.path.lexists(checkpoint.state_path(folder)) else None
    for path in reversed(checkpoint.existing(folder)):
        if state and state.position.epoch >= checkpoint.epoch_of(path):
            return state
        found = read(path)
        if found:
            return found
    return state


def _stamps(folder: str) -> Tuple[Any, ...]:
    """(path, file number, time) of the checkpoints in `folder`, the oldest first, and of the training state."""
    found = []
    for path in (*checkpoint.existing(folder), checkpoint.state_path(folder)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            about = os.stat(path)
            found.append((path, about.st_ino, about.st_mtime_ns))
    return tuple(found)


def check(start: Start, metadata: Dict[str, Any], available: int, report: Report) -> None:
    """Raise InputError where the run that `metadata` describe is not the one that `start` resumes.

    Nor may another run have saved anything since `start` was found: the lock is held by now. `available` is the
    number of training images. `report` gets a sentence for each difference that is allowed.
    """
    if _stamps(start.folder) != start.found:
        raise InputError(f'{start.folder}: another run saved there while this one was starting. Run the same command '
                         'again with --resume')
    if start.file is None:
        return
    path, position = start.file.path, start.position
    after = f', after {position.images} images of it' if position.images else ''
    how = 'its weights start' if start.begins_stage else 'resuming with'
    report(f'{path}: {how} epoch {position.epoch + 1}{after}')
    before, now = _flat(start.file.metadata or {}, available), _flat(metadata, available)
    if before.get('fast_decode'):
        raise InputError(f'{path} was trained with --fast_decode, which is no longer supported: the run cannot be '
                         'resumed. Start a new run from its weights, with --weights and another --TMP_MODEL_PATF')
    if start.preprocessing:
        before.update(start.preprocessing.as_json())  # where its image size differs from its flag
    if before.get('devices', 1) != now.get('devices', 1):
        _report_devices(path, before, now, report)
    own = OF_A_STAGE if start.begins_stage else ()
    for name, words in MUST_AGREE.items():
        if name not in own and name in before and name in now and before[name] != now[name]:
            raise another_run(path, words, before[name], now[name])
    if position.images > now['train_size']:
        raise InputError(f'{path}: found a position after {position.images} images of an epoch of {now["train_size"]}, '
                         'expected no more than these. Use the file as train.py wrote it')
    for name, words in MAY_DIFFER.items():
        if not start.begins_stage and name in before and name in now and before[name] != now[name]:
            report(f'{path}: {words} was {before[name]}, now {now[name]}: results may differ from those of an '
                   'uninterrupted run')


def _report_devices(path: str, before: Dict[str, Any], now: Dict[str, Any], report: Report) -> None:
    """Report another number of devices, which allows another --batchsize too: it is left out of both."""
    devices, batches = zip(*((run.get('devices', 1), run.pop('batchsize', 0)) for run in (before, now)))
    totals = [number * batch for number, batch in zip(devices, batches)]
    changed = f'{totals[0]} images a step before, {totals[1]} now' if totals[0] != totals[1] else (
        f'{totals[1]} images a step as before')
    report(f'{path}: the number of devices was {devices[0]}, now {devices[1]}: {changed}')


def another_run(path: str, words: str, before: Any, now: Any) -> InputError:
    """The error for a run whose `words` differ from those of the run in the file `path`."""
    return InputError(f'{path}: {words} was {_short(before)} when this run began, now {_short(now)}. Resume with what '
                      'it began with, or start a new run in another --TMP_MODEL_PATF')


def _short(value: Any) -> str:
    text = str(value)
    return f'{text[:12]}...' if len(text) == 64 else text


def _flat(metadata: Dict[str, Any], available: int) -> Dict[str, Any]:
    """The parts of metadata that tell one run from another, by name."""
    run = metadata['run']
    found = {**run, **run.get('versions', {}), **run.get('data', {}), **run.get('flags', {})}
    as_it_was = 'seed', 'threads', 'device', 'devices'  # in the end, whatever was typed
    found.update((name, run[name]) for name in as_it_was if name in run)
    if isinstance(found.get('train_size'), int):
        found['train_size'] = min(found['train_size'], available)
    return found


def _read(path: str, report: Report) -> Optional[Start]:
    """The start at the position in the file `path`; None, and a sentence for `report`, where it cannot be used."""
    try:
        file = model_file.read(path).require_checkpoint()
        stored = file.run['position']
        position = Position(int(stored['epoch']), int(stored['images']), float(stored.get('loss_sum', 0)),
                            float(stored.get('seconds', 0)))
        arrays = [*(array for layer in file.weights.values() for array in layer), *file.slots]
        if not all(np.isfinite(array).all() for array in arrays):
            reason = 'its weights are not finite'
        elif min(position.epoch, position.images) < 0:
            reason = f'its position is impossible, {stored}'
        else:
            return Start(os.path.dirname(path), file, position)
    except InputError as error:
        reason = str(error)
    except (KeyError, TypeError, ValueError):
        reason = 'it holds no position of a run'
    report(f'{path}: not used: {reason}')
    return None


def restore(model: tf.keras.Model, start: Start) -> None:
    """Set the weights and the optimiser's state of a compiled model to those of `start`.

    The network is the one that train.py builds: nothing is built from the file. InputError where the two differ.
    """
    file = start.file
    if file is None or start.begins_stage:
        return
    _require_same_network(file.path, json.loads(str(file.network)), json.loads(model.to_json()))
    build.set_weights(build.variables_of(model), file.weights, file.path)
    model._make_train_function()  # makes the optimiser's variables, as Keras's own load_model does
    if [array.shape for array in file.slots] != [tuple(each.shape.as_list()) for each in model.optimizer.weights]:
        raise InputError(f'{file.path}: its optimiser state does not fit this network. Start a new run in another '
                         '--TMP_MODEL_PATF')
    tf.keras.backend.batch_set_value(list(zip(model.optimizer.weights, file.slots)))


def _require_same_network(path: str, stored: Dict[str, Any], built: Dict[str, Any]) -> None:
    before, now = _layers(stored), _layers(built)
    for name in [*now, *before]:
        if name not in before or name not in now:
            raise another_run(path, f'the layer {name!r}', *('present' if name in each else 'absent'
                                                              for each in (before, now)))
        for setting in now[name]:
            if before[name].get(setting) != now[name][setting]:
                raise another_run(path, f'{setting} of the layer {name!r}', before[name].get(setting),
                                   now[name][setting])


def _layers(network: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """The settings of each layer by its name, without the dropout rate, which may change."""
    layers = network['config']['layers']
    return {layer['config']['name']: {'class': layer['class_name'], 'inputs': layer.get('inbound_nodes'),
                                      **{name: value for name, value in layer['config'].items() if name != 'rate'}}
            for layer in layers}
