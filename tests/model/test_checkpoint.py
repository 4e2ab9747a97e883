"""Checkpoints: names, whole or not at all, what is said when one is missing or broken."""
import os

import numpy as np
import pytest
import tensorflow as tf

from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.model import build, checkpoint, model_file

METADATA = {'preprocessing': Preprocessing(32).as_json(), 'epoch': 1}


@pytest.fixture
def model():
    tf.compat.v1.keras.backend.clear_session()
    inputs = tf.keras.Input((32, 32, 3))
    yield tf.keras.Model(inputs, tf.keras.layers.Dense(10)(tf.keras.layers.Flatten()(inputs)))
    tf.compat.v1.keras.backend.clear_session()


def test_names_and_order(tmp_path):
    for name in ('model_010.h5', 'model_002.h5', 'model_1000.h5', 'model_7.h5', 'weights.h5', 'model_003.h5.tmp'):
        (tmp_path / name).write_bytes(b'')
    assert [os.path.basename(path) for path in checkpoint.existing(str(tmp_path))] == [
        'model_002.h5', 'model_010.h5', 'model_1000.h5']
    assert checkpoint.path_of('model', 7) == os.path.join('model', 'model_007.h5')
    assert checkpoint.existing(str(tmp_path / 'nowhere')) == []


def test_a_folder_that_another_process_has_just_removed_holds_none(tmp_path, monkeypatch):
    """The first of many devices tries whether a new folder can be written, while the others look into it."""
    monkeypatch.setattr(os.path, 'isdir', lambda path: True)
    assert checkpoint.existing(str(tmp_path / 'nowhere')) == []


def test_the_end_of_an_overwritten_run_is_that_of_its_checkpoints_and_nothing_else(tmp_path):
    for name in ('model_001.h5', 'model_002.h5', 'state.h5', 'notes.txt', 'model_003.h5.tmp'):
        (tmp_path / name).write_bytes(b'')
    checkpoint.announce_overwrite(str(tmp_path), 'ab' * 16)
    assert checkpoint.overwriting(str(tmp_path)) == 'ab' * 16
    checkpoint.finish_overwrite(str(tmp_path / 'model_001.h5'))
    assert checkpoint.overwriting(str(tmp_path)) is None
    assert sorted(os.listdir(str(tmp_path))) == ['model_001.h5', 'model_003.h5.tmp', 'notes.txt']


def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / 'model_001.h5'
    path.write_bytes(b'old')

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(InputError, match=r'cannot write .*model_001\.h5: No space left on device\. Free .* intact'):
        checkpoint.save(model, str(path), METADATA)
    assert path.read_bytes() == b'old' and os.listdir(str(tmp_path)) == ['model_001.h5']
    monkeypatch.undo()
    checkpoint.save(model, str(path), METADATA)
    assert path.read_bytes()[:4] == b'\x89HDF' and os.listdir(str(tmp_path)) == ['model_001.h5']


@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_ctrl_c_while_writing_leaves_the_old_file_alone(model, tmp_path, monkeypatch, function):
    path = tmp_path / 'model_001.h5'
    path.write_bytes(b'old')

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, function, stopped)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(model, str(path), METADATA)
    assert path.read_bytes() == b'old' and os.listdir(str(tmp_path)) == ['model_001.h5']


def test_nothing_trained_yet(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r'model_007\.h5: no checkpoint, and no other .*\(bash train_1p\.sh\)'):
        checkpoint.find(str(tmp_path), 'model_007.h5')
    monkeypatch.setattr(checkpoint, 'DEMO_MODEL', str(tmp_path))
    with pytest.raises(InputError, match=r'Train first \(bash train_1p\.sh --demo\)'):
        checkpoint.find(str(tmp_path), 'model_007.h5')


def test_a_name_or_a_path(tmp_path):
    path = tmp_path / 'model_003.h5'
    path.write_bytes(b'')
    assert checkpoint.find(str(tmp_path), 'model_003.h5') == str(path)
    assert checkpoint.find('/nowhere', str(path)) == str(path)


