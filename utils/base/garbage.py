"""How often Python collects garbage: seldom while packages are imported, whose million objects are never freed."""
import gc

_USUAL, _SELDOM = gc.get_threshold(), 50000  # new objects between two collections


def collect_seldom() -> None:
    """For the start of a command: collecting during the imports takes a fifth of the time of eval.py."""
    gc.set_threshold(_SELDOM)


def collect_as_usual() -> None:
    """For the end of the imports, before training or scoring: exempt all objects so far, and use Python's thresholds.

    It does nothing without collect_seldom(), as when another program calls this project's functions.
    """
    if gc.get_threshold()[0] == _SELDOM:
        freeze()


def freeze() -> None:
    """For the end of a command too, when Python would collect everything three times."""
    gc.set_threshold(*_USUAL)
    if hasattr(gc, 'freeze'):  # not in Python 3.6, whose users get an error in one sentence
        gc.freeze()
