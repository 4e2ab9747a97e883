"""AVA's images as batches: JPEG -> float32 [B, S, S, 3] in [-1, 1], through tf.data on the host."""
import contextlib
import itertools
import os
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf

from utils.base import memory
from utils.base.defaults import VAL_SIZE, from_root
from utils.base.errors import InputError
from utils.base.label_options import AS_USUAL, LabelOptions
from utils.data import ava, image_headers, splits
from utils.data.bad_images import BadImages
from utils.data.cached import FeaturesPipeline
from utils.data.decoding import MAX_PIXELS, count_decoded, read_image, read_training_image, scale
from utils.data.epoch_plan import ALL, EpochPlan, plan_by_image, rank_slice, training_positions
from utils.data.image_set import CARD, ImageSet, Reading
from utils.data.packed import PackedPipeline
from utils.data.passes import Pass
from utils.data.pipeline import POOL_BATCHES, Pipeline, Row

# Edit these two lines for your own data. Relative paths count from the repository's root.
base_images_path = r'./AVA_dataset/image/images/'
ava_dataset_path = r'./AVA_dataset/AVA.txt'

CHECK_BATCH = 64   # images that verdicts() decodes in a step
CHECK_GROUP = 256  # that it decodes before it asks for warnings

Batch = Tuple[np.ndarray, ...]  # images, vote distributions
AnyPipeline = Union[Pipeline, PackedPipeline, FeaturesPipeline]


def steps_per_epoch(available: int, train_size: int, batchsize: int, *, devices: int = 1,
                    report: Optional[Callable[[str], Any]] = None) -> int:
    """Steps in an epoch of `train_size` images, or of all `available` where they are fewer.

    A step takes a full batch on each of the `devices`. `report`, such as print, gets a sentence where they are fewer.
    """
    if report and train_size > available:
        report(f'only {available} training images available; using all of them')
    images = min(train_size, available)
    if images < batchsize * devices:
        each = '' if devices == 1 else f' on each of {devices} devices'
        cure = f'Use --batchsize {images // devices} or less' if images >= devices else 'Start fewer processes'
        raise InputError(f'batchsize {batchsize}{each} is more than the {images} training images of an epoch. {cure}')
    return images // (batchsize * devices)


def dataset_paths(labels: Optional[str] = None, images: Optional[str] = None) -> Tuple[str, str]:
    """The label file and the folder of images, each by default the edited path."""
    return labels or from_root(ava_dataset_path), images or from_root(base_images_path)


class Parts(NamedTuple):
    """The ratings of a label file in its parts."""

    train: ava.Ratings
    val: ava.Ratings
    test: Optional[ava.Ratings] = None  # images that no training opens; None without --test_labels, --test_split


def read_parts(val_size: Optional[int] = VAL_SIZE, *, split: str = splits.LAST, labels: Optional[str] = None,
               images: Optional[str] = None, options: LabelOptions = AS_USUAL, to_train: int = 1,
               test: splits.Test = splits.Test(), group: Optional[str] = None,  # noqa: B008  a constant
               report: Optional[Callable[[str], Any]] = None) -> Parts:
    """The training, validation and test ratings of a label file and its images, by default the edited paths.

    The `test` images are taken out first. splits.choose() says what `split`, `val_size`, `to_train` and `group` mean;
    where `options` name a second label file, that has the validation images. `report`, such as print, also gets the
    split's hash.
    """
    labels, images = dataset_paths(labels, images)
    val = ava.read(options.val_path, images, options, report=report) if options.val_path else None
    own = val if val is not None and not to_train else None  # no training image is needed
    ratings = ava.read(labels, images, options, report=report) if own is None else own.take([])
    tested = None
    if test.source:
        ratings, tested = splits.test_images(ratings, test, images, labels=labels, options=options, report=report)
    if val is None:
        train, val = splits.choose(ratings, split, val_size, labels=labels, to_train=to_train, group=group,
                                   report=report)
    else:
        train, val = splits.of_two_files(ratings, val, val_size, to_train)
    if report:
        if tested is not None:
            report(f'{tested.count} test images are kept out of training and validation, hash '
                   f'{splits.split_hash(tested)[:splits.SHORT]}')
        report(splits.describe(split, val))
    return Parts(train, val, tested)


def read_split(val_size: Optional[int] = VAL_SIZE, *, split: str = splits.LAST, labels: Optional[str] = None,
               images: Optional[str] = None, options: LabelOptions = AS_USUAL, to_train: int = 1,
               report: Optional[Callable[[str], Any]] = None) -> Tuple[ava.Ratings, ava.Ratings]:
    """The training and the validation ratings of read_parts()."""
    parts = read_parts(val_size, split=split, labels=labels, images=images, options=options, to_train=to_train,
                       report=report)
    return parts.train, parts.val


