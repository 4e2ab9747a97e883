"""Many devices as one: what each reads and scores, what they exchange, the learning rate; all in one process."""
import os
import signal
import sys
import threading
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import data_loader, score_utils
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava
from utils.data.bad_images import BadImages
from utils.data.epoch_plan import rank_slice, training_positions
from utils.data.image_set import ImageSet, Reading
from utils.device import device, distribute
from utils.training import callbacks, log, plan, state

sizes = st.integers(1, 9)


# --- what each device reads

@given(first=st.integers(0, 40), count=st.integers(0, 200), batchsize=sizes, size=sizes)
def test_all_devices_together_read_the_common_order_once(first, count, batchsize, size):
    shares = [training_positions(first, count, batchsize, (rank, size)) for rank in range(size)]
    steps = max(0, count - first) // (size * batchsize)
    assert [len(share) for share in shares] == [steps * batchsize] * size  # nobody waits for ever
    for rank, share in enumerate(shares):
        for step in range(steps):
            start = first + (step * size + rank) * batchsize
            assert share[step * batchsize:(step + 1) * batchsize].tolist() == list(range(start, start + batchsize))
    assert sorted(np.concatenate(shares)) == list(range(first, first + steps * size * batchsize))
    left_out = max(0, count - first) - steps * size * batchsize
    assert 0 <= left_out < size * batchsize


@given(count=st.integers(0, 200), size=sizes)
def test_the_parts_of_a_list_are_the_list(count, size):
    parts = [list(range(count))[rank_slice(count, (rank, size))] for rank in range(size)]
    assert sum(parts, []) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.fixture(scope='module')
def ratings(tmp_path_factory):
    """Thirteen images, two of them unreadable."""
    data = make_dataset(tmp_path_factory.mktemp('data'), 13)
    for number in (1002, 1007):
        (data.images / f'{number}.jpg').write_bytes(b'no image')
    return ava.read(str(data.labels), str(data.images))


READING = Reading(Preprocessing(32))


def batches(ratings, count, batchsize, shard, **position):
    """The first `count` batches of one device, and what it found unreadable."""
    bad = BadImages(ratings.count, share=0.5, report=lambda text: None)
    generator = data_loader.train_generator(batchsize, images=ImageSet(ratings, bad), reading=READING, seed=3,
                                            shard=shard, **position)
    found = [next(generator) for _ in range(count)]
    generator.close()
    return found, bad


@pytest.mark.parametrize('position', [{}, {'first_epoch': 1, 'first_image': 5}], ids=['from the start', 'in an epoch'])
def test_two_devices_read_what_one_with_twice_the_batch_reads(ratings, position):
    """Over the border of an epoch, with unreadable images, each of which is met by one device or the other."""
    (first, bad_first), (second, bad_second) = (batches(ratings, 5, 2, (rank, 2), **position) for rank in range(2))
    whole, bad = batches(ratings, 5, 4, (0, 1), **position)
    for step in range(5):
        for column in range(2):
            np.testing.assert_array_equal(np.concatenate([first[step][column], second[step][column]]),
                                          whole[step][column])
    assert set(np.flatnonzero(bad_first.mask | bad_second.mask)) == set(np.flatnonzero(bad.mask)) and bad.count


def test_validation_is_shared_in_order(ratings):
    def passes(shard):
        bad = BadImages(ratings.count, what='validation', share=0.5, report=lambda text: None)
        generator = data_loader.val_generator(3, images=ImageSet(ratings, bad), reading=READING, shard=shard)
        steps = -(-(rank_slice(ratings.count, shard).stop - rank_slice(ratings.count, shard).start) // 3)
        found = [np.concatenate([next(generator)[1] for _ in range(steps)]) for _ in range(2)]
        generator.close()
        np.testing.assert_array_equal(*found)
        return found[0]

    np.testing.assert_array_equal(np.concatenate([passes((rank, 3)) for rank in range(3)]), passes((0, 1)))


def test_too_many_devices_for_an_epoch():
    assert data_loader.steps_per_epoch(17, 100, 4, devices=2) == 2
    with pytest.raises(InputError, match=r'^batchsize 10 on each of 2 devices is more than the 17 training images of '
                                         'an epoch. Use --batchsize 8 or less$'):
        data_loader.steps_per_epoch(17, 100, 10, devices=2)
    with pytest.raises(InputError, match='Start fewer processes'):
        data_loader.steps_per_epoch(7, 100, 1, devices=8)


# --- what they exchange: a group of threads

class Threads(distribute.Group):
    """A rank that is a thread of this process."""

    def __init__(self, rank, size, shared):
        super().__init__(rank, size)
        self._shared = shared

    def total(self, array):
        assert array.dtype == np.int32
        self._shared['arrays'][self.rank] = array
        self._shared['barrier'].wait(30)
        result = sum(self._shared['arrays'][1:], self._shared['arrays'][0])
        self._shared['barrier'].wait(30)
        return result


def together(size, work):
    """What `work` gave in each of `size` ranks, by rank."""
    shared = {'arrays': [None] * size, 'barrier': threading.Barrier(size)}
    results = [None] * size

    def run(rank):
        results[rank] = work(Threads(rank, size, shared))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


values = st.lists(st.floats(allow_nan=False), min_size=2, max_size=2)
anything = st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)


