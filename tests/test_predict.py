"""predict.py: what it prints and where, which files it takes, what it says of the others."""
import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, image_set, make_dataset, reading
from PIL import Image

import predict
from utils import data_loader, models, nima, score_utils
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava, image_files
from utils.model import build, checkpoint, model_file
from utils.scoring import engines, score_tables

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
    checkpoint.save(network, str(path), {'preprocessing': Preprocessing(32, 'nearest').as_json(), 'epoch': 7})
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
    with contextlib.closing(data_loader.val_batches(image_set(ratings), 7, reading(32, 'nearest'))) as batches:
        images, _ = next(batches)
    with contextlib.closing(image_files.ImageReader(Preprocessing(32, 'nearest'))) as reader:
        np.testing.assert_array_equal(np.stack([reader.read(path) for path in ratings.paths]), images)
    tf.compat.v1.keras.backend.clear_session()
    shares = nima.predict(build.for_scoring(model_file.read(str(model))), images, 7)
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
    assert 'broken.jpg: unreadable JPEG (' in done.stderr
    assert 'cannot read nowhere.jpg: No such file or directory' in done.stderr
    assert done.stderr.splitlines()[-1] == 'predict.py: error: 2 of 4 files could not be scored (listed above)'
    done = subprocess.run([*command, str(good[0])], cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)[0][MEAN] == pytest.approx(results[0][MEAN], abs=ROUNDING)


def test_a_model_that_predicts_nan(model, dataset, tmp_path, capsys):
    path = tmp_path / 'astray.h5'
    shutil.copy(str(model), str(path))
    with h5py.File(str(path), 'a') as file:
        file['model_weights']['dense']['dense']['bias:0'][...] = np.nan
        model_file.write_metadata(file, model_file.read(str(model)).metadata)
    with pytest.raises(InputError, match=r'astray\.h5 predicts NaN: its training diverged'):
        run(path, dataset.images, '--format', 'json')
    assert capsys.readouterr().out == ''
    with pytest.raises(ValueError):
        list(score_tables.json_array([{MEAN: float('nan')}], [MEAN]))


@pytest.mark.parametrize('value', [0.5, -0.1])
def test_a_model_whose_outputs_are_no_shares_of_votes(monkeypatch, value):
    """Ten outputs without a softmax, as other heads have, are no distribution."""
    monkeypatch.setattr(engines.nima, 'predict', lambda *_: np.full((2, 10), value, np.float32))
    engine = engines.Engine('linear.h5', None, Preprocessing(), 2, None)
    with pytest.raises(InputError, match=r'^linear\.h5 predicts no shares of votes: they are negative or their sum is '
                                         r'not 1\. It needs a softmax at its end\. Choose another --checkpoint$'):
        engine.predict(np.zeros((2, 8, 8, 3), np.float32))


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
    with pytest.raises(InputError, match='3 of 7 files could not be scored'):
        run(model, tmp_path, tmp_path / 'empty', '--format', 'csv')
    printed = capsys.readouterr()
    assert [line.split(',')[0] for line in printed.out.splitlines()] == [
        'file', *(str(tmp_path / name) for name in ('gif.jpg', 'moving.gif', 'png.jpg', 'windows.png'))]
    for said in (f'giant.png: unreadable PNG (more than 100 megapixels: {65535 * 65535})',
                 'text.jpg: unreadable BMP (',
                 'empty is a folder without images'):
        assert said in printed.err


def test_what_is_said_of_a_name_is_one_line(model, tmp_path, capsys):
    name = os.fsdecode(b'b\x1b[31m\xff\nTraceback.jpg')
    (tmp_path / name).write_text('bad')
    with pytest.raises(InputError):
        run(model, tmp_path)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if '.jpg' in line]
    assert f'{tmp_path}/b\\x1b[31m\\xff\\x0aTraceback.jpg: ' in line and line.isprintable()


def test_the_bomb_among_the_bad_images(model, shared, capsys):
    with pytest.raises(InputError, match='1 of 1 files could not be scored'):
        run(model, shared / 'bad_images' / 'bomb_max_size.jpg')
    assert 'bomb_max_size.jpg: unreadable JPEG (' in capsys.readouterr().err


