"""Scoring an Ascend offline model with msame: its inputs as .bin files, and the metrics of what it wrote.

BINS/inputs/000000.bin ...   the photographs, float32 [B, S, S, 3] in [-1, 1] or uint8, one file an inference
BINS/labels.csv              for each photograph its file, its row in that file, its id and its ten true vote shares
BINS/bins.json               how the files were made
OUTPUTS/.../000000_output_0.bin or .txt       what msame writes for 000000.bin
"""
import contextlib
import csv
import json
import os
import re
import shlex
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from utils import score_utils
from utils.base import errors
from utils.base.errors import InputError
from utils.base.files import new_folder, sha256
from utils.base.progress import progress
from utils.data import ava, splits
from utils.data.image_set import ImageSet, Reading
from utils.model import model_file

INPUTS, LABELS, MANIFEST = 'inputs', 'labels.csv', 'bins.json'
FORMAT = 'NIMA inputs for msame, 1'
_SHARES = tuple(f'share_of_{score:.0f}' for score in ava.SCORES)
_OUTPUT = re.compile(r'(\d{6,})_output_0\.(bin|txt)')
_SUM_TOLERANCE = 0.02  # ten half-precision shares


def _stem(number: int) -> str:
    return f'{number:06d}'


def write_bins(path: str, output: str, val: ImageSet, *, split: str, max_pixels: int, batchsize: int = 1,
               uint8: bool = False) -> Dict[str, Any]:
    """Write the validation images as the checkpoint `path` wants them into the new folder `output`.

    Returns the manifest. Unreadable images are left out, as in eval.py.
    """
    from utils import data_loader
    preprocessing = model_file.read(path).preprocessing(None, print)
    with new_folder(output, '--output') as fresh:
        os.mkdir(os.path.join(fresh, INPUTS))
        batches: Any = data_loader.val_batches(val, batchsize, Reading(preprocessing, max_pixels))
        steps = -(-val.ratings.count // batchsize)
        with contextlib.closing(batches):
            each = (image for batch, _ in progress(batches, steps, 'writing') for image in batch)
            files = _write_inputs(os.path.join(fresh, INPUTS), each, batchsize, uint8)
        good, bad = val.readable, val.bad
        _write_labels(os.path.join(fresh, LABELS), good, batchsize)
        manifest = {'format': FORMAT, 'checkpoint': {'file': os.path.basename(path), 'sha256': sha256(path)},
                    'preprocessing': preprocessing.as_json(), 'type': 'uint8' if uint8 else 'float32',
                    'batchsize': batchsize, 'files': files, 'photographs': good.count, 'left_out': bad.count,
                    'split': splits.name(split, good), 'split_sha256': splits.split_hash(good)}
        with open(os.path.join(fresh, MANIFEST), 'w', encoding='utf-8') as stream:
            json.dump(manifest, stream, indent=1)
    left_out = f', {bad.count} left out' if bad.count else ''
    print(f'{output}: {good.count} images{left_out} in {files} files of {batchsize}, {manifest["type"]}\n'
          f'then: msame --model MODEL.om --input {shlex.quote(os.path.join(output, INPUTS))} --output OUTPUTS '
          f'--outfmt BIN\nthen: {errors.command_of("utils/export.py")} srcc {shlex.quote(output)} OUTPUTS')
    return manifest


def _write_inputs(folder: str, images: Iterator[np.ndarray], batchsize: int, uint8: bool) -> int:
    """One file for every `batchsize` images, the last filled up with zeros; returns their number."""
    files = 0
    waiting: List[np.ndarray] = []

    def write() -> None:
        batch = np.zeros((batchsize, *waiting[0].shape), np.float32)
        batch[:len(waiting)] = waiting
        if uint8:
            batch = np.round(batch * 127.5 + 127.5).astype(np.uint8)
        batch.tofile(os.path.join(folder, _stem(files) + '.bin'))

    for image in images:
        waiting.append(image)
        if len(waiting) == batchsize:
            write()
            files, waiting = files + 1, []
    if waiting:
        write()
        files += 1
    return files


def _write_labels(path: str, val: ava.Ratings, batchsize: int) -> None:
    with open(path, 'w', encoding='utf-8', errors='surrogateescape', newline='') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow(['file', 'row', 'id', *_SHARES])
        for number, (image_id, shares) in enumerate(zip(val.ids, val.distributions)):
            file = _stem(number // batchsize) + '.bin'
            writer.writerow([file, number % batchsize, image_id, *(repr(float(share)) for share in shares)])


def srcc(bins: str, outputs: str) -> Dict[str, float]:
    """Print the table and the last line of eval.py for what msame wrote, in any order; returns the metrics.

    InputError where an output is missing, is there twice, is of another input, or holds no shares of votes.
    """
    manifest, files, true = _read_labels(bins)
    found = _outputs(outputs)
    missing = [stem for stem in dict.fromkeys(stem for stem, _ in files) if stem not in found]
    if missing:
        raise InputError(f'{outputs}: found no output of {missing[0]}.bin, and of {len(missing)} in all of '
                         f'{manifest["files"]} files, expected {missing[0]}_output_0.bin or .txt: run msame on all of '
                         f'{os.path.join(bins, INPUTS)} and give its --output')
    strange = sorted(found.keys() - {stem for stem, _ in files})
    if strange:
        raise InputError(f'{found[strange[0]]}: found an output of {strange[0]}.bin, expected those of the '
                         f'{manifest["files"]} files of {os.path.join(bins, INPUTS)} alone: give the folder of the run '
                         'of msame on them')
    read = {stem: _read_output(found[stem], manifest['batchsize']) for stem in dict.fromkeys(stem for stem, _ in files)}
    predicted = np.stack([read[stem][row] for stem, row in files])
    with np.errstate(invalid='ignore'):  # a NaN is wrong
        wrong = ~(np.abs(predicted.sum(axis=1) - 1) <= _SUM_TOLERANCE) | ~(predicted >= -_SUM_TOLERANCE).all(axis=1)
    if wrong.any():
        stem, row = files[int(np.argmax(wrong))]
        raise InputError(f'{found[stem]}: found values in row {row} that are no shares of votes, which sum to 1, '
                         'expected the output of the exported model: check the inputs and --aipp')
    metrics = score_utils.metrics(true, predicted)
    constant = score_utils.metrics(true, score_utils.constant_prediction(true))
    print(f'{outputs}: {len(true)} photographs, split {manifest["split"]}, hash '
          f'{manifest["split_sha256"][:splits.SHORT]}')
    print(score_utils.table({'model': metrics, 'constant': constant}))
    reason = score_utils.undefined_reason(*map(score_utils.mean_score, (true, predicted)))
    if reason:
        print(f'SRCC is undefined: {reason}')
    print(f'loss  {metrics["emd_r2"]:f}     srcc {metrics["srcc_mean"]:f}')
    return metrics


def _read_labels(bins: str) -> Tuple[Dict[str, Any], List[Tuple[str, int]], np.ndarray]:
    """The manifest, each photograph's file, without .bin, and row in it, and the true shares [N, 10]."""
    path = os.path.join(bins, MANIFEST)
    try:
        with open(path, encoding='utf-8') as stream:
            manifest = json.load(stream)
        if manifest['format'] != FORMAT:
            raise ValueError(f'format {manifest["format"]!r}')
        path = os.path.join(bins, LABELS)
        with open(path, encoding='utf-8', errors='surrogateescape', newline='') as stream:
            rows = list(csv.DictReader(stream))
        files = [(os.path.splitext(row['file'])[0], int(row['row'])) for row in rows]
        true = np.array([[float(row[name]) for name in _SHARES] for row in rows])
        if len(rows) != manifest['photographs'] or not rows:
            raise ValueError(f'{len(rows)} lines')
        if any(not 0 <= row < manifest['batchsize'] for _, row in files) or not np.isfinite(true).all():
            raise ValueError('rows or shares that cannot be')
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise InputError(f'{path}: found nothing that can be read ({what}), expected the folder that the command bins '
                         f'made: make one with {errors.command_of("utils/export.py")} bins') from error
    return manifest, files, true


def _outputs(folder: str) -> Dict[str, str]:
    """The paths of msame's outputs in `folder` and the folders in it, by the name of the input."""
    if not os.path.isdir(folder):
        raise InputError(f'{folder}: found no such folder, expected the one that msame wrote: give its --output')
    found: Dict[str, str] = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            match = _OUTPUT.fullmatch(name)
            if match and match.group(1) in found:
                raise InputError(f'{os.path.join(place, name)}: found a second output of {match.group(1)}.bin, beside '
                                 f'{found[match.group(1)]}, expected those of one run: give the folder of one run')
            if match:
                found[match.group(1)] = os.path.join(place, name)
    return found


def _read_output(path: str, batchsize: int) -> np.ndarray:
    """The ten shares of each photograph of a file, [batchsize, 10]."""
    count = batchsize * len(ava.SCORES)
    try:
        if path.endswith('.txt'):
            with open(path, encoding='utf-8') as stream:
                values = np.array([float(word) for word in stream.read().replace(',', ' ').split()])
        else:
            half = os.path.getsize(path) == 2 * count
            values = np.fromfile(path, np.float16 if half else np.float32).astype(np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: found a file that cannot be read ({error}), expected {count} numbers: run msame '
                         'again') from error
    if values.size != count:
        raise InputError(f'{path}: found {values.size} numbers, expected {count}, ten for each of {batchsize}: run '
                         'msame again, with the offline model of that --batchsize')
    return values.reshape(batchsize, len(ava.SCORES))
