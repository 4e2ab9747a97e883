"""Predict how people would score images: bash run.sh predict.py IMAGE_OR_FOLDER ..., or --help."""
import contextlib
import os

from utils.base import edited, errors
from utils.base.defaults import from_root
from utils.base.errors import InputError
from utils.scoring.flags import predict_flags


def main(argv=None):
    """Score as the flags say, print the results; returns the number of images scored."""
    flags = predict_flags(argv)
    from utils.model import checkpoint, trust
    folder, name = edited.lines('eval.py', 'TMP_MODEL_PATF', 'CHECKPOINT')
    path = checkpoint.find(flags.TMP_MODEL_PATF or from_root(folder), flags.checkpoint or name)
    trust.start_trials([path])  # while TensorFlow is imported

    from utils.data import listing
    from utils.scoring import contact_sheet, score_tables, scorer
    from utils.scoring.engines import Choice

    is_ranked = flags.rank or flags.top is not None
    names = score_tables.columns(flags.shares, is_ranked)
    started = score_tables.prepare(flags.output, flags.format, names, resume=flags.resume)
    if flags.contact_sheet:
        contact_sheet.check(flags.contact_sheet, flags.top or contact_sheet.DEFAULT_PICTURES)
    files = scorer.select(listing.find(flags.photographs, recursive=flags.recursive), flags.shard, started)

    failed, best = [], score_tables.Best(flags.top or contact_sheet.DEFAULT_PICTURES)
    with contextlib.ExitStack() as stack:
        scored = iter(())
        if files:
            engine = stack.enter_context(contextlib.closing(scorer.Scorer(
                path, batchsize=min(flags.batchsize, len(files)), device_name=flags.device, threads=flags.threads,
                npu=flags.npu, engine=Choice(flags.engine, flags.fast))))
            scored = stack.enter_context(contextlib.closing(engine.score(files, failed)))
        scored = score_tables.same_model(scored, started, flags.output)
        if flags.contact_sheet:
            scored = best.watch(scored)
        if is_ranked:
            scored = score_tables.ranked(scored, flags.top)
        rows = score_tables.rows(scored, names)
        score_tables.write(score_tables.FORMATS[flags.format](rows, names, started.header), flags.output,
                           append=flags.resume)
    if flags.contact_sheet and len(failed) < len(files):
        contact_sheet.draw(best.ranked(), flags.contact_sheet, model=os.path.basename(path),
                           total=len(files) - len(failed))
    if failed:
        raise InputError(f'{len(failed)} of {len(files)} files could not be scored (listed above)')
    return len(files)


if __name__ == '__main__':
    errors.run(main, 'predict.py')
