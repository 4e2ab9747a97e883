"""What an epoch of training came to: its figures, lines for people, rows of train.csv and train.jsonl.

An epoch without validation has no figures that begin with val_: empty cells in train.csv, no keys in train.jsonl.
An undefined figure is `nan` in train.csv and null in train.jsonl, as JSON knows no NaN.
"""
import contextlib
import csv
import json
import math
import os
from typing import Any, Dict, Iterator, List

import numpy as np

from utils import score_utils
from utils.base.errors import InputError
from utils.base.text import finite

# `constant` is the prediction of score_utils.constant_prediction for every photograph.
COLUMNS = ('epoch', 'loss', 'val_loss', 'val_emd_r1', 'val_emd_r2', 'val_srcc', 'val_lcc', 'val_accuracy',
           'val_constant_emd_r1', 'val_constant_emd_r2', 'val_constant_accuracy',
           'images_per_second', 'seconds', 'seconds_left')

Figures = Dict[str, Any]


def validation_figures(true: np.ndarray, predicted: np.ndarray) -> Dict[str, float]:
    """The figures val_... of COLUMNS for spreads of votes [N, 10]; val_loss is EMD with r=2, as val_emd_r2 is."""
    model = score_utils.metrics(true, predicted)
    constant = score_utils.metrics(true, score_utils.constant_prediction(true))
    return {'val_loss': model['emd_r2'], 'val_emd_r1': model['emd_r1'], 'val_emd_r2': model['emd_r2'],
            'val_srcc': model['srcc_mean'], 'val_lcc': model['lcc_mean'], 'val_accuracy': model['accuracy_gt5'],
            'val_constant_emd_r1': constant['emd_r1'], 'val_constant_emd_r2': constant['emd_r2'],
            'val_constant_accuracy': constant['accuracy_gt5']}


def lines(epoch: int, figures: Figures) -> str:
    """An epoch, counted from 1, in one line, and a second one with the constant predictor's figures in brackets."""
    def shown(name: str) -> str:
        return 'undefined' if math.isnan(figures[name]) else f'{figures[name]:.4f}'

    validated = 'val_srcc' in figures
    parts = [f'loss {figures["loss"]:.4f}']
    parts += [f'{name} {shown(name)}' for name in ('val_srcc', 'val_lcc') if validated]
    parts += [f'{figures["images_per_second"]:.1f} images/s', f'{duration(figures["seconds_left"])} left']
    text = f'epoch {epoch}: ' + '  '.join(parts)
    if not validated:
        return text
    return text + (f'\n  val_emd_r1 {shown("val_emd_r1")} (constant {shown("val_constant_emd_r1")})'
                   f'  val_emd_r2 {shown("val_emd_r2")} ({shown("val_constant_emd_r2")})'
                   f'  val_accuracy {shown("val_accuracy")} ({shown("val_constant_accuracy")})')


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds, such as 1:05:09."""
    minutes, rest = divmod(int(round(seconds)), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{rest:02d}'


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what a full disk or an unwritable file raises into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f'{path}: found that it cannot be written ({error.strerror}), expected a place for the log: '
                         'free some room, or type another --TMP_LOG_PATH; the checkpoints so far are whole') from error


class EpochLog:
    """train.csv and train.jsonl: a row for each epoch.

    A run that begins with epoch 1 starts them anew; one that goes on later keeps the rows of the epochs before.
    """

    def __init__(self, folder: str) -> None:
        self.csv_path, self.json_path = (os.path.join(folder, name) for name in ('train.csv', 'train.jsonl'))
        self._started = False

    def check(self) -> None:
        """Raise InputError where one of them cannot be written; nothing in them changes."""
        for path in (self.csv_path, self.json_path):
            with writing(path), open(path, 'a'):
                pass

    def write(self, epoch: int, figures: Figures) -> None:
        """Add a row for `epoch`, counted from 1, with those of `figures` that COLUMNS names."""
        row = {'epoch': epoch, **{name: figures[name] for name in COLUMNS if name in figures}}
        for path, kept, add in ((self.csv_path, _csv_rows, _add_csv), (self.json_path, _json_rows, _add_json)):
            with writing(path):
                before = [] if self._started else _before(kept(path), epoch)
                with open(path, 'a' if self._started else 'w', newline='', encoding='utf-8') as stream:
                    add(stream, [*before, row], not self._started)
        self._started = True


def read_csv(path: str) -> List[Dict[str, float]]:
    """The rows of a train.csv, numbers alone: cells that are empty or hold no number are left out of their row."""
    rows = []
    for cells in _csv_rows(path):
        row = {}
        for name, cell in cells.items():
            with contextlib.suppress(TypeError, ValueError):
                row[str(name)] = float(cell)
        rows.append(row)
    return rows


def _before(rows: List[Figures], epoch: int) -> List[Figures]:
    """The rows of the epochs before `epoch`; what names no epoch is left out."""
    kept = []
    for row in rows:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if int(row['epoch']) < epoch:
                kept.append({name: row[name] for name in COLUMNS if row.get(name, '') != ''})
    return kept


def _csv_rows(path: str) -> List[Figures]:
    if not os.path.isfile(path):
        return []
    with open(path, newline='', encoding='utf-8', errors='replace') as stream:
        return [dict(row) for row in csv.DictReader(stream)]


def _json_rows(path: str) -> List[Figures]:
    if not os.path.isfile(path):
        return []
    rows = []
    with open(path, encoding='utf-8', errors='replace') as stream:
        for line in stream:
            with contextlib.suppress(ValueError):  # a line that a full disk cut off
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def _add_csv(stream: Any, rows: List[Figures], first: bool) -> None:
    writer = csv.DictWriter(stream, COLUMNS, restval='', lineterminator='\n')
    if first:
        writer.writeheader()
    writer.writerows(rows)


def _add_json(stream: Any, rows: List[Figures], first: bool) -> None:
    for row in rows:
        stream.write(json.dumps(finite(row), allow_nan=False) + '\n')
