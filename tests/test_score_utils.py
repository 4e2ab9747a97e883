"""utils/score_utils.py against hand-worked cases, SciPy, and real predictions with known metrics."""
import json
import math
import re
import warnings

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from utils import score_utils

GOLDEN = SHARED / 'golden'
NAN = math.nan


def one_hot(*scores):
    """Spreads [N, 10] with all votes on one score each."""
    return np.eye(10)[np.array(scores) - 1]


@pytest.fixture(autouse=True)
def no_warnings():
    """What is undefined is NaN, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


@pytest.fixture(scope='module')
def golden():
    if not (GOLDEN / 'idealo_mobilenet_on_ava.npz').is_file():
        pytest.skip('shared/golden is not there: it holds real predictions and the metrics they must give')
    arrays_of = np.load(GOLDEN / 'idealo_mobilenet_on_ava.npz')
    votes = arrays_of['votes'].astype(np.float64)
    expected = json.loads((GOLDEN / 'idealo_mobilenet_on_ava.json').read_text())
    return votes / votes.sum(axis=1, keepdims=True), arrays_of['y_pred'], expected


# --- real predictions


def test_real_predictions_give_their_metrics(golden):
    true, pred, expected = golden
    found = score_utils.metrics(true, pred)
    assert set(found) == set(score_utils.LABELS)
    assert set(found) - set(expected) == {'krcc_mean'}
    for key, value in found.items():
        assert isinstance(value, float)
        assert value == pytest.approx(expected.get(key, value), abs=1e-6), key
    # For normal variables tau is 2 / pi * asin(LCC), and the LCC follows from the SRCC.
    assert found['krcc_mean'] == pytest.approx(2 / math.pi * math.asin(2 * math.sin(math.pi * found['srcc_mean'] / 6)),
                                               abs=0.01)


def test_ties_and_fives_of_real_votes_survive_rounding_noise(golden):
    true, _, expected = golden
    means = np.round(score_utils.mean_score(true), score_utils.DECIMALS)
    assert len(np.unique(means)) == expected['distinct_true_means']
    assert np.sum(means == 5) == expected['true_means_exactly_5']


def test_a_constant_predictor_on_real_votes(golden):
    true = golden[0]
    found = score_utils.metrics(true, score_utils.constant_prediction(true))
    means = score_utils.mean_score(true)
    assert all(math.isnan(found[key]) for key in ('srcc_mean', 'lcc_mean', 'srcc_std', 'lcc_std'))
    assert found['accuracy_gt5'] == np.mean(np.round(means, 6) > 5)  # it calls every photograph good
    # All of AVA: 0.0888, 0.0633 and 0.7075; this is a tenth of it.
    assert found['emd_r2'] == pytest.approx(0.0888, abs=0.001)
    assert found['emd_r1'] == pytest.approx(0.0633, abs=0.001)
    assert found['accuracy_gt5'] == pytest.approx(0.7075, abs=0.01)


# --- mean and standard deviation


def test_mean_and_std_of_one_spread():
    scores = [0, 0, 0.25, 0, 0.5, 0, 0.25, 0, 0, 0]
    mean = 0.25 * 3 + 0.5 * 5 + 0.25 * 7
    assert score_utils.mean_score(scores) == mean
    assert score_utils.std_score(scores) == math.sqrt(0.25 * (3 - mean) ** 2 + 0.25 * (7 - mean) ** 2)


def test_mean_and_std_of_many():
    scores = np.concatenate([one_hot(1, 5, 10), (one_hot(1) + one_hot(10)) / 2])
    assert score_utils.mean_score(scores).tolist() == [1, 5, 10, (1 + 10) / 2]
    assert score_utils.std_score(scores).tolist() == [0, 0, 0, (10 - 1) / 2]


def test_float32_is_counted_in_float64():
    shares = np.full((1, 10), 0.1, np.float32)
    assert score_utils.mean_score(shares).dtype == np.float64
    assert score_utils.mean_score(shares)[0] == pytest.approx(float(np.float32(0.1)) * 55, rel=1e-15)
    assert score_utils.std_score(shares).dtype == np.float64


# --- correlations


@pytest.mark.parametrize('true, pred, expected', [
    ([1, 2, 3], [4, 5, 6], 1),
    ([1, 2, 3], [6, 5, 4], -1),
    ([1, 2, 3, 4], [1, 3, 2, 4], 1 - 6 * (0 + 1 + 1 + 0) / (4 * (4 ** 2 - 1))),
    ([1, 10, 9, 8], [2, 3, 4, 5], 1 - 6 * (0 + 2 ** 2 + 0 + 2 ** 2) / (4 * (4 ** 2 - 1))),
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 1.5^2 + 0 + 0 + 1.5^2, squares 4.5 and 5.
    ([1, 2, 2, 3], [1, 2, 3, 4], (1.5 ** 2 + 1.5 ** 2) / math.sqrt(4.5 * 5)),
])
def test_srcc_by_hand(true, pred, expected):
    assert score_utils.srcc(true, pred) == pytest.approx(expected, abs=1e-15)


def test_lcc_by_hand():
    # Around their means: -1, 0, 1 against -2, -1, 3.
    expected = (2 + 0 + 3) / math.sqrt((1 + 0 + 1) * (4 + 1 + 9))
    assert score_utils.lcc([1, 2, 3], [2, 3, 7]) == pytest.approx(expected, abs=1e-15)


def test_rounding_noise_is_a_tie():
    clean = score_utils.srcc([1, 2, 2, 3], [4, 4, 5, 6])
    assert score_utils.srcc([1, 2 + 1e-9, 2 - 1e-9, 3], [4 - 1e-9, 4 + 1e-9, 5, 6]) == clean


def test_a_saturated_softmax_ranks_alike_in_float32_and_float64():
    """Means within 1e-6 of a whole score: the rounding of a share near 1 must not rank them."""
    random = np.random.RandomState(0)
    quality = random.normal(size=2000)
    logits = 60 * (np.outer(quality, np.arange(10)) / 4 + random.normal(size=(2000, 10)))
    shares = [np.exp(each - each.max(axis=1, keepdims=True)) for each in (logits.astype(np.float32), logits)]
    single, double = (each / each.sum(axis=1, keepdims=True) for each in shares)
    assert single.dtype == np.float32 and np.mean(double.max(axis=1) > 1 - 1e-6) > 0.2
    true = np.eye(10)[np.clip(np.round(quality * 2 + 5), 0, 9).astype(int)]
    assert np.abs(single.astype(np.float64) @ np.arange(1, 11) - double @ np.arange(1, 11)).max() > 1e-7
    saturated = double.max(axis=1) > 1 - 1e-4
    np.testing.assert_allclose(score_utils.mean_score(single)[saturated], score_utils.mean_score(double)[saturated],
                               rtol=0, atol=1e-8)
    found, expected = (score_utils.metrics(true, each) for each in (single, double))
    assert found['srcc_mean'] == pytest.approx(expected['srcc_mean'], abs=1e-7)


@pytest.mark.parametrize('true, pred, reason', [
    ([], [], 'fewer than 2 images (0)'),
    ([5], [4], 'fewer than 2 images (1)'),
    ([1, 2, 3], [5.25, 5.25, 5.25], 'all predictions are equal (5.25)'),
    ([1, 2, 3], [5.25, 5.25 + 1e-9, 5.25 - 1e-9], 'all predictions are equal (5.25)'),
    ([1, 2], [5.00000049, 5.00000051], 'all predictions are equal (5)'),  # on two sides of a rounding border
    ([5, 5, 5], [1, 2, 3], 'all labels are equal (5)'),
    ([1, 2, 3], [NAN, 2, NAN], '2 of 3 predictions are not a number'),
    ([1, 2, 3], [math.inf, 2, 3], '1 of 3 predictions are not a number'),
    ([1, NAN, 3], [1, 2, 3], '1 of 3 labels are not a number'),
])
def test_undefined_is_nan_and_has_a_reason(true, pred, reason):
    assert score_utils.undefined_reason(true, pred) == reason
    assert math.isnan(score_utils.srcc(true, pred))
    assert math.isnan(score_utils.lcc(true, pred))


def test_what_is_defined_has_no_reason():
    assert score_utils.undefined_reason([1, 2], [2, 1]) is None
    assert score_utils.undefined_reason([1, 2], [5, 5 + 1.1e-6]) is None
    assert score_utils.srcc([1, 2], [5, 5 + 1.1e-6]) == pytest.approx(1)


# --- EMD


@pytest.mark.parametrize('true, pred, r, expected', [
    (one_hot(3), one_hot(3), 1, 0),
    (one_hot(3), one_hot(3), 2, 0),
    (one_hot(1), one_hot(10), 1, 9 / 10),              # the two CDFs are 1 apart at scores 1 to 9
    (one_hot(1), one_hot(10), 2, math.sqrt(9 / 10)),
    (one_hot(4), one_hot(6), 1, 2 / 10),
    (one_hot(4), one_hot(6), 2, math.sqrt(2 / 10)),
    # Mean of the photographs' distances, not the distance of all together.
    (one_hot(4, 1), one_hot(6, 10), 2, (math.sqrt(2 / 10) + math.sqrt(9 / 10)) / 2),
    ((one_hot(1) + one_hot(2)) / 2, one_hot(2), 1, 0.5 / 10),
    ((one_hot(1) + one_hot(2)) / 2, one_hot(2), 2, math.sqrt(0.5 ** 2 / 10)),
])
def test_emd_by_hand(true, pred, r, expected):
    assert score_utils.emd(true, pred, r) == pytest.approx(expected, abs=1e-15)


def test_emd_of_nothing_and_of_nan():
    assert math.isnan(score_utils.emd(np.empty((0, 10)), np.empty((0, 10)), 1))
    assert math.isnan(score_utils.emd(one_hot(1, 2), np.full((2, 10), NAN), 2))


# --- accuracy


def test_accuracy_and_where_5_belongs():
    true, pred = [4, 5, 5, 6, 7], [4.5, 5, 6, 5.5, 3]
    assert score_utils.accuracy(true, pred) == 3 / 5                 # wrong: 5 called 6, and 7 called 3
    assert score_utils.accuracy(true, pred, at_least=True) == 4 / 5  # 5 is good now; wrong: 7 called 3


@pytest.mark.parametrize('noise', [-1e-9, 0, 1e-9])
def test_rounding_noise_does_not_move_5(noise):
    assert score_utils.accuracy([5 + noise], [4]) == 1
    assert score_utils.accuracy([5 + noise], [6], at_least=True) == 1


def test_accuracy_of_nothing_and_of_nan():
    assert math.isnan(score_utils.accuracy([], []))
    assert math.isnan(score_utils.accuracy([4, 6], [4, NAN]))


def test_krcc_counts_pairs():
    assert score_utils.krcc([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)  # five pairs agree, one does not
    assert score_utils.krcc([1, 2, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(2 * 3))  # tau-b: one pair is a tie
    assert math.isnan(score_utils.krcc([1, 2], [3, 3]))


# --- all together


def test_metrics_of_perfect_predictions():
    true = np.concatenate([one_hot(2, 5, 7), (one_hot(2) + one_hot(5)) / 2])
    assert score_utils.metrics(true, true) == pytest.approx({
        'srcc_mean': 1, 'lcc_mean': 1, 'krcc_mean': 1, 'srcc_std': 1, 'lcc_std': 1, 'accuracy_gt5': 1,
        'accuracy_ge5': 1, 'emd_r1': 0, 'emd_r2': 0}, abs=1e-12)


@pytest.mark.parametrize('pred', [np.empty((0, 10)), np.full((3, 10), NAN)])
def test_metrics_of_nothing_and_of_nan_are_undefined(pred):
    found = score_utils.metrics(one_hot(2, 5, 7)[:len(pred)], pred)
    assert all(math.isnan(value) for value in found.values())


def test_constant_prediction_is_the_mean_spread():
    constant = score_utils.constant_prediction(one_hot(1, 1, 2, 3))
    assert constant.tolist() == [[2 / 4, 1 / 4, 1 / 4] + [0] * 7] * 4
    assert score_utils.constant_prediction(np.empty((0, 10))).shape == (0, 10)


def test_the_table_names_every_measure_and_lines_up():
    model = {key: number / 8 for number, key in enumerate(score_utils.LABELS)}
    constant = {**model, 'srcc_mean': NAN, 'emd_r1': 0.0633}
    lines = score_utils.table({'model': model, 'constant': constant}).splitlines()
    assert lines[0].split() == ['model', 'constant']
    assert re.split('  +', lines[1]) == ['SRCC of the mean score', '0.000000', 'undefined']
    assert [re.split('  +', line)[0] for line in lines[1:]] == list(score_utils.LABELS.values())
    assert re.split('  +', lines[8]) == ['EMD, r=1', f'{7 / 8:.6f}', '0.063300']
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize('call, message', [
    (lambda: score_utils.mean_score(np.ones(9)), 'scores: found shape (9,), expected (10,) or (N, 10)'),
    (lambda: score_utils.std_score(np.ones((2, 3, 10))), 'scores: found shape (2, 3, 10), expected (10,)'),
    (lambda: score_utils.mean_score(5), 'scores: found shape (), expected (10,) or (N, 10)'),
    (lambda: score_utils.metrics(one_hot(1, 2), np.ones((2, 5))), 'pred: found shape (2, 5), expected'),
    (lambda: score_utils.metrics(one_hot(1, 2), one_hot(1)),
     'true and pred: found shapes (2, 10) and (1, 10), expected the same, one prediction for each '),
    (lambda: score_utils.srcc([1, 2], [1, 2, 3]), 'true and pred: found shapes (2,) and (3,), expected (N,)'),
    (lambda: score_utils.accuracy(one_hot(1), one_hot(1)), 'true and pred: found shapes (1, 10) and (1, 10)'),
])
def test_a_wrong_shape_is_named(call, message):
    with pytest.raises(ValueError, match='^' + re.escape(message)):
        call()


# --- properties

grid = st.integers(100, 1000).map(lambda n: n / 100)  # a coarse grid, so that ties are common
pairs = st.integers(2, 40).flatmap(lambda n: st.tuples(arrays(np.float64, n, elements=grid),
                                                       arrays(np.float64, n, elements=grid)))
spreads = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(10)), elements=st.integers(1, 300)).map(
    lambda votes: votes / votes.sum(axis=1, keepdims=True))
quick = settings(max_examples=80, deadline=None)


@quick
@given(pairs)
def test_srcc_and_lcc_agree_with_scipy(pair):
    true, pred = pair
    if len(set(true)) == 1 or len(set(pred)) == 1:
        assert score_utils.undefined_reason(true, pred) is not None
        return
    assert score_utils.srcc(true, pred) == pytest.approx(stats.spearmanr(true, pred).correlation, abs=1e-12)
    assert score_utils.lcc(true, pred) == pytest.approx(stats.pearsonr(true, pred)[0], abs=1e-12)


@quick
@given(pairs, st.randoms(use_true_random=False))
def test_correlations_are_symmetric_and_order_does_not_matter(pair, random):
    true, pred = pair
    order = list(range(len(true)))
    random.shuffle(order)
    for correlation in (score_utils.srcc, score_utils.lcc):
        value = correlation(true, pred)
        if math.isnan(value):
            continue
        assert -1 <= value <= 1
        assert correlation(pred, true) == pytest.approx(value, abs=1e-12)
        assert correlation(true[order], pred[order]) == pytest.approx(value, abs=1e-12)
        assert correlation(true, 11 - pred) == pytest.approx(-value, abs=1e-12)


@quick
@given(pairs)
def test_srcc_sees_only_the_order(pair):
    true, pred = pair
    np.testing.assert_allclose(score_utils.srcc(true, pred ** 3), score_utils.srcc(true, pred), atol=1e-12)


@quick
@given(spreads)
def test_mean_and_std_agree_with_the_votes_themselves(scores):
    deviation = np.arange(1, 11) - score_utils.mean_score(scores)[:, np.newaxis]
    np.testing.assert_allclose(np.sum(scores * deviation, axis=1), 0, atol=1e-12)
    variance = np.sum(scores * deviation ** 2, axis=1)
    np.testing.assert_allclose(score_utils.std_score(scores), np.sqrt(variance), atol=1e-9)


@quick
@given(spreads, st.integers(0, 9))
def test_emd_is_a_distance(scores, shift):
    other = np.roll(scores, shift, axis=1)
    for r in (1, 2):
        distance = score_utils.emd(scores, other, r)
        assert 0 <= distance <= 1
        assert distance == pytest.approx(score_utils.emd(other, scores, r), abs=1e-15)
        assert score_utils.emd(scores, scores, r) == 0
    assert score_utils.emd(scores, other, 1) <= score_utils.emd(scores, other, 2) + 1e-15


@quick
@given(spreads)
def test_metrics_do_not_depend_on_the_dtype_of_exact_numbers(scores):
    coarse = np.round(scores * 256) / 256  # exact in float32
    wide, narrow = score_utils.metrics(scores, coarse), score_utils.metrics(scores, coarse.astype(np.float32))
    np.testing.assert_equal(narrow, wide)
