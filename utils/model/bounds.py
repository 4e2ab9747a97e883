"""How much a network computes for one image, known from its shapes before anything runs.

A layer of a few bytes, such as an UpSampling2D, can ask for more memory than any machine has.
"""
import json
from typing import Any, List, NamedTuple, Tuple

import tensorflow as tf

from utils.model.trust import DistrustError

LARGEST = 64              # values of one tensor for each value of the image; VGG16 has 21
ALL = 4096                # of all tensors together; NASNetLarge has 1939
LEAST = 1 << 24, 1 << 28  # that LARGEST and ALL allow in any case: small images make many channels
MOST = 1 << 29            # of one tensor in any case: 2 GB an image; MobileNet has half of that for a side of 4096


class Size(NamedTuple):
    """Values of one image on its way through a network."""

    image: int
    largest: int
    name: str       # of the largest tensor
    all: int
    is_known: bool  # whether all shapes are


def require_bounded(model: tf.keras.Model, side: int) -> None:
    """DistrustError where an image of this side makes `model` compute far more values than any network for images.

    Also where an image's values would depend on the others of its batch. A network whose shapes depend on the image's
    is built again, in a graph of its own, for images of this side.
    """
    _require_images_alone(model)
    found = size(model)
    if not found.is_known:
        with tf.Graph().as_default():
            tf.keras.backend.set_learning_phase(0)
            found = size(tf.keras.models.model_from_json(json.dumps(_for_one_image(json.loads(model.to_json()), side))))
    most = [max(least, each * found.image) for least, each in zip(LEAST, (LARGEST, ALL))]
    if not found.is_known:
        raise DistrustError(f'a network whose tensor {found.name!r} has no size that is known before it runs')
    if found.largest > min(most[0], MOST):
        raise DistrustError(f'a network whose tensor {found.name!r} has {found.largest} values for an image of '
                            f'{found.image}, more than {min(most[0], MOST)}')
    if found.all > most[1]:
        raise DistrustError(f'a network with {found.all} values for an image of {found.image}, more than {most[1]}')


def _require_images_alone(model: tf.keras.Model) -> None:
    """DistrustError where a layer works along the axis of the batch."""
    for layer in model.layers:
        if isinstance(layer, tf.keras.Model):
            _require_images_alone(layer)
            continue
        axes = tf.nest.flatten([getattr(layer, name, None) for name in ('axis', 'axes')])
        ranks = {tensor.shape.rank or 0 for node in layer.inbound_nodes
                 for tensor in tf.nest.flatten(node.input_tensors)}
        if any(axis == 0 or (axis is not None and -axis in ranks) for axis in axes):
            raise DistrustError(f'a layer {layer.name!r} along the axis of the batch: the score of an image would '
                                'depend on the others of its batch')


def size(model: tf.keras.Model) -> Size:
    """What `model` computes for one image: all tensors that its input leads to."""
    seen, waiting = set(), list(model.inputs)
    image, largest, name, everything, unknown = 1, 0, '', 0, ''
    for each in model.inputs:
        image = _values(each)[0]
    while waiting:
        tensor = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        waiting += [output for operation in tensor.consumers() for output in operation.outputs]
        values, is_known = _values(tensor)
        everything += values
        if not is_known and tensor.consumers():  # the sixth output of a BatchNorm never is, and nothing reads it
            unknown = tensor.name
        if values > largest:
            largest, name = values, tensor.name
    return Size(image, largest, unknown or name, everything, not unknown)


def _values(tensor: tf.Tensor) -> Tuple[int, bool]:
    """How many values a tensor has for one image, and whether that is known; the first side may be the batch's."""
    if tensor.shape.rank is None:
        return 0, False
    sides: List[Any] = tensor.shape.as_list()
    if sides and sides[0] is None:
        sides = sides[1:]
    values = 1
    for each in sides:
        values *= 1 if each is None else each
    return values, None not in sides


def _for_one_image(config: Any, side: int) -> Any:
    """A network's parsed JSON with one image of this side as its input."""
    if isinstance(config, list):
        return [_for_one_image(each, side) for each in config]
    if not isinstance(config, dict):
        return config
    return {key: [1, *(side if each is None else each for each in value[1:])]
            if key in ('batch_input_shape', 'build_input_shape') and isinstance(value, list) and value
            else _for_one_image(value, side) for key, value in config.items()}
