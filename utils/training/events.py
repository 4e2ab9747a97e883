"""The events that TensorBoard shows, as Keras's own callback writes them: whole events, or a sentence why not."""
import contextlib
import io
import os
import socket
import time
from typing import Dict, List

import tensorflow as tf
from tensorboard.summary.writer.record_writer import RecordWriter

from utils.base import files


def _record(event: tf.compat.v1.Event) -> bytes:
    stream = io.BytesIO()
    RecordWriter(stream).write(event.SerializeToString())
    return stream.getvalue()


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
