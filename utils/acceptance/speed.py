"""Seconds of a step at the card's batch size, and of its parts."""
import time
from typing import Callable, Dict, List

import numpy as np
import tensorflow as tf

from utils.acceptance import fixture
from utils.acceptance.fixture import Size
from utils.acceptance.network import Network
from utils.acceptance.outcome import PASS, Outcome
from utils.model import keras_file

BATCH, STEPS = 100, 5
PUBLISHED = 0.1459  # seconds a step on an Ascend 910, the publisher's figure


def measure(network: Network, size: Size) -> Dict[str, float]:
    """Seconds by name: compile (the first step), step, feed, device and read_back."""
    model = network.other('speed', phase=1)  # another batch size is another graph on every release
    repeats = -(-BATCH // fixture.IMAGES)
    images = np.tile(fixture.images(size.image_size), (repeats, 1, 1, 1))[:BATCH]
    votes = np.tile(fixture.distributions(), (repeats, 1))[:BATCH]
    fed = tf.compat.v1.placeholder(tf.float32, images.shape)
    largest, session = tf.reduce_max(fed), tf.compat.v1.keras.backend.get_session()
    timed = {'step': _timed(lambda: model.train_on_batch(images, votes)),
             'feed': _timed(lambda: session.run(largest, {fed: images})),
             'read_back': _timed(lambda: keras_file.read(network.model))}
    seconds = {name: float(np.median(each[1:])) for name, each in timed.items()}
    first = timed['step'][0]
    return {'compile': first - seconds['step'], **seconds, 'device': seconds['step'] - seconds['feed']}


def _timed(action: Callable[[], object]) -> List[float]:
    seconds = []
    for _ in range(1 + STEPS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def check(network: Network, size: Size) -> Outcome:
    """The seconds as a line; none of them can fail."""
    found = measure(network, size)
    text = (f'{found["step"]:.4f} s a step of {BATCH}, {BATCH / found["step"]:.0f} images/s: feed {found["feed"]:.4f}, '
            f'device {found["device"]:.4f}; compiling {found["compile"]:.1f} s, reading all weights back '
            f'{found["read_back"]:.4f} s')
    if size == fixture.FULL:
        text += f'. The publisher of the card: {PUBLISHED} s'
    return Outcome('speed', PASS, text)
