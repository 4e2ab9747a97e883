"""Photographs a second of predict.py with both engines, and of the network alone beside other runtimes.

Every way runs in a process of its own; all take turns, in another order each round. A ratio is the median of the
rounds' ratios, so that other work on the machine, which slows neighbouring turns alike, changes it little. PyTorch's
MobileNet (timm mobilenetv1_100, channels_last) takes part where --torch_python names a Python with torch and timm.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from utils import models  # noqa: E402
from utils.base import errors  # noqa: E402
from utils.base.defaults import IMAGE_SIZE  # noqa: E402
from utils.base.parser import count  # noqa: E402

SHARED = ROOT.parent / 'shared'
STEP = 32   # predict.py's photographs a step
BATCH = 64  # of the network alone
TF, OPENVINO, FAST = 'tf', 'openvino', 'openvino --fast'
ENGINES = {TF: ('tf', False), OPENVINO: ('openvino', False), FAST: ('openvino', True)}  # of engines.Choice
DECODE, RUNTIME, TORCH = 'decoding alone', 'ONNX Runtime', 'PyTorch'
PHOTOGRAPHS = 'photographs, decoded and scored'
NETWORK = f'network alone, batches of {BATCH}'

Turn = Callable[[int], float]  # a number of photographs, a multiple of STEP and BATCH -> seconds


# --- in a worker's process: what a turn is

def _timed(advance: Callable[[], Any], count: int, warm_up: int) -> float:
    for _ in range(warm_up):  # until as much is read ahead as will be at the end
        advance()
    start = time.perf_counter()
    for _ in range(count):
        advance()
    return time.perf_counter() - start


def _scorer(way: str, model: str) -> Any:
    from utils.scoring import engines, scorer
    return scorer.Scorer(model, batchsize=STEP, device_name='cpu', engine=engines.Choice(*ENGINES[way]))


def scoring(way: str, model: str, images: str) -> Turn:
    """Turns of predict.py's own generator, over the photographs again and again."""
    scored = _scorer(way, model).score(sorted(map(str, Path(images).glob('*.jpg'))) * 100000)
    next(scored)
    return lambda count: _timed(lambda: next(scored), count, 2 * STEP)


def decoding(_: str, model: str, images: str) -> Turn:
    """Turns of what reads predict.py's photographs, with nothing after it."""
    from utils.base import memory
    from utils.data import image_files
    from utils.device import device
    from utils.model import model_file
    memory.keep_freed()  # as predict.py's device asks
    how = model_file.read(model, arrays=False).preprocessing(None, print)
    reader = image_files.ImageReader(how)
    files, cores = sorted(map(str, Path(images).glob('*.jpg'))) * 100000, device.usable_cores()
    read = reader.read_all(files, workers=cores, ahead=STEP + cores)
    next(read)
    return lambda count: _timed(lambda: next(read), count, 2 * STEP)


def network(way: str, model: str, _: str) -> Turn:
    """Turns of the network on one batch of noise."""
    import numpy as np
    noise = np.random.RandomState(0).uniform(-1, 1, (BATCH, IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.float32)
    run = _torch(noise) if way == TORCH else _runtime(way, model, noise)
    run()
    return lambda count: _timed(run, count // BATCH, 1)


def _runtime(way: str, model: str, noise: Any) -> Callable[[], Any]:
    from utils import nima
    from utils.device import device
    from utils.formats import frozen, onnx_model
    from utils.model import build, model_file
    from utils.scoring import engines
    opened = device.open_run('cpu')
    run = opened.__enter__()  # open until this process ends
    network.keep = opened  # type: ignore[attr-defined]
    if way == RUNTIME:
        path = os.path.join(os.path.dirname(model), 'model.onnx')
        onnx_model.convert(frozen.freeze(build.for_scoring(model_file.read(model))), path)
        score = onnx_model.onnx_runtime(path, run.threads)
        return lambda: score(noise)
    made = engines.load(model, engines.Choice(*ENGINES[way]), run, BATCH, report=print)
    return lambda: nima.predict(made.model, noise, made.predict_batch)


def _torch(noise: Any) -> Callable[[], Any]:
    import timm
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    made = timm.create_model('mobilenetv1_100', num_classes=10).eval().to(memory_format=torch.channels_last)
    images = torch.from_numpy(noise).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def run() -> Any:
        with torch.inference_mode():
            return torch.softmax(made(images), 1)
    return run


WAYS: Dict[str, Dict[str, Callable[[str, str, str], Turn]]] = {
    PHOTOGRAPHS: {DECODE: decoding, TF: scoring, OPENVINO: scoring, FAST: scoring},
    NETWORK: {TF: network, RUNTIME: network, OPENVINO: network, FAST: network, TORCH: network},
}


def work(part: str, way: str, model: str, images: str) -> None:
    """A worker: a turn for each number on standard input, its seconds on standard output."""
    answers = os.fdopen(os.dup(1), 'w')
    with contextlib.redirect_stdout(sys.stderr):
        turn = WAYS[part][way](way, model, images)
        print('ready', file=answers, flush=True)
        for line in sys.stdin:
            print(turn(int(line)), file=answers, flush=True)
    os._exit(0)  # generators are left in the middle


# --- in the parent's

class Worker:
    """A way to score in a process of its own."""

    def __init__(self, python: str, part: str, way: str, model: str, images: str) -> None:
        self._told = tempfile.TemporaryFile('w+')  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, os.path.abspath(__file__), '--worker', part, way, model, images], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._told, universal_newlines=True)
        self._way = way
        self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self._told.seek(0)
            last = ([line.strip() for line in self._told if line.strip()] or ['it said nothing'])[-1]
            raise errors.InputError(f'{self._way}: found that its process ended ({last[:400]}), expected figures: '
                                    'install what is missing, or leave out --torch_python')
        return line

    def turn(self, count: int) -> float:
        """Photographs a second over `count` of them."""
        self._process.stdin.write(f'{count}\n')  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        return count / float(self._answer())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def workers(part: str, ways: Sequence[str], model: str, images: str, torch_python: Optional[str]) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        made = {}
        for way in ways:
            made[way] = Worker(torch_python if way == TORCH and torch_python else sys.executable, part, way, model,
                               images)
            stack.callback(made[way].close)
        yield made


