"""Figures of arrays, small enough to be shipped, and how far two sets of them are apart."""
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from utils.acceptance import fixture

PROJECTIONS = 4
LEAST = 1e-5  # of a bound: another processor or library rounds float32 elsewhere


class Figure(NamedTuple):
    """A few numbers of one array, and the size of a difference that counts as 1."""

    values: List[float]
    scale: float
    shape: List[int]


def projections(array: np.ndarray) -> List[float]:
    """PROJECTIONS fixed random ones: sums with random signs, divided by the root of the number of elements.

    Each is as large as the root mean square of the elements. So is their difference between two arrays, as compared
    with the root mean square of the elements' differences: no error hides in an average.
    """
    flat, size = np.ravel(array).astype(np.float64), np.size(array)
    signs = fixture.random_of(f'projections {size}').bytes(PROJECTIONS * -(-size // 8))
    bits = np.unpackbits(np.frombuffer(signs, np.uint8)).reshape(PROJECTIONS, -1)[:, :size]
    return [float((2 * flat[row == 1].sum() - flat.sum()) / np.sqrt(size)) for row in bits]


def activation(array: np.ndarray) -> Figure:
    """Shape, mean, mean absolute value and projections of activations."""
    wide = array.astype(np.float64)
    return Figure([float(wide.mean()), float(np.abs(wide).mean()), *projections(wide)], _rms(wide), list(array.shape))


def change(array: np.ndarray) -> Figure:
    """Norm and projections of a gradient, or of what an array changed by."""
    norm = float(np.sqrt(np.square(array.astype(np.float64)).sum()))
    return Figure([norm, *(each * np.sqrt(array.size) for each in projections(array))], norm, list(array.shape))


def number(value: float, scale: float) -> Figure:
    """A number as it is."""
    return Figure([float(value)], scale, [])


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.square(array).mean()))


def deviation(found: Figure, expected: Figure) -> float:
    """The root mean square of the differences, in units of the expected scale; infinite for another shape or NaN."""
    if found.shape != expected.shape:
        return np.inf
    apart = _rms(np.subtract(found.values, expected.values)) / (expected.scale or 1.0)
    return apart if np.isfinite(apart) else np.inf


Figures = Dict[str, Dict[str, Figure]]  # by check, then by block, weight or step


def deviations(found: Dict[str, Figure], expected: Dict[str, Figure]) -> Dict[str, float]:
    """Each expected name with its deviation(), infinite where it was not found."""
    return {name: deviation(found[name], figure) if name in found else np.inf for name, figure in expected.items()}


def as_json(figures: Figures) -> Any:
    """Plain lists, numbers to seven digits."""
    return {check: {name: [[float(f'{value:.7g}') for value in figure.values], float(f'{figure.scale:.7g}'),
                           figure.shape] for name, figure in named.items()} for check, named in figures.items()}


def from_json(found: Any) -> Figures:
    """The figures that as_json() gave."""
    return {check: {name: Figure(*parts) for name, parts in named.items()} for check, named in found.items()}


def bounds(apart: Sequence[Dict[str, float]], margin: float, *, in_order: bool) -> Dict[str, float]:
    """A bound for each name from the deviations of several emulations: `margin` times the largest.

    The least is that of the names before, where errors grow `in_order`, else of the median name: a single small
    deviation is luck.
    """
    largest = {name: max(each[name] for each in apart) for name in apart[0]}
    values = list(largest.values())
    least = np.maximum.accumulate(values) if in_order else np.maximum(values, np.median(values))
    return {name: float(f'{max(margin * value, LEAST):.2g}') for name, value in zip(largest, least)}
