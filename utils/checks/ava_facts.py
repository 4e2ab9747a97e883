"""What is known of AVA's label file, and how a label file that looks like it differs."""
import hashlib
from typing import Container, Iterator, Tuple

import numpy as np

from utils.base import reading
from utils.base.defaults import AVA_VOTES
from utils.base.scores import SCORES
from utils.data.ava import Labels

# git hash-object of AVA.txt as published, and with Windows line ends.
ORIGINAL = {'c6b2adb67101397ff9e9ffac773dc43e2e33aed9': 'with line ends of Unix',
            'a9569138ad6fd564fed5859cf405ab8642a693cc': 'with line ends of Windows'}
# Images that are damaged in the copies of AVA that people share.
DAMAGED_IDS = '440774', '179118', '371434', '277832', '230701', '729377'

FEWEST, MOST = AVA_VOTES
MEAN_VOTES, VOTES_WITHIN = 210, 15
MEAN_SCORE, SCORE_WITHIN = 5.38, 0.15
LABELS = 255000                  # about as many images have a label
ENOUGH = 1000                    # labels, for means to say something


def git_hash(path: str) -> str:
    """What git hash-object prints for the file at `path`."""
    data = reading.read_typed(path)
    return hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest()


def looks_like_ava(labels: Labels) -> bool:
    """Whether all ids are numbers, all votes whole, and most images have as many votes as AVA's."""
    return (all(image_id.isdigit() for image_id in labels.ids) and bool(np.all(labels.totals % 1 == 0))
            and FEWEST <= np.median(labels.totals) <= MOST)


def remarks(path: str, labels: Labels, unusable: Container[str]) -> Iterator[Tuple[str, str]]:
    """Name and reason of each remark; none where the labels do not look like AVA's.

    `unusable` holds the ids whose image is missing or cannot be decoded.
    """
    if not looks_like_ava(labels):
        return
    known = ORIGINAL.get(git_hash(path))
    if known:
        yield 'AVA.txt', f'is the original label file, {known}'
    elif len(labels.ids) >= LABELS:
        yield 'AVA.txt', 'is as long as the original label file and another'
    for image_id, total in zip(labels.ids, labels.totals):
        if not FEWEST <= total <= MOST:
            yield image_id, f'has {total:g} votes; AVA has {FEWEST} to {MOST} for an image'
    if len(labels.ids) >= ENOUGH:
        votes, score = labels.totals.mean(), float((labels.distributions @ SCORES).mean())
        if abs(votes - MEAN_VOTES) > VOTES_WITHIN:
            yield 'votes', f'are {votes:.0f} for an image on average; AVA has {MEAN_VOTES}'
        if abs(score - MEAN_SCORE) > SCORE_WITHIN:
            yield 'mean score', f'is {score:.2f} on average; AVA has {MEAN_SCORE}'
    for image_id in DAMAGED_IDS:
        if image_id in unusable and image_id in labels.ids:
            yield image_id, 'is known to be damaged or missing in copies of AVA'
