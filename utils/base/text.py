"""Values as text: what can be printed anywhere, and what JSON can hold."""
import math
from typing import Any


def printable(value: Any) -> Any:
    """A text, or the texts in a value of JSON, safe for a terminal, a line of a table and UTF-8.

    Bytes of a file name that are not UTF-8, control and other invisible characters become codes such as \\x1b.
    """
    if isinstance(value, dict):
        return {printable(name): printable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [printable(part) for part in value]
    return ''.join(map(_printable, value)) if isinstance(value, str) else value


def _printable(character: str) -> str:
    code = ord(character)
    if character.isprintable():
        return character
    if 0xdc80 <= code <= 0xdcff:  # a byte, as Python keeps it in a file name
        code -= 0xdc00
    return f'\\x{code:02x}' if code < 0x100 else f'\\u{code:04x}' if code < 0x10000 else f'\\U{code:08x}'


def short(value: Any, length: int = 60) -> str:
    """A value on one line of a sentence, cut where it is long."""
    text = value if isinstance(value, str) and length > 60 else repr(value)
    text = printable(' '.join(text.split()))
    return text if len(text) <= length else text[:length - 3] + '...'


def finite(value: Any) -> Any:
    """`value`, ready for JSON: numbers as plain Python, those that are not finite as None, in dicts and lists too."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if hasattr(value, 'tolist'):  # of NumPy, which not all commands import
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
