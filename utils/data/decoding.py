"""From the bytes of an image file to a tensor: header checked, decoded, resized, cropped, flipped, scaled."""
import functools
import re
from typing import Any, Optional

import tensorflow as tf

from utils.base.defaults import MAX_MEGAPIXELS
from utils.base.preprocessing import REDUCED_FROM
from utils.data.epoch_plan import resize_before_crop
from utils.data.image_headers import OTHER_BMP
from utils.data.image_kinds import BMP, GIF, JPEG, PNG, TENSORFLOW_READS, start_of

# A few hundred bytes can claim billions of pixels, and are decoded into as many; this many take 300 MB.
MAX_PIXELS = MAX_MEGAPIXELS * 10 ** 6
SHRINK = 8, 4, 2  # by which a JPEG can be decoded smaller, the largest first
TOO_LARGE = 'more than'
NOT_READ = 'content that TensorFlow does not read'
_FORMS_NOT_READ = OTHER_BMP, 'animated gif', NOT_READ  # in the reason of decode_pixels(), or of who explains it
_HEAD = 34  # bytes: those of a BMP's header up to its compression
_MIRRORED = {0: [3, 4, 7, 8], 1: [2, 3, 6, 7]}  # axis -> EXIF orientations, those from 5 on after transposing


def _head(contents: tf.Tensor) -> tf.Tensor:
    """The first bytes of a file, zeros added where it is shorter: tf.strings.substr can crash on short strings."""
    return tf.strings.join([tf.strings.substr(contents, 0, _HEAD), b'\0' * _HEAD])


def _is(head: tf.Tensor, kind: str) -> tf.Tensor:
    start = start_of(kind)
    return tf.equal(tf.strings.substr(head, 0, len(start)), start)


