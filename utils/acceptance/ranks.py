"""Several ranks against one device with the total batch."""
from typing import List

import numpy as np

from utils.acceptance import figures, fixture
from utils.acceptance.figures import Figures
from utils.acceptance.fixture import Size, is_trained
from utils.acceptance.network import Network
from utils.acceptance.outcome import FAIL, NOT_CHECKED, PASS, Outcome
from utils.acceptance.references import Reference
from utils.device.device import Run

TOTAL, STEPS = 40, 3  # images a step of all ranks; a number that 2, 4, 5, 8, 10, 20 and 40 ranks divide
CHECK = 'many ranks'


def train(network: Network, size: Size, run: Run) -> Figures:
    """Train from the first weights, this rank on its part of each batch; the figures of what the weights changed by.

    BatchNorm runs on its moving averages, so that a part of a batch gives its part of the gradients.
    """
    group = run.group
    model = network.other('part', phase=0)
    network.set_initial()
    before = network.read().weights
    images = np.concatenate([fixture.images(size.image_size), fixture.images(size.image_size)[:, ::-1]])
    votes = np.concatenate([fixture.distributions(), fixture.distributions()[::-1]])
    each = max(1, TOTAL // group.size)  # of one size, as the mean of the ranks' means counts them alike
    part = slice(each * group.rank % TOTAL, each * group.rank % TOTAL + each)
    for _ in range(STEPS):
        model.train_on_batch(images[part], votes[part])
    after = network.read().weights
    return {CHECK: {name: figures.change(after[name] - before[name]) for name in before if is_trained(name)}}


def _alike(norms: np.ndarray) -> Outcome:
    """Whether all ranks have the same figures [number of ranks, number of figures]."""
    name = 'ranks alike'
    lost = [rank for rank, row in enumerate(norms) if not np.isfinite(row).all()]
    if lost:
        return Outcome(name, FAIL, f'the weights of rank {", ".join(map(str, lost))} are not finite. Likely cause: the '
                       'training, if the weights above fail too; else the exchange of gradients',
                       where=f'rank {lost[0]}')
    others = [rank for rank, row in enumerate(norms) if row.tobytes() != norms[0].tobytes()]
    if others:
        return Outcome(name, FAIL, f'rank {others[0]} holds other weights than rank 0. Likely cause: that rank, or '
                       'rank 0, does not exchange its gradients', float(np.abs(norms - norms[0]).max()), 0.0,
                       f'rank {others[0]}')
    return Outcome(name, PASS, f'the weights of all {len(norms)} ranks are the same to the last digit')


def check(network: Network, size: Size, run: Run, reference: Reference) -> List[Outcome]:
    """Whether all ranks hold the same weights after the steps, and those of one device with the total batch."""
    group = run.group
    found = train(network, size, run)[CHECK]
    norms = group.gather([value for figure in found.values() for value in figure.values])
    same = _alike(norms)
    if TOTAL % group.size:
        return [same, Outcome('ranks as one', NOT_CHECKED, f'{TOTAL} images are not divided by {group.size} ranks')]
    drift, bounds = figures.deviations(found, reference.figures[CHECK]), reference.bounds[CHECK]
    beyond = [name for name in drift if not drift[name] <= bounds[name]]
    worst = max(beyond or drift, key=lambda name: drift[name] / bounds[name])
    total = Outcome('ranks as one', FAIL if beyond else PASS, '' if not beyond else
                    f'{len(beyond)} of {len(drift)} weights differ from those of one device with all {TOTAL} images. '
                    'Likely cause: gradients that are summed and not averaged, or not exchanged', drift[worst],
                    bounds[worst], worst)
    return [same, total]
