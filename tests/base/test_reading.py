"""utils/base/reading.py and all that read with it: pipes, devices and JSON that is nested without end."""
import errno
import os
import re
import threading

import pytest

from utils.base import reading
from utils.base.errors import InputError
from utils.checks import ava_facts
from utils.data import ava, image_files, image_kinds, label_text, packed, splits
from utils.demo import dataset as demo
from utils.device import npu_options, rank_table
from utils.formats import msame
from utils.model import checkpoint
from utils.scoring import score_tables
from utils.training import features, log, recipe

DEEP = '[' * 100000
NO_FILE = 'it is a pipe or a device, expected a file'


def test_bytes_and_json_of_a_file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('{"a": [1]}')
    assert reading.read(str(path), 10) == b'{"a": [1]}' and reading.read_json(str(path)) == {'a': [1]}
    assert reading.parse_json('[12]', parse_int=str) == ['12']
    with pytest.raises(OSError, match='it has more than 9 bytes'):
        reading.read(str(path), 9)
    with pytest.raises(IsADirectoryError):
        reading.open_file(str(tmp_path))
    with pytest.raises(ValueError, match='^it is nested too deep$'):
        reading.parse_json(DEEP)


@pytest.mark.parametrize('read', [reading.open_file, reading.read, reading.read_typed, reading.read_json])
def test_no_pipe_or_device_is_waited_for(tmp_path, read):
    os.mkfifo(str(tmp_path / 'pipe'))
    before = os.listdir('/proc/self/fd')
    for path in (str(tmp_path / 'pipe'), '/dev/zero'):
        with pytest.raises(OSError, match=NO_FILE) as raised:
            read(path)
        assert raised.value.errno == errno.EINVAL
    assert len(os.listdir('/proc/self/fd')) == len(before)


def piped(data):
    """The name of a pipe as a shell's <(command) gives it, from which `data` can be read once."""
    end, start = os.pipe()

    def write():
        with open(start, 'wb') as stream:
            stream.write(data)
    threading.Thread(target=write, daemon=True).start()
    return end, f'/dev/fd/{end}'


def test_what_a_shell_pipes_is_read():
    end, path = piped(b'1.jpg\n2.jpg\n' * 100000)
    assert splits.read_list(path) == ['1.jpg', '2.jpg'] * 100000
    os.close(end)
    end, path = piped(b'1 2 3')
    assert label_text.read(path, 'lines').data == b'1 2 3'
    os.close(end)
    end, path = piped(b'12345')
    with pytest.raises(OSError, match='it has more than 4 bytes'):
        reading.read_typed(path, 4)
    os.close(end)


def of_a_folder(name, read):
    """`read` of the folder in which a file has this name."""
    return name, lambda path: read(os.path.dirname(path))


TEXTS = {
    'the labels': ('AVA.txt', lambda path: ava.read(path, os.path.dirname(path))),
    'a table of labels': ('a.csv', lambda path: ava.read(path, os.path.dirname(path))),
    'labels in Excel': ('a.xlsx', lambda path: ava.read(path, os.path.dirname(path))),
    'a list of images': ('a', splits.read_list),
    'an image': ('a.jpg', lambda path: image_files.read_as_png(path, turn=True)),
}
JSON = {
    'labels in JSON': ('a.json', lambda path: ava.read(path, os.path.dirname(path))),
    'labels in JSON lines': ('a.jsonl', lambda path: ava.read(path, os.path.dirname(path))),
    'a recipe': ('a.json', recipe.read),
    'a packed dataset': of_a_folder(packed.MANIFEST, packed.read_manifest),
    'inputs for msame': of_a_folder(msame.MANIFEST, lambda folder: msame.srcc(folder, folder)),
    'a demo': of_a_folder('demo.json', demo.make),
    'a list of operators': ('a.json', lambda path: npu_options._mixlist(path, npu_options.MIXED[0])),
    'a rank table': ('a.json', rank_table.read),
    'the note of an overwriting run': of_a_folder('overwrite.json', checkpoint.overwriting),
}


@pytest.mark.parametrize('name, read', [*TEXTS.values(), *JSON.values()], ids=[*TEXTS, *JSON])
def test_a_pipe_is_a_sentence(tmp_path, name, read):
    path = str(tmp_path / name)
    os.mkfifo(path)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        read(path)


@pytest.mark.parametrize('name, read', JSON.values(), ids=list(JSON))
def test_deep_json_is_a_sentence(tmp_path, name, read):
    path = tmp_path / name
    path.write_text(DEEP)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        read(str(path))


@pytest.mark.parametrize('content', [DEEP, '{"run": 5}', '{"run": "../../../etc"}', None],
                         ids=['deep', 'number', 'path', 'pipe'])
def test_notes_that_nobody_gave_are_as_none(tmp_path, content):
    """A log without an id, features that are computed again, a kind that is not known."""
    for name in (log.SUMMARY, features.MANIFEST):
        os.mkfifo(str(tmp_path / name)) if content is None else (tmp_path / name).write_text(content)
    assert log.run_id(str(tmp_path)) is None
    assert features._manifest(str(tmp_path)).get('key') is None
    assert content is not None or image_kinds.kind_of_file(str(tmp_path / log.SUMMARY)) is None


def test_a_deep_line_of_scores_is_that_of_another(tmp_path):
    output = score_tables.Output(str(tmp_path / 'a.jsonl'), 'jsonl', score_tables.COLUMNS)
    with pytest.raises(InputError, match=r'a\.jsonl:1: predict\.py did not write this line'):
        score_tables._read_row(DEEP.encode(), output, 1)


def test_the_hash_of_a_file_is_that_of_git(tmp_path):
    (tmp_path / 'empty').write_bytes(b'')
    assert ava_facts.git_hash(str(tmp_path / 'empty')) == 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