def read_scored(val_size: Optional[int] = None, *, split: str = splits.LAST,
                test: splits.Test = splits.Test(),  # noqa: B008  a constant
                labels: Optional[str] = None, images: Optional[str] = None, options: LabelOptions = AS_USUAL,
                report: Optional[Callable[[str], Any]] = None) -> Tuple[ava.Ratings, str]:
    """The ratings that an evaluation scores, of the `test` images or else of validation, and the split's name or path.

    There need be no training images.
    """
    if test.source is None:
        return read_parts(val_size, split=split, labels=labels, images=images, options=options, to_train=0,
                          report=report).val, split
    labels, images = dataset_paths(labels, images)
    ratings = None if test.labels else ava.read(labels, images, options, report=report)
    _, found = splits.test_images(ratings, test, images, labels=labels, options=options, to_train=0, report=report)
    if report:
        report(splits.describe(test.source, found))
    return found, test.source


def train_generator(batchsize: int, shuffle: bool = True, *, images: Optional[ImageSet] = None,
                    reading: Reading = CARD, train_size: Optional[int] = None, seed: int = 0,
                    first_epoch: int = 0, first_image: int = 0, shard: Tuple[int, int] = ALL) -> Iterator[Batch]:
    """Training batches without end: images float32 [B, S, S, 3] in [-1, 1], vote distributions float32 [B, 10].

    With `reading.as_pixels` the images are uint8 in [0, 255].

    The first batch begins at position `first_image` of epoch `first_epoch`, both counted from 0. `shard` is (rank,
    world size): all ranks together read what a single one would, see epoch_plan.training_positions().

    Each epoch is a shuffle of the whole list, of which the first `train_size` images are taken; an incomplete last
    batch is left out of that epoch. An unreadable image is replaced by another, drawn from (seed, epoch, position),
    with its own augmentation; `images.bad` counts such images and raises InputError at too many. Without `images` the
    edited paths are read.
    """
    if images is None:
        train, _ = read_split()
        images = ImageSet(train, BadImages(train.count))
    count = images.ratings.count
    train_size = count if train_size is None else train_size
    steps_per_epoch(count, train_size, batchsize, devices=shard[1])
    train_size = min(train_size, count)
    columns = _columns(images, reading)
    with contextlib.closing(_pipeline(images, batchsize, reading, augmented=True, drop_remainder=True)) as pipeline:
        for epoch in itertools.count(first_epoch):
            # Nothing is decoded that no batch takes.
            positions = training_positions(first_image if epoch == first_epoch else 0, train_size, batchsize, shard)
            plan = plan_by_image(count, epoch, seed=seed, shuffle=shuffle, image_size=reading.preprocessing.image_size)
            yield from pipeline.run(Pass(_with_augmentation(columns, plan), plan.order[positions], positions,
                                         images.bad, seed, epoch))


def val_batches(images: ImageSet, batchsize: int, reading: Reading = CARD) -> Iterator[Batch]:
    """One pass in the list's order: every image once, the last batch with what remains.

    An unreadable image is left out of its batch, which may then be empty, and added to `images.bad`: afterwards
    images.readable has the ratings of those that were read.
    """
    with contextlib.closing(_pipeline(images, batchsize, reading)) as pipeline:
        yield from _val_pass(pipeline, _in_order(images, reading), batchsize)


def val_generator(batchsize: int, *, images: Optional[ImageSet] = None, reading: Reading = CARD,
                  shard: Tuple[int, int] = ALL) -> Iterator[Batch]:
    """Validation batches without end, pass after pass of val_batches, over epoch_plan.rank_slice() of the images.

    Without `images` the edited paths are read.
    """
    if images is None:
        _, val = read_split()
        images = ImageSet(val, BadImages(val.count, what='validation'))
    one_pass = _in_order(images, reading).part(rank_slice(images.ratings.count, shard))
    with contextlib.closing(_pipeline(images, batchsize, reading)) as pipeline:
        while True:
            yield from _val_pass(pipeline, one_pass, batchsize)


def in_order(images: ImageSet, batchsize: int, reading: Reading, *, first: int = 0, epoch: Optional[int] = None,
             seed: int = 0) -> Iterator[np.ndarray]:
    """The images from row `first` on, in the list's order, as float32 [B, S, S, 3] in [-1, 1].

    They are those of val_batches, or with `epoch` cropped and flipped as train_generator does in that epoch. An
    unreadable image is replaced by another and added to `images.bad`; the last batch has what remains.
    """
    plan = None if epoch is None else plan_by_image(images.ratings.count, epoch, seed=seed, shuffle=False,
                                                 image_size=reading.preprocessing.image_size)
    with contextlib.closing(_pipeline(images, batchsize, reading, augmented=plan is not None)) as pipeline:
        for batch, _ in pipeline.run(_in_order(images, reading, plan).part(slice(first, None))):
            yield batch


def _columns(images: ImageSet, reading: Reading) -> Dict[str, np.ndarray]:
    """The columns of a pass over whole images, the orientation among them where it is applied to files."""
    columns = {'path': images.ratings.paths, 'distribution': images.ratings.distributions.astype(np.float32)}
    if _turns(images, reading):
        columns['orientation'] = image_headers.orientations(images.ratings.paths)
    return columns


