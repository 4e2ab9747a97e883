"""The rules of the house, read from all production files' syntax trees, and what importing them does."""
import ast
import bisect
import io
import json
import os
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Iterator, List, NamedTuple, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From bottom to top: a file imports from its own package and from lower places, never from one beside it.
SCRIPTS = {'train', 'eval', 'predict', 'modelarts_entry'}
ALONE = {'score'}  # is copied to machines without the rest: imports nothing of the project, and is imported by nothing
COMMANDS = {'utils.check_dataset', 'utils.demo_dataset', 'utils.labels', 'utils.records', 'utils.models',
            'utils.export', 'utils.accept'}
ORDER = (
    {'utils.base'},
    {'utils.data', 'utils.model', 'utils.device', 'utils.demo'},
    {'utils.data_loader', 'utils.nima', 'utils.score_utils'},
    {'utils.checks', 'utils.training', 'utils.formats'},
    {'utils.scoring', 'utils.acceptance'},
    COMMANDS,
    SCRIPTS,
)

# Packages and files that never import TensorFlow, whatever they call.
TENSORFLOW_FREE = {'utils.acceptance.figures', 'utils.acceptance.fixture', 'utils.acceptance.judge', 'utils.base',
                   'utils.demo', 'utils.score_utils', 'utils.data.ava', 'utils.data.epoch_plan',
                   'utils.data.splits', 'utils.device.rank_table', 'utils.formats.flags', 'utils.formats.parity',
                   'utils.model.model_file', 'utils.scoring.flags', 'utils.scoring.report', 'utils.training.flags'}
SLOW_TO_IMPORT = {'h5py', 'keras', 'matplotlib', 'scipy', 'tensorflow'}
NOT_BEFORE_RUN = SLOW_TO_IMPORT | {'numpy'}  # of a script or command: errors.run() says which package is missing
MAY_NAME_ADAPTERS = 'utils.device'
MAY_MAKE_SESSIONS = {'utils.device.device', 'utils.data.pipeline'}
SESSION_CLASSES = {'Session', 'InteractiveSession', 'MonitoredSession', 'MonitoredTrainingSession'}
FUNCTION_LINES, FILE_LINES, SCRIPT_LINES, PARAMETERS = 40, 300, 100, 10

# What TF 1.15 builds older than 1.15.5 say at import with NumPy 1.17 or later; not ours to mend.
NUMPY_WARNING = "ignore:Passing (type, 1) or '1type' as a synonym of type is deprecated:FutureWarning"


class Source(NamedTuple):
    """A production file: its dotted name, its text and syntax tree."""

    name: str
    text: str
    tree: ast.AST

    @property
    def package(self) -> str:
        """What ORDER knows of it: utils.data of utils.data.ava, else its own name."""
        return '.'.join(self.name.split('.')[:2])


class Import(NamedTuple):
    module: str     # dotted, such as utils.data.ava or tensorflow.keras.layers
    line: int
    at_start: bool  # runs when the file is imported: not inside a function


def source_of(name: str, text: str) -> Source:
    return Source(name, text, ast.parse(text, name + '.py'))


def dotted_name(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


FILES = sorted([*ROOT.glob('*.py'), *(ROOT / 'utils').glob('**/*.py')])
SOURCES = [source_of(dotted_name(path), path.read_text(encoding='utf-8')) for path in FILES]
IDS = [str(path.relative_to(ROOT)) for path in FILES]
NAMES = {source.name for source in SOURCES}


def imports_in(node: ast.AST, at_start: bool = True) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_start)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:  # from utils.data import ava, and from utils.data.ava import read
            whole = f'{node.module}.{alias.name}'
            yield Import(whole if whole in NAMES else str(node.module), node.lineno, at_start)
    elif isinstance(node, ast.Call) and name_of(node.func).split('.')[-1] in ('import_module', '__import__'):
        for argument in node.args[:1]:
            if isinstance(argument, ast.Str):
                yield Import(argument.s, node.lineno, at_start)
    inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        yield from imports_in(child, at_start and not inside)


