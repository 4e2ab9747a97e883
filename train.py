"""Train NIMA: bash train_1p.sh, or bash run.sh train.py --help."""
import os

from utils.base import errors
from utils.base.defaults import DEMO_DATASET, DEMO_MODEL, from_root
from utils.training import recipe
from utils.training.flags import head_of, saving_of, schedule_of, train_stages

# Edit these lines for other pre-trained weights. A relative folder counts from the repository's root.
TMP_WEIGHTS_PATH = './weights'
WEIGHTS_NAME = "mobilenet_1_0_224_tf_no_top.h5"


def build(flags, preprocessing, weights, run):
    """The compiled network with its weights."""
    import tensorflow as tf
    from tensorflow.keras.applications import MobileNet

    from utils import nima
    image_size, trained = flags.image_size, nima.Trained(flags.trainable, flags.freeze_batchnorm)
    tf.keras.backend.set_learning_phase(trained.phase)
    # For another base model, import it above and edit this line.
    base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, pooling='avg', weights=None)
    model = nima.with_head(nima.with_padding(base_model, preprocessing.padding), flags.dropout, trained)
    nima.load_weights(model, weights)
    optimizer = nima.optimizer(flags.optimizer, flags.learning_rate, momentum=flags.momentum, decay=flags.decay,
                               loss_scale=flags.loss_scale)
    if flags.head_rate_factor != 1:
        nima.scale_gradients(optimizer, model.layers[-1], flags.head_rate_factor)
    model.compile(run.distribute(optimizer), loss=nima.earth_mover_loss)
    return model


def train(stage, start, path, group):
    """Train a stage from `start` on, with the pre-trained weights of `path` where it is new; returns its History."""
    from utils import data_loader, nima
    from utils.data import fitting, splits
    from utils.device import device, signals
    from utils.training import fit
    from utils.training.data import open_data
    from utils.training.stages import rate
    flags, say = stage.flags, group.report
    schedule, saving = schedule_of(flags, start.first_epoch), saving_of(flags)
    parts = data_loader.read_parts(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                   images=flags.base_images_path, options=flags.labels,
                                   test=splits.Test(flags.test_labels, flags.test_split), group=flags.group,
                                   report=say)
    data_loader.steps_per_epoch(parts.train.count, flags.train_size, flags.batchsize, devices=group.size, report=say)
    flags.learning_rate, tests_rates = rate(start, flags.learning_rate)
    weights = start.file if start.begins_stage else None
    if start.file is None and path is not None:
        weights = nima.read_weights(path)
    flags.image_size = fitting.input_size(flags.image_size, parts.train, say)
    typed = fitting.Typed(flags.exif_orientation, flags.longest_side)
    preprocessing = typed.require(start.preprocessing, start.path) if start.preprocessing else fitting.fit(
        nima.preprocessing_for(weights, flags.image_size, report=say), typed, parts.train, report=say,
        labels=data_loader.dataset_paths(flags.ava_dataset_path)[0], packed_folder=flags.records or flags.val_records)
    data = open_data(parts, preprocessing, max_pixels=flags.max_pixels, max_bad=flags.max_bad_images,
                     packed=(flags.records, flags.val_records), cropped=flags.trainable == 'all' or bool(flags.crops))
    with fit.only_writer(saving, group), signals.watched() as watch, \
            device.open_run(flags.device, threads=flags.threads, seed=flags.seed, npu=flags.npu, group=group) as run:
        metadata = fit.describe(stage, data, start, run)
        model = build(flags, preprocessing, weights, run)
        is_new = start.file is None and (weights is None or weights.head is None)
        return fit.fit(model, start, metadata, data, schedule=schedule, saving=saving, run=run, watch=watch,
                       head=head_of(flags, is_new, tests_rates))


def main(argv=None):
    """Train as the flags say; returns Keras's History with the validation scores of the last stage's epochs."""
    stages = train_stages(argv)
    flags = stages[0].flags
    from utils.model import checkpoint, trust
    name = flags.weights or WEIGHTS_NAME
    path = None if name == 'none' else os.path.join(flags.TMP_WEIGHTS_PATH or from_root(TMP_WEIGHTS_PATH), name)
    trust.start_trials(checkpoint.latest(flags.TMP_MODEL_PATF) if flags.resume else [path] if path else [])
    from utils.demo import dataset  # while the trials run
    from utils.device import device
    from utils.training import loop, resume
    from utils.training.stages import next_stage, report_done, stage_of

    group = device.join(flags.distribute, flags.device)  # this process alone, or many that train together
    for line in recipe.commands(stages, argv):
        group.report(line)
    folder, history = flags.TMP_MODEL_PATF, loop.History()
    found = resume.find(folder, resume=flags.resume, overwrite=flags.overwrite, report=group.report,
                        own_folder=flags.demo and folder == DEMO_MODEL)
    index, start = stage_of(found, stages)
    if index == len(stages):
        report_done(start, stages[-1], group.report)
    elif flags.demo:
        dataset.make_for_this_machine(DEMO_DATASET, group.report)
    while index < len(stages):
        history = train(stages[index], start, path, group)
        index, start = next_stage(folder, stages, index, group.report)
    return history


if __name__ == '__main__':
    errors.run(main, 'train.py', log_only=True)
