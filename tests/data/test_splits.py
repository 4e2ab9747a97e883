"""Which images are for validation, and how two datasets, and two splits of one, are distinguished."""
import hashlib
import os

import numpy as np
import pytest

from utils.base.errors import InputError
from utils.data import ava, splits
from utils.model import model_file
from utils.scoring import flags
from utils.training.flags import train_flags

RATINGS = ava.Ratings(np.array(['7', '12', 'é'], object), np.array(['a/7.jpg', 'a/12.jpg', 'a/é.jpg'], object),
                      np.full((3, 10), 0.1))


def test_the_hash_of_the_data_is_that_of_ids_and_shares():
    expected = hashlib.sha256('7\n12\né'.encode() + np.full((3, 10), 0.1, '<f8').tobytes()).hexdigest()
    assert splits.data_hash(RATINGS) == expected
    moved = RATINGS._replace(paths=np.array(['b'] * 3, object))
    assert splits.data_hash(moved) == expected
    assert splits.data_hash(RATINGS.take([1, 0, 2])) != expected
    other = RATINGS.distributions.copy()
    other[2, 9] += 1e-16
    assert splits.data_hash(RATINGS._replace(distributions=other)) != expected


def test_the_hash_of_a_split_is_that_of_its_images_in_any_order():
    expected = hashlib.sha256('12\n7\né'.encode()).hexdigest()
    assert splits.split_hash(RATINGS) == splits.split_hash(RATINGS.take([2, 0, 1])) == expected
    assert splits.split_hash(RATINGS.take([0, 1])) != expected


# --- choosing a split

IDS = ['7', 'a.jpg', '8', 'b c', '9']


def ratings_of(ids=IDS):
    paths = [f'photos/{image_id if image_id.endswith(".jpg") else image_id + ".jpg"}' for image_id in ids]
    random = np.random.RandomState(0)
    return ava.Ratings(np.array(ids, object), np.array(paths, object), random.dirichlet(np.ones(10), len(ids)))


