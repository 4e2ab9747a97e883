"""predict.py: what it prints and where, which files it takes, what it says of the others."""
import contextlib
import json
import shutil
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, make_dataset
from PIL import Image

import predict
from utils import ava, checkpoint, data_loader, model_file, nima, photographs, score_output, score_utils
from utils.errors import InputError

MEAN, STD = 'mean_score_1_to_10', 'standard_deviation'
ROUNDING = 1e-4  # in scores, between one batch size and another


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A checkpoint for images of side 32, resized with nearest, that tells photographs apart."""
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)
    network = nima.with_head(tf.keras.applications.MobileNet((32, 32, 3), include_top=False, pooling='avg',
                                                             weights=None), 0.75)
    random = np.random.RandomState(0)
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):  # depthwise ones too; large enough to reach the output
            kernel = layer.get_weights()[0]
            fan_in = np.prod(kernel.shape[:2 if 'dw' in layer.name else 3])
            layer.set_weights([random.normal(0, 2 / np.sqrt(fan_in), kernel.shape)])
    path = tmp_path_factory.mktemp('model') / 'model_007.h5'
    checkpoint.save(network, str(path), {'preprocessing': model_file.preprocessing(32, 'nearest'), 'epoch': 7})
    return path


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 7)


def run(model, *argv):
    return predict.main([*map(str, argv), '--checkpoint', str(model), '--device', 'cpu'])


def scored(model, folder, *argv):
    """The rows of a run, through a file in `folder`."""
    path = folder / 'scores.jsonl'
    run(model, *argv, '--output', path)
    rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    path.unlink()
    return rows


def test_results_are_those_of_evals_pipeline(model, dataset, tmp_path):
    ratings = ava.read(*dataset.flags[1::2])
    with contextlib.closing(data_loader.val_batches(ratings, 7, image_size=32, resize='nearest')) as batches:
        images, _ = next(batches)
    with contextlib.closing(photographs.PhotographReader(image_size=32, resize='nearest')) as reader:
        np.testing.assert_array_equal(np.stack([reader.read(path) for path in ratings.paths]), images)
    tf.compat.v1.keras.backend.clear_session()
    shares = nima.predict(checkpoint.load_for_scoring(str(model)), images, 7)
    results = scored(model, tmp_path, dataset.images, '--batchsize', '3')
    assert [row['file'] for row in results] == list(ratings.paths)
    means, stds = score_utils.mean_score(shares), score_utils.std_score(shares)
    assert means.max() - means.min() > 100 * ROUNDING
    assert [row[MEAN] for row in results] == pytest.approx(means.tolist(), abs=ROUNDING)
    assert [row[STD] for row in results] == pytest.approx(stds.tolist(), abs=ROUNDING)


def test_as_a_user_results_on_standard_output_and_all_else_beside_them(model, dataset, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff but no more')
    good = sorted(dataset.images.iterdir())[:2]
    command = [sys.executable, str(ROOT / 'predict.py'), '--checkpoint', str(model), '--device', 'cpu',
               '--format', 'json']
    done = subprocess.run([*command, str(good[0]), 'broken.jpg', 'nowhere.jpg', str(good[1])], cwd=str(tmp_path),
                          capture_output=True, text=True)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    results = json.loads(done.stdout)
    assert [row['file'] for row in results] == [str(path) for path in good]
    assert all(1 <= row[MEAN] <= 10 for row in results)
    assert 'device: cpu (asked for)' in done.stderr
    assert 'broken.jpg: found a JPEG file that cannot be decoded (' in done.stderr
    assert 'nowhere.jpg: found nothing to read (No such file or directory), expected a photograph' in done.stderr
    assert done.stderr.splitlines()[-1] == ('predict.py: error: found 2 of 4 files without a score, named above, '
                                            'expected photographs')
    done = subprocess.run([*command, str(good[0])], cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)[0][MEAN] == pytest.approx(results[0][MEAN], abs=ROUNDING)


def test_a_model_whose_predictions_are_not_numbers(model, dataset, tmp_path, capsys):
    path = tmp_path / 'astray.h5'
    shutil.copy(str(model), str(path))
    with h5py.File(str(path), 'a') as file:
        file['model_weights']['dense']['dense']['bias:0'][...] = np.nan
    with pytest.raises(InputError, match=r'astray\.h5: found a model whose predictions are not numbers'):
        run(path, dataset.images, '--format', 'json')
    assert capsys.readouterr().out == ''
    with pytest.raises(ValueError):
        list(score_output.json_array([{MEAN: float('nan')}], [MEAN]))


def test_png_and_gif_by_content_and_what_is_not_taken(model, tmp_path, capsys):
    pixels = np.random.RandomState(0).randint(256, size=(40, 50, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    for name, kind, more in (('png.jpg', 'PNG', {}), ('gif.jpg', 'GIF', {}), ('moving.gif', 'GIF', {
            'save_all': True, 'append_images': [Image.fromarray(pixels[::-1])]}), ('windows.png', 'BMP', {})):
        picture.save(str(tmp_path / name), kind, **more)
    header = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + b'IHDR' + struct.pack('>II', 65535, 65535)
    (tmp_path / 'giant.png').write_bytes(header + bytes(40))
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.jpg').write_text('BM is how a BMP begins')
    with pytest.raises(InputError, match='found 3 of 7 files without a score'):
        run(model, tmp_path, tmp_path / 'empty', '--format', 'csv')
    printed = capsys.readouterr()
    assert [line.split(',')[0] for line in printed.out.splitlines()] == [
        'file', *(str(tmp_path / name) for name in ('gif.jpg', 'moving.gif', 'png.jpg', 'windows.png'))]
    for said in (f'giant.png: found a PNG file that cannot be decoded (more than 100 megapixels: {65535 * 65535})',
                 'text.jpg: found a BMP file that cannot be decoded (',
                 'empty: found nothing to read (Is a directory), expected a photograph'):
        assert said in printed.err


def test_the_bomb_among_the_bad_images(model, shared, capsys):
    with pytest.raises(InputError, match='found 1 of 1 files without a score'):
        run(model, shared / 'bad_images' / 'bomb_max_size.jpg')
    assert 'bomb_max_size.jpg: found a ' in capsys.readouterr().err


def test_the_checkpoint_is_that_of_evals_lines_unless_typed(model, dataset, tmp_path):
    photograph = str(next(dataset.images.iterdir()))
    shutil.copy(str(model), str(tmp_path))
    assert predict.main([photograph, '--TMP_MODEL_PATF', str(tmp_path), '--device', 'cpu']) == 1
    with pytest.raises(InputError, match=r'model_003\.h5: found no such checkpoint, but model_007\.h5'):
        predict.main([photograph, '--TMP_MODEL_PATF', str(tmp_path), '--checkpoint', 'model_003.h5'])


def test_help_is_instant():
    done = subprocess.run([sys.executable, '-X', 'importtime', str(ROOT / 'predict.py'), '--help'],
                          capture_output=True, text=True, check=True)
    assert 'tensorflow' not in done.stderr and 'PATH [PATH ...]' in done.stdout
