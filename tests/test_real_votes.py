"""benchmarks/real_votes.py: its labels, its figures, and a row on a part of BIQ2021."""
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import label_count, real_votes
from utils import data_loader, score_utils
from utils.base.errors import InputError
from utils.data import ava, splits
from utils.training.flags import train_stages


def make_folder(folder):
    (folder / real_votes.IMAGES).mkdir(parents=True)
    for name in ('ss01 (1).jpg', 'ss02 (12).JPG'):
        (folder / real_votes.IMAGES / name).write_bytes(b'')
    # The training file has two columns without a name, as its makers' has.
    (folder / real_votes.PARTS['train']).write_text(
        'Image Name,MOS,,\nss01 (1).jpg,0.5,,\nss02 (12).jpg,1,,\nss03 (7).jpg,0,,\n')
    return folder


def test_labels_are_on_1_to_10_for_the_files_as_they_are_called(tmp_path):
    rows = real_votes.read(make_folder(tmp_path / 'biq'), 'train')
    assert rows == [('ss01 (1).jpg', 5.5), ('ss02 (12).JPG', 10.0)]
    labels = ava.read_labels(str(real_votes.write(rows, tmp_path / 'labels.csv')))
    np.testing.assert_allclose(labels.distributions @ np.arange(1, 11), [5.5, 10], atol=1e-6)
    with pytest.raises(InputError, match=r'found no labels of BIQ2021 .* Give --folder a git clone of https://github'):
        real_votes.read(tmp_path, 'train')


def test_neighbouring_numbers_of_a_subset_are_a_group():
    names = ['ss01 (128).jpg', 'ss01 (121).jpg', 'ss01 (118).jpg', 'ss02 (128).jpg']
    groups = [splits.group_of(name, real_votes.NEIGHBOURS) for name in names]
    assert groups[0] == groups[1] and len(set(groups)) == 3


def test_the_figures_of_a_row():
    names = [f'ss0{1 + number % 3} ({number}).jpg' for number in range(30)]
    true = np.linspace(2, 8, 30)
    within = np.where(np.arange(30) % 3 == 1, -true, true)
    row = real_votes.figures('a', names, true, [real_votes.Trained(1, 1.5, true ** 3)], -true)
    assert row['srcc']['value'] == pytest.approx(1) and row['difference']['value'] == pytest.approx(2)
    seeds = [real_votes.Trained(srcc, minutes, predicted) for srcc, minutes, predicted in
             ((0.9, 3, true), (0.2, 1, -true), (0.5, 2, within))]
    other = real_votes.figures('b', names, true, seeds, true)
    assert (other['seeds'], other['minutes']) == ([0.2, 0.9], 2)  # all else is the median seed's
    assert [round(other[f'srcc_{each}'], 6) for each in real_votes.SUBSETS] == [1, -1, 1]
    assert '| a | 1.000 [1.000, 1.000] | 1.000 to 1.000 |' in real_votes.described([row, other])


