"""The input pipeline against the plain formula, its order, its repeatability, its errors."""
import contextlib
import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf
from conftest import image_set, reading

from utils import data_loader
from utils.base.errors import InputError
from utils.data import ava, decoding, epoch_plan

SIZE = 32


def read(dataset):
    return ava.read(str(dataset.labels), str(dataset.images))


def take(generator, count):
    with contextlib.closing(generator):
        return list(itertools.islice(generator, count))


def train_generator(ratings, batchsize, **more):
    images = image_set(ratings, what='training')
    return data_loader.train_generator(batchsize, images=images, reading=reading(SIZE), **more)


def test_training_batches_equal_the_plain_formula_bit_for_bit(dataset):
    ratings = read(dataset)
    batches = take(train_generator(ratings, 5, seed=3), 4)
    side = epoch_plan.resize_before_crop(SIZE)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path = tf.compat.v1.placeholder(tf.string, ())
        resized = tf.compat.v1.image.resize_images(
            tf.image.decode_jpeg(tf.io.read_file(path), channels=3), [side, side])
        for number, (images, distributions) in enumerate(batches):
            plan = epoch_plan.epoch_plan(12, number // 2, seed=3, image_size=SIZE)
            for row in range(5):
                position = number % 2 * 5 + row
                index, top, left = plan.order[position], plan.top[position], plan.left[position]
                crop = session.run(resized, {path: ratings.paths[index]})[top:top + SIZE, left:left + SIZE]
                expected = (crop[:, ::-1] if plan.flip[position] else crop)
                np.testing.assert_array_equal(images[row], (expected - np.float32(127.5)) / np.float32(127.5))
                np.testing.assert_array_equal(distributions[row], ratings.distributions[index].astype(np.float32))


def test_validation_reads_every_image_once_in_order(dataset):
    ratings = read(dataset)
    batches = take(data_loader.val_batches(image_set(ratings), 5, reading(SIZE)), 9)
    assert [len(images) for images, _ in batches] == [5, 5, 12 - 2 * 5]
    assert batches[0][0].dtype == batches[0][1].dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([distributions for _, distributions in batches]),
                                  ratings.distributions.astype(np.float32))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = session.run(decoding.read_image(ratings.paths[11], SIZE)) / 127.5 - 1
    np.testing.assert_allclose(batches[2][0][1], expected, rtol=0, atol=1e-5)


def test_val_generator_repeats_its_pass(dataset):
    generator = data_loader.val_generator(8, images=image_set(read(dataset)), reading=reading(SIZE))
    first, second, third, fourth = take(generator, 4)
    np.testing.assert_array_equal(first[0], third[0])
    np.testing.assert_array_equal(second[0], fourth[0])


def test_the_users_calls_with_the_edited_paths(dataset, monkeypatch):
    monkeypatch.setattr(data_loader, 'base_images_path', str(dataset.images))
    monkeypatch.setattr(data_loader, 'ava_dataset_path', str(dataset.labels))
    monkeypatch.setattr(data_loader.read_split, '__defaults__', (4,))
    images, distributions = take(data_loader.train_generator(8), 1)[0]
    assert images.shape == (8, 224, 224, 3) and distributions.shape == (8, 10)
    assert take(data_loader.val_generator(3), 2)[1][0].shape == (4 - 3, 224, 224, 3)
    _, unshuffled = take(data_loader.train_generator(8, shuffle=False), 1)[0]
    np.testing.assert_array_equal(unshuffled, read(dataset).distributions[:8].astype(np.float32))


def test_same_seed_same_batches_other_seed_others(dataset):
    ratings = read(dataset)

    def images(seed):
        batches = take(train_generator(ratings, 4, seed=seed), 6)
        return np.concatenate([images for images, _ in batches])

    np.testing.assert_array_equal(images(1), images(1))
    assert not np.array_equal(images(1), images(2))


