"""A training from start to end: metadata, checks, generators, callbacks, log, and loop.run() with them."""
import contextlib
import hashlib
import json
import math
import os
import sys
import uuid
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import tensorflow as tf

from utils import data_loader, nima
from utils.base import files
from utils.base.errors import InputError
from utils.data import splits
from utils.data.epoch_plan import epoch_plan
from utils.device.device import Group, Run
from utils.device.signals import Watch
from utils.model import checkpoint
from utils.model.metadata import unknown, versions
from utils.training import callbacks, log, loop, loss_scaling, resume, uint8_feed
from utils.training.data import Data
from utils.training.events import Events
from utils.training.head import prepare
from utils.training.plan import Head, Saving, Schedule
from utils.training.recipe import Stage
from utils.training.state import Position, TrainingState


def describe(stage: Stage, data: Data, start: resume.Start, run: Run) -> Dict[str, Any]:
    """The metadata of every checkpoint of this run, see model_file.py; a run that is resumed keeps its id."""
    flags, train, val = vars(stage.flags), data.train.ratings, data.val.ratings
    packed = data.train.packed
    about = {**splits.metadata(flags['split'], train, val, data.test), 'train_images': train.count,
             'val_images': val.count, 'photographs': f'packed, {packed.manifest["form"]}' if packed else 'files'}
    before = (start.file.metadata if start.file else None) or {}
    more, run_id = unknown(before), before.get('run', {}).get('id') or uuid.uuid4().hex
    return {**more, 'preprocessing': data.reading.preprocessing.as_json(), 'run': {
        **more['run'], **stage.metadata(start.first_epoch), 'id': run_id, 'flags': _portable(flags),
        'seed': flags['seed'], 'threads': run.threads, 'device': run.device, 'devices': run.group.size, 'data': about,
        'versions': versions(tf.__version__)}}


def _portable(flags: Dict[str, Any]) -> Dict[str, Any]:
    """`flags`, those of an NPU and of labels among them, without the paths of this machine."""
    parts = {name: value._asdict() if hasattr(value, '_asdict') else value for name, value in flags.items()}
    return {name: _portable(value) if isinstance(value, dict) else value for name, value in parts.items()
            if not (isinstance(value, str) and os.path.isabs(value))}


@contextlib.contextmanager
def only_writer(saving: Saving, group: Group) -> Iterator[None]:
    """On rank 0 files.only_writer() of the folder for checkpoints, and a log folder that can be written.

    On all ranks InputError where another rank is lost.
    """
    with contextlib.ExitStack() as opened:
        opened.enter_context(group.watching())
        if group.is_chief:
            files.require_writable(saving.log_folder, '--TMP_LOG_PATH')
            opened.enter_context(files.only_writer(saving.model_folder, '--TMP_MODEL_PATF'))
            if not checkpoint.is_overwritten(saving.model_folder):
                opened.enter_context(_withdrawing(saving.model_folder))
        yield


@contextlib.contextmanager
def _withdrawing(folder: str) -> Iterator[None]:
    """An error before the first save leaves the earlier run as it was; a signal that stops this one does not."""
    try:
        yield
    except Exception:
        checkpoint.withdraw_overwrite(folder)
        raise