def test_a_model_of_others_is_imported_once_and_asked_for(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(real_votes, 'run', lambda *words, **_: calls.append(list(map(str, words))))
    model = tmp_path / 'row' / 'model_001.h5'
    assert real_votes.imported('idealo_untrained', 'their.hdf5', tmp_path / 'row') == model
    assert calls[0][1:3] == ['utils.models', 'import'] and calls[0][-1] == str(model)
    model.write_bytes(b'')
    assert real_votes.imported('idealo_untrained', 'their.hdf5', tmp_path / 'row') == model
    assert len(calls) == 1
    with pytest.raises(InputError, match='^--row idealo_last_blocks needs --idealo FILE, the weights of their'):
        real_votes.imported('idealo_last_blocks', None, tmp_path / 'other')


def test_the_last_blocks_of_a_model_of_others_start_from_it(tmp_path, monkeypatch):
    trainings, folder = [], make_folder(tmp_path / 'biq')
    shutil.copy(str(folder / real_votes.PARTS['train']), str(folder / real_votes.PARTS['test']))
    monkeypatch.setattr(real_votes, 'run', lambda script, *words, **_: trainings.append(list(map(str, words)))
                        if script == 'train.py' else None)
    monkeypatch.setattr(real_votes, 'scores', lambda *_: np.array([5.0, 6.0]))
    rows = real_votes.measure(quick=False, folder=str(folder), work=str(tmp_path / 'work'), images=None, flags='',
                              row=['idealo_untrained', 'idealo_last_blocks'], seeds=[0], idealo='their.hdf5')
    assert [row['row'] for row in rows] == ['closed_form', 'idealo_untrained', 'idealo_last_blocks']
    _, last_blocks = trainings  # the untrained model is only scored
    assert last_blocks[last_blocks.index('--weights') + 1] == str(tmp_path / 'work/idealo_untrained/model_001.h5')
    assert last_blocks[last_blocks.index('--trainable') + 1] == 'last:2'


@pytest.mark.parametrize('row', sorted(set(real_votes.ROWS) - {real_votes.UNTRAINED}))
def test_each_row_is_made_of_flags(row):
    flags = real_votes.flags_of(row, {'train': 'train.csv', 'test': 'test.csv'}, 'images', 'cache', 'model')
    assert all(stage.flags.features.endswith('cache') for stage in train_stages(flags))


@pytest.mark.slow
def test_a_row_is_run_anew_and_scored_again(shared, tmp_path):
    folder = tmp_path / 'biq'
    folder.mkdir()
    (folder / real_votes.IMAGES).symlink_to(shared / 'biq2021_sample' / 'images')
    for part, name in real_votes.PARTS.items():
        shutil.copy(str(shared / 'biq2021_sample' / f'{part}.csv'), str(folder / name))
    for _ in range(2):
        subprocess.run([sys.executable, '-m', 'benchmarks.real_votes', '--quick', '--folder', folder, '--work',
                        tmp_path / 'work', '--row', 'head', '--output', tmp_path / 'rows.json'], check=True,
                       cwd=str(ROOT))
        rows = json.loads((tmp_path / 'rows.json').read_text())
        assert [row['row'] for row in rows] == ['closed_form', 'head'] and {row['images'] for row in rows} == {60}
        assert all(np.isfinite(row['srcc']['value']) for row in rows)


@pytest.fixture
def cached(tmp_path):
    """A folder of BIQ2021, and what a row leaves: labels, and features of which the first is the mean score."""
    names = [f'ss0{1 + number % 3} ({number}).jpg' for number in range(1000, 1300)]
    (tmp_path / 'biq' / real_votes.IMAGES).mkdir(parents=True)
    for name in names:
        (tmp_path / 'biq' / real_votes.IMAGES / name).write_bytes(b'')
    means = np.random.RandomState(0).uniform(2, 9, len(names))
    labels = real_votes.write(list(zip(names, means)), tmp_path / 'train_labels.csv')
    parts = data_loader.read_parts(30, labels=str(labels), images=str(tmp_path / 'biq' / real_votes.IMAGES),
                                   group=real_votes.NEIGHBOURS)
    for part, ratings in (('training', parts.train), ('validation', parts.val)):
        for size, factor in ((224, 0), (512, 1)):  # the smaller images' features say nothing
            folder = tmp_path / 'features' / f'{part}-{size}'
            folder.mkdir(parents=True)
            rows = np.random.RandomState(1).normal(size=(ratings.count, 8)).astype(np.float32)
            rows[:, 0] = factor * score_utils.mean_score(ratings.distributions)
            rows.tofile(str(folder / 'features.f32'))
            (folder / 'manifest.json').write_text(json.dumps(
                {'count': ratings.count, 'done': ratings.count, 'preprocessing': {'image_size': size}}))
    return tmp_path


def test_how_many_labels_are_enough(cached, monkeypatch):
    monkeypatch.setattr(label_count, 'COUNTS', (20, 100, 9000))
    rows = label_count.measure(quick=False, folder=str(cached / 'biq'), work=str(cached),
                               picture=str(cached / 'curve.png'))
    assert [row['images'] for row in rows] == [20, 100, 270]
    for row in rows[1:]:
        assert min(row['srcc'] + row['srcc_ss02']) > 0.99 and len(row['srcc']) == 3
    assert (cached / 'curve.png').read_bytes().startswith(b'\x89PNG')
    table = label_count.described([{'images': 1000, 'srcc': [0.5, 0.75, 1.0], 'srcc_ss02': [0.25, 0.5, 0.75]}])
    assert table.splitlines()[-1] == '| 1,000 | 0.750 | 0.500 to 1.000 | 0.500 |'


def test_a_folder_without_a_row_is_named(cached, tmp_path):
    with pytest.raises(InputError, match=r'train_labels\.csv'):
        label_count.measure(quick=True, folder=str(cached / 'biq'), work=str(tmp_path / 'nothing'), picture=None)
    with pytest.raises(InputError, match='^cannot write .*Choose another --picture$'):
        label_count.measure(quick=True, folder=str(cached / 'biq'), work=str(cached),
                            picture=str(tmp_path / 'no' / 'a.png'))


def test_features_that_are_incomplete_are_not_used(cached):
    for path in cached.glob('features/validation-512/manifest.json'):
        path.write_text(path.read_text().replace('"done": ', '"done": 1'))
    assert not label_count.features(cached, 'validation', 30)[:, 0].any()  # those of 224
    with pytest.raises(InputError, match=r'found no complete features of 31 validation images\. Run benchmarks\.real'):
        label_count.features(cached, 'validation', 31)
