"""Descriptor 2 held back: what a library writes there is read, what this process prints still comes out."""
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from utils.checks import decoder_warnings

CODE = '''
import os, sys
from utils.base import streams
from utils.checks import decoder_warnings
streams.settle()
with decoder_warnings.held() as written:
    os.write(2, b'Corrupt JPEG data: a\\x1b\\nCorrupt JPEG data: a\\x1b\\nbad\\n')
    print('own', file=sys.stderr)
    print(written(), written() == '')
    os.write(2, b'x' * 1000)
    print(len(written()))
print('after', file=sys.stderr)
'''


def run(stderr):
    return subprocess.run([sys.executable, '-c', CODE], cwd=str(ROOT), stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_what_is_written_is_read_once_and_own_lines_come_out():
    done = run(subprocess.PIPE)
    assert done.stdout == f'Corrupt JPEG data: a\\x1b; bad True\n{decoder_warnings.LONGEST + len(" ...")}\n'
    assert (done.stderr, done.returncode) == ('own\nafter\n', 0)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='this system has no /dev/full')
def test_a_standard_error_that_is_full_is_no_reason_to_end():
    with open('/dev/full', 'w') as full:
        done = run(full)
    assert done.stdout.count('\n') == 2 and not done.returncode


def test_without_a_folder_for_temporary_files_nothing_is_held(monkeypatch, capfd):
    def refuse():
        raise FileNotFoundError(2, 'No usable temporary directory found')
    monkeypatch.setattr(decoder_warnings.tempfile, 'TemporaryFile', refuse)
    with decoder_warnings.held() as written:
        os.write(2, b'Corrupt')
        assert written() == ''
    assert capfd.readouterr().err == 'Corrupt'
