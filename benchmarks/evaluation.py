"""Images a second of scoring: this project's one pass, the original's two, other engines, and other batches.

The original's way is written from its description: a generator that evaluate_generator reads for the loss, and once
more predict_generator for the scores, in batches of 10, its photographs decoded one after the other.
"""
import argparse
import contextlib
import importlib.util
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader, turns  # noqa: E402
from utils.data import ava  # noqa: E402

BATCH, ORIGINAL_BATCH = 100, 10
FORWARD = 5, 10, 16, 20, 32, 50, 100
SLOWER = {'TensorFlow': 2.0, 'OpenVINO': 5.0, 'OpenVINO --fast': 5.0}  # by which the original's way has to be


def checkpoint_in(folder: str, size: int) -> str:
    """A whole NIMA with random weights."""
    import tensorflow as tf

    from utils import nima
    from utils.base.preprocessing import Preprocessing
    from utils.model import checkpoint
    base = tf.keras.applications.MobileNet((size, size, 3), include_top=False, pooling='avg', weights=None)
    path = os.path.join(folder, 'model_001.h5')
    model = nima.with_head(base, 0.75)
    model.compile('sgd', nima.earth_mover_loss)
    checkpoint.save(model, path, {'preprocessing': Preprocessing(size).as_json()})
    return path


# --- the ways; each is a function that scores all photographs so many times


def this_project(folder: str, size: int, engine: str, fast: bool = False) -> Callable[[int], Any]:
    from utils import data_loader, nima
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet, Reading
    from utils.device import device
    from utils.scoring import engines
    run = contextlib.ExitStack().enter_context(device.open_run('cpu'))
    path = os.path.join(folder, 'model_001.h5')
    made = engines.load(path, engines.Choice(engine, fast), run, BATCH, report=print)
    run.initialise()
    ratings = ratings_of(folder)
    val = ImageSet(ratings, BadImages(ratings.count))
    reading = Reading(made.preprocessing, session_config=run.host_config)

    def score(times: int) -> None:
        for _ in range(times):
            for images, _ in data_loader.val_batches(val, BATCH, reading):
                nima.predict(made.model, images, made.predict_batch)

    return score


