"""ONNX: converting a frozen graph with tf2onnx, checking it, running it with ONNX Runtime or OpenVINO."""
import contextlib
import functools
import logging
import os
from typing import Any, Dict, Iterator, Optional, Sequence, Union

import numpy as np

from utils.base import errors
from utils.base.cores import usable_cores
from utils.data import decoding, pipeline
from utils.formats import exporters, frozen, image_model, parity
from utils.formats.exporters import Export, Request
from utils.formats.frozen import INPUT, OUTPUT, Scorer, on_pixels

OPSET = 13  # ONNX Runtime 1.10 knows up to 15, OpenVINO 2023.1 too
IMAGE_ENDING = '_image.onnx'  # of the model that takes a whole image: score.py looks for it
REQUIREMENTS = 'requirements-export.txt'
CONVERTER = {'tf2onnx': 'tf2onnx', 'onnx': 'onnx'}  # as imported, as installed
EXPORT_PACKAGES = {**CONVERTER, 'onnxruntime': 'onnxruntime'}
OPENVINO_PACKAGES = {**CONVERTER, 'openvino': 'openvino'}


@contextlib.contextmanager
def export(request: Request) -> Iterator[Export]:
    """Write the ONNX model of the network, and the one of a whole image; hands out how ONNX Runtime calls them."""
    require('--format onnx', EXPORT_PACKAGES)
    path, whole = (os.path.join(request.folder, request.name + ending) for ending in ('.onnx', IMAGE_ENDING))
    network = convert(request.graph_def)
    _write(path, network)
    if request.options.batchsize not in (None, 1):
        network = convert(frozen.with_batchsize(request.graph_def, 1))
    _write(whole, image_model.build(network, request.preprocessing))
    inputs, outputs = exporters.tensors(request, INPUT, OUTPUT)
    name = os.path.basename(whole)
    yield Export({'ONNX Runtime': on_pixels(onnx_runtime(path, request.threads), request.options.batchsize),
                  f'ONNX Runtime, {name}': _on_files(whole, request)},
                 {**inputs, f'{name}: {image_model.IMAGE}': 'uint8 [H, W, 3] of any size, RGB, upright'},
                 {**outputs, **{f'{name}: {output}': what for output, what in image_model.OUTPUTS.items()}},
                 [f'validated with onnx.checker, opset {OPSET}'])


def require(flag: str, packages: Dict[str, str]) -> None:
    """InputError, which names `flag`, where one of the optional packages is missing."""
    errors.require_packages(flag, packages, REQUIREMENTS)


def convert(graph_def: Any) -> bytes:
    """The ONNX model of a graph of frozen.freeze(), with its input INPUT (NHWC) and its output OUTPUT.

    It is validated with onnx.checker.
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
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _write(path: str, data: bytes) -> None:
    with open(path, 'wb') as stream:
        stream.write(data)


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


def onnx_runtime(model: Union[str, bytes], threads: Optional[int] = None) -> Scorer:
    """What ONNX Runtime computes on the CPU with the model in a file, or its content."""
    session = _session(model, threads)
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _on_files(path: str, request: Request) -> parity.Predict:
    """What ONNX Runtime computes with an image model, from files that TensorFlow decodes and reduces."""
    session = _session(path, request.threads)
    decode = pipeline.decoder(functools.partial(decoding.decode_pixels,
                                                longest_side=request.preprocessing.longest_side))

    def predict(files: Sequence[bytes], images: np.ndarray) -> np.ndarray:
        return np.stack([session.run([image_model.DISTRIBUTION], {image_model.IMAGE: decode(data)})[0]
                         for data in files])

    return predict


def _session(model: Union[str, bytes], threads: Optional[int]) -> Any:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


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
