"""All measurements in one run: a table, how each figure was measured, and with --output both as JSON.

Each measurement is a file of benchmarks/ and runs alone too. All of them take about half an hour of a machine that
does nothing else; --quick does the least of each, to see that they run: its figures mean nothing.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns  # noqa: E402

MEASUREMENTS = 'steps', 'busy', 'startup', 'evaluation', 'cpu_training', 'levers', 'transfer', 'memory'


def measured(name: str, argv: Sequence[str]) -> List[turns.Figure]:
    """The figures of one measurement; where it fails, a row that says so."""
    done = subprocess.run(turns.command(name, '--json', *argv), capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
        return [turns.Figure(name, None, None, None, '', '', False, f'failed: {reason}')]
    return [turns.Figure(**each) for each in json.loads(done.stdout)]


def machine() -> Dict[str, Any]:
    with open('/proc/cpuinfo') as stream:
        models = [line.split(':')[1].strip() for line in stream if line.startswith('model name')]
    return {'cores': len(os.sched_getaffinity(0)), 'processor': models[0] if models else platform.machine(),
            'python': platform.python_version()}


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--quick', action='store_true', help='the least work, to see that it runs')
    parser.add_argument('--only', nargs='+', choices=MEASUREMENTS, default=MEASUREMENTS, metavar='NAME',
                        help=f'of {", ".join(MEASUREMENTS)} (default: all)')
    parser.add_argument('--intel_python', metavar='PYTHON', help='see levers.py')
    parser.add_argument('--torch_python', metavar='PYTHON', help='see levers.py')
    parser.add_argument('--output', metavar='FILE', help='write the figures as JSON')
    flags = parser.parse_args(argv)
    figures: List[turns.Figure] = []
    for name in flags.only:
        print(f'measuring: {name}', file=sys.stderr, flush=True)
        more = ['--quick'] if flags.quick else []
        if name == 'levers':
            more += [word for python in ('intel_python', 'torch_python') if getattr(flags, python)
                     for word in (f'--{python}', getattr(flags, python))]
        figures += measured(name, more)
    print(turns.told(figures))
    if flags.output:
        with open(flags.output, 'w') as stream:
            json.dump({'machine': machine(), 'quick': flags.quick, 'figures': [each._asdict() for each in figures]},
                      stream, indent=1)
    return sum(each.how.startswith('failed') for each in figures)


if __name__ == '__main__':
    sys.exit(main())
