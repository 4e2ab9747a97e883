"""Measuring side by side: processes that take turns, and figures with what they are compared with.

Every way runs in a process of its own and stands still, stopped, while it is not its turn. A ratio is the median of the
rounds' ratios, so that other work on the machine, which slows neighbouring turns alike, changes it little.
"""
import argparse
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from utils.base import errors  # noqa: E402

SHARED = ROOT.parent / 'shared'
WEIGHTS = SHARED / 'weights' / 'mobilenet_1_0_224_tf_no_top.RECONSTRUCTED.h5'


class Turn(NamedTuple):
    """What a process says of the work of one turn."""

    wall: float       # seconds
    processor: float  # seconds
    peak: int         # bytes of memory, the most so far
    resident: int     # bytes of memory now


class Figure(NamedTuple):
    """A row of the table; `baseline` is what `value` is compared with, `met` is None where it is only reported."""

    figure: str
    value: Optional[float]
    baseline: Optional[float]
    ratio: Optional[float]
    unit: str
    goal: str
    met: Optional[bool]
    how: str


class Worker:
    """A process that does as much as it is told and answers with a Turn; it stands still between its turns."""

    def __init__(self, command: Sequence[str], cores: Sequence[int] = (), **environment: str) -> None:
        bound = ['taskset', '-c', ','.join(map(str, cores))] if cores else []
        self._process = subprocess.Popen(
            [*bound, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            universal_newlines=True, env={**os.environ, **environment})

    def take(self, amount: int) -> Turn:
        assert self._process.stdin and self._process.stdout
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f'{amount}\n')
            self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        self._process.send_signal(signal.SIGSTOP)  # else it would read ahead in the time of the others
        if not answer:
            raise errors.InputError('a process of the benchmark ended early, expected an answer: start its command '
                                    f'alone to see why: {" ".join(map(str, self._process.args))}')  # type: ignore
        return Turn(float(answer[0]), float(answer[1]), int(answer[2]), int(answer[3]))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def workers(commands: Dict[str, Sequence[str]]) -> Iterator[Dict[str, Worker]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(contextlib.closing(Worker(command))) for name, command in commands.items()}


class Answers:
    """The other side: reads amounts from standard input and answers when they are done."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), 'w')
        os.dup2(2, 1)  # whatever else is printed

    def wait(self) -> int:
        """The next amount; the process ends where there is none."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        self._started = time.perf_counter(), time.process_time()
        return int(line)

    def done(self) -> None:
        wall, processor = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with open('/proc/self/statm') as stream:
            resident = int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        print(wall, processor, peak, resident, file=self._stream, flush=True)

    def serve(self, work: Callable[[int], Any]) -> None:
        while True:
            amount = self.wait()
            work(amount)
            self.done()


def take_turns(started: Dict[str, Worker], *, rounds: int, amount: int, warm_up: int) -> Dict[str, List[Turn]]:
    """The turns of each, `amount` of work in each round; the order turns from round to round."""
    names = list(started)
    for worker in started.values():
        worker.take(warm_up)
    turns: Dict[str, List[Turn]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names):] + names[:number % len(names)]:
            turns[name].append(started[name].take(amount))
    return turns


def seconds(turns: Sequence[Turn], amount: int) -> float:
    """The median wall seconds of one unit of work."""
    return statistics.median(turn.wall for turn in turns) / amount


def ratio(turns: Sequence[Turn], others: Sequence[Turn]) -> float:
    """The median of the rounds' ratios of wall seconds."""
    return statistics.median(mine.wall / theirs.wall for mine, theirs in zip(turns, others))


def reported(figure: str, value: float, unit: str, how: str) -> Figure:
    """A figure without a goal."""
    return Figure(figure, value, None, None, unit, '', None, how)


def skipped(figure: str, goal: str, reason: str) -> Figure:
    return Figure(figure, None, None, None, '', goal, None, f'skipped: {reason}')


def markdown(figures: Sequence[Figure]) -> str:
    lines = ['| figure | here | baseline | ratio | goal | met |', '|---|---|---|---|---|---|']
    for each in figures:
        met = {True: 'yes', False: 'no', None: ''}[each.met] if each.value is not None else each.how
        lines.append(f'| {each.figure} | {_shown(each.value, each.unit)} | {_shown(each.baseline, each.unit)} | '
                     f'{_shown(each.ratio)} | {each.goal} | {met} |')
    return '\n'.join(lines)


def told(figures: Sequence[Figure]) -> str:
    """The table, and below it how each figure was measured."""
    return '\n'.join([markdown(figures), '', *(f'{each.figure}: {each.how}' for each in figures
                                               if each.value is not None)])


def _shown(value: Optional[float], unit: str = '') -> str:
    if value is None:
        return ''
    digits = max(0, 3 - len(str(int(abs(value))))) if abs(value) >= 1 else 3
    return f'{value:,.{digits}f} {unit}'.strip()


def command(module: str, *argv: Any, python: str = sys.executable) -> List[str]:
    """How a file of benchmarks/ is started in a process of its own."""
    return [python, str(ROOT / 'benchmarks' / f'{module}.py'), *map(str, argv)]


def main(measure: Callable[..., List[Figure]], doc: str, argv: Optional[Sequence[str]] = None,
         **more: Dict[str, Any]) -> List[Figure]:
    """The command line of a measurement: --quick, --json, and `more` flags, which measure() takes by name."""
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument('--quick', action='store_true', help='the least work, to see that it runs')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    for name, settings in more.items():
        parser.add_argument(f'--{name}', **settings)
    flags = vars(parser.parse_args(argv))
    as_json = flags.pop('json')
    figures = measure(**flags)
    if as_json:
        print(json.dumps([each._asdict() for each in figures], indent=1))
    else:
        print(told(figures))
    return figures
