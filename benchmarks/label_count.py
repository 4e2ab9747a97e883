"""How many labels are enough: SRCC of the closed form by the number of BIQ2021's training images.

    bash run.sh -m benchmarks.real_votes --folder BIQ2021 --work DIR --row closed_form_native
    bash run.sh -m benchmarks.label_count --folder BIQ2021 --work DIR --picture label_count.png

It takes the features that the first command left in --work, draws so many of the training images, and ranks the
validation images, whose scenes are not among these; the test images are not used. Three draws of each number.
"""
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from benchmarks import real_votes, turns
from utils import data_loader, score_utils
from utils.base import files
from utils.base.errors import InputError, require_packages
from utils.data import ava
from utils.training import closed_form
from utils.training.feature_rows import DATA

COUNTS, DRAWS = (100, 300, 1000, 3000, 9000), 3
SUBSET = 'ss02'  # the hardest, see real_votes.py


def features(work: Path, part: str, count: int) -> np.ndarray:
    """The features float32 [count, F] of a part, 'training' or 'validation': those of the largest images."""
    found = {}
    for path in work.glob(f'features/{part}-*/manifest.json'):
        manifest = json.loads(path.read_text())
        if manifest['done'] == manifest['count'] == count:
            found[manifest['preprocessing']['image_size']] = path.parent / DATA
    if not found:
        raise InputError(f'{work}: found no complete features of {count} {part} images. Run benchmarks.real_votes with '
                         'this --work first')
    return np.fromfile(str(found[max(found)]), np.float32).reshape(count, -1)


def measure(*, quick: bool, folder: str, work: str, picture: Optional[str]) -> List[Dict[str, Any]]:
    if picture:
        require_packages('--picture', {'matplotlib': 'matplotlib'}, 'requirements-report.txt')
    labels, images = (str(Path(path).resolve()) for path in (Path(work, 'train_labels.csv'),
                                                             Path(folder, real_votes.IMAGES)))
    size = real_votes.val_size(ava.read(labels, images).count)
    train, val, _ = data_loader.read_parts(size, labels=labels, images=images, group=real_votes.NEIGHBOURS)
    known, left_out = (features(Path(work), *part) for part in (('training', train.count), ('validation', val.count)))
    inside = np.array([name.startswith(SUBSET) for name in val.ids])
    means, true = (score_utils.mean_score(part.distributions) for part in (train, val))

    def ranked(count: int, seed: int) -> List[float]:
        some = np.random.RandomState(seed).permutation(train.count)[:count]
        predicted = closed_form.fit(known[some], means[some], seed=seed).predict(left_out)
        return [score_utils.srcc(true, predicted), score_utils.srcc(true[inside], predicted[inside])]

    rows = []
    for count in sorted({min(count, train.count) for count in (COUNTS[:1] if quick else COUNTS)}):
        draws = np.array([ranked(count, seed) for seed in range(DRAWS)])
        rows.append({'images': count, 'srcc': draws[:, 0].tolist(), f'srcc_{SUBSET}': draws[:, 1].tolist()})
    if picture:
        with files.writing(picture, 'Choose another --picture'):
            draw(rows, picture)
    return rows


def draw(rows: Sequence[Dict[str, Any]], path: str) -> None:
    """A picture of the rows: each draw a point, their means a line."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(6, 3.5), dpi=120)
    counts = [row['images'] for row in rows]
    for name, label in (('srcc', 'all'), (f'srcc_{SUBSET}', f'within {SUBSET}')):
        line, = axes.plot(counts, [np.mean(row[name]) for row in rows], label=label)
        for count, row in zip(counts, rows):
            axes.plot([count] * len(row[name]), row[name], '.', color=line.get_color())
    axes.set(xscale='log', xlabel='training images', ylabel='SRCC', ylim=(0, 1), xticks=counts)
    axes.set_xticklabels([f'{count:,}' for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def described(rows: Sequence[Dict[str, Any]]) -> str:
    return turns.table([('training images', 'SRCC', 'of the draws', f'within {SUBSET}'), *(
        (f'{row["images"]:,}', f'{np.mean(row["srcc"]):.3f}', f'{min(row["srcc"]):.3f} to {max(row["srcc"]):.3f}',
         f'{np.mean(row["srcc_" + SUBSET]):.3f}') for row in rows)])


if __name__ == '__main__':
    turns.main(measure, __doc__, described, folder={'required': True, 'metavar': 'DIR', 'help': 'a clone of BIQ2021'},
               work={'required': True, 'metavar': 'DIR', 'help': 'the same folder as for benchmarks.real_votes'},
               picture={'metavar': 'FILE', 'help': 'also draw it, which needs requirements-report.txt'})
