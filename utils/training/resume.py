"""Going on with a run: where it stood, whether it is the same run, the model as it was, the rest of the epochs."""
import contextlib
import json
import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf

from utils.base.errors import InputError
from utils.data_loader import Batch
from utils.model import checkpoint, model_file
from utils.training.run_state import Position, RunState

# Parts of record['run'] that have to agree, in words; where one differs the run is another one.
MUST_AGREE = {'image_size': '--image_size', 'labels_hash': 'votes or names of photographs',
              'split_hash': 'photographs for validation',
              'train_size': 'photographs an epoch (--train_size)', 'batchsize': '--batchsize', 'seed': '--seed',
              'optimizer': '--optimizer', 'trainable': '--trainable', 'crops': '--crops'}
# Those that may differ, which is told; what is typed counts.
MAY_DIFFER = ('threads', 'device', 'learning_rate', 'momentum', 'decay', 'loss_scale', 'dropout', 'scale_lr',
              'fast_decode', 'max_pixels', 'photographs', 'npu', 'tensorflow', 'numpy')

Report = Callable[[str], Any]


class Start(NamedTuple):
    """Where a training into `folder` begins: at the first epoch, or where the run that is stored in `path` stood."""

    folder: str
    path: Optional[str] = None
    position: Position = Position()
    record: Dict[str, Any] = {}
    replaces: bool = False  # whether the first save takes the place of what an earlier run left
    there: Tuple[Any, ...] = ()  # what was in the folder when this was found, see _stamps()

    @property
    def preprocessing(self) -> Optional[Dict[str, Any]]:
        """That of the stored run; None for a new one."""
        return self.record.get('preprocessing')

    def is_done(self, epochs: int, report: Report) -> bool:
        """Whether all `epochs` are trained already; `report` gets a sentence then."""
        if self.position.epoch < epochs:
            return False
        report(f'{self.path}: all {epochs} epochs are trained already: for more of them type a higher --epochs')
        return True


def find(folder: str, *, resume: bool, overwrite: bool, own_folder: bool, report: Report) -> Start:
    """Where to begin with `folder` as the place of the checkpoints; `report` gets a sentence on it.

    InputError where a run is there already and neither `resume` nor `overwrite` says what to do with it, or where
    all that is there is broken. `own_folder` is whether every run in it starts afresh, as the demo does.
    """
    if resume and overwrite:
        raise InputError('--resume: found it beside --overwrite, expected one of them: leave one out')
    stamps = _stamps(folder)
    there = [path for path, *_ in stamps]
    if not resume:
        if there and not overwrite and not own_folder:
            raise InputError(f'{there[-1]}: found what an earlier run saved, expected a folder without: go on with '
                             'that run with --resume, type another --TMP_MODEL_PATF, or let a new run take its place '
                             'with --overwrite')
        return Start(folder, replaces=overwrite or own_folder, there=stamps)
    if not there:
        report(f'{folder}: found no run to go on with: starting with the first epoch')
        return Start(folder, there=stamps)
    found = list(filter(None, [_read(path, report) for path in there]))
    for start in sorted(found, key=lambda each: each.position[:2], reverse=True):
        if _is_whole(str(start.path), report):
            return start._replace(folder=folder, there=stamps)
    raise InputError(f'{folder}: found no checkpoint to go on from, expected a good one: type another '
                     '--TMP_MODEL_PATF, or let a new run take its place with --overwrite')


