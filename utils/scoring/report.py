"""The report of eval.py --report: metrics.json, predictions.csv, the figures as PNG, and report.html."""
import base64
import io
import json
import math
import os
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from utils import score_utils
from utils.base import errors, files
from utils.base.defaults import log_folder
from utils.base.text import finite, printable
from utils.scoring import analysis, figures, label_limits, report_page
from utils.scoring.report_page import Shown
from utils.scoring.results import Results, as_json, predictions_name, write_csv
from utils.training import log

PAGE = 'report.html'
PACKAGES = {'matplotlib': 'matplotlib', 'PIL': 'Pillow'}  # as imported, as installed
SHOWN = 8                # images of a kind, at most
THUMBNAIL = 400, 300     # pixels, at most
THUMBNAIL_QUALITY = 80
_OWN = re.compile(r'metrics\.json|predictions(_\d+)?\.csv|report\.html|'
                  r'(scatter|histograms|calibration|curve_loss|curve_srcc)\.png')


def check(folder: str) -> None:
    """Raise InputError where no report can be made: a package is missing, or `folder` cannot be written."""
    errors.require_packages('--report', PACKAGES, 'requirements-report.txt')
    files.require_writable(folder, '--report')


def write(folder: str, results: Results, *, typed_log: Optional[str] = None) -> str:
    """Write the report on the first of the models, and the comparison where there are more; returns the page's path.

    An earlier report's files in `folder` are replaced once all of the new ones are on the disk, others stay. The
    training curves are taken from the log beside the checkpoint, from the folder `typed_log` or from the default one,
    whichever is the model's.
    InputError where a file cannot be written.
    """
    first = results.models[0]
    beside = os.path.dirname(first.path)
    folders = [beside, os.path.join(beside, 'log'), *([typed_log] if typed_log else []), log_folder(beside)]
    rows, curves = training_curves(folders, first.metadata)
    drawn, captions = _figures(results, rows)
    captions['curves'] = curves
    images = _images(results, captions)
    content: Dict[str, bytes] = {f'{name}.png': figure.png for name, figure in drawn.items()}
    for number, model in enumerate(results.models, 1):
        table = io.StringIO()
        write_csv(table, results.val, model.predicted)
        content[predictions_name(number)] = table.getvalue().encode('utf-8')
    content['metrics.json'] = json.dumps(finite(as_json(results)), indent=1, allow_nan=False).encode('utf-8')
    content[PAGE] = report_page.page(results, drawn, images, captions).encode('utf-8', 'backslashreplace')
    with files.writing(folder, 'Free space or choose another --report'):
        files.write_all({os.path.join(folder, name): data for name, data in content.items()})
        for name in os.listdir(folder):  # what is left of a report on more models
            if _OWN.fullmatch(name) and name not in content:
                os.remove(os.path.join(folder, name))
    return os.path.join(folder, PAGE)


def training_curves(folders: Sequence[str], metadata: Dict[str, Any]) -> Tuple[List[log.Row], str]:
    """The rows up to the model's epoch of the first train.csv in `folders` that is the model's, and a sentence on them.

    It is the model's where its run id is the one in the checkpoint's `metadata` or, in files without one, where the
    row of that epoch holds the metrics in them. There are no rows where none is.
    """
    epoch, run = metadata.get('epoch'), metadata.get('run', {})
    if epoch is None:
        return [], 'No training curves: the model’s metadata do not say after which epoch of a training it was written.'
    folders = list(dict.fromkeys(folders))
    logs = [(os.path.join(folder, log.CSV), log.run_id(folder)) for folder in folders]
    if run.get('id'):  # other runs may have written there since
        logs += [(log.kept_path(folder, run['id']), run['id']) for folder in folders]
    reasons = []
    for path, log_id in logs:
        if os.path.isfile(path):
            rows, reason = _rows(path, log_id, epoch, run)
            if not reason:
                return rows, f'The epochs up to the model’s, {epoch}, from {printable(path)}.'
            reasons.append(f'{printable(path)} {reason}')
    missing = f'{printable(os.path.join(folders[-1], log.CSV))} does not exist'
    return [], f'No training curves: {[*reasons, missing][0]}.'


