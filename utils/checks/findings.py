"""What is looked for in a dataset: findings and remarks.

Training and scoring leave out what has a finding, or it makes a score wrong. What has a remark is used as it is,
but worth a look.
"""
import collections
import os
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base import reading
from utils.base.progress import progress
from utils.checks import ava_facts, decoder_warnings
from utils.checks.datasets import Dataset
from utils.data import ava, image_headers
from utils.data.image_headers import Facts
from utils.data.image_kinds import JPEG

LARGE = 30 * 10 ** 6    # pixels: beyond AVA's images by far, slow to decode, below what is refused
FEW_BYTES = 0.1         # bytes of a JPEG's scan for a pixel: an image of one colour has far less, most others more
ALWAYS_LOOK = 4096      # bytes below which FEW_BYTES says nothing: some of them are tables
ONE_COLOUR = 3 / 127.5  # largest difference in an image of one colour, on the scale from -1 to 1
ACROSS_SPLIT = 'duplicate_across_split'

Details = Iterator[Tuple[str, str]]  # the name of what was found, and why it is one


class Finding(NamedTuple):
    """One thing that is wrong, or worth a remark."""

    kind: str
    name: str
    reason: str


class Checked(NamedTuple):
    """A dataset and the verdicts on its images."""

    dataset: Dataset
    reasons: Dict[str, str]        # why a file cannot be decoded, by name
    one_colour: List[str]          # names of images in which the network sees one colour only
    same: List[List[str]]          # names of labelled images with the same content, in the labels' order
    headers_only: bool
    warnings: Dict[str, str]       # what the decoder says of an image that it decodes all the same, by name


def examine(dataset: Dataset, *, headers_only: bool = False) -> Checked:
    """The verdicts on all images: from TF's own decoder, or from the headers alone."""
    warnings: Dict[str, str] = {}
    with decoder_warnings.held() as written:
        verdicts = _by_headers(dataset) if headers_only else _decode(dataset, written, warnings)
        reasons = {name: verdicts[name] or '' for name in dataset.images if verdicts[name]}
        one_colour = [] if headers_only else _one_coloured(dataset, reasons)
    return Checked(dataset, reasons, one_colour, _same_content(dataset, reasons), headers_only, warnings)


def _by_headers(dataset: Dataset) -> Dict[str, Optional[str]]:
    """Why a file cannot be decoded, as far as its header shows, by name."""
    from utils.data import decoding
    limit = decoding.MAX_PIXELS
    facts = dataset.facts
    large = {name: f'more than {limit // 10 ** 6} megapixels: {facts[name].pixels}' for name in dataset.images
             if facts[name].pixels > limit}
    return {name: facts[name].problem or large.get(name) for name in dataset.images}


def _decode(dataset: Dataset, written: Callable[[], str], warnings: Dict[str, str]) -> Dict[str, Optional[str]]:
    """Why TF cannot decode a file, None where it can, by name; pipes and devices are not touched.

    `warnings` get what the decoder says of those that it can, see decoder_warnings.held().
    """
    from utils import data_loader
    paths = {name: os.path.join(dataset.images_folder, name) for name in dataset.images}
    reasons = {name: dataset.facts[name].problem for name in dataset.images if reading.is_special(paths[name])}
    names = [name for name in dataset.images if name not in reasons]
    verdicts = data_loader.verdicts([paths[name] for name in names], written=written,
                                    warn=lambda index, text: warnings.update({names[index]: text}))
    for reason, name in zip(progress(verdicts, len(names), 'decoding'), names):  # the bar sees the end of the verdicts
        reasons[name] = reason
    return reasons


