"""Where the model runs: choosing the device, opening Keras's session on it, closing it again."""
import contextlib
import glob
import importlib.util
import inspect
import json
import os
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils.errors import InputError
from utils.flags import PRECISION_MODES

NPU_NODES = '/dev/davinci[0-9]*'
CANN_VARIABLES = 'ASCEND_OPP_PATH', 'ASCEND_AICPU_PATH', 'ASCEND_HOME_PATH', 'ASCEND_TOOLKIT_HOME'
# Parameters that came after the adapter's first release. It ignores what it does not know without a word.
SINCE = {'op_compiler_cache_dir': 'r1.2.0 (CANN 20.2)', 'modify_mixlist': 'r1.5.0 (CANN 5.0.2)'}

Parameters = Dict[str, Union[bool, str]]


class Run(NamedTuple):
    """An open device."""

    device: str
    threads: int
    host_config: tf.compat.v1.ConfigProto  # for the input pipeline's session, which stays on the host

    def initialise(self) -> None:
        """Initialise what was built, before the input pipeline opens a session of its own.

        On an NPU the first session that executes anything fixes precision, profiling and compile cache for
        the whole process: this is where the training session is the first.
        """
        tf.compat.v1.keras.backend.get_session()


class NpuOptions(NamedTuple):
    """What an NPU's session is told, under the names of the flags; None is off, or the default."""

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


def choose(device: str) -> str:
    """'npu', 'gpu' or 'cpu'; prints the choice and its reason. Neither listing devices nor importing opens one."""
    reason = 'asked for'
    if device == 'auto':
        device, reason = _automatic()
    elif device == 'npu':
        _import_adapter('--device npu: ')
        if not glob.glob(NPU_NODES):
            print(f'warning: --device npu: {_no_device()}; trying all the same', file=sys.stderr)
    elif device == 'gpu' and not _gpus():
        raise InputError('--device gpu: found no GPU that TensorFlow lists, expected one: install '
                         'tensorflow-gpu 1.15 with CUDA 10.0, or use --device cpu')
    print(f'device: {device} ({reason})')
    return device


def _automatic() -> Tuple[str, str]:
    """The device and the reason; where there is any sign of an Ascend, it is that or an error, never the CPU."""
    nodes = sorted(glob.glob(NPU_NODES))
    signs = nodes[:1] + [name for name in CANN_VARIABLES if os.environ.get(name)]
    if importlib.util.find_spec('npu_bridge'):
        signs.append('npu_bridge')
    if signs:
        ascend = f'--device auto: found {signs[0]}, but '
        _import_adapter(ascend)
        if not nodes:
            raise InputError(f'{ascend}{_no_device()}; or insist on the CPU with --device cpu')
        return 'npu', f'npu_bridge and {nodes[0]} are there'
    gpus = _gpus()
    return ('gpu' if gpus else 'cpu'), 'TensorFlow lists ' + (f'{len(gpus)} GPU' if gpus else 'no GPU')


def _gpus() -> List[str]:
    return tf.config.experimental.list_physical_devices('GPU')


def _no_device() -> str:
    return (f'found no {NPU_NODES}, expected a device: start the container with --device=/dev/davinci0 '
            '--device=/dev/davinci_manager --device=/dev/devmm_svm --device=/dev/hisi_hdc')


def _import_adapter(asked: str) -> Set[str]:
    """Import npu_bridge; returns the options that its release knows: the keywords of its NPURunConfig.

    TensorFlow 1.15 ignores the name of a graph optimizer that nobody registered and would train on the CPU.
    Importing npu_bridge registers NpuOptimizer. Its npu_init is never imported: from r1.9.0 on that replaces
    the constructor of tf.Session. An error begins with `asked`.
    """
    try:
        from npu_bridge.estimator.npu.npu_config import NPURunConfig
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        version = '.'.join(map(str, sys.version_info[:3]))
        if sys.version_info[:2] != (3, 7):
            cure = 'start the Python 3.7 for which the plugin is built'
        elif not any(os.environ.get(name) for name in CANN_VARIABLES):
            cure = ('CANN is not sourced: start with bash train_1p.sh or bash test_1p.sh, which do that, or source '
                    '/usr/local/Ascend/ascend-toolkit/set_env.sh and /usr/local/Ascend/tfplugin/set_env.sh')
        else:
            cure = 'CANN is sourced, its TensorFlow plugin (tfplugin) is not in this Python: install it or source it'
        raise InputError(f'{asked}npu_bridge cannot be imported ({error}) by {sys.executable} (Python '
                         f'{version}), expected the TensorFlow 1.15 plugin of CANN: {cure}; or insist on the CPU '
                         'with --device cpu') from error
    return set(inspect.signature(NPURunConfig).parameters)


def usable_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


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
            raise InputError(f'--{name}: the installed npu_bridge does not know it, expected release {release} or '
                             'later: leave the flag out, or update CANN')
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
    parameters.update(_dump_parameters(options))
    return parameters


