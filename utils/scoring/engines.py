"""What computes the scores of predict.py and eval.py: TensorFlow, or OpenVINO on the CPU."""
from typing import Any, Callable, Dict, NamedTuple

from utils import nima
from utils.base.preprocessing import Preprocessing
from utils.formats import frozen, onnx_model
from utils.model import build, model_file


class Engine(NamedTuple):
    """What computes the scores of a checkpoint."""

    model: Any                     # for nima.predict()
    preprocessing: Preprocessing
    predict_batch: int             # images that the model predicts at a time
    metadata: Dict[str, Any]       # of the checkpoint, with the pre-processing that is used


def forward_batch(engine: str, batchsize: int, device: str, threads: int) -> int:
    """How many photographs `engine` predicts at a time fastest: batches of `batchsize` in equal parts on a CPU.

    For OpenVINO it is one for each thread, whose data stay in the cache: the fastest of 1 to 64 on 2 cores.
    """
    if engine == 'openvino':
        return nima.equal_part(batchsize, max(1, threads))
    return nima.forward_batch(batchsize, device)


def load(path: str, *, engine: str, fast: bool, device: str, threads: int, batchsize: int,
         report: Callable[[str], Any]) -> Engine:
    """What computes the scores of the checkpoint `path`, which is opened once.

    `engine` is 'tf' or 'openvino', which runs the ONNX export of the checkpoint; `fast` lets OpenVINO compute in
    bfloat16. It is called in an open device.open_run(), with its device and threads. Images come in batches of
    `batchsize`. `report`, such as print, gets a sentence on the choice.
    """
    if engine == 'openvino':
        onnx_model.require('--engine openvino', onnx_model.OPENVINO_PACKAGES)
    file = model_file.read(path)
    model = build.for_scoring(file)
    preprocessing = file.preprocessing(model.input_shape[1], report)
    made = Engine(model, preprocessing, forward_batch(engine, batchsize, device, threads),
                  {**(file.metadata or {}), 'preprocessing': preprocessing.as_json()})
    if engine == 'tf':
        return made
    compiled = onnx_model.OpenVino(onnx_model.convert(frozen.freeze(model)), batchsize=made.predict_batch,
                                   image_size=preprocessing.image_size, threads=threads, fast=fast)
    slower = ', as this CPU has no bfloat16' if fast and compiled.precision == 'f32' else ''
    report(f'engine: OpenVINO {compiled.version}, {compiled.precision}{slower}')
    return made._replace(model=compiled)
