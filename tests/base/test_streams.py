"""Standard streams that are full, closed, read no longer or cannot print a name: every command, as a process."""
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from PIL import Image

FULL = 'cannot write to standard output: No space left on device. Free space or redirect it elsewhere'
CLOSED = 'standard output is closed. Redirect it to a file, or to /dev/null for no output'
COMMANDS = ['predict.py', 'eval.py', '-m utils.check_dataset', '-m utils.labels', '-m utils.models', '-m utils.records',
            '-m utils.export', '-m utils.demo_dataset', '-m utils.device.rank_table', 'score.py']

PRINTS = '''
import sys
from utils.base import errors
def main():
    for _ in range({lines}):
        print({text!r})
    {more}
errors.run(main, 'command', log_only={log_only})
'''


def shell(line, **environment):
    """Exit code, output and error output of a line for bash; $PYTHON runs in the project's folder."""
    done = subprocess.run(['bash', '-c', line], cwd=str(ROOT), capture_output=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, 'PYTHON': sys.executable, **environment})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def prints(redirected, lines=1, text='text', more='', log_only=False, **environment):
    code = PRINTS.format(lines=lines, text=text, more=more, log_only=log_only)
    return shell(f'"$PYTHON" -c "$CODE" {redirected}', CODE=code, **environment)


@pytest.mark.parametrize('command', COMMANDS)
def test_help_on_a_full_disk_or_closed(command):
    name = command.split()[-1].split('.')[-1] if command.startswith('-m') else command
    assert shell(f'"$PYTHON" {command} --help > /dev/full') == (1, '', f'{name}: error: {FULL}\n')
    assert shell(f'"$PYTHON" {command} --help >&-') == (1, '', f'{name}: error: {CLOSED}\n')


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('lines', [1, 100000])
def test_a_result_that_cannot_be_written(lines, unbuffered):
    for redirected, answer in (('> /dev/full', (1, '', f'command: error: {FULL}\n')),
                               ('>&-', (1, '', f'command: error: {CLOSED}\n'))):
        assert prints(redirected, lines, PYTHONUNBUFFERED=unbuffered) == answer
    code, out, err = prints('| head -1; exit ${PIPESTATUS[0]}', 100000, PYTHONUNBUFFERED=unbuffered)
    assert (code, out, err) == (141, 'text\n', '')


SCORES = """
import sys, types
import numpy as np
class Session:
    def __init__(self, *_, **__): pass
    def get_modelmeta(self): return types.SimpleNamespace(custom_metadata_map={'ava_mean_percentiles': '[1, 10]'})
    def run(self, *_): return np.full(10, .1, np.float32), 5.5, 2.9
sys.modules['onnxruntime'] = types.SimpleNamespace(SessionOptions=types.SimpleNamespace, InferenceSession=Session)
import runpy
runpy.run_path('score.py', run_name='__main__')
"""


def test_scores_without_the_project(tmp_path):
    """score.py, which imports nothing of it, with a model that is none."""
    for number in range(200):
        Image.new('RGB', (2, 2)).save(str(tmp_path / f'{number:03d}{"x" * 200}.png'))
    (tmp_path / '000.png').write_bytes(b'')
    os.mkfifo(str(tmp_path / '001.png'))

    def scores(redirected):
        return shell(f'"$PYTHON" -c "$CODE" {tmp_path} --model "$CODE" {redirected}', CODE=SCORES)
    code, out, err = scores('')
    assert code == 1 and len(out.splitlines()) == 201 and err.splitlines()[1:] == [
        f'{tmp_path}/001.png: unreadable image (a pipe, a device or a folder, expected a file)',
        'score.py: error: 2 of 202 files could not be scored (listed above)']
    assert scores('2>&-') == scores('2> /dev/full') == (1, out, '')
    code, none, err = scores('> /dev/full')
    assert (code, none, err.splitlines()[-1]) == (1, '', f'score.py: error: {FULL}')
    assert scores('>&-') == (1, '', f'score.py: error: {CLOSED}\n')
    assert scores('2> /dev/null | head -1; exit ${PIPESTATUS[0]}') == (141, out.splitlines()[0] + '\n', '')


def test_a_training_does_not_end_for_its_log():
    warning = ('warning: cannot write to standard output: No space left on device. Training continues, its output is '
               'lost\n')
    more = "print('the end', file=sys.stderr)"
    assert prints('> /dev/full', 100000, more=more, log_only=True) == (0, '', warning + 'the end\n')
    assert prints('>&-', 100000, more=more, log_only=True) == (0, '', 'the end\n')
    assert prints('| head -1; exit ${PIPESTATUS[0]}', 100000, more=more, log_only=True) == (141, 'text\n', '')


def test_an_error_output_that_cannot_be_written_ends_nothing():
    more = "print('x' * 100000, file=sys.stderr)"
    for redirected in ('2> /dev/full', '2>&-', '2>&- <&-', '2> >(head -c 1 > /dev/null)'):
        assert prints(redirected, more=more) == (0, 'text\n', '')


def test_a_file_that_is_opened_does_not_become_a_closed_stream(tmp_path):
    path = tmp_path / 'file'
    more = f"file = open({str(path)!r}, 'w'); import os; os.write(2, b'noise'); os.write(1, b'noise'); file.write('x')"
    assert prints('>&- 2>&-', more=more, log_only=True)[0] == 0
    assert path.read_text() == 'x'


@pytest.mark.parametrize('encoding, printed', [('ascii', '\\u4e2d\\xe9'), ('latin-1:strict', '\\u4e2d\xe9'),
                                               ('utf-8', '\u4e2d\xe9')])
def test_what_an_encoding_lacks_is_escaped(encoding, printed):
    done = subprocess.run([sys.executable, '-c', PRINTS.format(lines=2, text='\u4e2d\xe9', more='', log_only=False)],
                          cwd=str(ROOT), capture_output=True, env={**os.environ, 'PYTHONIOENCODING': encoding})
    assert (done.returncode, done.stderr) == (0, b'')
    assert done.stdout.decode(encoding.split(':')[0]) == (printed + '\n') * 2
