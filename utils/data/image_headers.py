"""The facts in an image file's header, read without decoding: kind, size in pixels, rotation, whether it is whole."""
import hashlib
import io
import os
import re
import stat
import struct
from concurrent import futures
from typing import Any, BinaryIO, Callable, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base import files
from utils.base.cores import usable_cores
from utils.data.image_kinds import BMP, BY_ENDING, GIF, JPEG, PNG, kind_of

AT_ONCE = 256    # files that a thread reads
SAMPLED = 1000   # images of a list whose size is read at most, evenly from it
HEAD, TAIL = 1 << 14, 1 << 12  # bytes that are read first: of most files they hold all that is needed
_FRAMES = frozenset([0xc0, 0xc1, 0xc2, 0xc9, 0xca])  # frame headers of JPEGs that libjpeg decodes
_OTHER_FRAMES = frozenset(range(0xc0, 0xd0)) - _FRAMES - {0xc4, 0xc8, 0xcc}  # lossless, hierarchical
_END, _SCAN, _APP1 = 0xd9, 0xda, 0xe1
_LONG = 4  # EXIF's type of 4 bytes
OTHER_BMP = 'a BMP other than one of 24 or 32 bits without compression'
_BARE = frozenset([0x01, 0xd8, *range(0xd0, 0xd8)])  # markers without a segment


class Facts(NamedTuple):
    """What the header of a file says."""

    size: int = 0                 # in bytes
    kind: Optional[str] = None    # of its content; None where it is not known
    height: int = 0               # pixels, 0 where the header does not say
    width: int = 0
    orientation: int = 1          # EXIF's: 2 to 8 ask for a rotation or a mirror image
    scan_bytes: int = 0           # of a JPEG from its first scan on
    digest: bytes = b''           # of the first HEAD bytes
    problem: Optional[str] = None  # why it cannot be decoded, as a clause, where the header shows it
    cause: str = ''               # of the problem: 'empty', 'truncated', 'unreadable', 'no image', or a kind

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


class _Jpeg(NamedTuple):
    """The headers of a JPEG."""

    frame: Tuple[int, int, int, int] = (0, 0, 0, 0)  # marker, bits, height, width
    orientation: int = 1
    scan: int = 0  # where its first scan begins; 0 where none was seen


def read(path: str) -> Facts:
    """The facts of the file at `path`; a file that cannot be read, or is no file, has a problem."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return Facts(problem='found something that is no file', cause='unreadable')
        with open(path, 'rb') as stream:
            return _facts(stream, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        return Facts(problem=f'found nothing to read ({error.strerror})', cause='unreadable')


def of_each(function: Callable[[str], Any], paths: Sequence[str]) -> Iterator[Any]:
    """`function` of each file, in order, by several threads: disks answer many requests faster than one by one."""
    groups = [paths[first:first + AT_ONCE] for first in range(0, len(paths), AT_ONCE)]
    with futures.ThreadPoolExecutor(4 * usable_cores()) as pool:
        for group in pool.map(lambda some: [function(path) for path in some], groups):
            yield from group


def orientations(paths: Iterable[str]) -> np.ndarray:
    """The EXIF orientation of each file, 1 to 8, int32 [N]; 1 where there is none, or no file that can be read."""
    return np.array(list(of_each(_orientation_of_file, list(paths))), np.int32)


def longest_sides(paths: Sequence[Any]) -> np.ndarray:
    """The longest sides in pixels of SAMPLED of the images, int64, without those whose header does not say it."""
    some = [str(path) for path in paths[::max(1, -(-len(paths) // SAMPLED))]]
    sides = [max(facts.height, facts.width) for facts in of_each(read, some)]
    return np.array([side for side in sides if side], np.int64)


def orientation_in(data: bytes) -> int:
    """The EXIF orientation of a JPEG or PNG, 1 to 8; 1 where there is none."""
    return _read_orientation(io.BytesIO(data))


def _orientation_of_file(path: str) -> int:
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, 'rb') as stream:
                return _read_orientation(stream)
    except OSError:
        pass
    return 1


def _read_orientation(stream: BinaryIO) -> int:
    head = stream.read(HEAD)
    if kind_of(head) == PNG:
        return _png_orientation(stream)
    return _whole_headers(stream, head)[0].orientation if kind_of(head) == JPEG else 1


def _png_orientation(stream: BinaryIO) -> int:
    """The orientation in a PNG's chunk eXIf, which may be before or behind the pixels."""
    position = 8
    while True:
        stream.seek(position)
        start = stream.read(8)
        if len(start) < 8 or start[4:] == b'IEND':
            return 1
        length = struct.unpack('>I', start[:4])[0]
        if start[4:] == b'eXIf':
            return _orientation(stream.read(length))
        position += 12 + length


def kind_by_name(path: str) -> Optional[str]:
    """The kind that a file's name says."""
    return BY_ENDING.get(os.path.splitext(path)[1].lower())


