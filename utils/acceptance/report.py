"""The kit's outcomes as text and as JSON."""
import platform
from typing import Any, Dict, List

import numpy as np
import tensorflow as tf

from utils.acceptance import references
from utils.acceptance.kit import Plan
from utils.acceptance.outcome import FAIL, PASS, Outcome
from utils.base.defaults import VERSION
from utils.base.text import finite
from utils.device.device import Run
from utils.device.versions import versions


def content(outcomes: List[List[Outcome]], plan: Plan, run: Run, options: Dict[str, str]) -> Dict[str, Any]:
    """All that the kit found, for JSON; `outcomes` are those of each rank."""
    return finite({
        'passed': all(outcome.status != FAIL for rank in outcomes for outcome in rank),
        'device': run.device, 'ranks': run.group.size, 'network': plan.size.name, 'bounds': plan.precision,
        'options': options, 'commits_of_references': references.content()['commits'],
        'versions': {'nima': VERSION, 'python': platform.python_version(), 'tensorflow': tf.__version__,
                     'numpy': np.__version__, 'machine': platform.machine(), **versions()},
        'checks': [[outcome.as_json() for outcome in rank] for rank in outcomes]})


def text(found: Dict[str, Any]) -> List[str]:
    """The table, and the last line: whether the device computes what it should."""
    about = ', '.join(f'{name} {value or "not found"}' for name, value in found['versions'].items())
    ranks = f', {found["ranks"]} ranks' if found['ranks'] > 1 else ''
    lines = [f'device {found["device"]}{ranks}; network of {found["network"]}; bounds of {found["bounds"]}', about]
    lines += [_line(each) for each in found['checks'][0]]
    for rank, checks in enumerate(found['checks'][1:], 1):
        lines += [f'rank {rank}: {_line(each)}' for each in checks if each['status'] == FAIL]
    failed = [each['check'] for checks in found['checks'] for each in checks if each['status'] == FAIL]
    passed = sum(each['status'] == PASS for each in found['checks'][0])
    return [*lines, f'FAIL: {failed[0]}; what fails first is the cause to look for' if failed else
            f'PASS: {passed} checks, {len(found["checks"][0]) - passed} not checked']


def _line(found: Dict[str, Any]) -> str:
    where = f' at {found["where"]}' if found['where'] else ''
    figure = '' if found['bound'] is None else f'{_shown(found["deviation"])} of {found["bound"]:.2g}{where}'
    return f'{found["check"]:<19} {found["status"]:<12} {"; ".join(each for each in (figure, found["text"]) if each)}'


def _shown(deviation: Any) -> str:
    return 'no number' if deviation is None else f'{deviation:.2g}'
