"""What the forms of packed datasets change: pixels, and the mean scores of a trained model."""
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from utils import models, score_utils  # noqa: E402
from utils.base import errors  # noqa: E402
from utils.base.defaults import IMAGE_SIZE, RESIZES  # noqa: E402
from utils.base.preprocessing import Preprocessing  # noqa: E402

SHARED = ROOT.parent / 'shared'


def variants(paths: Sequence[str], resize: str) -> Dict[str, Any]:
    """The photographs at IMAGE_SIZE, in [0, 255], as they are read from files and in each other way."""
    import numpy as np
    import tensorflow as tf

    from utils.data import decoding, pack
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path, pixels = tf.compat.v1.placeholder(tf.string, ()), tf.compat.v1.placeholder(tf.uint8, (None, None, 3))
        plain = decoding.read_image(path, IMAGE_SIZE, resize)
        jpegs = {name: tf.image.decode_jpeg(tf.image.encode_jpeg(pixels, quality=pack.JPEG_QUALITY,
                                                                 chroma_downsampling=down), channels=3)
                 for name, down in (('packed, jpeg', False), ('JPEG of that quality, 4:2:0', True))}
        files = np.stack([session.run(plain, {path: name}) for name in paths])
        found = {'files': files, 'packed, raw': np.round(files)}
        for name, jpeg in jpegs.items():
            found[name] = np.stack([session.run(jpeg, {pixels: image.astype(np.uint8)}) for image in np.round(files)])
    return found


def measure(weights: str, images: str) -> List[Dict[str, Any]]:
    """A row for each resize and way: differences of pixels, and of mean scores, from reading the files."""
    import numpy as np
    import tensorflow as tf

    from utils.data import decoding
    from utils.model import build, model_file
    paths = sorted(map(str, Path(images).glob('*.jpg')))
    if not paths or not os.path.isfile(weights):
        raise errors.InputError(f'{weights}, {images}: found no weights or no photographs, expected both: type '
                                '--weights or --images')
    pictures = {resize: variants(paths, resize) for resize in RESIZES}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'model.h5')
        models.import_weights(weights, path, Preprocessing(resize='nearest', padding='symmetric'))
        tf.compat.v1.keras.backend.clear_session()
        model = build.for_scoring(model_file.read(path))
    rows = []
    for resize, ways in pictures.items():
        means = {name: score_utils.mean_score(model.predict(decoding.scale(batch.astype(np.float32))))
                 for name, batch in ways.items()}
        for name in list(ways)[1:]:
            pixels = np.abs(ways[name].astype(np.float32) - ways['files'])
            scores = np.abs(means[name] - means['files'])
            rows.append({'resize': resize, 'way': name, 'largest_pixel': float(pixels.max()),
                         'mean_pixel': float(pixels.mean()), 'largest_score': float(scores.max()),
                         'mean_score': float(scores.mean()), 'photographs': len(paths)})
    return rows


def markdown(rows: Sequence[Dict[str, Any]]) -> str:
    lines = ['| resize | way | pixel: largest | pixel: mean | mean score: largest | mean score: mean |',
             '|---|---|---|---|---|---|']
    lines += [f'| {row["resize"]} | {row["way"]} | {row["largest_pixel"]:.1f} | {row["mean_pixel"]:.2f} | '
              f'{row["largest_score"]:.3f} | {row["mean_score"]:.3f} |' for row in rows]
    return '\n'.join(lines)


def main(argv: Optional[Sequence[str]] = None) -> List[Dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--weights', default=str(SHARED / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'),
                        metavar='FILE', help='weights of the model (default: those of shared/, beside the repository)')
    parser.add_argument('--images', default=str(SHARED / 'ava_sample' / 'images'), metavar='DIR',
                        help='folder of photographs (default: ava_sample/images of shared/)')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    flags = parser.parse_args(argv)
    rows = measure(os.path.abspath(flags.weights), flags.images)
    print(json.dumps(rows, indent=1) if flags.json else markdown(rows))
    return rows


if __name__ == '__main__':
    errors.run(main, 'pixels')
