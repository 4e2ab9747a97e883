"""A run that is resumed ends with the same bits as one that was never stopped; another run is refused."""
import csv
import importlib
import json
import os
import re
import shutil
import signal
import time

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import Dataset, make_dataset, small_mobilenet, small_network, snapshot

import train
from utils import data_loader, nima
from utils.base.errors import InputError
from utils.data.epoch_plan import epoch_plan
from utils.device import signals
from utils.model import checkpoint, model_file
from utils.training import loss_scaling, resume
from utils.training.state import TrainingState

TINY = ['--image_size', '32', '--batchsize', '2', '--val_size', '4', '--weights', 'none', '--device', 'cpu',
        '--dropout', '0', '--threads', '1', '--learning_rate', '0.01', '--decay', '0.1', '--epochs', '3']


@pytest.fixture(autouse=True, scope='module')
def small():
    with small_mobilenet():
        yield


@pytest.fixture
def stop_at(monkeypatch):
    """Have SIGTERM, or another signal, come at the end of a step, counted from 1 over all steps of this process."""
    def stop(step, number=signal.SIGTERM, method='on_batch_end'):
        before, seen = getattr(TrainingState, method), []

        def with_signal(state, *given, **named):
            seen.append(1)
            if len(seen) == step:
                os.kill(os.getpid(), number)
                wait_for(state._watch)
            return before(state, *given, **named)

        monkeypatch.setattr(TrainingState, method, with_signal)
    return stop


def wait_for(watch):
    """The thread that hears a signal needs a moment."""
    for _ in range(1000):
        if watch.signal is not None:
            return
        time.sleep(0.01)
    raise AssertionError('no signal was heard')


def run(dataset, folder, *more):
    return train.main([*dataset.flags, *TINY, '--TMP_MODEL_PATF', str(folder), '--TMP_LOG_PATH', str(folder / 'log'),
                       *more])


def stopped(dataset, folder, *more):
    with pytest.raises(SystemExit) as left:
        run(dataset, folder, *more)
    return left.value.code


def everything(path):
    """All numbers of a checkpoint: weights, moving averages, the optimiser's steps and slots."""
    file = model_file.read(str(path))
    return [array for name in sorted(file.weights) for array in file.weights[name]] + file.slots


def assert_same(left, right):
    left, right = everything(left), everything(right)
    assert len(left) == len(right) == 7 + 1 + 5
    assert all(np.array_equal(*pair) for pair in zip(left, right))


@pytest.fixture(scope='module')
def shared_data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp('data'), 12)


@pytest.fixture(scope='module')
def uninterrupted(shared_data, tmp_path_factory):
    """A run of three epochs of four steps, and its History."""
    folder = tmp_path_factory.mktemp('uninterrupted')
    return folder, run(shared_data, folder).history


@pytest.mark.parametrize('step, moves', [(2, False), (4, False), (7, True)])
def test_a_stopped_run_ends_with_the_same_bits(shared_data, uninterrupted, tmp_path, stop_at, step, moves):
    """Also where the folder of the dataset has another path by then."""
    folder, history = uninterrupted
    stop_at(step)
    assert stopped(shared_data, tmp_path) == 128 + signal.SIGTERM
    assert os.path.isfile(checkpoint.state_path(str(tmp_path)))
    data = shared_data
    if moves:
        shutil.copytree(str(shared_data.folder), str(tmp_path / 'elsewhere' / 'data'))
        data = Dataset(tmp_path / 'elsewhere' / 'data')
    rest = run(data, tmp_path, '--resume').history
    assert_same(tmp_path / 'model_003.h5', folder / 'model_003.h5')
    assert rest['loss'] == history['loss'][-len(rest['loss']):]
    assert not os.path.exists(checkpoint.state_path(str(tmp_path)))


