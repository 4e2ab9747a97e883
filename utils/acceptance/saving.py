"""Saving, loading and predicting; the same steps twice."""
import os
from typing import Dict, NamedTuple

import numpy as np

from utils import score_utils
from utils.acceptance import fixture, measure
from utils.acceptance.fixture import Size
from utils.acceptance.measure import MIDDLE, Training
from utils.acceptance.network import Network, State
from utils.acceptance.outcome import FAIL, NOT_CHECKED, PASS, Outcome
from utils.model import checkpoint, model_file
from utils.training import resume


class Saved(NamedTuple):
    """A checkpoint of MIDDLE steps, and what was so when it was written."""

    path: str
    state: State
    predictions: np.ndarray


def save(network: Network, size: Size, state: State, folder: str) -> Saved:
    """Write the checkpoint into `folder`, after MIDDLE steps, when the network is in `state`."""
    path = os.path.join(folder, 'model_001.h5')
    checkpoint.save(network.model, path, {})
    return Saved(path, state, measure.forward(network, size)['predictions'])


def restore(network: Network, size: Size, saved: Saved, bound: float) -> Outcome:
    """Load the checkpoint into the network, as --resume does, and compare."""
    check = 'save and load'
    lost = [name for name, array in saved.state.weights.items() if not np.isfinite(array).all()]
    if lost:
        return Outcome(check, FAIL, f'the weights of {lost[0]} and {len(lost) - 1} more are not finite before they are '
                       'saved. Likely cause: the training; see the lines above', where=lost[0])
    file = model_file.read(saved.path)
    resume.restore(network.model, resume.Start(os.path.dirname(saved.path), file))
    state = network.read()
    wrong = different(saved.state, state)
    if wrong:
        return Outcome(check, FAIL, f'{wrong} after loading. Likely cause: resume.restore, or variables that the '
                       'device keeps elsewhere', where=wrong)
    predictions = measure.forward(network, size)['predictions']
    apart = float(np.abs(predictions - saved.predictions).max() / np.abs(saved.predictions).max())
    if not apart <= bound:
        return Outcome(check, FAIL, 'the weights are the same to the last bit, the predictions differ. Likely cause: '
                       'the device predicts from weights of its own', apart, bound, 'predictions')
    return Outcome(check, PASS, 'all weights, velocities and steps to the last bit, and the predictions' if apart == 0
                   else 'the predictions within the bound', apart, bound, 'predictions')


def different(before: State, after: State) -> str:
    """What differs in words; empty where all bits are the same."""
    if before.steps != after.steps:
        return f'the optimiser state differs: {after.steps} steps made, expected {before.steps}'
    for what, expected, found in (('the weights', before.weights, after.weights),
                                  ('the optimiser state', before.velocities, after.velocities)):
        names = [name for name in expected if name not in found or not _same_bits(expected[name], found[name])]
        if names:
            return f'{what} of {names[0]} and {len(names) - 1} more differ'
    return ''


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def repeat(network: Network, size: Size, first: Training, restored: Outcome, bound: float) -> Outcome:
    """Make the steps after MIDDLE again, from the loaded state, and compare with the first time."""
    check = 'repeatability'
    if restored.status != PASS:
        return Outcome(check, NOT_CHECKED, 'the state of the first time was not restored')
    again = measure.train(network, size, MIDDLE, fixture.STEPS, [])
    end, end_again = first.states[fixture.STEPS], again.states[fixture.STEPS]
    if first.losses[MIDDLE:] == again.losses and not different(end, end_again):
        return Outcome(check, PASS, f'steps {MIDDLE + 1} to {fixture.STEPS} are the same to the last bit', 0.0, bound)
    apart = _distance(end.weights, end_again.weights) / _distance(end.weights, first.states[0].weights)
    if apart <= bound:
        return Outcome(check, PASS, 'not the same bits, but within the bound: kernels of this device add in no fixed '
                       'order', apart, bound)
    return Outcome(check, FAIL, 'the same steps end elsewhere. Likely cause: memory that is not initialised, or '
                   'operators that do not wait for each other', apart, bound)


def _distance(one: Dict[str, np.ndarray], other: Dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(array.astype(np.float64) - other[name]).sum() for name, array in one.items())))


def srcc() -> Outcome:
    """The SRCC of two fixed lists, on this host."""
    true, pred, expected = fixture.ranking()
    found = score_utils.srcc(true, pred)
    apart, bound = abs(found - expected), 1e-12
    status = PASS if apart <= bound else FAIL
    text = '' if status == PASS else f'{found}, expected {expected}. Likely cause: another SciPy or NumPy'
    return Outcome('SRCC', status, text, apart, bound)
