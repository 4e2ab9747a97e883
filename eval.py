"""Score a checkpoint on the validation photographs: bash test_1p.sh, or python3 eval.py --help."""
import contextlib
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

    import numpy as np

    from utils import checkpoint, data_loader, device, nima, records, score_utils
    from utils.bad_images import BadImages

    path = checkpoint.find(flags.TMP_MODEL_PATF or from_root(TMP_MODEL_PATF),
                           flags.checkpoint or edited_name(CHECKPOINT),
                           ['bash', from_root('test_1p.sh'), *(sys.argv[1:] if argv is None else argv)])
    _, val = data_loader.read_split(flags.val_size, labels=flags.ava_dataset_path, images=flags.base_images_path,
                                    skip_bad=flags.skip_bad_labels, report=print)

    bad = BadImages(val.count, share=flags.max_bad_images, what='validation')
    with device.open_run(flags.device, threads=flags.threads, npu=flags.npu) as run:
        model = checkpoint.load_for_scoring(path)
        preprocessing = checkpoint.preprocessing_of(path, model, report=print)
        packed = records.open_fitting(flags.records, val, preprocessing, use='scoring', flag='--records')
        run.initialise()
        batches = data_loader.val_batches(val, flags.batchsize, image_size=preprocessing['image_size'],
                                          resize=preprocessing['resize'], session_config=run.host_config,
                                          bad=bad, max_pixels=int(flags.max_megapixels * 10 ** 6),
                                          fast=flags.fast_decode, packed=packed)
        with contextlib.closing(batches):
            steps = -(-val.count // flags.batchsize)
            predicted = np.concatenate([nima.predict(model, images, flags.batchsize)
                                        for images, _ in progress(batches, steps, 'scoring')])

    val = val.take(~bad.mask)
    metrics = score_utils.metrics(val.scores, predicted)
    constant = score_utils.metrics(val.scores, score_utils.constant_prediction(val.scores))
    print(f'{path}: {val.count} photographs' + (f', {bad.count} left out' if bad.count else ''))
    print(score_utils.table(metrics, constant))
    reason = score_utils.undefined_reason(score_utils.mean_score(val.scores), score_utils.mean_score(predicted))
    if reason:
        print(f'SRCC is undefined: {reason}')
    print(f'loss  {metrics["emd_r2"]:f}     srcc {metrics["srcc_mean"]:f}')
    return metrics


if __name__ == '__main__':
    errors.run(main, 'eval.py')
