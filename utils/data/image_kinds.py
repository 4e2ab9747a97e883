"""The kinds of image files: the bytes that they begin with, the endings of their names."""
from typing import Optional

from utils.base import reading

JPEG, PNG, GIF, BMP, WEBP, TIFF, HEIC, AVIF = 'JPEG', 'PNG', 'GIF', 'BMP', 'WebP', 'TIFF', 'HEIC', 'AVIF'
STARTS = {b'\xff\xd8\xff': JPEG, b'\x89PNG\r\n\x1a\n': PNG, b'GIF8': GIF, b'BM': BMP, b'II*\0': TIFF, b'MM\0*': TIFF}
BY_ENDING = {'.jpg': JPEG, '.jpeg': JPEG, '.jfif': JPEG, '.png': PNG, '.gif': GIF, '.bmp': BMP,
             '.webp': WEBP, '.tif': TIFF, '.tiff': TIFF, '.heic': HEIC, '.heif': HEIC, '.avif': AVIF}  # in lower case
BRANDS = {**dict.fromkeys([b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'], HEIC),
          **dict.fromkeys([b'avif', b'avis'], AVIF)}  # of a file in ISO's base media format
TENSORFLOW_READS = JPEG, PNG, GIF, BMP  # some of the GIF and BMP; Pillow reads the rest

# Those that an image's id may lack, in the order in which they are tried.
ENDINGS = ('.jpg', '.jpeg', '.JPG', '.JPEG', '.png', '.PNG', '.bmp', '.BMP',
           *(each for ending in BY_ENDING if ending not in ('.jpg', '.jpeg', '.png', '.bmp')
             for each in (ending, ending.upper())))


def kind_of(start: bytes) -> Optional[str]:
    """The kind of a file by its first 12 bytes or more; None where they are of no such kind."""
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return WEBP
    if start[4:8] == b'ftyp':
        return BRANDS.get(start[8:12])
    return next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None)


def kind_of_file(path: str) -> Optional[str]:
    """The kind of the file at `path`; None too where it cannot be read."""
    try:
        with reading.open_file(path) as stream:
            return kind_of(stream.read(24))
    except OSError:
        return None


def start_of(kind: str) -> bytes:
    """The bytes that files of a kind begin with."""
    return next(magic for magic, its in STARTS.items() if its == kind)
