"""--engine openvino of predict.py and eval.py, and the ONNX export that it runs."""
import csv
import importlib.util
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, make_dataset, make_model

import eval as score
import predict
from utils import export
from utils.base import errors
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import image_files
from utils.formats import onnx_model
from utils.model import build, model_file
from utils.scoring import engines, flags

SIZE = 32
AGREE = 1e-4  # mean scores of the two engines


def needs(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f'requirements-export.txt is not installed: {missing}')



@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model') / 'model_007.h5')


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 7)


def means(path):
    return {row['file']: float(row['mean_score_1_to_10']) for row in csv.DictReader(path.open())}


@needs('tf2onnx', 'onnxruntime')
@pytest.mark.parametrize('batchsize', [None, 3])
def test_onnx_runtime_predicts_the_same(model, dataset, batchsize, tmp_path, capfd):
    import onnx
    import onnxruntime
    words = ['--batchsize', str(batchsize)] if batchsize else []
    export.main([str(model), '--format', 'onnx', '--output', str(tmp_path), '--photographs', str(dataset.images),
                 *words])
    path = tmp_path / 'onnx' / 'model_007.onnx'
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    assert {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())} == {
        'input_1': [batchsize or 'N', SIZE, SIZE, 3], 'dense/Softmax': [batchsize or 'N', 10]}
    reader = image_files.ImageReader(Preprocessing(SIZE, 'nearest'))
    pixels = np.stack([reader.read(str(file)) for file in sorted(dataset.images.iterdir())[:3]])
    reader.close()
    tf.compat.v1.keras.backend.clear_session()
    expected = build.for_scoring(model_file.read(str(model))).predict_on_batch(pixels)
    np.testing.assert_allclose(session.run(None, {'input_1': pixels})[0], expected, atol=1e-5)
    report = json.loads((tmp_path / 'onnx' / 'parity.json').read_text())
    assert report['passed'] and 'ONNX Runtime' in report['largest_difference']
    printed = capfd.readouterr()
    assert 'validated with onnx.checker, opset 13' in printed.out and 'tf2onnx' not in printed.err


@needs('tf2onnx', 'openvino')
def test_predict_gives_the_same_scores(model, dataset, tmp_path, capsys):
    for name, more in (('tf', []), ('openvino', ['--engine', 'openvino']),
                       ('fast', ['--engine', 'openvino', '--fast'])):
        predict.main([str(dataset.images), '--checkpoint', str(model), '--batchsize', '3', '--output',
                      str(tmp_path / f'{name}.csv'), *more])
    expected = means(tmp_path / 'tf.csv')
    assert len(expected) == 7 and np.ptp(list(expected.values())) > 0.01
    assert means(tmp_path / 'openvino.csv') == pytest.approx(expected, abs=AGREE)
    assert means(tmp_path / 'fast.csv') == pytest.approx(expected, abs=1)  # these weights are random
    printed = capsys.readouterr().err
    assert 'engine: OpenVINO 2023.1.0, f32\n' in printed and printed.count('engine: OpenVINO') == 2


@needs('tf2onnx', 'openvino')
def test_eval_gives_the_same_metrics_for_each_model(model, dataset, tmp_path, capsys):
    other = make_model(tmp_path / 'other.h5', resize='bilinear')
    found = {}
    for engine in ('tf', 'openvino'):
        found[engine] = score.main(['--checkpoint', str(model), '--compare', str(other), '--val_size', '5',
                                    '--batchsize', '4', '--engine', engine, *dataset.flags])
    assert found['openvino'] == pytest.approx(found['tf'], abs=AGREE, nan_ok=True)
    tables = [[line for line in part.splitlines() if line.startswith('EMD, r=2')]
              for part in capsys.readouterr().out.split('engine: OpenVINO', 1)]
    assert len(tables) == 2 and len(tables[0]) == len(tables[1]) == 1


@pytest.mark.parametrize('name, how', [
    ('predict.py', lambda model, data: predict.main([str(data.images), '--checkpoint', str(model), '--engine',
                                                     'openvino'])),
    ('eval.py', lambda model, data: score.main(['--checkpoint', str(model), '--val_size', '5', '--engine', 'openvino',
                                                *data.flags])),
])
def test_a_package_that_is_missing_is_named(name, how, model, dataset, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(errors.importlib.util, 'find_spec',
                        lambda wanted, *more: None if wanted in ('openvino', 'tf2onnx') else find(wanted, *more))
    monkeypatch.setattr(onnx_model, 'OPENVINO_PACKAGES', {'tf2onnx': 'tf2onnx', 'openvino': 'openvino'})
    with pytest.raises(InputError, match='--engine openvino needs tf2onnx and openvino, which .* Type .* -m pip '
                                         'install -r .*requirements-export.txt$'):
        how(model, dataset)


def test_onnx_without_its_packages_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(errors.importlib.util, 'find_spec', lambda wanted, *more: None)
    with pytest.raises(InputError, match='--format onnx needs tf2onnx and onnx and onnxruntime, which'):
        export.main([str(model), '--format', 'onnx', '--output', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


def test_a_cpu_without_bfloat16_is_reported(model, monkeypatch):
    class Compiled:
        version, precision = '2023.1.0', 'f32'

        def __init__(self, model, *, batchsize, image_size, threads, fast):
            assert (model, batchsize, image_size, threads, fast) == (b'onnx', 2, SIZE, 2, True)

    monkeypatch.setattr(onnx_model, 'require', lambda *arguments: None)
    monkeypatch.setattr(onnx_model, 'convert', lambda graph_def: b'onnx')
    monkeypatch.setattr(onnx_model, 'OpenVino', Compiled)
    tf.compat.v1.keras.backend.clear_session()
    reported = []
    run = types.SimpleNamespace(device='cpu', threads=2)
    made = engines.load(str(model), engines.Choice('openvino', fast=True), run, 5, report=reported.append)
    assert reported == ['engine: OpenVINO 2023.1.0, f32, as this CPU has no bfloat16'] and made.predict_batch == 2


@pytest.mark.parametrize('words, wrong', [
    (['--fast'], '--fast needs --engine openvino'),
    (['--engine', 'openvino', '--device', 'npu'], '--engine openvino runs on the CPU: leave out --device npu'),
    (['--engine', 'onnx'], "argument --engine: invalid choice: 'onnx'"),
])
@pytest.mark.parametrize('parse', [flags.eval_flags, lambda words: flags.predict_flags(['photo.jpg', *words])],
                         ids=['eval', 'predict'])
def test_flags_that_do_not_go_together(parse, words, wrong, capsys):
    with pytest.raises(SystemExit):
        parse(words)
    assert wrong in capsys.readouterr().err
    assert parse(['--engine', 'openvino']).device == 'cpu' and parse([]).device == 'auto'


def test_the_requirements_keep_tensorflow_alive():
    lines = [line for line in (ROOT / 'requirements-export.txt').read_text().splitlines() if line[:1] not in ('#', '')]
    assert [line.split('=')[0] for line in lines[:4]] == ['tf2onnx', 'onnx', 'onnxruntime', 'openvino']
    assert all('==' in line for line in lines[:4]) and lines[4:] == ['protobuf>=3.20.2,<3.21']
