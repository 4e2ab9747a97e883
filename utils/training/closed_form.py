"""The head in closed form: ridge regression from features to the mean score, and the Dense layer that predicts it."""
from typing import NamedTuple, Sequence, Tuple

import numpy as np

from utils import score_utils
from utils.base.scores import SCORES

PENALTIES = tuple(10.0 ** exponent for exponent in np.arange(-6, 2.1, 0.5))  # in units of the features' variance
FOLDS = 5
WIDEST = 4096  # features: their products take 1 GB; NASNetLarge has 4032
BLOCK = 4096  # images whose features are taken to float64 at a time


class ClosedForm(NamedTuple):
    """A head: mean score = features @ weights + constant."""

    weights: np.ndarray   # float64 [F]
    constant: float
    penalty: float        # of PENALTIES, by cross-validation
    srcc: float           # of the images left out in cross-validation, the mean of the folds

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The mean scores [N] of features [N, F], not limited to [1, 10]."""
        return features @ self.weights + self.constant


class _Moments(NamedTuple):
    """Sums over images, from which a ridge regression follows; those of several folds add up."""

    images: float
    x: np.ndarray    # [F]
    y: float
    xx: np.ndarray   # [F, F]
    xy: np.ndarray   # [F]


def fit(features: np.ndarray, means: np.ndarray, *, seed: int = 0) -> ClosedForm:
    """The ridge regression of mean scores [N] on features [N, F], with the penalty that ranks left out images best.

    The folds are drawn at random by `seed`. ValueError for fewer images than two in each fold.
    """
    if len(means) < 2 * FOLDS:
        raise ValueError(f'found {len(means)} images, expected at least {2 * FOLDS}')
    fold = np.random.RandomState(seed).permutation(len(means)) % FOLDS
    parts = [_moments(features[fold == each], means[fold == each]) for each in range(FOLDS)]
    scores = np.zeros(len(PENALTIES))
    for each in range(FOLDS):
        weights, constants = _solve(_sum([part for other, part in enumerate(parts) if other != each]))
        predicted = features[fold == each].astype(np.float64) @ weights + constants
        scores += [np.nan_to_num(score_utils.srcc(means[fold == each], column)) / FOLDS for column in predicted.T]
    best = int(scores.argmax())
    weights, constants = _solve(_sum(parts))
    return ClosedForm(weights[:, best], float(constants[best]), PENALTIES[best], float(scores[best]))


def _moments(features: np.ndarray, means: np.ndarray) -> _Moments:
    width = features.shape[1]
    found = _Moments(0, np.zeros(width), 0, np.zeros((width, width)), np.zeros(width))
    for start in range(0, len(means), BLOCK):
        x, y = features[start:start + BLOCK].astype(np.float64), means[start:start + BLOCK]
        found = _sum([found, _Moments(len(y), x.sum(0), y.sum(), x.T @ x, x.T @ y)])
    return found


def _sum(parts: Sequence[_Moments]) -> _Moments:
    return _Moments(*(sum(columns[1:], columns[0]) for columns in zip(*parts)))


def _solve(sums: _Moments) -> Tuple[np.ndarray, np.ndarray]:
    """The weights [F, P] and constants [P] of all PENALTIES, by one decomposition of the centred features."""
    mean_x, mean_y = sums.x / sums.images, sums.y / sums.images
    values, vectors = np.linalg.eigh(sums.xx / sums.images - np.outer(mean_x, mean_x))
    values = np.maximum(values, 0)
    along = vectors.T @ (sums.xy / sums.images - mean_x * mean_y)
    penalties = np.array(PENALTIES) * max(values.mean(), np.finfo(float).tiny)
    weights = vectors @ (along[:, np.newaxis] / (values[:, np.newaxis] + penalties))
    return weights, mean_y - mean_x @ weights


def dense(found: ClosedForm, features: np.ndarray, distributions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Kernel float32 [F, 10] and bias float32 [10] of a Dense layer with softmax that ranks as `found` does.

    Its distributions are the average of `distributions` [N, 10], tilted: share k is multiplied by exp(t k), where t is
    linear in the predicted mean score, so that the order of the mean scores stays. Slope and offset of t are those that
    give the images' mean scores best, by least squares of the t that give them exactly.
    """
    average = np.maximum(distributions.mean(axis=0), 1e-6)
    predicted = np.concatenate([found.predict(features[start:start + BLOCK].astype(np.float64))
                                for start in range(0, len(features), BLOCK)])
    tilts = _tilts(average, np.clip(predicted, *np.quantile(score_utils.mean_score(distributions), (0.01, 0.99))))
    slope, offset = np.polyfit(predicted, tilts, 1) if np.ptp(predicted) else (0.0, 0.0)
    kernel = np.outer(found.weights * slope, SCORES)
    bias = np.log(average / average.sum()) + (found.constant * slope + offset) * SCORES
    return kernel.astype(np.float32), (bias - bias.mean()).astype(np.float32)


def _tilts(average: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The t of each mean [N] for which `average` * exp(t * score), to sum 1, has that mean; by a table."""
    table = np.linspace(-4, 4, 2001)
    tilted = np.log(average) + np.outer(table, SCORES)
    tilted = np.exp(tilted - tilted.max(axis=1, keepdims=True))
    return np.interp(means, tilted @ SCORES / tilted.sum(axis=1), table)
