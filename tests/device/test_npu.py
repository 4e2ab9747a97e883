"""Training, scoring and predicting on an Ascend NPU, against a strict stand-in for the adapter of several releases."""
import functools
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, SHARED, copy_project, make_dataset, small_mobilenet
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

import train
from utils import data_loader, nima
from utils.base.defaults import PRECISION_MODES
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava, pack
from utils.device import device, npu, npu_options
from utils.scoring.flags import eval_flags, predict_flags
from utils.training import fit
from utils.training.flags import train_flags

RELEASES = 'r1.2.0', 'r1.6.0', 'r1.9.0', 'r1.15.0'
# Whole runs as processes: the oldest and the newest always, those between among the long tests.
WHOLE_RUNS = [pytest.param(each, marks=() if each in (RELEASES[0], RELEASES[-1]) else pytest.mark.slow)
              for each in RELEASES]
CONTRACT = SHARED / 'ascend' / 'api_contract.json'
STAND_IN = ROOT / 'tests' / 'npu_stand_in'
TINY = ['--device', 'npu', '--image_size', '32', '--batchsize', '4', '--val_size', '6', '--weights', 'none',
        '--epochs', '1']
HOST = {'use_off_line': False}
NPU = {'use_off_line': True, 'precision_mode': 'allow_mix_precision'}
# Users may have imported it: from r1.9.0 on it turns every session into one of the NPU.
NPU_INIT = 'import npu_bridge.npu_init'
# In the place of MobileNet, which the kit trains through the stand-in, a network that is built in no time.
SMALL = f'''import sys
before = sys.path[:]
sys.path.insert(0, {str(ROOT / "tests")!r})
import conftest
sys.path[:] = before
small = conftest.small_mobilenet()
small.__enter__()'''
PRELUDES = dict(zip(RELEASES, (SMALL, NPU_INIT, NPU_INIT, SMALL)))

if not CONTRACT.is_file():
    pytest.skip('no shared/ascend/api_contract.json beside the project: it holds the facts of the adapter',
                allow_module_level=True)
sys.path.insert(0, str(STAND_IN))
import facts  # noqa: E402

sys.path.remove(str(STAND_IN))


def contract_of(release):
    with open(str(CONTRACT)) as stream:
        return facts.of_release(json.load(stream), release)


class Adapter:
    """Processes that find the stand-in of one release where the adapter would be; `prelude` is their first line."""

    def __init__(self, folder, release, prelude='', root=ROOT):
        self.folder, self.prelude, self.root = folder, prelude, root
        self.folder.mkdir(exist_ok=True)
        facts.write(str(CONTRACT), release, str(folder / 'facts.json'))

    def start(self, script, *arguments, environment=()):
        code = f'{self.prelude}\nimport sys, {script}\nfrom utils.base import errors\n' \
               f'errors.run({script}.main, "{script}")\n' \
               f'assert ("npu_bridge.npu_init" in sys.modules) is {self.prelude == NPU_INIT}'
        environment = {**os.environ, 'PYTHONPATH': f'{self.root}:{STAND_IN}', 'NPU_STAND_IN_FACTS': str(
            self.folder / 'facts.json'), 'NPU_STAND_IN_REPORT': str(self.folder / f'{script}.json'),
            **dict(environment)}
        return subprocess.Popen([sys.executable, '-c', code, *map(str, arguments)], cwd=str(self.root), text=True,
                                env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, script, *arguments):
        """(what it printed, the sessions it had), after success."""
        process = self.start(script, *arguments)
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        return printed, self.sessions(script)

    def sessions(self, script):
        return json.loads((self.folder / f'{script}.json').read_text())


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 15)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, data):
    """By release: the Adapter, what train.py and eval.py printed, and their sessions; run when first asked for."""
    @functools.lru_cache(maxsize=None)
    def run(release):
        adapter = Adapter(tmp_path_factory.mktemp('release') / release, release, PRELUDES[release])
        model = ['--TMP_MODEL_PATF', adapter.folder]
        outputs = {'train': adapter.run('train', *data.flags, *TINY, *model, '--TMP_LOG_PATH', adapter.folder / 'log'),
                   'eval': adapter.run('eval', *data.flags, *model, '--device', 'npu', '--val_size', '6', '--batchsize',
                                       '4', '--checkpoint', 'model_001.h5')}
        return adapter, outputs

    return run


def main_steps(session):
    """The steps that are fed, without those that set weights."""
    return [step for step in session['steps'] if any(name.startswith('input_1') for name in step['feeds'])]


def placeholders(step):
    return sum(number for name, number in step['types'].items() if name.startswith('Placeholder'))


# --- whole runs as processes

@pytest.mark.parametrize('release', WHOLE_RUNS)
def test_training_keeps_the_contract(trained, release):
    _, outputs = trained(release)
    printed, (npu, *hosts) = outputs['train']
    assert 'device: npu (asked for)\n' in printed
    assert npu['kind'] == 'npu' and npu['parameters'] == NPU
    assert [(host['kind'], host['parameters'], host['steps']) for host in hosts] == [('host', HOST, [])] * 2
    assert not any(session['open'] for session in (npu, *hosts))
    step, prediction = main_steps(npu)
    assert step['feeds'] == ['dense_target:0', 'input_1:0']
    assert sorted(step['shapes']) == [[4, 10], [4, 32, 32, 3]]
    assert (placeholders(step), placeholders(prediction)) == (2, 1)
    assert (prediction['feeds'], prediction['shapes']) == (['input_1:0'], [[4, 32, 32, 3]])


