"""What the forms of packed datasets change: pixels, and the mean scores of a trained model."""
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns  # noqa: E402
from utils.base.defaults import IMAGE_SIZE, RESIZES  # noqa: E402
from utils.base.errors import InputError  # noqa: E402


def model_of(weights: str, padding: str) -> Any:
    """The model of weights of a NIMA-MobileNet, with convolutions padded so."""
    import tensorflow as tf

    from utils import models
    from utils.base.preprocessing import Preprocessing
    from utils.model import build, model_file
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'model.h5')
        models.import_weights(os.path.abspath(weights), path, Preprocessing(resize='nearest', padding=padding))
        tf.compat.v1.keras.backend.clear_session()
        return build.for_scoring(model_file.read(path))


def mean_scores(model: Any, images: Any) -> Any:
    """Of images in [0, 255]."""
    import numpy as np

    from utils import score_utils
    from utils.data import decoding
    return score_utils.mean_score(model.predict_on_batch(decoding.scale(np.asarray(images, np.float32))))


def variants(paths: Sequence[str], resize: str) -> Dict[str, Any]:
    """The images at IMAGE_SIZE, in [0, 255], as they are read from files and in each other way."""
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


def measure(*, quick: bool, weights: str, images: str) -> List[Dict[str, Any]]:
    """A row for each resize and way: differences of pixels, and of mean scores, from reading the files."""
    import numpy as np
    paths = sorted(map(str, Path(images).glob('*.jpg')))[:2 if quick else None]
    if not paths or not os.path.isfile(weights):
        raise InputError(f'{weights}, {images}: found no weights or no images, expected both: type --weights or '
                         '--images')
    pictures = {resize: variants(paths, resize) for resize in RESIZES}
    model, rows = model_of(weights, 'symmetric'), []
    for resize, ways in pictures.items():
        means = {name: mean_scores(model, batch) for name, batch in ways.items()}
        for name in list(ways)[1:]:
            pixels = np.abs(ways[name].astype(np.float32) - ways['files'])
            scores = np.abs(means[name] - means['files'])
            rows.append({'resize': resize, 'way': name, 'largest_pixel': float(pixels.max()),
                         'mean_pixel': float(pixels.mean()), 'largest_score': float(scores.max()),
                         'mean_score': float(scores.mean()), 'photographs': len(paths)})
    return rows


def described(rows: Sequence[Dict[str, Any]]) -> str:
    return turns.table([
        ('resize', 'way', 'pixel: largest', 'pixel: mean', 'mean score: largest', 'mean score: mean'),
        *((row['resize'], row['way'], f'{row["largest_pixel"]:.1f}', f'{row["mean_pixel"]:.2f}',
           f'{row["largest_score"]:.3f}', f'{row["mean_score"]:.3f}') for row in rows)])


FLAGS: Dict[str, Dict[str, Any]] = {
    'weights': {'default': str(turns.NIMA_WEIGHTS), 'metavar': 'FILE',
                'help': 'weights of the model (default: those of shared/, beside the repository)'},
    'images': {'default': str(turns.SHARED / 'ava_sample' / 'images'), 'metavar': 'DIR',
               'help': 'folder of images (default: ava_sample/images of shared/)'}}

if __name__ == '__main__':
    turns.main(measure, __doc__, described, **FLAGS)
