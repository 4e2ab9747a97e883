"""Batches of cached features in place of images."""
from typing import Iterator, Tuple

import numpy as np

from utils.data.passes import Pass


class FeaturesPipeline:
    """Batches of features float32 [B, ...] in place of Pipeline's images; epoch k reads crop k modulo their number."""

    def __init__(self, features: np.ndarray, batchsize: int, drop_remainder: bool = False) -> None:
        """`features` is float32 [crops, N, F] or float16 [crops, N, H, W, C]."""
        self._features, self._batchsize, self._drop_remainder = features, batchsize, drop_remainder

    def run(self, one_pass: Pass) -> Iterator[Tuple[np.ndarray, ...]]:
        """The batches of one pass, full ones: replacements are in the positions of unreadable images."""
        features, chosen = self._features[one_pass.epoch % len(self._features)], one_pass.chosen()
        distributions = one_pass.rows(chosen)['distribution']
        last = len(chosen) // self._batchsize * self._batchsize if self._drop_remainder else len(chosen)
        for start in range(0, last, self._batchsize):
            part = slice(start, start + self._batchsize)
            yield np.asarray(features[chosen[part]], np.float32), distributions[part]

    def close(self) -> None:
        """Nothing is open."""
