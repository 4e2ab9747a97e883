"""The training of a compiled model: its batches, what happens around them, the epochs from where the run stands."""
import contextlib
import hashlib
import json
import math
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import tensorflow as tf

from utils import data_loader, nima
from utils.base import files
from utils.base.errors import InputError
from utils.data import ava, splits
from utils.data.packed import Records
from utils.device.device import Group, Run
from utils.device.signals import Watch
from utils.model import metadata
from utils.training import callbacks, features, log, resume
from utils.training.run_state import RunState


def _portable(flags: Dict[str, Any]) -> Dict[str, Any]:
    """`flags`, those of an NPU among them, without the paths of this machine."""
    return {name: _portable(value) if isinstance(value, dict) else value for name, value in flags.items()
            if not (isinstance(value, str) and os.path.isabs(value))}


def record(flags: Dict[str, Any], preprocessing: Dict[str, Any], *, run: Run, train: ava.Ratings, val: ava.Ratings,
           packed: Optional[Records] = None) -> Dict[str, Any]:
    """What every checkpoint of this run says of itself, see model_file.py; `packed` is what it trains on, if packed."""
    told = _portable(flags)
    data = {**splits.metadata(flags['split'], train, val), 'train_images': train.count, 'val_images': val.count,
            'photographs': f'packed, {packed.manifest["form"]}' if packed else 'files'}
    return {'preprocessing': preprocessing, 'run': {
        'flags': told, 'seed': flags['seed'], 'threads': run.threads, 'device': run.device, 'devices': run.group.size,
        'data': data, 'versions': metadata.versions(tf.__version__)}}


@contextlib.contextmanager
def only_writer(model_folder: str, log_folder: str, group: Group) -> Iterator[None]:
    """For the chief files.only_writer() of the folder for checkpoints, and a log folder that can be written.

    In all of the group the loss of another one of them is InputError.
    """
    with contextlib.ExitStack() as opened:
        opened.enter_context(group.watching())
        if group.is_chief:
            files.require_writable(log_folder, '--TMP_LOG_PATH')
            opened.enter_context(files.only_writer(model_folder, '--TMP_MODEL_PATF'))
        yield


def _require_same_start(group: Group, start: resume.Start, record: Dict[str, Any]) -> None:
    """Raise InputError, in all processes of the group alike, where one of them has another run before it."""
    run = {name: value for name, value in record['run'].items() if name != 'threads'}
    digest = hashlib.sha256(json.dumps([record['preprocessing'], run], sort_keys=True, default=str).encode())
    stands = group.gather([start.position.epoch, start.position.images, int(digest.hexdigest()[:12], 16)])
    for rank, other in enumerate(stands):
        if (other != stands[0]).any():
            told = [f'epoch {int(each[0]) + 1}, photograph {int(each[1])}' for each in (other, stands[0])]
            what = ' and '.join(told) if told[0] != told[1] else 'other flags, labels, split or versions'
            raise InputError(f'rank {rank}: found another start than that of rank 0 ({what}), expected the same: type '
                             'the same flags for all of them, with a dataset and, for --resume, a --TMP_MODEL_PATF '
                             'that all of them see')


def _begin_together(model: tf.keras.Model, start: resume.Start, group: Group, record: Dict[str, Any],
                    batchsize: int) -> None:
    """The chief's weights for all that begin at the same place, and a line on how many there are."""
    _require_same_start(group, start, record)
    if group.size > 1:
        group.report(f'{group.size} devices, joined by {group.engine}: {group.size} x {batchsize} = '
                     f'{group.size * batchsize} photographs a step; each has BatchNorm statistics of its own, those of '
                     'rank 0 are saved')
    group.broadcast(model.weights)


def _mend_log(folder: str, start: resume.Start) -> None:
    """Add the row of the last epoch, where the run was killed between its checkpoint and its row."""
    epoch, metrics = start.position.epoch, start.record.get('run', {}).get('metrics', {})
    rows = log.read_csv(os.path.join(folder, 'train.csv'))
    if metrics and all(row.get('epoch') != epoch for row in rows):
        os.makedirs(folder, exist_ok=True)
        log.EpochLog(folder).write(epoch, {name: math.nan if value is None else value
                                                    for name, value in metrics.items()})


