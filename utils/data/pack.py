"""Writing a packed dataset: images resized on all cores into shards, each of which is complete or not there."""
import contextlib
import os
import zlib
from typing import Any, Dict, Iterator, List, Optional, Tuple

import tensorflow as tf

from utils.base import files, reading
from utils.base.defaults import MAX_BAD_IMAGES
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.base.progress import bar
from utils.data import ava, decoding, image_files, image_headers, image_kinds, packed, splits
from utils.data.bad_images import BadImages
from utils.data.decoding import MAX_PIXELS, decode
from utils.data.pipeline import UNKNOWN, Pipeline, Row, host_session

SHARD_IMAGES = 1024
BATCH = 32
JPEG_QUALITY = 95

Span = Tuple[int, int, int]  # offset of the image's bytes in the file, their number, their CRC-32
_HEADER, _FOOTER = 12, 4    # of a TFRecord: length and its CRC; the data's CRC


def pack(ratings: ava.Ratings, folder: str, preprocessing: Preprocessing, *, use: str, form: str,
         max_bad_images: float = MAX_BAD_IMAGES, max_pixels: int = MAX_PIXELS,
         shard_images: int = SHARD_IMAGES) -> Dict[str, Any]:
    """Pack the images of `ratings` into `folder` and return the manifest.

    `use` is 'training' or 'scoring', `form` 'raw' or 'jpeg'. Shards that an earlier run finished with the same settings
    are reused. InputError where the folder holds another packed dataset, or too many images are unreadable.
    """
    settings = {'format': packed.FORMAT, 'tensorflow': tf.__version__, 'use': use, 'form': form,
                **packed.pixel_settings(preprocessing), 'side': packed.side_of(use, preprocessing.image_size),
                'max_pixels': max_pixels, 'jpeg_quality': JPEG_QUALITY if form == 'jpeg' else None,
                'photographs': ratings.count, 'labels_sha256': splits.data_hash(ratings),
                'shard_photographs': shard_images}
    with files.only_writer(folder, '--output'):
        if os.path.exists(os.path.join(folder, packed.MANIFEST)):
            return _finished_before(folder, settings, ratings)
        bad = BadImages(ratings.count, share=max_bad_images, what='packed')
        return _pack(ratings, folder, settings, _Reader(settings, preprocessing), bad)


def _pack(ratings: ava.Ratings, folder: str, settings: Dict[str, Any], reader: '_Reader',
          bad: BadImages) -> Dict[str, Any]:
    shard_images = settings['shard_photographs']
    counter = bar(ratings.count, 'packing')
    shards, reasons = [], {}
    with contextlib.closing(reader), contextlib.closing(counter):
        for number, first in enumerate(range(0, ratings.count, shard_images)):
            part = ratings.take(slice(first, first + shard_images))
            shard = (_finished_shard(folder, number, settings, part)
                     or _write_shard(folder, number, part, settings, reader))
            for row, reason in shard.pop('bad').items():
                bad.add(first + int(row), str(part.paths[int(row)]), reason)
                reasons[str(first + int(row))] = reason
            shards.append(shard)
            counter.update(part.count)
    manifest = {**settings, 'bad': reasons, 'shards': shards}
    with files.writing(folder, 'Free space and run the same command again'):
        files.write_json(os.path.join(folder, packed.MANIFEST), manifest, indent=None)
    for number in range(len(shards)):
        os.remove(_note_of(folder, number))
    return manifest


def _finished_before(folder: str, settings: Dict[str, Any], ratings: ava.Ratings) -> Dict[str, Any]:
    manifest = packed.read_manifest(folder)
    _require_same(folder, manifest, settings, ratings)
    print(f'{folder}: packed already, nothing to do')
    return manifest


