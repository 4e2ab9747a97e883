"""How well predicted vote distributions agree with true ones: SRCC, LCC, accuracy and EMD.

`true` and `pred` are vote distributions [N, 10], rows summing to 1, for the scores 1 to 10, or one number for each
image [N] on that scale. Arithmetic is float64; a wrong shape is a ValueError.
"""
import math
from typing import Any, Dict, Optional, Tuple

import numpy as np

from utils.base.scores import SCORES

# Mean scores tie, and some are exactly 5; the last bits of float64 would break the ties and push 5 to either
# side. Two different means of up to 549 votes, AVA's most, are at least 1 / (549 * 548) = 3.3e-6 apart.
DECIMALS = 6
COLLAPSE = 0.001  # distributions that differ by less in all images carry no information
SATURATED = 1 - 1e-4  # a softmax with a larger share has next to nothing for the other scores
GOOD = 5.0  # the score that parts good from bad images in AVA's two-class accuracy

LABELS = {
    'srcc_mean': 'SRCC of the mean score',
    'lcc_mean': 'LCC of the mean score',
    'krcc_mean': 'KRCC of the mean score',
    'srcc_std': 'SRCC of the standard deviation',
    'lcc_std': 'LCC of the standard deviation',
    'accuracy_gt5': 'accuracy, good is a mean above 5',
    'accuracy_ge5': 'accuracy, good is a mean from 5',
    'emd_r1': 'EMD, r=1',
    'emd_r2': 'EMD, r=2 (the loss)',
}


def mean_score(scores: Any) -> np.ndarray:
    """The mean score, in [1, 10]: float64 [N] for distributions [N, 10], a number for one [10]."""
    return _shares(scores) @ SCORES


def std_score(scores: Any) -> np.ndarray:
    """The votes' standard deviation, in [0, 4.5]: float64 [N] for distributions [N, 10], a number for one [10]."""
    distributions = _shares(scores)
    return np.sqrt(np.maximum(distributions @ SCORES ** 2 - (distributions @ SCORES) ** 2, 0))


def srcc(true: Any, pred: Any) -> float:
    """Spearman's rank correlation, in [-1, 1], ties sharing their mean rank; NaN where undefined_reason says why."""
    if undefined_reason(true, pred) is not None:
        return math.nan
    from scipy.stats import spearmanr  # here, because importing SciPy takes half a second
    return float(spearmanr(*_rounded_pair(true, pred))[0])


def lcc(true: Any, pred: Any) -> float:
    """Pearson's linear correlation, in [-1, 1]; NaN where undefined_reason says why."""
    if undefined_reason(true, pred) is not None:
        return math.nan
    from scipy.stats import pearsonr
    return float(pearsonr(*_rounded_pair(true, pred))[0])


def krcc(true: Any, pred: Any) -> float:
    """Kendall's rank correlation, tau-b, in [-1, 1]; NaN where undefined_reason says why."""
    if undefined_reason(true, pred) is not None:
        return math.nan
    from scipy.stats import kendalltau
    return float(kendalltau(*_rounded_pair(true, pred))[0])


def undefined_reason(true: Any, pred: Any) -> Optional[str]:
    """Why a correlation of `true` [N] and `pred` [N] is undefined, as a clause; None where it is defined.

    Values that differ by less than 1e-6 are equal, so an untrained model's rounding noise is no ranking, on
    whichever sides of a rounding border it falls.
    """
    true, pred = _pair(true, pred)
    for name, values in (('predictions', pred), ('labels', true)):
        wrong = np.sum(~np.isfinite(values))
        if wrong:
            return f'{wrong} of {len(values)} {name} are not a number'
    if len(true) < 2:
        return f'fewer than 2 images ({len(true)})'
    for name, values in (('predictions', pred), ('labels', true)):
        if min(np.ptp(values), np.ptp(np.round(values, DECIMALS))) < 10 ** -DECIMALS:
            return f'all {name} are equal ({values[0]:g})'
    return None


def emd(true: Any, pred: Any, r: int) -> float:
    """Mean over images of (mean over scores of |CDF_true - CDF_pred|^r)^(1/r): arXiv:1709.05424, eq. 1.

    Papers quote r=1; r=2 is the training loss. NaN for no images or where a prediction is NaN.
    """
    true, pred = _distribution_pair(true, pred)
    if not len(true):
        return math.nan
    with np.errstate(invalid='ignore'):
        distance = np.abs(np.cumsum(true, axis=-1) - np.cumsum(pred, axis=-1))
        return float(np.mean(np.mean(distance ** r, axis=-1) ** (1 / r)))


