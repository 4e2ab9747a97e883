"""What stands in a model's .h5 file, read with h5py alone: its record, its layers, its weights.

The record is JSON in the root attribute `nima`, an object with these fields:

    preprocessing   what to do with a photograph before the network sees it; see preprocessing()
    epoch           the epoch, counted from 1, after which train.py wrote the file
    origin          of an imported file: {"file": name, "sha256": hexadecimal}
    run             of a trained file: how it came about; see origin.py
"""
import contextlib
import hashlib
import json
import os
import shlex
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple

import numpy as np

from utils.base.defaults import IMAGE_SIZE, PADDINGS, RESIZES
from utils.base.errors import InputError, command_of
from utils.base.scores import SCORES
from utils.base.text import printable, short
from utils.model import metadata, trust, trust_network

RECORD = 'nima'  # the attribute's name
CHECKSUM = 'nima_sha256'
CHECKPOINT = 'a checkpoint that train.py or the import wrote'
_CARD_USED = ("the file carries no record of its pre-processing: the model card's is used (resize {resize}, "
              'padding {padding})')

Shapes = Dict[str, List[Tuple[int, ...]]]


class Contents(NamedTuple):
    """A model file without its numbers."""

    has_network: bool          # the architecture is there: a checkpoint, not weights alone
    shapes: Shapes             # of each layer with weights, in the network's order
    layer_count: int           # all layers, those without weights too
    optimizer: Optional[str]   # the class of the optimiser whose settings and state are there
    record: Optional[Dict[str, Any]]

    @property
    def parameters(self) -> int:
        """The number of weights, moving averages included."""
        return sum(int(np.prod(shape)) for layer in self.shapes.values() for shape in layer)

    @property
    def head(self) -> Optional[str]:
        """The layer that gives one share to each of SCORES; None where there is no such layer."""
        count = len(SCORES)
        heads = [name for name, shapes in self.shapes.items()
                 if len(shapes) == 2 and len(shapes[0]) == 2 and shapes[0][1] == count and shapes[1] == (count,)]
        return heads[-1] if heads else None


def preprocessing(image_size: int = IMAGE_SIZE, resize: str = 'bilinear', padding: str = 'tf') -> Dict[str, Any]:
    """The pre-processing that a record holds; by default the model card's.

    image_size  side in pixels of the network's input
    resize      to a square: 'bilinear' is TF 1's own (no half-pixel centres), 'nearest' has half-pixel centres
    scaling     of pixels in [0, 255], as a formula
    padding     before stride-2 convolutions: 'tf' is ((0, 1), (0, 1)), 'symmetric' ((1, 1), (1, 1)) as in Keras
                2.1.5 and 2.1.6
    """
    return {'image_size': image_size, 'resize': resize, 'scaling': '(x - 127.5) / 127.5', 'padding': padding}


def read(path: str, expected: str = CHECKPOINT) -> Contents:
    """What is in `path`; InputError, with `expected` in its sentence, where that is no complete Keras file."""
    with opened(path, expected) as file:
        group: Any = file.get('model_weights', file)
        names = _names(group, 'layer_names')
        shapes = {name: [tuple(group[name][weight].shape) for weight in _names(group[name], 'weight_names')]
                  for name in names}
        training = trust.parse_json(_text(file.attrs.get('training_config', '{}')), 'training settings')
        return Contents('model_config' in file.attrs, {name: found for name, found in shapes.items() if found},
                        len(names), training.get('optimizer_config', {}).get('class_name'), _record(file, path))


def import_command(path: str) -> str:
    """What to type to turn weights by others into a checkpoint, and what some of them need instead."""
    return (f'{command_of("utils/models.py")} import {shlex.quote(path)} --resize bilinear --padding tf -o model.h5 '
            "(idealo's need --resize nearest --padding symmetric)")


def read_weights(path: str) -> Dict[str, List[np.ndarray]]:
    """The arrays of each layer with weights."""
    with opened(path, whole=True) as file:
        return weights_of(file)


def weights_of(file: Any) -> Dict[str, List[np.ndarray]]:
    """The arrays of each layer with weights in the file of opened()."""
    group: Any = file.get('model_weights', file)
    weights = {name: _arrays(group[name]) for name in _names(group, 'layer_names')}
    return {name: arrays for name, arrays in weights.items() if arrays}


def read_optimizer(path: str) -> List[np.ndarray]:
    """The optimiser's state: how many steps it made, then its slots, in its own order; empty where there is none."""
    with opened(path) as file:
        return _arrays(file['optimizer_weights']) if 'optimizer_weights' in file else []


def read_network(path: str) -> Dict[str, Any]:
    """The network as Keras describes it, {"class_name": ..., "config": ...}; nothing is built from it."""
    with opened(path) as file:
        return json.loads(network_of(file))


def network_of(file: Any) -> str:
    """The JSON of the network in the file of opened()."""
    return _text(file.attrs['model_config'])


def write_record(file: Any, record: Dict[str, Any]) -> None:
    """Put `record` into an open h5py file, and the checksum of all that is there."""
    file.attrs[RECORD] = json.dumps(record, sort_keys=True, allow_nan=False)
    file.attrs[CHECKSUM] = _checksum(file)