@pytest.mark.parametrize('at, done', [(1, 0), (2, 1), (3, 1)], ids=['a batch', 'the last batch', 'another epoch'])
def test_a_signal_in_validation_leaves_no_checkpoint(shared_data, uninterrupted, tmp_path, monkeypatch, at,
                                                              done):
    folder, history = uninterrupted
    predict, batch, watches = nima.predict, [], []

    class Watch(signals.Watch):
        def __init__(self):
            super().__init__()
            watches.append(self)

    def predict_after_signal(*given):
        batch.append(1)
        if len(batch) == at:  # a validation has two batches
            os.kill(os.getpid(), signal.SIGINT)
            wait_for(watches[0])
        return predict(*given)

    monkeypatch.setattr(signals, 'Watch', Watch)
    monkeypatch.setattr(nima, 'predict', predict_after_signal)
    assert stopped(shared_data, tmp_path) == 130
    monkeypatch.undo()
    assert len(checkpoint.existing(str(tmp_path))) == done
    assert len(rows(tmp_path)) == done
    rest = run(shared_data, tmp_path, '--resume').history
    assert rest['loss'] == history['loss'][done:] and rest['val_loss'] == history['val_loss'][done:]
    assert_same(tmp_path / 'model_003.h5', folder / 'model_003.h5')
    assert rows(tmp_path) == [1, 2, 3]


def rows(folder):
    """The epochs in train.csv."""
    path = folder / 'log' / 'train.csv'
    if not path.exists():
        return []
    with open(str(path)) as stream:
        return [int(row['epoch']) for row in csv.DictReader(stream)]


def test_the_data_resume_in_the_same_order_with_dropout(shared_data, tmp_path, monkeypatch, stop_at):
    drawn = []

    def noted(*given, **named):
        drawn.append([])
        for images, scores in train_generator(*given, **named):
            drawn[-1].append((images.tobytes(), scores.tobytes()))  # only drawn when it is trained on
            yield images, scores

    train_generator = data_loader.train_generator
    monkeypatch.setattr(data_loader, 'train_generator', noted)
    run(shared_data, tmp_path / 'whole', '--dropout', '0.5')
    stop_at(6)
    stopped(shared_data, tmp_path / 'parts', '--dropout', '0.5')
    run(shared_data, tmp_path / 'parts', '--dropout', '0.5', '--resume')
    whole, first, second = drawn
    assert (len(whole), len(first), len(second)) == (12, 6, 6)
    assert first + second == whole


# --- what is another run

@pytest.fixture(scope='module')
def begun(shared_data, tmp_path_factory):
    """A folder with the checkpoint of the first epoch, and a state within the second, after four images."""
    folder = tmp_path_factory.mktemp('begun')
    before = TrainingState.stop_if_asked

    def stop(state):
        if state.position[:2] == (1, 4):
            state._watch.signal = signal.SIGTERM
        before(state)

    TrainingState.stop_if_asked = stop
    try:
        assert stopped(shared_data, folder) == 143
    finally:
        TrainingState.stop_if_asked = before
    return folder


@pytest.fixture
def copy(begun, tmp_path):
    shutil.copytree(str(begun), str(tmp_path / 'copy'))
    return tmp_path / 'copy'


@pytest.mark.parametrize('more, words', [
    (['--batchsize', '4'], r'--batchsize was 2 when this run began, now 4'),
    (['--train_size', '6'], r'--train_size \(at most all training images\) was 8 when this run began, now 6'),
    (['--val_size', '3'], r'the hash of the (votes and image names|validation images) was \w{12}\.\.\. when'),
    (['--seed', '1'], r'--seed was 0 when this run began, now 1'),
    (['--optimizer', 'adam'], r'--optimizer was sgd when this run began, now adam'),
    (['--image_size', '64'], r'--image_size was 32 when this run began, now 64'),
])
def test_another_run_is_refused_and_harms_nothing(shared_data, copy, more, words):
    before = snapshot(copy)
    with pytest.raises(InputError, match=rf'^{copy}/state\.h5: {words}.*\. Resume with what it began with, or '
                                         r'start a new run in another --TMP_MODEL_PATF$'):
        run(shared_data, copy, '--resume', *more)
    assert snapshot(copy) == before


