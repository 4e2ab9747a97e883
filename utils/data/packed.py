"""A packed dataset: images resized once, in sharded TFRecord files with a manifest. Reading and checking.

DIR/manifest.json says how the images were prepared, which labels they belong to and where the bytes of each one are in
DIR/shard-00000.tfrecord, ... Any TFRecord reader reads the shards (tf.train.Example with image, id, scores); training
reads single images by memory map, in the order of an epoch.
"""
import collections
import concurrent.futures
import mmap
import os
import zlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base import errors, memory, reading
from utils.base.defaults import FORMS
from utils.base.errors import InputError
from utils.base.files import sha256
from utils.base.preprocessing import REDUCED_FROM, Preprocessing
from utils.base.text import short
from utils.data import ava, image_headers, splits
from utils.data.bad_images import BadImages
from utils.data.epoch_plan import resize_before_crop
from utils.data.passes import Pass

FORMAT = 'NIMA packed photographs, 1'
MANIFEST = 'manifest.json'
AHEAD = 2  # batches that are prepared while one is used
PIXELS = 'image_size', 'resize', 'orientation', 'longest_side'  # the pre-processing that the stored pixels depend on


class Location(NamedTuple):
    """Where the bytes of an image are."""

    shard: int
    offset: int  # in the shard's file; -1 for an unreadable image
    length: int
    crc32: int   # of its bytes


def side_of(use: str, image_size: int) -> int:
    """The side in pixels of packed images for 'training', which are cropped, or for 'scoring'."""
    return resize_before_crop(image_size) if use == 'training' else image_size


def pixel_settings(preprocessing: Preprocessing) -> Dict[str, Any]:
    """The part of the pre-processing that packed images depend on, as the manifest has it."""
    return {name: getattr(preprocessing, name) for name in PIXELS}


def same_setting(name: str, found: Any, wanted: Any, ratings: ava.Ratings) -> bool:
    """Whether two settings give the same pixels: two longest sides do where no image is so long as to be reduced."""
    if name != 'longest_side' or found == wanted:
        return bool(found == wanted)
    sides = [side for side in (found, wanted) if side]
    return not sides or not is_reduced(ratings, min(sides))


def is_reduced(ratings: ava.Ratings, longest_side: int) -> bool:
    """Whether some image, of those that are sampled, is so long that it is brought to `longest_side`."""
    return bool(np.any(image_headers.longest_sides(ratings.paths) > int(longest_side * REDUCED_FROM)))


def with_defaults(settings: Dict[str, Any]) -> Dict[str, Any]:
    """The settings of a packed dataset; one that is absent, as it is newer than the dataset, has its default."""
    return {'form': FORMS[0], **pixel_settings(Preprocessing()), **settings}


def shard_name(number: int) -> str:
    return f'shard-{number:05d}.tfrecord'


def _pack_anew() -> str:
    """What to do about a packed dataset that cannot be used, as a clause."""
    return f'pack the images into another folder with {errors.command_of("utils/records.py")} pack --use USE -o DIR'


def damaged(path: str, found: str) -> InputError:
    """The error for a file of a packed dataset that is not what the manifest says."""
    return InputError(f'{path} is damaged: {found}. Copy the packed dataset again, or {_pack_anew()}')


def read_manifest(folder: str) -> Dict[str, Any]:
    """The manifest of a finished packed dataset; InputError where there is none."""
    path = os.path.join(folder, MANIFEST)
    try:
        manifest = reading.read_json(path)
        if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
            raise ValueError(f'it does not say {FORMAT!r}')
        manifest = with_defaults(manifest)
    except FileNotFoundError as error:
        raise InputError(f'{folder} has no {MANIFEST}: it is no finished packed dataset. Make one, or resume one that '
                         f'was stopped, with {errors.command_of("utils/records.py")} pack') from error
    except (OSError, ValueError) as error:
        raise damaged(path, getattr(error, 'strerror', None) or str(error)) from error
    if manifest['form'] not in FORMS:
        raise InputError(f'{folder} stores images as {short(manifest["form"])}, which is no longer supported: '
                         f'{_pack_anew()}')
    return manifest


