"""utils/base/text.py: what can be printed anywhere, and what JSON can hold."""
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.base import text


@pytest.mark.parametrize('value, shown', [
    ('café 猫.jpg', 'café 猫.jpg'), ('\xff\udcff', '\xff\\xff'), ('a\tb\n\x1b[2J', 'a\\x09b\\x0a\\x1b[2J'),
    ('\u202e\u2028', '\\u202e\\u2028'), ('\ud800', '\\ud800'), ('\U000e0001', '\\U000e0001'),
    ({'a\n': ['\0', 1, None]}, {'a\\x0a': ['\\x00', 1, None]})])
def test_what_is_printable(value, shown):
    assert text.printable(value) == shown


@given(st.text(st.characters()))
def test_all_that_is_printable_is_utf8_on_one_line(value):
    shown = text.printable(value)
    assert shown.isprintable() and shown.encode('utf-8').decode('utf-8') == shown == text.printable(shown)


def test_a_value_in_a_sentence_is_short_and_on_one_line():
    assert text.short('a  b\n') == "'a b\\n'"
    assert text.short([1, 'x']) == "[1, 'x']"
    for long in ('x' * 1000, ['x'] * 1000):
        assert len(text.short(long)) == 60 and text.short(long).endswith('...')
    assert len(text.short('x' * 1000, 20)) == 20


def test_numbers_that_are_not_finite_are_none():
    value = {'a': [np.float32(0.5), float('nan'), (np.inf, np.int64(3))], 'b': np.array([[1, np.nan]]), 'c': 'text',
             'd': None, 'e': np.bool_(True)}
    assert text.finite(value) == {'a': [0.5, None, [None, 3]], 'b': [[1, None]], 'c': 'text', 'd': None, 'e': True}
    json.dumps(text.finite(value), allow_nan=False)
