"""The commands as a user who is not root, has no home that can be written, keeps files private and owns one folder."""
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, make_model

from benchmarks import kill

NOBODY = 65534
# Everything can be read, as it can by the user who installed it: pytest's folders and this Python may be private.
AS_NOBODY = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', '--inh-caps=+dac_read_search',
             '--ambient-caps=+dac_read_search']


@pytest.fixture
def as_user():
    """The beginning of a command that runs without rights."""
    if os.getuid():
        return []
    if not shutil.which('setpriv') or subprocess.run([*AS_NOBODY, sys.executable, '-c', ''],
                                                     stderr=subprocess.DEVNULL).returncode:
        pytest.skip('root may not become another user here')
    return AS_NOBODY


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_user_without_rights_and_without_a_home(as_user, tmp_path):
    project = kill.Project(tmp_path, epochs=1)
    for name in ('predict.py', 'eval.py'):
        shutil.copy(str(ROOT / name), str(project.root))
    model, out = str(make_model(tmp_path / 'model.h5')), tmp_path / 'out'
    out.mkdir()
    if as_user:
        os.chown(str(out), NOBODY, NOBODY)
    else:
        project.root.chmod(0o555)
    images = ['--base_images_path', str(project.data / 'image' / 'images')]
    data = ['--ava_dataset_path', str(project.data / 'AVA.txt'), *images]
    before = sorted(tmp_path.rglob('*'))
    for words, code, sentence in (
            ([*project.words(out / 'model')[1:], '--epochs', '1'], 0, ''),
            (['predict.py', images[1], '--checkpoint', model, '--device', 'cpu', '--output', f'{out}/s.csv'], 0, ''),
            (['eval.py', *data, '--val_size', '4', '--checkpoint', model, '--device', 'cpu', '--report',
              f'{out}/report'], 0, ''),
            (['-m', 'utils.check_dataset', *data, '--list', f'{out}/list'], 0, ''),
            (['-m', 'utils.check_dataset', *data], 1, f'cannot write {project.root}/log: Permission denied.'),
            (['-m', 'utils.demo_dataset'], 1, f'cannot write {project.root}/AVA_dataset/demo: Permission denied.')):
        done = subprocess.run(
            [*as_user, 'bash', '-c', 'umask 077; exec "$0" "$@"', sys.executable, *words], cwd=str(project.root),
            env={'PATH': os.environ['PATH'], 'HOME': '/nonexistent'}, capture_output=True, text=True)
        assert done.returncode == code and 'Traceback' not in done.stderr, (words, done.stderr)
        assert sentence in done.stderr, done.stderr
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.rglob('*'))
    assert {path.name for path in out.iterdir()} == {'model', 's.csv', 'report', 'list'}
    assert [path for path in sorted(tmp_path.rglob('*')) if out not in path.parents] == before
