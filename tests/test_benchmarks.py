"""The commands of benchmarks/: what they print, and what they say without their data."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT, make_model

from benchmarks import scoring
from utils.base import memory
from utils.base.errors import InputError


def run(name, *argv):
    done = subprocess.run([sys.executable, str(ROOT / 'benchmarks' / f'{name}.py'), *map(str, argv)],
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_reading_labels_is_timed_beside_a_plain_split():
    code, out, _ = run('labels', '--generate', 500, '--rounds', 2, '--json')
    figures = json.loads(out)
    assert code == 0 and (figures['lines'], figures['rounds']) == (500, 2)
    assert figures['ratio'] == figures['read_labels_s'] / figures['str_split_s']


@pytest.mark.parametrize('missing', ['weights', 'photographs'])
def test_imported_scores_without_its_data(missing, tmp_path):
    (tmp_path / 'model.h5').touch()
    weights = tmp_path / ('no.h5' if missing == 'weights' else 'model.h5')
    absent = weights if missing == 'weights' else tmp_path / 'images' / '42039.jpg'
    assert run('imported_scores', '--weights', weights, '--dataset', tmp_path) == (
        1, '', f"imported_scores: error: {absent}: found no file, expected the weights of idealo's aesthetic model and "
               'the photographs in images/ of the dataset: type --weights or --dataset\n')


def test_scoring_without_its_data(tmp_path):
    code, out, err = run('scoring', '--weights', tmp_path / 'no.h5', '--images', tmp_path)
    assert (code, out) == (1, '')
    assert err == (f'scoring: error: {tmp_path / "no.h5"}, {tmp_path}: found no weights or no photographs, expected '
                   'both: type --weights or --images\n')


def test_scoring_takes_whole_batches_alone():
    code, out, err = run('scoring', '--count', 100)
    assert (code, out, err) == (1, '', 'scoring: error: --count: found 100, expected a multiple of 64: type --count '
                                       '128\n')
    code, _, err = run('scoring', '--rounds', 0)
    assert code == 2 and "argument --rounds: found '0', expected a whole number from 1" in err


def test_a_process_of_scoring_that_ends_says_why(tmp_path):
    python = tmp_path / 'python'  # in place of one without timm
    python.write_text("#!/bin/sh\nprintf 'Traceback\\nno module timm\\n' >&2\n")
    python.chmod(0o755)
    with pytest.raises(InputError, match=r'^PyTorch: found that its process ended \(no module timm\), expected'):
        scoring.Worker(str(python), scoring.NETWORK, scoring.TORCH, 'model.h5', 'images')
    assert run('scoring', '--torch_python', tmp_path / 'none') == (
        1, '', f'scoring: error: --torch_python: found no program {tmp_path / "none"}, expected a Python with torch '
               'and timm: correct it or leave it out\n')


def test_decoding_alone_asks_for_the_memory_that_predict_asks_for(dataset, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, 'keep_freed', lambda: asked.append(True))
    turn = scoring.decoding(scoring.DECODE, str(make_model(tmp_path / 'model.h5')), str(dataset.images))
    assert asked and turn(scoring.STEP) > 0


@pytest.mark.slow
def test_scoring_compares_both_engines(shared):
    pytest.importorskip('openvino')
    if not (shared / 'weights').exists() or not (shared / 'ava_sample').exists():
        pytest.skip('no shared/weights or no shared/ava_sample')
    code, out, err = run('scoring', '--rounds', 1, '--count', 64, '--json')
    assert code == 0, err
    result = json.loads(out)
    assert [list(part['ratios']) for part in result['parts'].values()] == [
        ['decoding alone', 'tf', 'openvino', 'openvino --fast'], ['tf', 'ONNX Runtime', 'openvino', 'openvino --fast']]
    assert all(ratio > 0 for part in result['parts'].values() for row in part['ratios'].values()
               for ratio in row.values())
    assert result['differences']['openvino']['largest'] <= 1e-4


@pytest.mark.slow
def test_imported_scores_are_the_readmes_table(shared):
    for name in ('weights/nima_aesthetic_idealo_dequantised.h5', 'ava_sample'):
        if not (shared / name).exists():
            pytest.skip(f'no shared/{name}')
    code, out, err = run('imported_scores')
    assert code == 0, err
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in out.splitlines()]
    assert [len(row) for row in rows] == [2 + 5 + 1] * (3 + 2 * 4)
    nearest = rows[3:][[row[:2] for row in rows[3:]].index(['symmetric', 'nearest, half-pixel centres: `nearest`'])]
    assert float(nearest[-1]) < 0.1
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    for line in out.splitlines():
        assert line in readme


BEGINNINGS = {
    'steps': ['step of train.py'], 'busy': ['simulated device busy'], 'startup': ['from python3 train.py', '--help'],
    'evaluation': ['scoring, TensorFlow', 'scoring, OpenVINO', 'forward alone'], 'transfer': ['images a second, --tra'],
    'cpu_training': ['training on a CPU', 'all operations'], 'levers': ['step: as it is', 'step: PyTorch'],
    'memory': ['peak memory', 'memory of train.py']}


@pytest.mark.parametrize('names', [
    ['startup', 'levers'], pytest.param(list(BEGINNINGS), marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_measurements_run_and_make_one_table(names, tmp_path):
    code, out, err = run('run', '--quick', '--only', *names, '--output', tmp_path / 'figures.json')
    assert code == 0, out + err
    found = json.loads((tmp_path / 'figures.json').read_text())
    assert found['quick'] is True and found['machine']['cores'] >= 1
    table, told = out.split('\n\n')
    assert told.splitlines() == [f'{each["figure"]}: {each["how"]}' for each in found['figures']
                                 if each['value'] is not None]
    assert 'records' in told  # of the commands whose --help is timed
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()]
    assert rows[0] == ['figure', 'here', 'baseline', 'ratio', 'goal', 'met']
    assert [row[0] for row in rows[2:]] == [each['figure'] for each in found['figures']]
    for beginning in [each for name in names for each in BEGINNINGS[name]]:
        assert any(each['figure'].startswith(beginning) for each in found['figures']), beginning
    for each in found['figures']:
        assert each['how'] and not each['how'].startswith('failed')
        assert (each['value'] is None) == each['how'].startswith('skipped: ')
        assert (each['met'] is None) or each['goal']


def test_a_measurement_that_fails_is_a_row_and_an_exit_code(tmp_path):
    code, out, _ = run('run', '--quick', '--only', 'levers', '--torch_python', tmp_path / 'none')
    assert code == 1 and 'failed: ' in out


@pytest.mark.slow
def test_the_originals_way_reads_little_that_nobody_scores(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import evaluation, loader
    drawn, one_by_one = [], evaluation._one_by_one

    def counted(*given):
        for batch in one_by_one(*given):
            drawn.append(1)
            yield batch

    monkeypatch.setattr(evaluation, '_one_by_one', counted)
    loader.make_dataset(str(tmp_path / 'data'), 100, 64)
    evaluation.checkpoint_in(str(tmp_path / 'data'), 32)
    evaluation.original(str(tmp_path / 'data'), 32)(1)
    assert 2 * 10 <= len(drawn) <= 2 * (10 + 3)
