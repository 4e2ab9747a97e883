"""Recipes: trainings in stages, from files; a stage starts from the checkpoint of the one before, resumed or not."""
import json
import os
import shlex
import signal

import numpy as np
import pytest
from conftest import ROOT, make_dataset, small_mobilenet

import train
from utils.base.errors import InputError
from utils.base.parser import rate_schedule
from utils.model import model_file
from utils.training import log, recipe, stages
from utils.training.flags import train_flags, train_stages
from utils.training.plan import rate_factor
from utils.training.state import TrainingState

NAMES = ['card', 'idealo', 'paper', 'published', 'small']
TWO = {'about': 'two stages', 'source': 'this test', 'reported': 'nothing', 'stages': [
    {'name': 'head', 'flags': {'trainable': 'head', 'epochs': 2, 'learning_rate': 0.1, 'batchsize': 4}},
    {'name': 'all', 'flags': {'epochs': 2, 'optimizer': 'adam', 'learning_rate': 0.01, 'decay': 0.1, 'batchsize': 3,
                              'rate_schedule': 'cosine'}}]}


@pytest.fixture(autouse=True, scope='module')
def network():
    with small_mobilenet():
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 12)


@pytest.fixture
def two(tmp_path):
    return write(tmp_path / 'two.json', TWO)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def run(dataset, folder, *more):
    return train.main([*dataset.flags, '--image_size', '32', '--val_size', '4', '--weights', 'none', '--device', 'cpu',
                       '--threads', '1', '--dropout', '0', '--TMP_MODEL_PATF', str(folder), *more])


def bits(path):
    file = model_file.read(str(path))
    return b''.join(array.tobytes() for name in sorted(file.weights) for array in file.weights[name]) + b''.join(
        array.tobytes() for array in file.slots)


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """A run of both stages by one command, and what it printed."""
    import contextlib
    import io
    folder = tmp_path_factory.mktemp('whole')
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run(data, folder / 'model', '--recipe', write(folder / 'two.json', TWO))
    return folder / 'model', printed.getvalue()


def test_the_stages_have_one_folder_one_numbering_and_one_log(whole):
    folder, printed = whole
    files = [model_file.read(str(folder / f'model_00{epoch}.h5')) for epoch in (1, 2, 3, 4)]
    assert [file.run['recipe']['stage'] for file in files] == [1, 1, 2, 2]
    assert files[3].run['recipe'] == {
        'name': 'two', 'sha256': recipe.read(str(folder.parent / 'two.json')).sha256, 'stage': 2, 'stages': 2,
        'stage_name': 'all', 'first_epoch': 2}
    assert [file.optimizer for file in files] == ['SGD', 'SGD', 'Adam', 'Adam']
    assert [int(file.slots[0]) for file in files] == [2, 4, 2, 4]  # steps: the second stage counts afresh
    assert len({file.run['id'] for file in files}) == 1
    changed = {name for name in files[0].weights
               if any((a != b).any() for a, b in zip(files[0].weights[name], files[1].weights[name]))}
    assert changed == {'dense'}
    assert [row['epoch'] for row in log.read_csv(str(folder / 'log' / 'train.csv'))] == [1, 2, 3, 4]
    assert 'stage 1 of 2, head, epochs 1 to 2: bash run.sh train.py --trainable head --epochs 2' in printed
    assert 'stage 2 of 2, all, epochs 3 to 4: ' in printed and 'model_002.h5: its weights start epoch 3' in printed


def test_the_second_stage_is_the_command_that_is_printed(data, whole, tmp_path):
    """Its first epoch is that of a training of its own from the checkpoint, but for the number of the epoch."""
    folder, printed = whole
    line = next(line for line in printed.splitlines() if 'stage 2 of 2' in line)
    typed = shlex.split(line.split('train.py ', 1)[1])
    weights = typed[-1]
    assert (typed[-2], weights) == ('--weights', 'model_002.h5')
    flags = train_flags([*typed[:-2], '--weights', str(folder / weights)])
    stage = train_stages(['--recipe', str(folder.parent / 'two.json')])[1].flags
    same = set(vars(stage)) - {'recipe', 'weights', 'TMP_MODEL_PATF', 'TMP_LOG_PATH', 'features', 'image_size',
                               'dropout', 'val_size', 'threads', 'device', 'ava_dataset_path', 'base_images_path'}
    assert {name: vars(flags)[name] for name in same} == {name: vars(stage)[name] for name in same}


