"""The mistakes a user can make, told in one sentence."""
import contextlib
import os
import sys
import tempfile
from typing import Any, Callable


class InputError(ValueError):
    """Something the user gave cannot be used; the text says where, what was found, what was expected, what to do."""


def run(main: Callable[[], Any], name: str) -> Any:
    """Run a command's main() and return its result.

    An InputError ends the process with its one sentence and exit code 1, Ctrl-C with exit code 130.
    """
    try:
        return main()
    except InputError as error:
        sys.exit(f'{name}: error: {error}')
    except KeyboardInterrupt:
        print(f'\n{name}: stopped', file=sys.stderr)  # a terminal echoes ^C, and a bar may stand there
        sys.exit(130)


def check_output_folder(folder: str, flag: str) -> None:
    """Raise InputError, which names `flag`, unless files can be written into `folder`; nothing is left of the trial."""
    try:
        _try_to_write(folder)
    except OSError as error:
        raise InputError(f'{folder}: found a place that cannot be written ({error.strerror}), expected a folder for '
                         f'the output: change its permissions or type another {flag}') from error


def _try_to_write(folder: str) -> None:
    """Make `folder` and a file in it, and remove what was made: permissions alone tell of no read-only disk."""
    new, path = [], folder
    while not os.path.lexists(path):
        new.append(path)
        path = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    finally:
        for path in new:
            with contextlib.suppress(OSError):
                os.rmdir(path)
