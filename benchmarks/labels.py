"""Seconds to read a label file: ava.read_labels and a plain str.split loop, turn by turn in one process."""
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.data import ava  # noqa: E402

REAL_LABELS = ROOT.parent / 'shared' / 'ava_labels' / 'AVA_43533.txt'
GENERATED_LINES = 255500  # about as many as AVA.txt has


def split_lines(path: str) -> List[List[str]]:
    """The columns of every line, unchecked: the least that reading the file can cost."""
    with open(path, encoding='utf-8') as file:
        return [line.split() for line in file]


def write_labels(path: str, lines: int) -> None:
    """Writes `lines` lines such as AVA's, with votes that differ from line to line."""
    with open(path, 'w', encoding='utf-8') as file:
        for index in range(lines):
            votes = ' '.join(str(1 + index * score % 97) for score in range(1, 11))
            file.write(f'{index + 1} {900000 - index} {votes} 1 22 1396\n')


def seconds(read: Callable[[str], Any], path: str) -> float:
    started = time.perf_counter()
    read(path)
    return time.perf_counter() - started


def measure(path: str, rounds: int) -> Dict[str, float]:
    """Median seconds of both ways to read `path`, and their ratio; one round warms up and is not counted."""
    times = [(seconds(ava.read_labels, path), seconds(split_lines, path)) for _ in range(rounds + 1)][1:]
    read_labels, plain = (statistics.median(column) for column in zip(*times))
    return {'lines': len(split_lines(path)), 'rounds': rounds, 'read_labels_s': read_labels,
            'str_split_s': plain, 'ratio': read_labels / plain}


def main(argv: Optional[Sequence[str]] = None) -> Dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--labels', default=str(REAL_LABELS), metavar='FILE',
                        help='label file (default: the real lines of shared/, beside the repository)')
    parser.add_argument('--generate', type=int, nargs='?', const=GENERATED_LINES, metavar='N',
                        help=f'read N generated lines instead (default: {GENERATED_LINES})')
    parser.add_argument('--rounds', type=int, default=11, metavar='N', help='rounds to time (default: 11)')
    parser.add_argument('--json', action='store_true', help='print the figures as JSON')
    flags = parser.parse_args(argv)
    for name in ('rounds', 'generate'):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            parser.error(f'--{name}: found {getattr(flags, name)}, expected a whole number from 1')
    if not flags.generate and not Path(flags.labels).is_file():
        parser.error(f'--labels: found no file {flags.labels}, expected a label file: '
                     f'name one, or type --generate')

    with tempfile.TemporaryDirectory() as folder:
        path = flags.labels
        if flags.generate:
            path = str(Path(folder) / 'AVA.txt')
            write_labels(path, flags.generate)
        figures = measure(path, flags.rounds)
    if flags.json:
        print(json.dumps(figures))
    else:
        print(f'{figures["lines"]} lines, medians of {figures["rounds"]} rounds\n'
              f'ava.read_labels  {figures["read_labels_s"]:.4f} s\n'
              f'plain str.split  {figures["str_split_s"]:.4f} s\n'
              f'ratio            {figures["ratio"]:.2f}')
    return figures


if __name__ == '__main__':
    main()
