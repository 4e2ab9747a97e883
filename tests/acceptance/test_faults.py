"""Faults that are planted one at a time, each of which the kit flags by name or by the block in which it sits.

Each moves its figure by ten bounds of float16 or more. docs/acceptance.md lists what the kit says.
"""
import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from float16 import LARGEST, emulated

from utils import nima
from utils.acceptance import fixture, judge, kit, measure, network, references, saving
from utils.acceptance.outcome import FAIL, PASS
from utils.device import device
from utils.training import resume

SIZES = [pytest.param(fixture.SMALL, id='small'), pytest.param(fixture.FULL, id='full', marks=pytest.mark.slow)]
FIRST = 'loss', 'gradients', 'updates', 'momentum and decay'  # checks that two of the ten steps suffice for


class Bench:
    """A device with the kit's network, which faults are planted into: its variables and graphs serve all of them."""

    def __init__(self, size, run):
        self.size, self.run = size, run
        self.network = network.build_network(size, run)
        self.reference = references.of_size(size, 'float16')

    def forward(self):
        """The outcome of the forward pass, with all layers called anew."""
        found = network.with_activations(self.network.model)
        return self.judged(measure.of_activations(measure.forward(found, self.size)))['forward pass']

    def train(self):
        """The outcomes of the first steps, from the first weights."""
        self.network.set_initial()
        with mock.patch.object(fixture, 'STEPS', 2), mock.patch.object(measure, 'MIDDLE', 1):
            return self.judged(measure.of_training(measure.train_all(self.network, self.size)))

    def judged(self, found):
        return {outcome.check: outcome for outcome in judge.judge(found, self.reference)}

    @contextlib.contextmanager
    def steps_anew(self, phase=1):
        """Train in another graph: layers, loss and gradients as they are now, over the same variables."""
        other = self.network.other('planted', phase)
        with mock.patch.object(self.network.model, 'train_on_batch', other.train_on_batch):
            yield

    @contextlib.contextmanager
    def setting(self, name, value):
        """Train with another rate, momentum or decay of the optimiser."""
        variable = getattr(self.network.model.optimizer, name)
        kept = tf.keras.backend.get_value(variable)
        tf.keras.backend.set_value(variable, value)
        try:
            yield
        finally:
            tf.keras.backend.set_value(variable, kept)

    @contextlib.contextmanager
    def each_step(self, before, after=lambda *_: None):
        """Train with something done before each step, and something with what that returned after it."""
        train_on_batch = self.network.model.train_on_batch

        def step(*arrays):
            state = before(self.network)
            loss = train_on_batch(*arrays)
            after(self.network, state)
            return loss

        with mock.patch.object(self.network.model, 'train_on_batch', step):
            yield


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


def symmetric(self, inputs):
    return tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])


FORWARD = {
    'channels swapped': ((fixture, 'images', bgr), 'conv1_relu', 'channels'),
    'padding of the other Keras': ((tf.keras.layers.ZeroPadding2D, 'call', symmetric), 'conv1_relu', 'padding'),
    'BatchNorm in the phase of training': ((nima, 'inference_model', in_training_phase), 'conv1_relu',
                                           'the phase of BatchNorm'),
    'saturated activations': ((tf.keras.layers.Conv2D, 'call', saturating(tf.keras.layers.Conv2D.call)),
                              'conv_pw_1_relu', '--over_dump_path'),
    'activations not capped at 6': ((tf.keras.layers.ReLU, 'call', lambda self, inputs: tf.nn.relu(inputs)),
                                    fixture.CAPPED, 'ReLU6'),
}


@pytest.mark.parametrize('fault', FORWARD)
def test_a_fault_of_the_forward_pass(bench, monkeypatch, fault):
    planted, block, words = FORWARD[fault]
    bench.network.set_initial()
    monkeypatch.setattr(*planted)
    outcome = bench.forward()
    require_flagged(outcome, words, block)
    assert outcome.where == block and outcome.text.startswith(f'{block} is the first block that drifts')


def test_emulated_float16_without_a_fault_passes(bench):
    bench.network.set_initial()
    with emulated('float16'), bench.steps_anew():
        outcomes = {'forward pass': bench.forward()}
        trained = bench.train()
    outcomes.update({check: trained[check] for check in FIRST})
    assert {check: outcome.status for check, outcome in outcomes.items()} == dict.fromkeys(outcomes, PASS)
    assert outcomes['forward pass'].deviation > 1e-4 and outcomes['gradients'].deviation > 1e-3  # it rounds


