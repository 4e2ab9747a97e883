"""Predict how people would score photographs: python3 predict.py PHOTOGRAPH_OR_FOLDER ..., or --help."""
import contextlib
import os

from utils.base import edited, errors
from utils.base.defaults import from_root
from utils.base.errors import InputError
from utils.scoring.flags import predict_flags


def main(argv=None):
    """Score as the flags say, print the results; returns the number of photographs scored."""
    flags = predict_flags(argv)
    from utils.model import checkpoint, trust
    folder, name = edited.lines('eval.py', 'TMP_MODEL_PATF', 'CHECKPOINT')
    path = checkpoint.find(flags.TMP_MODEL_PATF or from_root(folder), flags.checkpoint or name)
    trust.start_trials([path])  # while TensorFlow is imported

    from utils.data import listing
    from utils.scoring import contact_sheet, score_tables, scorer

    names = score_tables.columns(flags.shares)
    started = score_tables.prepare(flags.output, flags.format, names, resume=flags.resume)
    if flags.contact_sheet:
        contact_sheet.check(flags.contact_sheet, flags.top or contact_sheet.DEFAULT_PICTURES)
    files = scorer.to_score(listing.find(flags.photographs, recursive=flags.recursive), flags.shard, started)

    bad, best = [], score_tables.Best(flags.top or contact_sheet.DEFAULT_PICTURES)
    with contextlib.closing(scorer.score(files, path, batchsize=flags.batchsize, device_name=flags.device,
                                  threads=flags.threads, npu=flags.npu, bad=bad, engine=flags.engine,
                                  fast=flags.fast)) as scored:
        kept = score_tables.same_model(scored, started, flags.output)
        if flags.contact_sheet:
            kept = best.watch(kept)
        if flags.rank or flags.top:
            kept = score_tables.ranked(kept, flags.top)
        rows = (score_tables.as_row(one, flags.shares) for one in kept)
        score_tables.write(score_tables.FORMATS[flags.format](rows, names, started.header), flags.output,
                           append=flags.resume)
    if flags.contact_sheet and len(bad) < len(files):
        contact_sheet.draw(best.ranked(), flags.contact_sheet, model=os.path.basename(path),
                           total=len(files) - len(bad))
    if bad:
        raise InputError(f'found {len(bad)} of {len(files)} files without a score, named above, expected photographs')
    return len(files)


if __name__ == '__main__':
    errors.run(main, 'predict.py')