def _on_features(model: tf.keras.Model, start: resume.Start, train: ava.Ratings, val: ava.Ratings, *, run: Run,
                 watch: Watch, record: Dict[str, Any], batchsize: int, seed: int, folder: str, crops: Optional[int],
                 packed: Tuple[Any, Any], max_bad_images: float, **decoding: Any) -> Tuple[tf.keras.Model, Any]:
    """The head of `model`, to be trained, and the features of the training and of the validation photographs."""
    if run.group.size > 1:
        raise InputError(f'--trainable head: found {run.group.size} devices that train together, expected one: '
                         'the head alone is trained in moments: start one process')
    npu = record['run']['flags'].get('npu') or {}
    common = {'preprocessing': record['preprocessing'], 'decoding': decoding, 'seed': seed,
              'max_bad_images': max_bad_images}
    return features.for_head(
        model, features.Source('training', train, packed[0], crops, **common),
        features.Source('validation', val, packed[1], None, **common), folder=folder, batchsize=batchsize,
        device=run.device, precision={name: npu[name] for name in ('precision_mode', 'modify_mixlist') if name in npu},
        session_config=run.host_config, watch=watch, first_epoch=start.position.epoch, report=print)


def fit(model: tf.keras.Model, start: resume.Start, *, run: Run, watch: Watch, record: Dict[str, Any],
        train: ava.Ratings, val: ava.Ratings, train_size: int, batchsize: int, epochs: int, seed: int,
        log_folder: str, trainable: str = 'all', features_folder: str = '', crops: Optional[int] = None,
        checkpoint_steps: Optional[int] = None, validate_every: int = 1, keep: Optional[int] = None,
        keep_best: bool = False, scale_lr: bool = False, **reading: Any) -> tf.keras.callbacks.History:
    """Train a new model from `start` to the last of the epochs; returns the History of the epochs that ended.

    `record` is that of record(), which every checkpoint carries; `reading` is for data_loader.generators().
    Where the head alone is `trainable`, it is trained on features of so many random `crops`, see features.py.
    `scale_lr` is for callbacks.ScaledRate. SystemExit, with the state saved, where `watch` has seen a signal.
    """
    group = run.group
    resume.check(start, record, train.count, report=group.report)
    resume.restore(model, start)
    trained, forward = model, nima.forward_batch(batchsize, run.device)
    twin = nima.inference_twin(model) if trainable == 'all' else None
    run.initialise()
    _begin_together(model, start, group, record, batchsize)
    if group.is_chief:
        _mend_log(log_folder, start)
    if trainable == 'head':
        trained, reading['packed'] = _on_features(model, start, train, val, run=run, watch=watch, record=record,
                                                  batchsize=batchsize, seed=seed, folder=features_folder,
                                                  crops=crops, **reading)
        twin, forward = nima.inference_twin(trained), batchsize
    train_batches, val_batches, bad = data_loader.generators(
        train, val, batchsize, train_size=train_size, seed=seed, first_epoch=start.position.epoch,
        first_image=start.position.images, preprocessing=record['preprocessing'], session_config=run.host_config,
        shard=group.shard, **reading)
    state = RunState(start.folder, record, position=start.position, batchsize=batchsize, every=checkpoint_steps,
                     images=min(train_size, train.count), watch=watch, restart=start.replaces, group=group,
                     ids=_ids_of_epochs(train, seed, train_size, record['preprocessing']['image_size']))
    watching = callbacks.for_training(
        twin, val_batches, val, state=state, bad=bad, batchsize=batchsize, device=run.device, model_folder=start.folder,
        log_folder=log_folder, record=record, keep=keep, keep_best=keep_best, validate_every=validate_every,
        forward=forward, group=group)
    if scale_lr and group.size > 1:
        watching.append(callbacks.ScaledRate(group.size, state))
    with _closing(group, state, [train_batches, val_batches, *watching[:group.is_chief]]):
        return resume.fit(trained, train_batches, state, epochs=epochs, callbacks=watching, whole=model)


def _ids_of_epochs(train: ava.Ratings, seed: int, limit: int, image_size: int) -> Callable[[int], List[str]]:
    """A function from an epoch to its photographs' ids, in their order."""
    def ids(epoch: int) -> List[str]:
        plan = data_loader.epoch_plan(train.count, epoch, seed=seed, limit=limit, image_size=image_size)
        return [train.ids[index] for index in plan.order]

    return ids


@contextlib.contextmanager
def _closing(group: Group, state: RunState, opened: List[Any]) -> Iterator[None]:
    """Closes what is `opened` in any case, and says where a run that was stopped stands."""
    try:
        with contextlib.ExitStack() as stack:
            for each in opened:
                stack.callback(each.close)
            yield
    except SystemExit:  # here the bar is closed
        if group.is_chief:
            print(f'stopped after {state.where}; to go on, type the same flags and --resume', file=sys.stderr)
        group.barrier()  # a launcher ends all others as soon as one is gone: the chief has saved by now
        raise