@pytest.mark.parametrize('release', WHOLE_RUNS)
def test_evaluation_keeps_the_contract_and_gives_the_scores_of_training(trained, release):
    adapter, outputs = trained(release)
    printed, (npu, host) = outputs['eval']
    assert (npu['kind'], npu['parameters'], host['kind'], host['parameters']) == ('npu', NPU, 'host', HOST)
    assert not npu['open'] and not host['open']
    assert [(step['feeds'], step['shapes']) for step in main_steps(npu)] == [(['input_1:0'], [[4, 32, 32, 3]])]
    summary = json.loads((adapter.folder / 'log' / 'summary.json').read_text())
    loss = float(re.search(r'^loss  (\S+)', printed, re.MULTILINE).group(1))
    assert loss == pytest.approx(summary['val_loss'], abs=2e-6)
    assert (summary['device'], summary['includes_compilation'], summary['epoch']) == ('npu', True, 1)


def test_comparing_models_keeps_the_contract(trained, data):
    adapter, _ = trained('r1.15.0')
    shutil.copy(str(adapter.folder / 'model_001.h5'), str(adapter.folder / 'again.h5'))
    printed, (npu, *hosts) = adapter.run('eval', *data.flags, '--TMP_MODEL_PATF', adapter.folder, '--device', 'npu',
                                         '--val_size', '6', '--batchsize', '4', '--checkpoint', 'model_001.h5',
                                         '--compare', 'again.h5')
    assert 'SRCC of again.h5 less that of model_001.h5: ' in printed
    assert npu['kind'] == 'npu' and [host['kind'] for host in hosts] == ['host'] * 2
    assert not any(session['open'] for session in (npu, *hosts))


@pytest.mark.parametrize('release', WHOLE_RUNS)
def test_prediction_keeps_the_contract(trained, data, release):
    adapter, _ = trained(release)
    printed, (npu, host) = adapter.run('predict', data.images, '--device', 'npu', '--batchsize', '4', '--format', 'csv',
                                       '--checkpoint', adapter.folder / 'model_001.h5')
    assert len(printed.splitlines()) == 1 + 15
    assert (npu['parameters'], host['parameters'], npu['open'], host['open']) == (NPU, HOST, False, False)
    assert [step['shapes'] for step in main_steps(npu)] == [[[4, 32, 32, 3]]]


@pytest.mark.slow
def test_the_demo_keeps_the_contract(tmp_path):
    """With all of its settings but the sizes, in a copy of the project, which receives the demo's folders."""
    project = copy_project(tmp_path / 'project')
    sizes = ('from utils.base import defaults; '
             'defaults.DEMO.update(train_size=10, val_size=6, image_size=32, batchsize=4)')
    adapter = Adapter(tmp_path / 'demo', 'r1.2.0', f'{SMALL}\n{sizes}', project)
    demo = ['--demo', '--device', 'npu']
    printed, (npu, *_) = adapter.run('train', *demo, '--epochs', '1')
    assert 'device: npu (asked for)\n' in printed and npu['parameters'] == NPU
    assert sorted(main_steps(npu)[0]['shapes']) == [[4, 10], [4, 32, 32, 3]]
    printed, (npu, _) = adapter.run('eval', *demo, '--checkpoint', 'model_001.h5')
    assert 'model_001.h5: 6 images, split last 6, ' in printed and npu['parameters'] == NPU
    printed, (npu, _) = adapter.run(
        'predict', project / 'AVA_dataset' / 'demo' / 'image' / 'images', '--device', 'npu', '--format', 'csv',
        '--checkpoint', project / 'model' / 'demo' / 'model_001.h5')
    assert len(printed.splitlines()) == 1 + 16 and npu['parameters'] == NPU


def test_the_checkpoint_loads_without_the_adapter_and_names_sgd(trained):
    import h5py
    path = str(trained('r1.15.0')[0].folder / 'model_001.h5')
    with h5py.File(path, 'r') as file:
        assert json.loads(file.attrs['training_config'])['optimizer_config']['class_name'] == 'SGD'
    tf.compat.v1.keras.backend.clear_session()
    model = tf.keras.models.load_model(path, custom_objects={'earth_mover_loss': nima.earth_mover_loss})
    assert type(model.optimizer).__name__ == 'SGD'
    shares = model.predict_on_batch(np.zeros((1, 32, 32, 3), np.float32))
    np.testing.assert_allclose(shares.sum(), 1, atol=1e-5)
    tf.compat.v1.keras.backend.clear_session()


@pytest.mark.parametrize('one, other', [(RELEASES[0], RELEASES[-1]), pytest.param(*RELEASES[1:3],
                                                                                  marks=pytest.mark.slow)])
