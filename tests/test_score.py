"""score.py: the scores of predict.py from an exported model, without TensorFlow, in this Python and in the newest."""
import csv
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, display_p3, make_model
from PIL import Image

import predict
import score
from utils import export, models, nima
from utils.base.preprocessing import Preprocessing
from utils.data import decoding, image_files, image_kinds
from utils.formats import onnx_model
from utils.model import build, model_file
from utils.scoring import score_tables

MISSING = [name for name in onnx_model.EXPORT_PACKAGES if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f'requirements-export.txt is not installed: {MISSING}')
MEAN = 'mean_score_1_to_10'
SAME_PIXELS = 1e-4   # of a mean
END_TO_END = 0.1     # of a mean: Pillow decodes a JPEG differently from TensorFlow
PIXELS = np.random.RandomState(0).randint(256, size=(40, 50, 3)).astype(np.uint8)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A checkpoint, its exported image model, and a folder of lossless images in several kinds and modes."""
    folder = tmp_path_factory.mktemp('score')
    checkpoint = make_model(folder / 'model.h5')
    images = folder / 'images'
    images.mkdir()
    picture = Image.fromarray(PIXELS)
    picture.save(images / 'a.png')
    picture.convert('RGBA').save(images / 'b.png')
    picture.convert('P').save(images / 'c.gif')
    picture.convert('L').save(images / 'd.BMP')
    Image.fromarray((PIXELS[:, :, 0] * 257).astype(np.uint16)).save(images / 'e.png')  # 16 bits
    picture.crop((0, 0, 1, 40)).save(images / 'f é.png')
    (images / '.hidden.png').write_bytes((images / 'a.png').read_bytes())
    (images / 'notes.txt').write_text('no image')
    export.main([str(checkpoint), '--format', 'onnx', '--output', str(folder), '--photographs', str(images)])
    return checkpoint, folder / 'onnx' / 'model_image.onnx', images


def rows_of(text):
    return list(csv.DictReader(text.splitlines()))


# --- the same as predict.py

@needs_onnx
def test_the_csv_is_that_of_predict(made, capsys):
    checkpoint, model, images = made
    predict.main([str(images), '--checkpoint', str(checkpoint), '--device', 'cpu', '--format', 'csv'])
    expected = capsys.readouterr().out
    assert score.main([str(images), '--model', str(model)]) == 0
    found = capsys.readouterr().out
    assert found.splitlines()[0] == expected.splitlines()[0] == ','.join(score_tables.COLUMNS)
    assert [row['file'] for row in rows_of(found)] == [row['file'] for row in rows_of(expected)]
    assert len(rows_of(found)) == 6 and np.ptp([float(row[MEAN]) for row in rows_of(found)]) > 0.01
    for row, wanted in zip(rows_of(found), rows_of(expected)):
        for name in score_tables.COLUMNS[1:]:
            assert float(row[name]) == pytest.approx(float(wanted[name]), abs=0.11 if 'percentile' in name else 1e-4)


@needs_onnx
def test_the_call_gives_the_distributions(made):
    _, model, images = made
    files = list(score.find([str(images)]))
    found = score.score([*files, images / 'a.png'], str(model))
    assert found.shape == (7, 10) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(found[0], found[-1])
    np.testing.assert_array_equal(score.score(images / 'a.png', str(model)), found[:1])
    with pytest.warns(UserWarning, match=r'notes\.txt: not a JPEG, PNG, GIF, '):
        found = score.score([files[0], images / 'notes.txt'], str(model))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_it_takes_the_files_of_predict():
    assert set(score.ENDINGS) == set(image_kinds.BY_ENDING)
    assert score.MAX_PIXELS == decoding.MAX_PIXELS and score.COLUMNS == score_tables.COLUMNS


def test_folders_are_listed_as_predict_lists_them(tmp_path):
    from utils.data import listing
    for name in ('b.jpg', 'a.PNG', '.c.jpg', 'd.txt', 'in/e.webp', 'in/deep/f.gif', 'empty/g.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    os.symlink(str(tmp_path / 'in'), str(tmp_path / 'linked'))
    given = [str(tmp_path), str(tmp_path / 'empty'), str(tmp_path / 'd.txt'), 'nowhere.jpg']
    for recursive in (False, True):
        found = list(score.find(given, recursive))
        assert found == list(listing.find(given, recursive=recursive))
        assert len(found) == (7 if recursive else 5)


def test_names_are_printed_as_predict_prints_them():
    from utils.base.text import printable
    for name in ('plain.jpg', 'a\nb', 'é\u200b', os.fsdecode(b'\xff.jpg'), '\U000e0001'):
        assert score.printable(name) == printable(name)


# --- reading an image

@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_images_are_upright(tmp_path, orientation, kind):
    from PIL import ImageOps
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(str(tmp_path / 'image'), kind, exif=exif)
    with Image.open(str(tmp_path / 'image')) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(score.read(str(tmp_path / 'image')), expected)
    assert expected.shape == ((40, 50, 3) if orientation < 5 else (50, 40, 3))


@pytest.mark.parametrize('kind', ['WEBP', 'TIFF', 'PNG'])
@pytest.mark.parametrize('side', [50, 900])
def test_display_p3_becomes_srgb_where_predict_heeds_it(tmp_path, kind, side):
    path = str(tmp_path / 'image')
    Image.fromarray(PIXELS).resize((side, 40)).save(path, kind, icc_profile=display_p3(),
                                                    **({'lossless': True} if kind == 'WEBP' else {}))
    with Image.open(path) as image:
        plain = Image.fromarray(np.asarray(image.convert('RGB')))
    with open(path, 'rb') as stream:
        heeded = Image.open(io.BytesIO(image_files.as_png(stream.read(), turn=True)))
    expected = np.asarray(score.shrunk(plain if kind == 'PNG' else heeded, score.LONGEST_SIDE)).astype(int)
    assert np.abs(np.asarray(heeded).astype(int) - np.asarray(plain)).max() > 10
    found = score.read(path).astype(int)
    assert np.abs(found - expected).max() <= 1


def test_a_large_image_is_averaged_and_one_within_a_quarter_more_is_not(tmp_path):
    random = np.random.RandomState(1)
    large, within = (random.randint(256, size=size + (3,)).astype(np.uint8) for size in ((120, 160), (80, 100)))
    for name, pixels in (('large', large), ('within', within)):
        Image.fromarray(pixels).save(str(tmp_path / f'{name}.png'))
    areas = large.reshape(60, 2, 80, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(score.read(str(tmp_path / 'large.png'), longest_side=80), np.rint(areas))
    np.testing.assert_array_equal(score.read(str(tmp_path / 'within.png'), longest_side=80), within)
    np.testing.assert_array_equal(score.read(str(tmp_path / 'large.png'), longest_side=0), large)
    assert score.read(str(tmp_path / 'within.png'), longest_side=79).shape == (63, 79, 3)


def test_each_pixel_is_the_mean_of_the_part_that_it_covers():
    column = np.array([0, 30, 60, 90, 120], np.uint8)[:, None, None]
    assert score.averaged(column, 2, axis=0).ravel() == pytest.approx([(0 + 30 + 60 / 2) / 2.5, (30 + 90 + 120) / 2.5])
    pixels = np.random.RandomState(2).randint(256, size=(55, 89, 3)).astype(np.uint8)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = session.run(tf.compat.v1.image.resize_area(pixels[None], [21, 34]))[0]
    found = score.averaged(score.averaged(pixels, 21, axis=0), 34, axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_a_large_jpeg_is_decoded_smaller_and_stays_upright(tmp_path):
    smooth = np.linspace(0, 255, 1600)[:, None, None] * np.linspace(0, 1, 1200)[None, :, None] * np.ones(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth.astype(np.uint8)).save(str(tmp_path / 'a.jpg'), quality=95, exif=exif)
    found = score.read(str(tmp_path / 'a.jpg'), longest_side=150)
    areas = np.asarray(Image.fromarray(smooth.astype(np.uint8)).resize((112, 150), Image.Resampling.BOX))
    assert found.shape == (112, 150, 3)
    assert np.abs(found - np.rot90(areas, -1).astype(float)).max() <= 3


@needs_onnx
def test_the_models_own_size_counts(made, tmp_path, monkeypatch):
    _, model, images = made
    loaded, sides = score.Model(str(model)), []
    monkeypatch.setattr(score, 'read', lambda path, side: sides.append(side) or PIXELS)
    for stated in ({'longest_side': 321}, {'longest_side': 0}, {}):
        loaded.fields = stated
        list(loaded.score(['image']))
    assert sides == [321, 0, 640]


# --- mistakes

@pytest.mark.parametrize('data, reason', [
    (b'', 'not a JPEG, PNG, GIF, .* file .an iPhone.s HEIC needs'), (b'BM and no picture', 'not a JPEG'),
    (b'\x89PNG\r\n\x1a\n' + bytes(60), 'not a JPEG, PNG')])
def test_unreadable_files(tmp_path, data, reason):
    (tmp_path / 'a.jpg').write_bytes(data)
    with pytest.raises(score.ScoreError, match=reason) as error:
        score.read(str(tmp_path / 'a.jpg'))
    assert '<' not in str(error.value)


def test_a_tiff_of_32_bits_a_pixel_is_refused(tmp_path):
    path = tmp_path / 'depth.tif'
    Image.fromarray(np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)).save(str(path))
    with pytest.raises(score.ScoreError, match='unreadable image .pixels of 32 bits'):
        score.read(str(path))


def test_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(str(tmp_path / 'a.png'))
    monkeypatch.setattr(score, 'MAX_PIXELS', 1999)
    with pytest.raises(score.ScoreError, match=r'a\.png: unreadable image \(more than 0 megapixels: 2000\)'):
        score.read(str(tmp_path / 'a.png'))


@needs_onnx
def test_as_a_user_a_broken_file_does_not_stop_the_rest(made, tmp_path):
    _, model, images = made
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff but no more')
    (tmp_path / 'empty').mkdir()
    for name in ('score.py', 'model_image.onnx'):  # all that a machine needs
        (tmp_path / name).write_bytes((ROOT / name if name == 'score.py' else model).read_bytes())
    words = [sys.executable, 'score.py', 'broken.jpg', 'empty', 'nowhere.jpg', str(images / 'a.png')]
    done = subprocess.run(words, cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1 and len(rows_of(done.stdout)) == 1 and rows_of(done.stdout)[0]['file'] == words[-1]
    assert done.stderr.startswith('broken.jpg: not a JPEG, PNG, ')
    assert done.stderr.splitlines()[1:] == [
        'empty is a folder without images. -r looks into its folders too',
        'cannot read nowhere.jpg: No such file or directory',
        'score.py: error: 3 of 4 files could not be scored (listed above)']
    done = subprocess.run([*words[:2], str(images)], cwd=str(tmp_path), capture_output=True, text=True, check=True)
    assert done.stderr == '' and len(rows_of(done.stdout)) == 6


@needs_onnx
def test_a_model_that_is_none(made, tmp_path, monkeypatch):
    _, model, images = made
    monkeypatch.setattr(score, '__file__', str(tmp_path / 'score.py'))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(score.ScoreError, match='^found no NAME_image.onnx in .*, expected one. Name it with --model'):
        score.score([str(images / 'a.png')])
    for name in ('one_image.onnx', 'two_image.onnx'):
        (tmp_path / name).write_bytes(model.read_bytes())
    with pytest.raises(score.ScoreError, match='one_image.onnx, .*two_image.onnx in '):
        score.score([str(images / 'a.png')])
    for path in (model.parent / 'model.onnx', images / 'a.png', tmp_path / 'none.onnx'):
        with pytest.raises(score.ScoreError, match=r': not a NAME_image\.onnx of utils/export\.py \('):
            score.Model(str(path))


@needs_onnx
def test_a_model_that_predicts_nan(made, monkeypatch):
    _, model, images = made
    loaded = score.Model(str(model))
    for share, said in ((np.nan, 'NaN: its training diverged'), (0.5, 'no shares of votes'), (-0.1, 'no shares')):
        loaded._session = type('Session', (), {'run': lambda *_, share=share: (np.full(10, share), share, share)})()
        with pytest.raises(score.ScoreError, match=f'predicts {said}'):
            list(loaded.score([str(images / 'a.png')]))


def test_packages_that_are_missing_are_named(tmp_path):
    (tmp_path / 'numpy.py').write_text('raise ImportError("No module named numpy")')
    done = subprocess.run([sys.executable, str(ROOT / 'score.py'), 'a.jpg'], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 1 and done.stderr == (
        f'score.py: error: No module named numpy. Type {sys.executable} -m pip install numpy pillow onnxruntime\n')


def test_ctrl_c_while_numpy_is_imported_ends_it_in_silence(tmp_path):
    (tmp_path / 'numpy.py').write_text('import os, signal\n'
                                       'try:\n    os.kill(os.getpid(), signal.SIGINT)\n    import time; time.sleep(9)\n'
                                       'except KeyboardInterrupt:\n    raise ImportError("it failed to import")\n')
    done = subprocess.run([sys.executable, str(ROOT / 'score.py'), 'a.jpg'], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, '', '')


# --- real images, the newest Python

def newest_python():
    """The newest Python from 3.9 on that this machine has, with its version; (None, ()) where there is none."""
    root = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'))
    folders = [*root.glob('versions/*/bin'), *map(Path, os.environ['PATH'].split(os.pathsep))]
    found = {}
    for path in {str(path) for folder in folders for path in folder.glob('python3*')
                 if re.fullmatch(r'python3(\.\d+)?', path.name)}:
        done = subprocess.run([path, '-c', 'import sys, venv; print(*sys.version_info[:3])'], capture_output=True,
                              text=True)
        if done.returncode == 0:
            found[tuple(map(int, done.stdout.split()))] = path
    newest = max(found, default=())
    return (found[newest], newest) if newest >= (3, 9) else (None, ())


@pytest.fixture(scope='module')
def new_python(tmp_path_factory):
    """A virtual environment of the newest Python of this machine, with what score.py needs in its newest versions."""
    path, version = newest_python()
    if path is None:
        pytest.skip('no Python from 3.9 on, on the PATH or in a pyenv')
    folder = tmp_path_factory.mktemp('venv')
    subprocess.run([path, '-m', 'venv', str(folder)], check=True)
    python = str(folder / 'bin' / 'python')
    done = subprocess.run([python, '-m', 'pip', 'install', '-q', 'numpy', 'pillow', 'onnxruntime'],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'Python {version}: pip installs no onnxruntime: {done.stderr[-300:]}')
    return python


@pytest.fixture(scope='module', params=[('nearest', 'symmetric'), ('bilinear', 'tf')], ids=lambda param: param[0])
def trained(request, tmp_path_factory):
    """A trained checkpoint, its image model, the folder of AVA's images, images of odd sizes with their means."""
    from conftest import SHARED
    weights, images = SHARED / 'weights' / 'nima_aesthetic_idealo_dequantised.h5', SHARED / 'ava_sample' / 'images'
    if MISSING or not weights.exists() or not images.exists():
        pytest.skip(f'no shared/weights, no shared/ava_sample, or missing packages: {MISSING}')
    folder = tmp_path_factory.mktemp('trained')
    resize, padding = request.param
    models.import_weights(str(weights), str(folder / 'a.h5'), Preprocessing(resize=resize, padding=padding))
    export.main([str(folder / 'a.h5'), '--format', 'onnx', '--output', str(folder), '--photographs', str(images)])
    return folder / 'a.h5', folder / 'onnx' / 'a_image.onnx', images, resize


