"""The training state: the position of a run, counted step by step, saved so that it can resume, checked for NaN."""
import math
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils.base.errors import InputError
from utils.data.epoch_plan import training_positions
from utils.device.device import ALONE, Group
from utils.device.signals import Watch, exit_code
from utils.model import checkpoint, keras_file
from utils.training.plan import Saving, Schedule

Logs = Optional[Dict[str, Any]]
RESUME = 'Resume from the last save with --resume and a lower --learning_rate, or start again with --overwrite'


class Position(NamedTuple):
    """A position in a run, with the loss and the time of its epoch so far."""

    epoch: int = 0          # counted from 0
    images: int = 0         # images of this epoch that were trained on, by all devices
    loss_sum: float = 0.0   # over these images
    seconds: float = 0.0    # that they took, without validation

    @property
    def loss(self) -> float:
        """The mean loss so far; NaN before the first step."""
        return self.loss_sum / self.images if self.images else math.nan


class TrainingState(tf.keras.callbacks.Callback):
    """Counts steps from `position` on, saves the training state, stops for signals and for NaN.

    It has to be the first callback: it puts an epoch's loss and images per second into the logs, as an epoch that was
    interrupted is trained in several parts. The training state is one file in the model folder, with `metadata` and
    the position. `ids` returns the image ids of an epoch in its order, `watch` holds the signal that came, if any.
    `replaces` is whether the first save removes the checkpoints of an earlier run. The ranks of `group` exchange
    their losses and signals, and rank 0 alone saves.
    """

    def __init__(self, position: Position, metadata: Dict[str, Any], schedule: Schedule, saving: Saving, *,
                 ids: Callable[[int], Sequence[str]], watch: Watch, replaces: bool = False,
                 group: Group = ALONE) -> None:
        super().__init__()
        self._metadata, self._replaces = metadata, replaces
        self.position, self._saved = position, position
        self._schedule, self._saving = schedule, saving
        self._ids, self._watch, self._group = ids, watch, group
        self._total = schedule.batchsize * group.size  # images a step
        self._signal = 0  # known to all ranks

    @property
    def step(self) -> int:
        """The steps of this epoch that are done."""
        return self.position.images // self._total

    @property
    def steps(self) -> int:
        """All steps of an epoch, done or not."""
        return self.step + (self._schedule.train_size - self.position.images) // self._total

    @property
    def epochs_done(self) -> float:
        """The epochs that are done, with the part of this one."""
        return self.position.epoch + self.position.images / self._schedule.train_size

    @property
    def where(self) -> str:
        """The position in words."""
        return f'epoch {self.position.epoch + 1}, step {self.step} of {self.steps}'

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if epoch != self.position.epoch:
            self.position = self._saved = Position(epoch)  # SaveEpoch has written all that came before
        self._start = time.monotonic() - self.position.seconds
        self.pause()

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = float((logs or {})['loss'])
        if not math.isfinite(loss):
            self._refuse_loss(loss)
        done = self.position
        self.position = Position(done.epoch, done.images + self._total, done.loss_sum + loss * self._total,
                                 time.monotonic() - self._start)
        save = self._saving.checkpoint_steps is not None and self.step % self._saving.checkpoint_steps == 0
        if save or self.step % self._group.steps_between_agreements == 0:
            self._agree()
        if save:
            self.save()
        self.stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._agree()
        self._require_finite_weights()  # before anything is written
        if logs is not None:
            logs.update(loss=self.position.loss, images_per_second=self.position.images / self.position.seconds)

    def _agree(self) -> None:
        """Exchange the losses, whose mean counts, and the signals, any of which counts."""
        losses, signals = self._group.gather([self.position.loss_sum, self._watch.signal or 0]).T
        self.position = self.position._replace(loss_sum=float(losses.mean()))
        self._signal = int(signals.max())

    def save(self) -> None:
        """Replace the training state; InputError where that fails, or where weights are NaN."""
        self._require_finite_weights()
        if not self._group.is_chief:
            self._saved = self.position
            return
        run = {**self._metadata.get('run', {}), **self._saving.more(), 'position': self.position._asdict()}
        path = checkpoint.state_path(self._saving.model_folder)
        checkpoint.save(self.model, path, {**self._metadata, 'run': run})
        self._saved = self.position
        self.replace_earlier(path)

    def replace_earlier(self, path: str) -> None:
        """Remove the checkpoints of an earlier run, once this run has saved its first file, `path`."""
        if self._replaces:
            checkpoint.finish_overwrite(path)
            self._replaces = False

    def stop_if_asked(self) -> None:
        """Save the state and raise SystemExit where a signal came that all ranks know of."""
        if self._group.size == 1:
            self._agree()
        if not self._signal:
            return
        if self.position != self._saved:
            self.save()
        raise SystemExit(exit_code(self._signal))

    def pause(self) -> None:
        """Stop here if a signal came to any rank; all ranks call it at the same point."""
        self._agree()
        self.stop_if_asked()

    def _refuse_loss(self, loss: float) -> None:
        ids = self._ids(self.position.epoch)
        batchsize = self._schedule.batchsize
        positions = training_positions(self.position.images, len(ids), batchsize, self._group.shard)
        names = ', '.join(ids[position] for position in positions[:batchsize])
        raise InputError(f'epoch {self.position.epoch + 1}, step {self.step + 1} of {self.steps}: the loss is {loss}. '
                         f'{RESUME}. The images of this step were {names}')

    def _require_finite_weights(self) -> None:
        for layer, arrays in keras_file.read(self.model).weights.items():
            if not all(np.isfinite(array).all() for array in arrays):
                raise InputError(f'{self.where}: weights of the layer {layer!r} are NaN or infinite, and were not '
                                 f'saved. {RESUME}')