def _checksum(file: Any) -> str:
    """SHA-256 of all numbers and of the record, in hexadecimal."""
    digest = hashlib.sha256()
    arrays: List[Any] = []
    file.visititems(lambda name, part: arrays.append(part) if hasattr(part, 'dtype') else None)
    for array in arrays:  # visited in the order of their names
        digest.update(f'{array.name} {array.shape} {array.dtype.str}\n'.encode('utf-8', 'surrogateescape'))
        digest.update(np.ascontiguousarray(array[()]).tobytes())
    for name in ('model_config', 'training_config', RECORD):
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


def _arrays(group: Any) -> List[np.ndarray]:
    return [group[name][()] for name in _names(group, 'weight_names')]


def require_checkpoint(path: str) -> Contents:
    """What is in `path`; InputError where that is no network with weights and a head for votes from 1 to 10."""
    found = read(path)
    if not found.has_network:
        _refuse_weights_alone(path, found)
    return found


def _refuse_weights_alone(path: str, found: Contents) -> NoReturn:
    if found.head is None:
        raise InputError(f'{path}: found weights without a network and without a layer for {len(SCORES)} votes, '
                         f'expected {CHECKPOINT}: type --checkpoint')
    raise InputError(f'{path}: found weights without a network, expected {CHECKPOINT}: import the file with '
                     f'{import_command(path)}')


def preprocessing_of(path: str, input_size: Optional[int], report: Callable[[str], Any]) -> Dict[str, Any]:
    """What to do with photographs for the model in `path`, whose input has the side `input_size` or None for any.

    A file without a record gets the model card's pre-processing, and `report` a sentence that says so.
    """
    record = require_checkpoint(path).record
    if record is None:
        found = preprocessing(input_size or IMAGE_SIZE)
        report(f'{path}: {_CARD_USED.format(**found)}')
        return found
    found = record['preprocessing']
    if input_size not in (None, found['image_size']):
        raise InputError(f'{path}: found a network for images of side {input_size} with a record that says '
                         f'{found["image_size"]}, expected the same: take the file as train.py wrote it')
    return found


def preprocessing_to_start_from(path: Optional[str], image_size: int,
                                report: Callable[[str], Any]) -> Dict[str, Any]:
    """What to do with photographs in a training that starts from `path`: a base model, a whole NIMA or None.

    A whole NIMA brings its resize and padding, and `report` gets a sentence on that.
    """
    start = read(path, 'Keras weights') if path else None
    if path is None or start is None or start.head is None:
        return preprocessing(image_size)
    found = preprocessing_of(path, None, report)
    note = f', trained for images of side {found["image_size"]}' if found['image_size'] != image_size else ''
    report(f'{path}: starting from a whole NIMA, head included{note}: images of side {image_size}, resize '
           f'{found["resize"]}, padding {found["padding"]}')
    return {**found, 'image_size': image_size}


def _record(file: Any, path: str) -> Optional[Dict[str, Any]]:
    if RECORD not in file.attrs:
        return None
    text = _text(file.attrs[RECORD])
    try:
        record = printable(trust.parse_json(text, 'a record'))
        found = record['preprocessing']
        usable = found == preprocessing(found['image_size'], found['resize'], found['padding']) and (
            found['resize'] in RESIZES and found['padding'] in PADDINGS
            and type(found['image_size']) is int and found['image_size'] >= 1)
    except (ValueError, KeyError, TypeError):
        usable = False
    if not usable:
        raise InputError(f'{path}: found a record {short(text)}, expected a pre-processing that this '
                         f'version knows (resize {" or ".join(RESIZES)}, padding {" or ".join(PADDINGS)}): use the '
                         'version that wrote the file')
    metadata.check(record, path)
    return record


@contextlib.contextmanager
def opened(path: str, expected: str = CHECKPOINT, *, whole: bool = False) -> Iterator[Any]:
    """An open h5py file that trust.py and trust_network.py have checked; `whole` also compares its checksum, if any.

    InputError, with `expected` in its sentence, where it is no complete Keras file, or holds what it must not.
    """
    import h5py
    try:
        trust.require_ordinary_file(path)
        trust.try_to_read(path)
        with h5py.File(path, 'r') as file:
            trust.check_structure(file, os.path.getsize(path))
            if 'model_config' in file.attrs:
                trust_network.check(trust.parse_json(_text(file.attrs['model_config']), 'a network'))
            if whole and CHECKSUM in file.attrs and _text(file.attrs[CHECKSUM]) != _checksum(file):
                raise trust.DistrustError('contents that differ from their checksum')
            yield file
    except trust.DistrustError as distrust:
        raise InputError(f'{path}: found {distrust}; expected {expected}: do not use the file, take one from its '
                         'maker') from distrust
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError,
            MemoryError) as error:
        raise InputError(f'{path}: found {_what(path, error)}, expected {expected}: take a complete copy of the '
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
        return f'a truncated or damaged HDF5 file ({str(error).splitlines()[0]})'
    return f'an HDF5 file without Keras weights ({error})'


def _text(value: Any) -> str:
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)
