"""Signals while training: the run stops after its step at the first SIGTERM, SIGINT or SIGHUP, at once at the second.

A terminal that is closed sends SIGHUP, and often sends it twice: only the first counts.
"""
import contextlib
import os
import signal
import sys
import threading
from typing import Iterator, List, Optional

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def exit_code(number: int) -> int:
    """The exit code of a process that this signal ended, as shells count: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + number


class Watch:
    """The first of SIGNALS that came, if any."""

    def __init__(self) -> None:
        self.signal: Optional[int] = None

    @property
    def exit_code(self) -> int:
        """exit_code() of the signal that came."""
        return exit_code(self.signal or 0)

    def _listen(self, pipe: int) -> None:
        for byte in iter(lambda: os.read(pipe, 1), b''):
            if byte[0] not in SIGNALS:
                continue
            if self.signal is not None and byte[0] == signal.SIGHUP:
                continue
            if self.signal is not None:
                os._exit(128 + byte[0])  # files are only ever replaced whole, so this does no harm at any moment
            self.signal = byte[0]
            print(f'\n{signal.Signals(byte[0]).name}: stopping after this step; a second signal stops at once',
                  file=sys.stderr, flush=True)


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """A Watch that notes SIGNALS while the block runs; the second of them ends the process.

    A handler in Python waits until the running step, on an NPU perhaps a compilation of minutes, has come back. So
    the bytes that the interpreter writes for each signal are read by a thread. A signal that the parent process has
    set to be ignored, as nohup does, stays ignored. Outside the main thread nothing is watched.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    pipe, end = os.pipe()
    os.set_blocking(end, False)
    before = {number: signal.getsignal(number) for number in _watched_signals()}
    fd_before = signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    for number in before:
        signal.signal(number, lambda *_: None)
    listener = threading.Thread(target=watch._listen, args=(pipe,), daemon=True)
    listener.start()
    try:
        yield watch
    finally:
        for number, action in before.items():
            signal.signal(number, action)
        signal.set_wakeup_fd(fd_before)
        os.close(end)
        listener.join()
        os.close(pipe)


def _watched_signals() -> List[signal.Signals]:
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
