"""The measurements of benchmarks/: how they take turns, what they print, and what they say without their data."""
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, make_model

from benchmarks import dataset as drawn
from benchmarks import network, scaling, scoring, training, turns
from utils.base import memory
from utils.base.errors import InputError

COUNTING = '''import sys, time
sys.path.insert(0, {root!r})
from benchmarks import turns
turns.Answers().serve(lambda amount, word='': open({log!r}, 'a').write(f'{name} {{amount}} {{word}}\\n'))'''


def run(name, *argv):
    tool = ROOT / 'tools' / f'{name}.py'
    words = [str(tool)] if tool.exists() else ['-m', f'benchmarks.{name}']
    done = subprocess.run([sys.executable, *words, *map(str, argv)], cwd=str(ROOT), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def measured(tmp_path, name, *argv):
    """The rows of a measurement, as it writes them, and what it prints."""
    code, out, err = run(name, *argv, '--output', tmp_path / 'rows.json')
    assert code == 0, err
    return json.loads((tmp_path / 'rows.json').read_text()), out


# --- turns


def counting(tmp_path, *names):
    log = tmp_path / 'log.txt'
    return log, {name: [sys.executable, '-c', COUNTING.format(root=str(ROOT), log=str(log), name=name)]
                 for name in names}


def test_workers_take_turns_in_another_order_each_round(tmp_path):
    log, commands = counting(tmp_path, 'a', 'b')
    taken = turns.take_turns(commands, 3, amount=2, warm_up=5)
    assert log.read_text().split(' \n')[:-1] == ['a 5', 'b 5', 'a 2', 'b 2', 'b 2', 'a 2', 'a 2', 'b 2']
    assert [len(each) for each in taken.values()] == [3, 3]
    assert all(turn.wall > 0 and turn.peak >= turn.resident > 0 for each in taken.values() for turn in each)


def test_a_worker_that_is_not_in_turn_is_stopped_and_two_can_be_one(tmp_path):
    log, commands = counting(tmp_path, 'a', 'b')
    with turns.workers(commands) as started:
        for worker in started.values():
            (_, process_id), = worker._members
            deadline = time.monotonic() + 60
            while 'State:\tT' not in Path(f'/proc/{process_id}/status').read_text():
                assert time.monotonic() < deadline
        one = started['a'].take(1)
        both = started['a'].beside(started['b']).take(3, 'word')
    assert sorted(log.read_text().splitlines()) == ['a 1 ', 'a 3 word', 'b 3 word']
    assert both.resident > 1.5 * one.resident  # the sum of two


def test_processes_of_one_turn_work_at_the_same_time(tmp_path):
    meet = f'''import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from benchmarks import turns
def work(amount):
    open({str(tmp_path)!r} + f'/{{os.getpid()}}.here', 'w').close()
    while sum(name.endswith('.here') for name in os.listdir({str(tmp_path)!r})) < 2:
        time.sleep(0.01)
turns.Answers().serve(work)'''
    with turns.workers({name: [sys.executable, '-c', meet] for name in ('a', 'b')}) as started:
        assert started['a'].beside(started['b']).take(1).wall > 0


def test_a_process_that_ends_says_why(tmp_path):
    with pytest.raises(InputError, match=r'^a process of the benchmark ended early: ModuleNotFoundError: No module'):
        turns.Worker([sys.executable, '-c', 'import nowhere'])
    ends = COUNTING.format(root=str(ROOT), log=str(tmp_path / 'none' / 'log'), name='a')
    with turns.workers({'a': [sys.executable, '-c', ends]}) as started, pytest.raises(
            InputError, match='ended early: FileNotFoundError'):
        started['a'].take(1)


def test_a_row_is_the_median_of_the_ratios_and_says_that_the_machine_was_not_quiet():
    quiet = turns.compared('f', [2.0, 4.0, 4.0], [1.0, 2.0, 2.0], 's', 'so', most=2)
    assert quiet == turns.Figure('f', 4.0, 2.0, 2.0, 's', 'at most 2 times', True, 'so')
    noisy = turns.compared('f', [1.0, 10.0, 10.0], [1.0, 1.0, 10.0], 's', 'so', least=1.5)
    assert (noisy.value, noisy.baseline, noisy.ratio, noisy.met) == (10.0, 1.0, 1.0, False)
    assert noisy.how == 'so; the machine was not quiet: the ratio of the medians is 10'
    assert turns.described([quiet, turns.skipped('g', 'none')]) == '\n'.join([
        '| figure | here | baseline | ratio | goal | met |', '|---|---|---|---|---|---|',
        '| f | 4.00 s | 2.00 s | 2.00 | at most 2 times | yes |', '| g | | | | | skipped: none |', '', 'f: so'])


# --- without their data


@pytest.mark.parametrize('missing', ['weights', 'images'])
def test_imported_scores_without_its_data(missing, tmp_path):
    (tmp_path / 'model.h5').touch()
    weights = tmp_path / ('no.h5' if missing == 'weights' else 'model.h5')
    absent = weights if missing == 'weights' else tmp_path / '42039.jpg'
    assert run('imported_scores', '--weights', weights, '--images', tmp_path) == (
        1, '', f"imported_scores: error: {absent}: found no file, expected the weights of idealo's aesthetic model and "
               'its images: type --weights or --images\n')


@pytest.mark.parametrize('name, flag, packages', [
    ('network', 'torch', 'torch and timm'), ('network', 'new', 'onnxruntime and openvino'),
    ('training', 'torch', 'torch and timm'), ('training', 'intel', 'intel-tensorflow')])
def test_a_python_that_is_not_there_is_named_before_anything_is_measured(name, flag, packages, tmp_path):
    assert run(name, f'--{flag}_python', tmp_path / 'none') == (
        1, '', f'{name}: error: --{flag}_python: found no program {tmp_path / "none"}, expected a Python with '
               f'{packages}: correct it or leave it out\n')


def test_rounds_are_at_least_one():
    code, _, err = run('scoring', '--rounds', 0)
    assert code == 2 and "argument --rounds: found '0', expected a whole number from 1" in err


def test_a_measurement_that_fails_is_reported_with_an_exit_code(tmp_path):
    code, out, err = run('run', '--quick', '--only', 'network', '--torch_python', tmp_path / 'none')
    assert code == 1 and 'failed: exit code 1' in out and 'found no program' in err


def test_libraries_stand_beside_tensorflow_and_pytorch(monkeypatch):
    walls = {'as it is': 4, 'BatchNorm frozen': 3.2, 'intel-tensorflow': 2, 'PyTorch, channels last': 1}

    def take_turns(commands, rounds, **_):
        return {name: [turns.Turn(walls.get(name, 1), 0, 0, 0)] * rounds for name in commands}

    monkeypatch.setattr(turns, 'take_turns', take_turns)
    shape = training.Shape(False, 3, 224, 32, 640)
    figures = {each.figure: each for each in training._libraries(shape, {'intel': 'a', 'torch': 'b'})}
    assert figures['step: intel-tensorflow'].ratio == 2 and figures['step: PyTorch, channels last'].ratio == 4
    assert figures['step: BatchNorm frozen'].ratio == 1.25
    beside = {name: (each.ratio, each.met) for name, each in figures.items() if 'beside' in name}
    assert beside == {f'step beside PyTorch: {name}': found for name, found in {
        'as it is': (0.25, False), 'intel-tensorflow': (0.5, False), 'BatchNorm frozen': (0.3125, False),
        'intel-tensorflow, BatchNorm frozen': (1, True)}.items()}
    alone = training._libraries(shape, {'intel': 'a', 'torch': None})
    assert [each.figure for each in alone if each.value is None] == [
        f'step: PyTorch, channels last{more}' for more in ('', ', BatchNorm frozen', ', freed memory given back')]


def test_decoding_alone_asks_for_the_memory_that_predict_asks_for(dataset, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, 'keep_freed', lambda: asked.append(True))
    drawn.make(str(tmp_path / 'data'), 3, 32)
    make_model(tmp_path / 'data' / 'model_001.h5')
    assert len(scoring.decoding(str(tmp_path / 'data'))(2)) == 2 and asked


# --- all of them


FIGURES = {
    'startup': ['from the start of train.py', 'eval.py of 10', 'predict.py of 10', '--help', 'reading '], 'training': [
        'step of train.py, packed', 'training on a CPU, freed', 'simulated device busy', 'step: freed memory given',
        'step: intel-tensorflow', 'step: PyTorch', 'step: last:2', 'all operations', '--trainable head', 'head alone',
        'peak memory', 'memory of'],
    'scoring': ['scoring, tf, beside the original, freed', 'predict.py, decoding', 'predict.py, 12 mega'],
    'network': ['network alone, tf', 'network alone, PyTorch', 'network alone, newest', 'forward alone'],
    'loader': ['host, a step fed', *(f'{way}, cores: 1' for way in ('published', 'decode + resize',
                                                                    'loader, JPEG files', 'packed, raw'))],
    'scaling': ['two processes, together', 'projection, 8'], 'kill': ['SIGKILLs']}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('names', [['startup'], [name for name in FIGURES if name != 'startup']])
def test_measurements_run_and_make_tables(names, tmp_path):
    python = [] if names == ['startup'] else ['--intel_python', sys.executable]
    code, out, err = run('run', '--quick', '--only', *names, *python, '--output', tmp_path / 'figures.json')
    assert code == 0, out + err
    found = json.loads((tmp_path / 'figures.json').read_text())
    assert found['quick'] is True and found['machine']['cores'] >= 1 and list(found['figures']) == names
    for name, figures in found['figures'].items():
        assert f'## {name}\n' in out
        for beginning in FIGURES[name]:
            assert any(each['figure'].startswith(beginning) for each in figures), beginning
        if name == 'training':
            assert all(each['value'] for each in figures if each['figure'].startswith('step: intel-tensorflow'))
        for each in figures:
            assert f'| {each["figure"]} |' in out and each['how']
            assert (each['value'] is None) == each['how'].startswith('skipped: ')
            assert each['met'] is None or each['goal']


@pytest.mark.slow
def test_scoring_compares_engines_whose_scores_agree(tmp_path):
    pytest.importorskip('openvino')
    rows, _ = measured(tmp_path, 'scoring', '--quick')
    values = {row['figure']: row['value'] for row in rows}
    assert values['mean score, openvino: largest difference'] <= 1e-4
    assert {f'{scoring.PREDICT}, {way}' for way in scoring.ENGINES} <= set(values)
    rows, _ = measured(tmp_path, 'network', '--quick', '--new_python', sys.executable)
    names = [re.sub(r' \d+(\.\d+)+', '', row['figure']) for row in rows if row['value']]
    assert {f'{network.NETWORK}, {way}' for way in (*scoring.ENGINES, 'ONNX Runtime', 'ONNX Runtime of --new_python',
                                                    'OpenVINO of --new_python')} <= set(names)


@pytest.mark.slow
def test_the_originals_way_reads_little_that_nobody_scores(tmp_path, monkeypatch):
    read, one_by_one = [], scoring.one_by_one

    def counted(*given):
        for batch in one_by_one(*given):
            read.append(1)
            yield batch

    monkeypatch.setattr(scoring, 'one_by_one', counted)
    drawn.make(str(tmp_path / 'data'), 100, 64)
    scoring.model_in(str(tmp_path / 'data'), 32)
    scoring.original(str(tmp_path / 'data'), 32, False)(100)
    assert 2 * 10 <= len(read) <= 2 * (10 + 3)


@pytest.mark.slow
def test_what_packing_changes_is_the_table_of_the_docs(shared, tmp_path):
    rows, out = measured(tmp_path, 'pixels')
    raw = [row for row in rows if row['way'] == 'packed, raw']
    assert len(raw) == 2 and all(row['largest_score'] <= 0.05 and row['largest_pixel'] <= 0.5 for row in raw)
    page = (ROOT / 'docs' / 'datasets.md').read_text(encoding='utf-8')
    assert all(line in page for line in out.splitlines())


@pytest.mark.slow
def test_imported_scores_are_the_table_of_the_docs(shared, tmp_path):
    for name in ('weights/nima_aesthetic_idealo_dequantised.h5', 'ava_sample'):
        if not (shared / name).exists():
            pytest.skip(f'no shared/{name}')
    rows, out = measured(tmp_path, 'imported_scores')
    assert len(rows) == 2 * 4 and len(out.splitlines()) == 3 + 2 * 4
    nearest = {row['padding']: row for row in rows if row['resize'].startswith('nearest, half-pixel')}
    assert nearest['symmetric']['largest_difference'] < 0.1
    page = (ROOT / 'docs' / 'models.md').read_text(encoding='utf-8')
    for line in out.splitlines():
        assert line in page


# --- many devices


def test_a_ring_sends_each_part_around_twice():
    assert scaling.ring_seconds(800, 4, 100.0, hop=0.5) == pytest.approx(6 * (200 / 100 + 0.5))
    assert scaling.ring_seconds(800, 1, 100.0) == 0


def test_the_docs_have_the_projection_and_call_it_one():
    text = (ROOT / 'docs' / 'benchmarks.md').read_text(encoding='utf-8')
    for row in scaling.projection(scaling.GRADIENTS):
        exchange, efficiency = row.how.split(': ')[1].split(' | ')[:2]
        devices = row.figure.split()[1]
        assert any(line.strip().startswith(f'| {devices} | ') and line.endswith(f'| {exchange} | {efficiency} |')
                   for line in text.splitlines()), row
        assert row.how.startswith('Projection, not measured: ')
    assert 'not a measurement' in text


@pytest.mark.slow
def test_every_way_of_scaling_is_measured(tmp_path):
    pytest.importorskip('horovod', reason='no Horovod in this environment: bash utils/horovod.sh builds it')
    rows, _ = measured(tmp_path, 'scaling', '--quick')
    values = {row['figure']: row['value'] for row in rows}
    assert values[f'{scaling.TOGETHER}, beside apart'] > 0 and values[f'{scaling.EXCHANGE}, of a step'] > 0
