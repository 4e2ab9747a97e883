"""The training of a compiled model: its batches, what happens around them, the epochs from where the run stands."""
import contextlib
import os
import sys
from typing import Any, Dict, List, Optional

import tensorflow as tf

from utils import ava, callbacks, data_loader, nima, origin, resume, splits
from utils.device import Run
from utils.interruption import Watch
from utils.run_state import RunState


def record(flags: Dict[str, Any], preprocessing: Dict[str, Any], *, run: Run, train: ava.Ratings,
           val: ava.Ratings) -> Dict[str, Any]:
    """What every checkpoint of this run says of itself, see model_file.py; of `flags`, no path of this machine."""
    told = {name: value for name, value in flags.items() if not (isinstance(value, str) and os.path.isabs(value))}
    data = {'labels_hash': splits.data_hash(train), 'split_hash': splits.split_hash(val),
            'train_images': train.count, 'val_images': val.count}
    return {'preprocessing': preprocessing, 'run': {
        'flags': told, 'seed': flags['seed'], 'threads': run.threads, 'device': run.device, 'data': data,
        'versions': origin.versions(tf.__version__)}}


def fit(model: tf.keras.Model, start: resume.Start, *, run: Run, watch: Watch, record: Dict[str, Any],
        train: ava.Ratings, val: ava.Ratings, train_size: int, batchsize: int, epochs: int, seed: int,
        log_folder: str, checkpoint_steps: Optional[int] = None, validate_every: int = 1, keep: Optional[int] = None,
        keep_best: bool = False) -> tf.keras.callbacks.History:
    """Train from `start` to the last of the epochs; returns the History of the epochs that ended.

    `record` is that of record(), which every checkpoint carries. SystemExit, with the state saved, where `watch` has
    seen a signal.
    """
    twin = nima.inference_twin(model)
    run.initialise()
    image_size = record['preprocessing']['image_size']
    reading = {'image_size': image_size, 'resize': record['preprocessing']['resize'], 'session_config': run.host_config}
    train_batches = data_loader.train_generator(batchsize, ratings=train, train_size=train_size, seed=seed,
                                                first_epoch=start.position.epoch, first_image=start.position.images,
                                                **reading)
    val_batches = data_loader.val_generator(batchsize, ratings=val, **reading)

    def ids(epoch: int) -> List[str]:
        plan = data_loader.epoch_plan(train.count, epoch, seed=seed, limit=train_size, image_size=image_size)
        return [train.ids[index] for index in plan.order]

    state = RunState(start.folder, record, position=start.position, batchsize=batchsize, every=checkpoint_steps,
                     images=min(train_size, train.count), ids=ids, watch=watch, restart=start.replaces)
    watching = callbacks.for_training(
        twin, val_batches, val, state=state, batchsize=batchsize, device=run.device, model_folder=start.folder,
        log_folder=log_folder, record=record, restart=start.replaces, keep=keep, keep_best=keep_best,
        validate_every=validate_every)
    try:
        with contextlib.ExitStack() as opened:
            for each in (train_batches, val_batches, watching[0]):
                opened.callback(each.close)
            return resume.fit(model, train_batches, state, epochs=epochs, callbacks=watching)
    except SystemExit:  # here the bar is closed
        print(f'stopped after {state.where}; to go on, type the same flags and --resume', file=sys.stderr)
        raise
