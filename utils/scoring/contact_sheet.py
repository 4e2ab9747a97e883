"""A contact sheet: ranked photographs with their scores, as one PNG."""
import os
import sys
from typing import Any, List, Sequence, Tuple

from utils.base import files
from utils.base.errors import InputError
from utils.base.text import printable
from utils.data import image_files
from utils.scoring import score_tables
from utils.scoring.score_tables import MEAN, PERCENTILE, STD, Scored

DEFAULT_PICTURES, MOST_PICTURES = 100, 500
COLUMNS, SIDE, GAP = 5, 240, 16          # pictures in a row; pixels
BARS, LINE, TITLE = 36, 20, 44           # heights in pixels: the predicted votes, a line of text, the title
PAPER, INK, FAINT, BAR = '#ffffff', '#1b1b1b', '#6b6b6b', '#3b6ea5'
FONTS = ('DejaVuSans.ttf', 'LiberationSans-Regular.ttf', 'Arial.ttf')  # of those that are installed, the first
CJK_FONTS = ('NotoSansCJK-Regular.ttc', 'wqy-zenhei.ttc', 'wqy-microhei.ttc')  # for names in Chinese


def check(path: str, pictures: int) -> None:
    """InputError where a sheet of so many pictures cannot be drawn, or not written to `path`."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise InputError('--contact_sheet: found no Pillow in this Python, expected it, as it draws the sheet: type '
                         'pip3 install "Pillow<10" first, or leave out the flag') from error
    if pictures > MOST_PICTURES:
        raise InputError(f'--contact_sheet: found --top {pictures}, expected at most {MOST_PICTURES} pictures: type a '
                         'smaller --top')
    if os.path.lexists(path):
        raise InputError(f'{path}: found a file that is there already, expected none: remove it or type another '
                         '--contact_sheet')
    files.require_writable(os.path.dirname(path), '--contact_sheet')


def draw(ranked: Sequence[Scored], path: str, *, model: str, total: int) -> None:
    """Write a sheet of `ranked`, the highest mean first, of `total` images scored; reports its path.

    InputError where it cannot be written.
    """
    sheet = _sheet(ranked, model, total)
    with files.writing(path, 'Free space or choose another --contact_sheet'), files.new_file(path) as temporary:
        sheet.save(temporary, 'PNG')
    print(f'contact sheet: {path}', file=sys.stderr)


def _sheet(ranked: Sequence[Scored], model: str, total: int) -> Any:
    from PIL import Image, ImageDraw
    width, height = SIDE + GAP, SIDE + BARS + 2 * LINE + GAP
    columns = max(1, min(COLUMNS, len(ranked)))
    rows = -(-len(ranked) // columns)
    sheet = Image.new('RGB', (max(columns, 3) * width + GAP, TITLE + GAP + rows * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (GAP, GAP), f'{len(ranked)} of {total} photographs by the mean score, 1 to 10, that {model} predicts; '
           'percentile among AVA', 16, width=sheet.size[0] - 2 * GAP)
    for place, scored in enumerate(ranked):
        row, column = divmod(place, columns)
        _draw_one(sheet, pen, (GAP + column * width, TITLE + GAP + row * height), place + 1, scored)
    return sheet


def _draw_one(sheet: Any, pen: Any, corner: Tuple[int, int], place: int, scored: Scored) -> None:
    """One photograph at `corner`: the picture on the floor of its square, the votes, the scores, the name."""
    left, top = corner
    thumbnail = _thumbnail(scored[0])
    if thumbnail is None:
        pen.rectangle((left, top, left + SIDE, top + SIDE), outline=FAINT)
        _write(pen, (left + 8, top + SIDE // 2), 'Pillow cannot read this picture', 12, colour=FAINT, width=SIDE - 16)
    else:
        sheet.paste(thumbnail, (left + (SIDE - thumbnail.size[0]) // 2, top + SIDE - thumbnail.size[1]))
    floor, bar = top + SIDE + BARS, SIDE / len(scored[1])
    for number, share in enumerate(scored[1].tolist()):
        pen.rectangle((left + number * bar + 1, floor - (BARS - 6) * min(1.0, 2 * share), left + (number + 1) * bar - 2,
                       floor), fill=BAR)
    row = next(score_tables.rows([scored], score_tables.COLUMNS))
    scores = f'{place}.  {row[MEAN]:.2f}  sd {row[STD]:.2f}  percentile {row[PERCENTILE]:.0f}'
    _write(pen, (left, floor + 3), scores, 14, width=SIDE)
    _write(pen, (left, floor + LINE + 3), os.path.basename(printable(scored[0])), 12, colour=FAINT,
           width=SIDE)


def _thumbnail(file: str) -> Any:
    """The picture within SIDE x SIDE, as its EXIF data turns it; None where Pillow does not read it."""
    from PIL import ImageOps
    try:
        with open(file, 'rb') as stream:
            picture = image_files.open_with_pillow(stream)
            picture.draft('RGB', (SIDE, SIDE))  # lets a JPEG be decoded small
            picture = ImageOps.exif_transpose(picture).convert('RGB')
            picture.thumbnail((SIDE, SIDE))
            return picture
    except Exception:  # Pillow fails in many ways on broken files
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
