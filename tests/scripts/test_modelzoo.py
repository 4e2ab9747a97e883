"""The scripts of test/ and modelarts_entry.py: options, output folder and result lines of the model zoo."""
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, make_dataset
from test_env import GOOD, TOOLS, Machine, script
from test_train_8p import HCCN_TOOL

CASE = 'NIMA_ID0853_for_TensorFlow_bs100_1p_'
SUMMARY = {'device': 'npu', 'batchsize': 100, 'epoch': 3, 'images_per_second': 685.4, 'seconds_per_step': 0.1459,
           'loss': 0.0725, 'val_loss': 0.07, 'val_srcc': 0.517, 'training_seconds': 61.7,
           'losses': [0.09, 0.08, 0.0725]}

# Notes its arguments in the log folder and writes a summary there, as train.py does.
TRAIN = '''
import json, os, signal, sys, time
for number in signal.SIGTERM, signal.SIGINT:
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
flags = dict(word[2:].split('=', 1) for word in sys.argv[1:] if '=' in word)
os.makedirs(flags['TMP_LOG_PATH'], exist_ok=True)
with open(os.path.join(flags['TMP_LOG_PATH'], 'args.json'), 'w') as stream:
    json.dump([sys.argv[1:], os.listdir(os.path.dirname(flags['TMP_LOG_PATH'])), dict(os.environ)], stream)
print('an epoch')
if 'wait' in sys.argv:
    time.sleep(60)
if 'fail' in sys.argv:
    print('it went wrong', file=sys.stderr)
    sys.exit(5)
with open(os.path.join(flags['TMP_LOG_PATH'], 'summary.json'), 'w') as stream:
    stream.write({summary!r})
'''


class Zoo(Machine):
    def __init__(self, folder):
        super().__init__(folder)
        for tool in ('rm', 'mkdir'):
            assert tool not in TOOLS
            (self.tools / tool).symlink_to(shutil.which(tool))
        shutil.copytree(str(ROOT / 'test'), str(self.root / 'test'), ignore=shutil.ignore_patterns('output'))
        shutil.copy(str(ROOT / 'utils' / 'modelzoo.sh'), str(self.root / 'utils'))
        self.active_python(GOOD)
        self.summary(SUMMARY)
        self.data = folder / 'the data'
        (self.data / 'AVA_dataset').mkdir(parents=True)
        (self.data / 'AVA_dataset' / 'AVA.txt').write_text('')

    def summary(self, summary):
        (self.root / 'train.py').write_text(TRAIN.replace('{summary!r}', repr(json.dumps(summary))))

    def zoo(self, kind, *arguments, **options):
        """(standard output, standard error, exit code)"""
        process = self.start(*arguments, name=f'test/train_{kind}_1p.sh', **options)
        return (*process.communicate(), process.returncode)

    def noted(self, device='0'):
        """The flags of train.py, what lay in the output folder before it, and its environment."""
        return json.loads((self.output(device) / 'log' / 'args.json').read_text())

    def output(self, device='0'):
        return self.root / 'test' / 'output' / device


@pytest.fixture
def machine(tmp_path):
    return Zoo(tmp_path)


def values(path):
    return dict(line.split(' = ') for line in path.read_text().splitlines())


def test_the_full_run(machine):
    printed, errors, code = machine.zoo('full', f'--data_path={machine.data}')
    assert (errors, code) == ('', 0)
    output, dataset = machine.output(), machine.data / 'AVA_dataset'
    assert printed.splitlines()[1:3] == ['Final Performance images/sec : 685.40', 'Final Train Accuracy : 0.5170']
    seconds = re.fullmatch(r'E2E Training Duration sec : (\d+)', printed.splitlines()[3]).group(1)
    flags, present, environment = machine.noted()
    assert flags == [f'--ava_dataset_path={dataset}/AVA.txt', f'--base_images_path={dataset}/image/images',
                     f'--TMP_WEIGHTS_PATH={machine.data}', f'--TMP_MODEL_PATF={output}/ckpt',
                     f'--TMP_LOG_PATH={output}/log', '--epochs=7']
    assert sorted(present) == ['ckpt', 'log', 'train_0.log']
    assert (environment['RANK_SIZE'], environment['ASCEND_DEVICE_ID']) == ('1', '0')
    assert (output / 'train_0.log').read_text() == 'an epoch\n'
    assert values(output / f'{CASE}acc.log') == {
        'Network': 'NIMA_ID0853_for_TensorFlow', 'RankSize': '1', 'BatchSize': '100',
        'DeviceType': platform.machine(), 'CaseName': CASE + 'acc', 'ActualFPS': '685.40', 'TrainingTime': '145.90',
        'TrainAccuracy': '0.5170', 'ActualLoss': '0.0725', 'E2ETrainingTime': seconds}
    assert (output / f'train_{CASE}acc_loss.txt').read_text() == '0.090000\n0.080000\n0.072500\n'


