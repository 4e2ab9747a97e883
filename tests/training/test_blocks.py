"""--trainable last:N, on cached maps or not, and --freeze_batchnorm: which weights change, and by which statistics."""
import importlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_dataset
from PIL import Image

import train
from utils import nima, score_utils
from utils.base.errors import InputError
from utils.model import build, model_file
from utils.training import feature_rows
from utils.training.flags import train_flags

MOBILENET = tf.keras.applications.MobileNet
COUNT, VAL = 14, 4
BLOCK = 'conv_dw_2', 'conv_dw_2_bn', 'conv_pw_2', 'conv_pw_2_bn'


def blocks(shape, **_):
    """Two depthwise-separable blocks of MobileNet, the second with a stride."""
    layers = tf.keras.layers
    image = tf.keras.Input(shape, name='input_1')
    tensor = layers.Conv2D(8, 3, strides=4, use_bias=False, name='conv1')(image)
    tensor = layers.ReLU(6., name='conv1_relu')(layers.BatchNormalization(name='conv1_bn')(tensor))
    for number, stride in enumerate((1, 2), 1):
        if stride == 2:
            tensor = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f'conv_pad_{number}')(tensor)
        tensor = layers.DepthwiseConv2D(3, strides=stride, padding='same' if stride == 1 else 'valid', use_bias=False,
                                        name=f'conv_dw_{number}')(tensor)
        tensor = layers.ReLU(6., name=f'conv_dw_{number}_relu')(
            layers.BatchNormalization(name=f'conv_dw_{number}_bn')(tensor))
        tensor = layers.Conv2D(16, 1, use_bias=False, name=f'conv_pw_{number}')(tensor)
        tensor = layers.ReLU(6., name=f'conv_pw_{number}_relu')(
            layers.BatchNormalization(name=f'conv_pw_{number}_bn')(tensor))
    return tf.keras.Model(image, layers.GlobalAveragePooling2D(name='pool')(tensor))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('blocks') / 'data', COUNT)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(importlib.import_module('tensorflow.keras.applications'), 'MobileNet', blocks)
    tf.compat.v1.keras.backend.clear_session()


def run(data, folder, *more):
    return train.main([*data.flags, '--val_size', str(VAL), '--batchsize', '5', '--image_size', '32', '--weights',
                       'none', '--device', 'cpu', '--threads', '1', '--dropout', '0', '--learning_rate', '0.1',
                       '--epochs', '1', '--head_start', 'random', '--TMP_MODEL_PATF', str(folder), *more])


def weights(folder, epoch=1):
    return model_file.read(str(folder / f'model_{epoch:03d}.h5')).weights


def changed(before, after):
    return tuple(name for name in before if any((a != b).any() for a, b in zip(before[name], after[name])))


def same(one, other):
    return all(np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name]))


def test_cached_maps_train_what_fresh_images_train(data, tmp_path, capsys):
    run(data, tmp_path / 'cached', '--trainable', 'last:1', '--crops', '2', '--epochs', '2')
    assert 'the features of 24 crops, 2.05 KB each, need 4.92e-05 GB; ' in capsys.readouterr().out  # 8 * 8 * 16 * 2
    run(data, tmp_path / 'fresh', '--trainable', 'last:1', '--crops', 'fresh', '--epochs', '2')
    first, cached, fresh = weights(tmp_path / 'fresh'), weights(tmp_path / 'cached', 2), weights(tmp_path / 'fresh', 2)
    trained = *BLOCK, 'dense'
    assert changed(first, fresh) == trained and set(changed(cached, fresh)) <= set(trained)
    for name in trained:
        for a, b, before in zip(cached[name], fresh[name], first[name]):
            assert np.linalg.norm(a - b) <= 0.03 * np.linalg.norm(b - before) + 1e-6, name
    config = json.loads(str(model_file.read(str(tmp_path / 'cached' / 'model_001.h5')).network))['config']['layers']
    nodes = {layer['config']['name']: layer['inbound_nodes'] for layer in config}
    assert nodes['conv_pad_2'] == [[['conv_pw_1_relu', 0, 0, {}]]] and nodes['dropout'] == [[['pool', 0, 0, {}]]]


def test_resumed_bits_of_frozen_blocks_on_cached_maps(data, tmp_path):
    flags = '--trainable', 'last:1', '--freeze_batchnorm'
    run(data, tmp_path / 'whole', *flags, '--epochs', '2')
    run(data, tmp_path / 'parts', *flags)
    first = weights(tmp_path / 'parts')
    run(data, tmp_path / 'parts', *flags, '--epochs', '2', '--resume')
    assert same(weights(tmp_path / 'whole', 2), weights(tmp_path / 'parts', 2))
    assert changed(first, weights(tmp_path / 'parts', 2)) == ('conv_dw_2', 'conv_pw_2', 'dense')
    with pytest.raises(InputError, match='--freeze_batchnorm was True when this run began, now False'):
        run(data, tmp_path / 'parts', '--trainable', 'last:1', '--epochs', '3', '--resume')


