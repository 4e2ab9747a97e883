"""What happens around training, where the logs cannot be written."""
import os

import pytest

from utils import callbacks
from utils.errors import InputError

LOGS = {'loss': 0.1, 'val_loss': 0.1, 'val_srcc': 0.5, 'images_per_second': 10.0}


def epoch_log(path):
    log = callbacks.EpochLog(str(path.parent))
    log.on_train_begin()
    log.on_epoch_end(0, LOGS)


def summary(path):
    log = callbacks.Summary(str(path.parent), device='cpu', batchsize=4)
    log.on_train_begin()
    log.on_epoch_end(0, LOGS)


WRITERS = [(epoch_log, 'train.csv'), (epoch_log, 'train.jsonl'), (summary, 'summary.json')]


@pytest.mark.parametrize('write, name', WRITERS)
def test_a_log_is_written(tmp_path, write, name):
    write(tmp_path / name)
    assert '0.1' in (tmp_path / name).read_text()


@pytest.mark.parametrize('write, name', WRITERS)
def test_a_folder_stands_in_the_place_of_a_log(tmp_path, write, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf'{name}: found that it cannot be written \(Is a directory\), expected a '
                                         r'place for the log: .*another --TMP_LOG_PATH'):
        write(tmp_path / name)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='this system has no /dev/full')
@pytest.mark.parametrize('write, name', WRITERS)
def test_a_full_disk(tmp_path, write, name):
    (tmp_path / name).symlink_to('/dev/full')
    with pytest.raises(InputError, match=rf'{name}: found that it cannot be written \(No space left on device\)'):
        write(tmp_path / name)