def test_batches_from_a_position_in_a_later_epoch_are_those_of_the_whole_run(dataset):
    def batches(**start):
        return train_generator(read(dataset), 4, seed=3, **start)

    with contextlib.closing(batches()) as whole, contextlib.closing(batches(first_epoch=1, first_image=8)) as rest:
        every = list(itertools.islice(whole, 8))
        for expected, found in zip(every[5:], itertools.islice(rest, 3)):  # 3 batches an epoch: 1 of epoch 1, 2 of 2
            for left, right in zip(expected, found):
                np.testing.assert_array_equal(left, right)


def test_train_size_limits_the_epoch(dataset):
    ratings = read(dataset)
    batches = take(train_generator(ratings, 3, train_size=7), 4)
    for epoch in (0, 1):
        order = epoch_plan.epoch_plan(12, epoch, limit=7, image_size=SIZE).order
        np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches[2 * epoch:2 * epoch + 2]]),
                                      ratings.distributions[order[:6]].astype(np.float32))


def test_a_batch_larger_than_the_epoch_is_an_error(dataset):
    with pytest.raises(InputError, match=r'batchsize 13 is more than the 12 .*--batchsize 12'):
        take(data_loader.train_generator(13, images=image_set(read(dataset))), 1)


def test_an_unreadable_image_is_named(dataset):
    bad = sorted(dataset.images.iterdir())[6]
    bad.write_bytes(b'no image')
    with pytest.raises(InputError, match=rf'{bad.name}: unreadable \(.*unknown format.*check_dataset'):
        take(data_loader.val_batches(image_set(read(dataset)), 4, reading(SIZE)), 9)


@pytest.mark.parametrize('read_batches', [
    lambda ratings: train_generator(ratings, 4),
    lambda ratings: data_loader.val_batches(image_set(ratings), 4, reading(SIZE))])
def test_a_header_that_claims_billions_of_pixels_stops_the_run_undecoded(dataset, read_batches):
    bad = sorted(dataset.images.iterdir())[6]
    jpeg = bytearray(bad.read_bytes())
    start = jpeg.index(b'\xff\xc0') + 5  # of height and width in a baseline frame's header
    jpeg[start:start + 4] = struct.pack('>HH', 60000, 60000)
    bad.write_bytes(jpeg)
    with pytest.raises(InputError, match=rf'{bad.name}: unreadable \(more than 100 megapixels: '
                                         rf'{60000 * 60000}\)\. .*check_dataset, with the same dataset flags'):
        take(read_batches(read(dataset)), 9)


def test_the_pipeline_leaves_no_default_session(dataset):
    before = tf.compat.v1.get_default_graph().get_operations()
    generator = data_loader.val_generator(4, images=image_set(read(dataset)), reading=reading(SIZE))
    next(generator)
    assert tf.compat.v1.get_default_session() is None
    assert tf.compat.v1.get_default_graph().get_operations() == before
    generator.close()


def test_verdicts_in_the_files_order(dataset):
    names = sorted(dataset.images.iterdir())
    for bad in (0, 5, 6, 11):
        names[bad].write_bytes(b'no image')
    verdicts = list(data_loader.verdicts([str(name) for name in [*names, dataset.images / 'nowhere.jpg']]))
    assert [number for number, reason in enumerate(verdicts) if reason] == [0, 5, 6, 11, 12]
    assert 'unknown format' in verdicts[0] and 'No such file' in verdicts[12]


def test_verdicts_of_more_files_than_a_batch(dataset, monkeypatch):
    monkeypatch.setattr(data_loader, 'CHECK_BATCH', 2)
    names = sorted(dataset.images.iterdir())
    for bad in (1, 2, 3, 4, 5):
        names[bad].write_bytes(b'')
    verdicts = data_loader.verdicts(list(map(str, names)))
    assert [bool(reason) for reason in verdicts] == [False] + [True] * 5 + [False] * 6
    assert list(data_loader.verdicts([])) == []
