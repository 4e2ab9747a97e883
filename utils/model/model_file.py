"""A model's .h5 file, read once with h5py alone: its metadata, its network, its weights, its optimiser state.

The metadata are JSON in the root attribute `nima`, an object with these fields, each of which may be missing:

    preprocessing   what is done to an image before the network sees it; see base/preprocessing.py, which refuses what
                    it does not know
    epoch           the epoch, counted from 1, after which train.py wrote the file
    origin          of an imported file: {"file": name, "sha256": hexadecimal}
    run             of a trained file: how it came about; see metadata.py

Other fields are kept.
"""
import contextlib
import hashlib
import json
import os
import shlex
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from utils.base import preprocessing
from utils.base.defaults import IMAGE_SIZE
from utils.base.errors import InputError, command_of
from utils.base.preprocessing import Preprocessing
from utils.base.scores import SCORES
from utils.base.text import printable, short
from utils.model import metadata, trust, trust_network

METADATA = 'nima'  # the attribute's name
CHECKSUM = 'nima_sha256'
CHECKPOINT = 'a checkpoint that train.py or the import wrote'

Shapes = Dict[str, List[Tuple[int, ...]]]


class ModelFile(NamedTuple):
    """All of a model file that was checked, see trust.py; read() opens the file once."""

    path: str
    network: Optional[str]                # JSON of the architecture; None for weights alone
    layer_count: int                      # all layers, those without weights too
    shapes: Shapes                        # of each layer with weights, in the network's order
    weights: Dict[str, List[np.ndarray]]  # their arrays
    optimizer: Optional[str]              # the class of the optimiser whose settings and state are there
    slots: List[np.ndarray]               # the optimiser's state: steps made, then its slots, in its own order
    metadata: Optional[Dict[str, Any]]    # None where the file has none

    @property
    def parameters(self) -> int:
        """The number of weights, moving averages included."""
        return sum(int(np.prod(shape)) for layer in self.shapes.values() for shape in layer)

    @property
    def run(self) -> Dict[str, Any]:
        """How a trained file came about, see metadata.py; empty for others."""
        return (self.metadata or {}).get('run', {})

    @property
    def own_preprocessing(self) -> Optional[Preprocessing]:
        """What is done to images as the metadata say; None where they do not."""
        found = (self.metadata or {}).get('preprocessing')
        return None if found is None else preprocessing.from_json(found)

    @property
    def head(self) -> Optional[str]:
        """The layer whose softmax has an output for each of SCORES; None where there is no such layer."""
        count = len(SCORES)
        heads = [name for name, shapes in self.shapes.items()
                 if len(shapes) == 2 and len(shapes[0]) == 2 and shapes[0][1] == count and shapes[1] == (count,)]
        return heads[-1] if heads else None

    def require_checkpoint(self) -> 'ModelFile':
        """The file itself; InputError where it has no network."""
        if self.network is not None:
            return self
        if self.head is None:
            raise InputError(f'{self.path}: found weights without a network and without a layer of {len(SCORES)} '
                             f'outputs, expected {CHECKPOINT}. Choose another --checkpoint')
        raise InputError(f'{self.path}: found weights without a network, expected {CHECKPOINT}. Import the file with '
                         f'{import_command(self.path)}')

    def at_size(self, image_size: Optional[int]) -> 'ModelFile':
        """The file for images of another side, with the same weights; itself for None.

        InputError where its network does not say the side of its input.
        """
        if image_size is None:
            return self
        network = json.loads(str(self.require_checkpoint().network))
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
            first = network['config']['layers'][0]['config']
            batch, _, _, channels = first['batch_input_shape']
            first['batch_input_shape'] = [batch, image_size, image_size, channels]
            found = self.preprocessing(None, lambda text: None)._replace(image_size=image_size)
            return self._replace(network=json.dumps(network), metadata={**(self.metadata or {}),
                                                                        'preprocessing': found.as_json()})
        raise InputError(f'{self.path}: found a network whose first layer states no size of images, expected one for '
                         f'{CHECKPOINT}. Leave --image_size out')

    def preprocessing(self, input_size: Optional[int], report: Callable[[str], Any]) -> Preprocessing:
        """What is done to images for this model, whose input has the side `input_size`, None for any.

        A file without metadata gets the model card's pre-processing, and `report` a sentence that says so.
        """
        self.require_checkpoint()
        found = self.own_preprocessing
        if found is None:
            made = Preprocessing(input_size or IMAGE_SIZE)
            report(f"{self.path}: no metadata; the model card's pre-processing is used (resize {made.resize}, padding "
                   f'{made.padding})')
            return made
        if input_size not in (None, found.image_size):
            raise InputError(f'{self.path}: found a network for images of side {input_size} with metadata that say '
                             f'{found.image_size}, expected the same. Use the file as train.py wrote it')
        return found

    def preprocessing_to_start_from(self, image_size: int, report: Callable[[str], Any]) -> Preprocessing:
        """What is done to images in a training that starts from these weights: of a base model or a complete NIMA.

        A complete NIMA model brings its resize and padding, and `report` gets a sentence on that.
        """
        if self.head is None:
            return Preprocessing(image_size)
        found = self.preprocessing(None, report)
        note = f', trained on images of side {found.image_size}' if found.image_size != image_size else ''
        report(f'{self.path}: starting from a complete NIMA model, head included{note}: images of side {image_size}, '
               f'resize {found.resize}, padding {found.padding}')
        return found._replace(image_size=image_size)


