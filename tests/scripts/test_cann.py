"""utils/cann.sh in train_1p.sh and test_1p.sh: fake CANN folders in each layout, and the environment of one device."""
import os

import pytest
from test_env import GOOD, Machine, script

# Says which Ascend settings reached Python.
ENVIRONMENT = '''
import json, os, sys
wanted = 'ASCEND', 'RANK', 'JOB', 'CM_', 'DEVICE', 'PYTHONPATH', 'LD_LIBRARY', 'PATH', 'SOURCED'
print(json.dumps({'args': sys.argv[1:], **{name: value for name, value in os.environ.items()
                                           if name.startswith(wanted)}}))
sys.exit(int(os.environ.get('CODE', 0)))
'''
# As the vendor's: it reads variables that need not be set, and its last command may fail.
SET_ENV = '''
export SOURCED=$SOURCED:{name}$1
export LD_LIBRARY_PATH={folder}/lib64:$LD_LIBRARY_PATH
{more}
false
'''
ONE_DEVICE = {'JOB_ID': '10087', 'RANK_SIZE': '1', 'RANK_ID': '0', 'ASCEND_DEVICE_ID': '0',
              'ASCEND_GLOBAL_LOG_LEVEL': '3', 'ASCEND_SLOG_PRINT_TO_STDOUT': '0'}

pytestmark = pytest.mark.skipif(os.path.exists('/usr/local/Ascend'), reason='this machine has an Ascend of its own')


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.active_python(GOOD)
    for name in ('train.py', 'eval.py'):
        (machine.root / name).write_text(ENVIRONMENT)
    return machine


@pytest.fixture
def ascend(machine):
    """Where users install CANN, in their home."""
    return machine.home / 'Ascend'


def set_env(folder, more=''):
    script(folder / 'set_env.sh', SET_ENV.format(name=folder.name, folder=folder, more=more))


def old_layout(folder, tfplugin, eggs=()):
    for name in ('fwkacllib/lib64', 'fwkacllib/bin', 'fwkacllib/ccec_compiler/bin', 'fwkacllib/python/site-packages',
                 'opp/op_impl/built-in/ai_core/tbe', *(f'fwkacllib/python/site-packages/{egg}' for egg in eggs)):
        (folder / name).mkdir(parents=True)
    (tfplugin / 'site-packages').mkdir(parents=True)


def ascend_settings(said):
    return {name: value for name, value in said.items() if name.startswith(('ASCEND', 'RANK', 'JOB', 'CM_', 'DEVICE'))}


@pytest.mark.parametrize('toolkit', ['cann', 'ascend-toolkit', 'nnae'])
@pytest.mark.parametrize('name', ['train_1p.sh', 'test_1p.sh'])
def test_set_env_scripts_are_sourced(machine, ascend, toolkit, name):
    set_env(ascend / toolkit, f'export ASCEND_OPP_PATH={ascend}/opp')
    set_env(ascend / 'tfplugin')
    said, errors, code = machine.run('--epochs', '1', name=name)
    assert (errors, code, said['args']) == ('', 0, ['--epochs', '1'])
    assert said['SOURCED'] == f':{toolkit}:tfplugin'
    assert said['LD_LIBRARY_PATH'].split(':') == [f'{ascend}/tfplugin/lib64', f'{ascend}/{toolkit}/lib64', '']
    assert ascend_settings(said) == {**ONE_DEVICE, 'ASCEND_OPP_PATH': f'{ascend}/opp'}


@pytest.mark.parametrize('place, tfplugin, eggs', [
    ('ascend-toolkit/latest', 'tfplugin/latest/tfplugin/python', []),
    ('nnae/latest', 'tfplugin/latest/python', ['auto_tune.egg/auto_tune', 'schedule_search.egg']),
    ('', 'tfplugin/python', ['schedule_search.egg']),
])
def test_the_older_layouts_are_set_by_hand(machine, ascend, place, tfplugin, eggs):
    root = ascend / place if place else ascend
    old_layout(root, ascend / tfplugin, eggs)
    said, errors, code = machine.run(PYTHONPATH='/mine')
    assert (errors, code) == ('', 0)
    assert ascend_settings(said) == {**ONE_DEVICE, 'ASCEND_OPP_PATH': f'{root}/opp', 'ASCEND_AICPU_PATH': str(root)}
    assert said['LD_LIBRARY_PATH'] == f'{root}/fwkacllib/lib64'
    assert said['PATH'].startswith(f'{root}/fwkacllib/ccec_compiler/bin:{root}/fwkacllib/bin:')
    packages = root / 'fwkacllib/python/site-packages'
    assert said['PYTHONPATH'].split(':') == [
        f'{ascend}/{tfplugin}/site-packages', str(packages), *(f'{packages}/{egg}' for egg in eggs),
        f'{root}/opp/op_impl/built-in/ai_core/tbe', '/mine']


def test_a_new_toolkit_with_an_old_plugin(machine, ascend):
    set_env(ascend / 'ascend-toolkit')
    plugin = ascend / 'tfplugin/latest/tfplugin/python/site-packages'
    plugin.mkdir(parents=True)
    said, _, _ = machine.run()
    assert (said['SOURCED'], said['PYTHONPATH']) == (':ascend-toolkit', str(plugin))


def test_the_newest_cann_is_taken_where_two_are_installed(machine, ascend):
    set_env(ascend / 'ascend-toolkit')
    set_env(ascend / 'cann')
    assert machine.run()[0]['SOURCED'] == ':cann'


