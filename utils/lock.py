"""One run at a time writes into a folder: the lock, and what a killed run left behind."""
import contextlib
import errno
import fcntl
import os
import re
import socket
from typing import Iterator, List, Tuple

from utils import errors
from utils.errors import InputError

NAME = '.lock'  # holds the writer's process id and its machine's name
_UNFINISHED = re.compile(r'.+\.h5\.tmp')
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # what some network disks answer


@contextlib.contextmanager
def only_writer(folder: str, flag: str = '--TMP_MODEL_PATF') -> Iterator[None]:
    """Keep other runs out of `folder`, which is made where there is none, until the block ends.

    The lock is the operating system's and ends with the process, however that ends; the file alone is no lock. On a
    disk without such locks the process id in the file stands for it, as long as that process lives. Files that a
    killed run did not finish are removed. InputError where nothing can be written, and, with the process id, while
    another process holds the lock; `flag` names the folder.
    """
    errors.check_output_folder(folder, flag)
    made = _missing(folder)
    try:
        descriptor = _acquire(folder, flag)
    except OSError as error:
        raise InputError(f'{os.path.join(folder, NAME)}: found that it cannot be written ({error.strerror}), expected '
                         'room for the lock of a run: free some, or remove this file if no run is left') from error
    try:
        for name in filter(_UNFINISHED.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, name))
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            os.remove(os.path.join(folder, NAME))  # before the lock ends: nobody else holds it yet
        os.close(descriptor)
        for path in made:
            with contextlib.suppress(OSError):  # something stands in it
                os.rmdir(path)


def _missing(folder: str) -> List[str]:
    """The folders that have to be made for `folder` to be there, the innermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _acquire(folder: str, flag: str) -> int:
    """An open descriptor that holds the lock."""
    path = os.path.join(folder, NAME)
    while True:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            _lock(descriptor, folder, flag)
            if _is(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f'{os.getpid()} {socket.gethostname()}\n'.encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder before removed the file in between: once more, with the new one


def _is(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(descriptor: int, folder: str, flag: str) -> None:
    """Lock an open file; InputError while another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except OSError as error:
        if error.errno not in _NO_LOCKS and error.errno != errno.EWOULDBLOCK:
            raise
        held = error.errno == errno.EWOULDBLOCK
    process, machine = _holder(descriptor)
    if held or (process and process != os.getpid() and (machine != socket.gethostname() or _lives(process))):
        who = f'the process {process}' if process else 'another process'
        where = '' if machine in ('', socket.gethostname()) else f' on {machine}'
        otherwise = '' if held else f' (if no such run is left, remove {os.path.join(folder, NAME)})'
        raise InputError(f'{folder}: found that {who}{where} is writing there, expected one run at a time: wait for '
                         f'it, stop it, or type another {flag}{otherwise}')


def _holder(descriptor: int) -> Tuple[int, str]:
    """The process id and machine in a lock's file; 0 where none is written yet."""
    process, _, machine = os.pread(descriptor, 1000, 0).decode('utf-8', 'replace').partition(' ')
    return (int(process) if process.isdigit() else 0), machine.strip()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
