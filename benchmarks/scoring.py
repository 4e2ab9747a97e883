"""Images a second from JPEG files to scores: eval.py beside the original's way, and predict.py.

The original's way is written from its description: a generator that evaluate_generator reads for the loss, and once
more predict_generator for the scores, in batches of 10, its images decoded one after the other.
"""
import importlib.util
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from benchmarks import dataset, step_worker, turns
from utils.base.cores import usable_cores

EVAL_BATCH, ORIGINAL_BATCH, STEP = 100, 10, 32  # of eval.py, the original, predict.py
ENGINES = {'tf': ('tf', False), 'openvino': ('openvino', False), 'openvino --fast': ('openvino', True)}
LEAST = {'tf': 2}  # times the original's way
EVAL, PREDICT = 'scoring', 'predict.py'
LARGE = f'{PREDICT}, 12 megapixels'
LARGE_SIDE, LARGE_COUNT, LARGE_LEAST = 4000, STEP, 3  # of LARGE: pixels, images a turn, times without longest_side
EIGHTH = 8  # the smallest fraction of a JPEG: all of it is read, nearly nothing of it computed
BASELINES = {'the original': False, 'the original, freed memory kept': True}
Work = Callable[[int], Any]  # does so many images


def model_in(folder: str, size: int) -> str:
    """A checkpoint: idealo's aesthetic model where its weights are at hand, otherwise with random weights."""
    import tensorflow as tf

    from utils import models, nima
    from utils.base.preprocessing import Preprocessing
    from utils.model import checkpoint
    path = os.path.join(folder, 'model_001.h5')
    if size == 224 and turns.NIMA_WEIGHTS.is_file():
        models.import_weights(str(turns.NIMA_WEIGHTS), path, Preprocessing(padding='symmetric'))
        return path
    base = tf.keras.applications.MobileNet((size, size, 3), include_top=False, pooling='avg', weights=None)
    model = nima.with_head(base, 0.75)
    model.compile('sgd', nima.earth_mover_loss)
    checkpoint.save(model, path, {'preprocessing': Preprocessing(size).as_json()})
    return path


# --- the ways; each makes a function that scores so many images of the folder


