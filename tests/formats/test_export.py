"""utils/export.py: what each format holds and says, parity, the card, atc, mistakes that leave nothing."""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, make_dataset, make_model, snapshot

from utils import export, score_utils
from utils.base.errors import InputError
from utils.base.files import new_folder, sha256
from utils.base.preprocessing import Preprocessing
from utils.data import image_files
from utils.formats import ascend_model, frozen, parity
from utils.formats.flags import export_flags
from utils.model import build, model_file

SIZE = 32
RUN = {'seed': 5, 'device': 'cpu', 'metrics': {'val_srcc': 0.5, 'val_loss': None}}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model') / 'model_007.h5', metadata={'epoch': 7, 'run': RUN})


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 5).images


@pytest.fixture(scope='module')
def expected(model, images):
    """Pixels of the images and the distributions that the checkpoint gives them."""
    tf.compat.v1.keras.backend.clear_session()
    network = build.for_scoring(model_file.read(str(model)))
    reader = image_files.ImageReader(Preprocessing(SIZE, 'nearest'))
    pixels = np.stack([reader.read(str(path)) for path in sorted(images.iterdir())])
    reader.close()
    shares = network.predict_on_batch(pixels)
    assert np.ptp(score_utils.mean_score(shares)) > 0.01
    return pixels, shares


def run(model, kind, output, images, *more):
    return export.main([str(model), '--format', kind, '--output', str(output), '--photographs', str(images),
                        *map(str, more)])


def run_graph(path, images, input_name='input_1:0', output_name='dense/Softmax:0'):
    """The frozen graph in a file, as somebody without this project runs it."""
    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        shape = session.graph.get_tensor_by_name(input_name).shape.as_list()
        return shape, session.run(output_name, {input_name: images})


def test_a_frozen_graph_for_any_batch_size(model, images, expected, tmp_path, capsys):
    card = run(model, 'pb', tmp_path / 'out', images)
    assert sorted(path.name for path in (tmp_path / 'out' / 'pb').iterdir()) == [
        'model_007.pb', 'model_card.json', 'parity.json']
    shape, shares = run_graph(tmp_path / 'out' / 'pb' / 'model_007.pb', expected[0])
    assert shape == [None, SIZE, SIZE, 3]
    np.testing.assert_allclose(shares, expected[1], atol=1e-5)
    operations = {node.op for node in tf.compat.v1.GraphDef.FromString(
        (tmp_path / 'out' / 'pb' / 'model_007.pb').read_bytes()).node}
    assert not operations & {'Switch', 'Merge', 'VarHandleOp', 'VariableV2', 'ReadVariableOp'}
    assert list(card['files']) == ['model_007.pb']
    out = capsys.readouterr().out
    assert 'input input_1: float32 [N, 32, 32, 3] in [-1, 1], RGB\noutput dense/Softmax: float32 [N, 10], ' in out
    assert 'parity on 5 images (those of --photographs), frozen graph: largest difference ' in out


def test_a_frozen_graph_for_a_fixed_batch_size(model, images, expected, tmp_path):
    card = run(model, 'pb', tmp_path, images, '--batchsize', 2)  # five images: the last batch is filled up
    shape, shares = run_graph(tmp_path / 'pb' / 'model_007.pb', expected[0][:2])
    assert shape == [2, SIZE, SIZE, 3] and card['inputs'] == {'input_1': 'float32 [2, 32, 32, 3] in [-1, 1], RGB'}
    np.testing.assert_allclose(shares, expected[1][:2], atol=1e-5)
    assert json.loads((tmp_path / 'pb' / 'parity.json').read_text())['photographs'] == 5


