"""The mistakes a user can make, told in one sentence."""
import importlib.util
import os
import shlex
import sys
from typing import Any, Callable, Dict

from utils.base.defaults import ROOT, from_root

PACKAGES = 'tensorflow', 'numpy', 'scipy', 'h5py', 'google'  # of requirements.txt, as imported; google is protobuf


class InputError(ValueError):
    """Something the user gave cannot be used; the text says where, what was found, what was expected, what to do."""


def run(main: Callable[[], Any], name: str) -> Any:
    """Run a command's main() and return its result.

    An InputError ends the process with its one sentence and exit code 1, a package that is not there too, Ctrl-C
    with exit code 130.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '1')  # as utils/env.sh does: no notes of TensorFlow on this CPU
    try:
        return main()
    except InputError as error:
        sys.exit(f'{name}: error: {error}')
    except ModuleNotFoundError as error:
        package = (error.name or '').split('.')[0]
        if package not in PACKAGES:
            raise
        sys.exit(f'{name}: error: {_wrong_python(package)}')
    except KeyboardInterrupt:
        print(f'\n{name}: stopped', file=sys.stderr)  # a terminal echoes ^C, and a bar may stand there
        sys.exit(130)


def _wrong_python(package: str) -> str:
    activate = os.path.join(ROOT, '.venv', 'bin', 'activate')
    start = shlex.quote(os.path.join(ROOT, 'train_1p.sh'))
    how = '' if os.path.isfile(activate) else f' (bash {start} --help makes it)'
    return (f'{sys.executable}: found a Python without the package {package}, expected one with what requirements.txt '
            f'names: start with bash train_1p.sh or bash test_1p.sh, which find such a Python, or type first: '
            f'source {shlex.quote(activate)}{how}')


def command_of(file: str) -> str:
    """How to start a file of this project, named from the root, with this Python from any folder."""
    return f'{shlex.quote(sys.executable)} {shlex.quote(os.path.join(ROOT, file))}'


def require_packages(flag: str, packages: Dict[str, str], purpose: str, requirements: str) -> None:
    """Raise InputError, which names `flag`, where an optional package of the file `requirements` is not installed.

    `packages` maps a name to import to the name to install.
    """
    missing = [name for package, name in packages.items() if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f'{flag}: found a Python without {" and ".join(missing)}, expected {purpose}: type '
                         f'{shlex.quote(sys.executable)} -m pip install -r {shlex.quote(from_root(requirements))}')
