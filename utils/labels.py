"""Labels in CSV or JSON -> lines of AVA.txt. Existing files stay as they are.

    bash run.sh -m utils.labels FILE -o AVA.txt [--range LOW HIGH] [--shuffle N] [--skip_bad_labels]

utils/data/label_tables.py says which columns a table may have.
"""
import argparse
from typing import List, Optional, Sequence

from utils.base import errors
from utils.base.flags import add_skip_bad_labels
from utils.base.parser import any_number, make_parser, parse_flags, seed, typed_path


def _flags(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = make_parser('Turn labels in CSV or JSON into lines of AVA.txt: file names with ten votes, with a mean and '
                         'a standard deviation, or with a mean alone.')
    parser.add_argument('file', type=typed_path, metavar='FILE', help='table, .csv or .json')
    parser.add_argument('-o', '--output', type=typed_path, required=True, metavar='AVA.txt',
                        help='label file to write; must not exist')
    parser.add_argument('--range', type=any_number, nargs=2, metavar=('LOW', 'HIGH'),
                        help="lowest and highest possible mean, such as 0 100 (default: as in the column's name, "
                             'mean_0_100, else 1 10)')
    parser.add_argument('--shuffle', type=seed, metavar='N',
                        help='shuffle the lines with this seed, so that the last ones, for validation, are like the '
                             'others (default: the order of FILE)')
    add_skip_bad_labels(parser)
    return parse_flags(parser, argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Convert as the flags say; returns the number of lines written."""
    flags = _flags(argv)

    import numpy as np

    from utils.data import ava, ava_lines, label_tables

    if not label_tables.is_table(flags.file):
        raise errors.InputError(f'{flags.file} is no table: its name must end with .csv or .json. Rename it')
    ava_lines.require_new(flags.output, '--output')
    names, votes, bad = label_tables.parse(ava.read_text(flags.file), flags.file, skip_bad=flags.skip_bad_labels,
                                           mean_range=(flags.range[0], flags.range[1]) if flags.range else None)
    if not names:
        raise ava.no_labels(flags.file, bad)
    order = np.arange(len(names))
    if flags.shuffle is not None:
        order = np.random.RandomState(flags.shuffle).permutation(len(names))
    ava_lines.write_new(flags.output, [ava_lines.to_line(index, names[row], votes[row])
                                       for index, row in enumerate(order, 1)], '--output')
    left_out = f', {len(bad)} left out, first line {bad[0][0]}: {bad[0][1]}' if bad else ''
    print(f'{flags.output}: {len(names)} labels{left_out}')
    return len(names)


if __name__ == '__main__':
    errors.run(main, 'labels')
