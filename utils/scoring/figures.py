"""The report's figures, drawn by matplotlib: each as PNG, and as SVG whose colours the page's style sheet sets."""
import io
import re
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from utils.scoring.analysis import Bin

# The colours of the PNGs. In an SVG each becomes the variable of its name, which is another one in the dark.
COLOURS = {'ink': '#1b1f27', 'muted': '#5b6472', 'grid': '#d8dde6', 'true': '#3f6fb0', 'predicted': '#c2410c'}
SIDE = 4.4, 3.5          # inches; small, so that the labels are readable on a phone
SQUARE = 3.5, 3.5        # of what stands beside a plot of equal axes
PNG_DOTS = 160           # an inch
MANY = 1500              # images from which a scatter shows cells instead of points
_STYLE = {'font.family': 'DejaVu Sans', 'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False,
          'axes.edgecolor': COLOURS['muted'], 'axes.labelcolor': COLOURS['ink'], 'text.color': COLOURS['ink'],
          'xtick.color': COLOURS['muted'], 'ytick.color': COLOURS['muted'], 'axes.grid': True,
          'grid.color': COLOURS['grid'], 'grid.linewidth': 0.7, 'axes.axisbelow': True, 'legend.frameon': False,
          'legend.fontsize': 8.5, 'svg.fonttype': 'none', 'figure.constrained_layout.use': True}


class Figure(NamedTuple):
    png: bytes
    svg: str  # for HTML, as it is


def scatter(true: np.ndarray, predicted: np.ndarray) -> Figure:
    """Predicted against true mean scores [N]; the darker, the more images."""
    def draw(axes: Any) -> None:
        low, high = _limits(true, predicted)
        if len(true) > MANY:
            cells = axes.hexbin(true, predicted, gridsize=34, extent=(low, high, low, high), mincnt=1, linewidths=0)
            counts = cells.get_array()
            colours = [_with_alpha(0.12 + 0.88 * share) for share in np.sqrt(counts / counts.max())]
            cells.set_array(None)
            cells.set_facecolor(colours)
        else:
            size, alpha = (30, 0.85) if len(true) < 100 else (18, 0.35)
            axes.scatter(true, predicted, s=size, color=COLOURS['predicted'], alpha=alpha, linewidths=0)
        axes.plot([low, high], [low, high], color=COLOURS['muted'], linewidth=1, linestyle='--')
        ticks = np.arange(np.ceil(low), high + 0.1)
        axes.set(xlim=(low, high), ylim=(low, high), xticks=ticks, yticks=ticks, aspect='equal',
                 xlabel='true mean score (1 to 10)',
                 ylabel='predicted mean score (1 to 10)')
    return _figure('scatter', draw)


def histograms(true: np.ndarray, predicted: np.ndarray) -> Figure:
    """How many images have which mean score [N], true and predicted."""
    def draw(axes: Any) -> None:
        low, high = _limits(true, predicted)
        bins = np.linspace(low, high, int(np.clip(np.sqrt(len(true)), 8, 40)) + 1)
        axes.hist(true, bins, color=COLOURS['true'], alpha=0.45, label='true', linewidth=0)
        axes.hist(predicted, bins, histtype='step', color=COLOURS['predicted'], linewidth=1.8, label='predicted')
        axes.set(xlim=(low, high), xlabel='mean score (1 to 10)', ylabel='images')
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.grid(False, axis='x')
        axes.legend(loc='lower right', bbox_to_anchor=(1, 1), ncol=2)  # above the bars
    return _figure('histograms', draw, SQUARE)


def calibration(bins: Sequence[Bin]) -> Figure:
    """True against predicted standard deviations, one point and its quartiles for each bin."""
    def draw(axes: Any) -> None:
        points = np.array([(each.predicted, each.true, each.low, each.high) for each in bins])
        low, high = points.min() - 0.05, points.max() + 0.05
        axes.plot([low, high], [low, high], color=COLOURS['muted'], linewidth=1, linestyle='--')
        axes.vlines(points[:, 0], points[:, 2], points[:, 3], color=COLOURS['true'], alpha=0.5, linewidth=3)
        axes.plot(points[:, 0], points[:, 1], 'o', color=COLOURS['predicted'], markersize=5)
        axes.set(xlim=(low, high), ylim=(low, high), aspect='equal', xlabel='predicted standard deviation (points)',
                 ylabel='true standard deviation (points)')
    return _figure('calibration', draw)


def curve(rows: Sequence[Dict[str, float]], columns: Dict[str, str], ylabel: str) -> Figure:
    """Columns of train.csv over the epochs: `columns` gives each one's label; of a constant, a dashed line."""
    def draw(axes: Any) -> None:
        for name, label in columns.items():
            points = [(row['epoch'], row[name]) for row in rows
                      if 'epoch' in row and np.isfinite(row.get(name, np.nan))]
            colour = COLOURS['muted' if 'constant' in name else 'predicted' if name.startswith('val_') else 'true']
            if points:
                axes.plot(*zip(*points), color=colour, linestyle='--' if 'constant' in name else '-',
                          marker='' if 'constant' in name or len(points) > 40 else 'o', markersize=3.5,
                          linewidth=1.6, label=label)
        axes.set(xlabel='epoch', ylabel=ylabel)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return _figure(ylabel, draw)


def _limits(*columns: np.ndarray) -> List[float]:
    """Half points around all values, within 1 to 10."""
    both = np.concatenate(columns)
    return [max(1.0, np.floor(2 * both.min() - 0.2) / 2), min(10.0, np.ceil(2 * both.max() + 0.2) / 2)]


def _with_alpha(alpha: float) -> Any:
    from matplotlib.colors import to_rgba
    return to_rgba(COLOURS['predicted'], alpha)


def _figure(name: str, draw: Callable[[Any], None], side: Tuple[float, float] = SIDE) -> Figure:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, 'svg.hashsalt': name}):
        figure = Canvas(figsize=side)
        FigureCanvasAgg(figure)
        draw(figure.subplots())
        png, svg = io.BytesIO(), io.BytesIO()
        cropped = {'bbox_inches': 'tight', 'pad_inches': 0.05}  # a square plot leaves room beside it
        figure.savefig(png, format='png', dpi=PNG_DOTS, facecolor='white', metadata={'Software': None}, **cropped)
        figure.savefig(svg, format='svg', transparent=True, metadata={'Date': None, 'Creator': None}, **cropped)
    return Figure(png.getvalue(), _for_html(svg.getvalue().decode('utf-8'), re.sub(r'\W', '', name)))


def _for_html(svg: str, prefix: str) -> str:
    """An SVG without header, metadata and fonts of its own; its names begin with `prefix`, as a page has several."""
    svg = svg[svg.index('<svg '):]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.S)
    view = re.search(r'viewBox="[^"]*"', svg)
    svg = re.sub(r'<svg [^>]*>', f'<svg {view.group() if view else ""} aria-hidden="true">', svg, count=1)
    svg = svg.replace('xlink:href', 'href')
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace('url(#', f'url(#{prefix}-').replace('href="#', f'href="#{prefix}-')
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r'font-size: \1px', svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f'var(--{name})')
    return svg
