"""Where the model runs: choosing the device, opening Keras's session on it, closing it again."""
import contextlib
import os
from typing import Iterator, NamedTuple, Optional

import tensorflow as tf

from utils.errors import InputError


class Run(NamedTuple):
    """An open device."""

    device: str
    threads: int
    host_config: tf.compat.v1.ConfigProto  # for the input pipeline's session, which stays on the host

    def initialise(self) -> None:
        """Initialise what was built, before the input pipeline opens a session of its own."""
        tf.compat.v1.keras.backend.get_session()


def choose(device: str) -> str:
    """'gpu' or 'cpu'; prints the choice and its reason. Listing devices opens none."""
    gpus = tf.config.experimental.list_physical_devices('GPU') if device != 'cpu' else []
    if device == 'gpu' and not gpus:
        raise InputError('--device gpu: found no GPU that TensorFlow lists, expected one: install '
                         'tensorflow-gpu 1.15 with CUDA 10.0, or use --device cpu')
    chosen = 'gpu' if gpus else 'cpu'
    reason = 'asked for' if device != 'auto' else 'TensorFlow lists ' + (f'{len(gpus)} GPU' if gpus else 'no GPU')
    print(f'device: {chosen} ({reason})')
    return chosen


def usable_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def open_run(device: str, *, threads: Optional[int] = None, seed: int = 0) -> Iterator[Run]:
    """Keras's session on the device, ready before anything is built, and closed whatever happens.

    The first session of a process fixes the CPU thread pool for all later ones, and the number of threads
    changes the last bits of the weights: so the number is explicit and this session is the first.
    """
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    chosen = choose(device)
    threads = threads or usable_cores()
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    if chosen == 'gpu':
        config.gpu_options.allow_growth = True
    else:
        config.device_count['GPU'] = 0
    host_config = tf.compat.v1.ConfigProto(device_count={'GPU': 0})
    keras = tf.compat.v1.keras.backend
    keras.clear_session()
    tf.compat.v1.set_random_seed(seed)
    session = tf.compat.v1.Session(config=config)
    keras.set_session(session)
    try:
        yield Run(chosen, threads, host_config)
    finally:
        keras.clear_session()
        session.close()
