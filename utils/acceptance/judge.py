"""Compares figures with the reference, and says what is likely wrong."""
from typing import Any, Dict, List, Optional

import numpy as np

from utils.acceptance import fixture
from utils.acceptance.figures import Figure, Figures, deviations
from utils.acceptance.outcome import FAIL, PASS, Outcome
from utils.acceptance.references import Reference

Apart = Dict[str, float]
NAMED = 3  # names that a line lists


def judge(found: Figures, reference: Reference) -> List[Outcome]:
    """One outcome for each check of `found`, in the order of the reference."""
    outcomes = []
    for check, expected in reference.figures.items():
        if check in found:
            outcomes.append(_judge(check, found, expected, reference))
    return outcomes


def _judge(check: str, found: Figures, expected: Dict[str, Figure], reference: Reference) -> Outcome:
    apart, bounds = deviations(found[check], expected), reference.bounds[check]
    beyond = [name for name, value in apart.items() if not value <= bounds[name]]
    named = beyond or list(apart)
    worst = max(named, key=lambda name: apart[name] / bounds[name])
    if check == 'forward pass' and beyond:
        worst = beyond[0]  # what follows drifts because of it
    text = '' if not beyond else _failure(check, beyond, apart, found, reference)
    return Outcome(check, FAIL if beyond else PASS, text, float(apart[worst]), bounds[worst], worst)


def _failure(check: str, beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> str:
    causes: Dict[str, Any] = {'forward pass': _forward, 'loss': _loss, 'gradients': _gradients, 'updates': _updates,
                              'momentum and decay': _memory, 'BatchNorm averages': _averages}
    cause: Optional[str] = causes[check](beyond, apart, found, reference) if check in causes else None
    if check == 'forward pass':
        return str(cause)
    what = f'{len(beyond)} of {len(apart)} beyond their bounds: {_list(beyond)}' if len(apart) > 1 else ''
    return '. '.join(each for each in (what, cause) if each)


def _list(names: List[str]) -> str:
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more


def _values(found: Figures, check: str) -> Dict[str, float]:
    return {name: figure.values[0] for name, figure in found[check].items()}


def _forward(beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> str:
    first, named = beyond[0], found['forward pass']
    expected = reference.figures['forward pass'][first]
    if named[first].shape != expected.shape:
        return f'{first} is the first block of another shape: {named[first].shape}, expected {expected.shape}'
    text = f'{first} is the first block that drifts, {len(beyond)} of {len(apart)} do'
    if first == next(iter(apart)):
        return (f'{text}. Likely cause: channels, scaling or padding of the input, the phase of BatchNorm, or the '
                'operators of this block')
    return (f'{text}, and its input is right. Likely cause: an operator of this block, its convolution, BatchNorm or '
            'ReLU6; --data_dump_path records their inputs and outputs, --over_dump_path overflows')


def _loss(beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> str:
    loss = _values(found, 'loss')['step 1']
    expected = reference.figures['loss']['step 1'].values[0]
    if abs(loss - reference.loss_r1) < abs(loss - expected) / 10:
        return f'{loss:.4f} is the loss with r=1, expected r=2, {expected:.4f}. Likely cause: another loss is compiled'
    return f'{loss:.4f}, expected {expected:.4f}. Likely cause: BatchNorm or the loss in the training phase'


def _gradients(beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> Optional[str]:
    norms, expected = _values(found, 'gradients'), _values(reference.figures, 'gradients')
    zero = [name for name in beyond if norms[name] == 0]
    if len(zero) == len(norms):
        return 'All are 0. Likely cause: no step is made, or float16 loses them'
    if zero:
        return f'Those of {_list(zero)} are 0. Likely cause: frozen weights'
    factor = float(np.median([norms[name] / expected[name] for name in expected]))
    if abs(factor / fixture.LOSS_SCALE - 1) < 0.5:
        return f'They are {factor:.0f} times as large. Likely cause: the loss scale is not divided out'
    return f'The median norm is {factor:.3g} times the expected one'


def _updates(beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> str:
    ratios, expected = _values(found, 'updates'), 1 + fixture.MOMENTUM
    still = [name for name in beyond if ratios[name] == 0]
    if len(still) == len(ratios):
        moved = any(value != 0 for value in _values(found, 'weights').values())
        return f'Likely cause: {"momentum is lost: there are no velocities" if moved else "weights are not updated"}'
    if still:
        return f'Likely cause: frozen weights, {_list(still)}'
    ratio = float(np.median([ratios[name] for name in beyond]))
    if abs(ratio - 1) < 0.1:
        return f'{ratio:.2f} times the velocity, expected {expected:g}. Likely cause: momentum without Nesterov'
    return f'{ratio:.2f} times the velocity, expected {expected:g}. Likely cause: the optimiser'


def _memory(beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> str:
    value, momentum, rate = _values(found, 'momentum and decay')['second step'], fixture.MOMENTUM, 1 / (
        1 + fixture.DECAY)
    causes = {rate: 'momentum is lost', 0: 'there are no velocities', momentum + 1: 'decay is ignored'}
    nearest = min(causes, key=lambda each: abs(each - value))
    cause = causes[nearest] if abs(nearest - value) < 0.1 else 'the second step of the optimiser'
    return f'{value:.3f} times the first velocity, expected {momentum + rate:.3f}. Likely cause: {cause}'


def _averages(beyond: List[str], apart: Apart, found: Figures, reference: Reference) -> Optional[str]:
    changes = _values(found, 'BatchNorm averages')
    if all(changes[name] == 0 for name in changes):
        return 'None moves. Likely cause: BatchNorm is in the wrong phase during training'
    return None
