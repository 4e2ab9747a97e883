"""A checkpoint is opened once to be scored or exported, and each candidate once to be resumed."""
import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from conftest import ROOT, make_dataset, make_model

import eval as score
import predict
import train
from utils import export
from utils.base.errors import InputError
from utils.model import trust


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 8)


@pytest.fixture
def openings(monkeypatch):
    """How often each file is opened to be read."""
    found, original = collections.Counter(), h5py.File.__init__

    def counted(self, name, mode=None, *others, **more):
        if mode == 'r':
            found[str(name)] += 1
        original(self, name, mode, *others, **more)

    monkeypatch.setattr(h5py.File, '__init__', counted)
    return found


def test_scoring_and_exporting_open_a_checkpoint_once(data, tmp_path, openings):
    paths = [str(make_model(tmp_path / name)) for name in ('one.h5', 'two.h5', 'three.h5', 'four.h5')]
    openings.clear()
    score.main([*data.flags, '--val_size', '4', '--device', 'cpu', '--checkpoint', paths[0], '--compare', paths[1]])
    predict.main([str(data.images), '--device', 'cpu', '--checkpoint', paths[2]])
    export.main([paths[3], '--format', 'pb', '--output', str(tmp_path / 'exported')])
    assert openings == dict.fromkeys(paths, 1)


@pytest.mark.usefixtures('small_base')
def test_resuming_opens_a_checkpoint_once(data, tmp_path, openings):
    words = [*data.flags, '--val_size', '4', '--device', 'cpu', '--image_size', '32', '--batchsize', '2', '--weights',
             'none', '--TMP_MODEL_PATF', str(tmp_path)]
    train.main([*words, '--epochs', '2'])
    openings.clear()
    train.main([*words, '--epochs', '3', '--resume'])
    assert openings == {str(tmp_path / 'model_002.h5'): 1, str(tmp_path / 'model_003.h5.tmp'): 1}


# --- the trial in a second process

@pytest.fixture
def no_trials(monkeypatch):
    """Nothing was tried in this process; other tests may have started trials that nobody waited for."""
    monkeypatch.setattr(trust, '_TRIED', set())
    monkeypatch.setattr(trust, '_TRIALS', {})


def test_the_trial_starts_before_and_is_waited_for_once(tmp_path, no_trials):
    path = str(make_model(tmp_path / 'model.h5'))
    trust._TRIED.clear()
    trust.start_trials([path, path, str(tmp_path / 'nowhere.h5'), str(tmp_path)])
    (process,) = trust._TRIALS.values()
    trust.try_to_read(path)
    assert process.returncode == trust.TRIED and not trust._TRIALS
    trust.start_trials([path])
    assert not trust._TRIALS


@pytest.mark.parametrize('number, found', [
    (signal.SIGSEGV, 'a damaged HDF5 file that the HDF5 library cannot read'),
    (signal.SIGKILL, r'cannot check .*model.h5: the process that tries to read it first was ended by SIGKILL. Run '),
    (0, r'cannot check .*model.h5: the process that tries to read it first ended with code 0. Run ')])
def test_a_trial_that_does_not_come_to_its_end(tmp_path, no_trials, monkeypatch, number, found):
    path = tmp_path / 'model.h5'
    path.write_bytes(b'x')
    if not number:
        monkeypatch.setattr(trust, '_TRIAL', 'pass')
    trust.start_trials([str(path)])
    (process,) = trust._TRIALS.values()
    process.send_signal(number)
    with pytest.raises(InputError, match=found) as refused:
        trust.try_to_read(str(path))
    assert isinstance(refused.value, trust.DistrustError) == (number == signal.SIGSEGV) and not trust._TRIED


def test_no_file_of_the_current_folder_is_run(tmp_path, no_trials, monkeypatch):
    path = str(make_model(tmp_path / 'model.h5'))
    trust._TRIED.clear()
    monkeypatch.chdir(tmp_path)
    for name in ('json', 'h5py', 'utils', 'ctypes'):
        (tmp_path / f'{name}.py').write_text(f'open("RAN", "w"); raise SystemExit({trust.TRIED})')
    trust.try_to_read(path)
    assert not (tmp_path / 'RAN').exists()


def test_a_trial_ends_with_the_process_that_started_it(tmp_path):
    os.mkfifo(str(tmp_path / 'pipe'))  # to open it takes for ever
    code = ('import os, sys; from utils.model import trust; trust._start_trial(sys.argv[1], (1,)); '
            'print(trust._TRIALS[(1,)].pid, flush=True); sys.stdin.read()')
    with subprocess.Popen([sys.executable, '-c', code, str(tmp_path / 'pipe')], cwd=str(ROOT), text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        trial = int(parent.stdout.readline())
        assert os.getsid(trial) == trial
        parent.kill()
    deadline = time.monotonic() + 60
    while os.path.exists(f'/proc/{trial}') and ' Z ' not in Path(f'/proc/{trial}/stat').read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_second_process_does_not_import_tensorflow(tmp_path):
    path = make_model(tmp_path / 'model.h5')
    code = ('import sys; from utils.model import trust; trust.read_all(sys.argv[1]); '
            'assert "h5py" in sys.modules and "tensorflow" not in sys.modules')
    subprocess.run([sys.executable, '-c', code, str(path)], cwd=str(ROOT), check=True)


@pytest.mark.parametrize('script, first', [('eval.py', 'from utils import data_loader'),
                                           ('predict.py', 'from utils.scoring import'),
                                           ('train.py', 'from utils.device import')])
def test_scripts_start_the_trial_before_they_import_tensorflow(script, first):
    text = (ROOT / script).read_text()
    main = text[text.index('def main('):]
    assert 0 < main.index('trust.start_trials(') < main.index(first)
