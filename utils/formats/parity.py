"""Whether an exported model predicts the same as its checkpoint: the parity report."""
import itertools
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence

import numpy as np

from utils import score_utils
from utils.base.errors import InputError

LIMIT = 1e-5  # the largest difference allowed in a share of a distribution
BATCH = 16    # images a step

# Files and their pixels [N, S, S, 3] in [-1, 1] -> distributions [N, 10].
Predict = Callable[[Sequence[bytes], np.ndarray], np.ndarray]


class Sample(NamedTuple):
    """An image's file, as TensorFlow decodes it, and its pixels, float32 [S, S, 3] in [-1, 1]."""

    data: bytes
    image: np.ndarray


def measure(samples: Iterable[Sample], checkpoint: Predict, exported: Dict[str, Predict],
            source: str) -> Dict[str, Any]:
    """The report: for each way of calling the exported model its largest differences from the checkpoint.

    `source` says which images these are. InputError where there is none.
    """
    largest = {name: {'share': 0.0, 'mean': 0.0} for name in exported}
    count = 0
    for batch in _batches(samples):
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
        raise InputError(f'{source}: no readable image on which the exported model could be compared with the '
                         'checkpoint. Name some with --photographs')
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
    raise InputError(f'{what}: the exported model differs from its checkpoint on {report["photographs"]} images '
                     f'({worst}), by more than {LIMIT} in a share. Nothing was written; report this with the versions '
                     'of requirements-export.txt that are installed')


def text(report: Dict[str, Any]) -> List[str]:
    """The report in lines for people."""
    return [f'parity on {report["photographs"]} images ({report["source"]}), {name}: largest difference '
            f'{found["of_a_share"]:.1e} of a share, {found["of_a_mean"]:.1e} of a mean'
            for name, found in report['largest_difference'].items()]


def _number(value: float) -> Any:
    """JSON knows no NaN."""
    return value if np.isfinite(value) else 'not a number'


def _batches(samples: Iterable[Sample]) -> Iterator[List[Sample]]:
    iterator = iter(samples)
    while True:
        batch = list(itertools.islice(iterator, BATCH))
        if not batch:
            return
        yield batch
