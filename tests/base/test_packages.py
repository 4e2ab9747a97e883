"""utils/base/packages.py: the versions of packages, known without importing one, before a command begins."""
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from utils.base import packages


@pytest.mark.parametrize('version, wanted, expected', [
    ('2.10.0', '>=2.8,<3', True), ('3.1.0', '>=2.8,<3', False), ('2.7', '>=2.8,<3', False), ('3', '<3.0.1', True),
    ('1.15.5', '==1.15.*', True), ('1.15', '==1.15.*', True), ('2.11.0', '==1.15.*', False), ('1.2', '==1.2.0', True),
    ('3.0.0rc1', '<3', False), ('1.22.0', '<=1.21', False), ('1.22', '>1.21', True), ('odd', '<3', True),
    ('3', '~=2.1', True), ('3', '', True)])
def test_versions(version, wanted, expected):
    assert packages.fits(version, wanted) is expected


def test_this_python_fits():
    assert packages.problem() is None
    found = packages.installed()
    assert {'tensorflow', *packages.NEEDED} - set(found) <= {'tensorflow'}
    import h5py
    assert found['h5py'] == h5py.__version__
    assert set(packages.requirements()) >= {'tensorflow', *packages.NEEDED}


def started(folder, command, *names):
    """A command in a Python in which a folder with these installations comes first."""
    for name in names:
        (folder / name).mkdir()
    return subprocess.run([sys.executable, *command], cwd=str(ROOT), capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(folder)})


@pytest.mark.parametrize('command', [['train.py'], ['predict.py', 'x.jpg'], ['-m', 'utils.check_dataset'],
                                     ['-m', 'utils.export', 'model.h5', '--format', 'pb', '--output', 'x']])
def test_a_version_that_does_not_fit_is_refused_at_the_start(tmp_path, command):
    done = started(tmp_path, command, 'h5py-3.1.0.dist-info', 'NumPy-1.22.4-py3.7.egg-info')
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.split(': error: ', 1)[1] == (
        f'{sys.executable} has numpy 1.22.4 (expected numpy>=1.16,<1.22) and h5py 3.1.0 (expected h5py>=2.8,<3). '
        f"Install them with {sys.executable} -m pip install 'numpy>=1.16,<1.22' 'h5py>=2.8,<3'\n")


def test_another_tensorflow(tmp_path):
    done = started(tmp_path, ['eval.py'], 'tensorflow-2.11.0.dist-info')
    assert done.stderr == (f'eval.py: error: {sys.executable} has tensorflow 2.11.0 (expected tensorflow==1.15.*). '
                           f'Start it with bash {ROOT}/run.sh eval.py\n')
    assert started(tmp_path, ['eval.py', '--help']).returncode == 0
