"""The training of a compiled model: its batches, what happens around them, the epochs from where the run stands."""
import contextlib
import hashlib
import json
import math
import os
import sys
from typing import Any, Dict, Iterator, List, Optional

import tensorflow as tf

from utils import ava, callbacks, data_loader, errors, lock, nima, origin, resume, splits, training_log
from utils.device import Group, Run
from utils.errors import InputError
from utils.interruption import Watch
from utils.run_state import RunState


def record(flags: Dict[str, Any], preprocessing: Dict[str, Any], *, run: Run, train: ava.Ratings,
           val: ava.Ratings) -> Dict[str, Any]:
    """What every checkpoint of this run says of itself, see model_file.py; of `flags`, no path of this machine."""
    told = {name: value for name, value in flags.items() if not (isinstance(value, str) and os.path.isabs(value))}
    data = {**splits.record(flags['split'], train, val), 'train_images': train.count, 'val_images': val.count}
    return {'preprocessing': preprocessing, 'run': {
        'flags': told, 'seed': flags['seed'], 'threads': run.threads, 'device': run.device, 'devices': run.group.size,
        'data': data, 'versions': origin.versions(tf.__version__)}}


@contextlib.contextmanager
def only_writer(model_folder: str, log_folder: str, group: Group) -> Iterator[None]:
    """For the chief lock.only_writer() of the folder for checkpoints, and a log folder that can be written.

    In all of the group the loss of another one of them is InputError.
    """
    with contextlib.ExitStack() as opened:
        opened.enter_context(group.watching())
        if group.is_chief:
            errors.check_output_folder(log_folder, '--TMP_LOG_PATH')
            opened.enter_context(lock.only_writer(model_folder))
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


def _begin_together(model: tf.keras.Model, group: Group, batchsize: int) -> None:
    """The chief's weights for all, and a line on how many there are."""
    if group.size > 1:
        group.report(f'{group.size} devices, joined by {group.engine}: {group.size} x {batchsize} = '
                     f'{group.size * batchsize} photographs a step; each has BatchNorm statistics of its own, those of '
                     'rank 0 are saved')
    group.broadcast(model.weights)


def _mend_log(folder: str, start: resume.Start) -> None:
    """Add the row of the last epoch, where the run was killed between its checkpoint and its row."""
    epoch, metrics = start.position.epoch, start.record.get('run', {}).get('metrics', {})
    rows = training_log.read_csv(os.path.join(folder, 'train.csv'))
    if metrics and all(row.get('epoch') != epoch for row in rows):
        os.makedirs(folder, exist_ok=True)
        training_log.EpochLog(folder).write(epoch, {name: math.nan if value is None else value
                                                    for name, value in metrics.items()})


def fit(model: tf.keras.Model, start: resume.Start, *, run: Run, watch: Watch, record: Dict[str, Any],
        train: ava.Ratings, val: ava.Ratings, train_size: int, batchsize: int, epochs: int, seed: int,
        log_folder: str, checkpoint_steps: Optional[int] = None, validate_every: int = 1, keep: Optional[int] = None,
        keep_best: bool = False, scale_lr: bool = False, **reading: Any) -> tf.keras.callbacks.History:
    """Train a new model from `start` to the last of the epochs; returns the History of the epochs that ended.

    `record` is that of record(), which every checkpoint carries; `reading` is for data_loader.generators().
    `scale_lr` is for callbacks.ScaledRate. SystemExit, with the state saved, where `watch` has seen a signal.
    """
    group = run.group
    resume.check(start, record, train.count, report=group.report)
    resume.restore(model, start)
    twin = nima.inference_twin(model)
    run.initialise()
    _require_same_start(group, start, record)
    _begin_together(model, group, batchsize)
    if group.is_chief:
        _mend_log(log_folder, start)
    image_size = record['preprocessing']['image_size']
    train_batches, val_batches, bad = data_loader.generators(
        train, val, batchsize, train_size=train_size, seed=seed, first_epoch=start.position.epoch,
        first_image=start.position.images, preprocessing=record['preprocessing'], session_config=run.host_config,
        shard=group.shard, **reading)

    def ids(epoch: int) -> List[str]:
        plan = data_loader.epoch_plan(train.count, epoch, seed=seed, limit=train_size, image_size=image_size)
        return [train.ids[index] for index in plan.order]

    state = RunState(start.folder, record, position=start.position, batchsize=batchsize, every=checkpoint_steps,
                     images=min(train_size, train.count), ids=ids, watch=watch, restart=start.replaces,
                     group=group)
    watching = callbacks.for_training(
        twin, val_batches, val, state=state, bad=bad, batchsize=batchsize, device=run.device, model_folder=start.folder,
        log_folder=log_folder, record=record, restart=start.replaces, keep=keep, keep_best=keep_best,
        validate_every=validate_every, group=group)
    if scale_lr and group.size > 1:
        watching.append(callbacks.ScaledRate(group.size, state))
    try:
        with contextlib.ExitStack() as opened:
            for each in (train_batches, val_batches, *watching[:group.is_chief]):
                opened.callback(each.close)
            return resume.fit(model, train_batches, state, epochs=epochs, callbacks=watching)
    except SystemExit:  # here the bar is closed
        if group.is_chief:
            print(f'stopped after {state.where}; to go on, type the same flags and --resume', file=sys.stderr)
        group.barrier()  # a launcher ends all others as soon as one is gone: the chief has saved by now
        raise