def test_labels_that_changed_since_the_start_are_refused(shared_data, copy, tmp_path):
    labels = tmp_path / 'AVA.txt'
    lines = shared_data.labels.read_text().splitlines()
    number, name, first, *others = lines[0].split()
    labels.write_text('\n'.join([' '.join([number, name, str(int(first) + 1), *others]), *lines[1:]]))
    with pytest.raises(InputError, match=r'state\.h5: the hash of the votes and image names was \w{12}\.\.\. when'):
        run(shared_data, copy, '--resume', '--ava_dataset_path', str(labels))
    labels.write_text('\r\n'.join(lines))  # the same data in another file
    run(shared_data, copy, '--resume', '--ava_dataset_path', str(labels), '--epochs', '2')


def test_another_network_is_refused(shared_data, copy, monkeypatch):
    def wider(shape, **_):
        return small_network(shape, filters=9)

    monkeypatch.setattr(importlib.import_module('tensorflow.keras.applications'), 'MobileNet', wider)
    with pytest.raises(InputError, match=r"filters of the layer 'conv1' was 8 when this run began, now 9"):
        run(shared_data, copy, '--resume')


def test_what_may_differ_is_reported(shared_data, copy, capsys):
    run(shared_data, copy, '--resume', '--threads', '2', '--learning_rate', '0.001', '--dropout', '0.25')
    out = capsys.readouterr().out
    for words in ('--threads was 1, now 2', '--learning_rate was 0.01, now 0.001', '--dropout was 0.0, now 0.25'):
        assert f'state.h5: {words}: results may differ from those of an uninterrupted run' in out
    assert out.count(': results may differ') == 3


def test_another_schedule_of_rates_is_reported(shared_data, copy, capsys):
    run(shared_data, copy, '--resume', '--rate_schedule', 'cosine', '--head_rate_factor', '2')
    out = capsys.readouterr().out
    for words in ('--rate_schedule was constant, now cosine', '--head_rate_factor was 1.0, now 2.0'):
        assert f'state.h5: {words}: results may differ from those of an uninterrupted run' in out
    assert 'state.h5: resuming with epoch 2, after 4 images of it' in out


def test_a_run_with_a_flag_that_is_gone_is_refused(shared_data, copy):
    damage(copy / 'state.h5', flags={'fast_decode': True})
    with pytest.raises(InputError, match=r'state\.h5 was trained with --fast_decode, which is no longer supported'):
        run(shared_data, copy, '--resume')


def damage(path, position=None, bias=None, image_size=None, flags=None):
    """Change a state as somebody may who writes files, checksum included."""
    with h5py.File(str(path), 'r+') as file:
        metadata = json.loads(file.attrs['nima'])
        metadata['run']['position'].update(position or {})
        metadata['run']['flags'].update(flags or {})
        metadata['preprocessing'].update(image_size=image_size or 32)
        if bias:
            name = 'model_weights/dense/dense/bias:0'
            del file[name]
            file[name] = np.zeros(bias, np.float32)
        del file.attrs['nima_sha256']
        file.attrs['nima'] = json.dumps(metadata)


@pytest.mark.parametrize('changes, words', [
    ({'position': {'images': 1000}}, 'found a position after 1000 images of an epoch of 8, expected no '),
    ({'image_size': 64}, r'--image_size was 64 when this run began, now 32'),
    ({'bias': (1,)}, r"found shapes \[\(8, 10\), \(1,\)\] for the layer 'dense', expected those of its network, "),
])
def test_a_state_that_cannot_be_is_refused(shared_data, copy, changes, words):
    damage(copy / 'state.h5', **changes)
    with pytest.raises(InputError, match=rf'state\.h5: {words}'):
        run(shared_data, copy, '--resume')


