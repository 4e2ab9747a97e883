"""How images' names are written in a column of AVA's lines, and which are refused."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data import image_names


@pytest.mark.parametrize('name, column', [
    ('953619', '953619'), ('a-b_(1).jpg', 'a-b_(1).jpg'),
    ('a b.jpg', 'a%20b.jpg'), ('猫.jpg', '%E7%8C%AB.jpg'), ('é\t', '%C3%A9%09'),
    ('100%.jpg', '100%25.jpg'), ('a%20b.jpg', 'a%2520b.jpg'), ('%41', '%2541'), ('\u2028', '%E2%80%A8'),
])
def test_a_name_as_a_column(name, column):
    assert image_names.encode(name) == column
    assert image_names.decode(column) == name


@pytest.mark.parametrize('column, name', [
    ('%c3%a9.jpg', 'é.jpg'),       # small letters, as other programs write them
    ('猫%20b', '猫 b'),             # encoded in part
    ('100%.jpg', '100%.jpg'), ('%4', '%4'), ('%', '%'), ('%20%', '%20%'),
    ('%41.jpg', '%41.jpg'), ('%2F', '%2F'), ('%2E%2E', '%2E%2E'),  # letters, '/' and '.' need no escape
    ('%C3', '%C3'), ('%FF%FE', '%FF%FE'), ('%C3a%A9', '%C3a%A9'),  # no UTF-8
])
def test_only_what_needs_an_escape_is_decoded(column, name):
    assert image_names.decode(column) == name


@given(st.text(st.characters(blacklist_categories=('Cs',)), max_size=12))
def test_every_name_comes_back(name):
    column = image_names.encode(name)
    assert re.fullmatch('[!-~]*', column)
    assert image_names.decode(column) == name


@given(st.text('%0123456789abcdefABCDEF/. é', max_size=12))
def test_decoding_never_makes_a_path(column):
    decoded = image_names.decode(column)
    assert decoded.count('/') == column.count('/') and decoded.count('.') == column.count('.')


@pytest.mark.parametrize('name, safe', [('a.jpg', True), ('a b%', True), ('', False), ('..', False), ('a/b', True),
                                        ('/a', False), ('a//b', False), ('./a', False), ('a/../b', False),
                                        ('a/', False), ('a\\b', False), ('a\0', False)])
def test_safe_names(name, safe):
    assert image_names.is_safe(name) == safe
