"""A SavedModel for TensorFlow Serving: encoded images, or pixels, to vote distributions, mean scores and stds."""
import contextlib
from typing import Any, Callable, Dict, Iterator, Sequence

import numpy as np
import tensorflow as tf

from utils.base.preprocessing import Preprocessing
from utils.base.scores import SCORES
from utils.data.decoding import decode, scale
from utils.data.pipeline import host_session
from utils.formats import exporters
from utils.formats.exporters import Export, Request
from utils.formats.frozen import INPUT, OUTPUT

# The signatures, and the name of each one's input. TensorFlow Serving takes base64 for a name that ends in _bytes.
BYTES_SIGNATURE, BYTES = 'serving_default', 'image_bytes'
PIXELS_SIGNATURE, PIXELS = 'pixels', 'pixels'
SHARES, MEAN, STD = 'shares', 'mean', 'standard_deviation'


@contextlib.contextmanager
def export(request: Request) -> Iterator[Export]:
    """Write the SavedModel; hands out how to call each signature."""
    write(request.folder, request.graph_def, request.preprocessing)
    inputs = {f'{BYTES_SIGNATURE}: {BYTES}': 'string [N], files of JPEG, PNG or GIF',
              f'{PIXELS_SIGNATURE}: {PIXELS}': exporters.pixels(request)}
    outputs = {SHARES: exporters.distributions(), MEAN: 'float32 [N], mean score from 1 to 10',
               STD: 'float32 [N], standard deviation of the votes'}
    with running(request.folder) as call:
        yield Export({f'signature {BYTES_SIGNATURE}': lambda files, images: call(BYTES_SIGNATURE, files)[SHARES],
                      f'signature {PIXELS_SIGNATURE}': lambda files, images: call(PIXELS_SIGNATURE, images)[SHARES]},
                     inputs, outputs, card_folder='assets.extra')  # a SavedModel keeps there what is not its own


def write(folder: str, graph_def: tf.compat.v1.GraphDef, preprocessing: Preprocessing) -> None:
    """Write the SavedModel into the empty `folder`.

    BYTES_SIGNATURE takes image files, string [N] (JPEG, PNG, GIF), PIXELS_SIGNATURE float32 [N, S, S, 3] in
    [-1, 1]. Both give SHARES [N, 10], MEAN [N] in 1 to 10 and STD [N] of the votes, all float32. `graph_def` is one of
    frozen.freeze() for any batch size; `preprocessing` says S, the resize and the longest side.
    """
    size = preprocessing.image_size

    def read(data: tf.Tensor) -> tf.Tensor:
        return scale(decode(data, size, preprocessing.resize, longest_side=preprocessing.longest_side))

    with tf.Graph().as_default() as graph:
        files = tf.compat.v1.placeholder(tf.string, [None], BYTES)
        decoded = tf.map_fn(read, files, tf.float32, back_prop=False)
        # One network for both: where pixels are fed, what comes before them does not run.
        pixels = tf.compat.v1.placeholder_with_default(decoded, [None, size, size, 3], PIXELS)
        distributions, = tf.import_graph_def(graph_def, {INPUT + ':0': pixels}, [OUTPUT + ':0'], name='network')
        outputs = _outputs(distributions)
        signatures = {name: tf.compat.v1.saved_model.predict_signature_def({key: tensor}, outputs)
                      for name, key, tensor in ((BYTES_SIGNATURE, BYTES, files), (PIXELS_SIGNATURE, PIXELS, pixels))}
    builder = tf.compat.v1.saved_model.Builder(folder)
    with contextlib.closing(host_session(graph, None)) as session, graph.as_default():
        builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING], signatures,
                                             strip_default_attrs=True)
    try:
        builder.save()
    except tf.errors.OpError as error:  # such as a full disk
        raise OSError(error.message.splitlines()[0]) from error


def _outputs(distributions: tf.Tensor) -> Dict[str, tf.Tensor]:
    scores = tf.constant(SCORES, tf.float32)
    mean = tf.reduce_sum(distributions * scores, axis=-1)
    variance = tf.reduce_sum(distributions * tf.square(scores - mean[:, tf.newaxis]), axis=-1)
    return {SHARES: distributions, MEAN: mean, STD: tf.sqrt(variance)}


@contextlib.contextmanager
def running(folder: str) -> Iterator[Callable[..., Dict[str, np.ndarray]]]:
    """A function that runs a signature by its name on an input, read as TensorFlow Serving reads it."""
    graph = tf.Graph()
    with contextlib.closing(host_session(graph, None)) as session:
        with graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], folder)

        def call(name: str, given: Sequence[Any]) -> Dict[str, np.ndarray]:
            signature = meta.signature_def[name]
            (fed,) = [each.name for each in signature.inputs.values()]
            return session.run({key: each.name for key, each in signature.outputs.items()}, {fed: given})

        yield call
