"""What the libraries that decode images write to standard error, such as "Corrupt JPEG data": held back and read.

They write to the process's descriptor 2, and name no file. While it is held, this process's own lines still come out.
"""
import contextlib
import os
import sys
import tempfile
from typing import Callable, Iterator

from utils.base import streams
from utils.base.text import printable

LONGEST = 200  # characters of an image's warnings; a damaged file can cause thousands


@contextlib.contextmanager
def held() -> Iterator[Callable[[], str]]:
    """In the block, gives a function that returns what was written since its last call, as one line; '' for nothing."""
    own = sys.stderr
    own.flush()
    with contextlib.ExitStack() as undo:
        try:
            file = undo.enter_context(tempfile.TemporaryFile())
        except OSError:  # no folder for temporary files: the warnings come out as they are
            yield str
            return
        before = os.dup(2)
        undo.callback(os.close, before)
        if _is_descriptor_2(own):
            sys.stderr = streams.error_text(before)
            undo.callback(setattr, sys, 'stderr', own)
            undo.callback(sys.stderr.flush)
        os.dup2(file.fileno(), 2)
        undo.callback(os.dup2, before, 2)
        read = 0

        def taken() -> str:
            nonlocal read
            text = os.pread(file.fileno(), os.fstat(file.fileno()).st_size - read, read)
            read += len(text)
            lines = text.decode('utf-8', 'replace').splitlines()
            found = printable('; '.join(dict.fromkeys(filter(None, map(str.strip, lines)))))
            return found if len(found) <= LONGEST else found[:LONGEST] + ' ...'

        yield taken


def _is_descriptor_2(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
