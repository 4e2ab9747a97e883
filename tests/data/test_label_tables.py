"""Labels in CSV and JSON: what is read, what is refused in which words, and the whole way to scores."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, make_dataset, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils import labels
from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.data import ava, distributions

VOTES = [0, 1, 5, 17, 38, 36, 15, 6, 5, 1]
TEN = ','.join(f'v{score}' for score in range(1, 11))
VOTES_CSV = ','.join(map(str, VOTES))
SKIP = LabelOptions(skip_bad=True, max_bad=0.9)


def error_of(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def means(path, **kwargs):
    read = ava.read_labels(path, **kwargs)
    return dict(zip(read.ids, read.distributions @ ava.SCORES))


# --- what is read


@pytest.mark.parametrize('text', [
    f'file,{TEN}\na b.jpg,{VOTES_CSV}\n',
    f'a b.jpg,{VOTES_CSV}\n',
    f'\ufeffFile Name;{TEN.replace(",", ";").upper()}\r\na b.jpg;{VOTES_CSV.replace(",", ";")}\r\n',
    f'index\timage_id\t{TEN.replace(",", chr(9))}\ttag\n1\ta b.jpg\t{VOTES_CSV.replace(",", chr(9))}\t7\n',
    'image,' + ','.join(map(str, range(1, 11))) + f'\n"a b.jpg",{VOTES_CSV}\n\n',
    'image,' + ','.join(map(str, range(10))) + f'\n\n"a b.jpg",{VOTES_CSV},,\n',
    'v10,' + ','.join(f'vote_{score}' for score in range(1, 10)) + f',photo\n1,{",".join(map(str, VOTES[:9]))},a b.jpg',
    f'file,mean,std,{TEN}\na b.jpg,5.637,0,{VOTES_CSV}\n',  # votes count more than a mean
])
def test_ten_votes_in_many_tables(table, text):
    read = ava.read_labels(table(text))
    assert read.ids.tolist() == ['a b.jpg']
    np.testing.assert_allclose(read.distributions, [np.array(VOTES) / sum(VOTES)], rtol=1e-15)
    assert read.totals.tolist() == [sum(VOTES)] and read.bad == []


def test_idealos_json_is_read_as_it_is(table):
    text = json.dumps([{'image_id': '953619', 'label': VOTES}, {'image_id': '953958', 'label': [0.1] * 10}])
    read = ava.read_labels(table(text, 'ava_labels_train.json'))
    assert read.ids.tolist() == ['953619', '953958']
    np.testing.assert_allclose(read.distributions, [np.array(VOTES) / sum(VOTES), np.full(10, 0.1)], rtol=1e-12)


@pytest.mark.parametrize('text, name, expected', [
    ('file,mean\na.jpg,7\nb.jpg,1\nc.jpg,10\n', 'a.csv', [7, 1, 10]),
    ('a.jpg,7\nb.jpg,1.25\nc.jpg,10\n', 'a.csv', [7, 1.25, 10]),
    ('file;score\na.jpg;7,5\nb.jpg;1,25\nc.jpg;10\n', 'a.CSV', [7.5, 1.25, 10]),
    ('file,mean_0_100\na.jpg,50\nb.jpg,0\nc.jpg,100\n', 'a.csv', [5.5, 1, 10]),
    ('file,mean_score_1_to_5\na.jpg,3\nb.jpg,1\nc.jpg,5\n', 'a.csv', [5.5, 1, 10]),
    ('file,MOS 0 9\na.jpg,6\nb.jpg,0\nc.jpg,9\n', 'a.csv', [7, 1, 10]),
    ('[{"file": "a.jpg", "mean": 7}, {"mean": "1", "file": "b.jpg"}, {"name": "c.jpg", "mos_0_1": 1}]', 'a.json',
     [7, 1, 10]),
])
def test_a_mean_alone_on_its_range(table, text, name, expected):
    path = table(text, name)
    assert list(means(path)) == ['a.jpg', 'b.jpg', 'c.jpg']
    np.testing.assert_allclose(list(means(path).values()), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ava.read_labels(path).distributions, distributions.from_means_alone(np.array(expected),
                                                              distributions.ASSUMED_STD), atol=1e-9)


@pytest.mark.parametrize('text, name', [
    ('file,mean,std\na.jpg,6,1.5\n', 'a.csv'), ('a.jpg,6,1.5\n', 'a.csv'),
    ('file,mean_0_9,standard_deviation\na.jpg,5,1.5\n', 'a.csv'),
    ('file,mean_0_90,sd\na.jpg,50,15\n', 'a.csv'),
    ('[{"file": "a.jpg", "mean": 6, "std": 1.5}]', 'a.json')])
def test_a_mean_and_a_deviation(table, text, name):
    shares, = ava.read_labels(table(text, name)).distributions
    mean = shares @ ava.SCORES
    assert mean == pytest.approx(6, abs=1e-9)
    assert np.sqrt(shares @ (ava.SCORES - mean) ** 2) == pytest.approx(1.5, abs=1e-8)


def test_the_results_of_predict_are_labels(table):
    path = table('file,mean_score_1_to_10,standard_deviation\na.jpg,5.432100,1.400000\n')
    assert means(path)['a.jpg'] == pytest.approx(5.4321, abs=1e-9)


# --- what is refused


@pytest.mark.parametrize('text, message', [
    ('file,mean_1_10\na.jpg,55\n', ":2: found the mean '55', expected a number from 1 to 10: correct it, or state the "
                                   "range of all means, in the column's name, as in mean_0_100, or with --range"),
    ('file,mean\na.jpg,high\n', ":2: found the mean 'high', expected a number from 1 to 10"),
    ('file,mean\na.jpg,nan\n', ":2: found the mean 'nan', expected"),
    ('file,mean\n../a.jpg,6\n', ":2: found the file name '../a.jpg', expected one in the folder of images or its "
                                "sub-folders, without '..' and NUL: correct or delete the line"),
    ('file,mean\nb.jpg,6\n/etc/a.jpg,6\n', ":3: found the file name '/etc/a.jpg'"),
    ('file,mean\na//b.jpg,6\n', ":2: found the file name 'a//b.jpg'"),
    ('file,mean\n,6\n', ":2: found the file name ''"),
    ('file,mean\na.jpg,5\n\nb.jpg,6\na.jpg,7\n', ":5: found 'a.jpg' again, which line 2 has too, expected each name"),
    ('file,mean\na.jpg\n', ':2: found 1 columns, expected as many as in the first line: correct or delete the line'),
    ('file,mean,std\na.jpg,5.5,0.1\n', ":2: found the standard deviation '0.1', expected one from 0.5 to 4.5, as votes "
                                       'for the scores 1 to 10 with this mean have'),
    ('file,mean_0_100,std\na.jpg,50,51\n', ":2: found the standard deviation '51', expected one from 5.556 to 50,"),
    (f'file,{TEN}\na.jpg,{"0," * 9}0\n', ':2: found votes that add up to 0, expected at least one vote'),
    (f'file,{TEN}\na.jpg,{"1," * 9}-1\n', ":2: found '-1' votes for score 10, expected a number from 0"),
    (f'file,{TEN}\na.jpg,1_0,{"1," * 8}1\n', ":2: found '1_0' votes for score 1"),
    ('file,v1,v2,v3\na.jpg,1,2,3\n', ':1: found columns of votes for the scores 1, 2, 3, expected one for each from 1 '
                                     'to 10, or from 0 to 9'),
    ('file,weight\na.jpg,1\n', ':1: found the columns file, weight, expected a file name and ten votes, a mean and a '
                               'standard deviation, or a mean: name them such as file, v1 ... v10, mean and std'),
    ('mean,std\n1,2\n', ':1: found the columns mean, std, expected a file name'),
    ('file,mean,score\na.jpg,1,2\n', ':1: found 2 columns for the mean, mean, score, expected one: rename the others'),
    ('a.jpg,1,2,3\n', ':1: found 4 columns without names, expected a file name and ten votes'),
    ('a.jpg,5.1,0.3,sea\n', ':1: found 4 columns without names, expected a file name and ten votes'),
    ('a.jpg,5.1,sea\nb.jpg,5.2,sea\n', ':1: found 3 columns without names, expected a file name and ten votes'),
    ('1,a.jpg,5.1\n', ':1: found 3 columns without names, expected a file name and ten votes'),
    ('a.jpg,1,2,x,4,5,6,7,8,9,10\n', ":1: found 'x' votes for score 3, expected a number from 0"),
    ('1,a.jpg,1,2,x,4,5,6,7,8,9,10\n', ":1: found 'x' votes for score 3, expected a number from 0"),
    ('file,mean\na.jpg,"5,125"\nb.jpg,6\n', ":2: found the mean '5,125', expected a number from 1 to 10"),
    ('file,mean_9_9\na.jpg,9\n', ':1: found a range from 9 to 9, expected two different numbers: the values of the '),
    ('', ': found no lines, expected a file name and ten votes'),
    ('file,mean\n', ': found no lines, expected a file name and ten votes'),
    (b'\x89PNG\r\n\x1a\n', ': found a PNG image, expected UTF-8 text with a file name and ten votes'),
    (b'file,mean\ncaf\xe9.jpg,5\n', ':2: found bytes that are not UTF-8, expected UTF-8 text with a file name'),
    ('file,mean\na\0.jpg,5\n', ':2: found text that is no CSV'),
])
def test_a_csv_that_cannot_be_used(table, text, message):
    path = table(text)
    assert error_of(ava.read_labels, path).startswith(path + message)


@pytest.mark.parametrize('text, more', [
    ('image,mean\na.jpg,6,5\nb.jpg,7,9\n', 1), ('a.jpg,6\nb.jpg,7,2,1\n', 2), (f'file,{TEN}\n2020,7,{VOTES_CSV}\n', 1),
    ('image,rater1,rater2,rater3\na.jpg,7,8,9,7\n', 1), ('image mean std\n1 a.jpg 6 1\n', 1)])
def test_cells_beyond_the_first_line_are_refused(table, text, more):
    path = table(text)
    assert error_of(ava.read_labels, path).startswith(
        f'{path}:2: found {more} more columns than in the first line: put a number or a name with a comma in quotes, '
        'or correct or delete the line')


@pytest.mark.parametrize('text, message', [
    ('[5]', ': found JSON that is no list of objects, expected objects with a file name and ten votes'),
    ('{"a.jpg": 5}', ': found means from 5 to 5, expected to know their scale, as none exceeds 5: type --range 1 5,'),
    ('[{"file": "a.jpg", "mean": 5}', ': found text that is no JSON (Expecting'),
    ('[' * 100000, ': found text that is no JSON ('),
    ('[]', ': found no lines, expected'),
    ('[{"file": "a.jpg", "label": [1, 2]}]', ": object 1: found '[1, 2]', 2 numbers, for the votes, expected a list of "
                                             'ten numbers, or of five for the scores 1 to 5: correct or delete it'),
    ('[{"file": "a.jpg", "mean": true}]', ": object 1: found the mean 'True', expected a number from 1 to 10"),
    ('[{"file": "a.jpg", "mean": 1e999}]', ": object 1: found the mean 'inf', expected"),
    ('[{"file": "a.jpg", "mean": 5}, {"file": ["x"], "mean": 6}]', ": object 2: found the file name '', expected"),
    ('[{"file": "a\\ud800.jpg", "mean": 6}]', ': object 1: found the file name '),
    ('[{"file": "a.jpg", "mean": 5}, {"file": "a.jpg", "mean": 6}]', ": object 2: found 'a.jpg' again, which object 1"),
    ('{"a.jpg": 5.5, "b.jpg": 7, "a.jpg": 9}', ": found 'a.jpg' twice in one JSON object, expected each name once: "
                                               'delete one of the two'),
    ('{"version": 1, "images": [{"file": "a.jpg", "mean": 6}]}', ': found JSON that is no list of objects, expected'),
    ('[{"image": "a.jpg"}]', ': object 1: found the columns image, expected a file name and'),
])
def test_json_that_cannot_be_used(table, text, message):
    path = table(text, 'labels.json')
    assert error_of(ava.read_labels, path).startswith(path + message)


@pytest.mark.parametrize('text', [
    '# scores of 2020\n#\nfile,mean\na.jpg,5.2\nb.jpg,7\n', '#\n\na.jpg 5.2\nb.jpg 7\n',
    'file,mean\na.jpg,"5,2"\nb.jpg,7\n', '#,file,mean\n1,a.jpg,5.2\n2,b.jpg,7\n',
    '\ufeff# of all\nfile;mean\na.jpg;5,2\nb.jpg;7\n'])
def test_comments_above_and_signs_of_decimals(table, text):
    found = ava.read_labels(table(text))
    assert found.ids.tolist() == ['a.jpg', 'b.jpg']
    assert found.distributions @ np.arange(1, 11) == pytest.approx([5.2, 7])


def test_bad_lines_are_left_out_where_asked(table):
    read = ava.read_labels(table('file,mean\na.jpg,5\nb.jpg,55\nc.jpg,6\n'), SKIP)
    assert read.ids.tolist() == ['a.jpg', 'c.jpg']
    assert [line for line, _ in read.bad] == [3]
    text = error_of(ava.read_labels, table('file,mean_1_10\nb.jpg,55\n'), LabelOptions(skip_bad=True, max_bad=1))
    assert 'found no usable line (line 2: found the mean' in text


def test_more_bad_lines_than_are_allowed_stop(table):
    lines = [f'{number}.jpg,{5 + number % 4}' for number in range(198)]
    two = table('\n'.join(['file,mean', *lines, 'x.jpg,high', 'y.jpg,high']))
    assert [line for line, _ in ava.read_labels(two, LabelOptions(skip_bad=True)).bad] == [200, 201]
    three = table('\n'.join(['file,mean', *lines[1:], 'x.jpg,high', 'y.jpg,high', 'z.jpg,high']))
    assert error_of(ava.read_labels, three, LabelOptions(skip_bad=True)).startswith(
        f"{three}: 3 of 200 lines cannot be used, more than --max_bad_labels 0.01 allows; the first is line 199: found "
        "the mean 'high', ")
    assert len(ava.read_labels(three, LabelOptions(skip_bad=True, max_bad=0.015)).bad) == 3


def test_skipping_is_not_offered_where_the_first_line_fails(table):
    assert '--skip_bad_labels' not in error_of(ava.read_labels, table('file,mean\na.jpg,high\nb.jpg,6\n'))
    assert '--skip_bad_labels' in error_of(ava.read_labels, table('file,mean\nb.jpg,6\na.jpg,high\n'))


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.one_of(st.text('file,mean;v1230\n\r"\t. _ajpg{}[]:\0é', max_size=80).map(str.encode), st.binary(max_size=60)),
       st.sampled_from(['x.csv', 'x.json']))
def test_junk_is_one_sentence_or_labels(table, junk, name):
    path = table(junk, name)
    for skip_bad in (False, True):
        try:
            read = ava.read_labels(path, LabelOptions(skip_bad=skip_bad, max_bad=1))
        except InputError as error:
            assert str(error).startswith(path) and '\n' not in str(error)
        else:
            np.testing.assert_allclose(read.distributions.sum(axis=1), 1)


# --- the command

NAMES = ['a b.jpg', '猫.jpg', '100%.jpg', 'a%20b.jpg', 'photo', '7']


@pytest.mark.parametrize('values, more', [
    ([5, 1, 10, 7, 5.5, 2.25], []), ([50, 0, 100, 66, 33, 1], ['--range', '0', '100']),
    ([0, -3, 3, 1, 2, 2.5], ['--range', '-3', '3'])])
def test_labels_come_back_as_they_were(table, tmp_path, values, more, capsys):
    path = table('file,mean\n' + ''.join(f'{name},{value}\n' for name, value in zip(NAMES, values)))
    output = str(tmp_path / 'new' / 'AVA.txt')
    assert labels.main([path, '-o', output, *more]) == 6
    assert capsys.readouterr().out.splitlines()[-1] == f'{output}: 6 labels'
    low, high = map(float, more[1:]) if more else (1, 10)
    expected = [1 + 9 * (value - low) / (high - low) for value in values]
    assert list(means(output)) == NAMES
    np.testing.assert_allclose(list(means(output).values()), expected, rtol=0, atol=1e-9)
    with open(output, encoding='ascii') as stream:
        assert [line.split(' ')[12:] for line in stream] == [['0', '0', '-1\n']] * 6


def test_votes_stay_as_typed_and_lines_are_shuffled_by_seed(table, tmp_path):
    path = table(''.join(f'{name}.jpg,{number},0.5{",0" * 8}\n' for number, name in enumerate('abcdefgh')))
    texts = []
    for seed, output in ((None, 'plain.txt'), ('3', 'one.txt'), ('3', 'two.txt')):
        labels.main([path, '-o', str(tmp_path / output), *(['--shuffle', seed] if seed else [])])
        texts.append((tmp_path / output).read_text().splitlines())
    plain, one, two = ([line.split(' ', 1) for line in text] for text in texts)
    assert texts[0][2] == '3 c.jpg 2 0.5 0 0 0 0 0 0 0 0'
    assert one == two and [line[1] for line in one] != [line[1] for line in plain]
    assert sorted(line[1] for line in one) == sorted(line[1] for line in plain)
    assert [line[0] for line in one] == [line[0] for line in plain] == list('12345678')

@pytest.mark.parametrize('column, said', [('scene', True), ('light', False)])
def test_groups_that_lines_of_ava_do_not_have_are_said_to_be_lost(table, tmp_path, capsys, column, said):
    path = table(f'file,{TEN},{column}\na.jpg,{VOTES_CSV},x\nb.jpg,{VOTES_CSV},y\n', 'groups.csv')
    labels.main([path, '-o', str(tmp_path / 'AVA.txt')])
    line = f'groups are not kept, as lines of AVA.txt have none. For --group column use {path} itself\n'
    assert (line in capsys.readouterr().out) == said


def test_nothing_is_overwritten_and_nothing_half_written(table, tmp_path):
    path = table('a.jpg,6\nb.jpg,high\n')
    (tmp_path / 'AVA.txt').write_text('of an earlier day')
    before = snapshot(tmp_path)
    assert error_of(labels.main, [path, '-o', str(tmp_path / 'AVA.txt'), '--skip_bad_labels']) == (
        f'--output: {tmp_path}/AVA.txt exists already. Choose another name')
    assert error_of(labels.main, [path, '-o', str(tmp_path / 'new.txt')]).startswith(f'{path}:2: found the mean')
    assert error_of(labels.main, [path, '-o', str(tmp_path / 'new.csv')]).startswith(
        f'--output: {tmp_path}/new.csv would be read as a table. ')
    assert error_of(labels.main, [str(tmp_path / 'AVA.txt'), '-o', str(tmp_path / 'new.txt')]).startswith(
        f'{tmp_path}/AVA.txt is no table: it has lines of AVA.txt, or none that can be read. ')
    assert error_of(labels.main, [table(f'file,{TEN}\na.jpg,{VOTES_CSV}', 'v.csv'), '-o', str(tmp_path / 'new.txt'),
                                  '--range', '0', '9']).endswith('expected one of the two: leave --range out')
    os.remove(str(tmp_path / 'v.csv'))
    assert snapshot(tmp_path) == before


def test_the_command(table, tmp_path):
    path, command = table('a.jpg,6\nb.jpg,high\n'), [sys.executable, '-m', 'utils.labels']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([*command, path, '-o', 'AVA.txt', '--skip_bad_labels', '--max_bad_labels', '0.5'],
                          cwd=str(tmp_path), env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines()[-1].startswith(
        f'{tmp_path}/AVA.txt: 1 labels, 1 left out, first line 2: found the mean')
    done = subprocess.run([*command, path, '-o', 'AVA.txt'], cwd=str(tmp_path), env=environment, capture_output=True,
                          text=True)
    assert done.returncode == 1 and done.stderr.startswith('labels: error: ') and done.stderr.count('\n') == 1


# --- the whole way


@pytest.mark.slow
def test_real_names_from_a_table_to_scores(tmp_path, capsys):
    import eval as score
    import predict
    import train
    dataset = make_dataset(tmp_path / 'data', 8)
    rows = dataset.labels.read_text().splitlines()
    names = ['a b.jpg', '猫 é.jpg', '100%.jpg', 'a%20b.jpg', 'x,y;z.jpg', "it's.JPG", 'no ending', '(1).png']
    for row, name in zip(rows, names):
        file = name if '.' in name else name + '.jpg'
        os.rename(str(dataset.images / f'{row.split()[1]}.jpg'), str(dataset.images / file))
    table = tmp_path / 'votes.csv'
    table.write_text(''.join(f'"{name}",{",".join(row.split()[2:12])}\n' for row, name in zip(rows, names)))
    converted = tmp_path / 'AVA.txt'
    labels.main([str(table), '-o', str(converted)])
    direct, through = (ava.read(str(path), str(dataset.images)) for path in (table, converted))
    assert direct.ids.tolist() == through.ids.tolist() == names
    assert direct.paths.tolist() == through.paths.tolist()
    np.testing.assert_array_equal(direct.distributions, through.distributions)

    model = str(tmp_path / 'model')
    listing = tmp_path / 'validation list.txt'
    listing.write_text('猫 é.jpg\na%2520b.jpg\nno ending\n')
    data = ['--base_images_path', str(dataset.images), '--split', str(listing), '--device', 'cpu']
    train.main([*data, '--ava_dataset_path', str(table), '--image_size', '32', '--batchsize', '5', '--weights', 'none',
                '--epochs', '1', '--TMP_MODEL_PATF', model, '--TMP_LOG_PATH', str(tmp_path / 'log')])
    scores = [score.main([*data, '--ava_dataset_path', str(path), '--TMP_MODEL_PATF', model, '--checkpoint',
                          'model_001.h5']) for path in (table, converted)]
    assert scores[0] == scores[1]
    assert 'warning' not in capsys.readouterr().out
    table = str(tmp_path / 'scores.json')
    predict.main([str(dataset.images), '--TMP_MODEL_PATF', model, '--checkpoint', 'model_001.h5', '--device', 'cpu',
                  '--output', table])
    with open(table, encoding='utf-8') as file:
        results = json.load(file)
    assert sorted(os.path.basename(row['file']) for row in results) == sorted(os.listdir(str(dataset.images)))


def test_columns_without_a_name_are_not_listed(table):
    about = ava.read_labels(table('Image Name,MOS 0 9,,\na.jpg,6,,\nb.jpg,1,,\n')).about
    assert any(line.endswith('columns read: Image Name (file), MOS 0 9 (mean); not read: none') for line in about)