@pytest.mark.parametrize('flag', [False, True], ids=['a new run', 'one that is resumed'])
def test_what_another_run_saves_while_this_one_starts_is_not_lost(copy, tmp_path, flag):
    folder = copy if flag else tmp_path / 'new'
    start = resume.find(str(folder), resume=flag, overwrite=False, own_folder=False, report=print)
    folder.mkdir(exist_ok=True)
    (folder / 'new.h5').write_bytes((copy / 'model_001.h5').read_bytes())
    (folder / 'new.h5').replace(folder / 'state.h5')
    with pytest.raises(InputError, match='another run saved there while this one was starting'):
        resume.check(start, {}, 8, print)


# --- starting where a run is

def test_a_second_start_is_refused_with_the_three_choices(shared_data, copy):
    before = snapshot(copy)
    with pytest.raises(InputError, match=r'state\.h5 is from an earlier run\. Continue it with --resume, choose '
                                         r'another --TMP_MODEL_PATF, or replace it with --overwrite$'):
        run(shared_data, copy)
    assert snapshot(copy) == before


@pytest.mark.parametrize('more, own_log', [([], False), (['--checkpoint_steps', '1'], True)])
def test_overwrite_replaces_the_earlier_run(shared_data, copy, uninterrupted, more, own_log):
    (copy / 'model_005.h5').write_bytes((copy / 'model_001.h5').read_bytes())
    if not own_log:  # a run with other checkpoints wrote into the same log
        (copy / 'log' / 'summary.json').write_text(json.dumps({'run': 'b' * 32}))
    run(shared_data, copy, '--overwrite', '--epochs', '1', *more)
    assert sorted(path.name for path in copy.glob('*.h5')) == ['model_001.h5']
    assert_same(copy / 'model_001.h5', uninterrupted[0] / 'model_001.h5')
    assert rows(copy) == [1]
    kept = [] if own_log else ['summary_bbbbbbbb.json', 'train_bbbbbbbb.csv']
    assert sorted(path.name for path in (copy / 'log').glob('*_*.*s*')) == kept


@pytest.mark.parametrize('step, left', [(1, ['state.h5']), (5, ['model_001.h5', 'state.h5'])])
def test_a_new_run_that_is_stopped_has_replaced_it_too(shared_data, copy, stop_at, step, left):
    (copy / 'model_005.h5').write_bytes((copy / 'model_001.h5').read_bytes())
    stop_at(step)
    assert stopped(shared_data, copy, '--overwrite') == 143
    assert sorted(path.name for path in copy.glob('*.h5')) == left  # what this run saved itself stays


class Killed(BaseException):
    """In the place of SIGKILL: no `except Exception` sees it."""


@pytest.mark.parametrize('more, first', [([], 'model_001.h5'), (['--checkpoint_steps', '1'], 'state.h5')])
def test_a_kill_between_the_first_save_and_the_end_of_the_old_run(shared_data, copy, monkeypatch, capsys, more, first):
    """The old run is further on, but the new one is the run that is resumed and read."""
    (copy / 'model_005.h5').write_bytes((copy / 'model_001.h5').read_bytes())

    def die(path):
        raise Killed
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, 'finish_overwrite', die)
        with pytest.raises(Killed):
            run(shared_data, copy, '--overwrite', *more)
    assert {'model_005.h5', first} <= {path.name for path in copy.glob('*.h5')}
    new = model_file.read(str(copy / first)).run['id']
    if not more:
        assert checkpoint.find(str(copy), 'newest') == checkpoint.find(str(copy), 'best') == str(copy / first)
    capsys.readouterr()
    run(shared_data, copy, '--resume', *more)
    said = capsys.readouterr().out
    assert f'{copy}/model_005.h5: passed over: it is of the run that --overwrite replaces' in said
    assert f'{copy}/{first}: resuming with epoch ' in said
    assert sorted(path.name for path in copy.iterdir()) == ['log', 'model_001.h5', 'model_002.h5', 'model_003.h5']
    assert {model_file.read(str(path)).run['id'] for path in copy.glob('*.h5')} == {new}


