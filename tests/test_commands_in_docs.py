"""Every command in READMEs and docs, as it stands there, in a copy of the project, with small data in AVA's places.

A block after a line such as <!-- not run: hardware --> is left out. Trainings get flags that make them short.
"""
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, SHARED, copy_project, make_dataset

PAGES = [*sorted(ROOT.glob('README*.md')), *sorted((ROOT / 'docs').glob('**/*.md'))]
BLOCK = re.compile(r'(?:<!-- (?P<note>[^>]*) -->\s*)?^ *```bash\n(?P<lines>.*?)^ *```', re.M | re.S)
REASONS = {'hardware', 'network', 'builds Horovod', 'long'}
MADE = [  # by a page's commands, and removed before those of the next
    'scores.csv', 'best.png', 'exported', 'packed', 'report', 'mine', 'bins', 'report.json', 'AVA.txt',
    'AVA_dataset/AVA_clean.txt', 'model/head', 'model/idealo']
IMPORTED = 'model/aesthetic.h5'  # made by some pages, read by others


def blocks(page):
    """The commands of each block of a page, and why it is not run, None where it is."""
    for match in BLOCK.finditer(page.read_text(encoding='utf-8')):
        note = match.group('note') or ''
        lines = [line.split('  #')[0].strip() for line in match.group('lines').replace('\\\n', ' ').splitlines()]
        yield [line for line in lines if line], note[len('not run: '):] if note.startswith('not run: ') else None


def test_what_is_not_run_says_why():
    reasons = [reason for page in PAGES for _, reason in blocks(page) if reason is not None]
    assert reasons and set(reasons) <= REASONS


def test_every_command_starts_in_a_way_that_works_everywhere():
    ways = re.compile(r'bash (run|train_1p|test_1p|train_8p|tests/run)\.sh\b|find .*\| bash run\.sh ')
    for page in PAGES:
        for lines, reason in blocks(page):
            assert reason or all(ways.match(line) for line in lines), (page.name, lines)


def shortened(line):
    """A command with the flags that make it short."""
    if 'pip install' in line or '|' in line:
        return line
    more = []
    if 'train_1p.sh' in line:
        more = ['--train_size 16', '--threads 1']
        more += [] if '--weights' in line or '--records' in line else ['--image_size 32', '--weights none']
        more += [] if '--batchsize' in line else ['--batchsize 8']
        more += [] if '--resume' in line else ['--overwrite']
        more += [] if '--demo' not in line else ['--epochs 1']
    if re.search('train_1p.sh|test_1p.sh|check_dataset|records pack', line) and '--val_size' not in line:
        more.append('--val_size 16')
    if '--demo' in line and 'test_1p.sh' in line:
        more.append('--checkpoint newest')
    return ' '.join([line, *more])


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A copy of the project with a dataset, weights, checkpoints of two epochs and a person's images."""
    weights = SHARED / 'weights'
    if not weights.is_dir():
        pytest.skip('no shared/weights beside the project')
    folder = copy_project(tmp_path_factory.mktemp('commands') / 'a project')
    for name in ['tools', 'docs']:
        shutil.copytree(str(ROOT / name), str(folder / name))
    for path in ROOT.glob('requirements*.txt'):
        shutil.copy(str(path), str(folder))
    shutil.rmtree(str(folder / 'AVA_dataset'))
    data = make_dataset(folder / 'AVA_dataset', 64)
    os.symlink(str(weights / 'mobilenet_1_0_224_tf_no_top.EXACT.h5'),
               str(folder / 'weights' / 'mobilenet_1_0_224_tf_no_top.h5'))
    for name in ['weights_mobilenet_aesthetic_0.07.hdf5', 'FILE']:
        os.symlink(str(weights / 'nima_aesthetic_idealo_dequantised.h5'), str(folder / name))
    for name in ['photographs', 'holiday', 'archive']:
        shutil.copytree(str(data.images), str(folder / name))
    shutil.copy(str(data.images / '1000.jpg'), str(folder / 'photo.jpg'))
    for path in (folder / 'archive').iterdir():
        os.utime(str(path), (4e9, 4e9))  # newer than any output
    random = np.random.RandomState(0)
    (folder / 'votes.csv').write_text(''.join(
        ','.join(map(str, [1000 + number, *random.multinomial(50, np.full(10, 0.1))])) + '\n' for number in range(64)))
    run(folder, f'bash run.sh -m utils.models import FILE --resize nearest --padding symmetric -o {IMPORTED}')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_runs(project, page):
    commands = [shortened(line) for lines, reason in blocks(page) if reason is None for line in lines]
    if not commands:
        pytest.skip('no commands on this page')
    for name in MADE:
        made = project / name
        shutil.rmtree(str(made)) if made.is_dir() else made.exists() and made.unlink()
    if (project / IMPORTED).exists() and any(f'-o {IMPORTED}' in command for command in commands):
        (project / IMPORTED).unlink()
    for command in commands:
        run(project, command)


def run(project, command):
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '-1',
                   'PATH': os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])}
    done = subprocess.run(['bash', '-o', 'pipefail', '-c', command], cwd=str(project), env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
