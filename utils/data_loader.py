"""AVA photographs as batches: JPEG -> float32 [B, S, S, 3] in [-1, 1], through tf.data on the host."""
import contextlib
import itertools
import os
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf

from utils.base import memory
from utils.base.defaults import IMAGE_SIZE, VAL_SIZE, from_root
from utils.base.errors import InputError
from utils.data import ava, bad_images, splits
from utils.data.bad_images import BadImages
from utils.data.epoch_plan import (
    ALL,
    EpochPlan,
    epoch_plan,
    part,
    replacements,
    resize_before_crop,
    training_positions,
    whole_plan,
)
from utils.data.image_guard import MAX_PIXELS
from utils.data.packed import Records, RecordsPipeline
from utils.data.pipeline import (
    POOL_BATCHES,
    Pass,
    Pipeline,
    count_decoded,
    decode,
    host_session,
    read_image,
    read_training_image,
    scale,
)

# Edit these two lines for your own data. Relative paths count from the repository's root.
base_images_path = r'./AVA_dataset/image/images/'
ava_dataset_path = r'./AVA_dataset/AVA.txt'

__all__ = ['EpochPlan', 'decode', 'epoch_plan', 'host_session', 'read_image', 'read_training_image',
           'resize_before_crop', 'scale', 'train_generator', 'val_batches', 'val_generator', 'verdicts']

CHECK_BATCH = 64  # verdicts a step

Batch = Tuple[np.ndarray, ...]  # images, vote shares
AnyPipeline = Union[Pipeline, RecordsPipeline]


def steps_per_epoch(available: int, train_size: int, batchsize: int, *, devices: int = 1,
                    report: Optional[Callable[[str], Any]] = None) -> int:
    """Steps in an epoch of `train_size` photographs, or of all `available` where they are fewer.

    Each takes a full batch for each of the `devices`. `report`, such as print, gets a sentence where they are fewer.
    """
    if report and train_size > available:
        report(f'train_size: asked for {train_size}, found {available} training photographs: taking all')
    images = min(train_size, available)
    if images < batchsize * devices:
        each = '' if devices == 1 else f' on each of {devices} devices'
        cure = f'type --batchsize {images // devices} or less' if images >= devices else 'start fewer processes'
        raise InputError(f'batchsize: found {batchsize}{each}, expected at most the {images} training photographs of '
                         f'an epoch: {cure}')
    return images // (batchsize * devices)


def dataset_paths(labels: Optional[str] = None, images: Optional[str] = None) -> Tuple[str, str]:
    """The label file and the folder of photographs, each by default the edited path."""
    return labels or from_root(ava_dataset_path), images or from_root(base_images_path)


def read_split(val_size: Optional[int] = VAL_SIZE, *, split: str = splits.LAST, labels: Optional[str] = None,
               images: Optional[str] = None, skip_bad: bool = False, to_train: int = 1,
               report: Optional[Callable[[str], Any]] = None) -> Tuple[ava.Ratings, ava.Ratings]:
    """The training and the validation ratings of a label file and its photographs, by default the edited paths.

    splits.choose() says what `split`, `val_size` and `to_train` mean; `report`, such as print, also gets the split's
    hash.
    """
    labels, images = dataset_paths(labels, images)
    ratings = ava.read(labels, images, skip_bad=skip_bad, report=report)
    train, val = splits.choose(ratings, split, val_size, labels=labels, to_train=to_train, report=report)
    if report:
        report(splits.describe(split, val))
    return train, val


