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

# From top to bottom: a file imports from lower layers only, and sideways only where a pair says so.
LAYERS = (
    {'eval', 'predict', 'train'},
    {'check_dataset', 'demo_dataset', 'export', 'labels', 'rank_table', 'training'},
    {'ascend_model', 'callbacks', 'checkpoint', 'contact_sheet', 'data_loader', 'dataset_checks', 'dataset_report',
     'demo_scenes', 'device', 'engines', 'features', 'figures', 'frozen', 'image_guard', 'msame', 'nima',
     'onnx_model', 'pack', 'photographs', 'pipeline', 'records', 'report', 'report_page', 'results', 'resume',
     'run_state', 'saved_model'},
    {'distribute', 'npu'},
    {'analysis', 'ava', 'ava_lines', 'bad_images', 'command_flags', 'defaults', 'distributions', 'epoch_plan',
     'errors', 'flag_groups', 'flags', 'image_facts', 'interruption', 'label_facts', 'listing', 'lock', 'memory',
     'model_card', 'model_file', 'new_folder', 'origin', 'own_labels', 'parity', 'parser', 'percentiles',
     'photo_names', 'progress', 'score_output', 'score_utils', 'splits', 'training_log', 'trust', 'trust_network',
     'whereabouts'},
)
SIDEWAYS = {
    ('analysis', 'score_utils'), ('ascend_model', 'frozen'), ('ava', 'distributions'), ('ava', 'errors'),
    ('ava', 'own_labels'), ('ava', 'photo_names'), ('ava', 'whereabouts'), ('ava_lines', 'errors'),
    ('ava_lines', 'photo_names'), ('bad_images', 'defaults'), ('bad_images', 'errors'), ('callbacks', 'checkpoint'),
    ('callbacks', 'data_loader'), ('callbacks', 'device'), ('callbacks', 'nima'), ('callbacks', 'run_state'),
    ('command_flags', 'defaults'), ('command_flags', 'flag_groups'), ('command_flags', 'parser'),
    ('contact_sheet', 'photographs'), ('data_loader', 'image_guard'), ('data_loader', 'pipeline'),
    ('data_loader', 'records'), ('dataset_checks', 'data_loader'), ('dataset_checks', 'image_guard'),
    ('dataset_checks', 'photographs'), ('dataset_report', 'dataset_checks'), ('dataset_report', 'image_guard'),
    ('engines', 'checkpoint'), ('engines', 'frozen'), ('engines', 'nima'), ('engines', 'onnx_model'),
    ('epoch_plan', 'defaults'),
    ('errors', 'defaults'), ('export', 'demo_dataset'), ('features', 'data_loader'), ('features', 'nima'),
    ('features', 'records'), ('flag_groups', 'defaults'), ('flag_groups', 'parser'), ('flags', 'defaults'),
    ('flags', 'flag_groups'), ('flags', 'parser'), ('frozen', 'pipeline'), ('label_facts', 'ava'), ('lock', 'errors'),
    ('model_card', 'ava'), ('model_card', 'defaults'), ('model_card', 'model_file'), ('model_card', 'origin'),
    ('model_file', 'ava'), ('model_file', 'defaults'), ('model_file', 'errors'), ('model_file', 'origin'),
    ('model_file', 'trust'), ('model_file', 'trust_network'), ('msame', 'data_loader'), ('new_folder', 'errors'),
    ('nima', 'checkpoint'), ('onnx_model', 'frozen'), ('origin', 'defaults'), ('origin', 'errors'),
    ('own_labels', 'distributions'), ('own_labels', 'errors'), ('own_labels', 'photo_names'), ('pack', 'image_guard'),
    ('pack', 'pipeline'), ('pack', 'records'), ('parity', 'errors'), ('parity', 'score_utils'),
    ('photographs', 'data_loader'), ('photographs', 'image_guard'), ('pipeline', 'image_guard'), ('predict', 'eval'),
    ('records', 'data_loader'), ('records', 'pack'), ('records', 'pipeline'), ('report', 'figures'),
    ('report', 'report_page'), ('report', 'results'), ('report_page', 'figures'), ('report_page', 'results'),
    ('resume', 'checkpoint'), ('resume', 'data_loader'), ('resume', 'run_state'), ('run_state', 'checkpoint'),
    ('run_state', 'device'), ('saved_model', 'frozen'), ('saved_model', 'pipeline'),
    ('score_output', 'ava'), ('score_output', 'errors'), ('score_output', 'percentiles'), ('score_output', 'progress'),
    ('score_output', 'score_utils'), ('score_utils', 'ava'), ('splits', 'ava'), ('splits', 'defaults'),
    ('splits', 'errors'), ('splits', 'photo_names'), ('training_log', 'errors'), ('training_log', 'score_utils'),
    ('trust', 'defaults'), ('trust', 'errors'), ('trust_network', 'ava'), ('trust_network', 'trust'),
}
ONLY_IMPORTED_BY = {'distribute': {'device'}}

