"""What is missing, broken or mislabelled in a dataset. Nothing is changed; the findings go into a list file.

    python3 -m utils.check_dataset [--base_images_path DIR] [--ava_dataset_path FILE] [--split last|official|FILE]
                                   [--headers_only] [--list FILE] [--json FILE] [--write_clean FILE]

Exit code 1 where something was found, 0 where there are remarks at most: utils/checks/findings.py says which is which.
"""
import argparse
import os
import sys
from typing import List, Optional, Sequence

if __package__ in (None, ''):  # started as a file: Python looks in utils/ first, instead of in the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from utils.base import (
    errors,  # noqa: E402
    files,  # noqa: E402
)
from utils.base.defaults import from_root  # noqa: E402
from utils.base.flags import add_dataset_paths, add_split, add_val_size  # noqa: E402
from utils.base.parser import make_parser, parse_flags, typed_path  # noqa: E402
from utils.checks import findings, summary  # noqa: E402
from utils.checks.findings import Finding  # noqa: E402
from utils.data import ava_lines, label_tables  # noqa: E402


def refuse_clean(path: str) -> None:
    """Raise InputError where `path` cannot become a new label file."""
    files.require_writable(os.path.dirname(path), '--write_clean')
    if os.path.lexists(path):
        raise errors.InputError(f'--write_clean: found {path}, which is there already, expected a new file: type '
                                'another name')
    if label_tables.is_table(path):
        raise errors.InputError(f'--write_clean: found {path}, which would be read as a table, expected another '
                                "ending, as lines of AVA.txt are written: type such as clean.txt")


def _flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of this command."""
    parser = make_parser('Check a dataset: labels without a photograph, photographs without a label, photographs that '
                         'cannot be decoded, label lines that cannot be used, training photographs that are for '
                         'validation too. Exit code 1 if anything was found, 0 if there are remarks at most.')
    parser.add_argument('--headers_only', action='store_true',
                        help='a first look: headers and ends of files instead of decoding them')
    add_split(parser)
    add_val_size(parser)
    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    paths.add_argument('--list', type=typed_path, default=from_root('./log/check_dataset.tsv'), metavar='FILE',
                       help='list to write, one finding a line: kind, name, reason, parted by tabs (default: the '
                            "repository's log/check_dataset.tsv)")
    paths.add_argument('--json', type=typed_path, metavar='FILE', help='report to write as JSON (default: none)')
    paths.add_argument('--write_clean', type=typed_path, metavar='FILE',
                       help='label file to write, without the labels that a finding speaks of; must not exist '
                            '(default: none)')
    return parse_flags(parser, argv)


def main(argv: Optional[List[str]] = None) -> List[Finding]:
    """Check the dataset that the flags name; returns the findings."""
    options = _flags(argv)

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # it repeats every verdict as a warning
    from utils import data_loader
    summary.refuse_to_overwrite(options.list)
    if options.json:
        summary.refuse_to_overwrite(options.json, '--json')
    if options.write_clean:
        refuse_clean(options.write_clean)
    dataset = findings.open_dataset(*data_loader.dataset_paths(options.ava_dataset_path, options.base_images_path),
                                    split=options.split, val_size=options.val_size)
    if not options.headers_only:
        print('Remarks such as "Corrupt JPEG data" come from the JPEG library, of good and of bad files alike.',
              flush=True)
    checked = findings.look(dataset, headers_only=options.headers_only)
    found, remarks = (list(map(summary.printable, findings.run(checks, checked)))
                      for checks in (findings.CHECKS, findings.REMARKS))
    summary.write_list(found, options.list)
    if options.json:
        summary.write_json(summary.as_json(checked, found, remarks), options.json)
    print(summary.report(checked, found, remarks, options.list))
    if options.write_clean:
        lines = summary.clean_lines(checked)
        if not lines:
            raise errors.InputError('--write_clean: found no label that no finding speaks of, expected at least one: '
                                    'nothing was written')
        ava_lines.write_new(options.write_clean, lines, '--write_clean')
        print(f'{options.write_clean}: {len(lines)} labels')
    return found


if __name__ == '__main__':
    sys.exit(1 if errors.run(main, 'check_dataset') else 0)
