"""What computes the scores of predict.py and eval.py: TensorFlow, or OpenVINO on the CPU."""
from typing import Any, Callable, Dict, Tuple

from utils import nima
from utils.formats import frozen, onnx_model
from utils.model import checkpoint


def forward_batch(engine: str, batchsize: int, device: str, threads: int) -> int:
    """How many photographs `engine` predicts at a time fastest: batches of `batchsize` in equal parts on a CPU.

    For OpenVINO it is one for each thread, whose data stay in the cache: the fastest of 1 to 64 on 2 cores.
    """
    if engine == 'openvino':
        return nima.equal_part(batchsize, max(1, threads))
    return nima.forward_batch(batchsize, device)


def load(path: str, *, engine: str, fast: bool, device: str, threads: int, batchsize: int,
         report: Callable[[str], Any]) -> Tuple[Any, Dict[str, Any], int]:
    """The model of a checkpoint, its pre-processing, and how many photographs nima.predict() is to give it at a time.

    `engine` is 'tf' or 'openvino', which runs the ONNX export of the checkpoint; `fast` lets OpenVINO compute in
    bfloat16. It is called in an open device.open_run(), with its device and threads. Photographs come in batches of
    `batchsize`. `report`, such as print, gets a sentence on the choice.
    """
    if engine == 'openvino':
        onnx_model.require('--engine openvino', onnx_model.OPENVINO_PACKAGES)
    model = checkpoint.load_for_scoring(path)
    preprocessing = checkpoint.preprocessing_of(path, model, report=report)
    forward = forward_batch(engine, batchsize, device, threads)
    if engine == 'tf':
        return model, preprocessing, forward
    compiled = onnx_model.OpenVino(onnx_model.convert(frozen.freeze(model)), batchsize=forward,
                                   image_size=preprocessing['image_size'], threads=threads, fast=fast)
    slower = ', as this CPU has no bfloat16' if fast and compiled.precision == 'f32' else ''
    report(f'engine: OpenVINO {compiled.version}, {compiled.precision}{slower}')
    return compiled, preprocessing, forward
