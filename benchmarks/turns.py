"""The mechanism of all measurements: processes that take turns, figures beside their baselines, tables, a command line.

Each way runs in a process of its own, which is stopped (SIGSTOP) while it is not its turn. Figures are medians. A ratio
is the median of the rounds' ratios, so that other work on the machine, which slows neighbouring turns alike, changes it
little.
"""
import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from utils.base import errors
from utils.base.parser import count

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'
NIMA_WEIGHTS = SHARED / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'
SOCKET = 'NIMA_BENCHMARK_SOCKET'  # environment variable of a worker: where it finds the process that measures
PATIENCE = 900.0                  # seconds for one turn
QUIET = 0.1                       # by which the ratio of the medians and the median of the ratios may differ
OPEN = contextlib.ExitStack()     # of a worker: what stays open until its process ends
ROUNDS: Dict[str, Any] = {'type': count, 'metavar': 'N', 'help': 'rounds to time (default: as many as it needs)'}
CALL = f'''import sys
sys.path[0] = {str(ROOT)!r}  # in place of the current folder
import importlib, json
module, function, given = sys.argv[1:]
work = getattr(importlib.import_module('benchmarks.' + module), function)(**json.loads(given))
from benchmarks import turns
turns.Answers().serve(work)'''


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


# --- processes


def process(module: str, function: str, python: Optional[str] = None, **given: Any) -> List[str]:
    """The command of a worker: what the function of benchmarks/ makes of `given` does so many units of work a turn."""
    return [python or sys.executable, '-c', CALL, module, function, json.dumps(given)]


def require_python(flag: str, python: Optional[str], packages: str) -> None:
    """InputError where the Python of a flag is given and not there."""
    if python and not shutil.which(python):
        raise errors.InputError(f'{flag}: found no program {python}, expected a Python with {packages}: correct it or '
                                'leave it out')


class Worker:
    """The `size` processes that a command starts; a turn of it is a turn of all of them at the same time."""

    def __init__(self, command: Sequence[str], size: int = 1, **environment: str) -> None:
        self._log = tempfile.TemporaryFile('w+')  # noqa: SIM115
        self._members: List[Any] = []             # pairs of a stream and a process number
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(folder, 'socket'))
            listener.listen(size)
            listener.settimeout(0.2)
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                env={**os.environ, SOCKET: listener.getsockname(), **environment})
            while len(self._members) < size:
                with contextlib.suppress(socket.timeout):
                    connection = listener.accept()[0]
                    connection.settimeout(PATIENCE)
                    stream = connection.makefile('rw')
                    self._members.append((stream, int(self._line(stream))))
                if len(self._members) < size and self._process.poll() is not None:
                    raise self._ended()
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for _, process_id in self._members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, number)

    def _ended(self) -> errors.InputError:
        self.close()
        self._log.seek(0)
        said = [line.strip() for line in self._log if line.strip()] or ['it printed nothing']
        return errors.InputError(f'a process of the benchmark ended early: {said[-1][-400:]}')

    def _line(self, stream: Any) -> str:
        with contextlib.suppress(OSError):
            line = stream.readline()
            if line:
                return line
        raise self._ended()

    def beside(self, other: 'Worker') -> 'Worker':
        """Both as one."""
        both = Worker.__new__(Worker)
        both._log, both._process, both._members = self._log, self._process, self._members + other._members
        return both

    def take(self, amount: int, word: str = '') -> Turn:
        """A turn: the mean of the processes' seconds, the sum of the rest."""
        self._signal(signal.SIGCONT)
        for stream, _ in self._members:
            with contextlib.suppress(OSError):
                print(amount, word, file=stream, flush=True)
        wall, *rest = zip(*(json.loads(self._line(stream)) for stream, _ in self._members))
        self._signal(signal.SIGSTOP)  # else it would read ahead in the time of the others
        return Turn(statistics.mean(wall), *map(sum, rest))

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def workers(commands: Dict[str, Sequence[str]]) -> Iterator[Dict[str, Worker]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(contextlib.closing(Worker(command))) for name, command in commands.items()}


class Answers:
    """A worker's side, made when it is ready: reads how much to do and answers when it is done."""

    def __init__(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ[SOCKET])
        self._stream = connection.makefile('rw')
        print(os.getpid(), file=self._stream, flush=True)

    def wait(self) -> List[Any]:
        """The next amount, and its word if there is one; the process ends where nothing follows."""
        amount, *word = self._stream.readline().split() or os._exit(0)
        self._started = time.perf_counter(), time.process_time()
        return [int(amount), *word]

    def done(self) -> None:
        wall, processor = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        resident = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        print(json.dumps([wall, processor, peak, resident]), file=self._stream, flush=True)

    def serve(self, work: Callable[..., Any]) -> None:
        while True:
            work(*self.wait())
            self.done()