@pytest.mark.parametrize('step', [3, 4, 5, 7], ids=['in the head', 'its last', 'the first of all', 'in all'])
def test_resuming_in_a_stage_and_across_the_boundary_gives_the_same_bits(data, whole, two, tmp_path, monkeypatch, step):
    before, seen = TrainingState.on_batch_end, []

    def with_signal(state, *given, **named):
        seen.append(1)
        if len(seen) == step:
            os.kill(os.getpid(), signal.SIGTERM)
            while state._watch.signal is None:
                pass
        return before(state, *given, **named)

    monkeypatch.setattr(TrainingState, 'on_batch_end', with_signal)
    with pytest.raises(SystemExit):
        run(data, tmp_path / 'model', '--recipe', two)
    run(data, tmp_path / 'model', '--recipe', two, '--resume')
    for epoch in (2, 3, 4):
        assert bits(tmp_path / 'model' / f'model_00{epoch}.h5') == bits(whole[0] / f'model_00{epoch}.h5')
    rows = log.read_csv(str(tmp_path / 'model' / 'log' / 'train.csv'))
    assert [row['val_srcc'] for row in rows] == [
        row['val_srcc'] for row in log.read_csv(str(whole[0] / 'log' / 'train.csv'))]


def test_resuming_exactly_at_the_boundary(data, whole, two, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stages, 'next_stage', stop)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / 'model', '--recipe', two)
    monkeypatch.undo()
    run(data, tmp_path / 'model', '--recipe', two, '--resume')
    assert bits(tmp_path / 'model' / 'model_004.h5') == bits(whole[0] / 'model_004.h5')
    run(data, tmp_path / 'model', '--recipe', two, '--resume')
    assert 'model_004.h5: all 4 epochs are trained already' in capsys.readouterr().out
    with pytest.raises(InputError, match=r'the recipe was two \(hash \w{12}\) when this run began, now none\.'):
        run(data, tmp_path / 'model', '--resume')
    other = write(tmp_path / 'other.json', {**TWO, 'about': 'another'})
    with pytest.raises(InputError, match=r'the recipe was two \(hash \w{12}\) when this run began, now other \(hash'):
        run(data, tmp_path / 'model', '--recipe', other, '--resume')


def stop(*_):
    raise KeyboardInterrupt


def test_the_card_is_no_recipe_bit_for_bit(data, tmp_path):
    plain, card = train_flags([]), train_flags(['--recipe', 'card'])
    assert {**vars(card), 'recipe': None} == vars(plain)
    for name, more in (('plain', []), ('card', ['--recipe', 'card'])):
        run(data, tmp_path / name, '--epochs', '2', '--batchsize', '4', *more)
    for epoch in (1, 2):
        assert bits(tmp_path / 'plain' / f'model_00{epoch}.h5') == bits(tmp_path / 'card' / f'model_00{epoch}.h5')


@pytest.mark.parametrize('name', NAMES)
def test_each_recipe_is_made_of_flags_and_says_where_it_is_from(name):
    stages = train_stages(['--recipe', name])
    found = json.loads((ROOT / 'recipes' / f'{name}.json').read_text())
    assert all(len(found[text]) > 20 for text in recipe.TEXTS)
    for stage, written in zip(stages, found['stages']):
        assert {flag: vars(stage.flags)[flag] for flag in written['flags']} == written['flags']


def test_the_recipes_are_those_that_help_names():
    assert sorted(path.stem for path in (ROOT / 'recipes').glob('*.json')) == NAMES


def test_a_typed_flag_wins_and_epochs_of_several_stages_are_refused(capsys):
    assert [stage.flags.batchsize for stage in train_stages(['--recipe', 'idealo', '--batchsize', '8'])] == [8, 8]
    assert train_flags(['--recipe', 'paper', '--epochs', '3']).epochs == 3
    with pytest.raises(SystemExit):
        train_stages(['--recipe', 'idealo', '--epochs', '3'])
    assert 'the recipe idealo says how many epochs each of its 2 stages has' in capsys.readouterr().err


