"""Two processes that Horovod joins, for real: one training as on one device, one writer, a rank that dies."""
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks import kill
from utils.model import checkpoint, model_file

HOROVODRUN = Path(sys.executable).with_name('horovodrun')
if not HOROVODRUN.exists() or subprocess.run([sys.executable, '-c', 'import horovod.tensorflow'],
                                             capture_output=True).returncode:
    pytest.skip('no Horovod for TensorFlow in this environment: bash utils/horovod.sh builds it',
                allow_module_level=True)
pytestmark = pytest.mark.slow

# BatchNorm by its moving averages in training too: one device's statistics would otherwise differ from two devices'.
NETWORK = '''from tensorflow import keras


def MobileNet(shape, **_):
    image = keras.Input(shape, name='input_1')
    features = keras.layers.Conv2D(16, 3, strides=4, name='conv1')(image)
    features = keras.layers.BatchNormalization(name='norm')(features, training=False)
    features = keras.layers.Conv2D(16, 3, activation='relu', name='conv2')(features)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D(name='pool')(features))
'''
EPOCHS = 9
STEPS = kill.TRAIN_SIZE // 4  # of two devices with two photographs each, or of one with four
PATIENCE = 240
RANKS = (str(HOROVODRUN), '-np', '2', sys.executable, '-u', 'train.py')
ALONE = (sys.executable, '-u', 'train.py')


class Project(kill.Project):
    """The project with a network in which nothing depends on the size of a batch."""

    def __init__(self, folder):
        super().__init__(folder, epochs=EPOCHS)
        (self.root / 'small.py').write_text(NETWORK)

    def train(self, model, *more, command=RANKS, code=0):
        """What the training said, after it ended with that exit code."""
        assert self.start(model, *more, command=command).wait(PATIENCE) == code, Path(f'{model}.txt').read_text()
        return Path(f'{model}.txt').read_text()


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp('project'))


@pytest.fixture(scope='module')
def alone(project, tmp_path_factory):
    model = tmp_path_factory.mktemp('alone') / 'model'
    project.train(model, '--batchsize', '4', command=ALONE)
    return model


@pytest.fixture(scope='module')
def together(project, tmp_path_factory):
    """The folder of a training on two devices, and what was said."""
    model = tmp_path_factory.mktemp('together') / 'model'
    return model, project.train(model)


def rows(model):
    with open(str(model / 'log' / 'train.csv'), newline='') as stream:
        return list(csv.DictReader(stream))


def assert_close(left, right, name=f'model_{EPOCHS:03d}.h5'):
    pairs = list(zip(kill.numbers(left / name), kill.numbers(right / name)))
    assert len(pairs) == 2 + 4 + 2 + 2 + 1 + 8  # weights with moving averages; the optimiser's steps and slots
    for first, second in pairs:
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-7)


def test_two_devices_end_with_the_weights_of_one_with_twice_the_batch(alone, together):
    assert EPOCHS * STEPS > 50
    assert_close(alone, together[0])
    start, end = (kill.numbers(together[0] / name) for name in ('model_001.h5', f'model_{EPOCHS:03d}.h5'))
    assert max(np.abs(first - last).max() for first, last in zip(start, end)) > 0.01  # it has trained


def test_losses_and_scores_are_those_of_one_device(alone, together):
    assert len(rows(alone)) == len(rows(together[0])) == EPOCHS
    for one, two in zip(rows(alone), rows(together[0])):
        for name in ('loss', 'val_loss', 'val_emd_r1', 'val_accuracy', 'val_srcc', 'val_constant_emd_r1'):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4), name


def test_the_chief_alone_writes_and_speaks(together):
    model, said = together
    names = sorted(path.name for path in model.iterdir())
    assert names == ['log', *(f'model_{epoch:03d}.h5' for epoch in range(1, EPOCHS + 1))]
    assert len(list((model / 'log').glob('events.*'))) == 1
    assert said.count('device: cpu (asked for)') == 1
    assert said.count('2 devices, joined by horovod: 2 x 2 = 4 images a step') == 1
    assert len(re.findall(r'epoch \d+: loss', said)) == EPOCHS
    assert not re.search(r'\[1\]<std\w+>:.*(epoch|loss|split)', said)
    summary = json.loads((model / 'log' / 'summary.json').read_text())
    assert (summary['devices'], summary['batchsize']) == (2, 2)
    assert summary['seconds_per_step'] == pytest.approx(4 / summary['images_per_second'])
    run = model_file.read(str(model / 'model_001.h5')).metadata['run']
    assert run['devices'] == 2 and run['flags']['batchsize'] == 2


