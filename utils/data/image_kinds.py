"""The kinds of image files: the bytes that they begin with, the endings of their names."""
from typing import Optional

JPEG, PNG, GIF, BMP, WEBP = 'JPEG', 'PNG', 'GIF', 'BMP', 'WebP'
BY_ENDING = {'.jpg': JPEG, '.jpeg': JPEG, '.png': PNG, '.gif': GIF, '.bmp': BMP, '.webp': WEBP}  # in lower case
STARTS = {b'\xff\xd8\xff': JPEG, b'\x89PNG\r\n\x1a\n': PNG, b'GIF8': GIF, b'BM': BMP}


def kind_of(start: bytes) -> Optional[str]:
    """The kind of a file by its first 12 bytes or more; None where they are of no such kind."""
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return WEBP
    return next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None)