def measure(part: str, ways: Sequence[str], model: str, images: str, *, rounds: int, count: int,
            torch_python: Optional[str]) -> Dict[str, Any]:
    """Median photographs a second by way, and the medians of their ratios to each other."""
    speeds: Dict[str, List[float]] = {way: [] for way in ways}
    with workers(part, ways, model, images, torch_python) as made:
        for number in range(rounds):
            for way in (*ways[number % len(ways):], *ways[:number % len(ways)]):
                speeds[way].append(made[way].turn(count))
    ratios = {way: {other: statistics.median(a / b for a, b in zip(speeds[way], speeds[other])) for other in ways}
              for way in ways}
    return {'images_per_second': {way: statistics.median(each) for way, each in speeds.items()}, 'ratios': ratios}


def differences(model: str, images: str) -> Dict[str, Dict[str, float]]:
    """The largest and the mean difference of a mean score from TensorFlow's, on the photographs."""
    import numpy as np

    from utils import score_utils
    files = sorted(map(str, Path(images).glob('*.jpg')))
    means = {}
    for way in ENGINES:
        with _scorer(way, model) as scorer:
            means[way] = score_utils.mean_score(np.stack([distribution for _, distribution in scorer.score(files)]))
    found = {way: np.abs(means[way] - means[TF]) for way in (OPENVINO, FAST)}
    return {way: {'largest': float(each.max()), 'mean': float(each.mean()), 'photographs': len(files)}
            for way, each in found.items()}


def markdown(result: Dict[str, Any]) -> str:
    lines = []
    for part, found in result['parts'].items():
        lines += [f'| {part} | images/s | over tf |' + (' over PyTorch |' if TORCH in found['ratios'] else ''),
                  '|---|---|---|' + ('---|' if TORCH in found['ratios'] else '')]
        for way, speed in found['images_per_second'].items():
            ratios = found['ratios'][way]
            lines.append(f'| {way} | {speed:.0f} | {ratios[TF]:.2f} |'
                         + (f' {ratios[TORCH]:.2f} |' if TORCH in ratios else ''))
        lines.append('')
    if NETWORK in result['parts'] and TORCH not in result['parts'][NETWORK]['ratios']:
        lines.append('PyTorch: left out, as no --torch_python was given')
    lines += [f'{way}: mean scores differ from tf by {each["mean"]:.6f} on average and {each["largest"]:.6f} at most, '
              f'{each["photographs"]} photographs' for way, each in result['differences'].items()]
    return '\n'.join(lines)


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--weights', default=str(SHARED / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'),
                        metavar='FILE', help='weights of the model (default: those of shared/, beside the repository)')
    parser.add_argument('--images', default=str(SHARED / 'ava_sample' / 'images'), metavar='DIR',
                        help='folder of photographs, .jpg (default: ava_sample/images of shared/)')
    parser.add_argument('--rounds', type=count, default=5, metavar='N', help='(default: 5)')
    parser.add_argument('--count', type=count, default=512, metavar='N',
                        help=f'photographs in a turn, a multiple of {BATCH} (default: 512)')
    parser.add_argument('--torch_python', metavar='PYTHON', help='a Python with torch and timm (default: without them)')
    parser.add_argument('--part', choices=('photographs', 'network'), help='only this part (default: both)')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    parser.add_argument('--worker', nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> Optional[Dict[str, Any]]:
    flags = parse(argv)
    if flags.worker:
        return work(*flags.worker)
    if flags.count % BATCH:
        raise errors.InputError(f'--count: found {flags.count}, expected a multiple of {BATCH}: type --count '
                                f'{-(-flags.count // BATCH) * BATCH}')
    if flags.torch_python and not shutil.which(flags.torch_python):
        raise errors.InputError(f'--torch_python: found no program {flags.torch_python}, expected a Python with torch '
                                'and timm: correct it or leave it out')
    if not os.path.isfile(flags.weights) or not list(Path(flags.images).glob('*.jpg')):
        raise errors.InputError(f'{flags.weights}, {flags.images}: found no weights or no photographs, expected both: '
                                'type --weights or --images')
    from utils.base.preprocessing import Preprocessing
    from utils.formats import onnx_model
    onnx_model.require('benchmarks/scoring.py', {**onnx_model.EXPORT_PACKAGES, **onnx_model.OPENVINO_PACKAGES})
    parts = {'photographs': [PHOTOGRAPHS], 'network': [NETWORK], None: [PHOTOGRAPHS, NETWORK]}[flags.part]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        model = os.path.join(folder, 'model.h5')
        models.import_weights(os.path.abspath(flags.weights), model,
                              Preprocessing(resize='nearest', padding='symmetric'))
        result = {'cores': len(os.sched_getaffinity(0)), 'rounds': flags.rounds, 'count': flags.count, 'parts': {
            part: measure(part, [way for way in WAYS[part] if way != TORCH or flags.torch_python], model, flags.images,
                          rounds=flags.rounds, count=flags.count, torch_python=flags.torch_python) for part in parts},
            'differences': differences(model, flags.images)}
    print(json.dumps(result, indent=1) if flags.json else markdown(result))
    return result


if __name__ == '__main__':
    errors.run(main, 'scoring')