def accuracy(true_means: Any, pred_means: Any, at_least: bool = False) -> float:
    """The share of images put on the right side of a mean score of 5, in [0, 1].

    An image is good above 5, or from 5 with `at_least`. NaN for no images or where a mean is NaN.
    """
    true, pred = _rounded_pair(true_means, pred_means)
    if not len(true) or not (np.isfinite(true).all() and np.isfinite(pred).all()):
        return math.nan
    is_good = np.greater_equal if at_least else np.greater
    return float(np.mean(is_good(true, GOOD) == is_good(pred, GOOD)))


def metrics(true: Any, pred: Any) -> Dict[str, float]:
    """Every measure of LABELS, by its key, for distributions [N, 10]; NaN where undefined."""
    true, pred = _distribution_pair(true, pred)
    means = mean_score(true), mean_score(pred)
    stds = std_score(true), std_score(pred)
    return {
        'srcc_mean': srcc(*means),
        'lcc_mean': lcc(*means),
        'krcc_mean': krcc(*means),
        'srcc_std': srcc(*stds),
        'lcc_std': lcc(*stds),
        'accuracy_gt5': accuracy(*means),
        'accuracy_ge5': accuracy(*means, at_least=True),
        'emd_r1': emd(true, pred, r=1),
        'emd_r2': emd(true, pred, r=2),
    }


def is_collapsed(predicted: Any) -> bool:
    """Whether the distributions [N, 10] of several images are all the same, to COLLAPSE in each share."""
    predicted = np.atleast_2d(_distributions(predicted, 'predicted'))
    return len(predicted) > 1 and bool(np.ptp(predicted, axis=0).max() < COLLAPSE)


def constant_prediction(true: Any) -> np.ndarray:
    """The images' own mean distribution, repeated for each: float64 [N, 10].

    The constant-prediction baseline: the average vote distribution for every image.
    """
    true = _distribution_pair(true, true)[0]
    return np.tile(true.mean(axis=0), (len(true), 1)) if len(true) else true


def table(columns: Dict[str, Dict[str, float]]) -> str:
    """Metrics side by side, `columns` by name, as aligned lines of text; NaN is `undefined`."""
    rows = [('', list(columns))]
    rows += [(label, [shown(column[key]) for column in columns.values()]) for key, label in LABELS.items()]
    first = max(len(label) for label, _ in rows)
    widths = [max(map(len, cells)) for cells in zip(*(cells for _, cells in rows))]
    return '\n'.join(f'{label:<{first}}' + ''.join(f'  {cell:>{width}}' for cell, width in zip(cells, widths))
                     for label, cells in rows)


def shown(value: float, digits: int = DECIMALS) -> str:
    """A metric as text; NaN is `undefined`."""
    return 'undefined' if math.isnan(value) else f'{value:.{digits}f}'


def last_lines(true: Any, pred: Any) -> str:
    """The loss and the SRCC of distributions [N, 10] as the model card prints them, after why the SRCC is undefined."""
    means = mean_score(true), mean_score(pred)
    reason = undefined_reason(*means)
    first = f'SRCC is undefined: {reason}\n' if reason else ''
    return f'{first}loss  {emd(true, pred, r=2):f}     srcc {srcc(*means):f}'


def _distributions(scores: Any, name: str) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != len(SCORES):
        raise ValueError(f'{name}: found shape {array.shape}, expected (10,) or (N, 10), a share for each score from 1 '
                         'to 10')
    return array


def _shares(scores: Any) -> np.ndarray:
    """Distributions, those with a share above SATURATED divided by their sum.

    A row of float32 sums to 1 only to 1e-7. The means of many saturated rows differ by no more, and the rounding error
    of their largest share would rank them; divided by the sum it cancels.
    """
    array = _distributions(scores, 'scores')
    with np.errstate(invalid='ignore'):
        saturated = array.max(axis=-1, keepdims=True) > SATURATED
    return np.divide(array, array.sum(axis=-1, keepdims=True), out=array.copy(), where=saturated)


def _distribution_pair(true: Any, pred: Any) -> Tuple[np.ndarray, np.ndarray]:
    true, pred = np.atleast_2d(_distributions(true, 'true')), np.atleast_2d(_distributions(pred, 'pred'))
    if true.shape != pred.shape:
        raise ValueError(f'true and pred: found shapes {true.shape} and {pred.shape}, expected the same, one '
                         'prediction for each image')
    return true, pred


def _pair(true: Any, pred: Any) -> Tuple[np.ndarray, np.ndarray]:
    """Two float64 arrays [N]."""
    true, pred = np.asarray(true, dtype=np.float64), np.asarray(pred, dtype=np.float64)
    if true.ndim != 1 or true.shape != pred.shape:
        raise ValueError(f'true and pred: found shapes {true.shape} and {pred.shape}, expected (N,) twice, one '
                         'number for each image')
    return true, pred


def _rounded_pair(true: Any, pred: Any) -> Tuple[np.ndarray, np.ndarray]:
    true, pred = _pair(true, pred)
    return np.round(true, DECIMALS), np.round(pred, DECIMALS)
