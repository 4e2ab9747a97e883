"""Writing lines of AVA's label file."""
import os
from typing import Sequence

from utils.base import files
from utils.base.errors import InputError
from utils.data import image_names, label_tables


def to_line(index: int, name: str, votes: Sequence[float]) -> str:
    """A line of AVA's label file, in 12 columns: index, encoded name, ten votes."""
    numbers = (str(int(vote)) if float(vote).is_integer() else repr(float(vote)) for vote in votes)
    return f'{index} {image_names.encode(name)} {" ".join(numbers)}'


def require_new(path: str, flag: str) -> None:
    """Raise InputError, which names `flag`, where `path` exists, cannot be written or would be read as a table."""
    if label_tables.is_table(path):
        raise InputError(f'{flag}: {path} would be read as a table. Choose another ending, such as AVA.txt')
    if os.path.lexists(path):
        raise InputError(f'{flag}: {path} exists already. Choose another name')
    files.require_writable(os.path.dirname(path), flag)


def write_new(path: str, lines: Sequence[str], flag: str) -> None:
    """Write `lines` to the new file `path`, whole or not at all; InputError as require_new() has it."""
    require_new(path, flag)
    with files.writing(path, f'Free space or choose another {flag}'):
        files.write(path, ''.join(line + '\n' for line in lines))
