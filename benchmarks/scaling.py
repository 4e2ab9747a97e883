"""Images a second of one process, of two that know nothing of each other, and of two that Horovod joins; a projection.

Every process is pinned to one core and trains MobileNet on a batch that stays in memory, with train.py's own optimiser
and exchange. All live through the whole run and take turns; Horovod's thread works even in those that are not in turn.
"""
import contextlib
import importlib.util
import os
import statistics
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from benchmarks import step_worker, turns
from utils.base.parser import count

ALONE, APART, TOGETHER, EXCHANGE = 'one process', 'two processes, apart', 'two processes, together', 'exchange alone'

# The projection: what it assumes, in bytes and seconds. None of it was measured here.
GRADIENTS = 4 * 3217226
STEP_SECONDS = 0.1459              # of a batch of 100 on one NPU, as the card's publisher says
LINKS = {8: ('30 GB/s between the devices of a host', 30e9), 64: ('100 Gbit/s for each device', 12.5e9),
         512: ('100 Gbit/s for each device', 12.5e9)}
HOP_SECONDS = 10e-6                # from one device to the next


def work(batchsize: int, image_size: int, core: Optional[int] = None, engine: str = 'none') -> Callable[..., Any]:
    """Steps of training, or of the exchange alone."""
    import tensorflow as tf

    from utils import nima
    from utils.device import device
    group = device.join(engine, 'cpu')
    if core is not None:
        os.sched_setaffinity(0, [core])
    run = turns.OPEN.enter_context(device.open_run('cpu', group=group))
    tf.keras.backend.set_learning_phase(1)
    base = tf.keras.applications.MobileNet((image_size, image_size, 3), include_top=False, pooling='avg', weights=None)
    model = nima.with_head(base, 0.75)
    model.compile(run.distribute(nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6)), loss=nima.earth_mover_loss)
    run.initialise()
    group.broadcast(model.weights)
    sums = [group._sum(tf.identity(weight), f'alone_{number}').op
            for number, weight in enumerate(model.trainable_weights)]
    batch = step_worker.constant_batch(batchsize, image_size)

    def steps(amount: int, exchange: str = '') -> None:
        for _ in range(amount):
            if exchange:
                tf.compat.v1.keras.backend.get_session().run(sums)
            else:
                model.train_on_batch(*batch)
                group.gather([0.0, 0.0])

    return steps


def measure(*, quick: bool, batch: int, rounds: Optional[int]) -> List[turns.Figure]:
    if importlib.util.find_spec('horovod') is None:
        return [turns.skipped(TOGETHER, 'no Horovod in this environment: bash utils/horovod.sh builds it'),
                *projection(GRADIENTS)]
    batch, size, rounds, amount = (2, 32, rounds or 1, 1) if quick else (batch, 224, rounds or 8, 4)
    cores, shape = sorted(os.sched_getaffinity(0)), {'batchsize': batch, 'image_size': size}
    single = {str(number): turns.process('scaling', 'work', core=cores[number % len(cores)], **shape)
              for number in range(2)}
    horovodrun = [str(Path(sys.executable).with_name('horovodrun')), '-np', '2']
    with turns.workers(single) as started, contextlib.closing(turns.Worker(
            [*horovodrun, *turns.process('scaling', 'work', engine='horovod', **shape)], size=2,
            HOROVOD_GLOO_TIMEOUT_SECONDS='3600')) as together:  # not 30: they are stopped for longer
        one, both = started['0'], started['0'].beside(started['1'])
        ways = {ALONE: lambda: one.take(amount), APART: lambda: both.take(amount),
                TOGETHER: lambda: together.take(amount), EXCHANGE: lambda: together.take(amount, 'exchange')}
        turns.interleaved(ways, 1)
        taken = turns.interleaved(ways, rounds)
    return [*figures(taken, batch, amount, f'batch {batch} of a process, {rounds} rounds of {amount} steps in turn'),
            *projection(GRADIENTS)]


def figures(taken: Dict[str, List[turns.Turn]], batch: int, steps: int, measured: str) -> List[turns.Figure]:
    images = {ALONE: batch * steps, APART: 2 * batch * steps, TOGETHER: 2 * batch * steps}
    speeds = {way: turns.speeds(taken[way], each) for way, each in images.items()}
    return [turns.reported(ALONE, statistics.median(speeds[ALONE]), 'images/s', f'images a second; {measured}'),
            turns.compared(f'{TOGETHER}, beside apart', speeds[TOGETHER], speeds[APART], 'images/s',
                           f'images a second of both; {measured}'),
            turns.compared(f'{TOGETHER}, beside twice one', speeds[TOGETHER], [2 * each for each in speeds[ALONE]],
                           'images/s', f'images a second of both; {measured}'),
            turns.compared(f'{EXCHANGE}, of a step', turns.seconds(taken[EXCHANGE], steps),
                           turns.seconds(taken[TOGETHER], steps), 's', f'seconds of the exchange, and of a step; '
                           f'{measured}')]


def ring_seconds(size: int, devices: int, bytes_per_second: float, hop: float = HOP_SECONDS) -> float:
    """Seconds of a ring all-reduce of `size` bytes: 2 (N - 1) hops, each with an N-th of them."""
    return 2 * (devices - 1) * (size / devices / bytes_per_second + hop)


def projection(size: int) -> List[turns.Figure]:
    """What the exchange would cost if nothing of it were hidden behind the computation; arithmetic, no measurement."""
    rows = []
    for devices, (link, speed) in LINKS.items():
        exchange = ring_seconds(size, devices, speed)
        efficiency = STEP_SECONDS / (STEP_SECONDS + exchange)
        rows.append(turns.reported(
            f'projection, {devices} devices: efficiency', efficiency, '', 'Projection, not measured: '
            f'{1000 * exchange:.1f} ms | {100 * efficiency:.1f} % | of {size / 1e6:.1f} MB a step at {link}, '
            f'{STEP_SECONDS} s of computing, nothing hidden behind it, {1e6 * HOP_SECONDS:.0f} us a hop'))
    return rows


if __name__ == '__main__':
    turns.main(measure, __doc__, rounds=turns.ROUNDS, batch={
        'type': count, 'default': 32, 'metavar': 'N', 'help': 'of a process (default: 32)'})
