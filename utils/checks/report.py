"""What check_dataset prints and writes: a summary, a list, JSON, and a label file without what was found."""
import collections
import os
from typing import Any, Dict, List, Optional

import numpy as np

from utils import score_utils
from utils.base import files, text
from utils.base.errors import InputError
from utils.checks import ava_facts, findings
from utils.checks.datasets import Dataset, LabelFile
from utils.checks.findings import ACROSS_SPLIT, CHECKS, REMARKS, Checked, Finding
from utils.data import ava, ava_lines, label_text, panel

SHOWN = 5         # findings of a kind on the screen; the list file has all
BIN = 0.5         # width of a bar of the histogram, in points of the mean score
BAR_LENGTH = 50
FORMAT = 'check_dataset 1'  # of the JSON report
OTHER_CAUSE = 'otherwise damaged'


def printable(finding: Finding) -> Finding:
    """The finding as text for one line of the list, whatever a file system allows in a name."""
    return Finding(*map(text.printable, finding))


def bars(means: np.ndarray) -> List[Dict[str, float]]:
    """The number of mean scores [N] in each of BIN points, from the lowest to the highest."""
    edges = np.arange(ava.SCORES[0], ava.SCORES[-1] + BIN, BIN)
    counts, _ = np.histogram(means, edges)
    inside = np.flatnonzero(counts)
    return [{'from': float(low), 'to': float(low + BIN), 'labels': int(count)}
            for low, count in list(zip(edges, counts))[inside[0]:inside[-1] + 1]]


def histogram(means: np.ndarray) -> str:
    """The mean scores [N] as a line of text for each BIN points, from the lowest to the highest."""
    rows = bars(means)
    most = max(row['labels'] for row in rows)
    lines = []
    for row in rows:
        count = row['labels']
        bar = '#' * int(np.ceil(BAR_LENGTH * count / most))
        lines.append(f'  {row["from"]:4.1f} to {row["to"]:4.1f}  {count:7d}  {100 * count / len(means):5.1f} %  '
                     f'{bar}'.rstrip())
    return '\n'.join(lines)


def causes(checked: Checked) -> Dict[str, int]:
    """How many of the unreadable images are empty, truncated, no images, WebP ..., by their headers."""
    from utils.data import decoding
    counts: Dict[str, int] = collections.Counter()
    for name in checked.reasons:
        facts = checked.dataset.facts[name]
        large = facts.pixels > decoding.MAX_PIXELS
        counts['absurdly large' if large else facts.cause or OTHER_CAUSE] += 1
    return dict(counts)


def summary(checked: Checked, found: List[Finding], remarks: List[Finding], list_path: str) -> str:
    """The text for the screen: sizes, histogram of the labels in use, remarks, findings."""
    dataset = checked.dataset
    means = score_utils.mean_score(dataset.distributions[dataset.found])
    good = np.round(means, score_utils.DECIMALS) > score_utils.GOOD
    files = dataset.label_files
    lines = [*(f'labels: {len(file.labels.ids)} usable, {file.path}' for file in files),
             f'images: {len(dataset.images)}, {dataset.images_folder}', *([dataset.split] if dataset.parts else []),
             *(sentence for file in files for sentence in file.labels.about), *_about_names(dataset),
             *((f'{file.path}: ' if len(files) > 1 else '') + panel.text(_agreement(dataset, file)) for file in files)]
    if checked.headers_only:
        lines.append('headers only: no image was decoded, damage behind the headers was not looked for')
    lines += ['', f'mean scores of the {len(means)} labels with an image (evenly long bars would be balanced classes):',
              histogram(means),
              f'  mean {means.mean():.2f}, above {score_utils.GOOD:g}: {100 * np.mean(good):.1f} %', '']
    for kind, title, _ in REMARKS:
        mine = [remark for remark in remarks if remark.kind == kind]
        lines += [f'remark: {title}: {len(mine)}', *_first(mine)] if mine else []
    for kind, title, _ in CHECKS:
        mine = [finding for finding in found if finding.kind == kind]
        if kind == ACROSS_SPLIT and not dataset.parts:
            lines.append(f'{title}: not checked: {dataset.split}')
            continue
        lines += [f'{title}: {len(mine)}', *_first(mine)]
        if kind == 'undecodable_image' and mine:
            lines.append('  of these ' + ', '.join(f'{cause} {count}' for cause, count in causes(checked).items()))
    nothing = 'nothing found' if dataset.parts else 'nothing found in what was checked'
    lines.append(f'found {len(found)} in all, listed in {list_path}' if found else nothing)
    return '\n'.join(lines)


def _agreement(dataset: Dataset, file: LabelFile) -> Optional[panel.Agreement]:
    """The agreement of a file's labels that have an image."""
    found = dataset.found[file.rows]
    return panel.agreement(score_utils.mean_score(file.labels.distributions[found]), file.labels.panel.take(found))


def _about_names(dataset: Dataset) -> List[str]:
    """A sentence where files are named as in the labels but for the case of letters."""
    names = ava.in_other_case(dataset.ids[dataset.found], dataset.paths[dataset.found])
    differ = f'{len(names)} names differ from their files in the case of letters only, first '
    return [differ + names[0]] if names else []


