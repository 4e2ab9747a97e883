"""Training, validation and test images: a training never opens a test image, and eval.py scores them."""
import contextlib
import ctypes
import os
import re
import struct

import numpy as np
import pytest
from conftest import make_dataset, small_mobilenet

import eval as score
import train
from utils.base.errors import InputError
from utils.data import ava, splits
from utils.model import model_file
from utils.scoring.flags import eval_flags
from utils.training import log
from utils.training.flags import train_flags

TEST = ['1003', '1008', '1011']
IN_OPEN = 0x20  # of inotify


@pytest.fixture(autouse=True, scope='module')
def network():
    with small_mobilenet():
        yield


def small(dataset, folder, *more):
    return [*dataset.flags, '--val_size', '3', '--batchsize', '2', '--image_size', '32', '--weights', 'none',
            '--device', 'cpu', '--threads', '1', '--learning_rate', '0.01', '--TMP_MODEL_PATF', str(folder), *more]


def labels_of(dataset, ids, path):
    lines = dataset.labels.read_text().splitlines()
    path.write_text('\n'.join(line for line in lines if line.split()[1] in ids) + '\n')
    return str(path)


def list_of(ids, path):
    path.write_text('\n'.join(ids) + '\n')
    return str(path)


@contextlib.contextmanager
def opened(folder):
    """The names of the files in `folder` that any code of this process, C++ too, opens in the block."""
    libc, names = ctypes.CDLL(None, use_errno=True), set()
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(str(folder)), IN_OPEN) < 0:
        pytest.skip('no inotify on this system')
    yield names
    with contextlib.suppress(BlockingIOError):
        while True:
            events = os.read(descriptor, 1 << 16)
            while events:
                _, _, _, length = struct.unpack_from('iIII', events)
                names.add(events[16:16 + length].rstrip(b'\0').decode())
                events = events[16 + length:]
    os.close(descriptor)


@pytest.mark.parametrize('kind', ['--test_labels', '--test_split'])
@pytest.mark.parametrize('trainable', ['all', 'head'])
def test_a_training_never_opens_a_test_image(dataset, tmp_path, capsys, kind, trainable):
    make = labels_of if kind == '--test_labels' else lambda _, ids, path: list_of(ids, path)
    test = [kind, make(dataset, TEST, tmp_path / 'test.txt')]
    with opened(dataset.images) as names:
        train.main(small(dataset, tmp_path / 'model', '--epochs', '2', '--trainable', trainable, *test))
    everything = {f'{1000 + number}.jpg' for number in range(12)}
    assert names - {''} == everything - {f'{name}.jpg' for name in TEST}  # '' is the folder, which is listed
    assert '3 test images are kept out of training and validation' in capsys.readouterr().out
    with opened(dataset.images) as names:
        found = score.main([*dataset.flags, *test, '--batchsize', '2', '--checkpoint', 'model_002.h5', '--device',
                            'cpu', '--TMP_MODEL_PATF', str(tmp_path / 'model')])
    printed = capsys.readouterr().out
    assert names - {''} == {f'{name}.jpg' for name in TEST} and np.isfinite(found['emd_r2'])
    assert 'split test.txt 3, hash' in printed and 'training images may be among them' not in printed
    data = model_file.read(str(tmp_path / 'model' / 'model_002.h5')).run['data']
    assert (data['train_images'], data['val_images'], data['test_images']) == (6, 3, 3)
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    assert data['test_hash'] == splits.split_hash(ratings.take(np.isin(ratings.ids.astype(str), TEST)))
    with pytest.raises(InputError, match='the hash of the test images was'):
        train.main(small(dataset, tmp_path / 'model', '--epochs', '3', '--trainable', trainable, '--resume',
                         '--test_split', list_of(TEST[:1], tmp_path / 'other.txt'), '--val_size', '3'))


def test_labels_of_their_own_need_no_common_image(tmp_path):
    """As BIQ2021 comes: one label file for training, one for tests, one folder of images."""
    dataset = make_dataset(tmp_path / 'data', 12)
    test = labels_of(dataset, TEST, tmp_path / 'test.txt')
    dataset.labels.write_text('\n'.join(line for line in dataset.labels.read_text().splitlines()
                                        if line.split()[1] not in TEST) + '\n')
    train.main(small(dataset, tmp_path / 'model', '--epochs', '1', '--test_labels', test))
    data = model_file.read(str(tmp_path / 'model' / 'model_001.h5')).run['data']
    assert (data['train_images'], data['val_images'], data['test_images']) == (6, 3, 3)


def test_a_published_split_in_two_files(dataset, tmp_path):
    val = labels_of(dataset, TEST, tmp_path / 'val.txt')
    first = labels_of(dataset, [str(number) for number in range(1000, 1012) if str(number) not in TEST],
                      tmp_path / 'train.txt')
    files = ['--ava_dataset_path', first, '--val_dataset_path', val]
    history = train.main(small(dataset, tmp_path / 'model', '--epochs', '1', *files))
    data = model_file.read(str(tmp_path / 'model' / 'model_001.h5')).run['data']
    assert (data['train_images'], data['val_images']) == (9, 3)
    metrics = score.main([*dataset.flags, *files, '--device', 'cpu', '--TMP_MODEL_PATF', str(tmp_path / 'model'),
                          '--checkpoint', 'newest'])
    assert metrics['emd_r2'] == pytest.approx(history.history['val_loss'][0], abs=1e-6)


