"""The demo dataset: the same files from the same seed, AVA's format, scores that fall with the degradation."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from utils import demo_dataset
from utils.base.errors import InputError
from utils.demo import dataset, scenes

ROOT = Path(__file__).resolve().parents[2]
SMALL = {'train_size': 8, 'val_size': 4}
SCORES = np.arange(1, 11)


def contents(folder):
    """All files of a folder: relative path -> bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob('**/*')) if path.is_file()}


def scene(number=0):
    return scenes.draw_scene(np.random.RandomState(number))


def degraded(kind, amount, number=0):
    return scenes.degrade(scene(number), kind, amount, np.random.RandomState(number))


def fine_detail(pixels):
    """Mean absolute second difference along the rows."""
    return np.abs(np.diff(pixels.astype(float), n=2, axis=1)).mean()


def blockiness(pixels):
    """How much larger the steps across the borders of 8x8 blocks are than those within."""
    steps = np.abs(np.diff(pixels.astype(float), axis=1)).mean(axis=(0, 2))
    at_border = np.arange(len(steps)) % 8 == 7
    return steps[at_border].mean() / steps[~at_border].mean()


# --- the files

def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        dataset.make(str(tmp_path / name), seed=seed, **SMALL)
    first, second, other = (contents(tmp_path / name) for name in 'abc')
    assert first == second
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_the_labels_have_the_format_of_ava(tmp_path):
    dataset.make(str(tmp_path / 'demo'), **SMALL)
    rows = [line.split(' ') for line in (tmp_path / 'demo' / 'AVA.txt').read_text().splitlines()]
    assert [len(row) for row in rows] == [15] * 12
    assert [int(row[0]) for row in rows] == list(range(1, 13))
    ids = [row[1] for row in rows]
    assert all(name.isdigit() for name in ids) and len(set(ids)) == 12
    assert all(150 <= sum(map(int, row[2:12])) <= 250 for row in rows)
    images = tmp_path / 'demo' / 'image' / 'images'
    assert sorted(path.name for path in images.iterdir()) == sorted(name + '.jpg' for name in ids)


def test_the_images_are_rgb_jpegs_and_all_different(tmp_path):
    from PIL import Image
    dataset.make(str(tmp_path / 'demo'), **SMALL)
    paths = list((tmp_path / 'demo' / 'image' / 'images').iterdir())
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ('JPEG', 'RGB', (scenes.IMAGE_SIZE,) * 2)
    assert len({path.read_bytes() for path in paths}) == 12


def test_each_kind_stands_in_the_training_and_in_the_validation_scenes(tmp_path):
    dataset.make(str(tmp_path / 'demo'), **SMALL)
    manifest = json.loads((tmp_path / 'demo' / 'demo.json').read_text())
    ids = [line.split()[1] for line in (tmp_path / 'demo' / 'AVA.txt').read_text().splitlines()]
    assert list(manifest['scenes']) == ids
    kinds = [manifest['scenes'][name]['kind'] for name in ids]
    assert set(kinds[:8]) == set(kinds[8:]) == set(scenes.KINDS) == {'blur', 'noise', 'exposure', 'blocks'}
    assert all(0 <= entry['amount'] <= 1 for entry in manifest['scenes'].values())
    assert (manifest['train_size'], manifest['val_size'], manifest['seed']) == (8, 4, 0)


def test_the_default_validation_set_has_eighty_scenes_of_each_kind():
    drawn = list(dataset._plan(dataset.TRAIN_SIZE, dataset.VAL_SIZE, 0)['scenes'].values())
    kinds = [entry['kind'] for entry in drawn[-dataset.VAL_SIZE:]]
    assert all(kinds.count(kind) >= 80 for kind in scenes.KINDS)
    for kind in scenes.KINDS:
        amounts = [entry['amount'] for entry in drawn if entry['kind'] == kind]
        assert min(amounts) < 0.05 and max(amounts) > 0.95


# --- scores and degradations

def test_the_mean_score_falls_with_the_amount():
    rng = np.random.RandomState(0)
    amounts = np.linspace(0, 1, 50)
    votes = np.array([dataset.draw_votes(amount, rng) for amount in amounts])
    means = votes @ SCORES / votes.sum(axis=1)
    assert spearmanr(amounts, means)[0] < -0.97
    # Half a score of room: votes beyond 1 and 10 do not exist, which draws the extremes inwards.
    assert means[0] == pytest.approx(dataset.BEST_MEAN, abs=0.5)
    assert means[-1] == pytest.approx(dataset.WORST_MEAN, abs=0.5)


