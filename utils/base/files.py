"""Files and folders that are written whole or not at all, the lock of a folder, SHA-256.

Every OSError on the way becomes one InputError: `cannot write PATH: No space left on device. CURE`.
"""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Tuple

from utils.base.errors import InputError

BLOCK = 1 << 20
LOCK = '.lock'  # holds the writer's process id and its host's name
_STREAMS = '/dev/std', '/dev/fd/'  # may be links to files, which hold what else is printed
OVERWRITE = 'overwrite.json'  # the id of a run that is to replace what else is in the folder
_UNFINISHED = re.compile(r'.+\.h5\.tmp|' + re.escape(OVERWRITE + '.tmp'))
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # what some network disks answer


@contextlib.contextmanager
def writing(path: str, cure: str) -> Iterator[None]:
    """Turns an OSError of the block into InputError; `cure` is a sentence without its full stop."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, cure) from error


def cannot_write(path: str, error: Exception, cure: str) -> InputError:
    """The error for a file or folder that could not be written."""
    reason = getattr(error, 'strerror', None) or error
    return InputError(f'cannot write {path}: {reason}. {cure}')


@contextlib.contextmanager
def new_file(path: str) -> Iterator[str]:
    """The name of a temporary file beside `path`, which is flushed to the disk and renamed to `path` at the end.

    If the block fails, the temporary file is removed and `path` stays as it was. Missing folders are made. A device or
    a pipe, such as /dev/stdout, is not replaced: its own name is given. OSError where that fails; put writing() around
    it.
    """
    if path.startswith(_STREAMS) or (os.path.exists(path) and not os.path.isfile(path)):
        yield path
        return
    temporary, folder = path + '.tmp', os.path.dirname(path) or '.'
    os.makedirs(folder, exist_ok=True)
    try:
        yield temporary
        with open(temporary, 'rb') as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    _flush_folder(folder)


def rename_new(path: str, name: str) -> None:
    """Give the file `path` the `name` that nothing has; OSError where something has, or that fails."""
    try:
        os.link(path, name)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise
    except OSError:  # a disk without links
        if os.path.lexists(name):
            raise
        os.rename(path, name)
    else:
        os.remove(path)


def write(path: str, content: Any) -> None:
    """Write bytes, a memoryview or text (UTF-8) into `path`, whole or not at all; OSError where that fails."""
    with new_file(path) as temporary, open(temporary, 'wb') as stream:
        stream.write(content.encode('utf-8', 'surrogateescape') if isinstance(content, str) else content)


def write_all(contents: Dict[str, bytes]) -> None:
    """Write files by their paths; none gets its name before all are on the disk. OSError where that fails."""
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            flush(stack.enter_context(new_file(path)), content)


def flush(path: str, content: Any) -> None:
    """Write bytes or a memoryview into `path` and flush them to the disk; OSError where that fails."""
    with open(path, 'wb') as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_json(path: str, value: Any, indent: Optional[int] = 1) -> None:
    """Write `value` as JSON into `path`, whole or not at all; OSError where that fails."""
    write(path, json.dumps(value, indent=indent, allow_nan=False) + '\n')


def require_same(path: str, content: memoryview) -> None:
    """OSError where the disk does not hold `content`, which was flushed to it."""
    with open(path, 'rb') as stream:
        if hasattr(os, 'posix_fadvise'):  # drop the page cache, so that the disk is read
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        starts = range(0, len(content) + 1, BLOCK)
        if any(stream.read(BLOCK) != content[start:start + BLOCK] for start in starts):
            raise OSError(errno.EIO, 'it does not read back as it was written')


def _flush_folder(folder: str) -> None:
    """Let the new name reach the disk; some network disks cannot, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        for block in iter(lambda: stream.read(BLOCK), b''):
            digest.update(block)
    return digest.hexdigest()


# --- folders


def require_writable(folder: str, flag: str) -> None:
    """Raise InputError, which names `flag`, unless files can be written into `folder`; nothing is left of the trial."""
    with writing(folder, f'Change its permissions or choose another {flag}'):
        made = _make(os.path.abspath(folder))
        try:
            with tempfile.TemporaryFile(dir=folder):  # permissions alone do not show a read-only disk
                pass
        finally:
            _remove_empty(made)


