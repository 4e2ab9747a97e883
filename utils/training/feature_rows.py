"""The form of cached features, and whether they fit on the disk."""
import os
import shutil
from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

import numpy as np

from utils.base.errors import InputError

DATA, MAPS = 'features.f32', 'features.f16'


class Row(NamedTuple):
    """The form of the features of one crop: a vector, or the map before a block."""

    shape: Tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """float32 of a vector. Maps, 200 KB an image in float16, are rounded to 11 bits: docs/training.md."""
        return np.float32 if len(self.shape) == 1 else np.float16

    @property
    def file(self) -> str:
        """The name of the file that holds them."""
        return DATA if len(self.shape) == 1 else MAPS

    @property
    def bytes(self) -> int:
        """The size of one."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def identity(self) -> Dict[str, Any]:
        """What of a row the key of the cache depends on."""
        return {'width': self.shape[0]} if len(self.shape) == 1 else {'shape': self.shape, 'dtype': 'float16'}


def require_space(folder: str, written: Sequence[str], rows: int, row: Row, report: Callable[[str], Any]) -> None:
    """Report how large the features are that are yet to be written; InputError where the disk has less space.

    There are to be `rows` of them below `folder`, of which the files `written` hold some, where they exist.
    """
    missing = rows * row.bytes - sum(os.path.getsize(path) for path in written if os.path.isfile(path))
    if missing <= 0:
        return
    existing = folder
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free
    sizes = f'the features of {rows} crops, {row.bytes / 1e3:.3g} KB each, need {missing / 1e9:.3g} GB'
    if missing > free:
        raise InputError(f'{folder}: {sizes}, {free / 1e9:.3g} GB are free. Free space, choose another --features, or '
                         'cache fewer --crops')
    report(f'{folder}: {sizes}; {free / 1e9:.3g} GB are free')
