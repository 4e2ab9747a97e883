"""Kinds of images beside JPEG and PNG: in training by conversion or packing, in predict.py as they are."""
import contextlib
import io
import os
import struct
import sys

import numpy as np
import pytest
from conftest import Dataset, display_p3, image_set
from PIL import Image, ImageCms, features

from utils import check_dataset, data_loader
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava, image_files, image_headers, image_kinds, pack, packed
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet, Reading

SIZE = 32
HOW = Preprocessing(SIZE, orientation='apply')
pytestmark = pytest.mark.skipif(not features.check('webp'), reason='this Pillow was built without WebP')


@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
    """An image of each kind with a label, and the same pixels as PNG in same/."""
    dataset = Dataset(tmp_path_factory.mktemp('mixed'))
    dataset.labels = dataset.folder / 'labels.csv'
    dataset.images.mkdir(parents=True)
    (dataset.folder / 'same').mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    random, lines = np.random.RandomState(0), ['image,mean,std']
    for number, (name, mode, more) in enumerate([
            ('a.bmp', 'RGB', {}), ('b.bmp', 'RGBA', {}), ('c.bmp', 'P', {}), ('d.webp', 'RGB', {'lossless': True}),
            ('e.webp', 'RGB', {'lossless': True, 'exif': exif}), ('f.gif', 'P', {}), ('g.gif', 'P', {'save_all': True}),
            ('h.tif', 'RGB', {}), ('i.tiff', 'L', {}), ('j.png', 'RGB', {})]):
        pixels = random.randint(0, 256, (40, 48, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        same = image.convert('RGB').transpose(Image.ROTATE_270) if name == 'e.webp' else image.convert('RGB')
        if 'save_all' in more:
            more = {**more, 'append_images': [Image.fromarray(pixels[::-1]).convert('P')]}
        image.save(str(dataset.images / name), **more)
        same.save(str(dataset.folder / 'same' / (name[0] + '.png')))
        lines.append(f'{name},{number % 8 + 2},1')
    dataset.labels.write_text('\n'.join(lines) + '\n')
    return dataset


def batch(images, how=HOW):
    with contextlib.closing(data_loader.val_batches(images, 16, Reading(how))) as found:
        return np.concatenate([each for each, _ in found])


@pytest.fixture(scope='module')
def expected(mixed):
    labels = ava.read_labels(str(mixed.labels))
    paths = np.array([str(mixed.folder / 'same' / (name[0] + '.png')) for name in labels.ids], object)
    return batch(image_set(ava.Ratings(labels.ids, paths, labels.distributions)))


def test_training_names_what_it_does_not_read_and_the_cure(mixed, expected, capsys):
    ratings = ava.read(str(mixed.labels), str(mixed.images))
    assert ratings.count == 10
    images = ImageSet(ratings, BadImages(10, share=0.9, what='validation'))
    found = batch(images)
    unread = {os.path.basename(path): reason for _, path, reason in images.bad.known()}
    assert sorted(unread) == ['c.bmp', 'd.webp', 'e.webp', 'g.gif', 'h.tif', 'i.tiff']
    assert all('--convert DIR' in reason for reason in unread.values())
    assert unread['d.webp'].startswith('WebP content that TensorFlow does not read: convert')
    np.testing.assert_array_equal(found, expected[~images.bad.mask])


def test_check_dataset_converts_them_once(mixed, expected, tmp_path, capsys):
    done = tmp_path / 'done'
    flags = [*mixed.flags, '--val_size', '1', '--list', str(tmp_path / 'list.tsv'), '--convert', str(done)]
    before = sorted(os.listdir(str(mixed.images)))
    check_dataset.main(flags)
    assert f'{done}: 4 images as they are, 6 converted to PNG\n' in capsys.readouterr().out
    assert sorted(os.listdir(str(done))) == ['a.bmp', 'b.bmp', 'c.png', 'd.png', 'e.png', 'f.gif', 'g.png', 'h.png',
                                             'i.png', 'j.png']
    assert sorted(os.listdir(str(mixed.images))) == before
    np.testing.assert_array_equal(batch(image_set(ava.read(str(mixed.labels), str(done)))), expected)
    with pytest.raises(InputError, match='exists already'):
        check_dataset.main(flags)


def test_conversion_keeps_sub_folders_and_names_that_labels_have(mixed, tmp_path):
    images, done, table = tmp_path / 'images', tmp_path / 'done', tmp_path / 'labels.csv'
    (images / 's').mkdir(parents=True)
    for source, name in (('d.webp', 's/d.jpg'), ('h.tif', 'h.PNG'), ('j.png', 's/j.png'), ('e.webp', 's/e.webp')):
        (images / name).write_bytes((mixed.images / source).read_bytes())
    table.write_text('image,mean,std\ns/d.jpg,5,1\nh.PNG,6,1\ns/j.png,7,1\ns/e.webp,8,1\n')
    check_dataset.main(['--ava_dataset_path', str(table), '--base_images_path', str(images), '--list',
                        str(tmp_path / 'list.tsv'), '--convert', str(done)])
    ratings = ava.read(str(table), str(done))
    assert [path[len(str(done)) + 1:] for path in ratings.paths] == ['s/d.jpg', 'h.PNG', 's/j.png', 's/e.png']
    same = ava.Ratings(ratings.ids, np.array([str(mixed.folder / 'same' / f'{name}.png') for name in 'dhje'], object),
                       ratings.distributions)
    np.testing.assert_array_equal(batch(image_set(ratings)), batch(image_set(same)))


def test_conversion_names_what_nobody_reads_once(mixed, tmp_path, capsys, recwarn):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'a.png').write_bytes((mixed.images / 'j.png').read_bytes())
    (tmp_path / 'images' / 'h.tif').write_bytes((mixed.images / 'h.tif').read_bytes()[:60])
    (tmp_path / 'labels.csv').write_text('image,mean,std\na.png,5,1\nh.tif,6,1\n')
    check_dataset.main(['--ava_dataset_path', str(tmp_path / 'labels.csv'), '--base_images_path',
                        str(tmp_path / 'images'), '--list', str(tmp_path / 'list.tsv'), '--convert',
                        str(tmp_path / 'done')])
    assert capsys.readouterr().out.splitlines()[-1].startswith(
        'not converted, as they are unreadable: 1, first h.tif: unreadable TIFF (')
    assert not [each for each in recwarn if 'PIL' in each.filename]


def test_two_images_that_would_become_one(mixed, tmp_path):
    (tmp_path / 'images').mkdir()
    for name in ('h.tif', 'd.webp'):
        (tmp_path / 'images' / f'x{name[1:]}').write_bytes((mixed.images / name).read_bytes())
    (tmp_path / 'two.csv').write_text('image,mean,std\nx.tif,5,1\nx.webp,6,1\n')
    with pytest.raises(InputError, match='x.tif and x.webp would both become x.png'):
        check_dataset.main(['--ava_dataset_path', str(tmp_path / 'two.csv'), '--base_images_path',
                            str(tmp_path / 'images'), '--list', str(tmp_path / 'list.tsv'), '--convert',
                            str(tmp_path / 'done')])
    assert not (tmp_path / 'done').exists()


@pytest.mark.parametrize('form', ['raw', 'jpeg'])
def test_packing_reads_them(mixed, expected, tmp_path, form):
    ratings = ava.read(str(mixed.labels), str(mixed.images))
    manifest = pack.pack(ratings, str(tmp_path), HOW, use='scoring', form=form, shard_images=4)
    assert manifest['bad'] == {}
    opened = packed.open_fitting(str(tmp_path), ratings, HOW, use='scoring', flag='--records')
    found = batch(image_set(ratings, packed=opened))
    most = 0.5 if form == 'raw' else 60
    np.testing.assert_allclose(found, expected, rtol=0, atol=most / 127.5 + 1e-6)


def test_packing_counts_what_nobody_reads(mixed, tmp_path):
    (tmp_path / 'images').mkdir()
    for name in ('a.bmp', 'd.webp'):
        (tmp_path / 'images' / name).write_bytes((mixed.images / name).read_bytes())
    (tmp_path / 'images' / 'h.tif').write_bytes((mixed.images / 'h.tif').read_bytes()[:60])
    (tmp_path / 'three.csv').write_text('image,mean,std\nh.tif,5,1\nd.webp,6,1\na.bmp,7,1\n')
    ratings = ava.read(str(tmp_path / 'three.csv'), str(tmp_path / 'images'))
    manifest = pack.pack(ratings, str(tmp_path / 'packed'), HOW, use='scoring', form='raw', max_bad_images=0.5)
    assert list(manifest['bad']) == ['0'] and 'unreadable TIFF' in manifest['bad']['0']


def test_labelled_files_with_another_ending_are_named(tmp_path):
    (tmp_path / 'photo.cr2').write_bytes(b'raw')
    (tmp_path / 'labels.csv').write_text('image,mean,std\nphoto.cr2,6,1\nother.cr2,6,1\n')
    with pytest.raises(InputError) as error:
        ava.read(str(tmp_path / 'labels.csv'), str(tmp_path))
    assert str(error.value) == (
        f'{tmp_path}: 1 of the 2 labelled images are there, with the ending .cr2, which is not read. Convert them to '
        'JPEG or PNG, and correct their names in the labels')


def test_one_with_another_ending_beside_others_is_named(mixed, tmp_path):
    images, table, done = tmp_path / 'images', tmp_path / 'labels.csv', tmp_path / 'done'
    images.mkdir()
    for name in ('a.JFIF', 'b.png', 'x.cr2'):
        (images / name).write_bytes((mixed.images / 'j.png').read_bytes())
    table.write_text('image,mean,std\na.JFIF,5,1\nb.png,6,1\nx.cr2,6,1\nno.jpg,6,1\n')
    lines = []
    assert ava.read(str(table), str(images), report=lines.append).ids.tolist() == ['a.JFIF', 'b.png']
    assert lines[-2:] == [f'{table}: 1 of 4 labels left out, which have no image in {images}, first no.jpg',
                          f'{table}: 1 of the 4 labelled images are there, with the ending .cr2, which is not read. '
                          'Convert them to JPEG or PNG, and correct their names in the labels']
    check_dataset.main(['--ava_dataset_path', str(table), '--base_images_path', str(images), '--val_size', '1',
                        '--list', str(tmp_path / 'list.tsv'), '--convert', str(done)])
    assert sorted(os.listdir(str(done))) == ['a.JFIF', 'b.png']
    assert 'x.cr2\tfound the ending .cr2, which is not read: convert it' in (tmp_path / 'list.tsv').read_text()


def test_heic_and_avif_are_read_by_their_content(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip('pillow_heif', reason='pillow-heif is in requirements-photos.txt')
    pillow_heif.register_heif_opener()
    pillow_heif.register_avif_opener()
    rows, columns = np.mgrid[:40, :64]
    pixels = np.stack([rows * 5, columns * 3, 255 - rows * 4], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(str(tmp_path / 'same.png'))
    for kind, codec in (('HEIC', 'HEIF'), ('AVIF', 'AVIF')):
        Image.fromarray(pixels).save(str(tmp_path / f'{kind}.jpg'), codec, quality=95)
        assert image_kinds.kind_of_file(str(tmp_path / f'{kind}.jpg')) == kind
    with contextlib.closing(image_files.ImageReader(HOW)) as reader:
        same = reader.read(str(tmp_path / 'same.png'))
        for kind in ('HEIC', 'AVIF'):
            assert np.abs(reader.read(str(tmp_path / f'{kind}.jpg')) - same).mean() < 0.03
        monkeypatch.setitem(sys.modules, 'pillow_heif', None)
        with pytest.raises(InputError, match=r'HEIC.jpg: unreadable HEIC .* and pillow-heif, which reads this kind, is '
                                             r'not installed: .* -m pip install -r .*requirements-photos\.txt'):
            reader.read(str(tmp_path / 'HEIC.jpg'))


def test_display_p3_becomes_srgb():
    pixels = np.array([[[200, 60, 60], [60, 180, 70], [70, 70, 190], [128, 128, 128]]], np.uint8)
    to_srgb = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
    linear = ((pixels / 255) ** 2.2 @ to_srgb.T).clip(0, 1)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    image = Image.fromarray(pixels)
    image.info['icc_profile'] = display_p3()
    found = np.asarray(image_files.in_srgb(image)).astype(int)
    assert np.abs(found - expected).max() < 4 and np.abs(found - pixels.astype(int)).max() > 10
    for other in (b'', b'damaged', ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()):
        image.info['icc_profile'] = other
        np.testing.assert_array_equal(np.asarray(image_files.in_srgb(image)), pixels)


def test_a_grey_tiff_of_16_bits_is_scaled(tmp_path):
    grey = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    Image.fromarray(grey).save(str(tmp_path / 'a.tif'))
    Image.fromarray((grey // 256).astype(np.uint8)).save(str(tmp_path / 'a.png'))
    with contextlib.closing(image_files.ImageReader(HOW)) as reader:
        np.testing.assert_array_equal(reader.read(str(tmp_path / 'a.tif')), reader.read(str(tmp_path / 'a.png')))


def test_a_bmp_of_os2_is_read_by_pillow(mixed, tmp_path):
    path, of_today = tmp_path / 'a.bmp', (mixed.images / 'a.bmp').read_bytes()
    path.write_bytes(b'BM' + struct.pack('<IHHIIHHHH', len(of_today) - 28, 0, 0, 26, 12, 48, 40, 1, 24) + of_today[54:])
    facts = image_headers.read(str(path))
    assert (facts.height, facts.width, facts.cause) == (40, 48, 'other BMP')
    with contextlib.closing(image_files.ImageReader(HOW)) as reader:
        np.testing.assert_array_equal(reader.read(str(path)), reader.read(str(mixed.folder / 'same' / 'a.png')))


@pytest.mark.parametrize('order, type_of_pixels, white_is', [
    (b'II', '<u2', 1), (b'II', '<u2', 0), (b'MM', '>u2', 1)])  # Pillow does not open the fourth
def test_a_grey_tiff_may_have_either_byte_order_and_white_as_0(tmp_path, order, type_of_pixels, white_is):
    grey = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    stored = (grey if white_is else 65535 - grey).astype(type_of_pixels)
    sign = type_of_pixels[0]
    tags = [(256, 40), (257, 40), (258, 16), (259, 1), (262, white_is), (273, 122), (277, 1), (278, 40), (279, 3200)]
    entries = b''.join(struct.pack(f'{sign}HHIHH', tag, 3, 1, value, 0) for tag, value in tags)
    (tmp_path / 'a.tif').write_bytes(order + struct.pack(f'{sign}HIH', 42, 8, len(tags)) + entries + bytes(4)
                                     + stored.tobytes())
    found = np.asarray(Image.open(io.BytesIO(image_files.read_as_png(str(tmp_path / 'a.tif'), turn=True))))
    np.testing.assert_array_equal(found, np.repeat((grey // 256)[..., np.newaxis], 3, axis=-1))