class Packed:
    """A packed dataset that is open for reading: image i is row i of the ratings it was made from."""

    def __init__(self, folder: str) -> None:
        self.folder, self.manifest = folder, read_manifest(folder)
        shards = self.manifest['shards']
        self.side = int(self.manifest['side'])
        self._files = [os.path.join(folder, shard['file']) for shard in shards]
        for path, shard in zip(self._files, shards):
            size = os.path.getsize(path) if os.path.isfile(path) else None
            if size != shard['bytes']:
                found = 'it is missing' if size is None else f'it has {size} bytes, {MANIFEST} says {shard["bytes"]}'
                raise damaged(path, found)
        self._rows = [Location(number, *row) for number, shard in enumerate(shards)
                      for row in zip(shard['offsets'], shard['lengths'], shard['crc32'])]
        self._checked = np.zeros(len(self._rows), bool)
        self._maps: Dict[int, mmap.mmap] = {}
        self._decode: Any = None

    @property
    def count(self) -> int:
        """The number of images, the unreadable ones included."""
        return len(self._rows)

    def bytes_of(self, index: int) -> bytes:
        """What is stored of an image; InputError where it is damaged. It is checked when it is read first."""
        row = self._rows[index]
        data = memoryview(self._map(row.shard))[row.offset:row.offset + row.length]
        if not self._checked[index]:
            if zlib.crc32(data) != row.crc32:
                raise damaged(self._files[row.shard], f'the CRC-32 of the image at byte {row.offset} differs')
            self._checked[index] = True
        return data

    def pixels(self, index: int) -> np.ndarray:
        """An image, uint8 [side, side, 3]."""
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

    def check(self, ratings: ava.Ratings, preprocessing: Preprocessing, *, use: str, flag: str) -> None:
        """Raise InputError, which names `flag`, unless it was made for this use, these labels and pre-processing."""
        expected = {'use': use, **pixel_settings(preprocessing), 'photographs': ratings.count,
                    'labels_sha256': splits.data_hash(ratings)}
        words = {'photographs': 'the number of images', 'labels_sha256': "the labels' SHA-256"}
        for name, wanted in expected.items():
            found = self.manifest[name]
            if not same_setting(name, found, wanted, ratings):
                raise InputError(f'{flag}: {self.folder} was packed with {words.get(name, name)} {found}, this run '
                                 f'needs {wanted}. Type the folder, labels, --val_size and image size that belong '
                                 f'together, or {_pack_anew()}')

    def note_unreadable(self, bad: BadImages, ratings: ava.Ratings) -> None:
        """Add to `bad` the images that were unreadable when they were packed."""
        reasons = self.manifest['bad']
        for index, row in enumerate(self._rows):
            if row.offset < 0:
                bad.add(index, str(ratings.paths[index]), reasons[str(index)])

    def open_decoder(self) -> None:
        """Open the session that decodes stored JPEGs; Keras's has to be open before."""
        if self._decode is None and self.manifest['form'] != 'raw':
            from utils.data import pipeline
            self._decode = pipeline.decoder()

    def close(self) -> None:
        """Drop the memory maps; they are closed with the last image that is read from them."""
        self._maps.clear()


def open_fitting(folder: Optional[str], ratings: ava.Ratings, preprocessing: Preprocessing, *, use: str,
                 flag: str) -> Optional[Packed]:
    """The packed dataset in `folder`, None for no folder, for `use`, 'training' or 'scoring', of `ratings`.

    InputError, which names `flag`, where it does not fit.
    """
    if folder is None:
        return None
    packed = Packed(folder)
    packed.check(ratings, preprocessing, use=use, flag=flag)
    return packed


class PackedPipeline:
    """Batches from a packed dataset, as pipeline.Pipeline reads them from files, on all cores.

    An image is cropped, flipped and scaled to [-1, 1] on its way from the memory map into the batch; with `as_pixels`
    it is not scaled, and the batch is uint8.
    """

    def __init__(self, packed: Packed, image_size: int, batchsize: int, drop_remainder: bool,
                 as_pixels: bool = False) -> None:
        from utils.data import decoding, pipeline
        memory.keep_freed()
        self._packed, self._size, self._batchsize = packed, image_size, batchsize
        self._drop_remainder = drop_remainder
        packed.open_decoder()
        # By pixel value; None for pixels as they are.
        self._values = None if as_pixels else decoding.scale(np.arange(256, dtype=np.float32))
        threads = pipeline.usable_threads()
        self._chunk = max(1, -(-batchsize // (2 * threads)))
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)

    def run(self, one_pass: Pass) -> Iterator[Tuple[np.ndarray, ...]]:
        """The batches of one pass, full ones: replacements are in the positions of unreadable images."""
        chosen = one_pass.chosen()
        rows = one_pass.rows(chosen)
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
        images = np.empty((len(chosen), self._size, self._size, 3), np.uint8 if self._values is None else np.float32)
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
                    triples = np.ascontiguousarray(pixels).view('V3')
                    pixels = np.ascontiguousarray(triples[:, ::-1]).view(np.uint8).reshape(size, size, 3)
            if self._values is None:
                images[number] = pixels
            else:
                np.take(self._values, pixels, out=images[number], mode='clip')  # 'raise' would copy the batch's row

    def close(self) -> None:
        self._pool.shutdown()
        self._packed.close()


def verify(folder: str) -> Dict[str, Any]:
    """Read a whole packed dataset and return its manifest; InputError where a shard differs from it."""
    from utils.base.progress import progress
    packed = Packed(folder)
    shards = packed.manifest['shards']
    for shard in progress(shards, len(shards), 'verifying'):
        path = os.path.join(folder, shard['file'])
        found = sha256(path)
        if found != shard['sha256']:
            raise damaged(path, f'its SHA-256 is {found}, {MANIFEST} says {shard["sha256"]}')
    return packed.manifest
