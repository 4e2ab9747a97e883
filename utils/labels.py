"""Labels in CSV or JSON -> lines of AVA.txt. No file that is there is changed.

    python3 -m utils.labels FILE -o AVA.txt [--range LOW HIGH] [--shuffle N] [--skip_bad_labels]

utils/own_labels.py says which columns a table may have.
"""
import os
import sys
from typing import List, Optional

import numpy as np

if __package__ in (None, ''):  # started as a file: Python looks in utils/ first, instead of in the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from utils import ava, ava_lines, command_flags, errors, own_labels  # noqa: E402


def main(argv: Optional[List[str]] = None) -> int:
    """Convert as the flags say; returns the number of lines written."""
    options = command_flags.labels_flags(argv)
    if not own_labels.is_table(options.file):
        raise errors.InputError(f'{options.file}: found a name that ends with neither .csv nor .json, expected a table '
                                'of one of the two: rename it')
    if own_labels.is_table(options.output):
        raise errors.InputError(f'--output: found {options.output}, which would be read as a table, expected another '
                                'ending: type such as AVA.txt')
    names, votes, bad = own_labels.parse(ava.read_text(options.file), options.file, skip_bad=options.skip_bad_labels,
                                         mean_range=(options.range[0], options.range[1]) if options.range else None)
    if not names:
        found = f'no usable line (line {bad[0][0]}: {bad[0][1]})' if bad else 'no lines'
        raise errors.InputError(f'{options.file}: found {found}, expected {own_labels.EXPECTED} in each line: give a '
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
