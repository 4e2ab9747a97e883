"""Scores as text and as files: formats, ranks, percentiles, continuing a file; no model is needed for that."""
import csv
import io
import json
import os
import types

import numpy as np
import pytest
from conftest import ROOT, snapshot
from hypothesis import given
from hypothesis import strategies as st

import predict
from utils.base import files, percentiles
from utils.base.errors import InputError
from utils.base.text import printable
from utils.model import trust
from utils.scoring import score_tables, scorer

MEAN, STD, PERCENTILE = 'mean_score_1_to_10', 'standard_deviation', 'percentile_among_ava_means'
SHARES = tuple(f'share_of_{score}' for score in range(1, 11))


def one_vote(score):
    """All votes for one score."""
    return np.eye(10)[score - 1]


HALVES = (one_vote(4) + one_vote(8)) / 2  # mean 6, standard deviation 2


@pytest.fixture
def model_free(monkeypatch, tmp_path):
    """predict.main() with scores that are made up: that of NAME_7.jpg is 7, a name with `bad` has none."""
    asked = []

    def score(self, files):
        for file in files:
            asked.append(os.path.basename(file))
            if 'bad' in file:
                self.failed.append(file)
            else:
                yield file, one_vote(int(file.split('_')[-1].split('.')[0]))

    monkeypatch.setattr(scorer.Scorer, 'score', score)
    monkeypatch.setattr(trust, 'start_trials', lambda paths: None)
    (tmp_path / 'model_007.h5').touch()

    def run(*argv):
        asked.clear()
        predict.main([*map(str, argv), '--TMP_MODEL_PATF', str(tmp_path)])
        return list(asked)
    return run


# --- percentiles

def test_the_percentiles_are_those_of_the_real_labels(shared):
    votes = np.loadtxt(str(shared / 'ava_labels' / 'AVA_43533.txt'), usecols=range(2, 12))
    assert len(votes) == 43533
    means = votes @ np.arange(1, 11) / votes.sum(axis=1)
    np.testing.assert_allclose(percentiles.AVA_MEANS, np.percentile(means, range(101)), rtol=0, atol=5.1e-5)
    for mean in (3.3, 5, 5.3833, 6.9):
        assert percentiles.percentile(mean) == pytest.approx(100 * np.mean(means < mean), abs=0.6)


def test_percentiles_beyond_the_table_and_between_its_numbers():
    assert [percentiles.percentile(mean) for mean in (1, 2, 8.6, 10)] == [0, 0, 100, 100]
    assert percentiles.percentile((5.3702 + 5.3868) / 2) == pytest.approx(50.5)
    assert len(percentiles.AVA_MEANS) == 101 and (np.diff(percentiles.AVA_MEANS) > 0).all()


# --- formats

def made(file, names=score_tables.COLUMNS):
    """The only row of a table."""
    return next(score_tables.rows([(file, HALVES)], names))


def test_a_row_is_arithmetic():
    row = made('a.jpg', score_tables.columns(True, with_rank=True))
    assert tuple(row) == score_tables.columns(True, True) == ('rank', 'file', MEAN, STD, PERCENTILE, *SHARES)
    assert row == {'rank': 1, 'file': 'a.jpg', MEAN: 6.0, STD: 2.0,
                   PERCENTILE: round(80 + (6 - 5.9739) / (6.0029 - 5.9739), 1),
                   **dict.fromkeys(SHARES, 0), 'share_of_4': 0.5, 'share_of_8': 0.5}
    assert tuple(made('a.jpg')) == score_tables.columns(False)


