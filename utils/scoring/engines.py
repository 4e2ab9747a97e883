"""Engines, which compute the scores of predict.py and eval.py: TensorFlow, or OpenVINO on the CPU."""
from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

from utils import nima
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.device.device import Run
from utils.formats import frozen, onnx_model
from utils.model import build, model_file

NOT_ONE = 0.01  # how far the sum of an image's shares may be from 1; of shares rounded to bfloat16 it is within 0.004


class Choice(NamedTuple):
    """Which engine, and how it runs a checkpoint."""

    name: str = 'tf'     # or 'openvino'
    fast: bool = False   # OpenVINO may compute in bfloat16
    image_size: Optional[int] = None  # side of the network's input in place of the checkpoint's


class Engine(NamedTuple):
    """A checkpoint that is ready to predict."""

    path: str
    model: Any                  # has predict_on_batch()
    preprocessing: Preprocessing
    predict_batch: int          # images that it predicts at a time
    metadata: Optional[Dict[str, Any]]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Vote distributions float32 [N, 10] of images float32 [N, S, S, 3] in [-1, 1]; InputError for NaN."""
        distributions = nima.predict(self.model, images, self.predict_batch)
        if not np.isfinite(distributions).all():
            raise InputError(f'{self.path} predicts NaN: its training diverged. Choose another --checkpoint')
        if (distributions < 0).any() or (np.abs(distributions.sum(axis=1) - 1) > NOT_ONE).any():
            raise InputError(f'{self.path} predicts no shares of votes: they are negative or their sum is not 1. It '
                             'needs a softmax at its end. Choose another --checkpoint')
        return distributions


def predict_batch(engine: str, batchsize: int, device: str, threads: int) -> int:
    """How many images `engine` predicts at a time fastest: batches of `batchsize` in equal parts on a CPU.

    For OpenVINO it is one for each thread, whose data stay in the cache: the fastest of 1 to 64 on 2 cores.
    """
    if engine == 'openvino':
        return nima.equal_part(batchsize, max(1, threads))
    return nima.predict_batch(batchsize, device)


def load(path: str, choice: Choice, run: Run, batchsize: int, report: Callable[[str], Any]) -> Engine:
    """The checkpoint `path`, opened once, in an open device.open_run(); images come in batches of `batchsize`.

    OpenVINO runs the ONNX export of the checkpoint. `report`, such as print, gets a sentence on the choice.
    """
    if choice.name == 'openvino':
        onnx_model.require('--engine openvino', onnx_model.OPENVINO_PACKAGES)
    file = model_file.read(path).at_size(choice.image_size)
    model = build.for_scoring(file)
    preprocessing = file.preprocessing(model.input_shape[1], report)
    size = predict_batch(choice.name, batchsize, run.device, run.threads)
    if choice.name == 'tf':
        return Engine(path, model, preprocessing, size, file.metadata)
    compiled = onnx_model.OpenVino(onnx_model.convert(frozen.freeze(model)), batchsize=size,
                                   image_size=preprocessing.image_size, threads=run.threads, fast=choice.fast)
    slower = ', as this CPU has no bfloat16' if choice.fast and compiled.precision == 'f32' else ''
    report(f'engine: OpenVINO {compiled.version}, {compiled.precision}{slower}')
    return Engine(path, compiled, preprocessing, size, file.metadata)
