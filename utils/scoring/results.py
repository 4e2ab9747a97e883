"""One or more models on the same photographs: their metrics, intervals and differences, as text, JSON and CSV."""
import csv
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, TextIO

import numpy as np

from utils import score_utils
from utils.base.errors import InputError
from utils.base.text import printable
from utils.data import ava, splits
from utils.scoring import analysis
from utils.scoring.analysis import Interval

SEED = 0  # of the bootstrap
DECIMALS = 6
COLUMNS = ('id', 'true_mean_1_to_10', 'true_standard_deviation', 'predicted_mean_1_to_10',
           'predicted_standard_deviation', 'error', *(f'predicted_share_{score:.0f}' for score in ava.SCORES))


class Model(NamedTuple):
    """A model and what it reached."""

    name: str                   # the file's name, or its path where two models share one
    path: str
    record: Dict[str, Any]      # model_file's, with the pre-processing that was used
    predicted: np.ndarray       # shares [N, 10]
    metrics: Dict[str, float]   # those of score_utils.LABELS
    srcc: Interval
    difference: Interval        # of the SRCC to that of the first model, over the same resamples


class Results(NamedTuple):
    """Models, the first of which the others are compared with, on the photographs of `val`."""

    val: ava.Ratings
    split: str                  # which photographs these are, for people
    constant: Dict[str, float]  # the metrics of score_utils.constant_prediction
    models: List[Model]


def distinct(paths: Sequence[str]) -> Sequence[str]:
    """`paths` as they are; InputError where one stands twice."""
    twice = [path for number, path in enumerate(paths) if path in paths[:number]]
    if twice:
        raise InputError(f'--compare: found {twice[0]} twice, expected other models than --checkpoint, each once: '
                         'leave it out')
    return paths


def evaluate(val: ava.Ratings, paths: Sequence[str], records: Sequence[Dict[str, Any]],
             predictions: Sequence[np.ndarray], *, split: str) -> Results:
    """The results of the models in `paths`; InputError where a model predicts what is no number."""
    for path, predicted in zip(paths, predictions):
        if not np.isfinite(predicted).all():
            raise InputError(f'{path}: found a model whose predictions are not numbers, expected shares of votes: its '
                             'training went astray, type another model')
    intervals = analysis.srcc_intervals(score_utils.mean_score(val.distributions),
                                        [score_utils.mean_score(predicted) for predicted in predictions], seed=SEED)
    models = [Model(name, path, record, predicted, score_utils.metrics(val.distributions, predicted), srcc, difference)
              for name, path, record, predicted, srcc, difference in zip(
                  _names(paths), paths, records, predictions, intervals['srcc'], intervals['difference'])]
    constant = score_utils.metrics(val.distributions, score_utils.constant_prediction(val.distributions))
    return Results(val, split, constant, models)


def text(results: Results) -> str:
    """The metrics of all models side by side, and below them the intervals of the SRCC, for a terminal."""
    columns = {model.name: model.metrics for model in results.models}
    lines = [score_utils.table({**columns, 'constant': results.constant})]
    lines += [f'SRCC of {model.name}: {shown(model.srcc)}' for model in results.models]
    lines += [f'SRCC of {model.name} less that of {results.models[0].name}: {shown(model.difference, signed=True)}'
              for model in results.models[1:]]
    return '\n'.join(lines)


def shown(interval: Interval, signed: bool = False) -> str:
    """A value with its interval, in words."""
    form = '{:+.4f}' if signed else '{:.4f}'
    if not np.isfinite([interval.value, interval.low, interval.high]).all():
        return 'undefined'
    value, low, high = (form.format(each) for each in interval[:3])
    return f'{value}, 95 % interval {low} to {high} ({interval.resamples} bootstrap resamples)'


def as_json(results: Results) -> Dict[str, Any]:
    """Everything but the predictions themselves; what is undefined is NaN, for finite()."""
    true = [function(results.val.distributions) for function in (score_utils.mean_score, score_utils.std_score)]
    models = []
    for number, model in enumerate(results.models, 1):
        error = score_utils.mean_score(model.predicted) - true[0]
        found = {'name': model.name, 'file': model.path, 'record': model.record,
                 'predictions': predictions_name(number), 'metrics': model.metrics,
                 'mean_error': error.mean(), 'mean_absolute_error': np.abs(error).mean(),
                 'srcc_mean_interval': _interval(model.srcc),
                 'spread_calibration': [each._asdict() for each in analysis.spread_calibration(
                     true[1], score_utils.std_score(model.predicted))]}
        if number > 1:
            found['srcc_mean_difference_to_first'] = _interval(model.difference)
        models.append(found)
    return {'photographs': results.val.count, 'scale_of_scores': [1, 10], 'split': results.split,
            'split_sha256': splits.split_hash(results.val), 'constant_predictor': results.constant, 'models': models}


def predictions_name(number: int) -> str:
    """The file of the predictions of a model, counted from 1."""
    return 'predictions.csv' if number == 1 else f'predictions_{number}.csv'


def write_csv(stream: TextIO, val: ava.Ratings, predicted: np.ndarray) -> None:
    """A row of COLUMNS for each photograph; the error is the predicted mean less the true one."""
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
    return {**interval._asdict(), 'confidence': analysis.CONFIDENCE, 'method': 'bootstrap of photographs, percentiles',
            'seed': SEED}
