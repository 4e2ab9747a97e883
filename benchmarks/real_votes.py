"""What a recipe learns from people: SRCC and LCC on the 2,000 test images of BIQ2021, which no training sees.

    git clone https://github.com/nisarahmedrana/BIQ2021
    bash run.sh -m benchmarks.real_votes --folder BIQ2021 --work DIR --row small

Each row is a training by train.py, of each seed in a folder of --work, where one that was stopped resumes and one that
was trained is only scored. SRCC overall and within the three subsets, whose means differ: file names alone rank with
.62. Of several seeds the figures are those of the median one. The interval is that of 1,000 bootstrap resamples of the
test images; it holds the trained model fixed.
"""
import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from benchmarks import turns
from utils import score_utils
from utils.base.errors import InputError
from utils.base.parser import seed
from utils.scoring import analysis, score_tables

PARTS = {'train': 'Train (Images and MOS).csv', 'test': 'Test (Images and MOS).csv'}
IMAGES = 'Images'
SUBSETS = 'ss01', 'ss02', 'ss03'
NEIGHBOURS = r'(ss\d+ \(\d*)\d\)'  # file numbers that differ in the last digit alone: scenes and bursts
BASELINE, UNTRAINED, TUNED = 'closed_form', 'idealo_untrained', 'idealo_last_blocks'
HEAD, NATIVE = ('--trainable', 'head'), ('--input', 'native')
LAST_BLOCKS = '--trainable', 'last:2', '--freeze_batchnorm', '--epochs', '10'
ROWS: Dict[str, Tuple[str, ...]] = {
    BASELINE: (*HEAD, '--epochs', '1', '--learning_rate', '1e-9'),
    'head': (*HEAD, '--epochs', '10'),
    'closed_form_native': (*HEAD, '--epochs', '1', '--learning_rate', '1e-9', *NATIVE),
    'head_native': (*HEAD, '--epochs', '10', *NATIVE),
    'head_native_auto': (*HEAD, '--epochs', '10', '--learning_rate', 'auto', *NATIVE),
    'small': ('--recipe', 'small'),
    'small_native': ('--recipe', 'small', *NATIVE),
    'last_blocks': LAST_BLOCKS,
    'idealo': ('--recipe', 'idealo'),
    'card': ('--recipe', 'card', '--train_size', '2000'),
    'paper': ('--recipe', 'paper', '--train_size', '2000'),
    UNTRAINED: (),
    TUNED: LAST_BLOCKS,
}
SEEDLESS = 'closed_form_native', UNTRAINED
IMPORT = '--resize', 'nearest', '--padding', 'symmetric'  # as idealo's weights were trained
QUICK = '--image_size', '32', '--weights', 'none', '--batchsize', '10'


def read(folder: Path, part: str) -> List[Tuple[str, float]]:
    """(file name, mean score from 1 to 10) of the labels of a part, for files as they are called in the folder."""
    path, images = folder / PARTS[part], folder / IMAGES
    try:
        names = {name.lower(): name for name in os.listdir(images)}
        with open(path, newline='', encoding='utf-8-sig') as stream:
            rows = [(row['Image Name'].strip(), float(row['MOS'])) for row in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f'{path}: found no labels of BIQ2021 ({error}). Give --folder a git clone of '
                         'https://github.com/nisarahmedrana/BIQ2021') from error
    return [(names[name.lower()], 1 + 9 * share) for name, share in rows if name.lower() in names]