def train_generator(batchsize: int, shuffle: bool = True, *, ratings: Optional[ava.Ratings] = None,
                    train_size: Optional[int] = None, image_size: int = IMAGE_SIZE,
                    resize: str = 'bilinear', seed: int = 0, first_epoch: int = 0, first_image: int = 0,
                    session_config: Optional[tf.compat.v1.ConfigProto] = None, bad: Optional[BadImages] = None,
                    packed: Optional[Records] = None, shard: Tuple[int, int] = ALL,
                    **decoding: Any) -> Iterator[Batch]:
    """Training batches for ever: images float32 [B, S, S, 3] in [-1, 1], vote shares float32 [B, 10].

    The first batch begins at the place `first_image` of the epoch `first_epoch`, both counted from 0. `shard` is which
    of how many devices reads, see epoch_plan.training_positions(): all of them together read what one would.

    Each epoch is a shuffle of the whole list, of which the first `train_size` photographs are taken; what
    does not fill a batch is left out of that epoch. In the place of a photograph that cannot be decoded stands
    another, drawn from (seed, epoch, place), with its own augmentation; `bad` counts such photographs and raises
    InputError at too many. `packed` holds the photographs; without it their files are decoded, with the
    settings of pipeline.decode in `decoding`. Without `ratings` the edited paths are read.
    """
    if ratings is None:
        ratings, _ = read_split()
    if train_size is None:
        train_size = ratings.count
    steps_per_epoch(ratings.count, train_size, batchsize, devices=shard[1])
    train_size = min(train_size, ratings.count)
    paths, scores = ratings.paths, ratings.distributions.astype(np.float32)
    bad = bad or BadImages(ratings.count)
    if packed:
        pipeline: AnyPipeline = _packed_pipeline(packed, ratings, bad, image_size, batchsize, drop_remainder=True)
    else:
        pipeline = _training_pipeline(batchsize, image_size, resize, session_config, decoding)
    with contextlib.closing(pipeline):
        for epoch in itertools.count(first_epoch):
            plan = whole_plan(ratings.count, epoch, seed=seed, shuffle=shuffle, image_size=image_size)
            # Nothing is decoded that no batch takes.
            places = training_positions(first_image if epoch == first_epoch else 0, train_size, batchsize, shard)

            def rows_of(chosen: np.ndarray, plan: EpochPlan = plan) -> List[np.ndarray]:
                return [paths[chosen], plan.top[chosen], plan.left[chosen], plan.flip[chosen], scores[chosen]]

            def draw(place: int, epoch: int = epoch) -> Iterator[int]:
                return replacements(len(paths), epoch, place, seed=seed)

            yield from pipeline.run(Pass(plan.order[places], rows_of, bad, draw, places))


