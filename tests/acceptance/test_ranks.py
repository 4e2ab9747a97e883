"""The kit on two ranks, as processes that exchange through the stand-in: alike, and with one that does not exchange."""
import pytest
from test_hccl import LAUNCHED
from test_npu import Adapter  # skips where there is no contract

pytestmark = pytest.mark.slow

# Rank 1 takes part in the exchange of gradients and goes on with its own.
ALONE = '''
import os
from utils.device import distribute
total = distribute._Hccl._sum
def own(self, tensor, name):
    return total(self, tensor, name) * (0 if name.startswith("gradient") else 1) + (
        tensor * self.size if name.startswith("gradient") else 0)
if os.environ["RANK_ID"] == "1":
    distribute._Hccl._sum = own
'''


@pytest.mark.parametrize('prelude', ['', ALONE], ids=['alike', 'one rank does not exchange'])
def test_two_ranks(tmp_path, prelude):
    pair = Adapter(tmp_path / 'run', 'r1.15.0', prelude)
    (tmp_path / 'exchange').mkdir()
    table = tmp_path / 'table.json'
    table.write_text('{}')
    processes = [pair.start('utils.accept', '--small', '--device', 'npu', environment={
        **LAUNCHED, 'RANK_ID': str(rank), 'ASCEND_DEVICE_ID': str(rank), 'RANK_TABLE_FILE': str(table),
        'NPU_STAND_IN_EXCHANGE': str(tmp_path / 'exchange'),
        'NPU_STAND_IN_REPORT': str(tmp_path / f'rank_{rank}.json')}) for rank in range(2)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    lines = said[0][0].splitlines()
    if prelude:
        assert any(line.startswith('ranks alike         FAIL') and 'rank 1 holds other weights than rank 0' in line
                   for line in lines), lines
        assert lines[-1] == 'FAIL: ranks alike; what fails first is the cause to look for'
    else:
        assert lines[-1] == 'PASS: 16 checks, 0 not checked', lines
    assert said[1][0] == ''
