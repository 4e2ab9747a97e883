"""The options of an NPU's session: each flag as a parameter of NpuOptimizer, checked by the release of npu_bridge."""
import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Set, Union

from utils.base import files, reading
from utils.base.defaults import BFLOAT16_MODES, PRECISION_MODES, PRECISION_MODES_V2
from utils.base.errors import InputError

# Options by the release of npu_bridge that brought them. The adapter ignores what it does not know without a word.
SINCE = {'op_compiler_cache_dir': 'r1.2.0 (CANN 20.2)', 'modify_mixlist': 'r1.5.0 (CANN 5.0.2)',
         'hccl_timeout': 'r1.7.0 (CANN 5.0.4)', 'op_wait_timeout': 'r1.7.0 (CANN 5.0.4)',
         'dump_data': 'r1.10.0 (CANN 6.0.RC1)', 'dump_layer': 'r1.10.0 (CANN 6.0.RC1)',
         'deterministic': 'r1.12.0 (CANN 6.3.RC1)', 'precision_mode_v2': 'r1.13.0 (CANN 6.3.RC2)'}
CAME_IN_R1_2_0, CAME_IN_R1_3_0, CAME_IN_R1_12_0 = 'op_compiler_cache_dir', 'session_device_id', 'deterministic'
# Values of precision_mode that r1.12.0 was the first to list.
NEWER_MODES = 'cube_fp16in_fp32out', *BFLOAT16_MODES
MIXED = 'allow_mix_precision', 'allow_mix_precision_bf16', 'mixed_float16', 'mixed_bfloat16'
NUMBER = '[0-9]{1,9}'
LONGEST = 2 ** 31 - 1  # seconds of a timeout

Parameters = Dict[str, Union[bool, int, str]]


class NpuOptions(NamedTuple):
    """The options of an NPU's session, under the names of the flags; None is off, or the default."""

    precision_mode: Optional[str] = None
    precision_mode_v2: Optional[str] = None
    modify_mixlist: Optional[str] = None
    deterministic: Optional[bool] = None
    op_compiler_cache_dir: Optional[str] = None
    profiling_dump_path: Optional[str] = None
    data_dump_path: Optional[str] = None
    data_dump_step: Optional[str] = None
    dump_data: Optional[str] = None
    dump_layer: Optional[str] = None
    over_dump_path: Optional[str] = None
    hccl_timeout: Optional[int] = None
    op_wait_timeout: Optional[int] = None

    def typed(self) -> List[str]:
        """The flags that are not at their default."""
        return [f'--{name}' for name, value in self._asdict().items() if value is not None]

    @property
    def mode(self) -> str:
        """The precision mode, of whichever of the two flags."""
        return self.precision_mode_v2 or self.precision_mode or PRECISION_MODES[0]


def is_one_device() -> bool:
    """Whether this process trains on a device alone."""
    return os.environ.get('RANK_SIZE', '') in ('', '1')


def host_parameters(known: Set[str]) -> Parameters:
    """The parameters of the input pipeline's session, which stays on the host.

    Without an NpuOptimizer of its own any session goes to the NPU once r1.9.0's npu_init is imported.
    """
    return {'use_off_line': False, **_no_sinking(known)}


def _no_sinking(known: Set[str]) -> Parameters:
    """What keeps the iterator on the host, where that is not the default; setting it warns from r1.10.0 on."""
    return {} if CAME_IN_R1_2_0 in known else {'enable_data_pre_proc': False}