def read(path: str, expected: str = CHECKPOINT, *, arrays: bool = True) -> ModelFile:
    """All that is in `path`, opened and checked once, its checksum compared.

    Without `arrays` they and the checksum are left out: weights and slots are empty. InputError, with `expected` in its
    sentence, where that is no complete Keras file, or holds what it must not.
    """
    with _opened(path, expected) as file:
        group: Any = file.get('model_weights', file)
        names = _names(group, 'layer_names')
        network = _text(file.attrs['model_config']) if 'model_config' in file.attrs else None
        training = trust.parse_json(_text(file.attrs.get('training_config', '{}')), 'training settings')
        shapes = {name: [each.shape for each in found] for name in names for found in [_arrays(group[name])] if found}
        slots = _arrays(file['optimizer_weights']) if arrays and 'optimizer_weights' in file else []
        if arrays and CHECKSUM in file.attrs and _text(file.attrs[CHECKSUM]) != _checksum(file):
            raise trust.DistrustError('contents that differ from their checksum')
        weights = {name: [each[()] for each in _arrays(group[name])] for name in shapes} if arrays else {}
        return ModelFile(path, network, len(names), shapes, weights,
                         training.get('optimizer_config', {}).get('class_name'), [each[()] for each in slots],
                         _metadata(file, path))


def import_command(path: str) -> str:
    """The command that turns weights by others into a checkpoint, and what some of them need instead."""
    return (f'{command_of("utils/models.py")} import {shlex.quote(path)} --resize bilinear --padding tf -o model.h5 '
            "(idealo's need --resize nearest --padding symmetric)")


def write_metadata(file: Any, content: Dict[str, Any]) -> None:
    """Put metadata into an open h5py file, and the checksum of all that is there."""
    file.attrs[METADATA] = json.dumps(content, sort_keys=True, allow_nan=False)
    file.attrs[CHECKSUM] = _checksum(file)


def _checksum(file: Any) -> str:
    """SHA-256 of all arrays and of the metadata, in hexadecimal."""
    digest = hashlib.sha256()
    arrays: List[Any] = []
    file.visititems(lambda name, part: arrays.append(part) if hasattr(part, 'dtype') else None)
    for array in arrays:  # visited in the order of their names
        digest.update(f'{array.name} {array.shape} {array.dtype.str}\n'.encode('utf-8', 'surrogateescape'))
        digest.update(np.ascontiguousarray(array[()]).tobytes())
    for name in ('model_config', 'training_config', METADATA):
        digest.update(_text(file.attrs.get(name, '')).encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()


def _names(group: Any, name: str) -> List[str]:
    """A list of names as Keras writes it: one attribute, or numbered ones where it is long."""
    if name in group.attrs:
        return [_text(each) for each in group.attrs[name]]
    parts = [f'{name}{number}' for number in range(len(group.attrs)) if f'{name}{number}' in group.attrs]
    if not parts:
        raise KeyError(f'no {name}')
    return [_text(each) for part in parts for each in group.attrs[part]]


def _arrays(group: Any) -> List[Any]:
    """The h5py datasets of a layer or an optimiser, of which nothing is read yet."""
    return [group[name] for name in _names(group, 'weight_names')]


def _metadata(file: Any, path: str) -> Optional[Dict[str, Any]]:
    if METADATA not in file.attrs:
        return None
    return metadata.checked(printable(trust.parse_json(_text(file.attrs[METADATA]), 'metadata')), path)


@contextlib.contextmanager
def _opened(path: str, expected: str) -> Iterator[Any]:
    """An open h5py file that trust.py and trust_network.py have checked."""
    import h5py
    try:
        trust.require_ordinary_file(path)
        trust.try_to_read(path)
        with h5py.File(path, 'r') as file:
            trust.check_structure(file, os.path.getsize(path))
            if 'model_config' in file.attrs:
                trust_network.check(trust.parse_json(_text(file.attrs['model_config']), 'a network'))
            yield file
    except trust.DistrustError as distrust:
        raise InputError(f'{path}: found {short(str(distrust), 250)}; expected {expected}. Do not use the file, get '
                         'one from its maker') from distrust
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError,
            MemoryError) as error:
        raise InputError(f'{path}: found {_what(path, error)}, expected {expected}. Get a complete copy of the '
                         '.h5 file') from error


def _what(path: str, error: Exception) -> str:
    """What a file is that h5py does not read as Keras wrote it."""
    if not os.path.isfile(path):
        return 'no file'
    try:
        with open(path, 'rb') as stream:
            start = stream.read(512).lstrip()
    except OSError as unreadable:
        return f'a file that cannot be read ({unreadable.strerror})'
    if not start:
        return 'an empty file'
    if start.startswith(b'<'):
        return 'a web page'
    if not start.startswith(b'\x89HDF'):
        return 'a file that is not HDF5'
    if isinstance(error, OSError):
        return f'a truncated or damaged HDF5 file ({short(str(error), 250)})'
    return f'an HDF5 file without Keras weights ({short(str(error), 250)})'


def _text(value: Any) -> str:
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)
