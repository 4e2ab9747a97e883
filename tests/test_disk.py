"""A folder of checkpoints under stress: two runs, a killed one, a full disk, no permission, a folder that goes away."""
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import ROOT, disk, snapshot

from utils.base import files
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.model import checkpoint, metadata, model_file
from utils.training.flags import train_flags

METADATA = {'preprocessing': Preprocessing(32).as_json()}


@pytest.fixture
def model():
    tf.compat.v1.keras.backend.clear_session()
    inputs = tf.keras.Input((32, 32, 3))
    yield tf.keras.Model(inputs, tf.keras.layers.Dense(10)(tf.keras.layers.Flatten()(inputs)))
    tf.compat.v1.keras.backend.clear_session()


def start(code, *arguments, **how):
    return subprocess.Popen([sys.executable, '-c', textwrap.dedent(code), *map(str, arguments)], cwd=str(ROOT),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True, **how)


HOLDS = '''
    import sys
    from utils.base import files
    with files.only_writer(sys.argv[1], '--TMP_MODEL_PATF'):
        print('holds', flush=True)
        sys.stdin.read()
'''


def only_writer(folder):
    return files.only_writer(str(folder), '--TMP_MODEL_PATF')


# --- one writer

def test_the_second_is_refused_with_the_process_id_of_the_first(tmp_path):
    first = start(HOLDS, tmp_path)
    assert first.stdout.readline() == 'holds\n'
    with pytest.raises(InputError, match=rf'^{tmp_path} is in use: process {first.pid} writes there. Wait for it, stop '
                                         r'it or choose another --TMP_MODEL_PATF$'), only_writer(tmp_path):
        pass
    first.communicate('')
    assert first.returncode == 0 and os.listdir(str(tmp_path)) == []
    with only_writer(tmp_path):
        assert os.listdir(str(tmp_path)) == ['.lock']


def test_a_killed_one_leaves_neither_a_lock_nor_unfinished_files(tmp_path):
    first = start(HOLDS, tmp_path)
    assert first.stdout.readline() == 'holds\n'
    for name in ('model_001.h5', 'model_002.h5.tmp', 'state.h5.tmp', 'notes.tmp'):
        (tmp_path / name).write_text('')
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (tmp_path / '.lock').exists()
    with only_writer(tmp_path):
        assert sorted(os.listdir(str(tmp_path))) == ['.lock', 'model_001.h5', 'notes.tmp']
    assert sorted(os.listdir(str(tmp_path))) == ['model_001.h5', 'notes.tmp']


def test_only_the_writer_removes_unfinished_files(tmp_path):
    with only_writer(tmp_path):
        (tmp_path / 'model_001.h5.tmp').write_text('mine')
        with pytest.raises(InputError, match=f'process {os.getpid()} writes there'), only_writer(tmp_path):
            pass
        assert (tmp_path / 'model_001.h5.tmp').read_text() == 'mine'


def without_locks(monkeypatch, process, machine):
    """A disk that knows no locks, on which somebody left a lock's file."""
    def refuse(descriptor, operation):
        raise OSError(95, 'Operation not supported')
    monkeypatch.setattr(files.fcntl, 'flock', refuse)
    return f'{process} {machine}\n'


@pytest.mark.parametrize('how', ['link', 'folder'])
def test_a_lock_that_is_none_is_not_written(tmp_path, how):
    mine = tmp_path / 'mine'
    mine.write_text('mine')
    folder = tmp_path / 'model'
    folder.mkdir()
    if how == 'link':
        (folder / files.LOCK).symlink_to(mine)
    else:
        (folder / files.LOCK).mkdir()
    with pytest.raises(InputError, match=r'cannot write .*model/\.lock: '), \
            only_writer(folder):
        pass
    assert mine.read_text() == 'mine'