def test_releases_train_alike(trained, one, other):
    losses = [json.loads((trained(each)[0].folder / 'log' / 'summary.json').read_text())['losses']
              for each in (one, other)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.slow
def test_ctrl_c_closes_every_session(tmp_path, data):
    adapter = Adapter(tmp_path / 'stopped', 'r1.9.0', NPU_INIT)
    process = adapter.start('train', *data.flags, *TINY, '--epochs', '100000', '--TMP_MODEL_PATF', tmp_path / 'model',
                            '--TMP_LOG_PATH', tmp_path)
    while not (tmp_path / 'model' / 'model_001.h5').exists() and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    sessions = adapter.sessions('train')
    assert [session['kind'] for session in sessions] == ['npu', 'host', 'host']
    assert not any(session['open'] for session in sessions)


# --- planted mistakes, in this process and with a network that is built in no time

@pytest.fixture
def no_device(monkeypatch):
    """A machine without any sign of an Ascend."""
    for name in (*npu.CANN_VARIABLES, 'ASCEND_DEVICE_ID', 'DEVICE_ID', 'RANK_SIZE', 'RANK_TABLE_FILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(npu.glob, 'glob', lambda pattern: [])
    return monkeypatch


@pytest.fixture
def adapter(request, tmp_path, no_device):
    """The stand-in, imported; r1.2.0 unless the test says another release."""
    facts.write(str(CONTRACT), getattr(request, 'param', 'r1.2.0'), str(tmp_path / 'facts.json'))
    no_device.setenv('NPU_STAND_IN_FACTS', str(tmp_path / 'facts.json'))
    no_device.delenv('NPU_STAND_IN_REPORT', raising=False)
    no_device.syspath_prepend(str(STAND_IN))
    strict = importlib.import_module('npu_bridge').strict
    yield strict
    strict.uninstall()
    for name in [name for name in sys.modules if name.split('.')[0] == 'npu_bridge']:
        del sys.modules[name]


releases = pytest.mark.parametrize('adapter', RELEASES, indirect=True)


@pytest.fixture
def train_on_npu(adapter, data, tmp_path):
    with small_mobilenet():
        yield lambda *more: train.main([*data.flags, *TINY, '--TMP_MODEL_PATF', str(tmp_path / 'model'),
                                        '--TMP_LOG_PATH', str(tmp_path / 'log'), *more])


def test_the_small_network_trains_and_closes_everything(train_on_npu, adapter):
    train_on_npu('--loss_scale', '1024')
    assert [known['kind'] for known in adapter.reports()] == ['npu', 'host', 'host']
    assert not any(known['open'] for known in adapter.reports())
    step = main_steps(adapter.reports()[0])[0]
    assert not adapter.CONTROL & set(step['types']) and placeholders(step) == 2
    assert step['feeds'] == ['dense_target:0', 'input_1:0']


@pytest.mark.parametrize('more', [['--freeze_batchnorm'], ['--trainable', 'last:1']])
def test_frozen_batchnorm_and_cached_maps_keep_the_contract(train_on_npu, adapter, more):
    def with_a_block(shape, **_):
        image = tf.keras.Input(shape, name='input_1')
        layers = tf.keras.layers
        tensor = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=4, use_bias=False)(image))
        tensor = layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(layers.ReLU()(tensor)))
        return tf.keras.Model(image, layers.GlobalAveragePooling2D()(layers.ReLU()(tensor)))

    with small_mobilenet(with_a_block):
        train_on_npu('--head_start', 'random', *more)
    steps = adapter.reports()[0]['steps']
    step, = (step for step in steps if any('target' in name for name in step['feeds']))
    fed = [4, 32, 32, 3] if more == ['--freeze_batchnorm'] else [4, 8, 8, 4]
    assert sorted(step['shapes']) == sorted([[4, 10], fed]) and placeholders(step) == len(step['feeds']) == 2
    assert not any(adapter.CONTROL & set(each['types']) for each in steps) and len(steps) <= 14


@pytest.fixture(scope='module')
def packed_data(data, tmp_path_factory):
    """The training images of `data`, packed before the stand-in watches sessions."""
    folder = tmp_path_factory.mktemp('packed') / 'training'
    ratings = ava.read(str(data.labels), str(data.images))
    pack.pack(ratings.take(slice(0, 9)), str(folder), Preprocessing(32), use='training', form='raw')
    return folder


def test_a_packed_dataset_is_fed_as_pixels(packed_data, train_on_npu, adapter):
    train_on_npu('--records', str(packed_data))
    npu = adapter.reports()[0]
    step, = (step for step in npu['steps'] if 'pixels:0' in step['feeds'])
    assert sorted(step['shapes']) == [[4, 10], [4, 32, 32, 3]] and placeholders(step) == len(step['feeds']) == 2
    assert not adapter.CONTROL & set(step['types'])
    assert len(npu['steps']) <= 12


def test_a_dynamic_loss_scale_is_refused(train_on_npu):
    with pytest.raises(InputError, match=r'^--loss_scale dynamic: not on an NPU\. .*Use a number, such as '):
        train_on_npu('--loss_scale', 'dynamic')


