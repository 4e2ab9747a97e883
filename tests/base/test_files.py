"""utils/base/files.py: files and folders that are written whole or not at all, and what can be written."""
import json
import os
import stat

import pytest

from utils.base import files
from utils.base.errors import InputError


def names(folder):
    return sorted(os.listdir(str(folder)))


# --- files


def test_a_file_is_written_with_its_folders(tmp_path):
    for name, content, written in (('text', 'é\udcff\n', b'\xc3\xa9\xff\n'), ('bytes', b'\0', b'\0'),
                                   ('view', memoryview(b'view'), b'view')):
        files.write(str(tmp_path / 'a' / 'b' / name), content)
        assert (tmp_path / 'a' / 'b' / name).read_bytes() == written
    assert names(tmp_path / 'a' / 'b') == ['bytes', 'text', 'view']


def test_a_file_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    files.write('file', 'text')
    assert (tmp_path / 'file').read_text() == 'text'


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError, ValueError])
def test_a_file_stays_as_it_was_where_the_block_fails(tmp_path, error):
    (tmp_path / 'file').write_text('old')
    with pytest.raises(error), files.new_file(str(tmp_path / 'file')) as temporary:
        with open(temporary, 'w') as stream:
            stream.write('half')
        raise error
    assert names(tmp_path) == ['file'] and (tmp_path / 'file').read_text() == 'old'


def test_a_device_or_pipe_is_written_and_not_replaced(tmp_path):
    pipe = str(tmp_path / 'pipe')
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write(pipe, 'text')
    assert os.read(reader, 10) == b'text' and names(tmp_path) == ['pipe']
    os.close(reader)
    files.write(os.devnull, 'text')
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_json_is_written_in_order_and_never_with_nan(tmp_path):
    path = str(tmp_path / 'a.json')
    files.write_json(path, {'b': 1, 'a': [None]})
    with open(path) as stream:
        assert list(json.load(stream).items()) == [('b', 1), ('a', [None])]
    with pytest.raises(ValueError):
        files.write_json(path, {'b': float('nan')})
    assert names(tmp_path) == ['a.json']


def test_an_oserror_is_one_sentence():
    with pytest.raises(InputError) as caught, files.writing('model_003.h5', 'Free space'):
        raise OSError(28, 'No space left on device')
    assert str(caught.value) == 'cannot write model_003.h5: No space left on device. Free space'
    assert str(files.cannot_write('a', ValueError('odd'), 'Mend it')) == 'cannot write a: odd. Mend it'


def test_a_disk_that_holds_something_else(tmp_path):
    path = tmp_path / 'file'
    for size in (0, 1, files.BLOCK, files.BLOCK + 1):
        content = bytes(range(256)) * (size // 256) + b'x' * (size % 256)
        path.write_bytes(content)
        files.require_same(str(path), memoryview(content))
        for other in (content + b'y', content[:-1] + b'y' if content else b'y'):
            with pytest.raises(OSError, match='it does not read back as it was written'):
                files.require_same(str(path), memoryview(other))


def test_the_sha256_of_a_file(tmp_path):
    (tmp_path / 'abc').write_text('abc')  # FIPS 180-2's example
    assert files.sha256(str(tmp_path / 'abc')) == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'


# --- folders


def test_a_trial_leaves_nothing_and_keeps_what_was_there(tmp_path):
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'file').write_text('')
    for folder in ('new/below', 'old'):
        files.require_writable(str(tmp_path / folder), '--flag')
    assert names(tmp_path) == ['old'] and names(tmp_path / 'old') == ['file']


@pytest.mark.parametrize('name, reason', [('file', 'File exists'), ('file/below', 'Not a directory'),
                                          ('a/' + 300 * 'x', 'File name too long')])
def test_a_folder_that_cannot_be_written(tmp_path, name, reason):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError) as caught:
        files.require_writable(str(tmp_path / name), '--flag')
    assert str(caught.value) == (f'cannot write {tmp_path / name}: {reason}. Change its permissions or choose another '
                                 '--flag')
    assert names(tmp_path) == ['file']


def test_a_read_only_disk_that_permissions_do_not_show(tmp_path, monkeypatch):
    def refused(**_):
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr(files.tempfile, 'TemporaryFile', refused)
    with pytest.raises(InputError, match=rf'^cannot write {tmp_path}: Read-only file system\. '):
        files.require_writable(str(tmp_path), '--flag')


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_a_folder_appears_whole_or_not_at_all(tmp_path, error):
    path = tmp_path / 'new' / 'deep' / 'folder'
    with pytest.raises(error), files.new_folder(str(path), '--output') as fresh:
        os.mkdir(os.path.join(fresh, 'inside'))
        raise error
    assert names(tmp_path) == []
    with files.new_folder(str(path), '--output') as fresh:
        assert not path.exists()
        os.mkdir(os.path.join(fresh, 'inside'))
    assert names(path) == ['inside'] and names(path.parent) == ['folder']


def test_a_new_folder_may_be_there_and_empty(tmp_path):
    with files.new_folder(str(tmp_path), '--output') as fresh:
        os.mkdir(os.path.join(fresh, 'inside'))
    assert names(tmp_path) == ['inside']


@pytest.mark.parametrize('name', ['file', 'full', 'link'])
def test_a_folder_that_is_there_stays(tmp_path, name):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'file').write_text('')
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'link').symlink_to('nowhere')
    with pytest.raises(InputError) as caught, files.new_folder(str(tmp_path / name), '--output'):
        raise AssertionError('nothing is written')
    assert str(caught.value) == f'{tmp_path / name} exists already. Remove it or choose another --output'
    assert names(tmp_path) == ['file', 'full', 'link']


def test_a_new_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=f'^cannot write {tmp_path}/file/below: File exists. '), \
            files.new_folder(str(tmp_path / 'file' / 'below'), '--output'):
        pass
    with pytest.raises(InputError, match=f'^cannot write {tmp_path}/new: No space left on device. '), \
            files.new_folder(str(tmp_path / 'new'), '--output'):
        raise OSError(28, 'No space left on device')
    assert names(tmp_path) == ['file']


def test_of_several_files_none_is_new_before_all_are_written(tmp_path):
    paths = {name: str(tmp_path / 'folder' / name) for name in 'abc'}
    files.write_all(dict.fromkeys(paths.values(), b'old'))
    (tmp_path / 'folder' / 'c.tmp').mkdir()  # cannot be written
    with pytest.raises(IsADirectoryError):
        files.write_all(dict.fromkeys(paths.values(), b'new'))
    assert [(tmp_path / 'folder' / name).read_bytes() for name in 'abc'] == [b'old'] * 3
    assert names(tmp_path / 'folder') == ['a', 'b', 'c', 'c.tmp']
