"""Images a second of one process, of two that know nothing of each other, and of two that Horovod joins; a projection.

Every process is pinned to one core and trains MobileNet on a batch that stays in memory, with train.py's own optimiser
and exchange. All processes live through the whole run and take turns; those that are not in turn are stopped
(SIGSTOP), as Horovod's thread works even in idle ones. Figures are medians, a ratio is the median of the rounds'
ratios, so that other work on the machine, which slows neighbouring turns alike, changes it little.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

ALONE, APART, TOGETHER, EXCHANGE = 'one process', 'two processes, apart', 'two processes, together', 'exchange alone'
PATIENCE = 600.0  # seconds for one turn

# The projection: what it assumes, in bytes and seconds. None of it was measured here.
STEP_SECONDS = 0.1459              # of a batch of 100 on one NPU, as the card's publisher says
LINKS = {8: ('30 GB/s between the devices of a host', 30e9), 64: ('100 Gbit/s for each device', 12.5e9),
         512: ('100 Gbit/s for each device', 12.5e9)}
HOP_SECONDS = 10e-6                # from one device to the next


# --- a process that trains


def work(folder: Path, index: int, batchsize: int, image_size: int, engine: str) -> None:
    """Do what the files FOLDER/N.go say, one after the other, until one says to end."""
    import numpy as np
    import tensorflow as tf

    from utils import nima
    from utils.device import device
    group = device.join(engine, 'cpu')
    if group.size == 1:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [cores[index % len(cores)]])
    else:
        index = 2 + group.rank
    with device.open_run('cpu', group=group) as run:
        tf.keras.backend.set_learning_phase(1)
        base = tf.keras.applications.MobileNet((image_size, image_size, 3), include_top=False, pooling='avg',
                                               weights=None)
        model = nima.with_head(base, 0.75)
        model.compile(run.distribute(nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6)),
                      loss=nima.earth_mover_loss)
        run.initialise()
        group.broadcast(model.weights)
        sums = [group._sum(tf.identity(weight), f'alone_{number}').op
                for number, weight in enumerate(model.trainable_weights)]
        random = np.random.RandomState(group.rank)
        images = random.uniform(-1, 1, (batchsize, image_size, image_size, 3)).astype(np.float32)
        scores = np.full((batchsize, 10), 0.1, np.float32)
        steps = {False: lambda: (model.train_on_batch(images, scores), group.gather([0.0, 0.0])),
                 True: lambda: tf.compat.v1.keras.backend.get_session().run(sums)}
        for step in steps.values():
            step()
            step()
        (folder / f'{index}.ready').write_text(str(os.getpid()))
        _take_turns(folder, index, steps)


def _take_turns(folder: Path, index: int, steps: Dict[bool, Callable[[], Any]]) -> None:
    turn = 0
    while True:
        path = folder / f'{turn}.go'
        while not path.exists():
            time.sleep(0.02)
        told = json.loads(path.read_text())
        if told.get('end'):
            return
        if index in told['workers']:
            step = steps[told['exchange']]
            step()  # they come out of SIGSTOP one by one
            start = time.monotonic()
            for _ in range(told['steps']):
                step()
            seconds = (time.monotonic() - start) / told['steps']
            (folder / f'{turn}.{index}.part').write_text(str(seconds))
            (folder / f'{turn}.{index}.part').rename(folder / f'{turn}.{index}')
        turn += 1


# --- taking turns


class Workers:
    """Two processes without Horovod, 0 and 1, and two with it, 2 and 3; all but those in turn are stopped."""

    def __init__(self, folder: Path, batchsize: int, image_size: int) -> None:
        self._folder, self._turn = folder, 0
        command = [sys.executable, __file__, '--work', str(folder), '--batch', str(batchsize), '--image_size',
                   str(image_size)]
        horovodrun = str(Path(sys.executable).with_name('horovodrun'))
        self._started = []
        self._process_ids: List[int] = []
        for each, wanted in (([*command, '--index', '0'], [0]), ([*command, '--index', '1'], [1]),
                             ([horovodrun, '-np', '2', *command, '--engine', 'horovod'], [2, 3])):
            with open(str(folder / 'log.txt'), 'a') as log:
                self._started.append(subprocess.Popen(each, stdout=log, stderr=log, env={
                    **os.environ, 'HOROVOD_GLOO_TIMEOUT_SECONDS': '3600'}))  # not 30: they are stopped for longer
            self._wait([folder / f'{index}.ready' for index in wanted])  # one by one: they share two cores
            self._process_ids += [int((folder / f'{index}.ready').read_text()) for index in wanted]
        for process in self._process_ids:
            os.kill(process, signal.SIGSTOP)

    def _wait(self, paths: Sequence[Path]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not all(path.exists() for path in paths):
            if time.monotonic() > deadline or any(process.poll() for process in self._started):
                raise SystemExit((self._folder / 'log.txt').read_text())
            time.sleep(0.02)

    def seconds(self, workers: Sequence[int], steps: int, *, exchange: bool = False) -> List[float]:
        """The seconds of a step in each of these processes, at the same time."""
        path = self._folder / f'{self._turn}.go'
        path.with_suffix('.part').write_text(json.dumps({'workers': workers, 'steps': steps, 'exchange': exchange}))
        path.with_suffix('.part').rename(path)
        for index in workers:
            os.kill(self._process_ids[index], signal.SIGCONT)
        results = [self._folder / f'{self._turn}.{index}' for index in workers]
        self._wait(results)
        for index in workers:
            os.kill(self._process_ids[index], signal.SIGSTOP)
        self._turn += 1
        return [float(result.read_text()) for result in results]

    def close(self) -> None:
        (self._folder / f'{self._turn}.go').write_text('{"end": true}')
        for process in self._process_ids:
            os.kill(process, signal.SIGCONT)
        for started in self._started:
            try:
                started.wait(60)
            except subprocess.TimeoutExpired:
                started.terminate()
                started.wait()


def measure(batchsize: int, image_size: int, rounds: int, steps: int) -> Dict[str, Any]:
    """The medians of a batch size: images a second of each way, their ratios, the seconds of the exchange alone."""
    ways = {ALONE: [0], APART: [0, 1], TOGETHER: [2, 3], EXCHANGE: [2, 3]}
    taken: Dict[str, List[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(Path(folder), batchsize, image_size)
        try:
            for number in range(rounds):
                order = list(ways)[number % len(ways):] + list(ways)[:number % len(ways)]
                for way in order:
                    seconds = workers.seconds(ways[way], steps, exchange=way == EXCHANGE)
                    taken[way].append(statistics.mean(seconds))
        finally:
            workers.close()

    def ratio(way: str, other: str, factor: float = 1) -> float:
        return statistics.median(factor * second / first for first, second in zip(taken[way], taken[other]))

    speeds = {way: statistics.median(len(ways[way]) * batchsize / each for each in taken[way])
              for way in (ALONE, APART, TOGETHER)}
    return {'batchsize': batchsize, 'image_size': image_size, 'images_per_second': speeds,
            'together_of_apart': ratio(TOGETHER, APART), 'together_of_twice_one': ratio(TOGETHER, ALONE),
            'exchange_seconds': statistics.median(taken[EXCHANGE]),
            'exchange_share': statistics.median(each / step for each, step in zip(taken[EXCHANGE], taken[TOGETHER]))}


# --- the projection


def ring_seconds(size: int, devices: int, bytes_per_second: float, hop: float = HOP_SECONDS) -> float:
    """Seconds of a ring all-reduce of `size` bytes: 2 (N - 1) hops, each with an N-th of them."""
    return 2 * (devices - 1) * (size / devices / bytes_per_second + hop)


def projection(size: int) -> List[Dict[str, Any]]:
    """What the exchange would cost if nothing of it were hidden behind the computation; arithmetic, no measurement."""
    rows = []
    for devices, (link, speed) in LINKS.items():
        seconds = ring_seconds(size, devices, speed)
        rows.append({'devices': devices, 'link': link, 'exchange_seconds': seconds,
                     'efficiency': STEP_SECONDS / (STEP_SECONDS + seconds)})
    return rows


def text(found: Sequence[Dict[str, Any]], size: int) -> str:
    lines = ['| batch | one process | two, apart | two, together | together / apart | together / twice one | exchange '
             'alone | of a step |', '|---|---|---|---|---|---|---|---|']
    for each in found:
        speeds = ' | '.join(f'{each["images_per_second"][way]:.1f}' for way in (ALONE, APART, TOGETHER))
        lines.append(f'| {each["batchsize"]} | {speeds} | {each["together_of_apart"]:.3f} | '
                     f'{each["together_of_twice_one"]:.3f} | {1000 * each["exchange_seconds"]:.0f} ms | '
                     f'{100 * each["exchange_share"]:.1f} % |')
    lines += ['', f'Projection, not measured: {size / 1e6:.1f} MB a step, {STEP_SECONDS} s of computing, nothing '
                  f'hidden behind it, {1e6 * HOP_SECONDS:.0f} us a hop', '| devices | link | exchange | efficiency |',
              '|---|---|---|---|']
    lines += [f'| {row["devices"]} | {row["link"]} | {1000 * row["exchange_seconds"]:.1f} ms | '
              f'{100 * row["efficiency"]:.1f} % |' for row in projection(size)]
    return '\n'.join(lines)


def main(argv: Optional[Sequence[str]] = None) -> List[Dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--batch', type=int, nargs='+', default=[32], metavar='N', help='of a process (default: 32)')
    parser.add_argument('--image_size', type=int, default=224, metavar='S', help='(default: 224)')
    parser.add_argument('--rounds', type=int, default=8, metavar='N', help='(default: 8)')
    parser.add_argument('--steps', type=int, default=4, metavar='N', help='of a turn (default: 4)')
    parser.add_argument('--json', metavar='FILE', help='also write the figures into this file')
    for name in ('--work', '--index', '--engine'):  # the processes that this one starts
        parser.add_argument(name, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.work:
        work(Path(flags.work), int(flags.index or 0), flags.batch[0], flags.image_size, flags.engine or 'none')
        return []
    found = [measure(batch, flags.image_size, flags.rounds, flags.steps) for batch in flags.batch]
    print(text(found, 4 * 3217226))
    if flags.json:
        Path(flags.json).write_text(json.dumps(found, indent=1))
    return found


if __name__ == '__main__':
    main()
