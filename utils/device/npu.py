"""What an Ascend NPU's session is told: flags and environment become parameters of NpuOptimizer, checked here."""
import contextlib
import json
import os
import re
import sys
from typing import Dict, List, NamedTuple, Optional, Set, Union

from utils.base.defaults import PRECISION_MODES
from utils.base.errors import InputError

# Parameters that came after the adapter's first release. It ignores what it does not know without a word.
SINCE = {'op_compiler_cache_dir': 'r1.2.0 (CANN 20.2)', 'modify_mixlist': 'r1.5.0 (CANN 5.0.2)'}
CAME_IN_R1_3_0 = 'session_device_id'
NUMBER = '[0-9]{1,9}'

Parameters = Dict[str, Union[bool, str]]


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


def _is_one_device() -> bool:
    return os.environ.get('RANK_SIZE', '') in ('', '1')


def check_environment() -> None:
    """Raise InputError for a device number that would end the process; warn of a rank table for one device."""
    name = 'ASCEND_DEVICE_ID' if os.environ.get('ASCEND_DEVICE_ID') else 'DEVICE_ID'  # the first wins
    text = os.environ.get(name)
    if text and not re.fullmatch(NUMBER, text):
        raise InputError(f'{name}: found {text!r}, expected the number of a device from 0: set it anew or unset it')
    table = os.environ.get('RANK_TABLE_FILE')
    if table and _is_one_device():
        print(f'warning: RANK_TABLE_FILE: found {table!r} beside a RANK_SIZE of one device, expected no table, which '
              'turns on the communication between devices: unset RANK_TABLE_FILE', file=sys.stderr)


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
            raise InputError(f'--{name}: the installed adapter does not know it, expected release {release} or '
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
    parameters.update(_dump_parameters(options, known))
    return parameters


def _dump_parameters(options: NpuOptions, known: Set[str]) -> Parameters:
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
        if CAME_IN_R1_3_0 not in known and not _is_one_device():
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
    ranges = [re.fullmatch(f'({NUMBER})(?:-({NUMBER}))?', part) for part in parts]
    ordered = all(found and (found.group(2) is None or int(found.group(1)) < int(found.group(2))) for found in ranges)
    if not ordered or len(parts) > 100:
        raise InputError(f"--data_dump_step: found {text!r}, expected up to 100 steps and rising ranges such as "
                         "'0|5|10-20'")
    return text
