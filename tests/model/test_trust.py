"""Files by strangers, through all doors: none runs code or ends the interpreter, each is answered in one sentence."""
import json
import re
import subprocess
import sys

import h5py
import malicious
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, make_dataset

from utils import models, nima
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.model import build, checkpoint, model_file, trust, trust_network

# Every door in a process of its own, as what it reads might end it. Prints a line of JSON for each file and door.
DOORS = r'''
import contextlib, io, json, shutil, sys
import tensorflow as tf
import eval as score, predict
from utils import models, nima
from utils.base.errors import InputError
from utils.training import resume
flags, image, folder, paths, chosen = json.loads(sys.argv[1])
model = nima.with_head(tf.keras.applications.MobileNet((32, 32, 3), include_top=False, pooling='avg', weights=None), 0)

def resumed(path):
    target = folder + '/model_001.h5'
    shutil.rmtree(folder, ignore_errors=True)
    import os
    os.mkdir(folder)
    os.symlink(path, target)
    said = []
    try:
        resume.find(folder, resume=True, overwrite=False, own_folder=False, report=said.append)
    except InputError as error:
        raise InputError(' '.join(said) + ' ' + str(error))

doors = {
    'eval': lambda path: score.main([*flags, '--val_size', '4', '--device', 'cpu', '--checkpoint', path]),
    'predict': lambda path: predict.main([image, '--device', 'cpu', '--checkpoint', path]),
    'describe': lambda path: models.main(['describe', path]),
    'import': lambda path: models.main(['import', path, '--resize', 'bilinear', '--padding', 'tf', '-o',
                                      folder + '-imported.h5']),
    'weights': lambda path: nima.load_weights(model, nima.read_weights(path)),
    'resume': resumed,
}
for path in paths:
    for door in chosen:
        print('>', path, door, file=sys.stderr, flush=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                doors[door](path)
            said = 'nothing'
        except InputError as error:
            said = 'InputError: ' + str(error)
        except Exception as error:
            said = type(error).__name__ + ': ' + str(error)
        print(json.dumps([path, door, said]), flush=True)
'''
SOME = 'eval', 'describe', 'resume'  # which open a file in ways of their own
OTHERS = 'predict', 'import', 'weights'
NOT_ASKED = {  # doors that do not need what is wrong, or find something else wrong first
    'other shapes': {'describe', 'resume'},
    **dict.fromkeys(malicious.TOO_MUCH, {'describe', 'resume', 'import', 'weights'}),  # doors that build no network
}


def small_network():
    tf.compat.v1.keras.backend.clear_session()
    inputs = tf.keras.Input((32, 32, 3), name='input_1')
    hidden = tf.keras.layers.GlobalAveragePooling2D()(tf.keras.layers.Conv2D(4, 3, name='conv')(inputs))
    return tf.keras.Model(inputs, tf.keras.layers.Dense(10, activation='softmax', name='dense')(hidden))


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp('good') / 'good.h5'
    model = small_network()
    model.compile(nima.optimizer('sgd', 0.1, momentum=0.9, decay=0), nima.earth_mover_loss)
    checkpoint.save(model, str(path), {'preprocessing': Preprocessing(32).as_json(), 'epoch': 1, 'run': {
        'position': {'epoch': 1, 'images': 0}}})
    return path


pytestmark = pytest.mark.timeout(1600)  # half a minute each, but for a busy machine