def _first(findings: List[Finding]) -> List[str]:
    lines = [f'  {finding.name}: {finding.reason}' for finding in findings[:SHOWN]]
    return lines + [f'  and {len(findings) - SHOWN} more'] if len(findings) > SHOWN else lines


def as_json(checked: Checked, findings: List[Finding], remarks: List[Finding]) -> Dict[str, Any]:
    """The same for programs: every finding and remark, with the counts of each kind."""
    dataset = checked.dataset
    means = score_utils.mean_score(dataset.distributions[dataset.found])
    parts, (first, *others) = dataset.parts, dataset.label_files
    return {
        'format': FORMAT, 'headers_only': checked.headers_only,
        'labels': _file_json(dataset, first),
        'validation_labels': {**_file_json(dataset, others[0]), **agreement_json(_agreement(dataset, others[0]))}
                             if others else None,
        'images': {'folder': dataset.images_folder, 'files': len(dataset.images)},
        'split': {'text': dataset.split, 'training': parts[0].count, 'validation': parts[1].count} if parts else {
            'text': f'not checked: {dataset.split}'},
        **agreement_json(_agreement(dataset, first)),
        'mean_score': float(means.mean()), 'mean_scores': bars(means),
        'undecodable_causes': causes(checked),
        'counts': {kind: sum(finding.kind == kind for finding in [*findings, *remarks])
                   for kind, _, _ in (*CHECKS, *REMARKS) if parts or kind != ACROSS_SPLIT},
        'findings': [finding._asdict() for finding in findings],
        'remarks': [remark._asdict() for remark in remarks],
    }


def _file_json(dataset: Dataset, file: LabelFile) -> Dict[str, Any]:
    return {'path': file.path, 'usable': len(file.labels.ids), 'with_image': int(dataset.found[file.rows].sum()),
            'git_hash': ava_facts.git_hash(file.path)}


def agreement_json(found: Optional[panel.Agreement]) -> Dict[str, Any]:
    """What two panels of this size would agree, and the ceiling, as panel.text() has them; None where not measured."""
    return {'panel_agreement_lcc': found and found.reliability, 'noise_ceiling_lcc': found and found.ceiling,
            'noise_ceiling_srcc': found and panel.srcc_of(found.ceiling)}


def write_json(content: Dict[str, Any], path: str) -> None:
    """The JSON report; InputError where it cannot be written."""
    with files.writing(path, 'Free space or choose another --json'):
        files.write_json(path, content)


def write_list(findings: List[Finding], path: str) -> None:
    """A line for each finding: kind, name, reason, separated by tabs; InputError where it cannot be written."""
    with files.writing(path, 'Free space or choose another --list'):
        files.write(path, ''.join('\t'.join(finding) + '\n' for finding in findings))


def require_replaceable(path: str, flag: str) -> None:
    """Raise InputError where `path` cannot become the list or the JSON report, as `flag` says, or is another file."""
    files.require_writable(os.path.dirname(path), flag)
    try:
        with open(path, encoding='utf-8') as stream:
            first = stream.readline() + stream.readline()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        first = 'unreadable'
    if flag == '--json':
        earlier, what = f'"format": "{FORMAT}"' in first, 'JSON report of this command'
    else:
        earlier, what = first.split('\t')[0] in [kind for kind, _, _ in CHECKS], 'list of findings'
    if first and not earlier:
        raise InputError(f'{flag}: {path} exists and is no {what}. Choose another name')


def clean_lines(checked: Checked) -> List[List[str]]:
    """The label lines of each label file, unchanged, without those that a finding speaks of.

    Left out: bad lines, labels without an image or with an unreadable one, further labels of an image that has one, and
    training images that are validation images too. Labels of tables become lines of AVA.txt.
    """
    dataset = checked.dataset
    unwanted = {name for name, _ in findings.duplicates_across_split(checked)} | set(checked.reasons)
    twice = set(findings.rows_of_one_image(dataset))
    kept = [row for row, path in enumerate(dataset.paths)
            if dataset.found[row] and dataset.name_of(path) not in unwanted and row not in twice]
    first = 1
    result: List[List[str]] = []
    for file in dataset.label_files:
        votes = file.labels.distributions * file.labels.totals[:, np.newaxis]
        mine = [row - file.rows.start for row in kept if file.rows.start <= row < file.rows.stop]
        result.append(_as_they_stand(file, mine) if not file.labels.is_table else
                      ava_lines.to_lines(file.labels.ids, votes, file.labels.panel.assumed, mine, first))
        first += len(mine)
    return result


def _as_they_stand(file: LabelFile, rows: List[int]) -> List[str]:
    bad = {line for line, _ in file.labels.bad}
    text = label_text.read(file.path, 'lines of AVA.txt').data
    lines = [line.decode('utf-8') for number, line in enumerate(text.splitlines(), 1)
             if line.strip() and number not in bad]
    return [lines[row] for row in rows]
