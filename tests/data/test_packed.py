"""The packed dataset: what it holds, that training reads the same from it, what is refused, stopping and resuming."""
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, image_set, make_dataset, reading

import eval as score
import train
from utils import data_loader, records
from utils.base.errors import InputError
from utils.base.files import sha256
from utils.base.preprocessing import Preprocessing
from utils.data import ava, decoding, pack, packed
from utils.data.bad_images import BadImages

SIZE = 32
SIDE = {'training': 37, 'scoring': 32}  # round(32 * 256 / 224)
PLAIN = Preprocessing(SIZE)
READING = reading(SIZE)


def read(dataset):
    return ava.read(str(dataset.labels), str(dataset.images))


def make(ratings, folder, use='training', preprocessing=PLAIN, form='raw', **more):
    return pack.pack(ratings, str(folder), preprocessing, use=use, form=form, **{'shard_images': 5, **more})


def opened(folder, ratings, use='training', preprocessing=PLAIN):
    return packed.open_fitting(str(folder), ratings, preprocessing, use=use, flag='--records')


def take(generator, count):
    with contextlib.closing(generator):
        return list(itertools.islice(generator, count))


@pytest.fixture(scope='module')
def packs(tmp_path_factory):
    """Twelve images, the sixth unreadable, packed for training and for scoring, three shards each."""
    folder = tmp_path_factory.mktemp('packs')
    dataset = make_dataset(folder / 'data', 12)
    (dataset.images / '1005.jpg').write_bytes(b'no image')
    ratings = read(dataset)
    for use in SIDE:
        make(ratings, folder / use, use, max_bad_images=0.1)
    return ratings, folder


@pytest.mark.parametrize('use', SIDE)
def test_any_reader_of_tfrecords_finds_id_scores_and_pixels(packs, use):
    import tensorflow as tf
    ratings, folder = packs
    shards = sorted(path.name for path in (folder / use).iterdir())
    assert shards == ['manifest.json', *(f'shard-0000{number}.tfrecord' for number in range(3))]
    examples = [tf.train.Example.FromString(record).features.feature for name in shards[1:]
                for record in pack._read_records(str(folder / use / name))]
    readable = np.arange(12) != 5
    assert [example['id'].bytes_list.value[0].decode() for example in examples] == list(ratings.ids[readable])
    np.testing.assert_array_equal([example['scores'].float_list.value for example in examples],
                                  ratings.distributions[readable].astype(np.float32))
    side = SIDE[use]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path = tf.compat.v1.placeholder(tf.string, ())
        image = decoding.read_image(path, side)
        for name, example in zip(ratings.paths[readable], examples):
            pixels = np.frombuffer(example['image'].bytes_list.value[0], np.uint8).reshape(side, side, 3)
            np.testing.assert_array_equal(pixels, np.round(session.run(image, {path: name})))


def test_the_manifest_says_what_is_packed(packs):
    ratings, folder = packs
    manifest = json.loads((folder / 'training' / 'manifest.json').read_text())
    assert {name: manifest[name] for name in ('use', 'image_size', 'side', 'resize', 'form', 'photographs')} == {
        'use': 'training', 'image_size': 32, 'side': 37, 'resize': 'bilinear', 'form': 'raw', 'photographs': 12}
    assert list(manifest['bad']) == ['5'] and 'unknown format' in manifest['bad']['5']
    assert [len(shard['offsets']) for shard in manifest['shards']] == [5, 5, 2]
    for shard in manifest['shards']:
        path = folder / 'training' / shard['file']
        assert path.stat().st_size == shard['bytes'] and sha256(str(path)) == shard['sha256']
    assert records.main(['verify', str(folder / 'training')]) == manifest


def lenient(what='training'):
    return BadImages(12, share=0.1, report=[].append, what=what)