@pytest.mark.parametrize('with_shares', [False, True])
@pytest.mark.parametrize('kind', score_tables.FORMATS)
def test_every_format_says_the_scale_and_all_columns(kind, with_shares):
    names = score_tables.columns(with_shares)
    rows = [made(file, names) for file in ('a, "b".jpg', '\u7167\u7247.jpg')]
    chunks = list(score_tables.FORMATS[kind](rows, names))
    text = ''.join(chunks)
    header, *lines = text.splitlines()
    if kind == 'table':
        assert all(word in header for word in ('mean score (1 to 10)', 'standard deviation', 'percentile'))
        assert ('share of 10' in header) == with_shares
        assert [line.split(None, len(names) - 1) for line in lines] == [
            [f'{row[MEAN]:.4f}', f'{row[STD]:.4f}', f'{row[PERCENTILE]:.1f}',
             *(f'{row[name]:.6f}' for name in names if name in SHARES), row['file']] for row in rows]
        return
    found = {'csv': lambda: [{name: text if name == 'file' else float(text) for name, text in row.items()}
                             for row in csv.DictReader(text.splitlines())],
             'json': lambda: json.loads(text), 'jsonl': lambda: list(map(json.loads, text.splitlines()))}[kind]()
    assert [tuple(row) for row in found] == [names] * 2
    assert list(map(dict, found)) == rows


@pytest.mark.parametrize('kind, empty', [('table', 1), ('csv', 1), ('json', 1), ('jsonl', 0)])
def test_without_rows_there_is_a_header_and_json_is_an_empty_array(kind, empty):
    text = ''.join(score_tables.FORMATS[kind]([], score_tables.COLUMNS))
    assert text.count('\n') == empty
    assert kind != 'json' or json.loads(text) == []


@pytest.mark.parametrize('kind', score_tables.FORMATS)
def test_rows_are_printed_as_they_come_and_an_error_before_the_first_prints_nothing(kind):
    def rows():
        yield made('a.jpg')
        raise InputError('no more')

    chunks = score_tables.FORMATS[kind](rows(), score_tables.COLUMNS)
    assert 'a.jpg' in next(chunks)
    with pytest.raises(InputError, match='no more'):
        next(chunks)

    def none():
        raise InputError('none at all')
        yield

    with pytest.raises(InputError, match='none at all'):
        next(score_tables.FORMATS[kind](none(), score_tables.COLUMNS))


@given(st.binary().filter(lambda name: b'\0' not in name))
def test_any_name_is_one_line_of_text(name):
    file = os.fsdecode(name)
    for kind in score_tables.FORMATS:
        text = ''.join(score_tables.FORMATS[kind]([made(file)], score_tables.COLUMNS))
        assert text.encode('utf-8').count(b'\n') == {'table': 2, 'csv': 2, 'json': 3, 'jsonl': 1}[kind]
        assert not any(ord(letter) < 32 for letter in text.replace('\n', ''))


def test_bytes_that_are_no_text_and_control_characters_are_shown():
    assert printable(os.fsdecode(b'a\xff\n\x1b[2J.jpg')) == 'a\\xff\\x0a\\x1b[2J.jpg'


# --- ranks

@given(st.lists(st.integers(1, 10)), st.one_of(st.none(), st.integers(1, 5)))
def test_ranks_are_a_stable_sort(scores, limit):
    scored = [(str(number), one_vote(score)) for number, score in enumerate(scores)]
    expected = sorted(range(len(scores)), key=lambda number: -scores[number])[:limit]
    assert [file for file, _ in score_tables.ranked(scored, limit)] == list(map(str, expected))


# --- the command

def test_rank_top_and_shard(model_free, capsys):
    files = ['a_3.jpg', 'b_9.jpg', 'c_3.jpg', 'd_5.jpg', 'e_7.jpg']

    def printed(*flags):
        model_free(*files, *flags, '--format', 'csv')
        names, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
        if '--rank' in flags or '--top' in flags:
            assert names[0] == 'rank' and [row.pop(0) for row in rows] == [str(n + 1) for n in range(len(rows))]
        return [row[0][0] for row in rows]

    assert printed() == ['a', 'b', 'c', 'd', 'e']
    assert printed('--rank') == ['b', 'e', 'd', 'a', 'c']
    assert printed('--top', 2) == ['b', 'e']
    assert printed('--shard', '2/2') == ['b', 'd']
    assert printed('--shard', '1/2', '--rank') == ['e', 'a', 'c']
    assert printed('--shard', '7/9') == []


