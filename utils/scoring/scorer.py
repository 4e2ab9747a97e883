"""Scores: of the image files that a person names, and of the validation images of a dataset."""
import contextlib
import sys

import numpy as np

from utils import data_loader, nima
from utils.base.errors import InputError
from utils.base.progress import progress
from utils.base.progress import write as tell
from utils.base.text import printable
from utils.data import image_files, listing, splits
from utils.data import packed as packed_data
from utils.data.image_set import ImageSet, Reading
from utils.device import device
from utils.scoring import engines, score_tables


def to_score(found, shard, started):
    """The files to score: of a shard (I, N) of those `found`, or of all, what does not stand in the output already."""
    everything = list(found)
    if not everything:
        raise InputError('found no name on standard input, expected photographs, one name on each line')
    part = listing.shard(everything, shard)
    if len(part) < len(everything) or started.means:
        before = sum(printable(file) in started.means for file in part)
        tell(f'{len(everything)} files: {len(part)} in this part, {before} of them scored before\n', sys.stderr)
    return score_tables.still_to_score(part, started)


def score(files, path, *, batchsize, device_name, threads, npu, bad, engine='tf', fast=False):
    """Each photograph's file and predicted vote shares [10], in order; the files without go into the list `bad`."""


    if not files:
        return
    batchsize = min(batchsize, len(files))
    with contextlib.ExitStack() as stack:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the results alone
            run = stack.enter_context(device.open_run(device_name, threads=threads, npu=npu))
            made = engines.load(path, engine=engine, fast=fast, device=run.device, threads=run.threads,
                                batchsize=batchsize, report=print)
            run.initialise()
        reader = stack.enter_context(contextlib.closing(image_files.ImageReader(
            image_size=made.preprocessing.image_size, resize=made.preprocessing.resize,
            session_config=run.host_config)))
        workers = threads or device.usable_cores()
        read = reader.read_all(files, workers=workers, ahead=batchsize + workers)
        stack.enter_context(contextlib.closing(read))
        waiting = []
        for number, (file, found) in enumerate(progress(read, len(files), 'scoring'), 1):
            if isinstance(found, InputError):
                bad.append(file)
                tell(f'{found}\n', sys.stderr)
            else:
                waiting.append((file, found))
            if waiting and (len(waiting) == batchsize or number == len(files)):
                names, images = zip(*waiting)
                shares = nima.predict(made.model, np.stack(images), made.predict_batch)
                if not np.isfinite(shares).all():
                    raise InputError(f'{path}: found a model whose predictions are not numbers, expected shares of '
                                     'votes: its training went astray, type another --checkpoint')
                yield from zip(names, shares)
                waiting = []


def evaluate(path, val, batchsize, run, packed, *, split, bad, engine, **decoding):
    """A checkpoint's metadata, with its pre-processing, and its predicted distributions [N, 10] for `val`."""


    made = engines.load(path, **engine, device=run.device, threads=run.threads, batchsize=batchsize, report=print)
    warning = splits.unlike_trained(path, made.metadata.get('run', {}).get('data'), split, val)
    if warning:
        print(warning)
    packed = packed_data.open_fitting(packed, val, made.preprocessing, use='scoring', flag='--records')
    run.initialise()
    batches = data_loader.val_batches(ImageSet(val, bad, packed), batchsize,
                                      Reading(made.preprocessing, session_config=run.host_config, **decoding))
    with contextlib.closing(batches):
        steps = -(-val.count // batchsize)
        shares = np.concatenate([nima.predict(made.model, images, made.predict_batch)
                                 for images, _ in progress(batches, steps, 'scoring')])
    return made.metadata, shares
