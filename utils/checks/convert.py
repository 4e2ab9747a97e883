"""A copy of a dataset's images that training reads: of other kinds as PNG, of all others as they are."""
import collections
import contextlib
import os
import shutil
from typing import Dict, List, NamedTuple

from utils.base.errors import InputError
from utils.base.files import new_folder
from utils.base.progress import progress
from utils.checks.findings import Checked
from utils.data import image_names


class Converted(NamedTuple):
    """What became of the labelled images."""

    converted: List[str]      # names of those that are PNG now
    as_they_are: int          # how many
    unreadable: Dict[str, str]  # why an image is not there, by name


def convert(checked: Checked, folder: str) -> Converted:
    """Fill the new `folder`, the --base_images_path to be, with the images that have a label.

    Those that the pipeline reads are linked, or copied where that cannot be; those of another kind become NAME.png,
    upright as their EXIF data say; a name that ends like a JPEG or a PNG stays, as labels may have it, and the pipeline
    tells a kind by the content. InputError where two images would get one name, or the folder is not new.
    """
    from utils.data import decoding, image_files
    dataset = checked.dataset
    targets = _targets(checked)
    result = Converted([], 0, {})
    with new_folder(folder, '--convert') as fresh:
        for name, target in progress(sorted(targets.items()), len(targets), 'converting'):
            source, path = os.path.join(dataset.images_folder, name), os.path.join(fresh, target)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if name not in checked.reasons:
                _link(source, path)
                result = result._replace(as_they_are=result.as_they_are + 1)
            elif not decoding.needs_pillow(dataset.facts[name].kind, checked.reasons[name]):
                result.unreadable[name] = checked.reasons[name]
            else:
                try:
                    png = image_files.read_as_png(source, turn=True, compress_level=6)
                except InputError as error:
                    result.unreadable[name] = str(error).replace(f'{source}: ', '')
                    continue
                with open(path, 'xb') as stream:
                    stream.write(png)
                result.converted.append(name)
    return result


def _targets(checked: Checked) -> Dict[str, str]:
    """The name of each labelled image's copy; InputError where two would have one."""
    targets: Dict[str, str] = {}
    for name in checked.dataset.label_of:
        keeps = name not in checked.reasons or image_names.file_names(name) == [name]
        targets[name] = name if keeps else os.path.splitext(name)[0] + '.png'
    for target, count in collections.Counter(targets.values()).items():
        if count > 1:
            twice = ' and '.join(sorted(name for name in targets if targets[name] == target))
            raise InputError(f'--convert: {twice} would both become {target}. Rename one, in the labels too')
    return targets


def _link(source: str, path: str) -> None:
    with contextlib.suppress(OSError):
        os.link(os.path.realpath(source), path)
        return
    shutil.copyfile(source, path)


def text(result: Converted, folder: str) -> str:
    """What was done, for the screen."""
    lines = [f'{folder}: {result.as_they_are} images as they are, {len(result.converted)} converted to PNG']
    if result.unreadable:
        name, reason = next(iter(result.unreadable.items()))
        lines.append(f'not converted, as they are unreadable: {len(result.unreadable)}, first {name}: {reason}')
    return '\n'.join(lines)
