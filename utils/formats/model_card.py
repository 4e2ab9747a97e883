"""What is written beside an exported model: the model card, as JSON."""
import os
from typing import Any, Dict

from utils.base.defaults import VERSION
from utils.base.files import sha256, write_json
from utils.base.preprocessing import Preprocessing
from utils.base.scores import SCORES
from utils.model.metadata import versions
from utils.model.model_file import ModelFile

CARD, PARITY = 'model_card.json', 'parity.json'


def card(file: ModelFile, preprocessing: Preprocessing, *, kind: str, tensorflow: str, inputs: Dict[str, Any],
         outputs: Dict[str, Any], files: Dict[str, str]) -> Dict[str, Any]:
    """The card of an export of a checkpoint to the format `kind`.

    `files` maps the names of the exported files to their SHA-256. There is no path and no date in it: the same export
    is the same card.
    """
    metadata, run = file.metadata or {}, file.run
    return {
        'model': 'NIMA: the distribution of the votes from 1 to 10 that people would give an image',
        'source': 'arXiv:1709.05424',
        'format': kind,
        'checkpoint': {'file': os.path.basename(file.path), 'sha256': sha256(file.path)},
        'preprocessing': {**preprocessing.as_json(), 'colours': 'RGB',
                          'exif_rotation': 'not made: turn images upright before, as their EXIF data say'},
        'inputs': inputs,
        'outputs': outputs,
        'scores': [int(score) for score in SCORES],
        'epoch': metadata.get('epoch'),
        'origin': metadata.get('origin'),
        'training': {name: value for name, value in run.items() if name != 'metrics'} or None,
        'metrics': run.get('metrics'),
        'files': files,
        'exported_with': {**versions(tensorflow), 'nima': VERSION},
    }


def hashes(folder: str) -> Dict[str, str]:
    """The SHA-256 of every file below `folder`, by its name from there."""
    found = {}
    for below, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(below, name)
            found[os.path.relpath(path, folder)] = sha256(path)
    return dict(sorted(found.items()))


def write(folder: str, content: Dict[str, Any], parity: Dict[str, Any]) -> None:
    """Write the card and the parity report into `folder`, which is made."""
    os.makedirs(folder, exist_ok=True)
    write_json(os.path.join(folder, CARD), content)
    write_json(os.path.join(folder, PARITY), parity)