def val_size(images: int) -> int:
    """How many of so many training images are for validation."""
    return max(10, images // 10)


def write(rows: Sequence[Tuple[str, float]], path: Path) -> Path:
    """A label file of means, as train.py reads it."""
    with open(path, 'w', newline='', encoding='utf-8') as stream:
        csv.writer(stream).writerows([('file', 'mean'), *rows])
    return path


def run(script: str, *words: Any, names: Optional[Sequence[str]] = None) -> None:
    """Run a script of the repository, with `names` on its standard input; InputError where it fails."""
    done = subprocess.run([sys.executable, script, *map(str, words)], cwd=str(turns.ROOT), stdout=sys.stderr,
                          input=None if names is None else '\n'.join(names), text=True)
    if done.returncode:
        raise InputError(f'{script} failed with exit code {done.returncode}: see its message above')


def flags_of(row: str, labels: Dict[str, Path], images: Path, features: Path, folder: Path) -> List[str]:
    """The flags of train.py for a row."""
    return list(map(str, [*ROWS[row], '--ava_dataset_path', labels['train'], '--base_images_path', images,
                          '--test_labels', labels['test'], '--group', NEIGHBOURS, '--features', features,
                          '--TMP_MODEL_PATF', folder]))


def trained(row: str, folder: Path, labels: Dict[str, Path], images: Path, flags: Sequence[str]) -> float:
    """Train a row into `folder`, or resume it; returns the minutes that this took."""
    start = time.monotonic()
    resume = ['--resume'] if list(folder.glob('*.h5')) else []
    run('train.py', *flags_of(row, labels, images, folder.parent / 'features', folder), *flags, *resume)
    return (time.monotonic() - start) / 60


def imported(row: str, weights: Optional[str], folder: Path) -> Path:
    """The model file in `folder` of idealo's weights, imported where it is not there yet."""
    if weights is None:
        raise InputError(f'--row {row} needs --idealo FILE, the weights of their aesthetic MobileNet')
    model = folder / 'model_001.h5'
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run('-m', 'utils.models', 'import', os.path.abspath(weights), *IMPORT, '-o', model)
    return model


def scores(folder: Path, images: Path, names: Sequence[str]) -> np.ndarray:
    """The mean scores of the images by the newest checkpoint in `folder`, in their order."""
    output = folder / 'test.csv'
    if output.exists():
        output.unlink()
    run('predict.py', '-', '--checkpoint', 'newest', '--TMP_MODEL_PATF', folder, '--output', output,
        names=[str(images / name) for name in names])
    with open(output, newline='', encoding='utf-8') as stream:
        found = {os.path.basename(row[score_tables.FILE]): float(row[score_tables.MEAN])
                 for row in csv.DictReader(stream)}
    return np.array([found[name] for name in names])


class Trained(NamedTuple):
    """A seed of a row, scored."""

    srcc: float
    minutes: float
    predicted: np.ndarray  # the mean scores of the test images


def figures(row: str, names: Sequence[str], true: np.ndarray, seeds: Sequence[Trained],
            baseline: np.ndarray) -> Dict[str, Any]:
    """A row of the table: the seeds' range, and of the median seed all else.

    Correlations overall and in each subset, and the difference to the closed form.
    """
    ordered = sorted(seeds, key=lambda each: each.srcc)
    _, minutes, predicted = ordered[len(ordered) // 2]
    intervals = {name: found[1] for name, found in analysis.srcc_intervals(true, [baseline, predicted]).items()}
    inside = {subset: np.array([name.startswith(subset) for name in names]) for subset in SUBSETS}
    return {'row': row, 'minutes': minutes, 'images': len(names), 'lcc': score_utils.lcc(true, predicted),
            'seeds': [ordered[0].srcc, ordered[-1].srcc],
            **{name: found._asdict() for name, found in intervals.items()},
            **{f'{name}_{subset}': measure(true[mask], predicted[mask]) for subset, mask in inside.items()
               for name, measure in (('srcc', score_utils.srcc), ('lcc', score_utils.lcc))}}


def measure(*, quick: bool, folder: str, work: str, row: Sequence[str], seeds: Sequence[int], images: Optional[int],
            idealo: Optional[str], flags: str) -> List[Dict[str, Any]]:
    """The figures of each row, the closed form before all others."""
    source, target = Path(folder).resolve(), Path(work).resolve()
    target.mkdir(parents=True, exist_ok=True)
    parts = {part: read(source, part)[:60 if quick else images if part == 'train' else None] for part in PARTS}
    labels = {part: write(rows, target / f'{part}_labels.csv') for part, rows in parts.items()}
    names, true = [name for name, _ in parts['test']], np.array([mean for _, mean in parts['test']])
    more = list(map(str, [*(QUICK if quick else ()), '--val_size', val_size(len(parts['train'])), *flags.split()]))

    def scored(each: str, number: int) -> Trained:
        place = target / (f'{each}_seed{number}' if number else each)
        given, minutes = [*more, '--seed', str(number)], 0.0
        if each in (UNTRAINED, TUNED):
            given += ['--weights', str(imported(each, idealo, target / UNTRAINED))]
        if each != UNTRAINED:
            minutes = trained(each, place, labels, source / IMAGES, given)
        predicted = scores(place, source / IMAGES, names)
        return Trained(score_utils.srcc(true, predicted), minutes, predicted)

    baseline = scored(BASELINE, 0)
    rows = [figures(BASELINE, names, true, [baseline], baseline.predicted)]
    for each in (name for name in row if name != BASELINE):
        found = [scored(each, number) for number in ([0] if each in SEEDLESS else seeds)]
        rows.append(figures(each, names, true, found, baseline.predicted))
    return rows


def described(rows: Sequence[Dict[str, Any]]) -> str:
    def shown(interval: Dict[str, float], sign: str = '') -> str:
        return f'{interval["value"]:{sign}.3f} [{interval["low"]:{sign}.3f}, {interval["high"]:{sign}.3f}]'

    return turns.table([
        ('row', 'SRCC', 'of the seeds', 'LCC', *(f'SRCC in {subset}' for subset in SUBSETS),
         'SRCC less the closed form\'s', 'minutes'),
        *((row['row'], shown(row['srcc']), '{:.3f} to {:.3f}'.format(*row['seeds']), f'{row["lcc"]:.3f}',
           *(f'{row["srcc_" + each]:.3f}' for each in SUBSETS), shown(row['difference'], '+'), f'{row["minutes"]:.1f}')
          for row in rows)])


if __name__ == '__main__':
    turns.main(measure, __doc__, described, folder={'required': True, 'metavar': 'DIR', 'help': 'a clone of BIQ2021'},
               work={'required': True, 'metavar': 'DIR', 'help': 'where models, features and labels are kept'},
               row={'nargs': '+', 'choices': sorted(ROWS), 'default': ['head'], 'metavar': 'ROW',
                    'help': f'of {", ".join(ROWS)} (default: head)'},
               seeds={'type': seed, 'nargs': '+', 'default': [0], 'metavar': 'N', 'help': 'of each row (default: 0)'},
               images={'type': int, 'metavar': 'N', 'help': 'training images, the first N (default: all)'},
               idealo={'metavar': 'FILE', 'help': f'weights for the rows {UNTRAINED} and {TUNED}'},
               flags={'default': '', 'metavar': 'FLAGS', 'help': "more of train.py's flags, such as '--threads 2'"})
