"""What happens around training: the bar, the validation scores, the checkpoints, the logs."""
import contextlib
import json
import math
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils import nima, score_utils
from utils.base.progress import bar
from utils.base.text import finite
from utils.data import ava
from utils.data.bad_images import BadImages, summary
from utils.data.epoch_plan import part
from utils.data_loader import Batch
from utils.device.device import ALONE, Group
from utils.model import checkpoint, metadata
from utils.training import log
from utils.training.run_state import RunState

Logs = Optional[Dict[str, Any]]


class ProgressBar(tf.keras.callbacks.Callback):
    """A bar an epoch with the running mean of the loss, as `state` counts them."""

    def __init__(self, state: RunState) -> None:
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
        """Leave the bar as it stands, so that what is printed next has a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.close()


class Validation(tf.keras.callbacks.Callback):
    """Scores every validation photograph once at the end of every `every`-th epoch and of the last one.

    Prints the epoch's figures, those of the constant predictor beside them, and adds them to its logs, with the
    epoch's seconds and the seconds left. `batches` is an endless generator of passes over `ratings`, `model` shares
    the trained model's weights and predicts `forward` photographs at a time. `bad` are those found in training and
    validation; the scores are of the validation photographs that could be read. Each device of `group` predicts its
    part; the chief has all predictions, in the order of `ratings`, and alone prints and logs. `pause` is called
    between batches, at the same places in all of them: there the run may stop.
    """

    def __init__(self, model: tf.keras.Model, batches: Iterator[Batch], ratings: ava.Ratings, *,
                 bad: Sequence[BadImages], batchsize: int, every: int = 1, forward: Optional[int] = None,
                 group: Group = ALONE, pause: Callable[[], Any] = lambda: None) -> None:
        super().__init__()
        self._pause = pause
        self._forward = forward or batchsize
        self._twin, self._batches, self._scores, self._batchsize = model, batches, ratings.distributions, batchsize
        self._bad, self._every, self._group = bad, every, group
        self._told = [bad_part.count for bad_part in bad]  # the bad photographs that all devices know of
        self._seconds: List[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = {} if logs is None else logs
        left = self.params['epochs'] - (epoch + 1)
        if (epoch + 1) % self._every == 0 or not left:
            predicted = self._predict()
            if self._group.is_chief:
                logs.update(self._judge(predicted))
        else:
            self._exchange_bad()
        if not self._group.is_chief:
            return
        self._seconds.append(time.monotonic() - self._start)
        counted = self._seconds[1:] or self._seconds  # an NPU compiles the graph in the first
        logs.update(seconds=self._seconds[-1], seconds_left=left * sum(counted) / len(counted))
        print(log.lines(epoch + 1, logs) + summary(self._bad), flush=True)

    def _predict(self) -> np.ndarray:
        """The shares of all validation photographs that can be read, float32 [N, 10], in their order."""
        own = np.arange(len(self._scores))[part(len(self._scores), self._group.shard)]
        most = -(-len(self._scores) // self._group.size)  # photographs of one device: some have one less
        found = []
        for number in range(-(-most // self._batchsize)):
            if number % self._group.steps_between_agreements == 0:
                self._pause()
            if number * self._batchsize < len(own):
                found.append(nima.predict(self._twin, next(self._batches)[0], self._forward))
        shares = np.zeros(self._scores.shape, np.float32)
        if found:
            shares[own[~self._bad[-1].mask[own]]] = np.concatenate(found)
        self._exchange_bad()
        return self._group.merge(shares)[~self._bad[-1].mask]

    def _exchange_bad(self) -> None:
        """Tell the other devices of the bad photographs that were found since the last time; they named them."""
        for number, bad in enumerate(self._bad):
            for news in self._group.gather_objects(bad.known(self._told[number])):
                for each in news:
                    bad.add(*each, quiet=True)
            self._told[number] = bad.count

    def _judge(self, predicted: np.ndarray) -> Dict[str, float]:
        scores = self._scores[~self._bad[-1].mask]
        reason = score_utils.undefined_reason(*map(score_utils.mean_score, (scores, predicted)))
        if reason:
            print(f'val_srcc and val_lcc are undefined: {reason}')
        elif score_utils.is_collapsed(predicted):
            print('warning: the model predicts the same for every validation photograph, to the third decimal of each '
                  'share: if the next epoch does not change that, type a lower --learning_rate')
        return log.validation_figures(scores, predicted)


class SaveEpoch(tf.keras.callbacks.Callback):
    """Writes model_001.h5, model_002.h5, ... into a folder, each with `record`, its epoch, place and metrics.

    Before the first step it refuses a network that could not be loaded again. `saved`, where given, gets the
    path of each. With `keep` only that many of the newest stay, and with `keep_best` the best on validation SRCC
    beside them.
    """

    def __init__(self, folder: str, record: Dict[str, Any], *, saved: Optional[Callable[[str], Any]] = None,
                 keep: Optional[int] = None, keep_best: bool = False) -> None:
        super().__init__()
        self._folder, self._record, self._saved = folder, record, saved
        self._keep, self._keep_best = keep, keep_best

    def on_train_begin(self, logs: Logs = None) -> None:
        checkpoint.require_savable(self.model)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        path = checkpoint.path_of(self._folder, epoch + 1)
        run = {**self._record.get('run', {}), 'position': {'epoch': epoch + 1, 'images': 0},
               'metrics': metadata.metrics(logs or {})}
        checkpoint.save(self.model, path, {**self._record, 'epoch': epoch + 1, 'run': run})
        if self._saved:
            self._saved(path)
        if self._keep:
            checkpoint.prune(self._folder, self._keep, keep_best=self._keep_best)
        with contextlib.suppress(FileNotFoundError):
            os.remove(checkpoint.state_path(self._folder))  # this checkpoint is further on


class EpochLog(tf.keras.callbacks.Callback):
    """Writes FOLDER/train.csv and FOLDER/train.jsonl, a row an epoch; InputError where they cannot be written."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._log = log.EpochLog(folder)

    def on_train_begin(self, logs: Logs = None) -> None:
        self._log.check()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._log.write(epoch + 1, logs or {})


