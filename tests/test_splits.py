"""How two datasets, and two splits of one, are told apart."""
import hashlib

import numpy as np

from utils import ava, splits

RATINGS = ava.Ratings(np.array(['7', '12', 'é'], object), np.array(['a/7.jpg', 'a/12.jpg', 'a/é.jpg'], object),
                      np.full((3, 10), 0.1))


def test_the_hash_of_the_data_is_that_of_ids_and_shares():
    expected = hashlib.sha256('7\n12\né'.encode() + np.full((3, 10), 0.1, '<f8').tobytes()).hexdigest()
    assert splits.data_hash(RATINGS) == expected
    moved = RATINGS._replace(paths=np.array(['b'] * 3, object))
    assert splits.data_hash(moved) == expected
    assert splits.data_hash(RATINGS.take([1, 0, 2])) != expected
    other = RATINGS.scores.copy()
    other[2, 9] += 1e-16
    assert splits.data_hash(RATINGS._replace(scores=other)) != expected


def test_the_hash_of_a_split_is_that_of_its_photographs_in_any_order():
    expected = hashlib.sha256('12\n7\né'.encode()).hexdigest()
    assert splits.split_hash(RATINGS) == splits.split_hash(RATINGS.take([2, 0, 1])) == expected
    assert splits.split_hash(RATINGS.take([0, 1])) != expected
