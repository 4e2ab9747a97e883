"""--loss_scale dynamic: a step whose gradients overflow changes nothing, and the scale adapts.

All is in the one static graph of the step, without Switch or Merge: what a step would change is computed, and kept
where the gradients are finite. Keras's optimisers update in place, with momentum even at a rate of 0; so the numbers
of before are put back.
"""
from typing import Any, Dict, List, NamedTuple, Optional

import tensorflow as tf

from utils.base.errors import InputError
from utils.device.device import Group, Run


class Rule(NamedTuple):
    """How the scale adapts; the values are those of TensorFlow's and PyTorch's own dynamic scales."""

    initial: float = 2.0 ** 15
    growth: float = 2.0     # times, after `interval` finite steps in a row
    interval: int = 2000
    back_off: float = 0.5   # times, after a step that overflowed
    least: float = 1.0
    most: float = 2.0 ** 24


def install(model: tf.keras.Model, run: Run, stored: Optional[Dict[str, float]]) -> 'LossScaling':
    """The LossScaling of a compiled model on the device of `run`; InputError where the device cannot."""
    if run.device == 'npu':
        raise InputError('--loss_scale dynamic: not on an NPU. A skipped step puts the weights of before it back, and '
                         'no document of CANN says that they are kept beside an update in place. Use a number, such as '
                         '--loss_scale 1024, and --over_dump_path to see overflows')
    return LossScaling(model, run.group, stored)


class LossScaling(tf.keras.callbacks.Callback):
    """The dynamic scale of a compiled model's loss; made before the model's train function is.

    `stored` is what state() returned when the run that is resumed was saved. As a callback it prints the scale at the
    end of each epoch, once a step was skipped.
    """

    def __init__(self, model: tf.keras.Model, group: Group, stored: Optional[Dict[str, float]] = None,
                 rule: Rule = Rule()) -> None:  # noqa: B008  a constant
        super().__init__()
        found = {'scale': rule.initial, 'finite_steps': 0, 'skipped': 0, **(stored or {})}
        variable = tf.keras.backend.variable
        self._scale = variable(found['scale'], tf.float32, 'loss_scale')
        self._finite_steps = variable(found['finite_steps'], tf.int32, 'finite_steps')
        self._skipped = variable(found['skipped'], tf.int32, 'skipped_steps')
        self._optimizer, self._rule, self._group = model.optimizer, rule, group
        self._gradients_of = model.optimizer.get_gradients
        self._finite: Optional[tf.Tensor] = None  # whether the step's gradients are, on all ranks
        # In place, as the files name an optimiser's class: SGD stays SGD, and loads everywhere.
        model.optimizer.get_updates = self._updates
        self.hold_back(model)

    def hold_back(self, model: tf.keras.Model) -> None:
        """Have the layers of `model`, which has the same optimiser, not update themselves in a skipped step.

        BatchNorm's moving averages change by 0 then.
        """
        updates_of = model.get_updates_for
        model.get_updates_for = lambda inputs: [self._held_back(update) for update in updates_of(inputs)]

    def state(self) -> Dict[str, float]:
        """The scale, the finite steps since it changed and all steps that were skipped, for the metadata."""
        scale, steps, skipped = tf.keras.backend.batch_get_value([self._scale, self._finite_steps, self._skipped])
        return {'scale': float(scale), 'finite_steps': int(steps), 'skipped': int(skipped)}

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        state = self.state()
        if state['skipped']:
            self._group.report(f'loss scale {state["scale"]:g}; steps skipped so far, as they overflowed: '
                               f'{state["skipped"]}')

    def _updates(self, loss: tf.Tensor, params: List[tf.Variable]) -> List[tf.Operation]:
        """In the place of Keras's get_updates(): the operations of a step, the new scale among them."""
        scale = self._scale.read_value()
        gradients = [gradient / scale for gradient in self._gradients_of(loss * scale, params)]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        overflows = self._group._sum(1.0 - tf.cast(finite, tf.float32), 'overflow')
        self._finite = tf.equal(overflows, 0.0)
        variables = [*params, *self._slots(params)]
        before = [variable.read_value() for variable in variables]
        with tf.control_dependencies([self._finite, *before]):
            step = self._optimizer.apply_gradients(zip(gradients, params))
        with tf.control_dependencies([step]):
            kept = [variable.assign(tf.compat.v1.where(self._finite, variable.read_value(), old))
                    for variable, old in zip(variables, before)]
        return [*kept, *self._adapt(scale, self._finite)]

    def _slots(self, params: List[tf.Variable]) -> List[tf.Variable]:
        """The optimiser's own variables, made as apply_gradients() makes them, under the same names."""
        with tf.keras.backend.name_scope(self._optimizer._name), tf.init_scope():
            self._optimizer.iterations  # noqa: B018  makes it
            self._optimizer._create_hypers()
            self._optimizer._create_slots(params)
        return list(self._optimizer.weights)

    def _adapt(self, scale: tf.Tensor, finite: tf.Tensor) -> List[tf.Operation]:
        rule = self._rule
        steps = tf.compat.v1.where(finite, self._finite_steps.read_value() + 1, 0)
        grows = tf.greater_equal(steps, rule.interval)
        larger = tf.compat.v1.where(grows, tf.minimum(scale * rule.growth, rule.most), scale)
        smaller = tf.maximum(scale * rule.back_off, rule.least)
        return [self._scale.assign(tf.compat.v1.where(finite, larger, smaller)),
                self._finite_steps.assign(tf.compat.v1.where(grows, 0, steps)),
                self._skipped.assign_add(1 - tf.cast(finite, tf.int32))]

    def _held_back(self, update: Any) -> tf.Operation:
        operation = getattr(update, 'op', update)
        if operation.type != 'AssignSubVariableOp':
            raise InputError(f'--loss_scale dynamic: a layer of the network updates itself by {operation.type} '
                             f'({operation.name}), which cannot be held back. Use a number')
        variable, change = operation.inputs
        return tf.raw_ops.AssignSubVariableOp(
            resource=variable, value=tf.compat.v1.where(self._finite, change, tf.zeros_like(change)))
