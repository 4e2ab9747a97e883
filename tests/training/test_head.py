"""Training the head alone: --trainable head, on features that are computed once and cached."""
import json
import os
import signal
import time

import numpy as np
import pytest
from conftest import image_set, make_dataset, reading

import train
from utils import nima
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava
from utils.data.image_set import Reading
from utils.model import build, model_file
from utils.training import feature_rows, features, log
from utils.training.flags import train_flags

COUNT, VAL = 14, 4
RANDOM = '--head_start', 'random'  # on ten images the closed form may be a constant, through which no gradient flows


def argv(dataset, folder, *more):
    return [*dataset.flags, '--val_size', str(VAL), '--batchsize', '5', '--image_size', '32', '--weights', 'none',
            '--device', 'cpu', '--threads', '1', '--dropout', '0', '--learning_rate', '0.1', '--TMP_MODEL_PATF',
            str(folder), '--TMP_LOG_PATH', str(folder / 'log'), *more]


def train_head(dataset, folder, *more):
    return train.main(argv(dataset, folder, '--trainable', 'head', '--features', str(folder.parent / 'features'),
                           *more))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A dataset, and two epochs of the head on it."""
    folder = tmp_path_factory.mktemp('head')
    dataset = make_dataset(folder / 'data', COUNT)
    history = train_head(dataset, folder / 'model', '--epochs', '2')
    return dataset, folder, history


def distributions_by_keras(path, dataset):
    """Predicted distributions of all images, and the true ones, by Keras alone from the checkpoint."""
    import tensorflow as tf
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    from utils import data_loader
    tf.compat.v1.keras.backend.clear_session()
    images = np.concatenate([images for images, _ in data_loader.val_batches(image_set(ratings), 5, reading(32))])
    model = build.for_scoring(model_file.read(str(path)))
    return model.predict(images), ratings.distributions


def emd(true, predicted):
    return np.sqrt(np.mean((np.cumsum(true, 1) - np.cumsum(predicted, 1)) ** 2, axis=1)).mean()


def test_only_the_head_changes_and_the_checkpoint_is_a_complete_nima(trained):
    dataset, folder, history = trained
    first, second = (model_file.read(str(folder / 'model' / f'model_{epoch:03d}.h5')).weights for epoch in (1, 2))
    changed = [name for name in first if any((a != b).any() for a, b in zip(first[name], second[name]))]
    assert changed == ['dense']
    predicted, true = distributions_by_keras(folder / 'model' / 'model_002.h5', dataset)
    assert emd(true[-VAL:], predicted[-VAL:]) == pytest.approx(history.history['val_loss'][-1], abs=1e-6)
    assert history.history['loss'][1] < history.history['loss'][0]


@pytest.mark.slow
def test_the_features_are_those_of_the_network_and_are_reused(trained, capsys):
    import tensorflow as tf

    from utils import data_loader
    dataset, folder, _ = trained
    path = folder / 'model' / 'model_002.h5'
    found = next((folder / 'features').glob('training-*'))
    cached = np.fromfile(str(found / feature_rows.DATA), np.float32).reshape(COUNT - VAL, -1)
    ratings = ava.read(str(dataset.labels), str(dataset.images)).take(slice(None, -VAL))
    tf.compat.v1.keras.backend.clear_session()
    model = build.for_scoring(model_file.read(str(path)))
    images = np.concatenate([images for images, _ in data_loader.val_batches(image_set(ratings), 5, reading(32))])
    base = tf.keras.Model(model.input, model.layers[-3].output)
    np.testing.assert_allclose(cached, base.predict(images), rtol=1e-5, atol=1e-6)
    written = os.stat(str(found / feature_rows.DATA)).st_mtime_ns
    train_head(dataset, folder / 'again', '--epochs', '1', '--learning_rate', '1e-9')
    assert f'{found}: cached features of {COUNT - VAL} training images reused' in capsys.readouterr().out
    assert os.stat(str(found / feature_rows.DATA)).st_mtime_ns == written
    predicted, true = distributions_by_keras(folder / 'again' / 'model_001.h5', dataset)
    rows = log.read_csv(str(folder / 'again' / 'log' / 'train.csv'))
    assert rows[0]['loss'] == pytest.approx(emd(true[:-VAL], predicted[:-VAL]), abs=1e-6)  # two full batches of 5


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits_and_all_layers_train_on_from_it(trained):
    dataset, folder, _ = trained
    for name, *more in (('whole',), ('parts', '--resume')):
        if name == 'parts':
            train_head(dataset, folder / name, '--epochs', '1', '--crops', '2', *RANDOM)
        train_head(dataset, folder / name, '--epochs', '3', '--crops', '2', *RANDOM, *more)
    paths = [str(folder / name / 'model_003.h5') for name in ('whole', 'parts')]
    files = list(map(model_file.read, paths))
    whole, parts = (file.weights for file in files)
    assert all(np.array_equal(a, b) for name in whole for a, b in zip(whole[name], parts[name]))
    assert all(np.array_equal(a, b) for a, b in zip(*(file.slots for file in files)))
    with pytest.raises(InputError, match=r'--trainable was head when this run began, now all\.'):
        train.main(argv(dataset, folder / 'parts', '--epochs', '4', '--resume'))
    train.main(argv(dataset, folder / 'on', '--epochs', '1', '--weights', paths[0]))
    after = model_file.read(str(folder / 'on' / 'model_001.h5')).weights
    assert any((a != b).any() for a, b in zip(whole['conv1'], after['conv1']))


@pytest.mark.usefixtures('small_base')
def test_stopped_while_computing_and_an_unreadable_image(tmp_path, monkeypatch, capsys):
    dataset = make_dataset(tmp_path / 'data', COUNT)
    (dataset.images / '1002.jpg').write_bytes(b'no image')
    predict = nima.predict
    calls = []

    def predict_and_stop(*args):
        calls.append(args)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)  # a thread notes it
        return predict(*args)

    monkeypatch.setattr(nima, 'predict', predict_and_stop)
    more = '--epochs', '1', '--max_bad_images', '0.2'
    with pytest.raises(SystemExit) as stopped:
        train_head(dataset, tmp_path / 'model', *more)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert f'stopped after the features of 5 of {COUNT - VAL} crops; run the same command to resume' in (
        capsys.readouterr().err)
    history = train_head(dataset, tmp_path / 'model', *more)
    printed = capsys.readouterr()
    assert printed.err.count('1002.jpg: unreadable') == 1
    assert 'unreadable images: 1 training' in printed.out and np.isfinite(history.history['loss']).all()
    assert [len(call[1]) for call in calls[1:]] == [5, VAL, VAL]  # the other five, validation's, and its scores
    damage(next((tmp_path / 'features').glob('training-*')) / feature_rows.DATA)
    train_head(dataset, tmp_path / 'other', *more)
    assert 'cached features differ from their manifest, computing them again' in capsys.readouterr().out


def damage(path):
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize('typed', [['--crops', '2'], ['--features', 'kept']])
def test_flags_of_the_head_without_it(typed, capsys):
    with pytest.raises(SystemExit):
        train_flags(typed)
    assert f'{typed[0]} needs --trainable head or last:N: all layers' in capsys.readouterr().err


def test_what_the_features_depend_on_has_another_folder(dataset):
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    source = features.Source(image_set(ratings, what='training'), reading(32), None, 0)

    def key(each):
        return json.dumps(each.identity(), sort_keys=True)

    large = Reading(Preprocessing(32, longest_side=40))
    others = [source._replace(reading=large), source._replace(crops=1), source._replace(crops=2),
              source._replace(crops=2, seed=1),
              source._replace(reading=reading(64)), source._replace(reading=reading(32, max_pixels=7)),
              source._replace(images=image_set(ratings.take(slice(1, None))))]
    os.utime(str(dataset.images / '1003.jpg'), (1, 1))
    assert len({key(each) for each in [source, *others]}) == 1 + len(others)
    before = key(source)
    os.utime(str(dataset.images / '1003.jpg'), (2, 2))
    assert key(source) != before


def test_a_later_field_of_preprocessing_keeps_the_cached_features(dataset, monkeypatch):
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    source = features.Source(image_set(ratings, what='training'), reading(32), None, 0)
    before = source.identity()
    assert before['decoding'] == {'fast': False, 'max_pixels': 10 ** 8}  # as every cache has it
    as_json = Preprocessing.as_json
    monkeypatch.setattr(Preprocessing, 'as_json', lambda self: {**as_json(self), 'later': 'default'})
    assert source.identity() == before
    monkeypatch.setattr(Preprocessing, 'as_json', lambda self: {**as_json(self), 'later': self.image_size})
    assert source.identity()['preprocessing'] == {**before['preprocessing'], 'later': 32}