def original(folder: str, size: int) -> Callable[[int], Any]:
    import tensorflow as tf

    from utils import nima
    ratings = ratings_of(folder)
    batches = _one_by_one(ratings.paths, ratings.distributions.astype('float32'), size)
    model = tf.keras.models.load_model(os.path.join(folder, 'model_001.h5'),
                                       custom_objects={'earth_mover_loss': nima.earth_mover_loss})
    steps = -(-ratings.count // ORIGINAL_BATCH)

    def score(times: int) -> None:
        for _ in range(times):
            # Keras reads ahead; its default, 10 batches that nobody takes, would be as many as a pass has here.
            model.evaluate_generator(batches, steps, max_queue_size=1)
            model.predict_generator(batches, steps, max_queue_size=1)

    return score


def _one_by_one(paths: Any, scores: Any, size: int) -> Iterator[Any]:
    import tensorflow as tf

    def parse(path: Any, row: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.compat.v1.image.resize_images(image, (size, size))
        return (tf.cast(image, tf.float32) - 127.5) / 127.5, row

    with tf.Graph().as_default():
        rows = tf.data.Dataset.from_tensor_slices((list(paths), scores)).map(parse).repeat().batch(ORIGINAL_BATCH)
        following = tf.compat.v1.data.make_one_shot_iterator(rows).get_next()
        session = tf.compat.v1.Session()
    while True:
        yield session.run(following)


def forward_alone(folder: str, size: int) -> Callable[[int], Any]:
    """Predicts 100 constant images in batches of the size that it is told."""
    import numpy as np

    from utils.device import device
    from utils.model import build, model_file
    contextlib.ExitStack().enter_context(device.open_run('cpu'))
    model = build.for_scoring(model_file.read(os.path.join(folder, 'model_001.h5')))
    images = np.random.RandomState(0).uniform(-1, 1, (BATCH, size, size, 3)).astype(np.float32)
    return lambda forward: [model.predict_on_batch(images[start:start + forward])
                            for start in range(0, BATCH, forward)]


def ratings_of(folder: str) -> ava.Ratings:
    return ava.read(os.path.join(folder, 'AVA.txt'), os.path.join(folder, 'images'))


WAYS: Dict[str, Callable[..., Callable[[int], Any]]] = {
    'TensorFlow': lambda folder, size: this_project(folder, size, 'tf'), 'original': original,
    'OpenVINO': lambda folder, size: this_project(folder, size, 'openvino'),
    'OpenVINO --fast': lambda folder, size: this_project(folder, size, 'openvino', fast=True), 'forward': forward_alone}


# --- measuring


def measure(*, quick: bool) -> List[turns.Figure]:
    size, photographs, rounds = (32, 20, 1) if quick else (224, 100, 5)
    with tempfile.TemporaryDirectory() as folder:
        loader.make_dataset(folder, photographs, 64 if quick else loader.LONG_SIDE)
        checkpoint_in(folder, size)
        names = ['original', *(name for name in SLOWER if name == 'TensorFlow' or not _no_openvino())]
        commands = {name: turns.command('evaluation', '--way', name, '--folder', folder, '--size', size)
                    for name in [*names, 'forward']}
        with turns.workers(commands) as started:
            forward = started.pop('forward')
            taken = turns.take_turns(started, rounds=rounds, amount=1, warm_up=1)
            batches = _forward(forward, FORWARD[-1:] if quick else FORWARD, rounds)
    figures = [_figure(name, taken, photographs, rounds) for name in names[1:]]
    if _no_openvino():
        figures.append(turns.skipped('scoring, OpenVINO', f'at least {SLOWER["OpenVINO"]:g} times', _no_openvino()))
    return [*figures, batches]


def _figure(name: str, taken: Dict[str, List[turns.Turn]], photographs: int, rounds: int) -> turns.Figure:
    times = 1 / turns.ratio(taken[name], taken['original'])
    precision = ', in bfloat16 where the CPU has it' if name.endswith('--fast') else ''
    return turns.Figure(
        f'scoring, {name}', photographs / turns.seconds(taken[name], 1),
        photographs / turns.seconds(taken['original'], 1), times, 'images/s', f'at least {SLOWER[name]:g} times',
        times >= SLOWER[name], f'images a second from JPEG files of 640 pixels to scores, in one pass{precision}, and '
        f"the original's way: two passes, batches of {ORIGINAL_BATCH}, decoded one after the other, one batch ahead; "
        f'{rounds} rounds of {photographs} in turn')


def _forward(worker: turns.Worker, sizes: Any, rounds: int) -> turns.Figure:
    found: Dict[int, List[float]] = {size: [] for size in sizes}
    for number in range(rounds + 1):
        for size in sizes:
            wall = worker.take(size).wall
            if number or rounds == 1:
                found[size].append(BATCH / wall)
    speeds = {size: statistics.median(each) for size, each in found.items()}
    best = max(speeds, key=lambda size: speeds[size])
    return turns.reported(f'forward alone, the best batch: {best}', speeds[best], 'images/s',
                          f'images a second by batch, of constant images, {rounds} rounds in turn: '
                          + ', '.join(f'{size}: {speed:.1f}' for size, speed in speeds.items()))


def _no_openvino() -> str:
    """Why the engine cannot be measured; empty where it can."""
    missing = [name for name in ('openvino', 'tf2onnx') if importlib.util.find_spec(name) is None]
    return f'this Python has no package {missing[0]}' if missing else ''


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--way', choices=WAYS)
    parser.add_argument('--folder')
    parser.add_argument('--size', type=int)
    flags, rest = parser.parse_known_args()
    if flags.way:
        answers = turns.Answers()
        answers.serve(WAYS[flags.way](flags.folder, flags.size))
    turns.main(measure, __doc__ or '', rest)


if __name__ == '__main__':
    main()
