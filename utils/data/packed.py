"""A packed dataset: photographs resized once, in sharded TFRecord files, with a manifest. Reading and checking.

DIR/manifest.json says how the photographs were prepared, which labels they belong to and where each one's bytes stand
in DIR/shard-00000.tfrecord, ...: any TFRecord reader reads the shards (tf.train.Example with image, id, scores), and
training reads single photographs by memory map, in the order of an epoch.
"""
import collections
import concurrent.futures
import json
import mmap
import os
import zlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base import errors, memory
from utils.base.defaults import FORMS
from utils.base.errors import InputError
from utils.base.files import sha256
from utils.base.preprocessing import Preprocessing
from utils.data import ava, splits
from utils.data.bad_images import BadImages
from utils.data.epoch_plan import resize_before_crop
from utils.data.passes import Pass

FORMAT = 'NIMA packed photographs, 1'
MANIFEST = 'manifest.json'
MOST_THREADS = 192
AHEAD = 2  # batches that are prepared while one is used


class Row(NamedTuple):
    """Where a photograph stands."""

    shard: int
    offset: int  # of its bytes in the shard's file; -1 for a photograph that could not be decoded
    length: int
    crc32: int   # of its bytes


def side_of(use: str, image_size: int) -> int:
    """The side in pixels of the photographs in a pack for 'training', which are cropped, or for 'scoring'."""
    return resize_before_crop(image_size) if use == 'training' else image_size


def shard_name(number: int) -> str:
    return f'shard-{number:05d}.tfrecord'


def again(folder: str) -> str:
    """What to do about a pack that cannot be used, as a clause."""
    return f'copy {folder} again from where it is whole, or pack anew into another folder with ' \
           f'{errors.command_of("utils/records.py")} pack'


def read_manifest(folder: str) -> Dict[str, Any]:
    """The manifest of a finished pack; InputError where there is none."""
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, encoding='utf-8') as stream:
            manifest = json.load(stream)
        if manifest['format'] != FORMAT:
            raise ValueError(f'format {manifest["format"]!r}')
        if manifest['form'] not in FORMS:
            raise ValueError(f'images stored as {manifest["form"]}, which is not read any more')
        return manifest
    except FileNotFoundError as error:
        raise InputError(f'{path}: found no manifest, expected a finished packed dataset in that folder: make one, or '
                         f'go on with one that was stopped: {errors.command_of("utils/records.py")} pack') from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: cannot be used ({error}), expected {FORMAT!r}: {again(folder)}') from error


