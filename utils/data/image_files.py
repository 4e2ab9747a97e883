"""Typed image files: read by content, many at a time; an unreadable one costs its own score only."""
import collections
import concurrent.futures
import io
import os
import re
import warnings
from typing import Any, BinaryIO, Deque, Iterator, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf

from utils.base import reading
from utils.base.errors import InputError, install_command
from utils.base.preprocessing import Preprocessing
from utils.data import decoding, image_headers, pipeline
from utils.data.image_kinds import AVIF, HEIC, TENSORFLOW_READS, kind_of
from utils.data.image_set import CARD

KINDS = 'JPEG, PNG, GIF, BMP, WebP, TIFF, HEIC or AVIF'
MAX_BYTES = 4 * decoding.MAX_PIXELS  # more than any image within MAX_PIXELS needs
PHOTOS = 'requirements-photos.txt'
_BITS, _WHITE_IS = 258, 262  # a TIFF's tags

Found = Union[np.ndarray, InputError]


class ImageReader:
    """Reads images as val_batches does, in a graph and a host-only session of its own."""

    def __init__(self, preprocessing: Preprocessing = CARD.preprocessing, *,
                 session_config: Optional[tf.compat.v1.ConfigProto] = None) -> None:
        with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
            self._data = tf.compat.v1.placeholder(tf.string, ())
            self._orientation = tf.compat.v1.placeholder(tf.int32, ())
            self._image = decoding.scale(decoding.decode(
                self._data, preprocessing.image_size, preprocessing.resize, longest_side=preprocessing.longest_side,
                orientation=self._orientation))
        self.preprocessing, self._turns = preprocessing, preprocessing.orientation == 'apply'
        self._session = pipeline.host_session(graph, session_config)

    def read(self, path: str) -> np.ndarray:
        """The image as float32 [S, S, 3] in [-1, 1]; the first frame of a file that holds several.

        What TensorFlow does not read (WebP, TIFF, HEIC, AVIF, a moving GIF, some BMP) is read by Pillow and passed on
        as a PNG, so that it is resized in the same way; decoding.needs_pillow() decides, for all commands alike.
        InputError where a file cannot be read, or its header says more than MAX_PIXELS.
        """
        return self.read_with_data(path)[1]

    def read_with_data(self, path: str) -> Tuple[bytes, np.ndarray]:
        """The bytes that were decoded, the file's own or those of a PNG, and the image of read()."""
        data, kind = _contents(path)
        reason = 'TensorFlow 1.15 does not read this kind'
        if kind in TENSORFLOW_READS:
            try:
                return data, self._decoded(data)
            except tf.errors.OpError as error:
                reason = decoding.reason(error)
                if not decoding.needs_pillow(kind, reason):
                    raise _undecodable(path, kind, reason) from error
        try:
            png = as_png(data, turn=self._turns)
            return png, self._decoded(png)
        except ImportError as error:
            raise _undecodable(path, kind, f'{reason}, and {_not_installed(kind, error)}') from error
        except Exception as error:  # Pillow fails in many ways on damaged files
            if kind not in TENSORFLOW_READS:
                reason = _reason(error)
            raise _undecodable(path, kind, reason) from error

    def read_all(self, files: Sequence[str], *, workers: int, ahead: int) -> Iterator[Tuple[str, Found]]:
        """Each file with its image, or with the InputError of reading it, in the order of `files`.

        `workers` threads read, up to `ahead` images before the one that is asked for.
        """
        waiting: Deque[Tuple[str, Any]] = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            try:
                for file in files:
                    waiting.append((file, pool.submit(self._read_or_error, file)))
                    if len(waiting) > ahead:
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def close(self) -> None:
        self._session.close()

    def _decoded(self, data: bytes) -> np.ndarray:
        orientation = image_headers.orientation_in(data) if self._turns else 1
        return self._session.run(self._image, {self._data: data, self._orientation: orientation})

    def _read_or_error(self, path: str) -> Found:
        try:
            return self.read(path)
        except InputError as error:
            return error


