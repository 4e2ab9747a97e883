"""One or more models on the same images: their metrics, intervals and differences, as text, JSON and CSV."""
import csv
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, TextIO, Tuple

import numpy as np

from utils import score_utils
from utils.base.errors import InputError
from utils.base.text import printable
from utils.data import ava, splits
from utils.scoring import analysis, label_limits
from utils.scoring.analysis import Interval

SEED = 0  # of the bootstrap
DECIMALS = 6
COLUMNS = ('id', 'true_mean_1_to_10', 'true_standard_deviation', 'predicted_mean_1_to_10',
           'predicted_standard_deviation', 'error', *(f'predicted_share_{score:.0f}' for score in ava.SCORES))


class Model(NamedTuple):
    """A model and what it reached."""

    name: str                   # the file's name, or its path where two models share one
    path: str
    metadata: Dict[str, Any]    # of the checkpoint, with the pre-processing that was used
    predicted: np.ndarray       # distributions [N, 10]
    metrics: Dict[str, float]   # those of score_utils.LABELS
    srcc: Interval
    difference: Interval        # of the SRCC to that of the first model, over the same resamples


class Results(NamedTuple):
    """Models, the first of which the others are compared with, on the images of `val`."""

    val: ava.Ratings
    split: str                  # which images these are, for people
    constant: Dict[str, float]  # the metrics of score_utils.constant_prediction
    models: List[Model]

    @property
    def about_labels(self) -> List[str]:
        """What the labels allow, and what the models are worth, in sentences."""
        return label_limits.lines(self.val, {model.name: (model.predicted, model.metrics['srcc_mean'])
                                             for model in self.models})


def require_distinct(paths: Sequence[str]) -> None:
    """InputError where a path is given twice."""
    twice = [path for number, path in enumerate(paths) if path in paths[:number]]
    if twice:
        raise InputError(f'--compare: {twice[0]} is named twice. Name other models than --checkpoint, each once')


def evaluate(val: ava.Ratings, paths: Sequence[str], scored: Sequence[Tuple[Dict[str, Any], np.ndarray]], *,
             split: str, intervals: bool = True) -> Results:
    """The results of the models in `paths`, of which `scored` has metadata and distributions.

    Without `intervals` those of the SRCC are not computed.
    """
    metadata, predictions = zip(*scored)
    drawn = analysis.srcc_intervals(score_utils.mean_score(val.distributions),
                                    [score_utils.mean_score(predicted) for predicted in predictions],
                                    resamples=analysis.RESAMPLES if intervals else 0, seed=SEED)
    true = val.distributions
    models = [Model(name, path, about, predicted, score_utils.metrics(true, predicted), srcc, difference)
              for name, path, about, predicted, srcc, difference in zip(
                  _names(paths), paths, metadata, predictions, drawn['srcc'], drawn['difference'])]
    return Results(val, split, score_utils.metrics(true, score_utils.constant_prediction(true)), models)


def text(results: Results) -> str:
    """The metrics of all models side by side, and below them the intervals of the SRCC, for a terminal."""
    if not results.models[0].srcc.resamples:
        table = score_utils.table({'model': results.models[0].metrics, 'constant': results.constant})
        return '\n'.join([table, *results.about_labels])
    columns = {model.name: model.metrics for model in results.models}
    lines = [score_utils.table({**columns, 'constant': results.constant})]
    lines += [f'SRCC of {model.name}: {_with_interval(model.srcc)}' for model in results.models]
    lines += [f'SRCC of {model.name} less that of {results.models[0].name}: {_with_interval(model.difference, "+")}'
              for model in results.models[1:]]
    lines += results.about_labels
    return '\n'.join(lines)


def _with_interval(interval: Interval, sign: str = '') -> str:
    if not np.isfinite(interval[:3]).all():
        return 'undefined'
    value, low, high = (f'{each:{sign}.4f}' for each in interval[:3])
    return f'{value}, 95 % interval {low} to {high} ({interval.resamples} bootstrap resamples)'


def as_json(results: Results) -> Dict[str, Any]:
    """Everything but the predictions themselves; what is undefined is NaN, for finite()."""
    true = [function(results.val.distributions) for function in (score_utils.mean_score, score_utils.std_score)]
    models = []
    for number, model in enumerate(results.models, 1):
        error = score_utils.mean_score(model.predicted) - true[0]
        found = {'name': model.name, 'file': model.path, 'metadata': model.metadata,
                 'predictions': predictions_name(number), 'metrics': model.metrics,
                 **label_limits.model_json(results.val, model.predicted, model.metrics['srcc_mean']),
                 'mean_error': error.mean(), 'mean_absolute_error': np.abs(error).mean(),
                 'srcc_mean_interval': _interval(model.srcc),
                 'spread_calibration': [each._asdict() for each in analysis.std_calibration(
                     true[1], score_utils.std_score(model.predicted))]}
        if number > 1:
            found['srcc_mean_difference_to_first'] = _interval(model.difference)
        models.append(found)
    return {'photographs': results.val.count, 'scale_of_scores': [1, 10], 'split': results.split,
            'labels': label_limits.as_json(results.val),
            'split_sha256': splits.split_hash(results.val), 'constant_predictor': results.constant, 'models': models}


def predictions_name(number: int) -> str:
    """The file of the predictions of a model, counted from 1."""
    return 'predictions.csv' if number == 1 else f'predictions_{number}.csv'


def write_csv(stream: TextIO, val: ava.Ratings, predicted: np.ndarray) -> None:
    """A row of COLUMNS for each image; the error is the predicted mean less the true one."""
    means = score_utils.mean_score(val.distributions), score_utils.mean_score(predicted)
    stds = score_utils.std_score(val.distributions), score_utils.std_score(predicted)
    numbers = np.column_stack([means[0], stds[0], means[1], stds[1], means[1] - means[0], predicted])
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(COLUMNS)
    for image_id, row in zip(val.ids, numbers):
        writer.writerow([printable(image_id), *(f'{number:.{DECIMALS}f}' for number in row)])


def _names(paths: Sequence[str]) -> List[str]:
    bases = [os.path.basename(path) for path in paths]
    return [printable(base if bases.count(base) == 1 else path) for base, path in zip(bases, paths)]


def _interval(interval: Interval) -> Dict[str, Optional[Any]]:
    return {**interval._asdict(), 'confidence': analysis.CONFIDENCE, 'method': 'bootstrap of images, percentiles',
            'seed': SEED}
