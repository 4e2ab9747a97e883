"""Train NIMA: bash train_1p.sh, or bash run.sh train.py --help."""
import os

from utils.base import errors
from utils.base.defaults import DEMO_DATASET, DEMO_MODEL, from_root
from utils.training.flags import train_flags

# Edit these lines for other pre-trained weights. A relative folder counts from the repository's root.
TMP_WEIGHTS_PATH = './weights'
WEIGHTS_NAME = "mobilenet_1_0_224_tf_no_top.h5"


def build(flags, preprocessing, weights, run):
    """The compiled network with its weights."""
    import tensorflow as tf
    from tensorflow.keras.applications import MobileNet

    from utils import nima
    tf.keras.backend.set_learning_phase(1)
    image_size = flags.image_size
    # For another base model, import it above and edit this line.
    base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, pooling='avg', weights=None)
    model = nima.with_head(nima.with_padding(base_model, preprocessing.padding), flags.dropout, flags.trainable)
    nima.load_weights(model, weights)
    optimizer = nima.optimizer(flags.optimizer, flags.learning_rate, momentum=flags.momentum, decay=flags.decay,
                               loss_scale=flags.loss_scale)
    model.compile(run.distribute(optimizer), loss=nima.earth_mover_loss)
    return model


def main(argv=None):
    """Train as the flags say; returns Keras's History with the validation scores of every epoch trained."""
    flags = train_flags(argv)
    from utils.model import checkpoint, trust
    name = flags.weights or WEIGHTS_NAME
    path = os.path.join(flags.TMP_WEIGHTS_PATH or from_root(TMP_WEIGHTS_PATH), name)
    trust.start_trials(checkpoint.latest(flags.TMP_MODEL_PATF) if flags.resume else [path])  # imports run meanwhile

    from utils import data_loader, nima
    from utils.data.splits import Test
    from utils.demo import dataset
    from utils.device import device, signals
    from utils.training import fit, loop, resume
    from utils.training.plan import Head, Saving, Schedule, open_data

    group = device.join(flags.distribute, flags.device)  # this process alone, or many that train together
    say = group.report
    schedule = Schedule(flags.epochs, flags.train_size, flags.batchsize, flags.seed, flags.validate_every,
                        flags.scale_lr, flags.patience)
    saving = Saving(flags.TMP_MODEL_PATF, flags.TMP_LOG_PATH, flags.checkpoint_steps, flags.keep, flags.keep_best)
    start = resume.find(saving.model_folder, resume=flags.resume, overwrite=flags.overwrite,
                        own_folder=flags.demo and saving.model_folder == DEMO_MODEL, report=say)
    if start.is_done(schedule.epochs, schedule.patience, report=say):
        return loop.History()
    if flags.demo:
        dataset.make(DEMO_DATASET)
    parts = data_loader.read_parts(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                   images=flags.base_images_path, skip_bad=flags.skip_bad_labels,
                                   test=Test(flags.test_labels, flags.test_split), group=flags.group, report=say)
    data_loader.steps_per_epoch(parts.train.count, flags.train_size, flags.batchsize, devices=group.size, report=say)
    weights = None if start.file or name == 'none' else nima.read_weights(path)
    preprocessing = start.preprocessing or nima.preprocessing_for(weights, flags.image_size, report=say)
    data = open_data(parts, preprocessing, max_pixels=flags.max_pixels, max_bad=flags.max_bad_images,
                     packed=(flags.records, flags.val_records),
                     cropped=flags.trainable == 'all' or flags.crops is not None)
    with fit.only_writer(saving, group), signals.watched() as watch, \
            device.open_run(flags.device, threads=flags.threads, seed=flags.seed, npu=flags.npu, group=group) as run:
        metadata = fit.describe(vars(flags), data, start, run)
        model = build(flags, preprocessing, weights, run)
        return fit.fit(model, start, metadata, data, schedule=schedule, saving=saving, run=run, watch=watch,
                       head=Head(flags.features, flags.crops) if flags.trainable == 'head' else None)


if __name__ == '__main__':
    errors.run(main, 'train.py')
