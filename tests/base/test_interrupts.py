"""utils/base/interrupts.py: Ctrl-C ends a command with 130 and without a traceback, in an import and a package too."""
import subprocess
import sys

import pytest
from conftest import ROOT

# It does what NumPy and TensorFlow do while they are imported: errors are cleared.
SWALLOWS = '''
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
except:
    print('swallowed')
'''
CLEARS = '''
def call(stop):
    try:
        stop()
        for _ in range(1000):
            pass
    except:
        print('cleared')
'''
COMMAND = '''
import atexit, os, signal, sys, time
from utils.base import errors, interrupts
sys.path += [{folder!r}, {folder!r} + '/site-packages']
def stop():
    os.kill(os.getpid(), signal.SIGINT)
def changed(stop):
    try:
        stop()
    except KeyboardInterrupt as error:  # as C code does that returns a result all the same
        raise SystemError from error
def main():
    {body}
errors.run(main, 'command')
print('ended')
'''
STOPPED = 130, '', '\ncommand: stopped\n'


@pytest.mark.parametrize('body, ended', [
    ('stop(); time.sleep(9)', STOPPED),
    ('import swallows; time.sleep(9)', STOPPED),
    ('import swallows', STOPPED),
    ('import swallows; stop(); time.sleep(9)', STOPPED),
    ('import called; called.call(stop); time.sleep(9)', STOPPED),
    ('changed(stop); time.sleep(9)', STOPPED),
    ('interrupts.PATIENCE = 0; import twice; print("went on")', (130, '', '')),
    ('signal.signal(signal.SIGINT, signal.SIG_IGN); errors.run(stop, "inner")', (0, 'ended\n', '')),
    ('atexit.register(stop)', (0, 'ended\n', ''))])
def test_how_ctrl_c_ends_a_command(tmp_path, body, ended):
    (tmp_path / 'swallows.py').write_text(SWALLOWS)
    (tmp_path / 'site-packages').mkdir()
    (tmp_path / 'site-packages' / 'called.py').write_text(CLEARS)
    (tmp_path / 'twice.py').write_text(SWALLOWS + 'import time\ntime.sleep(0.01)' + SWALLOWS)
    done = subprocess.run([sys.executable, '-c', COMMAND.format(folder=str(tmp_path), body=body)], cwd=str(ROOT),
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == ended


def test_other_threads_and_other_handlers_are_left_alone():
    code = ('import signal, threading; from utils.base import errors; '
            'thread = threading.Thread(target=errors.run, args=(lambda: print(1), "command")); '
            'thread.start(); thread.join(); own = lambda *_: None; signal.signal(signal.SIGINT, own); '
            'errors.run(lambda: print(signal.getsignal(signal.SIGINT) is own), "command")')
    done = subprocess.run([sys.executable, '-c', code], cwd=str(ROOT), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '1\nTrue\n', '')