@pytest.fixture
def listing(tmp_path):
    """Writes a list of images and returns its path as text."""
    def write(content, name='list.txt'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def error_of(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('text, val', [
    ('8\n7\n', ['8', '7']),
    ('8.jpg\r\n\r\n7.JPG\r\n', ['8', '7']),
    ('\ufeffa\n', ['a.jpg']),
    (' a.jpg \n9', ['a.jpg', '9']),
    ('b c\n', ['b c']),
    ('b%20c.jpg\n', ['b c']),
])
def test_a_list_names_the_validation_images_in_its_order(listing, text, val):
    train, chosen = splits.choose(ratings_of(), listing(text))
    assert chosen.ids.tolist() == val
    assert train.ids.tolist() == [image_id for image_id in IDS if image_id not in val]
    for part in (train, chosen):
        assert [os.path.basename(path).replace('.jpg', '') for path in part.paths] == [
            image_id.replace('.jpg', '') for image_id in part.ids]


def test_what_a_list_names_twice_or_in_vain_is_counted(listing):
    told = []
    path = listing('8\nx1\n8.jpg\nx2\n7\n')
    train, val = splits.choose(ratings_of(), path, report=told.append)
    assert val.ids.tolist() == ['8', '7'] and train.count == 3
    assert told == [f'{path}: 2 of 5 lines are used; left out without label or image: 2, first x1; listed again: '
                    '1']
    splits.choose(ratings_of(), listing('8'), report=told.append)
    assert len(told) == 1


def test_scoring_may_take_all_images(listing):
    train, val = splits.choose(ratings_of(), listing('\n'.join(IDS)), to_train=0)
    assert train.count == 0 and val.ids.tolist() == IDS


def test_val_size_takes_the_first_of_a_list_and_trains_on_none_of_it(listing):
    train, val = splits.choose(ratings_of(), listing('9\n8\n7\n'), 2)
    assert val.ids.tolist() == ['9', '8']
    assert train.ids.tolist() == ['a.jpg', 'b c']


@pytest.mark.parametrize('content, val_size, message', [
    ('x\ny', None, "--split: none of the 2 images in {path} is among the 5 that have a label and a file; the "
                   "first is 'x'. Give the list that belongs to these labels"),
    ('\n'.join(IDS), None, '--split: {path} lists all 5 images, which leaves none to train on. Take some off'),
    ('7\n8', 3, 'val_size: found 3, expected at most the 2 images of {path}: type less, or leave it out'),
    ('\n \n', None, '--split: {path} is empty. Give a list of images, one id or file name a line'),
    (b'7\n\xff\n', None, '--split: {path} is no UTF-8 text. Give a list of images, one id or file name a line'),
])
def test_a_list_that_cannot_be_used(listing, content, val_size, message):
    path = listing(content)
    assert error_of(splits.choose, ratings_of(), path, val_size).startswith(message.format(path=path))


def test_a_list_that_is_not_there(tmp_path):
    path = str(tmp_path / 'none.txt')
    assert error_of(splits.choose, ratings_of(), path) == (
        f'--split: cannot read {path}: No such file or directory. Give last, official or the path of a list of images, '
        'one id or file name a line')


@pytest.mark.parametrize('place', ['generic_test.jpgl', 'aesthetics_image_lists/generic_test.jpgl',
                                   'AVA_dataset/aesthetics_image_lists/generic_test.jpgl'])
def test_the_official_list_is_found_near_the_labels(listing, tmp_path, place):
    labels = str(tmp_path / 'AVA.txt')
    message = error_of(splits.choose, ratings_of(), 'official', labels=labels)
    assert message.startswith(f'--split official: found no {tmp_path}/generic_test.jpgl, no ')
    assert f'{tmp_path}/{place}' in message
    listing('9\n', place)
    assert splits.choose(ratings_of(), 'official', labels=labels)[1].ids.tolist() == ['9']


@pytest.mark.parametrize('split', ['last', 'list'])
def test_one_file_in_both_parts_is_refused(listing, split):
    ratings = ratings_of(['7', '8', '8.jpg'])
    path = listing('8.jpg') if split == 'list' else split
    assert error_of(splits.choose, ratings, path, 1) == (
        'photos/8.jpg: this image is for training, as 8, and for validation, as 8.jpg. Delete one of the two label '
        'lines')


def test_last_is_the_cards_split_and_its_size_the_cards():
    ratings = ratings_of([str(number) for number in range(5002)])
    train, val = splits.choose(ratings)
    assert (train.count, val.ids[0], val.ids[-1]) == (2, '2', '5001')
    assert splits.describe('last', val) == f'split last 5000, hash {splits.split_hash(val)[:12]}'


def test_the_real_official_list(shared):
    labels = ava.read_labels(str(shared / 'ava_labels' / 'AVA_43533.txt'))
    ratings = ava.Ratings(labels.ids, labels.ids + '.jpg', labels.distributions)
    told = []
    train, val = splits.choose(ratings, 'official', labels=str(shared / 'ava_labels' / 'AVA_43533.txt'),
                               report=told.append)
    listed = (shared / 'ava_labels' / 'generic_test.jpgl').read_text().split()
    assert set(val.ids) == set(listed) & set(labels.ids) and train.count == 43533 - val.count
    assert f'{val.count} of {len(listed)} lines are used' in told[0]


def test_metadata_names_the_split_and_an_evaluation_on_another_warns(listing):
    ratings = ratings_of()
    train, val = splits.choose(ratings, 'last', 2)
    trained = splits.metadata('last', train, val)
    assert trained == {'split': 'last 2', 'split_hash': splits.split_hash(val),
                       'labels_hash': splits.data_hash(ratings)}
    assert splits.unlike_trained('m.h5', trained, 'last', val) is None
    assert splits.unlike_trained('m.h5', None, 'last', val) is None
    _, other = splits.choose(ratings, listing('7\n'))
    assert splits.unlike_trained('m.h5', trained, '/x/list.txt', other) == (
        "warning: m.h5: trained with split 'last 2', evaluated on 'list.txt 1': training images may be among them")
    other = other.take([0, 0])
    assert splits.unlike_trained('m.h5', trained, 'last', other) == (
        f"warning: m.h5: trained with split 'last 2' (hash {trained['split_hash'][:12]}), evaluated on 'last 2' (hash "
        f'{splits.split_hash(other)[:12]}): training images may be among them')


def test_val_size_is_the_cards_unless_typed_or_another_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for parse in (train_flags, flags.eval_flags):
        assert [parse([]).split, parse([]).val_size] == ['last', 5000]
        assert parse(['--split', 'official']).val_size is None
        assert parse(['--split', 'official', '--val_size', '3']).val_size == 3
        assert parse(['--split', 'a.txt']).split == str(tmp_path / 'a.txt')
        assert parse(['--demo']).val_size == 400


@pytest.mark.usefixtures('small_base')
def test_training_and_scoring_on_a_list(dataset, listing, tmp_path, capsys):
    import eval as score
    import train
    path, model = listing('1003\n1001.jpg\n1010\n', 'AVA list.txt'), str(tmp_path / 'model')
    train.main([*dataset.flags, '--split', path, '--image_size', '32', '--batchsize', '3', '--weights', 'none',
                '--device', 'cpu', '--epochs', '1', '--TMP_MODEL_PATF', model, '--TMP_LOG_PATH', str(tmp_path / 'log')])
    _, val = splits.choose(ava.read(*dataset.flags[1::2]), path)
    line = f'split AVA list.txt 3, hash {splits.split_hash(val)[:12]}'
    assert line in capsys.readouterr().out
    saved = model_file.read(os.path.join(model, 'model_001.h5')).run['data']
    assert (saved['split'], saved['split_hash']) == ('AVA list.txt 3', splits.split_hash(val))

    scoring = [*dataset.flags, '--TMP_MODEL_PATF', model, '--checkpoint', 'model_001.h5', '--device', 'cpu']
    score.main([*scoring, '--split', path])
    printed = capsys.readouterr().out
    assert line in printed and 'warning' not in printed
    score.main([*scoring, '--val_size', '4'])
    assert "trained with split 'AVA list.txt 3', evaluated on 'last 4': training" in capsys.readouterr().out