@pytest.mark.parametrize('number', range(4))
def test_blur_takes_away_detail_and_noise_adds_it(number):
    amounts = (0, 0.25, 0.5, 0.75, 1)
    blurred = [fine_detail(degraded('blur', amount, number)) for amount in amounts]
    noisy = [fine_detail(degraded('noise', amount, number)) for amount in amounts]
    assert blurred == sorted(blurred, reverse=True) and blurred[-1] < 0.3 * blurred[0]
    assert noisy == sorted(noisy) and noisy[-1] > 2 * noisy[0]


def test_exposure_goes_both_ways_and_further_with_the_amount():
    light = scene().mean()

    def lights(amount):
        drawn = [scenes.degrade(scene(), 'exposure', amount, np.random.RandomState(number)).mean()
                 for number in range(12)]
        return min(drawn), max(drawn)

    darkest, lightest = zip(*(lights(amount) for amount in (0.1, 0.4, 0.7, 1)))
    assert light > darkest[0] and list(darkest) == sorted(darkest, reverse=True) and darkest[-1] < 0.5 * light
    assert light < lightest[0] and list(lightest) == sorted(lightest) and lightest[-1] > 1.5 * light


@pytest.mark.parametrize('number', range(4))
def test_blocks_become_visible_with_the_amount(number):
    assert blockiness(scene(number)) == pytest.approx(1, abs=0.25)
    assert blockiness(degraded('blocks', 0.7, number)) > 1.3
    errors = [np.abs(degraded('blocks', amount, number) - scene(number).astype(float)).mean()
              for amount in (0, 0.4, 0.8)]
    assert errors == sorted(errors)


@pytest.mark.parametrize('kind', scenes.KINDS)
def test_a_degraded_scene_keeps_shape_and_dtype_and_its_source(kind):
    source = scene()
    kept = source.copy()
    result = scenes.degrade(source, kind, 0.5, np.random.RandomState(0))
    assert result.shape == source.shape and result.dtype == np.uint8
    assert np.array_equal(source, kept) and not np.array_equal(result, source)


def test_all_scenes_are_well_exposed():
    for number in range(12):
        pixels = scene(number)
        assert 105 < pixels.mean() < 135 and 35 < pixels.std() < 60


# --- what is there already

def test_a_demo_that_is_there_is_kept(tmp_path):
    folder = tmp_path / 'demo'
    dataset.make(str(folder), **SMALL)
    times = {path: path.stat().st_mtime_ns for path in folder.glob('**/*')}
    (folder / 'image' / 'images' / 'mine.txt').write_text('mine')
    dataset.make(str(folder), **SMALL)
    assert (folder / 'image' / 'images' / 'mine.txt').read_text() == 'mine'
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path.is_file())


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'demo').mkdir()
    dataset.make(str(tmp_path / 'demo'), **SMALL)
    assert (tmp_path / 'demo' / 'AVA.txt').exists()


def test_a_folder_that_is_not_a_demo_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / 'AVA_dataset'
    folder.mkdir()
    (folder / 'AVA.txt').write_text('mine')
    with pytest.raises(InputError) as caught:
        dataset.make(str(folder), **SMALL)
    assert str(caught.value) == (
        f'{folder} exists and is no demo dataset: it has no readable demo.json. Remove it or choose another folder')
    assert contents(tmp_path) == {'AVA_dataset/AVA.txt': b'mine'}


