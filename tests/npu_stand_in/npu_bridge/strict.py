"""Sessions that break the adapter's contract end in a ContractError that says how.

A session is 'npu' (NpuOptimizer with use_off_line), 'host' (NpuOptimizer without) or 'plain' (none). Each step that
an NPU session executes is looked at as the adapter would get it: pruned to what the fetches need.
"""
import atexit
import json
import os
import re
from collections import Counter

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

FIELDS = {'bool': 'b', 'string': 's', 'int': 'i'}
CONTROL = {'Switch', 'Merge', 'RefSwitch', 'RefMerge', 'Enter', 'Exit', 'NextIteration', 'If', 'While', 'Case'}
HOST_ONLY = {'PyFunc', 'EagerPyFunc', 'ReadFile', 'DecodeJpeg', 'Print', 'PrintV2'}
MIXED = {'allow_mix_precision', 'allow_mix_precision_fp16', 'allow_mix_precision_bf16', 'mixed_float16',
         'mixed_bfloat16'}
METHODS = '__init__', 'run', 'close', '_make_callable_from_options'


class ContractError(Exception):
    """The adapter would ignore this, abort the process, or do something else than was meant."""


class Session:
    """What the stand-in knows of one session."""

    def __init__(self, kind, session, parameters):
        self.kind, self.graph, self.parameters = kind, session.graph, parameters
        self.open, self.executions, self.steps = True, 0, {}

    def report(self):
        return {'kind': self.kind, 'parameters': self.parameters, 'open': self.open, 'executions': self.executions,
                'steps': list(self.steps.values())}


class Watch:
    """All sessions since install() or reset(), and the facts of the release."""

    def __init__(self):
        self.facts, self.sessions, self.originals = {}, {}, {}
        self.collectives, self.last_collective = {}, {}  # see collectives.py


WATCH = Watch()


def check(condition, text):
    if not condition:
        raise ContractError(f'npu_bridge stand-in ({WATCH.facts["release"]}): {text}')


# --- sessions

def install(facts):
    """Watch tf.Session from now on, and write the report of NPU_STAND_IN_REPORT at the end of the process."""
    WATCH.facts = facts
    cls = tf.compat.v1.Session
    WATCH.originals = {name: cls.__dict__.get(name) for name in METHODS}
    cls.__init__ = watched_init(cls.__init__)
    cls.run = watched_run(cls.run)
    cls.close = watched_close(cls.close)
    cls._make_callable_from_options = watched_callable(cls._make_callable_from_options)
    if os.environ.get('NPU_STAND_IN_REPORT'):
        atexit.register(write_report, os.environ['NPU_STAND_IN_REPORT'])


def uninstall():
    for name, original in WATCH.originals.items():
        if original is None:
            delattr(tf.compat.v1.Session, name)
        else:
            setattr(tf.compat.v1.Session, name, original)
    WATCH.sessions.clear()
    WATCH.collectives.clear()
    WATCH.last_collective.clear()


def reports():
    return [known.report() for known in WATCH.sessions.values()]


def write_report(path):
    with open(path, 'w') as stream:
        json.dump(reports(), stream)


def patch_sessions():
    """r1.9.0 and later, at the import of npu_init: any session becomes one of the NPU, its config edited in place."""
    constructor = tf.compat.v1.Session.__init__

    def constructed(self, target='', graph=None, config=None):
        config = config or tf.compat.v1.ConfigProto()
        rewrite = config.graph_options.rewrite_options
        if not any(optimizer.name == 'NpuOptimizer' for optimizer in rewrite.custom_optimizers):
            rewrite.custom_optimizers.add().name = 'NpuOptimizer'
            rewrite.memory_optimization = RewriterConfig.OFF
        config.allow_soft_placement = True
        rewrite.remapping = RewriterConfig.OFF
        constructor(self, target, graph, config)

    tf.compat.v1.Session.__init__ = constructed


