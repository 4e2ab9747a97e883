"""Standard input, output and error that may be closed, full, read no longer, or of an encoding that lacks characters.

settle() replaces sys.stdout and sys.stderr: what cannot be printed is escaped, an output that cannot be written is one
OutputError, and an error output that cannot be written is no reason to end.
"""
import errno
import io
import os
import sys
import time
from typing import Any, Optional

CLOSED = 'standard output is closed. Redirect it to a file, or to /dev/null for no output'
BROKEN_PIPE = 128 + 13  # as the shell shows a process that SIGPIPE ended


class OutputError(Exception):
    """Standard output cannot be written; no OSError, as those speak of files."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f'cannot write to standard output: {error.strerror}. Free space or redirect it elsewhere')
        self.is_unread = error.errno == errno.EPIPE  # who read it went away, as `head -1` does


class _Stream(io.FileIO):
    """A descriptor; after the first error all that is written to it is dropped, so that nothing is left for the exit.

    That error is raised as OutputError unless the stream is `lossy`; what `warning` says is then printed once.
    """

    def __init__(self, descriptor: int, *, lossy: bool, warning: str = '') -> None:
        super().__init__(descriptor, 'wb', closefd=False)
        self._lossy, self._warning, self._failed = lossy, warning, False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast('B')
        done = 0
        while done < len(view) and not self._failed:
            try:
                written = super().write(view[done:])
            except OSError as error:
                self._failed = True
                self._report(error)
                break
            if written is None:  # a descriptor that does not wait, as some terminals leave it
                time.sleep(0.01)
            done += written or 0
        return len(view)

    def _report(self, error: OSError) -> None:
        if not self._lossy or (self._warning and error.errno == errno.EPIPE):
            raise OutputError(error)
        if self._warning:
            print(f'warning: cannot write to standard output: {error.strerror}. {self._warning}', file=sys.stderr,
                  flush=True)


def settle(log_only: bool = False) -> Optional[str]:
    """Make the three standard streams safe; returns what is wrong with standard output, as a sentence.

    With `log_only` standard output is a mere log: an error of the disk that it is on is a warning. Nothing is done
    to streams that a program has put in the place of Python's.
    """
    closed = [number for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)) if stream is None]
    for number in closed:  # or the next file that is opened gets the number, and what is printed goes into it
        _open_null(number)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, 'w')  # noqa: SIM115
    elif sys.stderr is sys.__stderr__:
        sys.stderr = _text(sys.stderr, _Stream(2, lossy=True), lines=True)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115
        return None if log_only else CLOSED
    if sys.stdout is sys.__stdout__:
        warning = 'Training continues, its output is lost' if log_only else ''
        sys.stdout = _text(sys.stdout, _Stream(1, lossy=log_only, warning=warning), lines=sys.stdout.isatty())
    return None


def error_text(descriptor: int) -> io.TextIOWrapper:
    """A text stream like sys.stderr, whose errors are no reason to end, over another descriptor, which stays open."""
    return _text(sys.stderr, _Stream(descriptor, lossy=True), lines=True)


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _text(before: Any, stream: _Stream, *, lines: bool) -> io.TextIOWrapper:
    """The text stream over `stream` that is like `before`."""
    before.flush()
    unbuffered = isinstance(before.buffer, io.RawIOBase)
    return io.TextIOWrapper(stream if unbuffered else io.BufferedWriter(stream), before.encoding,  # type: ignore
                            'backslashreplace', line_buffering=lines, write_through=unbuffered)
