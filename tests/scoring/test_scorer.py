"""The call from Python: Scorer('model.h5').score(paths)."""
import numpy as np
import pytest
from conftest import make_dataset, make_model

import predict
from utils.base.errors import InputError
from utils.scoring.scorer import Scorer


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model') / 'model.h5')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return sorted(make_dataset(tmp_path_factory.mktemp('data'), 5).images.iterdir())


def test_distributions_in_the_order_of_the_paths_as_predict_prints_them(model, images, capsys):
    found = dict(Scorer(str(model)).score([str(path) for path in images[::-1]]))
    assert list(found) == [str(path) for path in images[::-1]] and capsys.readouterr().out == ''
    assert all(each.shape == (10,) and each.dtype == np.float32 for each in found.values())
    np.testing.assert_allclose([each.sum() for each in found.values()], 1, atol=1e-5)
    predict.main([str(images[0].parent), '--checkpoint', str(model), '--device', 'cpu', '--format', 'csv'])
    means = [float(line.split(',')[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [found[str(path)] @ np.arange(1, 11) for path in images] == pytest.approx(means, abs=1e-4)


def test_it_is_loaded_once_and_again_after_close(model, images, capsys):
    with Scorer(str(model), device_name='cpu', batchsize=2) as scorer:
        first = list(scorer.score(images[:3]))  # paths as objects are welcome
        again = list(scorer.score(str(images[0])))  # and so is one alone
        assert capsys.readouterr().err.count('device: cpu') == 1
        scorer.close()
        np.testing.assert_array_equal(list(scorer.score(images[:1]))[0][1], again[0][1])
        assert capsys.readouterr().err.count('device: cpu') == 1
    assert [file for file, _ in first] == [str(path) for path in images[:3]] and again[0][0] == str(images[0])
    np.testing.assert_allclose(again[0][1], first[0][1], atol=1e-6)
    assert list(scorer.score([])) == []


def test_an_unreadable_file_is_reported_and_left_out(model, images, tmp_path, capsys):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff but no more')
    with Scorer(str(model), device_name='cpu') as scorer:
        found = list(scorer.score([str(tmp_path / 'broken.jpg'), str(images[0]), 'nowhere.jpg']))
        assert [file for file, _ in found] == [str(images[0])]
        assert scorer.failed == [str(tmp_path / 'broken.jpg'), 'nowhere.jpg']
    printed = capsys.readouterr().err
    assert 'broken.jpg: unreadable JPEG (' in printed and 'cannot read nowhere.jpg: No such file' in printed


def test_no_checkpoint(images, tmp_path):
    with pytest.raises(InputError, match=r'none\.h5: found no file, expected a checkpoint'):
        next(Scorer(str(tmp_path / 'none.h5')).score(images))