def open_with_pillow(stream: BinaryIO) -> Any:
    """Pillow's image of a file, its first frame, not yet decoded; ValueError beyond MAX_PIXELS.

    ImportError where a HEIC or AVIF needs pillow-heif, which turns them upright itself.
    """
    from PIL import Image
    warnings.filterwarnings('ignore', module=r'PIL\.')  # of a damaged file; what matters is an error
    if kind_of(stream.read(24)) in (HEIC, AVIF):
        import pillow_heif
        pillow_heif.register_heif_opener()
        pillow_heif.register_avif_opener()
    stream.seek(0)
    image = Image.open(stream)
    pixels = image.size[0] * image.size[1]
    if pixels > decoding.MAX_PIXELS:
        raise ValueError(f'more than {decoding.MAX_PIXELS // 10 ** 6} megapixels: {pixels}')
    return image


def upright(image: Any) -> Any:
    """Pillow's image, turned as its EXIF data say; Pillow itself turns a TIFF when it decodes it."""
    from PIL import ImageOps
    return image if image.format == 'TIFF' else ImageOps.exif_transpose(image)


def in_srgb(image: Any) -> Any:
    """Pillow's image as RGB, the colours of Display P3, a phone's, as sRGB: that moves a score by 0.03 on average."""
    from PIL import ImageCms
    rgb, profile = image.convert('RGB'), image.info.get('icc_profile')
    try:
        if image.mode in ('RGB', 'RGBA') and profile:
            found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if 'P3' in ImageCms.getProfileDescription(found):
                return ImageCms.profileToProfile(rgb, found, ImageCms.createProfile('sRGB'))
    except (ImageCms.PyCMSError, ImportError, OSError):
        pass  # a damaged profile says nothing
    return rgb


def _reason(error: Exception) -> str:
    """Pillow's error as a clause, without the stream's address."""
    return re.sub(r' <_io\.\S+ object at \w+>', '', ' '.join(str(error).split())) or type(error).__name__


def _contents(path: str) -> Tuple[bytes, str]:
    """The bytes of a file and its kind; InputError where it is none of KINDS."""
    try:
        with reading.open_file(path) as stream:
            start = stream.read(24)
            kind = kind_of(start)
            if kind is None:
                raise InputError(f'{path}: not a {KINDS} file')
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_BYTES:
                raise InputError(f'{path} has {size} bytes; an image may have {MAX_BYTES}')
            stream.seek(0)
            return stream.read(), kind
    except OSError as error:
        if isinstance(error, IsADirectoryError):
            raise InputError(f'{path} is a folder without images. -r looks into its folders too') from error
        raise InputError(f'cannot read {path}: {error.strerror}') from error


def read_as_png(path: str, *, turn: bool, compress_level: int = 0) -> bytes:
    """as_png() of the file at `path`; InputError where Pillow cannot read it."""
    data, kind = _contents(path)
    try:
        return as_png(data, turn=turn, compress_level=compress_level)
    except ImportError as error:
        raise _undecodable(path, kind, _not_installed(kind, error)) from error
    except Exception as error:  # Pillow fails in many ways on damaged files
        raise _undecodable(path, kind, _reason(error)) from error


def _not_installed(kind: str, error: ImportError) -> str:
    package = 'pillow-heif' if kind in (HEIC, AVIF) and error.name != 'PIL' else 'Pillow'
    return f'{package}, which reads this kind, is not installed: {install_command(PHOTOS)}'


def as_png(data: bytes, *, turn: bool, compress_level: int = 0) -> bytes:
    """The image in `data` as an RGB PNG, read by Pillow; with `turn` upright, as EXIF data say."""
    image = open_with_pillow(io.BytesIO(data))
    if turn:
        image = upright(image)
    if image.mode.startswith('I;16'):
        image = _in_8_bits(image)
    elif image.mode == 'F' or image.mode == 'I' and image.format == 'TIFF':
        raise ValueError('pixels of 32 bits, of which nothing says what is white')
    buffer = io.BytesIO()
    in_srgb(image).save(buffer, 'PNG', compress_level=compress_level)
    return buffer.getvalue()


def _in_8_bits(image: Any) -> Any:
    """Pillow's grey image of 12 or 16 bits, as only a TIFF is one, with 8 bits of which 0 is black."""
    from PIL import Image
    bits, = image.tag_v2.get(_BITS, (16,))
    pixels = (np.asarray(image) >> bits - 8).astype(np.uint8)
    return Image.fromarray(255 - pixels if image.tag_v2.get(_WHITE_IS) == 0 else pixels)


def _undecodable(path: str, kind: str, reason: str) -> InputError:
    return InputError(f'{path}: unreadable {kind} ({reason})')
