"""Does this device compute what it should? Answers within minutes, without data, weights or network access.

    bash test/accept_1p.sh [--device npu] [--precision_mode MODE] [--json FILE]

docs/acceptance.md explains each check.
"""
import argparse
import os
import sys
from typing import Any, Dict, List, Optional, Sequence

from utils.base import errors
from utils.base.flags import add_device, add_npu
from utils.base.parser import make_parser, parse_flags, typed_path


def _flags(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = make_parser('Compare what this device computes with what a CPU computes in float32, block by block, and '
                         'name the first thing that is wrong.')
    parser.add_argument('--json', type=typed_path, metavar='FILE', help='also write all results, to attach to a report')
    parser.add_argument('--small', action='store_true',
                        help='a network for 64 pixels with a quarter of the channels: quicker, but not what is trained')
    parser.add_argument('--speed', action='store_true',
                        help='measure a step of 100 images on a CPU too (default: on other devices alone)')
    add_device(parser)
    add_npu(parser)
    return parse_flags(parser, argv)


def _progress(text: str) -> None:
    print(f'... {text}', file=sys.stderr, flush=True)


def main(argv: Optional[List[str]] = None) -> Dict[str, Any]:
    """Check as the flags say, and print; returns what is written as JSON."""
    flags = _flags(argv)
    from utils.base import files
    if flags.json:
        if os.path.isdir(flags.json):
            raise errors.InputError(f'--json {flags.json} is a folder. Type the name of a file')
        files.require_writable(os.path.dirname(flags.json), '--json')

    from utils.acceptance import fixture, kit, references, report
    from utils.acceptance.outcome import Outcome
    from utils.device import device
    from utils.device.npu_options import NpuOptions
    group = device.join('auto', flags.device)
    with group.watching(), device.open_run(flags.device, threads=flags.threads, npu=flags.npu, group=group) as run:
        precision = references.precision_of(run.device, NpuOptions(**flags.npu))
        plan = kit.Plan(fixture.SMALL if flags.small else fixture.FULL, precision, flags.speed or run.device != 'cpu')
        own = kit.check_all(plan, run, report=_progress if group.is_chief else None)
        ranks = [[Outcome(**each) for each in rank]
                 for rank in group.gather_objects([outcome.as_json() for outcome in own])]
        found = report.content(ranks, plan, run, flags.npu)
        for line in report.text(found):
            group.report(line)
        group.barrier()  # a launcher ends all ranks with the first that fails
    if group.is_chief and flags.json:
        with files.writing(flags.json, 'Choose another --json'):
            files.write_json(flags.json, found)
    return found


if __name__ == '__main__':
    sys.exit(0 if errors.run(main, 'accept')['passed'] else 1)