def processes_of(model):
    """The process ids of the ranks that train into `model`, by rank."""
    found = {}
    for path in Path('/proc').glob('[0-9]*'):
        try:
            words = (path / 'cmdline').read_bytes().split(b'\0')
            environment = (path / 'environ').read_bytes().split(b'\0')
        except OSError:
            continue
        if os.fsencode(str(model)) in words and words[:1] == [os.fsencode(sys.executable)]:
            for each in environment:
                if each.startswith(b'HOROVOD_RANK='):
                    found[int(each.split(b'=')[1])] = int(path.name)
    return found


def wait_for_state(process, model, before=None):
    deadline = time.monotonic() + PATIENCE
    while kill.stamp(checkpoint.state_path(str(model))) == before and time.monotonic() < deadline:
        assert process.poll() is None, Path(f'{model}.txt').read_text()
        time.sleep(0.01)


def test_a_rank_that_is_killed_stops_all_and_one_device_goes_on(project, alone, tmp_path):
    model = tmp_path / 'model'
    process = project.start(model, '--checkpoint_steps', '4', command=RANKS)
    wait_for_state(process, model)
    os.kill(processes_of(model)[1], signal.SIGKILL)
    assert process.wait(PATIENCE) != 0
    said = Path(f'{model}.txt').read_text()
    assert re.search(r'train\.py: error: rank 0 of 2: lost the connection to another rank \(.*--resume', said), said
    assert '>:Traceback' not in said  # horovodrun itself ends with one
    assert processes_of(model) == {} and not list(model.glob('*.tmp'))

    said = project.train(model, '--resume', '--batchsize', '4', command=ALONE)
    assert 'model: the number of devices was 2, now 1: 4 images a step as before' in said.replace(
        '/state.h5', '').replace(f'{model}', 'model')
    assert_close(alone, model)
    assert [int(float(row['epoch'])) for row in rows(model)] == list(range(1, EPOCHS + 1))


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_at_the_same_step_and_two_devices_go_on(project, alone, tmp_path):
    model = tmp_path / 'model'
    process = project.start(model, '--checkpoint_steps', '4', command=RANKS)
    wait_for_state(process, model)
    os.kill(processes_of(model)[1], signal.SIGTERM)
    assert process.wait(PATIENCE) != 0
    said = Path(f'{model}.txt').read_text()
    stops = re.findall(r'stopped after epoch \d, step \d of 6; run the same command with --resume to continue', said)
    assert len(stops) == 1
    assert '>:Traceback' not in said and 'error: rank' not in said  # horovodrun itself ends with one
    said = project.train(model, '--resume')
    assert f'{model}/state.h5: resuming with epoch ' in said
    assert_close(alone, model)


@pytest.mark.slow
def test_one_device_begins_and_two_go_on(project, alone, tmp_path):
    model = tmp_path / 'model'
    shutil.copytree(str(alone), str(model))
    for epoch in range(5, EPOCHS + 1):
        (model / f'model_{epoch:03d}.h5').unlink()
    said = project.train(model, '--resume')
    assert 'the number of devices was 1, now 2: 4 images a step as before' in said
    assert_close(alone, model)
    shutil.rmtree(str(model))
    shutil.copytree(str(alone), str(model))
    (model / f'model_{EPOCHS:03d}.h5').unlink()
    said = project.train(model, '--resume', '--batchsize', '4', '--scale_lr')
    assert '4 images a step before, 8 now' in said and 'scale_lr was False, now True' in said
    with h5py.File(str(model / f'model_{EPOCHS:03d}.h5'), 'r') as file:
        settings = json.loads(file.attrs['training_config'])['optimizer_config']
    assert settings['class_name'] == 'SGD' and settings['config']['learning_rate'] == pytest.approx(2 * 0.01)


@pytest.mark.slow
def test_a_rank_with_other_flags_is_refused_by_all(project, tmp_path):
    model = tmp_path / 'model'
    script = tmp_path / 'start.sh'
    script.write_text(f'exec {sys.executable} train.py "$@" --decay 0.0$HOROVOD_RANK\n')
    said = project.train(model, command=(str(HOROVODRUN), '-np', '2', 'bash', str(script)), code=1)
    assert 'rank 1 starts differently from rank 0 (other flags, labels, split or versions)' in said
    assert not list(model.glob('model_*.h5'))
