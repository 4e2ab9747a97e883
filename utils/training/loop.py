"""The training loop: epochs of steps, with callbacks called as Keras's own fit calls them."""
from typing import Any, Iterator, List, Optional

import tensorflow as tf

from utils.data_loader import Batch
from utils.training.state import TrainingState


class History(tf.keras.callbacks.History):
    """Keras's History, which is empty and not missing before the first epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.on_train_begin()


def run(model: tf.keras.Model, batches: Iterator[Batch], state: TrainingState, *, epochs: int,
        callbacks: List[tf.keras.callbacks.Callback], full: Optional[tf.keras.Model] = None) -> History:
    """Train from the state's position to the end of the last epoch; returns the History of the epochs that ended.

    `full` is the model that the callbacks get where `model` is only its head. They may end the training after an epoch
    with `stop_training`. Keras's fit cannot begin within an epoch, and spends a millisecond more between two steps.
    """
    history = History()
    everyone: List[tf.keras.callbacks.Callback] = [state, *callbacks, history]
    full = full or model
    full.stop_training = False
    for each in everyone:
        each.set_params({'epochs': epochs})
        each.set_model(full)
    _call(everyone, 'on_train_begin')
    for epoch in range(state.position.epoch, epochs):
        _call(everyone, 'on_epoch_begin', epoch)
        for step in range(state.step, state.steps):
            batch = next(batches)
            _call(everyone, 'on_train_batch_begin', step)
            loss = model.train_on_batch(*batch)
            del batch  # frees its memory before the next one is made
            _call(everyone, 'on_train_batch_end', step, {'loss': loss})
        _call(everyone, 'on_epoch_end', epoch, {})
        if full.stop_training:
            break
    _call(everyone, 'on_train_end')
    return history


def _call(callbacks: List[tf.keras.callbacks.Callback], event: str, *arguments: Any) -> None:
    for each in callbacks:
        getattr(each, event)(*arguments)