def test_the_performance_run_from_another_folder_and_device(machine):
    output = machine.output('6')
    (output / 'ckpt').mkdir(parents=True)
    (output / 'ckpt' / 'model_001.h5').write_text('of an earlier run')
    printed, errors, code = machine.zoo('performance', '--data_path=the data/AVA_dataset', folder=machine.folder,
                                        ASCEND_DEVICE_ID='6')
    assert (errors, code) == ('', 0)
    assert 'Final Performance images/sec : 685.40' in printed
    flags, present, _ = machine.noted('6')
    assert flags[2:] == [f'--TMP_WEIGHTS_PATH={machine.root}/weights', f'--TMP_MODEL_PATF={output}/ckpt',
                         f'--TMP_LOG_PATH={output}/log', '--epochs=3', '--train_size=2505', '--val_size=500']
    assert sorted(present) == ['ckpt', 'log', 'train_6.log'] and os.listdir(str(output / 'ckpt')) == []
    assert 'TrainAccuracy' not in values(output / f'{CASE}perf.log')


def test_the_options_become_flags_of_train(machine):
    _, errors, code = machine.zoo(
        'full', f'--data_path={machine.data}', '--ckpt_path=/w', '--precision_mode=force_fp16', '--over_dump=False',
        '--data_dump_flag', '--data_dump_step=5', '--profiling=True', '--device', 'cpu')
    assert (errors, code) == ('', 0)
    flags = machine.noted()[0]
    assert '--TMP_WEIGHTS_PATH=/w' in flags
    assert flags[6:] == ['--precision_mode=force_fp16', f'--data_dump_path={machine.output()}/data_dump',
                         '--data_dump_step=5', f'--profiling_dump_path={machine.output()}/profiling', '--device', 'cpu']
    machine.zoo('full', f'--data_path={machine.data}', '--over_dump')
    assert machine.noted()[0][6:] == [f'--over_dump_path={machine.output()}/overflow_dump']


@pytest.mark.skipif(os.path.exists('/usr/local/Ascend'), reason='this machine has an Ascend of its own')
@pytest.mark.parametrize('kind, case, flags', [
    ('full', 'acc', ['--epochs=7']), ('performance', 'perf', ['--epochs=3', '--train_size=20040', '--val_size=500'])])
def test_all_devices_of_a_host(machine, kind, case, flags):
    """Through the real train_8p.sh and rank table, with two devices that are none."""
    shutil.copy(str(ROOT / 'train_8p.sh'), str(machine.root))
    shutil.copytree(str(ROOT / 'utils' / 'base'), str(machine.root / 'utils' / 'base'))
    shutil.copytree(str(ROOT / 'utils' / 'device'), str(machine.root / 'utils' / 'device'))
    for tool in ('tee', 'sleep', 'hostname'):
        (machine.tools / tool).symlink_to(shutil.which(tool))
    script(machine.bin / 'hccn_tool', HCCN_TOOL)
    machine.summary({**SUMMARY, 'devices': 2})
    process = machine.start(f'--data_path={machine.data}', name=f'test/train_{kind}_8p.sh',
                            ASCEND_VISIBLE_DEVICES='0-1')
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, ''), printed
    output = machine.output('8p')
    assert printed.splitlines()[1] == 'Final Performance images/sec : 685.40'
    found = values(output / f'NIMA_ID0853_for_TensorFlow_bs100_2p_{case}.log')
    assert (found['RankSize'], found['ActualFPS']) == ('2', '685.40')
    given = machine.noted('8p')[0]
    assert given[:4] == ['--device', 'npu', '--distribute', 'hccl'] and given[9:] == flags
    assert f'--TMP_MODEL_PATF={output}/ckpt' in given
    assert sorted(os.listdir(str(output / 'ranks'))) == ['rank_0.log', 'rank_1.log', 'rank_table.json']
    assert not (machine.root / 'log').exists()


# --- modelarts_entry.py

