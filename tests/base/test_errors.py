"""utils/base/errors.py: how a command ends, and the command that an error names."""
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from utils.base import errors


def raising(error):
    def main():
        raise error
    return main


def test_run_returns_what_main_returns():
    assert errors.run(lambda: [1], 'command') == [1]


@pytest.mark.parametrize('error, code, text', [
    (errors.InputError('AVA.txt: found nothing'), 'command: error: AVA.txt: found nothing', ''),
    (errors.InputError('b\x1b[31m\udcff\nTraceback (most.h5: found nothing'),
     'command: error: b\\x1b[31m\\xff\\x0aTraceback (most.h5: found nothing', ''),
    (KeyboardInterrupt(), 130, '\ncommand: stopped\n')])
def test_how_a_command_ends(error, code, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        errors.run(raising(error), 'command')
    assert stopped.value.code == code and capsys.readouterr().err == text


@pytest.mark.parametrize('name', ['numpy', 'tensorflow.keras'])
def test_a_python_without_the_packages(name, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [str(ROOT / 'utils' / 'labels.py'), 'my labels.csv'])
    with pytest.raises(SystemExit) as stopped:
        errors.run(raising(ModuleNotFoundError(name=name)), 'labels')
    assert stopped.value.code == (f'labels: error: {sys.executable} has no package {name.split(".")[0]}. Start it with '
                                  f"bash {ROOT}/run.sh -m utils.labels 'my labels.csv'")


@pytest.mark.parametrize('file, words', [('predict.py', 'predict.py'), ('benchmarks/run.py', '-m benchmarks.run'),
                                         ('utils/device/rank_table.py', '-m utils.device.rank_table')])
def test_the_command_of_a_file(file, words):
    assert errors.command_of(file) == f'bash {ROOT}/run.sh {words}'


def test_a_named_command_runs_from_any_folder(tmp_path):
    done = subprocess.run(errors.command_of('utils/labels.py') + ' --help', shell=True, cwd=str(tmp_path),
                          capture_output=True, text=True)
    assert done.returncode == 0 and '--shuffle' in done.stdout, done.stderr


@pytest.mark.parametrize('command', [['predict.py', 'x.jpg'], ['eval.py'], ['train.py', '--demo'],
                                     ['-m', 'utils.check_dataset'], ['-m', 'utils.labels', 'a.csv', '-o', 'b.txt']])
def test_a_script_started_with_such_a_python(command):
    done = subprocess.run([sys.executable, '-S', *command], cwd=str(ROOT), capture_output=True, text=True, env={})
    assert done.returncode == 1
    assert ' has no package ' in done.stderr and done.stderr.count('\n') == 1
    assert done.stderr.endswith(f"Start it with bash {ROOT}/run.sh {' '.join(command)}\n")


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


def test_memory_that_runs_out(monkeypatch):
    class ResourceExhaustedError(Exception):
        """As TensorFlow's is called."""
    for error in (MemoryError(), ResourceExhaustedError('OOM when allocating tensor')):
        with pytest.raises(SystemExit, match='^command: error: out of memory. Use a smaller --batchsize'):
            errors.run(raising(error), 'command')


def test_tensorflows_notes_are_off_unless_they_are_asked_for(monkeypatch):
    monkeypatch.delenv('TF_CPP_MIN_LOG_LEVEL')
    assert errors.run(lambda: os.environ['TF_CPP_MIN_LOG_LEVEL'], 'command') == '1'
    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '0')
    assert errors.run(lambda: os.environ['TF_CPP_MIN_LOG_LEVEL'], 'command') == '0'
