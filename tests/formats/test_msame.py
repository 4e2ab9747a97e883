"""utils/export.py bins and srcc: what msame is given, and the metrics of what it wrote."""
import csv
import json
import random

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_dataset, make_model

import eval as score
from utils import export
from utils.base.errors import InputError
from utils.data import ava
from utils.formats import msame
from utils.model import build, model_file

SIZE, COUNT = 32, 7


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model') / 'model_007.h5')


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 12)


def make_bins(model, dataset, folder, *more):
    return export.main(['bins', str(model), '--output', str(folder), '--val_size', str(COUNT), *dataset.flags,
                        *map(str, more)])


def run_msame(model, bins, outputs, kind='bin', dtype=np.float32):
    """What msame writes: a folder of its own with NAME_output_0.bin or .txt for each input, in any order."""
    manifest = json.loads((bins / 'bins.json').read_text())
    tf.compat.v1.keras.backend.clear_session()
    network = build.for_scoring(model_file.read(str(model)))
    folder = outputs / '20220630_101530_42'
    folder.mkdir(parents=True)
    paths = list((bins / 'inputs').iterdir())
    random.Random(0).shuffle(paths)
    for path in paths:
        images = np.fromfile(str(path), manifest['type']).reshape(manifest['batchsize'], SIZE, SIZE, 3)
        if manifest['type'] == 'uint8':  # as AIPP does
            images = (images.astype(np.float32) - 127.5) / 127.5
        shares = network.predict_on_batch(images).astype(dtype)
        if kind == 'bin':
            shares.tofile(str(folder / f'{path.stem}_output_0.bin'))
        else:
            np.savetxt(str(folder / f'{path.stem}_output_0.txt'), shares, fmt='%.9g')
    return folder


@pytest.fixture(scope='module')
def evaluated(model, dataset):
    return score.main(['--checkpoint', str(model), '--val_size', str(COUNT), '--device', 'cpu', *dataset.flags])