# --- the training

def lost_velocities(network):
    slots = network.model.optimizer.weights[1:]
    tf.keras.backend.batch_set_value([(slot, np.zeros(slot.shape.as_list())) for slot in slots])


def without_nesterov(network, before):
    """What plain momentum makes of the weights: each moves by its velocity."""
    state = network.read()
    network.set(state._replace(weights={
        name: before.weights[name] + state.velocities[name] if name in state.velocities else array
        for name, array in state.weights.items()}))


TRAINING = {  # each a context of the bench
    'no momentum': (lambda bench: bench.setting('momentum', 0), 'momentum and decay', 'momentum is lost'),
    'momentum that is lost between steps': (lambda bench: bench.each_step(lost_velocities), 'momentum and decay',
                                            'momentum is lost'),
    'no Nesterov': (lambda bench: bench.each_step(network.Network.read, without_nesterov), 'updates',
                    'momentum without Nesterov'),
    'no decay': (lambda bench: bench.setting('decay', 0), 'momentum and decay', 'decay is ignored'),
    'weights that are not updated': (lambda bench: bench.setting('learning_rate', 0), 'updates',
                                     'weights are not updated'),
}


@pytest.mark.parametrize('fault', TRAINING)
def test_a_fault_of_the_training(bench, fault):
    plant, check, words = TRAINING[fault]
    with plant(bench):
        require_flagged(bench.train()[check], words)


def r1(true, pred):
    return tf.reduce_mean(tf.abs(tf.cumsum(true, axis=-1) - tf.cumsum(pred, axis=-1)))


def test_a_loss_with_r_1(bench, monkeypatch):
    monkeypatch.setattr(nima, 'earth_mover_loss', r1)
    with bench.steps_anew():
        require_flagged(bench.train()['loss'], 'is the loss with r=1')


def test_a_loss_scale_that_is_not_divided_out(bench):
    """The optimiser takes the gradients of the loss; the graph gives those of the scaled loss, without the division."""
    optimizer = bench.network.model.optimizer
    gradients_of = optimizer.get_gradients
    with mock.patch.object(optimizer, 'get_gradients', lambda loss, params: [
            gradient * fixture.LOSS_SCALE for gradient in gradients_of(loss, params)]), bench.steps_anew():
        require_flagged(bench.train()['gradients'],
                        '1024 times as large. Likely cause: the loss scale is not divided out')


def test_a_frozen_layer(bench):
    layer = bench.network.model.get_layer('conv_dw_4')
    layer.trainable = False
    try:
        with bench.steps_anew():
            outcomes = bench.train()
    finally:
        layer.trainable = True
    gradients = outcomes['gradients']
    assert gradients.status == FAIL
    assert 'Those of conv_dw_4/depthwise_kernel are 0. Likely cause: frozen weights' in gradients.text
    require_flagged(outcomes['updates'], 'frozen weights, conv_dw_4/depthwise_kernel', 'conv_dw_4/depthwise_kernel')


def test_batchnorm_in_the_wrong_phase_in_training(bench):
    """Its moving averages stand still."""
    with bench.steps_anew(phase=0):
        require_flagged(bench.train()['BatchNorm averages'],
                        'None moves. Likely cause: BatchNorm is in the wrong phase')


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES)
def test_an_optimiser_without_momentum(monkeypatch, size):
    """It keeps no velocities at all."""
    def sgd(name, learning_rate, *, momentum, decay, loss_scale):
        made = tf.keras.optimizers.SGD(learning_rate, momentum=0, decay=decay)
        nima._scale_loss(made, loss_scale)
        return made

    monkeypatch.setattr(nima, 'optimizer', sgd)
    with device.open_run('cpu', threads=2) as run:
        require_flagged(Bench(size, run).train()['updates'], 'momentum is lost: there are no velocities')


# --- the state

def restore_weights_alone(model, start):
    optimizer = model.optimizer.weights
    kept = tf.keras.backend.batch_get_value(optimizer)
    restore(model, start)
    tf.keras.backend.batch_set_value(list(zip(optimizer, kept)))


restore = resume.restore


@pytest.mark.parametrize('planted', [pytest.param(False, id='none', marks=pytest.mark.slow),
                                     pytest.param(True, id='an optimiser state that is not restored')])
def test_an_optimiser_state_that_is_not_restored(bench, monkeypatch, tmp_path, planted):
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