class Packed:
    """A pack that is open for reading: photograph i is row i of the ratings it was made from."""

    def __init__(self, folder: str) -> None:
        self.folder, self.manifest = folder, read_manifest(folder)
        shards = self.manifest['shards']
        self.side = int(self.manifest['side'])
        self._files = [os.path.join(folder, shard['file']) for shard in shards]
        for path, shard in zip(self._files, shards):
            size = os.path.getsize(path) if os.path.isfile(path) else None
            if size != shard['bytes']:
                found = 'no such shard' if size is None else f'a shard of {size} bytes'
                raise InputError(f'{path}: found {found}, expected {shard["bytes"]} bytes, as {MANIFEST} says: '
                                 f'{again(folder)}')
        self._rows = [Row(number, *row) for number, shard in enumerate(shards)
                      for row in zip(shard['offsets'], shard['lengths'], shard['crc32'])]
        self._checked = np.zeros(len(self._rows), bool)
        self._maps: Dict[int, mmap.mmap] = {}
        self._decode: Any = None

    @property
    def count(self) -> int:
        """The number of photographs, with those that could not be decoded."""
        return len(self._rows)

    def bytes_of(self, index: int) -> bytes:
        """What is stored of a photograph; InputError where it is damaged. Checked at its first reading in a run."""
        row = self._rows[index]
        data = memoryview(self._map(row.shard))[row.offset:row.offset + row.length]
        if not self._checked[index]:
            if zlib.crc32(data) != row.crc32:
                raise InputError(f'{self._files[row.shard]}: found a damaged photograph at byte {row.offset} (its '
                                 f'CRC-32 differs), expected what {MANIFEST} says: {again(self.folder)}')
            self._checked[index] = True
        return data

    def pixels(self, index: int) -> np.ndarray:
        """A photograph, uint8 [side, side, 3]."""
        data = self.bytes_of(index)
        self.open_decoder()
        if self._decode:
            return self._decode(bytes(data))
        return np.frombuffer(data, np.uint8).reshape(self.side, self.side, 3)

    def _map(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            with open(self._files[shard], 'rb') as stream:
                self._maps[shard] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[shard]

    def check(self, ratings: ava.Ratings, *, use: str, image_size: int, resize: str, flag: str) -> None:
        """Raise InputError unless the pack was made for this use, these labels and this pre-processing."""
        labels = splits.data_hash(ratings)
        expected = {'use': use, 'image_size': image_size, 'resize': resize, 'photographs': ratings.count,
                    'labels_sha256': labels}
        for name, wanted in expected.items():
            found = self.manifest[name]
            if found != wanted:
                what = {'use': 'made for', 'image_size': 'with the image size', 'resize': 'resized by',
                        'photographs': 'of photographs, numbering', 'labels_sha256': 'of labels with the SHA-256'}[name]
                raise InputError(f'{flag}: found {self.folder}, a packed dataset {what} {found}, expected {wanted}: '
                                 'type the folder, labels, --val_size and image size that belong together, or pack '
                                 f'anew with {errors.command_of("utils/records.py")} pack')

    def note_bad(self, bad: BadImages, ratings: ava.Ratings) -> None:
        """Tell `bad` of the photographs that could not be decoded when they were packed."""
        reasons = self.manifest['bad']
        for index, row in enumerate(self._rows):
            if row.offset < 0:
                bad.add(index, str(ratings.paths[index]), reasons[str(index)])

    def open_decoder(self) -> None:
        """Open what decodes a stored JPEG: a session, so that Keras's has to be there before."""
        if self._decode is None and self.manifest['form'] != 'raw':
            from utils.data import pipeline
            self._decode = pipeline.decoder()

    def close(self) -> None:
        """Forget the memory maps; the system closes them when the last photograph is let go."""
        self._maps.clear()


def open_fitting(folder: Optional[str], ratings: ava.Ratings, preprocessing: Preprocessing, *, use: str,
                 flag: str) -> Optional[Packed]:
    """The packed dataset in `folder`, None for no folder, for `use`, 'training' or 'scoring', of `ratings`.

    InputError, which names `flag`, where it does not fit.
    """
    if folder is None:
        return None
    packed = Packed(folder)
    packed.check(ratings, use=use, image_size=preprocessing.image_size, resize=preprocessing.resize, flag=flag)
    return packed


class PackedPipeline:
    """Batches from a pack, as pipeline.Pipeline reads them from files: photographs at random, on all cores.

    A row is cropped and flipped while it is scaled to [-1, 1], straight from the memory map into the batch.
    """

    def __init__(self, packed: Packed, image_size: int, batchsize: int, drop_remainder: bool) -> None:
        from utils.data import decoding, pipeline
        memory.keep_freed()
        self._packed, self._size, self._batchsize = packed, image_size, batchsize
        self._drop_remainder = drop_remainder
        packed.open_decoder()
        self._scaled = decoding.scale(np.arange(256, dtype=np.float32))  # by pixel value
        threads = pipeline.usable_threads()
        self._chunk = max(1, -(-batchsize // (2 * threads)))
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)

    def run(self, whole: Pass) -> Iterator[Tuple[np.ndarray, ...]]:
        """The batches of one pass, full whatever could not be decoded when it was packed."""
        chosen = whole.chosen()
        rows = whole.rows(chosen)
        augmentation = [rows[name] for name in ('top', 'left', 'flip') if name in rows]
        last = len(chosen) // self._batchsize * self._batchsize if self._drop_remainder else len(chosen)
        waiting: Any = collections.deque()
        try:
            for start in range(0, last, self._batchsize):
                part = slice(start, start + self._batchsize)
                waiting.append((*self._submit(chosen[part], [column[part] for column in augmentation]),
                                rows['distribution'][part]))
                if len(waiting) > AHEAD:
                    yield self._finished(*waiting.popleft())
            while waiting:
                yield self._finished(*waiting.popleft())
        finally:
            for _, tasks, _ in waiting:
                for task in tasks:
                    task.cancel()

    def _submit(self, chosen: np.ndarray, augmentation: List[np.ndarray]) -> Tuple[np.ndarray, List[Any]]:
        images = np.empty((len(chosen), self._size, self._size, 3), np.float32)
        starts = range(0, len(chosen), self._chunk)
        return images, [self._pool.submit(self._read, images[start:start + self._chunk],
                                          chosen[start:start + self._chunk],
                                          [column[start:start + self._chunk] for column in augmentation])
                        for start in starts]

    @staticmethod
    def _finished(images: np.ndarray, tasks: Sequence[Any], distributions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        for task in tasks:
            task.result()
        return images, distributions

    def _read(self, images: np.ndarray, chosen: np.ndarray, augmentation: List[np.ndarray]) -> None:
        size = self._size
        for number, index in enumerate(chosen):
            pixels = self._packed.pixels(index)
            if augmentation:
                top, left, flip = (column[number] for column in augmentation)
                pixels = pixels[top:top + size, left:left + size]
                if flip:  # three bytes at a time: many times faster than one by one
                    whole = np.ascontiguousarray(pixels).view('V3')
                    pixels = np.ascontiguousarray(whole[:, ::-1]).view(np.uint8).reshape(size, size, 3)
            np.take(self._scaled, pixels, out=images[number], mode='clip')  # 'raise' would copy the batch's row

    def close(self) -> None:
        self._pool.shutdown()
        self._packed.close()


def verify(folder: str) -> Dict[str, Any]:
    """Read all of a pack and compare it with its manifest, which is returned; InputError at the first difference."""
    from utils.base.progress import progress
    packed = Packed(folder)
    shards = packed.manifest['shards']
    for shard in progress(shards, len(shards), 'verifying'):
        path = os.path.join(folder, shard['file'])
        found = sha256(path)
        if found != shard['sha256']:
            raise InputError(f'{path}: found a damaged shard (SHA-256 {found}), expected {shard["sha256"]}, as '
                             f'{MANIFEST} says: {again(folder)}')
    return packed.manifest
