"""Prints the numbers of utils/base/percentiles.py: percentiles 0 to 100 of the mean scores in a label file.

    bash run.sh tools/percentile_table.py LABELS        AVA.txt, or a part of it
"""
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils import score_utils  # noqa: E402
from utils.base import errors  # noqa: E402
from utils.data import ava  # noqa: E402

A_LINE = 10


def percentiles(labels):
    """The number of images in a label file, and the percentiles 0, 1, ..., 100 of their means, to 4 decimals."""
    shares = ava.read_labels(labels).distributions
    return len(shares), np.round(np.percentile(score_utils.mean_score(shares), np.arange(101)), 4)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    count, table = percentiles(sys.argv[1])
    print(f'{count} images')
    for first in range(0, len(table), A_LINE):
        print('    ' + ' '.join(f'{number:.4f},' for number in table[first:first + A_LINE]))


if __name__ == '__main__':
    errors.run(main, 'percentile_table')