@pytest.mark.parametrize('kind, batchsize', [('bin', 1), ('txt', 1), ('bin', 3)])
def test_the_pair_recovers_what_eval_prints(model, dataset, evaluated, kind, batchsize, tmp_path, capsys):
    manifest = make_bins(model, dataset, tmp_path / 'bins', '--batchsize', batchsize)
    assert (manifest['photographs'], manifest['files']) == (COUNT, -(-COUNT // batchsize))
    run_msame(model, tmp_path / 'bins', tmp_path / 'out', kind)
    metrics = export.main(['srcc', str(tmp_path / 'bins'), str(tmp_path / 'out')])
    assert np.isfinite(metrics['srcc_mean'])
    assert metrics == pytest.approx(evaluated, abs=1e-6, nan_ok=True)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f'loss  {evaluated["emd_r2"]:f}     srcc {evaluated["srcc_mean"]:f}'


def test_whole_pixels_and_half_precision(model, dataset, evaluated, tmp_path):
    manifest = make_bins(model, dataset, tmp_path / 'bins', '--uint8')
    assert manifest['type'] == 'uint8'
    assert (tmp_path / 'bins' / 'inputs' / '000000.bin').stat().st_size == SIZE * SIZE * 3
    run_msame(model, tmp_path / 'bins', tmp_path / 'out', dtype=np.float16)
    metrics = msame.srcc(str(tmp_path / 'bins'), str(tmp_path / 'out'))
    assert metrics['emd_r2'] == pytest.approx(evaluated['emd_r2'], abs=1e-3)  # nearest: pixels are whole numbers


def test_inputs_and_labels_are_those_of_the_images(model, dataset, tmp_path):
    make_bins(model, dataset, tmp_path / 'bins')
    rows = list(csv.DictReader((tmp_path / 'bins' / 'labels.csv').open()))
    ratings = ava.read(*dataset.flags[1::2])
    assert [row['id'] for row in rows] == list(ratings.ids[-COUNT:])
    assert [row['file'] for row in rows] == sorted(path.name for path in (tmp_path / 'bins' / 'inputs').iterdir())
    np.testing.assert_array_equal([[float(row[f'share_of_{score}']) for score in range(1, 11)] for row in rows],
                                  ratings.distributions[-COUNT:])
    pixels = np.fromfile(str(tmp_path / 'bins' / 'inputs' / '000000.bin'), np.float32)
    assert pixels.shape == (SIZE * SIZE * 3,) and -1 <= pixels.min() < pixels.max() <= 1


def test_all_images_may_be_scored_as_in_eval(model, dataset, tmp_path):
    manifest = export.main(['bins', str(model), '--output', str(tmp_path / 'bins'), '--val_size', '12', *dataset.flags])
    assert manifest['photographs'] == 12


def test_outputs_of_other_inputs_are_refused(scored, tmp_path):
    def how(folder):
        (folder / '000007_output_0.bin').write_bytes((folder / '000001_output_0.bin').read_bytes())
    assert spoil(scored, tmp_path, how) == (
        'OUT/000007_output_0.bin is an output of 000007.bin, which is not among the 7 files of '
        f'{scored[0] / "inputs"}. Give the folder of the run of msame on them')


def test_an_unreadable_image_is_left_out(model, tmp_path):
    dataset = make_dataset(tmp_path / 'data', 12)
    (dataset.images / '1007.jpg').write_bytes(b'no photograph')
    with pytest.raises(InputError, match='1007.jpg'):
        make_bins(model, dataset, tmp_path / 'bins')
    assert not (tmp_path / 'bins').exists()
    manifest = make_bins(model, dataset, tmp_path / 'bins', '--max_bad_images', 0.5)
    assert (manifest['photographs'], manifest['left_out']) == (COUNT - 1, 1)
    rows = list(csv.DictReader((tmp_path / 'bins' / 'labels.csv').open()))
    assert '1007' not in [row['id'] for row in rows] and len(rows) == COUNT - 1
    run_msame(model, tmp_path / 'bins', tmp_path / 'out')
    assert msame.srcc(str(tmp_path / 'bins'), str(tmp_path / 'out')) == pytest.approx(score.main([
        '--checkpoint', str(model), '--val_size', str(COUNT), '--device', 'cpu', '--max_bad_images', '0.5',
        *dataset.flags]), abs=1e-6, nan_ok=True)


@pytest.fixture(scope='module')
def scored(model, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('scored')
    make_bins(model, dataset, folder / 'bins')
    return folder / 'bins', run_msame(model, folder / 'bins', folder / 'out')


def spoil(scored, tmp_path, how):
    """The sentence that a spoiled copy of the outputs is answered with."""
    bins, outputs = scored
    copy = tmp_path / 'copy'
    copy.mkdir()
    for path in outputs.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    how(copy)
    with pytest.raises(InputError) as caught:
        msame.srcc(str(bins), str(copy))
    return str(caught.value).replace(str(copy), 'OUT')


def test_an_undefined_srcc_has_its_reason_as_in_eval(scored, tmp_path, capsys):
    for path in scored[1].iterdir():
        (tmp_path / path.name).write_bytes(np.full(10, 0.1, np.float32).tobytes())
    assert np.isnan(msame.srcc(str(scored[0]), str(tmp_path))['srcc_mean'])
    assert 'SRCC is undefined: all predictions are equal (5.5)\nloss  ' in capsys.readouterr().out


def test_a_missing_output_is_named(scored, tmp_path):
    def how(folder):
        (folder / '000002_output_0.bin').unlink()
        (folder / '000004_output_0.bin').unlink()
    assert spoil(scored, tmp_path, how).startswith(
        'OUT: no output of 000002.bin (2 of 7 are missing). Run msame on all of ')


@pytest.mark.parametrize('content, wrong', [
    (b'\0' * 12, 'OUT/000001_output_0.bin holds 3 numbers, expected 10, ten for each of 1 images. Run msame again'),
    (b'\0' * 40, 'OUT/000001_output_0.bin: the values in row 0 are no vote distribution, which sums to 1. Check'),
    (np.full(10, np.nan, np.float32).tobytes(), 'OUT/000001_output_0.bin: the values in row 0 are no vote'),
])
def test_an_output_that_is_none(scored, content, wrong, tmp_path):
    error = spoil(scored, tmp_path, lambda folder: (folder / '000001_output_0.bin').write_bytes(content))
    assert error.startswith(wrong)


def test_outputs_of_two_runs_and_text_that_is_none(scored, tmp_path):
    def twice(folder):
        (folder / 'again').mkdir()
        (folder / 'again' / '000003_output_0.txt').write_text('0.1 ' * 10)

    def text(folder):
        (folder / '000003_output_0.bin').unlink()
        (folder / '000003_output_0.txt').write_text('0.1 ' * 9 + 'x')
    assert spoil(scored, tmp_path, twice).startswith(
        'OUT/again/000003_output_0.txt is a second output of 000003.bin, beside OUT/000003_output_0.bin. Give')
    (tmp_path / 'more').mkdir()
    assert spoil(scored, tmp_path / 'more', text).startswith('OUT/000003_output_0.txt cannot be read: ')


def test_folders_that_are_none(scored, tmp_path):
    with pytest.raises(InputError, match='none: no such folder. Give the one that msame wrote'):
        msame.srcc(str(scored[0]), str(tmp_path / 'none'))
    with pytest.raises(InputError, match=r'bins\.json cannot be used: No such file or directory\. Give the folder '
                                         'that this command made: bash .*/run.sh -m utils.export bins'):
        msame.srcc(str(tmp_path), str(scored[1]))
    (tmp_path / 'bins.json').write_text('{"format": "another"}')
    with pytest.raises(InputError, match=r"bins\.json cannot be used: format 'another'\."):
        msame.srcc(str(tmp_path), str(scored[1]))
