"""The loop that trains: its callbacks are called as Keras calls them."""
import weakref

import numpy as np
import pytest
import tensorflow as tf

from utils.device import signals
from utils.training import loop
from utils.training.plan import Saving, Schedule
from utils.training.state import Position, TrainingState

STEPS, EPOCHS, LAST = 2, 3, 1  # the epochs are counted from 0; one is asked for, but not trained


@pytest.fixture
def model():
    made = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))])
    made.compile('sgd', 'mse')
    return made


class Noting(tf.keras.callbacks.Callback):
    """Writes down what is called, and ends the training after the epoch LAST, as EarlyStopping does."""

    def __init__(self, events):
        super().__init__()
        self.events = events

    def on_train_begin(self, logs=None):
        self.events.append('begin')

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(f'epoch {epoch}')

    def on_train_batch_begin(self, batch, logs=None):
        self.events.append(f'step {batch}')

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(f'step {batch} ends with a loss of {logs["loss"]:.4f}')

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(f'epoch {epoch} ends with a loss of {logs["loss"]:.4f}')
        self.model.stop_training = epoch == LAST

    def on_train_end(self, logs=None):
        self.events.append('end')


def batches(events, held=lambda last: None):
    last = None
    while True:
        held(last)
        images = np.ones((2, 1), np.float32)
        last = weakref.ref(images)
        events.append('a batch')
        yield images, images[:, 0]
        del images


def state(folder):
    return TrainingState(Position(), {}, Schedule(EPOCHS, 2 * STEPS, 2), Saving(str(folder), str(folder)),
                         ids=lambda epoch: [], watch=signals.Watch())


def test_callbacks_are_called_as_keras_calls_them(model, tmp_path):
    first, events, keras_events = model.get_weights(), [], []
    loop.run(model, batches(events), state(tmp_path), epochs=EPOCHS, callbacks=[Noting(events)])
    model.set_weights(first)
    model.fit_generator(batches(keras_events), STEPS, EPOCHS, callbacks=[Noting(keras_events)], verbose=0, workers=0)
    assert events == keras_events and len(events) == 2 + (LAST + 1) * (2 + 3 * STEPS)


def test_a_batch_is_freed_before_the_next_one_is_made(model, tmp_path):
    held = []
    drawn = batches([], lambda last: held.append(last is not None and last() is not None))
    loop.run(model, drawn, state(tmp_path), epochs=1, callbacks=[])
    assert held == [False] * STEPS
