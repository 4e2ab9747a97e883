"""The training of a compiled model: its batches, what happens around them, the epochs from where the run stands."""
import contextlib
import math
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

import tensorflow as tf

from utils import ava, callbacks, data_loader, features, nima, origin, resume, splits, training_log
from utils.device import Run
from utils.interruption import Watch
from utils.run_state import RunState


def record(flags: Dict[str, Any], preprocessing: Dict[str, Any], *, run: Run, train: ava.Ratings,
           val: ava.Ratings) -> Dict[str, Any]:
    """What every checkpoint of this run says of itself, see model_file.py; of `flags`, no path of this machine."""
    told = {name: value for name, value in flags.items() if not (isinstance(value, str) and os.path.isabs(value))}
    data = {**splits.record(flags['split'], train, val), 'train_images': train.count, 'val_images': val.count}
    return {'preprocessing': preprocessing, 'run': {
        'flags': told, 'seed': flags['seed'], 'threads': run.threads, 'device': run.device, 'data': data,
        'versions': origin.versions(tf.__version__)}}


def _mend_log(folder: str, start: resume.Start) -> None:
    """Add the row of the last epoch, where the run was killed between its checkpoint and its row."""
    epoch, metrics = start.position.epoch, start.record.get('run', {}).get('metrics', {})
    rows = training_log.read_csv(os.path.join(folder, 'train.csv'))
    if metrics and all(row.get('epoch') != epoch for row in rows):
        os.makedirs(folder, exist_ok=True)
        training_log.EpochLog(folder).write(epoch, {name: math.nan if value is None else value
                                                    for name, value in metrics.items()})


def _on_features(model: tf.keras.Model, start: resume.Start, train: ava.Ratings, val: ava.Ratings, *, run: Run,
                 watch: Watch, record: Dict[str, Any], batchsize: int, seed: int, folder: str, crops: Optional[int],
                 packed: Tuple[Any, Any], max_bad_images: float, **decoding: Any) -> Tuple[tf.keras.Model, Any]:
    """The head of `model`, to be trained, and the features of the training and of the validation photographs."""
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
        log_folder: str, trainable: str, features_folder: str, crops: Optional[int] = None,
        checkpoint_steps: Optional[int] = None, validate_every: int = 1, keep: Optional[int] = None,
        keep_best: bool = False, **reading: Any) -> tf.keras.callbacks.History:
    """Train from `start` to the last of the epochs; returns the History of the epochs that ended.

    `record` is that of record(), which every checkpoint carries; `reading` is for data_loader.generators().
    Where the head alone is `trainable`, it is trained on features of so many random `crops`, see features.py.
    SystemExit, with the state saved, where `watch` has seen a signal.
    """
    trained, twin, forward = model, None if trainable == 'head' else nima.inference_twin(model), batchsize
    run.initialise()
    _mend_log(log_folder, start)
    if trainable == 'head':
        trained, reading['packed'] = _on_features(model, start, train, val, run=run, watch=watch, record=record,
                                                  batchsize=batchsize, seed=seed, folder=features_folder,
                                                  crops=crops, **reading)
        twin = nima.inference_twin(trained)
    else:
        forward = nima.forward_batch(batchsize, run.device)
    image_size = record['preprocessing']['image_size']
    train_batches, val_batches, bad = data_loader.generators(
        train, val, batchsize, train_size=train_size, seed=seed, first_epoch=start.position.epoch,
        first_image=start.position.images, preprocessing=record['preprocessing'], session_config=run.host_config,
        **reading)

    def ids(epoch: int) -> List[str]:
        plan = data_loader.epoch_plan(train.count, epoch, seed=seed, limit=train_size, image_size=image_size)
        return [train.ids[index] for index in plan.order]

    state = RunState(start.folder, record, position=start.position, batchsize=batchsize, every=checkpoint_steps,
                     images=min(train_size, train.count), ids=ids, watch=watch, restart=start.replaces)
    watching = callbacks.for_training(
        twin, val_batches, val, state=state, bad=bad, batchsize=batchsize, device=run.device, model_folder=start.folder,
        log_folder=log_folder, record=record, restart=start.replaces, keep=keep, keep_best=keep_best,
        validate_every=validate_every, forward=forward)
    try:
        with contextlib.ExitStack() as opened:
            for each in (train_batches, val_batches, watching[0]):
                opened.callback(each.close)
            return resume.fit(trained, train_batches, state, epochs=epochs, callbacks=watching)
    except SystemExit:  # here the bar is closed
        print(f'stopped after {state.where}; to go on, type the same flags and --resume', file=sys.stderr)
        raise
