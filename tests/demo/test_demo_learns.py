"""The demo learns what a person can see: unseen scenes, three seeds, every kind of degradation."""
import json

import numpy as np
import pytest

import eval as score
import train
from utils import data_loader, nima, score_utils
from utils.base import defaults
from utils.base.preprocessing import Preprocessing
from utils.data import ava
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet, Reading
from utils.device import device
from utils.model import build, checkpoint, model_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def predictions(folder):
    """True [N] and predicted [N] means of the demo's validation scenes, and the kind of each."""
    _, val = data_loader.read_split(defaults.DEMO['val_size'], labels=defaults.DEMO['ava_dataset_path'],
                                    images=defaults.DEMO['base_images_path'])
    with device.open_run('cpu'):
        model = build.for_scoring(model_file.read(checkpoint.path_of(str(folder), 7)))
        reading = Reading(Preprocessing(image_size=model.input_shape[1]))
        batches = data_loader.val_batches(ImageSet(val, BadImages(val.count)), 50, reading)
        predicted = np.concatenate([nima.predict(model, images, 50) for images, _ in batches])
    with open(defaults.DEMO_DATASET + '/demo.json') as stream:
        scenes = json.load(stream)['scenes']
    return val.distributions @ ava.SCORES, predicted @ ava.SCORES, np.array([scenes[name]['kind'] for name in val.ids])


@pytest.mark.parametrize('seed', ['0', '1', '2'])
def test_demo(seed, tmp_path, capsys):
    history = train.main(['--demo', '--seed', seed, '--device', 'cpu', '--TMP_MODEL_PATF', str(tmp_path),
                          '--TMP_LOG_PATH', str(tmp_path)])
    assert len(checkpoint.existing(str(tmp_path))) == 7
    true, predicted, kinds = predictions(tmp_path)
    assert score_utils.srcc(true, predicted) >= 0.7
    within = {kind: score_utils.srcc(true[kinds == kind], predicted[kinds == kind]) for kind in set(kinds)}
    assert len(within) == 4 and min(within.values()) >= 0.5, within
    metrics = score.main(['--demo', '--device', 'cpu', '--TMP_MODEL_PATF', str(tmp_path)])
    assert metrics['srcc_mean'] == pytest.approx(history.history['val_srcc'][-1], abs=1e-6)
    with capsys.disabled():
        print(f'\nseed {seed}: SRCC {metrics["srcc_mean"]:.3f}, ' +
              ', '.join(f'{kind} {value:.3f}' for kind, value in sorted(within.items())))