def test_a_newer_one_is_named_where_nobody_chose(tmp_path, capsys):
    for epoch in (3, 7, 10):
        (tmp_path / f'model_{epoch:03d}.h5').write_text('')
    chosen = str(tmp_path / 'model_007.h5')
    assert checkpoint.find_or_usual(str(tmp_path), None, 'model_007.h5') == chosen
    assert capsys.readouterr().err == f'{chosen}: model_010.h5 is newer: --checkpoint newest takes it\n'
    assert checkpoint.find_or_usual(str(tmp_path), 'model_007.h5', 'model_003.h5') == chosen
    assert checkpoint.find_or_usual(str(tmp_path), None, 'model_010.h5') == str(tmp_path / 'model_010.h5')
    (tmp_path / 'model_012.h5').mkdir()
    checkpoint.find_or_usual(str(tmp_path), None, 'model_007.h5')
    (tmp_path / 'overwrite.json').write_text('damaged')  # --checkpoint newest is refused
    checkpoint.find_or_usual(str(tmp_path), None, 'model_007.h5')
    assert capsys.readouterr().err == ''


def test_while_a_run_is_overwritten_the_new_one_is_newer(tmp_path, capsys, monkeypatch):
    for epoch in (1, 7, 10):
        (tmp_path / f'model_{epoch:03d}.h5').write_text('')
    monkeypatch.setattr(checkpoint, 'overwriting', lambda folder: 'new')
    monkeypatch.setattr(checkpoint, 'of_run', lambda paths, run: paths[:1])
    checkpoint.find_or_usual(str(tmp_path), None, 'model_007.h5')
    assert ': model_001.h5 is newer' in capsys.readouterr().err
    monkeypatch.setattr(checkpoint, '_best', lambda srccs: str(tmp_path / 'model_007.h5'))
    monkeypatch.setattr(checkpoint, '_val_srccs', lambda paths: [])
    assert checkpoint.find_or_usual(str(tmp_path), None, 'best') == str(tmp_path / 'model_007.h5')
    assert capsys.readouterr().err == ''


def test_a_folder_that_cannot_be_listed(tmp_path, capsys, monkeypatch):
    def refused(path):
        raise PermissionError(13, 'Permission denied')

    (tmp_path / 'model_007.h5').write_text('')
    monkeypatch.setattr(os, 'listdir', refused)
    for typed in (None, 'model_007.h5'):
        assert checkpoint.find_or_usual(str(tmp_path), typed, 'model_007.h5') == str(tmp_path / 'model_007.h5')
    with pytest.raises(InputError, match='^cannot read .*, the folder of checkpoints: Permission denied. Change its'):
        checkpoint.find(str(tmp_path), 'newest')
    assert capsys.readouterr().err == ''


def test_what_is_there_is_listed_with_a_command(tmp_path):
    folder = tmp_path / 'my models'
    folder.mkdir()
    (folder / 'aesthetic.h5').write_bytes(b'')
    with pytest.raises(InputError) as error:
        checkpoint.find(str(folder), 'model_007.h5')
    assert str(error.value) == (f'{folder}/model_007.h5: no such checkpoint, but aesthetic.h5. Type --checkpoint '
                                f"'{folder}/aesthetic.h5'")
    for epoch in (1, 2):
        (folder / f'model_00{epoch}.h5').write_bytes(b'')
    with pytest.raises(InputError) as error:
        checkpoint.find(str(folder), 'a.h5', ['bash', '/a b/test_1p.sh', '--checkpoint', 'a.h5', '--val_size', '4',
                                              '--checkpoint=b.h5'])
    assert str(error.value) == (
        f"{folder}/a.h5: no such checkpoint, but model_001.h5, model_002.h5. Type bash '/a b/test_1p.sh' --val_size 4 "
        f"--checkpoint '{folder}/model_002.h5', or --checkpoint newest or best (the highest validation SRCC)")


