"""Boot file for ModelArts: copies the data in, runs one of the model zoo's scripts, and copies its output back.

    python3 modelarts_entry.py --data_url=obs://bucket/AVA --train_url=obs://bucket/output [flags of train.py]

Not run on ModelArts here. Addresses with :// go through moxing, which its images have; others are folders.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from utils.base import errors
from utils.base.defaults import from_root
from utils.base.errors import InputError
from utils.base.parser import make_parser


def _flags(argv):
    """The flags of this file, and the rest, for train.py."""
    parser = make_parser('Runs a script of test/ on ModelArts. Other flags are those of that script and of train.py.')
    parser.add_argument('--data_url', required=True, metavar='URL|DIR',
                        help='holds AVA_dataset/ and the pre-trained weights, or is AVA_dataset/ itself')
    parser.add_argument('--train_url', required=True, metavar='URL|DIR', help='receives checkpoints, logs and results')
    parser.add_argument('--script', default='train_full_1p.sh',
                        choices=[f'train_{kind}_{number}p.sh' for kind in ('full', 'performance') for number in (1, 8)],
                        help='of test/ (default: train_full_1p.sh)')
    return parser.parse_known_args(argv)


def _copy(source, target):
    """Copy a folder with all that it holds, by moxing where one of the two is no folder of this machine."""
    if '://' in source + target:
        try:
            import moxing
        except ImportError as error:
            raise InputError(f'{source if "://" in source else target}: moxing cannot be imported ({error}), expected '
                             "ModelArts, whose images have it. Use a folder of this machine") from error
        moxing.file.copy_parallel(source, target)
        return
    for folder, _, names in os.walk(source):
        there = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(there, exist_ok=True)
        for name in names:
            shutil.copy2(os.path.join(folder, name), there)


def _run(command):
    """The exit code of a command, which gets SIGTERM and SIGINT too: it saves and stops."""
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


def main(argv=None):
    """Copy the data in, train, copy the output back, after a failure too; ends with the exit code of the script."""
    flags, more = _flags(argv)
    with tempfile.TemporaryDirectory(prefix='nima_') as scratch:
        data = flags.data_url
        if '://' in data:
            data = os.path.join(scratch, 'data')
            _copy(flags.data_url, data)
        code = _run(['bash', from_root(os.path.join('test', flags.script)), f'--data_path={data}', *more])
        output = from_root('test/output')
        if os.path.isdir(output):
            _copy(output, flags.train_url)
    sys.exit(code)


if __name__ == '__main__':
    errors.run(main, 'modelarts_entry.py')
