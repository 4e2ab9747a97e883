"""The report's page: text and figures -> one HTML file that needs no network, no script and no other file.

Its text and style sheet are the files in templates/; here they are filled with numbers.
"""
import html
import os
import string
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from utils.base.text import printable
from utils.scoring.analysis import Interval
from utils.scoring.figures import Figure
from utils.scoring.results import Results

TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'templates')
# arXiv:1709.05424, the table of results on AVA.
PAPER: Dict[str, Dict[str, float]] = {
    'MobileNet': {'accuracy_gt5': 0.8036, 'lcc_mean': 0.518, 'srcc_mean': 0.510, 'lcc_std': 0.152, 'srcc_std': 0.137,
                  'emd_r1': 0.081},
    'VGG16': {'accuracy_gt5': 0.8060, 'lcc_mean': 0.610, 'srcc_mean': 0.592, 'lcc_std': 0.205, 'srcc_std': 0.202,
              'emd_r1': 0.052},
    'Inception-v2': {'accuracy_gt5': 0.8151, 'lcc_mean': 0.636, 'srcc_mean': 0.612, 'lcc_std': 0.233,
                     'srcc_std': 0.218, 'emd_r1': 0.050},
}
ROWS = {'accuracy_gt5': 'accuracy', 'lcc_mean': 'LCC,&nbsp;mean', 'srcc_mean': 'SRCC,&nbsp;mean',
        'krcc_mean': 'KRCC,&nbsp;mean',
        'lcc_std': 'LCC,&nbsp;std', 'srcc_std': 'SRCC,&nbsp;std', 'emd_r1': 'EMD,&nbsp;r=1', 'emd_r2': 'EMD,&nbsp;r=2'}
Column = Tuple[str, Dict[str, float], str]  # heading as HTML, metrics, CSS classes


class Shown(NamedTuple):
    """An image on the page."""

    name: str
    thumbnail: Optional[str]  # a data URI
    true: np.ndarray          # distributions [10]
    predicted: np.ndarray
    means: Sequence[float]    # true, predicted
    stds: Sequence[float]


def page(results: Results, figures: Dict[str, Figure], images: Dict[str, List[Shown]],
         captions: Dict[str, str]) -> str:
    """The whole page; `captions` are plain text, by the names of figures and images, and `curves` in any case."""
    model = results.models[0]
    preprocessing, srcc = model.metadata['preprocessing'], model.srcc
    paper: List[Column] = [(name, metrics, 'theirs') for name, metrics in PAPER.items()]
    over = (f'<tr><td colspan="3"></td><th scope="colgroup" class="theirs" colspan="{len(PAPER)}">the paper’s figures'
            '</th></tr>')
    some_undefined = 0 < srcc.undefined < srcc.resamples
    return _filled('report.html', {
        'name': _text(model.name), 'style': _template('report.css'), 'count': f'{results.val.count:,}',
        'labels': ' '.join(_text(f'{line}.') for line in results.about_labels),
        'split': _text(results.split), 'cards': _cards(results),
        'paper': _table([('this model', model.metrics, 'own'), ('constant', results.constant, ''), *paper], over),
        'comparison': _comparison(results) if len(results.models) > 1 else '',
        'scores': _figures({name: figure for name, figure in figures.items() if 'curve' not in name}, captions),
        'about_curves': _text(captions['curves']),
        'curves': _figures({name: figure for name, figure in figures.items() if 'curve' in name}, captions),
        'images': '\n'.join(f'<h3>{_text(captions[kind])}</h3><div class="images">' + ''.join(map(_image, shown))
                            + '</div>' for kind, shown in images.items()),
        'rotation': ('turned as their EXIF data say' if preprocessing.get('orientation') == 'apply' else
                     'without the rotation that EXIF data may ask for'),
        'size': str(preprocessing['image_size']), 'resize': _text(preprocessing['resize']),
        'path': _text(printable(model.path)), 'resamples': f'{srcc.resamples:,}',
        'undefined': f', {srcc.undefined:,} of which gave no SRCC' if some_undefined else ''})


def _filled(name: str, values: Dict[str, str]) -> str:
    """A template with `values`, which are HTML."""
    return string.Template(_template(name)).substitute(values)


def _template(name: str) -> str:
    with open(os.path.join(TEMPLATES, name), encoding='utf-8') as stream:
        return stream.read()


