"""The Ascend NPU: its signs on a machine, the import of npu_bridge, the session that runs on it and its options.

Beside this file only distribute.py calls npu_bridge, for the exchange between NPUs (HCCL).
"""
import glob
import importlib.util
import inspect
import json
import os
import re
import sys
from typing import Dict, List, NamedTuple, Optional, Set, Union

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils.base import files
from utils.base.defaults import PRECISION_MODES
from utils.base.errors import InputError

NODES = '/dev/davinci[0-9]*'
CANN_VARIABLES = 'ASCEND_OPP_PATH', 'ASCEND_AICPU_PATH', 'ASCEND_HOME_PATH', 'ASCEND_TOOLKIT_HOME'
CONTAINER = ('Start the container with --device=/dev/davinci0 --device=/dev/davinci_manager --device=/dev/devmm_svm '
             '--device=/dev/hisi_hdc')

# Parameters that came after the adapter's first release. It ignores what it does not know without a word.
SINCE = {'op_compiler_cache_dir': 'r1.2.0 (CANN 20.2)', 'modify_mixlist': 'r1.5.0 (CANN 5.0.2)'}
CAME_IN_R1_3_0 = 'session_device_id'
NUMBER = '[0-9]{1,9}'

Parameters = Dict[str, Union[bool, str]]
# Of the input pipeline: without an NpuOptimizer of its own any session goes to the NPU once r1.9.0's npu_init is
# imported.
HOST: Parameters = {'use_off_line': False, 'enable_data_pre_proc': False}


class NpuOptions(NamedTuple):
    """The options of an NPU's session, under the names of the flags; None is off, or the default."""

    precision_mode: Optional[str] = None
    modify_mixlist: Optional[str] = None
    op_compiler_cache_dir: Optional[str] = None
    profiling_dump_path: Optional[str] = None
    data_dump_path: Optional[str] = None
    data_dump_step: Optional[str] = None
    over_dump_path: Optional[str] = None

    def typed(self) -> List[str]:
        """The flags that are not at their default."""
        return [f'--{name}' for name, value in self._asdict().items() if value is not None]


# --- the adapter and its session


def nodes() -> List[str]:
    """The device nodes of this machine's NPUs."""
    return sorted(glob.glob(NODES))


def cann_variables() -> List[str]:
    """Those of CANN's variables that are set: whether it is sourced."""
    return [name for name in CANN_VARIABLES if os.environ.get(name)]


def is_installed() -> bool:
    """Whether Python finds npu_bridge; a folder of that name without any code is none."""
    found = importlib.util.find_spec('npu_bridge')
    return found is not None and found.has_location


def one_line(error: Optional[BaseException]) -> str:
    """An error's class and text on one line."""
    return ' '.join(f'{type(error).__name__}: {error}'.split())


def import_adapter(asked: str) -> Set[str]:
    """Import npu_bridge; returns the options that its release knows: the keywords of its NPURunConfig.

    TensorFlow 1.15 ignores the name of a graph optimizer that nobody registered and would train on the CPU.
    Importing npu_bridge registers NpuOptimizer. Its npu_init is never imported: from r1.9.0 on that replaces
    the constructor of tf.Session. The InputError where it cannot be imported begins with `asked`.
    """
    try:
        from npu_bridge.estimator.npu.npu_config import NPURunConfig
    except Exception as error:  # a plugin built for another Python or protobuf fails in many ways
        version = '.'.join(map(str, sys.version_info[:3]))
        raise InputError(f'{asked}npu_bridge, the TensorFlow 1.15 plugin of CANN, cannot be imported '
                         f'({one_line(error)}) by {sys.executable} (Python {version}). {_cure()}, or use '
                         '--device cpu') from error
    return set(inspect.signature(NPURunConfig).parameters)


def _cure() -> str:
    """What may make npu_bridge importable, as a sentence without its full stop."""
    if sys.version_info[:2] != (3, 7):
        return 'Start the Python 3.7 for which the plugin is built'
    source = '' if cann_variables() else (
        'CANN is not sourced: start with bash run.sh, bash train_1p.sh or bash test_1p.sh, which source it, or source '
        '/usr/local/Ascend/ascend-toolkit/set_env.sh and /usr/local/Ascend/tfplugin/set_env.sh')
    if is_installed():
        return ('The plugin is installed, but a library of CANN or of the driver, or the package hccl, does not load '
                f'(see above). {source or "Check LD_LIBRARY_PATH and PYTHONPATH"}')
    return source or ('CANN is sourced, but its TensorFlow plugin (tfplugin) is not in this Python: install it or '
                      'source it')


def session_config(parameters: Parameters) -> tf.compat.v1.ConfigProto:
    """A session of the adapter. Built by hand: its helpers differ by release, and CANN 20.2 has none."""
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    rewrite = config.graph_options.rewrite_options
    # Grappler would fuse to operators that the device lacks (_FusedConv2D) and cut the step in pieces.
    rewrite.remapping = RewriterConfig.OFF
    rewrite.memory_optimization = RewriterConfig.OFF
    optimizer = rewrite.custom_optimizers.add()
    optimizer.name = 'NpuOptimizer'
    for name, value in parameters.items():
        if isinstance(value, bool):
            optimizer.parameter_map[name].b = value
        else:
            optimizer.parameter_map[name].s = value.encode('utf-8')
    return config


