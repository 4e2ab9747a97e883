"""The network: sizes, loss, gradient, inference, weights by name."""
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import nima, score_utils
from utils.base.errors import InputError
from utils.model import model_file


@pytest.fixture
def graph():
    """A fresh graph and Keras session with learning phase 1, as in training."""
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(1)
    yield tf.compat.v1.keras.backend
    tf.compat.v1.keras.backend.clear_session()


def mobilenet(size=32, alpha=1):
    return tf.keras.applications.MobileNet((size, size, 3), alpha=alpha, include_top=False, pooling='avg',
                                           weights=None)


def load(model, path):
    nima.load_weights(model, model_file.read(str(path), 'Keras weights'))


def run_loss(true, predicted):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        prediction = tf.constant(predicted, tf.float32)
        loss = nima.earth_mover_loss(tf.constant(true, tf.float32), prediction)
        return session.run([loss, tf.gradients(loss, prediction)[0]])


def test_parameter_counts(graph):
    model = nima.with_head(mobilenet(224), 0.75)
    assert model.count_params() == 3228864 + 1024 * 10 + 10 == 3239114
    moving_averages = 3239114 - 3217226
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == model.count_params() - moving_averages == 3217226
    assert len(model.trainable_weights) == 83 and len(model.weights) == 137
    assert model.input.op.name == 'input_1' and model.output.op.name == 'dense/Softmax'


def test_loss_of_one_vote_moved_by_one_score():
    true, predicted = np.zeros((1, 10)), np.zeros((1, 10))
    true[0, 4], predicted[0, 5] = 1, 1
    loss, _ = run_loss(true, predicted)
    assert loss == pytest.approx(np.sqrt(1 / 10), abs=1e-6)  # one of the ten CDF differences is 1


distributions = st.lists(st.integers(1, 1000), min_size=10, max_size=10).map(lambda row: np.array(row) / sum(row))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(distributions, distributions), min_size=1, max_size=4))
def test_loss_equals_the_metric_in_numpy(rows):
    true, predicted = (np.stack(side) for side in zip(*rows))
    assert run_loss(true, predicted)[0] == pytest.approx(score_utils.emd(true, predicted, 2), abs=1e-6)


def test_gradient_is_finite_where_prediction_and_label_are_equal():
    rows = np.full((3, 10), 1 / 10)
    rows[1] = np.eye(10)[3]
    other = rows.copy()
    other[2] = np.eye(10)[9]
    loss, gradient = run_loss(rows, other)
    assert np.isfinite(gradient).all()
    assert not gradient[:2].any() and gradient[2].any()
    assert loss == pytest.approx(np.sqrt(np.mean((np.arange(1, 10) / 10) ** 2 * 9 / 10)) / 3, abs=1e-6)


def test_a_nan_prediction_is_seen_in_the_loss():
    rows = np.full((2, 10), 1 / 10)
    other = rows.copy()
    other[1, 3] = np.nan
    loss, gradient = run_loss(rows, other)
    assert np.isnan(loss) and not gradient[0].any() and np.isnan(gradient[1]).any()


def test_no_switch_or_merge_and_two_placeholders_in_the_training_graph(graph):
    model = nima.with_head(mobilenet(), 0.75)
    model.compile(nima.optimizer('sgd', learning_rate=0.1, momentum=0.9, decay=0), nima.earth_mover_loss)
    nima.inference_model(model)
    model._make_train_function()
    operations = graph.get_session().graph.get_operations()
    assert not [op.name for op in operations if op.type in ('Switch', 'Merge')]
    assert sorted(op.name for op in operations if op.type == 'Placeholder') == ['dense_target', 'input_1']


def test_the_inference_model_predicts_with_moving_averages_and_follows_training(graph):
    tf.compat.v1.set_random_seed(1)
    model = nima.with_head(mobilenet(), 0.0)
    model.compile(nima.optimizer('sgd', learning_rate=0.1, momentum=0.9, decay=0), nima.earth_mover_loss)
    inference = nima.inference_model(model)
    random = np.random.RandomState(0)
    images = random.uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    labels = np.eye(10)[[0, 3, 6, 9]]

    def loaded_with_phase_0():
        config, weights = model.to_json(), model.get_weights()
        with tf.Graph().as_default(), tf.compat.v1.Session().as_default():
            tf.keras.backend.set_learning_phase(0)
            plain = tf.keras.models.model_from_json(config)
            plain.set_weights(weights)
            return plain.predict_on_batch(images)

    before = nima.predict(inference, images, 4)
    np.testing.assert_allclose(before, loaded_with_phase_0(), rtol=0, atol=1e-6)
    for _ in range(3):
        model.train_on_batch(images, labels)
    after = nima.predict(inference, images, 4)
    np.testing.assert_allclose(after, loaded_with_phase_0(), rtol=0, atol=1e-6)
    assert np.abs(after - before).max() > 1e-4


