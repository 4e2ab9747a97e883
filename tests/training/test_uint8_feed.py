"""Training on uint8 pixels: the same bits as on scaled images, a quarter of the bytes, nothing of it in files."""
import json

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import reading, small_mobilenet

import train
from utils import nima
from utils.base.preprocessing import Preprocessing
from utils.data import ava, decoding, pack
from utils.device.device import ALONE
from utils.model import keras_file, model_file
from utils.training import uint8_feed
from utils.training.loss_scaling import LossScaling

keras = tf.compat.v1.keras.backend
TINY = ['--image_size', '32', '--batchsize', '2', '--val_size', '4', '--weights', 'none', '--device', 'cpu',
        '--threads', '1', '--learning_rate', '0.1', '--epochs', '2']


@pytest.fixture(autouse=True, scope='module')
def small():
    with small_mobilenet():
        yield


def run(dataset, folder, *more):
    return train.main([*dataset.flags, *TINY, '--TMP_MODEL_PATF', str(folder), *more])


def fed(monkeypatch):
    """The images of every step of models from now on."""
    seen, before = [], tf.keras.Model.train_on_batch
    monkeypatch.setattr(tf.keras.Model, 'train_on_batch', lambda self, images, *more: seen.append(images) or before(
        self, images, *more))
    return seen


@pytest.fixture
def packed(dataset, tmp_path):
    """The flags that read the training images of `dataset` from a packed dataset."""
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    pack.pack(ratings.take(slice(0, 8)), str(tmp_path / 'packed'), Preprocessing(32), use='training', form='raw')
    return ['--records', str(tmp_path / 'packed')]


@pytest.mark.parametrize('more', [[], ['--optimizer', 'adam', '--loss_scale', 'dynamic']])
def test_losses_and_weights_are_those_of_scaled_images(dataset, tmp_path, packed, monkeypatch, more):
    """With dropout, which drops the same values."""
    seen = fed(monkeypatch)
    losses = run(dataset, tmp_path / 'pixels', *packed, *more).history['loss']
    pixels = list(seen)
    assert {image.dtype for image in pixels} == {np.dtype('uint8')}
    seen.clear()
    monkeypatch.setattr(uint8_feed, 'fits', lambda *given: False)
    assert run(dataset, tmp_path / 'scaled', *packed, *more).history['loss'] == losses
    assert [image.nbytes for image in seen] == [4 * image.nbytes for image in pixels]
    for ours, theirs in zip(pixels, seen):
        np.testing.assert_array_equal(decoding.scale(ours.astype(np.float32)), theirs)
    files = [model_file.read(str(tmp_path / name / 'model_002.h5')) for name in ('pixels', 'scaled')]
    assert files[0].network == files[1].network and 'Lambda' not in files[0].network
    assert list(files[0].weights) == list(files[1].weights)
    arrays = [[*sum(file.weights.values(), []), *file.slots] for file in files]
    for ours, theirs in zip(*arrays):
        np.testing.assert_array_equal(ours, theirs)
    with h5py.File(str(tmp_path / 'pixels' / 'model_002.h5'), 'r') as file:
        assert json.loads(file.attrs['training_config'])['optimizer_config']['class_name'] == (
            'Adam' if more else 'SGD')


def test_a_run_on_pixels_resumes_with_the_same_bits(dataset, tmp_path, packed):
    packed += ['--dropout', '0']  # whose random numbers begin anew
    run(dataset, tmp_path / 'whole', *packed)
    run(dataset, tmp_path / 'parts', *packed, '--epochs', '1')
    run(dataset, tmp_path / 'parts', *packed, '--resume')
    files = [model_file.read(str(tmp_path / name / 'model_002.h5')) for name in ('whole', 'parts')]
    for ours, theirs in zip(*([*sum(file.weights.values(), []), *file.slots] for file in files)):
        np.testing.assert_array_equal(ours, theirs)


def test_what_has_fractions_is_not_fed_as_pixels(dataset, tmp_path, monkeypatch):
    seen = fed(monkeypatch)
    run(dataset, tmp_path / 'files', '--epochs', '1')
    assert {image.dtype for image in seen} == {np.dtype('float32')}


def test_nearest_pixels_of_files_are_whole_numbers(dataset):
    from utils import data_loader
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    nearest = reading(32, 'nearest')
    images = ImageSet(ratings, BadImages(ratings.count))
    assert uint8_feed.fits(images, nearest) and not uint8_feed.fits(images, reading(32))
    ours, _ = next(data_loader.train_generator(4, images=images, reading=nearest._replace(as_pixels=True)))
    theirs, _ = next(data_loader.train_generator(4, images=images, reading=nearest))
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(decoding.scale(ours.astype(np.float32)), theirs)


@pytest.fixture
def outer():
    """(outer model, inner model), in learning phase 1."""
    keras.clear_session()
    tf.compat.v1.set_random_seed(1)
    tf.keras.backend.set_learning_phase(1)
    image = tf.keras.Input((16, 16, 3))
    features = tf.keras.layers.BatchNormalization()(tf.keras.layers.Conv2D(4, 3)(image))
    model = nima.with_head(tf.keras.Model(image, tf.keras.layers.GlobalAveragePooling2D()(features)), 0.5)
    model.compile(nima.optimizer('sgd', 0.1, momentum=0.9, decay=0), nima.earth_mover_loss)
    yield uint8_feed.outer_model(model), model
    keras.clear_session()


def test_every_pixel_value_is_scaled_to_the_bit(outer):
    values = np.resize(np.arange(256, dtype=np.uint8), (1, 16, 16, 3))
    model = outer[0]
    scaled = keras.function([model.input], [model.get_layer('scaled').output])([values])[0]
    np.testing.assert_array_equal(scaled, decoding.scale(values.astype(np.float32)))


def test_a_skipped_step_leaves_the_averages_as_they_are(outer):
    trained, model = outer
    scaling = LossScaling(model, ALONE, {'scale': 1.0})
    scaling.hold_back(trained)
    images = np.random.RandomState(0).randint(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    trained.train_on_batch(images, np.eye(10)[:2])
    before = keras_file.read(model)
    keras.set_value(scaling._scale, np.inf)
    trained.train_on_batch(images, np.eye(10)[:2])
    assert scaling.state()['skipped'] == 1
    for name, arrays in keras_file.read(model).weights.items():
        for now, then in zip(arrays, before.weights[name]):
            np.testing.assert_array_equal(now, then)
