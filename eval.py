"""Score a checkpoint on the validation images: bash test_1p.sh, or bash run.sh eval.py --help."""
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
    paths = [checkpoint.find_or_usual(folder, flags.checkpoint, CHECKPOINT, again),
             *(checkpoint.find(folder, name) for name in flags.compare)]
    trust.start_trials(paths)  # while TensorFlow is imported

    from utils import data_loader, score_utils
    from utils.data import splits
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet
    from utils.device import device
    from utils.scoring import report, results, scorer
    from utils.scoring.engines import Choice

    results.require_distinct(paths)
    if flags.report:
        report.check(flags.report)
    val, split = data_loader.read_scored(
        flags.val_size, split=flags.split, test=splits.Test(flags.test_labels, flags.test_split),
        labels=flags.ava_dataset_path, images=flags.base_images_path, options=flags.labels, report=print)
    images = ImageSet(val, BadImages(val.count, share=flags.max_bad_images, what='validation'))
    evaluation = scorer.Evaluation(images, split, flags.batchsize, flags.max_pixels, flags.records)
    with device.open_run(flags.device, threads=flags.threads, npu=flags.npu) as run:
        choice = Choice(flags.engine, flags.fast, flags.image_size)
        scored = [scorer.evaluate(path, evaluation, run, choice) for path in paths]

    left_out = f', {images.bad.count} left out' if images.bad.count else ''
    split = splits.describe(split, images.readable)
    print(f'{", ".join(paths)}: {images.readable.count} images{left_out}, {split}')
    found = results.evaluate(images.readable, paths, scored, split=split, intervals=bool(flags.report or flags.compare))
    print(results.text(found))
    if flags.report:
        print(f'report: {report.write(flags.report, found, typed_log=flags.TMP_LOG_PATH)}')
    print(score_utils.last_lines(images.readable.distributions, found.models[0].predicted))
    return found.models[0].metrics


if __name__ == '__main__':
    errors.run(main, 'eval.py')
