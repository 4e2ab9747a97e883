"""Which files names on the command line mean: folders, patterns, lists, shards."""
import io
import os
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data import listing


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')


def found(folder, *paths, **options):
    return [os.path.relpath(path, str(folder)) for path in listing.find(map(str, paths), **options)]


def test_a_folder_gives_its_images_in_any_case_by_name_and_none_of_its_folders(tmp_path):
    make(tmp_path, 'b.JPG', 'a.jpeg', 'd.Png', 'c.gif', 'notes.txt', 'e.bmp', 'f.WebP', 'jpg', '.hidden.jpg',
         '._a.jpeg', 'more/f.jpg', 'folder.jpg/x.txt')
    os.symlink('nowhere', str(tmp_path / 'z.jpg'))  # reading it says that nothing is there
    assert found(tmp_path, tmp_path) == ['a.jpeg', 'b.JPG', 'c.gif', 'd.Png', 'e.bmp', 'f.WebP', 'z.jpg']
    assert list(listing.find(['x.txt', str(tmp_path / 'more'), 'y.jpg'])) == [
        'x.txt', str(tmp_path / 'more' / 'f.jpg'), 'y.jpg']


def test_what_is_left_out_of_folders_is_counted_by_ending(tmp_path):
    make(tmp_path, 'a.jpg', 'b.MOV', 'c.mov', 'notes.txt', 'README', '.hidden', 'deep/d.mov', 'e.heic')
    said = []
    assert found(tmp_path, tmp_path, tmp_path / 'notes.txt', report=said.append) == ['a.jpg', 'e.heic', 'notes.txt']
    assert said == ['left out by their ending: 4 files (2 .mov, 1 .txt, 1 without one)']
    found(tmp_path, tmp_path, recursive=True, report=said.append)
    assert said[1] == 'left out by their ending: 5 files (3 .mov, 1 .txt, 1 without one)'
    found(tmp_path, tmp_path / 'a.jpg', report=said.append)
    assert len(said) == 2


def test_recursive_looks_into_folders_by_name_and_follows_no_link_to_one(tmp_path):
    make(tmp_path, 'b.jpg', 'a/2.jpg', 'a/1.jpg', 'a/deep/x.png', 'c/notes.txt', '.git/y.jpg')
    os.symlink('..', str(tmp_path / 'a' / 'loop'))
    assert found(tmp_path, tmp_path, recursive=True) == ['a/1.jpg', 'a/2.jpg', 'a/deep/x.png', 'b.jpg']
    assert found(tmp_path, tmp_path) == ['b.jpg']
    assert found(tmp_path, tmp_path / 'c', recursive=True) == ['c']


def test_a_folder_that_cannot_be_listed_does_not_stop_the_rest(monkeypatch):
    def listdir(path):
        if path == 'locked':
            raise PermissionError(13, 'Permission denied')
        return ['b.jpg']

    monkeypatch.setattr(os, 'listdir', listdir)
    assert list(listing.find(['locked', 'open'])) == ['locked', os.path.join('open', 'b.jpg')]


def test_patterns_are_expanded_unless_a_file_has_that_name(tmp_path):
    make(tmp_path, 'b.jpg', 'a.jpg', 'c.png', 'in/d.jpg', 'in/deep/e.jpg', '[x].jpg')
    assert found(tmp_path, tmp_path / '[ab].jpg') == ['a.jpg', 'b.jpg']
    assert found(tmp_path, tmp_path / '[x].jpg') == ['[x].jpg']
    assert found(tmp_path, tmp_path / 'i*') == ['in/d.jpg']
    assert found(tmp_path, tmp_path / 'in' / '**' / '*.jpg') == ['in/d.jpg', 'in/deep/e.jpg']
    assert found(tmp_path, tmp_path / 'no*.jpg') == ['no*.jpg']


@pytest.mark.parametrize('data', [b'b.jpg\r\n\r\na file.jpg\r\n[x].jpg', b'b.jpg\0a file.jpg\0[x].jpg\0'])
def test_a_list_on_standard_input_stands_where_its_dash_stands(data, monkeypatch):
    monkeypatch.setattr('sys.stdin', types.SimpleNamespace(buffer=io.BytesIO(data)))
    assert list(listing.find(['x.jpg', '-', 'y.jpg'])) == ['x.jpg', 'b.jpg', 'a file.jpg', '[x].jpg', 'y.jpg']


def test_names_that_are_no_utf8_and_names_with_line_breaks():
    assert [os.fsencode(name) for name in listing.listed(io.BytesIO(b'\xff.jpg\n'))] == [b'\xff.jpg']
    assert listing.listed(io.BytesIO(b'two\nlines.jpg\0')) == ['two\nlines.jpg']


@given(st.lists(st.text()), st.integers(1, 9))
def test_shards_are_every_file_once(files, parts):
    shards = [listing.shard(files, (number + 1, parts)) for number in range(parts)]
    assert [shards[place % parts][place // parts] for place in range(len(files))] == files
    assert sum(map(len, shards)) == len(files) and listing.shard(files, None) == files
