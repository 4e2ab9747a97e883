"""Train NIMA: bash train_1p.sh, or python3 train.py --help."""
import contextlib

from utils import errors
from utils.defaults import DEMO_DATASET, DEMO_MODEL, edited_name, from_root
from utils.flags import train_flags

# Edit these lines for other pre-trained weights. Relative paths count from the repository's root.
TMP_WEIGHTS_PATH = './weights'
WEIGHTS_NAME = "mobilenet_1_0_224_tf_no_top.h5"


def main(argv=None):
    """Train as the flags say; returns Keras's History with the validation scores of every epoch."""
    flags = train_flags(argv)
    import tensorflow as tf
    from tensorflow.keras.applications import MobileNet

    from utils import callbacks, data_loader, demo_dataset, device, model_file, nima, records

    if flags.demo:
        demo_dataset.make(DEMO_DATASET)
    image_size = flags.image_size
    train, val = data_loader.read_split(flags.val_size, labels=flags.ava_dataset_path, images=flags.base_images_path,
                                        skip_bad=flags.skip_bad_labels, report=print)
    steps = data_loader.steps_per_epoch(train.count, flags.train_size, flags.batchsize, report=print)
    weights = nima.find_weights(flags.weights or edited_name(WEIGHTS_NAME),
                                flags.TMP_WEIGHTS_PATH or from_root(TMP_WEIGHTS_PATH))
    preprocessing = model_file.preprocessing_to_start_from(weights, image_size, report=print)
    packed = records.open_for_training(flags.records, train, flags.val_records, val, preprocessing=preprocessing)
    errors.check_output_folder(flags.TMP_MODEL_PATF, '--TMP_MODEL_PATF')
    errors.check_output_folder(flags.TMP_LOG_PATH, '--TMP_LOG_PATH')

    with device.open_run(flags.device, threads=flags.threads, seed=flags.seed, npu=flags.npu) as run:
        tf.keras.backend.set_learning_phase(1)
        # For another base model, import it above and edit this line.
        base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, pooling='avg', weights=None)
        model = nima.with_head(nima.with_padding(base_model, preprocessing['padding']), flags.dropout)
        nima.load_weights(model, weights)
        model.compile(nima.optimizer(flags.optimizer, flags.learning_rate, momentum=flags.momentum, decay=flags.decay,
                                     loss_scale=flags.loss_scale), loss=nima.earth_mover_loss)
        twin = nima.inference_twin(model)
        run.initialise()
        train_batches, val_batches, bad = data_loader.generators(
            train, val, flags.batchsize, train_size=flags.train_size, seed=flags.seed, packed=packed,
            max_bad_images=flags.max_bad_images, preprocessing=preprocessing, session_config=run.host_config,
            max_pixels=int(flags.max_megapixels * 10 ** 6), fast=flags.fast_decode)
        watching = callbacks.for_training(
            twin, val_batches, val, bad=bad, batchsize=flags.batchsize, device=run.device,
            model_folder=flags.TMP_MODEL_PATF, log_folder=flags.TMP_LOG_PATH, record={'preprocessing': preprocessing},
            restart=flags.demo and flags.TMP_MODEL_PATF == DEMO_MODEL)
        with contextlib.closing(train_batches), contextlib.closing(val_batches), contextlib.closing(watching[0]):
            # workers=0: the pipeline runs ahead in threads of its own and needs no queue from Keras.
            return model.fit_generator(train_batches, steps, flags.epochs, callbacks=watching, verbose=0, workers=0)


if __name__ == '__main__':
    errors.run(main, 'train.py')
