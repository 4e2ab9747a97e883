"""The mistakes a user can make, told in one sentence."""
import sys
from typing import Any, Callable


class InputError(ValueError):
    """Something the user gave cannot be used; the text says where, what was found, what was expected, what to do."""


def run(main: Callable[[], Any], name: str) -> None:
    """Run a command's main(); an InputError ends the process with its one sentence and exit code 1."""
    try:
        main()
    except InputError as error:
        sys.exit(f'{name}: error: {error}')
