"""train_8p.sh and the rank table: fake devices, the environment of each rank, one that fails, Ctrl-C."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_env import GOOD, ROOT, Machine, script

from utils.base.errors import InputError
from utils.device import rank_table

# A rank that prints its flags and environment and then does what HOW names: end, wait, or fail in rank 2 while
# the others wait.
RANK = '''
import json, os, signal, sys, time
wanted = 'RANK', 'ASCEND_DEVICE', 'JOB', 'HCCL', 'CM_', 'DEVICE', 'LOCAL'
said = {name: value for name, value in os.environ.items() if name.startswith(wanted)}
print(json.dumps({'args': sys.argv[1:], 'ignores': signal.getsignal(signal.SIGINT) is signal.SIG_IGN, **said}))
sys.stdout.flush()
how, rank = os.environ.get('HOW', 'end'), os.environ['RANK_ID']
if how == 'fail' and rank == '2':
    sys.exit('train.py: error: no such luck')
signals = []
def note(number, _):
    signals.append(number)
    if how == 'wait':
        print('saved', flush=True)
        sys.exit(int(os.environ.get('CODE', 143)))
    if how in ('fail', 'one') and len(signals) == 2 or how == 'one' and rank == '0':
        os._exit(143)
if how == 'stuck':
    note = signal.SIG_IGN
signal.signal(signal.SIGTERM, note)
open(os.path.join(os.environ['READY'], rank), 'w').close()
deadline = time.monotonic() + 60
while how != 'end' and time.monotonic() < deadline:
    time.sleep(0.01)
    if how == 'stuck' and rank == '0' and len(os.listdir(os.environ['READY'])) == 4:
        sys.exit(7)
'''
HCCN_TOOL = '#!/usr/bin/env bash\n[[ $1 == -i && $3 == -ip && $4 == -g ]] && echo "ipaddr:192.168.100.$((100 + $2))"\n'

pytestmark = pytest.mark.skipif(os.path.exists('/usr/local/Ascend'), reason='this machine has an Ascend of its own')


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.active_python(GOOD)
    for tool in ('mkdir', 'tee', 'sleep', 'hostname'):
        (machine.tools / tool).symlink_to(shutil.which(tool))
    script(machine.bin / 'hccn_tool', HCCN_TOOL)
    shutil.copy(str(ROOT / 'train_8p.sh'), str(machine.root))
    for path in (ROOT / 'utils').glob('**/*.py'):
        copy = machine.root / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(str(path), str(copy))
    (machine.root / 'train.py').write_text(RANK)
    machine.ready = tmp_path / 'ready'
    machine.ready.mkdir()
    return machine


def start(machine, *arguments, **environment):
    environment = {'PATH': f'{machine.bin}:{machine.tools}', 'HOME': str(machine.home), 'READY': str(machine.ready),
                   'ASCEND_VISIBLE_DEVICES': '0-3', **environment}
    return subprocess.Popen(['bash', str(machine.root / 'train_8p.sh'), *arguments], text=True, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=str(machine.folder))


def logs(machine):
    folder = machine.root / 'log' / 'ranks'
    return {int(path.stem[5:]): path.read_text() for path in sorted(folder.glob('rank_*.log'))}


def wait_until_ready(machine, count=4):
    deadline = time.monotonic() + 60
    while len(list(machine.ready.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.01)


def test_each_rank_has_its_environment_and_its_log(machine):
    process = start(machine, '--epochs', '1', '--TMP_LOG_PATH', 'a folder', ASCEND_VISIBLE_DEVICES='1,4-5,7',
                    CM_CHIEF_IP='10.0.0.1', DEVICE_ID='6')
    out, errors = process.communicate()
    assert process.returncode == 0 and errors.count('\n') == 1
    assert errors.startswith('warning: ') and '4 devices of a server (1, 4, 5, 7). A first-generation' in errors
    table = machine.root / 'log' / 'ranks' / 'rank_table.json'
    said = {rank: json.loads(text) for rank, text in logs(machine).items()}
    assert json.loads(out) == said[0]
    common = {'args': ['--device', 'npu', '--distribute', 'hccl', '--epochs', '1', '--TMP_LOG_PATH', 'a folder'],
              'RANK_SIZE': '4', 'RANK_TABLE_FILE': str(table), 'JOB_ID': '10087', 'HCCL_CONNECT_TIMEOUT': '600',
              'LOCAL_SIZE': '4', 'ignores': True}
    assert said == {rank: {**common, 'RANK_ID': str(rank), 'ASCEND_DEVICE_ID': str(rank), 'LOCAL_RANK': str(rank)}
                    for rank in range(4)}  # the logical numbers, while the table has the physical ones
    assert json.loads(table.read_text())['server_list'][0]['device'] == [
        {'device_id': device, 'device_ip': f'192.168.100.10{device}', 'rank_id': str(rank)}
        for rank, device in enumerate('1457')]


def table_of(*servers):
    """A table of hosts with these names, two devices each."""
    ranks = iter(range(2 * len(servers)))
    return {'server_count': str(len(servers)), 'status': 'completed', 'server_list': [
        {'server_id': name, 'device': [{'device_id': device, 'device_ip': '192.168.1.1', 'rank_id': str(next(ranks))}
                                       for device in '01']} for name in servers]}


def test_a_given_table_of_several_hosts(machine):
    table = machine.folder / 'table.json'
    table.write_text(json.dumps(table_of('10.0.0.1', '10.0.0.2')))
    process = start(machine, RANK_TABLE_FILE=str(table), SERVER_ID='10.0.0.2', JOB_ID='7', HCCL_CONNECT_TIMEOUT='9')
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, '')
    said = {rank: json.loads(text) for rank, text in logs(machine).items()}
    assert json.loads(out) == said[2]
    assert [(rank, each['RANK_SIZE'], each['ASCEND_DEVICE_ID'], each['LOCAL_RANK'], each['LOCAL_SIZE'])
            for rank, each in said.items()] == [(2, '4', '0', '0', '2'), (3, '4', '1', '1', '2')]
    assert {(each['RANK_TABLE_FILE'], each['JOB_ID'], each['HCCL_CONNECT_TIMEOUT']) for each in said.values()} == {
        (str(table), '7', '9')}


def test_one_that_fails_stops_all_and_the_exit_code_says_so(machine):
    process = start(machine, HOW='fail', NIMA_STOP_SECONDS='1')
    _, errors = process.communicate(timeout=60)
    log = machine.root / 'log' / 'ranks' / 'rank_2.log'
    assert process.returncode == 1
    assert errors == (f'train_8p.sh: error: rank 2 ended with exit code 1, the others were stopped. The reason is in '
                      f'{log}; run the same command with --resume to continue\n')
    assert log.read_text().endswith('train.py: error: no such luck\n')


def test_those_that_do_not_stop_are_killed(machine):
    process = start(machine, HOW='stuck', NIMA_STOP_SECONDS='1')
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 7 and 'rank 0 ended with exit code 7' in errors


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_all_of_them_save(machine, number, code):
    process = start(machine, HOW='wait')
    wait_until_ready(machine)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, '')
    assert [text.splitlines()[1:] for text in logs(machine).values()] == [['saved']] * 4


@pytest.mark.parametrize('code, text', [(0, r'$'), (1, r'train_8p\.sh: error: rank \d ended with exit code 1, the')])
def test_a_stop_that_did_not_come_about_is_not_called_one(machine, code, text):
    """A signal after the last step, and a state that cannot be saved."""
    process = start(machine, HOW='wait', CODE=str(code))
    wait_until_ready(machine)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code and re.match(text, errors), errors


def test_nobody_waits_for_ranks_that_one_signal_does_not_stop(machine):
    """As when Ctrl-C comes while they start: one is gone, the others wait for it."""
    process = start(machine, HOW='one', NIMA_STOP_SECONDS='1')
    wait_until_ready(machine)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, '')


@pytest.mark.parametrize('environment, text', [
    ({'ASCEND_VISIBLE_DEVICES': ''}, r'rank_table: error: no device /dev/davinci\[0-9\]\* found\. Start the '),
    ({'ASCEND_VISIBLE_DEVICES': '3-1'}, "rank_table: error: ASCEND_VISIBLE_DEVICES is '3-1', expected numbers "),
    ({'RANK_TABLE_FILE': '/nowhere.json'}, r'rank_table: error: /nowhere.json is no rank table \(FileNotFound'),
])
def test_a_host_without_ranks_starts_nothing(machine, environment, text):
    process = start(machine, **environment)
    out, errors = process.communicate()
    assert process.returncode == 1 and out == '' and logs(machine) == {}
    assert re.match(text, errors) and errors.count('\n') == 1


# --- the rank table, in this process

@pytest.fixture
def visible(monkeypatch):
    monkeypatch.delenv('SERVER_ID', raising=False)

    def see(text):
        monkeypatch.setenv('ASCEND_VISIBLE_DEVICES', text)
        return rank_table.devices()
    return see


@pytest.mark.parametrize('text, numbers', [('0', [0]), ('0-3', [0, 1, 2, 3]), ('4, 6-7,1', [4, 6, 7, 1])])
def test_devices_are_those_that_are_visible(visible, text, numbers):
    assert visible(text) == numbers


@pytest.mark.parametrize('text', ['a', '1-', '0,0', '0-3,2', '3-2', ',', '\u0663'])
def test_what_names_no_devices_is_refused(visible, text):
    with pytest.raises(InputError, match=f'^ASCEND_VISIBLE_DEVICES is {re.escape(repr(text))}'):
        visible(text)


def with_nodes(monkeypatch, numbers):
    monkeypatch.setattr(rank_table.glob, 'glob', lambda pattern: [f'/dev/davinci{number}' for number in numbers])


@pytest.mark.parametrize('nodes, text, physical, logical', [
    ([4, 5, 6, 7], '4-7', [4, 5, 6, 7], [0, 1, 2, 3]),      # a container with the second half of a host
    ([4, 10, 6], '', [10, 4], [2, 0]),                      # nodes are sorted by number
    (range(8), '4-7', [4, 5, 6, 7], [4, 5, 6, 7]),          # a whole host, of which four are chosen
    (range(8), '', range(8), list(range(8))),
    ([], '6,2', [6, 2], [1, 0]),                            # no node in /dev: what the container runtime has set
])
def test_the_logical_number_is_the_position_among_the_devices(visible, monkeypatch, nodes, text, physical, logical):
    with_nodes(monkeypatch, nodes)
    monkeypatch.setenv('ASCEND_VISIBLE_DEVICES', text)
    assert rank_table.logical(physical) == logical


def test_a_device_of_the_table_that_is_not_there_is_named(monkeypatch):
    with_nodes(monkeypatch, [4, 5])
    with pytest.raises(InputError, match=r'^device 0 of the rank table is not there, but 4, 5 are\. A table has the '):
        rank_table.logical([0, 1])


@pytest.mark.parametrize('numbers, words', [
    ([0], None), ([0, 1], None), ([4, 6], None), ([3, 4], '2 devices of a server (3, 4). A first-generation Ascend '),
    ([0, 1, 2], '3 devices of a server (0, 1, 2)'), ([4, 5, 6, 7], None), ([2, 3, 4, 5], '4 devices of a server'),
    (range(8), None), (range(6), '6 devices of a server'), (range(16), '16 devices of a server')])
def test_what_a_first_generation_910_does_not_take_is_said(numbers, words):
    table = {'server_list': [{'device': [{'device_id': str(number)} for number in numbers]}]}
    found = rank_table.unusual(table)
    assert found is None if words is None else found.startswith(words)


def test_addresses_stand_in_the_file_of_the_driver(tmp_path, monkeypatch):
    conf = tmp_path / 'hccn.conf'
    conf.write_text('netmask_0=255.255.255.0\naddress_0=192.168.1.5\naddress_10 = 192.168.1.7\n')
    monkeypatch.setattr(rank_table, 'ADDRESSES', str(conf))
    monkeypatch.setenv('PATH', str(tmp_path))
    assert (rank_table.address(0), rank_table.address(10)) == ('192.168.1.5', '192.168.1.7')
    with pytest.raises(InputError, match=r'hccn.conf nor hccn_tool knows the address of device 1\. .*hccn_tool -i 1'):
        rank_table.address(1)


def test_a_host_finds_itself_in_a_table(monkeypatch):
    monkeypatch.setattr(rank_table, '_own_names', lambda: ['10.0.0.2', 'here'])
    assert rank_table.ranks_here(table_of('10.0.0.1', '10.0.0.2'), 'T') == [(2, 0), (3, 1)]
    assert rank_table.ranks_here(table_of('elsewhere'), 'T') == [(0, 0), (1, 1)]
    with pytest.raises(InputError, match=r'^T lists the hosts a, b, expected one of them to be this host \(10.0.0.2, '
                                         r'here\)\. Set SERVER_ID'):
        rank_table.ranks_here(table_of('a', 'b'), 'T')


@pytest.mark.parametrize('change', [
    lambda table: table.pop('server_list'), lambda table: table['server_list'][0].pop('server_id'),
    lambda table: table['server_list'][0]['device'][0].update(rank_id='7'),
    lambda table: table['server_list'][0]['device'][0].update(device_id='first'),
    lambda table: table['server_list'].clear()])
def test_a_broken_table_is_refused(tmp_path, change):
    table = table_of('here')
    change(table)
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=r'table.json is no rank table \(.*expected JSON with server_list'):
        rank_table.read(str(path))


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(['server_list', 'device', 'rank_id', 'device_id', 'server_id']), inner), max_leaves=12))
def test_any_json_is_a_table_or_an_input_error(tmp_path_factory, value):
    path = tmp_path_factory.mktemp('json') / 'table.json'
    path.write_text(json.dumps(value))
    try:
        table = rank_table.read(str(path))
    except InputError:
        return
    assert rank_table.ranks_here(table, 'T') if len(table['server_list']) == 1 else True
