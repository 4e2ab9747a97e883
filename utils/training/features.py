"""What the base network makes of every photograph, computed once and kept on disk: --trainable head trains on it.

Each list of photographs has a folder of its own, named after all that its features depend on. There manifest.json says
what they are and how far they are computed, and features.f32 holds them, row by row, crop after crop.
"""
import hashlib
import json
import os
import sys
import zlib
from typing import Any, Callable, Dict, Iterator, NamedTuple, NoReturn, Optional, Tuple

import numpy as np
import tensorflow as tf

from utils import data_loader, nima
from utils.base import files
from utils.base.errors import InputError
from utils.base.progress import bar
from utils.data import ava
from utils.data.bad_images import BadImages
from utils.data.epoch_plan import replace_unreadable
from utils.data.packed import Records
from utils.device.signals import Watch

FORMAT = 'NIMA features, 1'
MANIFEST, DATA = 'manifest.json', 'features.f32'
SAVE_EVERY = 50  # batches, after which a kill costs no more than these
BLOCK = 1 << 24  # bytes that are read at a time

Batch = data_loader.Batch


class Source(NamedTuple):
    """Photographs whose features are wanted, and how to read them."""

    what: str                       # 'training' or 'validation'
    ratings: ava.Ratings
    packed: Optional[Records]
    crops: Optional[int]            # random crops of each; None for the whole photograph
    preprocessing: Dict[str, Any]
    decoding: Dict[str, Any]        # for data_loader.in_order
    seed: int
    max_bad_images: float

    @property
    def rows(self) -> int:
        """All rows of features: those of the first crop of every photograph, then those of the second, ..."""
        return (self.crops or 1) * self.ratings.count

    def images(self, first: int, batchsize: int, bad: BadImages,
               session_config: Any) -> Iterator[Tuple[int, np.ndarray]]:
        """Batches from the row `first` on, each with its first row."""
        count = self.ratings.count
        for crop in range(first // count, self.crops or 1):
            row = max(first, crop * count)
            for images in data_loader.in_order(
                    self.ratings, batchsize, bad=bad, preprocessing=self.preprocessing, first=row - crop * count,
                    epoch=None if self.crops is None else crop, seed=self.seed, session_config=session_config,
                    packed=self.packed, **self.decoding):
                yield row, images
                row += len(images)

    def identity(self) -> Dict[str, Any]:
        """All that the images depend on: the files as they stand, or the pack, and what is done to them."""
        crops = {'crops': self.crops, 'seed': self.seed} if self.crops else {}
        return {'photographs': self._files(), 'count': self.ratings.count, 'preprocessing': self.preprocessing,
                'decoding': {name: self.decoding[name] for name in sorted(self.decoding)}, **crops}

    def _files(self) -> str:
        digest = hashlib.sha256('\n'.join(self.ratings.ids).encode('utf-8', 'surrogateescape'))
        if self.packed:
            digest.update(json.dumps([shard['sha256'] for shard in self.packed.manifest['shards']]).encode())
            return digest.hexdigest()
        for path in self.ratings.paths:
            digest.update(f'{_stamp(path)}\n'.encode())
        return digest.hexdigest()


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:  # it will be named as a bad photograph
        return 'none'
    return f'{found.st_size} {found.st_mtime_ns}'


class Features:
    """Finished features, as a packed dataset: data_loader reads its batches from them."""

    def __init__(self, folder: str, source: Source, width: int, bad: Dict[str, str], first_epoch: int = 0) -> None:
        shape = (source.crops or 1, source.ratings.count, width)
        self._rows = np.memmap(os.path.join(folder, DATA), np.float32, 'r', shape=shape)
        self._bad, self._epoch = bad, first_epoch

    def note_bad(self, bad: BadImages, ratings: ava.Ratings) -> None:
        """Tell `bad` of the photographs that could not be decoded."""
        for index, reason in self._bad.items():
            bad.add(int(index), str(ratings.paths[int(index)]), reason)

    def pipeline(self, image_size: int, batchsize: int, *, drop_remainder: bool = False) -> 'FeaturesPipeline':
        return FeaturesPipeline(self._rows, batchsize, drop_remainder, self._epoch)


class FeaturesPipeline:
    """Batches of features [B, F] as pipeline.Pipeline gives images; pass after pass, crop after crop."""

    def __init__(self, rows: np.ndarray, batchsize: int, drop_remainder: bool, first_pass: int) -> None:
        self._rows, self._batchsize, self._pass = rows, batchsize, first_pass
        self._drop_remainder = drop_remainder

    def run(self, whole: Any) -> Iterator[Batch]:
        """The batches of one pass, a pipeline.Pass, full whatever could not be decoded."""
        rows = self._rows[self._pass % len(self._rows)]
        self._pass += 1
        chosen = replace_unreadable(whole.order, whole.bad.mask, whole.draw, whole.places)
        scores = whole.rows_of(chosen)[-1]
        last = len(chosen) // self._batchsize * self._batchsize if self._drop_remainder else len(chosen)
        for start in range(0, last, self._batchsize):
            part = slice(start, start + self._batchsize)
            yield rows[chosen[part]], scores[part]

    def close(self) -> None:
        pass


class Computing(NamedTuple):
    """How features are computed, and where they are kept."""

    folder: str
    base: tf.keras.Model
    network: str          # SHA-256 of the base network and its weights
    batchsize: int
    device: str
    precision: Dict[str, Any]
    session_config: Any
    watch: Watch


def for_head(model: tf.keras.Model, train: Source, val: Source, *, folder: str, batchsize: int, device: str,
             precision: Dict[str, Any], session_config: Any, watch: Watch, first_epoch: int,
             report: Callable[[str], Any]) -> Tuple[tf.keras.Model, Tuple[Features, Features]]:
    """The head of `model`, ready to be trained, and the features of both lists, computed where `folder` lacks them.

    SystemExit, with what is computed kept, where `watch` has seen a signal. InputError where the folder cannot be
    written or the network gives no numbers.
    """
    base, head = nima.on_features(model)
    how = Computing(folder, base, _network(model), batchsize, device, precision, session_config, watch)
    return head, (_opened(train, how, report, first_epoch), _opened(val, how, report))


def _network(model: tf.keras.Model) -> str:
    """SHA-256 of the layers before the head and of their weights."""
    digest = hashlib.sha256()
    for layer in model.layers[:-2]:
        config = {name: value for name, value in layer.get_config().items() if name != 'trainable'}
        digest.update(json.dumps([type(layer).__name__, config], sort_keys=True, default=str).encode())
    variables = [variable for layer in model.layers[:-2] for variable in layer.weights]
    for array in tf.keras.backend.batch_get_value(variables):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _opened(source: Source, how: Computing, report: Callable[[str], Any], first_epoch: int = 0) -> Features:
    width = int(how.base.output.shape[-1])
    identity = {'format': FORMAT, 'network': how.network, 'device': how.device, 'precision': how.precision,
                'width': width, **source.identity()}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = os.path.join(how.folder, f'{source.what}-{key[:16]}')
    with files.only_writer(folder, '--features'):
        found = _manifest(folder)
        done, bad, checksum = _usable(folder, found, source.rows, width, key, report)
        if done < source.rows:
            _compute(folder, source, how, {**identity, 'key': key}, _Stand(done, bad, checksum))
            found = _manifest(folder)
        else:
            report(f'{folder}: features of {source.ratings.count} {source.what} photographs, computed before')
        return Features(folder, source, width, found['bad'], first_epoch)


def _manifest(folder: str) -> Dict[str, Any]:
    """What stands in a folder's manifest; nothing where there is none, or none that can be read."""
    try:
        with open(os.path.join(folder, MANIFEST), encoding='utf-8') as stream:
            found = json.load(stream)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _usable(folder: str, found: Dict[str, Any], rows: int, width: int, key: str,
            report: Callable[[str], Any]) -> Tuple[int, Dict[int, str], int]:
    """How many rows are there as the manifest says, the bad photographs among them, and their checksum."""
    path = os.path.join(folder, DATA)
    try:
        done, crc32 = int(found['done']), int(found['crc32'])
        bad = {int(index): str(reason) for index, reason in found['bad'].items()}
        if found['key'] == key and 0 <= done <= rows and _crc32(path, 4 * width * done) == crc32:
            return done, bad, crc32
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        pass
    if os.path.exists(path):
        report(f'{folder}: found features that are not as they were written: computing them anew')
    return 0, {}, 0


def _crc32(path: str, size: int) -> Optional[int]:
    """That of the first `size` bytes of a file; None where it has fewer."""
    value = 0
    with open(path, 'rb') as stream:
        while size:
            block = stream.read(min(size, BLOCK))
            if not block:
                return None
            value, size = zlib.crc32(block, value), size - len(block)
    return value


class _Stand(NamedTuple):
    """How far the features of a list are computed."""

    done: int
    bad: Dict[int, str]
    crc32: int


def _compute(folder: str, source: Source, how: Computing, identity: Dict[str, Any], stand: _Stand) -> None:
    """Write the rows that are missing; SystemExit, with the manifest written, for a signal."""
    row_bytes, count = 4 * identity['width'], source.ratings.count
    reasons = dict(stand.bad)
    bad = _Noting(count, source, reasons)
    done, crc32 = stand.done, stand.crc32
    counter = bar(source.rows, f'features of {source.what} photographs', done)
    forward = nima.forward_batch(how.batchsize, how.device)
    try:
        with open(os.path.join(folder, DATA), 'r+b' if done else 'wb') as stream:
            stream.truncate(done * row_bytes)
            stream.seek(done * row_bytes)
            for number, (row, images) in enumerate(source.images(done, how.batchsize, bad, how.session_config), 1):
                data = _numbers(nima.predict(how.base, images, forward), source, row).tobytes()
                stream.write(data)
                done, crc32 = row + len(images), zlib.crc32(data, crc32)
                counter.update(len(images))
                if number % SAVE_EVERY == 0 or done == source.rows or how.watch.signal is not None:
                    stream.flush()
                    os.fsync(stream.fileno())
                    _write_manifest(folder, {**identity, 'done': done, 'crc32': crc32, 'bad': reasons})
                if how.watch.signal is not None:
                    counter.close()
                    _stop(how.watch, folder, done, source.rows)
    except OSError as error:
        raise InputError(f'{folder}: found that features cannot be written ({error.strerror}), expected room for '
                         f'{source.rows * row_bytes} bytes: free some, or type another --features') from error
    finally:
        counter.close()


class _Noting(BadImages):
    """Keeps why each photograph is bad; the training or the validation that follows tells it."""

    def __init__(self, count: int, source: Source, reasons: Dict[int, str]) -> None:
        super().__init__(count, share=source.max_bad_images, what=source.what, report=lambda text: None)
        self._kept: Dict[int, str] = {}
        for index, reason in reasons.items():
            self.add(index, str(source.ratings.paths[index]), reason)
        self._kept = reasons

    def add(self, index: int, path: str, reason: str, *, quiet: bool = False) -> None:
        super().add(index, path, reason, quiet=quiet)
        self._kept[index] = reason


def _numbers(features: np.ndarray, source: Source, row: int) -> np.ndarray:
    if not np.isfinite(features).all():
        raise InputError(f'{source.ratings.paths[row % source.ratings.count]}: found features of this photograph, or '
                         'of one soon after it, that are no numbers, expected numbers: take other --weights')
    return np.ascontiguousarray(features, np.float32)


def _write_manifest(folder: str, manifest: Dict[str, Any]) -> None:
    path = os.path.join(folder, MANIFEST)
    with open(path + '.tmp', 'w', encoding='utf-8') as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
    os.replace(path + '.tmp', path)


def _stop(watch: Watch, folder: str, done: int, rows: int) -> NoReturn:
    print(f'{folder}: stopped after the features of {done} of {rows} images; to go on, type the same flags',
          file=sys.stderr)
    raise SystemExit(watch.exit_code)
