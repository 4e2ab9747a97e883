"""An ONNX model of one decoded image of any size: the network behind its own resize and scaling, made of ONNX's nodes.

ONNX's Resize has no counterpart of TensorFlow's half-pixel nearest, and ties in its rounding show in the last bit. Here
both resizes are float32 arithmetic on indices and Gather, in the order of operations of TensorFlow 1.15's CPU kernels
(resize_nearest_neighbor_op.cc, resize_bilinear_op.cc, image_resizer_state.h), so that the network sees the same pixels.
"""
import json
from typing import Any, Dict, List

import numpy as np

from utils.base.percentiles import AVA_MEANS
from utils.base.preprocessing import Preprocessing
from utils.base.scores import SCORES
from utils.formats.frozen import INPUT, OUTPUT

IMAGE = 'image'          # uint8 [H, W, 3], RGB
DISTRIBUTION, MEAN, STD = 'distribution', 'mean', 'std'
OUTPUTS = {DISTRIBUTION: 'float32 [10], vote distribution over the scores 1 to 10',
           MEAN: 'float32, mean score from 1 to 10', STD: 'float32, standard deviation of the votes'}
PREFIX = 'image/'        # of the names of all that is added to the network
PERCENTILES = 'ava_mean_percentiles'  # the field of metadata_props beside those of Preprocessing


class _Nodes:
    """A graph that grows by an operation at a time."""

    def __init__(self) -> None:
        self.nodes: List[Any] = []
        self.constants: List[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """The name of a constant."""
        from onnx import numpy_helper
        name = f'{PREFIX}constant_{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, output: str = '', **attributes: int) -> str:
        """The name of an operation's output."""
        from onnx import helper
        name = output or f'{PREFIX}{operation}_{len(self.nodes)}'
        self.nodes.append(helper.make_node(operation, inputs, [name], name, **attributes))  # type: ignore[arg-type]
        return name

    def cast(self, tensor: str, dtype: Any) -> str:
        """`tensor` as another type."""
        from onnx import helper
        return self.add('Cast', tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def build(network: bytes, preprocessing: Preprocessing) -> bytes:
    """The ONNX model from IMAGE to OUTPUTS, from that of onnx_model.convert() for one image or any number of them.

    Its metadata_props hold, as JSON, the fields of `preprocessing` and the percentiles of AVA's means: what score.py
    needs to know. It is validated with onnx.checker.
    """
    import onnx
    from onnx import TensorProto, helper
    model = onnx.load_model_from_string(network)
    whole = _Nodes()
    _scaled(whole, _resized(whole, preprocessing))
    whole.nodes.extend(model.graph.node)
    _summarised(whole)
    graph = helper.make_graph(
        whole.nodes, 'NIMA',
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ['H', 'W', 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(SCORES)] if name == DISTRIBUTION else [])
         for name in OUTPUTS], [*model.graph.initializer, *whole.constants])
    made = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version,
                             producer_name='NIMA')
    helper.set_model_props(made, _metadata(preprocessing))
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


def _metadata(preprocessing: Preprocessing) -> Dict[str, str]:
    fields = {**preprocessing.as_json(), PERCENTILES: AVA_MEANS.tolist()}
    return {name: json.dumps(value) for name, value in fields.items()}


def _resized(graph: _Nodes, preprocessing: Preprocessing) -> str:
    """IMAGE as float32 [S, S, 3] in [0, 255]."""
    shape = graph.add('Shape', IMAGE)
    sides = [graph.add('Gather', shape, graph.constant(axis, np.int64), axis=0) for axis in (0, 1)]
    if preprocessing.resize == 'nearest':
        pixels = IMAGE
        for axis, side in enumerate(sides):
            pixels = graph.add('Gather', pixels, _nearest(graph, side, preprocessing.image_size), axis=axis)
        return graph.cast(pixels, np.float32)
    (top, bottom, down), (left, right, across) = (_between(graph, side, preprocessing.image_size) for side in sides)
    across = graph.add('Unsqueeze', across, graph.constant([1], np.int64))
    down = graph.add('Unsqueeze', down, graph.constant([1, 2], np.int64))
    rows = []
    for row in (top, bottom):
        pixels = graph.add('Gather', IMAGE, row, axis=0)
        ends = [graph.cast(graph.add('Gather', pixels, column, axis=1), np.float32) for column in (left, right)]
        rows.append(_mixed(graph, ends, across))
    return _mixed(graph, rows, down)


def _nearest(graph: _Nodes, side: str, size: int) -> str:
    """min(floor((i + 0.5) * scale), side - 1), int64 [size]."""
    position = graph.add('Mul', graph.constant(np.arange(size, dtype=np.float32) + np.float32(0.5)),
                         _scale(graph, side, size))
    return graph.add('Min', graph.cast(graph.add('Floor', position), np.int64), _last(graph, side))


def _between(graph: _Nodes, side: str, size: int) -> List[str]:
    """floor(i * scale), min(ceil(i * scale), side - 1), and the share of the second in the mean, each [size]."""
    position = graph.add('Mul', graph.constant(np.arange(size)), _scale(graph, side, size))
    floor = graph.add('Floor', position)
    upper = graph.add('Min', graph.cast(graph.add('Ceil', position), np.int64), _last(graph, side))
    return [graph.cast(floor, np.int64), upper, graph.add('Sub', position, floor)]


def _scale(graph: _Nodes, side: str, size: int) -> str:
    return graph.add('Div', graph.cast(side, np.float32), graph.constant(size))


def _last(graph: _Nodes, side: str) -> str:
    return graph.add('Sub', side, graph.constant(1, np.int64))


def _mixed(graph: _Nodes, ends: List[str], share: str) -> str:
    """lower + (upper - lower) * share"""
    lower, upper = ends
    return graph.add('Add', lower, graph.add('Mul', graph.add('Sub', upper, lower), share))


def _scaled(graph: _Nodes, pixels: str) -> None:
    """Pixels in [0, 255] as the network's INPUT, [1, S, S, 3] in [-1, 1]; as in preprocessing.SCALING."""
    half = graph.constant(127.5)
    graph.add('Unsqueeze', graph.add('Div', graph.add('Sub', pixels, half), half), graph.constant([0], np.int64),
              output=INPUT)


def _summarised(graph: _Nodes) -> None:
    """The network's OUTPUT [1, 10] as OUTPUTS."""
    axis, scores = graph.constant([0], np.int64), graph.constant(SCORES)
    shares = graph.add('Squeeze', OUTPUT, axis, output=DISTRIBUTION)
    mean = graph.add('ReduceSum', graph.add('Mul', shares, scores), axis, output=MEAN, keepdims=0)
    from_mean = graph.add('Sub', scores, mean)
    square = graph.add('Mul', from_mean, from_mean)
    variance = graph.add('ReduceSum', graph.add('Mul', shares, square), axis, keepdims=0)
    graph.add('Sqrt', variance, output=STD)
