"""From a checkpoint to where it runs: frozen graph, SavedModel, ONNX, Ascend offline model; inputs and scores of msame.

    bash run.sh -m utils.export MODEL.h5 --format pb|saved_model|onnx|om --output DIR [...]
    bash run.sh -m utils.export bins MODEL.h5 --output DIR [...]
    bash run.sh -m utils.export srcc BINS OUTPUTS

An export is the folder DIR/FORMAT (of a SavedModel DIR/saved_model/VERSION), which appears whole, with its model card
and its parity report, or not at all. utils/formats/exporters.py lists the formats.
"""
import contextlib
import os
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from utils.base import errors
from utils.base.errors import InputError
from utils.base.files import new_folder
from utils.base.text import printable
from utils.data import listing
from utils.formats import exporters
from utils.formats.exporters import Options
from utils.formats.flags import export_flags

IMAGES = 16  # of a dataset, for the parity report


def export(path: str, kind: str, output: str, options: Options = Options(), *,  # noqa: B008  a constant
           images: Optional[Sequence[str]] = None, threads: Optional[int] = None,
           image_size: Optional[int] = None) -> Dict[str, Any]:
    """Export the checkpoint `path` to the format `kind`, below the folder `output`; returns the model card.

    `images` are those on which it is compared, `image_size` is in place of the checkpoint's. InputError, and no export,
    where a package is missing or the exported model differs from the checkpoint.
    """
    import tensorflow as tf

    from utils.data import image_files
    from utils.device import device
    from utils.formats import frozen, model_card, parity
    from utils.model import build, model_file
    versions = [str(options.model_version)] if 'model_version' in exporters.FORMATS[kind].flags else []
    folder = os.path.join(output, kind, *versions)
    name = os.path.splitext(os.path.basename(path))[0]
    with new_folder(folder, '--output') as fresh, device.open_run('cpu', threads=threads) as run:
        file = model_file.read(path).at_size(image_size)
        model = build.for_scoring(file)
        preprocessing = file.preprocessing(model.input_shape[1], print).for_any_image(path, print)
        run.initialise()
        request = exporters.Request(fresh, name, frozen.freeze(model, options.batchsize), preprocessing, run.threads,
                                    options)
        as_stored = preprocessing._replace(orientation='ignore')  # no export turns images: whoever calls it does
        reader = image_files.ImageReader(as_stored, session_config=run.host_config)
        with exporters.exporter(kind)(request) as made, contextlib.closing(reader), _images(images) as (source, names):
            report = parity.measure(_read(reader, names, strict=bool(images)), frozen.on_pixels(model.predict_on_batch),
                                    made.exported, source)
        parity.require(report, f'{path} as {kind}')
        card = model_card.card(file, preprocessing, kind=kind, tensorflow=tf.__version__, inputs=made.inputs,
                               outputs=made.outputs, files=model_card.hashes(fresh))
        model_card.write(os.path.join(fresh, made.card_folder), card, report)
    for line in _lines(folder, card, report, made.notes):
        print(line)
    return card


def _lines(folder: str, card: Dict[str, Any], report: Dict[str, Any], notes: Sequence[str]) -> List[str]:
    from utils.formats import parity
    return [f'{folder}: {", ".join(card["files"])}',
            *(f'{part[:-1]} {name}: {what}' for part in ('inputs', 'outputs') for name, what in card[part].items()),
            *notes, *parity.text(report)]


def _read(reader: Any, names: Sequence[str], *, strict: bool) -> Iterator[Any]:
    """A parity.Sample of each of the files `names`; without `strict` unreadable ones are reported and left out."""
    from utils.formats import parity
    for name in names:
        try:
            yield parity.Sample(*reader.read_with_data(name))
        except InputError as error:
            if strict:
                raise
            print(printable(f'left out: {error}'), file=sys.stderr)


@contextlib.contextmanager
def _images(typed: Optional[Sequence[str]]) -> Iterator[Tuple[str, List[str]]]:
    """Which images are compared, in words, and their files: those typed, of the dataset, or drawn on the spot."""
    from utils import data_loader
    folder = data_loader.dataset_paths()[1]
    if typed:
        yield 'those of --photographs', list(listing.find(typed))
        return
    files = [file for file in listing.find([folder]) if file != folder][:IMAGES]
    if files:
        yield f'the first {len(files)} of the dataset', files
        return
    from utils.demo import dataset
    with tempfile.TemporaryDirectory() as scratch:
        demo = os.path.join(scratch, 'demo')
        with contextlib.redirect_stdout(sys.stderr):
            dataset.make(demo, train_size=1, val_size=IMAGES - 1)
        yield 'scenes of the demo dataset, as there is no other', list(listing.find([os.path.join(demo, 'image',
                                                                                                 'images')]))


def _write_bins(flags: Any) -> Dict[str, Any]:
    from utils import data_loader
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet
    from utils.formats import msame
    _, val = data_loader.read_split(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                    images=flags.base_images_path, options=flags.labels, to_train=0,
                                    report=print)
    images = ImageSet(val, BadImages(val.count, share=flags.max_bad_images, what='validation'))
    return msame.write_bins(flags.file, flags.output, images, split=flags.split, max_pixels=flags.max_pixels,
                            batchsize=flags.batchsize, uint8=flags.uint8)


def main(argv: Optional[Sequence[str]] = None) -> Dict[str, Any]:
    """Export, write inputs or score outputs as the flags say; returns the model card, the manifest or the metrics."""
    flags = export_flags(argv)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # what TensorFlow reports of the CPU
    if flags.command == 'bins':
        return _write_bins(flags)
    if flags.command == 'srcc':
        from utils.formats import msame
        return msame.srcc(flags.bins, flags.outputs)
    return export(flags.file, flags.format, flags.output, flags.options, images=flags.photographs,
                  threads=flags.threads, image_size=flags.image_size)


if __name__ == '__main__':
    errors.run(main, 'export')
