"""The input pipeline against the plain formula, its order, its repeatability, its errors."""
import contextlib
import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf
from conftest import image_set, reading
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import data_loader
from utils.base.errors import InputError
from utils.data import ava, decoding, epoch_plan

SIZE = 32


def read(dataset):
    return ava.read(str(dataset.labels), str(dataset.images))


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


def take(generator, count):
    with contextlib.closing(generator):
        return list(itertools.islice(generator, count))


def train_generator(ratings, batchsize, **more):
    images = image_set(ratings, what='training')
    return data_loader.train_generator(batchsize, images=images, reading=reading(SIZE), **more)


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


@pytest.mark.parametrize('image_size, side', [(224, 256), (96, 110), (32, 37), (448, 512)])
def test_side_before_the_crop(image_size, side):
    assert epoch_plan.resize_before_crop(image_size) == side == round(image_size * 256 / 224)


def test_training_batches_equal_the_plain_formula_bit_for_bit(dataset):
    ratings = read(dataset)
    batches = take(train_generator(ratings, 5, seed=3), 4)
    side = epoch_plan.resize_before_crop(SIZE)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path = tf.compat.v1.placeholder(tf.string, ())
        resized = tf.compat.v1.image.resize_images(
            tf.image.decode_jpeg(tf.io.read_file(path), channels=3), [side, side])
        for number, (images, scores) in enumerate(batches):
            plan = epoch_plan.epoch_plan(12, number // 2, seed=3, image_size=SIZE)
            for row in range(5):
                place = number % 2 * 5 + row
                index, top, left = plan.order[place], plan.top[place], plan.left[place]
                crop = session.run(resized, {path: ratings.paths[index]})[top:top + SIZE, left:left + SIZE]
                expected = (crop[:, ::-1] if plan.flip[place] else crop)
                np.testing.assert_array_equal(images[row], (expected - np.float32(127.5)) / np.float32(127.5))
                np.testing.assert_array_equal(scores[row], ratings.distributions[index].astype(np.float32))


def test_validation_reads_every_photograph_once_in_order(dataset):
    ratings = read(dataset)
    batches = take(data_loader.val_batches(image_set(ratings), 5, reading(SIZE)), 9)
    assert [len(images) for images, _ in batches] == [5, 5, 12 - 2 * 5]
    assert batches[0][0].dtype == batches[0][1].dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([scores for _, scores in batches]),
                                  ratings.distributions.astype(np.float32))
    expected = legacy_bilinear(decode(ratings.paths[11]), SIZE) / 127.5 - 1
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
    images, scores = take(data_loader.train_generator(8), 1)[0]
    assert images.shape == (8, 224, 224, 3) and scores.shape == (8, 10)
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


@settings(deadline=None)
@given(count=st.integers(1, 300), epoch=st.integers(0, 50), seed=st.integers(0, 2 ** 32 - 1))
def test_an_epoch_is_a_shuffle_of_the_whole_list(count, epoch, seed):
    plan = epoch_plan.epoch_plan(count, epoch, seed=seed)
    assert sorted(plan.order) == list(range(count))
    assert plan.top.min() >= 0 and plan.left.min() >= 0
    assert plan.top.max() <= 256 - 224 and plan.left.max() <= 256 - 224


@settings(deadline=None)
@given(count=st.integers(2, 300), epoch=st.integers(0, 50), data=st.data())
def test_a_limit_keeps_the_first_of_the_same_shuffle(count, epoch, data):
    limit = data.draw(st.integers(1, count))
    whole, part = epoch_plan.epoch_plan(count, epoch), epoch_plan.epoch_plan(count, epoch, limit=limit)
    for column, head in zip(whole, part):
        np.testing.assert_array_equal(column[:limit], head)


def test_augmentation_belongs_to_the_photograph_and_not_to_its_place():
    shuffled, straight = epoch_plan.epoch_plan(100, 4), epoch_plan.epoch_plan(100, 4, shuffle=False)
    np.testing.assert_array_equal(shuffled.top, straight.top[shuffled.order])
    np.testing.assert_array_equal(shuffled.flip, straight.flip[shuffled.order])


def test_every_crop_and_both_flips_occur():
    plan = epoch_plan.epoch_plan(20000, 0)
    assert set(plan.top) == set(plan.left) == set(range(256 - 224 + 1))
    assert abs(plan.flip.mean() - 1 / 2) < 5 * (1 / 2) / np.sqrt(20000)


def test_epochs_differ():
    assert not np.array_equal(epoch_plan.epoch_plan(100, 0).order, epoch_plan.epoch_plan(100, 1).order)


def test_batches_from_a_place_in_a_later_epoch_are_those_of_the_whole_run(dataset):
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
        np.testing.assert_array_equal(np.concatenate([scores for _, scores in batches[2 * epoch:2 * epoch + 2]]),
                                      ratings.distributions[order[:6]].astype(np.float32))


def test_a_batch_larger_than_the_epoch_is_an_error(dataset):
    with pytest.raises(InputError, match=r'batchsize: found 13, expected at most the 12 .*--batchsize 12'):
        take(data_loader.train_generator(13, images=image_set(read(dataset))), 1)


def test_a_file_that_cannot_be_decoded_is_named(dataset):
    bad = sorted(dataset.images.iterdir())[6]
    bad.write_bytes(b'not a photograph')
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
        names[bad].write_bytes(b'not a photograph')
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
