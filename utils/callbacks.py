"""What happens around training: the bar, the validation scores, the checkpoints, the logs."""
import os
import time
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
import tensorflow as tf

from utils import ava, checkpoint, nima, score_utils
from utils.data_loader import Batch
from utils.progress import bar

Logs = Optional[Dict[str, Any]]


class ProgressBar(tf.keras.callbacks.Callback):
    """A bar an epoch with the running mean of the loss."""

    def __init__(self, batchsize: int) -> None:
        super().__init__()
        self._batchsize = batchsize

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        label = f'epoch {epoch + 1}/{self.params["epochs"]}'
        self._bar, self._loss, self._steps = bar(self.params['steps'], label), 0.0, 0
        self._start = time.monotonic()

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._loss += float(logs['loss']) if logs else 0.0
        self._steps += 1
        self._bar.set_postfix_str(f'loss {self._loss / self._steps:.4f}', refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._bar.close()
        seconds = time.monotonic() - self._start
        if logs is not None:
            logs['images_per_second'] = self._steps * self._batchsize / seconds


class Validation(tf.keras.callbacks.Callback):
    """Scores every validation photograph once at the end of an epoch, prints the scores and logs them.

    `batches` is an endless generator of passes over `ratings`, `model` shares the trained model's weights.
    """

    def __init__(self, model: tf.keras.Model, batches: Iterator[Batch], ratings: ava.Ratings,
                 batchsize: int) -> None:
        super().__init__()
        self._twin, self._batches, self._scores, self._batchsize = model, batches, ratings.scores, batchsize

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        steps = -(-len(self._scores) // self._batchsize)
        predicted = np.concatenate([nima.predict(self._twin, next(self._batches)[0], self._batchsize)
                                    for _ in range(steps)])
        metrics = score_utils.metrics(self._scores, predicted)
        if logs is not None:
            logs.update(val_loss=metrics['emd_r2'], val_srcc=metrics['srcc_mean'], val_lcc=metrics['lcc_mean'],
                        val_accuracy=metrics['accuracy_gt5'], val_emd_r1=metrics['emd_r1'])
            print(f'epoch {epoch + 1}: loss {logs["loss"]:.4f}  val_loss {logs["val_loss"]:.4f}  '
                  f'val_srcc {logs["val_srcc"]:.4f}  {logs["images_per_second"]:.1f} images/s', flush=True)


class SaveEpoch(tf.keras.callbacks.Callback):
    """Writes model_001.h5, model_002.h5, ... into a folder."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        checkpoint.save(self.model, checkpoint.path_of(self._folder, epoch + 1))


def logs(folder: str) -> List[tf.keras.callbacks.Callback]:
    """TensorBoard's events and train.csv in `folder`, one entry an epoch."""
    os.makedirs(folder, exist_ok=True)
    return [tf.keras.callbacks.CSVLogger(os.path.join(folder, 'train.csv')),
            # Profiling starts a tracer on step 2, and updates for each batch cost a host sync each step.
            tf.keras.callbacks.TensorBoard(folder, histogram_freq=0, write_graph=False, profile_batch=0,
                                           update_freq='epoch')]
