"""utils/base/errors.py: how a command ends, and which folders can be written."""
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from utils.base import errors, files


def raising(error):
    def main():
        raise error
    return main


def test_run_returns_what_main_returns():
    assert errors.run(lambda: [1], 'command') == [1]


@pytest.mark.parametrize('error, code, text', [
    (errors.InputError('AVA.txt: found nothing'), 'command: error: AVA.txt: found nothing', ''),
    (KeyboardInterrupt(), 130, '\ncommand: stopped\n')])
def test_how_a_command_ends(error, code, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        errors.run(raising(error), 'command')
    assert stopped.value.code == code and capsys.readouterr().err == text


@pytest.mark.parametrize('name', ['numpy', 'tensorflow.keras'])
def test_a_python_without_the_packages(name):
    with pytest.raises(SystemExit) as stopped:
        errors.run(raising(ModuleNotFoundError(name=name)), 'command')
    text = str(stopped.value.code)
    assert text.startswith(f'command: error: {sys.executable}: found a Python without the package '
                           f'{name.split(".")[0]}, expected one with what requirements.txt names: start with bash ')
    assert f'source {ROOT}/.venv/bin/activate' in text


@pytest.mark.parametrize('command', [['predict.py', 'x.jpg'], ['eval.py'], ['train.py'], ['train.py', '--demo']])
def test_a_script_started_with_such_a_python(command):
    done = subprocess.run([sys.executable, '-S', *command], cwd=str(ROOT), capture_output=True, text=True, env={})
    assert done.returncode == 1
    assert 'found a Python without the package' in done.stderr and done.stderr.count('\n') == 1


def test_the_packages_are_those_that_the_requirements_call_needed():
    lines = (ROOT / 'requirements.txt').read_text().split('# Convenience')[0].splitlines()
    names = {re.match(r'\w+', line).group() for line in lines if re.match(r'\w', line)}
    assert names - {'protobuf'} == set(errors.PACKAGES) - {'google'}


@pytest.mark.parametrize('name', ['utils.nowhere', 'PIL', None])
def test_other_missing_modules_are_bugs(name):
    with pytest.raises(ModuleNotFoundError):
        errors.run(raising(ModuleNotFoundError(name=name)), 'command')


def test_other_errors_are_bugs_and_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        errors.run(raising(ZeroDivisionError()), 'command')


def test_a_trial_leaves_nothing_and_keeps_what_was_there(tmp_path):
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'file').write_text('')
    for folder in ('new/below', 'old'):
        files.require_writable(str(tmp_path / folder), '--flag')
    assert sorted(os.listdir(str(tmp_path))) == ['old'] and os.listdir(str(tmp_path / 'old')) == ['file']


@pytest.mark.parametrize('name, reason', [('file', 'File exists'), ('file/below', 'Not a directory'),
                                          ('a/' + 300 * 'x', 'File name too long')])
def test_a_place_that_cannot_be_written(tmp_path, name, reason):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.InputError, match=rf'a place that cannot be written \({reason}\), .* another --flag'):
        files.require_writable(str(tmp_path / name), '--flag')
    assert os.listdir(str(tmp_path)) == ['file']


def test_a_read_only_disk_that_permissions_do_not_tell_of(tmp_path, monkeypatch):
    def refused(**_):
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr(errors.tempfile, 'TemporaryFile', refused)
    with pytest.raises(errors.InputError, match=r'\(Read-only file system\)'):
        files.require_writable(str(tmp_path), '--flag')


def test_tensorflows_notes_are_off_unless_they_are_asked_for(monkeypatch):
    monkeypatch.delenv('TF_CPP_MIN_LOG_LEVEL')
    assert errors.run(lambda: os.environ['TF_CPP_MIN_LOG_LEVEL'], 'command') == '1'
    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '0')
    assert errors.run(lambda: os.environ['TF_CPP_MIN_LOG_LEVEL'], 'command') == '0'
