"""What computes the scores of predict.py and eval.py: TensorFlow, or OpenVINO on the CPU."""
from typing import Any, Callable, Dict, Tuple

from utils import checkpoint, frozen, nima, onnx_model


def forward_batch(engine: str, batchsize: int, device: str) -> int:
    """How many photographs the model of load() is to predict at a time, for batches of `batchsize`."""
    return batchsize if engine == 'openvino' else nima.forward_batch(batchsize, device)


def load(path: str, *, engine: str, fast: bool, threads: int, batchsize: int,
         report: Callable[[str], Any]) -> Tuple[Any, Dict[str, Any]]:
    """The model of a checkpoint, for nima.predict() in steps of `batchsize`, and its pre-processing.

    `engine` is 'tf' or 'openvino', which runs the ONNX export of the checkpoint; `fast` lets OpenVINO compute in
    bfloat16. It is called in an open device.open_run(). `report`, such as print, gets a sentence on the choice.
    """
    if engine == 'openvino':
        onnx_model.require('--engine openvino', onnx_model.OPENVINO_PACKAGES)
    model = checkpoint.load_for_scoring(path)
    preprocessing = checkpoint.preprocessing_of(path, model, report=report)
    if engine == 'tf':
        return model, preprocessing
    compiled = onnx_model.OpenVino(onnx_model.convert(frozen.freeze(model)), batchsize=batchsize,
                                   image_size=preprocessing['image_size'], threads=threads, fast=fast)
    slower = ', as this CPU has no bfloat16' if fast and compiled.precision == 'f32' else ''
    report(f'engine: OpenVINO {compiled.version}, {compiled.precision}{slower}')
    return compiled, preprocessing