def test_unreadable_files_end_it_with_an_error_once_the_others_are_written(model_free, capsys):
    with pytest.raises(InputError, match=r'^2 of 4 files could not be scored \(listed above\)$'):
        model_free('a_3.jpg', 'bad', 'also bad', 'b_4.jpg', '--format', 'json')
    assert [row[MEAN] for row in json.loads(capsys.readouterr().out)] == [3, 4]


def test_the_ending_of_the_output_says_the_format(model_free, tmp_path, capsys):
    for name, kind in (('x.csv', 'csv'), ('x.JSON', 'json'), ('x.jsonl', 'jsonl'), ('x.txt', 'table'), ('x', 'table')):
        model_free('a_3.jpg', '--output', tmp_path / 'new folder' / name)
        text = (tmp_path / 'new folder' / name).read_text()
        model_free('a_3.jpg', '--format', kind)
        assert capsys.readouterr().out == text
    model_free('a_3.jpg', '--output', tmp_path / 'y.csv', '--format', 'jsonl')
    assert json.loads((tmp_path / 'y.csv').read_text())[MEAN] == 3


@pytest.mark.parametrize('kind', ['csv', 'jsonl'])
@pytest.mark.parametrize('shares', [[], ['--shares']])
def test_resume_after_a_kill_at_any_byte_gives_the_same_file(model_free, tmp_path, monkeypatch, kind, shares):
    files = ['a_1.jpg', 'b, "x"\n_2.jpg', '\u7167_3.jpg']
    monkeypatch.chdir(tmp_path)
    for file in files:
        (tmp_path / file).touch()
    path = tmp_path / f'x.{kind}'
    model_free(*files, '--output', path, *shares)
    whole = path.read_bytes()
    header = kind == 'csv'
    first = whole.index(b'\n')
    for end in [*range(0, len(whole), 7), first, first + 1, first + 2, len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:end])
        lines = max(0, whole[:end].count(b'\n') - header)
        asked = model_free(*files, '--output', path, *shares, '--resume')
        assert asked == ([] if lines == 3 else files[max(0, lines - 1):])  # the last one before is compared
        assert path.read_bytes() == whole
    path.unlink()
    assert model_free(*files, '--output', path, *shares, '--resume') == files
    assert path.read_bytes() == whole


def test_resume_scores_new_images_and_those_that_were_unreadable(model_free, tmp_path, capsys):
    path = tmp_path / 'x.csv'
    with pytest.raises(InputError, match='1 of 2 files could not be scored'):
        model_free('a_1.jpg', 'bad.jpg', '--output', path)
    capsys.readouterr()
    with pytest.raises(InputError, match='1 of 2 files could not be scored'):
        model_free('bad.jpg', 'b_2.jpg', 'a_1.jpg', '--output', path, '--resume')
    assert '3 files: 3 in this part, 1 of them scored before' in capsys.readouterr().err
    assert [line.split(',')[0] for line in path.read_text().splitlines()] == ['file', 'a_1.jpg', 'b_2.jpg']


def test_resume_with_another_model_is_refused(model_free, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a_1.jpg', 'b_2.jpg', 'c_3.jpg'):
        (tmp_path / name).touch()
    path = tmp_path / 'x.csv'
    model_free('a_1.jpg', 'b_2.jpg', '--output', path)
    path.write_text(path.read_text().replace('b_2.jpg,2.0', 'b_2.jpg,2.02'))
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r'x\.csv has a mean score of 2\.0200 for b_2\.jpg, but this model predicts '
                                         r'2\.0000\. Choose the --checkpoint with which the file was begun'):
        model_free('a_1.jpg', 'b_2.jpg', 'c_3.jpg', '--output', path, '--resume')
    assert snapshot(tmp_path) == before
    path.write_text(path.read_text().replace('b_2.jpg,2.02', 'b_2.jpg,2.005'))
    model_free('a_1.jpg', 'b_2.jpg', 'c_3.jpg', '--output', path, '--resume')
    assert [line.split(',')[0] for line in path.read_text().splitlines()[1:]] == ['a_1.jpg', 'b_2.jpg', 'c_3.jpg']


