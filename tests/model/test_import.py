"""Other people's trained weights: importing, describing, scoring and training with them; metadata of checkpoints."""
import json
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, make_dataset

import eval as score
import predict
import train
from utils import models, nima
from utils.base.errors import InputError
from utils.base.files import sha256
from utils.base.preprocessing import Preprocessing
from utils.data import decoding
from utils.model import build, checkpoint, metadata, model_file

PUBLISHED = {42039: 5.2282, 42040: 4.6879, 42041: 5.2865, 42042: 5.1272, 42044: 5.7950}  # by the model's makers
STRIDED = ['conv1_pad', 'conv_pad_2', 'conv_pad_4', 'conv_pad_6', 'conv_pad_12']


def network(name='dense', top=True):
    """A fresh NIMA-MobileNet as other people build it, with moving averages that are not those of a new network."""
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)
    model = tf.keras.applications.MobileNet((32, 32, 3), include_top=False, pooling='avg', weights=None)
    if top:
        hidden = tf.keras.layers.Dropout(0.75)(model.output)
        model = tf.keras.Model(model.input, tf.keras.layers.Dense(10, activation='softmax', name=name)(hidden))
    random = np.random.RandomState(1)
    model.set_weights([drawn(random, weights.shape) for weights in model.get_weights()])
    return model


def drawn(random, shape):
    """Weights of a size at which predictions depend on the image: neither all alike nor one-sided."""
    if len(shape) == 1:
        return random.uniform(0.5, 1, shape)
    inputs = shape[0] * shape[1] if shape[-1] == 1 else np.prod(shape[:-1])  # of a depthwise convolution; of others
    return random.normal(0, np.sqrt(2 / inputs), shape)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('models')


@pytest.fixture(scope='module')
def weights(folder):
    """Weights without a network, the head named as titu1994's and idealo's files name it."""
    network('dense_1').save_weights(str(folder / 'others.h5'))
    return folder / 'others.h5'


@pytest.fixture(scope='module')
def base(folder):
    """Pre-trained weights without a head."""
    network(top=False).save_weights(str(folder / 'base.h5'))
    return folder / 'base.h5'


@pytest.fixture(scope='module')
def imported(folder, weights):
    """The same as a checkpoint."""
    path = folder / 'imported.h5'
    models.main(['import', str(weights), '--resize', 'nearest', '--padding', 'symmetric', '-o', str(path)])
    return path


@pytest.fixture(scope='module')
def small(folder):
    """A complete NIMA model for images of side 32, resized with nearest and padded on both sides."""
    plain = network()
    model = nima.with_padding(plain, 'symmetric')
    model.set_weights(plain.get_weights())
    checkpoint.save(model, str(folder / 'small.h5'), {'preprocessing': Preprocessing(
        32, 'nearest', 'symmetric').as_json(), 'epoch': 3})
    return folder / 'small.h5'


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / 'data', 12)


def arrays(path):
    return [array for layer in model_file.read(str(path)).weights.values() for array in layer]


def load(path):
    tf.compat.v1.keras.backend.clear_session()
    return build.for_scoring(model_file.read(str(path)))


# --- import

def test_every_weight_is_that_of_the_file(imported, weights):
    ours, theirs = arrays(imported), arrays(weights)
    assert len(ours) == len(theirs) == 137
    for left, right in zip(ours, theirs):
        np.testing.assert_array_equal(left, right)


def test_the_paddings_are_all_that_differs():
    model = network()
    assert nima.with_padding(model, 'tf') is model
    plain, symmetric = (made.get_config()['layers'] for made in (model, nima.with_padding(model, 'symmetric')))
    different = [left['name'] for left, right in zip(plain, symmetric) if left != right]
    assert different == STRIDED and len(plain) == len(symmetric)
    for name in STRIDED:
        one, other = (next(layer['config'] for layer in layers if layer['name'] == name)
                      for layers in (plain, symmetric))
        assert (one.pop('padding'), other.pop('padding')) == (((0, 1), (0, 1)), ((1, 1), (1, 1)))
        assert one == other


def test_symmetric_padding_is_one_pixel_on_every_side(small):
    model = load(small)
    image = np.random.RandomState(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    first = tf.keras.Model(model.input, model.get_layer('conv1').output).predict(image)
    kernel = model.get_layer('conv1').get_weights()[0]
    padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)), 'constant')
    for row, column in ((0, 0), (0, 15), (7, 3), (15, 15)):
        window = padded[2 * row:2 * row + 3, 2 * column:2 * column + 3]
        np.testing.assert_allclose(first[0, row, column], np.tensordot(window, kernel, 3), rtol=0, atol=1e-5)


