"""--loss_scale dynamic: a planted overflow skips exactly its step; otherwise training is that of a static scale."""
import numpy as np
import pytest
import tensorflow as tf

from utils import nima
from utils.device.device import ALONE
from utils.training.loss_scaling import LossScaling, Rule

keras = tf.compat.v1.keras.backend
RANDOM = np.random.RandomState(0)
IMAGES, SCORES = RANDOM.normal(size=(8, 4, 8)).astype(np.float32), RANDOM.dirichlet(np.ones(10), (8, 4))


@pytest.fixture(autouse=True)
def one_session():
    keras.clear_session()
    yield
    keras.clear_session()


@tf.custom_gradient
def overflowing(x, above):
    """x, whose gradient becomes infinite above a value, as float16's does."""
    def gradient(dy):
        return tf.where(tf.abs(dy) > above, dy / 0.0, dy), None
    return tf.identity(x), gradient


def network(name='sgd', static=1.0):
    """(compiled model, the limit above which its gradients overflow); learning phase 1, so that averages move."""
    keras.clear_session()
    tf.compat.v1.set_random_seed(3)
    keras.set_session(tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1)))
    tf.keras.backend.set_learning_phase(1)
    limit = tf.keras.backend.variable(np.inf)
    image = tf.keras.Input((8,))
    features = tf.keras.layers.Dense(6, activation='relu', name='features')(image)
    features = tf.keras.layers.BatchNormalization()(features)
    features = tf.keras.layers.Lambda(lambda x: overflowing(x, limit.read_value()))(features)
    model = nima.with_head(tf.keras.Model(image, features), 0)
    optimizer = nima.optimizer(name, learning_rate=0.1, momentum=0.9, decay=1e-2, loss_scale=static)
    model.compile(optimizer, nima.earth_mover_loss)
    return model, limit


def numbers(model):
    return keras.batch_get_value([*model.weights, *model.optimizer.weights])


def train(model, steps):
    return [model.train_on_batch(IMAGES[step], SCORES[step]) for step in steps]


@pytest.mark.parametrize('name', ['sgd', 'adam'])
def test_without_an_overflow_it_is_the_static_scale_to_the_bit(name):
    model, _ = network(name, static=2.0 ** 15)
    losses, expected = train(model, range(8)), None
    expected = numbers(model)
    names = [weight.name for weight in model.optimizer.weights]
    model, _ = network(name)
    scaling = LossScaling(model, ALONE)
    assert train(model, range(8)) == losses
    for ours, theirs in zip(numbers(model), expected):
        np.testing.assert_array_equal(ours, theirs)
    assert [weight.name for weight in model.optimizer.weights] == names  # as files have them
    assert scaling.state() == {'scale': 2.0 ** 15, 'finite_steps': 8, 'skipped': 0}


@pytest.mark.parametrize('name', ['sgd', 'adam'])
def test_a_planted_overflow_skips_exactly_that_step(name):
    model, _ = network(name, static=2.0 ** 15)
    train(model, [0, 1, 3, 4])  # as if the third had never been
    expected = numbers(model)
    model, limit = network(name)
    scaling = LossScaling(model, ALONE, rule=Rule(back_off=1.0))
    train(model, [0, 1])
    before = numbers(model)
    keras.set_value(limit, 0.0)
    train(model, [2])
    for now, then in zip(numbers(model), before):  # weights, BatchNorm's averages, iteration and momentum
        np.testing.assert_array_equal(now, then)
    assert scaling.state() == {'scale': 2.0 ** 15, 'finite_steps': 0, 'skipped': 1}
    keras.set_value(limit, np.inf)
    train(model, [3, 4])
    for ours, theirs in zip(numbers(model), expected):
        np.testing.assert_array_equal(ours, theirs)


def test_the_scale_backs_off_until_gradients_are_finite_and_grows_again():
    model, limit = network()
    scaling = LossScaling(model, ALONE, rule=Rule(initial=64, growth=4, interval=2, back_off=0.25, most=100))
    keras.set_value(limit, 0.0)
    train(model, [0, 1])
    assert scaling.state() == {'scale': 4.0, 'finite_steps': 0, 'skipped': 2}
    train(model, [2, 3])
    assert scaling.state() == {'scale': 1.0, 'finite_steps': 0, 'skipped': 4}  # never below 1
    keras.set_value(limit, np.inf)
    seen = []
    for step in range(8):
        train(model, [step])
        seen.append((scaling.state()['scale'], scaling.state()['finite_steps']))
    assert seen == [(1, 1), (4, 0), (4, 1), (16, 0), (16, 1), (64, 0), (64, 1), (100, 0)]


def test_the_step_holds_no_control_flow():
    model, _ = network()
    LossScaling(model, ALONE)
    model._make_train_function()
    types = {operation.type for operation in keras.get_session().graph.get_operations()}
    assert not types & {'Switch', 'Merge', 'RefSwitch', 'If', 'While', 'StatelessIf'}


def test_a_resumed_run_continues_with_the_stored_scale():
    model, _ = network()
    scaling = LossScaling(model, ALONE, {'scale': 8.0, 'finite_steps': 1999, 'skipped': 3})
    train(model, [0])
    assert scaling.state() == {'scale': 16.0, 'finite_steps': 0, 'skipped': 3}


class Second(type(ALONE)):
    """A rank whose own gradients are finite, beside one whose are not."""

    def _sum(self, tensor, name):
        return tensor + 1.0 if name == 'overflow' else tensor


def test_an_overflow_of_another_rank_skips_the_step_here_too():
    model, _ = network()
    scaling = LossScaling(model, Second(1, 2))
    model._make_train_function()
    before = numbers(model)
    train(model, [0])
    for now, then in zip(numbers(model), before):
        np.testing.assert_array_equal(now, then)
    assert scaling.state()['skipped'] == 1