@settings(max_examples=30)
@given(st.lists(st.tuples(values, anything), min_size=1, max_size=4))
def test_every_rank_has_the_values_of_all_to_the_bit(given_values):
    numbers, objects = zip(*given_values)
    for rows, found in together(len(given_values), lambda group: (group.gather(numbers[group.rank]),
                                                          group.gather_objects(objects[group.rank]))):
        np.testing.assert_array_equal(rows, np.array(numbers))
        assert found == list(objects)


def test_merged_distributions_are_the_same_bits():
    whole = np.random.RandomState(0).dirichlet(np.ones(10), 7).astype(np.float32)

    def work(group):
        own = np.zeros_like(whole)
        own[rank_slice(7, group.shard)] = whole[rank_slice(7, group.shard)]
        return group.merge(own)

    for merged in together(3, work):
        np.testing.assert_array_equal(merged, whole)


def test_rank_0_evaluates_all_predictions_once(monkeypatch, capsys):
    """Three devices, an image that only the second finds unreadable; a correlation is never a mean of correlations."""
    count, unreadable = 11, 5
    random = np.random.RandomState(1)
    true = random.dirichlet(np.ones(10), count)
    predicted = random.dirichlet(np.ones(10), count).astype(np.float32)
    monkeypatch.setattr(callbacks.nima, 'predict', lambda model, images, batchsize: images)
    ratings = ava.Ratings(np.arange(count).astype(str), np.full(count, ''), true)

    def work(group):
        bad = [BadImages(number, what=what, share=0.5, report=lambda text: None)
               for number, what in ((20, 'training'), (count, 'validation'))]
        own = range(count)[rank_slice(count, group.shard)]

        def generator():
            for start in range(0, len(own), 2):
                rows = [index for index in own[start:start + 2] if index != unreadable]
                if unreadable in own[start:start + 2]:
                    bad[1].add(unreadable, 'five.jpg', 'no image')
                yield predicted[rows], None

        validation = callbacks.Validation(None, generator(), ImageSet(ratings, bad[1]), bad[0], batchsize=2,
                                          group=group)
        validation.params = {'epochs': 2}
        logs = {'loss': 0.1, 'images_per_second': 1.0}
        validation.on_epoch_begin(0)
        bad[0].add(group.rank, f'{group.rank}.jpg', 'no image')
        validation.on_epoch_end(0, logs)
        return logs, bad

    results = together(3, work)
    kept = np.arange(count) != unreadable
    expected = log.validation_figures(true[kept], predicted[kept])
    assert {name: results[0][0][name] for name in expected} == expected
    assert expected['val_srcc'] == score_utils.metrics(true[kept], predicted[kept])['srcc_mean']
    assert all('val_srcc' not in logs for logs, _ in results[1:])
    assert [(bad[0].count, bad[1].count) for _, bad in results] == [(3, 1)] * 3
    out = capsys.readouterr().out
    assert out.count('epoch 1: loss') == 1 and 'unreadable images: 3 training, 1 validation' in out


@pytest.mark.parametrize('count, batches', [(7, 2), (2, 0)])
def test_a_signal_in_the_shared_validation_stops_all_at_the_same_position(monkeypatch, tmp_path, count, batches):
    """Three devices: of 7 images the last has a batch more than the others, of 2 the first has none.

    The signal comes to the first with its second batch, or with the last step. Threads stand for the devices.
    """
    saved = []
    monkeypatch.setattr(callbacks.nima, 'predict', lambda model, images, batchsize: images)
    monkeypatch.setattr(state.checkpoint, 'save', lambda model, path, metadata: saved.append(metadata['run']))
    distributions = np.full((1, 10), 0.1, np.float32)
    ratings = ava.Ratings(np.full(count, ''), np.full(count, ''), np.repeat(distributions, count, 0))

    def work(group):
        watch = types.SimpleNamespace(signal=None)
        training = state.TrainingState(state.Position(), {}, plan.Schedule(1, 6, 2), plan.Saving(str(tmp_path), ''),
                                       ids=lambda epoch: [], watch=watch, group=group)
        training.set_model(types.SimpleNamespace(layers=[], optimizer=None))
        predicted = []

        def generator():
            while True:
                predicted.append(1)
                watch.signal = signal.SIGTERM if (group.rank, len(predicted)) == (0, batches) else watch.signal
                yield distributions, None

        validation = callbacks.Validation(
            None, generator(), ImageSet(ratings, BadImages(count)), BadImages(6), pause=training.pause, batchsize=1,
            group=group)
        training.on_epoch_begin(0)
        training.on_batch_end(0, {'loss': 0.1})
        watch.signal = None if batches or group.rank else signal.SIGTERM
        training.on_epoch_end(0, {})
        with pytest.raises(SystemExit) as left:
            validation._predict()
        return left.value.code, len(predicted)

    assert together(3, work) == [(143, batches)] * 3
    assert [run['position']['images'] for run in saved] == [6]