@pytest.mark.parametrize('resize', ['bilinear', 'nearest'])  # of nearest the images are fed as uint8
def test_frozen_batchnorm_of_all_layers(data, tmp_path, resize, monkeypatch):
    """The loss of a step is that of the saved network's predictions, and BatchNorm stays as it was."""
    from utils.base.preprocessing import Preprocessing
    monkeypatch.setattr(nima, 'preprocessing_for', lambda weights, size, report: Preprocessing(size, resize))
    history = run(data, tmp_path / 'model', '--freeze_batchnorm', '--learning_rate', '1e-30')
    run(data, tmp_path / 'moved', '--freeze_batchnorm', '--learning_rate', '0.1')
    start, moved = weights(tmp_path / 'model'), weights(tmp_path / 'moved')
    assert changed(start, moved) == ('conv1', 'conv_dw_1', 'conv_pw_1', 'conv_dw_2', 'conv_pw_2', 'dense')
    tf.compat.v1.keras.backend.clear_session()
    from utils import data_loader
    from utils.data import ava
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet, Reading
    ratings = ava.read(str(data.labels), str(data.images)).take(slice(None, -VAL))
    batches = data_loader.train_generator(5, images=ImageSet(ratings, BadImages(ratings.count)),
                                          reading=Reading(Preprocessing(32, resize)))
    images, true = map(np.concatenate, zip(*(next(batches) for _ in range(2))))
    batches.close()
    model = build.for_scoring(model_file.read(str(tmp_path / 'model' / 'model_001.h5')))
    errors = np.cumsum(true - model.predict(images), axis=1)
    assert history.history['loss'] == pytest.approx([np.sqrt((errors ** 2).mean(axis=1)).mean()], abs=1e-6)


def test_trainable_false_alone_uses_the_batch_and_frozen_batchnorm_does_not():
    images = np.random.RandomState(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    differs = {}
    for trained in (nima.Trained('head'), nima.Trained('all', freeze_batchnorm=True), nima.Trained('last:1'),
                    nima.Trained('last:2', freeze_batchnorm=True)):
        tf.compat.v1.keras.backend.clear_session()
        tf.keras.backend.set_learning_phase(trained.phase)
        model = nima.with_head(blocks((32, 32, 3)), 0.0, trained)
        predicted = nima.inference_model(model).predict(images)
        differs[trained] = abs(model.predict(images) - predicted).max() > 1e-5
        step = tf.keras.backend.get_session().graph.as_graph_def()
        assert not {node.op for node in step.node} & {'Switch', 'Merge'}
        norms = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
        assert [norm.trainable for norm in norms] == [trained.layers == 'last:1' and '_2' in norm.name
                                                      for norm in norms]
    assert list(differs.values()) == [True, False, True, False]


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_computed(data, tmp_path, monkeypatch):
    usage = shutil.disk_usage(str(tmp_path))
    monkeypatch.setattr(feature_rows.shutil, 'disk_usage', lambda path: usage._replace(free=20000))
    with pytest.raises(InputError, match=r'/features: the features of 14 crops, 2\.05 KB each, need 2\.87e-05 GB, '
                                         r'2e-05 GB are free\. Free space, choose another --features, or cache fewer'):
        run(data, tmp_path / 'model', '--trainable', 'last:1')
    assert not (tmp_path / 'features').exists()


def test_maps_are_rounded_to_eleven_bits():
    row = feature_rows.Row((14, 14, 512))
    assert row.bytes == 200704 and feature_rows.Row((1024,)).bytes == 4096
    values = np.random.RandomState(0).uniform(2 ** -10, 6, 1000).astype(np.float32)
    assert (abs(values.astype(row.dtype) - values) <= values * 2 ** -11).all()


@pytest.mark.slow
@pytest.mark.parametrize('layers, most', [('last:2', 1e-4), ('last:13', 0.01)])
def test_float16_hardly_moves_a_mean_score(layers, most, shared):
    weights = shared / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'
    files = sorted((shared / 'biq2021_sample' / 'images').glob('*'))[:10]
    if not weights.is_file() or not files:
        pytest.skip('no weights or images in shared')
    trained = nima.Trained(layers, freeze_batchnorm=True)
    tf.keras.backend.set_learning_phase(trained.phase)
    model = nima.with_head(MOBILENET((224, 224, 3), include_top=False, pooling='avg', weights=None), 0, trained)
    model.compile('sgd', nima.earth_mover_loss)
    nima.load_weights(model, model_file.read(str(weights)))
    base, last = nima.on_features(model, trained)
    images = [np.asarray(Image.open(str(file)).convert('RGB').resize((224, 224)), np.float32) for file in files]
    maps = base.predict(np.stack(images) / 127.5 - 1)
    means = [score_utils.mean_score(last.predict(each.astype(np.float32))) for each in (maps, maps.astype(np.float16))]
    assert 0 < abs(means[0] - means[1]).max() <= most < np.std(means[0]) / 10


def test_more_blocks_than_there_are_and_none(data, tmp_path, capsys):
    with pytest.raises(InputError, match='--trainable last:3: the base model has 2 depthwise-separable blocks. Use la'):
        run(data, tmp_path / 'model', '--trainable', 'last:3')
    with pytest.raises(SystemExit):
        train_flags(['--trainable', 'last:0'])
    assert "found 'last:0', expected all, head, or last:N with N from 1" in capsys.readouterr().err
