"""What is missing, broken or mislabelled in a dataset. Nothing is changed; the findings go into a list file.

    python3 -m utils.check_dataset [--base_images_path DIR] [--ava_dataset_path FILE] [--list FILE]
"""
import os
import re
import sys
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

if __package__ in (None, ''):  # started as a file: Python looks in utils/ first, instead of in the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from utils import ava, command_flags, errors, photo_names, score_utils  # noqa: E402
from utils.progress import progress  # noqa: E402

SHOWN = 5         # findings of a kind on the screen; the list file has all
BIN = 0.5         # width of a bar of the histogram, in points of the mean score
BAR_LENGTH = 50

Details = Iterator[Tuple[str, str]]  # the name of what was found, and why it is one


class Dataset(NamedTuple):
    """Labels and photographs, before anything is decoded."""

    labels_path: str
    images_folder: str
    labels: ava.Labels
    paths: np.ndarray     # object (str) [N]: of the labels' photographs, there or not
    found: np.ndarray     # bool [N]: whether the photograph is there
    images: List[str]     # names of all image files in the folder, sorted


class Finding(NamedTuple):
    """One thing that is wrong."""

    kind: str
    name: str
    reason: str


def bad_labels(dataset: Dataset) -> Details:
    """The label lines that training cannot use."""
    for line, reason in dataset.labels.bad:
        yield f'{os.path.basename(dataset.labels_path)}:{line}', reason


def labels_without_image(dataset: Dataset) -> Details:
    """The ids whose photograph is not in the folder; training leaves them out."""
    for image_id, path in zip(dataset.labels.ids[~dataset.found], dataset.paths[~dataset.found]):
        yield image_id, f'found no {os.path.basename(path)} in the folder: add the photograph or delete the line'


def images_without_label(dataset: Dataset) -> Details:
    """The image files that no label names; training never reads them."""
    used = set(map(os.path.basename, dataset.paths[dataset.found]))
    for name in dataset.images:
        if name not in used:
            yield name, 'found no label that names it: add one or take the file away'


def undecodable_images(dataset: Dataset) -> Details:
    """The image files, with and without label, that the input pipeline refuses; training stops at those with one."""
    from utils import data_loader
    paths = [os.path.join(dataset.images_folder, name) for name in dataset.images]
    verdicts = progress(data_loader.verdicts(paths), len(paths), 'decoding')
    for reason, name in zip(verdicts, dataset.images):  # in this order the bar sees the end of the verdicts
        if reason:
            yield name, reason


CHECKS: Tuple[Tuple[str, str, Callable[[Dataset], Details]], ...] = (
    ('bad_label', 'label lines that cannot be used', bad_labels),
    ('label_without_image', 'labels without an image', labels_without_image),
    ('image_without_label', 'images without a label', images_without_label),
    ('undecodable_image', 'images that cannot be decoded', undecodable_images),
)


def open_dataset(labels_path: str, images_folder: str) -> Dataset:
    """What is there; InputError where the labels, the folder or all of the labelled photographs are missing."""
    ava.refuse_exchanged(labels_path, images_folder)
    labels = ava.read_labels(labels_path, skip_bad=True)
    paths, found = ava.find_images(labels.ids, images_folder)
    images = sorted(name for name in os.listdir(images_folder) if name.lower().endswith(photo_names.ENDINGS))
    return Dataset(labels_path, images_folder, labels, paths, found, images)


def check(dataset: Dataset) -> List[Finding]:
    """All findings of all CHECKS, in their order."""
    return [Finding(kind, _cell(name), _cell(reason))
            for kind, _, details in CHECKS for name, reason in details(dataset)]


def _cell(text: str) -> str:
    """Text for one column of the list, whatever a file system allows in a name."""
    return re.sub(r'[\t\r\n]', ' ', os.fsencode(text).decode('utf-8', 'backslashreplace'))


def histogram(means: np.ndarray) -> str:
    """The mean scores [N] as a line of text for each BIN points, from the lowest to the highest."""
    edges = np.arange(ava.SCORES[0], ava.SCORES[-1] + BIN, BIN)
    counts, _ = np.histogram(means, edges)
    inside = np.flatnonzero(counts)
    lines = []
    for low, count in list(zip(edges, counts))[inside[0]:inside[-1] + 1]:
        bar = '#' * int(np.ceil(BAR_LENGTH * count / counts.max()))
        lines.append(f'  {low:4.1f} to {low + BIN:4.1f}  {count:7d}  {100 * count / len(means):5.1f} %  {bar}'.rstrip())
    return '\n'.join(lines)


def report(dataset: Dataset, findings: List[Finding], list_path: str) -> str:
    """The summary for people: sizes, histogram of the labels in use, findings."""
    means = score_utils.mean_score(dataset.labels.shares[dataset.found])
    good = np.round(means, score_utils.DECIMALS) > score_utils.GOOD
    lines = [f'labels: {len(dataset.labels.ids)} usable, {dataset.labels_path}',
             f'images: {len(dataset.images)}, {dataset.images_folder}',
             '', f'mean scores of the {len(means)} labels with an image (evenly long bars would be balanced classes):',
             histogram(means),
             f'  mean {means.mean():.2f}, above {score_utils.GOOD:g}: {100 * np.mean(good):.1f} %', '']
    for kind, title, _ in CHECKS:
        mine = [finding for finding in findings if finding.kind == kind]
        lines.append(f'{title}: {len(mine)}')
        lines += [f'  {finding.name}: {finding.reason}' for finding in mine[:SHOWN]]
        if len(mine) > SHOWN:
            lines.append(f'  and {len(mine) - SHOWN} more')
    lines.append(f'found {len(findings)} in all, listed in {list_path}' if findings else 'nothing found')
    return '\n'.join(lines)


def write_list(findings: List[Finding], path: str) -> None:
    """A line for each finding: kind, name, reason, parted by tabs. InputError where the disk takes no more."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8', newline='\n') as stream:
            stream.writelines('\t'.join(finding) + '\n' for finding in findings)
    except OSError as error:
        raise errors.InputError(f'--list: found {path}, which cannot be written ({error.strerror}), expected room for '
                                'the list: free some or type another name') from error


def refuse_to_overwrite(path: str) -> None:
    """Raise InputError where `path` cannot become the list, or holds something that is no list."""
    errors.check_output_folder(os.path.dirname(path), '--list')
    try:
        with open(path, encoding='utf-8') as stream:
            first = stream.readline()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        first = 'unreadable'
    if first and first.split('\t')[0] not in [kind for kind, _, _ in CHECKS]:
        raise errors.InputError(f'--list: found {path}, which is no list of findings, expected a new file or an '
                                'earlier list: type another name')


def main(argv: Optional[List[str]] = None) -> List[Finding]:
    """Check the dataset that the flags name; returns the findings."""
    options = command_flags.check_dataset_flags(argv)

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # it repeats every verdict as a warning
    from utils import data_loader
    dataset = open_dataset(*data_loader.dataset_paths(options.ava_dataset_path, options.base_images_path))
    refuse_to_overwrite(options.list)
    print('Remarks such as "Corrupt JPEG data" come from the JPEG library, of good and of bad files alike.', flush=True)
    findings = check(dataset)
    write_list(findings, options.list)
    print(report(dataset, findings, options.list))
    return findings


if __name__ == '__main__':
    sys.exit(1 if errors.run(main, 'check_dataset') else 0)
