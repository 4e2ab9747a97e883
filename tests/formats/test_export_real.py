"""The trained model of shared/ through every format and engine, on real photographs."""
import contextlib
import csv
import importlib.util
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import image_set, reading

import eval as score
import predict
from utils import data_loader, export, models, score_utils
from utils.base.preprocessing import Preprocessing
from utils.data import ava
from utils.formats import frozen, onnx_model, saved_model

COUNT = 10  # all of them

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The checkpoint, the flags of the dataset, the folder of its images and their labels."""
    from conftest import SHARED
    weights = SHARED / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'
    if not weights.exists() or not (SHARED / 'ava_sample').exists():
        pytest.skip('no shared/weights or no shared/ava_sample')
    path = tmp_path_factory.mktemp('model') / 'aesthetic.h5'
    models.import_weights(str(weights), str(path), Preprocessing(resize='nearest', padding='symmetric'))
    images = SHARED / 'ava_sample' / 'images'
    flags = ['--ava_dataset_path', str(SHARED / 'ava_sample' / 'AVA.txt'), '--base_images_path', str(images),
             '--val_size', str(COUNT)]
    return path, flags, images


@pytest.fixture(scope='module')
def evaluated(trained):
    return score.main(['--checkpoint', str(trained[0]), '--device', 'cpu', *trained[1]])


def shares_of(kind, folder, pixels, files):
    """The distributions that an export predicts in its own runtime."""
    if kind == 'saved_model':
        with saved_model.running(str(folder / '1')) as call:
            return call('serving_default', files)['shares']
    if kind == 'onnx':
        return onnx_model.onnx_runtime(str(folder / 'aesthetic.onnx'))(pixels)
    with frozen.running(str(folder / 'aesthetic.pb')) as run:
        if kind == 'om':  # one image at a time
            return np.concatenate([run(pixels[number:number + 1]) for number in range(len(pixels))])
        return run(pixels)


@pytest.mark.parametrize('kind', ['pb', 'saved_model', 'onnx', 'om'])
def test_every_format_keeps_the_srcc(trained, evaluated, kind, tmp_path):
    path, flags, images = trained
    if kind == 'onnx' and not all(map(importlib.util.find_spec, onnx_model.EXPORT_PACKAGES)):
        pytest.skip('requirements-export.txt is not installed')
    export.main([str(path), '--format', kind, '--output', str(tmp_path), '--photographs', str(images)])
    folder = tmp_path / kind
    (report,) = [json.loads(file.read_text()) for file in folder.glob('**/parity.json')]
    assert report['passed'] and report['photographs'] == 10
    assert all(found['of_a_share'] <= 1e-5 for found in report['largest_difference'].values())
    val = ava.split(ava.read(flags[1], flags[3]), COUNT, to_train=0)[1]
    with contextlib.closing(data_loader.val_batches(image_set(val), COUNT, reading(224, 'nearest'))) as batches:
        pixels, _ = next(batches)
    files = [open(file, 'rb').read() for file in val.paths]  # noqa: SIM115
    metrics = score_utils.metrics(val.distributions, shares_of(kind, folder, pixels, files))
    assert metrics == pytest.approx(evaluated, abs=1e-5)
    assert metrics['srcc_mean'] == pytest.approx(evaluated['srcc_mean'], abs=1e-6)


def test_bins_and_srcc_through_the_frozen_graph_of_the_offline_model(trained, evaluated, tmp_path):
    path, flags, images = trained
    export.main([str(path), '--format', 'om', '--output', str(tmp_path), '--photographs', str(images)])
    export.main(['bins', str(path), '--output', str(tmp_path / 'bins'), *flags])
    (tmp_path / 'out').mkdir()
    with frozen.running(str(tmp_path / 'om' / 'aesthetic.pb')) as run:
        for file in (tmp_path / 'bins' / 'inputs').iterdir():
            pixels = np.fromfile(str(file), np.float32).reshape(1, 224, 224, 3)
            run(pixels).tofile(str(tmp_path / 'out' / f'{file.stem}_output_0.bin'))
    metrics = export.main(['srcc', str(tmp_path / 'bins'), str(tmp_path / 'out')])
    assert metrics == pytest.approx(evaluated, abs=1e-5)  # one image at a time: other last bits
    assert metrics['srcc_mean'] == pytest.approx(evaluated['srcc_mean'], abs=1e-6)


def test_openvino_agrees_and_bfloat16_is_near(trained, evaluated, tmp_path):
    path, flags, images = trained
    if not all(map(importlib.util.find_spec, onnx_model.OPENVINO_PACKAGES)):
        pytest.skip('requirements-export.txt is not installed')
    tf.compat.v1.keras.backend.clear_session()
    assert score.main(['--checkpoint', str(path), '--engine', 'openvino', *flags]) == pytest.approx(evaluated, abs=1e-4)
    means = {}
    for name, more in (('tf', ['--device', 'cpu']), ('f32', ['--engine', 'openvino']),
                       ('bf16', ['--engine', 'openvino', '--fast'])):
        predict.main([str(images), '--checkpoint', str(path), '--output', str(tmp_path / f'{name}.csv'), *more])
        rows = csv.DictReader((tmp_path / f'{name}.csv').open())
        means[name] = np.array([float(row['mean_score_1_to_10']) for row in rows])
    assert np.abs(means['f32'] - means['tf']).max() <= 1e-4
    assert np.abs(means['bf16'] - means['tf']).max() <= 0.15
    shutil.rmtree(str(tmp_path))
