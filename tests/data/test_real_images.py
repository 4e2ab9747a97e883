"""Training and scoring on real AVA images, from ImageNet weights; weights against standalone Keras."""
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import SHARED, copy_project

import eval as score
import train
from utils import score_utils
from utils.data import ava
from utils.model import build, model_file

pytestmark = pytest.mark.slow


def dataset_flags(shared):
    return ['--ava_dataset_path', str(shared / 'ava_sample' / 'AVA.txt'),
            '--base_images_path', str(shared / 'ava_sample' / 'images')]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A model overfitted on eight real images at a typed rate."""
    if not SHARED.is_dir():
        pytest.skip('no folder shared/ beside the project: it holds the real images and weights')
    folder = tmp_path_factory.mktemp('real')
    weights = SHARED / 'weights' / 'mobilenet_1_0_224_tf_no_top.RECONSTRUCTED.h5'
    history = train.main([*dataset_flags(SHARED), '--weights', str(weights), '--val_size', '2', '--batchsize', '8',
                          '--epochs', '40', '--learning_rate', '0.004', '--dropout', '0', '--device', 'cpu',
                          '--TMP_MODEL_PATF', str(folder), '--TMP_LOG_PATH', str(folder)])
    return folder, history


def test_overfitted_the_loss_falls_below_the_constant_predictors(trained, shared):
    _, history = trained
    votes = ava.read(*dataset_flags(shared)[1::2]).distributions[:8]
    constant = score_utils.emd(votes, score_utils.constant_prediction(votes), 2)
    assert np.mean(history.history['loss'][-5:]) < constant


def test_scoring_real_images(trained, shared, capsys):
    folder, history = trained
    metrics = score.main([*dataset_flags(shared), '--val_size', '2', '--TMP_MODEL_PATF', str(folder),
                          '--checkpoint', 'model_040.h5', '--device', 'cpu'])
    assert metrics['emd_r2'] == pytest.approx(history.history['val_loss'][-1], abs=1e-6)
    assert capsys.readouterr().out.splitlines()[-1].startswith('loss  0.')


STANDALONE = '''
import sys
import h5py, keras, numpy as np
folder, = sys.argv[1:]
keras.backend.set_learning_phase(0)
base = keras.applications.mobilenet.MobileNet((224, 224, 3), alpha=1, include_top=False, pooling="avg", weights=None)
model = keras.models.Model(base.input, keras.layers.Dense(10, activation="softmax", name="dense")(
    keras.layers.Dropout(0.75, name="dropout")(base.output)))
model.load_weights(folder + "/model_040.h5")
np.save(folder + "/standalone.npy", model.predict(np.load(folder + "/images.npy")))
'''


def test_the_weights_load_in_standalone_keras_and_predict_the_same(trained):
    pytest.importorskip('keras', reason='standalone Keras 2.3.1 is in tests/requirements.txt')
    import tensorflow as tf
    folder, _ = trained
    images = np.random.RandomState(0).uniform(-1, 1, (4, 224, 224, 3)).astype(np.float32)
    np.save(str(folder / 'images.npy'), images)
    subprocess.run([sys.executable, '-c', STANDALONE, str(folder)], check=True, stderr=subprocess.DEVNULL,
                   env={**os.environ, 'KERAS_BACKEND': 'tensorflow'})
    tf.compat.v1.keras.backend.clear_session()
    ours = build.for_scoring(model_file.read(str(folder / 'model_040.h5'))).predict(images)
    np.testing.assert_allclose(np.load(str(folder / 'standalone.npy')), ours, rtol=0, atol=1e-6)


def test_the_two_lines_edited_with_sed(shared, tmp_path):
    copy_project(tmp_path)
    shutil.copytree(str(shared / 'ava_sample'), str(tmp_path / 'my images'))
    os.symlink(str(shared / 'weights' / 'mobilenet_1_0_224_tf_no_top.RECONSTRUCTED.h5'),
               str(tmp_path / 'weights' / 'mobilenet_1_0_224_tf_no_top.h5'))
    for name, path in (('base_images_path', 'images'), ('ava_dataset_path', 'AVA.txt')):
        subprocess.run(['sed', '-i', f"s#^{name} = .*#{name} = r'./my images/{path}'#",
                        str(tmp_path / 'utils' / 'data_loader.py')], check=True)
    for script, flags in (('train.py', ['--batchsize', '8', '--epochs', '1']),
                          ('eval.py', ['--checkpoint', 'model_001.h5'])):
        done = subprocess.run([sys.executable, str(tmp_path / script), '--val_size', '2', '--device', 'cpu', *flags],
                              stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith('loss  0.')
