"""references.json: the figures of a CPU in float32, and how far the emulated precision modes are from them."""
import functools
import json
import os
from typing import Any, Dict, NamedTuple

from utils.acceptance import figures
from utils.acceptance.figures import Figures
from utils.acceptance.fixture import Size
from utils.base.defaults import PRECISION_MODES

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'references.json')
# By the precision mode of an NPU; a CPU and a GPU compute in float32.
BOUNDS_OF = {'allow_mix_precision': 'mixed', 'allow_fp32_to_fp16': 'mixed', 'force_fp16': 'float16',
             'must_keep_origin_dtype': 'float32'}


class Reference(NamedTuple):
    """What one size of the network gives."""

    figures: Figures
    bounds: Dict[str, Dict[str, float]]  # of one precision, by check and name
    loss_r1: float                       # of the first step, were its exponent r 1 and not 2


@functools.lru_cache(maxsize=None)
def content() -> Dict[str, Any]:
    """The whole file: `commit` and `made_by`, `host`, and the sizes by their names."""
    with open(PATH, encoding='utf-8') as stream:
        return json.load(stream)


def of_size(size: Size, precision: str) -> Reference:
    """The reference of a size with the bounds of 'float32', 'mixed' or 'float16'."""
    found = content()['sizes'][size.name]
    return Reference(figures.from_json(found['figures']), found['bounds'][precision], found['loss_r1'])


def precision_of(device: str, options: Dict[str, str]) -> str:
    """Which bounds are those of a device; `options` are the flags of an NPU that were typed."""
    return BOUNDS_OF[options.get('precision_mode', PRECISION_MODES[0])] if device == 'npu' else 'float32'
