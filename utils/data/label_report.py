"""What was read of a table of labels, in sentences."""
from typing import Optional

import numpy as np

from utils.base.scores import SCORES
from utils.data import label_scale
from utils.data.label_columns import Layout
from utils.data.label_scale import Scale
from utils.data.panel import Panel


def columns(layout: Layout) -> str:
    """Which columns are read as what, and which are not read."""
    has_votes = bool(layout.votes) or layout.vote_list is not None
    means = 'mean, compared with the votes' if has_votes else 'rating' if layout.rater is not None else 'mean'
    single = ((layout.file, 'file'), (layout.folder, 'folder'), (layout.vote_list, 'votes'), (layout.std, 'std'),
              (layout.number, 'number of votes'), (layout.rater, 'rater'),
              (layout.group if layout.group != layout.folder else None, 'group'),
              *((column, means) for column in layout.means))
    found = [f'{layout.names[column]} ({what})' for column, what in single if column is not None]
    if layout.votes:
        first, last = (layout.names[layout.votes[end]] for end in (0, -1))
        found.insert(1, f'{first} ... {last} (votes)')
    unread = [str(name) for column, name in enumerate(layout.names) if column not in layout.used and str(name)]
    return f'columns read: {", ".join(found)}; not read: {", ".join(unread) or "none"}'


def scores(votes: np.ndarray, ends: Optional[Scale], scale: Optional[Scale]) -> str:
    """The number of images, their mean scores, and the scale of the table's means, where it has no votes.

    `ends` are the lowest and the highest score of votes that were moved to 1 to 10.
    """
    means = votes @ SCORES / votes.sum(axis=1)
    moved = ''
    if ends is not None:
        low, high = ends
        moved = (f' (votes on {label_scale.shown(ends)}: a score s becomes 1 + 9 (s - {low:g}) / {high - low:g}, its '
                 'votes divided between the two scores beside it)')
    elif scale not in (None, label_scale.OWN):
        inverted = ', where a low value is the better image' if scale[0] > scale[1] else ''  # type: ignore[index]
        moved = f' (moved from {label_scale.shown(scale)}{inverted})'  # type: ignore[arg-type]
    return (f'{len(votes)} images, mean scores {means.min():.2f} to {means.max():.2f}, on average {means.mean():.2f}, '
            f'on 1 to 10{moved}')


def assumed(people: Panel, std: Optional[float] = None) -> str:
    """For how many labels the std is assumed, and where it is known as which one."""
    which = '' if std is None else f', at most {std:g} (--std),'
    return f'{int(people.assumed.sum())} labels are a mean alone: their std{which} is assumed, not measured'