def test_padding_does_not_change_a_prediction(graph):
    inference = nima.inference_model(nima.with_head(mobilenet(), 0.75))
    images = np.random.RandomState(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    assert nima.predict(inference, images, 8).shape == (3, 10)
    at_once, in_parts = (nima.predict(inference, images, size) for size in (8, 3))
    np.testing.assert_allclose(at_once, in_parts, rtol=0, atol=1e-6)


def test_optimisers():
    sgd = nima.optimizer('sgd', learning_rate=0.25, momentum=0.5, decay=0.125).get_config()
    assert (sgd['name'], sgd['learning_rate'], sgd['momentum'], sgd['decay'], sgd['nesterov']) == (
        'SGD', 0.25, 0.5, 0.125, True)
    adam = nima.optimizer('adam', learning_rate=0.25, momentum=0.5, decay=0.125).get_config()
    assert (adam['name'], adam['learning_rate'], adam['decay']) == ('Adam', 0.25, 0.125)


def test_weights_by_name_are_read(graph, tmp_path):
    source = mobilenet()
    source.save_weights(str(tmp_path / 'base.h5'))
    target = nima.with_head(mobilenet(), 0.75)
    head = target.get_layer('dense').get_weights()
    load(target, tmp_path / 'base.h5')
    for ours, theirs in zip(target.get_weights(), [*source.get_weights(), *head]):
        np.testing.assert_array_equal(ours, theirs)


def test_a_layer_without_a_match_stops_the_run(graph, tmp_path):
    path = tmp_path / 'base.h5'
    mobilenet().save_weights(str(path))
    with h5py.File(str(path), 'a') as file:
        names = [name for name in file.attrs['layer_names'] if name != b'conv_pw_7']
        file.attrs['layer_names'] = names
    with pytest.raises(InputError, match=r"base\.h5: found no weights for the layer 'conv_pw_7', "
                                         r'expected shapes \[\(1, 1, 512, 512\)\]\. Use weights of this architecture'):
        load(nima.with_head(mobilenet(), 0.75), path)


def test_another_width_stops_the_run(graph, tmp_path):
    path = tmp_path / 'half.h5'
    mobilenet(alpha=0.5).save_weights(str(path))
    with pytest.raises(InputError, match=r"half\.h5: found shapes \[\(3, 3, 3, 16\)\] for the layer 'conv1', "
                                         r'expected \[\(3, 3, 3, 32\)\]'):
        load(nima.with_head(mobilenet(), 0.75), path)


@pytest.mark.parametrize('content, found', [
    (b'', 'an empty file'), (b'\n<!DOCTYPE html><html>404</html>', 'a web page'),
    (b'\x89HDF\r\n\x1a\n' + bytes(50), 'a truncated or damaged HDF5 file')])
def test_a_file_that_is_not_keras_weights(graph, tmp_path, content, found):
    path = tmp_path / 'page.h5'
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf'page\.h5: found {found}.*, expected Keras weights\. Get'):
        load(nima.with_head(mobilenet(), 0.75), path)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r'no_top\.h5: no such file, .*https://github\.com/fchollet/.*--weights none'):
        nima.read_weights(str(tmp_path / 'mobilenet_1_0_224_tf_no_top.h5'))
    with pytest.raises(InputError, match=r'mine\.h5: no such file, expected pre-trained weights\. Correct --weights or '
                                         r'--TMP_WEIGHTS_PATH, or start from random weights with --weights none'):
        nima.read_weights(str(tmp_path / 'mine.h5'))


def test_the_old_command_names_the_new_one():
    done = subprocess.run([sys.executable, '-m', 'utils.nima', 'describe', 'a b.h5'], cwd=str(ROOT),
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == (
        "python3 -m utils.nima is now: bash run.sh -m utils.models describe 'a b.h5'")


def test_the_reconstructed_imagenet_weights_load(graph, shared):
    model = mobilenet(224)
    path = shared / 'weights' / 'mobilenet_1_0_224_tf_no_top.RECONSTRUCTED.h5'
    load(nima.with_head(model, 0.75), path)
    assert model.get_layer('conv1').get_weights()[0].std() > 0.1


@pytest.mark.parametrize('batchsize, device, expected', [
    (100, 'cpu', 10), (32, 'cpu', 8), (7, 'cpu', 7), (11, 'cpu', 6), (100, 'npu', 100), (100, 'gpu', 100)])
def test_a_cpu_predicts_few_images_at_a_time(batchsize, device, expected):
    assert nima.predict_batch(batchsize, device) == expected


@pytest.mark.parametrize('count', [0, 1, 4, 7, 8])
def test_batches_of_one_shape_give_every_image_once(count):
    class Model:
        shapes = set()

        def predict_on_batch(self, images):
            self.shapes.add(images.shape)
            return images.sum(axis=(1, 2, 3))

    model, images = Model(), np.arange(count * 12.0).reshape(count, 2, 2, 3)
    np.testing.assert_array_equal(nima.predict(model, images, 4), images.sum(axis=(1, 2, 3)))
    assert model.shapes == {(4, 2, 2, 3)}