def _stamps(folder: str) -> Tuple[Any, ...]:
    """What a run saved into `folder`: (path, file number, time) of the checkpoints, the oldest first, and the state."""
    found = []
    for path in (*checkpoint.existing(folder), checkpoint.state_path(folder)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            about = os.stat(path)
            found.append((path, about.st_ino, about.st_mtime_ns))
    return tuple(found)


def check(start: Start, record: Dict[str, Any], available: int, report: Report) -> None:
    """Raise InputError where the run that `record` describes is not the one that `start` goes on with.

    Nor may another run have saved anything since `start` was found: from here on the lock keeps it out. `available`
    photographs are for training. `report` gets a sentence for each difference that is allowed.
    """
    if _stamps(start.folder) != start.there:
        raise InputError(f'{start.folder}: found that another run has saved there while this one was starting, '
                         'expected the checkpoints as they were: type the same again, to go on from them with --resume')
    if start.path is None:
        return
    after = f', after {start.position.images} photographs of it' if start.position.images else ''
    report(f'{start.path}: going on with epoch {start.position.epoch + 1}{after}')
    before, now = _flat(start.record, available), _flat(record, available)
    before.update(start.preprocessing or {})  # where its image size is another one than its flags say
    if before.get('devices', 1) != now.get('devices', 1):
        _report_devices(start.path, before, now, report)
    for name, words in MUST_AGREE.items():
        if name in before and name in now and before[name] != now[name]:
            raise _another_run(start.path, words, before[name], now[name])
    if start.position.images > now['train_size']:
        raise InputError(f'{start.path}: found a run that stands after {start.position.images} photographs of an epoch '
                         f'of {now["train_size"]}, expected no more than these: take the file as train.py wrote it')
    for name in MAY_DIFFER:
        if name in before and name in now and before[name] != now[name]:
            report(f'{start.path}: {name} was {before[name]} and is {now[name]} from here on: the run may not be, to '
                   'the last bit, what it would have been')


def _report_devices(path: str, before: Dict[str, Any], now: Dict[str, Any], report: Report) -> None:
    """Tell of another number of devices, for which another --batchsize is allowed too: it is left out of both."""
    devices, batches = zip(*((run.get('devices', 1), run.pop('batchsize', 0)) for run in (before, now)))
    totals = [number * batch for number, batch in zip(devices, batches)]
    changed = f'a step took {totals[0]} photographs and takes {totals[1]}' if totals[0] != totals[1] else (
        f'a step takes {totals[1]} photographs as before')
    report(f'{path}: {devices[0]} devices have trained so far, {devices[1]} go on: {changed}')


def _another_run(path: str, words: str, before: Any, now: Any) -> InputError:
    return InputError(f'{path}: found a run with other {words} ({_short(before)}) than this one ({_short(now)}), '
                      'expected the same: type and provide what its start had, or start another run in another '
                      '--TMP_MODEL_PATF')


def _short(value: Any) -> str:
    text = str(value)
    return f'{text[:12]}...' if len(text) == 64 else text


def _flat(record: Dict[str, Any], available: int) -> Dict[str, Any]:
    """The parts of a record that say what run it is, by name."""
    run = record['run']
    found = {**run, **run.get('versions', {}), **run.get('data', {}), **run.get('flags', {})}
    as_it_was = 'seed', 'threads', 'device', 'devices'  # in the end, whatever was typed
    found.update((name, run[name]) for name in as_it_was if name in run)
    if isinstance(found.get('train_size'), int):
        found['train_size'] = min(found['train_size'], available)
    return found


def _read(path: str, report: Report) -> Optional[Start]:
    """Where the run stood that `path` holds; None, and a sentence for `report`, where the file does not say it."""
    try:
        record = model_file.read(path).record or {}
        stored = dict(record['run']['position'])
        position = Position(int(stored['epoch']), int(stored['images']), float(stored.get('loss_sum', 0)),
                            float(stored.get('seconds', 0)))
        if min(position.epoch, position.images) >= 0:
            return Start(os.path.dirname(path), path, position, record)
        reason = f'it names an impossible place, {stored}'
    except InputError as error:
        reason = str(error)
    except (KeyError, TypeError, ValueError):
        reason = 'it does not say where a run stood'
    report(f'{path}: passed over: {reason}')
    return None


def _is_whole(path: str, report: Report) -> bool:
    """Whether all numbers can be read and are numbers; `report` gets a sentence where not."""
    try:
        arrays = [array for layer in model_file.read_weights(path).values() for array in layer]
        arrays += model_file.read_optimizer(path)
        if all(np.isfinite(array).all() for array in arrays):
            return True
        reason = 'found weights that are no numbers'
    except InputError as error:
        reason = str(error)
    report(f'{path}: passed over: {reason}')
    return False


def restore(model: tf.keras.Model, start: Start) -> None:
    """Give a compiled model the weights and the optimiser's state with which the run goes on.

    The network is the one that train.py builds: nothing is built from the file. InputError where the two differ.
    """
    if start.path is None:
        return
    _require_same_network(start.path, model_file.read_network(start.path), json.loads(model.to_json()))
    checkpoint.set_weights(checkpoint.variables_of(model), model_file.read_weights(start.path), start.path)
    model._make_train_function()  # makes the optimiser's variables, as Keras's own load_model does
    slots = model_file.read_optimizer(start.path)
    if [array.shape for array in slots] != [tuple(each.shape.as_list()) for each in model.optimizer.weights]:
        raise InputError(f'{start.path}: found another state of the optimiser than this network has, expected that of '
                         'the same network: start another run in another --TMP_MODEL_PATF')
    tf.keras.backend.batch_set_value(list(zip(model.optimizer.weights, slots)))


def _require_same_network(path: str, stored: Dict[str, Any], built: Dict[str, Any]) -> None:
    before, now = _layers(stored), _layers(built)
    for name in [*now, *before]:
        if name not in before or name not in now:
            raise _another_run(path, f'layers: {name!r}', *('there' if name in each else 'not there'
                                                            for each in (before, now)))
        for setting in now[name]:
            if before[name].get(setting) != now[name][setting]:
                raise _another_run(path, f'{setting} of the layer {name!r}', before[name].get(setting),
                                   now[name][setting])


def _layers(network: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """The settings of each layer by its name; the dropout's share is no part of a network's shape."""
    layers = network['config']['layers']
    return {layer['config']['name']: {'class': layer['class_name'], 'inputs': layer.get('inbound_nodes'),
                                      **{name: value for name, value in layer['config'].items() if name != 'rate'}}
            for layer in layers}


class History(tf.keras.callbacks.History):
    """Keras's History, which is empty and not missing before the first epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.on_train_begin()


def fit(model: tf.keras.Model, batches: Iterator[Batch], state: RunState, *, epochs: int,
        callbacks: List[tf.keras.callbacks.Callback], whole: Optional[tf.keras.Model] = None) -> History:
    """Train from the state's position to the end of the last epoch; returns the History of the epochs that ended.

    `whole` is what the callbacks see, where `model` is the head of it. They are called as by Keras's own fit, and may
    end the training after an epoch with `stop_training`. That fit cannot begin within an epoch, and spends a
    millisecond more between two steps.
    """
    history = History()
    everyone, seen = [state, *callbacks, history], whole or model
    seen.stop_training = False
    for each in everyone:
        each.set_params({'epochs': epochs})
        each.set_model(seen)
    _tell(everyone, 'on_train_begin')
    for epoch in range(state.position.epoch, epochs):
        _tell(everyone, 'on_epoch_begin', epoch)
        for step in range(state.step, state.steps):
            batch = next(batches)
            _tell(everyone, 'on_train_batch_begin', step)
            loss = model.train_on_batch(*batch)
            del batch  # it would be held while the next one is made
            _tell(everyone, 'on_train_batch_end', step, {'loss': loss})
        _tell(everyone, 'on_epoch_end', epoch, {})
        if seen.stop_training:
            break
    _tell(everyone, 'on_train_end')
    return history


def _tell(callbacks: List[tf.keras.callbacks.Callback], event: str, *arguments: Any) -> None:
    for each in callbacks:
        getattr(each, event)(*arguments)
