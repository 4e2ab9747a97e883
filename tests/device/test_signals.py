"""Signals while training, in processes of their own: the first is noted at once, the second ends the process."""
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

# A loop in C that no handler in Python can interrupt, as TensorFlow's step is one.
BUSY = 'import hashlib; hashlib.pbkdf2_hmac("sha256", b"", b"", 10 ** 9)'
START = ['import os, signal, sys, time', 'from utils.device import signals']


def start(*lines, ignored=()):
    def actions():
        for number in interruption_signals():
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    return subprocess.Popen([sys.executable, '-u', '-c', '\n'.join([*START, *lines])], cwd=str(ROOT), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=actions)


def interruption_signals():
    return signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def send(process, number):
    process.stdout.readline()
    process.send_signal(number)
    line = process.stderr.readline() + process.stderr.readline()
    assert line == f'\n{number.name}: stopping after this step; a second signal stops at once\n'


@pytest.mark.parametrize('first, second, code', [(signal.SIGTERM, signal.SIGINT, 130),
                                                 (signal.SIGINT, signal.SIGTERM, 143),
                                                 (signal.SIGTERM, signal.SIGTERM, 143),
                                                 (signal.SIGHUP, signal.SIGTERM, 143)])
def test_a_second_signal_ends_a_process_that_is_busy_in_c(first, second, code):
    process = start('with signals.watched():', '    print("busy")', f'    {BUSY}')
    send(process, first)
    assert process.poll() is None
    process.send_signal(second)
    sent = time.monotonic()
    process.communicate()
    assert process.returncode == code and time.monotonic() - sent < 30


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_the_first_signal_is_noted_and_interrupts_nothing(number, code):
    process = start('with signals.watched() as watch:', '    print("at work")',
                    '    while watch.signal is None: time.sleep(0.01)', '    print("step ended")',
                    'sys.exit(watch.exit_code)')
    send(process, number)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (code, 'step ended\n', '')


def test_the_actions_of_before_are_back_afterwards():
    process = start('before = [signal.getsignal(each) for each in signals.SIGNALS]',
                    'with signals.watched():',
                    '    print([signal.getsignal(each) for each in signals.SIGNALS] == before)',
                    'print([signal.getsignal(each) for each in signals.SIGNALS] == before)',
                    'print(signal.set_wakeup_fd(-1))')
    assert process.communicate() == ('False\nTrue\n-1\n', '')


def test_a_signal_that_is_ignored_stays_so():
    process = start('with signals.watched() as watch:', '    print("at work")',
                    '    while watch.signal is None: time.sleep(0.01)', 'print(watch.exit_code)',
                    ignored=[signal.SIGINT])
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[0] == '143\n'


def test_a_terminal_that_hangs_up_twice_is_one_signal():
    process = start('with signals.watched() as watch:', '    print("at work")',
                    '    while watch.signal is None: time.sleep(0.01)', '    print("step")', '    time.sleep(1)',
                    'sys.exit(watch.exit_code)')
    send(process, signal.SIGHUP)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 129


def test_another_signal_is_not_heeded_and_other_threads_watch_nothing():
    process = start('import threading', 'signal.signal(signal.SIGUSR1, lambda *_: None)',
                    'with signals.watched() as watch:', '    os.kill(os.getpid(), signal.SIGUSR1)',
                    '    time.sleep(0.2)', '    print(watch.signal)', 'def elsewhere():',
                    '    with signals.watched() as watch: print(watch.signal)',
                    'thread = threading.Thread(target=elsewhere); thread.start(); thread.join()')
    assert process.communicate() == ('None\nNone\n', '')
