"""The figures of an epoch: in two lines, in train.csv; whose log a folder holds."""
import json
import math
from pathlib import Path

import numpy as np
import pytest

from utils.base.text import finite
from utils.training import log
from utils.training.log import EpochLog

FIGURES = {'loss': 0.25, 'images_per_second': 50.0, 'seconds': 9.5, 'seconds_left': 3909.4}
VALIDATED = {**FIGURES, 'val_loss': 0.125, 'val_emd_r1': 0.1, 'val_emd_r2': 0.125, 'val_srcc': math.nan, 'val_lcc': 0.5,
             'val_accuracy': 0.75, 'val_constant_emd_r1': 0.2, 'val_constant_emd_r2': 0.3,
             'val_constant_accuracy': 0.5}


ABOUT = {'device': 'cpu', 'devices': 1, 'batchsize': 4}


def written(folder, *epochs, run='a' * 32):
    epoch_log = EpochLog(str(folder), run, ABOUT)
    epoch_log.check()
    for epoch, figures in epochs:
        epoch_log.write(epoch, figures)
    return (folder / 'train.csv').read_text()


def test_the_lines_of_an_epoch():
    assert log.lines(3, FIGURES) == 'epoch 3: loss 0.2500  50.0 images/s  1:05:09 left'
    text = log.lines(3, VALIDATED)
    assert text.splitlines() == [
        'epoch 3: loss 0.2500  val_srcc undefined  val_lcc 0.5000  50.0 images/s  1:05:09 left',
        '  val_emd_r1 0.1000 (constant 0.2000)  val_emd_r2 0.1250 (0.3000)  val_accuracy 0.7500 (0.5000)']
    assert max(map(len, text.splitlines())) <= 100


def test_a_constant_model_has_the_constant_predictors_figures():
    true = np.eye(10)[[0, 4, 9, 9]]
    figures = log.validation_figures(true, np.tile(true.mean(axis=0), (4, 1)))
    assert figures['val_emd_r1'] == figures['val_constant_emd_r1'] > 0
    assert figures['val_loss'] == figures['val_emd_r2'] == figures['val_constant_emd_r2'] > 0
    assert figures['val_accuracy'] == figures['val_constant_accuracy'] == 0.5  # all above 5: two of four
    assert math.isnan(figures['val_srcc'])


def test_an_epoch_without_validation_logs_nothing_false(tmp_path):
    header, first, second = written(tmp_path, (1, FIGURES), (2, VALIDATED)).splitlines()
    assert header == ','.join(log.COLUMNS)
    assert first == '1,0.25,,,,,,,,,,50.0,9.5,3909.4'
    assert second == '2,0.25,0.125,0.1,0.125,nan,0.5,0.75,0.2,0.3,0.5,50.0,9.5,3909.4'
    rows = log.read_csv(str(tmp_path / 'train.csv'))
    assert rows[0] == {'epoch': 1, **FIGURES} and rows[1]['val_emd_r1'] == 0.1


def test_a_new_run_starts_anew_and_a_resumed_one_keeps_the_epochs_before(tmp_path):
    written(tmp_path, (1, FIGURES), (2, FIGURES), (3, FIGURES))
    with open(str(tmp_path / 'train.csv'), 'a') as stream:
        stream.write('4,0.')  # cut off
    table = written(tmp_path, (3, VALIDATED))
    assert [line[:2] for line in table.splitlines()[1:]] == ['1,', '2,', '3,'] and '0.125' in table.splitlines()[3]
    assert len(written(tmp_path, (1, FIGURES)).splitlines()) == 2


def test_the_log_of_another_run_is_kept(tmp_path):
    assert log.keep_other(str(tmp_path), 'b' * 32) is None
    before = written(tmp_path, (1, FIGURES))
    assert log.keep_other(str(tmp_path), 'a' * 32) is None and log.run_id(str(tmp_path)) == 'a' * 32
    assert log.keep_other(str(tmp_path), 'b' * 32) == str(tmp_path / 'train_aaaaaaaa.csv')
    assert (tmp_path / 'train_aaaaaaaa.csv').read_text() == before
    assert json.loads((tmp_path / 'summary_aaaaaaaa.json').read_text())['run'] == 'a' * 32
    assert not (tmp_path / 'summary.json').exists()  # as of a version without run ids
    written(tmp_path, (1, FIGURES))
    (tmp_path / 'summary.json').write_text('{}')
    kept = log.keep_other(str(tmp_path), 'b' * 32)
    assert kept not in (str(tmp_path / 'train.csv'), str(tmp_path / 'train_aaaaaaaa.csv'))
    assert Path(kept).read_text() == before


def test_a_log_that_was_renamed_gets_its_name_back(tmp_path):
    before = written(tmp_path, (1, FIGURES), (2, VALIDATED))
    log.keep_other(str(tmp_path), 'b' * 32)
    written(tmp_path, (1, FIGURES), run='b' * 32)
    assert log.keep_other(str(tmp_path), 'a' * 32) == str(tmp_path / 'train_bbbbbbbb.csv')
    assert (tmp_path / 'train.csv').read_text() == before and log.run_id(str(tmp_path)) == 'a' * 32
    assert sorted(path.name for path in tmp_path.glob('*.csv')) == ['train.csv', 'train_bbbbbbbb.csv']


def test_the_best_epoch_is_the_last_with_the_highest_srcc():
    rows = [{'epoch': 1, 'val_srcc': 0.5}, {'epoch': 2}, {'epoch': 3, 'val_srcc': 0.7}, {'epoch': 4, 'val_srcc': 0.7},
            {'epoch': 5, 'val_srcc': math.nan}, {'epoch': 6, 'val_srcc': 0.6}]
    assert log.best(rows)['epoch'] == 4 and log.best(rows[1:2]) is None


@pytest.mark.parametrize('value, expected', [
    (math.nan, None), (math.inf, None), (np.float32(0.5), 0.5), ({'a': [math.nan, 1]}, {'a': [None, 1]}),
    (np.array([1.0, np.nan]), [1.0, None]), ('text', 'text')])
def test_json_gets_no_nan(value, expected):
    assert finite(value) == expected