def name_of(node: ast.AST) -> str:
    """tf.compat.v1.Session as text; '' for what is no dotted name."""
    if isinstance(node, ast.Attribute):
        return f'{name_of(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


def place_of(name: str) -> int:
    """The place in ORDER of a file by its dotted name; -1 for libraries and what has no place."""
    package = '.'.join(name.split('.')[:2])
    return next((place for place, packages in enumerate(ORDER) if package in packages), -1)


def is_own(name: str) -> bool:
    return name.split('.')[0] in ('utils', *SCRIPTS, *ALONE)


# --- rules: each gives (line, what is wrong)

Wrongs = Iterator[Tuple[int, str]]


def arrows(source: Source) -> Wrongs:
    if source.name.endswith('__init__'):
        yield from ((found.line, 'an __init__.py imports') for found in imports_in(source.tree))
        return
    here = place_of(source.name)
    if source.name in ALONE:
        for found in filter(lambda found: is_own(found.module), imports_in(source.tree)):
            yield found.line, f'imports {found.module}'
        return
    if here < 0:
        yield 1, f'{source.name} has no place: give it one in tests/test_rules.py'
    for found in imports_in(source.tree):
        package = '.'.join(found.module.split('.')[:2])
        if not is_own(found.module) or package == source.package:
            continue
        there = place_of(found.module)
        if there < 0:
            yield found.line, f'imports {found.module}, which has no place'
        elif there >= here:
            yield found.line, f'imports {found.module}, which is not below it'


def relative(source: Source) -> Wrongs:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, 'imports relatively: name the package'


def is_free(name: str) -> bool:
    return any((name + '.').startswith(free + '.') for free in TENSORFLOW_FREE)


def libraries(source: Source) -> Wrongs:
    for found in imports_in(source.tree):
        library = found.module.split('.')[0]
        if is_free(source.name) and library in ('tensorflow', 'keras'):
            yield found.line, f'{source.name} imports {library}'
        if library in ('npu_bridge', 'horovod') and source.package != MAY_NAME_ADAPTERS:
            yield found.line, f'names {library} outside {MAY_NAME_ADAPTERS}'
        if found.at_start and library in ('npu_bridge', 'horovod'):
            yield found.line, f'imports {library} outside a function'
        if found.module.startswith('tensorflow.python'):
            yield found.line, 'imports tensorflow.python'
        if library == 'keras':
            yield found.line, 'imports keras: the spelling is tf.keras'


def syntax(source: Source) -> Wrongs:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == '*' for alias in node.names):
            yield node.lineno, 'wildcard import'
        elif isinstance(node, ast.Global):
            yield node.lineno, 'global'
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, 'bare except'
        elif name_of(node).startswith(('tf.python.', 'tensorflow.python.')):
            yield node.lineno, 'uses tensorflow.python'


def sessions(source: Source) -> Wrongs:
    if source.name in MAY_MAKE_SESSIONS:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and name_of(node.func).split('.')[-1] in SESSION_CLASSES:
            yield node.lineno, f'makes a {name_of(node.func)} outside {sorted(MAY_MAKE_SESSIONS)}'


def npu_init(source: Source) -> Wrongs:
    """From r1.9.0 on, importing npu_bridge.npu_init makes every session one of the NPU."""
    for node in ast.walk(source.tree):
        names = [name_of(node)]
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, 'module', None) or '', *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Str):
            names = [node.s]
        if any('npu_init' in name.split('.') for name in names):
            yield node.lineno, 'names npu_init'


def lengths(source: Source) -> Wrongs:
    lines = source.text.count('\n')
    limit = SCRIPT_LINES if source.name in SCRIPTS else FILE_LINES
    if lines > limit:
        yield lines, f'{lines} lines, expected at most {limit}'
    ends = statement_ends(source.text)
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                last = max(getattr(child, 'lineno', 0) for statement in body for child in ast.walk(statement))
                size = ends[bisect.bisect_left(ends, last)] - body[0].lineno + 1
                if size > FUNCTION_LINES:
                    yield node.lineno, f'{node.name} has {size} lines, expected at most {FUNCTION_LINES}'


