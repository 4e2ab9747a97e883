"""From a checkpoint to where it runs: frozen graph, SavedModel, ONNX, Ascend offline model; inputs and scores of msame.

    python3 -m utils.export MODEL.h5 --format pb|saved_model|onnx|om --output DIR [...]
    python3 -m utils.export bins MODEL.h5 --output DIR [...]
    python3 -m utils.export srcc BINS OUTPUTS

An export is the folder DIR/FORMAT (of a SavedModel DIR/saved_model/VERSION), which appears whole, with its model card
and its parity report, or not at all.
"""
import contextlib
import os
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

if __package__ in (None, ''):  # started as a file: the folder above utils/ is not on the path yet
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.base import errors  # noqa: E402
from utils.base.errors import InputError  # noqa: E402
from utils.base.files import new_folder  # noqa: E402
from utils.base.preprocessing import Preprocessing  # noqa: E402
from utils.data import listing  # noqa: E402
from utils.formats import model_card, parity  # noqa: E402
from utils.formats.flags import export_flags  # noqa: E402

PHOTOGRAPHS = 16  # for the parity report, of a dataset
_PIXELS = 'float32 [{count}, {size}, {size}, 3] in [-1, 1], RGB'
_SHARES = 'float32 [{count}, 10], shares of the votes 1 to 10'


class Export(NamedTuple):
    """What was written, and how to call it."""

    exported: Dict[str, parity.Predict]
    inputs: Dict[str, str]
    outputs: Dict[str, str]
    notes: Sequence[str] = ()


@contextlib.contextmanager
def _pb(folder: str, name: str, graph_def: Any, preprocessing: Preprocessing, *, batchsize: Optional[int],
        **_: Any) -> Iterator[Export]:
    from utils.formats import frozen
    path = os.path.join(folder, name + '.pb')
    frozen.write(graph_def, path)
    with frozen.running(path) as score:
        inputs, outputs = _tensors(preprocessing, batchsize)
        yield Export({'frozen graph': _on_pixels(score, batchsize)}, inputs, outputs)


@contextlib.contextmanager
def _saved_model(folder: str, name: str, graph_def: Any, preprocessing: Preprocessing, **_: Any) -> Iterator[Export]:
    from utils.formats import saved_model
    saved_model.write(folder, graph_def, preprocessing)
    size = preprocessing.image_size
    inputs = {f'{saved_model.BYTES_SIGNATURE}: {saved_model.BYTES}': 'string [N], files of JPEG, PNG or GIF',
              f'{saved_model.PIXELS_SIGNATURE}: {saved_model.PIXELS}': _PIXELS.format(count='N', size=size)}
    outputs = {saved_model.SHARES: _SHARES.format(count='N'), saved_model.MEAN: 'float32 [N], mean score from 1 to 10',
               saved_model.STD: 'float32 [N], standard deviation of the votes'}
    with saved_model.running(folder) as call:
        yield Export({
            f'signature {saved_model.BYTES_SIGNATURE}':
                lambda files, images: call(saved_model.BYTES_SIGNATURE, files)[saved_model.SHARES],
            f'signature {saved_model.PIXELS_SIGNATURE}':
                lambda files, images: call(saved_model.PIXELS_SIGNATURE, images)[saved_model.SHARES],
        }, inputs, outputs)


@contextlib.contextmanager
def _onnx(folder: str, name: str, graph_def: Any, preprocessing: Preprocessing, *, batchsize: Optional[int],
          threads: int, **_: Any) -> Iterator[Export]:
    from utils.formats import onnx_model
    path = os.path.join(folder, name + '.onnx')
    onnx_model.convert(graph_def, path)
    score = onnx_model.onnx_runtime(path, threads)
    inputs, outputs = _tensors(preprocessing, batchsize)
    yield Export({'ONNX Runtime': _on_pixels(score, batchsize)}, inputs, outputs,
                 [f'checked by onnx.checker, opset {onnx_model.OPSET}'])


@contextlib.contextmanager
def _om(folder: str, name: str, graph_def: Any, preprocessing: Preprocessing, *, batchsize: int, soc_version: str,
        aipp: bool, **_: Any) -> Iterator[Export]:
    from utils.formats import ascend_model
    size = preprocessing.image_size
    words = ascend_model.command(name, image_size=size, batchsize=batchsize, soc_version=soc_version, with_aipp=aipp)
    ascend_model.write(folder, words, image_size=size, with_aipp=aipp)
    with _pb(folder, name, graph_def, preprocessing, batchsize=batchsize) as written:
        made = ascend_model.run(folder, words, name)
        inputs = written.inputs
        if aipp:
            inputs = {key: f'uint8 [{batchsize}, {size}, {size}, 3], RGB; of the frozen graph {shape}'
                      for key, shape in inputs.items()}
        yield Export(written.exported, inputs, written.outputs, [
            f'atc: {ascend_model.as_typed(words)}', f'{name}.om: made by atc' if made else
            f'no atc on the PATH: run {ascend_model.SCRIPT} where CANN is, to make {name}.om'])


FORMATS: Dict[str, Callable[..., Any]] = {'pb': _pb, 'saved_model': _saved_model, 'onnx': _onnx, 'om': _om}


def _tensors(preprocessing: Preprocessing, batchsize: Optional[int]) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Names, types and shapes of the frozen graph's input and output."""
    from utils.formats import frozen
    count = batchsize or 'N'
    return ({frozen.INPUT: _PIXELS.format(count=count, size=preprocessing.image_size)},
            {frozen.OUTPUT: _SHARES.format(count=count)})


class _Padded(NamedTuple):
    """Predicts as a Keras model does, for nima.predict()."""

    predict_on_batch: Any


