"""Where a training run stands: counted step by step, saved so that it can go on, checked for numbers that are none."""
import math
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils.base.errors import InputError
from utils.data.epoch_plan import training_positions
from utils.device.device import ALONE, Group
from utils.device.signals import Watch, exit_code
from utils.model import checkpoint

Logs = Optional[Dict[str, Any]]


class Position(NamedTuple):
    """A place in a run, and what the epoch that it stands in came to so far."""

    epoch: int = 0          # counted from 0
    images: int = 0         # photographs of this epoch that were trained on, by all devices
    loss_sum: float = 0.0   # over these photographs
    seconds: float = 0.0    # that they took, without validation

    @property
    def loss(self) -> float:
        """The mean loss so far; NaN before the first step."""
        return self.loss_sum / self.images if self.images else math.nan


class RunState(tf.keras.callbacks.Callback):
    """Counts steps from `position` on, saves the state every `every` steps, stops for signals and for NaN.

    It has to be the first callback: an epoch's loss and images per second in the logs are its own, as an epoch
    that was interrupted is trained in several parts. The state is one file in `folder`, with `record` and the
    position. `ids` gives the photographs of an epoch in its order, `watch` the signal that came, if one came.
    `restart` is whether the first save takes the place of all that an earlier run left. `batchsize` is that of one of
    the devices of `group`; they agree on what their losses and signals were, and its chief alone saves.
    """

    def __init__(self, folder: str, record: Dict[str, Any], *, position: Position, batchsize: int, images: int,
                 ids: Callable[[int], Sequence[str]], watch: Watch, every: Optional[int] = None,
                 restart: bool = False, group: Group = ALONE) -> None:
        super().__init__()
        self._folder, self._record, self._restart = folder, record, restart
        self.position, self._saved = position, position
        self._batchsize, self._images, self._every = batchsize, images, every
        self._ids, self._watch, self._group = ids, watch, group
        self._total = batchsize * group.size  # photographs a step
        self._signal = 0  # that all devices know of

    @property
    def step(self) -> int:
        """The steps of this epoch that are done."""
        return self.position.images // self._total

    @property
    def steps(self) -> int:
        """All steps of an epoch, done or not."""
        return self.step + (self._images - self.position.images) // self._total

    @property
    def epochs_done(self) -> float:
        """The epochs that are done, with the part of this one."""
        return self.position.epoch + self.position.images / self._images

    @property
    def where(self) -> str:
        """The place in words."""
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
        save = self._every is not None and self.step % self._every == 0
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
        """Exchange the losses since the last time, of which the mean counts, and the signals, of which any counts."""
        losses, signals = self._group.gather([self.position.loss_sum, self._watch.signal or 0]).T
        self.position = self.position._replace(loss_sum=float(losses.mean()))
        self._signal = int(signals.max())

    def save(self) -> None:
        """Write the state, in place of the one before; InputError where that cannot be, or where weights are NaN."""
        self._require_finite_weights()
        if not self._group.is_chief:
            self._saved = self.position
            return
        run = {**self._record.get('run', {}), 'position': self.position._asdict()}
        path = checkpoint.state_path(self._folder)
        checkpoint.save(self.model, path, {**self._record, 'run': run})
        self._saved = self.position
        self.take_place(path)

    def take_place(self, path: str) -> None:
        """Let `path`, the first that this run saved, take the place of all that an earlier run left."""
        if self._restart:
            checkpoint.remove_others(path)
            self._restart = False

    def stop_if_asked(self) -> None:
        """Leave with SystemExit, and the state saved, where a signal came, and all devices know of it."""
        if self._group.size == 1:
            self._agree()
        if not self._signal:
            return
        if self.position != self._saved:
            self.save()
        raise SystemExit(exit_code(self._signal))

    def pause(self) -> None:
        """A place that all devices come to alike, where the run stops if one of them has seen a signal."""
        self._agree()
        self.stop_if_asked()

    def _refuse_loss(self, loss: float) -> None:
        ids = self._ids(self.position.epoch)
        places = training_positions(self.position.images, len(ids), self._batchsize, self._group.shard)
        names = ', '.join(ids[place] for place in places[:self._batchsize])
        raise InputError(f'epoch {self.position.epoch + 1}, step {self.step + 1} of {self.steps}: found a loss of '
                         f'{loss}, expected a number: {self._how_to_go_on()}; the photographs of this step were '
                         f'{names}')

    def _require_finite_weights(self) -> None:
        for layer in self.model.layers:
            if not all(np.isfinite(array).all() for array in layer.get_weights()):
                raise InputError(f'{self.where}: found weights of the layer {layer.name!r} that are no numbers, '
                                 f'expected numbers, and saved none of them: {self._how_to_go_on()}')

    def _how_to_go_on(self) -> str:
        return ('go on from what was saved last with --resume and a lower --learning_rate, or start again with '
                '--overwrite')
