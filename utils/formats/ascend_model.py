"""An Ascend offline model (.om): the atc command that makes it from a frozen graph, and the AIPP configuration."""
import contextlib
import os
import shlex
import shutil
import subprocess
from typing import Iterator, List

from utils.base.errors import InputError
from utils.formats import frozen
from utils.formats.exporters import Export, Request
from utils.formats.frozen import INPUT, OUTPUT

TENSORFLOW = 3  # atc's number of the framework
AIPP_FILE, SCRIPT = 'aipp.cfg', 'atc.sh'

# On the device a pixel becomes (pixel - mean - min) * var_reci: here (x - 127.5) / 127.5, as in training. `mean` is a
# whole number in atc's format, `min` is not, hence the 127.5 is there.
_AIPP = '''aipp_op {{
    aipp_mode: static
    input_format: RGB888_U8
    src_image_size_w: {size}
    src_image_size_h: {size}
    csc_switch: false
    rbuv_swap_switch: false
    mean_chn_0: 0
    mean_chn_1: 0
    mean_chn_2: 0
    min_chn_0: 127.5
    min_chn_1: 127.5
    min_chn_2: 127.5
    var_reci_chn_0: {factor}
    var_reci_chn_1: {factor}
    var_reci_chn_2: {factor}
}}
'''


@contextlib.contextmanager
def export(request: Request) -> Iterator[Export]:
    """Write the frozen graph and atc's command, and run it where atc is; hands out how to call the graph."""
    size, name, options = request.preprocessing.image_size, request.name, request.options
    words = command(name, image_size=size, batchsize=options.batchsize or 1, soc_version=options.soc_version,
                    with_aipp=options.aipp)
    write(request.folder, words, image_size=size, with_aipp=options.aipp)
    with frozen.export(request) as graph:
        made = run(request.folder, words, name)
        notes = [f'atc: {as_typed(words)}',
                 f'{name}.om: made by atc' if made else f'no atc on the PATH: run {SCRIPT} where CANN is, to make '
                                                        f'{name}.om']
        inputs = graph.inputs
        if options.aipp:
            inputs = {key: f'uint8 [{options.batchsize}, {size}, {size}, 3], RGB; of the frozen graph {shape}'
                      for key, shape in inputs.items()}
        yield graph._replace(inputs=inputs, notes=notes)


def aipp(image_size: int) -> str:
    """The configuration with which the device takes pixels, uint8 [N, S, S, 3] RGB, instead of floats in [-1, 1]."""
    return _AIPP.format(size=image_size, factor=f'{1 / 127.5:.10f}')


def command(name: str, *, image_size: int, batchsize: int, soc_version: str, with_aipp: bool) -> List[str]:
    """atc's words for NAME.pb -> NAME.om, to be run in the folder where the files are."""
    words = ['atc', f'--model={name}.pb', f'--framework={TENSORFLOW}', f'--output={name}', '--input_format=NHWC',
             f'--input_shape={INPUT}:{batchsize},{image_size},{image_size},3', f'--out_nodes={OUTPUT}:0',
             f'--soc_version={soc_version}', '--log=error']
    return words + [f'--insert_op_conf={AIPP_FILE}'] * with_aipp


def as_typed(words: List[str]) -> str:
    """The command in one line for a shell."""
    return ' '.join(map(shlex.quote, words))


def write(folder: str, words: List[str], *, image_size: int, with_aipp: bool) -> None:
    """Write the command as a script that runs from anywhere, and the AIPP configuration where it is wanted."""
    if with_aipp:
        with open(os.path.join(folder, AIPP_FILE), 'w', encoding='ascii') as stream:
            stream.write(aipp(image_size))
    path = os.path.join(folder, SCRIPT)
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('#!/usr/bin/env bash\nset -euo pipefail\ncd -- "$(dirname -- "${BASH_SOURCE[0]}")"\n'
                     f'{as_typed(words)}\n')
    os.chmod(path, 0o755)


def run(folder: str, words: List[str], name: str) -> bool:
    """Run atc in `folder` where it is on the PATH; returns whether NAME.om is there. InputError where atc fails."""
    if shutil.which(words[0]) is None:
        return False
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode or not os.path.isfile(os.path.join(folder, name + '.om')):
        printed = done.stdout.decode('utf-8', 'replace').split('\n')
        last = ' / '.join([line.strip() for line in printed if line.strip()][-3:])
        raise InputError(f'{shutil.which(words[0])} wrote no {name}.om and ended with code {done.returncode}: '
                         f'{last[:400] or "no output"}. Source set_env.sh of CANN, correct --soc_version, or take atc '
                         'off the PATH to get the files and the command alone')
    return True