def test_training_reads_the_same_positions_crops_and_flips(packs):
    ratings, folder = packs
    settings = {'reading': READING, 'seed': 4}
    packed = opened(folder / 'training', ratings)
    for start in ({}, {'first_epoch': 1, 'first_image': 4}):
        plain = take(data_loader.train_generator(4, images=image_set(ratings, lenient()), **settings, **start), 7)
        images = image_set(ratings, lenient(), packed)
        ours = take(data_loader.train_generator(4, images=images, **settings, **start), 7)
        for (images, distributions), (found, same) in zip(plain, ours):
            np.testing.assert_array_equal(distributions, same)
            assert found.dtype == np.float32 and found.shape == images.shape
            np.testing.assert_allclose(found, images, rtol=0, atol=0.5 / 127.5 + 1e-6)
            np.testing.assert_array_equal(found, (np.round(images * 127.5 + 127.5) - np.float32(127.5)) /
                                          np.float32(127.5))


def test_scoring_reads_the_same_images(packs):
    ratings, folder = packs
    packed = opened(folder / 'scoring', ratings, 'scoring')
    for batchsize in (1, 5, 12):
        plain = list(data_loader.val_batches(image_set(ratings, lenient()), batchsize, READING))
        ours = list(data_loader.val_batches(image_set(ratings, lenient(), packed), batchsize, READING))
        assert len(plain) == len(ours) == -(-12 // batchsize)
        for (images, distributions), (found, same) in zip(plain, ours):
            np.testing.assert_array_equal(distributions, same)
            np.testing.assert_allclose(found, images, rtol=0, atol=0.5 / 127.5 + 1e-6)


def test_the_smaller_form(dataset, tmp_path, form='jpeg', largest=60):
    ratings = read(dataset)
    manifest = make(ratings, tmp_path / form, form=form)
    raw = make(ratings, tmp_path / 'raw')
    assert sum(shard['bytes'] for shard in manifest['shards']) < sum(shard['bytes'] for shard in raw['shards'])
    pixels, raw_pixels = (np.stack([opened(tmp_path / name, ratings).pixels(row) for row in range(12)]).astype(int)
                          for name in (form, 'raw'))
    assert np.abs(pixels - raw_pixels).max() <= largest - 0.5
    batch, = take(data_loader.train_generator(12, images=image_set(ratings, packed=opened(tmp_path / form, ratings)),
                                              reading=READING), 1)
    assert batch[0].shape == (12, SIZE, SIZE, 3)


@pytest.mark.parametrize('change, text', [
    ({'use': 'scoring'}, 'use training, this run needs scoring'),
    ({'preprocessing': Preprocessing(64)}, 'image_size 32, this run needs 64'),
    ({'preprocessing': Preprocessing(SIZE, 'nearest')}, 'resize bilinear, this run needs nearest')])
def test_a_packed_dataset_that_does_not_fit_is_refused(packs, change, text):
    ratings, folder = packs
    with pytest.raises(InputError, match=rf'--records: .*training was packed with {text}\. Type the folder, labels'):
        opened(folder / 'training', ratings, **change)


def test_changed_labels_are_refused(packs):
    ratings, folder = packs
    with pytest.raises(InputError, match='with the number of images 12, this run needs 11'):
        opened(folder / 'training', ratings.take(slice(1, None)))
    distributions = ratings.distributions.copy()
    distributions[3] = distributions[3][::-1]
    for other in (ratings._replace(distributions=distributions), ratings.take(slice(None, None, -1))):
        with pytest.raises(InputError, match="with the labels' SHA-256 [0-9a-f]{64}, this run needs [0-9a-f]{64}"):
            opened(folder / 'training', other)


@pytest.fixture
def copied(packs, tmp_path):
    ratings, folder = packs
    shutil.copytree(str(folder / 'training'), str(tmp_path / 'copy'))
    return ratings, tmp_path / 'copy'


def test_missing_cut_and_damaged_shards_are_named(copied):
    ratings, folder = copied
    shard = folder / 'shard-00001.tfrecord'
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-1])
    with pytest.raises(InputError, match=rf'shard-00001\.tfrecord is damaged: it has {len(intact) - 1} bytes, manifest'
                                         rf'\.json says {len(intact)}\. Copy the packed dataset again, or pack the'):
        opened(folder, ratings)
    shard.unlink()
    with pytest.raises(InputError, match=r'shard-00001\.tfrecord is damaged: it is missing\. Copy'):
        opened(folder, ratings)
    shard.write_bytes(intact[:2000] + bytes([intact[2000] ^ 1]) + intact[2001:])
    with pytest.raises(InputError, match=r'shard-00001\.tfrecord is damaged: the CRC-32 of the image at byte \d+ d'):
        take(data_loader.train_generator(12, images=image_set(ratings, lenient(), opened(folder, ratings)),
                                         reading=READING), 2)
    with pytest.raises(InputError, match=r'shard-00001\.tfrecord is damaged: its SHA-256 is [0-9a-f]+, manifest'):
        records.main(['verify', str(folder)])