def statement_ends(text: str) -> List[int]:
    """The lines on which statements end; Python 3.7's syntax tree only knows where they begin."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.start[0] for token in tokens if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER)]


def parameters(source: Source) -> Wrongs:
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [each.arg for each in (*node.args.args, *node.args.kwonlyargs) if each.arg not in ('self', 'cls')]
            if len(names) > PARAMETERS:
                yield node.lineno, f'{node.name} has {len(names)} parameters, expected at most {PARAMETERS}'
            rest = node.args.kwarg
            if rest is not None and name_of(rest.annotation).split('.')[-1] == 'Any':
                yield node.lineno, f'{node.name} hides what it takes in **{rest.arg}: Any'


RULES = (arrows, relative, libraries, syntax, sessions, npu_init, lengths, parameters)


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize('path, source', list(zip(IDS, SOURCES)), ids=IDS)
def test_rule(path, source, rule):
    assert [f'{path}:{line}: {wrong}' for line, wrong in rule(source)] == []


def test_every_place_is_taken():
    packages = {source.package for source in SOURCES}
    assert packages - {'utils.__init__', *ALONE} == set().union(*ORDER)


def test_each_package_says_what_lives_in_it():
    for source in SOURCES:
        if source.name.endswith('.__init__') and source.name != 'utils.__init__':
            assert len(source.tree.body) == 1 and ast.get_docstring(source.tree), source.name


def test_no_import_comes_back_to_where_it_began():
    arrows_of = {source.name: {found.module for found in imports_in(source.tree) if found.module in NAMES}
                 for source in SOURCES}
    done = set()
    while True:
        ready = {name for name, below in arrows_of.items() if name not in done and below <= done}
        if not ready:
            break
        done |= ready
    assert set(arrows_of) - done == set(), 'these files import each other in a circle, or what does'


@pytest.mark.parametrize('rule, name, text, wrong', [
    (arrows, 'utils.data.ava', 'from utils import nima', 'imports utils.nima, which is not below it'),
    (arrows, 'utils.data.ava', 'def f():\n    from utils.model import checkpoint',
     'imports utils.model.checkpoint, which is not below it'),
    (arrows, 'utils.nima', 'import utils.score_utils', 'imports utils.score_utils, which is not below it'),
    (arrows, 'utils.base.errors', 'from utils.data.ava import read', 'imports utils.data.ava, which is not below it'),
    (arrows, 'eval', 'from train import main', 'imports train, which is not below it'),
    (arrows, 'predict', 'from eval import CHECKPOINT', 'imports eval, which is not below it'),
    (arrows, 'score', 'from utils.base import scores', 'imports utils.base.scores'),
    (arrows, 'predict', 'import score', 'imports score, which has no place'),
    (arrows, 'utils.export', 'from utils import demo_dataset', 'imports utils.demo_dataset, which is not below it'),
    (arrows, 'train', 'from utils.misc import x', 'imports utils.misc, which has no place'),
    (arrows, 'utils.misc', '', 'utils.misc has no place: give it one in tests/test_rules.py'),
    (arrows, 'utils.data.__init__', 'from utils.data import ava', 'an __init__.py imports'),
    (relative, 'utils.nima', 'from . import data_loader', 'imports relatively: name the package'),
    (libraries, 'utils.data.ava', 'def f():\n    import tensorflow as tf', 'utils.data.ava imports tensorflow'),
    (libraries, 'utils.base.flags', 'from tensorflow.keras import layers', 'utils.base.flags imports tensorflow'),
    (libraries, 'utils.nima', 'def f():\n    import npu_bridge.npu_init', 'names npu_bridge outside utils.device'),
    (libraries, 'train', 'def f():\n    importlib.import_module("horovod.tensorflow")',
     'names horovod outside utils.device'),
    (libraries, 'utils.device.npu', 'import npu_bridge', 'imports npu_bridge outside a function'),
    (libraries, 'utils.nima', 'from tensorflow.python.keras import backend', 'imports tensorflow.python'),
    (libraries, 'utils.nima', 'from keras import backend', 'imports keras: the spelling is tf.keras'),
    (syntax, 'utils.nima', 'from os import *', 'wildcard import'),
    (syntax, 'utils.nima', 'def f():\n    global x', 'global'),
    (syntax, 'utils.nima', 'try:\n    pass\nexcept:\n    pass', 'bare except'),
    (syntax, 'utils.nima', 'x = tf.python.keras', 'uses tensorflow.python'),
    (sessions, 'utils.nima', 'with tf.compat.v1.Session() as s:\n    pass',
     "makes a tf.compat.v1.Session outside ['utils.data.pipeline', 'utils.device.device']"),
    (npu_init, 'utils.device', 'def f():\n    from npu_bridge.npu_init import NPURunConfig', 'names npu_init'),
    (npu_init, 'utils.device', 'def f():\n    from npu_bridge import npu_init', 'names npu_init'),
    (npu_init, 'utils.device', 'def f():\n    importlib.import_module("npu_bridge.npu_init")', 'names npu_init'),
    (npu_init, 'utils.device', 'x = npu_bridge.npu_init.NPURunConfig', 'names npu_init'),
    (lengths, 'utils.nima', 'x = 1\n' * 301, '301 lines, expected at most 300'),
    (lengths, 'train', 'x = 1\n' * 101, '101 lines, expected at most 100'),
    (lengths, 'utils.nima', 'def f():\n    """Doc."""\n' + '    x = 1\n' * 39 + '    y = [\n        1,\n    ]\n',
     'f has 42 lines, expected at most 40'),
    (parameters, 'train', 'def f(a, b, c, d, e, *, f, g, h, i, j, k): pass',
     'f has 11 parameters, expected at most 10'),
    (parameters, 'train', 'class A:\n    def f(self, **more: typing.Any): pass',
     'f hides what it takes in **more: Any'),
])
def test_the_rules_bite(rule, name, text, wrong):
    assert wrong in [found for _, found in rule(source_of(name, text))]


@pytest.mark.parametrize('rule, name, text', [
    (arrows, 'utils.training.callbacks', 'from utils import nima\nfrom utils.training import log'),
    (arrows, 'utils.device.device', 'def f():\n    from utils.device import distribute'),
    (libraries, 'utils.device.device', 'def f():\n    import npu_bridge'),
    (sessions, 'utils.nima', 'def f(session: tf.compat.v1.Session):\n    pass'),
    (npu_init, 'utils.device', 'def f():\n    """Imports no npu_init."""'),
    (lengths, 'utils.nima', 'def f():\n    """Doc\n\n    more.\n    """\n' + '    x = 1\n' * 40),
    (parameters, 'train', 'class A:\n    def f(self, a, b, c, d, e, *rest: Any, f, g, h, i, j, **more: int): pass'),
])
def test_the_rules_let_pass_what_is_allowed(rule, name, text):
    assert list(rule(source_of(name, text))) == []


def imported_with(name: str) -> Set[str]:
    """The project's files and the libraries that importing `name` brings along."""
    by_name = {source.name: source for source in SOURCES}
    seen, waiting = set(), [name]
    while waiting:
        for found in imports_in(by_name[waiting.pop()].tree):
            module = found.module if is_own(found.module) else found.module.split('.')[0]
            if found.at_start and module not in seen:
                seen.add(module)
                if module in by_name:
                    waiting.append(module)
    return seen


