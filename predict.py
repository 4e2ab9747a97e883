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
    path = checkpoint.find_or_usual(flags.TMP_MODEL_PATF or from_root(folder), flags.checkpoint, name)
    trust.start_trials([path])  # while TensorFlow is imported

    from utils.data import listing
    from utils.scoring import contact_sheet, score_tables, scorer
    from utils.scoring.engines import Choice

    names = score_tables.columns(flags.shares, flags.is_ranked)
    output = score_tables.prepare(score_tables.Output(flags.output, flags.format, names, append=flags.resume))
    best = score_tables.Best(flags.top or contact_sheet.DEFAULT_IMAGES)
    if flags.contact_sheet:
        contact_sheet.check(flags.contact_sheet, best.limit)
    found = listing.find(flags.images, recursive=flags.recursive, report=scorer.say)
    files = scorer.select(found, flags.shard, output)

    model = scorer.Scorer(path, batchsize=max(1, min(flags.batchsize, len(files))), device_name=flags.device,
                          threads=flags.threads, npu=flags.npu, longest_side=flags.longest_side,
                          engine=Choice(flags.engine, flags.fast, flags.image_size))
    with model, contextlib.closing(model.score(files)) as scored:
        scored = score_tables.same_model(scored, output)
        if flags.contact_sheet:
            scored = best.watch(scored)
        if flags.is_ranked:
            scored = score_tables.ranked(scored, flags.top)
        score_tables.write(scored, output)
    count = len(files) - len(model.failed)
    if flags.contact_sheet and count:
        contact_sheet.draw(best.ranked(), flags.contact_sheet, model=os.path.basename(path), total=count)
    if model.failed:
        raise InputError(f'{len(model.failed)} of {len(files)} files could not be scored (listed above)')
    return len(files)


if __name__ == '__main__':
    errors.run(main, 'predict.py')
