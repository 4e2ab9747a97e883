"""What a process that trains does in a turn: so many steps by train.py, by the reference's way, bare, or by PyTorch."""
import json
import os
import time
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

from benchmarks import dataset, turns

VAL_SIZE = 100  # of train.py
WEIGHTS = turns.SHARED / 'weights' / 'mobilenet_1_0_224_tf_no_top.RECONSTRUCTED.h5'


def weights(image_size: int) -> str:
    """The file of the weights that training starts from, or none."""
    return str(WEIGHTS) if image_size == 224 and WEIGHTS.is_file() else 'none'


def turns_callback() -> Any:
    """Ends a turn after as many steps as were asked for, with all that belongs to them, and waits for the next one."""
    import tensorflow as tf

    class Turns(tf.keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self._answers = turns.Answers()
            self._left, = self._answers.wait()

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self._left -= 1
            if not self._left:
                self._answers.done()
                self._left, = self._answers.wait()

    return Turns()


def train(folder: str, batchsize: int, image_size: int, records: Optional[str] = None,
          device_seconds: Optional[float] = None) -> None:
    """train.py, all of it; in place of its model a sleep of `device_seconds` a step."""
    import tensorflow as tf

    import train as script
    from utils.training import fit
    around = fit._around
    fit._around = lambda *given: [*around(*given), turns_callback()]
    if device_seconds:
        def sleep(self: Any, *_: Any, **__: Any) -> float:
            time.sleep(device_seconds)
            return 0.1
        tf.keras.Model.train_on_batch = sleep
    script.main([*dataset.paths(folder), '--val_size', str(VAL_SIZE), '--weights', weights(image_size), '--batchsize',
                 str(batchsize), '--image_size', str(image_size), '--device', 'cpu', '--TMP_MODEL_PATF',
                 os.path.join(folder, f'model-{os.getpid()}'), *(['--records', records] if records else [])])


def built(image_size: int, *, keep_memory: bool = True, threads: int = 0, grappler: bool = True,
          fed_phase: bool = False, trained: Sequence[Any] = ('all', False), **compiling: Any) -> Any:
    """The network of train.py, compiled, in a session with these settings."""
    from utils.base import memory
    from utils.base.cores import usable_cores
    if keep_memory:
        memory.keep_freed()
    import tensorflow as tf
    from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

    from utils import nima
    from utils.model import model_file
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    threads = threads or usable_cores()
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    if not grappler:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.rewrite_options.remapping = RewriterConfig.OFF
    tf.compat.v1.set_random_seed(0)
    tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session(config=config))
    if not fed_phase:
        tf.keras.backend.set_learning_phase(nima.Trained(*trained).phase)
    base = tf.keras.applications.MobileNet((image_size, image_size, 3), include_top=False, pooling='avg', weights=None)
    model = nima.with_head(base, 0.75, nima.Trained(*trained))
    if weights(image_size) != 'none':
        nima.load_weights(model, model_file.read(weights(image_size)))
    model.compile(nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6), loss=nima.earth_mover_loss, **compiling)
    return model


def _fill_pool(batchsize: int, image_size: int) -> None:
    """Memory of float32 images taken at once, as train.py takes it."""
    from utils import data_loader
    from utils.base import memory
    memory.fill_pool(data_loader.POOL_BATCHES * batchsize * image_size ** 2 * 3 * 4)


def constant_batch(batchsize: int, size: int) -> Tuple[Any, Any]:
    import numpy as np
    random = np.random.RandomState(0)
    return (random.uniform(-1, 1, (batchsize, size, size, 3)).astype(np.float32),
            random.dirichlet(np.ones(10), batchsize).astype(np.float32))


def bare(batchsize: int, image_size: int, pool: bool = False, **settings: Any) -> Callable[[int], Any]:
    """train_on_batch of the same model on one constant batch; with `pool` memory is taken at once, as by train.py."""
    model = built(image_size, **settings)
    if pool:
        _fill_pool(batchsize, image_size)
    batch = constant_batch(batchsize, image_size)
    return lambda steps: [model.train_on_batch(*batch) for _ in range(steps)]


