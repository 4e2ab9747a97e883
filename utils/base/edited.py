"""The lines that users edit at the top of the scripts, read without running the script."""
import ast
import os
from typing import Any, Tuple

from utils.base.defaults import ROOT


def lines(script: str, *names: str) -> Tuple[Any, ...]:
    """The values of the assignments `names` at the top level of `script`, such as 'eval.py', in that order."""
    with open(os.path.join(ROOT, script), encoding='utf-8') as stream:
        tree = ast.parse(stream.read(), script)
    found = {target.id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
             for target in node.targets if isinstance(target, ast.Name) and target.id in names}
    return tuple(found[name] for name in names)
