"""Where the model runs: choosing the device, opening Keras's session on it, closing it again."""
import contextlib
import glob
import importlib.util
import inspect
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils.base import memory
from utils.base.errors import InputError
from utils.device import distribute
from utils.device.distribute import Group
from utils.device.npu import NpuOptions, Parameters, check_environment, npu_parameters

NPU_NODES = '/dev/davinci[0-9]*'
CANN_VARIABLES = 'ASCEND_OPP_PATH', 'ASCEND_AICPU_PATH', 'ASCEND_HOME_PATH', 'ASCEND_TOOLKIT_HOME'
ALONE = Group()


class Run(NamedTuple):
    """An open device."""

    device: str
    host_config: tf.compat.v1.ConfigProto  # for the input pipeline's session, which stays on the host
    threads: int = 0  # of the CPU for one operation
    group: Group = ALONE  # the processes that train together

    def initialise(self) -> None:
        """Initialise what was built, before the input pipeline opens a session of its own.

        On an NPU the first session that executes anything fixes precision, profiling and compile cache for
        the whole process: this is where the training session is the first.
        """
        tf.compat.v1.keras.backend.get_session()

    def distribute(self, optimizer: tf.keras.optimizers.Optimizer) -> tf.keras.optimizers.Optimizer:
        """`optimizer`, in place, with the gradients' means over all processes that train together."""
        return self.group.average(optimizer)


def join(engine: str, device: str = 'auto') -> Group:
    """The processes that train together with this one, as distribute.join() finds them, each with its own cores.

    Those of one host share out the cores that their parent has, unless they were given others. It comes before all
    threads: see memory.keep_freed().
    """
    memory.keep_freed()
    group = distribute.join(engine, on_gpu=lambda: device != 'cpu' and bool(_gpus()))
    cores = sorted(os.sched_getaffinity(0))
    if group.local_size > 1 and cores == sorted(os.sched_getaffinity(os.getppid())):
        start, stop = (len(cores) * rank // group.local_size for rank in (group.local_rank, group.local_rank + 1))
        os.sched_setaffinity(0, cores[start:max(stop, start + 1)])
    return group


def choose(device: str, report: Callable[[str], Any] = print) -> str:
    """'npu', 'gpu' or 'cpu'; `report` gets the choice and its reason. Neither listing nor importing opens a device."""
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
    report(f'device: {device} ({reason})')
    return device


def _automatic() -> Tuple[str, str]:
    """The device and the reason.

    With an npu_bridge that imports, a variable of CANN or a device node it is the NPU or an error: the CPU would
    take days, and nobody would know why.
    """
    nodes = sorted(glob.glob(NPU_NODES))
    signs = nodes[:1] + _cann_variables()
    ascend = f'--device auto: found {[*signs, "npu_bridge"][0]}, but '
    broken = ''
    try:
        _import_adapter(ascend)
    except InputError as error:
        if signs:
            raise
        if _is_installed():
            broken = f'; npu_bridge is installed, but cannot be imported: {_one_line(error.__cause__)}'
    else:
        if nodes:
            return 'npu', f'npu_bridge and {nodes[0]} are there'
        raise InputError(f'{ascend}{_no_device()}; or insist on the CPU with --device cpu')
    gpus = _gpus()
    return ('gpu' if gpus else 'cpu'), f'TensorFlow lists {len(gpus) or "no"} GPU{broken}'


def _gpus() -> List[str]:
    return tf.config.experimental.list_physical_devices('GPU')


def _no_device() -> str:
    return (f'found no {NPU_NODES}, expected a device: start the container with --device=/dev/davinci0 '
            '--device=/dev/davinci_manager --device=/dev/devmm_svm --device=/dev/hisi_hdc')


def _cann_variables() -> List[str]:
    return [name for name in CANN_VARIABLES if os.environ.get(name)]


def _is_installed() -> bool:
    """Whether Python finds npu_bridge; a folder of that name without any code is none."""
    found = importlib.util.find_spec('npu_bridge')
    return found is not None and found.has_location


def _one_line(error: Optional[BaseException]) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())


