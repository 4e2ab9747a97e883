"""Unreadable images, in training and in scoring; odd ones; thousands of mutated ones."""
import contextlib
import csv
import itertools
import re
import resource
import struct

import numpy as np
import pytest
from conftest import image_set, make_dataset, reading

import eval as score
import train
from utils import data_loader
from utils.base.errors import InputError
from utils.data import ava, epoch_plan
from utils.data.bad_images import BadImages
from utils.data.passes import Pass

SIZE = 32
COUNT = 12
UNREADABLE = (3, 4, 9)


def test_a_report_is_one_line_whatever_the_name(capsys):
    BadImages(9, share=0.5).add(0, 'a\n\x1b[31m\udcff.jpg', 'no image')
    assert capsys.readouterr().err == r'a\x0a\x1b[31m\xff.jpg: unreadable (no image), replaced by another image' '\n'


def read(dataset):
    return ava.read(str(dataset.labels), str(dataset.images))


def damage_some(ratings, unreadable=UNREADABLE):
    for index, content in zip(unreadable, itertools.cycle([b'no image', b'', b'\xff\xd8\xff\xd9'])):
        with open(ratings.paths[index], 'wb') as stream:
            stream.write(content)


def batches(ratings, count, batchsize=4, *, bad=None, max_pixels=10 ** 8, **start):
    images = image_set(ratings, bad, what='training')
    generator = data_loader.train_generator(batchsize, images=images, reading=reading(SIZE, max_pixels=max_pixels),
                                            seed=3, **start)
    with contextlib.closing(generator):
        return list(itertools.islice(generator, count))


def expected_order(epoch, unreadable=UNREADABLE, count=COUNT):
    """The plan's order, with the first readable draw of RandomState([seed, epoch, position]) for an unreadable one."""
    order = epoch_plan.epoch_plan(count, epoch, seed=3, image_size=SIZE).order
    for position, index in enumerate(order):
        random = np.random.RandomState([3, epoch, position])
        while index in unreadable:
            index = random.randint(count)
        order[position] = index
    return order


@pytest.fixture
def damaged(dataset):
    """Twelve images of which three are unreadable, and what three epochs read before they were damaged."""
    ratings = read(dataset)
    intact = {}
    for epoch in range(3):
        images = np.concatenate([images for images, _ in batches(ratings, 3, first_epoch=epoch)])
        intact[epoch] = dict(zip(epoch_plan.epoch_plan(COUNT, epoch, seed=3, image_size=SIZE).order, images))
    damage_some(ratings)
    return ratings, intact


def lenient(count=COUNT, reports=None, what='training'):
    return BadImages(count, share=0.5, report=(reports if reports is not None else []).append, what=what)


