"""Scores: of the image files that a person names, and of the validation images of a dataset."""
import contextlib
import sys
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from utils import data_loader
from utils.base.errors import InputError
from utils.base.progress import progress, write
from utils.base.text import printable
from utils.data import image_files, listing, packed, splits
from utils.data.image_set import ImageSet, Reading
from utils.device import device
from utils.device.device import Run
from utils.scoring import engines, score_tables
from utils.scoring.engines import Choice, Engine

Scored = Tuple[str, np.ndarray]  # an image file and its vote distribution [10]


def select(found: Iterable[str], shard: Optional[Tuple[int, int]], started: score_tables.Started) -> List[str]:
    """The files to score: the shard (I, N) of those `found`, or all, less those that the output has already."""
    everything = list(found)
    if not everything:
        raise InputError('no names on standard input, expected image files, one name a line')
    part = listing.shard(everything, shard)
    if len(part) < len(everything) or started.means:
        before = sum(printable(file) in started.means for file in part)
        write(f'{len(everything)} files: {len(part)} in this part, {before} of them scored before\n', sys.stderr)
    return score_tables.still_to_score(part, started)


class Scorer:
    """A checkpoint on a device, which scores image files; to be closed at the end."""

    def __init__(self, path: str, *, batchsize: int = 32, device_name: str = 'auto', threads: Optional[int] = None,
                 npu: Optional[Dict[str, str]] = None, engine: Choice = Choice()) -> None:  # noqa: B008  a constant
        """What is reported goes to standard error: standard output is for the scores alone."""
        self._path, self._batchsize = path, batchsize
        self._opened = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            with contextlib.redirect_stdout(sys.stderr):
                run = stack.enter_context(device.open_run(device_name, threads=threads, npu=npu))
                self._engine = engines.load(path, engine, run, batchsize, report=print)
                run.initialise()
            self._reader = stack.enter_context(contextlib.closing(image_files.ImageReader(
                self._engine.preprocessing, session_config=run.host_config)))
            self._opened = stack.pop_all()
        self._workers = threads or device.usable_cores()

    def close(self) -> None:
        """Close the device."""
        self._opened.close()

    def score(self, files: Sequence[str], failed: List[str]) -> Iterator[Scored]:
        """Each image file with its vote distribution, in order; unreadable ones are reported and added to `failed`."""
        read: Any = self._reader.read_all(files, workers=self._workers, ahead=self._batchsize + self._workers)
        with contextlib.closing(read):
            waiting: List[Tuple[str, np.ndarray]] = []
            for number, (file, found) in enumerate(progress(read, len(files), 'scoring'), 1):
                if isinstance(found, InputError):
                    failed.append(file)
                    write(f'{found}\n', sys.stderr)
                else:
                    waiting.append((file, found))
                if waiting and (len(waiting) == self._batchsize or number == len(files)):
                    yield from self._predict(waiting)
                    waiting = []

    def _predict(self, waiting: List[Tuple[str, np.ndarray]]) -> Iterator[Scored]:
        names, images = zip(*waiting)
        distributions = self._engine.predict(np.stack(images))
        require_finite(self._path, distributions)
        yield from zip(names, distributions)


def require_finite(path: str, distributions: np.ndarray) -> None:
    """InputError where the model in `path` predicts NaN."""
    if not np.isfinite(distributions).all():
        raise InputError(f'{path} predicts NaN: its training diverged. Choose another --checkpoint')


def evaluate(path: str, images: ImageSet, batchsize: int, *, run: Run, engine: Choice, max_pixels: int,
             packed_folder: Optional[str], split: str) -> Tuple[Dict[str, Any], np.ndarray]:
    """A checkpoint's metadata, with the pre-processing used, and its distributions [N, 10] of the readable images.

    `images.bad` learns of the unreadable ones. `split` is what --split says, for a warning where the checkpoint was
    trained with another one.
    """
    loaded: Engine = engines.load(path, engine, run, batchsize, report=print)
    metadata = loaded.metadata or {}
    warning = splits.unlike_trained(path, metadata.get('run', {}).get('data'), split, images.ratings)
    if warning:
        print(warning)
    opened = packed.open_fitting(packed_folder, images.ratings, loaded.preprocessing, use='scoring', flag='--records')
    run.initialise()
    batches: Any = data_loader.val_batches(images._replace(packed=opened), batchsize,
                                           Reading(loaded.preprocessing, max_pixels, run.host_config))
    with contextlib.closing(batches):
        steps = -(-images.ratings.count // batchsize)
        predicted = np.concatenate([loaded.predict(batch) for batch, _ in progress(batches, steps, 'scoring')])
    return {**metadata, 'preprocessing': loaded.preprocessing.as_json()}, predicted