def content_hash(path: str) -> bytes:
    """SHA-256 of a file's content; of its path where it cannot be read, so that it equals no other."""
    try:
        return bytes.fromhex(files.sha256(path))
    except OSError:
        return hashlib.sha256(b'unreadable ' + os.fsencode(path)).digest()


def _facts(stream: BinaryIO, size: int) -> Facts:
    head = stream.read(HEAD)
    kind = kind_of(head) or ('a web page or other text' if head.startswith(b'<') else None)
    facts = Facts(size, kind, digest=hashlib.sha1(head).digest())
    if not size:
        return facts._replace(problem='found an empty file', cause='empty')
    if kind == JPEG:
        return _jpeg_facts(facts, stream, head)
    if kind == PNG and len(head) >= 24:
        width, height = struct.unpack('>II', head[16:24])
        return facts._replace(height=height, width=width, orientation=_png_orientation(stream))
    if kind == GIF and len(head) >= 10:
        width, height = struct.unpack('<HH', head[6:10])
        return facts._replace(height=height, width=width)
    if kind == BMP and len(head) >= 34:
        header, width, height, _, bits, compression = struct.unpack('<IiiHHI', head[14:34])
        if header == 12:  # OS/2's
            width, height = struct.unpack('<HH', head[18:22])
        facts = facts._replace(height=abs(height), width=width)
        is_read = bits in (24, 32) and not compression and header >= 40
        return facts if is_read else facts._replace(problem=f'found {OTHER_BMP}', cause='other BMP')
    if kind in (PNG, GIF, BMP):
        return facts._replace(problem=f'found {kind} content without its size', cause='truncated')
    return facts._replace(problem=f'found {kind or "unknown"} content, expected a JPEG, PNG, GIF or BMP',
                          cause=kind or 'no image')


def _jpeg_facts(facts: Facts, stream: BinaryIO, head: bytes) -> Facts:
    jpeg, head = _whole_headers(stream, head)
    marker, bits, height, width = jpeg.frame
    facts = facts._replace(height=height, width=width, orientation=jpeg.orientation,
                           scan_bytes=facts.size - jpeg.scan if jpeg.scan else 0)
    if not marker or not jpeg.scan:
        return facts._replace(problem=f'found a JPEG without {"a scan" if marker else "a frame header"}',
                              cause='truncated')
    if marker in _OTHER_FRAMES or bits != 8 or not height or not width:
        found = f'of {bits} bits' if bits != 8 else 'of height or width 0' if marker in _FRAMES else 'without loss'
        return facts._replace(problem=f'found a JPEG {found}, which is not decoded', cause='other JPEG')
    if not _has_end(stream, facts.size, jpeg.scan):
        return facts._replace(problem='found a JPEG without its end', cause='truncated')
    return facts


def _whole_headers(stream: BinaryIO, head: bytes) -> Tuple[_Jpeg, bytes]:
    """The headers of a JPEG, and its start as far as it was read for them."""
    jpeg = _headers(head)
    if not jpeg.scan and len(head) == HEAD:  # a long profile or preview comes first
        head += stream.read()
        jpeg = _headers(head)
    return jpeg, head


def _has_end(stream: BinaryIO, size: int, scan: int) -> bool:
    """Whether an end marker follows the first scan: mostly in the last bytes, else in what comes before."""
    for start in (max(scan, size - TAIL), scan):
        stream.seek(start)
        if b'\xff\xd9' in stream.read():
            return True
    return False


def _headers(data: bytes) -> _Jpeg:
    """What the segments before a JPEG's first scan say; bytes between them are skipped, as libjpeg does."""
    jpeg, position = _Jpeg(), 2
    while True:
        match = re.compile(b'\xff+([^\x00\xff])', re.S).search(data, position)
        if not match:
            return jpeg
        marker, position = match.group(1)[0], match.end()
        if marker in _BARE:
            continue
        if marker == _END or len(data) < position + 2:
            return jpeg
        if marker == _SCAN:
            return jpeg._replace(scan=position)
        length = struct.unpack('>H', data[position:position + 2])[0]
        segment = data[position + 2:position + length]
        if marker in _FRAMES | _OTHER_FRAMES and len(segment) >= 5 and not jpeg.frame[0]:
            bits, height, width = struct.unpack('>BHH', segment[:5])
            jpeg = jpeg._replace(frame=(marker, bits, height, width))
        elif marker == _APP1 and segment.startswith(b'Exif\0\0') and jpeg.orientation == 1:
            jpeg = jpeg._replace(orientation=_orientation(segment[6:]))
        position += max(length, 2)


def _orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in EXIF data; 1 where there is none or the data is damaged."""
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[:4])
    try:
        if order is None:
            return 1
        start = struct.unpack_from(order + 'I', exif, 4)[0]
        for entry in range(struct.unpack_from(order + 'H', exif, start)[0]):
            position = start + 2 + 12 * entry
            tag, kind = struct.unpack_from(order + 'HH', exif, position)
            if tag == 0x0112:
                value = struct.unpack_from(order + ('I' if kind == _LONG else 'H'), exif, position + 8)[0]
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
