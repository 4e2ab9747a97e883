"""Files that are read whole: ordinary ones, of bounded size and depth; nothing waits for a pipe or reads for ever."""
import errno
import json
import os
import stat
from typing import Any, BinaryIO, Callable, List, Optional, Tuple

MOST = 1 << 30  # bytes of a file of text
_BLOCK = 1 << 20
_SHELL = '/dev/stdin', '/dev/fd/', '/proc/self/fd/'  # the shell's <(command) among them


def is_special(path: str) -> bool:
    """Whether a path leads to a pipe, a device or a socket, whose reader waits; a link that leads nowhere does not."""
    return not os.path.isfile(path) and not os.path.isdir(path) and os.path.exists(path)


def open_file(path: str) -> BinaryIO:
    """An ordinary file, open for reading bytes; OSError for a pipe or a device too, none of which is waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, 'it is a pipe or a device, expected a file', path)
        return os.fdopen(descriptor, 'rb')
    except BaseException:
        os.close(descriptor)
        raise


def read(path: str, most: int = MOST) -> bytes:
    """The bytes of an ordinary file; OSError where it has more than `most`, or cannot be read."""
    with open_file(path) as stream:
        if os.fstat(stream.fileno()).st_size > most:
            raise _too_large(path, most)
        return stream.read()


def read_typed(path: str, most: int = MOST) -> bytes:
    """read() of what a user names, which may also be standard input or a shell's <(command), where these are pipes."""
    if not (path.startswith(_SHELL) and stat.S_ISFIFO(os.stat(path).st_mode)):
        return read(path, most)
    blocks, size = [], 0
    with open(path, 'rb') as stream:
        for block in iter(lambda: stream.read(_BLOCK), b''):
            blocks.append(block)
            size += len(block)
            if size > most:
                raise _too_large(path, most)
    return b''.join(blocks)


def _too_large(path: str, most: int) -> OSError:
    return OSError(errno.EFBIG, f'it has more than {most} bytes', path)


def read_json(path: str) -> Any:
    """The value of a JSON file in UTF-8; OSError where it cannot be read, ValueError where it is no JSON."""
    return parse_json(read(path).decode('utf-8'))


def parse_json(text: str, parse_int: Optional[Callable[[str], Any]] = None,
               object_pairs_hook: Optional[Callable[[List[Tuple[str, Any]]], Any]] = None) -> Any:
    """The value of a JSON text; ValueError, and never RecursionError, where it is none or is nested too deep."""
    try:
        return json.loads(text, parse_int=parse_int, object_pairs_hook=object_pairs_hook)
    except RecursionError as error:
        raise ValueError('it is nested too deep') from error
