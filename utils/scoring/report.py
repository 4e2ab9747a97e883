"""The report of eval.py --report: metrics.json, predictions.csv, the figures as PNG, and report.html."""
import base64
import io
import json
import math
import os
import re
from typing import Any, Dict, List, Optional, Tuple

from utils import score_utils
from utils.base import errors, files
from utils.base.defaults import log_folder as log_folder_of
from utils.base.text import finite, printable
from utils.scoring import analysis, figures, report_page
from utils.scoring.report_page import Photograph
from utils.scoring.results import Results, as_json, predictions_name, write_csv
from utils.training import log

PAGE = 'report.html'
PACKAGES = {'matplotlib': 'matplotlib', 'PIL': 'Pillow'}  # as imported, as installed
SHOWN = 8                # photographs of a kind, at most
THUMBNAIL = 400, 300     # pixels, at most
THUMBNAIL_QUALITY = 80
_OWN = re.compile(r'metrics\.json|predictions(_\d+)?\.csv|report\.html|'
                  r'(scatter|histograms|calibration|curve_loss|curve_srcc)\.png')


def check(folder: str) -> None:
    """Raise InputError where no report can be made: a package is missing, or `folder` cannot be written."""
    errors.require_packages('--report', PACKAGES, 'requirements-report.txt')
    files.require_writable(folder, '--report')


def write(folder: str, results: Results, *, log_folder: Optional[str] = None) -> str:
    """Write the report on the first of the models, and the comparison where there are more; returns the page's path.

    An earlier report's files in `folder` are replaced, each at once, others stay. The training curves are taken from
    `log_folder`, by default the one of the model's folder. InputError where a file cannot be written.
    """
    first = results.models[0]
    rows, curves = training_curves(log_folder or log_folder_of(os.path.dirname(first.path)), first.metadata)
    drawn, captions = _figures(results, rows)
    captions['curves'] = curves
    photographs = _photographs(results, captions)
    content: Dict[str, bytes] = {f'{name}.png': figure.png for name, figure in drawn.items()}
    for number, model in enumerate(results.models, 1):
        table = io.StringIO()
        write_csv(table, results.val, model.predicted)
        content[predictions_name(number)] = table.getvalue().encode('utf-8')
    content['metrics.json'] = json.dumps(finite(as_json(results)), indent=1, allow_nan=False).encode('utf-8')
    content[PAGE] = report_page.page(results, drawn, photographs, captions).encode('utf-8', 'backslashreplace')
    with files.writing(folder, 'Free space or choose another --report'):
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):  # what is left of a report on more models
            if _OWN.fullmatch(name) and name not in content:
                os.remove(os.path.join(folder, name))
        for name, data in content.items():
            files.write(os.path.join(folder, name), data)
    return os.path.join(folder, PAGE)


def training_curves(folder: str, metadata: Dict[str, Any]) -> Tuple[List[log.Row], str]:
    """The rows of the train.csv in `folder` up to the model's epoch, and a sentence on them.

    There are no rows where they are not those of the run that wrote the model with these `metadata`: its run id, or
    in files without one the epoch's metrics, has to be the log's.
    """
    epoch, run = metadata.get('epoch'), metadata.get('run', {})
    path = os.path.join(folder, log.CSV)
    shown = printable(path)
    if epoch is None:
        return [], 'No training curves: the model’s metadata do not say after which epoch of a training it was written.'
    try:
        rows = [row for row in log.read_csv(path) if row.get('epoch', epoch + 1) <= epoch]
    except OSError as error:
        return [], f'No training curves: {shown} cannot be read ({error.strerror}).'
    if not rows or rows[-1]['epoch'] != epoch:
        return [], f'No training curves: {shown} has none up to epoch {epoch}.'
    if not _is_same_run(run, log.run_id(folder), rows[-1]):
        return [], f'No training curves: {shown} is the log of another run.'
    return rows, f'The epochs up to the model’s, {epoch}, from {shown}.'


def _is_same_run(run: Dict[str, Any], log_id: Optional[str], row: log.Row) -> bool:
    if run.get('id') and log_id:
        return run['id'] == log_id
    known = {name: value for name, value in run.get('metrics', {}).items() if value is not None and name in row}
    return all(math.isclose(row[name], value, rel_tol=1e-9) for name, value in known.items())


def _figures(results: Results, rows: List[Dict[str, float]]) -> Tuple[Dict[str, figures.Figure], Dict[str, str]]:
    """The figures and their captions, by name."""
    predicted, true = results.models[0].predicted, results.val.distributions
    means = score_utils.mean_score(true), score_utils.mean_score(predicted)
    stds = score_utils.std_score(true), score_utils.std_score(predicted)
    error = means[1] - means[0]
    shift = f'{error.mean():+.3f}'.replace('-', '−')
    drawn = {'scatter': figures.scatter(*means), 'histograms': figures.histograms(*means)}
    captions = {
        'scatter': 'Predicted against true mean score, stronger in colour where there are more photographs; on the '
                   f'dashed line both are equal. Mean error {shift}, mean absolute error {abs(error).mean():.3f} '
                   'points.',
        'histograms': f'Mean scores of the photographs: true {_about(means[0])}, predicted {_about(means[1])}.'}
    bins = analysis.spread_calibration(*stds)
    if bins:
        drawn['calibration'] = figures.calibration(bins)
        parts = (f'in {len(bins)} equal parts by predicted standard deviation' if len(bins) > 1
                 else 'too few to part them')
        captions['calibration'] = (
            f'Calibration of the spread: the photographs, {parts}; points are the mean true one, bars its '
            'quartiles. On the dashed line both are equal.')
    if rows:
        drawn['curve_loss'] = figures.curve(rows, {
            'loss': 'training', 'val_loss': 'validation', 'val_constant_emd_r2': 'constant predictor'}, 'EMD, r=2')
        drawn['curve_srcc'] = figures.curve(rows, {'val_srcc': 'validation'}, 'SRCC of the mean')
        captions['curve_loss'] = 'The loss, EMD with r=2; dashed, what a constant predictor reaches.'
        captions['curve_srcc'] = 'SRCC of the mean score on the validation photographs.'
    return drawn, captions


def _about(values: Any) -> str:
    return f'{values.mean():.2f}\u00a0±\u00a0{values.std():.2f}'


def _photographs(results: Results, captions: Dict[str, str]) -> Dict[str, List[Photograph]]:
    """The photographs to show, by kind; their headings come into `captions`."""
    val, predicted = results.val, results.models[0].predicted
    means = score_utils.mean_score(val.distributions), score_utils.mean_score(predicted)
    stds = score_utils.std_score(val.distributions), score_utils.std_score(predicted)
    chosen = analysis.extremes(*means, count=max(1, min(SHOWN, val.count // 2)))
    captions.update(best='Best: the highest predicted means', worst='Worst: the lowest predicted means',
                    mistaken='Most mistaken: the largest differences of predicted and true mean')
    return {kind: [Photograph(val.ids[index], thumbnail(val.paths[index]), val.distributions[index], predicted[index],
                              [each[index] for each in means], [each[index] for each in stds]) for index in indices]
            for kind, indices in chosen.items()}


def thumbnail(path: str) -> Optional[str]:
    """A photograph of at most THUMBNAIL pixels as a data URI; None where Pillow cannot read it."""
    from PIL import Image
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.draft('RGB', THUMBNAIL)  # a large JPEG is decoded at a fraction of its size
            small = image.convert('RGB')
            small.thumbnail(THUMBNAIL)
            small.save(buffer, 'JPEG', quality=THUMBNAIL_QUALITY)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode('ascii')
