"""A dataset before anything is decoded: its label files, its images and what their headers say, its split."""
import os
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from utils.base.errors import InputError
from utils.base.label_options import AS_USUAL, LabelOptions
from utils.base.progress import progress
from utils.data import ava, image_headers, splits
from utils.data.image_headers import Facts
from utils.data.image_kinds import ENDINGS


class LabelFile(NamedTuple):
    """A label file, and which rows of the dataset's arrays it has."""

    path: str
    labels: ava.Labels
    rows: slice


class Dataset(NamedTuple):
    """Labels and images, and what their headers say, before anything is decoded."""

    label_files: List[LabelFile]  # one, or those of the training and of the validation images
    images_folder: str
    ids: np.ndarray            # object (str) [N]: of all labels
    distributions: np.ndarray  # float64 [N, 10]
    paths: np.ndarray          # object (str) [N]: of the labels' images, whether or not they exist
    found: np.ndarray          # bool [N]: whether the image exists
    images: List[str]          # names of all image files in the folder, sorted
    facts: Dict[str, Facts]    # of each of `images`
    parts: Optional[splits.Parts]  # training and validation ratings; None where they cannot be split
    split: str                 # what parts are printed as, or why there are none
    split_typed: bool          # by --val_size, or two label files: that there are no parts is a finding then

    def name_of(self, path: str) -> str:
        """The name of an image in the folder, with its sub-folders."""
        return path[len(os.path.join(self.images_folder, '')):]

    def file_of(self, row: int) -> str:
        """The path of the label file that has a row."""
        return next(file.path for file in self.label_files if row < file.rows.stop)

    @property
    def label_of(self) -> Dict[str, str]:
        """The id of each labelled image that exists, by its file's name."""
        return {self.name_of(path): image_id
                for path, image_id in zip(self.paths[self.found], self.ids[self.found])}


def open_dataset(labels_path: str, images_folder: str, *, split: str = splits.LAST, val_size: Optional[int] = None,
                 options: LabelOptions = AS_USUAL) -> Dataset:
    """The dataset before anything is decoded; where `options` name a second label file, with both.

    InputError where the labels, the folder or all of the labelled images are missing, or a list of `split` cannot be
    used. That the split leaves no training or validation image, or is of two label files that share an image, is said
    in the dataset.
    """
    ava.refuse_exchanged(labels_path, images_folder)
    exists = ava.has_image(images_folder) if os.path.isdir(images_folder) else None
    files: List[LabelFile] = []
    for path in (labels_path, options.val_path):
        if path is not None:
            labels = ava.read_labels(path, options._replace(skip_bad=True, max_bad=1), exists=exists)
            first = files[-1].rows.stop if files else 0
            files.append(LabelFile(path, labels, slice(first, first + len(labels.ids))))
    ids, distributions = (np.concatenate([getattr(file.labels, name) for file in files])
                          for name in ('ids', 'distributions'))
    paths, found = ava.find_images(ids, images_folder)
    images = sorted(name for name in ava.list_images(images_folder, ids, special=True)
                    if name.lower().endswith(ENDINGS))
    dataset = Dataset(files, images_folder, ids, distributions, paths, found, images, {}, None, '',
                      val_size is not None or len(files) > 1)
    dataset = _divided(dataset, options.val_path or split, val_size)
    return dataset._replace(facts=_read_facts(images_folder, sorted({*images, *dataset.label_of})))


def _divided(dataset: Dataset, split: str, val_size: Optional[int]) -> Dataset:
    """The dataset with its parts, or with the reason why it has none."""
    ratings = [ava.Ratings(dataset.ids[file.rows], dataset.paths[file.rows], dataset.distributions[file.rows]).take(
        dataset.found[file.rows]) for file in dataset.label_files]
    try:
        parts = (splits.of_two_files(ratings[0], ratings[1], val_size) if len(ratings) > 1 else
                 splits.choose(ratings[0], split, val_size, labels=dataset.label_files[0].path))
    except InputError as error:
        if len(ratings) == 1 and split != splits.LAST:
            raise
        return dataset._replace(split=str(error))
    return dataset._replace(parts=parts, split=splits.describe(split, parts[1]))


def _read_facts(folder: str, names: Sequence[str]) -> Dict[str, Facts]:
    facts = image_headers.of_each(image_headers.read, [os.path.join(folder, name) for name in names])
    return {name: each for each, name in zip(progress(facts, len(names), 'reading headers'), names)}