def watched_init(original):
    def constructed(self, target='', graph=None, config=None):
        kind, parameters = kind_of(config)
        npu = [known for known in WATCH.sessions.values() if known.kind == 'npu' and known.open]
        check(kind != 'plain', 'a session without NpuOptimizer; from r1.9.0 on it may go to the NPU: give it '
                               'use_off_line=False')
        if kind == 'npu':
            check_npu_config(config, parameters)
            variables = (graph or tf.compat.v1.get_default_graph()).get_collection('variables')
            check(not variables, f'the session is set after the build: {len(variables)} variables are there already')
            check(not npu, 'a second NPU session in one process')
        else:
            check(npu and npu[0].executions, 'a session of the host is opened before the NPU session has executed '
                                             'anything and so fixed the options of the process')
            check(graph is not None and graph is not npu[0].graph, 'a session of the host without a graph of its own')
        original(self, target, graph, config)
        WATCH.sessions[self] = Session(kind, self, parameters)
    return constructed


def watched_close(original):
    def close(self):
        original(self)
        if self in WATCH.sessions:
            WATCH.sessions[self].open = False
    return close


# --- options

def kind_of(config):
    """('npu', 'host' or 'plain', the parameter map as plain values); each key and value is checked."""
    optimizers = [optimizer for optimizer in (config or tf.compat.v1.ConfigProto()).graph_options.rewrite_options
                  .custom_optimizers if optimizer.name == 'NpuOptimizer']
    if not optimizers:
        return 'plain', {}
    check(len(optimizers) == 1, f'{len(optimizers)} NpuOptimizers in one config')
    values = {}
    for key, value in sorted(optimizers[0].parameter_map.items()):
        known = WATCH.facts['parameter_map'].get(key)
        check(known, f'{key}: a parameter that this release does not know')
        field = value.WhichOneof('value')
        check(field == FIELDS.get(known['type']), f'{key}: the field .{field}, expected .{FIELDS.get(known["type"])}')
        values[key] = getattr(value, field)
        if field == 's':
            values[key] = values[key].decode('utf-8')
        legal = known.get('legal')
        check(not legal or values[key] in legal, f'{key}: {values[key]!r} is none of {legal}')
    check_together(values)
    if WATCH.facts['sinks_iterators']:
        check(values.get('enable_data_pre_proc') is False, 'enable_data_pre_proc is not False')
    else:
        check('enable_data_pre_proc' not in values, 'enable_data_pre_proc: False by default, and deprecated')
    return ('npu' if values.get('use_off_line', True) else 'host'), values


def check_together(values):
    """What the adapter refuses, most of it by ending the process."""
    dump, overflow = values.get('enable_dump'), values.get('enable_dump_debug')
    if dump or overflow:
        path = values.get('dump_path', '')
        check(os.path.isdir(path) and os.access(path, os.R_OK | os.W_OK), f'dump_path: {path!r} is no writable folder')
        check(not (dump and overflow), 'enable_dump and enable_dump_debug together')
    check(values.get('dump_data', 'tensor') in ('tensor', 'stats'), f'dump_data: {values.get("dump_data")!r}')
    if dump and 'dump_step' in values:
        check(re.fullmatch(r'([0-9]+(-[0-9]+)?\|)+', values['dump_step'] + '|'), f'dump_step: {values["dump_step"]!r}')
    if values.get('profiling_mode'):
        check('profiling_options' in values, 'profiling_mode without profiling_options')
        output = json.loads(values['profiling_options'])['output']
        check(os.path.isdir(output), f'profiling_options: the output {output!r} is no folder')
    modes = [values[name] for name in ('precision_mode', 'precision_mode_v2') if name in values]
    check(len(modes) < 2, 'precision_mode and precision_mode_v2 together')
    if 'modify_mixlist' in values:
        check(set(modes) & MIXED, 'modify_mixlist without allow_mix_precision')
        check(os.path.isfile(values['modify_mixlist']), 'modify_mixlist: no such file')


