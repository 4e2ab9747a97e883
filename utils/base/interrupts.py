"""Ctrl-C where KeyboardInterrupt would be lost: it waits until no import and no call of a package is running.

Within one it would be cleared, become another error or end the process: NumPy, TensorFlow and h5py clear errors that
they do not expect while they are imported, and TensorFlow's C++ code goes on after errors of the Python that it calls.
"""
import atexit
import contextlib
import os
import signal
import time
from typing import Any, Iterator, Optional

EXIT_CODE = 128 + signal.SIGINT
POLL = 0.002    # seconds between two looks at whether the import or call has ended
PATIENCE = 1.0  # after which a further signal ends the process at once


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """While the block runs, SIGINT raises KeyboardInterrupt as soon as that is safe, and at the latest at its end.

    After the block the process is about to end: a SIGINT then no longer changes how. Where SIGINT is ignored or
    handled by others, or outside the main thread, nothing changes.
    """
    came: Optional[float] = None  # when the first one did

    def handle(number: int, frame: Any) -> None:
        nonlocal came
        waits = _must_wait(frame)
        if waits and number == signal.SIGINT and came is not None and time.monotonic() > came + PATIENCE:
            os._exit(EXIT_CODE)  # files are only ever replaced whole, so this does no harm at any moment
        came = came or time.monotonic()
        if not waits:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, POLL)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, handle)
    except ValueError:  # outside the main thread
        yield
        return
    alarm = signal.signal(signal.SIGALRM, handle)
    try:
        yield
    except Exception:
        if came is None:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if came is None else signal.SIG_IGN)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        if came is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
    if came is not None:  # the exception was cleared, or has become another one
        raise KeyboardInterrupt


def _must_wait(frame: Any) -> bool:
    """Whether this frame runs for an import, or for a call of an installed package."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith('<frozen importlib') or '/site-packages/' in file or '/dist-packages/' in file:
            return True
        frame = frame.f_back
    return False
