"""A run that was stopped goes on as if nothing had happened; what is another run is refused."""
import importlib
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

import train
from utils import checkpoint, model_file, run_state

TINY = ['--image_size', '32', '--batchsize', '2', '--val_size', '4', '--weights', 'none', '--device', 'cpu',
        '--dropout', '0', '--threads', '1', '--learning_rate', '0.01', '--decay', '0.1', '--epochs', '3']


def small_network(shape, **_):
    """A network that is built in no time, with moving averages."""
    image = tf.keras.Input(shape, name='input_1')
    features = tf.keras.layers.Conv2D(8, 3, strides=4, use_bias=False, name='conv1')(image)
    features = tf.keras.layers.ReLU(name='relu')(tf.keras.layers.BatchNormalization(name='norm')(features))
    return tf.keras.Model(image, tf.keras.layers.GlobalAveragePooling2D(name='pool')(features))


@pytest.fixture(autouse=True, scope='module')
def small():
    # Not tf.keras.applications, which is another module object than the one that train.py imports from.
    applications = importlib.import_module('tensorflow.keras.applications')
    before, applications.MobileNet = applications.MobileNet, small_network
    yield
    applications.MobileNet = before


@pytest.fixture
def stop_at(monkeypatch):
    """Have SIGTERM, or another signal, come at the end of a step, counted from 1 over all steps of this process."""
    def stop(step, number=signal.SIGTERM, method='on_batch_end'):
        before, seen = getattr(run_state.RunState, method), []

        def with_signal(state, *given, **named):
            seen.append(1)
            if len(seen) == step:
                os.kill(os.getpid(), number)
                wait_for(state._watch)
            return before(state, *given, **named)

        monkeypatch.setattr(run_state.RunState, method, with_signal)
    return stop


def wait_for(watch):
    """The thread that hears a signal needs a moment."""
    import time
    for _ in range(1000):
        if watch.signal is not None:
            return
        time.sleep(0.01)
    raise AssertionError('no signal was heard')


def run(dataset, folder, *more):
    return train.main([*dataset.flags, *TINY, '--TMP_MODEL_PATF', str(folder), '--TMP_LOG_PATH', str(folder / 'log'),
                       *more])


def stopped(dataset, folder, *more):
    with pytest.raises(SystemExit) as left:
        run(dataset, folder, *more)
    return left.value.code


def everything(path):
    """All numbers of a checkpoint: weights, moving averages, the optimiser's steps and slots."""
    weights = model_file.read_weights(str(path))
    return [array for name in sorted(weights) for array in weights[name]] + model_file.read_optimizer(str(path))


def assert_same(left, right):
    left, right = everything(left), everything(right)
    assert len(left) == len(right) == 7 + 1 + 5
    assert all(np.array_equal(*pair) for pair in zip(left, right))


@pytest.fixture(scope='module')
def shared_data(tmp_path_factory):
    from conftest import make_dataset
    return make_dataset(tmp_path_factory.mktemp('data'), 12)


@pytest.fixture(scope='module')
def uninterrupted(shared_data, tmp_path_factory):
    """A run of three epochs of four steps, and its History."""
    folder = tmp_path_factory.mktemp('uninterrupted')
    return folder, run(shared_data, folder).history


@pytest.mark.parametrize('step', [2, 4, 7])
def test_a_stopped_run_ends_with_the_same_bits(shared_data, uninterrupted, tmp_path, stop_at, step):
    folder, history = uninterrupted
    stop_at(step)
    assert stopped(shared_data, tmp_path) == 128 + signal.SIGTERM
    assert os.path.isfile(checkpoint.state_path(str(tmp_path)))
    rest = run(shared_data, tmp_path, '--resume').history
    assert_same(tmp_path / 'model_003.h5', folder / 'model_003.h5')
    assert rest['loss'] == history['loss'][-len(rest['loss']):]
    assert not os.path.exists(checkpoint.state_path(str(tmp_path)))