@contextlib.contextmanager
def new_folder(path: str, flag: str) -> Iterator[str]:
    """An empty folder to write into, which is renamed to `path` at the end, or removed if anything fails.

    InputError, which names `flag`, where `path` exists and is not empty, or cannot be written.
    """
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise InputError(f'{path} exists already. Remove it or choose another {flag}')
    parent, name = os.path.split(os.path.abspath(path))
    made: List[str] = []
    with writing(path, f'Free space, change permissions or choose another {flag}'):
        try:
            made = _make(parent)
            with tempfile.TemporaryDirectory(prefix=f'.{name}.', dir=parent) as scratch:
                fresh = os.path.join(scratch, name)  # a folder inside: only its owner may read the temporary one
                os.mkdir(fresh)
                yield fresh
                os.rename(fresh, path)
                made = []
        finally:
            _remove_empty(made)


def _make(folder: str) -> List[str]:
    """Make `folder` and its parents; returns those that were missing, the topmost first."""
    missing: List[str] = []
    path = folder
    while not os.path.lexists(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        _remove_empty(missing)
        raise
    return missing


def _remove_empty(folders: List[str]) -> None:
    for folder in reversed(folders):
        with contextlib.suppress(OSError):  # it is not empty
            os.rmdir(folder)


# --- the lock


@contextlib.contextmanager
def only_writer(folder: str, flag: str) -> Iterator[None]:
    """Keep other runs out of `folder`, which is made if missing, until the block ends.

    The lock is the operating system's and ends with the process, however that ends; the file alone is no lock. On a
    disk without such locks the process id in the file counts, as long as that process lives. Unfinished files of a
    killed run are removed. InputError, which names `flag`, where nothing can be written, and, with the process id,
    while another process holds the lock.
    """
    require_writable(folder, flag)
    path = os.path.join(folder, LOCK)
    with writing(path, 'Free space, or remove this file if no run is left'):
        made = _make(os.path.abspath(folder))
        descriptor = _acquire(folder, flag)
    try:
        for name in filter(_UNFINISHED.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, name))
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            os.remove(path)  # before the lock ends: nobody else holds it yet
        os.close(descriptor)
        _remove_empty(made)


def _acquire(folder: str, flag: str) -> int:
    """An open descriptor that holds the lock."""
    path = os.path.join(folder, LOCK)
    while True:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            _lock(descriptor, folder, flag)
            if is_at(path, descriptor):
                _note_holder(path, descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the previous holder removed the file in between: again, with the new one


def _note_holder(path: str, descriptor: int) -> None:
    """Write who holds the lock; on a full disk the file goes again."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()} {socket.gethostname()}\n'.encode(), 0)
    except OSError:
        os.remove(path)
        raise


def is_at(path: str, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def try_lock(descriptor: int) -> Optional[bool]:
    """Lock an open file until it is closed: True; False while another process has it, None on a disk without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS and error.errno != errno.EWOULDBLOCK:
            raise
        return False if error.errno == errno.EWOULDBLOCK else None


def _lock(descriptor: int, folder: str, flag: str) -> None:
    """Lock an open file; InputError while another process has it."""
    locked = try_lock(descriptor)
    if locked:
        return
    held = locked is False
    process, host = _holder(descriptor)
    if held or (process and process != os.getpid() and (host != socket.gethostname() or _lives(process))):
        who = f'process {process}' if process else 'another process'
        where = '' if host in ('', socket.gethostname()) else f' on {host}'
        otherwise = '' if held else f', or remove {os.path.join(folder, LOCK)} if that run has ended'
        raise InputError(f'{folder} is in use: {who}{where} writes there. Wait for it, stop it or choose another '
                         f'{flag}{otherwise}')


def _holder(descriptor: int) -> Tuple[int, str]:
    """The process id and host in a lock's file; 0 where none is written yet."""
    process, _, host = os.pread(descriptor, 1000, 0).decode('utf-8', 'replace').partition(' ')
    return (int(process) if process.isdigit() else 0), host.strip()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
