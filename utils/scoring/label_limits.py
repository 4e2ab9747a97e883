"""What the labels of scored images allow: their noise ceiling, voters, groups, and what of them is assumed."""
import math
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from utils import score_utils
from utils.base.text import printable
from utils.data import ava, panel
from utils.data.panel import Agreement

FEWEST_IN_GROUP = 3  # images, for a rank correlation within a group
ASSUMED = 'std, EMD and calibration: assumed, not measured'


def agreement(val: ava.Ratings) -> Optional[Agreement]:
    """How reliable these labels are; None where it is not measured."""
    return panel.agreement(score_utils.mean_score(val.distributions), val.panel) if val.panel else None


def assumed(val: ava.Ratings) -> str:
    """A sentence on labels that are a mean alone; empty where there are none."""
    count = int(val.panel.assumed.sum()) if val.panel else 0
    return f'{ASSUMED}: {count} of {val.count} labels are a mean alone' if count else ''


def within_groups(val: ava.Ratings, predicted: np.ndarray) -> Optional[Tuple[float, int]]:
    """The SRCC within groups of images, averaged by their size, and how many groups it is of; None without groups.

    Over mixed sources a rank correlation measures the source too; within one it does not.
    """
    if val.panel is None or val.panel.groups is None:
        return None
    true, means = score_utils.mean_score(val.distributions), score_utils.mean_score(predicted)
    rows = [np.flatnonzero(val.panel.groups == group) for group in sorted(set(val.panel.groups))]
    found = [(score_utils.srcc(true[each], means[each]), len(each)) for each in rows if len(each) >= FEWEST_IN_GROUP]
    found = [(value, size) for value, size in found if not math.isnan(value)]
    if not found:
        return None
    values, sizes = zip(*found)
    return float(np.average(values, weights=sizes)), len(found)


def lines(val: ava.Ratings, models: Dict[str, Tuple[np.ndarray, float]]) -> List[str]:
    """Sentences for a terminal or a page; `models` gives predicted distributions [N, 10] and SRCC by name."""
    found = agreement(val)
    result = [f'labels: {panel.text(found)}']
    for name, (predicted, srcc) in models.items():
        if found and not math.isnan(srcc):
            result.append(f'{printable(name)}: {panel.worth(found, srcc)}')
        groups = within_groups(val, predicted)
        if groups:
            result.append(f'{printable(name)}: SRCC within groups {groups[0]:.4f}, on average over {groups[1]} groups')
    return [*result, assumed(val)] if assumed(val) else result


def as_json(val: ava.Ratings) -> Dict[str, Any]:
    """What is the same for all models; None where it is not measured."""
    found = agreement(val)
    return {'votes': found and found.votes, 'panel_agreement_lcc': found and found.reliability,
            'noise_ceiling_lcc': found and found.ceiling, 'noise_ceiling_srcc': found and panel.srcc_of(found.ceiling),
            'std_assumed': int(val.panel.assumed.sum()) if val.panel else 0}


def model_json(val: ava.Ratings, predicted: np.ndarray, srcc: float) -> Dict[str, Any]:
    """Fresh voters that a model is worth, infinite at the ceiling, and its SRCC within groups; None if not measured."""
    found, groups = agreement(val), within_groups(val, predicted)
    return {'worth_voters': found.voters(panel.lcc_of(srcc)) if found and not math.isnan(srcc) else None,
            'at_ceiling': bool(found and srcc >= panel.srcc_of(found.ceiling)),
            'srcc_within_groups': groups and groups[0]}
