"""The events that TensorBoard shows, as Keras's own callback writes them: whole events, or a sentence why not."""
import contextlib
import os
import socket
import struct
import time
from typing import Dict, List

import tensorflow as tf

from utils.base import files

_CASTAGNOLI = 0x82f63b78  # the polynomial of TFRecord's CRC-32C, its bits reversed


def _entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
    return value


_TABLE = [_entry(byte) for byte in range(256)]


def _masked_crc(data: bytes) -> bytes:
    """The checksum of a TFRecord's part, masked as tensorflow/core/lib/hash/crc32c.h says."""
    crc = 0xffffffff
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xffffffff
    return struct.pack('<I', (((crc >> 15) | (crc << 17)) + 0xa282ead8) & 0xffffffff)


def _record(event: tf.compat.v1.Event) -> bytes:
    data = event.SerializeToString()
    length = struct.pack('<Q', len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


class Events:
    """A new file of events in `folder`, which begins with its first row.

    TensorFlow's writer says nothing of a full disk, and leaves half an event, behind which nobody reads on.
    """

    def __init__(self, folder: str, cure: str) -> None:
        self._path = os.path.join(folder, f'events.out.tfevents.{time.time():.6f}.{socket.gethostname()}')
        self._data = _record(tf.compat.v1.Event(wall_time=time.time(), file_version='brain.Event:2'))
        self._cure = cure

    def write(self, rows: List[Dict[str, float]]) -> None:
        """Append the figures of epochs, counted from 1; all of them or none, and InputError, where that fails.

        A file that is gone is written anew, with all rows so far.
        """
        data = self._data
        for row in rows:
            step = int(row['epoch']) - 1
            data += b''.join(_record(tf.compat.v1.Event(wall_time=time.time(), step=step, summary=tf.compat.v1.Summary(
                value=[tf.compat.v1.Summary.Value(tag=f'epoch_{name}', simple_value=value)])))
                             for name, value in row.items() if name != 'epoch')
        with files.writing(self._path, self._cure):
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path, 'ab', buffering=0) as stream:
                before = stream.tell()
                left = memoryview(data[len(self._data) if before else 0:])
                try:
                    while left:
                        left = left[stream.write(left):]
                    os.fsync(stream.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        stream.truncate(before)
                    raise
        self._data = data
