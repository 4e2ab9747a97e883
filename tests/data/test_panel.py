"""How far voters agree: the closed forms against AVA's votes cut to small panels, and against drawn raters."""
import math

import numpy as np
import pytest

from utils.data import ava, panel
from utils.data.ava import SCORES


def draw(votes, count, random):
    """`count` of each image's votes [N, 10], without replacement."""
    left, cut = votes.sum(axis=1), np.zeros_like(votes)
    wanted = np.full(len(votes), count)
    for score in range(10):
        others = left - votes[:, score]
        drawn = random.hypergeometric(votes[:, score], others + (left == 0), np.maximum(wanted, 1))
        taken = np.where(wanted > 0, drawn, 0)
        cut[:, score], left, wanted = taken, others, wanted - taken
    return cut


@pytest.fixture(scope='module')
def ava_votes():
    from conftest import SHARED
    path = SHARED / 'ava_labels' / 'AVA_43533.txt'
    if not path.is_file():
        pytest.skip('no shared/ava_labels beside the project: it holds 43,533 real lines of AVA.txt')
    labels = ava.read_labels(str(path))
    return np.round(labels.distributions * labels.totals[:, np.newaxis]).astype(int)[::2]


@pytest.mark.parametrize('count, ceiling', [(5, 0.737), (10, 0.835), (30, 0.933)])
def test_the_ceiling_of_avas_votes_cut_to_small_panels(ava_votes, count, ceiling):
    cut = draw(ava_votes, count, np.random.RandomState(0)).astype(np.float64)
    assert (cut.sum(axis=1) == count).all()
    means = cut @ SCORES / count
    found = panel.agreement(means, panel.counted(cut))
    assert panel.srcc_of(found.ceiling) == pytest.approx(ceiling, abs=0.015)
    assert found.votes == pytest.approx(count)
    # The votes that were not drawn stand in for a perfect model, and another panel of the same size for its people.
    rest = (ava_votes - cut) @ SCORES / (ava_votes - cut).sum(axis=1)
    assert found.ceiling == pytest.approx(np.corrcoef(means, rest)[0, 1], abs=0.015)
    other = draw(ava_votes - cut.astype(int), count, np.random.RandomState(1)) @ SCORES / count
    assert found.reliability == pytest.approx(np.corrcoef(means, other)[0, 1], abs=0.015)


def test_fresh_voters(ava_votes):
    cut = draw(ava_votes, 30, np.random.RandomState(0)).astype(np.float64)
    means = cut @ SCORES / 30
    found = panel.agreement(means, panel.counted(cut))
    for count in (1, 3, 10):
        fresh = draw(ava_votes - cut.astype(int), count, np.random.RandomState(2)) @ SCORES / count
        lcc = np.corrcoef(means, fresh)[0, 1]
        assert lcc == pytest.approx(math.sqrt(found.of(count) * found.reliability), abs=0.015)
        assert found.voters(lcc) == pytest.approx(count, rel=0.1)


def test_arithmetic():
    # Variances 2 and 4 of four votes each: q = 3, q / n = 0.75; means 1, 5 and 9 vary by 16, so T = 15.25.
    people = panel.Panel(np.full(3, 4.0), np.array([2.0, 4, 3]), np.zeros(3, bool))
    found = panel.agreement(np.array([1.0, 5, 9]), people)
    assert (found.votes, found.noise) == (4, pytest.approx(3 / 15.25))
    assert found.reliability == pytest.approx(15.25 / 16)
    assert found.voters(1) == math.inf and found.voters(-1) == 0
    assert panel.worth(found, 0.999) == ('at the ceiling: no number of voters would rank the images closer to these '
                                         'labels')
    lcc = math.sqrt(found.of(2) * found.reliability)
    assert panel.worth(found, panel.srcc_of(lcc)) == 'as close to these labels as the mean of 2.0 fresh voters'
    assert panel.lcc_of(panel.srcc_of(0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize('people', [
    panel.Panel(np.full(3, math.nan), np.ones(3), np.zeros(3, bool)),       # a mean and a std
    panel.Panel(np.full(3, 4.0), np.full(3, math.nan), np.zeros(3, bool)),  # a mean and a number
    panel.counted(np.full((3, 10), 0.1)),                                   # shares
    panel.counted(np.full((3, 10), 10.0)),                                  # percentages
    panel.of_ratings(panel.Ratings(np.arange(3), np.zeros(3, int), np.array([1.0, 5, 9])), 3),  # one rater
])
def test_what_is_not_measured(people):
    found = panel.agreement(np.array([1.0, 5, 9]), people)
    assert found is None and panel.text(found).startswith('noise ceiling: not measured')


def raters(random, images, count, bias, noise, each=None):
    """Ratings of `count` raters, each with a bias, of all images or of `each` of them."""
    true = random.normal(5, 1, images)
    biases = random.normal(0, bias, count)
    pairs = [(row, rater) for row in range(images)
             for rater in (range(count) if each is None else random.choice(count, each, replace=False))]
    rows, who = np.array(pairs).T
    return true, panel.Ratings(rows, who, true[rows] + biases[who] + random.normal(0, noise, len(rows)))


@pytest.mark.parametrize('bias', [0, 2])
def test_a_raters_bias_is_no_noise_where_all_rate_all(bias):
    true, ratings = raters(np.random.RandomState(0), 3000, 8, bias, 1.5)
    people = panel.of_ratings(ratings, 3000)
    means = np.bincount(ratings.rows, ratings.scores) / 8
    found = panel.agreement(means, people)
    assert found.ceiling == pytest.approx(np.corrcoef(means, true)[0, 1], abs=0.015)
    assert found.ceiling == pytest.approx(math.sqrt(1 / (1 + 1.5 ** 2 / 8)), abs=0.015)


def test_a_raters_bias_is_noise_where_each_rates_a_few():
    true, ratings = raters(np.random.RandomState(0), 3000, 200, 2, 1.5, each=6)
    means = np.bincount(ratings.rows, ratings.scores) / 6
    found = panel.agreement(means, panel.of_ratings(ratings, 3000))
    assert found.ceiling == pytest.approx(math.sqrt(1 / (1 + (1.5 ** 2 + 2 ** 2) / 6)), abs=0.03)


def test_a_part_of_a_panel():
    _, ratings = raters(np.random.RandomState(0), 20, 5, 1, 1)
    whole = panel.of_ratings(ratings, 20)._replace(groups=np.array([str(row % 3) for row in range(20)], dtype=object))
    part = whole.take(np.array([7, 2]))
    assert part.groups.tolist() == ['1', '2'] and part.numbers.tolist() == [5, 5]
    assert sorted(part.ratings.scores[part.ratings.rows == 0]) == sorted(ratings.scores[ratings.rows == 7])
    assert len(part.ratings.scores) == 10