def fit(model: tf.keras.Model, start: resume.Start, metadata: Dict[str, Any], data: Data, *, schedule: Schedule,
        saving: Saving, head: Optional[Head], run: Run, watch: Watch) -> loop.History:
    """Train a new model from `start` to the last of the epochs; returns the History of the epochs that ended.

    `metadata` are those of describe(). With `head` the head alone is trained, on cached features, see
    head.py. SystemExit, with the state saved, where `watch` has seen a signal.
    """
    group, train = run.group, data.train.ratings
    resume.check(start, metadata, train.count, report=group.report)
    scalings = []
    if schedule.dynamic_loss_scale:
        scalings.append(loss_scaling.install(model, run, start.file and start.file.run.get('loss_scaling')))
        saving = saving._replace(more=lambda: {'loss_scaling': scalings[0].state()})
    resume.restore(model, start)
    start = start.without_numbers()
    data = data._replace(reading=data.reading._replace(session_config=run.host_config))
    trained, predict_batch = model, nima.predict_batch(schedule.batchsize, run.device)
    inference = None if head else nima.inference_model(model)
    run.initialise()
    _begin_together(model, start, group, metadata, schedule.batchsize)
    start = _begin_overwrite(start, metadata['run']['id'], group)
    if group.is_chief:
        _mend_log(saving.log_folder, start, metadata)
    if head:
        trained, data, predict_batch = prepare(model, head, data, metadata, schedule, run, watch)
        inference = nima.inference_model(trained)
    elif uint8_feed.fits(data.train, data.reading):
        trained, data = uint8_feed.prepare(model, data, scalings, nima.Trained.of(metadata['run']['flags']))
    schedule = schedule._replace(train_size=min(schedule.train_size, train.count))
    state = TrainingState(start.position, metadata, schedule, saving, watch=watch, replaces=start.replaces, group=group,
                          ids=_ids_of_epochs(data, schedule))
    batches, val_batches = _generators(data, schedule, start.position, group)
    validation = callbacks.Validation(
        inference, val_batches, data.val, data.train.bad, batchsize=schedule.batchsize, predict_batch=predict_batch,
        every=schedule.validate_every, group=group, pause=state.pause)
    with _closing(group, state, [batches, val_batches]) as opened:
        around = _around(validation, state, metadata, schedule, saving, run, opened)
        history = loop.run(trained, batches, state, epochs=schedule.epochs, callbacks=[*around, *scalings], full=model)
        group.barrier()  # the next stage of all ranks starts from what rank 0 has saved
    if group.is_chief:
        _report_best(saving, schedule.epochs)
    return history


def _generators(data: Data, schedule: Schedule, position: Position, group: Group) -> Tuple[Any, Any]:
    """The batches of this rank: of training from a position on, and of validation; both without end."""
    train = data_loader.train_generator(
        schedule.batchsize, images=data.train, reading=data.reading, train_size=schedule.train_size,
        seed=schedule.seed, first_epoch=position.epoch, first_image=position.images, shard=group.shard)
    return train, data_loader.val_generator(schedule.batchsize, images=data.val, reading=data.reading,
                                            shard=group.shard)


def _around(validation: callbacks.Validation, state: TrainingState, metadata: Dict[str, Any], schedule: Schedule,
            saving: Saving, run: Run, opened: contextlib.ExitStack) -> List[tf.keras.callbacks.Callback]:
    """The callbacks after the state, in the order of an epoch's end; ranks other than 0 only validate."""
    devices = run.group.size if schedule.scale_lr else 1
    changes = devices > 1 or schedule.rate_schedule != 'constant'
    scaled = [callbacks.Rate(schedule, state, devices)] if changes else []
    rows = log.read_csv(os.path.join(saving.log_folder, log.CSV))
    stopping = [] if schedule.patience is None else [callbacks.EarlyStopping(
        schedule.patience, log.val_srccs(rows, schedule.first_epoch, state.position.epoch), run.group)]
    if not run.group.is_chief:
        return [validation, *stopping, *scaled]
    with files.writing(saving.log_folder, log.CURE):
        os.makedirs(saving.log_folder, exist_ok=True)
    bar = callbacks.ProgressBar(state)
    opened.callback(bar.close)
    return [bar, validation, *stopping, callbacks.SaveEpoch(saving, metadata, state.replace_earlier),
            callbacks.LogEpoch(_epoch_log(saving.log_folder, metadata, Events(saving.log_folder, log.CURE).write)),
            *scaled]


def _begin_overwrite(start: resume.Start, run: str, group: Group) -> resume.Start:
    """Before the first save of a run that replaces another: note that; after it: end what a kill interrupted."""
    if start.replaces and start.path:
        if group.is_chief:
            checkpoint.finish_overwrite(start.path)
        return start._replace(replaces=False)
    if start.replaces and group.is_chief and (start.found or checkpoint.is_overwritten(start.folder)):
        checkpoint.announce_overwrite(start.folder, run)
    return start


def _epoch_log(folder: str, metadata: Dict[str, Any], *append: Callable[[List[log.Row]], Any]) -> log.EpochLog:
    run = metadata['run']
    about = {'device': run['device'], 'devices': run['devices'], 'batchsize': run['flags']['batchsize']}
    return log.EpochLog(folder, run['id'], about, *append)


