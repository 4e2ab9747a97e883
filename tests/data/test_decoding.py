"""From an image file to a tensor: the resize against the plain formula, JPEGs decoded at a fraction of their size."""
import numpy as np
import tensorflow as tf
from PIL import Image

from utils.data import decoding


def decode(path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(tf.image.decode_jpeg(tf.io.read_file(path), channels=3))


def legacy_bilinear(image, size):
    """TF 1's resize_images written out: no half-pixel centres, no corner alignment, weights in float32."""
    image = image.astype(np.float32)

    def axis(length):
        position = np.arange(size, dtype=np.float32) * np.float32(length / size)
        low = np.floor(position).astype(int)
        return low, np.minimum(low + 1, length - 1), position - low.astype(np.float32)

    top, bottom, down = axis(image.shape[0])
    left, right, along = axis(image.shape[1])
    along, down = along[None, :, None], down[:, None, None]
    upper = image[top][:, left] + (image[top][:, right] - image[top][:, left]) * along
    lower = image[bottom][:, left] + (image[bottom][:, right] - image[bottom][:, left]) * along
    return upper + (lower - upper) * down


def test_legacy_bilinear_resize(dataset):
    path = str(next(dataset.images.iterdir()))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        resized = session.run(decoding.read_image(tf.constant(path), 40))
    np.testing.assert_allclose(resized, legacy_bilinear(decode(path), 40), rtol=0, atol=255 * 1e-6)


def test_the_resize_is_not_version_twos(dataset):
    path = str(next(dataset.images.iterdir()))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        ours, half_pixel = session.run([decoding.read_image(tf.constant(path), 40),
                                        tf.compat.v2.image.resize(decode(path), [40, 40])])
    assert np.abs(ours - half_pixel).max() > 1


def test_at_least_decodes_large_jpegs_alone_at_a_fraction(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (20, 24, 3)).astype(np.uint8)
    cases = [(f'{width}x{height}', width, height) for width, height in ((64, 64), (65, 65), (300, 65), (140, 129))]
    for name, width, height in cases:
        for ending in ('jpg', 'png'):
            Image.fromarray(pixels).resize((width, height), Image.BICUBIC).save(str(tmp_path / f'{name}.{ending}'))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        data = tf.compat.v1.placeholder(tf.string, ())
        shape = tf.shape(decoding.decode_pixels(data, at_least=32))
        shapes = {path.name: tuple(session.run(shape, {data: path.read_bytes()})[1::-1])
                  for path in tmp_path.iterdir()}
    assert {name: shape for name, shape in shapes.items() if name.endswith('jpg')} == {
        '64x64.jpg': (64, 64), '65x65.jpg': (33, 33), '300x65.jpg': (150, 33), '140x129.jpg': (35, 33)}
    assert all(f'{width}x{height}.png' == name for name, (width, height) in shapes.items() if name.endswith('png'))