class Summary(tf.keras.callbacks.Callback):
    """Writes FOLDER/summary.json after every epoch: the figures of the run so far, for scripts.

    The first epoch, in which an NPU compiles the graph, does not count in the speed, which is null until there is
    a second; so is a score that is undefined. The validation's figures are those of the last epoch that had one.
    A run that goes on has the figures of its first `epochs` epochs from train.csv.
    """

    def __init__(self, folder: str, *, device: str, batchsize: int, epochs: int = 0, devices: int = 1) -> None:
        super().__init__()
        self._path, self._device, self._batchsize = os.path.join(folder, 'summary.json'), device, batchsize
        self._devices = devices
        before = [row for row in log.read_csv(os.path.join(folder, 'train.csv'))
                  if row.get('epoch', math.inf) <= epochs]
        self._losses = [row.get('loss', math.nan) for row in before]
        self._speeds = [row['images_per_second'] for row in before[1:] if row.get('images_per_second')]
        self._compiles = True  # in the next epoch
        self._validated: Dict[str, Any] = {'val_loss': None, 'val_srcc': None}
        for row in before:
            self._validated.update((name, row[name]) for name in self._validated if name in row)
        self._start = time.monotonic() - sum(row.get('seconds', 0) for row in before)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        self._losses.append(float(logs['loss']))
        if not self._compiles:
            self._speeds.append(logs['images_per_second'])
        self._compiles = False
        seconds = sum(1 / each for each in self._speeds)
        speed = len(self._speeds) / seconds if seconds else math.nan  # all images by all seconds
        self._validated.update((name, logs[name]) for name in self._validated if name in logs)
        figures = {'device': self._device, 'devices': self._devices, 'batchsize': self._batchsize, 'epoch': epoch + 1,
                   'images_per_second': speed, 'seconds_per_step': self._batchsize * self._devices / speed,
                   'loss': self._losses[-1], **self._validated,
                   'training_seconds': time.monotonic() - self._start, 'losses': self._losses}
        with log.writing(self._path), open(self._path, 'w') as stream:
            json.dump(finite(figures), stream, indent=1, allow_nan=False)


class ScaledRate(tf.keras.callbacks.Callback):
    """The linear rule, arXiv:1706.02677 section 2: the optimiser's learning rate times the number of devices.

    In the first epoch it rises to that step by step. `state` says where the run stands.
    """

    def __init__(self, devices: int, state: RunState) -> None:
        super().__init__()
        self._devices, self._state = devices, state
        self._rate: Optional[float] = None  # the typed one
        self._now: Optional[float] = None

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._rate is None:
            self._rate = self._now = float(tf.keras.backend.get_value(self.model.optimizer.lr))
        rate = self._rate * (1 + (self._devices - 1) * min(1.0, self._state.epochs_done))
        if rate != self._now:
            tf.keras.backend.set_value(self.model.optimizer.lr, rate)
            self._now = rate


def for_training(twin: tf.keras.Model, val_batches: Iterator[Batch], val: ava.Ratings, *, state: RunState,
                 bad: Sequence[BadImages], batchsize: int, device: str, model_folder: str, log_folder: str,
                 record: Dict[str, Any], keep: Optional[int] = None, keep_best: bool = False, validate_every: int = 1,
                 forward: Optional[int] = None, group: Group = ALONE) -> List[tf.keras.callbacks.Callback]:
    """All that follow `state`, as an epoch's end needs them; the chief's first is the bar, to be closed at last.

    TensorBoard's events, train.csv, train.jsonl and summary.json come into `log_folder`, one entry an epoch. All but
    the chief of `group` take part in the validation and do nothing else.
    """
    validation = Validation(twin, val_batches, val, bad=bad, batchsize=batchsize, every=validate_every,
                            forward=forward, group=group, pause=state.pause)
    if not group.is_chief:
        return [validation]
    os.makedirs(log_folder, exist_ok=True)
    return [ProgressBar(state), validation,
            SaveEpoch(model_folder, record, saved=state.take_place, keep=keep, keep_best=keep_best),
            EpochLog(log_folder),
            # Profiling starts a tracer on step 2, and updates for each batch cost a host sync each step.
            tf.keras.callbacks.TensorBoard(log_folder, histogram_freq=0, write_graph=False, profile_batch=0,
                                           update_freq='epoch'),
            Summary(log_folder, device=device, batchsize=batchsize, epochs=state.position.epoch, devices=group.size)]