@pytest.mark.parametrize('batchsize', [1, 12])
def test_replacements_follow_from_seed_epoch_and_position_alone(damaged, batchsize):
    ratings, intact = damaged
    reports = []
    bad = lenient(reports=reports)
    found = batches(ratings, 3 * COUNT // batchsize, batchsize, bad=bad)
    assert all(len(images) == batchsize for images, _ in found)
    images, distributions = (np.concatenate(column) for column in zip(*found))
    for epoch in range(3):
        for position, index in enumerate(expected_order(epoch)):
            np.testing.assert_array_equal(images[epoch * COUNT + position], intact[epoch][index])
            np.testing.assert_array_equal(distributions[epoch * COUNT + position],
                                          ratings.distributions[index].astype(np.float32))
    assert list(np.flatnonzero(bad.mask)) == list(UNREADABLE) and bad.count == len(reports) == 3
    assert any(re.search(r'1003\.jpg: unreadable \(.*unknown format.*\), replaced by another image$',
                         line) for line in reports)


def test_replacements_are_the_same_from_any_position_on(damaged):
    ratings, _ = damaged
    every = batches(ratings, 9, bad=lenient())
    for first in (1, 4, 8):
        rest = batches(ratings, 9 - first, first_epoch=first // 3, first_image=4 * (first % 3), bad=lenient())
        for expected, found in zip(every[first:], rest):
            for left, right in zip(expected, found):
                np.testing.assert_array_equal(left, right)


def test_readable_images_keep_their_positions(damaged):
    ratings, intact = damaged
    images = np.concatenate([images for images, _ in batches(ratings, 3, bad=lenient())])
    for position, index in enumerate(epoch_plan.epoch_plan(COUNT, 0, seed=3, image_size=SIZE).order):
        if index not in UNREADABLE:
            np.testing.assert_array_equal(images[position], intact[0][index])


def test_draws_continue_until_one_is_readable():
    order = np.arange(10)
    unreadable = np.arange(10) != 7
    bad = BadImages(10, share=0.95, report=[].append)
    for index in np.flatnonzero(unreadable):
        bad.add(int(index), 'x', 'why')
    assert list(Pass({}, order, order, bad).chosen()) == [7] * 10


def test_scoring_leaves_them_out_and_counts_them(damaged):
    ratings, _ = damaged
    for batchsize in (1, 5, 12):
        bad = lenient(what='validation')
        with contextlib.closing(data_loader.val_generator(batchsize, images=image_set(ratings, bad),
                                                          reading=reading(SIZE))) as generator:
            passes = list(itertools.islice(generator, 2 * -(-COUNT // batchsize)))
        found = np.concatenate([distributions for _, distributions in passes])
        kept = ratings.take(~bad.mask)
        assert kept.count == COUNT - 3
        np.testing.assert_array_equal(found, np.tile(kept.distributions.astype(np.float32), (2, 1)))
        assert [len(images) for images, _ in passes] == [len(distributions) for _, distributions in passes]


def test_too_many_stop_the_run_with_their_list(damaged):
    ratings, _ = damaged
    with pytest.raises(InputError) as caught:
        batches(ratings, 9, bad=BadImages(COUNT, share=2 / 12, report=[].append))
    text = str(caught.value)
    assert '3 of 12 training images are unreadable, more than --max_bad_images 0.166667 allows' in text
    assert all(f'{1000 + index}.jpg' in text for index in UNREADABLE)
    with pytest.raises(InputError, match='1 of 12 validation images are unreadable'):
        list(data_loader.val_batches(image_set(ratings), 4, reading(SIZE)))


def test_a_long_list_is_cut():
    bad = BadImages(100, share=0.2, report=[].append)
    with pytest.raises(InputError, match=r'21 of 100 .*also 1\.jpg .*, 9\.jpg \(why\) and 11 more\.'):
        for index in range(21):
            bad.add(index, f'{index}.jpg', 'why')


def test_a_file_that_vanishes_during_the_run_is_replaced(dataset):
    ratings = read(dataset)
    bad = lenient()
    images = image_set(ratings, bad)
    with contextlib.closing(data_loader.train_generator(4, images=images, reading=reading(SIZE), seed=3)) as generator:
        next(generator)
        (dataset.images / '1003.jpg').unlink()
        assert all(len(images) == 4 for images, _ in itertools.islice(generator, 30))
    assert list(np.flatnonzero(bad.mask)) == [3]


def test_the_limit_of_the_header_is_a_setting(dataset):
    ratings = read(dataset)
    bad = lenient(what='validation')
    list(data_loader.val_batches(image_set(ratings, bad), 4, reading(SIZE, max_pixels=48 * 50)))
    wide = [index for index in range(COUNT) if index % 5 > 2]  # image i is 48 by 48 + i % 5
    assert list(np.flatnonzero(bad.mask)) == wide
    verdicts = list(data_loader.verdicts(list(ratings.paths), max_pixels=48 * 50))
    assert [index for index, reason in enumerate(verdicts) if reason] == wide
    assert verdicts[3] == f'more than {48 * 50 / 10 ** 6:g} megapixels: {48 * 51}'


@pytest.mark.usefixtures('small_base')
def test_train_and_eval_continue_and_report_them(tmp_path, capsys):
    dataset = make_dataset(tmp_path / 'data', 14)
    for name in ('1002.jpg', '1013.jpg'):
        (dataset.images / name).write_bytes(b'')
    common = [*dataset.flags, '--val_size', '4', '--batchsize', '4', '--device', 'cpu', '--TMP_MODEL_PATF',
              str(tmp_path), '--max_bad_images', '0.3']
    history = train.main([*common, '--image_size', '32', '--weights', 'none', '--epochs', '2', '--TMP_LOG_PATH',
                          str(tmp_path / 'log')])
    out, err = capsys.readouterr()
    assert out.count('unreadable images: 1 training, 1 validation') == 2
    for name in ('1002.jpg', '1013.jpg'):
        assert err.count(f'{name}: unreadable (') == 1
    metrics = score.main([*common, '--checkpoint', 'model_002.h5'])
    out, err = capsys.readouterr()
    assert 'model_002.h5: 3 images, 1 left out' in out
    assert metrics['emd_r2'] == pytest.approx(history.history['val_loss'][-1], abs=1e-6)
    with pytest.raises(InputError, match='1 of 4 validation images are unreadable'):
        score.main([*common, '--checkpoint', 'model_002.h5', '--max_bad_images', '0'])
    with pytest.raises(InputError, match=r'more than 0\.001 megapixels: \d+'):
        score.main([*common, '--checkpoint', 'model_002.h5', '--max_megapixels', '0.001'])


def manifest(shared):
    with open(str(shared / 'bad_images' / 'MANIFEST.tsv'), newline='') as stream:
        rows = list(csv.DictReader(stream, delimiter='\t'))
    return {row['file']: row['TF1.15.0 decode_jpeg(channels=3)'].startswith('ok') for row in rows}


def test_every_odd_file_through_the_loader_mixed_with_good_ones(shared, tmp_path):
    readable = manifest(shared)
    dataset = make_dataset(tmp_path / 'data', 20)
    good = read(dataset)
    odd = sorted(readable)
    paths = np.array([*good.paths, *(str(shared / 'bad_images' / name) for name in odd)], dtype=object)
    distributions = np.tile(good.distributions[:1], (len(paths), 1))
    ratings = ava.Ratings(np.array(list(map(str, range(len(paths)))), dtype=object), paths, distributions)
    reports = []
    bad = BadImages(len(paths), share=0.5, report=reports.append)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = batches(ratings, 2 * (len(paths) // 10), 10, bad=bad)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1000 * 1024  # kilobytes
    assert all(len(images) == 10 and np.isfinite(images).all() for images, _ in found)
    expected = [name for name in odd if not readable[name]]
    assert [paths[index].split('/')[-1] for index in np.flatnonzero(bad.mask)] == expected
    assert len(reports) == len(expected) > 10
    verdicts = list(data_loader.verdicts([str(shared / 'bad_images' / name) for name in odd]))
    assert [name for name, reason in zip(odd, verdicts) if reason] == expected


def mutate(data, random):
    """A JPEG with bytes changed, cut out, doubled, put in or cut off, or another size in its header."""
    data = bytearray(data)
    for _ in range(random.randint(1, 5)):
        start = random.randint(len(data)) if random.randint(2) else random.randint(min(len(data), 700))
        kind = random.randint(6)
        if kind == 0:
            data[start] = random.randint(256)
        elif kind == 1:
            del data[start:start + random.randint(1, 100)]
        elif kind == 2:
            data[start:start] = data[start:start + random.randint(1, 100)]
        elif kind == 3:
            data[start:start] = bytes(random.randint(0, 256, random.randint(1, 20)).astype(np.uint8))
        elif kind == 4 and random.randint(3) == 0:
            del data[max(start, 1):]
        else:
            header = data.find(b'\xff\xc0') + 5
            data[header:header + 4] = struct.pack('>HH', *random.choice([0, 1, 7, 255, 4000, 65535], 2))
        if not data:
            data = bytearray(b'\xff')
    return bytes(data)


@pytest.mark.parametrize('count', [300, pytest.param(2400, marks=pytest.mark.slow)])
def test_mutated_files_do_no_harm(tmp_path, count):
    dataset = make_dataset(tmp_path / 'data', 20, side=40)
    good = read(dataset)
    random = np.random.RandomState(count)
    sources = []
    for path in good.paths:
        with open(path, 'rb') as stream:
            sources.append(stream.read())
    paths = [str(tmp_path / f'{number}.jpg') for number in range(count)]
    for path in paths:
        with open(path, 'wb') as stream:
            stream.write(mutate(sources[random.randint(len(sources))], random))
    verdicts = list(data_loader.verdicts(paths, max_pixels=10 ** 6))
    wrong = np.array([reason is not None for reason in verdicts])
    assert 0.2 * count < wrong.sum() < 0.9 * count
    names = np.array(paths, dtype=object)
    ratings = ava.Ratings(names, names, np.tile(good.distributions[:1], (count, 1)))
    bad = BadImages(count, share=0.95, report=[].append)
    found = batches(ratings, count // 50, 50, bad=bad, max_pixels=10 ** 6)
    assert all(len(images) == 50 and np.isfinite(images).all() and np.abs(images).max() <= 1 for images, _ in found)
    np.testing.assert_array_equal(bad.mask, wrong)
