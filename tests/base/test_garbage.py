"""utils/base/garbage.py: a command looks for garbage seldom until its packages are imported, then as Python does."""
import gc
import weakref

import pytest

from utils.base import errors, garbage
from utils.device import device


@pytest.fixture(autouse=True)
def nothing_is_kept():
    gc.unfreeze()
    yield
    gc.unfreeze()


class Node:
    """Part of a cycle, which only the collector frees."""

    def __init__(self):
        self.itself = self


def freed_after(objects):
    """Whether a cycle is gone once so many objects have been made after it."""
    cycle = weakref.ref(Node())
    kept = [[] for _ in range(objects)]
    return cycle() is None and len(kept) == objects


def test_a_command_looks_seldom_until_its_device_is_open():
    usual = gc.get_threshold()

    def main():
        before = gc.get_threshold(), freed_after(5000)
        with device.open_run('cpu'):
            return before, (gc.get_threshold(), freed_after(5000))

    seldom, opened = errors.run(main, 'command')
    assert seldom == ((50000, *usual[1:]), False) and opened == (usual, True)
    assert gc.get_threshold() == usual


def test_what_is_there_is_looked_through_no_longer():
    cycle = weakref.ref(Node())
    garbage.collect_as_usual()  # in no command
    assert gc.get_freeze_count() == 0
    garbage.collect_seldom()
    garbage.collect_as_usual()
    gc.collect()
    assert cycle() is not None and gc.get_freeze_count() > 10 ** 5
    gc.unfreeze()
    gc.collect()
    assert cycle() is None


def test_a_python_without_freezing_is_not_refused_here(monkeypatch):
    usual = gc.get_threshold()
    monkeypatch.delattr(gc, 'freeze')  # Python 3.6: what is wrong with it is said in a sentence
    assert errors.run(lambda: 1, 'command') == 1 and gc.get_threshold() == usual