def _require_same(folder: str, found: Dict[str, Any], settings: Dict[str, Any], ratings: ava.Ratings) -> None:
    """Raise InputError unless what is packed in `folder` already has these settings."""
    found = packed.with_defaults(found)
    differs = [name for name, value in settings.items()
               if not packed.same_setting(name, found.get(name), value, ratings)]
    if differs:
        raise InputError(f'{folder} holds a packed dataset with other settings ({", ".join(differs)}). Choose another '
                         '--output')


def _pipeline(settings: Dict[str, Any], how: Preprocessing) -> Pipeline:
    def read_row(row: Row) -> Tuple[tf.Tensor]:
        return _stored(tf.io.read_file(row['path']), settings, how, row.get('orientation')),

    names = ['path', *(['orientation'] if how.orientation == 'apply' else [])]
    return Pipeline(read_row, names, batchsize=BATCH, max_pixels=settings['max_pixels'])


def _stored(contents: tf.Tensor, settings: Dict[str, Any], how: Preprocessing,
            orientation: Optional[tf.Tensor] = None) -> tf.Tensor:
    """What is stored of an image file: pixels uint8 [side, side, 3], or a JPEG of them."""
    image = decode(contents, settings['side'], how.resize, settings['max_pixels'], longest_side=how.longest_side,
                   orientation=orientation)
    pixels = tf.cast(tf.round(image), tf.uint8)
    if settings['form'] == 'jpeg':
        return tf.image.encode_jpeg(pixels, quality=JPEG_QUALITY, chroma_downsampling=False)
    return pixels


class _Reader:
    """Reads images for a packed dataset: by the pipeline, and what TensorFlow does not read by Pillow."""

    def __init__(self, settings: Dict[str, Any], how: Preprocessing) -> None:
        self._settings, self._how = settings, how
        self._pipeline = _pipeline(settings, how)
        self._one: Any = None
        self.reasons: Dict[int, str] = {}  # why an image of the last rows() is unreadable

    def rows(self, part: ava.Ratings) -> Iterator[Tuple[int, bytes]]:
        """The number of each readable image and its bytes; those that Pillow reads come last."""
        left = set(range(part.count))
        for numbers, images in self._pipeline.good_rows(_columns(part, self._settings)):
            left.difference_update(numbers.tolist())
            yield from zip(numbers.tolist(), map(_bytes, images))
        self.reasons = {}
        for number in sorted(left):
            path = str(part.paths[number])
            try:
                reason = self._pipeline.why_unreadable(path) or UNKNOWN
                if not decoding.needs_pillow(image_kinds.kind_of_file(path), reason):
                    raise InputError(reason)
                yield number, self._by_pillow(path)
            except (InputError, tf.errors.OpError) as error:
                self.reasons[number] = decoding.reason(error) if isinstance(error, tf.errors.OpError) else str(error)

    def _by_pillow(self, path: str) -> bytes:
        png = image_files.read_as_png(path, turn=self._how.orientation == 'apply')
        if self._one is None:
            with tf.Graph().as_default() as graph, tf.device('/cpu:0'):
                data = tf.compat.v1.placeholder(tf.string, ())
                stored = _stored(data, self._settings, self._how)
            self._one = host_session(graph, None).make_callable(stored, [data])
        return _bytes(self._one(png))

    def close(self) -> None:
        self._pipeline.close()


def _bytes(image: Any) -> bytes:
    return image if isinstance(image, bytes) else image.tobytes()


def _columns(part: ava.Ratings, settings: Dict[str, Any]) -> Dict[str, Any]:
    """What the pipeline reads of the images `part`."""
    columns = {'path': part.paths}
    if settings['orientation'] == 'apply':
        columns['orientation'] = image_headers.orientations(part.paths)
    return columns


def _note_of(folder: str, number: int) -> str:
    """The file with a finished shard's part of the manifest, until that is written."""
    return os.path.join(folder, packed.shard_name(number) + '.json')


