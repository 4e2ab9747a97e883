"""All measurements in one run: their tables, how each figure was measured, and with --output all of it as JSON.

Each measurement is a file of benchmarks/ and runs alone too. All of them take more than an hour of a machine that does
nothing else; --quick does the least of each, to see that they run: its figures mean nothing.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from benchmarks import turns

PYTHONS = {'intel_python': ('training',), 'torch_python': ('training', 'network'), 'new_python': ('network',)}
MEASUREMENTS = 'startup', 'training', 'scoring', 'network', 'loader', 'scaling', 'kill'


def measured(name: str, argv: Sequence[str]) -> Any:
    """The rows of one measurement, which prints its table; None where it fails, and says why."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, 'rows.json')
        print(f'## {name}\n', flush=True)
        failed = subprocess.run([sys.executable, '-m', f'benchmarks.{name}', '--output', output, *argv],
                                cwd=str(turns.ROOT)).returncode
        print(f'failed: exit code {failed}\n' if failed else '', flush=True)
        return None if failed else json.loads(output.read_text())


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
    for name, users in PYTHONS.items():
        parser.add_argument(f'--{name}', metavar='PYTHON', help=f'see {" and ".join(users)}')
    parser.add_argument('--output', metavar='FILE', help='write the figures as JSON')
    flags = parser.parse_args(argv)
    given = {name: getattr(flags, name) for name in PYTHONS if getattr(flags, name)}
    rows = {name: measured(name, [*(['--quick'] if flags.quick else []), *(
        word for python, path in given.items() if name in PYTHONS[python] for word in (f'--{python}', path))])
        for name in flags.only}
    if flags.output:
        Path(flags.output).write_text(json.dumps({'machine': machine(), 'quick': flags.quick, 'figures': rows},
                                                 indent=1))
    return sum(found is None for found in rows.values())


if __name__ == '__main__':
    sys.exit(main())
