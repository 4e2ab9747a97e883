"""The head in closed form: the ridge regression, the Dense layer that ranks alike, the choice of a learning rate."""
import re

import numpy as np
import pytest
from conftest import image_set, make_dataset, small_mobilenet

import train
from utils import score_utils
from utils.data import ava, distributions
from utils.model import model_file
from utils.training import closed_form, head
from utils.training.flags import train_flags


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture
def drawn():
    """Features whose mean is far from 0, as those after a ReLU, and mean scores that follow from them but for noise."""
    random = np.random.RandomState(3)
    features = (2 + random.normal(0, 1, (300, 12))).astype(np.float32)
    return features, np.clip(5 + features @ random.normal(0, 0.3, 12) - 1 + random.normal(0, 0.2, 300), 1.2, 9.8)


def test_without_a_penalty_it_is_least_squares(drawn, monkeypatch):
    features, means = drawn
    monkeypatch.setattr(closed_form, 'PENALTIES', (1e-12,))
    found = closed_form.fit(features, means)
    expected = np.linalg.lstsq(np.c_[features, np.ones(300)].astype(np.float64), means, rcond=None)[0]
    np.testing.assert_allclose([*found.weights, found.constant], expected, rtol=1e-6, atol=1e-8)


def test_with_a_penalty_the_gradient_is_zero(drawn, monkeypatch):
    features, means = drawn
    monkeypatch.setattr(closed_form, 'PENALTIES', (0.5,))
    found = closed_form.fit(features, means)
    x = features - features.mean(0)
    penalty = 0.5 * np.linalg.eigvalsh(x.T @ x / 300).mean()
    residual = found.predict(features.astype(np.float64)) - means
    np.testing.assert_allclose(x.T @ residual / 300 + penalty * found.weights, 0, atol=1e-6)
    assert residual.mean() == pytest.approx(0, abs=1e-6)  # the constant has no penalty


def test_cross_validation_wants_more_penalty_where_features_are_many_and_noise_is_large():
    random = np.random.RandomState(0)
    features = random.normal(0, 1, (60, 50)).astype(np.float32)
    signal = features @ random.normal(0, 0.2, 50)
    clean, noisy = (closed_form.fit(features, 5 + signal + random.normal(0, noise, 60)) for noise in (1e-4, 3))
    assert clean.penalty < 1e-3 < 1e-2 < noisy.penalty and noisy.srcc < clean.srcc


def test_the_dense_layer_ranks_as_the_closed_form(drawn):
    features, means = drawn
    votes = distributions.from_means_and_stds(means, np.full(300, 0.7))
    found = closed_form.fit(features, means)
    kernel, bias = closed_form.dense(found, features, votes)
    predicted = softmax(features @ kernel.astype(np.float64) + bias)
    order = score_utils.mean_score(predicted)
    assert score_utils.srcc(order, found.predict(features)) > 0.9999
    assert np.abs(order - means).mean() < 0.35
    constant = score_utils.emd(votes, score_utils.constant_prediction(votes), 2)
    assert score_utils.emd(votes, predicted, 2) < 0.75 * constant


def test_too_few_images():
    with pytest.raises(ValueError, match='found 9 images, expected at least 10'):
        closed_form.fit(np.zeros((9, 2), np.float32), np.zeros(9))


# --- in a training

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    with small_mobilenet():
        yield make_dataset(tmp_path_factory.mktemp('data'), 40)


def run(data, folder, *more):
    return train.main([*data.flags, '--image_size', '32', '--val_size', '10', '--batchsize', '5', '--weights', 'none',
                       '--device', 'cpu', '--threads', '1', '--trainable', 'head', '--TMP_MODEL_PATF', str(folder),
                       *more])


