"""Images a second of the network alone, by each engine, beside other runtimes, and by batch.

ONNX Runtime takes part in the version of requirements-export.txt, and with OpenVINO in the newest ones where
--new_python names a Python that has onnxruntime and openvino; PyTorch's MobileNet (timm mobilenetv1_100, channels_last)
where --torch_python names one with torch and timm.
"""
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Optional

from benchmarks import scoring, turns
from benchmarks.scoring import Work
from utils.base.cores import usable_cores

BATCH = 64
FORWARD = 5, 10, 16, 20, 32, 50, 100  # batches of TensorFlow
NETWORK = 'network alone'
TORCH, NEWEST = f'{NETWORK}, PyTorch', f'{NETWORK}, newest runtimes'
PACKAGES = {'ONNX Runtime': ('onnx_runtime', 'onnxruntime'), 'OpenVINO': ('open_vino', 'openvino')}  # worker, package


def _noise(count: int, size: int) -> Any:
    import numpy as np
    return np.random.RandomState(0).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def network(folder: str, size: int, way: str) -> Work:
    noise, (_, made) = _noise(BATCH, size), scoring.engine(folder, way, BATCH)
    return lambda count: [made.predict(noise) for _ in range(count // BATCH)]


def onnx_runtime(path: str, size: int) -> Work:
    import onnxruntime

    from utils.base import memory
    memory.keep_freed()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    given = {session.get_inputs()[0].name: _noise(BATCH, size)}
    return lambda count: [session.run(None, given) for _ in range(count // BATCH)]


def open_vino(path: str, size: int) -> Work:
    """OpenVINO of any version, with the settings of the engine openvino."""
    import openvino

    from utils.base import memory
    memory.keep_freed()
    noise, core = _noise(BATCH, size), openvino.Core()
    network = core.read_model(path)
    network.reshape(noise.shape)
    request = core.compile_model(network, 'CPU', {
        'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': usable_cores(),
        'NUM_STREAMS': 1}).create_infer_request()
    return lambda count: [request.infer({0: noise}, share_inputs=True) for _ in range(count // BATCH)]


def pytorch(size: int) -> Work:
    import timm
    import torch

    from utils.base import memory
    memory.keep_freed()
    torch.set_num_threads(usable_cores())
    made = timm.create_model('mobilenetv1_100', num_classes=10).eval().to(memory_format=torch.channels_last)
    images = (torch.rand(BATCH, 3, size, size) * 2 - 1).contiguous(memory_format=torch.channels_last)

    def run(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count // BATCH):
                torch.softmax(made(images), 1)

    return run


def forward_alone(folder: str, size: int) -> Work:
    """Predicts 100 constant images in batches of the size that it is asked for."""
    images, (_, made) = _noise(FORWARD[-1], size), scoring.engine(folder, 'tf', scoring.EVAL_BATCH)
    return lambda batch: [made.model.predict_on_batch(images[start:start + batch])
                          for start in range(0, FORWARD[-1], batch)]


# --- measuring


def measure(*, quick: bool, rounds: Optional[int], torch_python: Optional[str],
            new_python: Optional[str]) -> List[turns.Figure]:
    turns.require_python('--torch_python', torch_python, 'torch and timm')
    turns.require_python('--new_python', new_python, 'onnxruntime and openvino')
    size, count, rounds = (32, BATCH, rounds or 1) if quick else (224, 5 * BATCH, rounds or 5)
    missing = scoring.missing_packages()
    with tempfile.TemporaryDirectory() as folder:
        model = scoring.model_in(folder, size)
        commands = _commands(folder, size, list(scoring.ENGINES)[:1 if missing else None], torch_python)
        commands.update({} if missing else _runtimes(folder, model, size, new_python))
        taken = turns.take_turns(commands, rounds, amount=count, warm_up=count)
        speeds = {way: turns.speeds(each, count) for way, each in taken.items()}
        figures = [*_figures(speeds, f'{rounds} rounds of {count} in turn'),
                   _forward(folder, size, FORWARD[-1:] if quick else FORWARD, rounds)]
    without = {name: f'no --{flag}_python was given' for name, flag, python in (
        (TORCH, 'torch', torch_python), (NEWEST, 'new', new_python)) if not python}
    if missing:
        without['network alone, OpenVINO and ONNX Runtime'] = f'this Python has no package {missing[0]}'
    return figures + [turns.skipped(name, why) for name, why in without.items()]


def _commands(folder: str, size: int, ways: List[str], torch_python: Optional[str]) -> Dict[str, List[str]]:
    """The processes of the engines and of PyTorch."""
    commands = {f'{NETWORK}, {name}': turns.process('network', 'network', folder=folder, size=size, way=name)
                for name in ways}
    if torch_python:
        commands[TORCH] = turns.process('network', 'pytorch', torch_python, size=size)
    return commands


def _runtimes(folder: str, model: str, size: int, new_python: Optional[str]) -> Dict[str, List[str]]:
    """The processes of ONNX Runtime in this Python, and of both runtimes in the new one, on the exported model."""
    exported = os.path.join(folder, 'exported')
    subprocess.run([sys.executable, '-m', 'utils.export', model, '--format', 'onnx', '--output', exported], check=True,
                   cwd=str(turns.ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = os.path.join(exported, 'onnx', 'model_001.onnx')
    commands = {}
    for python, names, where in (sys.executable, ['ONNX Runtime'], ''), (new_python, PACKAGES, ' of --new_python'):
        for name, (function, package) in PACKAGES.items():
            if python and name in names:
                commands[f'{NETWORK}, {name} {_version(python, package)}{where}'] = turns.process(
                    'network', function, python, path=path, size=size)
    return commands


def _version(python: str, package: str) -> str:
    found = subprocess.run([python, '-c', f'import {package}; print({package}.__version__)'], check=True,
                           stdout=subprocess.PIPE, text=True)
    return found.stdout.split('-')[0].strip()


def _figures(speeds: Dict[str, List[float]], measured: str) -> List[turns.Figure]:
    baseline = speeds[f'{NETWORK}, tf']
    return [turns.compared(
        way, each, baseline, 'images/s', f'images a second of constant batches of {BATCH}, over those of tf; {measured}'
        + (f'; {turns.ratio_of(each, speeds[TORCH]):.2f} times PyTorch' if TORCH in speeds else ''))
        for way, each in speeds.items()]


def _forward(folder: str, size: int, batches: Any, rounds: int) -> turns.Figure:
    with turns.workers({'': turns.process('network', 'forward_alone', folder=folder, size=size)}) as started:
        ways = {batch: lambda batch=batch: FORWARD[-1] / started[''].take(batch).wall for batch in batches}
        turns.interleaved(ways, 1)  # warms up
        speeds = {batch: statistics.median(each) for batch, each in turns.interleaved(ways, rounds).items()}
    best = max(speeds, key=lambda batch: speeds[batch])
    return turns.reported(f'forward alone, the best batch: {best}', speeds[best], 'images/s',
                          f'images a second by batch, of constant images, {rounds} rounds in turn: '
                          + ', '.join(f'{batch}: {speed:.1f}' for batch, speed in speeds.items()))


if __name__ == '__main__':
    turns.main(measure, __doc__, rounds=turns.ROUNDS, torch_python={'metavar': 'PYTHON'},
               new_python={'metavar': 'PYTHON'})
