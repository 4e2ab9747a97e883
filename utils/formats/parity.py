"""Whether an exported model says the same as its checkpoint, on photographs: the parity report."""
import itertools
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence

import numpy as np

from utils import score_utils
from utils.base.errors import InputError

LIMIT = 1e-5  # the largest difference of a share of votes that an export may show
BATCH = 16    # photographs a step

# Files and their pixels [N, S, S, 3] in [-1, 1] -> vote shares [N, 10].
Predict = Callable[[Sequence[bytes], np.ndarray], np.ndarray]


class Photograph(NamedTuple):
    """A photograph's file, as TensorFlow decodes it, and its pixels, float32 [S, S, 3] in [-1, 1]."""

    data: bytes
    image: np.ndarray


def measure(photographs: Iterable[Photograph], checkpoint: Predict, exported: Dict[str, Predict],
            source: str) -> Dict[str, Any]:
    """The report: for each way of calling the exported model its largest differences from the checkpoint.

    `source` says which photographs these are. InputError where there is none.
    """
    largest = {name: {'share': 0.0, 'mean': 0.0} for name in exported}
    count = 0
    for batch in _batches(photographs):
        files, images = [each.data for each in batch], np.stack([each.image for each in batch])
        expected = checkpoint(files, images)
        count += len(batch)
        for name, predict in exported.items():
            found = predict(files, images)
            differences = {'share': np.abs(found - expected).max(),
                           'mean': np.abs(score_utils.mean_score(found) - score_utils.mean_score(expected)).max()}
            for what, value in differences.items():  # np.maximum keeps a NaN, which is no agreement
                largest[name][what] = float(np.maximum(largest[name][what], value))
    if not count:
        raise InputError(f'{source}: found no photograph that can be read, expected some to compare the exported model '
                         'with the checkpoint: type --photographs')
    return {'photographs': count, 'source': source, 'limit_of_a_share': LIMIT,
            'passed': all(found['share'] <= LIMIT for found in largest.values()),
            'largest_difference': {name: {'of_a_share': _number(found['share']), 'of_a_mean': _number(found['mean'])}
                                   for name, found in largest.items()}}


def require(report: Dict[str, Any], what: str) -> None:
    """InputError where the report of the model `what` says that it differs from its checkpoint."""
    if report['passed']:
        return
    worst = '; '.join(f'{name}: {found["of_a_share"]} in a share, {found["of_a_mean"]} in a mean'
                      for name, found in report['largest_difference'].items())
    raise InputError(f'{what}: found an exported model that differs from its checkpoint on {report["photographs"]} '
                     f'photographs ({worst}), expected at most {LIMIT} in a share: nothing was written; report this '
                     'with the versions of requirements-export.txt that are installed')


def text(report: Dict[str, Any]) -> List[str]:
    """The report in lines for people."""
    return [f'parity on {report["photographs"]} photographs ({report["source"]}), {name}: largest difference '
            f'{found["of_a_share"]:.1e} of a share, {found["of_a_mean"]:.1e} of a mean'
            for name, found in report['largest_difference'].items()]


def _number(value: float) -> Any:
    """JSON knows no NaN."""
    return value if np.isfinite(value) else 'not a number'


def _batches(photographs: Iterable[Photograph]) -> Iterator[List[Photograph]]:
    iterator = iter(photographs)
    while True:
        batch = list(itertools.islice(iterator, BATCH))
        if not batch:
            return
        yield batch
