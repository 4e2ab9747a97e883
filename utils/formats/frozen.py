"""The inference graph of a model as one GraphDef: weights as constants, learning phase 0, names that never differ."""
import contextlib
import os
from typing import Callable, Dict, Iterator, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow as tf

from utils import nima
from utils.data.pipeline import host_session
from utils.formats import exporters, parity
from utils.formats.exporters import Export, Request

INPUT, OUTPUT = 'input_1', 'dense/Softmax'

Scorer = Callable[[np.ndarray], np.ndarray]  # images [N, S, S, 3] -> distributions [N, 10]


@contextlib.contextmanager
def export(request: Request) -> Iterator[Export]:
    """Write the frozen graph; hands out how to call it."""
    path = os.path.join(request.folder, request.name + '.pb')
    write(request.graph_def, path)
    with running(path) as score:
        yield Export({'frozen graph': on_pixels(score, request.options.batchsize)},
                     *exporters.tensors(request, INPUT, OUTPUT))


def freeze(model: tf.keras.Model, batchsize: Optional[int] = None) -> tf.compat.v1.GraphDef:
    """The graph from INPUT, float32 [batchsize or any, S, S, 3] in [-1, 1], to OUTPUT, distributions [same, 10].

    `model` is one of build.for_scoring(), whose weights are in Keras's session. What its first and last
    operation were called before (a second network of a graph begins with input_1_1) does not matter.
    """
    session = tf.compat.v1.keras.backend.get_session()
    names = {model.input.op.name: INPUT, model.output.op.name: OUTPUT}
    graph_def = tf.compat.v1.graph_util.convert_variables_to_constants(
        session, session.graph.as_graph_def(), [model.output.op.name])
    graph_def = _renamed(tf.compat.v1.graph_util.remove_training_nodes(graph_def, [model.output.op.name]), names)
    return with_batchsize(graph_def, batchsize)


def with_batchsize(graph_def: tf.compat.v1.GraphDef, batchsize: Optional[int]) -> tf.compat.v1.GraphDef:
    """A copy of a graph of freeze() for `batchsize` images, None for any number."""
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph_def)
    for node in copy.node:
        if node.name == INPUT:
            node.attr['shape'].shape.dim[0].size = batchsize or -1
    return copy


def _renamed(graph_def: tf.compat.v1.GraphDef, names: Dict[str, str]) -> tf.compat.v1.GraphDef:
    """`graph_def`, changed in place; another operation that has one of the new names gets an underscore more."""
    taken = {node.name for node in graph_def.node}
    for new in names.values():
        if new in taken and new not in names:
            names = {**names, new: new + '_'}

    def rename(text: str) -> str:
        control = '^' if text.startswith('^') else ''
        name, *output = text[len(control):].split(':')
        return control + ':'.join([names.get(name, name), *output])

    for node in graph_def.node:
        node.name = rename(node.name)
        inputs = [rename(each) for each in node.input]
        del node.input[:]
        node.input.extend(inputs)
    return graph_def


def write(graph_def: tf.compat.v1.GraphDef, path: str) -> None:
    """The same graph always gives the same bytes."""
    with open(path, 'wb') as stream:
        stream.write(graph_def.SerializeToString(deterministic=True))


@contextlib.contextmanager
def running(path: str) -> Iterator[Scorer]:
    """What the frozen graph in a file computes, in a fresh graph and a session of its own on the CPU."""
    with open(path, 'rb') as stream:
        graph_def = tf.compat.v1.GraphDef.FromString(stream.read())
    with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
        tf.import_graph_def(graph_def, name='')
    with contextlib.closing(host_session(graph, None)) as session:
        yield lambda images: session.run(OUTPUT + ':0', {INPUT + ':0': images})


class _Network(NamedTuple):
    """Predicts as a Keras model does, for nima.predict()."""

    predict_on_batch: Scorer


def on_pixels(score: Scorer, batchsize: Optional[int] = None) -> parity.Predict:
    """`score` as parity calls it; where the model has a fixed batch size, in steps of that."""
    def predict(files: Sequence[bytes], images: np.ndarray) -> np.ndarray:
        step = batchsize or len(images)
        return np.concatenate([nima.predict(_Network(score), images[start:start + step], step)
                               for start in range(0, len(images), step)])
    return predict