MOXING = '''
import shutil
class file:
    @staticmethod
    def copy_parallel(source, target):
        shutil.copytree(source.replace('obs://', BUCKET), target.replace('obs://', BUCKET))
'''


@pytest.fixture
def modelarts(machine, monkeypatch):
    """Starts modelarts_entry.py of a project whose scripts note what they were given."""
    shutil.copy(str(ROOT / 'modelarts_entry.py'), str(machine.root))
    shutil.copytree(str(ROOT / 'utils' / 'base'), str(machine.root / 'utils' / 'base'))
    script(machine.root / 'test' / 'train_full_1p.sh', '''[[ ${2:-} != refuse ]] || exit 3
rm -rf "$(dirname "$0")/output/0"
mkdir -p "$(dirname "$0")/output/0/ckpt"
printf '%s\\n' "$@" >"$(dirname "$0")/output/0/args"
cp "${1#--data_path=}/AVA_dataset/AVA.txt" "$(dirname "$0")/output/0/ckpt/model_001.h5"
[[ ${2:-} != wait ]] || { trap 'exit 143' TERM; touch "$(dirname "$0")/output/ready"; while :; do sleep 0.05; done; }
exit "${2:-0}"''')
    (machine.data / 'AVA_dataset' / 'AVA.txt').write_text('a label')

    def start(*arguments, path=''):
        return subprocess.Popen([sys.executable, str(machine.root / 'modelarts_entry.py'), *map(str, arguments)],
                                env={**os.environ, 'PYTHONPATH': path}, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
    machine.modelarts = start
    return machine


@pytest.mark.parametrize('code', [0, 5])
def test_modelarts_with_folders(modelarts, code):
    target = modelarts.folder / 'target'
    process = modelarts.modelarts('--data_url', modelarts.data, f'--train_url={target}', code)
    assert (process.communicate()[1], process.returncode) == ('', code)
    assert (target / '0' / 'ckpt' / 'model_001.h5').read_text() == 'a label'
    assert (target / '0' / 'args').read_text().splitlines() == [f'--data_path={modelarts.data}', str(code)]


def test_modelarts_with_a_bucket(modelarts):
    bucket = modelarts.folder / 'bucket'
    shutil.copytree(str(modelarts.data), str(bucket / 'ava'))
    (modelarts.folder / 'moxing.py').write_text(f'BUCKET = "{bucket}/"\n' + MOXING)
    process = modelarts.modelarts('--data_url=obs://ava', '--train_url=obs://out', path=str(modelarts.folder))
    assert (process.communicate()[1], process.returncode) == ('', 0)
    assert (bucket / 'out' / '0' / 'ckpt' / 'model_001.h5').read_text() == 'a label'


def test_a_bucket_without_moxing_is_an_error(modelarts):
    process = modelarts.modelarts('--data_url=obs://ava', '--train_url=out')
    _, errors = process.communicate()
    assert process.returncode == 1 and errors.count('\n') == 1
    assert errors.startswith("modelarts_entry.py: error: obs://ava: moxing cannot be imported (No module ")


def test_modelarts_delivers_what_this_run_wrote_alone(modelarts):
    for device in '0', '1':
        earlier = modelarts.root / 'test' / 'output' / device
        (earlier / 'ckpt').mkdir(parents=True)
        (earlier / 'ckpt' / 'model_007.h5').write_text('of an earlier run')
    target = modelarts.folder / 'target'
    process = modelarts.modelarts('--data_url', modelarts.data, f'--train_url={target}', 'refuse')
    assert (process.communicate()[1], process.returncode) == ('', 3)
    assert not target.exists()  # the script ended before it wrote anything
    process = modelarts.modelarts('--data_url', modelarts.data, f'--train_url={target}')
    assert (process.communicate()[1], process.returncode) == ('', 0)
    assert sorted(str(path.relative_to(target)) for path in target.rglob('*.*')) == ['0/ckpt/model_001.h5']


@pytest.mark.parametrize('url, words', [
    ('', 'argument --train_url: found an empty path, expected a file or a folder'),
    ('obs://out', 'error: obs://out: moxing cannot be imported'),
    ('{file}/out', 'Not a directory. Change its permissions or choose another --train_url'),
])
def test_an_address_that_takes_no_output_is_found_before_the_run(modelarts, url, words):
    file = modelarts.data / 'AVA_dataset' / 'AVA.txt'
    process = modelarts.modelarts('--data_url', modelarts.data, f'--train_url={url.format(file=file)}')
    _, errors = process.communicate()
    assert process.returncode and words in errors and 'Traceback' not in errors
    assert not (modelarts.root / 'test' / 'output').exists()


def test_output_that_cannot_be_copied_is_reported_with_what_the_script_said(modelarts):
    target = modelarts.folder / 'target'
    target.mkdir()
    (target / '0').write_text('in the way')
    process = modelarts.modelarts('--data_url', modelarts.data, f'--train_url={target}', 5)
    _, errors = process.communicate()
    assert process.returncode == 1 and errors.count('\n') == 1
    assert 'a directory. The script ended with exit code 5; its output is in ' in errors


def test_modelarts_passes_a_signal_on_and_brings_back_what_was_saved(modelarts):
    target = modelarts.folder / 'target'
    process = modelarts.modelarts('--data_url', modelarts.data, '--train_url', target, 'wait')
    while not (modelarts.root / 'test' / 'output' / 'ready').exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert (process.communicate()[1], process.returncode) == ('', 143)
    assert (target / '0' / 'ckpt' / 'model_001.h5').exists()


def test_a_training_that_fails_ends_with_its_code_and_says_why(machine):
    printed, errors, code = machine.zoo('full', f'--data_path={machine.data}', 'fail')
    assert code == 5 and 'Final' not in printed
    assert 'it went wrong\ntrain_full_1p.sh: error: the training ended with exit code 5' in errors


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_training(machine, number):
    process = machine.start(f'--data_path={machine.data}', 'wait', name='test/train_full_1p.sh')
    noted = machine.output() / 'log' / 'args.json'
    while not noted.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)  # to the script alone
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    assert f'the training ended with exit code {128 + number}; all of its output is in ' in errors


