"""The NIMA network: a base model with a 10-way softmax head, its loss, its optimiser, its predictions."""
import os
import shlex
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf

from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.base.scores import SCORES
from utils.model import model_file
from utils.model.model_file import ModelFile

CPU_PREDICT_BATCH = 10

LAST = 'last:'  # of --trainable last:N
OFFICIAL_NAME = 'mobilenet_1_0_224_tf_no_top.h5'
OFFICIAL_WEIGHTS = 'https://github.com/fchollet/deep-learning-models/releases/download/v0.6/'


class Trained(NamedTuple):
    """Which layers are trained, and how BatchNorm normalises in a training step."""

    layers: str = 'all'            # or 'head', the last layer alone; or 'last:N', the N last blocks and the head
    freeze_batchnorm: bool = False  # BatchNorm uses its moving averages, and keeps them, scale and offset

    @classmethod
    def of(cls, flags: Dict[str, Any]) -> 'Trained':
        """As the flags of a checkpoint's metadata say."""
        return cls(flags['trainable'], flags['freeze_batchnorm'])

    @property
    def phase(self) -> int:
        """The learning phase that the base model is built with. `trainable = False` alone does not fix BatchNorm:
        with the fixed phase 1 such a layer still normalises by the batch."""
        return 0 if self.freeze_batchnorm or self.layers.startswith(LAST) else 1

    def first(self, layers: Sequence[tf.keras.layers.Layer]) -> int:
        """The index of the first layer of a base model that is trained, their number for the head alone."""
        if not self.layers.startswith(LAST):
            return 0 if self.layers == 'all' else len(layers)
        depthwise = [index for index, layer in enumerate(layers) if isinstance(layer, tf.keras.layers.DepthwiseConv2D)]
        blocks = int(self.layers[len(LAST):])
        if blocks > len(depthwise):
            cure = f'{LAST}{len(depthwise)} or less' if depthwise else 'all or head'
            raise InputError(f'--trainable {self.layers}: the base model has {len(depthwise)} depthwise-separable '
                             f'blocks. Use {cure}')
        first = depthwise[-blocks]
        return first - isinstance(layers[first - 1], tf.keras.layers.ZeroPadding2D)

    def in_phase_0(self, layers: Sequence[tf.keras.layers.Layer]) -> int:
        """How many first layers of a base model a training step runs as a prediction does."""
        return len(layers) if self.freeze_batchnorm else 0 if self.phase else self.first(layers)


EVERYTHING = Trained()


def with_head(base_model: tf.keras.Model, dropout: float, trained: Trained = EVERYTHING) -> tf.keras.Model:
    """`base_model` [B, F] -> Dropout -> Dense 10, softmax: vote distributions [B, 10], for training.

    `base_model` has been built with the learning phase of `trained`.
    Source: arXiv:1709.05424, section III.
    """
    layers, first = base_model.layers, trained.first(base_model.layers)
    for index, layer in enumerate(layers):
        frozen = trained.freeze_batchnorm and isinstance(layer, tf.keras.layers.BatchNormalization)
        layer.trainable = layer.trainable and index >= first and not frozen
    features, fixed = base_model.output, trained.in_phase_0(layers)
    if fixed:
        tf.keras.backend.set_learning_phase(1)
        if fixed < len(layers):
            features = in_training(layers[fixed:], layers[fixed - 1].output)
    features = tf.keras.layers.Dropout(dropout, name='dropout')(features)
    distributions = tf.keras.layers.Dense(len(SCORES), activation='softmax', name='dense')(features)
    return tf.keras.Model(base_model.input, distributions)


def in_training(layers: Sequence[tf.keras.layers.Layer], tensor: tf.Tensor, in_phase_0: int = 0) -> tf.Tensor:
    """The output of layers that follow each other, in a training step: the first `in_phase_0` as in a prediction."""
    for index, layer in enumerate(layers):
        tf.keras.backend.set_learning_phase(int(index >= in_phase_0))
        tensor = layer(tensor)
    return tensor