@pytest.mark.parametrize('kind, content, where', [
    ('csv', 'some notes\n', ':1'), ('csv', 'some notes', ':1'), ('csv', 'file,mean\na,5\n', ':1'),
    ('csv', ','.join(score_tables.columns(True)) + '\n', ':1'),
    ('csv', ','.join(score_tables.COLUMNS) + '\na.jpg,5,1\n', ':2'),
    ('csv', ','.join(score_tables.COLUMNS) + '\na.jpg,5,1,50,6\n', ':2'),
    ('csv', ','.join(score_tables.COLUMNS) + '\na.jpg,nan,1,50\n', ':2'),
    ('jsonl', 'file,mean\n', ':1'), ('jsonl', '5\n', ':1'), ('jsonl', '{"file": "a.jpg"}\n', ':1'),
    ('jsonl', json.dumps({'file': 'a.jpg', MEAN: 11, STD: 1, PERCENTILE: 1}) + '\n', ':1')])
def test_resume_leaves_files_alone_that_hold_something_else(model_free, tmp_path, kind, content, where):
    path = tmp_path / f'x.{kind}'
    path.write_text(content)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=rf'x\.{kind}{where}: predict\.py did not write this line with these flags, '
                                         r'expected file, mean_score_1_to_10, .*\. Use the same --format and '):
        model_free('a_1.jpg', '--output', path, '--resume')
    assert snapshot(tmp_path) == before


def test_no_file_is_overwritten(model_free, tmp_path):
    (tmp_path / 'x.csv').write_text('mine')
    (tmp_path / 'x.json').write_text('mine')
    before = snapshot(tmp_path)
    for name, more in (('x.csv', ', or add --resume to continue it'), ('x.json', '')):
        with pytest.raises(InputError, match=rf'{name} exists already\. Remove it or choose another --output{more}$'):
            model_free('a_1.jpg', '--output', tmp_path / name)
    with pytest.raises(InputError, match='^cannot write .*x.csv: .*another --output'):
        model_free('a_1.jpg', '--output', tmp_path / 'x.csv' / 'y.csv')
    with pytest.raises(InputError, match='^cannot write .*: Is a directory. Choose another --output'):
        model_free('a_1.jpg', '--output', tmp_path, '--format', 'csv', '--resume')
    assert snapshot(tmp_path) == before


def test_json_that_is_not_whole_is_named_so(model_free, tmp_path):
    folder = tmp_path / 'scores'
    path = folder / 'x.json'
    model_free('a_3.jpg', 'b_4.jpg', '--output', path)
    assert os.listdir(str(folder)) == ['x.json'] and len(json.loads(path.read_text())) == 2
    path.unlink()

    def scored():
        yield 'a.jpg', HALVES
        raise InputError('the second')
    output = score_tables.Output(str(path), 'json', ['file'])
    with pytest.raises(InputError, match='^the second$'):
        score_tables.write(scored(), output)
    assert os.listdir(str(folder)) == ['x.json.partial']
    with pytest.raises(InputError, match=r'x\.json\.partial exists already: another run is writing .*x\.json, or one '
                                         r'was stopped\. Remove it or choose another --output$'):
        model_free('a_3.jpg', '--output', path)
    (folder / 'x.json.partial').unlink()

    def written_meanwhile():
        yield 'a.jpg', HALVES
        path.write_text('mine')
    with pytest.raises(InputError, match=r'^cannot write .*x\.json\.partial: File exists. The scores are in it: '):
        score_tables.write(written_meanwhile(), output)
    assert path.read_text() == 'mine' and len(json.loads((folder / 'x.json.partial').read_text())) == 1


def test_a_second_run_into_one_output_adds_nothing(tmp_path):
    path = tmp_path / 'x.csv'
    in_use = rf'^{path} is in use: another process writes there\. Wait for it, stop it or choose another --output$'
    new = score_tables.Output(str(path), 'csv', score_tables.COLUMNS)
    resumed = score_tables.prepare(new._replace(append=True))

    def scored():
        yield 'a.jpg', HALVES
        for output in (new, resumed):
            with pytest.raises(InputError, match=in_use):
                score_tables.write([('a.jpg', HALVES)], output)
        with pytest.raises(InputError, match=in_use):
            score_tables.prepare(resumed)
        yield 'b.jpg', HALVES

    score_tables.write(scored(), new)
    for output in (resumed, new):  # which began while the first one was writing
        with pytest.raises(InputError, match=in_use):
            score_tables.write([('a.jpg', HALVES)], output)
    assert [line.split(',')[0] for line in path.read_text().splitlines()] == ['file', 'a.jpg', 'b.jpg']


