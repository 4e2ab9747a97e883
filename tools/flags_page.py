"""Writes docs/flags.md from the parsers of all scripts and commands.

    bash run.sh tools/flags_page.py
"""
import argparse
import importlib
import re
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.base.parser import Parser  # noqa: E402

PAGE = ROOT / 'docs' / 'flags.md'
HEAD = """# Flags

For whoever looks up what a flag does. This page is made from the programs' own `--help` by `tools/flags_page.py`.

Configuration is: built-in value < edited line < flag. `--demo` changes the defaults of other flags; a typed flag still
counts. A relative path in an edited line counts from the repository's root, a typed one from the current folder.
Start everything with `bash run.sh`: `bash run.sh train.py --epochs 3`. `bash train_1p.sh` and `bash test_1p.sh` run
`train.py` and `eval.py`, and take the same flags.
"""
SCRIPTS = ['train', 'eval', 'predict']
OTHERS = ['utils.device.rank_table']  # commands that do not lie directly in utils/
WORDS = {'utils.export': ['bins', 'srcc']}  # first words for which a command has other flags


class _FoundError(Exception):
    """Carries the parser that was about to parse."""


def parser_of(module, *words):
    """The parser with which the main() of a module reads its flags after these words."""
    def stop(parser, *arguments):
        raise _FoundError(parser)

    with mock.patch.object(Parser, 'parse_known_args', stop):
        try:
            importlib.import_module(module).main(list(words))
        except _FoundError as found:
            return found.args[0]
    raise SystemExit(f'{module}: its main() read no flags')


def commands():
    """The dotted names of the commands: files in utils/ that are run as modules."""
    return [*(f'utils.{path.stem}' for path in sorted((ROOT / 'utils').glob('*.py'))
              if 'def main(' in path.read_text(encoding='utf-8')), *OTHERS]


def rows(parser):
    """Markdown rows of a parser's flags, each with its default and its meaning."""
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        words = ', '.join(f'`{name}`' for name in action.option_strings) or f'`{action.metavar}`'
        if action.choices:
            words += ' ' + ' or '.join(f'`{choice}`' for choice in action.choices)
        help_text = ' '.join((action.help or '').replace('%%', '%').split())
        found = re.search(r' ?\(default: ([^()]*(?:\([^()]*\))?[^()]*)\)', help_text)
        meaning = (help_text[:found.start()] + help_text[found.end():] if found else help_text).lstrip('; ')
        default = found.group(1) if found else 'off' if action.nargs == 0 else ''
        cells = [words, default, meaning]
        yield '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'


def table(parser):
    return '\n'.join(['| flag | default | meaning |', '|---|---|---|', *rows(parser)])


def section(module):
    """A script's or command's heading, description and flags, those of its subcommands after them."""
    parser = parser_of(module)
    words = f'{module}.py' if module in SCRIPTS else f'-m {module}'
    yield f'## {words}\n\n{parser.description}'
    if any(not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)) for action in parser._actions):
        yield table(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield f'### {words} {name}'
                yield table(below)
    for word in WORDS.get(module, []):
        yield f'### {words} {word}'
        yield table(parser_of(module, word))


def page():
    """The text of docs/flags.md."""
    return '\n\n'.join([HEAD.strip(), *(part for module in SCRIPTS + commands() for part in section(module))]) + '\n'


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
