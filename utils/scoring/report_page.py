"""The report's page: text and figures -> one HTML file that needs no network, no script and no other file."""
import html
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from utils.base.text import printable
from utils.scoring.analysis import Interval
from utils.scoring.figures import Figure
from utils.scoring.results import Model, Results

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
        'lcc_std': 'LCC,&nbsp;std', 'srcc_std': 'SRCC,&nbsp;std', 'emd_r1': 'EMD,&nbsp;r=1', 'emd_r2': 'EMD,&nbsp;r=2'}

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f5f7fa; --ink: #1b1f27; --muted: #5b6472;
  --grid: #d8dde6; --true: #3f6fb0; --predicted: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --card: #1e232b; --ink: #e9ecf1; --muted: #a3adbb;
  --grid: #38404c; --true: #7fabe6; --predicted: #ff9255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p { margin: .4rem 0; max-width: 46rem; } .note, figcaption { color: var(--muted); font-size: .87rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }
.cards div { background: var(--card); border-radius: .6rem; padding: .7rem .9rem; }
.cards b { display: block; font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.cards span { display: block; color: var(--muted); font-size: .8rem; line-height: 1.35; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .32rem .7rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
th { font-weight: 600; } thead th { vertical-align: bottom; } th[scope=row] { text-align: left; font-weight: 400; }
th.name { white-space: normal; overflow-wrap: anywhere; min-width: 4.6em; } th[scope=row].name { min-width: 6.6em; }
thead .theirs, td.theirs { color: var(--muted); font-style: italic; } td.own { font-weight: 650; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.6rem 2rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; max-width: 34rem; display: block; }
.photographs { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
.photographs figure { background: var(--card); border-radius: .6rem; overflow: hidden; break-inside: avoid; }
.photographs img, .blank { width: 100%; aspect-ratio: 4/3; object-fit: contain; display: block;
  background: var(--grid); } .blank { display: grid; place-items: center; color: var(--muted); font-size: .8rem; }
.photographs figcaption { padding: .5rem .7rem .6rem; font-variant-numeric: tabular-nums; line-height: 1.4; }
.photographs figcaption b { color: var(--ink); overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto 1fr; margin: 0; column-gap: .4rem; white-space: nowrap; }
dd { margin: 0; text-align: right; }
.photographs svg { margin-top: .35rem; width: 100%; height: auto; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: .15em; vertical-align: -.05em; }
@media (max-width: 30rem) { table { width: 100%; }
  th, td { padding: .3rem .13rem; font-size: .68rem; white-space: normal; }
  th[scope=col] { font-size: .6rem; } .cards { grid-template-columns: 1fr 1fr; }
  .cards div:last-child:nth-child(odd) { grid-column: span 2; }
  .photographs { grid-template-columns: 1fr 1fr; gap: .7rem; }
  .photographs figcaption { font-size: .76rem; padding: .4rem .55rem .5rem; } }
@media print { :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --muted: #444; --grid: #bbb;
  --true: #3f6fb0; --predicted: #c2410c; } body { padding: 0; max-width: none; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; } figure, table, .cards { break-inside: avoid; }
  .cards { grid-template-columns: repeat(5, 1fr); gap: .4rem; } .cards b { font-size: 1.15rem; }
  .cards span { font-size: .68rem; } .cards div { padding: .4rem .5rem; }
  .cards div, .photographs figure { border: 1px solid var(--grid); }
  .figures { grid-template-columns: 1fr 1fr; } .photographs { grid-template-columns: repeat(4, 1fr); gap: .5rem; }
  .photographs figcaption { font-size: .7rem; padding: .35rem .5rem; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


class Photograph(NamedTuple):
    """A photograph to show: its thumbnail is a data URI, or None."""

    name: str
    thumbnail: Any
    true: np.ndarray       # shares [10]
    predicted: np.ndarray
    means: Sequence[float]  # true, predicted
    stds: Sequence[float]


def page(results: Results, figures: Dict[str, Figure], photographs: Dict[str, List[Photograph]],
         captions: Dict[str, str]) -> str:
    """The whole page; `captions` are plain text, by the names of figures and photographs, and `curves` in any case."""
    model = results.models[0]
    body = [f'<h1>{_text(model.name)}</h1>',
            f'<p class="note">NIMA scored on {results.val.count:,} photographs: {_text(results.split)}. '
            'Scores are on the scale from 1 to 10.</p>',
            _cards(results), _beside_the_paper(results)]
    if len(results.models) > 1:
        body.append(_comparison(results))
    body.append('<h2>Predicted and true scores</h2>')
    body.append(_figures({name: figure for name, figure in figures.items() if 'curve' not in name}, captions))
    body.append(f'<h2>Training</h2><p class="note">{_text(captions["curves"])}</p>')
    body.append(_figures({name: figure for name, figure in figures.items() if 'curve' in name}, captions))
    body.append('<h2>Photographs</h2><p class="note"><span class="key" style="background:var(--true)"></span> true '
                'votes, <span class="key" style="background:var(--predicted)"></span> predicted ones, each for the '
                'scores 1 to 10; below, mean ± standard deviation. Photographs are shown without the rotation that '
                'EXIF data may ask for, as the network sees them.</p>')
    for name, shown_ones in photographs.items():
        body.append(f'<h3>{_text(captions[name])}</h3><div class="photographs">'
                    + ''.join(map(_photograph, shown_ones)) + '</div>')
    body.append(_how(model))
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>NIMA report: {_text(model.name)}</title><style>{STYLE}</style></head>\n<body>\n'
            + '\n'.join(body) + '\n</body></html>\n')


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
    return '<div class="cards">' + ''.join(
        f'<div><span>{label}</span><b>{value}</b><span>{note}</span></div>' for value, label, note in cards) + '</div>'


def _beside_the_paper(results: Results) -> str:
    columns = [('this model', results.models[0].metrics, 'own'), ('constant', results.constant, '')]
    columns += [(name, metrics, 'theirs') for name, metrics in PAPER.items()]
    over = (f'<tr><td colspan="3"></td><th scope="colgroup" class="theirs" colspan="{len(PAPER)}">the paper’s figures'
            '</th></tr>')
    return ('<h2>Beside the paper</h2>' + _table(columns, over) + '<p class="note">Mean and std are the mean score and '
            'the standard deviation of the votes; a photograph is good where its mean is above 5; EMD with r=2 is the '
            'loss; – is what is undefined or not published.</p><p class="note">The columns in italics are figures of '
            'others: NIMA by Talebi and Milanfar, arXiv:1709.05424, measured by them on their own test set, a fifth of '
            'AVA. They are comparable with this model’s only as far as the photographs are: here, '
            f'{_text(results.split)}. Papers quote EMD with r=1. The constant predictor gives the average vote of '
            'these photographs to each of them.</p>')


def _comparison(results: Results) -> str:
    columns = [(_text(model.name), model.metrics, 'own name') for model in results.models]
    rows = ''.join(f'<tr><th scope="row" class="name">{_text(model.name)}</th>{_interval(model.srcc, "")}'
                   + (_interval(model.difference, '+') if number else '<td></td><td></td>') + '</tr>'
                   for number, model in enumerate(results.models))
    first = results.models[0]
    return ('<h2>Models compared</h2>' + _table(columns) + '<h3>SRCC of the mean score</h3><div class="wide"><table>'
            '<thead><tr><td></td><th scope="col">SRCC</th><th scope="col">95\u00a0% interval</th>'
            '<th scope="col">difference</th><th scope="col">95\u00a0% interval</th></tr></thead>'
            f'<tbody>{rows}</tbody></table></div><p class="note">Each model with its own pre-processing, on the same '
            f'photographs. The differences are those to {_text(first.name)}, over the same '
            f'{first.srcc.resamples:,} bootstrap resamples: an interval without 0 tells the two apart.</p>')


def _table(columns: Sequence[Any], over: str = '') -> str:
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
    value, low, high = (f'{each:{sign}.4f}'.replace('-', '−') for each in interval[:3])
    return f'<td>{value}</td><td>{low} to {high}</td>'


def _cell(metrics: Dict[str, float], key: str) -> str:
    if not np.isfinite(metrics.get(key, np.nan)):
        return '–'
    return _percent(metrics[key], 1) if key.startswith('accuracy') else _number(metrics[key], 3)


def _figures(figures: Dict[str, Figure], captions: Dict[str, str]) -> str:
    drawn = ''.join(f'<figure role="group" aria-label="{_text(captions[name])}">{figure.svg}'
                    f'<figcaption>{_text(captions[name])}</figcaption></figure>' for name, figure in figures.items())
    return f'<div class="figures">{drawn}</div>' if drawn else ''


def _photograph(photograph: Photograph) -> str:
    name = _text(printable(photograph.name))
    picture = (f'<img src="{photograph.thumbnail}" alt="photograph {name}" loading="lazy">' if photograph.thumbnail
               else '<div class="blank">no thumbnail</div>')
    (true, predicted), (true_std, predicted_std) = photograph.means, photograph.stds
    numbers = (('predicted', f'{predicted:.2f} ± {predicted_std:.2f}'), ('true', f'{true:.2f} ± {true_std:.2f}'),
               ('difference', f'{predicted - true:+.2f}'.replace('-', '−')))
    rows = ''.join(f'<dt>{label}</dt><dd>{value}</dd>' for label, value in numbers)
    return (f'<figure>{picture}<figcaption><b>{name}</b><dl>{rows}</dl>'
            f'{votes(photograph.true, photograph.predicted)}</figcaption></figure>')


def votes(true: np.ndarray, predicted: np.ndarray) -> str:
    """Two spreads of votes [10] as an SVG: bars of the true one, a stepped line of the predicted one."""
    top = max(0.4, float(np.max(true)), float(np.max(predicted)))
    bars = ''.join(f'<rect x="{10 * place + 1}" y="{30 - 30 * share / top:.1f}" width="8" '
                   f'height="{30 * share / top:.1f}"/>' for place, share in enumerate(true))
    steps = ' '.join(f'{10 * place},{30 - 30 * share / top:.1f} {10 * place + 10},{30 - 30 * share / top:.1f}'
                     for place, share in enumerate(predicted))
    return ('<svg viewBox="0 -1 100 39" role="img" aria-label="true and predicted votes">'
            f'<g fill="var(--true)" fill-opacity="0.5">{bars}</g>'
            f'<polyline points="{steps}" fill="none" stroke="var(--predicted)" stroke-width="1.4"/>'
            '<path d="M0 30.3H100" stroke="var(--grid)" stroke-width=".6"/>'
            '<g font-size="6" fill="var(--muted)" text-anchor="middle">'
            '<text x="5" y="37">1</text><text x="45" y="37">5</text><text x="95" y="37">10</text></g></svg>')


def _how(model: Model) -> str:
    how = model.metadata['preprocessing']
    return ('<h2>How this was computed</h2><p class="note">Photographs were resized to '
            f'{how["image_size"]} × {how["image_size"]} ({_text(how["resize"])}), as the model’s file says '
            f'(<code>{_text(printable(model.path))}</code>). Means and standard deviations are rounded to 6 decimals '
            'before they are ranked and compared with 5. The interval of the SRCC is the 2.5 % to 97.5 % percentile of '
            f'{model.srcc.resamples:,} bootstrap resamples of the photographs with a fixed seed'
            + (f', {model.srcc.undefined:,} of which gave no SRCC' if 0 < model.srcc.undefined < model.srcc.resamples
               else '') + '. The numbers stand in <code>metrics.json</code>, the predictions in '
            '<code>predictions.csv</code>, the figures as PNG beside this page.</p>')


def _text(text: str) -> str:
    return html.escape(text)


def _number(value: float, digits: int) -> str:
    return f'{value:.{digits}f}'.replace('-', '−') if np.isfinite(value) else 'undefined'


def _percent(share: float, digits: int = 2) -> str:
    return f'{100 * share:.{digits}f}\u00a0%' if np.isfinite(share) else 'undefined'
