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

from utils.base import errors, files
from utils.base.defaults import from_root
from utils.base.parser import make_parser, typed_path

OUTPUT = from_root('test/output')


def _address(text):
    return text if '://' in text else typed_path(text)


def _flags(argv):
    """The flags of this file, and the rest, for train.py."""
    parser = make_parser('Runs a script of test/ on ModelArts. Other flags are those of that script and of train.py.')
    parser.add_argument('--data_url', required=True, type=_address, metavar='URL|DIR',
                        help='holds AVA_dataset/ and the pre-trained weights, or is AVA_dataset/ itself')
    parser.add_argument('--train_url', required=True, type=_address, metavar='URL|DIR', help='receives the output')
    parser.add_argument('--script', default='train_full_1p.sh',
                        choices=[f'train_{kind}_{number}p.sh' for kind in ('full', 'performance') for number in (1, 8)],
                        help='of test/ (default: train_full_1p.sh)')
    return parser.parse_known_args(argv)


def _moxing(address):
    """The module that copies from and to `address`; InputError where it is missing."""
    try:
        import moxing
    except ImportError as error:
        raise errors.InputError(f'{address}: moxing cannot be imported ({error}), expected ModelArts, whose images '
                                'have it. Use a folder of this machine') from error
    return moxing


def _copy(source, target):
    """Copy a folder with all that it holds, by moxing where one of the two is no folder of this machine."""
    if '://' in source + target:
        _moxing(source if '://' in source else target).file.copy_parallel(source, target)
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


def _folders():
    """The folders of OUTPUT by name, open: one that is removed and made anew, as the script does, is another one."""
    names = os.listdir(OUTPUT) if os.path.isdir(OUTPUT) else []
    return {name: os.open(os.path.join(OUTPUT, name), os.O_RDONLY) for name in names}


def _deliver(earlier, target, code):
    """Copy the folders that the script made; those of `earlier` are other runs'."""
    for name, made in _folders().items():
        if name not in earlier or not os.path.samestat(os.fstat(made), os.fstat(earlier[name])):
            with files.writing(target, f'The script ended with exit code {code}; its output is in {OUTPUT}/{name}'):
                _copy(os.path.join(OUTPUT, name), os.path.join(target, name))


def main(argv=None):
    """Copy the data in, train, copy the output back, after a failure too; ends with the exit code of the script."""
    flags, more = _flags(argv)
    if '://' in flags.train_url:
        _moxing(flags.train_url)
    else:
        files.require_writable(flags.train_url, '--train_url')
    with tempfile.TemporaryDirectory(prefix='nima_') as scratch:
        data = flags.data_url
        if '://' in data:
            data = os.path.join(scratch, 'data')
            _copy(flags.data_url, data)
        earlier = _folders()
        code = _run(['bash', from_root(os.path.join('test', flags.script)), f'--data_path={data}', *more])
        _deliver(earlier, flags.train_url, code)
    sys.exit(code)


if __name__ == '__main__':
    errors.run(main, 'modelarts_entry.py')