def check_npu_config(config, values):
    rewrite = config.graph_options.rewrite_options
    check(rewrite.remapping == RewriterConfig.OFF, 'remapping is not OFF: operators are fused that the NPU lacks')
    check(rewrite.memory_optimization == RewriterConfig.OFF, 'memory_optimization is not OFF')
    check(values.get('use_off_line') is True, 'use_off_line is not said')
    check({'precision_mode', 'precision_mode_v2'} & set(values),
          'precision_mode is not said, and its default differs by release and device')
    # Releases before r1.12.0 take any text and leave it to CANN. force_fp32 is what the published script passed.
    fact = WATCH.facts['parameter_map']['precision_mode']
    good = fact['legal'] if WATCH.facts['lists_precision_modes'] else [*fact['legal_every_release'], 'force_fp32']
    mode = values.get('precision_mode', good[0])
    check(mode in good, f'precision_mode: {mode!r} is none of {good}')


# --- steps

def watched_run(original):
    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        known = WATCH.sessions.get(self)
        if known and known.kind == 'npu':
            flat = tf.nest.flatten(fetches)
            feeds = {self.graph.as_graph_element(key).name: value for key, value in (feed_dict or {}).items()}
            step = step_of(known, [name_of(fetch) for fetch in flat], feeds)
            see_shapes(step, feeds.values())
        result = original(self, fetches, feed_dict, options, run_metadata)
        if known:
            known.executions += 1
        return result
    return run


def watched_callable(original):
    """Keras trains and predicts through callables, not through run()."""
    def make(self, options):
        call = original(self, options)
        known = WATCH.sessions.get(self)
        if not known or known.kind != 'npu':
            return call
        step = step_of(known, [*options.fetch, *options.target], options.feed)

        def watched(*arrays, **named):
            see_shapes(step, arrays)
            known.executions += 1
            return call(*arrays, **named)
        return watched
    return make


def name_of(fetch):
    return fetch if isinstance(fetch, str) else fetch.name


def step_of(known, fetches, feeds):
    """The record of a step, which is checked when it is seen for the first time."""
    key = tuple(fetches), tuple(feeds)
    if key not in known.steps:
        types = pruned(known.graph, fetches, feeds)
        known.steps[key] = {'fetches': len(fetches), 'feeds': sorted(feeds), 'shapes': [],
                            'types': types}
        check_step(known.graph, types, feeds)
    return known.steps[key]


def pruned(graph, fetches, feeds):
    """How many operations of each type `fetches` need, as TensorFlow prunes a graph: cut at what is fed."""
    needed = behind(graph, fetches, {name.split(':')[0] for name in feeds})
    return Counter(WATCH.collectives.get((graph, operation.name), operation.type) for operation in needed)


def behind(graph, fetches, fed=()):
    """The operations that `fetches` need; what is before the names in `fed` is not."""
    waiting = [graph.get_operation_by_name(name.split(':')[0].lstrip('^')) for name in fetches]
    seen = {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in seen:
            seen[operation.name] = operation
            if operation.name not in fed:
                waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return seen.values()


def placeholders_behind(tensor):
    """The names of the placeholders that `tensor` needs."""
    return frozenset(operation.name for operation in behind(tensor.graph, [tensor.name])
                     if operation.type.startswith('Placeholder'))


def check_step(graph, types, feeds):
    boolean = [name for name in feeds if graph.as_graph_element(name).dtype.base_dtype == tf.bool]
    check(not boolean, f'the learning phase is fed ({boolean}): fix it before the build')
    check(not CONTROL & set(types), f'the step holds {sorted(CONTROL & set(types))}: fix the learning phase before '
                                    'the build')
    host = sorted(name for name in types if name in HOST_ONLY or 'Iterator' in name or 'Dataset' in name)
    check(not host, f'the step holds {host}, which belong on the host')
    placeholders = placeholders_in(types)
    check(placeholders == len(feeds), f'the step holds {placeholders} placeholders, {len(feeds)} of them fed')


def placeholders_in(types):
    """How many there are, those with a default included."""
    return sum(number for name, number in types.items() if name.startswith('Placeholder'))


def see_shapes(step, arrays):
    """One step, one shape: another batch size is compiled again, or aborts, by release."""
    shapes = [list(getattr(array, 'shape', ())) for array in arrays]
    if not step['shapes']:
        step['shapes'] = shapes
    check(step['shapes'] == shapes, f'a partial batch: shapes {shapes} after {step["shapes"]}')
