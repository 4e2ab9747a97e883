"""A Keras model as an HDF5 file, the datasets and attributes of its model.save(), from one read of the device.

model.save() reads layer by layer: on an NPU each of these reads is a graph that has to be compiled.
"""
import copy
import json
from typing import Any, Dict, List, NamedTuple

import numpy as np

NAMES_LIMIT = 64512  # bytes of one attribute, as Keras splits it


class Arrays(NamedTuple):
    """All numbers of a model."""

    weights: Dict[str, List[np.ndarray]]  # by layer, those without weights too, in the order of files
    slots: List[np.ndarray]               # of the optimiser, in its own order; none before the first step
    hyper: Dict[str, Any]                 # of the optimiser, such as the learning rate, as far as they are variables


def read(model: Any) -> Arrays:
    """The numbers of a Keras model, all in one step of its session."""
    import tensorflow as tf
    layers = {layer.name: _variables(layer) for layer in model.layers}
    slots = list(model.optimizer.weights) if model.optimizer else []
    hyper = {name: value for name, value in (model.optimizer._hyper if model.optimizer else {}).items()
             if tf.is_tensor(value)}
    found = iter(tf.keras.backend.batch_get_value([*sum(layers.values(), []), *slots, *hyper.values()]))
    return Arrays({name: [next(found) for _ in variables] for name, variables in layers.items()},
                  [next(found) for _ in slots], {name: next(found) for name in hyper})


def write(model: Any, arrays: Arrays, file: Any) -> None:
    """Write a model with these numbers into an empty h5py.File."""
    network = json.loads(model.to_json())
    file.attrs['keras_version'], file.attrs['backend'] = network['keras_version'], network['backend']
    file.attrs['model_config'] = json.dumps({name: network[name] for name in ('class_name', 'config')}).encode()
    if model.optimizer:
        file.attrs['training_config'] = json.dumps(_training(model, arrays), default=_plain).encode()
    group = file.create_group('model_weights')
    _write_names(group, 'layer_names', list(arrays.weights))
    group.attrs['backend'], group.attrs['keras_version'] = (network[name].encode()
                                                            for name in ('backend', 'keras_version'))
    for layer in model.layers:
        _write_arrays(group.create_group(layer.name), _variables(layer), arrays.weights[layer.name])
    if arrays.slots:
        _write_arrays(file.create_group('optimizer_weights'), model.optimizer.weights, arrays.slots)


def _variables(layer: Any) -> List[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _training(model: Any, arrays: Arrays) -> Dict[str, Any]:
    """What Keras's load_model() compiles with."""
    optimizer = copy.copy(model.optimizer)  # whose settings are read already
    optimizer._hyper = {**model.optimizer._hyper, **arrays.hyper}
    return {'loss': model.loss, 'metrics': model._compile_metrics, 'weighted_metrics': model._compile_weighted_metrics,
            'sample_weight_mode': model.sample_weight_mode, 'loss_weights': model.loss_weights,
            'optimizer_config': {'class_name': type(optimizer).__name__, 'config': optimizer.get_config()}}


def _plain(value: Any) -> Any:
    """The JSON value of a NumPy number, an object of Keras or a function."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, 'get_config'):
        return {'class_name': type(value).__name__, 'config': value.get_config()}
    return value.__name__


def _write_arrays(group: Any, variables: List[Any], arrays: List[np.ndarray]) -> None:
    names = [variable.name for variable in variables]
    _write_names(group, 'weight_names', names)
    for name, array in zip(names, arrays):
        group.create_dataset(name, data=array)


def _write_names(group: Any, name: str, names: List[str]) -> None:
    """A list of names as one attribute, or as several numbered ones where it is long."""
    encoded = [each.encode() for each in names]
    whole, parts = np.asarray(encoded), 1
    while any(part.nbytes > NAMES_LIMIT for part in np.array_split(whole, parts)):
        parts += 1
    if parts == 1:
        group.attrs[name] = encoded
    for number, part in enumerate(np.array_split(whole, parts) if parts > 1 else ()):
        group.attrs[f'{name}{number}'] = part