def test_one_process_is_a_group_of_one():
    group = distribute.Group()
    assert (group.is_chief, group.shard, group.engine) == (True, (0, 1), 'none')
    np.testing.assert_array_equal(group.gather([1.5, 2]), [[1.5, 2]])
    assert group.gather_objects({'a': 1}) == [{'a': 1}]
    merged = np.full((2, 10), 0.1, np.float32)
    np.testing.assert_array_equal(group.merge(merged), merged)
    optimizer = tf.keras.optimizers.SGD(0.1)
    before = optimizer.get_gradients
    assert group.average(optimizer) is optimizer and optimizer.get_gradients == before
    group.barrier()


# --- the rest

@pytest.mark.parametrize('launched', [{'OMPI_COMM_WORLD_SIZE': '2'},
                                      {'HOROVOD_SIZE': '2', 'OMPI_COMM_WORLD_SIZE': '1'}])
def test_processes_that_horovod_does_not_join_are_an_input_error(monkeypatch, launched):
    for name in distribute.HOROVOD_SIZES:
        monkeypatch.delenv(name, raising=False)
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    library = types.SimpleNamespace(init=lambda: None, rank=lambda: 0, size=lambda: 1, local_rank=lambda: 0,
                                    local_size=lambda: 1)
    monkeypatch.setattr(distribute, '_import_horovod', lambda: library)
    with pytest.raises(InputError, match='^--distribute horovod: 2 processes were started, but Horovod joins only 1. '
                                         'Start them with horovodrun'):
        distribute.join('auto')


def test_horovod_that_is_not_there_is_an_input_error(monkeypatch):
    monkeypatch.setitem(sys.modules, 'horovod', None)
    with pytest.raises(InputError, match=r'^--distribute horovod: Horovod cannot be imported .*\. Build it with '
                                         'bash utils/horovod.sh$'):
        distribute.join('horovod')


@pytest.mark.parametrize('wanted, gpus, typed, cycle', [
    ('cpu', ['one'], None, '20'), ('auto', [], None, '20'), ('auto', ['one'], None, None), ('auto', [], '5', '5')])
def test_horovods_thread_leaves_the_cpu_alone(monkeypatch, wanted, gpus, typed, cycle):
    monkeypatch.setenv('HOROVOD_CYCLE_TIME', typed or '')
    if not typed:
        monkeypatch.delenv('HOROVOD_CYCLE_TIME')
    seen = []
    library = types.SimpleNamespace(init=lambda: seen.append(os.environ.get('HOROVOD_CYCLE_TIME')),
                                    **{name: lambda: 0 for name in ('rank', 'local_rank', 'local_size')},
                                    size=lambda: 1)
    monkeypatch.setattr(distribute, '_import_horovod', lambda: library)
    monkeypatch.setattr(device, '_gpus', lambda: gpus)
    device.join('horovod', wanted)
    assert seen == [cycle]


def test_the_processes_of_a_host_share_its_cores(monkeypatch):
    pinned = []
    monkeypatch.setattr(device.os, 'cpu_count', lambda: 64)  # of which a container has eight
    monkeypatch.setattr(device.os, 'sched_setaffinity', lambda process, cores: pinned.append(list(cores)))
    for cores, local_size in ((8, 3), (8, 16), (12, 3)):
        monkeypatch.setattr(device.os, 'sched_getaffinity',
                            lambda process, cores=cores: set(range(cores if process == os.getppid() else 8)))
        for rank in range(3):
            monkeypatch.setattr(distribute, 'join', lambda *_, rank=rank, size=local_size, **__: distribute.Group(
                rank, size, rank, size))
            device.join('auto')
    # Three processes on eight cores; sixteen, two a core; and cores that someone has shared out before.
    assert pinned == [[0, 1], [2, 3, 4], [5, 6, 7], [0], [0], [1]]


def test_the_rate_rises_in_the_first_epoch_and_stays():
    state = types.SimpleNamespace(epochs_done=0.0)
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))])
    model.compile(tf.keras.optimizers.SGD(0.1), 'mse')
    scaled = callbacks.Rate(plan.Schedule(7, 100, 10), state, 8)
    scaled.set_model(model)
    for epochs, rate in ((0.0, 0.1), (0.5, 0.45), (1.0, 0.8), (3.2, 0.8)):
        state.epochs_done = epochs
        scaled.on_batch_begin(0)
        assert tf.keras.backend.get_value(model.optimizer.lr) == pytest.approx(rate)
    tf.compat.v1.keras.backend.clear_session()
