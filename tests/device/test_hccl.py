"""Many NPUs through HCCL, against the stand-in for the adapter: what each step exchanges, and what is refused."""
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_dataset, small_network
from test_npu import (  # skips where there is no contract to make the stand-in from
    HOST,
    NPU,
    SMALL,
    TINY,
    Adapter,
    adapter,  # noqa: F401
    main_steps,
    no_device,  # noqa: F401
    releases,
)

from utils import nima
from utils.base.errors import InputError
from utils.device import device, distribute

LAUNCHED = {'RANK_SIZE': '2', 'RANK_ID': '1', 'JOB_ID': '10087'}


@pytest.fixture
def launched(no_device, tmp_path):  # noqa: F811
    """The environment of the second of two ranks."""
    for name in (*distribute.HOROVOD_SIZES, 'RANK_ID', 'JOB_ID'):
        no_device.delenv(name, raising=False)
    table = tmp_path / 'table.json'
    table.write_text('{}')
    for name, value in {**LAUNCHED, 'RANK_TABLE_FILE': str(table)}.items():
        no_device.setenv(name, value)
    return no_device


# --- joining

def test_auto_follows_the_environment(launched):
    group = distribute.join('auto')
    assert (group.engine, group.rank, group.size, group.is_chief) == ('hccl', 1, 2, False)
    launched.setenv('RANK_ID', '0')
    assert distribute.join('auto').is_chief and distribute.join('hccl').is_chief
    launched.setenv('RANK_SIZE', '1')
    assert (distribute.join('auto').engine, distribute.join('hccl').size) == ('none', 1)
    launched.delenv('RANK_SIZE')
    assert (distribute.join('auto').engine, distribute.join('none').size) == ('none', 1)


@pytest.mark.parametrize('engine, name, value, text', [
    ('hccl', 'RANK_SIZE', None, 'RANK_SIZE is not set, expected a whole number from 0. Start a training'),
    ('auto', 'RANK_SIZE', 'eight', "RANK_SIZE is 'eight', expected a whole number"),
    ('auto', 'RANK_ID', None, 'RANK_ID is not set, expected a whole number'),
    ('auto', 'RANK_ID', '2', 'RANK_ID is 2, expected a number below RANK_SIZE, 2. Start a training with bash'),
    ('auto', 'JOB_ID', None, 'JOB_ID is not set, but RANK_SIZE is 2: HCCL needs a number that all ranks'),
    ('auto', 'RANK_TABLE_FILE', '/nowhere.json', "RANK_TABLE_FILE is '/nowhere.json', expected the file that"),
    ('auto', 'RANK_TABLE_FILE', None, "RANK_TABLE_FILE is '', expected the file that lists"),
    ('auto', 'HOROVOD_SIZE', '2', '--distribute auto: RANK_SIZE is 2 in a process of horovodrun or mpirun'),
])
def test_an_environment_that_no_launcher_makes_is_refused(launched, engine, name, value, text):
    if value is None:
        launched.delenv(name)
    else:
        launched.setenv(name, value)
    with pytest.raises(InputError, match='^' + re.escape(text)):
        distribute.join(engine)


def test_what_is_missing_names_the_start_of_the_acceptance_kit_too(launched):
    launched.delenv('JOB_ID')
    with pytest.raises(InputError, match='such as 10087. Start a training with bash train_8p.sh.*; docs/acceptance.md '
                                         'says how to start the acceptance kit$'):
        distribute.join('auto')


def test_hccl_is_for_npus_alone(launched):
    with pytest.raises(InputError, match='^--device cpu: the 2 processes are joined by hccl, which is for NPUs. Start '
                                         'with bash train_8p.sh .*unset RANK_SIZE$'), \
            device.open_run('cpu', group=distribute.join('auto')):
        pass


# --- what a step exchanges

def built(run, network):
    """The trained model in the session of `run`, its train function made and its weights broadcast."""
    tf.keras.backend.set_learning_phase(1)
    model = nima.with_head(network((32, 32, 3)), 0.75)
    optimizer = nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6)
    model.compile(run.distribute(optimizer), loss=nima.earth_mover_loss)
    assert type(model.optimizer).__name__ == 'SGD' and model.optimizer is optimizer
    run.initialise()
    run.group.broadcast(model.weights)
    model.train_on_batch(np.zeros((2, 32, 32, 3), np.float32), np.full((2, 10), 0.1, np.float32))
    return model


def collectives(adapter):  # noqa: F811
    """How many of each kind every executed step of the NPU's session held, those without left out."""
    counts = [{name: number for name, number in step['types'].items() if name.startswith('Hcom')}
              for step in adapter.reports()[0]['steps']]
    return [each for each in counts if each]


def mobilenet(shape):
    return tf.keras.applications.MobileNet(shape, include_top=False, pooling='avg', weights=None)


def test_one_allreduce_a_trainable_tensor_and_one_broadcast_a_weight(adapter, launched):  # noqa: F811
    with device.open_run('npu', group=distribute.join('auto')) as run:
        model = built(run, mobilenet)
        assert (len(model.trainable_weights), len(model.weights)) == (83, 137)
        assert collectives(adapter) == [{'HcomBroadcast': 137}, {'HcomAllReduce': 83}]


