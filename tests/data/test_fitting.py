"""What depends on the training images: their orientation and their size, in every way they are read."""
import contextlib
import csv
import itertools
import json

import numpy as np
import pytest
from conftest import Dataset, image_set, make_model
from PIL import Image

import eval as score
import predict
from utils import data_loader
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing, from_json
from utils.data import ava, fitting, image_files, pack, packed
from utils.data.fitting import Typed
from utils.data.image_set import Reading

SIZE = 32
LEVEL = 1.001 / 127.5  # of a pixel
HOW = Preprocessing(SIZE, orientation='apply', longest_side=64)


@pytest.fixture(scope='module')
def turned(tmp_path_factory):
    """One image in each EXIF orientation, as CSV labels; every second one large, and upright copies in upright/."""
    folder = tmp_path_factory.mktemp('turned')
    dataset = Dataset(folder)
    dataset.labels = folder / 'labels.csv'
    dataset.images.mkdir(parents=True)
    (folder / 'upright').mkdir()
    random, lines = np.random.RandomState(0), ['image,mean,std']
    for orientation in range(1, 9):
        height, width = (160, 96) if orientation % 2 else (40, 70)
        pixels = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(pixels)
        stored.save(str(dataset.images / f'{orientation}.png'), exif=exif)
        methods = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
                   6: Image.ROTATE_270, 7: Image.TRANSVERSE, 8: Image.ROTATE_90}
        upright = stored.transpose(methods[orientation]) if orientation > 1 else stored
        upright.save(str(folder / 'upright' / f'{orientation}.png'))
        lines.append(f'{orientation}.png,{orientation + 1},1')
    dataset.labels.write_text('\n'.join(lines) + '\n')
    return dataset


def images_of(dataset, folder=None):
    return image_set(ava.read(str(dataset.labels), str(folder or dataset.images)))


def take(generator, count):
    with contextlib.closing(generator):
        return [images for images, _ in itertools.islice(generator, count)]


def test_every_way_to_read_gives_the_upright_image(turned, tmp_path):
    stored, upright = images_of(turned), images_of(turned, turned.folder / 'upright')
    apply, ignore = (Reading(HOW._replace(orientation=each)) for each in ('apply', 'ignore'))
    expected, = take(data_loader.val_batches(upright, 8, ignore), 1)
    found, = take(data_loader.val_batches(stored, 8, apply), 1)
    np.testing.assert_array_equal(found[1::2], expected[1::2])
    np.testing.assert_allclose(found, expected, rtol=0, atol=LEVEL)  # large ones are turned after they are reduced
    assert np.abs(take(data_loader.val_batches(stored, 8, ignore), 1)[0] - expected).max(axis=(1, 2, 3))[1:].min() > 0.5
    # Cropped and flipped alike; packed; by name, as predict.py reads.
    for one, other in zip(take(data_loader.train_generator(4, images=stored, reading=apply), 4),
                          take(data_loader.train_generator(4, images=upright, reading=ignore), 4)):
        np.testing.assert_allclose(one, other, rtol=0, atol=LEVEL)
    folder = str(tmp_path / 'packed')
    pack.pack(stored.ratings, folder, HOW, use='scoring', form='raw')
    opened = packed.open_fitting(folder, stored.ratings, HOW, use='scoring', flag='--records')
    from_pack, = take(data_loader.val_batches(stored._replace(packed=opened), 8, apply), 1)
    np.testing.assert_allclose(from_pack, expected, rtol=0, atol=1.5 * LEVEL)
    with contextlib.closing(image_files.ImageReader(HOW)) as reader:
        np.testing.assert_array_equal([reader.read(path) for path in stored.ratings.paths], found)
    # A packed dataset fits one orientation and one size.
    for other in (HOW._replace(orientation='ignore'), HOW._replace(longest_side=80)):
        with pytest.raises(InputError, match='--records: .* was packed with (orientation apply|longest_side 64), this'):
            packed.open_fitting(folder, stored.ratings, other, use='scoring', flag='--records')


def test_other_labels_than_avas_are_upright_and_of_the_median_size(turned, dataset, capsys):
    train = images_of(turned).ratings
    how = fitting.fit(Preprocessing(SIZE), Typed(), train, str(turned.labels), report=print)
    assert (how.orientation, how.longest_side) == ('apply', 115)  # the median of 160 and 70
    assert fitting.fit(Preprocessing(224), Typed(), train, str(turned.labels), report=print).longest_side == 256
    typed = fitting.fit(Preprocessing(SIZE), Typed('ignore', 0), train, str(turned.labels), report=print)
    assert (typed.orientation, typed.longest_side) == ('ignore', 0)
    avas = fitting.fit(Preprocessing(SIZE), Typed(), ava.read(*dataset.flags[1::2]), str(dataset.labels), report=print)
    assert (avas.orientation, avas.longest_side) == ('ignore', 640)
    assert capsys.readouterr().out.splitlines() == [
        'images: EXIF orientation applied, longest side 115 (the median of the training images is 115)',
        'images: EXIF orientation applied, longest side 256 (the median of the training images is 115)',
        'images: EXIF orientation ignored, longest side any',
        "images: EXIF orientation ignored, longest side 640 (AVA's)"]


