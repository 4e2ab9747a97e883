"""What a model file of any origin may hold: checked before it is read or built, so that no file runs code.

HDF5: groups and arrays of numbers, each under one name, all in the file itself, none larger than the file can hold.
JSON: limited size and depth. trust_network.py lists the layers of a network.
"""
import contextlib
import json
import math
import os
import signal
import stat
import subprocess
import sys
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

from utils.base.defaults import ROOT
from utils.base.errors import InputError

FILE_BYTES = 4 << 30        # NASNetLarge with Adam's state has 1 GB
ATTRIBUTE_BYTES = 16 << 20  # of one attribute; NASNetLarge's network has 1 MB
OBJECTS = 100000            # groups and arrays of a file
DEPTH = 32                  # of groups in groups
EXPANSION = 16              # of compressed arrays, all together: weights hardly shrink at all
JSON_DEPTH = 64
JSON_DIGITS = 25            # of a whole number
TRIAL_SECONDS = 300         # to read all of a file
TRIED = 97                  # a trial's exit code when it has read its file; another one says nothing of the file
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})
_TRIAL = f'''import sys
sys.path[0] = {ROOT!r}  # in place of the current folder, whose files are not to be run
from utils.model import trust
trust.end_with_parent(int(sys.argv[1]))
trust.read_all(sys.argv[2])
sys.exit(trust.TRIED)'''

Identity = Tuple[int, ...]

_TRIED: Set[Identity] = set()
_TRIALS: Dict[Identity, 'subprocess.Popen[bytes]'] = {}  # running


class DistrustError(InputError):
    """A file holds what it must not; the text is a clause that follows 'found'."""


