"""Scores: of the image files that a person names, and of the validation images of a dataset."""
import contextlib
import os
import sys
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils import data_loader
from utils.base.cores import usable_cores
from utils.base.errors import InputError
from utils.base.progress import progress, write
from utils.base.text import printable
from utils.data import fitting, image_files, listing, packed, splits
from utils.data.image_set import ImageSet, Reading
from utils.device import device
from utils.device.device import Run
from utils.scoring import engines, score_tables
from utils.scoring.engines import Choice, Engine
from utils.scoring.score_tables import Scored


def say(text: str) -> None:
    """Print a line on standard error, whatever is in the names in it."""
    write(f'{printable(text)}\n', sys.stderr)


def select(found: Iterable[str], shard: Optional[Tuple[int, int]], output: score_tables.Output) -> List[str]:
    """The files to score: the shard (I, N) of those `found`, or all, less those that the output has already."""
    everything = list(found)
    if not everything:
        raise InputError('no names on standard input, expected image files, one name a line')
    part = listing.shard(everything, shard)
    if len(part) < len(everything) or output.means:
        before = sum(printable(file) in output.means for file in part)
        say(f'{len(everything)} files: {len(part)} in this part, {before} of them scored before')
    return score_tables.still_to_score(part, output)


class Scorer:
    """A checkpoint that scores image files: `Scorer('model.h5').score(paths)`, as predict.py calls it.

    It is loaded by the first score() that is iterated, and closed by close() or the end of `with`. One at a time is
    open in a process: Keras has one session. What it reports goes to standard error.
    """

    def __init__(self, path: str, *, batchsize: int = 32, device_name: str = 'auto', threads: Optional[int] = None,
                 npu: Optional[Dict[str, Any]] = None, engine: Choice = Choice(),  # noqa: B008  a constant
                 longest_side: Optional[int] = None) -> None:
        """`device_name` is 'auto', 'cpu', 'gpu' or 'npu'; `threads` of the CPU are by default one for each core.

        `longest_side` is in place of the checkpoint's, see preprocessing.py.
        """
        self.failed: List[str] = []  # files that could not be scored
        self._path, self._batchsize, self._choice, self._longest_side = path, batchsize, engine, longest_side
        self._device, self._threads, self._npu = device_name, threads, npu
        self._workers = threads or usable_cores()
        self._opened = contextlib.ExitStack()
        self._loaded: Optional[Tuple[Engine, Any]] = None

    def __enter__(self) -> 'Scorer':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close the device and what it holds; the next score() loads the checkpoint again."""
        self._loaded = None
        self._opened.close()

    def score(self, paths: Sequence[str]) -> Iterator[Scored]:
        """Each image file with its vote distribution, float32 [10], the shares of the scores 1 to 10, in order.

        score_utils.mean_score() and std_score() are its mean and std; listing.find() lists the images of a folder. An
        unreadable file is left out, reported and added to `failed`.

        Raises: InputError where the checkpoint or the device cannot be used, or the model predicts NaN.
        """
        files = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
        if not files:
            return
        engine, reader = self._loaded = self._loaded or self._load()
        read: Any = reader.read_all(files, workers=self._workers, ahead=self._batchsize + self._workers)
        waiting: List[Tuple[str, np.ndarray]] = []
        with contextlib.closing(read):
            for number, (file, found) in enumerate(progress(read, len(files), 'scoring'), 1):
                if isinstance(found, InputError):
                    self.failed.append(file)
                    say(str(found))
                else:
                    waiting.append((file, found))
                if waiting and (len(waiting) == self._batchsize or number == len(files)):
                    names, images = zip(*waiting)
                    yield from zip(names, engine.predict(np.stack(images)))
                    waiting = []

    def _load(self) -> Tuple[Engine, Any]:
        with contextlib.redirect_stdout(sys.stderr):
            run = self._opened.enter_context(device.open_run(self._device, threads=self._threads, npu=self._npu))
            engine = engines.load(self._path, self._choice, run, self._batchsize, report=say)
            how = engine.preprocessing
            if self._longest_side is not None:
                how = how._replace(longest_side=self._longest_side)
            how = how.for_any_image(self._path, say)
            run.initialise()
            note = splits.std_assumed(self._path, (engine.metadata or {}).get('run', {}).get('data'))
            if note:
                print(note)
        reader = image_files.ImageReader(how, session_config=run.host_config)
        return engine, self._opened.enter_context(contextlib.closing(reader))


class Evaluation(NamedTuple):
    """What checkpoints are evaluated on."""

    images: ImageSet                # whose `bad` learns of the unreadable ones
    split: str                      # what --split says, for a warning where a checkpoint was trained with another one
    batchsize: int
    max_pixels: int
    packed_folder: Optional[str]


def evaluate(path: str, evaluation: Evaluation, run: Run, choice: Choice) -> Tuple[Dict[str, Any], np.ndarray]:
    """A checkpoint's metadata, with the pre-processing used, and its distributions [N, 10] of the readable images."""
    images, batchsize = evaluation.images, evaluation.batchsize
    engine = engines.load(path, choice, run, batchsize, report=print)
    metadata = engine.metadata or {}
    data = metadata.get('run', {}).get('data')
    for note in (splits.unlike_trained(path, data, evaluation.split, images.ratings), splits.std_assumed(path, data)):
        if note:
            print(note)
    opened = packed.open_fitting(evaluation.packed_folder, images.ratings, engine.preprocessing, use='scoring',
                                 flag='--records')
    run.initialise()
    batches: Any = data_loader.val_batches(images._replace(packed=opened), batchsize,
                                           Reading(engine.preprocessing, evaluation.max_pixels, run.host_config))
    with contextlib.closing(batches):
        steps = -(-images.ratings.count // batchsize)
        predicted = np.concatenate([engine.predict(batch) for batch, _ in progress(batches, steps, 'scoring')])
    affected = '' if opened else fitting.affected(images.readable, engine.preprocessing)  # their headers are in memory
    if affected:
        print(affected)
    return {**metadata, 'preprocessing': engine.preprocessing.as_json()}, predicted
