"""ONNX: converting a frozen graph with tf2onnx, checking it, running it with ONNX Runtime or OpenVINO."""
import contextlib
import logging
import os
from typing import Any, Dict, Iterator, Optional

import numpy as np

from utils.base import errors
from utils.formats import exporters
from utils.formats.exporters import Export, Request
from utils.formats.frozen import INPUT, OUTPUT, Scorer, on_pixels

OPSET = 13  # ONNX Runtime 1.10 knows up to 15, OpenVINO 2023.1 too
REQUIREMENTS = 'requirements-export.txt'
CONVERTER = {'tf2onnx': 'tf2onnx', 'onnx': 'onnx'}  # as imported, as installed
EXPORT_PACKAGES = {**CONVERTER, 'onnxruntime': 'onnxruntime'}
OPENVINO_PACKAGES = {**CONVERTER, 'openvino': 'openvino'}


@contextlib.contextmanager
def export(request: Request) -> Iterator[Export]:
    """Write the ONNX model; hands out how ONNX Runtime calls it."""
    require('--format onnx', EXPORT_PACKAGES)
    path = os.path.join(request.folder, request.name + '.onnx')
    convert(request.graph_def, path)
    score = onnx_runtime(path, request.threads)
    yield Export({'ONNX Runtime': on_pixels(score, request.options.batchsize)},
                 *exporters.tensors(request, INPUT, OUTPUT), [f'validated with onnx.checker, opset {OPSET}'])


def require(flag: str, packages: Dict[str, str]) -> None:
    """InputError, which names `flag`, where one of the optional packages is missing."""
    errors.require_packages(flag, packages, REQUIREMENTS)


def convert(graph_def: Any, path: Optional[str] = None) -> bytes:
    """The ONNX model of a graph of frozen.freeze(), with its input INPUT (NHWC) and its output OUTPUT.

    Written to `path` too, where that is given. It is validated with onnx.checker.
    """
    with _quiet():
        import onnx
        from tf2onnx import convert as tf2onnx
        tensors = [INPUT + ':0', OUTPUT + ':0']
        model, _ = tf2onnx.from_graph_def(graph_def, name='NIMA', input_names=tensors[:1], output_names=tensors[1:],
                                          opset=OPSET, tensors_to_rename=dict(zip(tensors, (INPUT, OUTPUT))))
    for tensor in (*model.graph.input, *model.graph.output):
        first = tensor.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_param = 'N'
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    if path:
        with open(path, 'wb') as stream:
            stream.write(data)
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without tf2onnx's log of its steps on standard error."""
    logger = logging.getLogger('tf2onnx')
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def onnx_runtime(path: str, threads: Optional[int] = None) -> Scorer:
    """What ONNX Runtime computes with the model in a file, on the CPU."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


class OpenVino:
    """An ONNX model that OpenVINO has compiled for the CPU; predicts as a Keras model does."""

    def __init__(self, model: bytes, *, batchsize: int, image_size: int, threads: int, fast: bool = False) -> None:
        """`fast` lets it compute in bfloat16 where the CPU has that; else it is float32, which is not its default."""
        import openvino.runtime as openvino
        core = openvino.Core()
        network = core.read_model(model)
        network.reshape([batchsize, image_size, image_size, 3])
        self.precision = 'bf16' if fast and 'BF16' in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES') else 'f32'
        self.version = openvino.get_version().split('-')[0]
        compiled = core.compile_model(network, 'CPU', {
            'INFERENCE_PRECISION_HINT': self.precision, 'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1})
        self._request, self._output = compiled.create_infer_request(), compiled.output(0)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Vote distributions float32 [batchsize, 10] of images [batchsize, S, S, 3] in [-1, 1]."""
        given = np.ascontiguousarray(images, np.float32)
        return self._request.infer({0: given}, share_inputs=True)[self._output].copy()