def _rows(path: str, log_id: Optional[str], epoch: int, run: Dict[str, Any]) -> Tuple[List[log.Row], str]:
    """The rows up to `epoch` of the train.csv of the run `log_id`, or why they are not those of the model."""
    try:
        rows = [row for row in log.read_csv(path) if row.get('epoch', epoch + 1) <= epoch]
    except OSError as error:
        return [], f'cannot be read ({error.strerror})'
    if not rows or rows[-1]['epoch'] != epoch:
        return [], f'has no row of epoch {epoch}'
    metrics = run.get('metrics') or {}
    known = {name: value for name, value in metrics.items() if value is not None and name in rows[-1]}
    if run.get('id') and log_id:
        is_same = run['id'] == log_id
    elif known:
        is_same = all(math.isclose(rows[-1][name], value, rel_tol=1e-9) for name, value in known.items())
    else:
        return [], 'cannot be compared: the model’s metadata hold neither run id nor metrics'
    return (rows, '') if is_same else ([], 'is the log of another run')


def _figures(results: Results, rows: List[Dict[str, float]]) -> Tuple[Dict[str, figures.Figure], Dict[str, str]]:
    """The figures and their captions, by name."""
    predicted, true = results.models[0].predicted, results.val.distributions
    means = score_utils.mean_score(true), score_utils.mean_score(predicted)
    stds = score_utils.std_score(true), score_utils.std_score(predicted)
    error = means[1] - means[0]
    shift = f'{error.mean():+.3f}'.replace('-', '−')
    drawn = {'scatter': figures.scatter(*means), 'histograms': figures.histograms(*means)}
    captions = {
        'scatter': 'Predicted against true mean score, stronger in colour where there are more images; on the '
                   f'dashed line both are equal. Mean error {shift}, mean absolute error {abs(error).mean():.3f} '
                   'points.',
        'histograms': f'Mean scores of the images: true {_about(means[0])}, predicted {_about(means[1])}.'}
    bins = analysis.std_calibration(*stds)
    if bins:
        drawn['calibration'] = figures.calibration(bins)
        parts = (f'in {len(bins)} equal parts by predicted standard deviation' if len(bins) > 1
                 else 'too few to part them')
        captions['calibration'] = (
            f'Calibration of the standard deviation: the images, {parts}; points are the mean true one, bars its '
            'quartiles. On the dashed line both are equal.' + (
                f' {label_limits.assumed(results.val)}.' if label_limits.assumed(results.val) else ''))
    if rows:
        drawn['curve_loss'] = figures.curve(rows, {
            'loss': 'training', 'val_loss': 'validation', 'val_constant_emd_r2': 'constant predictor'}, 'EMD, r=2')
        drawn['curve_srcc'] = figures.curve(rows, {'val_srcc': 'validation'}, 'SRCC of the mean')
        captions['curve_loss'] = 'The loss, EMD with r=2; dashed, what a constant predictor reaches.'
        captions['curve_srcc'] = 'SRCC of the mean score on the validation images.'
    return drawn, captions


def _about(values: Any) -> str:
    return f'{values.mean():.2f}\u00a0±\u00a0{values.std():.2f}'


def _images(results: Results, captions: Dict[str, str]) -> Dict[str, List[Shown]]:
    """The images to show, by kind; their headings come into `captions`."""
    val, predicted = results.val, results.models[0].predicted
    means = score_utils.mean_score(val.distributions), score_utils.mean_score(predicted)
    stds = score_utils.std_score(val.distributions), score_utils.std_score(predicted)
    chosen = analysis.extremes(*means, count=max(1, min(SHOWN, val.count // 2)))
    captions.update(best='Best: the highest predicted means', worst='Worst: the lowest predicted means',
                    mistaken='Most mistaken: the largest differences of predicted and true mean')
    turn = results.models[0].metadata['preprocessing'].get('orientation') == 'apply'
    return {kind: [Shown(val.ids[index], thumbnail(val.paths[index], turn), val.distributions[index], predicted[index],
                         [each[index] for each in means], [each[index] for each in stds]) for index in indices]
            for kind, indices in chosen.items()}


def thumbnail(path: str, turn: bool) -> Optional[str]:
    """An image of at most THUMBNAIL pixels, turned by its EXIF data or not, as a data URI; None where Pillow fails."""
    from PIL import Image

    from utils.data import image_files
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.draft('RGB', THUMBNAIL)  # a large JPEG is decoded at a fraction of its size
            small = (image_files.upright(image) if turn else image).convert('RGB')
            small.thumbnail(THUMBNAIL)
            small.save(buffer, 'JPEG', quality=THUMBNAIL_QUALITY)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode('ascii')
