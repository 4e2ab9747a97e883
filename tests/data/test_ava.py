"""utils/data/ava.py: what is read from a label file, what is refused in which words, which images are found."""
import gzip
import math
import os

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.data import ava, path_hints

SKIP = LabelOptions(skip_bad=True, max_bad=1)
HOW = '(a flag, and a line of utils/data_loader.py)'
VOTES = '0 1 5 17 38 36 15 6 5 1'  # AVA's image 953619
ID_PARTS = 'abcXYZ019_-é中'


def line(image_id='953619', votes=VOTES, tail=' 1 22 1396', index=1):
    return f'{index} {image_id} {votes}{tail}'


@pytest.fixture
def write(tmp_path):
    """Writes AVA.txt and returns its path as text."""
    def write_file(text):
        path = tmp_path / 'AVA.txt'
        path.write_bytes(text if isinstance(text, bytes) else text.encode('utf-8'))
        return str(path)
    return write_file


@pytest.fixture
def images(tmp_path):
    """Makes image/images with empty files of the given names and returns the folder as text."""
    def make(*names, folder='image/images'):
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            (target / name).touch()
        return str(target)
    return make


def error_of(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_scores_are_1_to_10():
    assert ava.SCORES.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert ava.SCORES.dtype == np.float64


# --- what is read


def test_shares_are_votes_over_their_sum(write):
    labels = ava.read_labels(write(line() + '\n'))
    total = 0 + 1 + 5 + 17 + 38 + 36 + 15 + 6 + 5 + 1
    assert labels.ids.tolist() == ['953619']
    assert labels.distributions.dtype == np.float64
    assert labels.distributions.tolist() == [[0 / total, 1 / total, 5 / total, 17 / total, 38 / total,
                                       36 / total, 15 / total, 6 / total, 5 / total, 1 / total]]
    assert labels.bad == []


@pytest.mark.parametrize('text', [
    pytest.param(line('7') + '\n' + line('8') + '\n', id='LF'),
    pytest.param(line('7') + '\r\n' + line('8') + '\r\n', id='CRLF'),
    pytest.param(line('7') + '\r' + line('8') + '\r', id='CR'),
    pytest.param(line('7') + '\n' + line('8'), id='no last line feed'),
    pytest.param(line('7') + '  \t\n' + line('8') + ' \r\n', id='trailing blanks'),
    pytest.param('\n \t\n' + line('7') + '\n\r\n\n' + line('8') + '\n\n', id='blank lines'),
    pytest.param('\ufeff' + line('7') + '\n' + line('8') + '\n', id='BOM'),
    pytest.param('  ' + line('7').replace(' ', '\t') + '\n' + line('8').replace(' ', '   '), id='tabs'),
    pytest.param(line('7', tail='') + '\n' + line('8', tail='') + '\n', id='12 columns'),
    pytest.param(line('7', tail=' a b c d e') + '\n' + line('8') + '\n', id='more columns'),
])
def test_variants_of_a_text_file_read_the_same(write, text):
    labels = ava.read_labels(write(text))
    assert labels.ids.tolist() == ['7', '8']
    expected = ava.read_labels(write(line('7') + '\n' + line('8'))).distributions
    np.testing.assert_array_equal(labels.distributions, expected)


def test_votes_may_be_decimals_and_large(write):
    long = '9' * 20  # beyond 64 bits
    for first, last, share in (('0.5', '1.5', 0.75), ('1e300', '3e300', 0.75), (long, long, 0.5)):
        labels = ava.read_labels(write(line(votes=first + ' 0' * 8 + ' ' + last)))
        assert labels.distributions.tolist() == [[1 - share] + [0] * 8 + [share]]


def test_ids_stay_text_and_may_be_file_names(write):
    ids = ['007', 'holiday.jpg', '猫']
    assert ava.read_labels(write('\n'.join(line(image_id) for image_id in ids))).ids.tolist() == ids


def test_real_labels():
    path = SHARED / 'ava_labels' / 'AVA_43533.txt'
    if not path.is_file():
        pytest.skip('shared/ava_labels/AVA_43533.txt is not there: it holds real lines of AVA')
    labels = ava.read_labels(str(path))
    rows = [text.split() for text in path.read_text().splitlines()]
    votes = np.array([row[2:12] for row in rows], dtype=np.float64)
    assert len(labels.ids) == 43533
    assert labels.ids.tolist() == [row[1] for row in rows]
    np.testing.assert_array_equal(labels.distributions, votes / votes.sum(axis=1, keepdims=True))


def test_real_images_are_found():
    sample = SHARED / 'ava_sample'
    if not sample.is_dir():
        pytest.skip('shared/ava_sample is not there: it holds ten real images of AVA')
    ratings = ava.read(str(sample / 'AVA.txt'), str(sample / 'images'))
    assert ratings.count == 10
    assert all(os.path.isfile(path) for path in ratings.paths)


# --- what is refused, and in which words


@pytest.mark.parametrize('text, message', [
    (line('7', '1 2 3', tail=''),
     "found 5 of 12 columns, '1 7 1 2 3', expected index, id and ten votes: correct or delete the line"),
    (line('/etc/b'), "found id '/etc/b', expected a name without '\\', '..' and NUL, in the folder of images or "
                     'below it: correct or delete the line'),
    (line('a//b'), "found id 'a//b', expected a name without"),
    (line('..\\b'), "found id '..\\\\b', expected a name without"),
    (line('..'), "found id '..', expected a name without"),
    (line('a\0b'), "found id 'a\\x00b', expected a name without"),
    (line(votes='0 1 x' + ' 0' * 7), "found 'x' votes for score 3, expected a number from 0: correct or "),
    (line(votes='-1 1' + ' 0' * 8), "found '-1' votes for score 1, expected a number from 0"),
    (line(votes='nan 1' + ' 0' * 8), "found 'nan' votes for score 1, expected a number from 0"),
    (line(votes='0 inf' + ' 0' * 8), "found 'inf' votes for score 2, expected a number from 0"),
    (line(votes='1' + ' 0' * 8 + ' 1_0'), "found '1_0' votes for score 10, expected a number from 0"),
    (line(votes='１' + ' 0' * 9), "found '１' votes for score 1, expected a number from 0"),
    (line(votes=' '.join(['0'] * 10)), 'found votes that add up to 0, expected at least one vote: correct '),
    (line(votes=' '.join(['1e308'] * 10)), 'found votes that add up to inf, expected at least one vote'),
    (line('953958'),
     'found id 953958, which line 1 has too, expected each id once: delete one of the two lines'),
    ('<!DOCTYPE html><html><head><title>Not found</title>', "found 3 of 12 columns, '<!DOCTYPE html>"),
])
def test_a_bad_line_is_named(write, text, message):
    path = write(line('953958') + '\n\n' + text + '\n' + line('954184') + '\n')
    assert error_of(ava.read_labels, path).startswith(f'{path}:3: {message}')

    labels = ava.read_labels(path, SKIP)
    assert labels.ids.tolist() == ['953958', '954184']
    assert len(labels.bad) == 1
    assert labels.bad[0][0] == 3
    assert labels.bad[0][1].startswith(message)


def test_a_long_bad_line_is_cut_short(write):
    assert len(error_of(ava.read_labels, write('x' * 10000))) < 400


@pytest.mark.parametrize('content, found', [
    (b'', 'found no lines'),
    (b'\xef\xbb\xbf', 'found no lines'),
    (b' \r\n\n', 'found no lines'),
    (b'\xff\xd8\xff\xe0\x00\x10JFIF', 'found a JPEG image'),
    (b'\x89PNG\r\n\x1a\n', 'found a PNG image'),
    pytest.param(gzip.compress(line().encode()), 'found a gzip archive', id='gzip'),  # its header holds the time
])
def test_a_file_that_holds_no_labels(write, content, found):
    path = write(content)
    for skip_bad in (False, True):
        text = error_of(ava.read_labels, path, LabelOptions(skip_bad=skip_bad, max_bad=1))
        assert text.startswith(f'{path}: {found}, expected ')
        assert text.endswith("lines of 'index id v1 ... v10': give the label file AVA.txt")


def test_only_bad_lines(write):
    path = write('\nhello\nworld\n')
    assert error_of(ava.read_labels, path, SKIP).startswith(
        f"{path}: found no usable line (line 2: found 1 of 12 columns, 'hello', expected")


def test_a_file_that_is_not_utf8_names_the_line(write):
    path = write(line('7').encode() + b'\r\n' + line('8').encode() + b'\r\n1 caf\xe9 ' + VOTES.encode())
    text = error_of(ava.read_labels, path)
    assert text.startswith(f'{path}:3: found bytes that are not UTF-8, expected UTF-8 text with lines of ')
    assert text.endswith(': give the label file AVA.txt or save it as UTF-8')


def test_a_missing_label_file(tmp_path):
    path = str(tmp_path / 'nowhere' / 'labels.txt')
    assert error_of(ava.read_labels, path) == (
        f'{path}: found nothing, expected the label file: set ava_dataset_path {HOW} to '
        'your copy of AVA.txt, or try everything without a dataset: bash train_1p.sh --demo')


@pytest.mark.parametrize('given, real', [
    ('AVA_dataset/AVA.txt', 'AVA_dataset/AVA_dataset/AVA.txt'),
    ('AVA_dataset/AVA_dataset/AVA.txt', 'AVA_dataset/AVA.txt'),
    ('AVA_dataset/labels.txt', 'AVA_dataset/AVA.txt'),
    ('AVA_dataset/image/AVA.txt', 'AVA_dataset/AVA.txt'),
    ('AVA.txt', 'AVA_dataset/AVA.txt'),
])
def test_labels_that_stand_nearby_are_pointed_at(tmp_path, given, real):
    (tmp_path / real).parent.mkdir(parents=True)
    (tmp_path / real).write_text(line())
    assert error_of(ava.read_labels, str(tmp_path / given)) == (
        f'{tmp_path / given}: found nothing, expected the label file: '
        f'set ava_dataset_path {HOW} to {tmp_path / real}, which exists')


def test_a_folder_given_as_label_file(write, tmp_path):
    path = write(line())
    assert error_of(ava.read_labels, str(tmp_path)) == (
        f'{tmp_path}: found a folder, expected the label file: '
        f'set ava_dataset_path {HOW} to {path}, which exists')


def test_a_file_without_permission(write, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    path = write(line())
    monkeypatch.setattr('os.open', refused)
    text = error_of(ava.read_labels, path)
    monkeypatch.undo()
    assert text == f'cannot read {path}, the label file: Permission denied. Change its permissions or copy it'


# --- which images are found


def test_paths_and_mask_follow_the_ids(images):
    folder = images('7.jpg', '9.jpg')
    paths, found = ava.find_images(['9', '8', '7'], folder)
    assert paths.tolist() == [os.path.join(folder, name) for name in ('9.jpg', '8.jpg', '7.jpg')]
    assert found.tolist() == [True, False, True]


@pytest.mark.parametrize('names, expected', [
    (['7.PNG', '7.png', '7.JPEG', '7.JPG', '7.jpeg', '7.jpg'], '7.jpg'),
    (['7.PNG', '7.png', '7.JPEG', '7.JPG', '7.jpeg'], '7.jpeg'),
    (['7.PNG', '7.png', '7.JPEG', '7.JPG'], '7.JPG'),
    (['7.PNG', '7.png', '7.JPEG'], '7.JPEG'),
    (['7.PNG', '7.png'], '7.png'),
    (['7.PNG', '77.jpg', '7', '7.txt'], '7.PNG'),
])
def test_the_preferred_ending_wins(images, names, expected):
    folder = images(*names)
    paths, found = ava.find_images(['7'], folder)
    assert paths.tolist() == [os.path.join(folder, expected)]
    assert found.tolist() == [True]


@pytest.mark.parametrize('link', [False, True])
def test_a_pipe_is_no_image(images, link):
    folder = images('7.jpg')
    os.mkfifo(os.path.join(folder, 'pipe' if link else '8.jpg'))
    if link:
        os.symlink('pipe', os.path.join(folder, '8.jpg'))
    wrong = {'9': 'nothing', '10': '10.jpg', '11': 'a' * 300, '12': '7.jpg/x'}  # reading these says what is wrong
    for name, target in wrong.items():
        os.symlink(target, os.path.join(folder, f'{name}.jpg'))
    os.symlink('7.jpg', os.path.join(folder, '13.jpg'))
    assert ava.find_images(['7', '8', *wrong, '13'], folder)[1].tolist() == [True, False, *[True] * 5]


def test_an_id_with_an_ending_is_a_file_name(images):
    paths, found = ava.find_images(['a.jpg', 'b.png', 'c.Jpg', 'd.v2'],
                                   images('a.jpg', 'b.png.jpg', 'c.Jpg', 'd.v2.jpg'))
    assert [os.path.basename(path) for path in paths] == ['a.jpg', 'b.png', 'c.Jpg', 'd.v2.jpg']
    assert found.tolist() == [True, False, True, True]


def test_letters_and_accents_written_another_way_are_the_same_name(images):
    composed, apart = 'caf\xe9', 'cafe\u0301'
    folder = images(apart + '.jpg', 'b\xe9.PNG')
    paths, found = ava.find_images([composed, apart, 'be\u0301', 'cafe'], folder)
    assert [os.path.basename(path) for path in paths] == [apart + '.jpg', apart + '.jpg', 'b\xe9.PNG', 'cafe.jpg']
    assert found.tolist() == [True, True, True, False]


def test_the_folder_is_listed_once_and_no_file_asked_for(images, monkeypatch):
    folder = images('7.jpg', '8.jpg')
    calls, scandir = [], os.scandir

    def counted(path):
        calls.append(path)
        return scandir(path)

    def refused(*args, **kwargs):
        raise AssertionError('a file was asked for')

    monkeypatch.setattr(os, 'scandir', counted)
    for name in ('stat', 'lstat', 'listdir'):
        monkeypatch.setattr(os, name, refused)
    paths, found = ava.find_images(['7', '8', '9'], folder)
    monkeypatch.undo()
    assert calls == [folder]
    assert found.tolist() == [True, True, False]


@pytest.mark.parametrize('given, real', [
    ('AVA_dataset/image/images', 'AVA_dataset/AVA_dataset/image/images'),
    ('AVA_dataset/AVA_dataset/image/images', 'AVA_dataset/image/images'),
    ('AVA_dataset/image/images', 'AVA_dataset/image/images/images'),
    ('AVA_dataset/image', 'AVA_dataset/image/images'),
    ('AVA_dataset/image/images', 'AVA_dataset/images'),
    ('AVA_dataset', 'AVA_dataset/image/images'),
    ('.', 'AVA_dataset/image/images'),
])
def test_images_that_stand_nearby_are_pointed_at(images, tmp_path, given, real):
    folder = images('7.jpg', folder=real)
    text = error_of(ava.find_images, ['7', '8'], str(tmp_path / given))
    found = 'none of the 2 labelled images' if (tmp_path / given).is_dir() else 'nothing'
    assert text == (f'{tmp_path / given}: found {found}, expected the folder of images: '
                    f'set base_images_path {HOW} to {folder}, where images are')


def test_no_images_anywhere(images):
    folder = images('unrelated.jpg')
    assert error_of(ava.find_images, ['7'], folder) == (
        f'{folder}: found none of the 1 labelled images, expected the folder of images: '
        f'set base_images_path {HOW} to the folder of ID.jpg')


def test_an_image_folder_without_permission(images, monkeypatch):
    def refused(path):
        raise PermissionError(13, 'Permission denied')

    folder = images('7.jpg')
    monkeypatch.setattr(os, 'scandir', refused)
    text = error_of(ava.find_images, ['7'], folder)
    monkeypatch.undo()
    assert text == (f'cannot read {folder}, the folder of images: Permission denied. Change its permissions or '
                    'copy it')


@pytest.mark.parametrize('path', ['/', 'AVA_dataset', 'AVA_dataset/image/images', 'elsewhere'])
def test_each_folder_nearby_is_looked_at_once(images, tmp_path, path):
    images(folder='AVA_dataset/AVA_dataset/image/images')
    images(folder='AVA_dataset/image/images')
    folders = list(path_hints._near(os.path.join(str(tmp_path), path), path_hints._LIKELY_IMAGE_FOLDERS))
    assert folders and len(folders) == len(set(folders))


def test_a_file_given_as_image_folder(images, write):
    folder, path = images('7.jpg'), write(line('7'))
    assert error_of(ava.read, path, path) == (
        f'{path}: found no folder, expected the folder of images: '
        f'set base_images_path {HOW} to {folder}, where images are')


def test_the_two_paths_the_wrong_way_round(images, write):
    folder, path = images('7.jpg'), write(line('7'))
    assert error_of(ava.read, folder, path) == (
        f'ava_dataset_path is a folder, {folder}, and base_images_path a file, {path}: exchange the two')


def test_read_keeps_the_labels_that_have_an_image(images, write):
    folder = images('9.jpg', '7.png')
    path = write('\n'.join([line('7', '1' + ' 0' * 9), line('8'), line('9', '0 ' * 9 + '4'), 'junk']))
    told = []
    ratings = ava.read(path, folder, SKIP, report=told.append)
    assert ratings.ids.tolist() == ['7', '9']
    assert ratings.paths.tolist() == [os.path.join(folder, '7.png'), os.path.join(folder, '9.jpg')]
    assert ratings.distributions.tolist() == [[1] + [0] * 9, [0] * 9 + [1]]
    assert told == [
        f"{path}: bad lines left out: 1, first line 4: found 1 of 12 columns, 'junk', "
        f'expected index, id and ten votes: correct or delete the line',
        f'{path}: 1 of 3 labels left out, which have no image in {folder}, first 8',
    ]


def test_read_has_nothing_to_tell_of_a_whole_dataset(images, write):
    told = []
    assert ava.read(write(line('7')), images('7.jpg'), report=told.append).count == 1
    assert told == []


# --- ratings and split


def ratings_of(count):
    shares = np.full((count, 10), 1 / 10)
    names = np.array([str(i) for i in range(count)], dtype=object)
    return ava.Ratings(names, names + '.jpg', shares)


def test_take_takes_the_same_rows_of_all():
    ratings = ratings_of(5)
    assert ratings.count == 5
    for indices in ([4, 1], np.array([False, True, False, False, True])):
        taken = ratings.take(indices)
        assert sorted(taken.ids) == ['1', '4']
        assert taken.paths.tolist() == [name + '.jpg' for name in taken.ids]
        assert taken.distributions.shape == (2, 10)


def test_the_last_rows_are_for_validation():
    train, val = ava.split(ratings_of(10), 3)
    assert train.ids.tolist() == [str(i) for i in range(7)]
    assert val.ids.tolist() == ['7', '8', '9']
    train, val = ava.split(ratings_of(3), 3, to_train=0)  # where nothing is trained
    assert train.count == 0 and val.ids.tolist() == ['0', '1', '2']


@pytest.mark.parametrize('count, val_size, message', [
    (100, 5000, 'val_size: found 5000, expected 1 to 99 of the 100 images: type --val_size 10'),
    (100, 100, 'val_size: found 100, expected 1 to 99 of the 100 images: type --val_size 10'),
    (100, 0, 'val_size: found 0, expected 1 to 99 of the 100 images: type --val_size 10'),
    (100, -1, 'val_size: found -1, expected 1 to 99 of the 100 images: type --val_size 10'),
    (5, 5, 'val_size: found 5, expected 1 to 4 of the 5 images: type --val_size 1'),
    (1, 1, 'images with a label: found 1, expected at least one to train and one to validate: add images'),
])
def test_a_val_size_that_cannot_be(count, val_size, message):
    assert error_of(ava.split, ratings_of(count), val_size) == message


# --- properties


image_ids = st.text(ID_PARTS, min_size=1, max_size=8)
blanks = st.text(' \t', min_size=1, max_size=3)
votes_of_a_line = st.lists(st.integers(0, 10 ** 9 - 1), min_size=10, max_size=10).filter(any)
quick = settings(max_examples=60, deadline=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@quick
@given(st.dictionaries(image_ids, votes_of_a_line, min_size=1, max_size=8), blanks,
       st.sampled_from(['\n', '\r\n', '\n\n', ' \n']), st.booleans())
def test_what_is_written_is_read(write, votes_of, blank, line_end, bom):
    lines = [blank.join(map(str, [0, image_id, *votes])) for image_id, votes in votes_of.items()]
    labels = ava.read_labels(write('\ufeff' * bom + line_end.join(lines)))
    assert labels.ids.tolist() == list(votes_of)
    for shares, votes in zip(labels.distributions, votes_of.values()):
        np.testing.assert_allclose(shares, [vote / sum(votes) for vote in votes], rtol=1e-12)
        assert math.isclose(shares.sum(), 1, rel_tol=1e-12)


@quick
@given(st.lists(votes_of_a_line, min_size=1, max_size=4), st.sampled_from(['\n', '\r', '\r\n', '\f']),
       st.sampled_from(['', ' ', '\n', '\r', '\v', '.5', '-', 'x', '/', '0', '\0', ' 7', 'é']), st.data())
def test_noise_in_a_file_is_one_sentence_or_read_as_it_stands(write, rows, line_end, noise, data):
    text = line_end.join(line(str(number), ' '.join(map(str, row))) for number, row in enumerate(rows))
    position = data.draw(st.integers(0, len(text)))
    content = (text[:position] + noise + text[position:]).encode()
    try:
        labels = ava.read_labels(write(content))
    except InputError as error:
        assert noise or line_end == '\f'  # a form feed ends no line: all is one, whose columns beyond 12 are ignored
        assert '\n' not in str(error)
        return
    columns = [each.split() for each in content.splitlines() if each.strip()]
    votes = np.array([row[2:12] for row in columns], np.float64)
    assert labels.ids.tolist() == [row[1].decode() for row in columns]
    np.testing.assert_array_equal(labels.distributions, votes / votes.sum(axis=1, keepdims=True))


@quick
@given(st.binary(max_size=300))
def test_junk_is_one_sentence_or_labels(write, junk):
    path = write(junk)
    for skip_bad in (False, True):
        try:
            labels = ava.read_labels(path, LabelOptions(skip_bad=skip_bad, max_bad=1))
        except InputError as error:
            assert str(error).startswith(path)
            assert '\n' not in str(error)
        else:
            np.testing.assert_allclose(labels.distributions.sum(axis=1), 1)


@quick
@given(st.lists(image_ids, unique=True, max_size=6), st.lists(image_ids, unique=True, max_size=6))
def test_found_is_what_is_in_the_folder(tmp_path_factory, there, wanted):
    assume(set(there) & set(wanted) or not wanted)
    folder = tmp_path_factory.mktemp('images')
    for name in there:
        (folder / (name + '.jpg')).touch()
    paths, found = ava.find_images(wanted, str(folder))
    assert found.tolist() == [name in there for name in wanted]
    assert [os.path.isfile(path) for path in paths] == found.tolist()


@quick
@given(st.integers(2, 30), st.data())
def test_split_keeps_every_image_once(count, data):
    val_size = data.draw(st.integers(1, count - 1))
    train, val = ava.split(ratings_of(count), val_size)
    assert val.count == val_size
    assert [*train.ids, *val.ids] == [str(i) for i in range(count)]
