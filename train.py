"""Train NIMA: bash train_1p.sh, or python3 train.py --help."""
from utils.base import errors
from utils.base.defaults import DEMO_DATASET, DEMO_MODEL, edited_name, from_root
from utils.training.flags import train_flags

# Edit these lines for other pre-trained weights. Relative paths count from the repository's root.
TMP_WEIGHTS_PATH = './weights'
WEIGHTS_NAME = "mobilenet_1_0_224_tf_no_top.h5"


def main(argv=None):
    """Train as the flags say; returns Keras's History with the validation scores of every epoch trained."""
    flags = train_flags(argv)
    import tensorflow as tf
    from tensorflow.keras.applications import MobileNet

    from utils import data_loader, nima
    from utils.data import packed
    from utils.demo import dataset
    from utils.device import device, signals
    from utils.model import model_file
    from utils.training import loop, resume

    group = device.join(flags.distribute, flags.device)  # this process alone, or many that train together
    image_size, say = flags.image_size, group.report
    start = resume.find(flags.TMP_MODEL_PATF, resume=flags.resume, overwrite=flags.overwrite,
                        own_folder=flags.demo and flags.TMP_MODEL_PATF == DEMO_MODEL, report=say)
    if start.is_done(flags.epochs, report=say):
        return resume.History()
    if flags.demo:
        dataset.make(DEMO_DATASET)
    train, val = data_loader.read_split(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                        images=flags.base_images_path, skip_bad=flags.skip_bad_labels, report=say)
    data_loader.steps_per_epoch(train.count, flags.train_size, flags.batchsize, devices=group.size, report=say)
    weights = None if start.path else nima.find_weights(flags.weights or edited_name(WEIGHTS_NAME),
                                                        flags.TMP_WEIGHTS_PATH or from_root(TMP_WEIGHTS_PATH))
    preprocessing = start.preprocessing or model_file.preprocessing_to_start_from(weights, image_size, report=say)
    packed = packed.open_for_training(flags.records, train, flags.val_records, val, preprocessing=preprocessing,
                                       whole=flags.trainable == 'head' and not flags.crops)
    with loop.only_writer(flags.TMP_MODEL_PATF, flags.TMP_LOG_PATH, group), signals.watched() as watch, \
            device.open_run(flags.device, threads=flags.threads, seed=flags.seed, npu=flags.npu, group=group) as run:
        record = loop.record(vars(flags), preprocessing, run=run, train=train, val=val, packed=packed[0])
        tf.keras.backend.set_learning_phase(1)
        # For another base model, import it above and edit this line.
        base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, pooling='avg', weights=None)
        model = nima.with_head(nima.with_padding(base_model, preprocessing['padding']), flags.dropout, flags.trainable)
        nima.load_weights(model, weights)
        optimizer = nima.optimizer(flags.optimizer, flags.learning_rate, momentum=flags.momentum, decay=flags.decay,
                                   loss_scale=flags.loss_scale)
        model.compile(run.distribute(optimizer), loss=nima.earth_mover_loss)
        return loop.fit(model, start, run=run, watch=watch, record=record, train=train, val=val, seed=flags.seed,
                            train_size=flags.train_size, batchsize=flags.batchsize, scale_lr=flags.scale_lr,
                            epochs=flags.epochs, trainable=flags.trainable, features_folder=flags.features,
                            crops=flags.crops, checkpoint_steps=flags.checkpoint_steps, keep=flags.keep,
                            keep_best=flags.keep_best, validate_every=flags.validate_every, packed=packed,
                            log_folder=flags.TMP_LOG_PATH, max_bad_images=flags.max_bad_images,
                            max_pixels=flags.max_pixels, fast=flags.fast_decode)


if __name__ == '__main__':
    errors.run(main, 'train.py')