@pytest.mark.parametrize('content', [None, b'', b'{', b'[]', b'{"format": "other"}', b'\xff'])
def test_a_folder_without_a_usable_manifest(copied, content):
    ratings, folder = copied
    manifest = folder / 'manifest.json'
    manifest.unlink()
    if content is not None:
        manifest.write_bytes(content)
    text = r'copy has no manifest\.json: it is no finished' if content is None else r'manifest\.json is damaged: '
    with pytest.raises(InputError, match=text):
        opened(folder, ratings)


def edit(folder, **changes):
    manifest = json.loads((folder / 'manifest.json').read_text())
    manifest.update(changes)
    (folder / 'manifest.json').write_text(json.dumps({name: value for name, value in manifest.items()
                                                      if value is not None}))


def test_the_manifest_may_grow(copied):
    ratings, folder = copied
    edit(folder, resize=None, orientation=None, later={'a': 1})  # an absent field has its default
    assert opened(folder, ratings).manifest['later'] == {'a': 1}
    assert make(ratings, folder, max_bad_images=0.1)['resize'] == 'bilinear'
    with pytest.raises(InputError, match='packed with resize bilinear, this run needs nearest'):
        opened(folder, ratings, preprocessing=Preprocessing(SIZE, 'nearest'))


def test_png_is_refused_with_the_command_that_packs_anew(copied):
    ratings, folder = copied
    edit(folder, form='png')
    for use_it in (lambda: opened(folder, ratings), lambda: records.main(['verify', str(folder)])):
        with pytest.raises(InputError, match=r"copy stores images as 'png', which is no longer supported: pack the "
                                             r'images into another folder with bash .*run\.sh -m utils\.records pack '
                                             r'--use USE -o DIR$'):
            use_it()


def test_too_many_unreadable_images(packs, tmp_path):
    ratings, folder = packs
    with pytest.raises(InputError, match='1 of 12 packed images are unreadable'):
        make(ratings, tmp_path / 'pack')
    with pytest.raises(InputError, match='1 of 12 training images are unreadable'):
        take(data_loader.train_generator(4, images=image_set(
            ratings, packed=opened(folder / 'training', ratings), what='training'), reading=READING), 1)