def test_the_card_holds_origin_and_hashes_and_no_path(model, images, tmp_path):
    run(model, 'pb', tmp_path / 'one', images)
    run(model, 'pb', tmp_path / 'two', images)
    text = (tmp_path / 'one' / 'pb' / 'model_card.json').read_text()
    assert text == (tmp_path / 'two' / 'pb' / 'model_card.json').read_text()
    assert str(tmp_path) not in text and str(model.parent) not in text
    card = json.loads(text)
    assert card['checkpoint'] == {'file': 'model_007.h5', 'sha256': sha256(str(model))}
    assert card['files'] == {'model_007.pb': sha256(str(tmp_path / 'one' / 'pb' / 'model_007.pb'))}
    assert (card['epoch'], card['metrics'], card['training']) == (7, RUN['metrics'], {'seed': 5, 'device': 'cpu'})
    assert card['preprocessing']['resize'] == 'nearest' and card['preprocessing']['image_size'] == SIZE
    report = json.loads((tmp_path / 'one' / 'pb' / 'parity.json').read_text())
    assert report['passed'] and report['limit_of_a_share'] == 1e-5
    assert report['largest_difference']['frozen graph']['of_a_share'] <= 1e-5


def test_a_saved_model_takes_files_and_pixels(model, images, expected, tmp_path):
    run(model, 'saved_model', tmp_path, images)
    folder = tmp_path / 'saved_model' / '1'
    assert sorted(path.name for path in folder.iterdir()) == ['assets.extra', 'saved_model.pb', 'variables']
    files = [path.read_bytes() for path in sorted(images.iterdir())]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.loader.load(session, ['serve'], str(folder)).signature_def
        for name, key, given in (('serving_default', 'image_bytes', files), ('pixels', 'pixels', expected[0])):
            signature = signatures[name]
            outputs = session.run({key: each.name for key, each in signature.outputs.items()},
                                  {signature.inputs[key].name: given})
            assert signature.method_name == 'tensorflow/serving/predict'
            np.testing.assert_allclose(outputs['shares'], expected[1], atol=1e-5)
            np.testing.assert_allclose(outputs['mean'], score_utils.mean_score(expected[1]), atol=1e-4)
            np.testing.assert_allclose(outputs['standard_deviation'], score_utils.std_score(expected[1]), atol=1e-4)
    run(model, 'saved_model', tmp_path, images, '--model_version', 12)
    assert sorted(path.name for path in folder.parent.iterdir()) == ['1', '12']
    show = [sys.executable, '-m', 'tensorflow.python.tools.saved_model_cli', 'show', '--dir', str(folder), '--all']
    out = subprocess.run(show, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "signature_def['serving_default']" in out and "inputs['image_bytes']" in out and 'dtype: DT_STRING' in out


# --- names

def test_names_do_not_depend_on_what_was_built_before(model, images, expected, tmp_path):
    tf.compat.v1.keras.backend.clear_session()
    build.for_scoring(model_file.read(str(model)))
    second = build.for_scoring(model_file.read(str(model)))
    assert second.input.op.name == 'input_1_1'
    frozen.write(frozen.freeze(second), str(tmp_path / 'second.pb'))
    np.testing.assert_allclose(run_graph(tmp_path / 'second.pb', expected[0])[1], expected[1], atol=1e-5)


def test_another_operation_with_the_name_gives_way():
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)
    image = tf.keras.layers.Input((4, 4, 3), name='picture')
    hidden = tf.keras.layers.Dense(10, activation='softmax', name='dense')(tf.keras.layers.Flatten()(image))
    network = tf.keras.Model(image, tf.keras.layers.Dense(10, activation='softmax', name='votes')(hidden))
    pixels = np.random.RandomState(0).uniform(-1, 1, (3, 4, 4, 3))
    wanted = network.predict_on_batch(pixels)
    graph_def = frozen.freeze(network)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        np.testing.assert_allclose(session.run('dense/Softmax:0', {'input_1:0': pixels}), wanted, atol=1e-5)


# --- atc

ATC = '''#!/usr/bin/env bash
printf '%s\\n' "$PWD" "$@" > "$RECORD"
[[ -f model_007.pb && ( $* != *aipp* || -f aipp.cfg ) ]] || exit 3
{end}
'''