def test_another_demo_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / 'demo'
    dataset.make(str(folder), **SMALL)
    before = contents(tmp_path)
    with pytest.raises(InputError) as caught:
        dataset.make(str(folder), seed=1, **SMALL)
    assert str(caught.value) == (
        f'{folder} holds another demo dataset than train_size 8, val_size 4, seed 1, version {dataset.VERSION}. Remove '
        'it or choose another folder')
    assert contents(tmp_path) == before


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    amounts = []

    def stop_at_the_third(amount, rng):
        amounts.append(amount)
        if len(amounts) == 3:
            raise KeyboardInterrupt
        return np.ones(10, int)

    monkeypatch.setattr(dataset, 'draw_votes', stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        dataset.make(str(tmp_path / 'demo'), **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_another_process_finished_first_is_kept(tmp_path, monkeypatch):
    write = dataset._write

    def write_twice(folder, manifest):
        write(str(tmp_path / 'demo'), manifest)
        write(folder, manifest)

    monkeypatch.setattr(dataset, '_write', write_twice)
    dataset.make(str(tmp_path / 'demo'), **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['demo']


# --- a slow machine

@pytest.fixture
def sizes(tmp_path, monkeypatch):
    """Makes the demo at a speed of drawing; returns how many scenes there are to train on, and what was reported."""
    monkeypatch.setattr(dataset, 'TRAIN_SIZE', 8)
    monkeypatch.setattr(dataset, 'FEWER', 4)
    monkeypatch.setitem(dataset.make.__kwdefaults__, 'val_size', 2)
    folder = str(tmp_path / 'demo')

    def made(speed):
        said = []
        monkeypatch.setattr(dataset, '_scenes_a_second', lambda: speed)
        dataset.make_for_this_machine(folder, said.append)
        return json.loads((tmp_path / 'demo' / 'demo.json').read_text())['train_size'], said

    return made


def test_a_slow_machine_gets_half_the_demo_and_keeps_it(sizes):
    said = ['this machine draws 12 scenes a second, where 45 are usual: the demo trains on 4 images an epoch instead '
            'of 8']
    assert sizes(12.0) == (4, said)
    assert sizes(99.0) == (4, [])


def test_a_usual_machine_gets_the_whole_demo_and_keeps_it(sizes):
    assert sizes(dataset.USUAL / 2) == (8, [])
    assert sizes(12.0) == (8, [])


def test_another_process_may_have_found_the_machine_faster(sizes, tmp_path, monkeypatch):
    write = dataset._write

    def other_first(folder, manifest):
        monkeypatch.setattr(dataset, '_write', write)
        dataset.make(str(tmp_path / 'demo'), train_size=8)
        write(folder, manifest)

    monkeypatch.setattr(dataset, '_write', other_first)
    assert sizes(12.0)[0] == 8


def test_what_is_no_demo_is_refused_on_a_slow_machine_too(sizes, tmp_path):
    dataset.make(str(tmp_path / 'demo'), train_size=8, val_size=1)
    with pytest.raises(InputError, match='holds another demo dataset than train_size 8, val_size 2, '):
        sizes(12.0)


def test_the_speed_is_that_of_drawing(monkeypatch):
    ticks = iter([10.0, 10.0 + dataset.TIMED / 50])
    monkeypatch.setattr(dataset.time, 'perf_counter', lambda: next(ticks))
    monkeypatch.setattr(dataset.os, 'sched_getaffinity', lambda _: {3})
    assert dataset._scenes_a_second() == pytest.approx(25)  # 50 a second, of one core


# --- mistakes and the command

@pytest.mark.parametrize('name, value, smallest', [('train_size', 0, 1), ('val_size', -1, 1), ('seed', -1, 0)])
def test_a_number_out_of_range_is_refused(tmp_path, name, value, smallest):
    expected = f'^{name}: found {value}, expected a whole number from {smallest} to 4294967295$'
    with pytest.raises(InputError, match=expected):
        dataset.make(str(tmp_path / 'demo'), **{**SMALL, name: value})
    assert list(tmp_path.iterdir()) == []


def test_missing_pillow_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError) as caught:
        dataset.make(str(tmp_path / 'demo'), **SMALL)
    assert str(caught.value) == ('the demo dataset needs Pillow, which this Python does not have. Type '
                                 f"{sys.executable} -m pip install 'Pillow<10'")


def test_main_makes_what_the_flags_say(tmp_path, capsys):
    folder = str(tmp_path / 'demo')
    assert demo_dataset.main(['--output', folder, '--train_size', '3', '--val_size', '2', '--seed', '5']) == folder
    assert capsys.readouterr().out == f'{folder}: 3 scenes to train on, 2 for validation\n'
    assert json.loads((tmp_path / 'demo' / 'demo.json').read_text())['seed'] == 5


def test_the_command(tmp_path):
    command = [sys.executable, '-m', 'utils.demo_dataset', '--output', str(tmp_path / 'demo'), '--train_size', '1',
               '--val_size', '1']
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert len((tmp_path / 'demo' / 'AVA.txt').read_text().splitlines()) == 2
    wrong = subprocess.run([*command, '--seed', '7'], cwd=str(ROOT), stderr=subprocess.PIPE)
    assert wrong.returncode == 1
    assert wrong.stderr.decode().startswith(f'demo_dataset: error: {tmp_path / "demo"} holds another demo dataset')


@pytest.mark.parametrize('argv, message', [
    (['--train_size', '0'], "argument --train_size: found '0', expected a whole number from 1"),
    (['--seed', '-1'], "argument --seed: found '-1', expected a whole number from 0 to 4294967295"),
    (['--outputs', 'demo'], 'unrecognized arguments: --outputs demo: did you mean --output?')])
def test_a_flag_that_cannot_be_is_one_sentence(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        demo_dataset.main(argv)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and message in said and said.count('\n') == 1


def test_the_default_folder_counts_from_the_repository_and_a_typed_one_from_here(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(dataset, 'make', lambda folder, **sizes: made.append(folder))
    monkeypatch.chdir(str(tmp_path))
    demo_dataset.main([])
    demo_dataset.main(['--output', 'demo'])
    assert made == [str(ROOT / 'AVA_dataset' / 'demo'), str(tmp_path / 'demo')]


def test_importing_it_does_not_import_tensorflow_or_pillow():
    code = 'import sys; import utils.demo_dataset; sys.exit(bool({"tensorflow", "PIL"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], cwd=str(ROOT)).returncode == 0