def test_a_new_head_starts_from_the_closed_form(data, tmp_path, capsys):
    history = run(data, tmp_path / 'model', '--epochs', '1', '--learning_rate', '1e-9')
    said = re.search(r'val_srcc (\S+), from which the head starts; penalty \S+, by cross-validation on the training',
                     capsys.readouterr().out)
    assert history.history['val_srcc'][0] == pytest.approx(float(said.group(1)), abs=1e-4)
    random = run(data, tmp_path / 'random', '--epochs', '1', '--learning_rate', '1e-9', '--head_start', 'random')
    assert history.history['val_loss'][0] < random.history['val_loss'][0]
    assert 'from which the head starts' not in capsys.readouterr().out
    # A head that has been trained is not replaced.
    kept = run(data, tmp_path / 'kept', '--epochs', '1', '--learning_rate', '1e-9', '--weights',
               str(tmp_path / 'random' / 'model_001.h5'))
    assert kept.history['val_loss'][0] == pytest.approx(random.history['val_loss'][0], abs=1e-6)
    assert 'closed form' not in capsys.readouterr().out


def test_the_rate_is_chosen_on_training_images_and_kept_on_resume(data, tmp_path, capsys):
    run(data, tmp_path / 'model', '--epochs', '1', '--learning_rate', 'auto')
    chosen = float(re.search(r'--learning_rate auto: (\S+), EMD', capsys.readouterr().out).group(1))
    first = model_file.read(str(tmp_path / 'model' / 'model_001.h5'))
    assert first.run['flags']['learning_rate'] == chosen and int(first.slots[0]) == 6  # steps: the test's do not count
    run(data, tmp_path / 'model', '--epochs', '2', '--learning_rate', 'auto', '--resume')
    assert '--learning_rate auto' not in capsys.readouterr().out
    run(data, tmp_path / 'typed', '--epochs', '2', '--learning_rate', str(chosen))
    auto, typed = (model_file.read(str(tmp_path / name / 'model_002.h5')).weights for name in ('model', 'typed'))
    assert all(np.array_equal(a, b) for name in auto for a, b in zip(auto[name], typed[name]))


def test_so_many_features_that_memory_would_not_hold_their_products_are_left_out(dataset):
    """A network of a few layers can have them; 30,000 took 20 GB."""
    rows = np.zeros((1, 12, closed_form.WIDEST + 1), np.float32)
    images = image_set(ava.read(str(dataset.labels), str(dataset.images)))._replace(features=rows)
    reported = []
    head._start(None, images, images, None, 0, reported.append)
    assert reported == [f'closed form: left out, as an image has {closed_form.WIDEST + 1} features, more than 4096']


@pytest.mark.parametrize('typed', [[], ['--trainable', 'head', '--crops', 'fresh']])
def test_auto_needs_cached_features(typed, capsys):
    with pytest.raises(SystemExit):
        train_flags(['--learning_rate', 'auto', *typed])
    assert '--learning_rate auto needs --trainable head and cached features' in capsys.readouterr().err


def test_the_defaults_on_cached_features():
    card, head, last = (train_flags(words) for words in ([], ['--trainable', 'head'], ['--trainable', 'last:2']))
    assert [(each.dropout, each.learning_rate) for each in (card, head, last)] == [(0.75, 1e-4), (0, 0.01), (0, 0.001)]
    assert train_flags(['--trainable', 'last:2', '--crops', 'fresh']).learning_rate == 1e-4
    assert train_flags(['--trainable', 'head', '--dropout', '0.5']).dropout == 0.5
    assert train_flags(['--trainable', 'head', '--crops', 'fresh']).dropout == 0.75


def test_a_ranking_with_bad_distributions_is_warned_of(data, tmp_path, capsys):
    run(data, tmp_path / 'model', '--epochs', '1', '--learning_rate', '1e-9')
    capsys.readouterr()
    from utils.training import callbacks
    ratings = ava.read(str(data.labels), str(data.images))
    from conftest import image_set
    validation = callbacks.Validation(None, iter([]), image_set(ratings), image_set(ratings).bad, batchsize=5)
    right = np.argsort(np.argsort(score_utils.mean_score(ratings.distributions))) / 40
    validation._figures(softmax(np.outer(right * 60 - 30, np.arange(10))).astype(np.float32))
    assert re.search(r'warning: the images are ranked \(val_srcc 0\.\d+\), but the predicted distributions are worse '
                     r'than the same one for every image', capsys.readouterr().out)
