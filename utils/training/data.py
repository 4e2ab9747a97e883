"""The images of a training: those to train on, those to validate on, and how they are read."""
from typing import NamedTuple, Optional, Tuple

from utils.base.preprocessing import Preprocessing
from utils.data import packed as packed_data
from utils.data.ava import Ratings
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet, Reading
from utils.data_loader import Parts


class Data(NamedTuple):
    """The images of a training."""

    train: ImageSet
    val: ImageSet
    reading: Reading
    test: Optional[Ratings] = None  # images that are never read


def open_data(parts: Parts, preprocessing: Preprocessing, *, max_pixels: int, max_bad: float,
              packed: Tuple[Optional[str], Optional[str]] = (None, None), cropped: bool = True) -> Data:
    """The data of the parts of a label file.

    `packed` names the folders of packed datasets that are read instead of the files; that of images which are not
    `cropped` is one for scoring. InputError where a packed dataset does not fit.
    """
    train, val, test = parts
    use = 'training' if cropped else 'scoring'
    opened = (packed_data.open_fitting(packed[0], train, preprocessing, use=use, flag='--records'),
              packed_data.open_fitting(packed[1], val, preprocessing, use='scoring', flag='--val_records'))
    return Data(ImageSet(train, BadImages(train.count, share=max_bad), opened[0]),
                ImageSet(val, BadImages(val.count, share=max_bad, what='validation'), opened[1]),
                Reading(preprocessing, max_pixels), test)
