"""Draw the demo dataset: scenes, each degraded by a known amount, with votes that fall with it.

    bash run.sh -m utils.demo_dataset [--output DIR] [--train_size N] [--val_size N] [--seed N]

Nothing is downloaded.
"""
import argparse
from typing import List, Optional, Sequence

from utils.base.defaults import DEMO, DEMO_DATASET
from utils.base.errors import run
from utils.base.parser import count, make_parser, parse_flags, seed, typed_path


def _flags(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = make_parser('Draw a demo dataset: small scenes, degraded by known amounts, with votes that fall with '
                         'them.')
    parser.add_argument('--output', type=typed_path, default=DEMO_DATASET, metavar='DIR',
                        help="folder to make (default: the repository's AVA_dataset/demo)")
    for name, kind, default in (('train_size', count, DEMO['train_size']), ('val_size', count, DEMO['val_size']),
                                ('seed', seed, 0)):
        parser.add_argument('--' + name, type=kind, default=default, metavar='N', help=f'(default: {default})')
    return parse_flags(parser, argv)


def main(argv: Optional[List[str]] = None) -> str:
    """Make the demo dataset that the flags describe; returns its folder."""
    flags = _flags(argv)
    from utils.demo import dataset
    dataset.make(flags.output, train_size=flags.train_size, val_size=flags.val_size, seed=flags.seed)
    print(f'{flags.output}: {flags.train_size} scenes to train on, {flags.val_size} for validation')
    return flags.output


if __name__ == '__main__':
    run(main, 'demo_dataset')