def _one_coloured(dataset: Dataset, reasons: Dict[str, str]) -> List[str]:
    """Names of labelled images in which the network sees one colour; only files small enough are decoded."""
    from utils.data import image_files
    names = [name for name in dataset.label_of if name not in reasons and _may_be_one_colour(dataset.facts[name])]
    reader, found = image_files.ImageReader(), []
    try:
        for name in progress(names, len(names), 'looking for one colour'):
            pixels = reader.read(os.path.join(dataset.images_folder, name))
            if np.ptp(pixels, axis=(0, 1)).max() <= ONE_COLOUR:
                found.append(name)
    finally:
        reader.close()
    return sorted(found)


def _may_be_one_colour(facts: Facts) -> bool:
    return facts.kind != JPEG or facts.scan_bytes < ALWAYS_LOOK + FEW_BYTES * facts.pixels


def _same_content(dataset: Dataset, reasons: Dict[str, str]) -> List[List[str]]:
    """Groups of labelled, decodable files of one content; only those with the same size and start are read whole."""
    alike: Dict[Tuple[int, bytes], List[str]] = collections.OrderedDict()
    for name in dataset.label_of:
        if name not in reasons:
            alike.setdefault((dataset.facts[name].size, dataset.facts[name].digest), []).append(name)
    same: Dict[bytes, List[str]] = collections.OrderedDict()
    for name in (name for names in alike.values() if len(names) > 1 for name in names):
        content = image_headers.content_hash(os.path.join(dataset.images_folder, name))
        same.setdefault(content, []).append(name)
    return [names for names in same.values() if len(names) > 1]


# --- findings


def bad_labels(checked: Checked) -> Details:
    """The label lines that training cannot use."""
    for file in checked.dataset.label_files:
        for line, reason in file.labels.bad:
            yield f'{os.path.basename(file.path)}:{line}', reason


def labels_without_image(checked: Checked) -> Details:
    """The ids whose image is not in the folder; training leaves them out."""
    dataset = checked.dataset
    unread = ava.with_unread_ending(dataset.images_folder, dataset.ids[~dataset.found])
    for image_id, path in zip(dataset.ids[~dataset.found], dataset.paths[~dataset.found]):
        yield image_id, (f'found the ending {unread[image_id]}, which is not read: convert it to JPEG or PNG, and '
                         'correct its name in the labels' if image_id in unread else
                         f'found no {dataset.name_of(path)} in the folder: add the image or delete the line')


def images_without_label(checked: Checked) -> Details:
    """The image files that no label names; training never reads them."""
    used = set(map(checked.dataset.name_of, checked.dataset.paths))  # a pipe with a label is none of them
    for name in checked.dataset.images:
        if name not in used:
            yield name, 'found no label that names it: add one or take the file away'


def undecodable_images(checked: Checked) -> Details:
    """The image files, with and without label, that the input pipeline refuses."""
    yield from checked.reasons.items()


def rows_of_one_image(dataset: Dataset) -> Dict[int, int]:
    """The rows whose image another row has too, and that one: later rows, of two label files those for training."""
    first: Dict[str, int] = {}
    found: Dict[int, int] = {}
    for row in np.flatnonzero(dataset.found):
        earlier = first.setdefault(dataset.paths[row], row)
        if earlier != row:
            later = dataset.file_of(earlier) == dataset.file_of(row)
            found.update({row: earlier} if later else {earlier: row})
    return found


def labels_of_one_image(checked: Checked) -> Details:
    """The ids whose image another id names too, such as 7 and 7.jpg."""
    dataset = checked.dataset
    for row, other in rows_of_one_image(dataset).items():
        file = dataset.file_of(other)
        where = '' if file == dataset.file_of(row) else f' in {os.path.basename(file)}'
        yield dataset.ids[row], f'found the same file as for {dataset.ids[other]}{where}: delete one of the two lines'


def duplicates_across_split(checked: Checked) -> Details:
    """The training images whose content a validation image has too: the model knows their scores.

    Where a typed --val_size or --val_dataset_path gives no split, that is the finding.
    """
    dataset = checked.dataset
    if dataset.split_typed and not dataset.parts:
        flag = '--val_size' if len(dataset.label_files) == 1 else '--val_dataset_path'
        yield flag, f'not checked: {dataset.split}'
    for name, other in _across_split(checked):
        yield name, f'found the same content as in {other}, which is for validation: delete one of the two lines'


