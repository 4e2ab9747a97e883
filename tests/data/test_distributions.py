"""Votes from a mean, or from a mean and a deviation: both moments hit, and no other distribution has more entropy."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.data import distributions
from utils.data.distributions import SCORES


def moments(shares):
    means = shares @ SCORES
    return means, np.sqrt(np.maximum(0, (shares * (SCORES - means[:, np.newaxis]) ** 2).sum(axis=1)))


def entropy(shares):
    return -np.sum(shares * np.log(np.where(shares > 0, shares, 1)))


def spread_to(middle, wanted):
    """A normal distribution on the scores with the standard deviation `wanted`, by bisection over its width."""
    low, high = 1e-3, 1e3
    for _ in range(200):
        width = (low * high) ** 0.5
        shares = np.exp(-((SCORES - middle) / width) ** 2 / 2)
        shares /= shares.sum()
        low, high = (width, high) if moments(shares[np.newaxis])[1][0] < wanted else (low, width)
    return shares


def test_every_mean_from_1_to_10_is_hit():
    means = np.concatenate([np.linspace(1, 10, 90001), [5.5, 7, np.nextafter(1, 2), 1 + 1e-12, 1 + 1e-9, 10 - 1e-9,
                                                        np.nextafter(10, 9)]])
    shares = distributions.from_means(means)
    assert np.abs(shares @ SCORES - means).max() < 1e-9
    assert np.abs(shares.sum(axis=1) - 1).max() < 1e-12 and shares.min() >= 0
    # Exponential: neighbouring shares have one ratio all along.
    inside = (means > 1.5) & (means < 9.5)
    ratios = np.diff(np.log(shares[inside]), axis=1)
    assert np.ptp(ratios, axis=1).max() < 1e-9


@settings(max_examples=300, deadline=None)
@given(st.floats(1, 10))
def test_any_float_is_hit(mean):
    shares = distributions.from_means(np.array([mean]))
    assert abs(shares[0] @ SCORES - mean) < 1e-9


def test_the_ends_are_one_score_and_the_middle_is_flat():
    low, middle, seven, high = distributions.from_means(np.array([1, 5.5, 7, 10]))
    assert low.tolist() == [1] + [0] * 9
    assert high.tolist() == [0] * 9 + [1]
    np.testing.assert_allclose(middle, np.full(10, 0.1), rtol=0, atol=1e-15)
    assert seven[9] > 5 * seven[0]  # not flat
    np.testing.assert_array_equal(distributions.from_means(np.array([11 - 7.0]))[0], seven[::-1])


def test_no_other_shares_with_that_mean_have_more_entropy():
    random = np.random.RandomState(0)
    for mean in (1.3, 4, 5.5, 7, 9.2):
        best = distributions.from_means(np.array([mean]))[0]
        for _ in range(200):
            i, j, k = sorted(random.choice(10, 3, replace=False))
            change = np.zeros(10)  # moves votes without moving the mean
            change[[i, j, k]] = [k - j, i - k, j - i]
            change *= random.choice([-1, 1]) * 0.5 * best[[i, j, k]].min() / 10
            assert entropy(best + change) < entropy(best)


@settings(max_examples=200, deadline=None)
@given(st.floats(1, 10), st.one_of(st.floats(0, 1), st.floats(0, 1e-6), st.floats(1 - 1e-6, 1)))
def test_any_possible_mean_and_deviation_is_hit(mean, place):
    least, largest = (float(bound[0]) for bound in distributions.std_range(np.array([mean])))
    std = float(np.sqrt(least ** 2 + place * (largest ** 2 - least ** 2)))
    shares = distributions.from_means_and_stds(np.array([mean]), np.array([std]))
    found_mean, found_std = moments(shares)
    assert abs(found_mean[0] - mean) < 1e-8
    assert abs(found_std[0] ** 2 - std ** 2) < 1e-8
    assert shares.min() >= 0 and abs(shares.sum() - 1) < 1e-12


def test_many_at_once_in_any_order():
    random = np.random.RandomState(0)
    means = random.uniform(1, 10, 2000)
    least, largest = distributions.std_range(means)
    stds = least + random.uniform(size=2000) * (largest - least)
    shares = distributions.from_means_and_stds(np.tile(means, 2), np.tile(stds, 2))
    found_means, found_stds = moments(shares)
    np.testing.assert_allclose(found_means, np.tile(means, 2), rtol=0, atol=1e-8)
    np.testing.assert_allclose(found_stds, np.tile(stds, 2), rtol=0, atol=1e-8)
    assert distributions.from_means_and_stds(np.array([]), np.array([])).shape == (0, 10)


def test_a_deviation_far_from_the_ends_gives_a_normal_distribution():
    shares = distributions.from_means_and_stds(np.array([5.5]), np.array([1.2]))[0]
    np.testing.assert_allclose(shares, spread_to(5.5, 1.2), rtol=0, atol=1e-9)


@pytest.mark.parametrize('mean, std, expected', [
    (5.0, 0.0, {5: 1}), (5.5, 0.5, {5: 0.5, 6: 0.5}), (5.5, 4.5, {1: 0.5, 10: 0.5}), (1.0, 0.0, {1: 1}),
    (10.0, 0.0, {10: 1}), (7.75, 0.1, {7: 0.25, 8: 0.75}), (4.0, 9.0, {1: 2 / 3, 10: 1 / 3})])
def test_the_least_and_the_largest_deviation(mean, std, expected):
    shares = distributions.from_means_and_stds(np.array([mean]), np.array([std]))[0]
    np.testing.assert_allclose(shares, [expected.get(score, 0) for score in range(1, 11)], rtol=0, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.floats(1, 10), st.floats(0.1, 3))
def test_a_mean_alone_has_one_peak_and_at_most_this_deviation(mean, most):
    shares = distributions.from_means_alone(np.array([mean]), most)
    found_mean, found_std = moments(shares)
    assert abs(found_mean[0] - mean) < 1e-8
    free = moments(distributions.from_means(np.array([mean])))[1]
    least = distributions.std_range(np.array([mean]))[0]
    assert found_std[0] == pytest.approx(max(min(most, free[0]), least[0]), abs=1e-6)
    steps = np.diff(shares[0])
    rising = np.flatnonzero(steps > 1e-9)
    falling = np.flatnonzero(steps < -1e-9)
    assert not len(rising) or not len(falling) or rising.max() < falling.min()


def test_a_mean_alone_never_rises_towards_the_far_end():
    shares = distributions.from_means_alone(np.array([1.1, 9.9]), 1.4)
    assert (np.diff(shares[0]) < 0).all() and (np.diff(shares[1]) > 0).all()
    assert shares[0][1] > 0.05  # where a std of 1.4 would put all else on 10


def test_a_vote_between_two_scores_is_divided():
    shares = distributions.between_scores(np.array([1, 2.25, 10]))
    assert shares.tolist() == [[1] + [0] * 9, [0, 0.75, 0.25] + [0] * 7, [0] * 9 + [1]]
