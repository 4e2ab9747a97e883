"""What happens around training: logs that cannot be written, the summary of several parts, a collapse."""
import json
import math
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from utils.base.errors import InputError
from utils.data.ava import Ratings
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet
from utils.training import callbacks, events, log

LOGS = {'loss': 0.1, 'val_loss': 0.1, 'val_srcc': 0.5, 'images_per_second': 10.0}
ABOUT = {'device': 'cpu', 'devices': 1, 'batchsize': 4}
NAMES = ['train.csv', 'summary.json']


def write(folder):
    callback = callbacks.LogEpoch(log.EpochLog(str(folder), 'a' * 32, ABOUT))
    callback.on_train_begin()
    callback.on_epoch_end(0, LOGS)


@pytest.mark.parametrize('name', NAMES)
def test_a_log_is_written(tmp_path, name):
    write(tmp_path)
    assert '0.1' in (tmp_path / name).read_text()


@pytest.mark.parametrize('name', NAMES)
def test_a_folder_instead_of_a_log(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf'^cannot write .*{name}: Is a directory\. .*another --TMP_LOG_PATH'):
        write(tmp_path)


@pytest.mark.parametrize('name', NAMES)
def test_a_pipe_as_the_log_stops_before_the_training(tmp_path, name):
    os.mkfifo(str(tmp_path / name))
    with pytest.raises(InputError, match=rf'^cannot write .*{name}: it is a pipe or a device\. Remove it$'):
        log.EpochLog(str(tmp_path), 'a' * 32, ABOUT).check()


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='this system has no /dev/full')
def test_a_full_disk_ends_no_training_and_loses_no_row(tmp_path, capsys):
    epoch_log = log.EpochLog(str(tmp_path), 'a' * 32, ABOUT)
    epoch_log.check()
    assert os.listdir(str(tmp_path)) == []
    epoch_log.write(1, {**LOGS, 'loss': 1})
    (tmp_path / 'summary.json').unlink()
    (tmp_path / 'summary.json').symlink_to('/dev/full')
    for epoch in (2, 3):
        epoch_log.write(epoch, {**LOGS, 'loss': epoch})
        assert capsys.readouterr().err == (
            f'warning: cannot write {tmp_path}/summary.json: No space left on device. Free space or choose another '
            '--TMP_LOG_PATH; the checkpoints so far are intact. The training goes on, and the log has epoch '
            f'{epoch} once it can be written\n')
    (tmp_path / 'summary.json').unlink()
    epoch_log.write(4, {**LOGS, 'loss': 4})
    assert json.loads((tmp_path / 'summary.json').read_text())['losses'] == [1, 2, 3, 4]
    assert [row['epoch'] for row in log.read_csv(str(tmp_path / 'train.csv'))] == [1, 2, 3, 4]


def test_a_folder_that_goes_away_is_made_again(tmp_path):
    folder = tmp_path / 'log'
    folder.mkdir()
    epoch_log = log.EpochLog(str(folder), 'a' * 32, ABOUT, events.Events(str(folder), log.CURE).write)
    epoch_log.write(1, LOGS)
    shutil.rmtree(str(folder))
    epoch_log.write(2, LOGS)
    assert [row['epoch'] for row in log.read_csv(str(folder / 'train.csv'))] == [2]
    assert losses(folder) == [(0, 0.1), (1, 0.1)]


def values(folder):
    """The values in the only file of events of a folder, by TensorFlow's own reader, which checks each CRC."""
    path, = folder.glob('events.out.tfevents*')
    return [(event.step, value.tag, value.simple_value)
            for event in tf.compat.v1.train.summary_iterator(str(path)) for value in event.summary.value]


def losses(folder):
    return [(step, pytest.approx(value)) for step, tag, value in values(folder) if tag == 'epoch_loss']


