"""Keras models from model files, and arrays into Keras models."""
from typing import Any, Dict, List, Tuple

import numpy as np
import tensorflow as tf

from utils.base.defaults import IMAGE_SIZE, MAX_IMAGE_SIZE
from utils.base.errors import InputError
from utils.base.scores import SCORES
from utils.base.text import short
from utils.model import bounds, model_file, trust
from utils.model.model_file import ModelFile


def for_scoring(file: ModelFile) -> tf.keras.Model:
    """The model of a checkpoint with learning phase 0, without its optimiser.

    InputError where the file is no checkpoint, or its network does not turn square images into ten outputs.
    """
    network = str(file.require_checkpoint().network)
    tf.keras.backend.set_learning_phase(0)
    try:
        model = tf.keras.models.model_from_json(network)
        inputs, outputs = model.input_shape, model.output_shape
        variables = variables_of(model)
        require_nima(file.path, inputs, outputs)
        found = file.own_preprocessing
        bounds.require_bounded(model, inputs[1] or (found.image_size if found else IMAGE_SIZE))
    except trust.DistrustError as distrust:
        raise InputError(f'{file.path}: found {distrust}; expected {model_file.CHECKPOINT}. Do not use the file, get '
                         'one from its maker') from distrust
    except InputError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
            ValueError, tf.errors.OpError) as error:
        raise InputError(f'{file.path}: found a network that tf.keras cannot build ({short(str(error), 300)}), '
                         f'expected {model_file.CHECKPOINT}. If it holds the weights of a NIMA-MobileNet, import them '
                         f'with {model_file.import_command(file.path)}') from error
    set_weights(variables, file.weights, file.path)
    return model


def require_nima(path: str, inputs: Any, outputs: Any) -> None:
    """InputError unless a network with these shapes turns square images into ten outputs."""
    if outputs[1:] != (len(SCORES),) or len(inputs) != 4 or inputs[1] != inputs[2] or inputs[3] != 3 or (
            inputs[1] or 1) > MAX_IMAGE_SIZE:
        raise InputError(f'{path}: found a network from {short(inputs)} to {short(outputs)}, expected a NIMA, from '
                         f'(None, 224, 224, 3) to (None, {len(SCORES)}). Use {model_file.CHECKPOINT}')


def variables_of(model: tf.keras.Model) -> Dict[str, List[tf.Variable]]:
    """The variables of each layer with weights, in the order of files."""
    return {layer.name: [*layer.trainable_weights, *layer.non_trainable_weights]
            for layer in model.layers if layer.weights}


def set_weights(variables: Dict[str, List[tf.Variable]], arrays: Dict[str, List[np.ndarray]], path: str) -> None:
    """Give variables_of() a model the `arrays` of the file `path`; InputError where their shapes differ.

    They are compared before any is set: TensorFlow accepts other shapes silently, and allocates all that a network
    declares.
    """
    shapes = {name: [tuple(each.shape.as_list()) for each in layer] for name, layer in variables.items()}
    for name in [*shapes, *arrays]:
        stored = [array.shape for array in arrays.get(name, [])]
        if stored != shapes.get(name):
            raise InputError(f'{path}: found shapes {stored} for the layer {name!r}, expected those of its network, '
                             f'{shapes.get(name, "none")}. Use the file as train.py or the import wrote it')
    _initialise([pair for name, layer in variables.items() for pair in zip(layer, arrays[name])])


def _initialise(values: List[Tuple[tf.Variable, np.ndarray]]) -> None:
    """Give the variables these values in place of random ones.

    Keras would initialise them first, and build more operations for each: as long as building the network takes.
    """
    assignments, fed = [], {}
    for variable, value in values:
        variable._keras_initialized = True  # what get_session() asks for
        placeholder = tf.compat.v1.placeholder(variable.dtype.base_dtype, value.shape)  # an NPU takes no other feeds
        assignments.append(tf.raw_ops.AssignVariableOp(resource=variable.handle, value=placeholder))
        fed[placeholder] = value
    tf.compat.v1.keras.backend.get_session().run(assignments, fed)
