"""How a checkpoint is exported: one function for each format, and the table of all. A new format is one more of both.

Each function writes into an empty folder and hands out ways to call what it wrote, which parity.py compares with the
checkpoint. Its libraries are imported inside it.
"""
import contextlib
import os
from typing import Any, Callable, ContextManager, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils import nima
from utils.base.preprocessing import Preprocessing
from utils.formats import parity

_PIXELS = 'float32 [{count}, {size}, {size}, 3] in [-1, 1], RGB'
_DISTRIBUTIONS = 'float32 [{count}, 10], vote distribution over the scores 1 to 10'


class Request(NamedTuple):
    """What to export, and how."""

    folder: str                   # empty
    name: str                     # of the files, without ending
    graph_def: Any                # of frozen.freeze()
    preprocessing: Preprocessing
    batchsize: Optional[int]      # the fixed batch size of the exported model; None for any
    threads: int
    soc_version: Optional[str]    # om: the processor
    aipp: bool                    # om: the device scales pixels


class Export(NamedTuple):
    """What was written, and how to call it."""

    exported: Dict[str, parity.Predict]
    inputs: Dict[str, str]
    outputs: Dict[str, str]
    notes: Sequence[str] = ()


@contextlib.contextmanager
def _pb(request: Request) -> Iterator[Export]:
    from utils.formats import frozen
    path = os.path.join(request.folder, request.name + '.pb')
    frozen.write(request.graph_def, path)
    with frozen.running(path) as score:
        yield Export({'frozen graph': on_pixels(score, request.batchsize)}, *_tensors(request))


@contextlib.contextmanager
def _saved_model(request: Request) -> Iterator[Export]:
    from utils.formats import saved_model
    saved_model.write(request.folder, request.graph_def, request.preprocessing)
    size = request.preprocessing.image_size
    inputs = {f'{saved_model.BYTES_SIGNATURE}: {saved_model.BYTES}': 'string [N], files of JPEG, PNG or GIF',
              f'{saved_model.PIXELS_SIGNATURE}: {saved_model.PIXELS}': _PIXELS.format(count='N', size=size)}
    outputs = {saved_model.SHARES: _DISTRIBUTIONS.format(count='N'),
               saved_model.MEAN: 'float32 [N], mean score from 1 to 10',
               saved_model.STD: 'float32 [N], standard deviation of the votes'}
    with saved_model.running(request.folder) as call:
        yield Export({
            f'signature {saved_model.BYTES_SIGNATURE}':
                lambda files, images: call(saved_model.BYTES_SIGNATURE, files)[saved_model.SHARES],
            f'signature {saved_model.PIXELS_SIGNATURE}':
                lambda files, images: call(saved_model.PIXELS_SIGNATURE, images)[saved_model.SHARES],
        }, inputs, outputs)


@contextlib.contextmanager
def _onnx(request: Request) -> Iterator[Export]:
    from utils.formats import onnx_model
    path = os.path.join(request.folder, request.name + '.onnx')
    onnx_model.convert(request.graph_def, path)
    score = onnx_model.onnx_runtime(path, request.threads)
    yield Export({'ONNX Runtime': on_pixels(score, request.batchsize)}, *_tensors(request),
                 [f'validated with onnx.checker, opset {onnx_model.OPSET}'])


@contextlib.contextmanager
def _om(request: Request) -> Iterator[Export]:
    from utils.formats import ascend_model
    size, name = request.preprocessing.image_size, request.name
    words = ascend_model.command(name, image_size=size, batchsize=int(request.batchsize or 1),
                                 soc_version=str(request.soc_version), with_aipp=request.aipp)
    ascend_model.write(request.folder, words, image_size=size, with_aipp=request.aipp)
    with _pb(request) as written:
        made = ascend_model.run(request.folder, words, name)
        inputs = written.inputs
        if request.aipp:
            inputs = {key: f'uint8 [{request.batchsize}, {size}, {size}, 3], RGB; of the frozen graph {shape}'
                      for key, shape in inputs.items()}
        yield Export(written.exported, inputs, written.outputs, [
            f'atc: {ascend_model.as_typed(words)}', f'{name}.om: made by atc' if made else
            f'no atc on the PATH: run {ascend_model.SCRIPT} where CANN is, to make {name}.om'])


FORMATS: Dict[str, Callable[[Request], ContextManager[Export]]] = {
    'pb': _pb, 'saved_model': _saved_model, 'onnx': _onnx, 'om': _om}


def _tensors(request: Request) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Names, types and shapes of the frozen graph's input and output."""
    from utils.formats import frozen
    count = request.batchsize or 'N'
    return ({frozen.INPUT: _PIXELS.format(count=count, size=request.preprocessing.image_size)},
            {frozen.OUTPUT: _DISTRIBUTIONS.format(count=count)})


class _Padded(NamedTuple):
    """Predicts as a Keras model does, for nima.predict()."""

    predict_on_batch: Any


def on_pixels(score: Any, batchsize: Optional[int]) -> parity.Predict:
    """`score` as parity calls it; where the model has a fixed batch size, in steps of that."""
    def predict(files: Sequence[bytes], images: np.ndarray) -> np.ndarray:
        step = batchsize or len(images)
        return np.concatenate([nima.predict(_Padded(score), images[start:start + step], step)
                               for start in range(0, len(images), step)])
    return predict