def on_features(model: tf.keras.Model, trained: Trained) -> Tuple[tf.keras.Model, tf.keras.Model]:
    """A compiled model of with_head() in two, before the first layer that is trained: images -> features, a vector of
    each image before the head, else a map; and features -> distributions.

    The first is for predictions (learning phase 0). The second shares layers and optimiser with `model`.
    """
    layers = model.layers[:-2]
    first = trained.first(layers)
    output = model.layers[first - 1].output
    tf.keras.backend.set_learning_phase(0)
    base = tf.keras.Model(model.input, tf.keras.Model(model.input, output)(model.input))
    tf.keras.backend.set_learning_phase(1)
    features = tf.keras.Input(output.shape[1:], name='features')
    head = tf.keras.Model(features, in_training(model.layers[first:], features,
                                                max(0, trained.in_phase_0(layers) - first)))
    head.compile(model.optimizer, loss=earth_mover_loss)
    return base, head


def before_head(model: tf.keras.Model) -> tf.keras.Model:
    """The input of a model of with_head() or on_features() -> what its head gets [B, F], for predictions."""
    tf.keras.backend.set_learning_phase(0)
    tensor = model.input
    for layer in model.layers[1:-2]:
        tensor = layer(tensor)
    tf.keras.backend.set_learning_phase(1)
    return tf.keras.Model(model.input, tensor)


def with_padding(base_model: tf.keras.Model, padding: str) -> tf.keras.Model:
    """`base_model` with the padding before stride-2 convolutions that Preprocessing names.

    'tf' is `base_model` itself. 'symmetric' is a new model of the same layers, with initial weights of its own:
    load weights into what comes back.
    """
    if padding == 'tf':
        return base_model
    config = base_model.get_config()
    strided = [layer['config'] for layer in config['layers']
               if layer['class_name'] == 'ZeroPadding2D' and _pairs(layer['config']['padding']) == [(0, 1), (0, 1)]]
    if not strided:
        raise InputError(f'padding {padding}: {base_model.name} has no ZeroPadding2D of ((0, 1), (0, 1)), expected a '
                         'MobileNet. Use padding tf')
    for settings in strided:
        settings['padding'] = ((1, 1), (1, 1))
    return tf.keras.Model.from_config(config)


def _pairs(padding: Any) -> List[Any]:
    return [tuple(pair) for pair in padding]


def inference_model(model: tf.keras.Model) -> tf.keras.Model:
    """A model over the same layers and weights, built with learning phase 0, for predictions while training.

    The training graph keeps its own fixed phase 1, so neither graph holds a Switch or Merge.
    """
    tf.keras.backend.set_learning_phase(0)
    inference = tf.keras.Model(model.input, model(model.input))
    tf.keras.backend.set_learning_phase(1)
    return inference


def earth_mover_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Mean over images of sqrt(mean over k of (CDF_true - CDF_pred)^2), arXiv:1709.05424 eq. 1 with r=2.

    The value is that of the published one-liner everywhere, NaN for a NaN included. Its gradient is NaN where
    prediction and label are equal (the slope of the root at 0); there it is 0 here.
    """
    difference = tf.cumsum(y_true, axis=-1) - tf.cumsum(y_pred, axis=-1)
    square = tf.reduce_mean(tf.square(difference), axis=-1)
    equal = tf.equal(square, tf.zeros_like(square))  # false for NaN, which is to be seen
    root = tf.sqrt(tf.where(equal, tf.ones_like(square), square))
    return tf.reduce_mean(tf.where(equal, tf.zeros_like(root), root))


def optimizer(name: str, learning_rate: float, *, momentum: float, decay: float,
              loss_scale: Union[float, str] = 1.0) -> tf.keras.optimizers.Optimizer:
    """Keras's SGD with Nesterov momentum (the card's) or Adam (what the published code ran).

    `decay` is Keras's: the rate of step n is learning_rate / (1 + decay * n). The gradients are those of
    `loss_scale` times the loss, divided by it again; 'dynamic' leaves that to training/loss_scaling.py.
    """
    if name == 'adam':
        made = tf.keras.optimizers.Adam(learning_rate, decay=decay)
    else:
        made = tf.keras.optimizers.SGD(learning_rate, momentum=momentum, decay=decay, nesterov=True)
    if loss_scale not in (1, 'dynamic'):
        _scale_loss(made, float(loss_scale))
    return made


def scale_gradients(optimizer: tf.keras.optimizers.Optimizer, layer: tf.keras.layers.Layer, factor: float) -> None:
    """In place: multiply the gradients of a layer. For SGD, with momentum too, that is `factor` times its rate."""
    gradients_of, scaled = optimizer.get_gradients, [weight.experimental_ref() for weight in layer.trainable_weights]

    def get_gradients(loss: tf.Tensor, params: List[tf.Variable]) -> List[tf.Tensor]:
        return [gradient * factor if param.experimental_ref() in scaled else gradient
                for gradient, param in zip(gradients_of(loss, params), params)]

    optimizer.get_gradients = get_gradients


def _scale_loss(optimizer: tf.keras.optimizers.Optimizer, scale: float) -> None:
    """In place, as the files name an optimiser's class: SGD stays SGD, and loads everywhere."""
    gradients_of = optimizer.get_gradients

    def get_gradients(loss: tf.Tensor, params: List[tf.Variable]) -> List[tf.Tensor]:
        return [gradient / scale for gradient in gradients_of(loss * scale, params)]

    optimizer.get_gradients = get_gradients


