"""What flags are made of: a parser whose errors are one sentence, and the types of paths, names and numbers."""
import argparse
import difflib
import math
import os
import re
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple, Union

from utils.base.defaults import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, NATIVE
from utils.base.text import short


def typed_path(text: str) -> str:
    """An absolute path; a relative one, as typed by a person, counts from the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('found an empty path, expected a file or a folder')
    return os.path.abspath(os.path.expanduser(text))


def typed_text(text: str) -> str:
    """A text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError('found an empty text, expected a name')
    return text


def typed_name(text: str) -> str:
    """A name as it is, or a path, by typed_path()."""
    return text if text and not os.path.dirname(text) else typed_path(text)


def typed_split(text: str) -> str:
    """'last' and 'official' as they are, anything else by typed_path()."""
    return text if text in ('last', 'official') else typed_path(text)


def number(kind: Callable[[str], Any], accepts: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    """A type of flag: a finite `kind` that `accepts` takes, `expected` in words."""
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or not accepts(value):
            raise argparse.ArgumentTypeError(f'found {text!r}, expected {expected}')
        return value
    return parse


any_number = number(float, lambda x: True, 'a number')
count = number(int, lambda n: n >= 1, 'a whole number from 1')
seed = number(int, lambda n: 0 <= n < 2 ** 32, 'a whole number from 0 to 4294967295')
size = number(int, lambda n: MIN_IMAGE_SIZE <= n <= MAX_IMAGE_SIZE,
              f"a whole number from 32, MobileNet's smallest image, to {MAX_IMAGE_SIZE}")
rate = number(float, lambda x: x > 0, 'a number above 0')
share = number(float, lambda x: 0 <= x < 1, 'a number from 0 up to, but not, 1')
not_negative = number(float, lambda x: x >= 0, 'a number from 0')


def longest_side(text: str) -> int:
    """A length in pixels; 0 for 'none'."""
    return 0 if text == 'none' else _length(text)


_length = number(int, lambda n: 1 <= n <= 10 ** 5, 'none or a whole number from 1 to 100000')


def part(text: str) -> Tuple[int, int]:
    """(I, N) of a text I/N, I from 1 to N."""
    found = re.fullmatch(r'0*([1-9]\d{0,8})/0*([1-9]\d{0,8})', text)
    if not found or int(found.group(1)) > int(found.group(2)):
        raise argparse.ArgumentTypeError(f'found {text!r}, expected I/N with I from 1 to N, such as 1/4')
    return int(found.group(1)), int(found.group(2))


def size_or_native(text: str) -> Union[int, str]:
    """A side of images, or 'native'."""
    return text if text == NATIVE else size(text)


def rate_or_auto(text: str) -> Union[float, str]:
    """A number above 0, or 'auto'."""
    return text if text == 'auto' else number(float, lambda x: x > 0, 'a number above 0, or auto')(text)


def rate_or_name(text: str) -> Union[float, str]:
    """A number above 0, or else a name."""
    try:
        float(text)
    except ValueError:
        return typed_text(text)
    return float(rate(text))


def trainable(text: str) -> str:
    """all, head or last:N."""
    if not re.fullmatch(r'all|head|last:[1-9]\d?', text):
        raise argparse.ArgumentTypeError(f'found {text!r}, expected all, head, or last:N with N from 1, such as last:2')
    return text


def crops(text: str) -> Union[int, str]:
    """A number of crops, or 'fresh'."""
    if text == 'fresh':
        return text
    return number(int, lambda n: n >= 1, 'a whole number from 1, or fresh')(text)


def rate_schedule(text: str) -> str:
    """constant, cosine or step:FACTOR:EPOCHS."""
    found = re.fullmatch(r'step:(0?\.\d+):([1-9]\d*)', text)
    if text not in ('constant', 'cosine') and not (found and float(found.group(1))):
        raise argparse.ArgumentTypeError(f'found {text!r}, expected constant, cosine or step:FACTOR:EPOCHS with a '
                                         'factor between 0 and 1, such as step:0.95:10')
    return text


def pattern(text: str) -> str:
    """A text that is a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f'found {text!r}, expected a regular expression: {error}') from error
    return text


def soc(text: str) -> str:
    """The name of an Ascend processor, as atc takes it."""
    if not re.fullmatch(r'Ascend\w+', text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a processor's name, such as Ascend310")
    return text


def megapixels(text: str) -> int:
    """A number of pixels, from text that gives it in millions."""
    return int(rate(text) * 10 ** 6)


class Parser(argparse.ArgumentParser):
    """Its errors are one sentence, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: error: {short(message, 1000)} (--help lists all flags)\n')

    def unknown(self, arguments: List[str], commands: Sequence[argparse.ArgumentParser]) -> NoReturn:
        """Refuse what is no flag, and name the flag, of this parser or its commands, that may have been meant."""
        known = re.findall(r'--\w+', ' '.join(parser.format_usage() for parser in (self, *commands)))
        near = difflib.get_close_matches(arguments[0].split('=')[0], known, n=1, cutoff=0.7)
        meant = f': did you mean {near[0]}?' if near else ''
        self.error(f'unrecognized arguments: {" ".join(arguments)}{meant}')


def make_parser(description: str) -> Parser:
    """A parser without flags yet; none can be abbreviated."""
    return Parser(description=description, allow_abbrev=False,
                  formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100))


def parse_flags(parser: Parser, argv: Optional[Sequence[str]], *, demo: Optional[Dict[str, Any]] = None,
                commands: Sequence[argparse.ArgumentParser] = ()) -> argparse.Namespace:
    """The flags; `demo` holds what a typed --demo sets, `commands` the parsers below `parser`."""
    flags, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.unknown(unknown, commands)
    if demo and flags.demo:
        parser.set_defaults(**{name: value for name, value in demo.items() if hasattr(flags, name)})
        flags = parser.parse_args(argv)
    return flags