def test_packing_is_resumed_after_the_last_finished_shard(dataset, tmp_path, monkeypatch):
    ratings, folder = read(dataset), tmp_path / 'pack'
    write_records, written = pack._write_records, []

    def stop_at_the_second(path, part, pipeline):
        if written:
            with open(path, 'wb') as stream:
                stream.write(b'a half')
            with pytest.raises(InputError, match=f'^{folder} is in use: process {os.getpid()} writes there'):
                make(ratings, folder)  # a second pack into the same folder
            raise KeyboardInterrupt
        written.append(path)
        return write_records(path, part, pipeline)

    monkeypatch.setattr(pack, '_write_records', stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        make(ratings, folder)
    assert sorted(os.listdir(str(folder))) == ['shard-00000.tfrecord', 'shard-00000.tfrecord.json']
    with pytest.raises(InputError, match='has no manifest.json: it is no finished packed dataset'):
        opened(folder, ratings)
    monkeypatch.setattr(pack, '_write_records', write_records)
    with pytest.raises(InputError, match=r'pack holds a packed dataset with other settings \(form, jpeg_quality\)'):
        make(ratings, folder, form='jpeg')
    before = (folder / 'shard-00000.tfrecord').stat().st_mtime_ns
    manifest = make(ratings, folder)
    assert (folder / 'shard-00000.tfrecord').stat().st_mtime_ns == before
    assert manifest == make(ratings, folder) == make(ratings, tmp_path / 'at once')
    names = ['manifest.json', *(f'shard-0000{number}.tfrecord' for number in range(3))]
    assert sorted(os.listdir(str(folder))) == names
    with pytest.raises(InputError, match=r'other settings \(image_size, side\)'):
        make(ratings, folder, preprocessing=Preprocessing(64))


def test_a_disk_that_keeps_other_bytes_is_noticed(dataset, tmp_path, monkeypatch):
    write_records = pack._write_records

    def damage(path, part, pipeline):
        result = write_records(path, part, pipeline)
        with open(path, 'r+b') as stream:
            stream.seek(1000)
            stream.write(b'\0\1\2')
        return result

    monkeypatch.setattr(pack, '_write_records', damage)
    with pytest.raises(InputError, match='the disk returns other bytes than were written'):
        make(read(dataset), tmp_path / 'pack')
    assert not (tmp_path / 'pack').exists()


def test_killed_at_any_moment_no_half_shard_has_its_final_name(dataset, tmp_path):
    folder = tmp_path / 'pack'
    code = ('import sys; sys.path.insert(0, sys.argv[1]); from utils.data import ava, pack\n'
            'from utils.base.preprocessing import Preprocessing\n'
            'for _ in range(50): pack.pack(ava.read(*sys.argv[2:4]), sys.argv[4] + "/" + str(_), Preprocessing(32), '
            'use="training", form="raw", shard_images=1)')
    process = subprocess.Popen([sys.executable, '-c', code, str(ROOT), str(dataset.labels), str(dataset.images),
                                str(folder)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(folder.glob('*/shard-00003.tfrecord')) and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = sorted(folder.glob('*/*.tfrecord'))
    assert len(finished) >= 4
    for path in finished:
        assert len(list(pack._read_records(str(path)))) == 1
    last = str(finished[-1].parent)
    assert make(read(dataset), last, shard_images=1)['photographs'] == 12
    assert packed.verify(last)


@pytest.mark.usefixtures('small_base')
def test_the_commands_and_their_flags(tmp_path, capsys):
    dataset = make_dataset(tmp_path / 'data', 14)
    (dataset.images / '1013.jpg').write_bytes(b'')
    (dataset.images / '1001.jpg').write_bytes(b'')
    common = [*dataset.flags, '--val_size', '4', '--max_bad_images', '0.3']
    for use in SIDE:
        records.main(['pack', '--use', use, '-o', str(tmp_path / use), '--image_size', '32', *common])
    assert '10 images for training, 37x37 as raw, 1 of them unreadable, 1 shards, ' in capsys.readouterr().out
    running = [*common, '--batchsize', '4', '--device', 'cpu', '--TMP_MODEL_PATF', str(tmp_path)]
    training = [*running, '--image_size', '32', '--weights', 'none', '--epochs', '1', '--TMP_LOG_PATH', str(tmp_path)]
    packs = ['--records', str(tmp_path / 'training'), '--val_records', str(tmp_path / 'scoring')]
    history = train.main([*training, *packs])
    assert 'unreadable images: 1 training, 1 validation' in capsys.readouterr().out
    scoring = [*running, '--checkpoint', 'model_001.h5']
    metrics = score.main([*scoring, '--records', str(tmp_path / 'scoring')])
    assert 'model_001.h5: 3 images, 1 left out' in capsys.readouterr().out
    assert metrics['emd_r2'] == pytest.approx(history.history['val_loss'][0], abs=1e-6)
    assert score.main(scoring)['emd_r2'] == pytest.approx(metrics['emd_r2'], abs=1e-3)
    for run, argv in ((train.main, [*training, '--overwrite', '--records', str(tmp_path / 'scoring')]),
                      (score.main, [*scoring, '--records', str(tmp_path / 'training')])):
        with pytest.raises(InputError, match='--records: .* was packed with use '):
            run(argv)
    assert records._flags(['verify', 'here']).folder == os.path.abspath('here')
