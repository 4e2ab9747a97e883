"""Score a checkpoint on the validation photographs: bash test_1p.sh, or python3 eval.py --help."""
import contextlib
import os
import sys

from utils import errors
from utils.defaults import edited_name, from_root
from utils.flags import eval_flags
from utils.progress import progress

# Edit these lines for another checkpoint. A relative folder counts from the repository's root.
TMP_MODEL_PATF = './model/'
CHECKPOINT = "model_007.h5"


def main(argv=None):
    """Score as the flags say, print the table; returns the metrics by name."""
    flags = eval_flags(argv)

    from utils import checkpoint, data_loader, device, report, results, score_utils, splits
    from utils.bad_images import BadImages

    folder = flags.TMP_MODEL_PATF or from_root(TMP_MODEL_PATF)
    again = ['bash', from_root('test_1p.sh'), *(sys.argv[1:] if argv is None else argv)]
    paths = [checkpoint.find(folder, flags.checkpoint or edited_name(CHECKPOINT), again)]
    paths = results.distinct([*paths, *(checkpoint.find(folder, name) for name in flags.compare)])
    if flags.report:
        report.check(flags.report)
    _, val = data_loader.read_split(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                    images=flags.base_images_path, skip_bad=flags.skip_bad_labels, to_train=0,
                                    report=print)

    bad = BadImages(val.count, share=flags.max_bad_images, what='validation')
    with device.open_run(flags.device, threads=flags.threads, npu=flags.npu) as run:
        reading = {'split': flags.split, 'bad': bad, 'fast': flags.fast_decode, 'max_pixels': flags.max_pixels}
        scored, predictions = zip(*(predict(path, val, flags.batchsize, run, flags.records, **reading,
                                            engine={'engine': flags.engine, 'fast': flags.fast}) for path in paths))

    val, split = val.take(~bad.mask), splits.describe(flags.split, val)
    metrics = score_utils.metrics(val.scores, predictions[0])
    left_out = f', {bad.count} left out' if bad.count else ''
    print(f'{", ".join(paths)}: {val.count} photographs{left_out}, {split}')
    if flags.report or flags.compare:
        found = results.evaluate(val, paths, scored, predictions, split=split)
        print(results.text(found))
    else:
        constant = score_utils.metrics(val.scores, score_utils.constant_prediction(val.scores))
        print(score_utils.table({'model': metrics, 'constant': constant}))
    if flags.report:
        training = os.path.join(flags.TMP_LOG_PATH, 'train.csv')
        print(f'report: {report.write(flags.report, found, training=training)}')
    reason = score_utils.undefined_reason(*map(score_utils.mean_score, (val.scores, predictions[0])))
    if reason:
        print(f'SRCC is undefined: {reason}')
    print(f'loss  {metrics["emd_r2"]:f}     srcc {metrics["srcc_mean"]:f}')
    return metrics


def predict(path, val, batchsize, run, packed, *, split, bad, engine, **decoding):
    """A checkpoint's record, its pre-processing in it in any case, and its predicted shares [N, 10] for `val`."""
    import numpy as np

    from utils import data_loader, engines, model_file, nima, records, splits

    model, preprocessing, forward = engines.load(path, **engine, device=run.device, threads=run.threads,
                                                 batchsize=batchsize, report=print)
    record = model_file.read(path).record or {}
    warning = splits.unlike_trained(path, record.get('run', {}).get('data'), split, val)
    if warning:
        print(warning)
    packed = records.open_fitting(packed, val, preprocessing, use='scoring', flag='--records')
    run.initialise()
    batches = data_loader.val_batches(val, batchsize, image_size=preprocessing['image_size'],
                                      resize=preprocessing['resize'], session_config=run.host_config, bad=bad,
                                      packed=packed, **decoding)
    with contextlib.closing(batches):
        steps = -(-val.count // batchsize)
        shares = np.concatenate([nima.predict(model, images, forward)
                                 for images, _ in progress(batches, steps, 'scoring')])
    return {**record, 'preprocessing': preprocessing}, shares


if __name__ == '__main__':
    errors.run(main, 'eval.py')
