"""What happens around training: logs that cannot be written, the summary of several parts, a collapse."""
import json
import os
import types

import numpy as np
import pytest

from utils.base.errors import InputError
from utils.data.bad_images import BadImages
from utils.training import callbacks

LOGS = {'loss': 0.1, 'val_loss': 0.1, 'val_srcc': 0.5, 'images_per_second': 10.0}


def epoch_log(path):
    log = callbacks.EpochLog(str(path.parent))
    log.on_train_begin()
    log.on_epoch_end(0, LOGS)


def summary(path):
    log = callbacks.Summary(str(path.parent), device='cpu', batchsize=4)
    log.on_epoch_end(0, LOGS)


WRITERS = [(epoch_log, 'train.csv'), (epoch_log, 'train.jsonl'), (summary, 'summary.json')]


@pytest.mark.parametrize('write, name', WRITERS)
def test_a_log_is_written(tmp_path, write, name):
    write(tmp_path / name)
    assert '0.1' in (tmp_path / name).read_text()


@pytest.mark.parametrize('write, name', WRITERS)
def test_a_folder_stands_in_the_place_of_a_log(tmp_path, write, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf'{name}: found that it cannot be written \(Is a directory\), expected a '
                                         r'place for the log: .*another --TMP_LOG_PATH'):
        write(tmp_path / name)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='this system has no /dev/full')
@pytest.mark.parametrize('write, name', WRITERS)
def test_a_full_disk(tmp_path, write, name):
    (tmp_path / name).symlink_to('/dev/full')
    with pytest.raises(InputError, match=rf'{name}: found that it cannot be written \(No space left on device\)'):
        write(tmp_path / name)


def test_the_summary_of_a_run_that_goes_on_is_that_of_the_whole_run(tmp_path):
    log = callbacks.EpochLog(str(tmp_path))
    for epoch, speed in enumerate((1.0, 30.0, 20.0)):  # the third of an epoch that is trained again
        log.on_epoch_end(epoch, {**LOGS, 'loss': epoch, 'images_per_second': speed, 'seconds': 100.0})
    summary = callbacks.Summary(str(tmp_path), device='cpu', batchsize=4, epochs=2)
    for epoch, speed in ((2, 2.0), (3, 60.0)):  # the first of them compiles again
        summary.on_epoch_end(epoch, {'loss': epoch, 'images_per_second': speed})
    found = json.loads((tmp_path / 'summary.json').read_text())
    assert (found['losses'], found['epoch'], found['val_srcc']) == ([0, 1, 2, 3], 4, 0.5)
    assert found['images_per_second'] == pytest.approx(2 / (1 / 30 + 1 / 60))
    assert 200 <= found['training_seconds'] < 300


@pytest.mark.parametrize('spread, warned', [(0.0004, True), (0.01, False)])
def test_a_collapse_is_warned_of(monkeypatch, capsys, spread, warned):
    scores = np.full((3, 10), 0.1) + np.eye(3, 10) * 0.1 - 0.01
    predicted = np.full((3, 10), 0.1)
    predicted[1, 0], predicted[1, 9] = 0.1 + spread, 0.1 - spread
    predicted[2, 0], predicted[2, 9] = 0.1 - spread, 0.1 + spread
    monkeypatch.setattr(callbacks.nima, 'predict', lambda model, images, batchsize: images)
    bad = BadImages(3)
    validation = callbacks.Validation(None, iter([(predicted, None)]), types.SimpleNamespace(scores=scores), bad=[bad],
                                      batchsize=3)
    validation._judge(validation._predict())
    assert ('warning: the model predicts the same for every validation photograph' in capsys.readouterr().out) == warned