@pytest.mark.parametrize('name', sorted(SCRIPTS | COMMANDS))
def test_a_script_or_command_starts_without_slow_libraries(name):
    assert imported_with(name) & NOT_BEFORE_RUN == set()


# --- what an import does

WATCH = r'''
import builtins, importlib, io, json, os, sys, sysconfig
libraries, modules = json.loads(sys.argv[1])
for library in libraries:
    importlib.import_module(library)
opened, sessions, brought = [], [], {}

def watch(owner, name, record):
    original = getattr(owner, name)
    def watched(*args, **kwargs):
        record(args)
        return original(*args, **kwargs)
    setattr(owner, name, watched)

def note_path(args):
    path = args[0]
    if not isinstance(path, int) and not os.path.abspath(os.fsdecode(path)).startswith(tuple(allowed)):
        opened.append(os.fsdecode(path))

allowed = {os.path.realpath(sys.prefix), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
watch(builtins, 'open', note_path)
watch(io, 'open', note_path)
watch(os, 'open', note_path)
if 'h5py' in sys.modules:
    watch(sys.modules['h5py'].File, '__init__', lambda args: opened.append(str(args[1])))
if 'tensorflow' in sys.modules:
    tf = sys.modules['tensorflow']
    tf.keras.Model  # loads what tf.keras loads late
    for session_class in (tf.compat.v1.Session, tf.compat.v1.InteractiveSession):
        watch(session_class, '__init__', lambda args: sessions.append(type(args[0]).__name__))
for module in modules:
    importlib.import_module(module)
operations = []
if 'tensorflow' in sys.modules:
    operations = [operation.name for operation in tf.compat.v1.get_default_graph().get_operations()]
brought = sorted({name.split('.')[0] for name in sys.modules})
print(json.dumps({'opened': opened, 'sessions': sessions, 'operations': operations, 'brought': brought}))
'''