def test_the_events_are_those_of_keras(tmp_path):
    theirs = tf.keras.callbacks.TensorBoard(str(tmp_path / 'theirs'), histogram_freq=0, write_graph=False)
    theirs.set_model(tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))]))
    mine = log.EpochLog(str(tmp_path / 'mine'), 'a' * 32, ABOUT, events.Events(str(tmp_path / 'mine'), log.CURE).write)
    for epoch in range(3):
        logs = {**LOGS, 'loss': 1 / (epoch + 1), **({'val_srcc': math.inf} if epoch else {})}
        theirs.on_epoch_end(epoch, logs)
        mine.write(epoch + 1, logs)
    theirs.writer.close()
    assert sorted(values(tmp_path / 'mine')) == sorted(values(tmp_path / 'theirs'))


def test_events_that_a_disk_does_not_hold_come_whole_once_it_does(tmp_path, monkeypatch, capsys):
    epoch_log = log.EpochLog(str(tmp_path), 'a' * 32, ABOUT, events.Events(str(tmp_path), log.CURE).write)
    epoch_log.write(1, LOGS)
    path, = tmp_path.glob('events.out.tfevents*')
    before = path.read_bytes()
    with monkeypatch.context() as full:
        def fail(descriptor):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                raise OSError(28, 'No space left on device')
        full.setattr(os, 'fsync', fail)
        epoch_log.write(2, {**LOGS, 'loss': 2})
    assert f'warning: cannot write {path}: No space left on device.' in capsys.readouterr().err
    assert path.read_bytes() == before
    epoch_log.write(3, {**LOGS, 'loss': 3})
    assert losses(tmp_path) == [(0, 0.1), (1, 2), (2, 3)]


def test_the_summary_of_a_resumed_run_is_that_of_all_its_epochs(tmp_path):
    first = log.EpochLog(str(tmp_path), 'a' * 32, ABOUT)
    for epoch, speed in enumerate((1.0, 30.0, 20.0), 1):  # the third of an epoch that is trained again
        first.write(epoch, {**LOGS, 'loss': epoch, 'images_per_second': speed, 'seconds': 100.0})
    resumed = log.EpochLog(str(tmp_path), 'a' * 32, ABOUT)
    for epoch, speed in ((3, 60.0), (4, 60.0)):
        resumed.write(epoch, {'loss': epoch, 'images_per_second': speed, 'seconds': 50.0})
    found = json.loads((tmp_path / 'summary.json').read_text())
    assert (found['losses'], found['epoch'], found['val_srcc']) == ([1, 2, 3, 4], 4, 0.5)
    assert found['images_per_second'] == pytest.approx(3 / (1 / 30 + 2 / 60)) and not found['includes_compilation']
    assert found['training_seconds'] == 2 * 100 + 2 * 50 and found['run'] == 'a' * 32


def test_one_epoch_has_a_speed_that_includes_compilation(tmp_path):
    write(tmp_path)
    found = json.loads((tmp_path / 'summary.json').read_text())
    assert (found['images_per_second'], found['seconds_per_step']) == (10.0, 4 * 1 / 10.0)
    assert found['includes_compilation']


@pytest.mark.parametrize('difference, warned', [(0.0004, True), (0.01, False)])
def test_a_collapse_is_warned_of(monkeypatch, capsys, difference, warned):
    true = np.full((3, 10), 0.1) + np.eye(3, 10) * 0.1 - 0.01
    predicted = np.full((3, 10), 0.1)
    predicted[1, 0], predicted[1, 9] = 0.1 + difference, 0.1 - difference
    predicted[2, 0], predicted[2, 9] = 0.1 - difference, 0.1 + difference
    monkeypatch.setattr(callbacks.nima, 'predict', lambda model, images, batchsize: images)
    names = np.array(list('abc'), dtype=object)
    val = ImageSet(Ratings(names, names, true), BadImages(3, what='validation'))
    validation = callbacks.Validation(None, iter([(predicted, None)]), val, BadImages(3), batchsize=3)
    validation._figures(validation._predict())
    assert ('warning: the model predicts the same distribution for every validation image' in
            capsys.readouterr().out) == warned
