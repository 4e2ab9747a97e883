"""When Python looks for reference cycles: seldom while packages are imported, whose million objects all stay."""
import gc

_USUAL, _SELDOM = gc.get_threshold(), 50000  # new objects between two looks


def collect_seldom() -> None:
    """At the start of a command: looking through what is being imported takes a fifth of the time of eval.py."""
    gc.set_threshold(_SELDOM)


def collect_as_usual() -> None:
    """Once a device is open: what is there stays, and is not looked through again; what is made from now on is.

    Commands that open none go on as they are. Nothing changes where a program calls this project's functions, and not
    its commands.
    """
    if gc.get_threshold()[0] == _SELDOM:
        keep()


def keep() -> None:
    """collect_as_usual(), at the end of a command: there Python would look through everything three times."""
    gc.set_threshold(*_USUAL)
    if hasattr(gc, 'freeze'):  # Python 3.6, which is refused in a sentence, has none
        gc.freeze()