def test_a_folder_of_models_is_named_with_what_to_type(tmp_path):
    for name in ('model_001.h5', 'model_002.h5', 'other.h5', 'state.h5'):
        (tmp_path / name).write_bytes(b'')
    with pytest.raises(InputError) as error:
        checkpoint.find('/nowhere', str(tmp_path))
    assert str(error.value) == (f'{tmp_path} is a folder with model_001.h5, model_002.h5. Type --checkpoint '
                                f'{tmp_path}/model_002.h5')


def written(model, folder, srccs):
    for epoch, srcc in enumerate(srccs, 1):
        checkpoint.save(model, checkpoint.path_of(str(folder), epoch), {**METADATA, 'run': {'metrics': {
            'val_srcc': srcc}}})


def test_the_newest_and_the_best(model, tmp_path):
    written(model, tmp_path, [0.1, 0.3, None, 0.3, 0.2, None])
    assert checkpoint.find(str(tmp_path), 'newest') == str(tmp_path / 'model_006.h5')
    assert checkpoint.find(str(tmp_path), 'best') == str(tmp_path / 'model_004.h5')
    (tmp_path / 'best').write_bytes(b'')
    assert checkpoint.find(str(tmp_path), 'best') == str(tmp_path / 'best')  # a file of that name


def test_no_best_without_a_validation_srcc(model, tmp_path):
    written(model, tmp_path, [None, None])
    with pytest.raises(InputError, match=f'^--checkpoint best: no checkpoint in {tmp_path} has a validation SRCC. Use '
                                         '--checkpoint newest$'):
        checkpoint.find(str(tmp_path), 'best')


@pytest.mark.parametrize('name', ['newest', 'best'])
def test_none_of_them_where_nothing_is_trained(tmp_path, name):
    with pytest.raises(InputError, match=rf'^--checkpoint {name}: no checkpoint in {tmp_path}\. Train first'):
        checkpoint.find(str(tmp_path), name)


def test_a_name_with_a_folder_counts_from_the_folder_of_checkpoints(tmp_path):
    (tmp_path / 'demo').mkdir()
    path = tmp_path / 'demo' / 'model_001.h5'
    path.write_bytes(b'')
    assert checkpoint.find(str(tmp_path), 'demo/model_001.h5') == str(path)


@pytest.mark.parametrize('content, found', [
    (b'', 'an empty file'), (b'<html>', 'a web page'), (b'PK\x03\x04', 'a file that is not HDF5'),
    (b'\x89HDF\r\n\x1a\n' + bytes(100), r'a truncated or damaged HDF5 file \(.*\)')])
def test_a_file_that_is_no_model(tmp_path, content, found):
    (tmp_path / 'model_007.h5').write_bytes(content)
    with pytest.raises(InputError, match=rf'model_007\.h5: found {found}, expected a checkpoint that train\.py or the '
                                         r'import wrote\. Get a complete copy of the \.h5 file'):
        build.for_scoring(model_file.read(str(tmp_path / 'model_007.h5')))


def test_the_weights_of_a_file_are_set_with_two_operations_each(model, tmp_path):
    """Keras itself takes as long for it as for building the network; and it does not initialise them once more."""
    checkpoint.save(model, str(tmp_path / 'model.h5'), METADATA)
    found = model_file.read(str(tmp_path / 'model.h5'))
    tf.compat.v1.keras.backend.clear_session()
    fresh = tf.keras.models.model_from_json(found.network)
    count = tf.compat.v1.get_default_graph().get_operations
    before = len(count())
    build.set_weights(build.variables_of(fresh), found.weights, 'model.h5')
    tf.compat.v1.keras.backend.get_session()
    assert len(fresh.weights) == 2 and len(count()) == before + 2 * 2
    for array, wanted in zip(fresh.get_weights(), [array for arrays in found.weights.values() for array in arrays]):
        np.testing.assert_array_equal(array, wanted)
    assert np.ptp(fresh.get_weights()[0]) > 0