def test_padding_of_a_network_that_has_none():
    inputs = tf.keras.Input((32, 32, 3))
    with pytest.raises(InputError, match=r'padding symmetric: \w+ has no ZeroPadding2D of \(\(0, 1\), '):
        nima.with_padding(tf.keras.Model(inputs, tf.keras.layers.GlobalMaxPooling2D()(inputs)), 'symmetric')


def test_the_metadata_of_an_imported_file(imported, weights):
    assert model_file.read(str(imported)).metadata == {
        'preprocessing': {'image_size': 224, 'resize': 'nearest', 'scaling': '(x - 127.5) / 127.5',
                          'padding': 'symmetric', 'orientation': 'ignore'},
        'origin': {'file': 'others.h5', 'sha256': sha256(str(weights))}}
    with h5py.File(str(imported), 'r') as file:
        assert 'optimizer_weights' not in file and json.loads(file.attrs['nima'])['origin']


def bring_in(path, output):
    return models.main(['import', str(path), '--resize', 'bilinear', '--padding', 'tf', '-o', str(output)])


def test_an_output_that_is_there_is_not_overwritten(weights, tmp_path):
    (tmp_path / 'model.h5').write_text('mine')
    with pytest.raises(InputError, match=r'model\.h5 exists already\. Remove it or choose another -o'):
        bring_in(weights, tmp_path / 'model.h5')
    assert (tmp_path / 'model.h5').read_text() == 'mine'


def test_an_output_folder_that_cannot_be_made(weights, tmp_path):
    (tmp_path / 'model').write_text('')
    with pytest.raises(InputError, match=r'cannot write .*model: .* -o'):
        bring_in(weights, tmp_path / 'model' / 'model.h5')


def test_a_checkpoint_is_not_imported_again(small, tmp_path):
    with pytest.raises(InputError, match=r'small\.h5 is a checkpoint with metadata already\. Use it as it is'):
        bring_in(small, tmp_path / 'model.h5')


def altered(source, path, alter):
    path.write_bytes(source.read_bytes())
    with h5py.File(str(path), 'a') as file:
        alter(file)
    return path


def test_a_layer_that_is_missing_or_left_over_is_named(weights, tmp_path):
    def without(file):
        file.attrs['layer_names'] = [name for name in file.attrs['layer_names'] if name != b'conv_pw_7_bn']

    def with_more(file):
        file.copy('conv1', 'conv_new')
        file.attrs['layer_names'] = [*file.attrs['layer_names'], b'conv_new']

    with pytest.raises(InputError, match=r"less\.h5: found no weights for the layer 'conv_pw_7_bn', expected shapes"):
        bring_in(altered(weights, tmp_path / 'less.h5', without), tmp_path / 'model.h5')
    with pytest.raises(InputError, match=r"more\.h5: found weights of a layer 'conv_new', which this network does not"):
        bring_in(altered(weights, tmp_path / 'more.h5', with_more), tmp_path / 'model.h5')
    assert not (tmp_path / 'model.h5').exists()


def test_weights_of_something_else(base, tmp_path):
    with pytest.raises(InputError, match=r'base\.h5: found no layer of 10 outputs, .*train\.py --weights'):
        bring_in(base, tmp_path / 'model.h5')
    (tmp_path / 'page.h5').write_text('<html>')
    with pytest.raises(InputError, match=r'page\.h5: found a web page, expected the weights of a NIMA-MobileNet'):
        bring_in(tmp_path / 'page.h5', tmp_path / 'model.h5')
    with pytest.raises(InputError, match=r'nowhere\.h5: found no file, expected the weights of a NIMA-MobileNet'):
        bring_in(tmp_path / 'nowhere.h5', tmp_path / 'model.h5')


@pytest.mark.parametrize('argv, said', [
    (['import', 'a.h5', '-o', 'b.h5'], 'required: --resize, --padding'),
    (['import', 'a.h5', '-o', 'b.h5', '--resize', 'cubic', '--padding', 'tf'], "invalid choice: 'cubic'"),
    (['describe'], 'required: FILE'), ([], 'required: import|describe')])
