"""What an earlier commit writes, by its own code in a folder of its own, and comparisons with it to the last bit."""
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import h5py
import numpy as np
import pytest

COMMIT = '92628ddd376a9306689fef5a73982dd44f2c92c4'
COUNT, VAL, BROKEN = 17, 5, 3  # photographs, those for validation, and the row of one that cannot be decoded
TRAINING = ['--image_size', '32', '--batchsize', '4', '--epochs', '2', '--learning_rate', '0.01', '--decay', '0.1']
FROM_BASE = ['--weights', './base.h5', '--dropout', '0']
HEAD = ['--trainable', 'head', '--features', 'features', '--crops', '2', '--optimizer', 'adam', '--dropout', '0',
        '--weights', './imported.h5']
PACKS = [(use, form) for use in ('training', 'scoring') for form in ('raw', 'jpeg')]
TIMES = {'images_per_second', 'seconds', 'seconds_left'}

# train.py of COMMIT, for which SIGTERM comes after the first step of the second epoch.
STOPPED = '''import signal
import sys

import train
from utils import run_state

before = run_state.RunState.stop_if_asked


def stop_if_asked(state):
    if state.position[:2] == (1, 4):
        state._watch.signal = signal.SIGTERM
    before(state)


run_state.RunState.stop_if_asked = stop_if_asked
train.main(sys.argv[1:])
'''


def check_out(root: Path, folder: Path) -> Path:
    """The files of COMMIT in the new `folder`; the test is skipped where the repository at `root` lacks them."""
    folder.mkdir()
    try:
        files = subprocess.run(['git', '-C', str(root), 'archive', COMMIT], capture_output=True)
    except OSError as error:
        pytest.skip(f'no git to check out commit {COMMIT[:7]} with: {error}')
    if files.returncode:
        pytest.skip(f'commit {COMMIT[:7]} is not in the history of {root}, a whole clone has it: '
                    f'{files.stderr.decode().strip()}')
    subprocess.run(['tar', '-x', '-C', str(folder)], input=files.stdout, check=True)
    return folder


# --- what both start from, made without the project

def draw_dataset(folder: Path) -> None:
    """AVA.txt and images/ID.jpg of many shapes, one of them grey and one, BROKEN, no JPEG at all."""
    from PIL import Image
    random = np.random.RandomState(0)
    (folder / 'images').mkdir(parents=True)
    lines = []
    for row in range(COUNT):
        height, width = random.randint(30, 90, 2)
        slope = np.linspace(-80, 80, width)[:, None] * random.uniform(-1, 1, 3)
        pixels = np.clip(random.uniform(60, 200) + slope + random.normal(0, 30, (height, width, 3)), 0, 255)
        path = folder / 'images' / f'{100 + row}.jpg'
        Image.fromarray(pixels.astype(np.uint8)).convert('L' if row == VAL else 'RGB').save(path, quality=90)
        if row == BROKEN:
            path.write_bytes(b'no photograph')
        votes = random.randint(1, 60, 10)
        lines.append(' '.join(map(str, [row + 1, 100 + row, *votes, 0, 0, 1])))
    (folder / 'AVA.txt').write_text('\n'.join(lines) + '\n')


def draw_weights(folder: Path) -> None:
    """base.h5 and nima.h5, a MobileNet's weights without and with a head, that tell photographs apart."""
    import tensorflow as tf
    tf.compat.v1.keras.backend.clear_session()
    base = tf.keras.applications.MobileNet((32, 32, 3), include_top=False, pooling='avg', weights=None)
    nima = tf.keras.Model(base.input, tf.keras.layers.Dense(10, activation='softmax')(base.output))
    random = np.random.RandomState(0)
    nima.set_weights([drawn(random, weights.shape) for weights in nima.get_weights()])
    base.save_weights(str(folder / 'base.h5'))
    nima.save_weights(str(folder / 'nima.h5'))
    tf.compat.v1.keras.backend.clear_session()


def drawn(random: Any, shape: Sequence[int]) -> np.ndarray:
    """Random weights of a layer through which a signal keeps its size."""
    if len(shape) == 1:
        return random.uniform(0.5, 1, shape)
    inputs = shape[0] * shape[1] if shape[-1] == 1 else np.prod(shape[:-1])  # of a depthwise convolution; of others
    return random.normal(0, np.sqrt(2 / inputs), shape)


# --- running