def import_in(folder: Path, libraries: List[str], modules: List[str], root: Path = ROOT) -> dict:
    """What importing `modules` of `root`, after `libraries`, did in a new process that works in `folder`."""
    environment = {**os.environ, 'PYTHONPATH': str(root), 'PYTHONDONTWRITEBYTECODE': '1'}
    done = subprocess.run(
        [sys.executable, '-W', NUMPY_WARNING, '-c', WATCH, json.dumps([libraries, modules])], cwd=str(folder),
        env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *printed, report = done.stdout.splitlines()
    return {**json.loads(report), 'printed': printed, 'stderr': done.stderr, 'left': os.listdir(str(folder))}


def module_names(sources: List[Source]) -> List[str]:
    return [source.name for source in sources if not source.name.endswith('__init__')]


NOTHING = {'opened': [], 'sessions': [], 'operations': [], 'printed': [], 'stderr': '', 'left': []}


def test_importing_tensorflow_free_files_does_nothing(tmp_path):
    sources = [source for source in SOURCES if is_free(source.name)]
    report = import_in(tmp_path, [], module_names(sources))
    assert set(report.pop('brought')) & SLOW_TO_IMPORT == set()
    assert report == NOTHING


def test_importing_any_file_does_nothing(tmp_path):
    report = import_in(tmp_path, ['tensorflow', 'h5py'], module_names(SOURCES))
    del report['brought']
    assert report == NOTHING


def test_the_watch_sees_what_a_file_does_at_import(tmp_path):
    root, folder = tmp_path / 'root', tmp_path / 'empty'
    root.mkdir()
    folder.mkdir()
    (root / 'busy.py').write_text(
        'import sys, h5py, tensorflow as tf\n'
        'print("hello")\n'
        'print("warning", file=sys.stderr)\n'
        'open("data.txt", "w").close()\n'
        'h5py.File("model.h5", "w").close()\n'
        'with tf.Graph().as_default():\n'
        '    tf.compat.v1.Session().close()\n'
        'tf.constant(1, name="one")\n')
    report = import_in(folder, ['tensorflow', 'h5py'], ['busy'], root)
    assert report['printed'] == ['hello']
    assert 'warning' in report['stderr']
    assert report['opened'] == ['data.txt', 'model.h5']
    assert report['sessions'] == ['Session']
    assert report['operations'] == ['one']
    assert sorted(report['left']) == ['data.txt', 'model.h5']
