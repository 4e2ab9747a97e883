"""Image files that predict.py reads: by content, as eval.py reads them, an unreadable one at its own cost."""
import contextlib
import io
import sys
import threading

import numpy as np
import pytest
from PIL import Image, features

from utils import check_dataset, data_loader
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava, decoding, image_files, pack

SIZE = 32
PIXELS = np.random.RandomState(0).randint(256, size=(40, 50, 3)).astype(np.uint8)


@pytest.fixture(scope='module', params=['bilinear', 'nearest'])
def reader(request):
    with contextlib.closing(image_files.ImageReader(Preprocessing(SIZE, request.param))) as opened:
        yield opened


def save(path, kind, pixels=PIXELS, mode='RGB', **more):
    Image.fromarray(pixels).convert(mode).save(str(path), kind, **more)
    return str(path)


@pytest.mark.parametrize('kind, mode, more', [
    ('BMP', 'RGB', {}), ('BMP', 'P', {}), ('BMP', 'L', {}), ('WEBP', 'RGB', {'lossless': True}),
    ('WEBP', 'RGBA', {'lossless': True}), ('GIF', 'P', {}), ('GIF', 'P', {'save_all': True})])
def test_what_tensorflow_does_not_read_gives_the_image_of_the_same_pixels_in_a_png(reader, tmp_path, kind, mode, more):
    if kind == 'WEBP' and not features.check('webp'):
        pytest.skip('this Pillow was built without WebP')
    picture = Image.fromarray(PIXELS).convert(mode)
    picture.convert('RGB').save(str(tmp_path / 'same.png'))
    if 'save_all' in more:
        more = {**more, 'append_images': [Image.fromarray(PIXELS[::-1]).convert('P')]}
    picture.save(str(tmp_path / 'named.jpg'), kind, **more)
    image = reader.read(str(tmp_path / 'named.jpg'))
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.float32 and np.ptp(image) > 1
    np.testing.assert_array_equal(image, reader.read(str(tmp_path / 'same.png')))


