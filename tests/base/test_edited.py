"""utils/base/edited.py: the edited lines of a script, read without running it."""
import pytest

from utils.base import edited
from utils.base.errors import InputError

SCRIPT = '''"""A script."""
import os

TMP_MODEL_PATF = './model/'
CHECKPOINT = "model_007.h5"  # the last


def main():
    CHECKPOINT = 'another'
    raise SystemExit
'''


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads names from eval.py with this content."""
    monkeypatch.setattr(edited, 'ROOT', str(tmp_path))

    def lines(content, *names):
        (tmp_path / 'eval.py').write_text(content)
        return edited.lines('eval.py', *names)
    return lines


def test_the_lines_are_read_in_the_order_of_their_names(read):
    assert read(SCRIPT, 'CHECKPOINT', 'TMP_MODEL_PATF') == ('model_007.h5', './model/')
    assert read(SCRIPT.replace('"model_007.h5"', "('a' 'b')"), 'CHECKPOINT') == ('ab',)


@pytest.mark.parametrize('before, after, message', [
    ('CHECKPOINT = "model_007.h5"', '', "eval.py: found no line CHECKPOINT = '...' at the start of a line. Write it "),
    ('CHECKPOINT = "model_007.h5"', 'CHECKPOINT = os.path.join("a", "b")',
     "eval.py:5: CHECKPOINT must be a plain text such as '...'. "),
    ('"model_007.h5"', '"model_007.h5', 'eval.py:5: this line is no Python. Correct it'),
])
def test_a_line_that_cannot_be_read_is_named(read, tmp_path, before, after, message):
    with pytest.raises(InputError) as caught:
        read(SCRIPT.replace(before, after), 'CHECKPOINT')
    assert str(caught.value).startswith(f'{tmp_path}/{message}')


def test_the_lines_of_the_real_script():
    assert edited.lines('eval.py', 'TMP_MODEL_PATF', 'CHECKPOINT') == ('./model/', 'model_007.h5')
