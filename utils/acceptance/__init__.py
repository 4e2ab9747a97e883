"""The acceptance kit: does this device compute what a CPU computes in float32?

May import utils.base, data, model and device, nima, score_utils, training. references.json holds what a CPU computed.
"""
