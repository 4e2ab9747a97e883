"""The figures of an epoch: printed lines, rows of train.csv, and summary.json, which is computed from these rows.

An epoch without validation has no values that begin with val_: empty cells in train.csv. An undefined value is `nan`
in train.csv and null in summary.json, as JSON knows no NaN.
"""
import contextlib
import csv
import io
import math
import os
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from utils import score_utils
from utils.base import files, reading
from utils.base.errors import InputError
from utils.base.text import finite, printable
from utils.model import checkpoint

CSV, SUMMARY = 'train.csv', 'summary.json'
# `constant` is the prediction of score_utils.constant_prediction for every image.
COLUMNS = ('epoch', 'loss', 'val_loss', 'val_emd_r1', 'val_emd_r2', 'val_srcc', 'val_lcc', 'val_accuracy',
           'val_constant_emd_r1', 'val_constant_emd_r2', 'val_constant_accuracy',
           'images_per_second', 'seconds', 'seconds_left')
CURE = 'Free space or choose another --TMP_LOG_PATH; the checkpoints so far are intact'

Figures = Dict[str, Any]
Row = Dict[str, float]


def validation_figures(true: np.ndarray, predicted: np.ndarray) -> Dict[str, float]:
    """The figures val_... of COLUMNS for vote distributions [N, 10]; val_loss is EMD with r=2, as val_emd_r2 is."""
    model = score_utils.metrics(true, predicted)
    constant = score_utils.metrics(true, score_utils.constant_prediction(true))
    return {'val_loss': model['emd_r2'], 'val_emd_r1': model['emd_r1'], 'val_emd_r2': model['emd_r2'],
            'val_srcc': model['srcc_mean'], 'val_lcc': model['lcc_mean'], 'val_accuracy': model['accuracy_gt5'],
            'val_constant_emd_r1': constant['emd_r1'], 'val_constant_emd_r2': constant['emd_r2'],
            'val_constant_accuracy': constant['accuracy_gt5']}


def lines(epoch: int, figures: Figures) -> str:
    """An epoch, counted from 1, in one line, and a second one with the constant predictor's figures in brackets."""
    def shown(name: str) -> str:
        return score_utils.shown(figures[name], 4)

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