def pixels_and_means(checkpoint, images, resize):
    """Decoded images, those of AVA and odd ones, and the means that TensorFlow predicts for them."""
    random = np.random.RandomState(0)
    odd = [(1, 1), (1, 777), (777, 1), (5000, 17), (17, 5000), (2, 3), (224, 224), (1023, 767)]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        file, pixels = tf.compat.v1.placeholder(tf.string, ()), tf.compat.v1.placeholder(tf.uint8, (None, None, 3))
        decoded = tf.image.decode_jpeg(tf.io.read_file(file), channels=3)
        found = [session.run(decoded, {file: str(path)}) for path in sorted(images.iterdir())]
        found += [random.randint(256, size=size + (3,)).astype(np.uint8) for size in odd]
        png = tf.image.encode_png(pixels)
        resized = decoding.scale(decoding.decode(png, 224, resize))
        inputs = np.stack([session.run(resized, {pixels: each}) for each in found])
    tf.compat.v1.keras.backend.clear_session()
    shares = nima.predict(build.for_scoring(model_file.read(str(checkpoint))), inputs, 6)
    return found, shares.astype(np.float64) @ np.arange(1, 11)


OF_ARRAYS = '''
import sys
import numpy as np
import score
model = score.Model(sys.argv[1])
with np.load(sys.argv[2]) as found:
    np.save(sys.argv[3], [model.score_pixels(found[f'arr_{number}']).mean for number in range(len(found.files))])
'''


