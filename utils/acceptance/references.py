"""references.json: the figures of a CPU in float32, and how far the emulated precision modes are from them."""
import functools
import os
import shlex
from typing import Any, Dict, NamedTuple

from utils.acceptance import figures
from utils.acceptance.figures import Figures
from utils.acceptance.fixture import Size
from utils.base import reading
from utils.base.defaults import ROOT
from utils.base.errors import InputError
from utils.device.npu_options import NpuOptions

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'references.json')
# By the precision mode of an NPU; a CPU and a GPU compute in float32.
BOUNDS_OF = {'allow_mix_precision': 'mixed', 'allow_fp32_to_fp16': 'mixed', 'mixed_float16': 'mixed',
             'force_fp32': 'mixed', 'cube_fp16in_fp32out': 'mixed', 'force_fp16': 'float16', 'fp16': 'float16',
             'allow_mix_precision_bf16': 'bfloat16', 'allow_fp32_to_bf16': 'bfloat16', 'mixed_bfloat16': 'bfloat16',
             'must_keep_origin_dtype': 'float32', 'origin': 'float32'}


class Reference(NamedTuple):
    """What one size of the network gives."""

    figures: Figures
    bounds: Dict[str, Dict[str, float]]  # of one precision, by check and name
    loss_r1: float                       # of the first step, were its exponent r 1 and not 2


@functools.lru_cache(maxsize=None)
def content() -> Dict[str, Any]:
    """The whole file: `commits` by part, `host`, `bounds` by precision, `sizes` by name.

    InputError where it cannot be read.
    """
    try:
        found = reading.read_json(PATH)
        return {name: found[name] for name in ('commits', 'host', 'bounds', 'sizes', *found)}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f'{PATH} is missing or damaged ({" ".join(str(error).split())}). Bring it back: git -C '
                         f'{shlex.quote(ROOT)} checkout utils/acceptance/references.json') from error


def of_size(size: Size, precision: str) -> Reference:
    """The reference of a size with the bounds of a precision, such as 'float16'."""
    found = content()['sizes'][size.name]
    return Reference(figures.from_json(found['figures']), content()['bounds'][precision], found['loss_r1'])


def precision_of(device: str, options: NpuOptions) -> str:
    """Which bounds are those of a device with these options of an NPU."""
    return BOUNDS_OF[options.mode] if device == 'npu' else 'float32'
