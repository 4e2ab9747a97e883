"""Which photographs are for training and which for validation, and how two such choices are told apart."""
import hashlib

import numpy as np

from utils import ava


def data_hash(ratings: ava.Ratings) -> str:
    """SHA-256, in hexadecimal, of ids and vote shares in their order: the same for the same data in any file."""
    digest = hashlib.sha256('\n'.join(ratings.ids).encode('utf-8', 'surrogateescape'))
    digest.update(np.ascontiguousarray(ratings.scores, '<f8').tobytes())
    return digest.hexdigest()


def split_hash(val: ava.Ratings) -> str:
    """SHA-256, in hexadecimal, of the ids of the photographs that are for validation, in any order."""
    return hashlib.sha256('\n'.join(sorted(val.ids)).encode('utf-8', 'surrogateescape')).hexdigest()
