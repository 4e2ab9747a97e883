"""When Python looks for reference cycles: seldom while packages are imported, whose million objects all stay."""
import gc

_USUAL, _SELDOM = gc.get_threshold(), 50000  # new objects between two looks


def collect_seldom() -> None:
    """At the start of a command: looking through what is being imported takes a fifth of the time of eval.py."""
    gc.set_threshold(_SELDOM)


def collect_as_usual() -> None:
    """Once packages are imported: what is there stays, and is not looked through again; what is made from now on is.

    Nothing changes where a program calls this project's functions, and not its commands.
    """
    if gc.get_threshold()[0] == _SELDOM:
        gc.freeze()
        gc.set_threshold(*_USUAL)
