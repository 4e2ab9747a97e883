"""Scoring an Ascend offline model with msame: its inputs as .bin files, and the metrics of what it wrote.

BINS/inputs/000000.bin ...   the images, float32 [B, S, S, 3] in [-1, 1] or uint8, one file an inference
BINS/labels.csv              for each image its file, its row in that file, its id and its true vote distribution
BINS/bins.json               how the files were made
OUTPUTS/.../000000_output_0.bin or .txt       what msame writes for 000000.bin
"""
import contextlib
import csv
import itertools
import os
import re
import shlex
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from utils import score_utils
from utils.base import errors, reading
from utils.base.errors import InputError
from utils.base.files import new_folder, sha256, write_json
from utils.base.progress import progress
from utils.data import ava, splits
from utils.data.image_set import ImageSet, Reading
from utils.model import model_file

INPUTS, LABELS, MANIFEST = 'inputs', 'labels.csv', 'bins.json'
FORMAT = 'NIMA inputs for msame, 1'
_SHARES = tuple(f'share_of_{score:.0f}' for score in ava.SCORES)
_OUTPUT = re.compile(r'(\d{6,})_output_0\.(bin|txt)')
_SUM_TOLERANCE = 0.02  # of a distribution in half precision


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
        write_json(os.path.join(fresh, MANIFEST), manifest)
    left_out = f', {bad.count} left out' if bad.count else ''
    print(f'{output}: {good.count} images{left_out} in {files} files of {batchsize}, {manifest["type"]}\n'
          f'then: msame --model MODEL.om --input {shlex.quote(os.path.join(output, INPUTS))} --output OUTPUTS '
          f'--outfmt BIN\nthen: {errors.command_of("utils/export.py")} srcc {shlex.quote(output)} OUTPUTS')
    return manifest


def _write_inputs(folder: str, images: Iterator[np.ndarray], batchsize: int, uint8: bool) -> int:
    """One file for every `batchsize` images, the last filled up with zeros; returns their number."""
    files = 0
    for files in itertools.count():
        some = list(itertools.islice(images, batchsize))
        if not some:
            break
        batch = np.zeros((batchsize, *some[0].shape), np.float32)
        batch[:len(some)] = some
        if uint8:
            batch = np.round(batch * 127.5 + 127.5).astype(np.uint8)
        batch.tofile(os.path.join(folder, _stem(files) + '.bin'))
    return files


def _write_labels(path: str, val: ava.Ratings, batchsize: int) -> None:
    with open(path, 'w', encoding='utf-8', errors='surrogateescape', newline='') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow(['file', 'row', 'id', *_SHARES])
        for number, (image_id, distribution) in enumerate(zip(val.ids, val.distributions)):
            file = _stem(number // batchsize) + '.bin'
            writer.writerow([file, number % batchsize, image_id, *(repr(float(share)) for share in distribution)])


def srcc(bins: str, outputs: str) -> Dict[str, float]:
    """Print the table and the last line of eval.py for what msame wrote, in any order; returns the metrics.

    InputError where an output is missing, is there twice, is of another input, or holds no vote distributions.
    """
    manifest, rows, true = _read_labels(bins)
    found = _outputs(outputs)
    _require_all(found, [stem for stem, _ in rows], bins, outputs)
    read = {stem: _read_output(path, manifest['batchsize']) for stem, path in found.items()}
    predicted = np.stack([read[stem][row] for stem, row in rows])
    with np.errstate(invalid='ignore'):  # a NaN is wrong
        wrong = ~(np.abs(predicted.sum(axis=1) - 1) <= _SUM_TOLERANCE) | ~(predicted >= -_SUM_TOLERANCE).all(axis=1)
    if wrong.any():
        stem, row = rows[int(np.argmax(wrong))]
        raise InputError(f'{found[stem]}: the values in row {row} are no vote distribution, which sums to 1. Check the '
                         'inputs and --aipp')
    metrics = score_utils.metrics(true, predicted)
    print(f'{outputs}: {len(true)} images, split {manifest["split"]}, hash {manifest["split_sha256"][:splits.SHORT]}')
    print(score_utils.table({'model': metrics, 'constant': score_utils.metrics(
        true, score_utils.constant_prediction(true))}))
    print(score_utils.last_lines(true, predicted))
    return metrics


def _require_all(found: Dict[str, str], stems: List[str], bins: str, outputs: str) -> None:
    """InputError where `found` are not the outputs of the inputs `stems`."""
    expected, inputs = list(dict.fromkeys(stems)), os.path.join(bins, INPUTS)
    missing = [stem for stem in expected if stem not in found]
    if missing:
        raise InputError(f'{outputs}: no output of {missing[0]}.bin ({len(missing)} of {len(expected)} are missing). '
                         f'Run msame on all of {inputs} and give its --output')
    strange = sorted(found.keys() - set(expected))
    if strange:
        raise InputError(f'{found[strange[0]]} is an output of {strange[0]}.bin, which is not among the '
                         f'{len(expected)} files of {inputs}. Give the folder of the run of msame on them')


def _read_labels(bins: str) -> Tuple[Dict[str, Any], List[Tuple[str, int]], np.ndarray]:
    """The manifest, each image's file, without .bin, and row in it, and the true distributions [N, 10]."""
    path = os.path.join(bins, MANIFEST)
    try:
        manifest = reading.read_json(path)
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
            raise ValueError('impossible rows or shares')
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise InputError(f'{path} cannot be used: {what}. Give the folder that this command made: '
                         f'{errors.command_of("utils/export.py")} bins') from error
    return manifest, files, true


def _outputs(folder: str) -> Dict[str, str]:
    """The paths of msame's outputs in `folder` and the folders in it, by the name of the input."""
    if not os.path.isdir(folder):
        raise InputError(f'{folder}: no such folder. Give the one that msame wrote, its --output')
    found: Dict[str, str] = {}
    for below, _, names in os.walk(folder):
        for name in sorted(names):
            match = _OUTPUT.fullmatch(name)
            if match and match.group(1) in found:
                raise InputError(f'{os.path.join(below, name)} is a second output of {match.group(1)}.bin, beside '
                                 f'{found[match.group(1)]}. Give the folder of one run')
            if match:
                found[match.group(1)] = os.path.join(below, name)
    return found


def _read_output(path: str, batchsize: int) -> np.ndarray:
    """The distributions [batchsize, 10] in a file."""
    count = batchsize * len(ava.SCORES)
    try:
        if path.endswith('.txt'):
            with open(path, encoding='utf-8') as stream:
                values = np.array([float(word) for word in stream.read().replace(',', ' ').split()])
        else:
            half = os.path.getsize(path) == 2 * count
            values = np.fromfile(path, np.float16 if half else np.float32).astype(np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f'{path} cannot be read: {error}. Run msame again') from error
    if values.size != count:
        raise InputError(f'{path} holds {values.size} numbers, expected {count}, ten for each of {batchsize} images. '
                         'Run msame again, with the offline model of that --batchsize')
    return values.reshape(batchsize, len(ava.SCORES))