TENSORFLOW_FREE = {'analysis', 'ava', 'ava_lines', 'bad_images', 'command_flags', 'defaults', 'distributions',
                   'epoch_plan', 'errors', 'figures', 'flag_groups', 'flags', 'image_facts', 'interruption',
                   'label_facts', 'labels', 'listing', 'lock', 'model_card', 'model_file', 'new_folder', 'npu',
                   'origin', 'own_labels', 'parity', 'parser', 'percentiles', 'photo_names', 'progress', 'rank_table',
                   'report', 'report_page', 'results', 'score_output', 'score_utils', 'splits', 'training_log',
                   'trust', 'trust_network', 'whereabouts'}
SLOW_TO_IMPORT = {'h5py', 'keras', 'matplotlib', 'scipy', 'tensorflow'}
MAY_NAME_ADAPTERS = {'device', 'distribute'}
MAY_MAKE_SESSIONS = {'device', 'pipeline'}
SESSION_CLASSES = {'Session', 'InteractiveSession', 'MonitoredSession', 'MonitoredTrainingSession'}
FUNCTION_LINES, FILE_LINES, SCRIPT_LINES = 40, 300, 100

# What TF 1.15 builds older than 1.15.5 say at import with NumPy 1.17 or later; not ours to mend.
NUMPY_WARNING = "ignore:Passing (type, 1) or '1type' as a synonym of type is deprecated:FutureWarning"


class Source(NamedTuple):
    """A production file: its name without .py, whether it is a script, its text and syntax tree."""

    name: str
    is_script: bool
    text: str
    tree: ast.AST


class Import(NamedTuple):
    module: str     # dotted, such as utils.ava or tensorflow.keras.layers
    line: int
    at_start: bool  # runs when the file is imported: not inside a function


def source_of(name: str, text: str) -> Source:
    return Source(name, name in LAYERS[0], text, ast.parse(text, name + '.py'))


FILES = sorted([*ROOT.glob('*.py'), *(ROOT / 'utils').glob('**/*.py')])
SOURCES = [source_of(path.stem, path.read_text(encoding='utf-8')) for path in FILES]
IDS = [str(path.relative_to(ROOT)) for path in FILES]


def imports_in(node: ast.AST, at_start: bool = True) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_start)
    elif isinstance(node, ast.ImportFrom):
        module = '.'.join(filter(None, ['utils' if node.level else None, node.module]))
        for alias in node.names:  # from utils import ava, and from utils.ava import read
            yield Import(f'{module}.{alias.name}' if module == 'utils' else module, node.lineno, at_start)
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


def house_name(module: str) -> str:
    """The project's file that `module` means, as ava of utils.ava; '' for libraries."""
    parts = module.split('.')
    if parts[0] == 'utils' and len(parts) > 1:
        return parts[1]
    return parts[0] if parts[0] in LAYERS[0] else ''


def layer_of(name: str) -> int:
    return next((number for number, names in enumerate(LAYERS) if name in names), -1)


# --- rules: each gives (line, what is wrong)

Wrongs = Iterator[Tuple[int, str]]


def arrows(source: Source) -> Wrongs:
    if source.name == '__init__':
        yield from ((found.line, 'utils/__init__.py imports') for found in imports_in(source.tree))
        return
    here = layer_of(source.name)
    if here < 0:
        yield 1, f'{source.name} has no layer: give it one in tests/test_rules.py'
    for found in imports_in(source.tree):
        name = house_name(found.module)
        there = layer_of(name)
        if name and there < 0:
            yield found.line, f'imports {name}, which has no layer'
        elif name and there < here:
            yield found.line, f'imports {name}, which stands higher'
        elif name and there == here and (source.name, name) not in SIDEWAYS:
            yield found.line, f'imports {name}, which stands beside it'
        elif name in ONLY_IMPORTED_BY and source.name not in ONLY_IMPORTED_BY[name]:
            yield found.line, f'imports {name}, which only {sorted(ONLY_IMPORTED_BY[name])} may'


def libraries(source: Source) -> Wrongs:
    for found in imports_in(source.tree):
        library = found.module.split('.')[0]
        if source.name in TENSORFLOW_FREE and library in ('tensorflow', 'keras'):
            yield found.line, f'{source.name} imports {library}'
        if library in ('npu_bridge', 'horovod') and source.name not in MAY_NAME_ADAPTERS:
            yield found.line, f'names {library} outside {sorted(MAY_NAME_ADAPTERS)}'
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
    limit = SCRIPT_LINES if source.is_script else FILE_LINES
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


RULES = (arrows, libraries, syntax, sessions, npu_init, lengths)


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize('path, source', list(zip(IDS, SOURCES)), ids=IDS)
def test_rule(path, source, rule):
    assert [f'{path}:{line}: {wrong}' for line, wrong in rule(source)] == []


def test_every_sideways_pair_exists():
    found = {(source.name, house_name(found.module)) for source in SOURCES for found in imports_in(source.tree)}
    assert found >= SIDEWAYS