def require_ordinary_file(path: str) -> None:
    """DistrustError where `path` is a device, a pipe or larger than any model; OSError where there is nothing."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise DistrustError('something that is no ordinary file')
    if found.st_size > FILE_BYTES:
        raise DistrustError(f'{found.st_size} bytes, more than the {FILE_BYTES} that a model may have')


def start_trials(paths: Iterable[str]) -> None:
    """Start to read these files in other processes, for which try_to_read() then waits.

    It saves that time where TensorFlow is imported in between. A file that cannot be opened is left to try_to_read().
    """
    for path in paths:
        with contextlib.suppress(OSError, DistrustError):
            require_ordinary_file(path)
            _start_trial(path, _identity(path))


def _start_trial(path: str, identity: Identity) -> None:
    """Nothing where the file is as it was when it was tried, or as this process wrote it."""
    if identity not in _TRIED and identity not in _TRIALS:
        _TRIALS[identity] = subprocess.Popen(  # in a session of its own: Ctrl-C ends this process, which ends it
            [sys.executable, '-c', _TRIAL, str(os.getpid()), path], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def try_to_read(path: str) -> None:
    """Have another process read all of `path`, as damaged HDF5 files can end the process that reads them.

    DistrustError where it crashed or took too long; InputError where it ended in another way before it had read all.
    """
    identity = _identity(path)
    _start_trial(path, identity)
    if identity in _TRIED:
        return
    code = -signal.SIGSEGV
    with _TRIALS.pop(identity) as process, contextlib.suppress(subprocess.TimeoutExpired):
        try:
            code = process.wait(TRIAL_SECONDS)
        finally:
            process.kill()  # where the time is up, or Ctrl-C came
    if -code in CRASHES:
        raise DistrustError('a damaged HDF5 file that the HDF5 library cannot read')
    if code != TRIED:
        ended = f'ended with code {code}' if code >= 0 else f'was ended by {signal.Signals(-code).name}'
        raise InputError(f'cannot check {path}: the process that tries to read it first {ended}. Run the same command '
                         'again; where that does not help, free memory')
    _TRIED.add(identity)


def end_with_parent(parent: int) -> None:
    """Let Linux end this process, a trial, as soon as the process `parent` that started it ends in any way."""
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before that
        sys.exit()


def trust_own(path: str) -> None:
    """Count a file that this process has just written as tried."""
    _TRIED.add(_identity(path))


def _identity(path: str) -> Identity:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_all(path: str) -> None:
    """Read all of a file, for try_to_read(); errors are reported elsewhere."""
    import h5py
    with contextlib.suppress(Exception), h5py.File(path, 'r') as file:
        check_structure(file, os.path.getsize(path))
        parts = [file]
        file.visititems(lambda name, part: parts.append(part))
        for part in parts:
            dict(part.attrs)
            if isinstance(part, h5py.Dataset):
                part[()]


def check_structure(file: Any, size: int) -> None:
    """DistrustError unless an open h5py file of `size` bytes holds groups and arrays of numbers of its own alone.

    Links are looked at and not followed, arrays' sizes are compared with the file's and nothing is read of them.
    """
    seen: Set[Tuple[int, int]] = set()
    waiting: List[Tuple[Any, str, int]] = [(file['/'].id, '/', 0)]
    declared = 0
    while waiting:
        item, name, depth = waiting.pop()
        address = _address(item)
        if address in seen:
            raise DistrustError(f'{name!r}, a second name of another part of the file')
        seen.add(address)
        if len(seen) > OBJECTS or depth > DEPTH:
            raise DistrustError(f'more than {OBJECTS} parts, or parts more than {DEPTH} deep')
        _check_attributes(item, name)
        if _is_group(item, name):
            waiting += _members(item, name, depth, OBJECTS - len(seen))
        else:
            limit = min(EXPANSION * size, FILE_BYTES)
            declared += _array_bytes(item, name, limit)
            if declared > limit:
                raise DistrustError(f'{name!r}, with which the arrays declare {declared} bytes in a file of {size}')


def _address(item: Any) -> Tuple[int, int]:
    import h5py
    info = h5py.h5o.get_info(item)
    return info.fileno, info.addr


def _is_group(item: Any, name: str) -> bool:
    import h5py
    if isinstance(item, h5py.h5g.GroupID):
        return True
    if isinstance(item, h5py.h5d.DatasetID):
        return False
    raise DistrustError(f'{name!r}, which is neither a group nor an array')


def _members(item: Any, name: str, depth: int, limit: int) -> Iterator[Tuple[Any, str, int]]:
    """What a group holds; DistrustError for links, which are not followed."""
    import h5py
    group = h5py.Group(item)
    if len(group) > limit:
        raise DistrustError(f'more than {OBJECTS} parts')
    for member in group:
        path = f'{name.rstrip("/")}/{member}'
        link = group.get(member, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise DistrustError(f'{path!r}, a link ({type(link).__name__})')
        yield h5py.h5o.open(group.id, member.encode('utf-8', 'surrogateescape')), path, depth + 1


def _check_attributes(item: Any, name: str) -> None:
    """DistrustError unless all are texts, numbers or flat lists of these, none too large."""
    import h5py
    count = h5py.h5a.get_num_attrs(item)
    if count > 1000:
        raise DistrustError(f'{count} attributes of {name!r}')
    for index in range(count):
        attribute = h5py.h5a.open(item, index=index)
        kind, space = attribute.get_type(), attribute.get_space()
        elements = space.get_simple_extent_npoints()
        text = isinstance(kind, h5py.h5t.TypeStringID)
        if not text and not isinstance(kind, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)):
            raise DistrustError(f'an attribute of {name!r} that is neither text nor numbers')
        if (text and kind.is_variable_str() and elements > 1) or elements * kind.get_size() > ATTRIBUTE_BYTES:
            raise DistrustError(f'an attribute of {name!r} that may be longer than {ATTRIBUTE_BYTES} bytes')


def _array_bytes(item: Any, name: str, limit: int) -> int:
    """The declared bytes of an array; DistrustError where they are not all in this file."""
    import h5py
    import numpy as np
    how = item.get_create_plist()
    layout = how.get_layout()
    if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
        raise DistrustError(f'{name!r}, a virtual array, whose numbers are in other files')
    if how.get_external_count():
        raise DistrustError(f'{name!r}, an array whose numbers are in another file')
    filters = {how.get_filter(number)[0] for number in range(how.get_nfilters())}
    if filters - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        raise DistrustError(f'{name!r}, an array compressed in a way that Keras does not use')
    kind = item.get_type()
    if not isinstance(kind, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)) or kind.get_size() > 8:
        raise DistrustError(f'{name!r}, an array of something other than numbers')
    size = item.get_space().get_simple_extent_npoints() * kind.get_size()
    if size and not item.get_storage_size():
        raise DistrustError(f'{name!r}, an array of {size} bytes of which none are stored')
    if layout == h5py.h5d.CHUNKED and int(np.prod(how.get_chunk(), dtype=float)) * kind.get_size() > limit:
        raise DistrustError(f'{name!r}, an array in parts larger than the file can hold')
    return size


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON text; DistrustError, with `what`, where it is too long or deep or is no JSON."""
    if len(text) > ATTRIBUTE_BYTES:
        raise DistrustError(f'{what} of more than {ATTRIBUTE_BYTES} characters')
    try:
        value = json.loads(text, parse_int=_whole_number, parse_float=_number, parse_constant=_number)
    except RecursionError as error:
        raise DistrustError(f'{what} that is nested more than {JSON_DEPTH} deep') from error
    except ValueError as error:
        raise DistrustError(f'{what} that is no JSON ({error})') from error
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if depth > JSON_DEPTH:
            raise DistrustError(f'{what} that is nested more than {JSON_DEPTH} deep')
        if isinstance(part, (dict, list)):
            waiting += [(each, depth + 1) for each in (part.values() if isinstance(part, dict) else part)]
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > JSON_DIGITS:  # Python takes minutes over a million of them
        raise ValueError(f'a number of {len(digits)} digits')
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text[:20]}, which is no finite number')
    return value
