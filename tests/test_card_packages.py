"""The scripts need the card's packages alone: they run where Pillow, tqdm and matplotlib cannot be imported."""
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

CONVENIENCE = 'PIL', 'tqdm', 'matplotlib'


@pytest.fixture
def run(tmp_path):
    """Runs Python in which importing CONVENIENCE fails."""
    (tmp_path / 'sitecustomize.py').write_text(
        f'import sys\nsys.modules.update(dict.fromkeys({CONVENIENCE}))\n')

    def run_python(*argv):
        return subprocess.run([sys.executable, *map(str, argv)], cwd=str(tmp_path), capture_output=True, text=True,
                              env={**os.environ, 'PYTHONPATH': str(tmp_path), 'CUDA_VISIBLE_DEVICES': '-1'})
    return run_python


@pytest.mark.parametrize('name', CONVENIENCE)
def test_here_these_packages_cannot_be_imported(run, name):
    assert f"import of {name} halted" in run('-c', f'import {name}').stderr


@pytest.mark.slow
def test_train_eval_and_predict_need_only_the_cards_packages(run, dataset, tmp_path):
    common = ['--TMP_MODEL_PATF', tmp_path / 'model', '--device', 'cpu']
    split = [*dataset.flags, '--val_size', '4']
    for script, argv, label in (
            ('train.py', [*split, '--image_size', '32', '--batchsize', '4', '--weights', 'none', '--epochs', '1',
                          '--TMP_LOG_PATH', tmp_path / 'log'], 'epoch 1/1 2/2'),
            ('eval.py', [*split, '--checkpoint', 'model_001.h5'], 'scoring 1/1'),
            ('predict.py', [dataset.images, '--checkpoint', 'model_001.h5'], 'scoring 12/12')):
        done = run(ROOT / script, *argv, *common)
        assert done.returncode == 0, done.stderr
        assert re.search(rf'^{label}', done.stderr, re.M)  # plain lines stand in for the bar