def test_how_it_was_trained_must_be_said(argv, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        models.main(argv)
    assert stopped.value.code == 2 and said in capsys.readouterr().err


# --- describe, as a user starts it

def run(*argv, cwd):
    return subprocess.run([sys.executable, *map(str, argv)], cwd=str(cwd), capture_output=True, text=True)


def test_describe_as_text(imported, weights, capsys):
    models.main(['describe', str(imported)])
    digest = sha256(str(weights))
    assert capsys.readouterr().out.splitlines()[1:] == [
        'contents        network and weights, optimiser none',
        'layers          90, 55 of them with weights',
        f'parameters      {3228864 + 1024 * 10 + 10:,}',
        "head            layer 'dense', 10 outputs",
        'pre-processing  images of side 224, resize nearest, scaling (x - 127.5) / 127.5, padding '
        'symmetric, EXIF orientation ignore, longest side not stated',
        f'origin          file others.h5, sha256 {digest}']


def test_describe_says_how_a_checkpoint_came_about(small, tmp_path, capsys):
    run = {'flags': {'epochs': 3, 'weights': None, 'learning_rate': 1e-4}, 'seed': 5, 'threads': 2, 'device': 'cpu',
           'data': {'labels_hash': 'a' * 64, 'split': 'the last 4', 'train_images': 8, 'val_images': 4},
           'metrics': {'val_srcc': 0.51234567, 'val_lcc': None}, 'versions': {'python': '3.7.16'},
           'position': {'epoch': 3, 'images': 0}}
    value = {'preprocessing': Preprocessing(32).as_json(), 'epoch': 3, 'run': run}
    path = altered(small, tmp_path / 'model.h5', lambda file: model_file.write_metadata(file, value))
    models.main(['describe', str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines[6:] if not line.startswith('pre-processing')] == [
        'epoch           3', f'data            labels_hash {"a" * 64}, split the last 4, train_images 8, val_images 4',
        'device          cpu', 'flags           epochs 3, learning_rate 0.0001', 'metrics         val_srcc 0.5123',
        'position        epoch 3, images 0', 'seed            5', 'threads         2', 'versions        python 3.7.16']
    assert models.main(['describe', str(path), '--json'])['metadata'] == value


def test_describe_as_json_without_tensorflow(small, weights):
    done = run('-X', 'importtime', '-m', 'utils.models', 'describe', small, '--json', cwd=ROOT)
    assert done.returncode == 0 and 'tensorflow' not in done.stderr
    found = json.loads(done.stdout)
    assert found['network'] and found['parameters'] == 3239114 and found['bytes'] == small.stat().st_size
    assert found['metadata'] == {'epoch': 3, 'preprocessing': Preprocessing(32, 'nearest', 'symmetric').as_json()}
    done = run('-m', 'utils.models', 'describe', weights, cwd=ROOT)
    assert 'weights alone' in done.stdout and done.stdout.splitlines()[-1] == 'metadata        none'


def test_help_without_tensorflow_and_a_mistake_without_a_traceback(tmp_path):
    done = run('-X', 'importtime', '-m', 'utils.models', '--help', cwd=ROOT)
    assert done.returncode == 0 and 'import|describe' in done.stdout
    assert 'tensorflow' not in done.stderr and 'h5py' not in done.stderr
    (tmp_path / 'empty.h5').write_bytes(b'')
    done = subprocess.run(['bash', str(ROOT / 'run.sh'), '-m', 'utils.models', 'describe', 'empty.h5'],
                          cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr == (f'models: error: {tmp_path}/empty.h5: found an empty file, expected a checkpoint or Keras '
                           'weights. Get a complete copy of the .h5 file\n')


# --- eval, predict and train

@pytest.mark.parametrize('script', ['eval', 'predict', 'train'])
def test_a_file_that_was_not_imported_names_the_command(script, weights, dataset):
    command = (rf"others\.h5: found weights without a network, .*\. Import the file with bash {ROOT}/run\.sh -m "
               rf"utils\.models import {weights} --resize bilinear --padding tf -o model\.h5 "
               r"\(idealo's need --resize nearest --padding symmetric\)")
    common = [*dataset.flags, '--val_size', '4', '--device', 'cpu']
    with pytest.raises(InputError, match=command):
        if script == 'eval':
            score.main([*common, '--checkpoint', str(weights)])
        elif script == 'predict':
            predict.main([str(dataset.images), '--checkpoint', str(weights), '--device', 'cpu'])
        else:
            train.main([*common, '--weights', str(weights), '--batchsize', '4'])


@pytest.mark.slow
def test_the_named_command_runs_as_printed(weights, tmp_path):
    source = tmp_path / "other people's.h5"
    source.write_bytes(weights.read_bytes())
    with pytest.raises(InputError) as error:
        model_file.read(str(source)).require_checkpoint()
    command = re.search(r'Import the file with (.* -o model\.h5) \(', str(error.value)).group(1)
    subprocess.run(command, shell=True, cwd=str(tmp_path), check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / 'model.h5').is_file()


@pytest.mark.slow
def test_training_starts_from_a_whole_nima_and_follows_its_pre_processing(small, dataset, tmp_path, capsys):
    history = train.main([*dataset.flags, '--weights', str(small), '--image_size', '64', '--batchsize', '4',
                          '--val_size', '4', '--device', 'cpu', '--epochs', '1', '--learning_rate', '1e-30',
                          '--TMP_MODEL_PATF', str(tmp_path), '--TMP_LOG_PATH', str(tmp_path / 'log')])
    assert ('small.h5: starting from a complete NIMA model, head included, trained on images of side 32: images of '
            'side 64, resize nearest, padding symmetric') in capsys.readouterr().out
    written = tmp_path / 'model_001.h5'
    found = model_file.read(str(written)).metadata
    assert {name: found[name] for name in ('epoch', 'preprocessing')} == {
        'epoch': 1, 'preprocessing': Preprocessing(64, 'nearest', 'symmetric', longest_side=640).as_json()}
    ours, theirs = (model_file.read(str(path)).weights for path in (written, small))
    for layer in ('conv1', 'conv_pw_13', 'dense'):
        np.testing.assert_array_equal(ours[layer][0], theirs[layer][0])
    assert load(written).get_layer('conv_pad_2').padding == ((1, 1), (1, 1))
    metrics = score.main([*dataset.flags, '--val_size', '4', '--checkpoint', str(written), '--device', 'cpu'])
    assert metrics['emd_r2'] == pytest.approx(history.history['val_loss'][0], abs=1e-6)
    assert 'no metadata' not in capsys.readouterr().out


def test_pre_trained_weights_without_a_head_get_the_cards_pre_processing(base):
    found = nima.preprocessing_for(model_file.read(str(base)), 96, print)
    assert found == nima.preprocessing_for(None, 96, print) == Preprocessing(96)


def test_the_cards_pre_processing():
    assert Preprocessing().as_json() == {'image_size': 224, 'resize': 'bilinear', 'scaling': '(x - 127.5) / 127.5',
                                          'padding': 'tf', 'orientation': 'ignore'}


# --- metadata

def test_a_checkpoint_without_metadata_gets_the_cards_pre_processing(small, tmp_path):
    path = altered(small, tmp_path / 'model.h5', lambda file: [file.attrs.__delitem__(name) for name in (
        'nima', 'nima_sha256')])
    said = []
    file = model_file.read(str(path))
    assert file.metadata is None and file.preprocessing(32, said.append) == Preprocessing(32)
    assert said == [f"{path}: no metadata; the model card's pre-processing is used (resize bilinear, padding tf)"]


def with_metadata(source, path, value):
    return altered(source, path, lambda file: model_file.write_metadata(file, value))


@pytest.mark.parametrize('changes, named', [
    ({'resize': 'cubic'}, r"'resize' = 'cubic'"), ({'scaling': 'x / 255'}, r"'scaling' = 'x / 255'"),
    ({'image_size': '32'}, r"'image_size' = '32'"), ({'orientation': 'exif'}, r"'orientation' = 'exif'")])
def test_a_pre_processing_of_another_version_is_refused(small, tmp_path, changes, named):
    path = with_metadata(small, tmp_path / 'model.h5', {'preprocessing': {**Preprocessing(32).as_json(), **changes}})
    with pytest.raises(InputError, match=rf'model\.h5: its pre-processing has {named}, which this version does not '
                                         r'know\. Use the version that wrote the file'):
        model_file.read(str(path))


@pytest.mark.parametrize('value, said', [
    ([], r'found \[\] as metadata, expected an object'), ({'preprocessing': 3}, 'its pre-processing has 3 instead of'),
    ({'epoch': 'one'}, "found 'one' as metadata.epoch, expected another type"),
    ({'run': {'seed': -1}}, 'found -1 as metadata.run.seed, expected another type')])
def test_metadata_of_another_kind_are_refused(small, tmp_path, value, said):
    with pytest.raises(InputError, match=rf'model\.h5: {said}'):
        model_file.read(str(with_metadata(small, tmp_path / 'model.h5', value)))


def test_absent_fields_mean_the_old_values(small, tmp_path):
    path = with_metadata(small, tmp_path / 'model.h5', {'preprocessing': {'image_size': 32, 'resize': 'nearest'}})
    assert model_file.read(str(path)).preprocessing(32, print) == Preprocessing(32, 'nearest')
    file = model_file.read(str(with_metadata(small, tmp_path / 'none.h5', {'epoch': 3})))
    assert file.own_preprocessing is None and file.preprocessing(32, print) == Preprocessing(32)
    assert models.main(['describe', file.path])['metadata'] == {'epoch': 3}


def test_unknown_fields_are_kept_and_a_resumed_run_carries_them(small, tmp_path):
    value = {'preprocessing': Preprocessing(32).as_json(), 'licence': 'Apache', 'run': {'id': 'ab', 'author': 'me'}}
    file = model_file.read(str(with_metadata(small, tmp_path / 'model.h5', value)))
    assert file.metadata == value
    assert metadata.unknown(file.metadata) == {'licence': 'Apache', 'run': {'author': 'me'}}
    assert metadata.unknown({}) == {'run': {}}


def test_metadata_of_another_network(small, tmp_path):
    path = with_metadata(small, tmp_path / 'model.h5', {'preprocessing': Preprocessing(224).as_json()})
    with pytest.raises(InputError, match=r'model\.h5: found a network for images of side 32 with metadata that say '
                                         r'224'):
        model_file.read(str(path)).preprocessing(32, print)


def test_a_checkpoint_that_is_not_nimas(base, folder):
    tf.compat.v1.keras.backend.clear_session()
    inputs = tf.keras.Input((32, 32, 3))
    five = tf.keras.Model(inputs, tf.keras.layers.Dense(5)(tf.keras.layers.GlobalMaxPooling2D()(inputs)))
    five.save(str(folder / 'five.h5'))
    with pytest.raises(InputError, match=r'five\.h5: found a network whose last layer has 5 outputs; expected'):
        load(folder / 'five.h5')
    tf.compat.v1.keras.backend.clear_session()
    inputs = tf.keras.Input((32, 32, 3))
    ten = tf.keras.layers.Dense(10)(tf.keras.layers.GlobalMaxPooling2D()(inputs))
    tf.keras.Model(inputs, tf.keras.layers.Reshape((5, 2))(ten)).save(str(folder / 'pairs.h5'))
    with pytest.raises(InputError, match=r'pairs\.h5: found a network from \(None, 32, 32, 3\) to \(None, 5, 2\), '
                                         r'expected a NIMA'):
        load(folder / 'pairs.h5')
    with pytest.raises(InputError, match=r'base\.h5: found weights without a network and without a layer of 10 '
                                         r'outputs'):
        load(base)


# --- resizing

def test_nearest_takes_the_pixel_at_the_centre(dataset):
    path = str(next(dataset.images.iterdir()))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image, ours, legacy = session.run([
            tf.image.decode_jpeg(tf.io.read_file(path), channels=3), decoding.read_image(path, 31, 'nearest'),
            tf.compat.v1.image.resize_images(tf.image.decode_jpeg(tf.io.read_file(path), channels=3), [31, 31],
                                             tf.compat.v1.image.ResizeMethod.NEAREST_NEIGHBOR)])
    rows, columns = ((2 * np.arange(31) + 1) * side // (2 * 31) for side in image.shape[:2])
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, image[rows][:, columns])
    assert (ours != legacy).any()


@pytest.mark.slow
def test_the_imported_aesthetic_model_gives_its_makers_scores(shared, tmp_path):
    source = shared / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'
    model = tmp_path / 'model.h5'
    models.main(['import', str(source), '--resize', 'nearest', '--padding', 'symmetric', '-o', str(model)])
    scores = tmp_path / 'scores.jsonl'
    predict.main([*(str(shared / 'ava_sample' / 'images' / f'{name}.jpg') for name in PUBLISHED),
                  '--checkpoint', str(model), '--device', 'cpu', '--output', str(scores)])
    means = [json.loads(line)['mean_score_1_to_10'] for line in scores.read_text().splitlines()]
    np.testing.assert_allclose(means, list(PUBLISHED.values()), rtol=0, atol=0.1)