def interleaved(ways: Dict[Any, Callable[[], Any]], rounds: int) -> Dict[Any, List[Any]]:
    """What each way returns in each round; the order rotates from round to round."""
    names = list(ways)
    found: Dict[Any, List[Any]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names):] + names[:number % len(names)]:
            found[name].append(ways[name]())
    return found


def take_turns(commands: Dict[str, Sequence[str]], rounds: int, amount: int, warm_up: int) -> Dict[str, List[Turn]]:
    """The turns of the workers of the commands, `amount` of work in each round."""
    with workers(commands) as started:
        for worker in started.values():
            worker.take(warm_up)
        return interleaved({name: lambda each=each: each.take(amount) for name, each in started.items()}, rounds)


def seconds(turns: Sequence[Turn], amount: float = 1) -> List[float]:
    """Wall seconds of one unit of work, by round."""
    return [turn.wall / amount for turn in turns]


def speeds(turns: Sequence[Turn], images: int) -> List[float]:
    """Images a second, by round."""
    return [images / turn.wall for turn in turns]


# --- figures and tables


def ratio_of(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(mine, theirs))


def compared(figure: str, mine: Sequence[float], theirs: Sequence[float], unit: str, how: str, *,
             most: Optional[float] = None, least: Optional[float] = None) -> Figure:
    """A row of values that were measured side by side, round by round; `most` and `least` are goals of the ratio.

    Its last words say where the machine was not quiet.
    """
    value, baseline, ratio = statistics.median(mine), statistics.median(theirs), ratio_of(mine, theirs)
    if abs(value / baseline / ratio - 1) > QUIET:
        how += f'; the machine was not quiet: the ratio of the medians is {value / baseline:.3g}'
    if most is None and least is None:
        return Figure(figure, value, baseline, ratio, unit, '', None, how)
    goal, met = (f'at most {most:g}', ratio <= most) if most is not None else (f'at least {least:g}', ratio >= least)
    return Figure(figure, value, baseline, ratio, unit, f'{goal} times', met, how)


def reported(figure: str, value: float, unit: str, how: str) -> Figure:
    """A figure without a baseline."""
    return Figure(figure, value, None, None, unit, '', None, how)


def skipped(figure: str, reason: str) -> Figure:
    return Figure(figure, None, None, None, '', '', None, f'skipped: {reason}')


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the header."""
    lines = ['|' + '|'.join(f' {cell} ' if cell else ' ' for cell in row) + '|' for row in rows]
    return '\n'.join([lines[0], '|' + '---|' * len(rows[0]), *lines[1:]])


def described(figures: Sequence[Figure]) -> str:
    """The table, and below it how each figure was measured."""
    rows = [('figure', 'here', 'baseline', 'ratio', 'goal', 'met')]
    rows += [(each.figure, _shown(each.value, each.unit), _shown(each.baseline, each.unit), _shown(each.ratio),
              each.goal, each.how if each.value is None else {True: 'yes', False: 'no', None: ''}[each.met])
             for each in figures]
    return '\n'.join([table(rows), '', *(f'{each.figure}: {each.how}' for each in figures
                                         if each.value is not None)])


def _shown(value: Optional[float], unit: str = '') -> str:
    if value is None:
        return ''
    digits = max(0, 3 - len(str(int(abs(value))))) if abs(value) >= 1 else 3
    return f'{value:,.{digits}f} {unit}'.strip()


def main(measure: Callable[..., List[Any]], doc: Optional[str], describe: Callable[[List[Any]], str] = described,
         **more: Dict[str, Any]) -> None:
    """The command line of a measurement: --quick, --output, and `more` flags, which measure() takes by name."""
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument('--quick', action='store_true', help='the least work, to see that it runs')
    parser.add_argument('--output', metavar='FILE', help='also write the figures as JSON')
    for name, settings in more.items():
        parser.add_argument(f'--{name}', **settings)
    flags = vars(parser.parse_args())
    output = flags.pop('output')

    def run() -> None:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the table alone
            rows = measure(**flags)
        print(describe(rows))
        if output:
            Path(output).write_text(json.dumps([row._asdict() if isinstance(row, Figure) else row for row in rows],
                                               indent=1))

    errors.run(run, Path(sys.argv[0]).stem)
