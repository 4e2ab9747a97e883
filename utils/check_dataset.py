"""What is missing, broken or mislabelled in a dataset. Nothing is changed; the findings go into a list file.

    python3 -m utils.check_dataset [--base_images_path DIR] [--ava_dataset_path FILE] [--split last|official|FILE]
                                   [--headers_only] [--list FILE] [--json FILE] [--write_clean FILE]

Exit code 1 where something was found, 0 where there are remarks at most: utils/dataset_checks.py says which is which.
"""
import os
import sys
from typing import List, Optional

if __package__ in (None, ''):  # started as a file: Python looks in utils/ first, instead of in the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from utils import ava_lines, command_flags, dataset_checks, dataset_report, errors, own_labels  # noqa: E402
from utils.dataset_checks import Finding  # noqa: E402


def refuse_clean(path: str) -> None:
    """Raise InputError where `path` cannot become a new label file."""
    errors.check_output_folder(os.path.dirname(path), '--write_clean')
    if os.path.lexists(path):
        raise errors.InputError(f'--write_clean: found {path}, which is there already, expected a new file: type '
                                'another name')
    if own_labels.is_table(path):
        raise errors.InputError(f'--write_clean: found {path}, which would be read as a table, expected another '
                                "ending, as lines of AVA.txt are written: type such as clean.txt")


def main(argv: Optional[List[str]] = None) -> List[Finding]:
    """Check the dataset that the flags name; returns the findings."""
    options = command_flags.check_dataset_flags(argv)

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # it repeats every verdict as a warning
    from utils import data_loader
    dataset_report.refuse_to_overwrite(options.list)
    if options.json:
        dataset_report.refuse_to_overwrite(options.json, '--json')
    if options.write_clean:
        refuse_clean(options.write_clean)
    dataset = dataset_checks.open_dataset(*data_loader.dataset_paths(options.ava_dataset_path,
                                                                     options.base_images_path),
                                          split=options.split, val_size=options.val_size)
    if not options.headers_only:
        print('Remarks such as "Corrupt JPEG data" come from the JPEG library, of good and of bad files alike.',
              flush=True)
    checked = dataset_checks.look(dataset, headers_only=options.headers_only)
    findings, remarks = (list(map(dataset_report.printable, dataset_checks.run(checks, checked)))
                         for checks in (dataset_checks.CHECKS, dataset_checks.REMARKS))
    dataset_report.write_list(findings, options.list)
    if options.json:
        dataset_report.write_json(dataset_report.as_json(checked, findings, remarks), options.json)
    print(dataset_report.report(checked, findings, remarks, options.list))
    if options.write_clean:
        lines = dataset_report.clean_lines(checked)
        if not lines:
            raise errors.InputError('--write_clean: found no label that no finding speaks of, expected at least one: '
                                    'nothing was written')
        ava_lines.write_new(options.write_clean, lines, '--write_clean')
        print(f'{options.write_clean}: {len(lines)} labels')
    return findings


if __name__ == '__main__':
    sys.exit(1 if errors.run(main, 'check_dataset') else 0)
