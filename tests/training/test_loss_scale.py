"""--loss_scale: the loss is multiplied and its gradients divided, inside Keras's own optimiser."""
import json

import h5py
import numpy as np
import pytest
import tensorflow as tf

from utils import nima


def trained(name, scale, path=None):
    """(losses, weights) of a few steps of a small network; gradients as the optimiser applies them."""
    keras = tf.compat.v1.keras.backend
    keras.clear_session()
    tf.compat.v1.set_random_seed(3)
    keras.set_session(tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1)))
    image = tf.keras.Input((8,))
    features = tf.keras.layers.Dense(16, activation='relu', name='features')(image)
    model = nima.with_head(tf.keras.Model(image, features), 0)
    model.compile(nima.optimizer(name, learning_rate=0.1, momentum=0.9, decay=1e-3, loss_scale=scale),
                  nima.earth_mover_loss)
    random = np.random.RandomState(0)
    images, scores = random.normal(size=(4, 8)), random.dirichlet(np.ones(10), 4)
    losses = [model.train_on_batch(images, scores) for _ in range(5)]
    if path:
        model.save(path)
    weights = model.get_weights()
    keras.clear_session()
    return losses, weights


@pytest.mark.parametrize('name', ['sgd', 'adam'])
@pytest.mark.parametrize('scale', [1024.0, 1000.0, 0.5])
def test_training_is_the_same_within_rounding(name, scale):
    losses, weights = trained(name, 1)
    scaled_losses, scaled_weights = trained(name, scale)
    np.testing.assert_allclose(scaled_losses, losses, rtol=1e-5)
    for ours, theirs in zip(scaled_weights, weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('scale, gradient', [(1, 0), (1e20, 1e-25)])
def test_a_gradient_that_vanishes_on_its_way_back_is_kept(scale, gradient):
    optimizer = nima.optimizer('sgd', learning_rate=0.1, momentum=0, decay=0, loss_scale=scale)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weight = tf.compat.v1.get_variable('weight', (), tf.float32, tf.compat.v1.ones_initializer())
        loss = weight * 1e25 * 1e-25 * 1e-25  # 1e-25 * 1e-25 comes first on the way back, and float32 ends at 1e-45
        found, = optimizer.get_gradients(loss, [weight])
        assert session.run(found) == pytest.approx(gradient, rel=1e-5)


@pytest.mark.parametrize('name, class_name', [('sgd', 'SGD'), ('adam', 'Adam')])
def test_the_file_names_keras_own_class(tmp_path, name, class_name):
    path = str(tmp_path / 'model.h5')
    trained(name, 1024, path)
    with h5py.File(path, 'r') as file:
        assert json.loads(file.attrs['training_config'])['optimizer_config']['class_name'] == class_name
    model = tf.keras.models.load_model(path, custom_objects={'earth_mover_loss': nima.earth_mover_loss})
    assert type(model.optimizer).__name__ == class_name
    tf.compat.v1.keras.backend.clear_session()
