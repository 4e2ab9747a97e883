"""Writing lines of AVA's label file."""
import contextlib
import os
from typing import Sequence

from utils.base import errors, files
from utils.data import image_names


def to_line(index: int, name: str, votes: Sequence[float]) -> str:
    """A line of AVA's label file, in 12 columns: index, encoded name, ten votes."""
    numbers = (str(int(vote)) if float(vote).is_integer() else repr(float(vote)) for vote in votes)
    return f'{index} {image_names.encode(name)} {" ".join(numbers)}'


def write_new(path: str, lines: Sequence[str], flag: str) -> None:
    """Write `lines` to the new file `path`; InputError, which names `flag`, where it exists or cannot be written."""
    files.require_writable(os.path.dirname(path), flag)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        stream = open(path, 'x', encoding='utf-8', newline='\n')  # noqa: SIM115
    except FileExistsError as error:
        raise errors.InputError(f'{flag}: found {path}, which is there already, expected a new file: type another '
                                'name') from error
    try:
        with stream:
            stream.writelines(line + '\n' for line in lines)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(path)
        raise errors.InputError(f'{flag}: found {path}, which cannot be written ({error.strerror}), expected room for '
                                'the label file: free some or type another name') from error
