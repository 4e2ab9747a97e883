"""Train NIMA: bash train_1p.sh, or python3 train.py --help."""
import contextlib

from utils import demo_dataset, errors
from utils.flags import DEMO_DATASET, DEMO_MODEL, from_root, train_flags

# Edit these lines for other pre-trained weights. Relative paths count from the repository's root.
TMP_WEIGHTS_PATH = './weights'
WEIGHTS_NAME = "mobilenet_1_0_224_tf_no_top.h5"


def main(argv=None):
    """Train as the flags say; returns Keras's History with the validation scores of every epoch."""
    flags = train_flags(argv)
    if flags.demo:
        demo_dataset.make(DEMO_DATASET)

    import tensorflow as tf
    from tensorflow.keras.applications import MobileNet

    from utils import callbacks, checkpoint, data_loader, device, nima

    image_size = flags.image_size
    weights = nima.find_weights(flags.weights or WEIGHTS_NAME, flags.TMP_WEIGHTS_PATH or from_root(TMP_WEIGHTS_PATH))
    train, val = data_loader.read_split(flags.val_size, labels=flags.ava_dataset_path,
                                        images=flags.base_images_path, report=print)
    steps = data_loader.steps_per_epoch(train.count, flags.train_size, flags.batchsize, report=print)
    checkpoint.open_folder(flags.TMP_MODEL_PATF, restart=flags.demo and flags.TMP_MODEL_PATF == DEMO_MODEL)

    with device.open_run(flags.device, threads=flags.threads, seed=flags.seed) as run:
        tf.keras.backend.set_learning_phase(1)
        # For another base model, import it above and edit this line.
        base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, pooling='avg', weights=None)
        if weights:
            nima.load_base_weights(base_model, weights)
        model = nima.with_head(base_model, flags.dropout)
        model.compile(nima.optimizer(flags.optimizer, learning_rate=flags.learning_rate,
                                     momentum=flags.momentum, decay=flags.decay), loss=nima.earth_mover_loss)
        twin = nima.inference_twin(model)
        run.initialise()
        train_batches = data_loader.train_generator(flags.batchsize, ratings=train, train_size=flags.train_size,
                                                    image_size=image_size, seed=flags.seed,
                                                    session_config=run.host_config)
        val_batches = data_loader.val_generator(flags.batchsize, ratings=val, image_size=image_size,
                                                session_config=run.host_config)
        with contextlib.closing(train_batches), contextlib.closing(val_batches):
            # workers=0: the pipeline runs ahead in threads of its own and needs no queue from Keras.
            return model.fit_generator(
                train_batches, steps_per_epoch=steps, epochs=flags.epochs, workers=0, verbose=0,
                callbacks=[callbacks.ProgressBar(flags.batchsize),
                           callbacks.Validation(twin, val_batches, val, flags.batchsize),
                           callbacks.SaveEpoch(flags.TMP_MODEL_PATF), *callbacks.logs(flags.TMP_LOG_PATH)])


if __name__ == '__main__':
    errors.run(main, 'train.py')