def test_a_shell_that_is_set_up_is_left_as_it_is(machine, ascend):
    set_env(ascend / 'ascend-toolkit')
    said, errors, _ = machine.run(ASCEND_OPP_PATH='/my/opp', LD_LIBRARY_PATH='/my/lib')
    assert errors == '' and 'SOURCED' not in said
    assert (said['ASCEND_OPP_PATH'], said['LD_LIBRARY_PATH']) == ('/my/opp', '/my/lib')


def test_the_drivers_libraries(machine):
    """Those of root's CANN, which stands here in another place than /usr/local/Ascend."""
    ascend = machine.folder / 'root' / 'Ascend'
    path = machine.root / 'utils' / 'cann.sh'
    path.write_text(path.read_text().replace('/usr/local/Ascend', str(ascend)))
    old_layout(ascend / 'nnae' / 'latest', ascend / 'tfplugin' / 'python')
    for name in ('add-ons', 'driver/lib64/common', 'driver/lib64/driver'):
        (ascend / name).mkdir(parents=True)
    said, errors, code = machine.run(LD_LIBRARY_PATH='/mine')
    assert (errors, code) == ('', 0)
    assert said['LD_LIBRARY_PATH'].split(':') == [
        f'{ascend}/driver/lib64/driver', f'{ascend}/driver/lib64/common', f'{ascend}/driver/lib64',
        f'{ascend}/add-ons', f'{ascend}/nnae/latest/fwkacllib/lib64', '/mine']


def test_a_shell_that_lacks_the_plugin_alone_gets_it(machine, ascend):
    set_env(ascend / 'ascend-toolkit')
    set_env(ascend / 'tfplugin')
    said, errors, code = machine.run(ASCEND_OPP_PATH='/my/opp')
    assert (errors, code, said['SOURCED'], said['ASCEND_OPP_PATH']) == ('', 0, ':tfplugin', '/my/opp')
    # In the folder where the command is typed it is not found, on the PYTHONPATH it is.
    for folder in (machine.folder, machine.folder / 'plugin'):
        (folder / 'npu_bridge').mkdir(parents=True)
        (folder / 'npu_bridge' / '__init__.py').write_text('raise SystemExit("npu_bridge was imported")')
    assert machine.run(ASCEND_OPP_PATH='/my/opp')[0]['SOURCED'] == ':tfplugin'
    said, errors, _ = machine.run(ASCEND_OPP_PATH='/my/opp', PYTHONPATH=str(machine.folder / 'plugin'))
    assert errors == '' and 'SOURCED' not in said


def test_a_shell_that_lacks_an_old_plugin_alone_gets_it(machine, ascend):
    old_layout(ascend, ascend / 'tfplugin' / 'python')
    said, errors, _ = machine.run(ASCEND_OPP_PATH='/my/opp', PYTHONPATH='/mine')
    assert (errors, said['ASCEND_OPP_PATH']) == ('', '/my/opp') and 'LD_LIBRARY_PATH' not in said
    assert said['PYTHONPATH'].split(':') == [f'{ascend}/tfplugin/python/site-packages', '/mine']


@pytest.mark.parametrize('folders', [[], ['driver/lib64'], ['ascend-toolkit/latest/opp']])
def test_without_cann_nothing_of_it_is_set(machine, ascend, folders):
    for folder in folders:
        (ascend / folder).mkdir(parents=True)
    said, errors, code = machine.run()
    assert (errors, code) == ('', 0)
    assert ascend_settings(said) == ONE_DEVICE and 'LD_LIBRARY_PATH' not in said and 'PYTHONPATH' not in said


def test_one_device_whatever_the_shell_was_used_for(machine):
    said, _, _ = machine.run(RANK_SIZE='8', RANK_ID='3', RANK_TABLE_FILE='/8p.json', CM_CHIEF_IP='10.0.0.1',
                             CM_WORKER_SIZE='8', JOB_ID='7', ASCEND_DEVICE_ID='5')
    assert ascend_settings(said) == {**ONE_DEVICE, 'JOB_ID': '7', 'ASCEND_DEVICE_ID': '5'}
    said, _, _ = machine.run(DEVICE_ID='4')  # ASCEND_DEVICE_ID would win over it
    assert said['DEVICE_ID'] == '4' and 'ASCEND_DEVICE_ID' not in said


@pytest.mark.parametrize('name', ['train_1p.sh', 'test_1p.sh'])
def test_pythons_exit_code_comes_back(machine, ascend, name):
    set_env(ascend / 'nnae')
    assert machine.run(name=name, CODE='7')[2] == 7


def test_the_scripts_own_options_hold_after_a_vendor_script(machine, ascend):
    set_env(ascend / 'nnae', 'set +e +u +o pipefail; options=')
    text = (machine.root / 'run.sh').read_text()
    assert 'nima_one_device\n' in text
    (machine.root / 'run.sh').write_text(text.replace('nima_one_device\n', 'echo "\\"$SHELLOPTS\\""; exit\n'))
    options, _, _ = machine.run()
    assert {'errexit', 'nounset', 'pipefail'} <= set(options.split(':'))


def test_a_vendor_script_may_use_any_variable(machine, ascend):
    names = 'base', 'place', 'options', 'script', 'name', 'folder'
    for folder in ('ascend-toolkit', 'tfplugin'):
        set_env(ascend / folder, '; '.join(f'{name}=/vendors' for name in names))
    said, errors, code = machine.run('--epochs', '1')
    assert (errors, code, said['args']) == ('', 0, ['--epochs', '1'])
    assert said['SOURCED'] == ':ascend-toolkit:tfplugin'
