"""Recipes: trainings in stages, each a set of train.py's flags. A recipe is a JSON file, recipes/NAME.json or another:

    about      what it is for, in a sentence
    source     where its numbers come from
    reported   what its makers reported, or what was measured
    stages     list of {"name": in a word, "flags": {name of a flag: its value}}
"""
import argparse
import hashlib
import os
import shlex
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from utils.base import reading
from utils.base.defaults import from_root
from utils.base.errors import InputError
from utils.base.text import short

FOLDER = from_root('./recipes')
TEXTS = 'about', 'source', 'reported'
# Paths, devices and what names a run are a person's own.
FLAGS = ('epochs', 'batchsize', 'train_size', 'dropout', 'trainable', 'freeze_batchnorm', 'head_start', 'crops',
         'optimizer', 'learning_rate', 'momentum', 'decay', 'loss_scale', 'rate_schedule', 'head_rate_factor',
         'patience')
SWITCHES = 'freeze_batchnorm',  # flags without a value


class Recipe(NamedTuple):
    """A recipe's file, checked."""

    name: str
    sha256: str
    names: List[str]               # of the stages
    flags: List[Dict[str, Any]]    # of each stage


class Stage(NamedTuple):
    """A stage of a training; one without a recipe is the only one of its training."""

    flags: argparse.Namespace
    number: int = 1
    stages: int = 1
    recipe: Optional[Recipe] = None

    @property
    def name(self) -> str:
        """Its name in the recipe; empty without one."""
        return self.recipe.names[self.number - 1] if self.recipe else ''

    def metadata(self, first_epoch: int) -> Dict[str, Any]:
        """What a checkpoint says of its stage, which began after `first_epoch` epochs; empty without a recipe."""
        if self.recipe is None:
            return {}
        return {'recipe': {'name': self.recipe.name, 'sha256': self.recipe.sha256, 'stage': self.number,
                           'stages': self.stages, 'stage_name': self.name, 'first_epoch': first_epoch}}


def read(named: str) -> Recipe:
    """The recipe of a name in recipes/, or of a file; InputError, with those there are, where it is none."""
    path = os.path.join(FOLDER, f'{named}.json') if not os.path.dirname(named) else named
    try:
        data = reading.read_typed(path)
    except OSError as error:
        names = ', '.join(sorted(os.path.splitext(name)[0] for name in os.listdir(FOLDER) if name.endswith('.json')))
        raise InputError(f'--recipe: cannot read {path}: {error.strerror}. Give one of {names}, or the path of a '
                         'recipe file') from error
    try:
        found = reading.parse_json(data.decode('utf-8'))
        return Recipe(os.path.splitext(os.path.basename(path))[0], hashlib.sha256(data).hexdigest(), *_stages(found))
    except ValueError as error:
        raise InputError(f'--recipe: {path}: {error}. Write a recipe as those in {FOLDER} are written') from error


def _stages(found: Any) -> List[Any]:
    """The names and the flags of the stages; ValueError where `found` is no recipe."""
    fields = sorted([*TEXTS, 'stages'])
    if not isinstance(found, dict) or sorted(found) != fields:
        raise ValueError(f'found {short(sorted(found) if isinstance(found, dict) else found)}, expected an object with '
                         f'{", ".join(fields)}')
    stages = found['stages']
    if not isinstance(stages, list) or not stages:
        raise ValueError(f'found {short(stages)} as stages, expected a list of them')
    for stage in stages:
        if not (isinstance(stage, dict) and sorted(stage) == ['flags', 'name'] and isinstance(stage['flags'], dict)):
            raise ValueError(f'found {short(stage)} as a stage, expected an object with name and flags')
        for name, value in stage['flags'].items():
            if name not in FLAGS:
                raise ValueError(f'found the flag {short(name)}, expected some of {", ".join(FLAGS)}')
            if name in SWITCHES and value is not True:
                raise ValueError(f'found {short(value)} for {name}, expected true, or leave it out')
            if name not in SWITCHES and (isinstance(value, bool) or not isinstance(value, (int, float, str))):
                raise ValueError(f'found {short(value)} for {name}, expected a number or text')
    return [[str(stage['name']) for stage in stages], [stage['flags'] for stage in stages]]


def words(flags: Dict[str, Any]) -> List[str]:
    """Flags as they are typed."""
    return [word for name, value in flags.items()
            for word in (f'--{name}', *(() if name in SWITCHES else (str(value),)))]


def commands(stages: Sequence[Stage], argv: Optional[Sequence[str]]) -> List[str]:
    """The commands that the recipe of `stages` stands for, with what was typed beside it; none without a recipe."""
    typed = without(sys.argv[1:] if argv is None else argv, '--recipe')
    lines, last = [], 0
    for stage in stages:
        if stage.recipe is None:
            return []
        first, last = last + 1, last + stage.flags.epochs
        start = [] if stage.number == 1 else ['--weights', f'model_{first - 1:03d}.h5']
        line = ['bash', 'run.sh', 'train.py', *words(stage.recipe.flags[stage.number - 1]), *typed, *start]
        lines.append(f'recipe {stage.recipe.name} (hash {stage.recipe.sha256[:12]}), stage {stage.number} of '
                     f'{len(stages)}, {stage.name}, epochs {first} to {last}: {" ".join(map(shlex.quote, line))}')
    return lines


def without(argv: Sequence[str], flag: str) -> List[str]:
    """`argv` without a flag and its value."""
    return [word for before, word in zip(['', *argv], argv)
            if flag not in (before, word) and not word.startswith(f'{flag}=')]
