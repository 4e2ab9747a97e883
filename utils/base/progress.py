"""A progress bar: tqdm's where it is installed, plain lines where it is not."""
import sys
import time
from typing import Any, Iterable, Iterator, Optional, TextIO

PLAIN_LINE_SECONDS = 10.0
LOG_FILE_SECONDS = 5.0


class PlainBar:
    """The part of tqdm's interface that this project uses, as one line of text every few seconds."""

    def __init__(self, total: Optional[int] = None, desc: str = '', initial: int = 0) -> None:
        self.total, self.desc, self.n, self.postfix = total, desc, initial, ''
        self._next_line = time.monotonic() + PLAIN_LINE_SECONDS

    def update(self, n: int = 1) -> None:
        self.n += n
        if time.monotonic() >= self._next_line:
            self._print()
            self._next_line = time.monotonic() + PLAIN_LINE_SECONDS

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        self.postfix = text

    def close(self) -> None:
        self._print()

    def _print(self) -> None:
        print(f'{self.desc} {self.n}/{self.total if self.total is not None else "?"} {self.postfix}'.strip(),
              file=sys.stderr, flush=True)


def bar(total: Optional[int] = None, label: str = '', done: int = 0) -> Any:
    """A bar with update(n), set_postfix_str(text) and close(), on standard error; it begins at `done`."""
    try:
        from tqdm import tqdm
    except ImportError:
        return PlainBar(total=total, desc=label, initial=done)
    interval = 0.1 if sys.stderr.isatty() else LOG_FILE_SECONDS
    return tqdm(total=total, desc=label, initial=done, mininterval=interval, dynamic_ncols=True)


def write(text: str, stream: TextIO) -> None:
    """Write whole lines to standard output or error at once; a bar on the same terminal makes room for them."""
    if stream.isatty() and sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            tqdm.write(text, file=stream, end='')
            return
    stream.write(text)
    stream.flush()


def progress(iterable: Iterable[Any], total: Optional[int] = None, label: str = '') -> Iterator[Any]:
    """The items of `iterable`, with a bar that counts them."""
    counter = bar(total=total, label=label)
    try:
        for item in iterable:
            yield item
            counter.update()
    finally:
        counter.close()
