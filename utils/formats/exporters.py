"""The formats that a checkpoint is exported to. A new one is a file with a function export(), and a line of FORMATS.

frozen.py has the shortest export(). It is a context manager: it writes files into the empty request.folder and hands
out an Export, whose functions call what was written while parity.py compares them with the checkpoint.
"""
import importlib
from typing import Any, Callable, ContextManager, Dict, NamedTuple, Optional, Sequence, Tuple

from utils.base.preprocessing import Preprocessing


class Format(NamedTuple):
    """A choice of --format."""

    module: str             # has the function export()
    help: str
    flags: Sequence[str]    # the fields of Options that it reads


FORMATS = {
    'pb': Format('frozen', 'frozen graph', ['batchsize']),
    'saved_model': Format('saved_model', 'for TensorFlow Serving', ['model_version']),
    'onnx': Format('onnx_model', 'needs requirements-export.txt', ['batchsize']),
    'om': Format('ascend_model', 'frozen graph and atc command for an Ascend offline model; the .om file too where atc '
                 'is on the PATH', ['batchsize', 'soc_version', 'aipp']),
}


class Options(NamedTuple):
    """Typed flags, for those formats that read them."""

    batchsize: Optional[int] = None     # fixed; None for any number of images
    model_version: int = 1              # TensorFlow Serving serves the highest
    soc_version: str = 'Ascend310'      # the processor
    aipp: bool = False                  # the device scales pixels


class Request(NamedTuple):
    """What to export, and how."""

    folder: str
    name: str                           # of the files, without ending
    graph_def: Any                      # of frozen.freeze()
    preprocessing: Preprocessing
    threads: int
    options: Options


class Export(NamedTuple):
    """What was written, and how to call it."""

    exported: Dict[str, Callable[..., Any]]     # parity.Predict, by what it is called in the report
    inputs: Dict[str, str]                      # what each is, by its name in the model
    outputs: Dict[str, str]
    notes: Sequence[str] = ()                   # lines to print
    card_folder: str = ''                       # of the model card, within the export's


def exporter(kind: str) -> Callable[[Request], ContextManager[Export]]:
    """The function export() of a format."""
    export: Callable[[Request], ContextManager[Export]] = importlib.import_module(
        f'utils.formats.{FORMATS[kind].module}').export
    return export


def tensors(request: Request, name: str, output: str) -> Tuple[Dict[str, str], Dict[str, str]]:
    """`inputs` and `outputs` of a model that takes pixels as `name` and gives vote distributions as `output`."""
    count = request.options.batchsize or 'N'
    return {name: pixels(request, count)}, {output: distributions(count)}


def pixels(request: Request, count: Any = 'N') -> str:
    size = request.preprocessing.image_size
    return f'float32 [{count}, {size}, {size}, 3] in [-1, 1], RGB'


def distributions(count: Any = 'N') -> str:
    return f'float32 [{count}, 10], vote distribution over the scores 1 to 10'
