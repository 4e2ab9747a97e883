"""Labels in CSV or JSON -> lines of AVA.txt. No file that is there is changed.

    python3 -m utils.labels FILE -o AVA.txt [--range LOW HIGH] [--shuffle N] [--skip_bad_labels]

utils/data/label_tables.py says which columns a table may have.
"""
import argparse
import os
import sys
from typing import List, Optional, Sequence

import numpy as np

if __package__ in (None, ''):  # started as a file: Python looks in utils/ first, instead of in the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from utils.base import errors  # noqa: E402
from utils.base.flags import add_skip_bad_labels  # noqa: E402
from utils.base.parser import any_number, make_parser, parse_flags, seed, typed_path  # noqa: E402
from utils.data import ava, ava_lines, label_tables  # noqa: E402


def _flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of this command."""
    parser = make_parser('Turn labels in CSV or JSON into lines of AVA.txt: file names with ten votes, with a mean and '
                         'a standard deviation, or with a mean alone.')
    parser.add_argument('file', type=typed_path, metavar='FILE', help='table, .csv or .json')
    parser.add_argument('-o', '--output', type=typed_path, required=True, metavar='AVA.txt',
                        help='label file to write; must not exist')
    parser.add_argument('--range', type=any_number, nargs=2, metavar=('LOW', 'HIGH'),
                        help="the lowest and the highest possible mean, such as 0 100 (default: as the column's name "
                             'says, mean_0_100, else 1 10)')
    parser.add_argument('--shuffle', type=seed, metavar='N',
                        help='shuffle the lines with this seed, so that the last ones, for validation, are like the '
                             'others (default: the order of FILE)')
    add_skip_bad_labels(parser)
    return parse_flags(parser, argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Convert as the flags say; returns the number of lines written."""
    options = _flags(argv)
    if not label_tables.is_table(options.file):
        raise errors.InputError(f'{options.file}: found a name that ends with neither .csv nor .json, expected a table '
                                'of one of the two: rename it')
    if label_tables.is_table(options.output):
        raise errors.InputError(f'--output: found {options.output}, which would be read as a table, expected another '
                                'ending: type such as AVA.txt')
    names, votes, bad = label_tables.parse(ava.read_text(options.file), options.file, skip_bad=options.skip_bad_labels,
                                         mean_range=(options.range[0], options.range[1]) if options.range else None)
    if not names:
        found = f'no usable line (line {bad[0][0]}: {bad[0][1]})' if bad else 'no lines'
        raise errors.InputError(f'{options.file}: found {found}, expected {label_tables.EXPECTED} in each line: give a '
                                'table with labels')
    order = np.arange(len(names))
    if options.shuffle is not None:
        order = np.random.RandomState(options.shuffle).permutation(len(names))
    ava_lines.write_new(options.output, [ava_lines.to_line(index, names[row], votes[row])
                                         for index, row in enumerate(order, 1)], '--output')
    left_out = f', {len(bad)} left out, first line {bad[0][0]}: {bad[0][1]}' if bad else ''
    print(f'{options.output}: {len(names)} labels{left_out}')
    return len(names)


if __name__ == '__main__':
    errors.run(main, 'labels')