def test_a_disk_without_locks(tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    here = files.socket.gethostname()
    (tmp_path / '.lock').write_text(without_locks(monkeypatch, dead.pid, here))
    with only_writer(tmp_path):
        assert (tmp_path / '.lock').read_text() == f'{os.getpid()} {here}\n'
    living = os.getppid()
    for process, machine, holder in ((living, here, f'process {living} writes'),
                                     (7, 'other', 'process 7 on other writes')):
        (tmp_path / '.lock').write_text(without_locks(monkeypatch, process, machine))
        with pytest.raises(InputError, match=rf'{holder} there.*remove {tmp_path}/\.lock'), \
                only_writer(tmp_path):
            pass
        assert (tmp_path / '.lock').exists()


def test_a_folder_that_was_not_there_goes_again_where_nothing_came_into_it(tmp_path):
    with only_writer(tmp_path / 'a'):
        pass
    assert os.listdir(str(tmp_path)) == []


def test_a_path_that_is_no_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write .*file/model: .*--TMP_MODEL_PATF'), \
            only_writer(tmp_path / 'file' / 'model'):
        pass


# --- the disk

SAVES = '''
    import resource, sys
    import tensorflow as tf
    from utils.base import errors, files
    from utils.base.preprocessing import Preprocessing
    from utils.model import checkpoint
    def main():
        inputs = tf.keras.Input((32, 32, 3))
        model = tf.keras.Model(inputs, tf.keras.layers.Dense(10)(tf.keras.layers.Flatten()(inputs)))
        with files.only_writer(sys.argv[1], '--TMP_MODEL_PATF'):
            checkpoint.save(model, sys.argv[1] + '/model_001.h5', {'preprocessing': Preprocessing(32).as_json()})
            exec(sys.argv[2])
            checkpoint.save(model, sys.argv[1] + '/model_002.h5', {'preprocessing': Preprocessing(32).as_json()})
    errors.run(main, 'train.py')
'''


def save_twice(folder, between):
    """Exit code and last line of a process that saves two checkpoints and runs `between` after the first."""
    done = start(SAVES, folder, between)
    _, err = done.communicate(timeout=200)
    assert 'Traceback' not in err
    return done.returncode, err.splitlines()[-1] if err else ''


def is_good(path):
    model_file.read(str(path))
    return True


def test_a_disk_on_which_no_more_fits(tmp_path):
    code, error = save_twice(tmp_path, 'import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); '
                                      'resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))')
    assert code == 1
    assert error == (f'train.py: error: cannot write {tmp_path}/model_002.h5: File too large. Free space or choose '
                    'another --TMP_MODEL_PATF; earlier checkpoints are intact')
    assert os.listdir(str(tmp_path)) == ['model_001.h5'] and is_good(tmp_path / 'model_001.h5')


def test_a_small_disk(tmp_path):
    with disk(tmp_path / 'small', 'size=200k') as folder:
        code, error = save_twice(folder, '')
        assert code == 1 and 'model_002.h5: No space left on device.' in error
        assert os.listdir(str(folder)) == ['model_001.h5'] and is_good(folder / 'model_001.h5')


def test_a_disk_that_does_not_keep_what_is_written(model, tmp_path, monkeypatch):
    checkpoint.save(model, str(tmp_path / 'model_001.h5'), METADATA)
    before, fsync = snapshot(tmp_path), os.fsync

    def lose(descriptor):
        os.pwrite(descriptor, b'lost', 5000)
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', lose)
    for name in ('model_001.h5', 'model_002.h5'):
        with pytest.raises(InputError, match=rf'cannot write .*{name}: it does not read back as it was written\.'):
            checkpoint.save(model, str(tmp_path / name), METADATA)
    assert snapshot(tmp_path) == before


def read_only(folder):
    """Make a folder read-only for root too; returns how to undo it."""
    folder.chmod(0o555)
    if os.access(str(folder), os.W_OK):  # root: permissions do not count
        for how, undo in ((['chattr', '+i', str(folder)], ['chattr', '-i', str(folder)]),
                          (['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', str(folder)], ['umount', str(folder)])):
            try:
                done = subprocess.run(how, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            except OSError:
                continue
            if done.returncode == 0:
                return lambda: subprocess.run(undo, check=True)
        pytest.skip('this user writes wherever it wants, and may not make a folder unchangeable')
    return lambda: folder.chmod(0o755)


def test_a_read_only_folder(model, tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    undo = read_only(folder)
    try:
        with pytest.raises(InputError, match=r'cannot write .*folder: .*--TMP_MODEL_PATF'), only_writer(folder):
            pass
        with pytest.raises(InputError, match=r'cannot write .*model_001\.h5: (Read-only file system|Operation not '
                                             r'permitted|Permission denied)'):
            checkpoint.save(model, str(folder / 'model_001.h5'), METADATA)
    finally:
        undo()
    assert os.listdir(str(folder)) == []


def test_a_folder_that_goes_away_is_made_again(tmp_path):
    folder = tmp_path / 'a' / 'model'
    code, error = save_twice(folder, 'import os, shutil; shutil.rmtree(os.path.dirname(sys.argv[1]))')
    assert code == 0, error
    assert os.listdir(str(folder)) == ['model_002.h5'] and is_good(folder / 'model_002.h5')


def test_a_file_instead_of_a_folder(model, tmp_path):
    folder = tmp_path / 'model'
    folder.write_text('mine')
    with pytest.raises(InputError, match=r'model_001\.h5: (File exists|Not a directory)\.'):
        checkpoint.save(model, str(folder / 'model_001.h5'), METADATA)
    assert folder.read_text() == 'mine'


# --- which checkpoints stay

def written(folder, srccs):
    inputs = tf.keras.Input((32, 32, 3))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(10)(tf.keras.layers.GlobalAveragePooling2D()(inputs)))
    for epoch, srcc in enumerate(srccs, 1):
        checkpoint.save(model, checkpoint.path_of(str(folder), epoch), {**METADATA, 'epoch': epoch, 'run': {
            'metrics': metadata.metrics({'val_srcc': srcc})}})


@pytest.mark.parametrize('srccs, keep, keep_best, kept', [
    ([0.1, 0.2, 0.3], 2, False, [2, 3]), ([0.1, 0.2, 0.3], 5, True, [1, 2, 3]), ([0.3, 0.2, 0.1], 1, True, [1, 3]),
    ([0.3, 0.2, 0.1], 1, False, [3]), ([0.2, 0.2, 0.1, 0.0], 1, True, [2, 4]),
    ([float('nan'), 0.2, float('nan'), 0.1], 1, True, [2, 4]), ([float('nan')] * 3, 1, True, [3])])
def test_the_newest_and_the_best_stay(tmp_path, srccs, keep, keep_best, kept):
    tf.compat.v1.keras.backend.clear_session()
    written(tmp_path, srccs)
    removed = checkpoint.prune(str(tmp_path), keep, keep_best=keep_best)
    epochs = range(1, len(srccs) + 1)
    assert checkpoint.existing(str(tmp_path)) == [checkpoint.path_of(str(tmp_path), epoch) for epoch in kept]
    assert removed == [checkpoint.path_of(str(tmp_path), epoch) for epoch in epochs if epoch not in kept]


def test_what_cannot_be_read_stays_and_does_not_count(tmp_path):
    tf.compat.v1.keras.backend.clear_session()
    written(tmp_path, [0.1, 0.2, 0.3])
    Path(checkpoint.path_of(str(tmp_path), 2)).write_bytes(b'no HDF5')
    checkpoint.prune(str(tmp_path), 1, keep_best=False)
    assert [os.path.basename(path) for path in checkpoint.existing(str(tmp_path))] == ['model_002.h5', 'model_003.h5']


def test_the_best_alone_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        train_flags(['--keep_best'])
    assert stopped.value.code == 2 and '--keep_best needs --keep: without it all' in capsys.readouterr().err
    assert train_flags(['--keep', '2', '--keep_best']).keep == 2