def test_few_graphs_are_compiled(train_on_npu, adapter):
    """Each takes seconds to minutes on a device: reading layer by layer, one small network's weights took 14."""
    train_on_npu('--epochs', '2', '--checkpoint_steps', '1')
    first, = (known for known in adapter.reports() if known['kind'] == 'npu')
    assert len(first['steps']) <= 12, [(step['fetches'], step['feeds']) for step in first['steps']]
    train_on_npu('--epochs', '3', '--resume')
    resumed = [known for known in adapter.reports() if known['kind'] == 'npu'][1]
    assert len(resumed['steps']) <= 12, [(step['fetches'], step['feeds']) for step in resumed['steps']]


def test_only_the_batch_and_keras_label_are_open_dimensions(train_on_npu, monkeypatch):
    shapes = {}

    class Look(tf.keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            operations = tf.compat.v1.keras.backend.get_session().graph.get_operations()
            shapes.update((operation.name, operation.outputs[0].shape.as_list()) for operation in operations
                          if operation.name in ('input_1', 'dense_target'))

    around = fit._around
    monkeypatch.setattr(fit, '_around', lambda *given: [*around(*given), Look()])
    train_on_npu()
    assert shapes == {'input_1': [None, 32, 32, 3], 'dense_target': [None, None]}


def with_partial_batch(generator):
    def batches(*arguments, **named):
        for number, (images, scores) in enumerate(generator(*arguments, **named)):
            yield images[:4 - number], scores[:4 - number]
    return batches


@contextmanager
def session_after_build(*_, **__):
    """As device.open_run, but for the order."""
    config, host_config = device._configs('npu', npu_options.NpuOptions())
    keras = tf.compat.v1.keras.backend
    keras.clear_session()

    class Late(device.Run):
        def initialise(self):
            keras.set_session(tf.compat.v1.Session(config=config))
            keras.get_session()

    yield Late(device='npu', host_config=host_config)


def with_a_third_placeholder(y_true, y_pred):
    """As nima.earth_mover_loss, scaled by a number that nobody need feed."""
    return earth_mover_loss(y_true, y_pred) * tf.compat.v1.placeholder_with_default(1.0, [])


earth_mover_loss = nima.earth_mover_loss
MISTAKES = {
    'a partial batch in training': (data_loader, 'train_generator', with_partial_batch(data_loader.train_generator),
                                    r'a partial batch: shapes .*3, 32, 32, 3.* after .*4, 32, 32, 3'),
    'a partial batch in validation': (nima, 'predict', lambda model, images, batchsize: model.predict_on_batch(images),
                                      r'a partial batch: shapes \[\[2, 32, 32, 3\]\] after \[\[4, 32, 32, 3\]\]'),
    'a session set after the build': (device, 'open_run', session_after_build,
                                      r'the session is set after the build: \d+ variables are there already'),
    'a phase that is not fixed': (tf.keras.backend, 'set_learning_phase', lambda value: None,
                                  'the learning phase is fed'),
    'a third placeholder': (nima, 'earth_mover_loss', with_a_third_placeholder,
                            'the step holds 3 placeholders, 2 of them fed'),
    'an input pipeline before the first step': (device.Run, 'initialise', lambda self: None,
                                                'opened before the NPU session has executed'),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_planted_mistake_is_caught(train_on_npu, adapter, monkeypatch, mistake):
    owner, name, planted, text = MISTAKES[mistake]
    monkeypatch.setattr(owner, name, planted)
    with pytest.raises(adapter.ContractError, match=text):
        train_on_npu()
    assert not any(known['open'] for known in adapter.reports())


def change_config(change):
    original = npu.session_config

    def changed(parameters):
        config = original(parameters)
        change(config.graph_options.rewrite_options)
        return config
    return changed


@releases
@pytest.mark.parametrize('change, text', [
    (lambda rewrite: setattr(rewrite, 'remapping', RewriterConfig.ON), 'remapping is not OFF'),
    (lambda rewrite: setattr(rewrite, 'memory_optimization', RewriterConfig.DEFAULT_MEM_OPT),
     'memory_optimization is not OFF'),
    (lambda rewrite: setattr(rewrite.custom_optimizers[0].parameter_map['precision_mode'], 's', b'fp16'),
     "precision_mode: 'fp16' is none of"),
    (lambda rewrite: setattr(rewrite.custom_optimizers[0].parameter_map['precison_mode'], 's', b'force_fp16'),
     'precison_mode: a parameter that this release does not know'),
    (lambda rewrite: setattr(rewrite.custom_optimizers[0].parameter_map['use_off_line'], 's', b'True'),
     'use_off_line: the field .s, expected .b'),
    (lambda rewrite: setattr(rewrite.custom_optimizers[0].parameter_map['enable_data_pre_proc'], 'b', False),
     'enable_data_pre_proc: False by default, and deprecated'),
    (lambda rewrite: rewrite.custom_optimizers.add(name='NpuOptimizer'), '2 NpuOptimizers in one config'),
    (lambda rewrite: rewrite.ClearField('custom_optimizers'), 'a session without NpuOptimizer'),
])
def test_a_planted_option_is_caught(adapter, monkeypatch, change, text):
    monkeypatch.setattr(npu, 'session_config', change_config(change))
    with pytest.raises(adapter.ContractError, match=re.escape(text)), device.open_run('npu'):
        pass


def test_the_session_is_closed_though_clearing_fails(adapter, monkeypatch):
    with pytest.raises(RuntimeError, match='clearing failed'), device.open_run('npu'):
        def fail():
            raise RuntimeError('clearing failed')
        monkeypatch.setattr(tf.compat.v1.keras.backend, 'clear_session', fail)
    assert [known['open'] for known in adapter.reports()] == [False]


@releases
def test_the_stand_in_has_the_names_and_signatures_of_its_release_alone(adapter, request):
    release = request.node.callspec.params['adapter']
    before = tf.compat.v1.Session.__init__
    npu_init = importlib.import_module('npu_bridge.npu_init')
    assert (tf.compat.v1.Session.__init__ is not before) == (release in ('r1.9.0', 'r1.15.0'))
    assert hasattr(npu_init, 'set_keras_session_npu_config') == (release != 'r1.2.0')
    assert sorted(npu_init.__all__) == sorted(contract_of(release)['npu_init_exports'])
    npu_init.NPUDistributedOptimizer(None, name=None)
    with pytest.raises(TypeError):
        npu_init.NPULossScaleOptimizer(None)
    with pytest.raises(TypeError):
        npu_init.NPURunConfig(op_compile_cache_dir='here')


# --- options

def everything(folder, **more):
    """All options that go together; over_dump_path stands for data_dump_path in a second set."""
    mixlist = folder / 'mixlist.json'
    mixlist.write_text('{"black-list": {"to-add": ["Softmax"]}}')
    return npu_options.NpuOptions(modify_mixlist=str(mixlist), op_compiler_cache_dir=str(folder / 'cache'),
                                  profiling_dump_path=str(folder / 'profiling'), **more)


@releases
def test_every_option_is_one_that_the_release_knows(adapter, tmp_path, request):
    options = everything(tmp_path, data_dump_path=str(tmp_path / 'dump'), data_dump_step='0|5|10-20')
    if request.node.callspec.params['adapter'] == 'r1.2.0':
        with pytest.raises(InputError, match=r'^--modify_mixlist needs release r1\.5\.0 .*update CANN$'):
            device._configs('npu', options)
        options = options._replace(modify_mixlist=None)
    kind, parameters = adapter.kind_of(device._configs('npu', options)[0])
    profiling = json.loads(parameters.pop('profiling_options'))
    assert (profiling['output'], profiling['task_trace']) == (str(tmp_path / 'profiling'), 'on')
    cache = {'op_compiler_cache_mode': 'enable', 'op_compiler_cache_dir': str(tmp_path / 'cache')}
    mixlist = {'modify_mixlist': options.modify_mixlist} if options.modify_mixlist else {}
    assert (kind, parameters) == ('npu', {
        **NPU, **cache, **mixlist, 'profiling_mode': True, 'enable_dump': True, 'dump_mode': 'all',
        'dump_path': str(tmp_path / 'dump'), 'dump_step': '0|5|10-20'})

    options = npu_options.NpuOptions(precision_mode='must_keep_origin_dtype', over_dump_path=str(tmp_path / 'overflow'))
    kind, parameters = adapter.kind_of(device._configs('npu', options)[0])
    assert (kind, parameters) == ('npu', {
        **NPU, 'precision_mode': 'must_keep_origin_dtype', 'enable_dump_debug': True, 'dump_debug_mode': 'all',
        'dump_path': str(tmp_path / 'overflow')})


@pytest.mark.parametrize('options, text', [
    ({'precision_mode': 'fp16'}, "--precision_mode: found 'fp16', expected one of allow_mix_precision, "),
    ({'modify_mixlist': 'list.json', 'precision_mode': 'force_fp16'},
     '--modify_mixlist needs a precision mode of allow_mix_precision, allow_mix_precision_bf16, mixed_float16, '
     'mixed_bfloat16, found force_fp16. Leave'),
    ({'modify_mixlist': '/nowhere/list.json'}, '--modify_mixlist: /nowhere/list.json is no list of operators ([Errno'),
    ({'data_dump_step': '5'}, '--data_dump_step needs --data_dump_path'),
    ({'data_dump_path': '.', 'data_dump_step': '5,6'}, "--data_dump_step: found '5,6', expected up to 100 steps"),
    ({'data_dump_path': '.', 'data_dump_step': '9-3'}, "--data_dump_step: found '9-3'"),
    ({'data_dump_path': '.', 'data_dump_step': '\u0663'}, "--data_dump_step: found '\u0663'"),  # a digit in Arabic
    ({'data_dump_path': '.', 'data_dump_step': '1000000000'}, "--data_dump_step: found '1000000000'"),
    ({'data_dump_path': '.', 'data_dump_step': '|'.join(map(str, range(101)))}, '--data_dump_step: found '),
    ({'data_dump_path': '.', 'over_dump_path': '.'}, '--data_dump_path and --over_dump_path exclude each other'),
    ({'over_dump_path': '/proc/nowhere'}, 'cannot write /proc/nowhere: No such file or directory. Change its '
     'permissions or choose another --over_dump_path'),
    ({'op_compiler_cache_dir': '/proc/nowhere'}, 'cannot write /proc/nowhere: '),
    ({'precision_mode': 'force_fp32', 'precision_mode_v2': 'origin'}, '--precision_mode and --precision_mode_v2 excl'),
    ({'precision_mode_v2': 'allow_mix_precision'}, "--precision_mode_v2: found 'allow_mix_precision', expected "),
    ({'dump_data': 'stats'}, '--dump_data needs --data_dump_path. Type the folder too'),
    ({'dump_layer': 'dense/MatMul'}, '--dump_layer needs --data_dump_path'),
    ({'hccl_timeout': 0}, '--hccl_timeout: found 0 seconds, expected 1 to 2147483647'),
    ({'op_wait_timeout': 2 ** 31}, '--op_wait_timeout: found 2147483648 seconds'),
])
def test_an_option_that_the_adapter_would_not_take_is_an_error(no_device, options, text):
    known = set(npu_options.SINCE)
    with pytest.raises(InputError, match='^' + re.escape(text)):
        npu_options.npu_parameters(npu_options.NpuOptions(**options), known)


NEWER = {  # options -> what the adapter gets, the releases of RELEASES that know them, what the others say
    ('precision_mode_v2', 'mixed_bfloat16'): ({'precision_mode_v2': 'mixed_bfloat16'}, 1, 'r1.13.0 (CANN 6.3.RC2)'),
    ('deterministic', True): ({'deterministic': 1}, 1, 'r1.12.0 (CANN 6.3.RC1)'),
    ('precision_mode', 'cube_fp16in_fp32out'): ({'precision_mode': 'cube_fp16in_fp32out'}, 1, 'r1.12.0 '),
    ('precision_mode', 'allow_mix_precision_bf16'): ({'precision_mode': 'allow_mix_precision_bf16'}, 1, 'r1.12.0 '),
    ('precision_mode', 'allow_fp32_to_bf16'): ({'precision_mode': 'allow_fp32_to_bf16'}, 1, 'r1.12.0 '),
    ('precision_mode', 'force_fp32'): ({'precision_mode': 'force_fp32'}, 4, ''),
    ('hccl_timeout', 1800): ({'hccl_timeout': 1800}, 2, 'r1.7.0 (CANN 5.0.4)'),
    ('op_wait_timeout', 600): ({'op_wait_timeout': 600}, 2, 'r1.7.0 (CANN 5.0.4)'),
}


@releases
@pytest.mark.parametrize('option', NEWER)
def test_a_newer_option_reaches_the_releases_that_know_it_and_no_other(adapter, request, option):
    expected, knowing, since = NEWER[option]
    options = npu_options.NpuOptions(**dict([option]))
    if request.node.callspec.params['adapter'] not in RELEASES[len(RELEASES) - knowing:]:
        text = f'^--{option[0]}.* needs release {re.escape(since)}.*or later of npu_bridge, which this one is not'
        with pytest.raises(InputError, match=text):
            device._configs('npu', options)
        return
    _, parameters = adapter.kind_of(device._configs('npu', options)[0])
    mode = {} if 'precision_mode' in option[0] else {'precision_mode': 'allow_mix_precision'}
    assert parameters == {'use_off_line': True, **mode, **expected}


@pytest.mark.parametrize('adapter', ['r1.15.0'], indirect=True)
def test_the_dump_of_statistics_of_some_operators(adapter, tmp_path):
    options = npu_options.NpuOptions(data_dump_path=str(tmp_path), dump_data='stats', dump_layer='dense/MatMul')
    parameters = adapter.kind_of(device._configs('npu', options)[0])[1]
    assert {name: parameters[name] for name in parameters if 'dump' in name} == {
        'enable_dump': True, 'dump_path': str(tmp_path), 'dump_step': '0', 'dump_mode': 'all', 'dump_data': 'stats',
        'dump_layer': 'dense/MatMul'}


@pytest.mark.parametrize('adapter', ['r1.15.0'], indirect=True)
def test_a_list_of_operators_goes_with_the_new_mixed_modes(adapter, tmp_path):
    options = everything(tmp_path, precision_mode_v2='mixed_float16')
    assert adapter.kind_of(device._configs('npu', options)[0])[1]['modify_mixlist'] == options.modify_mixlist


@pytest.mark.parametrize('adapter', ['r1.1.1'], indirect=True)
def test_the_oldest_release_is_told_to_leave_the_iterator_on_the_host(adapter):
    for config in device._configs('npu', npu_options.NpuOptions()):
        assert adapter.kind_of(config)[1]['enable_data_pre_proc'] is False


def test_the_precision_mode_is_said(adapter, capsys):
    with device.open_run('npu', npu={'precision_mode': 'must_keep_origin_dtype'}):
        pass
    assert 'NPU: precision mode must_keep_origin_dtype\n' in capsys.readouterr().out


@pytest.mark.parametrize('flag', [['--precision_mode', 'force_fp16'], ['--precision_mode_v2', 'fp16']])
def test_forced_float16_is_for_scoring_alone(flag, capsys):
    with pytest.raises(SystemExit):
        train_flags(flag)
    assert f'{" ".join(flag)} forces float16 everywhere, which' in capsys.readouterr().err
    assert eval_flags(flag).npu == predict_flags(['a.jpg', *flag]).npu == {flag[0][2:]: flag[1]}


@releases
def test_overflows_of_several_devices_are_refused_where_the_release_cannot(adapter, no_device, tmp_path, request):
    no_device.setenv('RANK_SIZE', '8')
    options = npu_options.NpuOptions(over_dump_path=str(tmp_path))
    if request.node.callspec.params['adapter'] == 'r1.2.0':
        with pytest.raises(InputError, match='--over_dump_path: RANK_SIZE is 8, but CANN 20.2 records'):
            device._configs('npu', options)
    else:
        assert adapter.kind_of(device._configs('npu', options)[0])[1]['enable_dump_debug'] is True


def test_the_mark_of_r1_3_0_came_with_it_and_stayed():
    with open(str(CONTRACT)) as stream:
        contract = json.load(stream)
    signatures = contract['names']['npu_bridge.estimator.npu.npu_config.NPURunConfig']['by_release']
    assert [npu_options.CAME_IN_R1_3_0 in each['signature'] for each in signatures] == [
        each['from'] not in ('r1.1.1', 'r1.2.0') for each in signatures]


@pytest.mark.parametrize('variables, named', [
    ({'ASCEND_DEVICE_ID': '-1'}, "ASCEND_DEVICE_ID is '-1'"),
    ({'ASCEND_DEVICE_ID': '9999999999'}, "ASCEND_DEVICE_ID is '9999999999'"),
    ({'DEVICE_ID': 'two'}, "DEVICE_ID is 'two'"),
    ({'ASCEND_DEVICE_ID': '\u0663', 'DEVICE_ID': '0'}, "ASCEND_DEVICE_ID is '\u0663'"),
    ({'ASCEND_DEVICE_ID': '', 'DEVICE_ID': 'two'}, "DEVICE_ID is 'two'"),
])
def test_a_device_number_that_would_abort_the_process_is_an_error(adapter, monkeypatch, variables, named):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f'^{named}, expected a device number from 0'), device.open_run('npu'):
        pass


def test_the_device_number_that_loses_does_not_matter(no_device):
    no_device.setenv('ASCEND_DEVICE_ID', '7')
    no_device.setenv('DEVICE_ID', 'two')
    npu.check_environment()


@pytest.mark.parametrize('size, warned', [(None, True), ('1', True), ('8', False)])
def test_a_rank_table_for_one_device_is_a_warning(adapter, no_device, capsys, size, warned):
    no_device.setenv('RANK_TABLE_FILE', '/8p.json')
    if size:
        no_device.setenv('RANK_SIZE', size)
    with device.open_run('npu'):
        pass
    text = r"^warning: RANK_TABLE_FILE is '/8p\.json', but RANK_SIZE .*\. Unset RANK_TABLE_FILE$"
    assert bool(re.search(text, capsys.readouterr().err, re.MULTILINE)) == warned


def test_the_flags_reach_the_options():
    expected = npu_options.NpuOptions(
        'must_keep_origin_dtype', 'origin', '/a.json', True, '/b', '/c', '/d', '0|5', 'stats', 'dense/MatMul', '/e',
        1800, 600)
    typed = [word for name, value in expected._asdict().items()
             for word in ([f'--{name}'] if value is True else [f'--{name}', str(value)])]
    for flags in (train_flags(typed), eval_flags(typed), predict_flags(['a.jpg', *typed])):
        assert npu_options.NpuOptions(**flags.npu) == expected
    for flags in (train_flags([]), eval_flags(['--demo']), predict_flags(['a.jpg'])):
        assert flags.npu == {}
    assert npu_options.npu_parameters(npu_options.NpuOptions(), set())['precision_mode'] == PRECISION_MODES[0]


def test_an_illegal_precision_mode_is_refused_before_anything_is_read(capsys):
    with pytest.raises(SystemExit):
        train_flags(['--precision_mode', 'fp16'])
    assert "invalid choice: 'fp16'" in capsys.readouterr().err


def test_flags_without_effect_are_named(no_device, capsys):
    with device.open_run('cpu', npu={'precision_mode': 'force_fp16', 'over_dump_path': '/nowhere'}):
        pass
    assert capsys.readouterr().out.splitlines() == [
        'device: cpu (asked for)', 'device: cpu ignores --precision_mode, --over_dump_path']


# --- choosing

def test_auto_takes_an_npu_that_is_there(adapter, monkeypatch, capsys):
    monkeypatch.setattr(npu.glob, 'glob', lambda pattern: ['/dev/davinci3'])
    assert device.choose('auto') == 'npu'
    assert capsys.readouterr().out == 'device: npu (npu_bridge and /dev/davinci3 found)\n'


def list_a_gpu(monkeypatch):
    monkeypatch.setattr(tf.config.experimental, 'list_physical_devices', lambda kind: ['GPU:0'])


def test_auto_prefers_an_npu_to_a_gpu(adapter, monkeypatch):
    list_a_gpu(monkeypatch)
    monkeypatch.setattr(npu.glob, 'glob', lambda pattern: ['/dev/davinci3'])
    assert device.choose('auto') == 'npu'


def test_auto_stops_where_the_adapter_finds_no_device(adapter):
    with pytest.raises(InputError, match=r'--device auto: found npu_bridge, but no /dev/davinci\[0-9\]\*\. .*'
                                         r'--device=/dev/davinci0 .*--device=/dev/davinci_manager.* --device cpu'):
        device.choose('auto')


@pytest.mark.parametrize('with_gpu', [False, True])
@pytest.mark.parametrize('sign', ['ASCEND_OPP_PATH', '/dev/davinci0'])
def test_auto_stops_at_any_sign_of_an_ascend_without_the_adapter(no_device, sign, with_gpu):
    if with_gpu:
        list_a_gpu(no_device)
    if sign.startswith('/'):
        no_device.setattr(npu.glob, 'glob', lambda pattern: [sign])
    else:
        no_device.setenv(sign, '/usr/local/Ascend/opp')
    text = f'--device auto: found {sign}, but npu_bridge, the .*, cannot be imported .* --device cpu'
    with pytest.raises(InputError, match=text):
        device.choose('auto')
    assert device.choose('cpu') == 'cpu'


def test_a_typed_npu_is_tried_without_a_device_node(adapter, capsys):
    assert device.choose('npu') == 'npu'
    printed = capsys.readouterr()
    assert printed.out == 'device: npu (asked for)\n'
    assert re.match(r'warning: --device npu: no /dev/davinci.* found; trying anyway. Start the container', printed.err)


@pytest.mark.parametrize('variables, version, text', [
    ({}, (3, 7, 5), 'CANN is not sourced: start with bash run.sh, bash train_1p.sh'),
    ({'ASCEND_OPP_PATH': '/opp'}, (3, 7, 5), r'CANN is sourced, but its TensorFlow plugin \(tfplugin\) is not in this'),
    ({'ASCEND_OPP_PATH': '/opp'}, (3, 8, 10), 'Start the Python 3.7 for which the plugin is built'),
])
def test_what_an_npu_lacks_is_said(no_device, variables, version, text):
    for name, value in variables.items():
        no_device.setenv(name, value)
    no_device.setattr(npu.sys, 'version_info', version)
    with pytest.raises(InputError, match=rf'--device npu: npu_bridge, .*, cannot be imported \(.*\) by \S+ \(Python '
                                         rf'{".".join(map(str, version))}\)\. .*{text}'):
        device.choose('npu')


@pytest.fixture(params=[
    ('import hccl', "ModuleNotFoundError: No module named 'hccl'"),
    ('raise OSError("libge_runner.so: cannot open")', 'OSError: libge_runner.so: cannot open'),
    ('raise TypeError("Descriptors cannot be created.\\nUpdate protobuf")',
     'TypeError: Descriptors cannot be created. Update protobuf'),
    ('raise ValueError("a broken wheel")', 'ValueError: a broken wheel'),
], ids=lambda param: param[1].split(':')[0])
def broken_adapter(request, no_device, tmp_path):
    """An npu_bridge that Python finds and that does not import; what its error says."""
    code, reason = request.param
    (tmp_path / 'npu_bridge').mkdir()
    (tmp_path / 'npu_bridge' / '__init__.py').write_text(code)
    no_device.syspath_prepend(str(tmp_path))
    return reason


def test_an_adapter_that_does_not_load_stops_the_run_where_cann_is(broken_adapter, no_device):
    no_device.setenv('ASCEND_OPP_PATH', '/opp')
    for name in ('npu', 'auto'):
        with pytest.raises(InputError) as caught:
            device.choose(name)
        text = str(caught.value)
        assert text.startswith(f'--device {name}: ') and f' cannot be imported ({broken_adapter}) by' in text
        assert text.endswith('. The plugin is installed, but a library of CANN or of the driver, or the package hccl, '
                             'does not load (see above). Check LD_LIBRARY_PATH and PYTHONPATH, or use --device cpu')


def test_an_adapter_that_does_not_load_without_cann(broken_adapter, no_device, capsys):
    with pytest.raises(InputError, match=r'The plugin is installed, but .*\. CANN is not sourced: start with bash run'):
        device.choose('npu')
    assert device.choose('auto') == 'cpu'
    list_a_gpu(no_device)
    assert device.choose('auto') == 'gpu'
    reason = f'npu_bridge is installed, but cannot be imported: {broken_adapter}'
    assert capsys.readouterr().out.splitlines() == [f'device: cpu (TensorFlow lists no GPU; {reason})',
                                                    f'device: gpu (TensorFlow lists 1 GPU; {reason})']


def test_an_empty_folder_of_the_adapters_name_is_no_adapter(no_device, tmp_path, capsys):
    (tmp_path / 'npu_bridge').mkdir()
    no_device.syspath_prepend(str(tmp_path))
    try:
        assert device.choose('auto') == 'cpu'
        assert capsys.readouterr().out == 'device: cpu (TensorFlow lists no GPU)\n'
        no_device.setenv('ASCEND_OPP_PATH', '/opp')
        with pytest.raises(InputError, match=r"No module named 'npu_bridge.estimator'.* \(tfplugin\) is not in this"):
            device.choose('npu')
    finally:
        for name in [name for name in sys.modules if name.split('.')[0] == 'npu_bridge']:
            del sys.modules[name]
