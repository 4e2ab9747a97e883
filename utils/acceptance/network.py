"""The network of the kit, built as train.py builds it, and what is read from it."""
from typing import Dict, List, NamedTuple

import numpy as np
import tensorflow as tf

from utils import nima
from utils.acceptance import fixture
from utils.acceptance.fixture import Size
from utils.device.device import Run
from utils.model import build, keras_file


class State(NamedTuple):
    """Weights and the optimiser's state, by the names of the weights."""

    weights: Dict[str, np.ndarray]
    velocities: Dict[str, np.ndarray]  # of trained weights alone
    steps: int


class Network(NamedTuple):
    """The model that is trained, and one over the same weights that gives all blocks' activations (phase 0)."""

    model: tf.keras.Model
    forward: tf.keras.Model
    blocks: List[str]  # names of the outputs of `forward`, the last is the predictions

    @property
    def variables(self) -> Dict[str, tf.Variable]:
        """The weights by layer and kind, such as conv1/kernel."""
        return {f'{layer}/{each.name.split("/")[-1].split(":")[0]}': each
                for layer, found in build.variables_of(self.model).items() for each in found}

    def other(self, name: str, phase: int) -> tf.keras.Model:
        """Another model with these weights and this optimiser, in a learning phase, whose input has that name."""
        tf.keras.backend.set_learning_phase(phase)
        image = tf.keras.Input(self.model.input_shape[1:], name=name)
        model = tf.keras.Model(image, self.model(image))
        model.compile(self.model.optimizer, loss=nima.earth_mover_loss)  # no further variables, and graphs to set them
        tf.keras.backend.set_learning_phase(1)
        return model

    def set_initial(self) -> None:
        """Set the weights by formula and the optimiser's state to zeros."""
        self.set(State({name: fixture.weight(name, tuple(each.shape.as_list())) for name, each in
                        self.variables.items()}, {}, 0))

    def set(self, state: State) -> None:
        """Set all weights and the optimiser's state; velocities that are not in `state` become 0."""
        values = [(each, state.weights[name]) for name, each in self.variables.items()]
        if self.model.optimizer:
            steps, *velocities = self.model.optimizer.weights
            values += [(steps, state.steps), *(
                (slot, state.velocities.get(owner, np.zeros(slot.shape.as_list(), np.float32)))
                for owner, slot in zip(self._owners(), velocities))]
        tf.keras.backend.batch_set_value(values)

    def _owners(self) -> List[str]:
        """The weights whose velocities the optimiser holds, in its order: its names end in conv1/kernel/momentum:0."""
        names = {each.name.split(':')[0]: name for name, each in self.variables.items()}
        return [names['/'.join(slot.name.split('/')[-3:-1])] for slot in self.model.optimizer.weights[1:]]

    def read(self) -> State:
        """All weights and the optimiser's state, in the graph in which a checkpoint reads them."""
        arrays = keras_file.read(self.model)
        weights = dict(zip(self.variables, (array for layer in arrays.weights.values() for array in layer)))
        return State(weights, dict(zip(self._owners(), arrays.slots[1:])), int(arrays.slots[0]) if arrays.slots else 0)


def build_model(size: Size) -> tf.keras.Model:
    """The network for training (phase 1), without dropout."""
    from tensorflow.keras.applications import MobileNet
    tf.keras.backend.set_learning_phase(1)
    base = MobileNet((size.image_size, size.image_size, 3), alpha=size.alpha, include_top=False, pooling='avg',
                     weights=None)
    return nima.with_head(nima.with_padding(base, 'tf'), dropout=0)


def compile_model(model: tf.keras.Model, run: Run) -> None:
    """Give a model the kit's optimiser with its variables, so that all can be initialised at once."""
    optimizer = nima.optimizer('sgd', fixture.LEARNING_RATE, momentum=fixture.MOMENTUM, decay=fixture.DECAY,
                               loss_scale=fixture.LOSS_SCALE)
    model.compile(run.distribute(optimizer), loss=nima.earth_mover_loss)
    model._make_train_function()


def with_activations(model: tf.keras.Model) -> Network:
    """The model and its activations behind each ReLU6."""
    blocks = [layer.name for layer in model.layers if isinstance(layer, tf.keras.layers.ReLU)]
    activations = tf.keras.Model(model.input, [*(model.get_layer(name).output for name in blocks), model.output])
    return Network(model, nima.inference_model(activations), [*blocks, 'predictions'])


def build_network(size: Size, run: Run) -> Network:
    """The network with its first weights, on the open device `run`."""
    model = build_model(size)
    compile_model(model, run)
    network = with_activations(model)
    run.initialise()
    network.set_initial()
    return network