def cached(batchsize: int, image_size: int, trained: Sequence[Any]) -> Callable[[int], Any]:
    """train_on_batch of the last blocks of the same model, on one constant batch of cached maps in float16."""
    import numpy as np

    from utils import nima
    model, (images, true) = built(image_size, trained=trained), constant_batch(batchsize, image_size)
    base, blocks = nima.on_features(model, nima.Trained(*trained))
    maps = base.predict(images).astype(np.float16)
    return lambda steps: [blocks.train_on_batch(maps.astype(np.float32), true) for _ in range(steps)]


def reference(folder: str, batchsize: int, image_size: int, keep_memory: bool) -> None:
    """The reference script's way, from its description: fit_generator on a session's generator, the phase fed."""
    model, ratings = built(image_size, keep_memory=keep_memory, fed_phase=True), dataset.ratings(folder)
    if keep_memory:
        _fill_pool(batchsize, image_size)
    batches = published(ratings.paths, ratings.distributions.astype('float32'), batchsize, image_size)
    model.fit_generator(batches, steps_per_epoch=ratings.count // batchsize, verbose=2, callbacks=[turns_callback()])


def published(paths: Any, scores: Any, batchsize: int, size: int) -> Iterator[Any]:
    """Batches as the published code reads them: 2 parallel calls, a shuffle of 4, no prefetch, from a session."""
    import tensorflow as tf

    def parse(path: Any, row: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.compat.v1.image.resize_images(image, (size * 256 // 224, size * 256 // 224))
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (size, size, 3)))
        return (tf.cast(image, tf.float32) - 127.5) / 127.5, row

    return endless(lambda: tf.data.Dataset.from_tensor_slices((list(paths), scores)).map(
        parse, num_parallel_calls=2).repeat().shuffle(4).batch(batchsize))


def endless(rows: Callable[[], Any]) -> Iterator[Any]:
    """What a session reads of the dataset that rows() makes, in a graph of its own."""
    import tensorflow as tf
    with tf.Graph().as_default():
        following = tf.compat.v1.data.make_one_shot_iterator(rows()).get_next()
        session = tf.compat.v1.Session()
    while True:
        yield session.run(following)


def pytorch(batchsize: int, image_size: int, keep_memory: bool = True, frozen: bool = False) -> Callable[[int], Any]:
    """timm's MobileNet, channels last, on one constant batch; `frozen` is --freeze_batchnorm."""
    from utils.base import memory
    if keep_memory:
        memory.keep_freed()
    import timm
    import torch

    from utils.base.cores import usable_cores
    torch.set_num_threads(usable_cores())
    torch.manual_seed(0)
    model = timm.create_model('mobilenetv1_100', num_classes=10, drop_rate=0.75).train()
    model = model.to(memory_format=torch.channels_last)
    if frozen:
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eval().requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
    images = torch.rand(batchsize, 3, image_size, image_size) * 2 - 1
    images = images.to(memory_format=torch.channels_last)
    true = torch.softmax(torch.rand(batchsize, 10), dim=1).cumsum(dim=1)

    def steps(amount: int) -> None:
        for _ in range(amount):
            optimizer.zero_grad()
            loss = (true - model(images).softmax(dim=1).cumsum(dim=1)).square().mean(dim=1).sqrt().mean()
            loss.backward()
            optimizer.step()

    return steps


def profile(batchsize: int, image_size: int, path: str) -> Callable[[int], Any]:
    """Steps of bare; the seconds of each kind of operation in the last one, the most first, as JSON in `path`."""
    import tensorflow as tf
    metadata = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    train_steps = bare(batchsize, image_size, options=options, run_metadata=metadata)

    def steps(amount: int) -> None:
        train_steps(amount)
        found: Dict[str, float] = {}
        for node in (node for device in metadata.step_stats.dev_stats for node in device.node_stats):
            label = node.timeline_label
            name = label.split(' = ')[1].split('(')[0] if ' = ' in label else node.node_name.split(':')[-1]
            found[name] = found.get(name, 0) + (node.op_end_rel_micros - node.op_start_rel_micros) / 1e6
        with open(path, 'w') as stream:
            json.dump(dict(sorted(found.items(), key=lambda each: -each[1])), stream)

    return steps
