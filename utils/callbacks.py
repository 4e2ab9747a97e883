"""What happens around training: the bar, the validation scores, the checkpoints, the logs."""
import contextlib
import json
import math
import os
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils import ava, checkpoint, nima, score_utils
from utils.bad_images import BadImages, summary
from utils.data_loader import Batch
from utils.errors import InputError
from utils.progress import bar

Logs = Optional[Dict[str, Any]]


class ProgressBar(tf.keras.callbacks.Callback):
    """A bar an epoch with the running mean of the loss."""

    def __init__(self, batchsize: int) -> None:
        super().__init__()
        self._batchsize = batchsize
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        label = f'epoch {epoch + 1}/{self.params["epochs"]}'
        self._bar, self._loss, self._steps = bar(self.params['steps'], label), 0.0, 0
        self._start = time.monotonic()

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._loss += float(logs['loss']) if logs else 0.0
        self._steps += 1
        self._bar.set_postfix_str(f'loss {self._loss / self._steps:.4f}', refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it stands, so that what is printed next has a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.close()
        seconds = time.monotonic() - self._start
        if logs is not None:
            logs['images_per_second'] = self._steps * self._batchsize / seconds


class Validation(tf.keras.callbacks.Callback):
    """Scores every validation photograph once at the end of an epoch, prints the scores and logs them.

    `batches` is an endless generator of passes over `ratings`, `model` shares the trained model's weights. `bad` are
    those found in training and validation; the scores are of the validation photographs that could be read.
    """

    def __init__(self, model: tf.keras.Model, batches: Iterator[Batch], ratings: ava.Ratings, *,
                 bad: Sequence[BadImages], batchsize: int) -> None:
        super().__init__()
        self._twin, self._batches, self._scores, self._batchsize = model, batches, ratings.scores, batchsize
        self._bad = bad

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        steps = -(-len(self._scores) // self._batchsize)
        predicted = np.concatenate([nima.predict(self._twin, next(self._batches)[0], self._batchsize)
                                    for _ in range(steps)])
        metrics = score_utils.metrics(self._scores[~self._bad[-1].mask], predicted)
        if logs is not None:
            logs.update(val_loss=metrics['emd_r2'], val_srcc=metrics['srcc_mean'], val_lcc=metrics['lcc_mean'],
                        val_accuracy=metrics['accuracy_gt5'], val_emd_r1=metrics['emd_r1'])
            print(f'epoch {epoch + 1}: loss {logs["loss"]:.4f}  val_loss {logs["val_loss"]:.4f}  '
                  f'val_srcc {logs["val_srcc"]:.4f}  {logs["images_per_second"]:.1f} images/s'
                  f'{summary(self._bad)}', flush=True)


class SaveEpoch(tf.keras.callbacks.Callback):
    """Writes model_001.h5, model_002.h5, ... into a folder, each with `record` and its epoch.

    With `restart` the first of them takes the place of all that an earlier run left.
    """

    def __init__(self, folder: str, record: Dict[str, Any], *, restart: bool = False) -> None:
        super().__init__()
        self._folder, self._record, self._restart = folder, record, restart

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        path = checkpoint.path_of(self._folder, epoch + 1)
        checkpoint.save(self.model, path, {**self._record, 'epoch': epoch + 1})
        if self._restart:
            checkpoint.remove_others(path)
            self._restart = False


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn what a full disk or an unwritable file raises into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f'{path}: found that it cannot be written ({error.strerror}), expected a place for the log: '
                         'free some room, or type another --TMP_LOG_PATH; the checkpoints so far are whole') from error


class CsvLog(tf.keras.callbacks.CSVLogger):
    """Keras's CSV log, one line an epoch; InputError where it cannot be written."""

    def on_train_begin(self, logs: Logs = None) -> None:
        with _writing(self.filename):
            super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        with _writing(self.filename):
            super().on_epoch_end(epoch, logs)


class Summary(tf.keras.callbacks.Callback):
    """Writes FOLDER/summary.json after every epoch: the figures of the run so far, for scripts.

    The first epoch, in which an NPU compiles the graph, does not count in the speed, which is null until there is
    a second; so is a score that is undefined.
    """

    def __init__(self, folder: str, *, device: str, batchsize: int) -> None:
        super().__init__()
        self._path, self._device, self._batchsize = os.path.join(folder, 'summary.json'), device, batchsize
        self._losses: List[float] = []
        self._speeds: List[float] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        self._losses.append(float(logs['loss']))
        self._speeds.append(logs['images_per_second'])
        counted = self._speeds[1:]
        speed = len(counted) / sum(1 / each for each in counted) if counted else math.nan  # all images by all seconds
        figures = {'device': self._device, 'batchsize': self._batchsize, 'epoch': epoch + 1,
                   'images_per_second': speed, 'seconds_per_step': self._batchsize / speed,
                   'loss': self._losses[-1], 'val_loss': logs['val_loss'], 'val_srcc': logs['val_srcc'],
                   'training_seconds': time.monotonic() - self._start}
        for name, value in figures.items():
            if isinstance(value, float) and not math.isfinite(value):
                figures[name] = None  # JSON knows no NaN
        with _writing(self._path), open(self._path, 'w') as stream:
            json.dump({**figures, 'losses': self._losses}, stream, indent=1)


def for_training(twin: tf.keras.Model, val_batches: Iterator[Batch], val: ava.Ratings, *, bad: Sequence[BadImages],
                 batchsize: int, device: str, model_folder: str, log_folder: str, record: Dict[str, Any],
                 restart: bool) -> List[tf.keras.callbacks.Callback]:
    """All of them in the order in which an epoch's end needs them; the first is the bar, to be closed at last.

    TensorBoard's events, train.csv and summary.json come into `log_folder`, one entry an epoch.
    """
    os.makedirs(log_folder, exist_ok=True)
    return [ProgressBar(batchsize), Validation(twin, val_batches, val, bad=bad, batchsize=batchsize),
            SaveEpoch(model_folder, record, restart=restart),
            CsvLog(os.path.join(log_folder, 'train.csv')),
            # Profiling starts a tracer on step 2, and updates for each batch cost a host sync each step.
            tf.keras.callbacks.TensorBoard(log_folder, histogram_freq=0, write_graph=False, profile_batch=0,
                                           update_freq='epoch'),
            Summary(log_folder, device=device, batchsize=batchsize)]
