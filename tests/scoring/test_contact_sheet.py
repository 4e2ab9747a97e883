"""The contact sheet: which pictures stand on it, how they stand, and that it is whole or not there."""
import os

import numpy as np
import pytest
from PIL import Image, ImageFont

import predict
from utils.base import errors
from utils.base.errors import InputError
from utils.model import trust
from utils.scoring import contact_sheet, scorer
from utils.scoring.contact_sheet import BARS, COLUMNS, GAP, LINE, SIDE, TITLE

RED, BLUE = (220, 20, 20), (20, 20, 220)


def spread(score):
    return np.eye(10)[score - 1]


def picture(path, size=(90, 60), colour=RED, **more):
    Image.new('RGB', size, colour).save(str(path), **more)
    return str(path)


def colours(sheet, index):
    """The extent of what is neither white nor grey in the square of the image at `index`: (width, height, mean)."""
    row, column = divmod(index, COLUMNS)
    left, top = GAP + column * (SIDE + GAP), TITLE + GAP + row * (SIDE + BARS + 2 * LINE + GAP)
    square = np.asarray(sheet)[top:top + SIDE, left:left + SIDE].astype(int)
    coloured = np.ptp(square, axis=2) > 100
    return (coloured.any(axis=0).sum(), coloured.any(axis=1).sum(),
            square[coloured].mean(axis=0).round() if coloured.any() else None)


