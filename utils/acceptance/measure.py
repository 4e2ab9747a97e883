"""What the kit runs on the device, and the figures of it."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from utils.acceptance import figures, fixture
from utils.acceptance.figures import Figure, Figures
from utils.acceptance.fixture import Size
from utils.acceptance.network import Network, State

MIDDLE = fixture.STEPS // 2  # the step after which the state is saved


class Training(NamedTuple):
    """A training: the loss of each step, and the states that were read."""

    losses: List[float]
    states: Dict[int, State]  # by the number of steps made
    again: Optional[State] = None  # after the first step's gradients were applied twice


def train(network: Network, size: Size, first: int, stop: int, read_after: List[int]) -> Training:
    """Make the steps `first` to `stop` - 1; read the state after those numbers of steps."""
    losses, states = [], {}
    for step in range(first, stop):
        if step in read_after:
            states[step] = network.read()
        losses.append(float(network.model.train_on_batch(*fixture.batch(step, size.image_size))))
    states[stop] = network.read()
    return Training(losses, states)


def train_all(network: Network, size: Size, in_the_middle: Callable[[State], Any] = id) -> Training:
    """Make all STEPS from the first weights; `in_the_middle` is called after MIDDLE of them.

    After the first step comes another one from the first weights, on the same batch, with the velocities of the first:
    its gradients are those of the first step, so that momentum and decay alone decide what becomes of the velocities.
    """
    begin = train(network, size, 0, 1, [0])
    network.set(begin.states[1]._replace(weights=begin.states[0].weights))
    network.model.train_on_batch(*fixture.batch(0, size.image_size))
    again = network.read()
    network.set(begin.states[1])
    half = train(network, size, 1, MIDDLE, [])
    in_the_middle(half.states[MIDDLE])
    rest = train(network, size, MIDDLE, fixture.STEPS, [])
    return Training(begin.losses + half.losses + rest.losses, {**begin.states, **half.states, **rest.states}, again)


def forward(network: Network, size: Size) -> Dict[str, np.ndarray]:
    """The activations of each block and the predictions, as the network is now."""
    arrays = network.forward.predict_on_batch(fixture.images(size.image_size, fixture.FORWARD_IMAGES))
    return dict(zip(network.blocks, arrays))


def of_activations(activations: Dict[str, np.ndarray]) -> Figures:
    """The figures of the forward pass."""
    return {'forward pass': {name: figures.activation(array) for name, array in activations.items()}}


def of_training(training: Training) -> Figures:
    """The figures of the first gradients, of the updates and of the steps."""
    states = training.states
    start, first, last = (states[step] for step in (0, 1, fixture.STEPS))
    changes = {name: last.weights[name] - start.weights[name] for name in start.weights}
    trained = [name for name in changes if fixture.is_trained(name)]
    return {
        'loss': {'step 1': figures.number(training.losses[0], training.losses[0])},
        'gradients': {name: figures.change(_gradient(start, first, name)) for name in trained},
        'updates': {name: _update(start, first, name) for name in trained},
        'momentum and decay': {'second step': _memory(first, training.again or first)},
        'loss curve': {f'step {step}': figures.number(loss, training.losses[0])
                       for step, loss in enumerate(training.losses, 1)},
        'weights': {name: figures.change(changes[name]) for name in trained},
        'BatchNorm averages': {name: figures.change(changes[name]) for name in changes if name not in trained},
    }


def _gradient(before: State, after: State, name: str) -> np.ndarray:
    """The first gradient of a weight: its velocity is -rate times that; without one, what plain SGD moves it by."""
    moved = after.velocities.get(name)
    return (after.weights[name] - before.weights[name] if moved is None else moved) / -fixture.LEARNING_RATE


def _update(before: State, after: State, name: str) -> Figure:
    """The change of a weight over its velocity, which is 1 + momentum in the first step of Nesterov's; 0 for none."""
    velocity = after.velocities.get(name)
    return figures.number(0 if velocity is None else _ratio(after.weights[name] - before.weights[name], velocity), 1)


def _memory(first: State, second: State) -> Figure:
    """The second velocities over the first, where both steps have the same gradients; 0 for none.

    They are momentum + 1 / (1 + decay).
    """
    pairs = [(velocity, first.velocities[name]) for name, velocity in second.velocities.items()]
    if not pairs:
        return figures.number(0, 1)
    return figures.number(_ratio(*(np.concatenate([np.ravel(pair[which]) for pair in pairs]) for which in (0, 1))), 1)


def _ratio(array: np.ndarray, base: np.ndarray) -> float:
    square = float(np.square(base.astype(np.float64)).sum())
    return float((array.astype(np.float64) * base).sum()) / square if square else 0.0
