"""--trainable head beside full training, and what it learns of a large set from the pre-trained weights.

The photographs are drawn scenes (utils/demo_dataset.py) at the network's full size, whose votes follow from how they
are degraded: --photographs says how many for training, and a tenth as many are for validation.
"""
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import step_worker, turns  # noqa: E402
from benchmarks.startup import seconds  # noqa: E402
from utils.training import log  # noqa: E402

LEAST = 20.0  # times the images a second
TRAIN = 'import sys; sys.path.insert(0, {root!r}); import train; train.main({argv!r})'


def run(folder: str, name: str, *more: Any) -> List[Dict[str, Any]]:
    """The epochs of a train.py, as its train.csv has them."""
    model = os.path.join(folder, name)
    argv = ['--ava_dataset_path', os.path.join(folder, 'data', 'AVA.txt'), '--base_images_path',
            os.path.join(folder, 'data', 'image', 'images'), '--device', 'cpu', '--TMP_MODEL_PATF', model,
            '--TMP_LOG_PATH', os.path.join(model, 'log'), *map(str, more)]
    seconds([sys.executable, '-c', TRAIN.format(root=str(turns.ROOT), argv=argv)])
    return log.read_csv(os.path.join(model, 'log', 'train.csv'))


def measure(*, quick: bool, photographs: int = 1500) -> List[turns.Figure]:
    from utils.demo import dataset as drawn
    size, batch, epochs, full = (32, 8, 2, 16) if quick else (224, 100, 30, 200)
    photographs, val = (40, 8) if quick else (photographs, photographs // 10)
    with tempfile.TemporaryDirectory() as folder:
        drawn.make(os.path.join(folder, 'data'), train_size=photographs, val_size=val)
        common = '--val_size', val, '--batchsize', batch, '--image_size', size, '--weights', (
            'none' if quick else step_worker.weights())
        started = time.perf_counter()
        head = run(folder, 'head', *common, '--epochs', epochs, '--trainable', 'head', '--learning_rate', 0.1,
                   '--dropout', 0.2)
        wall = time.perf_counter() - started
        whole = run(folder, 'all', *common, '--epochs', 2, '--train_size', full)
    speed = sorted(each['images_per_second'] for each in head[1:])[len(head[1:]) // 2]
    slow = whole[-1]['images_per_second']
    times = speed / slow
    how = (f'images a second of an epoch, as train.py tells them: the median of the epochs after the first, and the '
           f'second epoch of {full} with all layers; batch {batch}, side {size}')
    learned = (f'validation SRCC of {val} drawn scenes after {epochs} epochs of the head alone on {photographs}, from '
               f'{os.path.basename(common[-1])}; all in all {wall:.0f} s, features and checkpoints included, which is '
               f'{epochs * photographs / wall:.0f} images a second; by epoch: '
               + ', '.join(f'{each["val_srcc"] or 0:.3f}' for each in head[::max(1, epochs // 6)]))
    return [turns.Figure('images a second, --trainable head', speed, slow, times, '', f'at least {LEAST:g} times',
                         times >= LEAST, how),
            turns.reported('head alone: validation SRCC', head[-1]['val_srcc'] or 0.0, '', learned)]


if __name__ == '__main__':
    turns.main(measure, __doc__ or '', photographs={'type': int, 'default': 1500, 'metavar': 'N'})