@pytest.fixture(scope='module', params=[SOME, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=' '.join)
def doors(request):
    return request.param


@pytest.fixture(scope='module')
def answers(good, doors, tmp_path_factory):
    """{name of a file: {door: what it said}}, the good one's as 'good'."""
    folder = tmp_path_factory.mktemp('malicious')
    made = malicious.make_all(good, folder)
    data = make_dataset(folder / 'data', 8)
    names = {path: name for name, (path, _) in made.items()}
    names[str(good)] = 'good'
    arguments = json.dumps([data.flags, str(data.images / '1000.jpg'), str(folder / 'run'), list(names), doors])
    done = subprocess.run([sys.executable, '-c', DOORS, arguments], cwd=str(ROOT), capture_output=True,
                          text=True, timeout=1500)
    assert done.returncode == 0, f'the interpreter ended with {done.returncode}: {done.stderr[-3000:]}'
    found = {}
    for path, door, said in map(json.loads, done.stdout.splitlines()):
        found.setdefault(names[path], {})[door] = said
    return {name: (made[name][1] if name in made else '', said) for name, said in found.items()}


def test_the_good_one_is_taken(answers, doors):
    _, said = answers['good']
    taken = {'eval', 'predict', 'describe', 'resume'}
    assert {door for door, text in said.items() if text == 'nothing'} == taken & set(doors)


FILES = [*malicious.ALTERED, *(f'the first {share * 10} %' for share in range(10)), 'random bytes',
         'random bytes after the start', 'random bytes in the middle', 'a pipe', 'a folder', '5 GB']


@pytest.mark.parametrize('name', FILES)
def test_every_door_answers_in_one_sentence(answers, doors, name):
    expected, said = answers[name]
    assert set(said) == set(doors)
    for door, text in said.items():
        if name in ('a pipe', 'a folder') and door in ('eval', 'predict', 'resume', 'weights'):
            expected_here = 'found something|no checkpoint|no such (checkpoint|file)'  # asked for a file
        else:
            expected_here = expected
        if door in NOT_ASKED.get(name, ()):
            assert text == 'nothing' or text.startswith('InputError: '), (door, text)
            continue
        assert text.startswith('InputError: '), (door, text)
        assert re.search(expected_here, text), (door, text)
        assert '\n' not in text and len(text) < 4000, (door, text)


def test_a_lambda_with_code_does_not_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    marker = tmp_path / 'RAN'
    inner = small_network()

    def code(tensor):
        import pathlib
        pathlib.Path('RAN').write_text('x')
        return tensor

    model = tf.keras.Model(inner.input, tf.keras.layers.Lambda(code)(inner.output))
    with pytest.raises(InputError, match=r"the model in train\.py: found a layer of the class 'Lambda', .*base_model"):
        checkpoint.require_savable(model)
    model.save('model.h5')
    marker.unlink()
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.models.load_model('model.h5')  # Keras alone runs it
    marker.unlink()
    for refuse in (model_file.read, models.describe):
        with pytest.raises(InputError, match=r"model\.h5: found a layer of the class 'Lambda', which may run code "
                                             r'of its own or is not for images; expected .*\. Do not use the file'):
            refuse('model.h5')
    assert not marker.exists()


# --- what has to pass

@pytest.mark.parametrize('name, size', [
    ('MobileNet', 32), ('MobileNetV2', 32), ('VGG16', 32), ('ResNet50', 32), ('Xception', 71),
    *(pytest.param(name, size, marks=pytest.mark.slow) for name, size in (
        ('VGG19', 32), ('InceptionV3', 75), ('ResNet101', 32), ('ResNet152', 32), ('ResNet50V2', 32),
        ('ResNet101V2', 32), ('ResNet152V2', 32), ('DenseNet121', 32), ('DenseNet169', 32), ('DenseNet201', 32),
        ('NASNetMobile', 224), ('NASNetLarge', 331)))])
def test_keras_own_networks_pass(name, size):
    tf.compat.v1.keras.backend.clear_session()
    base = getattr(tf.keras.applications, name)(input_shape=(size, size, 3), include_top=False, pooling='avg',
                                                weights=None)
    checkpoint.require_savable(nima.with_head(base, 0.5))


@pytest.mark.slow
def test_the_one_that_has_lambdas_does_not():
    tf.compat.v1.keras.backend.clear_session()
    base = tf.keras.applications.InceptionResNetV2(input_shape=(75, 75, 3), include_top=False, pooling='avg',
                                                   weights=None)
    with pytest.raises(InputError, match="found a layer of the class 'Lambda'"):
        checkpoint.require_savable(nima.with_head(base, 0.5))


@pytest.mark.slow
def test_networks_as_people_write_them_pass(tmp_path):
    tf.compat.v1.keras.backend.clear_session()
    keras = tf.keras
    base = keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, pooling='avg', weights=None)
    nested = keras.Sequential([base, keras.layers.Dropout(0.5), keras.layers.Dense(
        10, kernel_regularizer=keras.regularizers.l2(0.01), kernel_initializer='he_normal',
        kernel_constraint=keras.constraints.MaxNorm(3)), keras.layers.Activation('softmax')])
    inputs = keras.Input((32, 32, 3))
    called = keras.Model(inputs, keras.layers.Dense(10, activation='softmax')(base(inputs, training=False)))
    anysize = keras.Input((None, None, 3))
    larger = keras.layers.UpSampling2D(2)(keras.layers.Reshape((-1, 1, 3))(anysize))
    free = keras.Model(anysize, keras.layers.Dense(10, activation='softmax')(
        keras.layers.GlobalAveragePooling2D()(keras.layers.Concatenate()([larger, larger]))))
    for number, model in enumerate((nested, called, free)):
        path = str(tmp_path / f'{number}.h5')
        checkpoint.save(model, path, {'preprocessing': Preprocessing(32).as_json()})
    images = np.random.RandomState(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    expected = [model.predict(images) for model in (nested, called, free)]
    for number, distributions in enumerate(expected):
        tf.compat.v1.keras.backend.clear_session()
        found = build.for_scoring(model_file.read(str(tmp_path / f'{number}.h5'))).predict(images)
        np.testing.assert_allclose(found, distributions, rtol=0, atol=1e-6)


@pytest.mark.parametrize('value', ['{}', '[1, 2.5, null, true]', '{"a": [{"b": 10}]}'])
def test_json_of_an_ordinary_size(value):
    assert trust.parse_json(value, 'metadata') == json.loads(value)


@pytest.mark.parametrize('text', ['NaN', '[-Infinity]', '{"a": 1e999}'])
def test_json_of_numbers_that_are_none(text):
    with pytest.raises(trust.DistrustError, match=r'metadata that is no JSON \(.*, which is no finite number\)'):
        trust.parse_json(text, 'metadata')


def test_what_is_read_commands_no_terminal(good, tmp_path):
    path = tmp_path / 'loud.h5'
    path.write_bytes(good.read_bytes())
    with h5py.File(str(path), 'r+') as file:
        del file.attrs['nima_sha256']
        malicious.metadata(device='\x1b[2J\ud800', metrics={'中文\n': 1})(file)
    found = models.describe(str(path))
    assert found['metadata']['run'] == {'device': r'\x1b[2J\ud800', 'metrics': {r'中文\x0a': 1}}
    models.described(found).encode()


def test_compressed_weights_are_taken(good, tmp_path):
    path = tmp_path / 'small.h5'
    path.write_bytes(good.read_bytes())
    with h5py.File(str(path), 'r+') as file:
        array = file[malicious.KERNEL][()]
        del file[malicious.KERNEL]
        file.create_dataset(malicious.KERNEL, data=array, compression='gzip', shuffle=True, fletcher32=True)
        del file.attrs['nima_sha256']
    np.testing.assert_array_equal(model_file.read(str(path)).weights['dense'][0], array)


def test_names_in_several_attributes_are_read(good, tmp_path):
    path = tmp_path / 'long.h5'
    path.write_bytes(good.read_bytes())
    with h5py.File(str(path), 'r+') as file:
        group = file['model_weights']
        names = list(group.attrs['layer_names'])
        del group.attrs['layer_names']
        group.attrs['layer_names0'], group.attrs['layer_names1'] = names[:2], names[2:]
    assert model_file.read(str(path)).shapes == model_file.read(str(good)).shapes


def test_the_whitelist_holds_no_layer_with_code():
    for name in trust_network.LAYERS - {'BatchNormalizationV1', 'BatchNormalizationV2'}:
        assert issubclass(getattr(tf.keras.layers, name), tf.keras.layers.Layer)
    assert not {'Lambda', 'TimeDistributed', 'Bidirectional', 'Wrapper', 'RNN'} & trust_network.LAYERS