def _across_split(checked: Checked) -> Iterator[Tuple[str, str]]:
    parts, name_of = checked.dataset.parts, checked.dataset.name_of
    validation = {name_of(path) for path in parts[1].paths} if parts else set()
    for names in checked.same:
        inside = [name for name in names if name in validation]
        if inside:
            yield from ((name, inside[0]) for name in names if name not in validation)


# --- remarks


def duplicates_in_a_part(checked: Checked) -> Details:
    """The images whose content an earlier one of their part has too."""
    across = {name for name, _ in _across_split(checked)}
    for names in checked.same:
        rest = [name for name in names if name not in across]
        for name in rest[1:]:
            yield name, f'has the same content as {rest[0]}'


def other_content(checked: Checked) -> Details:
    """The files whose content is of another kind than their name says; TF goes by the content."""
    for name, facts in checked.dataset.facts.items():
        if name not in checked.reasons and facts.kind and facts.kind != image_headers.kind_by_name(name):
            yield name, f'holds {facts.kind} content, which is decoded as such'


def one_colour(checked: Checked) -> Details:
    for name in checked.one_colour:
        yield name, 'shows one colour only at the size that the network sees'


def warned_of(checked: Checked) -> Details:
    for name in sorted(checked.warnings):
        yield name, f'is decoded, with the warning {checked.warnings[name]}'


def large_images(checked: Checked) -> Details:
    for name, facts in checked.dataset.facts.items():
        if name not in checked.reasons and facts.pixels > LARGE:
            yield name, f'has {facts.pixels / 10 ** 6:.0f} megapixels: a smaller copy would be read faster'


def rotated(checked: Checked) -> Details:
    for name, facts in checked.dataset.facts.items():
        if name not in checked.reasons and facts.orientation != 1:
            yield name, f'has the EXIF orientation {facts.orientation}, which --exif_orientation applies or ignores'


def unlike_ava(checked: Checked) -> Details:
    """What is unusual in labels that look like AVA's."""
    dataset = checked.dataset
    missing = {os.path.splitext(os.path.basename(path))[0] for path in dataset.paths[~dataset.found]}
    unreadable = {os.path.splitext(name)[0] for name in checked.reasons}
    for file in dataset.label_files:
        yield from ava_facts.remarks(file.path, file.labels, missing | unreadable)


Check = Tuple[str, str, Callable[[Checked], Details]]
CHECKS: Tuple[Check, ...] = (
    ('bad_label', 'label lines that cannot be used', bad_labels),
    ('label_without_image', 'labels without an image', labels_without_image),
    ('image_without_label', 'images without a label', images_without_label),
    ('undecodable_image', 'unreadable images', undecodable_images),
    ('label_of_same_image', 'labels of an image that has one already', labels_of_one_image),
    (ACROSS_SPLIT, 'training images that are validation images too', duplicates_across_split),
)
REMARKS: Tuple[Check, ...] = (
    ('duplicate', 'images with the content of another of their part', duplicates_in_a_part),
    ('other_content', 'images of another kind than their names', other_content),
    ('one_colour', 'images of one colour', one_colour),
    ('decoder_warning', 'images that are decoded with a warning', warned_of),
    ('large_image', f'images of more than {LARGE // 10 ** 6} megapixels', large_images),
    ('rotated', 'images with an EXIF rotation', rotated),
    ('unlike_ava', 'the labels beside those of AVA', unlike_ava),
)


def run(checks: Sequence[Check], checked: Checked) -> List[Finding]:
    """All that `checks`, CHECKS or REMARKS, find, in their order."""
    return [Finding(kind, name, reason) for kind, _, details in checks for name, reason in details(checked)]