def test_the_output_of_a_training_that_runs_stays(machine):
    checkpoints = machine.output() / 'ckpt'
    checkpoints.mkdir(parents=True)
    (checkpoints / 'model_001.h5').write_text('of a run')
    (checkpoints / '.lock').write_text(f'{os.getpid()} {platform.node()}\n')
    _, errors, code = machine.zoo('full', f'--data_path={machine.data}')
    assert code == 1 and (checkpoints / 'model_001.h5').exists()
    assert re.fullmatch(f'train_full_1p.sh: error: .*/test/output/0 is in use: process {os.getpid()} writes there\\. '
                        r'Wait .*\.lock\n', errors)
    (checkpoints / '.lock').write_text(f'{2 ** 30} {platform.node()}\n')  # no process can have this number
    assert machine.zoo('full', f'--data_path={machine.data}')[2] == 0


def test_a_blank_before_a_folder_is_as_good_as_an_equals_sign(machine):
    _, errors, code = machine.zoo('full', '--data_path', machine.data, '--ckpt_path', 'my weights', '--epochs', '1')
    assert (errors, code) == ('', 0)
    flags = machine.noted()[0]
    assert flags[0] == f'--ava_dataset_path={machine.data}/AVA_dataset/AVA.txt'
    assert '--TMP_WEIGHTS_PATH=my weights' in flags and flags[-2:] == ['--epochs', '1']


def test_the_speed_of_a_single_epoch_is_said_to_include_compilation(machine):
    note = 'The speed is that of the only epoch, and includes compilation'
    assert note not in machine.zoo('full', f'--data_path={machine.data}')[0]
    machine.summary({**SUMMARY, 'includes_compilation': True})
    printed, _, code = machine.zoo('full', f'--data_path={machine.data}')
    assert code == 0 and printed.splitlines()[-1] == note
    assert values(machine.output() / f'{CASE}acc.log')['ActualFPS'] == '685.40'


def test_undefined_figures_are_nan(machine):
    machine.summary({**SUMMARY, 'images_per_second': None, 'seconds_per_step': None, 'val_srcc': None})
    printed, _, code = machine.zoo('full', f'--data_path={machine.data}')
    assert code == 0 and 'Final Performance images/sec : nan\nFinal Train Accuracy : nan\n' in printed


