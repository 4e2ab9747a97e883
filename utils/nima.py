"""The NIMA network: a base model with a 10-way softmax head, its loss, its optimiser, its predictions."""
import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from utils import ava
from utils.errors import InputError

OFFICIAL_WEIGHTS = 'https://github.com/fchollet/deep-learning-models/releases/download/v0.6/'


def with_head(base_model: tf.keras.Model, dropout: float) -> tf.keras.Model:
    """`base_model` [B, F] -> Dropout -> Dense 10, softmax: the shares of the votes 1 to 10, [B, 10].

    Source: arXiv:1709.05424, section III.
    """
    features = tf.keras.layers.Dropout(dropout, name='dropout')(base_model.output)
    shares = tf.keras.layers.Dense(len(ava.SCORES), activation='softmax', name='dense')(features)
    return tf.keras.Model(base_model.input, shares)


def inference_twin(model: tf.keras.Model) -> tf.keras.Model:
    """A model over the same layers and weights, built with learning phase 0, for predictions while training.

    The training graph keeps its own fixed phase 1, so neither graph holds a Switch or Merge.
    """
    tf.keras.backend.set_learning_phase(0)
    twin = tf.keras.Model(model.input, model(model.input))
    tf.keras.backend.set_learning_phase(1)
    return twin


def earth_mover_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Mean over photographs of sqrt(mean over k of (CDF_true - CDF_pred)^2), arXiv:1709.05424 eq. 1 with r=2.

    The published one-liner has a NaN gradient where prediction and label are equal (the slope of the root at
    0); there the gradient is 0 here, and the value is the same everywhere.
    """
    difference = tf.cumsum(y_true, axis=-1) - tf.cumsum(y_pred, axis=-1)
    square = tf.reduce_mean(tf.square(difference), axis=-1)
    unequal = square > 0
    root = tf.sqrt(tf.where(unequal, square, tf.ones_like(square)))
    return tf.reduce_mean(tf.where(unequal, root, tf.zeros_like(root)))


def optimizer(name: str, *, learning_rate: float, momentum: float, decay: float) -> tf.keras.optimizers.Optimizer:
    """Keras's SGD with Nesterov momentum (the card's) or Adam (what the published code ran).

    `decay` is Keras's: the rate of step n is learning_rate / (1 + decay * n).
    """
    if name == 'adam':
        return tf.keras.optimizers.Adam(learning_rate, decay=decay)
    return tf.keras.optimizers.SGD(learning_rate, momentum=momentum, decay=decay, nesterov=True)


def predict(model: tf.keras.Model, images: np.ndarray, batchsize: int) -> np.ndarray:
    """Vote shares float32 [N, 10] of images [N, S, S, 3] with N <= batchsize.

    The batch is padded to `batchsize` and the padding cut off again: one static shape on every device.
    """
    padding = np.zeros((batchsize - len(images),) + images.shape[1:], images.dtype)
    padded = np.concatenate([images, padding]) if len(padding) else images
    return model.predict_on_batch(padded)[:len(images)]


def find_weights(weights: str, folder: str) -> Optional[str]:
    """The path of pre-trained weights: a path as it stands, a name in `folder`, None for 'none'."""
    if weights == 'none':
        return None
    path = os.path.abspath(weights) if os.path.dirname(weights) else os.path.join(folder, weights)
    if not os.path.isfile(path):
        raise InputError(f'{path}: found no file, expected pre-trained weights: download '
                         f'mobilenet_1_0_224_tf_no_top.h5 from {OFFICIAL_WEIGHTS} into that folder, or start '
                         'from random weights with --weights none')
    return path


def load_base_weights(base_model: tf.keras.Model, path: str) -> None:
    """Read pre-trained weights by layer name; InputError if a layer finds no match or a shape differs.

    Keras's own by_name skips such layers without a word, and would train them from random numbers.
    """
    stored = _stored_shapes(path)
    for layer in base_model.layers:
        expected = [tuple(weight.shape.as_list()) for weight in layer.weights]
        if not expected:
            continue
        if layer.name not in stored:
            raise InputError(f'{path}: found no weights for the layer {layer.name!r} of {base_model.name}: '
                             'use the file of this architecture, or --weights none')
        if stored[layer.name] != expected:
            raise InputError(f'{path}: found shapes {stored[layer.name]} for the layer {layer.name!r}, expected '
                             f'{expected}: use the file of this architecture, or --weights none')
    base_model.load_weights(path, by_name=True)


def _stored_shapes(path: str) -> Dict[str, List[Tuple[int, ...]]]:
    import h5py
    try:
        with h5py.File(path, 'r') as file:
            group: Any = file.get('model_weights', file)
            return {_text(name): [tuple(group[_text(name)][_text(weight)].shape)
                                  for weight in group[_text(name)].attrs['weight_names']]
                    for name in group.attrs['layer_names']}
    except (OSError, KeyError) as error:
        raise InputError(f'{path}: found a file that is not Keras weights ({error}), expected a complete .h5: '
                         f'download it again from {OFFICIAL_WEIGHTS}, or use --weights none') from error


def _text(name: Any) -> str:
    return name.decode('utf-8') if isinstance(name, bytes) else str(name)
