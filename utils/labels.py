"""A table of labels -> lines of AVA.txt. Existing files stay as they are.

    bash run.sh -m utils.labels FILE -o AVA.txt [--range WORST BEST] [--std S] [--shuffle N] [--skip_bad_labels] [...]

docs/datasets.md shows which tables are read.
"""
import argparse
from typing import List, Optional, Sequence

from utils.base import errors
from utils.base.flags import add_label_options
from utils.base.parser import make_parser, parse_flags, seed, typed_path


def _flags(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = make_parser('Turn a table of labels into lines of AVA.txt: file names with ten votes, with a mean and a '
                         'standard deviation, with a mean alone, or one row for each rating. What was read of it is '
                         'reported.')
    parser.add_argument('file', type=typed_path, metavar='FILE',
                        help='table: .csv, .tsv, .json, .jsonl, .xlsx, or .txt with a table in it')
    parser.add_argument('-o', '--output', type=typed_path, required=True, metavar='AVA.txt',
                        help='label file to write; must not exist')
    parser.add_argument('--shuffle', type=seed, metavar='N',
                        help='shuffle the lines with this seed, so that the last ones, for validation, are like the '
                             'others (default: the order of FILE)')
    parser.add_argument('--base_images_path', type=typed_path, metavar='DIR',
                        help='folder of the images: which column names them, and whether another one has their '
                             'sub-folders, is then seen from the files (default: from the names of the columns)')
    add_label_options(parser, two_files=False)
    return parse_flags(parser, argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Convert as the flags say; returns the number of lines written."""
    flags = _flags(argv)

    import numpy as np

    from utils.base.scores import SCORES
    from utils.data import ava, ava_lines, label_tables, panel

    ava_lines.require_new(flags.output, '--output')
    if not label_tables.is_one(flags.file):
        raise errors.InputError(f'{flags.file} is no table: it has lines of AVA.txt, or none that can be read. Use '
                                'it as it is, or give a table, such as .csv')
    exists = ava.has_image(flags.base_images_path) if flags.base_images_path else None
    table = label_tables.read(flags.file, flags.labels, exists)
    names, votes, bad = table.names, table.votes, table.bad
    if not names:
        raise ava.no_labels(flags.file, bad)
    for sentence in table.about:
        print(sentence)
    if table.panel.groups is not None:
        print(f'groups are not kept, as lines of AVA.txt have none. For --group column use {flags.file} itself')
    order = np.arange(len(names))
    if flags.shuffle is not None:
        order = np.random.RandomState(flags.shuffle).permutation(len(names))
    ava_lines.write_new(flags.output, ava_lines.to_lines(names, votes, table.panel.assumed, order), '--output')
    left_out = f', {len(bad)} left out, first line {bad[0][0]}: {bad[0][1]}' if bad else ''
    means = votes @ SCORES / votes.sum(axis=1)
    print(f'{flags.file}: {panel.text(panel.agreement(means, table.panel))}')
    print(f'{flags.output}: {len(names)} labels{left_out}')
    return len(names)


if __name__ == '__main__':
    errors.run(main, 'labels')
