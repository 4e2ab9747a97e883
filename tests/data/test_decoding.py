"""From an image file to a tensor: resize and reduction against plain formulas, EXIF orientation against Pillow's."""
import functools
import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from utils.data import decoding, image_headers


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


@functools.lru_cache(None)
def decoder(how):
    """decode_pixels() of a file's content, and turned() by an orientation, as a function of both."""
    with tf.Graph().as_default() as graph:
        data, orientation = tf.compat.v1.placeholder(tf.string, ()), tf.compat.v1.placeholder(tf.int32, ())
        image = decoding.turned(decoding.decode_pixels(data, **dict(how)), orientation)
    return tf.compat.v1.Session(graph=graph).make_callable(image, [data, orientation])


def read_all(files, orientation=1, **how):
    return [decoder(tuple(how.items()))(file, orientation) for file in files]


def content(pixels, kind, **more):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **more)
    return stream.getvalue()


def smooth(height, width):
    """An image of broad waves, which JPEG keeps."""
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(rows / 15 + phase) * np.cos(columns / 20 - phase) for phase in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def by_area(image, height, width):
    """Each pixel the mean of the area that it covers: the shares of rows and columns as matrices."""
    def shares(length, count):
        edges = np.arange(count + 1) * length / count
        low, high = np.arange(length), np.arange(1, length + 1)
        overlap = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
        return np.maximum(overlap, 0) * count / length
    return np.einsum('ar,bc,rcd->abd', shares(image.shape[0], height), shares(image.shape[1], width),
                     image.astype(np.float64))


@pytest.mark.parametrize('height, width, reduced', [
    (41, 30, (32, 23)), (73, 100, (23, 32)), (128, 64, (32, 16)), (400, 3, (32, 1)), (50, 50, (32, 32))])
def test_a_large_image_is_reduced_by_area(height, width, reduced):
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    found, = read_all([content(pixels, 'PNG')], longest_side=32)
    assert found.shape[:2] == reduced and found.dtype == np.uint8
    assert np.abs(found - by_area(pixels, *reduced)).max() <= 0.5 + 1e-3
    if (height, width) == (128, 64):  # a whole factor
        box = np.asarray(Image.fromarray(pixels).resize(reduced[::-1], Image.BOX))
        assert np.abs(found.astype(int) - box).max() <= 1


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP'])
def test_an_image_of_up_to_one_and_a_quarter_of_the_longest_side_keeps_its_pixels(kind):
    files = [content(smooth(height, width), kind) for height, width in ((40, 40), (7, 40), (40, 12), (20, 20))]
    for as_it_is, found in zip(read_all(files), read_all(files, longest_side=32)):
        np.testing.assert_array_equal(found, as_it_is)
    assert read_all([content(smooth(30, 41), kind)], longest_side=32)[0].shape == (23, 32, 3)


@pytest.mark.parametrize('height, width, most', [
    (96, 64, 1), (104, 128, 1), (136, 80, 2), (208, 264, 2), (264, 520, 2),
    pytest.param(640, 640, 3, marks=pytest.mark.slow)])
def test_a_jpeg_decoded_at_a_fraction_is_near_the_reduced_whole_image(height, width, most):
    file = content(smooth(height, width), 'JPEG', quality=95)
    whole, = read_all([file])
    found, = read_all([file], longest_side=64)
    longest = max(height, width)
    expected = by_area(whole, round(64 * height / longest), round(64 * width / longest))
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < most


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)
    file = content(pixels, kind, exif=exif)
    (tmp_path / 'a').write_bytes(file)
    assert image_headers.orientation_in(file) == orientation == image_headers.orientations([str(tmp_path / 'a')])[0]
    stored, = read_all([file])  # TensorFlow's pixels of a JPEG are not Pillow's
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content(stored, 'PNG', exif=exif))))
    found, = read_all([file], orientation)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_orientations_of_files_without_one(tmp_path):
    png = content(np.zeros((4, 4, 3), np.uint8), 'PNG')
    for name, data in (('cut.png', png[:40]), ('plain.png', png), ('empty', b''), ('text', b'no image'),
                       ('cut.jpg', content(np.zeros((4, 4, 3), np.uint8), 'JPEG')[:30])):
        (tmp_path / name).write_bytes(data)
    paths = [*map(str, sorted(tmp_path.iterdir())), str(tmp_path), str(tmp_path / 'absent')]
    assert image_headers.orientations(paths).tolist() == [1] * 7


def test_an_orientation_behind_the_pixels_of_a_png_counts():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = content(np.zeros((4, 4, 3), np.uint8), 'PNG', exif=exif)
    start = file.index(b'eXIf') - 4
    length = 12 + int.from_bytes(file[start:start + 4], 'big')
    moved = file[:start] + file[start + length:-12] + file[start:start + length] + file[-12:]
    assert image_headers.orientation_in(moved) == 6


def bmp(pixels, bits=24, *, top_down=False, compression=0, header=40):
    """A BMP, written out; rows are filled up to whole words."""
    height, width = pixels.shape[:2]
    rows = pixels[:, :, ::-1] if top_down else pixels[::-1, :, ::-1]
    if bits == 32:
        rows = np.concatenate([rows, np.full((height, width, 1), 7, np.uint8)], axis=2)
    data = b''.join(row.tobytes() + bytes(-row.size % 4) for row in rows)
    head = struct.pack('<IiiHHIIiiII', header, width, -height if top_down else height, 1, bits, compression, len(data),
                       0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 14 + len(head) + len(data), 0, 0, 14 + len(head)) + head + data


@pytest.mark.parametrize('bits', [24, 32])
@pytest.mark.parametrize('top_down', [False, True])
def test_bmp_of_24_and_32_bits(bits, top_down):
    pixels = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8)
    found, = read_all([bmp(pixels, bits, top_down=top_down)])
    np.testing.assert_array_equal(found, pixels)


def test_other_bmp_is_refused_and_never_read_as_indices():
    pixels = np.zeros((8, 8, 3), np.uint8)
    palette, grey = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).convert('P').save(palette, 'BMP')
    Image.fromarray(pixels).convert('L').save(grey, 'BMP')
    for file in (palette.getvalue(), grey.getvalue(), bmp(pixels, compression=3), bmp(pixels, 32, compression=1),
                 bmp(pixels, 16), bmp(pixels, header=12)):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            read_all([file])
        assert decoding.reason(error.value) == 'a BMP other than one of 24 or 32 bits without compression'


def test_a_bmp_of_too_many_pixels_or_too_few_bytes_is_refused():
    pixels = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match='more than 6e-05 megapixels: 64'):
        read_all([bmp(pixels, top_down=True)], max_pixels=60)
    for cut in (20, 54, 100):
        with pytest.raises(tf.errors.InvalidArgumentError):
            read_all([bmp(pixels)[:cut]])