def test_a_kill_before_the_first_save(shared_data, copy, monkeypatch, capsys):
    """The old run is intact, and --resume starts the new one again."""
    (copy / 'model_005.h5').write_bytes((copy / 'model_001.h5').read_bytes())
    before = {path.name: path.read_bytes() for path in copy.glob('*.h5')}

    def die(model, path, metadata):
        raise Killed
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, 'save', die)
        with pytest.raises(Killed):
            run(shared_data, copy, '--overwrite')
    assert {path.name: path.read_bytes() for path in copy.glob('*.h5')} == before
    run(shared_data, copy, '--resume', '--epochs', '1')
    assert (f'{copy}: the run that was started with --overwrite has saved nothing; starting it with the first epoch'
            in capsys.readouterr().out)
    assert sorted(path.name for path in copy.iterdir()) == ['log', 'model_001.h5']


def test_an_error_before_the_first_save_leaves_the_old_run_to_be_resumed(shared_data, copy, monkeypatch):
    before = snapshot(copy)

    def refuse(model, path, metadata):
        raise InputError('no')
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, 'save', refuse)
        with pytest.raises(InputError, match='^no$'):
            run(shared_data, copy, '--overwrite')
    assert {path: what for path, what in snapshot(copy).items() if '/log' not in path} == {
        path: what for path, what in before.items() if '/log' not in path}


@pytest.mark.parametrize('content, reason', [
    ('', 'it holds no id of a run'), ('[1]', 'it holds no id of a run'), ('{"run": 5}', 'it holds no id of a run'),
    ('{"run": "5"}', 'it holds no id of a run'), ('deep', 'it holds no id of a run'),
    ('a folder', 'Is a directory'), ('a pipe', 'it is a pipe or a device, expected a file')])
def test_a_damaged_note_of_an_overwriting_run_costs_no_run(copy, content, reason):
    note = copy / 'overwrite.json'
    note.mkdir() if content == 'a folder' else os.mkfifo(str(note)) if content == 'a pipe' else note.write_text(
        '[' * 100000 if content == 'deep' else content)
    files = {path.name: path.read_bytes() for path in copy.glob('*.h5')}
    run_of = model_file.read(str(copy / 'state.h5')).run['id'][:8]
    said = (f'cannot read {note}, which says which run --overwrite has begun: {reason}. The folder holds model_001.h5, '
            f'state.h5 of run {run_of}. Move the files of the other run away, if there are two, and remove '
            'overwrite.json: what is left is used; or start afresh with --overwrite')
    with pytest.raises(InputError, match=f'^{re.escape(said)}$'):
        resume.find(str(copy), resume=True, overwrite=False, own_folder=False, report=print)
    with pytest.raises(InputError, match='^cannot read .*overwrite.json, which says'):
        checkpoint.find(str(copy), 'newest')
    assert {path.name: path.read_bytes() for path in copy.glob('*.h5')} == files


def test_an_old_note_in_a_folder_without_checkpoints_is_replaced_before_the_first_save(shared_data, tmp_path,
                                                                                       monkeypatch):
    checkpoint.announce_overwrite(str(tmp_path), 'a' * 32)
    noted, save = [], checkpoint.save

    def noting(*given, **named):
        noted.append(checkpoint.overwriting(str(tmp_path)))
        return save(*given, **named)

    monkeypatch.setattr(checkpoint, 'save', noting)
    run(shared_data, tmp_path, '--epochs', '1')
    assert noted[0] == model_file.read(str(tmp_path / 'model_001.h5')).run['id']
    assert not checkpoint.is_overwritten(str(tmp_path))


