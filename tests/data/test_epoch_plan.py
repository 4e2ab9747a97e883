"""The order of an epoch and its augmentation: functions of (seed, epoch) alone."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.data import epoch_plan


@pytest.mark.parametrize('image_size, side', [(224, 256), (96, 110), (32, 37), (448, 512)])
def test_side_before_the_crop(image_size, side):
    assert epoch_plan.resize_before_crop(image_size) == side == round(image_size * 256 / 224)


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


def test_augmentation_belongs_to_the_image_and_not_to_its_position():
    shuffled, straight = epoch_plan.epoch_plan(100, 4), epoch_plan.epoch_plan(100, 4, shuffle=False)
    np.testing.assert_array_equal(shuffled.top, straight.top[shuffled.order])
    np.testing.assert_array_equal(shuffled.flip, straight.flip[shuffled.order])


def test_every_crop_and_both_flips_occur():
    plan = epoch_plan.epoch_plan(20000, 0)
    assert set(plan.top) == set(plan.left) == set(range(256 - 224 + 1))
    assert abs(plan.flip.mean() - 1 / 2) < 5 * (1 / 2) / np.sqrt(20000)


def test_epochs_differ():
    assert not np.array_equal(epoch_plan.epoch_plan(100, 0).order, epoch_plan.epoch_plan(100, 1).order)