def npu_parameters(options: NpuOptions, known: Set[str]) -> Parameters:
    """The parameters of NpuOptimizer for the training session; InputError names the flag that cannot be.

    `known` are the options of this release, see npu.import_adapter(). All is checked here: the adapter ignores keys
    and types that it does not know, and ends the process, with LOG(FATAL), at many values that it does not like.
    """
    for name, release in SINCE.items():
        if getattr(options, name) is not None and name not in known:
            raise _too_old(f'--{name}', release)
    parameters: Parameters = {'use_off_line': True, **_no_sinking(known), **_precision(options, known)}
    if options.modify_mixlist:
        parameters['modify_mixlist'] = _mixlist(options.modify_mixlist, options.mode)
    if options.deterministic:
        parameters['deterministic'] = 1
    for name in ('hccl_timeout', 'op_wait_timeout'):
        seconds = getattr(options, name)
        if seconds is not None:
            parameters[name] = _seconds(f'--{name}', seconds)
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


def _too_old(what: str, release: str) -> InputError:
    return InputError(f'{what} needs release {release} or later of npu_bridge, which this one is not. Leave the flag '
                      'out or update CANN')


def _precision(options: NpuOptions, known: Set[str]) -> Parameters:
    """The precision mode is always set: the default of CANN differs between the generations of devices."""
    if options.precision_mode and options.precision_mode_v2:
        raise InputError('--precision_mode and --precision_mode_v2 exclude each other. Leave one out')
    name, legal = ('precision_mode_v2', PRECISION_MODES_V2) if options.precision_mode_v2 else (
        'precision_mode', PRECISION_MODES)
    if options.mode not in legal:
        raise InputError(f'--{name}: found {options.mode!r}, expected one of {", ".join(legal)}')
    if name == 'precision_mode' and options.mode in NEWER_MODES and CAME_IN_R1_12_0 not in known:
        raise _too_old(f'--precision_mode {options.mode}', SINCE[CAME_IN_R1_12_0])
    return {name: options.mode}


def _dump_parameters(options: NpuOptions, known: Set[str]) -> Parameters:
    for name in ('data_dump_step', 'dump_data', 'dump_layer'):
        if getattr(options, name) is not None and not options.data_dump_path:
            raise InputError(f'--{name} needs --data_dump_path. Type the folder too')
    if options.data_dump_path and options.over_dump_path:
        raise InputError('--data_dump_path and --over_dump_path exclude each other, as CANN writes one dump at a time. '
                         'Leave one out')
    if options.data_dump_path:
        what = {name: getattr(options, name) for name in ('dump_data', 'dump_layer') if getattr(options, name)}
        return {'enable_dump': True, 'dump_path': _folder('--data_dump_path', options.data_dump_path),
                'dump_step': _steps(options.data_dump_step or '0'), 'dump_mode': 'all', **what}
    if options.over_dump_path:
        if CAME_IN_R1_3_0 not in known and not is_one_device():
            raise InputError(f'--over_dump_path: RANK_SIZE is {os.environ["RANK_SIZE"]}, but CANN 20.2 records '
                             'overflows on one device only. Leave the flag out')
        # 'all' is the only mode of an A2 or A3.
        return {'enable_dump_debug': True, 'dump_path': _folder('--over_dump_path', options.over_dump_path),
                'dump_debug_mode': 'all'}
    return {}


def _mixlist(path: str, mode: str) -> str:
    if mode not in MIXED:
        raise InputError(f'--modify_mixlist needs a precision mode of {", ".join(MIXED)}, found {mode}. Leave one of '
                         'the two out')
    try:
        if isinstance(reading.read_json(path), dict):
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


def _seconds(flag: str, value: Any) -> int:
    if not 0 < value <= LONGEST:
        raise InputError(f'{flag}: found {value} seconds, expected 1 to {LONGEST}')
    return value


def _steps(text: str) -> str:
    parts = text.split('|')
    ranges = [re.fullmatch(f'({NUMBER})(?:-({NUMBER}))?', part) for part in parts]
    ordered = all(found and (found.group(2) is None or int(found.group(1)) < int(found.group(2))) for found in ranges)
    if not ordered or len(parts) > 100:
        raise InputError(f"--data_dump_step: found {text!r}, expected up to 100 steps and rising ranges such as "
                         "'0|5|10-20'")
    return text
