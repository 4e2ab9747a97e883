"""A process that trains when it is told to, by train.py or in another way; the other benchmarks start it.

    train      train.py, all of it
    bare       train_on_batch of the same model on one constant batch
    reference  the reference script's way: fit_generator on a session's generator, the learning phase fed
    profile    one step of bare; prints, as JSON, the seconds of each operation
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns  # noqa: E402


def weights() -> str:
    """The file of the weights that training starts from, or none."""
    return str(turns.WEIGHTS) if turns.WEIGHTS.is_file() else 'none'


def dataset_flags(folder: str) -> List[str]:
    return ['--ava_dataset_path', os.path.join(folder, 'AVA.txt'), '--base_images_path', os.path.join(folder, 'images'),
            '--val_size', '100']


def turns_callback(answers: turns.Answers) -> Any:
    """Ends a turn after as many steps as it was told, with all that belongs to them, and waits for the next one."""
    import tensorflow as tf

    class Turns(tf.keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self._left = answers.wait()

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self._left -= 1
            if not self._left:
                answers.done()
                self._left = answers.wait()

    return Turns()


def train(flags: argparse.Namespace, answers: turns.Answers) -> None:
    """train.py, its model a sleeping one where --device_seconds says so."""
    import tensorflow as tf

    import train as script
    from utils.training import fit
    around = fit._around
    fit._around = lambda *given: [*around(*given), turns_callback(answers)]
    if flags.device_seconds:
        def sleep(self: Any, *_: Any, **__: Any) -> float:
            time.sleep(flags.device_seconds)
            return 0.1
        tf.keras.Model.train_on_batch = sleep
    packed = ['--records', flags.records] if flags.records else []
    model = os.path.join(flags.folder, f'model-{os.getpid()}')
    script.main([*dataset_flags(flags.folder), '--weights', weights() if flags.image_size == 224 else 'none',
                 '--batchsize', str(flags.batchsize), '--image_size', str(flags.image_size), '--device', 'cpu',
                 '--TMP_MODEL_PATF', model, '--TMP_LOG_PATH', os.path.join(model, 'log'), *packed,
                 *(['--threads', str(flags.threads)] if flags.threads else [])])


def built(flags: argparse.Namespace, **compiling: Any) -> Any:
    """The network of train.py, compiled, in a session with the levers of the flags."""
    import tensorflow as tf
    from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

    from utils import nima
    from utils.device import device
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=flags.threads or device.usable_cores(),
                                      inter_op_parallelism_threads=flags.threads or device.usable_cores())
    if flags.no_grappler:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.rewrite_options.remapping = RewriterConfig.OFF
    if flags.xla:
        config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.ON_2
    tf.compat.v1.set_random_seed(0)
    tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session(config=config))
    if not flags.fed_phase:
        tf.keras.backend.set_learning_phase(1)
    base = tf.keras.applications.MobileNet((flags.image_size, flags.image_size, 3), include_top=False, pooling='avg',
                                           weights=None)
    model = nima.with_head(base, 0.75)
    if flags.image_size == 224 and weights() != 'none':
        nima.load_weights(model, weights())
    model.compile(nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6), loss=nima.earth_mover_loss, **compiling)
    return model


def constant_batch(batchsize: int, size: int) -> Tuple[Any, Any]:
    import numpy as np
    random = np.random.RandomState(0)
    return (random.uniform(-1, 1, (batchsize, size, size, 3)).astype(np.float32),
            random.dirichlet(np.ones(10), batchsize).astype(np.float32))


def bare(flags: argparse.Namespace, answers: turns.Answers) -> None:
    if flags.keep_memory:
        from utils.base import memory
        memory.keep_freed()
    model, batch = built(flags), constant_batch(flags.batchsize, flags.image_size)
    answers.serve(lambda steps: [model.train_on_batch(*batch) for _ in range(steps)])


def reference(flags: argparse.Namespace, answers: turns.Answers) -> None:
    """Written from the description of the reference script, not from its text."""
    from utils.data import ava
    ratings = ava.read(os.path.join(flags.folder, 'AVA.txt'), os.path.join(flags.folder, 'images'))
    flags.fed_phase = True
    model = built(flags)
    model.fit_generator(_session_generator(ratings.paths, ratings.distributions.astype('float32'), flags.batchsize,
                                           flags.image_size),
                        steps_per_epoch=ratings.count // flags.batchsize, verbose=2,
                        callbacks=[turns_callback(answers)])


def _session_generator(paths: Sequence[str], scores: Any, batchsize: int, size: int) -> Iterator[Any]:
    """Batches of a tf.data pipeline of two parallel calls, a shuffle of 4 and no prefetch."""
    import tensorflow as tf

    def parse(path: Any, row: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.compat.v1.image.resize_images(image, (size * 256 // 224, size * 256 // 224))
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (size, size, 3)))
        return (tf.cast(image, tf.float32) - 127.5) / 127.5, row

    with tf.Graph().as_default():
        rows = tf.data.Dataset.from_tensor_slices((list(paths), scores)).map(parse, num_parallel_calls=2)
        following = tf.compat.v1.data.make_one_shot_iterator(rows.repeat().shuffle(4).batch(batchsize)).get_next()
        session = tf.compat.v1.Session()
    while True:
        yield session.run(following)


def profile(flags: argparse.Namespace, answers: turns.Answers) -> None:
    import tensorflow as tf
    metadata = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    model, batch = built(flags, options=options, run_metadata=metadata), constant_batch(flags.batchsize,
                                                                                        flags.image_size)
    answers.wait()
    for _ in range(3):
        model.train_on_batch(*batch)
    found: Dict[str, float] = {}
    for device in metadata.step_stats.dev_stats:
        for node in device.node_stats:
            label = node.timeline_label
            name = label.split(' = ')[1].split('(')[0] if ' = ' in label else node.node_name.split(':')[-1]
            found[name] = found.get(name, 0) + (node.op_end_rel_micros - node.op_start_rel_micros) / 1e6
    print(json.dumps(dict(sorted(found.items(), key=lambda each: -each[1]))), file=answers._stream, flush=True)


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = {each.__name__: each for each in (train, bare, reference, profile)}
    parser.add_argument('way', choices=ways)
    parser.add_argument('--folder', metavar='DIR', help='with AVA.txt and images/')
    parser.add_argument('--batchsize', type=int, default=100, metavar='N')
    parser.add_argument('--image_size', type=int, default=224, metavar='S')
    parser.add_argument('--records', metavar='DIR', help='a packed dataset')
    parser.add_argument('--device_seconds', type=float, metavar='T',
                        help='of train: in place of the model, sleep so long a step')
    parser.add_argument('--threads', type=int, metavar='N')
    parser.add_argument('--no_grappler', action='store_true')
    parser.add_argument('--xla', action='store_true')
    parser.add_argument('--fed_phase', action='store_true')
    parser.add_argument('--keep_memory', action='store_true', help='of bare: ask for it as train.py does')
    flags = parser.parse_args(argv)
    ways[flags.way](flags, turns.Answers())


if __name__ == '__main__':
    main()
