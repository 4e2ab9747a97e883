"""One pass over images as plain data: files, packed datasets and cached features are read by it."""
from typing import Dict, NamedTuple

import numpy as np

from utils.data.bad_images import BadImages
from utils.data.epoch_plan import replacements


class Pass(NamedTuple):
    """One pass over a list of images."""

    columns: Dict[str, np.ndarray]  # by name, a row for each image of the list
    order: np.ndarray               # int64 [N]: index of an image, by position in the pass
    positions: np.ndarray           # int64 [N]: position in the epoch of each of them
    bad: BadImages                  # the images known to be unreadable; a pipeline adds to it
    seed: int = 0
    epoch: int = 0

    def part(self, part: slice) -> 'Pass':
        """The pass over a part of its positions."""
        return self._replace(order=self.order[part], positions=self.positions[part])

    def chosen(self) -> np.ndarray:
        """`order` with a replacement wherever an image is known to be unreadable; int64 [N].

        At least one image of the list has to be readable.
        """
        chosen, unreadable = np.array(self.order), self.bad.mask
        for row in np.flatnonzero(unreadable[chosen]):
            drawn = replacements(len(unreadable), self.epoch, int(self.positions[row]), seed=self.seed)
            chosen[row] = next(index for index in drawn if not unreadable[index])
        return chosen

    def rows(self, chosen: np.ndarray) -> Dict[str, np.ndarray]:
        """The columns of the images at these indices."""
        return {name: column[chosen] for name, column in self.columns.items()}