def _finished_shard(folder: str, number: int, settings: Dict[str, Any],
                    part: ava.Ratings) -> Optional[Dict[str, Any]]:
    """The part of the manifest of a shard that an earlier run finished; None where it did not."""
    try:
        note = reading.read_json(_note_of(folder, number))
        shard, before = note['shard'], dict(note['settings'])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    _require_same(folder, before, settings, part)
    path = os.path.join(folder, shard['file'])
    intact = os.path.isfile(path) and files.sha256(path) == shard['sha256']
    return shard if intact else None


def _write_shard(folder: str, number: int, part: ava.Ratings, settings: Dict[str, Any],
                 reader: _Reader) -> Dict[str, Any]:
    path = os.path.join(folder, packed.shard_name(number))
    cure = ('Free space and run the same command again, which continues after the last finished shard, or choose '
            'another --output')
    try:
        with files.new_file(path) as temporary:
            rows, reasons = _write_records(temporary, part, reader)
            _verify_records(temporary, part, rows)
            shard = {'file': os.path.basename(path), 'bytes': os.path.getsize(temporary),
                     'sha256': files.sha256(temporary), 'bad': reasons,
                     **dict(zip(('offsets', 'lengths', 'crc32'), map(list, zip(*rows))))}
        files.write_json(_note_of(folder, number), {'settings': settings, 'shard': shard}, indent=None)
    except tf.errors.OpError as error:
        raise files.cannot_write(path, OSError(error.message.splitlines()[0]), cure) from error
    except OSError as error:
        raise files.cannot_write(path, error, cure) from error
    return shard


def _write_records(path: str, part: ava.Ratings, reader: _Reader) -> Tuple[List[Span], Dict[str, str]]:
    """Write the readable images; the spans of all, and by row why the others are unreadable."""
    rows: List[Span] = [(-1, 0, 0)] * part.count
    position = 0
    with tf.io.TFRecordWriter(path) as writer:
        for row, data in reader.rows(part):
            example = _example(data, part, row)
            writer.write(example)
            rows[row] = position + _HEADER + example.index(data), len(data), zlib.crc32(data)
            position += _HEADER + len(example) + _FOOTER
    return rows, {str(row): reason for row, reason in reader.reasons.items()}


def _example(data: bytes, part: ava.Ratings, row: int) -> bytes:
    feature = tf.train.Feature
    example = tf.train.Example(features=tf.train.Features(feature={
        'image': feature(bytes_list=tf.train.BytesList(value=[data])),
        'id': feature(bytes_list=tf.train.BytesList(value=[os.fsencode(part.ids[row])])),
        'scores': feature(float_list=tf.train.FloatList(value=part.distributions[row]))}))
    return example.SerializeToString(deterministic=True)


def _read_records(path: str) -> Iterator[bytes]:
    """The records of a shard by TensorFlow's own reader, which checks their CRCs."""
    with tf.Graph().as_default() as graph:
        following = tf.compat.v1.data.make_one_shot_iterator(tf.data.TFRecordDataset(path)).get_next()
    with contextlib.closing(host_session(graph, None)) as session:
        while True:
            try:
                yield session.run(following)
            except tf.errors.OutOfRangeError:
                return


def _verify_records(path: str, part: ava.Ratings, rows: List[Span]) -> None:
    """Raise InputError unless the disk returns what was written."""
    written = sorted((row for row, span in enumerate(rows) if span[0] >= 0), key=lambda row: rows[row][0])
    try:
        examples = [tf.train.Example.FromString(record) for record in _read_records(path)]
        features = [example.features.feature for example in examples]
        same = [os.fsdecode(each['id'].bytes_list.value[0]) for each in features] == list(part.ids[written])
    except (tf.errors.DataLossError, ValueError):
        same = False
    with open(path, 'rb') as stream:
        data = stream.read()
    same = same and all(zlib.crc32(data[offset:offset + length]) == crc32
                        for offset, length, crc32 in (rows[row] for row in written))
    if not same:
        raise InputError(f'{path}: the disk returns other bytes than were written. Check it and run the same command '
                         'again, or choose another --output')
