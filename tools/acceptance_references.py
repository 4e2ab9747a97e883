"""Makes utils/acceptance/references.json, on a CPU in float32; the emulated precision modes give the bounds.

    bash run.sh tools/acceptance_references.py [host] [bounds] [small] [full]

Minutes; commit all changes first: the file names the commit for each of its parts. Without an argument all are made.
"""
import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

import float16  # noqa: E402

from utils.acceptance import figures, fixture, host, kit, references  # noqa: E402
from utils.device import device  # noqa: E402

# A device rounds at other places than the emulation: operators are fused, sums are stored in other formats.
MARGIN = 4
EMULATED = {'float32': [True], 'mixed': [True, False], 'float16': [True, False], 'bfloat16': [True]}  # to the nearest
# What the optimiser makes of given gradients: a change has the few bits that a weight of 1 leaves it.
ARITHMETIC, ARITHMETIC_BOUND = ('updates', 'momentum and decay'), 0.01
SIZES = {'small': fixture.SMALL, 'full': fixture.FULL}


def figures_of(size, mode=None, nearest=True):
    """The figures of a CPU, in the precision `mode` where it is given."""
    with device.open_run('cpu', threads=2) as run, \
            (float16.emulated(mode, nearest) if mode else contextlib.ExitStack()):
        return kit.figures_of(size, run)[0]


def loss_r1(size):
    """The first step's loss, were its exponent 1."""
    with device.open_run('cpu', threads=2) as run:
        model = kit.build_network(size, run).model
        model.compile(model.optimizer, loss=lambda true, pred: tf.reduce_mean(tf.abs(tf.cumsum(true - pred, axis=-1))))
        return float(model.test_on_batch(*fixture.batch(0, size.image_size)))


def of_size(size):
    """The entry of a size."""
    return {'figures': figures.as_json(figures_of(size)), 'loss_r1': loss_r1(size)}


def of_bounds():
    """The bounds of each precision, from the small network: the blocks and the tensors of the full one are the same."""
    expected, made = figures_of(fixture.SMALL), {}
    for mode, roundings in EMULATED.items():
        apart = [{check: figures.deviations(found[check], named) for check, named in expected.items()}
                 for found in [figures_of(fixture.SMALL, mode, nearest) for nearest in roundings]]
        found = made[mode] = {
            check: figures.bounds([each[check] for each in apart], MARGIN, in_order=check == 'forward pass')
            for check in expected}
        found['loss']['step 1'] = max(found['loss']['step 1'], found['loss curve']['step 1'])  # one number can be lucky
        for check in ARITHMETIC:
            found[check] = {name: max(bound, ARITHMETIC_BOUND) for name, bound in found[check].items()}
    return made


def of_host():
    """A JPEG, a PNG with its pixels, and what comes of them."""
    random = fixture.random_of('jpeg')
    coarse = np.kron(random.randint(40, 216, (8, 8, 3)), np.ones((8, 8, 1)))
    image = np.clip(coarse + random.randint(-20, 21, coarse.shape), 0, 255).astype(np.uint8)
    with device.open_run('cpu', threads=2) as run, tempfile.TemporaryDirectory() as folder:
        session = tf.compat.v1.keras.backend.get_session()
        jpeg = session.run(tf.image.encode_jpeg(image, quality=90, chroma_downsampling=True))
        pixels = host.pixels(host.read({'image.jpg': jpeg}, host.SIDE, folder, run.host_config)['image.jpg'])
        files = {'image.jpg': jpeg, 'image.png': session.run(tf.image.encode_png(pixels, compression=9))}
        decoded = host.read(files, host.SIDE, folder, run.host_config)
        smaller = host.read({'image.png': files['image.png']}, host.SMALLER, folder, run.host_config)['image.png']
    return {'files': {name: base64.b64encode(data).decode() for name, data in files.items()},
            'digests': {name: host.digest(host.pixels(array)) for name, array in decoded.items()},
            'resized': list(host.resized(smaller))}


def main(parts):
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=str(ROOT), stdout=subprocess.PIPE, text=True,
                            check=True).stdout.strip()
    content = references.content() if os.path.exists(references.PATH) else {'commits': {}, 'sizes': {}}
    content.update(made_by='tools/acceptance_references.py', tensorflow=tf.__version__, margin=MARGIN)
    for part in parts or ['host', 'bounds', *SIZES]:
        if part in SIZES:
            content['sizes'][SIZES[part].name] = of_size(SIZES[part])
        else:
            content[part] = of_host() if part == 'host' else of_bounds()
        content['commits'][part] = commit
    with open(references.PATH, 'w', encoding='utf-8') as stream:
        json.dump(content, stream, separators=(',', ':'))
        stream.write('\n')


if __name__ == '__main__':
    main(sys.argv[1:])
