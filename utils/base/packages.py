"""Whether the packages of this Python are those of requirements.txt, known from the names of their folders."""
import os
import re
import shlex
import sys
from typing import Dict, List, Optional, Tuple

from utils.base.defaults import from_root

NEEDED = 'numpy', 'scipy', 'h5py', 'protobuf'  # beside TensorFlow, as in env.sh; the others are convenience
BUILDS = 'tensorflow', 'tensorflow-cpu', 'tensorflow-gpu', 'intel-tensorflow'
_NOTED = re.compile(r'(.+?)-(\d[^-]*)(-.*)?\.(dist-info|egg-info)')  # what an installation leaves


def problem() -> Optional[str]:
    """What is wrong with the versions of packages that are there, as a sentence or two; None where nothing is.

    What is missing is not, as not every command needs all. Importing TensorFlow, or pip's own pkg_resources, to ask
    would take far longer.
    """
    found, wanted = installed(), requirements()
    wrong = [(name, name if name in NEEDED else 'tensorflow') for name in (*BUILDS, *NEEDED) if name in found
             and not fits(found[name], wanted[name if name in NEEDED else 'tensorflow'])]
    if not wrong:
        return None
    listed = ' and '.join(f'{name} {found[name]} (expected {key}{wanted[key]})' for name, key in wrong)
    if any(name in BUILDS for name, _ in wrong):
        return f'{sys.executable} has {listed}'
    command = ' '.join(map(shlex.quote, [sys.executable, '-m', 'pip', 'install', *(key + wanted[key]
                                                                                   for _, key in wrong)]))
    return f'{sys.executable} has {listed}. Install them with {command}'


def installed() -> Dict[str, str]:
    """The version of each package by its name; where there are several, of the one that is imported."""
    found: Dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or '.')
        except OSError:
            continue
        for match in filter(None, map(_NOTED.fullmatch, names)):
            found.setdefault(match.group(1).lower().replace('_', '-'), match.group(2))
    return found


def requirements() -> Dict[str, str]:
    """What requirements.txt says of each package's version, such as '>=2.8,<3', by its name."""
    with open(from_root('requirements.txt'), encoding='utf-8') as stream:
        lines = [line.split('#')[0].split(';')[0].strip() for line in stream]
    matches = [re.match(r'[\w.-]+', line) for line in lines]
    return {match.group().lower(): line[match.end():].replace(' ', '') for match, line in zip(matches, lines) if match}


def fits(version: str, wanted: str) -> bool:
    """Whether a version is within '>=1.16,<1.22'; what is no such text, or no such version, is taken to fit."""
    number = _number(version)
    for each in filter(None, wanted.split(',')):
        match = re.fullmatch(r'(==|>=|<=|<|>)(\d+(?:\.\d+)*)(\.\*)?', each)
        if not match or not number:
            continue
        limit = _number(match.group(2))
        width = len(limit) if match.group(3) else max(len(limit), len(number))
        ours, theirs = ((*each, *[0] * width)[:width] for each in (number, limit))
        if not {'==': ours == theirs, '>=': ours >= theirs, '<=': ours <= theirs, '<': ours < theirs,
                '>': ours > theirs}[match.group(1)]:
            return False
    return True


def _number(version: str) -> Tuple[int, ...]:
    match = re.match(r'\d+(\.\d+)*', version)
    parts: List[str] = match.group().split('.') if match else []
    return tuple(map(int, parts))
