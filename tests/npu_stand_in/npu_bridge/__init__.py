"""A stand-in for the Ascend adapter of TensorFlow 1.15, for tests: its names and signatures, and no device.

The facts of one release come from the JSON file that NPU_STAND_IN_FACTS names (tests/npu_stand_in/facts.py writes
it). Whatever is not in that release is not here either. Importing it makes TensorFlow's sessions strict: see strict.py.
"""
import ast
import itertools
import json
import os
import sys
import types

from npu_bridge import collectives, strict

with open(os.environ['NPU_STAND_IN_FACTS']) as stream:
    FACTS = json.load(stream)


def module_of(dotted):
    """The module npu_bridge.x.y, made if need be, with the modules above it."""
    if dotted not in sys.modules:
        above, _, name = dotted.rpartition('.')
        module = sys.modules[dotted] = types.ModuleType(dotted)
        module.__path__ = []
        setattr(module_of(above), name, module)
    return sys.modules[dotted]


def parameters(signature):
    """'(self, a, b=None) bases=X' as 'self, a, b=None'; defaults that are no plain values become None."""
    depths = itertools.accumulate((letter == '(') - (letter == ')') for letter in signature)
    end = list(depths).index(0) + 1
    tree = ast.parse(f'def f{signature[:end]}: pass').body[0]
    for defaults in (tree.args.defaults, tree.args.kw_defaults):
        for number, default in enumerate(defaults):
            try:
                ast.literal_eval(default)
            except ValueError:
                defaults[number] = ast.copy_location(ast.NameConstant(None), default)
    return tree.args


def callable_of(name, signature):
    """A function of that signature that accepts the call and does nothing."""
    tree = ast.parse(f'def {name}(): pass')
    tree.body[0].args = parameters(signature)
    space = {}
    exec(compile(ast.fix_missing_locations(tree), name, 'exec'), space)
    return space[name]


def add(dotted, kind, signature):
    """One name of the contract: a function, a class, or a method of one."""
    owner, _, name = dotted.rpartition('.')
    if kind == 'method':
        above, _, owner_name = owner.rpartition('.')
        setattr(getattr(module_of(above), owner_name), name, callable_of(name, signature))
    elif kind == 'class':
        body = {} if signature.startswith('(inherited') else {'__init__': callable_of('__init__', signature)}
        if signature.startswith('(cls'):
            body = {}
        setattr(module_of(owner), name, type(name, (), body))
    else:
        setattr(module_of(owner), name, callable_of(name, signature))


for dotted, kind, signature in FACTS['names']:
    if not dotted.startswith('npu_bridge.npu_init.'):
        add(dotted, kind, signature)
collectives.install()
strict.install(FACTS)
