"""The training loop and what surrounds it: resume, training state, callbacks, log, the head on cached features.

May import utils.base, data, model, device and data_loader, nima, score_utils.
"""
