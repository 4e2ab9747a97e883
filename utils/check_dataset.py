"""What is missing, unreadable or mislabelled in a dataset, which stays as it is. The findings go into a list file.

    bash run.sh -m utils.check_dataset [--base_images_path DIR] [--ava_dataset_path FILE]
                                       [--split last|official|FILE | --val_dataset_path FILE] [--headers_only]
                                       [--list FILE] [--json FILE] [--write_clean FILE] [--convert DIR]

Exit code 1 where something was found, 0 where there are remarks at most: utils/checks/findings.py says which is which.
"""
import argparse
import os
import sys
from typing import Any, List, Optional, Sequence

if __package__ in (None, ''):  # started as a file: Python looks in utils/ first, instead of in the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from utils.base import errors  # noqa: E402
from utils.base.defaults import from_root  # noqa: E402
from utils.base.flags import (  # noqa: E402
    add_dataset_paths,
    add_label_options,
    add_split,
    add_val_size,
    settle_split,
)
from utils.base.parser import make_parser, parse_flags, typed_path  # noqa: E402


def _flags(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = make_parser('Check a dataset: labels without an image, images without a label, unreadable images, label '
                         'lines that cannot be used, training images that are validation images too. Exit code 1 if '
                         'anything was found, 0 if there are remarks at most.')
    parser.add_argument('--headers_only', action='store_true',
                        help='a first look: headers and ends of files instead of decoding them')
    add_split(parser)
    add_label_options(parser, skip=False)
    add_val_size(parser)
    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    paths.add_argument('--list', type=typed_path, default=from_root('./log/check_dataset.tsv'), metavar='FILE',
                       help='list to write, one finding a line: kind, name, reason, separated by tabs (default: the '
                            "repository's log/check_dataset.tsv)")
    paths.add_argument('--json', type=typed_path, metavar='FILE', help='JSON report to write (default: none)')
    paths.add_argument('--write_clean', type=typed_path, metavar='FILE',
                       help='label file to write, without the labels that have a finding; of two label files with '
                            'those for validation at its end; must not exist (default: none)')
    paths.add_argument('--convert', type=typed_path, metavar='DIR',
                       help='new folder for all labelled images, to be the --base_images_path: those that training '
                            'does not read (WebP, TIFF, HEIC, AVIF, moving GIF, some BMP) as PNG, upright, the others '
                            'linked (default: none; needs requirements-photos.txt)')
    flags = parse_flags(parser, argv)
    val_size = flags.val_size  # None where it was not typed: only then a split that cannot be is no finding
    flags = settle_split(parser, flags)
    flags.val_size = val_size
    return flags


def main(argv: Optional[List[str]] = None) -> List[Any]:
    """Check the dataset that the flags name; returns the findings."""
    flags = _flags(argv)

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # it repeats every verdict as a warning
    from utils import data_loader
    from utils.checks import convert, datasets, findings, report
    from utils.data import ava_lines
    report.require_replaceable(flags.list, '--list')
    if flags.json:
        report.require_replaceable(flags.json, '--json')
    if flags.convert:
        errors.require_packages('--convert', {'PIL': 'Pillow'}, 'requirements-photos.txt')
    if flags.write_clean:
        ava_lines.require_new(flags.write_clean, '--write_clean')
    dataset = datasets.open_dataset(*data_loader.dataset_paths(flags.ava_dataset_path, flags.base_images_path),
                                    split=flags.split, val_size=flags.val_size, options=flags.labels)
    checked = findings.examine(dataset, headers_only=flags.headers_only)
    found, remarks = (list(map(report.printable, findings.run(checks, checked)))
                      for checks in (findings.CHECKS, findings.REMARKS))
    report.write_list(found, flags.list)
    if flags.json:
        report.write_json(report.as_json(checked, found, remarks), flags.json)
    print(report.summary(checked, found, remarks, flags.list))
    if flags.convert:
        print(convert.text(convert.convert(checked, flags.convert), flags.convert))
    if flags.write_clean:
        first, *others = report.clean_lines(checked)
        lines = first + [line for other in others for line in other]
        if not lines:
            raise errors.InputError('--write_clean: every label has a finding. No file was written')
        ava_lines.write_new(flags.write_clean, lines, '--write_clean')
        last = f', the last {len(others[0])} for validation: --val_size {len(others[0])}' if others else ''
        print(f'{flags.write_clean}: {len(lines)} labels{last}')
    return found


if __name__ == '__main__':
    sys.exit(1 if errors.run(main, 'check_dataset') else 0)