def _on_pixels(score: Any, batchsize: Optional[int]) -> parity.Predict:
    """`score` as parity calls it; where the model takes one number of images only, in steps of that number."""
    def predict(files: Sequence[bytes], images: Any) -> Any:
        import numpy as np

        from utils import nima
        step = batchsize or len(images)
        return np.concatenate([nima.predict(_Padded(score), images[start:start + step], step)
                               for start in range(0, len(images), step)])
    return predict


def export(path: str, kind: str, output: str, *, photographs: Optional[Sequence[str]] = None,
           batchsize: Optional[int] = None, version: int = 1, threads: Optional[int] = None,
           **settings: Any) -> Dict[str, Any]:
    """Export the checkpoint `path` to the format `kind`; returns the model card.

    InputError, and no export, where a package is missing or the exported model differs from the checkpoint.
    """
    if kind == 'onnx':
        from utils.formats import onnx_model
        onnx_model.require('--format onnx', onnx_model.EXPORT_PACKAGES)
    import tensorflow as tf

    from utils.device import device
    from utils.formats import frozen
    from utils.model import build, model_file
    name = os.path.splitext(os.path.basename(path))[0]
    folder = os.path.join(output, kind, str(version)) if kind == 'saved_model' else os.path.join(output, kind)
    with new_folder(folder, '--output') as fresh, device.open_run('cpu', threads=threads) as run:
        file = model_file.read(path)
        model = build.for_scoring(file)
        preprocessing = file.preprocessing(model.input_shape[1], print)
        run.initialise()
        graph_def = frozen.freeze(model, batchsize)
        with FORMATS[kind](fresh, name, graph_def, preprocessing, batchsize=batchsize, threads=run.threads,
                           **settings) as made:
            report = _measure(model, made.exported, photographs, preprocessing, run)
        parity.require(report, f'{path} as {kind}')
        card = model_card.card(file, preprocessing, kind=kind, tensorflow=tf.__version__, inputs=made.inputs,
                               outputs=made.outputs, files=model_card.hashes(fresh))
        # A SavedModel keeps what is not its own in assets.extra.
        model_card.write(os.path.join(fresh, 'assets.extra') if kind == 'saved_model' else fresh, card, report)
    for line in _told(folder, card, report, made.notes):
        print(line)
    return card


def _told(folder: str, card: Dict[str, Any], report: Dict[str, Any], notes: Sequence[str]) -> List[str]:
    return [f'{folder}: {", ".join(card["files"])}',
            *(f'{"input" if part == "inputs" else "output"} {name}: {what}'
              for part in ('inputs', 'outputs') for name, what in card[part].items()), *notes, *parity.text(report)]


def _measure(model: Any, exported: Dict[str, parity.Predict], typed: Optional[Sequence[str]],
             preprocessing: Preprocessing, run: Any) -> Dict[str, Any]:
    """The parity report of an exported model."""
    from utils.data import image_files
    reader = image_files.ImageReader(image_size=preprocessing.image_size, resize=preprocessing.resize,
                                          session_config=run.host_config)
    with contextlib.closing(reader), _photographs(typed) as (source, files):
        return parity.measure(_read(reader, files, strict=bool(typed)), _on_pixels(model.predict_on_batch, None),
                              exported, source)


def _read(reader: Any, files: Sequence[str], *, strict: bool) -> Iterator[parity.Photograph]:
    """The photographs in `files`; without `strict` those that cannot be read are named and left out."""
    for file in files:
        try:
            yield parity.Photograph(*reader.read_with_data(file))
        except InputError as error:
            if strict:
                raise
            print(f'left out: {error}', file=sys.stderr)


@contextlib.contextmanager
def _photographs(typed: Optional[Sequence[str]]) -> Iterator[Any]:
    """Which photographs are compared, in words, and their files: those typed, of the dataset, or drawn on the spot."""
    from utils import data_loader
    folder = data_loader.dataset_paths()[1]
    if typed:
        yield 'those of --photographs', list(listing.find(typed))
        return
    files = [file for file in listing.find([folder]) if file != folder][:PHOTOGRAPHS]
    if files:
        yield f'the first {len(files)} of the dataset', files
        return
    from utils.demo import dataset
    with tempfile.TemporaryDirectory() as scratch:
        with contextlib.redirect_stdout(sys.stderr):
            demo = os.path.join(scratch, 'demo')
            dataset.make(demo, train_size=1, val_size=PHOTOGRAPHS - 1)
        yield 'scenes of the demo dataset, as there is no other', list(listing.find([os.path.join(demo, 'image',
                                                                                                 'images')]))


def main(argv: Optional[Sequence[str]] = None) -> Dict[str, Any]:
    """Export, write inputs or score outputs as the flags say; returns the model card, the manifest or the metrics."""
    flags = export_flags(argv)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # what TensorFlow tells of the CPU
    if flags.command == 'bins':
        from utils.formats import msame
        return msame.write_bins(
            flags.file, flags.output, val_size=flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
            images=flags.base_images_path, skip_bad=flags.skip_bad_labels, max_bad_images=flags.max_bad_images,
            max_pixels=flags.max_pixels, batchsize=flags.batchsize, uint8=flags.uint8)
    if flags.command == 'srcc':
        from utils.formats import msame
        return msame.srcc(flags.bins, flags.outputs)
    return export(flags.file, flags.format, flags.output, photographs=flags.photographs, batchsize=flags.batchsize,
                  version=flags.model_version, threads=flags.threads, soc_version=flags.soc_version, aipp=flags.aipp)


if __name__ == '__main__':
    errors.run(main, 'export')
