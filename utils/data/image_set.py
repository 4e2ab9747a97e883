"""The images of a training or an evaluation, and how they are read."""
from typing import Any, NamedTuple, Optional

import numpy as np

from utils.base.defaults import MAX_MEGAPIXELS
from utils.base.preprocessing import Preprocessing
from utils.data.ava import Ratings
from utils.data.bad_images import BadImages
from utils.data.packed import Packed


class ImageSet(NamedTuple):
    """Images with labels, which of them are known to be unreadable, and what they are read from."""

    ratings: Ratings
    bad: BadImages
    packed: Optional[Packed] = None         # instead of the files
    features: Optional[np.ndarray] = None   # [crops, N, ...], cached, instead of the images

    @property
    def readable(self) -> Ratings:
        """The ratings of the images that are not known to be unreadable."""
        return self.ratings.take(~self.bad.mask)


class Reading(NamedTuple):
    """How images are read."""

    preprocessing: Preprocessing = Preprocessing()
    max_pixels: int = MAX_MEGAPIXELS * 10 ** 6  # an image with more, by its header, is unreadable
    session_config: Any = None                  # tf.ConfigProto of the host session that decodes
    as_pixels: bool = False                     # training batches are uint8 and not scaled, see training/uint8_feed.py


CARD = Reading()  # as the model card says
