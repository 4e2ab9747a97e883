"""Emulates the precision of a device on a CPU: what comes out of a layer is rounded, sums are made in float32."""
import contextlib
import functools

import tensorflow as tf

LARGEST = 65504.0  # float16; a 910 saturates there
CUBE = 'Conv2D', 'DepthwiseConv2D', 'Dense'
ALL = (*CUBE, 'BatchNormalization', 'ReLU', 'GlobalAveragePooling2D', 'ZeroPadding2D')
MODES = {'float16': ALL, 'mixed': CUBE, 'bfloat16': CUBE, 'float32': ALL}  # layers that round
BITS = {'float16': 10, 'mixed': 10, 'bfloat16': 7, 'float32': 20}  # of the fraction; float32 has 23, its sums lose some


def quantise(tensor, bits, nearest):
    """`tensor` rounded to a fraction of `bits`, to the nearest or towards 0; in float16's range where they are ten."""
    if not nearest or bits != 10:
        dropped = 23 - bits
        whole = tf.bitcast(tensor, tf.int32) + (1 << (dropped - 1) if nearest else 0)
        tensor = tf.bitcast(tf.bitwise.bitwise_and(whole, -(1 << dropped)), tf.float32)
    if bits == 10:
        tensor = tf.cast(tf.cast(tf.clip_by_value(tensor, -LARGEST, LARGEST), tf.float16), tf.float32)
    return tensor


@contextlib.contextmanager
def emulated(mode, nearest=True):
    """Networks that are built within compute as a device in the precision `mode`, one of MODES."""
    @tf.custom_gradient
    def both(tensor):
        return quantise(tensor, BITS[mode], nearest), lambda gradient: quantise(gradient, BITS[mode], nearest)

    saved = {}
    for name in MODES[mode]:
        owner = next(each for each in getattr(tf.keras.layers, name).__mro__ if 'call' in each.__dict__)
        if owner not in saved:
            saved[owner] = owner.call
            owner.call = _rounded(owner.call, both, inputs_too=MODES[mode] is CUBE)
    try:
        yield
    finally:
        for owner, call in saved.items():
            owner.call = call


def _rounded(call, both, inputs_too):
    """`call` with its weights and outputs rounded, and its inputs where other layers do not round theirs."""
    @functools.wraps(call)
    def rounded_call(self, inputs, *arguments, **named):
        kept = {name: self.__dict__[name] for name in ('kernel', 'depthwise_kernel', 'bias')
                if self.__dict__.get(name) is not None}
        self.__dict__.update((name, both(tf.convert_to_tensor(value))) for name, value in kept.items())
        try:
            return both(call(self, both(inputs) if inputs_too else inputs, *arguments, **named))
        finally:
            self.__dict__.update(kept)
    return rounded_call
