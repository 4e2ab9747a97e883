"""Photographs that a person names on the command line: finding them, reading them one by one."""
import contextlib
import os
from typing import Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils import data_loader, image_guard
from utils.errors import InputError

ENDINGS = ('.jpg', '.jpeg', '.png', '.gif')  # in any case, of the photographs in a folder
_STARTS = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'GIF8')


def find(paths: Sequence[str]) -> Iterator[str]:
    """The files among `paths` as they stand, and the photographs of each folder, by name.

    A folder without any, or that cannot be listed, stands for itself: reading it as a photograph says why.
    """
    for path in paths:
        names = []
        with contextlib.suppress(OSError):
            names = sorted(os.listdir(path))
        inside = [os.path.join(path, name) for name in names if name.lower().endswith(ENDINGS)]
        yield from inside or [path]


class PhotographReader:
    """Photographs one by one, as val_batches reads them, in a graph and a host-only session of its own."""

    def __init__(self, *, image_size: int = data_loader.IMAGE_SIZE, resize: str = 'bilinear',
                 session_config: Optional[tf.compat.v1.ConfigProto] = None) -> None:
        with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
            self._data = tf.compat.v1.placeholder(tf.string, ())
            self._image = data_loader.scale(data_loader.decode(self._data, image_size, resize))
        self._session = data_loader.host_session(graph, session_config)

    def read(self, path: str) -> np.ndarray:
        """The photograph as float32 [S, S, 3] in [-1, 1].

        InputError where the file is no JPEG, PNG or GIF of one frame, or its header says more than MAX_PIXELS.
        """
        try:
            with open(path, 'rb') as stream:
                data = stream.read(24)
                if not data.startswith(_STARTS):
                    raise InputError(f'{path}: found a file of another kind, expected a JPEG, PNG or GIF')
                data += stream.read()
            return self._session.run(self._image, {self._data: data})
        except OSError as error:
            raise InputError(f'{path}: found nothing to read ({error.strerror}), expected a photograph') from error
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f'{path}: found a file that cannot be decoded ({image_guard.reason(error)}), expected a '
                             'JPEG, PNG or GIF of one frame') from error

    def close(self) -> None:
        self._session.close()