@pytest.mark.parametrize('content, message', [
    ('{', 'Expecting property name'), ('[]', r'found \[\], expected an object with about, reported, source, stages'),
    ({**TWO, 'stages': []}, 'as stages, expected a list'), ({**TWO, 'stages': [{'name': 'a'}]}, 'as a stage, expected'),
    ({**TWO, 'stages': [{'name': 'a', 'flags': {'device': 'cpu'}}]}, "found the flag 'device', expected some of"),
    ({**TWO, 'stages': [{'name': 'a', 'flags': {'epochs': None}}]}, 'for epochs, expected a number or text'),
])
def test_a_file_that_is_no_recipe(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        recipe.read(write(tmp_path / 'bad.json', content))


def test_an_unknown_recipe_and_a_wrong_value(tmp_path, capsys):
    with pytest.raises(InputError, match='Give one of card, idealo, paper, published.*, or the path of a recipe file'):
        recipe.read('nobody')
    wrong = {**TWO, 'stages': [{'name': 'a', 'flags': {'epochs': -1}}]}
    with pytest.raises(SystemExit):
        train_stages(['--recipe', write(tmp_path / 'wrong.json', wrong)])
    error = capsys.readouterr().err
    assert "recipe wrong: error: argument --epochs: found '-1', expected a whole number from 1" in error


def test_patience_ends_a_stage_and_the_next_one_follows(data, tmp_path, monkeypatch):
    two = {**TWO, 'stages': [{**TWO['stages'][0], 'flags': {**TWO['stages'][0]['flags'], 'epochs': 9, 'patience': 1}},
                             TWO['stages'][1]]}
    srccs = iter([.3, .2, .1, .4])
    figures = log.validation_figures
    monkeypatch.setattr(log, 'validation_figures', lambda *given: {**figures(*given), 'val_srcc': next(srccs)})
    run(data, tmp_path / 'model', '--recipe', write(tmp_path / 'two.json', two))
    stages = [model_file.read(str(tmp_path / 'model' / f'model_00{epoch}.h5')).run['recipe'] for epoch in (1, 2, 3, 4)]
    assert [(stage['stage'], stage['first_epoch']) for stage in stages] == [(1, 0), (1, 0), (2, 2), (2, 2)]


# --- what recipes need

@pytest.mark.parametrize('schedule, done, expected', [
    ('constant', 3, 1), ('cosine', 0, 1), ('cosine', 1, .75), ('cosine', 1.5, .5), ('cosine', 3, 0),
    ('step:0.95:10', 9.99, 1), ('step:0.95:10', 10, .95), ('step:0.5:1', 3, .125)])
def test_the_schedule_of_rates(schedule, done, expected):
    assert rate_factor(rate_schedule(schedule), done, 3) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('text', ['step', 'step:2:1', 'step:0:1', 'step:0.5:0', 'linear'])
def test_a_schedule_that_is_none(text, capsys):
    with pytest.raises(SystemExit):
        train_flags(['--rate_schedule', text])
    assert f'found {text!r}, expected constant, cosine or step:FACTOR:EPOCHS' in capsys.readouterr().err


def test_the_factor_of_the_heads_rate_is_exact_for_sgd(data, tmp_path, capsys):
    """The gradient is the same in the first step: the head moves by X times as much, all other layers alike."""
    start = bits_of_first_step(data, tmp_path / 'start', '--learning_rate', '1e-30')
    once = bits_of_first_step(data, tmp_path / 'once', '--learning_rate', '0.01')
    eight = bits_of_first_step(data, tmp_path / 'eight', '--learning_rate', '0.01', '--head_rate_factor', '8')
    for name in once:
        moved, more = (np.concatenate([(a - b).ravel() for a, b in zip(each[name], start[name])])
                       for each in (once, eight))
        np.testing.assert_allclose(more, moved * (8 if name == 'dense' else 1), atol=2e-7)
    assert np.abs(once['dense'][0] - start['dense'][0]).max() > 1e-5
    with pytest.raises(SystemExit):
        train_flags(['--head_rate_factor', '10', '--optimizer', 'adam'])
    assert '--head_rate_factor needs --optimizer sgd' in capsys.readouterr().err


def bits_of_first_step(data, folder, *more):
    run(data, folder, '--epochs', '1', '--batchsize', '8', *more)
    return model_file.read(str(folder / 'model_001.h5')).weights


def test_fresh_crops_train_the_head_alone_uncached(data, tmp_path):
    run(data, tmp_path / 'model', '--trainable', 'head', '--crops', 'fresh', '--epochs', '2', '--batchsize', '4',
        '--learning_rate', '0.1')
    first, second = (model_file.read(str(tmp_path / 'model' / f'model_00{epoch}.h5')).weights for epoch in (1, 2))
    assert [name for name in first if any((a != b).any() for a, b in zip(first[name], second[name]))] == ['dense']
    assert not (tmp_path / 'model' / 'log' / 'features').exists()