@pytest.mark.parametrize('arguments, message', [
    (['--test_labels', 'all'], r'all\.txt has labels of all 12 images of .*AVA\.txt, which leaves none to train on'),
    (['--test_split', 'all'], r'^--test_split: .*all\.txt lists all 12 images, which leaves none to train on'),
    (['--test_split', 'missing'], r'^--test_split: cannot read .*missing\.txt: No such file .* Give official or'),
    (['--group', '.', '--val_size', '3'], r"^--group: the 3 validation images and those of their groups are all 12 "
                                          r"images, .* The first group is '1', of 12 images"),
])
def test_parts_that_leave_nothing_to_train_on(dataset, tmp_path, arguments, message):
    make = labels_of if arguments[0] == '--test_labels' else lambda _, ids, path: list_of(ids, path)
    make(dataset, [str(1000 + number) for number in range(12)], tmp_path / 'all.txt')
    typed = [str(tmp_path / f'{each}.txt') if each in ('all', 'missing') else each for each in arguments]
    with pytest.raises(InputError, match=message):
        train.main(small(dataset, tmp_path / 'model', '--epochs', '1', *typed))


def ratings_of(ids):
    return ava.Ratings(np.array(ids, object), np.array([f'i/{each}' for each in ids], object),
                       np.full((len(ids), 10), 0.1))


def test_groups_stay_on_one_side():
    ids = ['ss01 (12).jpg', 'ss01 (7).jpg', 'ss01 (15).jpg', 'ss02 (11).jpg', 'ss01 (19).jpg', 'ss02 (3).jpg']
    decades = r'(ss\d+ \(\d*)\d\)'  # neighbouring numbers: all digits but the last
    assert [splits.group_of(each, decades) for each in ids[:2]] == ['ss01 (1', 'ss01 (']
    train_part, val = splits.choose(ratings_of(ids), val_size=2, group=decades)
    assert list(val.ids) == ['ss01 (12).jpg', 'ss01 (15).jpg', 'ss01 (19).jpg', 'ss02 (3).jpg']
    assert list(train_part.ids) == ['ss01 (7).jpg', 'ss02 (11).jpg']
    alone = splits.choose(ratings_of(ids), val_size=2, group='nothing matches')
    assert list(alone[1].ids) == ids[-2:]  # each image for itself: the last ones, as without groups


def test_groups_of_the_label_file_stay_on_one_side(table, dataset):
    scenes = 'park', 'sea', 'hut', 'sea', '', 'park', 'hut', '', 'park', 'sea', 'hut', 'park'
    labels = table('file,mean,scene\n' + ''.join(f'{1000 + row}.jpg,{(10 + row) / 4},{scene}\n'
                                                 for row, scene in enumerate(scenes)))
    ratings = ava.read(labels, str(dataset.images))
    train_part, val = splits.choose(ratings, val_size=5, group=splits.COLUMN)
    assert list(val.ids) == [f'{name}.jpg' for name in (1000, 1002, 1005, 1006, 1008, 1010, 1011)]  # parks and huts
    assert set(train_part.panel.groups) == {'sea', ''} and train_part.count == 5
    alone = splits.choose(ratings.take([0, 4, 7]), val_size=1, group=splits.COLUMN)[1]
    assert list(alone.ids) == ['1007.jpg']  # no entry: for itself
    with pytest.raises(InputError, match='^--group column: found no column of groups in the label file, expected one'):
        splits.choose(ava.read(str(dataset.labels), str(dataset.images)), val_size=5, group=splits.COLUMN)


@pytest.mark.parametrize('parse, arguments, message', [
    (train_flags, ['--test_labels', 'a', '--test_split', 'b'], 'not allowed with argument --test_labels'),
    (train_flags, ['--group', '('], "argument --group: found '(', expected a regular expression"),
    (train_flags, ['--group', 'a', '--split', 'official'], '--group needs --split last'),
    (eval_flags, ['--test_labels', 'a', '--val_size', '3'], 'Leave out --val_size'),
    (eval_flags, ['--test_split', 'a', '--split', 'official'], 'Leave out --split'),
])
def test_flags_that_do_not_go_together(parse, arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('srccs, waited', [
    ([], 0), ([.1], 0), ([.1, .2], 0), ([.2, .1, .2], 2), ([float('nan')] * 2, 2), ([.1, float('nan'), .05], 2)])
def test_what_patience_counts(srccs, waited):
    assert log.waited(srccs) == waited


def test_patience_ends_a_training_and_holds_on_resume(dataset, tmp_path, monkeypatch, capsys):
    srccs = iter([.3, .5, .4, .45, .2, .1])
    figures = log.validation_figures
    monkeypatch.setattr(log, 'validation_figures', lambda *given: {**figures(*given), 'val_srcc': next(srccs)})

    def run(*more):
        return train.main(small(dataset, tmp_path / 'model', *more)).epoch

    assert run('--epochs', '3', '--patience', '2') == [0, 1, 2]
    assert run('--epochs', '9', '--patience', '2', '--resume') == [3]  # .4 and .45 after the .5 of the log
    assert 'stopped early: no higher val_srcc in 2 validations' in capsys.readouterr().out
    assert run('--epochs', '9', '--patience', '2', '--resume') == []
    assert 'the training was ended by --patience 2' in capsys.readouterr().out
    assert run('--epochs', '9', '--patience', '3', '--resume') == [4]
    assert re.search(r'best epoch: 2 of 9, val_srcc 0\.5000', capsys.readouterr().out)
