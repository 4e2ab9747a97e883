"""Vote distributions where only a mean, or a mean and a std, is known.

Of all distributions with these moments the one of the largest entropy is taken: it claims nothing beyond them.
(E. T. Jaynes, "Information Theory and Statistical Mechanics", Physical Review 106, 1957: the distributions of the form
exp(a * score + b * score ** 2), b = 0 where only the mean is known.)
"""
from typing import Tuple

import numpy as np

from utils.base.label_options import ASSUMED_STD
from utils.base.scores import SCORES

HALVINGS = 80        # of the interval of a parameter: to less than the last bit
STEEPEST = 800.0     # exp() of its negative is 0 in float64
NEWTON_STEPS, NEWTON_HALVINGS = 200, 30
LONGEST_STEP = 20.0  # of a parameter: exp() of it is beyond all that distributions can need at once
TOLERANCE = 1e-12    # of both moments
EDGE = 1e-6          # variances this close to the least or the largest are mixed with the distribution that has it


def from_means(means: np.ndarray) -> np.ndarray:
    """Distributions float64 [N, 10], of the largest entropy, whose means are `means` [N], in [1, 10], to 1e-9.

    The means 1 and 10 give all votes to one score, 5.5 gives each score the same.
    """
    wanted, inverse = np.unique(np.asarray(means, np.float64), return_inverse=True)
    mirrored = wanted > (SCORES[0] + SCORES[-1]) / 2
    # Above the middle all is mirrored, so that the steepest distributions are powers of exp(slope) from 1 downwards.
    low = np.where(mirrored, SCORES[-1] - wanted, wanted - SCORES[0])  # points above the lowest score
    steep, flat = np.full(len(low), -STEEPEST), np.zeros(len(low))
    for _ in range(HALVINGS):
        slope = (steep + flat) / 2
        too_low = _exponential(slope) @ (SCORES - SCORES[0]) < low
        steep, flat = np.where(too_low, slope, steep), np.where(too_low, flat, slope)
    votes = _exponential(flat)
    votes[low == 0] = np.eye(len(SCORES))[0]
    return np.where(mirrored[:, np.newaxis], votes[:, ::-1], votes)[inverse]


def from_means_alone(means: np.ndarray, std: float = ASSUMED_STD) -> np.ndarray:
    """Distributions float64 [N, 10] for `means` [N] of which no std is known: of the largest entropy, with one peak.

    Their std is `std`, or that of from_means() where it is smaller, so that it never rises towards the ends. (A larger
    one would put the votes on 1 and 10.)
    """
    votes = from_means(means)
    free = np.sqrt(np.maximum(votes @ SCORES ** 2 - (votes @ SCORES) ** 2, 0))
    wide = free > std
    votes[wide] = from_means_and_stds(np.asarray(means, np.float64)[wide], np.full(int(wide.sum()), std))
    return votes