def _import_adapter(asked: str) -> Set[str]:
    """Import npu_bridge; returns the options that its release knows: the keywords of its NPURunConfig.

    TensorFlow 1.15 ignores the name of a graph optimizer that nobody registered and would train on the CPU.
    Importing npu_bridge registers NpuOptimizer. Its npu_init is never imported: from r1.9.0 on that replaces
    the constructor of tf.Session. An error begins with `asked`.
    """
    try:
        from npu_bridge.estimator.npu.npu_config import NPURunConfig
    except Exception as error:  # a plugin built for another Python or protobuf fails in many ways
        version = '.'.join(map(str, sys.version_info[:3]))
        raise InputError(f'{asked}npu_bridge cannot be imported ({_one_line(error)}) by {sys.executable} (Python '
                         f'{version}), expected the TensorFlow 1.15 plugin of CANN: {_cure()}; or insist on the CPU '
                         'with --device cpu') from error
    return set(inspect.signature(NPURunConfig).parameters)


def _cure() -> str:
    """What may make npu_bridge importable."""
    if sys.version_info[:2] != (3, 7):
        return 'start the Python 3.7 for which the plugin is built'
    source = '' if _cann_variables() else (
        'CANN is not sourced: start with bash train_1p.sh or bash test_1p.sh, which do that, or source '
        '/usr/local/Ascend/ascend-toolkit/set_env.sh and /usr/local/Ascend/tfplugin/set_env.sh')
    if _is_installed():
        return ('the plugin is there, but a library of CANN or of the driver, or the package hccl, does not load '
                f'(it is named above): {source or "check LD_LIBRARY_PATH and PYTHONPATH"}')
    return source or 'CANN is sourced, its TensorFlow plugin (tfplugin) is not in this Python: install it or source it'


def usable_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


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


def _configs(chosen: str, options: NpuOptions,
             group: Group = ALONE) -> Tuple[tf.compat.v1.ConfigProto, tf.compat.v1.ConfigProto]:
    """The session configs of the model and of the input pipeline, which stays on the host."""
    if chosen == 'npu':
        check_environment()
        parameters = npu_parameters(options, _import_adapter('--device npu: '))
        # Without an NpuOptimizer of its own any session goes to the NPU once r1.9.0's npu_init is imported.
        host = _npu_config({'use_off_line': False, 'enable_data_pre_proc': False})
        config = _npu_config(parameters)
    else:
        config, host = tf.compat.v1.ConfigProto(), tf.compat.v1.ConfigProto()
        if options.typed():
            group.report(f'device: {chosen} makes no use of {", ".join(options.typed())}')
    host.device_count['GPU'] = 0
    if chosen == 'gpu':
        config.gpu_options.allow_growth = True
        if group.size > 1:
            config.gpu_options.visible_device_list = str(group.local_rank)
    else:
        config.device_count['GPU'] = 0
    return config, host


def _check_engine(group: Group, chosen: str) -> None:
    """Raise InputError where the group's engine does not connect devices of this kind."""
    if group.size > 1 and (group.engine == 'hccl') != (chosen == 'npu'):
        raise InputError(f'--device {chosen}: found {group.size} processes joined by {group.engine}, expected hccl for '
                         'NPUs and horovod for CPUs and GPUs: start with bash train_8p.sh on an Ascend host, with '
                         'horovodrun elsewhere, and unset RANK_SIZE for a process alone')


@contextlib.contextmanager
def open_run(device: str, *, threads: Optional[int] = None, seed: int = 0,
             npu: Optional[Dict[str, str]] = None, group: Group = ALONE) -> Iterator[Run]:
    """Keras's session on the device, ready before anything is built, and closed whatever happens.

    The first session of a process fixes the CPU thread pool for all later ones, and the number of threads
    changes the last bits of the weights: so the number is explicit and this session is the first. `npu` holds
    those of NpuOptions that were typed, `group` the processes that train together.
    """
    memory.keep_freed()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    chosen = choose(device, group.report)
    _check_engine(group, chosen)
    threads = threads or usable_cores()
    config, host_config = _configs(chosen, NpuOptions(**npu or {}), group)
    config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = threads
    keras = tf.compat.v1.keras.backend
    keras.clear_session()
    tf.compat.v1.set_random_seed(seed + group.rank)  # dropout differs by rank; the first weights are the chief's
    session = tf.compat.v1.Session(config=config)
    keras.set_session(session)
    try:
        yield Run(chosen, host_config, threads, group)
    finally:
        try:
            keras.clear_session()
        finally:
            session.close()