def test_pictures_keep_their_aspect_and_are_turned_as_their_exif_data_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    ranked = [(picture(tmp_path / 'wide.jpg', (900, 300)), spread(9)),
              (picture(tmp_path / 'turned.jpg', (900, 300), BLUE, exif=exif), spread(8)),
              (picture(tmp_path / 'small.png', (30, 20), BLUE), spread(7)),
              (picture(tmp_path / 'photo.webp', (300, 300)), spread(6)), (str(tmp_path / 'gone.jpg'), spread(5)),
              (picture(tmp_path / '\u7167\u7247.bmp', (300, 300)), spread(4))]
    contact_sheet.draw(ranked, str(tmp_path / 'new' / 'sheet.png'), model='m.h5', total=6)
    sheet = Image.open(str(tmp_path / 'new' / 'sheet.png'))
    assert sheet.format == 'PNG' and sheet.size == (
        COLUMNS * (SIDE + GAP) + GAP, TITLE + GAP + 2 * (SIDE + BARS + 2 * LINE + GAP))
    for index, (width, height, colour) in enumerate([(SIDE, SIDE // 3, RED), (SIDE // 3, SIDE, BLUE), (30, 20, BLUE),
                                                     (SIDE, SIDE, RED), (0, 0, None), (SIDE, SIDE, RED)]):
        found = colours(sheet, index)
        assert found[:2] == pytest.approx((width, height), abs=2)
        assert colour is None or found[2] == pytest.approx(colour, abs=6)
    assert os.listdir(str(tmp_path / 'new')) == ['sheet.png']


def test_a_row_is_as_high_as_its_tallest_image(tmp_path):
    ranked = [(picture(tmp_path / f'{number}.png', (480, 240 if number < COLUMNS else 120)), spread(5))
              for number in range(COLUMNS + 1)]
    contact_sheet.draw(ranked, str(tmp_path / 'sheet.png'), model='m.h5', total=COLUMNS + 1)
    below = BARS + 2 * LINE + GAP
    pixels = np.asarray(Image.open(str(tmp_path / 'sheet.png'))).astype(int)
    assert pixels.shape[0] == TITLE + GAP + SIDE // 2 + below + SIDE // 4 + below
    is_red = np.ptp(pixels, axis=2).max(axis=1) > 150
    assert np.flatnonzero(is_red)[[0, -1]].tolist() == [TITLE + GAP, pixels.shape[0] - below - 1]


def texts(monkeypatch, *arguments, **options):
    """What a sheet of these arguments says, in the order of writing."""
    written = []
    original = contact_sheet._write
    monkeypatch.setattr(contact_sheet, '_write', lambda pen, corner, text, *more, **options: written.append(text) or
                        original(pen, corner, text, *more, **options))
    contact_sheet.draw(*arguments, **options)
    return written


def test_scores_scale_and_names_are_written(tmp_path, monkeypatch):
    ranked = [(picture(tmp_path / ('long' * 30 + '.jpg')), (spread(4) + spread(8)) / 2),
              (picture(tmp_path / 'b.jpg'), spread(3))]
    title, *written = texts(monkeypatch, ranked, str(tmp_path / 's.png'), model='m.h5', total=1234)
    assert title == '2 of 1234 images by the mean score, 1 to 10, that m.h5 predicts; percentile among AVA'
    assert written == ['1.  6.00  sd 2.00  percentile 81', 'long' * 30 + '.jpg', '2.  3.00  sd 0.00  percentile 1',
                       'b.jpg']


def test_without_any_font_file_pillows_own_is_used(tmp_path, monkeypatch):
    def truetype(*_):
        raise OSError('cannot open resource')

    monkeypatch.setattr(ImageFont, 'truetype', truetype)
    ranked = [(picture(tmp_path / '\u7167\u7247.jpg'), spread(5))]
    contact_sheet.draw(ranked, str(tmp_path / 's.png'), model='m.h5', total=1)
    assert Image.open(str(tmp_path / 's.png')).size[0] == 3 * (SIDE + GAP) + GAP


def test_a_sheet_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def save(self, path, kind):
        with open(path, 'wb') as stream:
            stream.write(b'half')
        raise OSError(28, 'No space left on device')

    files = [(picture(tmp_path / 'a.jpg'), spread(5))]
    monkeypatch.setattr(Image.Image, 'save', save)
    with pytest.raises(InputError, match=r'^cannot write .*s\.png: No space left on device\. Free space or '):
        contact_sheet.draw(files, str(tmp_path / 's.png'), model='m.h5', total=1)
    assert os.listdir(str(tmp_path)) == ['a.jpg']


@pytest.fixture
def command(monkeypatch, tmp_path):
    """predict.main() for made-up scores: that of NAME_7.png is 7."""
    monkeypatch.setattr(scorer.Scorer, 'score', lambda self, files: (
        one for one in [(file, spread(int(file[-5]))) for file in files]))
    monkeypatch.setattr(trust, 'start_trials', lambda paths: None)
    (tmp_path / 'model_007.h5').touch()
    for score in range(1, 8):
        picture(tmp_path / f'x_{score}.png')
    return lambda *argv: predict.main([*map(str, argv), '--TMP_MODEL_PATF', str(tmp_path)])


def test_the_command_draws_the_highest_ranked(command, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(contact_sheet, 'draw', lambda ranked, path, **more: drawn.append((
        [os.path.basename(file) for file, _ in ranked], path, more)))
    sheet = str(tmp_path / 's.png')
    command(tmp_path, '--contact_sheet', sheet, '--format', 'csv')
    assert [line.split(',')[0][-5] for line in capsys.readouterr().out.splitlines()[1:]] == list('1234567')
    command(tmp_path, '--contact_sheet', sheet, '--top', 2, '--format', 'csv')
    assert [line.split(',')[1][-5] for line in capsys.readouterr().out.splitlines()[1:]] == list('76')
    monkeypatch.setattr(contact_sheet, 'DEFAULT_IMAGES', 3)
    command(tmp_path, '--contact_sheet', sheet, '--rank')
    assert [names for names, _, _ in drawn] == [[f'x_{score}.png' for score in scores]
                                                for scores in ((7, 6, 5, 4, 3, 2, 1), (7, 6), (7, 6, 5))]
    assert all(more == {'model': 'model_007.h5', 'total': 7} and path == sheet for _, path, more in drawn)


def test_what_cannot_be_drawn_is_refused_before_anything_is_scored(command, tmp_path, monkeypatch):
    monkeypatch.setattr(scorer.Scorer, 'score', None)
    sheet = tmp_path / 's.png'
    with pytest.raises(InputError, match='--contact_sheet draws at most 500 images: found --top 501'):
        command(tmp_path, '--contact_sheet', sheet, '--top', 501)
    with pytest.raises(InputError, match=r'x_1\.png exists already\. Remove it or choose another --contact_sheet'):
        command(tmp_path, '--contact_sheet', tmp_path / 'x_1.png')
    with pytest.raises(InputError, match=r'^cannot write .*x_1\.png: .*another --contact_sheet'):
        command(tmp_path, '--contact_sheet', tmp_path / 'x_1.png' / 's.png')
    monkeypatch.setattr(errors.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='--contact_sheet needs Pillow, which this Python does not have'):
        command(tmp_path, '--contact_sheet', sheet)
    assert not sheet.exists()
