"""From the bytes of an image file to a tensor: header checked, decoded, resized, cropped, flipped, scaled."""
import functools
import re
from typing import Any, Optional

import tensorflow as tf

from utils.base.defaults import MAX_MEGAPIXELS
from utils.data.epoch_plan import resize_before_crop
from utils.data.image_kinds import GIF, JPEG, PNG, start_of

# A few hundred bytes can claim billions of pixels, and are decoded into as many; this many take 300 MB.
MAX_PIXELS = MAX_MEGAPIXELS * 10 ** 6
SHRINK = 8, 4, 2  # by which a JPEG can be decoded smaller, the largest first


def pixels_in_header(contents: tf.Tensor) -> tf.Tensor:
    """Height times width, int64, as the header of a JPEG, PNG or GIF says; 0 for any other file.

    Nothing is refused that decode_jpeg accepts.
    """
    head = _head(contents)
    return tf.cond(_is(head, JPEG), lambda: tf.reduce_prod(_jpeg_sides(contents)),
                   lambda: _pixels_of_others(head))


def _head(contents: tf.Tensor) -> tf.Tensor:
    """The first 24 bytes of a file, zeros added where it is shorter: tf.strings.substr can crash on short strings."""
    return tf.strings.join([tf.strings.substr(contents, 0, 24), b'\0' * 24])


def _is(head: tf.Tensor, kind: str) -> tf.Tensor:
    start = start_of(kind)
    return tf.equal(tf.strings.substr(head, 0, len(start)), start)


def _jpeg_sides(contents: tf.Tensor) -> tf.Tensor:
    """Height and width, int64 [2]."""
    return tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64)


def _pixels_of_others(head: tf.Tensor) -> tf.Tensor:
    def area(position: int, dtype: tf.DType, little_endian: bool) -> tf.Tensor:
        sides = tf.io.decode_raw(tf.strings.substr(head, position, 2 * dtype.size), dtype, little_endian)
        return tf.reduce_prod(tf.cast(sides, tf.int64))

    return tf.case([
        (_is(head, PNG), lambda: area(16, tf.int32, little_endian=False)),
        (_is(head, GIF), lambda: area(6, tf.uint16, little_endian=True)),
    ], default=lambda: tf.constant(0, tf.int64))


def decode_pixels(contents: tf.Tensor, *, max_pixels: int = MAX_PIXELS, at_least: Optional[int] = None) -> tf.Tensor:
    """An image file as uint8 [H, W, 3], RGB; fails as decode_jpeg does, and beyond `max_pixels`.

    With `at_least`, a JPEG whose shorter side is more than twice as long is decoded to a half, a quarter or an
    eighth of its size, the smallest with a shorter side of at least that length: faster, but the pixels differ.
    """
    pixels = pixels_in_header(contents)

    def refuse() -> tf.Tensor:
        claim = tf.strings.join([f'more than {max_pixels / 10 ** 6:g} megapixels: ', tf.strings.as_string(pixels)])
        with tf.control_dependencies([tf.debugging.Assert(pixels <= max_pixels, [claim])]):
            return tf.zeros([0, 0, 3], tf.uint8)

    def accept() -> tf.Tensor:
        return _decode_smaller(contents, at_least) if at_least else tf.image.decode_jpeg(contents, channels=3)

    # Few operations run for an intact image: each costs microseconds, and there are many images.
    return tf.cond(pixels <= max_pixels, accept, refuse)


def _decode_smaller(contents: tf.Tensor, at_least: int) -> tf.Tensor:
    decode_by = functools.partial(tf.image.decode_jpeg, contents, channels=3)

    def jpeg() -> tf.Tensor:
        side = tf.reduce_min(_jpeg_sides(contents))
        return tf.case([(side > at_least * ratio, functools.partial(decode_by, ratio=ratio)) for ratio in SHRINK],
                       default=decode_by)

    return tf.cond(_is(_head(contents), JPEG), jpeg, decode_by)


def scale(pixels: Any) -> Any:
    """Pixels in [0, 255] -> [-1, 1]."""
    return (pixels - 127.5) / 127.5


def decode(contents: tf.Tensor, size: int, resize: str = 'bilinear', max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """An image file as float32 [size, size, 3] in [0, 255], RGB.

    'bilinear' is TF 1's own (legacy) resize. 'nearest' has half-pixel centres, as in Pillow, which gives other
    people's models the scores that their makers published; TF 1's own nearest does not.
    """
    image = decode_pixels(contents, max_pixels=max_pixels)
    if resize == 'nearest':
        return tf.cast(tf.compat.v2.image.resize(image, [size, size], method='nearest'), tf.float32)
    return tf.compat.v1.image.resize_images(image, [size, size])


def read_image(path: tf.Tensor, size: int, resize: str = 'bilinear', max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """An image as float32 [size, size, 3] in [0, 255]: decode() of the file at `path`."""
    return decode(tf.io.read_file(path), size, resize, max_pixels)


def read_training_image(path: tf.Tensor, *, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor, image_size: int,
                        resize: str = 'bilinear', max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """An image as float32 [image_size, image_size, 3] in [-1, 1]: resized, cropped, flipped, scaled."""
    image = read_image(path, resize_before_crop(image_size), resize, max_pixels)
    crop = tf.slice(image, tf.stack([top, left, 0]), [image_size, image_size, 3])
    return scale(tf.cond(flip, lambda: tf.reverse(crop, [1]), lambda: crop))


def count_decoded(path: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """The number of values that an image decodes to; fails as read_image does."""
    return tf.size(decode_pixels(tf.io.read_file(path), max_pixels=max_pixels))


def reason(error: tf.errors.OpError) -> str:
    """Why decoding failed, as a clause."""
    return re.sub(r'^assertion failed: \[(.*)\]$', r'\1', error.message.splitlines()[0])
