"""--input: training and scoring at other sizes, with the same weights, as the checkpoint says."""
import json

import numpy as np
import pytest
from conftest import make_dataset, make_model, small_mobilenet

import eval as score
import predict
import train
from utils import export
from utils.base.errors import InputError
from utils.data import ava, fitting
from utils.model import model_file
from utils.training.flags import train_flags

SIDE = 40


@pytest.fixture(autouse=True, scope='module')
def network():
    with small_mobilenet():
        yield


@pytest.fixture
def squares(tmp_path):
    """Twelve images of SIDE x SIDE."""
    from PIL import Image
    dataset = make_dataset(tmp_path / 'data', 12)
    for path in dataset.images.iterdir():
        Image.open(path).resize((SIDE, SIDE)).save(path, quality=95)
    return dataset


def run(dataset, folder, *more):
    return train.main([*dataset.flags, '--val_size', '4', '--batchsize', '4', '--weights', 'none', '--device', 'cpu',
                       '--threads', '1', '--epochs', '1', '--TMP_MODEL_PATF', str(folder), *more])


def weights_of(path):
    return model_file.read(str(path)).weights


def test_the_native_size_is_that_of_the_images_and_the_checkpoint_carries_it(squares, tmp_path, capsys):
    run(squares, tmp_path / 'native', '--input', 'native')
    run(squares, tmp_path / 'typed', '--image_size', str(SIDE))
    file = model_file.read(str(tmp_path / 'native' / 'model_001.h5'))
    assert file.own_preprocessing.image_size == file.run['flags']['image_size'] == SIDE
    other = weights_of(tmp_path / 'typed' / 'model_001.h5')
    assert all(np.array_equal(a, b) for name in other for a, b in zip(file.weights[name], other[name]))
    run(squares, tmp_path / 'native', '--input', 'native', '--epochs', '2', '--resume')
    flags = ['--TMP_MODEL_PATF', str(tmp_path / 'native'), '--checkpoint', 'model_002.h5', '--device', 'cpu']
    found = score.main([*squares.flags, '--val_size', '4', '--batchsize', '4', *flags])
    assert np.isfinite(found['emd_r2'])
    assert predict.main([str(squares.images / '1000.jpg'), *flags]) == 1


def test_the_same_weights_serve_another_size(squares, tmp_path, capsys):
    run(squares, tmp_path / 'small', '--input', '32')
    start = str(tmp_path / 'small' / 'model_001.h5')
    run(squares, tmp_path / 'large', '--input', 'native', '--weights', start, '--learning_rate', '1e-30')
    assert f'trained on images of side 32: images of side {SIDE}' in capsys.readouterr().out
    before, after = weights_of(start), weights_of(tmp_path / 'large' / 'model_001.h5')
    for name in ('conv1', 'dense'):
        assert all(np.array_equal(a, b) for a, b in zip(before[name], after[name]))


def test_a_checkpoint_is_scored_and_exported_at_another_size_as_one_made_for_it(squares, tmp_path):
    large, small = (make_model(tmp_path / f'{size}' / 'model_001.h5', size) for size in (SIDE, 32))  # of equal weights
    words = [*squares.flags, '--val_size', '5', '--batchsize', '4', '--device', 'cpu']
    found, expected = (score.main([*words, '--checkpoint', str(path), *more])
                       for path, more in ((large, ['--input', '32']), (small, [])))
    assert found == expected and found != score.main([*words, '--checkpoint', str(large)])
    for path, more in ((large, ['--image_size', '32']), (small, [])):
        predict.main([str(squares.images), '--checkpoint', str(path), '--output', str(path.parent / 'scores.csv'),
                      *more])
        export.main([str(path), '--format', 'pb', '--output', str(path.parent), '--photographs', str(squares.images),
                     *more])
    first, second = (large.parent, small.parent)
    assert (first / 'scores.csv').read_bytes() == (second / 'scores.csv').read_bytes()
    assert all((first / 'pb' / name).read_bytes() == (second / 'pb' / name).read_bytes() for name in
               ('model_001.pb', 'parity.json'))
    assert json.loads((first / 'pb' / 'model_card.json').read_text())['preprocessing']['image_size'] == 32


def test_a_network_that_states_no_size(tmp_path):
    file = model_file.ModelFile('a.h5', '{"config": {"layers": []}}', 0, {}, {}, None, [], None)
    assert file.at_size(None) is file
    with pytest.raises(InputError, match=r'^a\.h5: found a network whose first layer states no size of images, .* '
                                         r'Leave --image_size out$'):
        file.at_size(64)


def test_the_native_size_of_images_of_several_sizes_is_their_median(dataset, tmp_path):
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    reported = []
    # Twelve images 48 high and 48 to 52 wide: 48, 49, 50, 51, 52, 48, ..., 48, 49.
    assert fitting.input_size('native', ratings.take([0, 1, 2, 3, 4]), reported.append) == 50
    assert reported == ["--input native: 50 x 50, by the median of the training images' longest sides; others are "
                        'resized to it']
    assert fitting.input_size(224, ratings, reported.append) == 224 and len(reported) == 1
    (dataset.images / '1000.jpg').write_bytes(b'')
    with pytest.raises(InputError, match="^--input native: the median of the training images' longest sides is 0 "
                                         r'pixels, expected 32 to 4096\. Type a number'):
        fitting.input_size('native', ratings.take([0]), reported.append)


def test_a_size_that_is_none(capsys):
    with pytest.raises(SystemExit):
        train_flags(['--input', 'big'])
    assert "--image_size/--input: found 'big', expected a whole number from 32" in capsys.readouterr().err
