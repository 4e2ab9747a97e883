"""Processes that are killed or stopped by a signal: no save is lost, and a resumed run ends with the same bits."""
import os
import signal
import sys
import time

import pytest

from benchmarks import kill, kill_windows
from utils.model import checkpoint, model_file


@pytest.mark.slow
@pytest.mark.timeout(1200)  # up to eight processes, one after the other
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    figures = kill.survive(tmp_path, 5)
    assert figures['kills'] == 5 and figures['while_writing'] >= 1
    assert figures['broken_files'] == []
    assert figures['same_bits'] and figures['arrays'] == 19
    assert figures['rows'] == figures['epochs'] >= 3


@pytest.mark.slow
@pytest.mark.timeout(3000)  # some twenty processes, one after the other
def test_a_kill_loses_nothing_where_a_file_is_replaced_or_grows(tmp_path):
    found = kill_windows.survive(tmp_path, 2)
    assert list(found) == ['overwrite', 'validation', 'packing', 'feature caching', 'predict --output']
    for name, figures in found.items():
        assert figures['different'] == 0 and figures['kills'] == 2, (name, figures)


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    return kill.Project(tmp_path_factory.mktemp('project'), epochs=1000)


@pytest.mark.slow
def test_signals_stop_the_shell_script_with_the_state_saved(project, tmp_path):
    model = tmp_path / 'model'
    state = checkpoint.state_path(str(model))
    path = f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'
    positions = []
    for number, code, more in ((signal.SIGTERM, 143, []), (signal.SIGINT, 130, ['--resume'])):
        process = project.start(model, '--checkpoint_steps', '5', *more, command=['bash', 'train_1p.sh'],
                                env={**os.environ, 'PATH': path})
        printed, before = tmp_path / 'model.txt', kill.stamp(state)
        while kill.stamp(state) == before and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, printed.read_text()
        sent = time.monotonic()
        process.send_signal(number)
        assert process.wait() == code, printed.read_text()
        assert time.monotonic() - sent < 30
        position = model_file.read(state).metadata['run']['position']
        positions.append((position['epoch'], position['images']))
        step = position['images'] // kill.BATCHSIZE
        assert (f'stopped after epoch {position["epoch"] + 1}, step {step} of {kill.STEPS}; run the same command '
                'with --resume to continue') in printed.read_text()
        assert len(checkpoint.existing(str(model))) == position['epoch']
        assert sorted(path.name for path in model.iterdir() if not path.name.startswith('model_')) == [
            'log', 'state.h5']
    assert positions[0] < positions[1]
