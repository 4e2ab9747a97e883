"""Faults that are planted one at a time, each of which the kit flags by name or by the block in which it sits.

Each moves its figure by ten bounds of float16 or more. docs/acceptance.md lists what the kit says.
"""
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from float16 import LARGEST

from utils import nima
from utils.acceptance import fixture, judge, kit, measure, network, references, saving
from utils.acceptance.outcome import FAIL, PASS
from utils.device import device
from utils.training import resume

SIZES = [pytest.param(fixture.SMALL, id='small'), pytest.param(fixture.FULL, id='full', marks=pytest.mark.slow)]
SHORT = 'channels swapped', 'no momentum', 'weights that are not updated'  # the others are long, all together
optimizer_of, inference_model, with_padding = nima.optimizer, nima.inference_model, nima.with_padding


def faults(names):
    return [pytest.param(name, marks=() if name in SHORT else pytest.mark.slow) for name in names]


class Bench:
    """A device with the kit's network, which faults are planted into."""

    def __init__(self, size, run):
        self.size, self.run = size, run
        self.network = network.build_network(size, run)
        self.reference = references.of_size(size, 'float16')

    def forward(self, rebuilt):
        """The outcome of the forward pass; of a network that is built anew where the fault is in the building."""
        found = self.network
        if rebuilt:
            found = network.with_activations(network.build_model(self.size))
            found.set_initial()
        return self.judged(measure.of_activations(measure.forward(found, self.size)))

    def train(self):
        """The outcomes of the first steps, two of ten, which are compiled anew; others need all ten."""
        outcomes = self.steps()
        return {check: outcomes[check] for check in ('loss', 'gradients', 'updates', 'momentum and decay')}

    def steps(self):
        network.compile_model(self.network.model, self.run)
        self.network.set_initial()
        with mock.patch.object(fixture, 'STEPS', 2), mock.patch.object(measure, 'MIDDLE', 1):
            return self.judged(measure.of_training(measure.train_all(self.network, self.size)))

    def judged(self, found):
        return {outcome.check: outcome for outcome in judge.judge(found, self.reference)}


@pytest.fixture(scope='module', params=SIZES)
def bench(request):
    with device.open_run('cpu', threads=2) as run:
        yield Bench(request.param, run)


def require_flagged(outcome, words, where=None):
    assert outcome.status == FAIL and words in outcome.text, outcome
    assert where is None or where in outcome.where
    assert outcome.deviation >= 10 * outcome.bound


# --- the forward pass

def bgr(size, count=fixture.IMAGES):
    return np.ascontiguousarray(images_of(size, count)[..., ::-1])


images_of = fixture.images


def in_training_phase(model):
    tf.keras.backend.set_learning_phase(1)
    return tf.keras.Model(model.input, model(model.input))


def saturating(call):
    """A convolution whose sums reach what float16 can hold: a 910 clips them, without Inf and NaN."""
    def saturated(self, inputs):
        outputs = call(self, inputs)
        if self.name != 'conv_pw_1':
            return outputs
        return tf.clip_by_value(outputs * 2 ** 18, -LARGEST, LARGEST) / 2 ** 18
    return saturated


FORWARD = {
    'channels swapped': ((fixture, 'images', bgr), False, 'conv1_relu', 'channels'),
    'padding of the other Keras': ((nima, 'with_padding', lambda base, _: with_padding(base, 'symmetric')), True,
                                   'conv1_relu', 'padding'),
    'BatchNorm in the phase of training': ((nima, 'inference_model', in_training_phase), True, 'conv1_relu',
                                           'the phase of BatchNorm'),
    'saturated activations': ((tf.keras.layers.Conv2D, 'call', saturating(tf.keras.layers.Conv2D.call)), True,
                              'conv_pw_1_relu', '--over_dump_path'),
    'activations not capped at 6': ((tf.keras.layers.ReLU, 'call', lambda self, inputs: tf.nn.relu(inputs)), True,
                                    fixture.CAPPED, 'ReLU6'),
}


@pytest.mark.parametrize('fault', faults(FORWARD))
def test_a_fault_of_the_forward_pass(bench, monkeypatch, fault):
    planted, rebuilt, block, words = FORWARD[fault]
    bench.network.set_initial()
    monkeypatch.setattr(*planted)
    outcome = bench.forward(rebuilt)['forward pass']
    require_flagged(outcome, words, block)
    assert outcome.where == block and outcome.text.startswith(f'{block} is the first block that drifts')


def test_without_a_fault_it_passes(bench):
    bench.network.set_initial()
    outcomes = {**bench.forward(rebuilt=False), **bench.train()}
    assert {check: outcome.status for check, outcome in outcomes.items()} == dict.fromkeys(outcomes, PASS)
    assert len(outcomes) == 5


# --- the training

def sgd(**other):
    """The kit's optimiser with `other` arguments of Keras's SGD."""
    def optimizer(name, learning_rate, *, momentum, decay, loss_scale):
        settings = {'momentum': momentum, 'decay': decay, 'nesterov': True, **other}
        made = tf.keras.optimizers.SGD(learning_rate, **settings)
        nima._scale_loss(made, loss_scale)
        return made
    return optimizer


def without_updates(*arguments, **named):
    made = optimizer_of(*arguments, **named)
    made._resource_apply_dense = lambda gradient, variable, *_: tf.no_op()
    return made


def undivided(optimizer, scale):
    gradients_of = optimizer.get_gradients
    optimizer.get_gradients = lambda loss, params: gradients_of(loss * scale, params)


def r1(true, pred):
    return tf.reduce_mean(tf.abs(tf.cumsum(true, axis=-1) - tf.cumsum(pred, axis=-1)))