@pytest.mark.parametrize('rule, name, text, wrong', [
    (arrows, 'ava', 'from utils import nima', 'imports nima, which stands higher'),
    (arrows, 'ava', 'def f():\n    from utils.score_utils import srcc',
     'imports score_utils, which stands beside it'),
    (arrows, 'nima', 'import utils.device', 'imports device, which stands beside it'),
    (arrows, 'nima', 'from . import data_loader', 'imports data_loader, which stands beside it'),
    (arrows, 'nima', 'from .train import main', 'imports train, which stands higher'),
    (arrows, 'eval', 'from train import main', 'imports train, which stands beside it'),
    (arrows, 'train', 'from utils import distribute', "imports distribute, which only ['device'] may"),
    (arrows, 'nima', 'from utils import misc', 'imports misc, which has no layer'),
    (arrows, 'misc', '', 'misc has no layer: give it one in tests/test_rules.py'),
    (arrows, '__init__', 'from utils import ava', 'utils/__init__.py imports'),
    (libraries, 'ava', 'def f():\n    import tensorflow as tf', 'ava imports tensorflow'),
    (libraries, 'flags', 'from tensorflow.keras import layers', 'flags imports tensorflow'),
    (libraries, 'nima', 'def f():\n    import npu_bridge.npu_init',
     "names npu_bridge outside ['device', 'distribute']"),
    (libraries, 'train', 'def f():\n    importlib.import_module("horovod.tensorflow")',
     "names horovod outside ['device', 'distribute']"),
    (libraries, 'device', 'import npu_bridge', 'imports npu_bridge outside a function'),
    (libraries, 'nima', 'from tensorflow.python.keras import backend', 'imports tensorflow.python'),
    (libraries, 'nima', 'from keras import backend', 'imports keras: the spelling is tf.keras'),
    (syntax, 'nima', 'from os import *', 'wildcard import'),
    (syntax, 'nima', 'def f():\n    global x', 'global'),
    (syntax, 'nima', 'try:\n    pass\nexcept:\n    pass', 'bare except'),
    (syntax, 'nima', 'x = tf.python.keras', 'uses tensorflow.python'),
    (sessions, 'nima', 'with tf.compat.v1.Session() as s:\n    pass',
     "makes a tf.compat.v1.Session outside ['device', 'pipeline']"),
    (npu_init, 'device', 'def f():\n    from npu_bridge.npu_init import NPURunConfig', 'names npu_init'),
    (npu_init, 'device', 'def f():\n    from npu_bridge import npu_init', 'names npu_init'),
    (npu_init, 'device', 'def f():\n    importlib.import_module("npu_bridge.npu_init")', 'names npu_init'),
    (npu_init, 'device', 'x = npu_bridge.npu_init.NPURunConfig', 'names npu_init'),
    (lengths, 'nima', 'x = 1\n' * 301, '301 lines, expected at most 300'),
    (lengths, 'train', 'x = 1\n' * 101, '101 lines, expected at most 100'),
    (lengths, 'nima', 'def f():\n    """Doc."""\n' + '    x = 1\n' * 39 + '    y = [\n        1,\n    ]\n',
     'f has 42 lines, expected at most 40'),
])
def test_the_rules_bite(rule, name, text, wrong):
    assert wrong in [found for _, found in rule(source_of(name, text))]


@pytest.mark.parametrize('rule, name, text', [
    (arrows, 'callbacks', 'from utils import ava, checkpoint, nima, score_utils'),
    (arrows, 'device', 'def f():\n    from utils import distribute'),
    (libraries, 'device', 'def f():\n    import npu_bridge'),
    (sessions, 'nima', 'def f(session: tf.compat.v1.Session):\n    pass'),
    (npu_init, 'device', 'def f():\n    """Imports no npu_init."""'),
    (lengths, 'nima', 'def f():\n    """Doc\n\n    more.\n    """\n' + '    x = 1\n' * 40),
])
def test_the_rules_let_pass_what_is_allowed(rule, name, text):
    assert list(rule(source_of(name, text))) == []


def imported_with(name: str, by_name) -> Set[str]:
    """The project's files and the libraries that importing `name` brings along."""
    seen, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        for found in imports_in(by_name[current].tree):
            house, library = house_name(found.module), found.module.split('.')[0]
            if found.at_start and (house or library) not in seen:
                seen.add(house or library)
                if house in by_name:
                    waiting.append(house)
    return seen


@pytest.mark.parametrize('name', [source.name for source in SOURCES if source.is_script])
def test_a_script_starts_without_slow_libraries(name):
    by_name = {source.name: source for source in SOURCES}
    assert imported_with(name, by_name) & SLOW_TO_IMPORT == set()


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
    return [source.name if source.is_script else f'utils.{source.name}' for source in sources
            if source.name != '__init__']


NOTHING = {'opened': [], 'sessions': [], 'operations': [], 'printed': [], 'stderr': '', 'left': []}


def test_importing_tensorflow_free_files_does_nothing(tmp_path):
    sources = [source for source in SOURCES if source.name in TENSORFLOW_FREE]
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