@pytest.mark.parametrize('orientation', [3, 5, 6])
def test_the_exif_orientation_is_applied_where_the_preprocessing_says_so(reader, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(PIXELS).transpose(
        {3: Image.ROTATE_180, 5: Image.TRANSPOSE, 6: Image.ROTATE_270}[orientation])
    expected = reader.read(save(tmp_path / 'upright.png', 'PNG', np.asarray(upright)))
    as_stored = reader.read(save(tmp_path / 'stored.png', 'PNG'))
    how = reader.preprocessing._replace(orientation='apply')
    with contextlib.closing(image_files.ImageReader(how)) as turning:
        for name, kind in (('a.webp', 'WEBP'), ('a.png', 'PNG'), ('a.tif', 'TIFF')):
            file = save(tmp_path / name, kind, exif=exif, **({'lossless': True} if kind == 'WEBP' else {}))
            np.testing.assert_array_equal(turning.read(file), expected)
            if kind != 'TIFF':  # which Pillow turns as it decodes
                np.testing.assert_array_equal(reader.read(file), as_stored)


@pytest.mark.parametrize('name, data, reason', [
    ('a.bmp', b'BM and no picture', 'unreadable BMP (a BMP other than one of 24 or 32 bits'),
    ('a.webp', b'RIFF\0\0\0\0WAVEfmt', 'not a JPEG, PNG, GIF, BMP, WebP, TIFF, HEIC or AVIF file'),
    ('a.webp', b'RIFF\0\0\0\0WEBPVP8 cut', 'unreadable WebP ('),
    ('a.png', b'\x89PNG\r\n\x1a\n' + bytes(60), 'unreadable PNG (Invalid PNG header'),
    ('a.jpg', b'', 'not a JPEG, PNG, GIF, BMP, WebP, TIFF, HEIC or AVIF file'),
    ('a.tif', b'II*\0', 'unreadable TIFF (cannot identify image file)')])
def test_errors_for_unreadable_files(reader, tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as error:
        reader.read(str(tmp_path / name))
    text = str(error.value)
    assert text.startswith(f'{tmp_path / name}: {reason}') and '\n' not in text


def test_pixels_are_limited_for_pillow_too(reader, tmp_path, monkeypatch):
    path = save(tmp_path / 'a.tif', 'TIFF')
    monkeypatch.setattr(decoding, 'MAX_PIXELS', 40 * 50 - 1)
    with pytest.raises(InputError, match='unreadable TIFF .more than 0 megapixels: 2000'):
        reader.read(path)


def test_a_file_larger_than_any_image_is_not_read(reader, tmp_path):
    with open(str(tmp_path / 'a.jpg'), 'wb') as stream:
        stream.write(b'\xff\xd8\xff')
        stream.truncate(image_files.MAX_BYTES + 1)  # a hole: it takes no room
    most = image_files.MAX_BYTES
    with pytest.raises(InputError, match=f'has {most + 1} bytes; an image may have {most}'):
        reader.read(str(tmp_path / 'a.jpg'))


def test_without_pillow_the_error_names_it(reader, tmp_path, monkeypatch):
    path = save(tmp_path / 'a.tif', 'TIFF')
    monkeypatch.setitem(sys.modules, 'PIL', None)
    with pytest.raises(InputError, match=r'unreadable TIFF .TensorFlow 1\.15 does not read this kind, and Pillow, '
                                         'which reads this kind, is not installed'):
        reader.read(path)


def test_read_all_keeps_the_order_and_reads_no_further_than_asked(tmp_path, monkeypatch):
    begun = []
    gate = threading.Event()

    class Slow(image_files.ImageReader):
        def __init__(self):  # no graph
            pass

        def read(self, path):
            begun.append(path)
            if path == '0':
                gate.wait(10)
            if int(path) % 3 == 1:
                raise InputError(path)
            return path

    found = Slow().read_all(list(map(str, range(100))), workers=4, ahead=8)
    threading.Timer(0.2, gate.set).start()
    first = [next(found) for _ in range(20)]
    assert [file for file, _ in first] == list(map(str, range(20)))
    assert [isinstance(image, InputError) for _, image in first] == [number % 3 == 1 for number in range(20)]
    found.close()
    assert 20 <= len(begun) <= 20 + 8 + 1


def test_odd_files_are_read_as_their_manifest_says_or_named(reader, shared):
    rows = [line.split('\t') for line in (shared / 'bad_images' / 'MANIFEST.tsv').read_text().splitlines()[1:]]
    files = [str(shared / 'bad_images' / row[0]) for row in rows]
    for row, (file, found) in zip(rows, reader.read_all(files, workers=2, ahead=4)):
        readable = row[6].startswith('ok') or (row[4].endswith('/ ok') and row[4].startswith('GIF'))
        assert file.endswith(row[0]) and isinstance(found, np.ndarray) == readable, (row[0], found)


def odd_and_damaged(folder):
    """Files of every kind that TensorFlow reads at least in part: whole, cut, and with bytes that are wrong."""
    random = np.random.RandomState(0).randint(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    first, *others = map(Image.fromarray, random)
    forms = {'a.jpg': ('JPEG', first, {}), 'b.png': ('PNG', first, {}), 'c.gif': ('GIF', first, {}),
             'moving.gif': ('GIF', first, {'save_all': True, 'append_images': others}), 'd.bmp': ('BMP', first, {}),
             'palette.bmp': ('BMP', first.convert('P'), {})}
    for name, (kind, image, more) in forms.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **more)
        whole = buffer.getvalue()
        for number, content in enumerate((whole, whole[:-1000], whole[:40],
                                          whole[:1000] + bytes(8) + whole[1008:])):
            (folder / f'{number}-{name}').write_bytes(content)
    return sorted(folder.iterdir())


def test_an_image_is_readable_or_not_for_all_commands_alike(reader, tmp_path):
    """Pillow reads some of these, as far as they go; predict.py must not score what training leaves out."""
    folder = tmp_path / 'images'
    folder.mkdir()
    files = odd_and_damaged(folder)
    paths = list(map(str, files))
    trained = list(data_loader.verdicts(paths))
    predicted = [not isinstance(found, InputError) for _, found in reader.read_all(paths, workers=1, ahead=1)]
    assert predicted == [verdict is None or (file.name[0] in '03' and file.name[2:] in ('moving.gif', 'palette.bmp'))
                         for file, verdict in zip(files, trained)]
    assert all(decoding.NOT_READ in verdict for verdict, is_read in zip(trained, predicted) if verdict and is_read)
    labels = tmp_path / 'AVA.txt'
    labels.write_text(''.join(f'{row} {file.name} 0 0 1 2 3 3 2 1 0 0\n' for row, file in enumerate(files, 1)))
    ratings = ava.read(str(labels), str(folder))
    packed = pack.pack(ratings._replace(paths=np.array(paths, object)), str(tmp_path / 'packed'), Preprocessing(SIZE),
                       use='scoring', form='raw', max_bad_images=0.9)
    assert [str(row) not in packed['bad'] for row in range(len(files))] == predicted
    check_dataset.main(['--ava_dataset_path', str(labels), '--base_images_path', str(folder), '--list',
                        str(tmp_path / 'list.tsv'), '--convert', str(tmp_path / 'converted')])
    converted = {path.name for path in (tmp_path / 'converted').iterdir()}
    assert converted == {file.name if verdict is None else f'{file.stem}.png'
                         for file, verdict, is_read in zip(files, trained, predicted) if is_read}


def test_a_tiff_of_32_bits_a_pixel_is_refused_and_not_read_as_black(tmp_path):
    path = str(tmp_path / 'depth.tif')
    Image.fromarray(np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)).save(path)
    with pytest.raises(InputError, match='unreadable TIFF .pixels of 32 bits'):
        image_files.read_as_png(path, turn=True)