def _cards(results: Results) -> str:
    model, constant = results.models[0], results.constant
    interval = (f'95 % interval {_number(model.srcc.low, 3)} to {_number(model.srcc.high, 3)}'
                if np.isfinite(model.srcc.low) else 'no interval')
    cards = [(_number(model.metrics['srcc_mean'], 3), 'SRCC of the mean score', interval),
             (_number(model.metrics['lcc_mean'], 3), 'LCC of the mean score', 'constant predictor: undefined')]
    for key, label in (('emd_r1', 'EMD, r=1'), ('emd_r2', 'EMD, r=2 (the loss)')):
        cards.append((_number(model.metrics[key], 4), label, f'constant predictor: {constant[key]:.4f}'))
    cards.append((_percent(model.metrics['accuracy_gt5']), 'accuracy, good above 5',
                  f'constant predictor: {_percent(constant["accuracy_gt5"])}'))
    return ''.join(f'<div><span>{label}</span><b>{value}</b><span>{note}</span></div>' for value, label, note in cards)


def _comparison(results: Results) -> str:
    first = results.models[0]
    rows = ''.join(f'<tr><th scope="row" class="name">{_text(model.name)}</th>{_interval(model.srcc, "")}'
                   + (_interval(model.difference, '+') if number else '<td></td><td></td>') + '</tr>'
                   for number, model in enumerate(results.models))
    return _filled('comparison.html', {
        'metrics': _table([(_text(model.name), model.metrics, 'own name') for model in results.models]),
        'rows': rows, 'name': _text(first.name), 'resamples': f'{first.srcc.resamples:,}'})


def _table(columns: Sequence[Column], over: str = '') -> str:
    head = ''.join(f'<th scope="col" class="{kind}">{name}</th>' for name, _, kind in columns)
    rows = []
    for key, label in ROWS.items():
        cells = ''.join(f'<td class="{kind}">{_cell(metrics, key)}</td>' for _, metrics, kind in columns)
        rows.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    return (f'<div class="wide"><table><thead>{over}<tr><td></td>{head}</tr></thead><tbody>' + ''.join(rows)
            + '</tbody></table></div>')


def _interval(interval: Interval, sign: str) -> str:
    """Two cells: the value, its interval."""
    if not np.isfinite(interval.low):
        return '<td>undefined</td><td>–</td>'
    value, low, high = (_minus(f'{each:{sign}.4f}') for each in interval[:3])
    return f'<td>{value}</td><td>{low} to {high}</td>'


def _cell(metrics: Dict[str, float], key: str) -> str:
    if not np.isfinite(metrics.get(key, np.nan)):
        return '–'
    return _percent(metrics[key], 1) if key.startswith('accuracy') else _number(metrics[key], 3)


def _figures(figures: Dict[str, Figure], captions: Dict[str, str]) -> str:
    drawn = ''.join(f'<figure role="group" aria-label="{_text(captions[name])}">{figure.svg}'
                    f'<figcaption>{_text(captions[name])}</figcaption></figure>' for name, figure in figures.items())
    return f'<div class="figures">{drawn}</div>' if drawn else ''


def _image(image: Shown) -> str:
    """An image with its scores and both distributions: bars of the true one, a stepped line of the predicted one."""
    name = _text(printable(image.name))
    (true, predicted), (true_std, predicted_std) = image.means, image.stds
    scale = 30 / max(0.4, float(np.max(image.true)), float(np.max(image.predicted)))
    return _filled('image.html', {
        'thumbnail': (f'<img src="{image.thumbnail}" alt="image {name}" loading="lazy">' if image.thumbnail
                      else '<div class="blank">no thumbnail</div>'),
        'name': name, 'predicted': f'{predicted:.2f} ± {predicted_std:.2f}', 'true': f'{true:.2f} ± {true_std:.2f}',
        'difference': _minus(f'{predicted - true:+.2f}'),
        'bars': ''.join(f'<rect x="{10 * number + 1}" y="{30 - scale * share:.1f}" width="8" '
                        f'height="{scale * share:.1f}"/>' for number, share in enumerate(image.true)),
        'steps': ' '.join(f'{10 * number},{30 - scale * share:.1f} {10 * number + 10},{30 - scale * share:.1f}'
                          for number, share in enumerate(image.predicted))})


def _text(text: Any) -> str:
    return html.escape(text)


def _minus(text: str) -> str:
    return text.replace('-', '−')


def _number(value: float, digits: int) -> str:
    return _minus(f'{value:.{digits}f}') if np.isfinite(value) else 'undefined'


def _percent(share: float, digits: int = 2) -> str:
    return f'{100 * share:.{digits}f}\u00a0%' if np.isfinite(share) else 'undefined'
