"""What eval.py says of the labels: ceiling, voters, groups, and what is assumed."""
import math

import numpy as np
import pytest

from utils import score_utils
from utils.data import ava, panel
from utils.scoring import label_limits, results

METADATA = {'preprocessing': {'image_size': 224, 'resize': 'bilinear'}}


def ratings(count, votes, groups=None, assumed=False):
    """Images whose votes are drawn around normal true means, and these true means."""
    random = np.random.RandomState(0)
    true = np.clip(random.normal(5.5, 0.9, count), 3, 8)
    counts = np.stack([np.bincount(np.clip(np.round(random.normal(mean, 1.5, votes)), 1, 10).astype(int) - 1,
                                   minlength=10) for mean in true]).astype(np.float64)
    people = panel.counted(counts)._replace(groups=groups, assumed=np.full(count, assumed))
    ids = np.array([str(number) for number in range(count)], object)
    return ava.Ratings(ids, ids, counts / votes, people), true


def spread(means):
    """Distributions with these means."""
    low = np.floor(means).astype(int)
    shares = np.zeros((len(means), 10))
    shares[np.arange(len(means)), low - 1], shares[np.arange(len(means)), low] = 1 - means + low, means - low
    return shares


def test_a_perfect_model_is_at_the_ceiling_and_a_voter_is_worth_one():
    val, true = ratings(2000, 20)
    random = np.random.RandomState(1)
    found = label_limits.agreement(val)
    perfect = score_utils.srcc(val.distributions @ ava.SCORES, true)
    assert panel.srcc_of(found.ceiling) == pytest.approx(perfect, abs=0.02)
    one = np.clip(random.normal(true, 1.5), 1, 9.99)
    models = {'m': (spread(one), score_utils.srcc(val.distributions @ ava.SCORES, one))}
    line, worth = label_limits.lines(val, models)
    assert line.startswith('labels: two panels of 20 would agree with SRCC 0.8')
    voters = float(worth.split(' fresh')[0].split()[-1])
    assert worth.startswith('m: as close to these labels as the mean of ') and voters == pytest.approx(1, abs=0.15)
    assert label_limits.lines(val, {'m': (val.distributions, 1.0)})[1].startswith('m: at the ceiling: ')


def test_groups():
    groups = np.array(['a', 'b'] * 50 + ['c', 'c'], object)
    val, _ = ratings(102, 30, groups)
    means = val.distributions @ ava.SCORES
    predicted = np.where(groups == 'a', means / 3 + 1, np.where(groups == 'b', 9 - means / 3, 2))  # b upside down
    value, count = label_limits.within_groups(val, spread(predicted))
    assert (value, count) == (pytest.approx(0, abs=1e-9), 2)
    lines = label_limits.lines(val, {'m': (spread(predicted), math.nan)})
    assert lines[1:] == ['m: SRCC within groups 0.0000, on average over 2 groups']
    assert label_limits.within_groups(val._replace(panel=None), spread(predicted)) is None


def test_what_is_assumed_is_said_everywhere():
    val, true = ratings(50, 1, assumed=True)
    found = results.evaluate(val, ['/m/a.h5'], [(METADATA, spread(true))], split='the last', intervals=False)
    assumed = 'std, EMD and calibration: assumed, not measured: 50 of 50 labels are a mean alone'
    assert results.text(found).splitlines()[-1] == assumed == found.about_labels[-1]
    content = results.as_json(found)
    assert content['labels']['std_assumed'] == 50 and content['labels']['noise_ceiling_lcc'] is None
    assert content['models'][0]['worth_voters'] is None and content['models'][0]['at_ceiling'] is False


def test_labels_without_a_panel():
    val, true = ratings(20, 10)
    assert label_limits.lines(val._replace(panel=None), {'m': (spread(true), 0.9)}) == [
        'labels: noise ceiling: not measured, as the labels do not say how many people voted and how far they agree']
