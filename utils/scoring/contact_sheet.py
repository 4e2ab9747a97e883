"""A contact sheet: ranked images with their scores, as one PNG."""
import os
import sys
from typing import Any, List, Sequence, Tuple

from utils.base import errors, files
from utils.base.errors import InputError
from utils.base.text import printable
from utils.data import image_files
from utils.scoring import score_tables
from utils.scoring.score_tables import FILE, MEAN, PERCENTILE, RANK, STD, Row, Scored

DEFAULT_IMAGES, MOST_IMAGES = 100, 500
COLUMNS, SIDE, GAP = 5, 240, 16          # images in a row; pixels
BARS, LINE, TITLE = 36, 20, 44           # heights in pixels: the distribution, a line of text, the title
PAPER, INK, FAINT, BAR = '#ffffff', '#1b1b1b', '#6b6b6b', '#3b6ea5'
FONTS = ('DejaVuSans.ttf', 'LiberationSans-Regular.ttf', 'Arial.ttf')  # of those that are installed, the first
CJK_FONTS = ('NotoSansCJK-Regular.ttc', 'wqy-zenhei.ttc', 'wqy-microhei.ttc')  # for names in Chinese


def check(path: str, images: int) -> None:
    """InputError where a sheet of so many images cannot be drawn, or not written to `path`."""
    errors.require_packages('--contact_sheet', {'PIL': 'Pillow'}, 'requirements-report.txt')
    if images > MOST_IMAGES:
        raise InputError(f'--contact_sheet draws at most {MOST_IMAGES} images: found --top {images}')
    if os.path.lexists(path):
        raise InputError(f'{path} exists already. Remove it or choose another --contact_sheet')
    files.require_writable(os.path.dirname(path), '--contact_sheet')


def draw(ranked: Sequence[Scored], path: str, *, model: str, total: int) -> None:
    """Write a sheet of `ranked`, the highest mean first, of `total` images scored by `model`; reports its path.

    InputError where it cannot be written.
    """
    sheet = _sheet(ranked, model, total)
    with files.writing(path, 'Free space or choose another --contact_sheet'), files.new_file(path) as temporary:
        sheet.save(temporary, 'PNG')
    print(printable(f'contact sheet: {path}'), file=sys.stderr)


def _sheet(ranked: Sequence[Scored], model: str, total: int) -> Any:
    from PIL import Image, ImageDraw
    thumbnails = [_thumbnail(file) for file, _ in ranked]
    columns = max(1, min(COLUMNS, len(ranked)))
    starts = range(0, len(ranked), columns)
    heights = [max(SIDE if each is None else each.size[1] for each in thumbnails[start:start + columns])
               for start in starts]
    width, below = SIDE + GAP, BARS + 2 * LINE + GAP
    sheet = Image.new('RGB', (max(columns, 3) * width + GAP, TITLE + GAP + sum(heights) + len(heights) * below), PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (GAP, GAP), f'{len(ranked)} of {total} images by the mean score, 1 to 10, that {model} predicts; '
           'percentile among AVA', 16, width=sheet.size[0] - 2 * GAP)
    scores = score_tables.rows(ranked, score_tables.columns(False, True))
    for rank, (scored, score, thumbnail) in enumerate(zip(ranked, scores, thumbnails)):
        row, column = divmod(rank, columns)
        floor = TITLE + GAP + sum(heights[:row + 1]) + row * below
        _draw_one(sheet, pen, (GAP + column * width, floor), thumbnail, scored[1], score)
    return sheet


def _draw_one(sheet: Any, pen: Any, corner: Tuple[int, int], thumbnail: Any, distribution: Any, row: Row) -> None:
    """One image with its lower left corner at `corner`; below it the distribution, the scores, the name."""
    left, bottom = corner
    if thumbnail is None:
        pen.rectangle((left, bottom - SIDE, left + SIDE, bottom), outline=FAINT)
        _write(pen, (left + 8, bottom - SIDE // 2), 'Pillow cannot read this image', 12, colour=FAINT, width=SIDE - 16)
    else:
        sheet.paste(thumbnail, (left + (SIDE - thumbnail.size[0]) // 2, bottom - thumbnail.size[1]))
    floor, bar = bottom + BARS, SIDE / len(distribution)
    for number, share in enumerate(distribution.tolist()):
        pen.rectangle((left + number * bar + 1, floor - (BARS - 6) * min(1.0, 2 * share), left + (number + 1) * bar - 2,
                       floor), fill=BAR)
    scores = f'{row[RANK]}.  {row[MEAN]:.2f}  sd {row[STD]:.2f}  percentile {row[PERCENTILE]:.0f}'
    _write(pen, (left, floor + 3), scores, 14, width=SIDE)
    _write(pen, (left, floor + LINE + 3), os.path.basename(row[FILE]), 12, colour=FAINT, width=SIDE)


def _thumbnail(file: str) -> Any:
    """The image within SIDE x SIDE, as its EXIF data turns it; None where Pillow does not read it."""
    try:
        with open(file, 'rb') as stream:
            image = image_files.open_with_pillow(stream)
            image.draft('RGB', (SIDE, SIDE))  # lets a JPEG be decoded small
            image = image_files.upright(image).convert('RGB')
            image.thumbnail((SIDE, SIDE))
            return image
    except Exception:  # Pillow fails in many ways on unreadable files
        return None


def _write(pen: Any, corner: Tuple[int, int], text: str, size: int, *, width: int, colour: str = INK) -> None:
    """Write `text`, shortened in its middle until it is at most `width` pixels wide."""
    font = _font(size, text)
    if not hasattr(font, 'path'):  # Pillow's own font knows Latin letters only
        text = text.encode('latin-1', 'replace').decode('latin-1')
    shown, left = text, len(text)
    while left > 2 and pen.textlength(shown, font=font) > width:
        left -= 1
        shown = f'{text[:left - left // 2]}...{text[len(text) - left // 2:]}'
    pen.text(corner, shown, fill=colour, font=font)


def _font(size: int, text: str) -> Any:
    from PIL import ImageFont
    names: List[str] = [*FONTS, *CJK_FONTS]
    if any(letter >= '\u2e80' for letter in text):
        names = [*CJK_FONTS, *FONTS]
    for name in names:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default()
