"""What the loader asks of the C library's memory."""
import inspect
import subprocess
import sys

import pytest
import tensorflow as tf
from conftest import ROOT

from utils import ava, data_loader, pipeline


@pytest.mark.parametrize('name, value, asked', [('PATH', '/bin', True), ('MALLOC_ARENA_MAX', '1', False),
                                                ('GLIBC_TUNABLES', 'glibc.malloc.arena_max=1', False)])
def test_settings_in_the_environment_are_left_alone(monkeypatch, name, value, asked):
    calls = []

    class Library:
        @staticmethod
        def mallopt(setting, number):
            calls.append((setting, number))
            return 1

    for other in ('MALLOC_ARENA_MAX', 'GLIBC_TUNABLES'):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(pipeline.ctypes, 'CDLL', lambda path: Library)
    assert pipeline.keep_freed_memory() is asked
    assert [setting for setting, _ in calls] == ([-1, -4, -8] if asked else [])


def test_a_library_without_such_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(pipeline.ctypes, 'CDLL', lambda path: object())
    assert pipeline.keep_freed_memory() is False


def test_freed_memory_is_used_again_without_page_faults():
    code = ('import resource\nfrom utils import pipeline\nasked = pipeline.keep_freed_memory()\n'
            'for _ in range(30):\n'
            '    if _ == 10: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n'
            '    block = bytearray(60 << 20); del block\n'
            'print(asked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)')
    done = subprocess.run([sys.executable, '-c', code], cwd=str(ROOT), capture_output=True, text=True, check=True)
    asked, faults = done.stdout.split()
    if asked == 'False':
        pytest.skip('this C library has no mallopt, or the environment sets it')
    assert int(faults) < 20 * (60 << 20) // 4096 // 10  # of those that fresh pages would cost


@pytest.mark.parametrize('kept', [True, False])
def test_a_pool_is_taken_at_once_where_it_is_kept(monkeypatch, kept):
    started = []

    class Thread:
        def __init__(self, target):
            self.start = lambda: started.append(target())

    monkeypatch.setattr(pipeline.threading, 'Thread', Thread)
    monkeypatch.setattr(pipeline, 'keep_freed_memory', lambda: kept)
    pipeline.fill_pool(1 << 20)
    pipeline.fill_pool(1 << 60)  # more than there is: batches come one by one then
    assert started == [None, None] * kept


def test_training_takes_a_pool_of_batches(dataset, monkeypatch):
    asked = []
    monkeypatch.setattr(data_loader, 'fill_pool', asked.append)
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    next(data_loader.train_generator(4, ratings=ratings, image_size=32))
    assert asked == [pipeline.POOL_BATCHES * 4 * 32 * 32 * 3 * 4]


def test_rows_are_read_by_what_is_written_and_not_by_autographs_rewriting():
    files = []

    def read_row(path):
        files.append(inspect.currentframe().f_code.co_filename)
        return path,

    pipeline.Pipeline(read_row, ((tf.string, ()),), batchsize=1).close()
    assert files == [__file__]
