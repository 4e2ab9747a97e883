"""What the kit feeds and starts from: images, vote distributions and weights, by formula from fixed seeds."""
import zlib
from typing import List, NamedTuple, Tuple

import numpy as np

from utils.base.scores import SCORES

IMAGES = 20         # of a training step
FORWARD_IMAGES = 4  # of the forward pass, whose activations are all read back
STEPS = 10

# Chosen so that each fault that docs/acceptance.md lists moves its figure by ten bounds or more in float16: all steps
# together move the weights by some per cent, a third step would be smaller by half without decay, and unscaled
# gradients of the first blocks are near float16's smallest numbers.
LEARNING_RATE, MOMENTUM, DECAY, LOSS_SCALE = 0.05, 0.9, 1.0, 1024.0

# In one early block every eighth channel reaches 6, or a ReLU6 that lost its cap would not show; the next BatchNorm
# brings what is left of it back to the range of the other channels.
CAPPED, EVERY = 'conv_pw_1_relu', 8
FACTORS = {'conv_pw_1_bn/gamma': 4, 'conv_pw_1_bn/beta': 5.5, 'conv_dw_2_bn/moving_mean': 5.2,
           'conv_dw_2_bn/moving_variance': 10}


class Size(NamedTuple):
    """The size of the network."""

    image_size: int
    alpha: float  # of MobileNet: the share of the channels

    @property
    def name(self) -> str:
        """As references.json calls it."""
        return f'{self.image_size} pixels, alpha {self.alpha:g}'


FULL, SMALL = Size(224, 1.0), Size(64, 0.25)


def random_of(name: str) -> np.random.RandomState:
    """Random numbers that follow from `name` alone; NumPy keeps them the same in all releases."""
    return np.random.RandomState(zlib.crc32(name.encode()) % 2 ** 32)


def images(size: int, count: int = IMAGES) -> np.ndarray:
    """float32 [count, size, size, 3] in [-1, 1]: each of a colour of its own, with coarse blocks and fine noise."""
    random = random_of('images')
    made = np.empty((IMAGES, size, size, 3), np.float32)
    for image in made:
        blocks = np.kron(random.uniform(-0.3, 0.3, (8, 8, 3)), np.ones((-(-size // 8), -(-size // 8), 1)))
        image[:] = (random.uniform(-0.5, 0.5, 3) + blocks[:size, :size] + random.uniform(-0.2, 0.2, (size, size, 3)))
    return made[:count]


def distributions() -> np.ndarray:
    """float32 [IMAGES, 10], rows sum to 1: each around another score."""
    means = np.linspace(2, 9, IMAGES)[random_of('distributions').permutation(IMAGES)]
    votes = 1 / (1 + np.square(SCORES - means[:, None]))
    return (votes / votes.sum(1, keepdims=True)).astype(np.float32)


def batch(step: int, size: int) -> Tuple[np.ndarray, np.ndarray]:
    """Images and distributions of a training step, counted from 0; from the third on every other one is mirrored."""
    found = images(size)
    return (np.ascontiguousarray(found[:, :, ::-1]) if step > 1 and step % 2 else found), distributions()


def weight(name: str, shape: Tuple[int, ...]) -> np.ndarray:
    """The first values of a weight by its name, such as conv_dw_1_bn/moving_variance.

    Activations are of order 1 in all blocks, around 1 with a standard deviation of a half: few are clipped by ReLU6,
    so that errors do not grow from block to block. Kernels keep that: a depthwise one is the identity and a little
    noise that sums to 0; others sum to 0 over their inputs and keep the variance. FACTORS are the exception.
    """
    uniform, (layer, kind) = random_of(name).uniform(-1, 1, shape), name.split('/')
    if kind == 'depthwise_kernel':
        noise = 0.2 * (uniform - uniform.mean((0, 1)))
        noise[1, 1] += 1
        return noise.astype(np.float32)
    if kind == 'kernel':
        axes = tuple(range(len(shape) - 1))
        return ((uniform - uniform.mean(axes)) * np.sqrt(3 / np.prod(shape[:-1]))).astype(np.float32)
    middle, width = {'gamma': (0.5, 0.1), 'beta': (1, 0.2), 'moving_variance': (0.25, 0.05), 'bias': (0, 0.2),
                     'moving_mean': (1 if '_dw_' in layer else 0, 0.1)}[kind]
    made = middle + width * uniform
    made[::EVERY] *= FACTORS.get(name, 1)
    return made.astype(np.float32)


def is_trained(name: str) -> bool:
    """Whether a weight is trained, and no moving average of BatchNorm."""
    return '/moving_' not in name


def ranking() -> Tuple[List[float], List[float], float]:
    """Two fixed lists of mean scores and their SRCC, 1 - 6 * sum of d^2 / (n * (n^2 - 1))."""
    return [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5], [2.0, 1.0, 4.0, 3.0, 6.0, 5.0, 8.0, 7.0], 1 - 6 * 8 / (8 * 63)
