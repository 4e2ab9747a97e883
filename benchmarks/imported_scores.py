"""The README's table: mean scores of five AVA photographs by idealo's aesthetic model, beside the published ones."""
import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

from utils import models, score_utils  # noqa: E402
from utils.base import errors  # noqa: E402
from utils.base.defaults import IMAGE_SIZE, PADDINGS  # noqa: E402
from utils.base.preprocessing import Preprocessing  # noqa: E402

SHARED = ROOT.parent / 'shared'
PUBLISHED = {'42039': 5.2282, '42040': 4.6879, '42041': 5.2865, '42042': 5.1272, '42044': 5.7950}


def resized(paths: Sequence[str]) -> Dict[str, List[Any]]:
    """By resizer, each photograph as pixels [IMAGE_SIZE, IMAGE_SIZE, 3] in [0, 255]."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from utils.data import decoding
    side, nearest = IMAGE_SIZE, tf.compat.v1.image.ResizeMethod.NEAREST_NEIGHBOR
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path = tf.compat.v1.placeholder(tf.string, ())
        decoded = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        images = {
            'nearest, half-pixel centres: `nearest`': decoding.read_image(path, side, 'nearest'),
            "TensorFlow 1's nearest": tf.compat.v1.image.resize_images(decoded, [side, side], nearest),
            "TensorFlow 1's bilinear: `bilinear`": decoding.read_image(path, side, 'bilinear')}
        pictures = {name: [session.run(image, {path: file}) for file in paths] for name, image in images.items()}
    pictures["Pillow's nearest and decoder"] = [
        np.asarray(Image.open(file).convert('RGB').resize((side, side), Image.NEAREST)) for file in paths]
    return pictures


def measure(weights: str, dataset: str) -> List[Dict[str, Any]]:
    """A row for each padding and resizer: mean scores by photograph, largest difference from PUBLISHED."""
    paths = [os.path.join(dataset, 'images', f'{name}.jpg') for name in PUBLISHED]
    for path in [weights, *paths]:
        if not os.path.isfile(path):
            raise errors.InputError(f"{path}: found no file, expected the weights of idealo's aesthetic model and the "
                                    'photographs in images/ of the dataset: type --weights or --dataset')
    import numpy as np
    import tensorflow as tf

    from utils.data import decoding
    from utils.model import build, model_file
    pictures = resized(paths)
    rows = []
    for padding in PADDINGS:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'model.h5')
            models.import_weights(weights, path, Preprocessing(resize='nearest', padding=padding))
            tf.compat.v1.keras.backend.clear_session()
            model = build.for_scoring(model_file.read(path))
        for resizer, images in pictures.items():
            batch = decoding.scale(np.stack(images).astype(np.float32))
            means = score_utils.mean_score(model.predict_on_batch(batch))
            rows.append({'padding': padding, 'resize': resizer, 'means': dict(zip(PUBLISHED, means.tolist())),
                         'largest_difference': float(np.abs(means - list(PUBLISHED.values())).max())})
    return sorted(rows, key=lambda row: (row['padding'], row['largest_difference']))


def markdown(rows: Sequence[Dict[str, Any]]) -> str:
    """The rows as the README's table."""
    lines = [['padding', 'resize', *PUBLISHED, 'largest difference'], ['---'] * (3 + len(PUBLISHED)),
             ['', '*published*', *(f'{mean:.4f}' for mean in PUBLISHED.values()), '']]
    lines += [[row['padding'], row['resize'], *(f'{mean:.4f}' for mean in row['means'].values()),
               f"{row['largest_difference']:.3f}"] for row in rows]
    return '\n'.join('|' + '|'.join(f' {cell} ' if cell not in ('---', '') else cell or ' ' for cell in line) + '|'
                     for line in lines)


def main(argv: Optional[Sequence[str]] = None) -> List[Dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--weights', default=str(SHARED / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'),
                        metavar='FILE', help='weights of the model (default: those of shared/, beside the repository)')
    parser.add_argument('--dataset', default=str(SHARED / 'ava_sample'), metavar='DIR',
                        help='folder with images/ID.jpg (default: ava_sample of shared/)')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    flags = parser.parse_args(argv)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the table alone
        rows = measure(flags.weights, flags.dataset)
    print(json.dumps({'published': PUBLISHED, 'rows': rows}, indent=1) if flags.json else markdown(rows))
    return rows


if __name__ == '__main__':
    errors.run(main, 'imported_scores')
