"""Score a checkpoint on the validation photographs: bash test_1p.sh, or python3 eval.py --help."""
import os
import sys

from utils.base import errors
from utils.base.defaults import from_root
from utils.scoring.flags import eval_flags

# Edit these lines for another checkpoint. A relative folder counts from the repository's root.
TMP_MODEL_PATF = './model/'
CHECKPOINT = "model_007.h5"


def main(argv=None):
    """Score as the flags say, print the table; returns the metrics by name."""
    flags = eval_flags(argv)
    from utils.model import checkpoint, trust
    folder = flags.TMP_MODEL_PATF or from_root(TMP_MODEL_PATF)
    again = ['bash', from_root('test_1p.sh'), *(sys.argv[1:] if argv is None else argv)]
    paths = [checkpoint.find(folder, name, again) for name in (flags.checkpoint or CHECKPOINT, *flags.compare)]
    trust.start_trials(paths)  # while TensorFlow is imported

    from utils import data_loader, score_utils
    from utils.data import splits
    from utils.data.bad_images import BadImages
    from utils.device import device
    from utils.scoring import report, results, scorer

    results.distinct(paths)
    if flags.report:
        report.check(flags.report)
    _, val = data_loader.read_split(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                    images=flags.base_images_path, skip_bad=flags.skip_bad_labels, to_train=0,
                                    report=print)

    bad = BadImages(val.count, share=flags.max_bad_images, what='validation')
    with device.open_run(flags.device, threads=flags.threads, npu=flags.npu) as run:
        reading = {'split': flags.split, 'bad': bad, 'fast': flags.fast_decode, 'max_pixels': flags.max_pixels}
        scored, predictions = zip(*(scorer.evaluate(path, val, flags.batchsize, run, flags.records, **reading,
                                            engine={'engine': flags.engine, 'fast': flags.fast}) for path in paths))

    val, split = val.take(~bad.mask), splits.describe(flags.split, val)
    metrics = score_utils.metrics(val.distributions, predictions[0])
    left_out = f', {bad.count} left out' if bad.count else ''
    print(f'{", ".join(paths)}: {val.count} photographs{left_out}, {split}')
    if flags.report or flags.compare:
        found = results.evaluate(val, paths, scored, predictions, split=split)
        print(results.text(found))
    else:
        constant = score_utils.metrics(val.distributions, score_utils.constant_prediction(val.distributions))
        print(score_utils.table({'model': metrics, 'constant': constant}))
    if flags.report:
        training = os.path.join(flags.TMP_LOG_PATH, 'train.csv')
        print(f'report: {report.write(flags.report, found, training=training)}')
    reason = score_utils.undefined_reason(*map(score_utils.mean_score, (val.distributions, predictions[0])))
    if reason:
        print(f'SRCC is undefined: {reason}')
    print(f'loss  {metrics["emd_r2"]:f}     srcc {metrics["srcc_mean"]:f}')
    return metrics


if __name__ == '__main__':
    errors.run(main, 'eval.py')
