"""The kinds of image files: the bytes that they begin with, the endings of their names."""
from typing import Optional

JPEG, PNG, GIF, BMP, WEBP, TIFF = 'JPEG', 'PNG', 'GIF', 'BMP', 'WebP', 'TIFF'
STARTS = {b'\xff\xd8\xff': JPEG, b'\x89PNG\r\n\x1a\n': PNG, b'GIF8': GIF, b'BM': BMP, b'II*\0': TIFF, b'MM\0*': TIFF}
BY_ENDING = {'.jpg': JPEG, '.jpeg': JPEG, '.png': PNG, '.gif': GIF, '.bmp': BMP, '.webp': WEBP}  # in lower case

# Those that an image's id may lack, in the order in which they are tried.
ENDINGS = '.jpg', '.jpeg', '.JPG', '.JPEG', '.png', '.PNG'


def kind_of(start: bytes) -> Optional[str]:
    """The kind of a file by its first 12 bytes or more; None where they are of no such kind."""
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return WEBP
    return next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None)


def start_of(kind: str) -> bytes:
    """The bytes that files of a kind begin with."""
    return next(magic for magic, its in STARTS.items() if its == kind)