def _mend_log(folder: str, start: resume.Start, metadata: Dict[str, Any]) -> None:
    """Keep another run's log under another name, and add the last epoch's row where a kill came before it.

    A log without a run id is that of the run which is resumed or replaced.
    """
    other = log.run_id(folder)
    is_replaced = start.replaces and (other is None or checkpoint.of_run(checkpoint.latest(start.folder), other))
    if not is_replaced and (start.file is None or other):
        kept = log.keep_other(folder, metadata['run']['id'])
        if kept:
            print(f'the log of another run is kept as {kept}')
    epoch, figures = start.position.epoch, start.file.run.get('metrics', {}) if start.file else {}
    rows = log.read_csv(os.path.join(folder, log.CSV))
    if figures and all(row.get('epoch') != epoch for row in rows):
        os.makedirs(folder, exist_ok=True)
        _epoch_log(folder, metadata).write(epoch, {name: math.nan if value is None else value
                                                  for name, value in figures.items()})


def _report_best(saving: Saving, epochs: int) -> None:
    rows = log.read_csv(os.path.join(saving.log_folder, log.CSV))
    found = log.best(rows)
    if found:
        epoch = int(found['epoch'])
        path = checkpoint.path_of(saving.model_folder, epoch)
        where = path if os.path.isfile(path) else 'removed by --keep'
        print(f'best epoch: {epoch} of {epochs}, val_srcc {found["val_srcc"]:.4f}, {where}')
    elif rows:
        print('best epoch: none, as val_srcc is undefined in all of them')


def _require_same_start(group: Group, start: resume.Start, metadata: Dict[str, Any]) -> None:
    """Raise InputError, on all ranks alike, where one of them has another position, other data or other flags."""
    run = {name: value for name, value in metadata['run'].items() if name not in ('threads', 'id')}
    digest = hashlib.sha256(json.dumps([metadata['preprocessing'], run], sort_keys=True, default=str).encode())
    starts = group.gather([start.position.epoch, start.position.images, int(digest.hexdigest()[:12], 16)])
    for rank, other in enumerate(starts):
        if (other != starts[0]).any():
            positions = [f'epoch {int(each[0]) + 1}, image {int(each[1])}' for each in (other, starts[0])]
            what = ' and '.join(positions) if positions[0] != positions[1] else (
                'other flags, labels, split or versions')
            raise InputError(f'rank {rank} starts differently from rank 0 ({what}). Use the same flags for all ranks, '
                             'with a dataset and, for --resume, a --TMP_MODEL_PATF that all of them see')


def _begin_together(model: tf.keras.Model, start: resume.Start, group: Group, metadata: Dict[str, Any],
                    batchsize: int) -> None:
    """Check that all ranks begin alike, and give them the weights of rank 0."""
    _require_same_start(group, start, metadata)
    if group.size > 1:
        own = '' if metadata['run']['flags']['freeze_batchnorm'] else (
            '; each has BatchNorm statistics of its own, those of rank 0 are saved')
        group.report(f'{group.size} devices, joined by {group.engine}: {group.size} x {batchsize} = '
                     f'{group.size * batchsize} images a step{own}')
    group.broadcast(model.weights)


def _ids_of_epochs(data: Data, schedule: Schedule) -> Callable[[int], List[str]]:
    """A function from an epoch to the ids of its images, in their order."""
    ids, size = data.train.ratings.ids, data.reading.preprocessing.image_size

    def ids_of(epoch: int) -> List[str]:
        plan = epoch_plan(len(ids), epoch, seed=schedule.seed, limit=schedule.train_size, image_size=size)
        return [ids[index] for index in plan.order]

    return ids_of


@contextlib.contextmanager
def _closing(group: Group, state: TrainingState, generators: List[Any]) -> Iterator[contextlib.ExitStack]:
    """Closes the generators in any case, and reports the position of a run that was stopped."""
    try:
        with contextlib.ExitStack() as stack:
            for each in generators:
                stack.callback(each.close)
            yield stack
    except SystemExit:  # here the bar is closed
        if group.is_chief:
            print(f'stopped after {state.where}; run the same command with --resume to continue', file=sys.stderr)
        group.barrier()  # a launcher ends all others as soon as one is gone: rank 0 has saved by now
        raise
