"""The Ascend NPU: its signs on a machine, the import of npu_bridge, the session that runs on it.

Beside this file only distribute.py calls npu_bridge, for the exchange between NPUs (HCCL).
"""
import glob
import importlib.util
import inspect
import os
import re
import sys
from typing import List, Optional, Set

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from utils.base.errors import InputError
from utils.device.npu_options import NUMBER, Parameters, is_one_device

NODES = '/dev/davinci[0-9]*'
CANN_VARIABLES = 'ASCEND_OPP_PATH', 'ASCEND_AICPU_PATH', 'ASCEND_HOME_PATH', 'ASCEND_TOOLKIT_HOME'
CONTAINER = ('Start the container with --device=/dev/davinci0 --device=/dev/davinci_manager --device=/dev/devmm_svm '
             '--device=/dev/hisi_hdc')


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
    """Import npu_bridge; returns the options that its release knows: the keywords of its NPURunConfig and DumpConfig.

    TensorFlow 1.15 ignores the name of a graph optimizer that nobody registered and would train on the CPU.
    Importing npu_bridge registers NpuOptimizer. Its npu_init is never imported: from r1.9.0 on that replaces
    the constructor of tf.Session. The InputError where it cannot be imported begins with `asked`.
    """
    try:
        from npu_bridge.estimator.npu.npu_config import DumpConfig, NPURunConfig
    except Exception as error:  # a plugin built for another Python or protobuf fails in many ways
        version = '.'.join(map(str, sys.version_info[:3]))
        raise InputError(f'{asked}npu_bridge, the TensorFlow 1.15 plugin of CANN, cannot be imported '
                         f'({one_line(error)}) by {sys.executable} (Python {version}). {_cure()}, or use '
                         '--device cpu') from error
    return {*inspect.signature(NPURunConfig).parameters, *inspect.signature(DumpConfig).parameters}


def _cure() -> str:
    """What may make npu_bridge importable, as a sentence without its full stop."""
    if sys.version_info[:2] != (3, 7):
        return 'Start the Python 3.7 for which the plugin is built'
    source = '' if cann_variables() else (
        'CANN is not sourced: start with bash run.sh, bash train_1p.sh or bash test_1p.sh, which source it, or source '
        '/usr/local/Ascend/cann/set_env.sh (before CANN 9 ascend-toolkit/set_env.sh) and '
        '/usr/local/Ascend/tfplugin/set_env.sh')
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
        elif isinstance(value, int):
            optimizer.parameter_map[name].i = value
        else:
            optimizer.parameter_map[name].s = value.encode('utf-8')
    return config


def check_environment() -> None:
    """Raise InputError for a device number that would end the process; warn of a rank table for one device."""
    name = 'ASCEND_DEVICE_ID' if os.environ.get('ASCEND_DEVICE_ID') else 'DEVICE_ID'  # the first wins
    text = os.environ.get(name)
    if text and not re.fullmatch(NUMBER, text):
        raise InputError(f'{name} is {text!r}, expected a device number from 0. Correct or unset it')
    table = os.environ.get('RANK_TABLE_FILE')
    if table and is_one_device():
        print(f'warning: RANK_TABLE_FILE is {table!r}, but RANK_SIZE is that of one device: a rank table turns on the '
              'communication between devices. Unset RANK_TABLE_FILE', file=sys.stderr)
