"""Where the model runs: choosing the device, opening Keras's session on it, closing it again."""
import contextlib
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from utils.base import garbage, memory
from utils.base.cores import usable_cores
from utils.base.errors import InputError
from utils.device import distribute, npu
from utils.device.distribute import Group
from utils.device.npu_options import NpuOptions, host_parameters, npu_parameters

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
    """The processes that train together with this one, as distribute.join() finds them, each on its own cores.

    Those of one host divide the cores of their parent, unless they were given others. Call it before any thread
    starts: see memory.keep_freed().
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
        npu.import_adapter('--device npu: ')
        if not npu.nodes():
            print(f'warning: --device npu: no {npu.NODES} found; trying anyway. {npu.CONTAINER}', file=sys.stderr)
    elif device == 'gpu' and not _gpus():
        raise InputError('--device gpu: TensorFlow lists no GPU. Install tensorflow-gpu 1.15 with CUDA 10.0, or use '
                         '--device cpu')
    report(f'device: {device} ({reason})')
    return device


def _automatic() -> Tuple[str, str]:
    """The device and the reason.

    With an npu_bridge that imports, a variable of CANN or a device node it is the NPU or an error: the CPU would
    take days, and nobody would know why.
    """
    nodes = npu.nodes()
    signs = nodes[:1] + npu.cann_variables()
    found = f'--device auto: found {[*signs, "npu_bridge"][0]}, but '
    broken = ''
    try:
        npu.import_adapter(found)
    except InputError as error:
        if signs:
            raise
        if npu.is_installed():
            broken = f'; npu_bridge is installed, but cannot be imported: {npu.one_line(error.__cause__)}'
    else:
        if nodes:
            return 'npu', f'npu_bridge and {nodes[0]} found'
        raise InputError(f'{found}no {npu.NODES}. {npu.CONTAINER}, or use --device cpu')
    gpus = _gpus()
    return ('gpu' if gpus else 'cpu'), f'TensorFlow lists {len(gpus) or "no"} GPU{broken}'


def _gpus() -> List[str]:
    return tf.config.experimental.list_physical_devices('GPU')


def _configs(chosen: str, options: NpuOptions,
             group: Group = ALONE) -> Tuple[tf.compat.v1.ConfigProto, tf.compat.v1.ConfigProto]:
    """The session configs of the model and of the input pipeline, which stays on the host."""
    if chosen == 'npu':
        npu.check_environment()
        known = npu.import_adapter('--device npu: ')
        config, host = map(npu.session_config, (npu_parameters(options, known), host_parameters(known)))
        group.report(f'NPU: precision mode {options.mode}')
    else:
        config, host = tf.compat.v1.ConfigProto(), tf.compat.v1.ConfigProto()
        if options.typed():
            group.report(f'device: {chosen} ignores {", ".join(options.typed())}')
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
        meant = 'NPUs' if group.engine == 'hccl' else 'CPUs and GPUs'
        raise InputError(f'--device {chosen}: the {group.size} processes are joined by {group.engine}, which is for '
                         f'{meant}. Start with bash train_8p.sh on an Ascend host, with horovodrun elsewhere; for a '
                         'single process unset RANK_SIZE')


@contextlib.contextmanager
def open_run(device: str, *, threads: Optional[int] = None, seed: int = 0,
             npu: Optional[Dict[str, Any]] = None, group: Group = ALONE) -> Iterator[Run]:
    """Keras's session on the device, ready before anything is built, and closed whatever happens.

    The first session of a process fixes the CPU thread pool for all later ones, and the number of threads
    changes the last bits of the weights: so the number is explicit and this session is the first. `npu` holds
    those of NpuOptions that were typed, `group` the processes that train together.
    """
    memory.keep_freed()
    garbage.collect_as_usual()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    chosen = choose(device, group.report)
    _check_engine(group, chosen)
    threads = threads or usable_cores()
    config, host_config = _configs(chosen, NpuOptions(**npu or {}), group)
    config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = threads
    keras = tf.compat.v1.keras.backend
    keras.clear_session()
    tf.compat.v1.set_random_seed(seed + group.rank)  # dropout differs by rank; the first weights are rank 0's
    session = tf.compat.v1.Session(config=config)
    keras.set_session(session)
    try:
        yield Run(chosen, host_config, threads, group)
    finally:
        try:
            keras.clear_session()
        finally:
            session.close()
