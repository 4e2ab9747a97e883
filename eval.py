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

    from utils import checkpoint, data_loader, device, report, results, score_utils

    folder = flags.TMP_MODEL_PATF or from_root(TMP_MODEL_PATF)
    again = ['bash', from_root('test_1p.sh'), *(sys.argv[1:] if argv is None else argv)]
    paths = [checkpoint.find(folder, flags.checkpoint or edited_name(CHECKPOINT), again)]
    paths += [checkpoint.find(folder, name) for name in flags.compare]
    if flags.report:
        report.check(flags.report)
    _, val = data_loader.read_split(flags.val_size, labels=flags.ava_dataset_path, images=flags.base_images_path,
                                    skip_bad=flags.skip_bad_labels, report=print)

    with device.open_run(flags.device, threads=flags.threads, npu=flags.npu) as run:
        records, predictions = zip(*(predict(path, val, flags.batchsize, run) for path in paths))

    metrics = score_utils.metrics(val.scores, predictions[0])
    print(f'{", ".join(paths)}: {val.count} photographs')
    if flags.report or flags.compare:
        split = f'the last {val.count:,} of {data_loader.dataset_paths(flags.ava_dataset_path)[0]}'
        found = results.evaluate(val, paths, records, predictions, split=split)
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


def predict(path, val, batchsize, run):
    """A checkpoint's record, its pre-processing in it in any case, and its predicted shares [N, 10] for `val`."""
    import numpy as np

    from utils import checkpoint, data_loader, model_file, nima

    model = checkpoint.load_for_scoring(path)
    preprocessing = checkpoint.preprocessing_of(path, model, report=print)
    run.initialise()
    batches = data_loader.val_batches(val, batchsize, image_size=preprocessing['image_size'],
                                      resize=preprocessing['resize'], session_config=run.host_config)
    with contextlib.closing(batches):
        steps = -(-val.count // batchsize)
        shares = np.concatenate([nima.predict(model, images, batchsize)
                                 for images, _ in progress(batches, steps, 'scoring')])
    return {**(model_file.read(path).record or {}), 'preprocessing': preprocessing}, shares


if __name__ == '__main__':
    errors.run(main, 'eval.py')
