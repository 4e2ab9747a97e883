"""Training images as uint8 pixels, scaled on the device: a quarter of the bytes, where pixels are whole numbers."""
import contextlib
from typing import Dict, Iterator, List, Tuple

import tensorflow as tf

from utils import nima
from utils.data.image_set import ImageSet, Reading
from utils.training.data import Data
from utils.training.loss_scaling import LossScaling


def fits(images: ImageSet, reading: Reading) -> bool:
    """Whether the pixels of training images are whole numbers: in a packed dataset, and with the nearest resize."""
    return images.features is None and (images.packed is not None or reading.preprocessing.resize == 'nearest')


def prepare(model: tf.keras.Model, data: Data, scalings: List[LossScaling],
            trained: nima.Trained) -> Tuple[tf.keras.Model, Data]:
    """What trains `model` on uint8 pixels, and the data that give them."""
    outer = outer_model(model, trained)
    for each in scalings:
        each.hold_back(outer)
    return outer, data._replace(reading=data.reading._replace(as_pixels=True))


def outer_model(model: tf.keras.Model, trained: nima.Trained = nima.EVERYTHING) -> tf.keras.Model:
    """A compiled model of uint8 images over the compiled `model`, with its layers, weights and optimiser.

    It gives the losses of `model` on scaled images, to the bit. It is trained and `model` is saved, so that files hold
    neither a Lambda layer nor uint8.
    """
    # As a constant, the divisor would be folded into a product that differs in the last bit for half of all values.
    divisor = tf.keras.backend.variable(127.5, name='pixel_divisor')
    pixels = tf.keras.Input(model.input_shape[1:], dtype='uint8', name='pixels')
    scaled = tf.keras.layers.Lambda(lambda x: (tf.cast(x, tf.float32) - 127.5) / divisor, name='scaled')(pixels)
    with _same_dropout(model):
        fixed = trained.in_phase_0(model.layers[:-2])  # with a call of `model` itself they would follow the phase
        predicted = nima.in_training(model.layers[1:], scaled, fixed - 1) if fixed else model(scaled)
        outer = tf.keras.Model(pixels, predicted)
    outer.compile(model.optimizer, loss=nima.earth_mover_loss)
    return outer


@contextlib.contextmanager
def _same_dropout(model: tf.keras.Model) -> Iterator[None]:
    """Dropout layers that are called in the block drop what they drop in `model`: TensorFlow numbers unseeded ones."""
    dropped: Dict[str, int] = {}
    for operation in tf.compat.v1.keras.backend.get_session().graph.get_operations():
        if operation.type == 'RandomUniform':
            dropped.setdefault(operation.name.split('/')[0], operation.get_attr('seed2'))
    layers = [layer for layer in model.layers
              if isinstance(layer, tf.keras.layers.Dropout) and layer.seed is None and layer.name in dropped]
    for layer in layers:
        layer.seed = dropped[layer.name]
    try:
        yield
    finally:
        for layer in layers:  # as files have it
            layer.seed = None