def test_scores_whose_file_is_removed_are_not_said_to_be_written(tmp_path):
    path = tmp_path / 'x.csv'

    def scored():
        yield 'a.jpg', HALVES
        path.unlink()
        yield 'b.jpg', HALVES
    with pytest.raises(InputError, match=rf'^{path} was removed while it was written\. Run the same command again$'):
        score_tables.write(scored(), score_tables.Output(str(path), 'csv', ['file']))


@pytest.mark.parametrize('links', [True, False])
def test_a_new_name_replaces_nothing(tmp_path, monkeypatch, links):
    if not links:
        def refuse(path, name):
            raise PermissionError(1, 'Operation not permitted')
        monkeypatch.setattr(files.os, 'link', refuse)
    old, new = tmp_path / 'old', tmp_path / 'new'
    old.write_text('x')
    files.rename_new(str(old), str(new))
    assert os.listdir(str(tmp_path)) == ['new'] and new.read_text() == 'x'
    old.write_text('y')
    with pytest.raises(OSError):
        files.rename_new(str(old), str(new))
    assert (old.read_text(), new.read_text()) == ('y', 'x')


def test_a_full_disk(model_free):
    if not os.path.exists('/dev/full'):
        pytest.skip('no /dev/full')
    with pytest.raises(InputError, match='^cannot write /dev/full: No space left on device. Free space or'):
        score_tables.write([('a.jpg', HALVES)], score_tables.Output('/dev/full', 'csv', ['file'], append=True))


@pytest.mark.parametrize('flags, message', [
    (['--resume'], '--resume needs the FILE to continue: add --output FILE'),
    (['--resume', '--output', 'x.json'], '--resume cannot continue the format json. Use --format csv or jsonl'),
    (['--resume', '--output', 'x'], '--resume cannot continue the format table'),
    (['--resume', '--output', 'x.csv', '--rank'], '--resume does not go with --rank or --top, which needs the scores'),
    (['--resume', '--output', 'x.csv', '--top', '3'], '--resume does not go with --rank or --top'),
    (['--resume', '--output', 'x.csv', '--contact_sheet', 'x.png'], '--resume does not go with --contact_sheet'),
    (['--output', 'x', '--contact_sheet', 'x'], '--output and --contact_sheet name the same FILE. Use two'),
    (['--output', 'scores.xlsx'], '--output: found the ending .xlsx, expected .csv, .json, .jsonl, .txt. Use one of'),
    *((['--shard', shard], f"argument --shard: found '{shard}', expected I/N with I from 1 to N, such as 1/4")
      for shard in ('0/4', '5/4', '4', '1/-4', '1/0', '1/x', '')),
    (['--top', '0'], "argument --top: found '0', expected a whole number from 1")])
def test_flags_that_make_no_sense_are_refused_in_one_sentence(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        predict.main(['a.jpg', *flags])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count('\n') == 1
    assert os.listdir(str(tmp_path)) == []


def test_an_empty_list_is_an_error(model_free, monkeypatch):
    monkeypatch.setattr('sys.stdin', types.SimpleNamespace(buffer=io.BytesIO(b'\n\n')))
    with pytest.raises(InputError, match='^no names on standard input, expected image files, one name a line'):
        model_free('-')


def test_the_numbers_of_the_table_are_what_the_script_prints(shared):
    source = (ROOT / 'utils' / 'base' / 'percentiles.py').read_text()
    from importlib import util
    spec = util.spec_from_file_location('percentile_table', str(ROOT / 'tools' / 'percentile_table.py'))
    script = util.module_from_spec(spec)
    spec.loader.exec_module(script)
    count, table = script.percentiles(str(shared / 'ava_labels' / 'AVA_43533.txt'))
    assert count == 43533 and table.tolist() == percentiles.AVA_MEANS.tolist() and '43,533' in source