TRAINING = {
    'no momentum': ((nima, 'optimizer', sgd(momentum=0)), 'updates', 'momentum is lost'),
    'no Nesterov': ((nima, 'optimizer', sgd(nesterov=False)), 'updates', 'momentum without Nesterov'),
    'no decay': ((nima, 'optimizer', sgd(decay=0)), 'momentum and decay', 'decay is ignored'),
    'loss with r=1': ((nima, 'earth_mover_loss', r1), 'loss', 'is the loss with r=1'),
    'a loss scale that is not divided out': ((nima, '_scale_loss', undivided), 'gradients',
                                             '1024 times as large. Likely cause: the loss scale is not divided out'),
    'weights that are not updated': ((nima, 'optimizer', without_updates), 'updates', 'weights are not updated'),
}


@pytest.mark.parametrize('fault', faults(TRAINING))
def test_a_fault_of_the_training(bench, monkeypatch, fault):
    planted, check, words = TRAINING[fault]
    monkeypatch.setattr(*planted)
    require_flagged(bench.train()[check], words)


@pytest.mark.slow
def test_momentum_that_is_lost_between_steps(bench, monkeypatch):
    """The velocities are there, but a step does not see those of the step before."""
    train_on_batch = bench.network.model.train_on_batch

    def forgetful(*arrays):
        slots = bench.network.model.optimizer.weights[1:]
        tf.keras.backend.batch_set_value([(slot, np.zeros(slot.shape.as_list())) for slot in slots])
        return train_on_batch(*arrays)

    monkeypatch.setattr(bench.network.model, 'train_on_batch', forgetful, raising=False)
    require_flagged(bench.train()['momentum and decay'], 'momentum is lost')


def test_a_frozen_layer(bench):
    layer = bench.network.model.get_layer('conv_dw_4')
    layer.trainable = False
    try:
        outcomes = bench.train()
    finally:
        layer.trainable = True
    gradients = outcomes['gradients']
    assert gradients.status == FAIL
    assert 'Those of conv_dw_4/depthwise_kernel are 0. Likely cause: frozen weights' in gradients.text
    require_flagged(outcomes['updates'], 'frozen weights, conv_dw_4/depthwise_kernel', 'conv_dw_4/depthwise_kernel')


# --- the state

def restore_weights_alone(model, start):
    optimizer = model.optimizer.weights
    kept = tf.keras.backend.batch_get_value(optimizer)
    restore(model, start)
    tf.keras.backend.batch_set_value(list(zip(optimizer, kept)))


restore = resume.restore


@pytest.mark.slow
@pytest.mark.parametrize('planted', [False, True], ids=['none', 'an optimiser state that is not restored'])
def test_an_optimiser_state_that_is_not_restored(bench, monkeypatch, tmp_path, planted):
    network.compile_model(bench.network.model, bench.run)
    bench.network.set_initial()
    if planted:
        monkeypatch.setattr(resume, 'restore', restore_weights_alone)
    outcomes = {outcome.check: outcome for outcome in
                kit.train_and_save(bench.network, bench.size, bench.reference, str(tmp_path))}
    status, words = (FAIL, 'the optimiser state differs: 10 steps made, expected 5') if planted else (
        PASS, 'all weights, velocities and steps to the last bit')
    assert outcomes['save and load'].status == status and words in outcomes['save and load'].text
    assert outcomes['repeatability'].status == ('NOT CHECKED' if planted else PASS)
    others = [outcome for check, outcome in outcomes.items() if check not in ('save and load', 'repeatability')]
    assert [outcome for outcome in others if outcome.status != PASS] == []
    assert len(others) == 7


def test_steps_that_differ_from_the_first_time_are_flagged(bench, monkeypatch):
    """The second training is another one, by a tenth of the change of the weights."""
    states = {step: network.State({'conv1/kernel': np.array([0.0, float(step)])}, {}, step) for step in (0, 10)}
    again = {10: network.State({'conv1/kernel': np.array([1.0, 10.0])}, {}, 10)}
    monkeypatch.setattr(measure, 'train', lambda *_: measure.Training([0.0] * 5, again))
    first = measure.Training([0.0] * 10, states)
    restored = saving.Outcome('save and load', PASS)
    outcome = saving.repeat(bench.network, bench.size, first, restored, 0.01)
    assert (outcome.status, outcome.deviation) == (FAIL, pytest.approx(0.1))
    assert saving.repeat(bench.network, bench.size, first, restored, 0.2).text.startswith('not the same bits')


def test_weights_that_are_not_finite_are_not_laid_to_saving(monkeypatch):
    before = network.State({'conv1/kernel': np.array([0.0, np.nan]), 'scores/bias': np.array([1.0])}, {}, 5)
    assert saving.different(before, before._replace(weights=dict(before.weights))) == ''  # the same bits
    outcome = saving.restore(None, fixture.SMALL, saving.Saved('', before, np.array([np.nan])), 0.01)
    assert (outcome.status, outcome.where) == (FAIL, 'conv1/kernel')
    assert outcome.text.startswith('the weights of conv1/kernel and 0 more are not finite before they are saved')


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES)
def test_batchnorm_in_the_wrong_phase_in_training(monkeypatch, size):
    """Its moving averages stand still."""
    monkeypatch.setattr(tf.keras.backend, 'set_learning_phase', lambda value, set=tf.keras.backend.set_learning_phase: (
        set(0)))
    with device.open_run('cpu', threads=2) as run:
        require_flagged(Bench(size, run).steps()['BatchNorm averages'],
                        'None moves. Likely cause: BatchNorm is in the wrong phase')
