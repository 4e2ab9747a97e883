"""The lines that users edit at the top of a script, read without running the script."""
import ast
import os
from typing import Any, Tuple

from utils.base.defaults import ROOT
from utils.base.errors import InputError


def lines(script: str, *names: str) -> Tuple[Any, ...]:
    """The values of the assignments `names` at the top level of `script`, such as 'eval.py', in that order.

    Raises InputError, which names the script and the line, where one is missing or is no literal, such as a text.
    """
    path = os.path.join(ROOT, script)
    with open(path, encoding='utf-8') as stream:
        text = stream.read()
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise InputError(f'{path}:{error.lineno}: this line is no Python. Correct it, as in the original') from error
    found = {target.id: node for node in tree.body if isinstance(node, ast.Assign)
             for target in node.targets if isinstance(target, ast.Name)}
    return tuple(_value(path, name, found.get(name)) for name in names)


def _value(path: str, name: str, node: Any) -> Any:
    if node is None:
        raise InputError(f"{path}: found no line {name} = '...' at the start of a line. Write it again, as in the "
                         'original')
    try:
        return ast.literal_eval(node.value)
    except ValueError as error:
        raise InputError(f"{path}:{node.lineno}: {name} must be a plain text such as '...'. No other value can be read "
                         'here; type a flag instead for a path that is computed') from error
