"""Statistics of predictions beside their metrics: bootstrap intervals, calibration of the std, the extremes."""
import math
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from utils import score_utils

RESAMPLES = 2000
CONFIDENCE = 0.95
BINS = 10
MIN_IN_BIN = 5


class Interval(NamedTuple):
    """A percentile interval of CONFIDENCE over `resamples` draws, `undefined` of which gave no number."""

    value: float  # of the images themselves
    low: float
    high: float
    resamples: int
    undefined: int


class Bin(NamedTuple):
    """Images with about the same predicted standard deviation."""

    photographs: int  # how many; its name in metrics.json
    predicted: float  # mean of the predicted standard deviations
    true: float       # mean of the true ones
    low: float        # quartiles of the true ones
    high: float


def srcc_bootstrap(true: Any, predictions: Sequence[Any], *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """SRCC of each of `predictions`, means [N], with `true` [N]: float64 [models, resamples].

    Every resample draws N images with replacement, the same for all models, from RandomState(seed); ties share
    their mean rank within the resample. NaN where a side of a resample is constant.
    """
    columns = [_levels(values) for values in (true, *predictions)]
    count = len(columns[0])
    random = np.random.RandomState(seed)
    result = np.full((len(predictions), resamples), np.nan)
    for draw in range(resamples):
        weights = np.bincount(random.randint(count, size=count), minlength=count).astype(np.float64)
        first, *others = (_centred_ranks(levels, weights) for levels in columns)
        for model, ranks in enumerate(others):
            scale = math.sqrt((weights @ first ** 2) * (weights @ ranks ** 2))
            if scale:
                result[model, draw] = weights @ (first * ranks) / scale
    return result


def interval(value: float, draws: np.ndarray) -> Interval:
    """The percentile interval of bootstrap `draws` [resamples] around `value`; NaN where no draw is a number."""
    defined = draws[np.isfinite(draws)]
    low, high = (float(np.percentile(defined, 50 * (1 + sign * CONFIDENCE))) if len(defined) else math.nan
                 for sign in (-1, 1))
    return Interval(value, low, high, len(draws), len(draws) - len(defined))


def srcc_intervals(true: Any, predictions: Sequence[Any], *, resamples: int = RESAMPLES,
                   seed: int = 0) -> Dict[str, List[Interval]]:
    """The intervals of every model's SRCC (`srcc`), and of its difference to the first model's (`difference`).

    `true` and each of `predictions` are mean scores [N]. A model whose SRCC is undefined, an untrained one, has NaN
    throughout: the rounding noise of its predictions is not ranked.
    """
    values = [score_utils.srcc(true, prediction) for prediction in predictions]
    draws = np.full((len(values), resamples), np.nan)
    usable = [number for number, value in enumerate(values) if math.isfinite(value)]
    if usable:
        draws[usable] = srcc_bootstrap(true, [predictions[number] for number in usable], resamples=resamples,
                                       seed=seed)
    return {'srcc': [interval(value, each) for value, each in zip(values, draws)],
            'difference': [interval(value - values[0], each - draws[0]) for value, each in zip(values, draws)]}


def std_calibration(true_stds: Any, predicted_stds: Any) -> List[Bin]:
    """Images in up to BINS equal parts by predicted standard deviation, lowest first, each of MIN_IN_BIN or more.

    A model is calibrated where `predicted` and `true` of every bin are equal. No bins for fewer than MIN_IN_BIN
    images.
    """
    true, predicted = np.asarray(true_stds, np.float64), np.asarray(predicted_stds, np.float64)
    parts = min(BINS, len(true) // MIN_IN_BIN)
    order = np.argsort(predicted, kind='stable')
    return [Bin(len(part), float(predicted[part].mean()), float(true[part].mean()),
                *(float(each) for each in np.percentile(true[part], (25, 75))))
            for part in (np.array_split(order, parts) if parts else [])]


def extremes(true_means: Any, predicted_means: Any, count: int) -> Dict[str, np.ndarray]:
    """Indices of up to `count` images each: `best` and `worst` by predicted mean, `mistaken` by absolute error."""
    true, predicted = np.asarray(true_means), np.asarray(predicted_means)
    return {name: np.argsort(key, kind='stable')[:count]
            for name, key in (('best', -predicted), ('worst', predicted), ('mistaken', -np.abs(predicted - true)))}


def _levels(values: Any) -> np.ndarray:
    """For each value the number of distinct smaller ones: int [N]. Values equal to 6 decimals are one."""
    return np.unique(np.round(np.asarray(values, np.float64), score_utils.DECIMALS), return_inverse=True)[1]


def _centred_ranks(levels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks [N] of images that are drawn `weights` [N] times each, less their weighted mean."""
    counts = np.bincount(levels, weights=weights)
    ranks = (np.cumsum(counts) - counts / 2)[levels]
    return ranks - weights.sum() / 2