@pytest.fixture
def atc(tmp_path, monkeypatch):
    """A function that puts an atc on the PATH; it records its folder and arguments."""
    def install(end):
        (tmp_path / 'bin').mkdir()
        (tmp_path / 'bin' / 'atc').write_text(ATC.replace('{end}', end))
        (tmp_path / 'bin' / 'atc').chmod(0o755)
        monkeypatch.setenv('PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
        monkeypatch.setenv('RECORD', str(tmp_path / 'record'))
        return tmp_path / 'record'
    return install


def test_atc_is_run_with_the_command_that_is_written(model, images, atc, tmp_path, capsys):
    record = atc('echo offline model > model_007.om')
    card = run(model, 'om', tmp_path / 'out', images, '--soc_version', 'Ascend310P3', '--aipp', '--batchsize', 4)
    arguments = ['--model=model_007.pb', '--framework=3', '--output=model_007', '--input_format=NHWC',
                 '--input_shape=input_1:4,32,32,3', '--out_nodes=dense/Softmax:0', '--soc_version=Ascend310P3',
                 '--log=error', '--insert_op_conf=aipp.cfg']
    assert record.read_text().split('\n')[1:-1] == arguments
    folder = tmp_path / 'out' / 'om'
    assert sorted(card['files']) == ['aipp.cfg', 'atc.sh', 'model_007.om', 'model_007.pb']
    assert ' '.join(['atc', *arguments]) in capsys.readouterr().out
    (folder / 'model_007.om').unlink()
    subprocess.run(['bash', str(folder / 'atc.sh')], cwd=str(tmp_path), check=True)  # from any folder
    assert record.read_text().split('\n')[:-1] == [str(folder), *arguments] and (folder / 'model_007.om').exists()
    aipp = (folder / 'aipp.cfg').read_text()
    assert 'min_chn_0: 127.5' in aipp and 'src_image_size_w: 32' in aipp and 'input_format: RGB888_U8' in aipp
    factor = float(aipp.split('var_reci_chn_2: ')[1].split()[0])
    assert [(pixel - 127.5) * factor for pixel in (0, 255)] == pytest.approx([-1, 1], abs=1e-6)


def test_without_atc_the_files_and_the_command_are_there(model, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ascend_model.shutil, 'which', lambda name: None)
    shutil.copy(str(model), str(tmp_path / 'model 7.h5'))
    card = run(tmp_path / 'model 7.h5', 'om', tmp_path, images)
    assert sorted(card['files']) == ['atc.sh', 'model 7.pb']
    out = capsys.readouterr().out
    assert "atc: atc '--model=model 7.pb' --framework=3 '--output=model 7' " in out  # to be typed as it stands
    assert '--input_shape=input_1:1,32,32,3' in out and '--soc_version=Ascend310 ' in out
    assert 'no atc on the PATH: run atc.sh where CANN is, to make model 7.om' in out


def test_an_atc_that_fails_leaves_nothing(model, images, atc, tmp_path):
    atc('echo E10001: no such processor; exit 1')
    with pytest.raises(InputError, match=r'bin/atc wrote no model_007\.om and ended with code 1: E10001: no such '
                                         r'processor\. Source set_env\.sh of CANN, correct --soc_version'):
        run(model, 'om', tmp_path / 'out', images)
    assert not (tmp_path / 'out').exists()


# --- what goes wrong

def test_an_export_that_differs_is_none(model, images, tmp_path, monkeypatch):
    freeze = frozen.freeze

    def distorted(*arguments):
        graph_def = freeze(*arguments)
        bias = next(node for node in graph_def.node if node.name == 'dense/bias')
        value = tf.make_ndarray(bias.attr['value'].tensor)
        bias.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value + np.eye(10)[0] * 0.01, tf.float32))
        return graph_def

    monkeypatch.setattr(frozen, 'freeze', distorted)
    with pytest.raises(InputError, match=r'model_007\.h5 as pb: the exported model differs from its checkpoint on 5 '
                                         r'images \(frozen graph: 0\.00\d+ in a share, .*\. Nothing was written'):
        run(model, 'pb', tmp_path / 'out', images)
    assert not (tmp_path / 'out').exists()


def test_a_prediction_that_is_no_number_does_not_pass():
    one = parity.Sample(b'', np.zeros((2, 2, 3)))
    shares = np.full((1, 10), 0.1)
    report = parity.measure([one], lambda files, images: shares, {'x': lambda files, images: shares * np.nan}, 'here')
    assert not report['passed'] and report['largest_difference']['x']['of_a_share'] == 'not a number'
    with pytest.raises(InputError, match='not a number in a share'):
        parity.require(report, 'model')


