"""The table of docs/models.md: mean scores of five AVA images by idealo's model, beside the published ones."""
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pixels  # noqa: E402

from benchmarks import turns  # noqa: E402
from utils.base.defaults import IMAGE_SIZE, PADDINGS  # noqa: E402
from utils.base.errors import InputError  # noqa: E402

PUBLISHED = {'42039': 5.2282, '42040': 4.6879, '42041': 5.2865, '42042': 5.1272, '42044': 5.7950}


def resized(paths: Sequence[str]) -> Dict[str, List[Any]]:
    """By resizer, each image as pixels [IMAGE_SIZE, IMAGE_SIZE, 3] in [0, 255]."""
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


def measure(*, quick: bool, weights: str, images: str) -> List[Dict[str, Any]]:
    """A row for each padding and resizer: mean scores by image, largest difference from PUBLISHED."""
    paths = [os.path.join(images, f'{name}.jpg') for name in PUBLISHED]
    for path in [weights, *paths]:
        if not os.path.isfile(path):
            raise InputError(f"{path}: found no file, expected the weights of idealo's aesthetic model and its "
                             'images: type --weights or --images')
    pictures, rows = resized(paths), []
    for padding in PADDINGS[:1 if quick else None]:
        model = pixels.model_of(weights, padding)
        for resizer, batch in pictures.items():
            means = dict(zip(PUBLISHED, pixels.mean_scores(model, batch).tolist()))
            rows.append({'padding': padding, 'resize': resizer, 'means': means, 'largest_difference': max(
                abs(means[name] - published) for name, published in PUBLISHED.items())})
    return sorted(rows, key=lambda row: (row['padding'], row['largest_difference']))


def described(rows: Sequence[Dict[str, Any]]) -> str:
    return turns.table([
        ('padding', 'resize', *PUBLISHED, 'largest difference'),
        ('', '*published*', *(f'{mean:.4f}' for mean in PUBLISHED.values()), ''),
        *((row['padding'], row['resize'], *(f'{mean:.4f}' for mean in row['means'].values()),
           f'{row["largest_difference"]:.3f}') for row in rows)])


if __name__ == '__main__':
    turns.main(measure, __doc__, described, **pixels.FLAGS)