def evaluating(folder: str, way: str) -> Work:
    """eval.py's pass over all images."""
    from utils import data_loader
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet, Reading
    run, made = engine(folder, way, EVAL_BATCH)
    ratings = dataset.ratings(folder)
    val = ImageSet(ratings, BadImages(ratings.count))
    reading = Reading(made.preprocessing, session_config=run.host_config)
    return lambda count: [made.predict(images) for _ in range(count // ratings.count)
                          for images, _ in data_loader.val_batches(val, EVAL_BATCH, reading)]


def engine(folder: str, way: str, batchsize: int) -> Tuple[Any, Any]:
    """The opened device and the engine of ENGINES with the model of a folder."""
    from utils.device import device
    from utils.scoring import engines
    run = turns.OPEN.enter_context(device.open_run('cpu'))
    made = engines.load(os.path.join(folder, 'model_001.h5'), engines.Choice(*ENGINES[way]), run, batchsize, print)
    run.initialise()
    return run, made


def original(folder: str, size: int, keep_memory: bool) -> Work:
    if keep_memory:
        from utils.base import memory
        memory.keep_freed()
    import tensorflow as tf

    from utils import nima
    ratings = dataset.ratings(folder)
    # One generator each: Keras may still read ahead for a pass when the next one begins.
    first, second = (one_by_one(ratings.paths, ratings.distributions.astype('float32'), size) for _ in range(2))
    model = tf.keras.models.load_model(os.path.join(folder, 'model_001.h5'), compile=False)
    model.compile('sgd', nima.earth_mover_loss)

    def score(count: int) -> None:
        # Keras reads ahead; its default, 10 batches that nobody takes, would be as many as a pass has here.
        model.evaluate_generator(first, -(-count // ORIGINAL_BATCH), max_queue_size=1)
        model.predict_generator(second, -(-count // ORIGINAL_BATCH), max_queue_size=1)

    return score


def one_by_one(paths: Any, scores: Any, size: int) -> Any:
    import tensorflow as tf

    def parse(path: Any, row: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.compat.v1.image.resize_images(image, (size, size))
        return (tf.cast(image, tf.float32) - 127.5) / 127.5, row

    return step_worker.endless(lambda: tf.data.Dataset.from_tensor_slices((list(paths), scores)).map(parse).repeat(
        ).batch(ORIGINAL_BATCH))


def predicting(folder: str, way: str, longest_side: Optional[int] = None) -> Work:
    """predict.py's own generator, over the images again and again."""
    scored = _scorer(os.path.join(folder, 'model_001.h5'), way, longest_side).score(_files(folder) * 1000)
    return lambda count: [next(scored) for _ in range(count)]


def _scorer(model: str, way: str, longest_side: Optional[int] = None) -> Any:
    from utils.scoring import engines, scorer
    return scorer.Scorer(model, batchsize=STEP, device_name='cpu', engine=engines.Choice(*ENGINES[way]),
                         longest_side=longest_side)


def _files(folder: str) -> List[str]:
    return sorted(map(str, Path(folder, 'images').glob('*.jpg')))


def decoding(folder: str) -> Work:
    """What reads predict.py's images, with nothing after it."""
    from utils.base import memory
    from utils.data import image_files
    from utils.model import model_file
    memory.keep_freed()  # as predict.py's device asks
    how = model_file.read(os.path.join(folder, 'model_001.h5'), arrays=False).preprocessing(None, print)
    cores = usable_cores()
    read = image_files.ImageReader(how).read_all(_files(folder) * 1000, workers=cores, ahead=STEP + cores)
    return lambda count: [next(read) for _ in range(count)]


def reading_large(folder: str) -> Work:
    """What no decoder saves of a JPEG: its bits are read, and 1 of 64 pixels is computed."""
    import tensorflow as tf

    from utils.data import pipeline
    with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
        path = tf.compat.v1.placeholder(tf.string, ())
        decoded = tf.image.decode_jpeg(tf.io.read_file(path), channels=3, ratio=EIGHTH).op
    session, files = pipeline.host_session(graph, None), _files(folder)
    return lambda count: [session.run(decoded, {path: file}) for file in files[:count]]


# --- measuring


def measure(*, quick: bool, rounds: Optional[int]) -> List[turns.Figure]:
    size, side, count, rounds = (32, 64, EVAL_BATCH, rounds or 1) if quick else (224, dataset.LONG_SIDE, 3 * EVAL_BATCH,
                                                                                 rounds or 5)
    missing = missing_packages()
    with tempfile.TemporaryDirectory() as folder:
        dataset.make(folder, count, side)
        model = model_in(folder, size)
        taken = turns.take_turns(_commands(folder, size, list(ENGINES)[:1 if missing else None]), rounds, amount=count,
                                 warm_up=count)
        speeds = {way: turns.speeds(each, count) for way, each in taken.items()}
        figures = [*_figures(speeds, f'{rounds} rounds of {count} in turn'),
                   _large(folder, model, 200 if quick else LARGE_SIDE, rounds),
                   *([] if missing else _differences(folder, model))]
    return figures + [turns.skipped(name, f'this Python has no package {missing[0]}')
                      for name in list(ENGINES)[1:] if missing]


def missing_packages() -> List[str]:
    """Those of the other engines and of the export that this Python has not."""
    return [name for name in ('openvino', 'tf2onnx', 'onnxruntime') if importlib.util.find_spec(name) is None]


def _commands(folder: str, size: int, ways: List[str]) -> Dict[str, List[str]]:
    """The processes that take turns."""
    def way(function: str, **given: Any) -> List[str]:
        return turns.process('scoring', function, folder=folder, **given)

    commands = {name: way('original', size=size, keep_memory=kept) for name, kept in BASELINES.items()}
    commands[f'{PREDICT}, decoding alone'] = way('decoding')
    for part, function in (EVAL, 'evaluating'), (PREDICT, 'predicting'):
        commands.update((f'{part}, {name}', way(function, way=name)) for name in ways)
    return commands


def _figures(speeds: Dict[str, List[float]], measured: str) -> List[turns.Figure]:
    figures = [turns.compared(
        f'{EVAL}, {way}, beside {baseline}', speeds[f'{EVAL}, {way}'], speeds[baseline], 'images/s',
        "images a second from JPEG files of 640 pixels to scores, in eval.py's pass, and the original's way: two "
        f'passes, batches of {ORIGINAL_BATCH}, decoded one by one, one batch ahead; {measured}', least=LEAST.get(way))
        for baseline in BASELINES for way in ENGINES if f'{EVAL}, {way}' in speeds]
    return figures + [turns.compared(
        way, each, speeds[f'{PREDICT}, tf'], 'images/s',
        f'images a second from JPEG files, over those of tf; {measured}')
        for way, each in speeds.items() if way.startswith(PREDICT)]


def _large(folder: str, model: str, side: int, rounds: int) -> turns.Figure:
    """Images from a camera: brought to the model's longest side, and as they are; and what reading them costs."""
    from utils.base.defaults import LONGEST_SIDE
    from utils.base.preprocessing import ANY_SIZE
    large = os.path.join(folder, 'large')
    dataset.make(large, LARGE_COUNT, side)
    shutil.copy(model, large)
    ways = {name: turns.process('scoring', 'predicting', folder=large, way='tf', longest_side=longest_side)
            for name, longest_side in (('reduced', LONGEST_SIDE), ('as they are', ANY_SIZE))}
    ways['read alone'] = turns.process('scoring', 'reading_large', folder=large)
    taken = turns.take_turns(ways, rounds, amount=LARGE_COUNT, warm_up=LARGE_COUNT)
    size = statistics.mean(os.path.getsize(file) for file in _files(large))
    spent = {name: statistics.median(turn.processor for turn in each) * 1000 / LARGE_COUNT
             for name, each in taken.items()}
    return turns.compared(LARGE, *(turns.speeds(taken[name], LARGE_COUNT) for name in list(ways)[:2]), 'images/s',
                          f'images a second from JPEG files of {side} pixels and {size / 1e6:.1f} MB (smaller images '
                          f'enlarged), brought to {LONGEST_SIDE} pixels by decoding at a fraction, and as they are; '
                          f'{rounds} rounds in turn; CPU ms an image: '
                          + ', '.join(f'{name} {cpu:.1f}' for name, cpu in spent.items()), least=LARGE_LEAST)


def _differences(folder: str, model: str) -> List[turns.Figure]:
    """The largest difference of a mean score from TensorFlow's."""
    import numpy as np

    from utils import score_utils
    means = {}
    for way in ENGINES:
        with _scorer(model, way) as opened:
            found = [distribution for _, distribution in opened.score(_files(folder))]
            means[way] = score_utils.mean_score(np.stack(found))
    apart = {way: np.abs(means[way] - means['tf']) for way in list(ENGINES)[1:]}
    return [turns.reported(f'mean score, {way}: largest difference', float(each.max()), '',
                           f'from tf; {each.mean():.6f} on average, {len(each)} images')
            for way, each in apart.items()]


if __name__ == '__main__':
    turns.main(measure, __doc__, rounds=turns.ROUNDS)