def _turns(images: ImageSet, reading: Reading) -> bool:
    return reading.preprocessing.orientation == 'apply' and images.packed is None and images.features is None


def _with_augmentation(columns: Dict[str, np.ndarray], plan: EpochPlan) -> Dict[str, np.ndarray]:
    """The columns of images that are cropped and flipped as a plan says, whose rows are those of the images."""
    return {**columns, 'top': plan.top, 'left': plan.left, 'flip': plan.flip}


def _in_order(images: ImageSet, reading: Reading, plan: Optional[EpochPlan] = None) -> Pass:
    """All images in the list's order, full batches: _val_pass takes the replacements out of them."""
    positions, columns = np.arange(images.ratings.count), _columns(images, reading)
    return Pass(_with_augmentation(columns, plan) if plan else columns, positions, positions, images.bad)


def _pipeline(images: ImageSet, batchsize: int, reading: Reading, *, augmented: bool = False,
              drop_remainder: bool = False) -> AnyPipeline:
    """What reads a pass over these images: from cached features, a packed dataset or the image files."""
    if images.features is not None:
        return FeaturesPipeline(images.features, batchsize, drop_remainder)
    how, size = reading.preprocessing, reading.preprocessing.image_size
    if images.packed is not None:
        images.packed.note_unreadable(images.bad, images.ratings)
        return PackedPipeline(images.packed, size, batchsize, drop_remainder, augmented and reading.as_pixels)

    def read_augmented(row: Row) -> Tuple[tf.Tensor, tf.Tensor]:
        return read_training_image(row['path'], top=row['top'], left=row['left'], flip=row['flip'], image_size=size,
                                   resize=how.resize, max_pixels=reading.max_pixels, longest_side=how.longest_side,
                                   orientation=row.get('orientation'), as_pixels=reading.as_pixels), row['distribution']

    def read_plain(row: Row) -> Tuple[tf.Tensor, tf.Tensor]:
        return scale(read_image(row['path'], size, how.resize, reading.max_pixels, longest_side=how.longest_side,
                                orientation=row.get('orientation'))), row['distribution']

    if augmented:
        memory.fill_pool(POOL_BATCHES * batchsize * size ** 2 * 3 * (1 if reading.as_pixels else 4))  # uint8, float32
    names = ['path', 'distribution', *(['top', 'left', 'flip'] if augmented else []),
             *(['orientation'] if _turns(images, reading) else [])]
    return Pipeline(read_augmented if augmented else read_plain, names, batchsize=batchsize,
                    drop_remainder=drop_remainder, session_config=reading.session_config, max_pixels=reading.max_pixels)


def _val_pass(pipeline: AnyPipeline, one_pass: Pass, batchsize: int) -> Iterator[Batch]:
    for number, (images, distributions) in enumerate(pipeline.run(one_pass)):
        unreadable = one_pass.bad.mask[one_pass.order[number * batchsize:(number + 1) * batchsize]]
        yield (images[~unreadable], distributions[~unreadable]) if unreadable.any() else (images, distributions)


def verdicts(paths: Sequence[str], *, max_pixels: int = MAX_PIXELS, written: Optional[Callable[[], str]] = None,
             warn: Callable[[int, str], Any] = lambda index, text: None) -> Iterator[Optional[str]]:
    """For each image, in order, why TensorFlow cannot decode it, as a clause; None where it can.

    They are decoded in full size, on all cores. `written` returns what the decoder has printed since its last call:
    the images of a group with warnings are decoded once more, one by one, and `warn` gets the index of each image that
    can be decoded, and its warnings.
    """
    pipeline = Pipeline(lambda row: (count_decoded(row['path'], max_pixels),), ['path'], batchsize=CHECK_BATCH,
                        session_config=tf.compat.v1.ConfigProto(device_count={'GPU': 0}), max_pixels=max_pixels)
    files = np.array(list(map(os.fsencode, paths)), dtype=object)  # as bytes, as names need not be UTF-8
    with contextlib.closing(pipeline):
        if written is None:
            yield from _verdicts(pipeline, files)
            return
        for first in range(0, len(files), CHECK_GROUP):
            group = files[first:first + CHECK_GROUP]
            found = list(_verdicts(pipeline, group))
            for index in np.flatnonzero([reason is None for reason in found]) if written() else ():
                pipeline.why_unreadable(group[index])
                text = written()
                if text:
                    warn(first + int(index), text)
            yield from found


def _verdicts(pipeline: Pipeline, files: np.ndarray) -> Iterator[Optional[str]]:
    position = 0
    for good, _ in pipeline.good_rows({'path': files}):
        for index in good:
            yield from map(pipeline.why_unreadable, files[position:index])
            yield None
            position = index + 1
    yield from map(pipeline.why_unreadable, files[position:])