# --- its options


def _is_one_device() -> bool:
    return os.environ.get('RANK_SIZE', '') in ('', '1')


def check_environment() -> None:
    """Raise InputError for a device number that would end the process; warn of a rank table for one device."""
    name = 'ASCEND_DEVICE_ID' if os.environ.get('ASCEND_DEVICE_ID') else 'DEVICE_ID'  # the first wins
    text = os.environ.get(name)
    if text and not re.fullmatch(NUMBER, text):
        raise InputError(f'{name} is {text!r}, expected a device number from 0. Correct or unset it')
    table = os.environ.get('RANK_TABLE_FILE')
    if table and _is_one_device():
        print(f'warning: RANK_TABLE_FILE is {table!r}, but RANK_SIZE is that of one device: a rank table turns on the '
              'communication between devices. Unset RANK_TABLE_FILE', file=sys.stderr)


def npu_parameters(options: NpuOptions, known: Set[str]) -> Parameters:
    """The parameters of NpuOptimizer for the training session; InputError names the flag that cannot be.

    All is checked here: the adapter ignores keys and types that it does not know, and ends the process, with
    LOG(FATAL), at many values that it does not like.
    """
    mode = options.precision_mode or PRECISION_MODES[0]
    if mode not in PRECISION_MODES:
        raise InputError(f'--precision_mode: found {mode!r}, expected one of {", ".join(PRECISION_MODES)}')
    for name, release in SINCE.items():
        if getattr(options, name) and name not in known:
            raise InputError(f'--{name} needs release {release} or later of npu_bridge, which this one is not. Leave '
                             'the flag out or update CANN')
    parameters: Parameters = {'use_off_line': True, 'enable_data_pre_proc': False, 'precision_mode': mode}
    if options.modify_mixlist:
        parameters['modify_mixlist'] = _mixlist(options.modify_mixlist, mode)
    if options.op_compiler_cache_dir:
        parameters['op_compiler_cache_mode'] = 'enable'
        parameters['op_compiler_cache_dir'] = _folder('--op_compiler_cache_dir', options.op_compiler_cache_dir)
    if options.profiling_dump_path:
        folder = _folder('--profiling_dump_path', options.profiling_dump_path)
        parameters['profiling_mode'] = True
        # Empty points: the first forward and the last backward operator are found by CANN.
        parameters['profiling_options'] = json.dumps({
            'output': folder, 'training_trace': 'on', 'task_trace': 'on', 'aicpu': 'on', 'fp_point': '',
            'bp_point': '', 'aic_metrics': 'PipeUtilization'})
    parameters.update(_dump_parameters(options, known))
    return parameters


def _dump_parameters(options: NpuOptions, known: Set[str]) -> Parameters:
    if options.data_dump_step and not options.data_dump_path:
        raise InputError('--data_dump_step needs --data_dump_path. Type the folder too')
    if options.data_dump_path and options.over_dump_path:
        raise InputError('--data_dump_path and --over_dump_path exclude each other, as CANN writes one dump at a time. '
                         'Leave one out')
    if options.data_dump_path:
        return {'enable_dump': True, 'dump_path': _folder('--data_dump_path', options.data_dump_path),
                'dump_step': _steps(options.data_dump_step or '0'), 'dump_mode': 'all'}
    if options.over_dump_path:
        if CAME_IN_R1_3_0 not in known and not _is_one_device():
            raise InputError(f'--over_dump_path: RANK_SIZE is {os.environ["RANK_SIZE"]}, but CANN 20.2 records '
                             'overflows on one device only. Leave the flag out')
        return {'enable_dump_debug': True, 'dump_path': _folder('--over_dump_path', options.over_dump_path),
                'dump_debug_mode': 'all'}
    return {}


def _mixlist(path: str, mode: str) -> str:
    if mode != 'allow_mix_precision':
        raise InputError(f'--modify_mixlist needs --precision_mode allow_mix_precision, found {mode}. Leave one of '
                         'the two out')
    try:
        with open(path, encoding='utf-8') as stream:
            if isinstance(json.load(stream), dict):
                return path
            reason = 'no JSON object'
    except (OSError, ValueError) as error:
        reason = str(error)
    raise InputError(f'--modify_mixlist: {path} is no list of operators ({reason}). Use a JSON file such as '
                     '{"black-list": {"to-add": ["Softmax"]}}')


def _folder(flag: str, path: str) -> str:
    """`path`, made if need be; the adapter wants to write there."""
    files.require_writable(path, flag)
    os.makedirs(path, exist_ok=True)
    return os.path.abspath(path)


def _steps(text: str) -> str:
    parts = text.split('|')
    ranges = [re.fullmatch(f'({NUMBER})(?:-({NUMBER}))?', part) for part in parts]
    ordered = all(found and (found.group(2) is None or int(found.group(1)) < int(found.group(2))) for found in ranges)
    if not ordered or len(parts) > 100:
        raise InputError(f"--data_dump_step: found {text!r}, expected up to 100 steps and rising ranges such as "
                         "'0|5|10-20'")
    return text
