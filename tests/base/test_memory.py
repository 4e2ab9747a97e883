"""What the loader asks of the C library's memory."""
import inspect
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

import train
from utils import data_loader
from utils.base import memory
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava, pipeline
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet, Reading
from utils.device import device

READING = Reading(Preprocessing(image_size=32))


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
    monkeypatch.setattr(memory.ctypes, 'CDLL', lambda path: Library)
    assert memory.keep_freed() is asked
    assert [setting for setting, _ in calls] == ([-1, -4, -8] if asked else [])


def test_a_library_without_such_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, 'CDLL', lambda path: object())
    assert memory.keep_freed() is False


def measured(code):
    """The number that `code` prints in a process of its own, after whether memory could be asked for."""
    done = subprocess.run([sys.executable, '-c', code], cwd=str(ROOT), capture_output=True, text=True, check=True)
    asked, number = done.stdout.split()
    if asked == 'False':
        pytest.skip('this C library has no mallopt, the environment sets it, or there is not so much memory')
    return int(number)


def test_freed_memory_is_used_again_without_page_faults():
    code = ('import resource\nfrom utils.base import memory\nasked = memory.keep_freed()\n'
            'for _ in range(30):\n'
            '    if _ == 10: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n'
            '    block = bytearray(60 << 20); del block\n'
            'print(asked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)')
    assert measured(code) < 20 * (60 << 20) // 4096 // 10  # of those that fresh pages would cost


def test_more_than_two_gibibytes_are_kept_too():
    """-1 is never, 2 ** 31 - 1 is not; what is taken here is never touched."""
    code = ('import numpy as np\nfrom utils.base import memory\nasked = memory.keep_freed()\n'
            'try: block = np.empty(5 << 29, np.uint8); del block\n'
            'except MemoryError: asked = False\n'
            'print(asked, int(open("/proc/self/statm").read().split()[0]) * 4096)')
    assert measured(code) > 5 << 29


@pytest.mark.parametrize('kept', [True, False])
def test_a_pool_is_taken_at_once_where_it_is_kept(monkeypatch, kept):
    started = []

    class Thread:
        def __init__(self, target):
            self.start = lambda: started.append(target())

    monkeypatch.setattr(memory.threading, 'Thread', Thread)
    monkeypatch.setattr(memory, 'keep_freed', lambda: kept)
    memory.fill_pool(1 << 20)
    memory.fill_pool(1 << 60)  # more than there is: batches come one by one then
    assert started == [None, None] * kept


def test_training_asks_before_any_thread(dataset, tmp_path, monkeypatch):
    """A thread that allocates before has an arena of its own, which gives back what it holds for ever."""
    events, start = [], threading.Thread.start

    def no_device(*arguments, **more):
        raise InputError('far enough')

    monkeypatch.setattr(memory, 'keep_freed', lambda: events.append('asked'))
    monkeypatch.setattr(threading.Thread, 'start', lambda thread: (events.append('thread'), start(thread)))
    monkeypatch.setattr(device, 'open_run', no_device)
    with pytest.raises(InputError, match='far enough'):
        train.main([*dataset.flags, '--val_size', '2', '--batchsize', '2', '--weights', 'none', '--TMP_MODEL_PATF',
                    str(tmp_path / 'model'), '--TMP_LOG_PATH', str(tmp_path / 'log')])
    assert events[0] == 'asked' and 'thread' in events


def test_training_takes_a_pool_of_batches(dataset, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, 'fill_pool', asked.append)
    ratings = ava.read(str(dataset.labels), str(dataset.images))
    next(data_loader.train_generator(4, images=ImageSet(ratings, BadImages(12)), reading=READING))
    assert asked == [pipeline.POOL_BATCHES * 4 * 32 * 32 * 3 * 4]


def test_rows_are_read_by_what_is_written_and_not_by_autographs_rewriting():
    files = []

    def read_row(row):
        files.append(inspect.currentframe().f_code.co_filename)
        return row['path'],

    pipeline.Pipeline(read_row, ['path'], batchsize=1).close()
    assert files == [__file__]