def test_training_follows_a_packed_dataset_an_old_one_too(turned, tmp_path):
    train, folder = images_of(turned).ratings, tmp_path / 'packed'
    pack.pack(train, str(folder), HOW, use='training', form='raw')

    def fitted():
        return fitting.fit(Preprocessing(SIZE), Typed(), train, str(turned.labels), packed_folder=str(folder),
                           report=print)

    assert fitted() == HOW
    manifest = json.loads((folder / 'manifest.json').read_text())
    old = {name: value for name, value in manifest.items() if name not in ('orientation', 'longest_side')}
    (folder / 'manifest.json').write_text(json.dumps(old))  # as before these fields
    assert fitted() == Preprocessing(SIZE)
    packed.open_fitting(str(folder), train, Preprocessing(SIZE, longest_side=0), use='training', flag='--records')


def test_a_run_is_resumed_with_its_own():
    assert Typed('apply', 64).require(HOW, 'model_001.h5') == Typed().require(HOW, 'model_001.h5') == HOW
    assert Typed('ignore', 0).require(Preprocessing(), 'model_001.h5') == Preprocessing()
    for typed, words in ((Typed('ignore'), '--exif_orientation was apply when this run began, now ignore'),
                         (Typed(None, 0), '--longest_side was 64 when this run began, now none')):
        with pytest.raises(InputError, match=words):
            typed.require(HOW, 'model_001.h5')


def test_the_metadata_say_both_and_old_ones_neither():
    assert from_json(HOW.as_json()) == HOW and from_json({}) == Preprocessing()
    assert 'longest_side' not in Preprocessing().as_json()
    assert from_json({'longest_side': 0}).longest_side == 0
    for wrong in ({'orientation': 'turn'}, {'longest_side': -1}, {'longest_side': '640'}, {'longest_side': None}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            from_json(wrong)


def test_eval_follows_the_checkpoint_and_predict_is_upright(turned, tmp_path, capsys):
    model, other = (make_model(tmp_path / f'model_00{number}.h5', metadata={'preprocessing': Preprocessing(
        SIZE, **how).as_json()}) for number, how in ((1, {}), (2, {'orientation': 'apply', 'longest_side': 64})))
    flags = [*turned.flags, '--val_size', '8', '--device', 'cpu']
    score.main([*flags, '--checkpoint', str(model)])
    assert 'EXIF orientation: 7 of 8 images are stored turned or mirrored, which is ignored' in capsys.readouterr().out
    score.main([*flags, '--checkpoint', str(other)])
    assert 'EXIF orientation: 7 of 8 images are stored turned or mirrored, which is applied' in capsys.readouterr().out

    def means(checkpoint, folder, *more):
        predict.main([str(folder), '--checkpoint', str(checkpoint), '--device', 'cpu', '--format', 'csv', *more])
        out, err = capsys.readouterr()
        return [float(row['mean_score_1_to_10']) for row in csv.DictReader(out.splitlines())], err

    upright = turned.folder / 'upright'
    for checkpoint in (model, other):
        found, err = means(checkpoint, turned.images)
        assert found == pytest.approx(means(checkpoint, upright)[0], abs=1e-3)  # turned before or after reducing
        assert ('trained on images as they are stored' in err) == (checkpoint == model)
        assert ('larger ones are brought to AVA\'s 640 pixels' in err) == (checkpoint == model)
    assert 'brought' not in means(model, upright, '--longest_side', 'none')[1]
    assert means(model, upright, '--longest_side', '64')[0] != means(model, upright)[0]


@pytest.mark.parametrize('name, content, done', [
    ('AVA.txt', '1 1 0 0 0 9 9 9 0 0 0 0 1 22 1396\n2 2 0 0 0 9 9 9 0 0 0 0\n', 'ignored'),
    ('AVA.txt', '1,1,0,0,0,29,29,29,0,0,0,0\n2,2,0,0,0,29,29,29,0,0,0,0\n', 'ignored'),
    ('l.txt', '1,1,0,0,0,9,9,9,0,0,0,0\n2,2,0,0,0,9,9,9,0,0,0,0\n', 'applied'),
    ('l.txt', 'image,mean\n1,6\n2,7\n', 'applied'), ('l.csv', 'image,mean\n1,6\n2,7\n', 'applied'),
    ('l.txt', 'image\trater\tscore\n1\ta\t6\n2\ta\t7\n', 'applied'),
    ('l.txt', '1 1 0 0 0 .5 0 .5 0 0 0 0 0 0 -1\n2 2 0 0 0 0 1 0 0 0 0 0 0 0 -1\n', 'applied')])
def test_only_lines_of_votes_under_numbers_are_avas(turned, tmp_path, name, content, done):
    (tmp_path / name).write_text(content)
    labels, lines = str(tmp_path / name), []
    fitting.fit(HOW, Typed(), ava.read(labels, str(turned.images)), labels, report=lines.append)
    assert lines[0].startswith(f'images: EXIF orientation {done}, ')
