"""What several tests share: tiny datasets, the folder of real data, copies of the project, snapshots of folders."""
import contextlib
import hashlib
import importlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job of a shell script, and in its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile('a busy machine', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('a busy machine')


def pytest_addoption(parser):
    group = parser.getgroup('tests/fuzz')
    group.addoption('--fuzz_seconds', type=float, default=4, help='for each kind of input (default: 4)')
    group.addoption('--fuzz_seed', type=int, default=0, help='of the random damage (default: 0)')


@pytest.fixture
def shared():
    """The folder of real photographs, labels, weights and golden predictions."""
    if not SHARED.is_dir():
        pytest.skip('no folder shared/ beside the project: it holds the real photographs and weights')
    return SHARED


def snapshot(folder: Path):
    """Every file below `folder` with its content's hash, every folder with False."""
    return {str(path): path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob('*') if '__pycache__' not in path.parts}


def copy_project(folder: Path) -> Path:
    """The project without tests, data and models in the new or empty `folder`, as git clone leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*ROOT.glob('*.py'), *ROOT.glob('*.sh'), ROOT / 'requirements.txt']:
        shutil.copy(str(path), str(folder))
    for name in ('utils', 'recipes'):
        shutil.copytree(str(ROOT / name), str(folder / name), ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('AVA_dataset', 'model', 'weights'):
        (folder / name).mkdir()
        shutil.copy(str(ROOT / name / 'README.txt'), str(folder / name))
    return folder


@contextlib.contextmanager
def disk(folder: Path, options: str):
    """`folder`, a new one, as a disk of its own in memory, with the options of mount."""
    folder.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL).returncode:
        pytest.skip('this user may not mount a disk')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=True)


class Dataset:
    """A folder with AVA.txt and image/images/ID.jpg, as flags."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels = folder / 'AVA.txt'
        self.images = folder / 'image' / 'images'

    @property
    def flags(self):
        return ['--ava_dataset_path', str(self.labels), '--base_images_path', str(self.images)]


def make_dataset(folder: Path, count: int, side: int = 48) -> Dataset:
    """`count` JPEGs of noise around a grey level; the lighter an image, the higher its votes."""
    from PIL import Image
    dataset = Dataset(folder)
    dataset.images.mkdir(parents=True)
    random = np.random.RandomState(0)
    lines = []
    for number in range(count):
        light = random.randint(40, 215)
        pixels = np.clip(light + random.normal(0, 20, (side, side + number % 5, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(dataset.images / f'{1000 + number}.jpg', quality=95)
        votes = random.multinomial(200, np.exp(-((np.arange(10) - light / 25) ** 2) / 4) /
                                   np.exp(-((np.arange(10) - light / 25) ** 2) / 4).sum())
        lines.append(' '.join(map(str, [number + 1, 1000 + number, *votes, 0, 0, 1])))
    dataset.labels.write_text('\n'.join(lines) + '\n')
    return dataset


@pytest.fixture
def dataset(tmp_path):
    """Twelve small images with labels."""
    return make_dataset(tmp_path / 'data', 12)


@pytest.fixture
def table(tmp_path):
    """Writes a label file of this content, as text or bytes, and returns its path."""
    def write(content, name='labels.csv'):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def make_model(path: Path, size: int = 32, resize: str = 'nearest', metadata=None) -> Path:
    """A checkpoint of a small NIMA of MobileNet's layers; its random weights predict differently for each image."""
    import tensorflow as tf

    from utils import nima
    from utils.base.preprocessing import Preprocessing
    from utils.model import checkpoint
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)
    layers = tf.keras.layers
    image = layers.Input((size, size, 3))
    features = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    for layer in (layers.Conv2D(8, 3, strides=2, use_bias=False), layers.BatchNormalization(), layers.ReLU(6),
                  layers.DepthwiseConv2D(3, padding='same', use_bias=False), layers.BatchNormalization(),
                  layers.ReLU(6), layers.Conv2D(16, 1), layers.GlobalAveragePooling2D()):
        features = layer(features)
    network = nima.with_head(tf.keras.Model(image, features), 0.75)
    random = np.random.RandomState(0)
    network.set_weights([weights if weights.ndim < 2 else random.normal(0, 0.4, weights.shape)
                         for weights in network.get_weights()])
    checkpoint.save(network, str(path), {'preprocessing': Preprocessing(size, resize).as_json(), **(metadata or {})})
    tf.compat.v1.keras.backend.clear_session()
    return path


def display_p3():
    """A profile of Display P3's primaries, relative to D50, with a gamma of 2.2."""
    def numbers(*values):
        return b'XYZ ' + bytes(4) + struct.pack('>3i', *(round(value * 65536) for value in values))

    curve = b'curv' + bytes(4) + struct.pack('>IHH', 1, round(2.2 * 256), 0)
    name = b'Display P3\0'
    tags = {b'desc': b'desc' + bytes(4) + struct.pack('>I', len(name)) + name + bytes(78 + 1),
            b'wtpt': numbers(0.9642, 1, 0.8249), b'rXYZ': numbers(0.5151, 0.2412, -0.0011),
            b'gXYZ': numbers(0.2919, 0.6922, 0.0419), b'bXYZ': numbers(0.1571, 0.0666, 0.7841),
            b'rTRC': curve, b'gTRC': curve, b'bTRC': curve, b'cprt': b'text' + bytes(4) + b'none\0\0\0\0'}
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack('>I', len(tags)), b''
    for tag, content in tags.items():
        table += tag + struct.pack('>II', start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack('>I4sI4s4s4s12s4s', start + len(data), b'none', 0x02400000, b'mntr', b'RGB ', b'XYZ ', bytes(12),
                       b'acsp') + bytes(28) + struct.pack('>3i', 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + data


def image_set(ratings, bad=None, packed=None, what='validation'):
    """These images, none of which is known to be unreadable unless `bad` says so."""
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet
    return ImageSet(ratings, bad or BadImages(ratings.count, what=what), packed)


def reading(image_size, resize='bilinear', **more):
    """How images of this side are read."""
    from utils.base.preprocessing import Preprocessing
    from utils.data.image_set import Reading
    return Reading(Preprocessing(image_size, resize), **more)


def small_network(shape, filters=8, **_):
    """A network that is built in no time, with moving averages."""
    import tensorflow as tf
    image = tf.keras.Input(shape, name='input_1')
    features = tf.keras.layers.Conv2D(filters, 3, strides=4, use_bias=False, name='conv1')(image)
    features = tf.keras.layers.ReLU(name='relu')(tf.keras.layers.BatchNormalization(name='norm')(features))
    return tf.keras.Model(image, tf.keras.layers.GlobalAveragePooling2D(name='pool')(features))


@contextlib.contextmanager
def small_mobilenet(network=small_network):
    """In the block train.py builds this network instead of MobileNet."""
    # Not tf.keras.applications, which is another module object than the one that train.py imports from.
    applications = importlib.import_module('tensorflow.keras.applications')
    before, applications.MobileNet = applications.MobileNet, network
    try:
        yield
    finally:
        applications.MobileNet = before


@pytest.fixture
def small_base():
    """train.py builds small_network() in this test, for what does not depend on the network's layers."""
    with small_mobilenet():
        yield
