"""train.py and eval.py from their flags to their files, on images made by the tests."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import eval as score
import train
from utils import check_dataset, models
from utils.base import defaults
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.model import build, checkpoint, model_file
from utils.scoring import flags
from utils.training import log
from utils.training.flags import train_flags

TINY = ['--image_size', '32', '--batchsize', '4', '--val_size', '4', '--weights', 'none', '--device', 'cpu']
ROOT = os.path.dirname(os.path.abspath(train.__file__))


def train_tiny(dataset, folder, *more):
    return train.main([*dataset.flags, *TINY, '--TMP_MODEL_PATF', str(folder), '--TMP_LOG_PATH', str(folder / 'log'),
                       *more])


def score_tiny(dataset, folder, *more):
    return score.main([*dataset.flags, '--val_size', '4', '--TMP_MODEL_PATF', str(folder), '--device', 'cpu', *more])


def tensorboard(folder):
    """The values in the events of a folder, by tag."""
    import tensorflow as tf
    values = {}
    for path in sorted(folder.glob('events.out.tfevents*')):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                values.setdefault(value.tag, []).append(value.simple_value)
    return values


def weights_of(path):
    from tensorflow import keras
    return keras.models.load_model(str(path), compile=False).get_weights()


def test_train_writes_a_checkpoint_an_epoch_and_logs(dataset, tmp_path, capsys):
    history = train_tiny(dataset, tmp_path / 'model', '--epochs', '2')
    assert [os.path.basename(path) for path in checkpoint.existing(str(tmp_path / 'model'))] == [
        'model_001.h5', 'model_002.h5']
    printed = capsys.readouterr()
    for epoch in (1, 2):
        assert f'epoch {epoch}: loss {history.history["loss"][epoch - 1]:.4f}' in printed.out
    assert 'val_srcc' in printed.out
    assert f'only {12 - 4} training images available; using all of them' in printed.out
    assert 'epoch 2/2: 100%' in printed.err
    rows = log.read_csv(str(tmp_path / 'model' / 'log' / 'train.csv'))
    assert [row['val_loss'] for row in rows] == history.history['val_loss']
    for row in rows:
        assert tuple(row) == log.COLUMNS and row['val_emd_r2'] == row['val_loss']
        assert f'({row["val_constant_emd_r2"]:.4f})' in printed.out
    assert rows[0]['seconds_left'] > rows[1]['seconds_left'] == 0
    logged = tensorboard(tmp_path / 'model' / 'log')
    assert set(log.COLUMNS) - {'epoch'} <= {name.replace('epoch_', '') for name in logged}
    assert [value for name, value in logged.items() if 'val_constant_emd_r1' in name] == [
        pytest.approx([row['val_constant_emd_r1'] for row in rows])]
    best = log.best(rows)
    assert printed.out.splitlines()[-1] == (
        'best epoch: none, as val_srcc is undefined in all of them' if best is None else
        f'best epoch: {best["epoch"]:.0f} of 2, val_srcc {best["val_srcc"]:.4f}, '
        f'{checkpoint.best(str(tmp_path / "model"))}')


@pytest.mark.usefixtures('small_base')
def test_a_run_has_one_id_and_leaves_the_log_of_another_one(dataset, tmp_path, capsys):
    train_tiny(dataset, tmp_path / 'a', '--epochs', '1')
    train_tiny(dataset, tmp_path / 'a', '--epochs', '2', '--resume')
    first, second = (model_file.read(path).run['id'] for path in checkpoint.existing(str(tmp_path / 'a')))
    log_folder = tmp_path / 'a' / 'log'
    assert first == second == json.loads((log_folder / 'summary.json').read_text())['run']
    before = (log_folder / 'train.csv').read_text()
    train_tiny(dataset, tmp_path / 'b', '--epochs', '1', '--TMP_LOG_PATH', str(log_folder))
    kept = log_folder / f'train_{first[:8]}.csv'
    assert f'the log of another run is kept as {kept}' in capsys.readouterr().out
    assert kept.read_text() == before and len(log.read_csv(str(log_folder / 'train.csv'))) == 1
    train_tiny(dataset, tmp_path / 'a', '--epochs', '3', '--resume')
    assert len(log.read_csv(str(log_folder / 'train.csv'))) == 3


@pytest.mark.usefixtures('small_base')
def test_the_scores_printed_while_training_are_those_of_eval(dataset, tmp_path, capsys):
    history = train_tiny(dataset, tmp_path, '--epochs', '1')
    capsys.readouterr()
    metrics = score_tiny(dataset, tmp_path, '--checkpoint', 'model_001.h5')
    assert metrics['emd_r2'] == pytest.approx(history.history['val_loss'][0], abs=1e-6)
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'loss  {metrics["emd_r2"]:f}     srcc {metrics["srcc_mean"]:f}')


@pytest.mark.usefixtures('small_base')
def test_validation_every_so_many_epochs_and_at_the_end(dataset, tmp_path, capsys):
    history = train_tiny(dataset, tmp_path, '--epochs', '3', '--validate_every', '2')
    assert len(history.history['loss']) == 3 and len(history.history['val_srcc']) == 2
    rows = log.read_csv(str(tmp_path / 'log' / 'train.csv'))
    assert ['val_emd_r1' in row and 'val_srcc' in row for row in rows] == [False, True, True]
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith('epoch ')]
    assert ['val_srcc' in line for line in printed] == [False, True, True]


@pytest.mark.usefixtures('small_base')
@pytest.mark.parametrize('batchsize', ['1', '3', '4', '50'])
def test_every_image_counts_once_whatever_the_batch_size(dataset, tmp_path_factory, batchsize):
    folder = tmp_path_factory.getbasetemp() / 'one_checkpoint'
    if not checkpoint.existing(str(folder)):
        train_tiny(dataset, folder, '--epochs', '1')
    reference = score_tiny(dataset, folder, '--checkpoint', 'model_001.h5', '--val_size', '7', '--batchsize', '7')
    metrics = score_tiny(dataset, folder, '--checkpoint', 'model_001.h5', '--val_size', '7', '--batchsize', batchsize)
    assert metrics['emd_r2'] == pytest.approx(reference['emd_r2'], abs=1e-6)


@pytest.mark.usefixtures('small_base')
def test_the_same_seed_gives_the_same_losses_and_weights(dataset, tmp_path):
    histories = [train_tiny(dataset, tmp_path / name, '--epochs', '1', '--seed', seed)
                 for name, seed in (('a', '5'), ('b', '5'), ('c', '6'))]
    a, b, c = (weights_of(tmp_path / name / 'model_001.h5') for name in 'abc')
    assert histories[0].history['loss'] == histories[1].history['loss'] != histories[2].history['loss']
    assert all(np.array_equal(left, right) for left, right in zip(a, b))
    assert not all(np.array_equal(left, right) for left, right in zip(a, c))


def test_a_loaded_checkpoint_trains_as_the_model_would_have(tmp_path):
    import tensorflow as tf

    from utils import nima
    keras = tf.compat.v1.keras.backend
    random = np.random.RandomState(0)
    images = random.uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    labels = np.eye(10)[[1, 4, 5, 8]]
    keras.clear_session()
    tf.keras.backend.set_learning_phase(1)
    base = tf.keras.applications.MobileNet((32, 32, 3), include_top=False, weights=None)
    features = tf.keras.layers.GlobalAveragePooling2D()(base.get_layer('conv_pw_2_relu').output)
    model = nima.with_head(tf.keras.Model(base.input, features), 0.0)
    model.compile(nima.optimizer('sgd', learning_rate=0.1, momentum=0.9, decay=1e-3), nima.earth_mover_loss)
    model.train_on_batch(images, labels)
    checkpoint.save(model, str(tmp_path / 'model_001.h5'), {'preprocessing': Preprocessing(32).as_json()})
    predictions = nima.inference_model(model).predict_on_batch(images)
    next_loss = model.train_on_batch(images, labels)
    trained_on = model.get_weights()

    keras.clear_session()
    loaded = build.for_scoring(model_file.read(str(tmp_path / 'model_001.h5')))
    np.testing.assert_allclose(loaded.predict_on_batch(images), predictions, rtol=0, atol=1e-6)

    keras.clear_session()
    tf.keras.backend.set_learning_phase(1)
    resumed = tf.keras.models.load_model(str(tmp_path / 'model_001.h5'),
                                         custom_objects={'earth_mover_loss': nima.earth_mover_loss})
    assert type(resumed.optimizer).__name__ == 'SGD'
    assert resumed.train_on_batch(images, labels) == pytest.approx(next_loss, abs=1e-6)
    for ours, theirs in zip(resumed.get_weights(), trained_on):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    keras.clear_session()


@pytest.mark.usefixtures('small_base')
def test_the_cards_own_load_line_works(dataset, tmp_path):
    train_tiny(dataset, tmp_path, '--epochs', '1')
    from tensorflow import keras

    from utils.nima import earth_mover_loss
    TMP_MODEL_PATF = str(tmp_path) + '/'
    model = keras.models.load_model(TMP_MODEL_PATF + "model_001.h5",
                                    custom_objects={'earth_mover_loss': earth_mover_loss})
    assert model.output_shape == (None, 10)


@pytest.mark.usefixtures('small_base')
def test_a_missing_checkpoint_lists_those_that_are_there(dataset, tmp_path):
    train_tiny(dataset, tmp_path, '--epochs', '1')
    with pytest.raises(InputError, match=r'model_007\.h5: no such checkpoint, but model_001\.h5\. Type bash '
                                         r'.*test_1p\.sh .* --val_size 4 .* --checkpoint .*model_001\.h5, or '
                                         r'--checkpoint newest or best '):
        score_tiny(dataset, tmp_path)


def test_an_untrained_constant_prediction_says_why_srcc_is_undefined(dataset, tmp_path, capsys):
    import tensorflow as tf

    from utils import nima
    tf.compat.v1.keras.backend.clear_session()
    base = tf.keras.applications.MobileNet((32, 32, 3), include_top=False, pooling='avg', weights=None)
    model = nima.with_head(base, 0.75)
    model.get_layer('dense').set_weights([np.zeros((1024, 10)), np.zeros(10)])
    model.compile('sgd', nima.earth_mover_loss)
    checkpoint.save(model, str(tmp_path / 'model_007.h5'), {'preprocessing': Preprocessing(32).as_json()})
    metrics = score_tiny(dataset, tmp_path)
    assert np.isnan(metrics['srcc_mean'])
    printed = capsys.readouterr().out
    assert 'SRCC is undefined: ' in printed and 'equal' in printed
    assert printed.splitlines()[-1].endswith('srcc nan')


def test_demo_settings_give_way_to_typed_flags(tmp_path):
    typed = train_flags(['--demo', '--epochs', '2', '--TMP_MODEL_PATF', str(tmp_path)])
    assert (typed.epochs, typed.TMP_MODEL_PATF) == (2, str(tmp_path))
    assert typed.batchsize == defaults.DEMO['batchsize']
    assert train_flags(['--demo', '--batchsize', '100']).batchsize == 100
    own = train_flags(['--demo']).TMP_MODEL_PATF
    assert own == os.path.join(ROOT, 'model', 'demo')


def test_the_cards_defaults():
    card = vars(train_flags([]))
    expected = {'epochs': 7, 'batchsize': 100, 'train_size': 250502, 'val_size': 5000, 'image_size': 224,
                'learning_rate': 1e-4, 'momentum': 0.9, 'decay': 1e-6, 'dropout': 0.75, 'optimizer': 'sgd',
                'base_images_path': None, 'ava_dataset_path': None, 'TMP_WEIGHTS_PATH': None, 'weights': None,
                'device': 'auto'}
    assert {name: card[name] for name in expected} == expected


def test_help_is_instant_and_shows_the_cards_flags_first():
    for script in ('train.py', 'eval.py'):
        done = subprocess.run([sys.executable, '-X', 'importtime', os.path.join(ROOT, script), '--help'],
                              capture_output=True, text=True, check=True)
        assert 'tensorflow' not in done.stderr and 'scipy' not in done.stderr
        groups = [line for line in done.stdout.splitlines() if line.endswith(':') and not line.startswith(' ')]
        assert groups[1] == "the model card's flags:"


@pytest.mark.parametrize('argv, text', [
    (['--epochs', '0'], "found '0', expected a whole number from 1"),
    (['--batchsize', '1.5'], "found '1.5', expected a whole number from 1"),
    (['--learning_rate', 'nan'], "found 'nan', expected a number above 0"),
    (['--validate_every', '0'], "found '0', expected a whole number from 1"),
    (['--dropout', '1'], "found '1', expected a number from 0 up to, but not, 1"),
    (['--image_size', '16'], "found '16', expected a whole number from 32"),
    (['--batch', '4'], 'unrecognized arguments: --batch 4'),
    (['--TMP_MODEL_PATF', ''], 'found an empty path'),
    (['--weights', ''], 'found an empty path'),
])
def test_impossible_flags(argv, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_flags(argv)
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize('parse, argv, meant', [
    (flags.predict_flags, ['a.jpg', '--formt', 'json'], '--format'),
    (check_dataset._flags, ['--lst', 'a'], '--list'),
    (models._flags, ['describe', 'a.h5', '--jsn'], '--json'),
    (models._flags, ['import', 'a', '--resize', 'nearest', '--padding', 'tf', '-o', 'b', '--pading', 'x'],
     '--padding')])
def test_every_command_names_the_flag_that_may_have_been_meant(parse, argv, meant, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(argv)
    assert stopped.value.code == 2 and f'did you mean {meant}?' in capsys.readouterr().err


def test_typed_paths_count_from_the_current_folder_and_edited_ones_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train_flags(['--ava_dataset_path', 'AVA.txt']).ava_dataset_path == str(tmp_path / 'AVA.txt')
    for value, meant in (('a.h5', 'a.h5'), ('./a.h5', str(tmp_path / 'a.h5')), ('/a.h5', '/a.h5')):
        assert train_flags(['--weights', value]).weights == meant
        assert flags.eval_flags(['--checkpoint', value]).checkpoint == meant