class Code:
    """The code in the folder `root`, run on the dataset in `data`; what it reads and writes lies in `out`."""

    def __init__(self, root: Path, out: Path, data: Path) -> None:
        self.root, self.out, self.data = root, out, data
        self.labels = ['--ava_dataset_path', str(data / 'AVA.txt'), '--base_images_path', str(data / 'images'),
                       '--max_bad_images', '0.2']
        self.photographs = [str(path) for path in sorted((data / 'images').iterdir())
                            if path.name != f'{100 + BROKEN}.jpg']
        out.mkdir()

    def run(self, *words: str, code: int = 0) -> str:
        """What Python prints that is started in `out` with these words, such as -m and a module; its exit code."""
        done = subprocess.run([sys.executable, *words], cwd=str(self.out), capture_output=True, text=True,
                              env={**os.environ, 'PYTHONPATH': str(self.root)})
        assert done.returncode == code, f'{" ".join(words)}\n{done.stdout}{done.stderr}'
        return done.stdout

    def take(self, other: 'Code', *names: str) -> None:
        """Copies of what `other` has under these names."""
        for name in names:
            copy = shutil.copytree if (other.out / name).is_dir() else shutil.copy2
            copy(str(other.out / name), str(self.out / name))

    def script(self, name: str, *words: str) -> str:
        """What a script in the folder `root` prints."""
        return self.run(str(self.root / name), *words)

    def train(self, name: str, *more: str, driver: Sequence[str] = (), code: int = 0) -> Path:
        """Train in the folder `name`, which is returned; by train.py, or by another `driver`."""
        self.run(*driver or [str(self.root / 'train.py')], *self.labels, *TRAINING, '--val_size', str(VAL), '--device',
                 'cpu', '--threads', '1', '--seed', '5', '--TMP_MODEL_PATF', name, '--TMP_LOG_PATH', f'{name}/log',
                 *more, code=code)
        return self.out / name

    def train_packed(self, form: str) -> Path:
        """Train an epoch on the packs of this form, in the folder that is returned.

        With jpeg on all cores: the earlier commit opened its decoder before Keras's session, which then ignored
        --threads.
        """
        threads = str(len(os.sched_getaffinity(0))) if form == 'jpeg' else '1'
        return self.train(f'from-{form}', '--weights', 'none', '--records', f'training-{form}', '--val_records',
                          f'scoring-{form}', '--epochs', '1', '--threads', threads)

    def pack(self, use: str, form: str) -> Path:
        """Pack the photographs for this use into the folder that is returned."""
        self.run('-m', 'utils.records', 'pack', '--use', use, '--form', form, '-o', f'{use}-{form}', '--image_size',
                 '32', '--val_size', str(VAL), *self.labels)
        return self.out / f'{use}-{form}'

    def scores(self, checkpoint: str, *more: str) -> List[str]:
        """The rows that eval.py prints, of the model and the constant prediction, and its last line; newer rows not."""
        printed = self.script('eval.py', '--checkpoint', f'./{checkpoint}', *self.labels, '--device', 'cpu',
                              '--threads', '1', *more)
        rows = re.findall(r'^(?:SRCC of|LCC of|accuracy,|EMD,|loss ).*$', printed, re.M)
        return [' '.join(row.split()) for row in rows]

    def rows(self, checkpoint: str) -> List[str]:
        """The lines that predict.py prints of all photographs."""
        return self.script('predict.py', *self.photographs, '--checkpoint', f'./{checkpoint}', '--batchsize', '4',
                           '--format', 'csv', '--shares', '--device', 'cpu', '--threads', '1').splitlines()

    def frozen(self, checkpoint: str) -> bytes:
        """The frozen graph."""
        self.run('-m', 'utils.export', checkpoint, '--format', 'pb', '--output', 'export', '--threads', '1',
                 '--photographs', *self.photographs)
        return (self.out / 'export' / 'pb' / Path(checkpoint).with_suffix('.pb').name).read_bytes()


class Written:
    """What the code of COMMIT makes of a dataset and of weights: the files in code.out, and these results."""

    def __init__(self, code: Code, inputs: Path) -> None:
        self.code = code
        for path in inputs.glob('*.h5'):
            shutil.copy(str(path), str(code.out))
        code.train('stopped', *FROM_BASE, driver=['-c', STOPPED], code=143)
        assert sorted(path.name for path in (code.out / 'stopped').glob('*.h5')) == ['model_001.h5', 'state.h5']
        shutil.copytree(str(code.out / 'stopped'), str(code.out / 'whole'))
        code.train('whole', *FROM_BASE, '--resume')
        code.run('-m', 'utils.nima', 'import', 'nima.h5', '--resize', 'nearest', '--padding', 'symmetric', '-o',
                 'imported.h5')
        for use, form in PACKS:
            code.pack(use, form)
        for form in ('raw', 'jpeg'):
            code.train_packed(form)
        code.train('head', *HEAD)
        self.scores = code.scores('whole/model_002.h5', '--val_size', str(COUNT))
        self.packed_scores = code.scores('whole/model_002.h5', '--val_size', str(VAL), '--records', 'scoring-jpeg')
        self.rows = {name: code.rows(name) for name in ('whole/model_002.h5', 'imported.h5')}
        self.frozen = code.frozen('whole/model_002.h5')


# --- comparing

def differences(before: Path, after: Path) -> List[str]:
    """The names of all that differs between two model files: arrays of numbers, the network, training settings."""
    before, after = contents(before), contents(after)
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))


def contents(path: Path) -> Dict[str, Any]:
    """By name, each array's type, shape and bytes, and the two settings that Keras reads."""
    found = {}

    def note(name: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            found[name] = part.dtype.str, part.shape, part[()].tobytes()

    with h5py.File(str(path), 'r') as file:
        file.visititems(note)
        for name in {'model_config', 'training_config'} & set(file.attrs):
            found[name] = json.loads(file.attrs[name])
    return found


def epoch_differences(before: Path, after: Path) -> List[str]:
    """The figures in the logs of two trainings that differ, such as '2 val_srcc', but for times."""
    before, after = epochs(before), epochs(after)
    assert len(before) == len(after)
    return [f'{row["epoch"]} {name}' for row, other in zip(before, after) for name in row
            if name not in TIMES and other.get(name) != row[name]]


def epochs(folder: Path) -> List[Dict[str, Any]]:
    """The rows of a training's log."""
    with open(str(folder / 'log' / 'train.csv'), newline='') as stream:
        return list(csv.DictReader(stream))


def stamps(folder: Path, name: str) -> Dict[str, int]:
    """When each file with this name, or pattern, below `folder` was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob(name)}
