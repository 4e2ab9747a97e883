"""Decoding and pre-processing on this host."""
import base64
import contextlib
import hashlib
import os
from typing import Any, Dict, List, Tuple

import numpy as np

from utils.acceptance import figures
from utils.acceptance.figures import Figure
from utils.acceptance.outcome import FAIL, PASS, Outcome
from utils.base.preprocessing import Preprocessing
from utils.data.image_files import ImageReader

SIDE, SMALLER = 64, 48  # of the images, which are not resized at SIDE
BOUND = 1e-5            # of the resized pixels: other processors round sums elsewhere


def read(data: Dict[str, bytes], image_size: int, folder: str, session_config: Any) -> Dict[str, np.ndarray]:
    """Each image file of `data`, by name, as predict.py reads it."""
    found = {}
    with contextlib.closing(ImageReader(Preprocessing(image_size), session_config=session_config)) as reader:
        for name, contents in data.items():
            path = os.path.join(folder, name)
            with open(path, 'wb') as stream:
                stream.write(contents)
            found[name] = reader.read(path)
    return found


def pixels(image: np.ndarray) -> np.ndarray:
    """The uint8 pixels of an image that was not resized."""
    return np.rint(image * 127.5 + 127.5).astype(np.uint8)


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def resized(image: np.ndarray) -> Figure:
    """The figure of a resized image."""
    return figures.activation(image)


def check(reference: Dict[str, Any], folder: str, session_config: Any) -> List[Outcome]:
    """Decode and resize the files of the reference: image.jpg, and image.png with the pixels it should have."""
    files = {name: base64.b64decode(text) for name, text in reference['files'].items()}
    decoded = {name: pixels(image) for name, image in read(files, SIDE, folder, session_config).items()}
    wrong = [name for name in decoded if digest(decoded[name]) != reference['digests'][name]]
    apart, where = _levels(decoded)
    status, text = PASS, 'JPEG and PNG to the last bit'
    if wrong:
        status, text = FAIL, f'{where}. {_cause(wrong)}'
    smaller = read({'image.png': files['image.png']}, SMALLER, folder, session_config)['image.png']
    drift = figures.deviation(resized(smaller), Figure(*reference['resized']))
    return [Outcome('decoding', status, text, float(apart), 0.0, ', '.join(wrong) or None),
            Outcome('pre-processing', FAIL if not drift <= BOUND else PASS,
                    '' if drift <= BOUND else 'Likely cause: another resize or scaling', drift, BOUND)]


def _levels(decoded: Dict[str, np.ndarray]) -> Tuple[int, str]:
    """The largest difference between the JPEG's pixels and those it should have, as a number and in words."""
    apart = np.abs(decoded['image.jpg'].astype(int) - decoded['image.png'])
    return apart.max(), f'pixels of the JPEG differ by up to {apart.max()} levels, on average {apart.mean():.2f}'


def _cause(wrong: List[str]) -> str:
    if wrong == ['image.jpg']:
        return ('Likely cause: a TensorFlow with another libjpeg; scores of the same JPEG files differ a little from '
                'those of other hosts')
    return 'Likely cause: channels in another order, or a decoder of another kind'