def std_range(means: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The least and the largest standard deviation [N] that votes with these means [N] can have.

    The least: all votes for the two scores beside the mean; the largest: all for 1 and 10.
    """
    least, largest = _variance_range(np.asarray(means, np.float64))
    return np.sqrt(least), np.sqrt(largest)


def from_means_and_stds(means: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """Distributions float64 [N, 10], of the largest entropy, with these means and standard deviations [N], to 1e-8.

    Means are in [1, 10]; a std outside std_range() counts as the nearest one inside it.
    """
    if not len(means):
        return np.zeros((0, len(SCORES)))
    pairs = np.stack([np.asarray(means, np.float64), np.asarray(stds, np.float64)], axis=1)
    wanted, inverse = np.unique(pairs, axis=0, return_inverse=True)
    least, largest = _variance_range(wanted[:, 0])
    variance = np.clip(wanted[:, 1] ** 2, least, largest)
    edge = np.minimum(EDGE, (largest - least) / 4)
    inner = np.clip(variance, least + edge, largest - edge)
    votes = _two_moments(wanted[:, 0], inner)
    # Towards the edges the parameters grow without end; a mixture with the edge's distribution has both moments too.
    for extreme, edge_distributions in ((least, _neighbours(wanted[:, 0])), (largest, _ends(wanted[:, 0]))):
        gap = np.abs(inner - extreme)
        part = np.clip(np.abs(variance - inner) / np.where(gap > 0, gap, 1), 0, 1)
        part *= np.sign(variance - inner) == np.sign(extreme - inner)
        votes += part[:, np.newaxis] * (edge_distributions - votes)
    flat = largest - least < 1e-12
    votes[flat] = _neighbours(wanted[:, 0])[flat]
    return votes[inverse.ravel()]


def between_scores(values: np.ndarray) -> np.ndarray:
    """Distributions float64 [N, 10] of one vote at each of `values` [N], divided between the two scores beside it."""
    values = np.asarray(values, np.float64)
    low = np.clip(np.floor(values), SCORES[0], SCORES[-1] - 1).astype(int) - 1
    votes = np.zeros((len(values), len(SCORES)))
    rows = np.arange(len(values))
    votes[rows, low], votes[rows, low + 1] = SCORES[low + 1] - values, values - SCORES[low]
    return votes


def _exponential(slope: np.ndarray) -> np.ndarray:
    """Distributions [N, 10] in proportion to exp(slope * score), for slopes [N] up to 0."""
    powers = np.exp(slope[:, np.newaxis] * (SCORES - SCORES[0]))
    return powers / powers.sum(axis=1, keepdims=True)


def _variance_range(means: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    fraction = means - np.floor(means)
    return fraction * (1 - fraction), (means - SCORES[0]) * (SCORES[-1] - means)


def _neighbours(means: np.ndarray) -> np.ndarray:
    """Distributions [N, 10] for the two scores beside the mean alone."""
    return np.maximum(0, 1 - np.abs(means[:, np.newaxis] - SCORES))


def _ends(means: np.ndarray) -> np.ndarray:
    """Distributions [N, 10] for the lowest and the highest score alone."""
    high = (means - SCORES[0]) / (SCORES[-1] - SCORES[0])
    votes = np.zeros((len(means), len(SCORES)))
    votes[:, 0], votes[:, -1] = 1 - high, high
    return votes


def _two_moments(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Distributions [N, 10] in proportion to exp(a * (score - mean) + b * (score - mean) ** 2) with these moments.

    Newton's method on the convex dual, log of the sum less a * 0 and b * variance, with steps that are halved until
    the dual falls.
    """
    features = SCORES - means[:, np.newaxis]
    features = np.stack([features, features ** 2 - variances[:, np.newaxis]], axis=2)  # their wanted means are 0
    # Close to the answer wherever the votes are far from both ends: a normal distribution.
    parameters = np.stack([np.zeros(len(means)), -0.5 / np.maximum(variances, 0.05)], axis=1)
    dual, votes = _dual(features, parameters)
    rows = np.arange(len(means))  # those that are not there yet
    for _ in range(NEWTON_STEPS):
        gradient = np.einsum('nk,nkf->nf', votes[rows], features[rows])
        far = np.abs(gradient).max(axis=1) > TOLERANCE
        rows, gradient = rows[far], gradient[far]
        if not len(rows):
            break
        step = _newton_step(features[rows], votes[rows], gradient)
        parameters[rows], dual[rows], votes[rows] = _line_search(features[rows], parameters[rows], dual[rows], step,
                                                                  np.einsum('nf,nf->n', step, gradient))
    return votes


def _newton_step(features: np.ndarray, votes: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    centred = features - gradient[:, np.newaxis]
    curvature = np.einsum('nk,nkf,nkg->nfg', votes, centred, centred)
    curvature += np.eye(2) * (1e-15 + 1e-13 * np.trace(curvature, axis1=1, axis2=2))[:, np.newaxis, np.newaxis]
    step = -np.linalg.solve(curvature, gradient[:, :, np.newaxis])[:, :, 0]
    return step * np.minimum(1, LONGEST_STEP / np.abs(step).max(axis=1, keepdims=True))


def _line_search(features: np.ndarray, parameters: np.ndarray, dual: np.ndarray, step: np.ndarray,
                 slope: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, dual, distributions after `step`, halved for each row until its dual falls as its slope promises."""
    size = np.ones(len(step))
    for _ in range(NEWTON_HALVINGS):
        moved = parameters + size[:, np.newaxis] * step
        new_dual, votes = _dual(features, moved)
        worse = new_dual > dual + 1e-4 * size * slope + 1e-15
        if not worse.any():
            break
        size = np.where(worse, size / 2, size)
    return moved, new_dual, votes


def _dual(features: np.ndarray, parameters: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The logarithm of the sum [N], and the distributions [N, 10], for parameters [N, 2]."""
    exponents = np.einsum('nkf,nf->nk', features, parameters)
    top = exponents.max(axis=1, keepdims=True)
    powers = np.exp(exponents - top)
    total = powers.sum(axis=1, keepdims=True)
    return (np.log(total) + top)[:, 0], powers / total
