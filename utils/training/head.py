"""Training the head, alone or with the last blocks, on cached features: its start, and a learning rate by test."""
from typing import Any, Callable, Dict, Tuple

import numpy as np
import tensorflow as tf

from utils import nima, score_utils
from utils.base.errors import InputError
from utils.data.image_set import ImageSet
from utils.device.device import Run
from utils.device.signals import Watch
from utils.training import closed_form, features
from utils.training.data import Data
from utils.training.plan import Head, Schedule

RATES = tuple(float(f'{10 ** (exponent / 2):.0e}') for exponent in range(-10, 3))  # 1e-05, 3e-05, ... 1e+01
TEST_STEPS = 200  # of each rate at most

Report = Callable[[str], Any]


def prepare(model: tf.keras.Model, head: Head, data: Data, metadata: Dict[str, Any], schedule: Schedule, run: Run,
            watch: Watch) -> Tuple[tf.keras.Model, Data, int]:
    """What is trained of `model`, ready for it, the data with its features, and the predict batch size.

    A new head starts from the closed form where `head` says so. A learning rate that was chosen by test is put into
    the flags of `metadata`.
    """
    flags = metadata['run']['flags']
    if run.group.size > 1:
        raise InputError(f'--trainable {flags["trainable"]} on cached features trains on one device, found '
                         f'{run.group.size}. Start one process')
    npu = flags.get('npu') or {}
    how = features.Computing(
        head.folder, schedule.batchsize, run.device, nima.Trained.of(flags),
        {name: npu[name] for name in ('precision_mode', 'precision_mode_v2', 'modify_mixlist')
         if name in npu}, watch, print)
    network, train, val = features.for_head(
        model, features.Source(data.train, data.reading, head.crops, schedule.seed),
        features.Source(data.val, data.reading, None, schedule.seed), how)
    if head.is_new:
        _start(network, _before_head(network, train, how), _before_head(network, val, how), head, schedule.seed, print)
    if head.tests_rates:
        flags['learning_rate'] = choose_rate(network, train, schedule.batchsize, schedule.seed, print)
    batch = nima.predict_batch(schedule.batchsize, run.device) if _has_maps(train) else schedule.batchsize
    return network, data._replace(train=train, val=val), batch


def _has_maps(images: ImageSet) -> bool:
    return images.features is not None and images.features.ndim > 3  # not [crops, N, F]


def _before_head(network: tf.keras.Model, images: ImageSet, how: features.Computing) -> ImageSet:
    """`images` with the features of the first crop that the head gets, of maps by the blocks between."""
    maps = images.features
    if maps is None or not _has_maps(images):
        return images
    blocks, size = nima.before_head(network), how.batchsize
    parts = [nima.predict(blocks, np.asarray(maps[0, start:start + size], np.float32),
                          nima.predict_batch(size, how.device)) for start in range(0, maps.shape[1], size)]
    return images._replace(features=np.concatenate(parts)[np.newaxis])


def _readable(images: ImageSet) -> Tuple[np.ndarray, np.ndarray]:
    """Features [N, F], with crops those of the first, and distributions [N, 10] of the images that can be read."""
    assert images.features is not None
    good = ~images.bad.mask
    rows = images.features[0]
    return (rows if good.all() else rows[good]), images.readable.distributions


def _start(network: tf.keras.Model, train: ImageSet, val: ImageSet, head: Head, seed: int, report: Report) -> None:
    """Report the closed form's validation SRCC, the baseline of the training, and set the head to it where asked."""
    (rows, distributions), (val_rows, true) = _readable(train), _readable(val)
    too_few, too_wide = len(rows) < 2 * closed_form.FOLDS, rows.shape[1] > closed_form.WIDEST
    if too_few or too_wide:
        report('closed form: left out, as ' + (
            f'there are fewer than {2 * closed_form.FOLDS} training images' if too_few else
            f'an image has {rows.shape[1]} features, more than {closed_form.WIDEST}'))
        return
    found = closed_form.fit(rows, score_utils.mean_score(distributions), seed=seed)
    srcc = score_utils.srcc(score_utils.mean_score(true), found.predict(val_rows.astype(np.float64)))
    starts = ', from which the head starts' if head.from_closed_form else ''
    report(f'closed form (ridge regression on the features): val_srcc {score_utils.shown(srcc, 4)}{starts}; penalty '
           f'{found.penalty:.2g}, by cross-validation on the training images, SRCC {found.srcc:.4f}')
    if head.from_closed_form:
        network.layers[-1].set_weights(closed_form.dense(found, rows, distributions))


def choose_rate(network: tf.keras.Model, train: ImageSet, batchsize: int, seed: int, report: Report) -> float:
    """The rate of RATES that lowers the loss of a tenth of the training images most, trained on the others.

    Each rate trains for one epoch, at most TEST_STEPS, from the same weights, which the network has afterwards too.
    The optimiser gets the rate.
    """
    rows, distributions = _readable(train)
    order = np.random.RandomState(seed).permutation(len(rows))
    held, rest = np.sort(order[:max(1, len(rows) // 10)]), order[max(1, len(rows) // 10):]
    steps = min(TEST_STEPS, len(rest) // batchsize)
    if not steps:
        raise InputError(f'--learning_rate auto: {len(rest)} training images are too few for a step of {batchsize}. '
                         'Type a rate or a lower --batchsize')
    network._make_train_function()  # makes the optimiser's variables
    variables = [*network.weights, *network.optimizer.weights]
    before, losses = tf.keras.backend.batch_get_value(variables), []
    for rate in RATES:
        tf.keras.backend.set_value(network.optimizer.lr, rate)
        for step in range(steps):
            batch = rest[step * batchsize:(step + 1) * batchsize]
            network.train_on_batch(rows[batch], distributions[batch])
        losses.append(_loss(network, rows[held], distributions[held]))
        tf.keras.backend.batch_set_value(list(zip(variables, before)))
    losses = [loss if np.isfinite(loss) else np.inf for loss in losses]
    chosen = RATES[int(np.argmin(losses))]
    report(f'--learning_rate auto: {chosen:g}, EMD {min(losses):.4f} after {steps} steps on images left out, of '
           + ', '.join(f'{rate:g} {loss:.4f}' for rate, loss in zip(RATES, losses)))
    tf.keras.backend.set_value(network.optimizer.lr, chosen)
    return chosen


def _loss(network: tf.keras.Model, rows: np.ndarray, distributions: np.ndarray) -> float:
    """The loss without dropout, by the weights alone: the network is built for training."""
    kernel, bias = (array.astype(np.float64) for array in network.layers[-1].get_weights())
    logits = rows.astype(np.float64) @ kernel + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return score_utils.emd(distributions, shares / shares.sum(axis=1, keepdims=True), r=2)
