"""The one place where photographs are decoded, after a look at what their headers claim."""
import re

import tensorflow as tf

# A few hundred bytes can claim billions of pixels, and are decoded into as many; this many take 300 MB.
MAX_PIXELS = 100 * 10 ** 6


def pixels_in_header(contents: tf.Tensor) -> tf.Tensor:
    """Height times width, int64, as the header of a JPEG, PNG or GIF says; 0 for any other file.

    Nothing is refused that decode_jpeg accepts. Cut from a string that is too short, tf.strings.substr can crash
    TF 1.15: so the start of the file is lengthened first.
    """
    head = tf.strings.join([tf.strings.substr(contents, 0, 24), b'\0' * 24])

    def starts(magic: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(head, 0, len(magic)), magic)

    def area(position: int, dtype: tf.DType, little_endian: bool) -> tf.Tensor:
        sides = tf.io.decode_raw(tf.strings.substr(head, position, 2 * dtype.size), dtype, little_endian)
        return tf.reduce_prod(tf.cast(sides, tf.int64))

    def jpeg_area() -> tf.Tensor:
        return tf.reduce_prod(tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64))

    return tf.case([
        (starts(b'\xff\xd8\xff'), jpeg_area),
        (starts(b'\x89PNG'), lambda: area(16, tf.int32, little_endian=False)),
        (starts(b'GIF8'), lambda: area(6, tf.uint16, little_endian=True)),
    ], default=lambda: tf.constant(0, tf.int64))


def decode(contents: tf.Tensor) -> tf.Tensor:
    """A photograph's file as uint8 [H, W, 3], RGB; fails as decode_jpeg does, and beyond MAX_PIXELS."""
    pixels = pixels_in_header(contents)
    claim = tf.strings.join([f'more than {MAX_PIXELS // 10 ** 6} megapixels: ', tf.strings.as_string(pixels)])
    with tf.control_dependencies([tf.debugging.Assert(pixels <= MAX_PIXELS, [claim])]):
        return tf.image.decode_jpeg(tf.identity(contents), channels=3)


def reason(error: tf.errors.OpError) -> str:
    """Why decode() failed, as a clause."""
    return re.sub(r'^assertion failed: \[(.*)\]$', r'\1', error.message.splitlines()[0])
