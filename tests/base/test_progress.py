"""Progress with and without tqdm, in processes of their own."""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from conftest import ROOT

CODE = 'from utils.base.progress import progress; print(list(progress(range(3), 3, "counting")))'


def run(code):
    return subprocess.run([sys.executable, '-c', code], cwd=str(ROOT), capture_output=True, text=True, check=True)


def test_with_tqdm_the_bar_goes_to_standard_error():
    done = run(CODE)
    assert done.stdout == '[0, 1, 2]\n'
    assert 'counting: 100%' in done.stderr and '3/3' in done.stderr


def test_without_tqdm_progress_is_plain_lines():
    done = run('import sys; sys.modules["tqdm"] = None; ' + CODE)
    assert done.stdout == '[0, 1, 2]\n'
    assert done.stderr == 'counting 3/3\n'


def test_plain_lines_come_at_intervals_and_carry_the_loss():
    done = run('import sys; sys.modules["tqdm"] = None\n'
               'from utils.base import progress\n'
               'progress.PLAIN_LINE_SECONDS = 0\n'
               'bar = progress.bar(2, "epoch 1/1")\n'
               'bar.set_postfix_str("loss 0.5")\n'
               'bar.update()\n')
    assert done.stderr == 'epoch 1/1 1/2 loss 0.5\n'


def test_lines_on_the_terminal_of_a_bar_stand_on_lines_of_their_own():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    code = ('import sys; from utils.base.progress import progress, write\n'
            'for n in progress(range(3), 3, "counting"): write(f"line {n}\\n", sys.stdout)')
    done = subprocess.run([sys.executable, '-c', code], cwd=str(ROOT), stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 10000).decode()
    os.close(ours)
    assert done.returncode == 0 and 'counting: 100%' in shown
    assert [line.split('\r')[-1] for line in shown.split('\r\n')[:3]] == ['line 0', 'line 1', 'line 2']