def test_no_image_is_no_parity(model, tmp_path):
    (tmp_path / 'no.jpg').write_text('text')
    with pytest.raises(InputError, match=r'no\.jpg: not a JPEG, PNG, GIF, BMP, WebP, TIFF, HEIC or AVIF file'):
        run(model, 'pb', tmp_path / 'out', tmp_path / 'no.jpg')
    with pytest.raises(InputError, match='^the dataset: no readable image on which the exported model could be'):
        parity.measure([], None, {}, 'the dataset')
    assert not (tmp_path / 'out').exists()


def test_the_dataset_serves_where_nothing_is_typed_and_drawn_scenes_where_there_is_none(model, images, tmp_path,
                                                                                        monkeypatch, capsys):
    from utils import data_loader
    monkeypatch.setattr(data_loader, 'base_images_path', str(images))
    (images / '0.jpg').write_text('broken')
    try:
        export.main([str(model), '--format', 'pb', '--output', str(tmp_path / 'one')])
    finally:
        (images / '0.jpg').unlink()
    printed = capsys.readouterr()
    assert 'parity on 5 images (the first 6 of the dataset)' in printed.out and '0.jpg: not a JPEG' in printed.err
    monkeypatch.setattr(data_loader, 'base_images_path', str(tmp_path / 'none'))
    monkeypatch.setattr(export, 'IMAGES', 3)
    export.main([str(model), '--format', 'pb', '--output', str(tmp_path / 'two')])
    assert 'parity on 3 images (scenes of the demo dataset, as there is no other)' in capsys.readouterr().out


def test_an_export_that_is_there_stays(model, images, tmp_path):
    run(model, 'pb', tmp_path, images)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r'/pb exists already\. Remove it or choose another --output'):
        run(model, 'pb', tmp_path, images)
    assert snapshot(tmp_path) == before


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'new' / 'deep' / 'folder'
    with pytest.raises(KeyboardInterrupt), new_folder(str(path), '--output') as fresh:
        (tmp_path / 'new' / 'deep' / fresh / 'file').touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with new_folder(str(path), '--output') as fresh:
        assert not path.exists()
        os.mkdir(os.path.join(fresh, 'inside'))
    assert [each.name for each in path.iterdir()] == ['inside'] and len(list(path.parent.iterdir())) == 1
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='^cannot write .*/file/below: '), \
            new_folder(str(tmp_path / 'file' / 'below'), '--output'):
        pass


@pytest.mark.parametrize('words, wrong', [
    (['--format', 'pb', '--aipp'], '--aipp is for --format om, not for pb: leave it out'),
    (['--format', 'onnx', '--soc_version', 'Ascend310'], '--soc_version is for --format om, not for onnx'),
    (['--format', 'om', '--model_version', '2'], '--model_version is for --format saved_model, not for om'),
    (['--format', 'saved_model', '--batchsize', '2'], '--batchsize is for --format pb, onnx, om, not for'),
    (['--format', 'om', '--soc_version', 'x; rm'], "--soc_version: found 'x; rm', expected a processor's name"),
    (['--format', 'h5'], "argument --format: invalid choice: 'h5'"),
])
def test_flags_that_do_not_go_together(words, wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        export_flags(['model.h5', '--output', 'x', *words])
    assert ended.value.code == 2 and wrong in capsys.readouterr().err


def test_as_a_user_help_is_instant_and_mistakes_are_one_sentence(tmp_path):
    command = ['bash', str(ROOT / 'run.sh'), '-m', 'utils.export']
    for words, name in (([], 'export.py'), (['bins'], 'export.py bins'), (['srcc'], 'export.py srcc')):
        done = subprocess.run([*command, *words, '--help'], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith(f'usage: {name} ') and not done.stderr
    done = subprocess.run([*command, 'no.h5', '--format', 'pb', '--output', str(tmp_path / 'out')], capture_output=True,
                          text=True, cwd=str(tmp_path))
    assert done.returncode == 1 and not (tmp_path / 'out').exists()
    assert done.stderr.splitlines()[-1].startswith(f'export: error: {tmp_path / "no.h5"}: found no file, expected a')
    assert 'Traceback' not in done.stderr