class EpochLog:
    """train.csv, a row for each epoch, and summary.json, each replaced as a whole after an epoch; TensorBoard's events.

    No training ends for its log: where that cannot be written, a warning says so, and the rows come with the next.
    """

    def __init__(self, folder: str, run_id: str, about: Dict[str, Any],
                 append: Callable[[List[Row]], Any] = lambda rows: None) -> None:
        """`about` is what summary.json holds beside the epochs: device, devices, batchsize.

        `append` gets the new rows, see events.Events.write().
        """
        self._csv, self._summary = os.path.join(folder, CSV), os.path.join(folder, SUMMARY)
        self._about, self._append = {'run': run_id, **about}, append
        self._waiting: List[Row] = []  # of epochs whose row could not be written

    def check(self) -> None:
        """Raise InputError where a log that is there cannot be written; nothing in it changes."""
        for path in (self._csv, self._summary):
            if reading.is_special(path):
                raise InputError(f'cannot write {path}: it is a pipe or a device. Remove it')
            with files.writing(path, CURE), contextlib.suppress(FileNotFoundError), open(path, 'r+'):
                pass

    def write(self, epoch: int, figures: Figures) -> None:
        """Add a row for `epoch`, counted from 1, with those of `figures` that COLUMNS names; later rows go."""
        self._waiting.append({'epoch': epoch,
                              **{name: float(figures[name]) for name in COLUMNS[1:] if name in figures}})
        try:
            before = read_csv(self._csv)
            first = self._waiting[0]['epoch']
            self._replace([*(row for row in before if row.get('epoch', math.inf) < first), *self._waiting])
            self._append(self._waiting)
            self._waiting = []
        except (InputError, OSError) as error:
            print(f'warning: {printable(str(error))}. The training goes on, and the log has epoch {epoch} once it can '
                  'be written', file=sys.stderr, flush=True)

    def _replace(self, rows: List[Row]) -> None:
        """InputError where a file cannot be written."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval='', lineterminator='\n', extrasaction='ignore')
        writer.writeheader()
        writer.writerows({**row, 'epoch': int(row['epoch'])} for row in rows)
        with files.writing(self._csv, CURE):
            files.write(self._csv, text.getvalue())
        with files.writing(self._summary, CURE):
            files.write_json(self._summary, finite(summary(rows, self._about)))


def summary(rows: List[Row], about: Dict[str, Any]) -> Figures:
    """The figures of a run so far, for scripts.

    The first epoch, in which an NPU compiles the graph, counts in the speed only where there is no other, which
    `includes_compilation` says. The validation's figures are those of the last epoch that had one.
    """
    counted = rows[1:] or rows
    images = [row['images_per_second'] for row in counted if row.get('images_per_second')]
    seconds = sum(1 / each for each in images)
    speed = len(images) / seconds if seconds else math.nan  # all images by all seconds
    validated: Row = {}
    for row in rows:
        validated.update((name, row[name]) for name in ('val_loss', 'val_srcc') if name in row)
    return {**about, 'epoch': int(rows[-1]['epoch']), 'images_per_second': speed,
            'includes_compilation': len(rows) == 1, 'seconds_per_step': about['batchsize'] * about['devices'] / speed,
            'loss': rows[-1].get('loss', math.nan), 'val_loss': None, 'val_srcc': None, **validated,
            'training_seconds': sum(row.get('seconds', 0) for row in rows),
            'losses': [row.get('loss', math.nan) for row in rows]}


def best(rows: List[Row]) -> Optional[Row]:
    """The row with the highest validation SRCC, the last of several; None where there is none."""
    known = [row for row in rows if math.isfinite(row.get('val_srcc', math.nan))]
    return max(reversed(known), key=lambda row: row['val_srcc']) if known else None


def val_srccs(rows: List[Row], after: int, last: int) -> List[float]:
    """The validation SRCC of each epoch after `after` up to `last` that was validated; NaN where it is undefined."""
    return [row['val_srcc'] for row in rows if 'val_srcc' in row and after < row.get('epoch', 0) <= last]


def waited(srccs: Sequence[float]) -> int:
    """How many of the validations came after the one with the highest SRCC; all of them where none has one."""
    known = [srcc if math.isfinite(srcc) else -math.inf for srcc in srccs]
    highest = max(known, default=-math.inf)
    return len(known) - 1 - known.index(highest) if highest > -math.inf else len(known)


def run_id(folder: str) -> Optional[str]:
    """The id of the run that wrote the log in `folder`; None without one, or in an older log."""
    try:
        run = reading.read_json(os.path.join(folder, SUMMARY)).get('run')
        return run if checkpoint.is_run_id(run) else None
    except (OSError, ValueError, AttributeError):
        return None


def kept_path(folder: str, run: str, name: str = CSV) -> str:
    """Where a file of the log of `run` is kept once another run writes into `folder`."""
    stem, ending = os.path.splitext(name)
    return os.path.join(folder, f'{stem}_{run[:8]}{ending}')


def keep_other(folder: str, run: str) -> Optional[str]:
    """Rename the log of another run than `run`, and give one of `run` that was renamed its names back.

    The name has the run's id, or of an older log, which has none, its time.

    Returns the new path of the other run's train.csv; None where there was no other.
    """
    path, other = os.path.join(folder, CSV), run_id(folder)
    if other == run or not read_csv(path):
        return None
    other = other or f'{int(os.stat(path).st_mtime):08x}'
    for name in (CSV, SUMMARY):
        for before, after in ((os.path.join(folder, name), kept_path(folder, other, name)),
                              (kept_path(folder, run, name), os.path.join(folder, name))):
            if os.path.isfile(before):
                with files.writing(after, CURE):
                    os.replace(before, after)
    return kept_path(folder, other)


def read_csv(path: str) -> List[Row]:
    """The rows of a train.csv as numbers: cells that are empty or not numeric are left out of their row."""
    if not os.path.isfile(path):
        return []
    rows = []
    with open(path, newline='', encoding='utf-8', errors='replace') as stream:
        for cells in csv.DictReader(stream):
            row = {}
            for name, cell in cells.items():
                with contextlib.suppress(TypeError, ValueError):
                    row[str(name)] = float(cell)
            rows.append(row)
    return rows
