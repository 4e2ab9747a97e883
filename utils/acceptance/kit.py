"""All checks, one after the other."""
import tempfile
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from utils.acceptance import fixture, host, judge, measure, ranks, references, saving, speed
from utils.acceptance.figures import Figures
from utils.acceptance.fixture import Size
from utils.acceptance.measure import MIDDLE, Training
from utils.acceptance.network import Network, build_network
from utils.acceptance.outcome import FAIL, NOT_CHECKED, Outcome
from utils.acceptance.references import Reference
from utils.base.errors import InputError
from utils.device.device import Run

# The lines of the table, in its order.
ON_DEVICE = ('forward pass', 'loss', 'gradients', 'updates', 'momentum and decay', 'loss curve', 'weights',
             'BatchNorm averages', 'save and load', 'repeatability')
CHECKS = ('decoding', 'pre-processing', *ON_DEVICE, 'SRCC', 'speed', 'ranks alike', 'ranks as one')


class Plan(NamedTuple):
    """What is checked."""

    size: Size
    precision: str  # whose bounds count
    speed: bool     # whether the speed is measured


def check_all(plan: Plan, run: Run, report: Optional[Callable[[str], Any]] = None) -> List[Outcome]:
    """The outcomes of all CHECKS on the open device `run`; `report` gets what is done next."""
    reference = references.of_size(plan.size, plan.precision)
    outcomes: List[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        say = report or str
        say('building the network')
        try:
            network = build_network(plan.size, run)
            for stage in _stages(network, plan, run, reference, folder):
                say(stage.__name__.replace('_', ' '))
                outcomes += stage()
        except (tf.errors.OpError, InputError) as error:
            outcomes += _broken(outcomes, ' '.join(str(error).split()))
    done = {outcome.check: outcome for outcome in outcomes}
    return [done[check] if check in done else Outcome(check, NOT_CHECKED, _reason(check, run)) for check in CHECKS]


def _stages(network: Network, plan: Plan, run: Run, reference: Reference,
            folder: str) -> List[Callable[[], List[Outcome]]]:
    """What is done in turn; the network's own session has to be the first that computes."""
    def forward_pass() -> List[Outcome]:
        return judge.judge(measure.of_activations(measure.forward(network, plan.size)), reference)

    def decoding() -> List[Outcome]:
        return [*host.check(references.content()['host'], folder, run.host_config), saving.srcc()]

    def training_steps() -> List[Outcome]:
        return train_and_save(network, plan.size, reference, folder)

    def training_of_all_ranks() -> List[Outcome]:
        return ranks.check(network, plan.size, run, reference)

    def speed_of_a_step() -> List[Outcome]:
        return [speed.check(network, plan.size, run)]

    return [forward_pass, decoding, training_steps, *([training_of_all_ranks] if run.group.size > 1 else []),
            *([speed_of_a_step] if plan.speed else [])]


def train_and_save(network: Network, size: Size, reference: Reference, folder: str) -> List[Outcome]:
    """Train, save in the middle, load it again and make the second half once more."""
    first = measure.train(network, size, 0, MIDDLE, [0, 1, 2])
    saved = saving.save(network, size, first.states[MIDDLE], folder)
    rest = measure.train(network, size, MIDDLE, fixture.STEPS, [])
    whole = Training(first.losses + rest.losses, {**first.states, **rest.states})
    restored = saving.restore(network, size, saved, reference.bounds['forward pass']['predictions'])
    bound = max(reference.bounds['weights'].values())
    return [*judge.judge(measure.of_training(whole), reference), restored,
            saving.repeat(network, size, whole, restored, bound)]


def figures_of(size: Size, run: Run) -> Tuple[Figures, Network]:
    """All that is compared with the reference, as tools/acceptance_references.py needs it."""
    network = build_network(size, run)
    found = measure.of_activations(measure.forward(network, size))
    found.update(measure.of_training(measure.train(network, size, 0, fixture.STEPS, [0, 1, 2])))
    return {**found, **ranks.train(network, size, run)}, network


def _broken(outcomes: List[Outcome], error: str) -> List[Outcome]:
    """The next check of the device fails with `error`."""
    done = {outcome.check for outcome in outcomes}
    name = next((check for check in ON_DEVICE if check not in done), 'speed')
    return [Outcome(name, FAIL, f'the device raised an error: {error[:300]}')]


def _reason(check: str, run: Run) -> str:
    if check == 'speed':
        return 'needs --speed on a CPU' if run.device == 'cpu' else 'an earlier check ended the run'
    if check.startswith('ranks') and run.group.size == 1:
        return 'one rank; see docs/acceptance.md for several'
    return 'an earlier check ended the run'