def test_a_note_that_is_a_pipe_does_not_stop_an_overwriting_run(tmp_path):
    os.mkfifo(str(tmp_path / 'overwrite.json'))
    checkpoint.announce_overwrite(str(tmp_path), 'a' * 32)
    assert checkpoint.overwriting(str(tmp_path)) == 'a' * 32


def test_resume_and_overwrite_exclude_each_other(shared_data, copy):
    with pytest.raises(InputError, match='^--resume and --overwrite exclude each other'):
        run(shared_data, copy, '--resume', '--overwrite')


def test_nothing_to_resume_is_the_beginning(shared_data, tmp_path, capsys):
    run(shared_data, tmp_path / 'new', '--resume', '--epochs', '1')
    assert 'new: no run to resume; starting with the first epoch' in capsys.readouterr().out


def test_all_epochs_are_trained(shared_data, uninterrupted, capsys):
    folder, _ = uninterrupted
    before = snapshot(folder)
    assert run(shared_data, folder, '--resume').history == {}
    assert 'model_003.h5: all 3 epochs are trained already. Use a higher --epochs' in capsys.readouterr().out
    assert snapshot(folder) == before


@pytest.mark.parametrize('content', [b'', b'no HDF5', None], ids=['empty', 'other', 'cut'])
def test_an_unreadable_file_is_named_and_skipped(shared_data, copy, uninterrupted, capsys, content):
    path = copy / 'state.h5'
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2] if content is None else content)
    run(shared_data, copy, '--resume')
    out = capsys.readouterr().out
    assert re.search(r'state\.h5: not used: ', out) and 'model_001.h5: resuming with epoch 2\n' in out
    assert_same(copy / 'model_003.h5', uninterrupted[0] / 'model_003.h5')


def test_nothing_good_is_left(shared_data, copy):
    for path in copy.glob('*.h5'):
        path.write_bytes(b'')
    with pytest.raises(InputError, match='copy: no checkpoint there can be resumed\\. Choose another '):
        run(shared_data, copy, '--resume')


# --- numbers that are none

def test_a_nan_stops_the_run_at_its_step(shared_data, tmp_path, monkeypatch):
    train_generator, names = data_loader.train_generator, []

    def poisoned(*given, images, **named):
        plan = epoch_plan(images.ratings.count, 1, seed=0, limit=8, image_size=32)
        # Of the seventh step, the third of epoch 2.
        names.extend(images.ratings.ids[index] for index in plan.order[4:6])
        for step, (batch, scores) in enumerate(train_generator(*given, images=images, **named), 1):
            yield batch * (np.nan if step == 7 else 1), scores

    monkeypatch.setattr(data_loader, 'train_generator', poisoned)
    with pytest.raises(InputError) as stopped_by:
        run(shared_data, tmp_path, '--checkpoint_steps', '1')
    text = str(stopped_by.value)
    assert text.startswith('epoch 2, step 3 of 4: the loss is nan. ')
    assert text.endswith(f'The images of this step were {names[0]}, {names[1]}') and '--resume' in text
    assert sorted(path.name for path in tmp_path.glob('*.h5')) == ['model_001.h5', 'state.h5']
    assert all(np.isfinite(array).all() for path in tmp_path.glob('*.h5') for array in everything(path))
    monkeypatch.undo()
    assert len(run(shared_data, tmp_path, '--resume').history['loss']) == 2


@pytest.mark.parametrize('more', [[], ['--checkpoint_steps', '4']], ids=['the epoch', 'a state'])
def test_weights_that_are_no_numbers_are_never_saved(shared_data, tmp_path, monkeypatch, more):
    on_batch_end = TrainingState.on_batch_end

    def poison(state, batch, logs=None):
        if state.step == 3:  # the last step's update, which no loss has seen
            state.model.get_layer('dense').bias.load(np.full(10, np.nan), tf.compat.v1.keras.backend.get_session())
        on_batch_end(state, batch, logs)

    monkeypatch.setattr(TrainingState, 'on_batch_end', poison)
    with pytest.raises(InputError, match=r"^epoch 1, step 4 of 4: weights of the layer 'dense' are NaN or infinite, "
                                         r'and were not saved\. .*--learning_rate'):
        run(shared_data, tmp_path, *more)
    assert list(tmp_path.glob('*.h5')) == []


