"""Errors that a user can mend, each printed as one sentence or two."""
import importlib.util
import os
import shlex
import sys
from typing import Any, Callable, Dict, NoReturn, Optional

from utils.base import garbage, interrupts, packages, streams
from utils.base.defaults import ROOT, from_root
from utils.base.text import printable

PACKAGES = 'tensorflow', 'numpy', 'scipy', 'h5py', 'google'  # of requirements.txt, as imported; google is protobuf
OUT_OF_MEMORY = 'out of memory. Use a smaller --batchsize, or end other programs'


class InputError(ValueError):
    """Something the user gave cannot be used; the text says where, what was found, what was expected, what to do."""


def run(main: Callable[[], Any], name: str, *, log_only: bool = False) -> Any:
    """Run a command's main() and return its result.

    An InputError, a missing or unfit package, or a standard output that cannot be written ends the process with its
    sentence and exit code 1, Ctrl-C with exit code 130, a standard output that nobody reads any longer silently with
    141. `log_only` is whether what is printed is a log alone, see streams.settle().
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '1')  # as utils/env.sh does: no TensorFlow notes about this CPU
    garbage.collect_seldom()
    try:
        with interrupts.handled():
            wrong = streams.settle(log_only) or _unfit_packages()
            if wrong:
                raise InputError(wrong)
            try:
                return main()
            finally:
                sys.stdout.flush()  # at exit it would be too late for a sentence
    except InputError as error:
        _end(name, str(error))
    except streams.OutputError as error:
        if error.is_unread:
            sys.exit(streams.BROKEN_PIPE)
        _end(name, str(error))
    except MemoryError:
        _end(name, OUT_OF_MEMORY)
    except ModuleNotFoundError as error:
        package = (error.name or '').split('.')[0]
        if package not in PACKAGES:
            raise
        _end(name, _wrong_python(package))
    except KeyboardInterrupt:
        print(f'\n{name}: stopped', file=sys.stderr)  # the terminal has echoed ^C, or shows a bar
        sys.exit(interrupts.EXIT_CODE)
    except Exception as error:
        if type(error).__name__ != 'ResourceExhaustedError':  # TensorFlow's, which is not imported here
            raise
        _end(name, OUT_OF_MEMORY)
    finally:
        garbage.freeze()


def _end(name: str, sentence: str) -> NoReturn:
    """End with one line: the names in it are those of a stranger's files, and may hold line ends and control codes."""
    sys.exit(f'{name}: error: {printable(sentence)}')


def _unfit_packages() -> Optional[str]:
    """What is wrong with the packages of this Python, as a sentence; None for --help, which needs none."""
    wrong = None if {'-h', '--help'} & set(sys.argv[1:]) else packages.problem()
    return wrong if wrong is None or 'Install' in wrong else f'{wrong}. {_start_it()}'


def _wrong_python(package: str) -> str:
    return f'{sys.executable} has no package {package}. {_start_it()}'


def _start_it() -> str:
    typed = os.path.relpath(os.path.abspath(sys.argv[0]), ROOT)
    return f'Start it with {" ".join([command_of(typed), *map(shlex.quote, sys.argv[1:])])}'


def command_of(file: str) -> str:
    """The shell command that runs `file`, named from the root, from any folder: bash /.../run.sh -m utils.labels."""
    module = file.startswith(('utils/', 'benchmarks/'))
    words = f'-m {file[:-len(".py")].replace("/", ".")}' if module else shlex.quote(file)
    return f'bash {shlex.quote(os.path.join(ROOT, "run.sh"))} {words}'


def require_packages(flag: str, packages: Dict[str, str], requirements: str) -> None:
    """Raise InputError, which names `flag`, where an optional package of the file `requirements` is not installed.

    `packages` maps a name to import to the name to install.
    """
    missing = [name for package, name in packages.items() if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f'{flag} needs {" and ".join(missing)}, which this Python does not have. Type '
                         f'{install_command(requirements)}')


def install_command(requirements: str) -> str:
    """The shell command that installs a file of optional requirements."""
    return f'{shlex.quote(sys.executable)} -m pip install -r {shlex.quote(from_root(requirements))}'
