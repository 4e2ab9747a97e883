"""The HDF5 file from one read of the device, against Keras's own model.save()."""
import h5py
import numpy as np
import pytest
import tensorflow as tf

from utils import nima
from utils.model import keras_file

keras = tf.compat.v1.keras.backend


@pytest.fixture
def session():
    keras.clear_session()
    yield
    keras.clear_session()


def network(trainable='all'):
    image = tf.keras.Input((8, 8, 3))
    inner_image = tf.keras.Input((8, 8, 3))
    inner = tf.keras.Model(inner_image, tf.keras.layers.BatchNormalization()(inner_image), name='inner')
    features = tf.keras.layers.Conv2D(4, 3)(inner(image))
    features = tf.keras.layers.ReLU(6.)(tf.keras.layers.BatchNormalization()(features))
    return nima.with_head(tf.keras.Model(image, tf.keras.layers.GlobalAveragePooling2D()(features)), 0.75,
                          nima.Trained(trainable))


def compiled(model, name, steps):
    optimizer = nima.optimizer(name, 1e-3, momentum=0.9, decay=1e-6, loss_scale=8)
    model.compile(optimizer, nima.earth_mover_loss)
    for _ in range(steps):
        model.train_on_batch(np.ones((2, 8, 8, 3)), np.full((2, 10), 0.1))
    return model


MODELS = {
    'SGD with its momentum': lambda: compiled(network(), 'sgd', 2),
    'Adam with its moments': lambda: compiled(network(), 'adam', 1),
    'compiled and not trained': lambda: compiled(network(), 'sgd', 0),
    'the head alone': lambda: compiled(network('head'), 'sgd', 1),
    'not compiled': network,
}


def contents(path):
    """{name: (class of object, shape, dtype and bytes, attributes with their types)} of a file."""
    found = {}

    def note(name, part):
        numbers = (part.shape, part.dtype.str, part[()].tobytes()) if isinstance(part, h5py.Dataset) else None
        found[name] = numbers, {key: (type(value), getattr(value, 'dtype', None), np.asarray(value).tolist())
                                for key, value in part.attrs.items()}

    with h5py.File(str(path), 'r') as file:
        note('/', file)
        file.visititems(note)
    return found


def write(model, path):
    with h5py.File(str(path), 'w') as file:
        keras_file.write(model, keras_file.read(model), file)


@pytest.mark.parametrize('name', MODELS)
def test_it_holds_what_keras_writes(session, tmp_path, name):
    model = MODELS[name]()
    model.save(str(tmp_path / 'keras.h5'))
    write(model, tmp_path / 'ours.h5')
    assert contents(tmp_path / 'ours.h5') == contents(tmp_path / 'keras.h5')


def test_long_lists_of_names_are_split_as_keras_splits_them(session, tmp_path, monkeypatch):
    monkeypatch.setattr('tensorflow_core.python.keras.saving.hdf5_format.HDF5_OBJECT_HEADER_LIMIT', 64)
    monkeypatch.setattr(keras_file, 'NAMES_LIMIT', 64)
    model = compiled(network(), 'sgd', 1)
    model.save(str(tmp_path / 'keras.h5'))
    write(model, tmp_path / 'ours.h5')
    ours = contents(tmp_path / 'ours.h5')
    assert 'layer_names1' in ours['model_weights'][1] and ours == contents(tmp_path / 'keras.h5')


def test_keras_loads_it_and_trains_on(session, tmp_path):
    model = compiled(network(), 'sgd', 2)
    write(model, tmp_path / 'ours.h5')
    images = np.random.RandomState(0).normal(size=(2, 8, 8, 3))
    expected = model.predict_on_batch(images)
    keras.clear_session()
    loaded = tf.keras.models.load_model(str(tmp_path / 'ours.h5'),
                                        custom_objects={'earth_mover_loss': nima.earth_mover_loss})
    np.testing.assert_array_equal(loaded.predict_on_batch(images), expected)
    assert type(loaded.optimizer).__name__ == 'SGD' and keras.get_value(loaded.optimizer.iterations) == 2


def test_all_is_read_in_one_step_of_the_session(session, monkeypatch):
    model = compiled(network(), 'sgd', 1)
    runs, run = [], tf.compat.v1.Session.run
    monkeypatch.setattr(tf.compat.v1.Session, 'run', lambda self, *more, **named: runs.append(1) or run(
        self, *more, **named))
    arrays = keras_file.read(model)
    assert len(runs) == 1 and set(arrays.hyper) == {'learning_rate', 'decay', 'momentum'}
    assert [len(arrays.slots), sum(map(len, arrays.weights.values()))] == [1 + 8, 12]