# --- the logs

def test_a_kill_between_a_checkpoint_and_its_row_loses_no_row(shared_data, copy, uninterrupted):
    (copy / 'state.h5').unlink()
    (copy / 'log' / 'train.csv').unlink()
    run(shared_data, copy, '--resume')
    assert rows(copy) == [1, 2, 3]
    summary = json.loads((copy / 'log' / 'summary.json').read_text())
    assert summary['losses'] == pytest.approx(uninterrupted[1]['loss'], abs=1e-12)


def test_a_network_that_could_not_be_loaded_again_is_refused_before_the_first_step(shared_data, tmp_path, monkeypatch):
    def with_code(shape, **_):
        base, scale = small_network(shape), tf.compat.v1.placeholder_with_default(1.0, [])
        return tf.keras.Model(base.input, tf.keras.layers.Lambda(lambda features: features * scale)(base.output))

    monkeypatch.setattr(importlib.import_module('tensorflow.keras.applications'), 'MobileNet', with_code)
    with pytest.raises(InputError, match="^the model in train.py: .*Build it of Keras's own layers without"):
        run(shared_data, tmp_path)
    assert list(tmp_path.glob('*.h5')) == []


def adapt(monkeypatch, **rule):
    monkeypatch.setattr(loss_scaling.LossScaling.__init__, '__defaults__', (None, loss_scaling.Rule(**rule)))


@pytest.mark.slow
def test_a_dynamic_loss_scale_is_stored_and_continues(dataset, tmp_path, stop_at, monkeypatch, capsys):
    """Without an overflow the weights are those of the static scale; the scale grows every three steps."""
    adapt(monkeypatch, initial=2.0 ** 10, interval=3)
    dynamic = ['--loss_scale', 'dynamic']
    run(dataset, tmp_path / 'static', '--loss_scale', '1024')
    run(dataset, tmp_path / 'whole', *dynamic)
    assert_same(tmp_path / 'whole' / 'model_003.h5', tmp_path / 'static' / 'model_003.h5')
    stop_at(6)
    assert stopped(dataset, tmp_path / 'parts', *dynamic) == 143
    state = model_file.read(str(tmp_path / 'parts' / 'state.h5'))
    assert (state.optimizer, state.run['loss_scaling']) == ('SGD', {'scale': 4096.0, 'finite_steps': 0, 'skipped': 0})
    monkeypatch.undo()
    adapt(monkeypatch, initial=2.0 ** 10, interval=3)
    run(dataset, tmp_path / 'parts', *dynamic, '--resume')
    assert_same(tmp_path / 'parts' / 'model_003.h5', tmp_path / 'whole' / 'model_003.h5')
    last = [model_file.read(str(tmp_path / name / 'model_003.h5')).run['loss_scaling'] for name in ('parts', 'whole')]
    assert last[0] == last[1] == {'scale': 16384.0, 'finite_steps': 0, 'skipped': 0}
    assert 'loss scale' not in capsys.readouterr().out


def test_skipped_steps_are_said(dataset, tmp_path, monkeypatch, capsys):
    adapt(monkeypatch, initial=1e38, back_off=2.0 ** -60)
    loss = nima.earth_mover_loss
    monkeypatch.setattr(nima, 'earth_mover_loss', lambda true, predicted: 1e3 * loss(true, predicted))
    run(dataset, tmp_path, '--loss_scale', 'dynamic', '--epochs', '1')
    assert re.search(r'^loss scale 8.67362e\+19; steps skipped so far, as they overflowed: 1$', capsys.readouterr().out,
                     re.M)
