"""Predict how people would score photographs: python3 predict.py PHOTOGRAPH_OR_FOLDER ..., or --help."""
import contextlib
import os
import sys

from eval import CHECKPOINT, TMP_MODEL_PATF
from utils import errors
from utils.defaults import edited_name, from_root
from utils.errors import InputError
from utils.flags import predict_flags
from utils.progress import progress
from utils.progress import write as tell


def main(argv=None):
    """Score as the flags say, print the results; returns the number of photographs scored."""
    flags = predict_flags(argv)

    from utils import checkpoint, contact_sheet, listing, score_output

    names = score_output.columns(flags.shares)
    started = score_output.prepare(flags.output, flags.format, names, resume=flags.resume)
    if flags.contact_sheet:
        contact_sheet.check(flags.contact_sheet, flags.top or contact_sheet.DEFAULT_PICTURES)
    path = checkpoint.find(flags.TMP_MODEL_PATF or from_root(TMP_MODEL_PATF),
                           flags.checkpoint or edited_name(CHECKPOINT))
    files = to_score(listing.find(flags.photographs, recursive=flags.recursive), flags.shard, started)

    bad, best = [], score_output.Best(flags.top or contact_sheet.DEFAULT_PICTURES)
    with contextlib.closing(score(files, path, batchsize=flags.batchsize, device_name=flags.device,
                                  threads=flags.threads, npu=flags.npu, bad=bad, engine=flags.engine,
                                  fast=flags.fast)) as scored:
        kept = score_output.same_model(scored, started, flags.output)
        if flags.contact_sheet:
            kept = best.watch(kept)
        if flags.rank or flags.top:
            kept = score_output.ranked(kept, flags.top)
        rows = (score_output.as_row(one, flags.shares) for one in kept)
        score_output.write(score_output.FORMATS[flags.format](rows, names, started.header), flags.output,
                           append=flags.resume)
    if flags.contact_sheet and len(bad) < len(files):
        contact_sheet.draw(best.ranked(), flags.contact_sheet, model=os.path.basename(path),
                           total=len(files) - len(bad))
    if bad:
        raise InputError(f'found {len(bad)} of {len(files)} files without a score, named above, expected photographs')
    return len(files)


def to_score(found, shard, started):
    """The files to score: of a shard (I, N) of those `found`, or of all, what does not stand in the output already."""
    from utils import listing, score_output
    everything = list(found)
    if not everything:
        raise InputError('found no name on standard input, expected photographs, one name on each line')
    part = listing.shard(everything, shard)
    if len(part) < len(everything) or started.means:
        before = sum(score_output.printable(file) in started.means for file in part)
        tell(f'{len(everything)} files: {len(part)} in this part, {before} of them scored before\n', sys.stderr)
    return score_output.still_to_score(part, started)


def score(files, path, *, batchsize, device_name, threads, npu, bad, engine='tf', fast=False):
    """Each photograph's file and predicted vote shares [10], in order; the files without go into the list `bad`."""
    import numpy as np

    from utils import device, engines, nima, photographs

    if not files:
        return
    batchsize = min(batchsize, len(files))
    with contextlib.ExitStack() as stack:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the results alone
            run = stack.enter_context(device.open_run(device_name, threads=threads, npu=npu))
            model, preprocessing, forward = engines.load(path, engine=engine, fast=fast, device=run.device,
                                                         threads=run.threads, batchsize=batchsize, report=print)
            run.initialise()
        reader = stack.enter_context(contextlib.closing(photographs.PhotographReader(
            image_size=preprocessing['image_size'], resize=preprocessing['resize'], session_config=run.host_config)))
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
                shares = nima.predict(model, np.stack(images), forward)
                if not np.isfinite(shares).all():
                    raise InputError(f'{path}: found a model whose predictions are not numbers, expected shares of '
                                     'votes: its training went astray, type another --checkpoint')
                yield from zip(names, shares)
                waiting = []


if __name__ == '__main__':
    errors.run(main, 'predict.py')