@pytest.mark.slow
def test_the_same_pixels_have_the_same_score_in_old_and_new_runtimes(trained, new_python, tmp_path):
    checkpoint, model, images, resize = trained
    pixels, means = pixels_and_means(checkpoint, images, resize)
    np.savez(str(tmp_path / 'pixels.npz'), *pixels)
    for python in (sys.executable, new_python):
        subprocess.run([python, '-c', OF_ARRAYS, str(model), str(tmp_path / 'pixels.npz'), str(tmp_path / 'means.npy')],
                       check=True, env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONDONTWRITEBYTECODE': '1'})
        found = np.load(str(tmp_path / 'means.npy'))
        assert len(found) == 18 and np.ptp(found) > 1
        np.testing.assert_allclose(found, means, rtol=0, atol=SAME_PIXELS)


@pytest.mark.slow
def test_end_to_end_the_newest_python_agrees_with_predict(trained, new_python, tmp_path):
    checkpoint, model, images, _ = trained
    predict.main([str(images), '--checkpoint', str(checkpoint), '--device', 'cpu', '--output',
                  str(tmp_path / 'predict.csv')])
    done = subprocess.run([new_python, str(ROOT / 'score.py'), '--model', str(model), str(images)], check=True,
                          capture_output=True, text=True)
    expected, found = rows_of((tmp_path / 'predict.csv').read_text()), rows_of(done.stdout)
    assert done.stderr == '' and [row['file'] for row in found] == [row['file'] for row in expected]
    differences = [abs(float(row[MEAN]) - float(wanted[MEAN])) for row, wanted in zip(found, expected)]
    print(f'differences of a mean: {np.mean(differences):.4f} on average, {np.max(differences):.4f} at most')
    assert len(differences) == 10 and max(differences) <= END_TO_END
