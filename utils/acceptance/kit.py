"""All checks, one after the other."""
import contextlib
import tempfile
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from utils.acceptance import fixture, host, judge, measure, ranks, references, saving, speed
from utils.acceptance.figures import Figures
from utils.acceptance.fixture import Size
from utils.acceptance.network import Network, build_network
from utils.acceptance.outcome import FAIL, NOT_CHECKED, Outcome
from utils.acceptance.references import Reference
from utils.base import files
from utils.base.errors import InputError
from utils.device.device import Run

HOST = 'decoding', 'pre-processing', 'SRCC'
FORWARD = 'forward pass',
TRAINING = ('loss', 'gradients', 'updates', 'momentum and decay', 'loss curve', 'weights', 'BatchNorm averages',
            'save and load', 'repeatability')
SPEED = 'speed',
RANKS = 'ranks alike', 'ranks as one'
CHECKS = (*HOST[:2], *FORWARD, *TRAINING, *HOST[2:], *SPEED, *RANKS)  # the lines of the table


class Stage(NamedTuple):
    """What is done in one go."""

    checks: Tuple[str, ...]  # that it makes; the first fails where the device raises an error
    doing: str               # in words
    run: Callable[[], List[Outcome]]


class Plan(NamedTuple):
    """What is checked."""

    size: Size
    precision: str  # whose bounds count
    speed: bool     # whether the speed is measured


def check_all(plan: Plan, run: Run, report: Optional[Callable[[str], Any]] = None) -> List[Outcome]:
    """The outcomes of all CHECKS on the open device `run`; `report` gets what is done next.

    InputError where a temporary file cannot be written and, with several ranks, where this one cannot continue: the
    others wait for it, until it ends.
    """
    reference = references.of_size(plan.size, plan.precision)
    say: Callable[[str], Any] = report or str
    outcomes: List[Outcome] = []
    with _temporary_folder(run) as folder:
        stage = Stage(FORWARD, 'building the network', list)
        try:
            say(stage.doing)
            network = build_network(plan.size, run)
            for stage in _stages(network, plan, run, reference, folder):
                say(stage.doing)
                outcomes += stage.run()
        except (tf.errors.OpError, InputError) as error:
            if isinstance(error.__cause__, OSError):  # of a file, which is no fault of the device
                raise error.__cause__ from None
            text = f'{stage.doing}: {" ".join(str(error).split())[:300]}'
            if run.group.size > 1:
                raise InputError(f'rank {run.group.rank} of {run.group.size}: {text}. If another rank ended before, '
                                 'its output has the reason') from error
            outcomes.append(Outcome(stage.checks[0], FAIL, text))
    done = {outcome.check: outcome for outcome in outcomes}
    return [done[check] if check in done else Outcome(check, NOT_CHECKED, _reason(check, run)) for check in CHECKS]


@contextlib.contextmanager
def _temporary_folder(run: Run) -> Iterator[str]:
    rank, cure = f' (rank {run.group.rank})' if run.group.size > 1 else '', 'Free space or set TMPDIR to another folder'
    with files.writing('temporary files', cure):
        place = tempfile.gettempdir() + rank
    with files.writing(place, cure), tempfile.TemporaryDirectory() as folder:
        yield folder


def _stages(network: Network, plan: Plan, run: Run, reference: Reference, folder: str) -> List[Stage]:
    """What is done in turn; the network's own session has to be the first that computes."""
    size = plan.size
    stages = [
        Stage(FORWARD, 'the forward pass', lambda: judge.judge(
            measure.of_activations(measure.forward(network, size)), reference)),
        Stage(HOST, 'decoding', lambda: [
            *host.check(references.content()['host'], folder, run.host_config), saving.srcc()]),
        Stage(TRAINING, f'{fixture.STEPS} training steps, saving, loading and repeating', lambda: train_and_save(
            network, size, reference, folder))]
    if run.group.size > 1:
        stages.append(Stage(RANKS, 'steps of all ranks', lambda: ranks.check(network, size, run, reference)))
    if plan.speed:
        stages.append(Stage(SPEED, f'steps of {speed.BATCH} images', lambda: [speed.check(network, size)]))
    return stages


def train_and_save(network: Network, size: Size, reference: Reference, folder: str) -> List[Outcome]:
    """Train, save in the middle, load it again and make the second half once more."""
    saved: List[saving.Saved] = []
    whole = measure.train_all(network, size, lambda state: saved.append(saving.save(network, size, state, folder)))
    restored = saving.restore(network, size, saved[0], reference.bounds['forward pass']['predictions'])
    bound = max(reference.bounds['weights'].values())
    return [*judge.judge(measure.of_training(whole), reference), restored,
            saving.repeat(network, size, whole, restored, bound)]


def figures_of(size: Size, run: Run) -> Tuple[Figures, Network]:
    """All that is compared with the reference, as tools/acceptance_references.py needs it."""
    network = build_network(size, run)
    found = measure.of_activations(measure.forward(network, size))
    found.update(measure.of_training(measure.train_all(network, size)))
    return {**found, **ranks.train(network, size, run)}, network


def _reason(check: str, run: Run) -> str:
    if check in SPEED and run.device == 'cpu':
        return 'needs --speed on a CPU'
    if check in RANKS and run.group.size == 1:
        return 'one rank; see docs/acceptance.md for several'
    return 'an earlier check ended the run'