def _training_pipeline(batchsize: int, image_size: int, resize: str,
                       session_config: Optional[tf.compat.v1.ConfigProto], decoding: Dict[str, Any], *,
                       drop_remainder: bool = True) -> Pipeline:
    def read_row(path: tf.Tensor, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor,
                 row: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return read_training_image(path, top=top, left=left, flip=flip, image_size=image_size, resize=resize,
                                   **decoding), row

    columns = ((tf.string, ()), (tf.int32, ()), (tf.int32, ()), (tf.bool, ()), (tf.float32, (10,)))
    memory.fill_pool(POOL_BATCHES * batchsize * image_size ** 2 * 3 * 4)  # float32
    return Pipeline(read_row, columns, batchsize=batchsize, drop_remainder=drop_remainder,
                    session_config=session_config, max_pixels=decoding.get('max_pixels', MAX_PIXELS))


def _packed_pipeline(packed: Records, ratings: ava.Ratings, bad: BadImages, image_size: int, batchsize: int, *,
                     drop_remainder: bool = False) -> RecordsPipeline:
    packed.note_bad(bad, ratings)
    return packed.pipeline(image_size, batchsize, drop_remainder=drop_remainder)


def generators(train: ava.Ratings, val: ava.Ratings, batchsize: int, *, train_size: int, seed: int,
               max_bad_images: float, preprocessing: Dict[str, Any],
               packed: Tuple[Optional[Records], Optional[Records]] = (None, None),
               first_epoch: int = 0, first_image: int = 0, shard: Tuple[int, int] = ALL,
               **reading: Any) -> Tuple[Iterator[Batch], Iterator[Batch], Tuple[BadImages, BadImages]]:
    """The train_generator and the val_generator of a run, and what counts the bad photographs of each.

    `shard` is which of how many devices reads.
    """
    bad = bad_images.for_training(train.count, val.count, max_bad_images)
    reading.update(image_size=preprocessing['image_size'], resize=preprocessing['resize'], shard=shard)
    return (train_generator(batchsize, ratings=train, train_size=train_size, seed=seed, first_epoch=first_epoch,
                            first_image=first_image, bad=bad[0], packed=packed[0], **reading),
            val_generator(batchsize, ratings=val, bad=bad[1], packed=packed[1], **reading), bad)


def val_batches(ratings: ava.Ratings, batchsize: int, *, image_size: int = IMAGE_SIZE, resize: str = 'bilinear',
                session_config: Optional[tf.compat.v1.ConfigProto] = None, bad: Optional[BadImages] = None,
                packed: Optional[Records] = None, **decoding: Any) -> Iterator[Batch]:
    """One pass in the list's order: every photograph once, the last batch as short as it comes.

    A photograph that cannot be decoded is left out of its batch, which may then be empty, and noted in `bad`, so
    that afterwards ratings.take(~bad.mask) are the photographs that were read.
    """
    pipeline, whole = _val_pipeline(ratings, batchsize, image_size, resize, session_config, bad, packed, decoding)
    with contextlib.closing(pipeline):
        yield from _val_pass(pipeline, whole, batchsize)


def val_generator(batchsize: int, *, ratings: Optional[ava.Ratings] = None, image_size: int = IMAGE_SIZE,
                  resize: str = 'bilinear', session_config: Optional[tf.compat.v1.ConfigProto] = None,
                  bad: Optional[BadImages] = None, packed: Optional[Records] = None, shard: Tuple[int, int] = ALL,
                  **decoding: Any) -> Iterator[Batch]:
    """Validation batches for ever, pass after pass of val_batches, over epoch_plan.part() of the photographs.

    Without `ratings` the edited paths are read.
    """
    if ratings is None:
        _, ratings = read_split()
    pipeline, whole = _val_pipeline(ratings, batchsize, image_size, resize, session_config, bad, packed, decoding)
    places = whole.places[part(ratings.count, shard)]
    whole = whole._replace(order=whole.order[places], places=places)
    with contextlib.closing(pipeline):
        while True:
            yield from _val_pass(pipeline, whole, batchsize)


def _val_pipeline(ratings: ava.Ratings, batchsize: int, image_size: int, resize: str,
                  session_config: Optional[tf.compat.v1.ConfigProto], bad: Optional[BadImages],
                  packed: Optional[Records], decoding: Dict[str, Any]) -> Tuple[AnyPipeline, Pass]:
    paths, scores = ratings.paths, ratings.distributions.astype(np.float32)

    def read_row(path: tf.Tensor, row: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return scale(read_image(path, image_size, resize, **decoding)), row

    bad = bad or BadImages(ratings.count, what='validation')
    if packed:
        pipeline: AnyPipeline = _packed_pipeline(packed, ratings, bad, image_size, batchsize)
    else:
        pipeline = Pipeline(read_row, ((tf.string, ()), (tf.float32, (10,))), batchsize=batchsize,
                            session_config=session_config, max_pixels=decoding.get('max_pixels', MAX_PIXELS))
    # Substitutes keep the pipeline's batches full; _val_pass cuts them out.
    places = np.arange(ratings.count)
    return pipeline, Pass(places, lambda chosen: [paths[chosen], scores[chosen]], bad,
                          lambda place: replacements(ratings.count, 0, place), places)


def _val_pass(pipeline: AnyPipeline, whole: Pass, batchsize: int) -> Iterator[Batch]:
    for number, (images, rows) in enumerate(pipeline.run(whole)):
        broken = whole.bad.mask[whole.order[number * batchsize:(number + 1) * batchsize]]
        yield (images[~broken], rows[~broken]) if broken.any() else (images, rows)


def in_order(ratings: ava.Ratings, batchsize: int, *, bad: BadImages, preprocessing: Dict[str, Any], first: int = 0,
             epoch: Optional[int] = None, seed: int = 0,
             session_config: Optional[tf.compat.v1.ConfigProto] = None, packed: Optional[Records] = None,
             **decoding: Any) -> Iterator[np.ndarray]:
    """The photographs from the row `first` on, in the list's order, as images float32 [B, S, S, 3] in [-1, 1].

    They are those of val_batches, or with `epoch` cropped and flipped as train_generator does in that epoch. In the
    place of one that cannot be decoded stands another, and `bad` knows of it; the last batch is as short as it comes.
    """
    size, resize = preprocessing['image_size'], preprocessing['resize']
    pipeline, whole = _val_pipeline(ratings, batchsize, size, resize, session_config, bad, packed, decoding)
    if epoch is not None:
        paths, scores = ratings.paths, ratings.distributions.astype(np.float32)
        plan = whole_plan(ratings.count, epoch, seed=seed, shuffle=False, image_size=size)
        whole = whole._replace(rows_of=lambda chosen: [paths[chosen], plan.top[chosen], plan.left[chosen],
                                                       plan.flip[chosen], scores[chosen]])
        if not packed:
            pipeline.close()
            pipeline = _training_pipeline(batchsize, size, resize, session_config, decoding, drop_remainder=False)
    with contextlib.closing(pipeline):
        for images, _ in pipeline.run(whole._replace(order=whole.order[first:], places=whole.places[first:])):
            yield images


def verdicts(paths: Sequence[str], *, max_pixels: int = MAX_PIXELS) -> Iterator[Optional[str]]:
    """For each photograph, in order, why TensorFlow cannot decode it, as a clause; None where it can.

    They are decoded whole, on all cores.
    """
    pipeline = Pipeline(lambda path: (count_decoded(path, max_pixels),), ((tf.string, ()),), batchsize=CHECK_BATCH,
                        session_config=tf.compat.v1.ConfigProto(device_count={'GPU': 0}), max_pixels=max_pixels)
    files = np.array(list(map(os.fsencode, paths)), dtype=object)  # as bytes, as names need not be UTF-8
    position = 0
    with contextlib.closing(pipeline):
        for good, _ in pipeline.good_rows(files):
            for index in good:
                yield from map(pipeline.why_bad, files[position:index])
                yield None
                position = index + 1
        yield from map(pipeline.why_bad, files[position:])