def _dump_parameters(options: NpuOptions) -> Parameters:
    if options.data_dump_step and not options.data_dump_path:
        raise InputError(f'--data_dump_step: found {options.data_dump_step!r} without --data_dump_path, expected '
                         'both: type the folder too')
    if options.data_dump_path and options.over_dump_path:
        raise InputError('--over_dump_path: found it beside --data_dump_path, expected one of them, as CANN knows '
                         'one dump at a time: leave one out')
    if options.data_dump_path:
        return {'enable_dump': True, 'dump_path': _folder('--data_dump_path', options.data_dump_path),
                'dump_step': _steps(options.data_dump_step or '0'), 'dump_mode': 'all'}
    if options.over_dump_path:
        if os.environ.get('RANK_SIZE', '') not in ('', '1'):
            raise InputError(f'--over_dump_path: found RANK_SIZE={os.environ["RANK_SIZE"]}, expected 1, as CANN 20.2 '
                             'records overflows on one device alone: leave the flag out')
        return {'enable_dump_debug': True, 'dump_path': _folder('--over_dump_path', options.over_dump_path),
                'dump_debug_mode': 'all'}
    return {}


def _mixlist(path: str, mode: str) -> str:
    if mode != 'allow_mix_precision':
        raise InputError(f'--modify_mixlist: found it beside --precision_mode {mode}, expected allow_mix_precision: '
                         'leave one of the two out')
    try:
        with open(path, encoding='utf-8') as stream:
            if isinstance(json.load(stream), dict):
                return path
            reason = 'no JSON object'
    except (OSError, ValueError) as error:
        reason = str(error)
    raise InputError(f'--modify_mixlist: {path}: found no list of operators ({reason}), expected a JSON file such as '
                     '{"black-list": {"to-add": ["Softmax"]}}')


def _folder(flag: str, path: str) -> str:
    """`path`, made if need be; the adapter wants to read and write there."""
    with contextlib.suppress(OSError):
        os.makedirs(path, exist_ok=True)
    if not (os.path.isdir(path) and os.access(path, os.R_OK | os.W_OK)):
        raise InputError(f'{flag}: {path}: found no folder that can be read and written, expected one: change its '
                         'permissions or type another')
    return os.path.abspath(path)


def _steps(text: str) -> str:
    parts = text.split('|')
    ranges = [re.fullmatch(r'(\d+)(?:-(\d+))?', part) for part in parts]
    ordered = all(found and (found.group(2) is None or int(found.group(1)) < int(found.group(2))) for found in ranges)
    if not ordered or len(parts) > 100:
        raise InputError(f"--data_dump_step: found {text!r}, expected up to 100 steps and rising ranges such as "
                         "'0|5|10-20'")
    return text


def _check_device_id() -> None:
    text = os.environ.get('ASCEND_DEVICE_ID')
    if text and not re.fullmatch(r'[0-9]+', text):
        raise InputError(f'ASCEND_DEVICE_ID: found {text!r}, expected the number of a device from 0: set it anew '
                         'or unset it')


def _npu_config(parameters: Parameters) -> tf.compat.v1.ConfigProto:
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


def _configs(chosen: str, options: NpuOptions) -> Tuple[tf.compat.v1.ConfigProto, tf.compat.v1.ConfigProto]:
    """The session configs of the model and of the input pipeline, which stays on the host."""
    if chosen == 'npu':
        _check_device_id()
        parameters = npu_parameters(options, _import_adapter('--device npu: '))
        # Without an NpuOptimizer of its own any session goes to the NPU once r1.9.0's npu_init is imported.
        host = _npu_config({'use_off_line': False, 'enable_data_pre_proc': False})
        config = _npu_config(parameters)
    else:
        config, host = tf.compat.v1.ConfigProto(), tf.compat.v1.ConfigProto()
        if options.typed():
            print(f'device: {chosen} makes no use of {", ".join(options.typed())}')
    host.device_count['GPU'] = 0
    if chosen == 'gpu':
        config.gpu_options.allow_growth = True
    else:
        config.device_count['GPU'] = 0
    return config, host


@contextlib.contextmanager
def open_run(device: str, *, threads: Optional[int] = None, seed: int = 0,
             npu: Optional[Dict[str, str]] = None) -> Iterator[Run]:
    """Keras's session on the device, ready before anything is built, and closed whatever happens.

    The first session of a process fixes the CPU thread pool for all later ones, and the number of threads
    changes the last bits of the weights: so the number is explicit and this session is the first. `npu` holds
    those of NpuOptions that were typed.
    """
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    chosen = choose(device)
    threads = threads or usable_cores()
    config, host_config = _configs(chosen, NpuOptions(**npu or {}))
    config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = threads
    keras = tf.compat.v1.keras.backend
    keras.clear_session()
    tf.compat.v1.set_random_seed(seed)
    session = tf.compat.v1.Session(config=config)
    keras.set_session(session)
    try:
        yield Run(chosen, threads, host_config)
    finally:
        keras.clear_session()
        session.close()