@pytest.mark.slow
def test_the_trained_model_on_real_photographs_agrees_with_evals_pipeline_and_numpy(shared, tmp_path):
    model = tmp_path / 'model.h5'
    models.main(['import', str(shared / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'), '--resize', 'nearest',
               '--padding', 'symmetric', '-o', str(model)])
    ratings = ava.read(str(shared / 'ava_sample' / 'AVA.txt'), str(shared / 'ava_sample' / 'images'))
    tf.compat.v1.keras.backend.clear_session()
    network = build.for_scoring(model_file.read(str(model)))
    with contextlib.closing(data_loader.val_batches(image_set(ratings), 4, reading(224, 'nearest'))) as batches:
        shares = np.concatenate([nima.predict(network, images, 4) for images, _ in batches]).astype(np.float64)
    scores = np.arange(1, 11)
    means = (shares * scores).sum(axis=1)
    stds = np.sqrt((shares * (scores - means[:, None]) ** 2).sum(axis=1))
    assert np.ptp(means) > 1
    for batchsize in (1, 7):
        rows = scored(model, tmp_path, *ratings.paths, '--shares', '--batchsize', batchsize)
        assert [row['file'] for row in rows] == list(ratings.paths)
        found = np.array([[row[f'share_of_{score}'] for score in scores] for row in rows])
        np.testing.assert_allclose(found, shares, rtol=0, atol=1e-6)
        np.testing.assert_allclose([row[MEAN] for row in rows], means, rtol=0, atol=1e-5)
        np.testing.assert_allclose([row[STD] for row in rows], stds, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_bad_images_among_good_ones_change_no_score(model, dataset, shared, tmp_path, capsys):
    good = sorted(dataset.images.iterdir())
    mixed = [path for pair in zip(sorted((shared / 'bad_images').glob('*.jpg')), good * 6) for path in pair]
    alone = {row['file']: row for row in scored(model, tmp_path, *good)}
    for batchsize in (1, 7):
        output = tmp_path / f'{batchsize}.jsonl'
        with pytest.raises(InputError, match=r'13 of 80 files could not be scored \(listed above\)'):
            run(model, *mixed, '--batchsize', batchsize, '--output', output)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert len(rows) == 67 and [row['file'] for row in rows] == [
            path for path in map(str, mixed) if path in {row['file'] for row in rows}]
        ours = [row for row in rows if row['file'] in alone]
        assert len(ours) == 40
        assert [row[MEAN] for row in ours] == pytest.approx([alone[row['file']][MEAN] for row in ours], abs=ROUNDING)
        printed = capsys.readouterr().err
        assert printed.count(': unreadable JPEG (') == 11 and printed.count(': not a JPEG, PNG, ') == 2


def test_the_checkpoint_is_that_of_evals_lines_unless_typed(model, dataset, tmp_path):
    photograph = str(next(dataset.images.iterdir()))
    shutil.copy(str(model), str(tmp_path))
    assert predict.main([photograph, '--TMP_MODEL_PATF', str(tmp_path), '--device', 'cpu']) == 1
    with pytest.raises(InputError, match=r'model_003\.h5: no such checkpoint, but model_007\.h5'):
        predict.main([photograph, '--TMP_MODEL_PATF', str(tmp_path), '--checkpoint', 'model_003.h5'])


def test_help_is_instant():
    done = subprocess.run([sys.executable, '-X', 'importtime', str(ROOT / 'predict.py'), '--help'],
                          capture_output=True, text=True, check=True)
    assert 'tensorflow' not in done.stderr and 'PATH [PATH ...]' in done.stdout


# --- many photographs, in processes of their own

def start(model, *argv, **options):
    return subprocess.Popen([sys.executable, str(ROOT / 'predict.py'), *map(str, argv), '--checkpoint', str(model),
                             '--device', 'cpu'], stderr=subprocess.PIPE, text=True, **options)


def link_many(folder, sources, count):
    """`count` links to `sources`, in turns, in the new `folder`."""
    folder.mkdir()
    for number in range(count):
        os.symlink(str(sources[number % len(sources)]), str(folder / f'{number:05d}.jpg'))
    return folder


@pytest.mark.slow
def test_a_killed_run_is_resumed(model, dataset, tmp_path, capsys):
    many = link_many(tmp_path / 'many', sorted(dataset.images.iterdir()), 3000)
    output = tmp_path / 'scores.csv'
    process = start(model, many, '--output', output, '--batchsize', 8)
    while not output.exists() or output.read_bytes().count(b'\n') < 20:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    killed = output.read_text()
    kept = killed[:killed.rindex('\n') + 1]
    assert 20 <= kept.count('\n') < 3000
    with open(str(output), 'a') as stream:
        stream.write(kept.splitlines()[-1][:-3])
    for path in sorted(many.iterdir())[kept.count('\n') + 20:]:
        path.unlink()
    run(model, many, '--output', output, '--resume')
    assert f'{kept.count(chr(10)) - 1} of them scored before' in capsys.readouterr().err
    text = output.read_text()
    assert text.startswith(kept)
    assert [line.split(',')[0] for line in text.splitlines()[1:]] == [str(path) for path in sorted(many.iterdir())]
    means = [float(line.split(',')[1]) for line in text.splitlines()[1:]]
    assert means == pytest.approx(means[:7] * (len(means) // 7) + means[:len(means) % 7], abs=ROUNDING)


@pytest.mark.slow
def test_ctrl_c_leaves_whole_lines_and_a_reader_that_goes_away_no_traceback(model, dataset, tmp_path):
    many = link_many(tmp_path / 'many', sorted(dataset.images.iterdir()), 3000)
    for stop, code in ((signal.SIGINT, 130), (None, 141)):
        process = start(model, many, '--format', 'jsonl', stdout=subprocess.PIPE)
        lines = [process.stdout.readline() for _ in range(40)]
        if stop:
            process.send_signal(stop)
            lines += process.stdout.readlines()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == code and 'Traceback' not in errors and 'Exception' not in errors, errors
        assert [json.loads(line)['file'] for line in lines] == [str(many / f'{n:05d}.jpg') for n in range(len(lines))]
        assert 40 <= len(lines) < 3000 and all(line.endswith('\n') for line in lines)


def test_ctrl_c_while_tensorflow_is_imported(model, dataset):
    process = start(model, dataset.images, stdout=subprocess.PIPE, start_new_session=True)
    while 'tensorflow' not in Path(f'/proc/{process.pid}/maps').read_text():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    printed, said = process.communicate()
    assert (printed, process.returncode) == ('', 130)
    assert said.endswith('\npredict.py: stopped\n') and 'Traceback' not in said and 'model' not in said, said


def resident(process):
    """The most memory that a process has had, in bytes."""
    with open(f'/proc/{process.pid}/status') as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM'))


def flat_model(path):
    """A checkpoint for images of side 224 that costs next to nothing: reading is all there is."""
    tf.compat.v1.keras.backend.clear_session()
    inputs = tf.keras.Input((224, 224, 3))
    shares = tf.keras.layers.Dense(10, activation='softmax')(tf.keras.layers.GlobalAveragePooling2D()(inputs))
    checkpoint.save(tf.keras.Model(inputs, shares), str(path), {'preprocessing': Preprocessing(224).as_json()})
    return path


@pytest.mark.slow
def test_memory_is_flat_over_2000_real_photographs_mixed_with_bad_ones(shared, tmp_path):
    good = sorted((shared / 'ava_sample' / 'images').iterdir())
    many = link_many(tmp_path / 'many', good, 2000)
    bad = sorted((shared / 'bad_images').glob('*.jpg'))
    for number, path in enumerate(bad):
        os.symlink(str(path), str(many / f'{50 * number:05d}_{path.name}'))
    process = start(flat_model(tmp_path / 'flat.h5'), many, '--format', 'jsonl', '--shares', stdout=subprocess.PIPE)
    reader = threading.Thread(target=process.stderr.read)
    reader.start()
    rows, memory = [], {}
    for line in process.stdout:
        rows.append(json.loads(line))
        if len(rows) in (500, 2000):
            memory[len(rows)] = resident(process)
    assert process.wait() == 1
    reader.join()
    process.stdout.close()
    assert [row['file'] for row in rows if '_' not in os.path.basename(row['file'])] == [
        str(many / f'{number:05d}.jpg') for number in range(2000)]
    # 1,500 photographs of 224 x 224 x 3 float32 that stayed would be 900 MB; their files alone 200 MB.
    assert memory[2000] < 1.15 * memory[500], memory