def equal_part(count: int, most: int) -> int:
    """The size of the parts of `count` things, the fewest parts of at most `most` that are of one size or nearly so."""
    return -(-count // -(-count // most))


def predict_batch(batchsize: int, device: str) -> int:
    """The fastest predict batch size of `device`: `batchsize`, in equal parts on a CPU.

    There what 10 images need stays in the processor's cache; benchmarks/scoring.py measures it.
    """
    return equal_part(batchsize, CPU_PREDICT_BATCH) if device == 'cpu' else batchsize


def predict(model: tf.keras.Model, images: np.ndarray, batchsize: int) -> np.ndarray:
    """Vote distributions float32 [N, 10] of images [N, S, S, 3]; or what else `model` makes of them.

    They are predicted in batches of `batchsize`, the last one is padded and the padding cut off again: one static
    shape on every device.
    """
    padding = np.zeros((-len(images) % batchsize or (0 if len(images) else batchsize),) + images.shape[1:],
                       images.dtype)
    padded = np.concatenate([images, padding]) if len(padding) else images
    parts = [model.predict_on_batch(padded[start:start + batchsize]) for start in range(0, len(padded), batchsize)]
    return np.concatenate(parts)[:len(images)]


def read_weights(path: str) -> ModelFile:
    """Pre-trained weights; InputError, which says where to get them, where there is no such file."""
    if not os.path.isfile(path):
        cure = (f'Download {OFFICIAL_NAME} from {OFFICIAL_WEIGHTS} into that folder'
                if os.path.basename(path) == OFFICIAL_NAME else 'Correct --weights or --TMP_WEIGHTS_PATH')
        raise InputError(f'{path}: no such file, expected pre-trained weights. {cure}, or start from random weights '
                         'with --weights none')
    return model_file.read(path, 'Keras weights')


def preprocessing_for(weights: Optional[ModelFile], image_size: int, report: Callable[[str], Any]) -> Preprocessing:
    """What is done to images in a training that starts from `weights`, None for random ones."""
    return weights.preprocessing_to_start_from(image_size, report) if weights else Preprocessing(image_size)


def load_weights(model: tf.keras.Model, file: Optional[ModelFile]) -> None:
    """Set the weights of a model of with_head(): the base by layer name, the head where `file` has one.

    What is not in the file keeps its initial weights; None sets nothing. InputError if a layer of the base finds no
    match, a shape differs, or a complete NIMA model has layers that the base lacks; Keras's own by_name skips those
    silently.
    """
    if file is None:
        return
    *base, head = [layer for layer in model.layers if layer.weights]
    sources = {layer.name: layer for layer in base}
    if file.head is not None:
        sources[file.head] = head
    for name, layer in sources.items():
        _require_match(file, name, layer)
    left = [name for name in file.shapes if name not in sources]
    if file.head is not None and left:
        raise InputError(f'{file.path}: found weights of a layer {left[0]!r}, which this network does not have. Use '
                         'weights of this architecture')
    tf.keras.backend.batch_set_value([pair for name, layer in sources.items()
                                      for pair in zip(layer.weights, file.weights[name])])


def _require_match(file: ModelFile, name: str, layer: tf.keras.layers.Layer) -> None:
    stored, expected = file.shapes, [tuple(weight.shape.as_list()) for weight in layer.weights]
    if name not in stored:
        raise InputError(f'{file.path}: found no weights for the layer {name!r}, expected shapes {expected}. Use '
                         'weights of this architecture')
    if stored[name] != expected:
        raise InputError(f'{file.path}: found shapes {stored[name]} for the layer {name!r}, expected {expected}. Use '
                         'weights of this architecture')


if __name__ == '__main__':
    print('python3 -m utils.nima is now: bash run.sh -m utils.models', *map(shlex.quote, sys.argv[1:]), file=sys.stderr)
    sys.exit(2)