@pytest.mark.parametrize('arguments, text', [
    ([], '--data_path is missing. Type --data_path=DIR'),
    (['--data_path'], '--data_path needs a folder. Type --data_path=DIR'),
    (['--data_path='], '--data_path needs a folder'),
    (['--ckpt_path', '--epochs=1', '--data_path=d'], '--ckpt_path needs a folder. Type --ckpt_path=DIR'),
    (['--data_path=/nowhere'], '--data_path=/nowhere: this folder has neither AVA_dataset/AVA.txt nor AVA.txt'),
    (['--over_dump=perhaps'], "--over_dump: found 'perhaps', expected True or False"),
])
def test_mistakes_are_reported_before_anything_is_removed(machine, arguments, text):
    machine.output().mkdir(parents=True)
    (machine.output() / 'kept').write_text('')
    printed, errors, code = machine.zoo('performance', *arguments)
    assert (printed, code) == ('', 1)
    assert errors.startswith(f'train_performance_1p.sh: error: {text}') and errors.count('\n') == 1
    assert (machine.output() / 'kept').exists()


def test_a_device_that_is_no_number_removes_nothing(machine):
    for name in ('ASCEND_DEVICE_ID', 'DEVICE_ID'):
        _, errors, code = machine.zoo('full', f'--data_path={machine.data}', **{name: '..'})
        assert code == 1 and f"error: {name} is '..', expected a device number" in errors
        assert (machine.root / 'train_1p.sh').exists()


def test_the_callers_device_id_stays(machine):
    for given, device in (({'DEVICE_ID': '4'}, '4'), ({'DEVICE_ID': '4', 'ASCEND_DEVICE_ID': '2'}, '2')):
        _, errors, code = machine.zoo('full', f'--data_path={machine.data}', **given)
        assert (errors, code) == ('', 0)
        environment = machine.noted(device)[2]
        assert {name: environment[name] for name in environment if name.endswith('DEVICE_ID')} == given


def test_no_file_of_the_current_folder_is_imported(machine):
    (machine.folder / 'json.py').write_text('raise SystemExit("json.py was imported")')
    printed, errors, code = machine.zoo('full', f'--data_path={machine.data}')
    assert (errors, code) == ('', 0) and 'Final Train Accuracy : 0.5170' in printed


def test_a_path_after_a_blank_is_the_path(machine):
    _, errors, code = machine.zoo('full', '--data_path', machine.data, '--ckpt_path', '/w', '--epochs', '1')
    assert (errors, code) == ('', 0)
    flags = machine.noted()[0]
    assert '--TMP_WEIGHTS_PATH=/w' in flags and flags[-2:] == ['--epochs', '1']
    assert f'--ava_dataset_path={machine.data}/AVA_dataset/AVA.txt' in flags
    assert '--data_path needs a folder' in machine.zoo('full', '--data_path', '--epochs=1')[1]


def test_help(machine):
    printed, errors, code = machine.zoo('full', '--help')
    assert (errors, code) == ('', 0)
    assert '--data_path=DIR' in printed and '--profiling' in printed


@pytest.mark.slow
def test_a_real_training(tmp_path):
    """On tiny images and the CPU; what the scripts print is what summary.json and the epochs say."""
    project = tmp_path / 'project'
    shutil.copytree(str(ROOT / 'utils'), str(project / 'utils'), ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(str(ROOT / 'test'), str(project / 'test'), ignore=shutil.ignore_patterns('output'))
    for name in ('train.py', 'run.sh', 'train_1p.sh', 'requirements.txt'):
        shutil.copy(str(ROOT / name), str(project))
    make_dataset(tmp_path / 'data' / 'AVA_dataset', 12)
    environment = {**os.environ, 'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'}
    environment.pop('ASCEND_DEVICE_ID', None)
    done = subprocess.run(
        ['bash', str(project / 'test' / 'train_performance_1p.sh'), '--data_path', 'data', '--device=cpu', '--epochs=2',
         '--image_size=32', '--batchsize=4', '--val_size=4', '--weights=none', '--learning_rate=0.1'],
        cwd=str(tmp_path), env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    output = project / 'test' / 'output' / '0'
    assert sorted(os.listdir(str(output / 'ckpt'))) == ['model_001.h5', 'model_002.h5']
    summary = json.loads((output / 'log' / 'summary.json').read_text())
    assert f'Final Performance images/sec : {summary["images_per_second"]:.2f}\n' in done.stdout
    log = (output / 'train_0.log').read_text()
    assert f'{summary["images_per_second"]:.1f} images/s' in log  # of the second epoch, the only one that counts
    assert summary['seconds_per_step'] == pytest.approx(4 / summary['images_per_second'])
    case = values(output / 'NIMA_ID0853_for_TensorFlow_bs4_1p_perf.log')
    assert case['ActualLoss'] == f'{summary["loss"]:.4f}' and f'epoch 2: loss {case["ActualLoss"]}' in log
