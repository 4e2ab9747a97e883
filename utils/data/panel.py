"""How many people voted on each image, how far they agree, and what correlation that leaves to a perfect model."""
import math
from typing import Any, NamedTuple, Optional

import numpy as np

from utils.base.scores import SCORES

ROUNDS = 50  # random halves of the raters


class Ratings(NamedTuple):
    """Single ratings: that of `raters[i]` for the image in row `rows[i]` is `scores[i]`, on 1 to 10."""

    rows: np.ndarray    # int [R]
    raters: np.ndarray  # int [R]
    scores: np.ndarray  # float64 [R]


class Panel(NamedTuple):
    """What is known of the people behind the labels of N images."""

    numbers: np.ndarray    # float64 [N]: of votes, NaN where it is not known
    variances: np.ndarray  # float64 [N]: of single votes, unbiased, on 1 to 10; NaN where it is not known
    assumed: np.ndarray    # bool [N]: the label is a mean alone, its std is not measured
    groups: Optional[np.ndarray] = None  # object (str) [N]
    ratings: Optional[Ratings] = None

    def take(self, indices: Any) -> 'Panel':
        """The panel of the images at `indices`: a slice, an int array or a bool mask [N]."""
        kept = np.arange(len(self.numbers))[indices]
        ratings = self.ratings
        if ratings is not None:
            row_of = np.full(len(self.numbers), -1)
            row_of[kept] = np.arange(len(kept))
            rows = row_of[ratings.rows]
            ratings = Ratings(rows[rows >= 0], ratings.raters[rows >= 0], ratings.scores[rows >= 0])
        return Panel(self.numbers[kept], self.variances[kept], self.assumed[kept],
                     None if self.groups is None else self.groups[kept], ratings)


class Agreement(NamedTuple):
    """How reliable labels are."""

    votes: float  # for an image, typically
    noise: float  # variance of one person's votes for an image over the variance of the images' true means

    @property
    def reliability(self) -> float:
        """The LCC to expect of two panels of this size."""
        return self.of(self.votes)

    def of(self, votes: float) -> float:
        """The LCC to expect of two panels of `votes` people."""
        return 1 / (1 + self.noise / votes)

    @property
    def ceiling(self) -> float:
        """The LCC of a perfect model with these labels."""
        return math.sqrt(self.reliability)

    def voters(self, lcc: float) -> float:
        """How many fresh voters have this LCC with these labels; infinite from the ceiling on, 0 for none."""
        share = max(lcc, 0.0) ** 2 / self.reliability
        return math.inf if share >= 1 else self.noise * share / (1 - share)


def counted(votes: np.ndarray, positions: np.ndarray = SCORES) -> Panel:
    """The panel of votes [N, K] for scores at `positions` [K]; shares, of 1 or of 100, say no number of votes."""
    totals = votes.sum(axis=1)
    means = votes @ positions / totals
    spread = np.maximum(votes @ positions ** 2 / totals - means ** 2, 0)
    known = (votes % 1 == 0).all(axis=1) & (totals > 1)
    known &= not (totals == 100).all()  # percentages
    numbers = np.where(known, totals, math.nan)
    return Panel(numbers, spread * numbers / (numbers - 1), np.zeros(len(votes), bool))


def of_ratings(ratings: Ratings, count: int) -> Panel:
    """The panel of `count` images from single ratings."""
    numbers = np.bincount(ratings.rows, minlength=count).astype(np.float64)
    sums, squares = (np.bincount(ratings.rows, ratings.scores ** power, minlength=count) for power in (1, 2))
    with np.errstate(invalid='ignore', divide='ignore'):
        variances = np.where(numbers > 1, np.maximum(squares - sums ** 2 / numbers, 0) / (numbers - 1), math.nan)
    return Panel(numbers, variances, np.zeros(count, bool), None, ratings)


def agreement(means: np.ndarray, panel: Panel) -> Optional[Agreement]:
    """The agreement of the labels with these mean scores [N]; None where it is not measured.

    With the mean q of the variances of single votes, the variance T of the images' true means is that of `means` less
    the mean of q / n: two panels of n have the LCC T / (T + q / n). Of single ratings the raters are split instead.
    """
    if panel.ratings is not None:
        return _split(panel.ratings, len(means))
    known = np.isfinite(panel.numbers) & np.isfinite(panel.variances) & (np.nan_to_num(panel.numbers) > 0)
    if known.sum() < 3 or known.mean() < 0.5:
        return None
    error = float(np.mean(panel.variances[known] / panel.numbers[known]))
    variance, true = float(np.mean(panel.variances[known])), float(np.var(means[known], ddof=1)) - error
    if true <= 0 or error <= 0:
        return None
    return Agreement(variance / error, variance / true)


def _split(ratings: Ratings, count: int) -> Optional[Agreement]:
    """From the LCC of the means of random halves of the raters, whatever the images that each rated."""
    raters = int(ratings.raters.max()) + 1 if len(ratings.raters) else 0
    random, lccs, sizes = np.random.RandomState(0), [], []
    for _ in range(ROUNDS if raters > 1 else 0):
        side = random.permutation(raters) < raters // 2
        in_first = side[ratings.raters]
        numbers = [np.bincount(ratings.rows[half], minlength=count) for half in (in_first, ~in_first)]
        sums = [np.bincount(ratings.rows[half], ratings.scores[half], minlength=count)
                for half in (in_first, ~in_first)]
        both = (numbers[0] > 0) & (numbers[1] > 0)
        if both.sum() < 3:
            continue
        first, second = (total[both] / number[both] for total, number in zip(sums, numbers))
        if min(np.ptp(first), np.ptp(second)) > 0:
            lccs.append(float(np.corrcoef(first, second)[0, 1]))
            sizes.append(_harmonic(numbers[0][both], numbers[1][both]))
    if not lccs or np.mean(lccs) <= 0:
        return None
    lcc, half_size = min(float(np.mean(lccs)), 1 - 1e-9), float(np.mean(sizes))
    votes = np.bincount(ratings.rows, minlength=count)
    return Agreement(float(votes[votes > 0].mean()), half_size * (1 - lcc) / lcc)


def _harmonic(first: np.ndarray, second: np.ndarray) -> float:
    """The size of two equal panels with the error of these."""
    return float(2 / (np.mean(1 / first) + np.mean(1 / second)))


def srcc_of(lcc: float) -> float:
    """The SRCC of normal variables with this LCC."""
    return 6 / math.pi * math.asin(max(-1.0, min(1.0, lcc)) / 2)


def lcc_of(srcc: float) -> float:
    """The LCC of normal variables with this SRCC."""
    return 2 * math.sin(math.pi * max(-1.0, min(1.0, srcc)) / 6)


def text(found: Optional[Agreement]) -> str:
    """The agreement and the noise ceiling, as a clause."""
    if found is None:
        return 'noise ceiling: not measured, as the labels do not say how many people voted and how far they agree'
    return (f'two panels of {found.votes:.0f} would agree with SRCC {srcc_of(found.reliability):.3f} (LCC '
            f'{found.reliability:.3f}); noise ceiling, a perfect model with these labels: SRCC '
            f'{srcc_of(found.ceiling):.3f} (LCC {found.ceiling:.3f})')


def worth(found: Agreement, srcc: float) -> str:
    """How many fresh voters a model with this SRCC is worth, as a clause."""
    voters = found.voters(lcc_of(srcc))
    if srcc >= srcc_of(found.ceiling):
        return 'at the ceiling: no number of voters would rank the images closer to these labels'
    return f'as close to these labels as the mean of {voters:.1f} fresh voters'