def _sides(contents: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Height and width, int64 [2], as the header of a JPEG, PNG, GIF or BMP says; 0 for any other file.

    Nothing is refused that can be decoded.
    """
    kinds = [
        (JPEG, lambda: tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64)),
        (PNG, lambda: _number(head, 16, tf.int32, count=2, little_endian=False)[::-1]),
        (GIF, lambda: _number(head, 6, tf.uint16, count=2)[::-1]),
        (BMP, lambda: _bmp_sides(head)),
    ]
    index = sum(number * tf.cast(_is(head, kind), tf.int32) for number, (kind, _) in enumerate(kinds, 1))
    return tf.switch_case(index, [lambda: tf.zeros([2], tf.int64), *(read for _, read in kinds)])


def _bmp_sides(head: tf.Tensor) -> tf.Tensor:
    """Height and width of a BMP; OS/2's header of 12 bytes has two bytes of each, others four, below 0 from the top."""
    return tf.cond(tf.equal(_number(head, 14, tf.int32), 12)[0], lambda: _number(head, 18, tf.uint16, count=2)[::-1],
                   lambda: tf.abs(_number(head, 18, tf.int32, count=2)[::-1]))


def _number(head: tf.Tensor, position: int, dtype: tf.DType, *, count: int = 1,
            little_endian: bool = True) -> tf.Tensor:
    """`count` numbers of a header, int64 [count]."""
    part = tf.strings.substr(head, position, count * dtype.size)
    return tf.cast(tf.io.decode_raw(part, dtype, little_endian), tf.int64)


def decode_pixels(contents: tf.Tensor, *, max_pixels: int = MAX_PIXELS,
                  longest_side: Optional[int] = None) -> tf.Tensor:
    """An image file as uint8 [H, W, 3], RGB; fails as decode_jpeg does, and beyond `max_pixels`.

    With `longest_side`, an image whose longest side is more than preprocessing.REDUCED_FROM times as long has exactly
    this one; all others have the pixels that they have without.
    """
    head = _head(contents)
    sides = _sides(contents, head)
    pixels = tf.reduce_prod(sides)

    def refuse() -> tf.Tensor:
        claim = tf.strings.join([f'{TOO_LARGE} {max_pixels / 10 ** 6:g} megapixels: ', tf.strings.as_string(pixels)])
        with tf.control_dependencies([tf.debugging.Assert(pixels <= max_pixels, [claim])]):
            return tf.zeros([0, 0, 3], tf.uint8)

    def accept() -> tf.Tensor:
        if not longest_side:
            return _decode(contents, head)
        longest = tf.reduce_max(sides)
        is_large = longest > int(longest_side * REDUCED_FROM)
        # As far as it stays twice as long as wanted: a mean of means of nearly one size would blur.
        ratios = [is_large & (longest >= 2 * longest_side * ratio) for ratio in SHRINK]
        image = _decode(contents, head, tf.reduce_sum(tf.cast(ratios, tf.int32)))
        return tf.cond(is_large, lambda: _reduced(image, sides, longest_side), lambda: image)

    # Few operations run for an intact image: each costs microseconds, and there are many images.
    return tf.cond(pixels <= max_pixels, accept, refuse)


def _decode(contents: tf.Tensor, head: tf.Tensor, halvings: Optional[tf.Tensor] = None) -> tf.Tensor:
    """All pixels of an image; with `halvings`, int32 [], a JPEG's sides are halved so many times while it is decoded.

    It is one switch, as nested ones take longer to build and to start.
    """
    others = [lambda: _decode_bmp(contents, head), functools.partial(tf.image.decode_jpeg, contents, channels=3)]
    if halvings is None:
        return tf.cond(_is(head, BMP), *others)
    by_ratio = [functools.partial(tf.image.decode_jpeg, contents, channels=3, ratio=ratio) for ratio in SHRINK[::-1]]
    halvings = tf.where(_is(head, JPEG), halvings, 0)
    return tf.switch_case(tf.where(_is(head, BMP), 0, 1 + halvings), [*others, *by_ratio])


def _decode_bmp(contents: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """A BMP of 24 or 32 bits without compression; decode_bmp itself would read a palette's indices as pixels."""
    header, bits, compression = _number(head, 14, tf.int32), _number(head, 28, tf.uint16), _number(head, 30, tf.int32)
    is_read = tf.reduce_all([header >= 40, tf.equal(bits, 24) | tf.equal(bits, 32), tf.equal(compression, 0)])
    with tf.control_dependencies([tf.debugging.Assert(is_read, [OTHER_BMP])]):
        contents = tf.identity(contents)
    # Two operations: one that takes the channels from the file keeps those of the first file.
    return tf.cond(tf.equal(bits, 32)[0], lambda: tf.image.decode_bmp(contents, channels=4)[:, :, :3],
                   lambda: tf.image.decode_bmp(contents, channels=3))


def _reduced(image: tf.Tensor, sides: tf.Tensor, longest_side: int) -> tf.Tensor:
    """An image whose longest side becomes `longest_side`, each pixel the mean of the area that it covers."""
    target = tf.maximum(1, tf.cast(tf.round(sides * longest_side / tf.reduce_max(sides)), tf.int32))
    reduced = tf.compat.v1.image.resize_area(image[tf.newaxis], target)[0]
    return tf.cast(reduced + 0.5, tf.uint8)  # eight times as fast as tf.round


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The upright image of one that is stored in EXIF's `orientation`, int32 []; of 1 it is the image itself."""
    def turn() -> tf.Tensor:
        found = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        for axis, orientations in _MIRRORED.items():
            is_mirrored = tf.reduce_any(tf.equal(orientation, orientations))
            found = tf.cond(is_mirrored, functools.partial(tf.reverse, found, [axis]),
                            functools.partial(tf.identity, found))
        return found

    return tf.cond(orientation > 1, turn, lambda: image)


def scale(pixels: Any) -> Any:
    """Pixels in [0, 255] -> [-1, 1]."""
    return (pixels - 127.5) / 127.5


def decode(contents: tf.Tensor, size: int, resize: str = 'bilinear', max_pixels: int = MAX_PIXELS, *,
           longest_side: Optional[int] = None, orientation: Optional[tf.Tensor] = None) -> tf.Tensor:
    """An image file as float32 [size, size, 3] in [0, 255], RGB.

    A much larger one is brought to `longest_side`, see decode_pixels(); with `orientation`, EXIF's, int32 [], it is
    turned upright; then it is resized. 'bilinear' is TF 1's own (legacy) resize. 'nearest' has half-pixel centres, as
    in Pillow, which gives other people's models the scores that their makers published; TF 1's own nearest does not.
    """
    image = decode_pixels(contents, max_pixels=max_pixels, longest_side=longest_side)
    if orientation is not None:
        image = turned(image, orientation)
    if resize == 'nearest':
        return tf.cast(tf.compat.v2.image.resize(image, [size, size], method='nearest'), tf.float32)
    return tf.compat.v1.image.resize_images(image, [size, size])


def read_image(path: tf.Tensor, size: int, resize: str = 'bilinear', max_pixels: int = MAX_PIXELS, *,
               longest_side: Optional[int] = None, orientation: Optional[tf.Tensor] = None) -> tf.Tensor:
    """An image as float32 [size, size, 3] in [0, 255]: decode() of the file at `path`."""
    return decode(tf.io.read_file(path), size, resize, max_pixels, longest_side=longest_side, orientation=orientation)


def read_training_image(path: tf.Tensor, *, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor, image_size: int,
                        resize: str = 'bilinear', max_pixels: int = MAX_PIXELS, longest_side: Optional[int] = None,
                        orientation: Optional[tf.Tensor] = None, as_pixels: bool = False) -> tf.Tensor:
    """An image as float32 [image_size, image_size, 3] in [-1, 1]: resized, cropped, flipped, scaled.

    With `as_pixels` it is uint8 and not scaled, which is exact where `resize` is 'nearest'.
    """
    image = read_image(path, resize_before_crop(image_size), resize, max_pixels, longest_side=longest_side,
                       orientation=orientation)
    crop = tf.slice(image, tf.stack([top, left, 0]), [image_size, image_size, 3])
    flipped = tf.cond(flip, lambda: tf.reverse(crop, [1]), lambda: crop)
    return tf.cast(flipped, tf.uint8) if as_pixels else scale(flipped)


def count_decoded(path: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """The number of values that an image decodes to; fails as read_image does."""
    return tf.size(decode_pixels(tf.io.read_file(path), max_pixels=max_pixels))


def reason(error: tf.errors.OpError) -> str:
    """Why decoding failed, as a clause."""
    return re.sub(r'^assertion failed: \[(.*)\]$', r'\1', error.message.splitlines()[0])


def needs_pillow(kind: Optional[str], reason: str) -> bool:
    """Whether a file of `kind`, which is not decoded for `reason`, is of a form that TensorFlow never decodes.

    Only such a file is read by Pillow: what is damaged is unreadable for all commands, whatever Pillow makes of it.
    """
    return kind not in (None, *TENSORFLOW_READS) or any(form in reason for form in _FORMS_NOT_READ)
