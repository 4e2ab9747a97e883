"""The acceptance kit with several ranks: two processes, or one with a made-up other."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from test_hccl import LAUNCHED
from test_npu import Adapter  # skips where there is no contract to make the stand-in from

from utils.acceptance import fixture, kit, ranks, references
from utils.acceptance.outcome import FAIL, PASS
from utils.base.errors import InputError
from utils.device import device

HOROVODRUN = Path(sys.executable).with_name('horovodrun')


class TwoRanks(device.Group):
    """A group of which this process is rank 0; the other rank ends with weights that differ by `apart`."""

    def __init__(self, apart):
        super().__init__(0, 2)
        self.apart = apart

    def gather(self, values):
        return np.array([values, np.add(values, self.apart)])


@pytest.mark.parametrize('apart, status', [(0, PASS), (1e-7, FAIL)])
def test_a_rank_with_other_weights_is_named(monkeypatch, apart, status):
    reference = references.of_size(fixture.SMALL, 'float32')
    monkeypatch.setattr(ranks, 'train', lambda *_: reference.figures)
    run = device.Run('npu', None, group=TwoRanks(apart))
    alike, as_one = ranks.check(None, fixture.SMALL, run, reference)
    assert (alike.status, as_one.status) == (status, PASS)
    assert status == PASS or alike.text.startswith('rank 1 holds other weights than rank 0')


@pytest.mark.parametrize('rows, named', [([[1.0], [np.nan]], '1'), ([[np.nan], [np.inf]], '0, 1')])
def test_weights_that_are_not_finite_are_said_to_be_so(rows, named):
    outcome = ranks._alike(np.array(rows))
    assert outcome.status == FAIL and outcome.text.startswith(f'the weights of rank {named} are not finite. Likely')


def test_a_rank_that_cannot_continue_ends(monkeypatch):
    """The others wait for it in an exchange, and not in one of the outcomes."""
    def broken(*_):
        raise tf.errors.InternalError(None, None, 'GeOp1_0GEOP::::DoRunAsync Failed')

    monkeypatch.setattr(kit, 'build_network', broken)
    with pytest.raises(InputError, match='^rank 0 of 2: building the network: GeOp1_0GEOP::::DoRunAsync Failed. If '
                                         'another rank ended before, its output has the reason$'):
        kit.check_all(kit.Plan(fixture.SMALL, 'float32', speed=False), device.Run('npu', None, group=TwoRanks(0)))


ENDS_ALONE = '''
import os, runpy, sys
import tensorflow as tf
from utils.acceptance import measure
def broken(*_):
    raise tf.errors.InternalError(None, None, 'planted')
if os.environ['HOROVOD_RANK'] == '1':
    measure.train_all = broken
sys.argv = ['accept', '--small', '--device', 'cpu']
runpy.run_module('utils.accept', run_name='__main__')
'''


@pytest.mark.slow
@pytest.mark.skipif(not HOROVODRUN.exists(), reason='no Horovod in this environment: bash utils/horovod.sh builds it')
def test_one_rank_that_fails_alone_ends_all(tmp_path):
    done = subprocess.run([str(HOROVODRUN), '-np', '2', sys.executable, '-c', ENDS_ALONE], cwd=str(ROOT), timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode != 0
    assert 'accept: error: rank 1 of 2: 10 training steps, saving, loading and repeating: planted. If ' in done.stdout


@pytest.mark.parametrize('size, fits', [('abc', False), ('0', False), ('08', True)])
def test_the_script_refuses_a_rank_size_that_is_no_number(size, fits):
    done = subprocess.run(['bash', str(ROOT / 'test' / 'accept_1p.sh'), '--help'], capture_output=True, text=True,
                          env={**os.environ, 'RANK_SIZE': size})
    assert (done.returncode, done.stderr) == (0, '') if fits else (
        1, f"accept_1p.sh: error: RANK_SIZE is '{size}', expected a whole number from 1. For one device unset it\n")


def together(folder, release, preludes=('', '')):
    """(what the kit found in two ranks of that release, the sessions of each); each begins with its prelude."""
    for name in ('', 'exchange'):
        (folder / name).mkdir(exist_ok=True)
    (folder / 'table.json').write_text('{}')
    processes = [Adapter(folder, release, prelude).start(
        'utils.accept', '--small', '--device', 'npu', '--json', folder / 'kit.json', environment={
            **LAUNCHED, 'RANK_ID': str(rank), 'ASCEND_DEVICE_ID': str(rank),
            'RANK_TABLE_FILE': str(folder / 'table.json'), 'NPU_STAND_IN_EXCHANGE': str(folder / 'exchange'),
            'NPU_STAND_IN_REPORT': str(folder / f'rank_{rank}.json')}) for rank, prelude in enumerate(preludes)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert 'ranks alike ' in said[0][0] and said[1][0] == ''  # rank 0 speaks for all
    return json.loads((folder / 'kit.json').read_text()), [
        json.loads((folder / f'rank_{rank}.json').read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize('release', ['r1.2.0', 'r1.15.0'])
def test_two_ranks_pass_every_check(tmp_path, release):
    found, sessions = together(tmp_path, release)
    assert (found['passed'], found['ranks'], found['device']) == (True, 2, 'npu')
    for checks in found['checks']:
        assert {each['check']: each['status'] for each in checks} == dict.fromkeys(kit.CHECKS, PASS)
    for npu, *_ in sessions:
        assert len(npu['steps']) == 14
        exchanged = [step['types'].get('HcomAllReduce', 0) for step in npu['steps'] if step['feeds']]
        assert sorted(number for number in exchanged if number > 1) == [83, 83, 83]  # a step of each training


KEEPS_ITS_OWN = '''
import tensorflow as tf
from utils.device import distribute
exchange = distribute._Hccl._sum
def keep(self, tensor, name):
    summed = exchange(self, tensor, name)
    if not name.startswith('gradient'):
        return summed
    with tf.control_dependencies([summed]):
        return tensor * self.size
distribute._Hccl._sum = keep
'''


@pytest.mark.slow
def test_one_rank_that_does_not_exchange_is_flagged(tmp_path):
    """It takes part, or the other would wait for it, and goes on with its own gradients."""
    found, _ = together(tmp_path, 'r1.2.0', ('', KEEPS_ITS_OWN))
    for checks in found['checks']:
        failed = [each for each in checks if each['status'] == FAIL]
        assert failed[0]['check'] == 'ranks alike' and failed[0]['where'] == 'rank 1'
        assert failed[0]['text'].startswith('rank 1 holds other weights than rank 0. Likely cause: that rank')
        assert {each['check'] for each in failed} <= set(kit.RANKS)
    assert found['checks'][1][-1]['status'] == FAIL  # rank 1 has the weights of its own half of the images


@pytest.mark.slow
@pytest.mark.skipif(not HOROVODRUN.exists(), reason='no Horovod in this environment: bash utils/horovod.sh builds it')
def test_two_ranks_of_horovod_pass_every_check(tmp_path):
    done = subprocess.run([str(HOROVODRUN), '-np', '2', 'bash', str(ROOT / 'test' / 'accept_1p.sh'), '--device', 'cpu',
                           '--small', '--speed', '--json', str(tmp_path / 'kit.json')], cwd=str(tmp_path),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    for checks in json.loads((tmp_path / 'kit.json').read_text())['checks']:
        assert {each['check']: each['status'] for each in checks} == dict.fromkeys(kit.CHECKS, PASS)
