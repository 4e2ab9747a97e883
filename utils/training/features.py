"""What the layers that are not trained make of every image, computed once and cached on disk, for --trainable head and
last:N. Before the head that is a vector, float32; before a block it is a map, float16.

Each list of images has a folder of its own, named after all that its features depend on. Its manifest.json says what
they are and how far they are computed; features.f32 or .f16 holds them, row by row, crop after crop.
"""
import hashlib
import json
import os
import sys
import zlib
from typing import Any, Callable, Dict, Iterator, NamedTuple, NoReturn, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from utils import data_loader, nima
from utils.base import files, reading
from utils.base.errors import InputError
from utils.base.progress import bar
from utils.base.text import printable
from utils.data.bad_images import BadImages
from utils.data.image_set import CARD, ImageSet, Reading
from utils.data.packed import is_reduced
from utils.device.signals import Watch
from utils.training.feature_rows import Row, require_space

FORMAT = 'NIMA features, 1'
MANIFEST = 'manifest.json'
SAVE_EVERY = 50  # batches: a kill costs no more than these
BLOCK = 1 << 24  # bytes that are read at a time
IN_EVERY_KEY = 'image_size', 'resize', 'padding', 'scaling'  # others are newer: in a key where not the default


class Source(NamedTuple):
    """Images whose features are wanted, and how to read them."""

    images: ImageSet
    reading: Reading
    crops: Optional[int]  # random crops of each; None for the uncropped image
    seed: int

    @property
    def what(self) -> str:
        """'training' or 'validation'."""
        return self.images.bad.what

    @property
    def count(self) -> int:  # type: ignore[override]
        """The number of images."""
        return self.images.ratings.count

    @property
    def rows(self) -> int:
        """All rows of features: those of the first crop of every image, then those of the second, ..."""
        return (self.crops or 1) * self.count

    def batches(self, first: int, batchsize: int, bad: BadImages) -> Iterator[Tuple[int, np.ndarray]]:
        """Batches of images from the row `first` on, each with its first row; unreadable ones are added to `bad`."""
        images = self.images._replace(bad=bad)
        for crop in range(first // self.count, self.crops or 1):
            row = max(first, crop * self.count)
            for batch in data_loader.in_order(images, batchsize, self.reading, first=row - crop * self.count,
                                              epoch=None if self.crops is None else crop, seed=self.seed):
                yield row, batch
                row += len(batch)

    def identity(self) -> Dict[str, Any]:
        """All that the features depend on: the image files or the packed dataset, and how they are read."""
        crops = {'crops': self.crops, 'seed': self.seed} if self.crops else {}
        default = CARD.preprocessing.as_json()
        how, images = self.reading.preprocessing, self.images
        if how.longest_side and (images.packed or not is_reduced(images.ratings, how.longest_side)):
            how = how._replace(longest_side=None)  # the same pixels, and the key of caches from before this field
        preprocessing = {name: value for name, value in how.as_json().items()
                         if name in IN_EVERY_KEY or value != default.get(name)}
        # 'fast' was a setting once: features that were cached then are found by the same key.
        return {'photographs': self._files(), 'count': self.count, 'preprocessing': preprocessing,
                'decoding': {'fast': False, 'max_pixels': self.reading.max_pixels}, **crops}

    def _files(self) -> str:
        digest = hashlib.sha256('\n'.join(self.images.ratings.ids).encode('utf-8', 'surrogateescape'))
        if self.images.packed:
            digest.update(json.dumps([shard['sha256'] for shard in self.images.packed.manifest['shards']]).encode())
            return digest.hexdigest()
        for path in self.images.ratings.paths:
            digest.update(f'{_stamp(path)}\n'.encode())
        return digest.hexdigest()


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:  # it will be reported as unreadable
        return 'none'
    return f'{found.st_size} {found.st_mtime_ns}'


class Computing(NamedTuple):
    """How features are computed, and where they are cached."""

    folder: str
    batchsize: int
    device: str
    trained: nima.Trained
    precision: Dict[str, Any]
    watch: Watch
    report: Callable[[str], Any]


def for_head(model: tf.keras.Model, train: Source, val: Source,
             how: Computing) -> Tuple[tf.keras.Model, ImageSet, ImageSet]:
    """The head of `model`, ready to be trained, and both image sets with their features, computed where not cached.

    After a signal that `how.watch` has seen: SystemExit, with the features so far cached. InputError where the folder
    cannot be written or the network gives NaN.
    """
    fixed = model.layers[:how.trained.first(model.layers[:-2])]
    base, head = nima.on_features(model, how.trained)
    row, network = Row(tuple(base.output.shape.as_list()[1:])), _network(fixed)
    caches = [_cache(source, row, network, how) for source in (train, val)]
    written = [os.path.join(cache.folder, row.file) for cache in caches]
    require_space(how.folder, written, train.rows + val.rows, row, how.report)
    trained, validated = (_with_features(source, base, row, cache, how) for source, cache in zip((train, val), caches))
    return head, trained, validated


def _network(layers: Sequence[tf.keras.layers.Layer]) -> str:
    """SHA-256 of the layers that are not trained and of their weights."""
    digest = hashlib.sha256()
    for layer in layers:
        config = {name: value for name, value in layer.get_config().items() if name != 'trainable'}
        digest.update(json.dumps([type(layer).__name__, config], sort_keys=True, default=str).encode())
    variables = [variable for layer in layers for variable in layer.weights]
    for array in tf.keras.backend.batch_get_value(variables):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Cache(NamedTuple):
    """Where the features of an image set are cached."""

    folder: str
    identity: Dict[str, Any]  # all that they depend on, with its hash as 'key'


def _cache(source: Source, row: Row, network: str, how: Computing) -> _Cache:
    identity = {'format': FORMAT, 'network': network, 'device': how.device, 'precision': how.precision,
                **row.identity(), **source.identity()}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return _Cache(os.path.join(how.folder, f'{source.what}-{key[:16]}'), {**identity, 'key': key})


def _with_features(source: Source, base: tf.keras.Model, row: Row, cache: _Cache, how: Computing) -> ImageSet:
    folder = cache.folder
    with files.only_writer(folder, '--features'):
        progress = _progress(cache, source.rows, row, how.report)
        if progress.done < source.rows:
            progress = _compute(cache, source, base, row, how, progress)
        else:
            how.report(f'{folder}: cached features of {source.count} {source.what} images reused')
        with files.writing(folder, 'Run the same command again'):  # somebody may have removed what was written
            shape = source.crops or 1, source.count, *row.shape
            rows = np.memmap(os.path.join(folder, row.file), row.dtype, 'r', shape=shape)
    images = source.images
    for index, reason in progress.bad.items():
        images.bad.add(index, str(images.ratings.paths[index]), reason)
    return images._replace(features=rows)


class _Progress(NamedTuple):
    """How far the features of an image set are computed."""

    done: int = 0
    bad: Dict[int, str] = {}
    crc32: int = 0


def _manifest(folder: str) -> Dict[str, Any]:
    """The manifest of a folder; empty where there is none, or none that can be read."""
    try:
        found = reading.read_json(os.path.join(folder, MANIFEST))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _progress(cache: _Cache, rows: int, row: Row, report: Callable[[str], Any]) -> _Progress:
    """How far the features in a folder are computed: as its manifest says, if the data agrees."""
    path, found = os.path.join(cache.folder, row.file), _manifest(cache.folder)
    try:
        done, crc32 = int(found['done']), int(found['crc32'])
        bad = {int(index): str(reason) for index, reason in found['bad'].items()}
        if found['key'] == cache.identity['key'] and 0 <= done <= rows and _crc32(path, row.bytes * done) == crc32:
            return _Progress(done, bad, crc32)
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        pass
    if os.path.exists(path):
        report(f'{cache.folder}: cached features differ from their manifest, computing them again')
    return _Progress()


def _crc32(path: str, size: int) -> Optional[int]:
    """The CRC-32 of the first `size` bytes of a file; None where it has fewer."""
    value = 0
    with open(path, 'rb') as stream:
        while size:
            block = stream.read(min(size, BLOCK))
            if not block:
                return None
            value, size = zlib.crc32(block, value), size - len(block)
    return value


def _compute(cache: _Cache, source: Source, base: tf.keras.Model, form: Row, how: Computing,
             progress: _Progress) -> _Progress:
    """Compute the rows that are missing; SystemExit, with the manifest written, for a signal."""
    folder, row_bytes, bad = cache.folder, form.bytes, _unreported(source, progress)
    done, crc32 = progress.done, progress.crc32
    counter = bar(source.rows, f'features of {source.what} images', done)
    predict_batch = nima.predict_batch(how.batchsize, how.device)
    cure = f'{source.rows * row_bytes} bytes are needed. Free space or choose another --features'
    try:
        with files.writing(folder, cure), open(os.path.join(folder, form.file), 'r+b' if done else 'wb') as stream:
            stream.truncate(done * row_bytes)
            stream.seek(done * row_bytes)
            for number, (row, images) in enumerate(source.batches(done, how.batchsize, bad), 1):
                data = _numbers(nima.predict(base, images, predict_batch), source, row, form).tobytes()
                stream.write(data)
                done, crc32 = row + len(images), zlib.crc32(data, crc32)
                counter.update(len(images))
                if number % SAVE_EVERY == 0 or done == source.rows or how.watch.signal is not None:
                    stream.flush()
                    os.fsync(stream.fileno())
                    files.write_json(os.path.join(folder, MANIFEST),
                                     {**cache.identity, 'done': done, 'crc32': crc32, 'bad': bad.reasons})
                if how.watch.signal is not None:
                    counter.close()
                    _stop(how.watch, folder, done, source.rows)
    finally:
        counter.close()
    return _Progress(done, bad.reasons, crc32)


def _unreported(source: Source, progress: _Progress) -> BadImages:
    """The unreadable images known so far; none is reported before training or validation gets the features."""
    bad = BadImages(source.count, share=source.images.bad.share, what=source.what, report=lambda text: None)
    for index, reason in progress.bad.items():
        bad.add(index, str(source.images.ratings.paths[index]), reason)
    return bad


def _numbers(features: np.ndarray, source: Source, row: int, form: Row) -> np.ndarray:
    features = np.ascontiguousarray(features, form.dtype)
    if not np.isfinite(features).all():
        raise InputError(f'{source.images.ratings.paths[row % source.count]}: the network gives NaN for this image or '
                         'one soon after it. Use other --weights')
    return features


def _stop(watch: Watch, folder: str, done: int, rows: int) -> NoReturn:
    print(f'{printable(folder)}: stopped after the features of {done} of {rows} crops; run the same command to resume',
          file=sys.stderr)
    raise SystemExit(watch.exit_code)