@releases
def test_every_release_takes_the_exchange(adapter, launched):  # noqa: F811
    with device.open_run('npu', group=distribute.join('auto')) as run:
        built(run, small_network)
        rows = run.group.gather([1.5, -2.0])
        np.testing.assert_array_equal(rows, [[0, 0], [1.5, -2.0]])  # the stand-in's other rank sends zeros
        assert collectives(adapter) == [{'HcomBroadcast': 7}, {'HcomAllReduce': 5}, {'HcomAllReduce': 1}]


def test_two_trainings_of_one_graph_exchange_their_own_gradients(adapter, launched):  # noqa: F811
    with device.open_run('npu', group=distribute.join('auto')) as run:
        model = built(run, small_network)
        image = tf.keras.Input((32, 32, 3), name='other')
        other = tf.keras.Model(image, model(image))
        other.compile(run.distribute(nima.optimizer('sgd', 1e-4, momentum=0.9, decay=1e-6)), nima.earth_mover_loss)
        for each in (other, model):
            each.train_on_batch(np.zeros((2, 32, 32, 3), np.float32), np.full((2, 10), 0.1, np.float32))
        first, second = (step for step in adapter.reports()[0]['steps'] if 'HcomAllReduce' in step['types'])
        assert first['types']['HcomAllReduce'] == second['types']['HcomAllReduce'] == 5
        assert [len(step['feeds']) for step in (first, second)] == [2, 2] and not {*first['feeds']} & {*second['feeds']}


def test_one_device_exchanges_nothing(adapter, no_device):  # noqa: F811
    with device.open_run('npu', group=distribute.join('auto')) as run:
        built(run, small_network)
        np.testing.assert_array_equal(run.group.gather([1.5, -2.0]), [[1.5, -2.0]])
        assert collectives(adapter) == []


@pytest.mark.parametrize('take, text', [
    ('JOB_ID', 'HcomAllReduce: JOB_ID is not set'), ('RANK_TABLE_FILE', 'HcomAllReduce: RANK_TABLE_FILE is not set')])
def test_the_stand_in_bites(adapter, launched, take, text):  # noqa: F811
    group = distribute.join('auto')
    launched.delenv(take)
    with device.open_run('npu', group=group), pytest.raises(adapter.ContractError, match=text):
        group._sum(tf.constant(1.0), 'one')


@pytest.mark.parametrize('tensor, text', [
    (lambda: tf.constant(1.0, tf.float64), 'float64 is no type that HCCL sends'),
    (lambda: tf.compat.v1.placeholder(tf.float32, [None]), 'which is not static')])
def test_the_stand_in_takes_what_hccl_takes(adapter, launched, tensor, text):  # noqa: F811
    group = distribute.join('auto')
    with device.open_run('npu', group=group), pytest.raises(adapter.ContractError, match=text):
        group._sum(tensor(), 'one')


# --- whole runs

def launch(folder, data, release, prelude, *more):
    """Two ranks of train.py that end well: what each said, the sessions of each, the folder of checkpoints."""
    pair = Adapter(folder, release, prelude)
    (folder / 'exchange').mkdir()
    (folder / 'table.json').write_text('{}')
    model = folder / 'model'
    processes = [pair.start('train', *data.flags, *TINY, '--TMP_MODEL_PATF', model, '--TMP_LOG_PATH', folder / 'log',
                            *more, environment={
                                **LAUNCHED, 'RANK_ID': str(rank), 'ASCEND_DEVICE_ID': str(rank),
                                'RANK_TABLE_FILE': str(folder / 'table.json'),
                                'NPU_STAND_IN_EXCHANGE': str(folder / 'exchange'),
                                'NPU_STAND_IN_REPORT': str(folder / f'rank_{rank}.json')}) for rank in range(2)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said, [json.loads((folder / f'rank_{rank}.json').read_text()) for rank in range(2)], model


@pytest.mark.parametrize('release, prelude, tensors, weights', [
    pytest.param('r1.2.0', SMALL, 5, 7, id='r1.2.0'),
    pytest.param('r1.15.0', '', 83, 137, marks=pytest.mark.slow, id='r1.15.0')])
def test_two_ranks_train_as_a_whole(tmp_path, release, prelude, tensors, weights):
    data = make_dataset(tmp_path / 'data', 16)
    said, sessions, model = launch(tmp_path / 'run', data, release, prelude, '--epochs', '2', '--batchsize', '5')
    assert '2 devices, joined by hccl: 2 x 5 = 10 images a step' in said[0][0]
    assert said[0][0].count('epoch 2: loss') == 1 and said[1][0] == ''
    assert sorted(os.listdir(str(model))) == ['model_001.h5', 'model_002.h5']
    for npu, *hosts in sessions:
        assert npu['parameters'] == NPU and [host['parameters'] for host in hosts] == [HOST] * 2
        assert not any(session['open'] for session in (npu, *hosts))
        exchanged = [step['types'].get('HcomAllReduce', 0) for step in main_steps(npu)]
        assert exchanged == [tensors, 0]  # the step of training, and the prediction
        broadcasts = [step['types'].get('HcomBroadcast', 0) for step in npu['steps']]
        assert [number for number in broadcasts if number] == [weights]
    tf.compat.v1.keras.backend.clear_session()
    loaded = tf.keras.models.load_model(str(model / 'model_002.h5'),
                                        custom_objects={'earth_mover_loss': nima.earth_mover_loss})
    assert type(loaded.optimizer).__name__ == 'SGD'
    tf.compat.v1.keras.backend.clear_session()
