"""What happens around training: the bar, the validation scores, the checkpoints, the logs."""
import contextlib
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils import nima, score_utils
from utils.base.progress import bar
from utils.data.bad_images import BadImages, summary
from utils.data.epoch_plan import rank_slice
from utils.data.image_set import ImageSet
from utils.data_loader import Batch
from utils.device.device import ALONE, Group
from utils.model import checkpoint, metadata
from utils.training import log
from utils.training.plan import Saving, Schedule, rate_factor
from utils.training.state import TrainingState

FINE_SRCC = 0.3  # from which on an EMD worse than the constant prediction's is not just the beginning

Logs = Optional[Dict[str, Any]]


class ProgressBar(tf.keras.callbacks.Callback):
    """A progress bar for each epoch with the mean loss so far, both as `state` counts them."""

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self._state = state
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        label = f'epoch {epoch + 1}/{self.params["epochs"]}'
        self._bar = bar(self._state.steps, label, self._state.step)

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._bar.set_postfix_str(f'loss {self._state.position.loss:.4f}', refresh=False)
        self._bar.update()

    def close(self) -> None:
        """End the bar's line, so that what is printed next has a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.close()


class Validation(tf.keras.callbacks.Callback):
    """Scores every validation image once at the end of every `every`-th epoch and of the last one.

    Prints the epoch's figures with the constant-prediction baseline, and adds them to its logs, with the epoch's
    seconds and the seconds left. `batches` is an endless generator of passes over `val`, `model` shares the trained
    model's weights and predicts `predict_batch` images at a time. `train_bad` are the images found unreadable in
    training; the scores are of the validation images that can be read. Each rank of `group` predicts its part; rank 0
    gets all predictions, in the order of the ratings, and alone prints and logs. `pause` is called between batches, at
    the same points on all ranks: there the run may stop.
    """

    def __init__(self, model: tf.keras.Model, batches: Iterator[Batch], val: ImageSet, train_bad: BadImages, *,
                 batchsize: int, predict_batch: Optional[int] = None, every: int = 1, group: Group = ALONE,
                 pause: Callable[[], Any] = lambda: None) -> None:
        super().__init__()
        self._inference, self._batches, self._val = model, batches, val
        self._batchsize, self._predict_batch = batchsize, predict_batch or batchsize
        self._bad, self._every, self._group, self._pause = (train_bad, val.bad), every, group, pause
        self._exchanged = [bad.count for bad in self._bad]  # unreadable images known to all ranks
        self._seconds: List[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = {} if logs is None else logs
        left = self.params['epochs'] - (epoch + 1)
        if (epoch + 1) % self._every == 0 or not left:
            predicted = self._predict()
            if self._group.is_chief:
                logs.update(self._figures(predicted))
        else:
            self._exchange_bad()
        if not self._group.is_chief:
            return
        self._seconds.append(time.monotonic() - self._start)
        counted = self._seconds[1:] or self._seconds  # an NPU compiles the graph in the first
        logs.update(seconds=self._seconds[-1], seconds_left=left * sum(counted) / len(counted))
        print(log.lines(epoch + 1, logs) + summary(self._bad), flush=True)

    def _predict(self) -> np.ndarray:
        """The distributions of all validation images that can be read, float32 [N, 10], in their order."""
        count, unreadable = self._val.ratings.count, self._val.bad.mask
        own = np.arange(count)[rank_slice(count, self._group.shard)]
        most = -(-count // self._group.size)  # images of one rank: some have one less
        found = []
        for number in range(-(-most // self._batchsize)):
            if number % self._group.steps_between_agreements == 0:
                self._pause()
            if number * self._batchsize < len(own):
                found.append(nima.predict(self._inference, next(self._batches)[0], self._predict_batch))
        predicted = np.zeros(self._val.ratings.distributions.shape, np.float32)
        if found:
            predicted[own[~unreadable[own]]] = np.concatenate(found)
        self._exchange_bad()
        return self._group.merge(predicted)[~unreadable]

    def _exchange_bad(self) -> None:
        """Exchange the images found unreadable since the last time; the rank that found one has reported it."""
        for number, bad in enumerate(self._bad):
            for news in self._group.gather_objects(bad.known(self._exchanged[number])):
                for each in news:
                    bad.add(*each, quiet=True)
            self._exchanged[number] = bad.count

    def _figures(self, predicted: np.ndarray) -> Dict[str, float]:
        true = self._val.readable.distributions
        reason = score_utils.undefined_reason(*map(score_utils.mean_score, (true, predicted)))
        if reason:
            print(f'val_srcc and val_lcc are undefined: {reason}')
        elif score_utils.is_collapsed(predicted):
            print('warning: the model predicts the same distribution for every validation image, to the third decimal. '
                  'If the next epoch does not change that, use a lower --learning_rate')
        figures = log.validation_figures(true, predicted)
        if figures['val_emd_r2'] > figures['val_constant_emd_r2'] and figures['val_srcc'] > FINE_SRCC:
            print(f'warning: the images are ranked (val_srcc {figures["val_srcc"]:.4f}), but the predicted '
                  f'distributions are worse than the same one for every image (val_emd_r2 '
                  f'{figures["val_emd_r2"]:.4f}, constant {figures["val_constant_emd_r2"]:.4f}). Use '
                  'a lower --learning_rate')
        return figures


class SaveEpoch(tf.keras.callbacks.Callback):
    """Writes model_001.h5, model_002.h5, ... as `saving` says, each with `metadata`, its epoch, position and metrics.

    Before the first step it refuses a network whose checkpoints could not be loaded. `saved` gets the path of each.
    """

    def __init__(self, saving: Saving, metadata: Dict[str, Any],
                 saved: Callable[[str], Any] = lambda path: None) -> None:
        super().__init__()
        self._saving, self._metadata, self._saved = saving, metadata, saved

    def on_train_begin(self, logs: Logs = None) -> None:
        checkpoint.require_savable(self.model)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        folder = self._saving.model_folder
        path = checkpoint.path_of(folder, epoch + 1)
        run = {**self._metadata.get('run', {}), **self._saving.more(), 'position': {'epoch': epoch + 1, 'images': 0},
               'metrics': metadata.metrics(logs or {})}
        if self.model.stop_training:
            run['stopped_early'] = True
        checkpoint.save(self.model, path, {**self._metadata, 'epoch': epoch + 1, 'run': run})
        self._saved(path)
        if self._saving.keep:
            checkpoint.prune(folder, self._saving.keep, keep_best=self._saving.keep_best)
        with contextlib.suppress(FileNotFoundError):
            os.remove(checkpoint.state_path(folder))  # this checkpoint is further on


class EarlyStopping(tf.keras.callbacks.Callback):
    """Ends the training after `patience` validations in a row without a higher validation SRCC.

    `srccs` are those of the epochs before. Rank 0 of `group`, which alone knows them, decides for all.
    """

    def __init__(self, patience: int, srccs: Sequence[float], group: Group = ALONE) -> None:
        super().__init__()
        self._patience, self._srccs, self._group = patience, list(srccs), group

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if 'val_srcc' in (logs or {}):
            self._srccs.append((logs or {})['val_srcc'])
        waited = log.waited(self._srccs) if self._group.is_chief else 0
        if self._group.gather([waited >= self._patience]).any():
            self.model.stop_training = True
            self._group.report(f'stopped early: no higher val_srcc in {self._patience} validations')


class LogEpoch(tf.keras.callbacks.Callback):
    """Adds each epoch to a log.EpochLog."""

    def __init__(self, epoch_log: log.EpochLog) -> None:
        super().__init__()
        self._log = epoch_log

    def on_train_begin(self, logs: Logs = None) -> None:
        self._log.check()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._log.write(epoch + 1, logs or {})


class Rate(tf.keras.callbacks.Callback):
    """Sets the optimiser's learning rate before each step as `schedule` says; `state` has the position.

    With `devices` the linear rule holds too, arXiv:1706.02677 section 2: the rate is multiplied by their number, to
    which it rises in the stage's first epoch.
    """

    def __init__(self, schedule: Schedule, state: TrainingState, devices: int = 1) -> None:
        super().__init__()
        self._schedule, self._devices, self._state = schedule, devices, state
        self._rate: Optional[float] = None  # the typed one
        self._now: Optional[float] = None

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._rate is None:
            self._rate = self._now = float(tf.keras.backend.get_value(self.model.optimizer.lr))
        first, last = self._schedule.first_epoch, self._schedule.epochs
        done = self._state.epochs_done - first
        rate = self._rate * (1 + (self._devices - 1) * min(1.0, done))
        rate *= rate_factor(self._schedule.rate_schedule, done, last - first)
        if rate != self._now:
            tf.keras.backend.set_value(self.model.optimizer.lr, rate)
            self._now = rate
