"""Images a second of scoring: eval.py beside the original's way, predict.py, and the network beside other runtimes.

The original's way is written from its description: a generator that evaluate_generator reads for the loss, and once
more predict_generator for the scores, in batches of 10, its images decoded one after the other. PyTorch's
MobileNet (timm mobilenetv1_100, channels_last) takes part where --torch_python names a Python with torch and timm.
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
from utils.base.errors import InputError

EVAL_BATCH, ORIGINAL_BATCH, STEP, BATCH = 100, 10, 32, 64  # of eval.py, the original, predict.py, the network alone
FORWARD = 5, 10, 16, 20, 32, 50, 100
ENGINES = {'tf': ('tf', False), 'openvino': ('openvino', False), 'openvino --fast': ('openvino', True)}
LEAST = {'tf': 2, 'openvino': 5, 'openvino --fast': 5}  # times the original's way
EVAL, PREDICT, NETWORK = 'scoring', 'predict.py', 'network alone'
LARGE = f'{PREDICT}, 12 megapixels'
LARGE_SIDE, LARGE_COUNT, LARGE_LEAST = 4000, STEP, 3  # of LARGE: pixels, images a turn, times without longest_side
EIGHTH = 8  # the smallest fraction of a JPEG: all of it is read, nearly nothing of it computed
RUNTIME, TORCH = f'{NETWORK}, ONNX Runtime', f'{NETWORK}, PyTorch'
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
    run, made = _engine(folder, way, EVAL_BATCH)
    ratings = dataset.ratings(folder)
    val = ImageSet(ratings, BadImages(ratings.count))
    reading = Reading(made.preprocessing, session_config=run.host_config)
    return lambda count: [made.predict(images) for _ in range(count // ratings.count)
                          for images, _ in data_loader.val_batches(val, EVAL_BATCH, reading)]


def _engine(folder: str, way: str, batchsize: int) -> Tuple[Any, Any]:
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
    model = tf.keras.models.load_model(os.path.join(folder, 'model_001.h5'),
                                       custom_objects={'earth_mover_loss': nima.earth_mover_loss})

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


def _noise(count: int, size: int) -> Any:
    import numpy as np
    return np.random.RandomState(0).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def network(folder: str, size: int, way: str) -> Work:
    noise, (_, made) = _noise(BATCH, size), _engine(folder, way, BATCH)
    return lambda count: [made.predict(noise) for _ in range(count // BATCH)]


def onnx_runtime(folder: str, size: int) -> Work:
    from utils.formats import frozen, onnx_model
    noise, (run, made) = _noise(BATCH, size), _engine(folder, 'tf', BATCH)
    score = onnx_model.onnx_runtime(onnx_model.convert(frozen.freeze(made.model)), run.threads)
    return lambda count: [score(noise) for _ in range(count // BATCH)]


def pytorch(size: int) -> Work:
    import timm
    import torch

    from utils.base import memory
    memory.keep_freed()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    made = timm.create_model('mobilenetv1_100', num_classes=10).eval().to(memory_format=torch.channels_last)
    images = (torch.rand(BATCH, 3, size, size) * 2 - 1).contiguous(memory_format=torch.channels_last)

    def run(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count // BATCH):
                torch.softmax(made(images), 1)

    return run


def forward_alone(folder: str, size: int) -> Work:
    """Predicts 100 constant images in batches of the size that it is asked for."""
    images, (_, made) = _noise(FORWARD[-1], size), _engine(folder, 'tf', EVAL_BATCH)
    return lambda batch: [made.model.predict_on_batch(images[start:start + batch])
                          for start in range(0, FORWARD[-1], batch)]


# --- measuring


def measure(*, quick: bool, rounds: Optional[int], torch_python: Optional[str]) -> List[turns.Figure]:
    if torch_python and not shutil.which(torch_python):
        raise InputError(f'--torch_python: found no program {torch_python}, expected a Python with torch and timm: '
                         'correct it or leave it out')
    size, side, count, rounds = (32, 64, BATCH, rounds or 1) if quick else (224, dataset.LONG_SIDE, 5 * BATCH,
                                                                               rounds or 5)
    missing = [name for name in ('openvino', 'tf2onnx', 'onnxruntime') if importlib.util.find_spec(name) is None]
    with tempfile.TemporaryDirectory() as folder:
        dataset.make(folder, count, side)
        model, speeds = model_in(folder, size), {}
        for commands in _commands(folder, size, list(ENGINES)[:1 if missing else None], torch_python):
            taken = turns.take_turns(commands, rounds, amount=count, warm_up=count)
            speeds.update((way, turns.speeds(each, count)) for way, each in taken.items())
        figures = [*_figures(speeds, f'{rounds} rounds of {count} in turn'),
                   _forward(folder, size, FORWARD[-1:] if quick else FORWARD, rounds),
                   _large(folder, model, 200 if quick else LARGE_SIDE, rounds),
                   *([] if missing else _differences(folder, model))]
    if missing:
        figures.append(turns.skipped('OpenVINO and ONNX Runtime', f'this Python has no package {missing[0]}'))
    return figures if torch_python else [*figures, turns.skipped(TORCH, 'no --torch_python was given')]


def _commands(folder: str, size: int, ways: List[str], torch_python: Optional[str]) -> List[Dict[str, List[str]]]:
    """The processes that take turns: from JPEG files to scores, and the network alone."""
    def way(function: str, **given: Any) -> List[str]:
        return turns.process('scoring', function, folder=folder, **given)

    whole = {name: way('original', size=size, keep_memory=kept) for name, kept in BASELINES.items()}
    whole[f'{PREDICT}, decoding alone'] = way('decoding')
    for part, function in (EVAL, 'evaluating'), (PREDICT, 'predicting'):
        whole.update((f'{part}, {name}', way(function, way=name)) for name in ways)
    alone = {f'{NETWORK}, {name}': way('network', size=size, way=name) for name in ways}
    if len(ways) > 1:
        alone[RUNTIME] = way('onnx_runtime', size=size)
    if torch_python:
        alone[TORCH] = turns.process('scoring', 'pytorch', torch_python, size=size)
    return [whole, alone]


def _figures(speeds: Dict[str, List[float]], measured: str) -> List[turns.Figure]:
    figures = [turns.compared(
        f'{EVAL}, {way}, beside {baseline}', speeds[f'{EVAL}, {way}'], speeds[baseline], 'images/s',
        "images a second from JPEG files of 640 pixels to scores, in eval.py's pass, and the original's way: two "
        f'passes, batches of {ORIGINAL_BATCH}, decoded one by one, one batch ahead; {measured}', least=LEAST[way])
        for baseline in BASELINES for way in ENGINES if f'{EVAL}, {way}' in speeds]
    for part, how in (PREDICT, 'from JPEG files'), (NETWORK, f'of constant batches of {BATCH}'):
        figures += [turns.compared(
            way, each, speeds[f'{part}, tf'], 'images/s', f'images a second {how}, over those of tf; {measured}'
            + (f'; {turns.ratio_of(each, speeds[TORCH]):.2f} times PyTorch' if part == NETWORK and TORCH in speeds
               else '')) for way, each in speeds.items() if way.startswith(part)]
    return figures


def _forward(folder: str, size: int, batches: Any, rounds: int) -> turns.Figure:
    with turns.workers({'': turns.process('scoring', 'forward_alone', folder=folder, size=size)}) as started:
        ways = {batch: lambda batch=batch: FORWARD[-1] / started[''].take(batch).wall for batch in batches}
        turns.interleaved(ways, 1)  # warms up
        speeds = {batch: statistics.median(each) for batch, each in turns.interleaved(ways, rounds).items()}
    best = max(speeds, key=lambda batch: speeds[batch])
    return turns.reported(f'forward alone, the best batch: {best}', speeds[best], 'images/s',
                          f'images a second by batch, of constant images, {rounds} rounds in turn: '
                          + ', '.join(f'{batch}: {speed:.1f}' for batch, speed in speeds.items()))


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
    turns.main(measure, __doc__, rounds=turns.ROUNDS, torch_python={'metavar': 'PYTHON'})
