"""The READMEs' recipe 'Your own 300 photographs': its commands as they stand there, in a copy of the project."""
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, SHARED, copy_project

PHOTOGRAPHS = 62  # of which the recipe keeps 30 for validation: enough for a step of its 32
WEIGHTS = SHARED / 'weights' / 'mobilenet_1_0_224_tf_no_top.RECONSTRUCTED.h5'
FLAGS = {  # what the tests add to the recipe's lines, to take a minute at most
    'train_1p.sh': '--epochs 1', 'test_1p.sh': '--checkpoint model_001.h5', 'predict.py': '--checkpoint model_001.h5'}
SMALL = {**FLAGS, 'train_1p.sh': '--epochs 1 --image_size 32 --weights none'}


def recipe(readme):
    """The lines of the block after the marker, without those that are empty."""
    block, = re.findall(r'<!-- recipe -->\n```bash\n(.*?)```', (ROOT / readme).read_text(encoding='utf-8'), re.S)
    return [line for line in block.splitlines() if line.strip()]


@pytest.fixture
def project(tmp_path):
    """A copy of the project with photographs/ and votes.csv, as the recipe's reader has them."""
    from PIL import Image
    folder = copy_project(tmp_path / 'a project')
    (folder / 'photographs').mkdir()
    random = np.random.RandomState(0)
    lines = []
    for number in range(PHOTOGRAPHS):
        pixels = random.randint(256, size=(60, 80 + number, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(str(folder / 'photographs' / f'photo-{number}.jpg'))
        lines.append(','.join(map(str, [f'photo-{number}', *random.multinomial(50, np.full(10, 0.1))])))
    (folder / 'votes.csv').write_text('\n'.join(lines) + '\n')
    return folder


def run(project, lines, more):
    """The output of the recipe's lines, typed into bash, each with the flags that `more` has for its script."""
    for script, flags in more.items():
        number, = [number for number, line in enumerate(lines) if f'{script} ' in line]
        lines[number] += f' {flags}'
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '-1',
                   'PATH': os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])}
    done = subprocess.run(['bash', '-e', '-o', 'pipefail', '-c', '\n'.join(lines)], cwd=str(project), env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check(project, printed):
    labels = [line.split() for line in (project / 'mine' / 'AVA.txt').read_text().splitlines()]
    assert [int(columns[0]) for columns in labels] == list(range(1, PHOTOGRAPHS + 1))
    votes = [line.strip('\ufeff').split(',') for line in (project / 'votes.csv').read_text().splitlines()]
    assert sorted(columns[1:] for columns in labels) == sorted(votes)
    assert 'nothing found' in printed
    assert (project / 'mine' / 'model' / 'log' / 'train.csv').is_file()
    assert any(re.fullmatch(r'loss  0\.\d{6}     srcc (-?[01]\.\d{6}|nan)', line) for line in printed)
    names = [f'photo-{number}.jpg' for number in range(PHOTOGRAPHS)]
    scored = [line.split() for line in printed if line.endswith('.jpg')]
    assert sorted(os.path.basename(columns[-1]) for columns in scored) == sorted(names)
    assert all(1 <= float(columns[0]) <= 10 for columns in scored)


def test_both_readmes_have_the_same_recipe():
    english, chinese = ([line.split('  #')[0].rstrip() for line in recipe(readme)]
                        for readme in ('README.md', 'README.zh-CN.md'))
    assert english == chinese


@pytest.mark.slow
def test_the_recipe_with_small_images_and_no_weights(project):
    check(project, run(project, recipe('README.md'), SMALL))


def test_a_table_as_excel_writes_it(project):
    """Only the lines up to the check: a BOM and CRLF change nothing in the labels."""
    votes = (project / 'votes.csv').read_text()
    until_check = recipe('README.md')[:1 + [
        number for number, line in enumerate(recipe('README.md')) if 'check_dataset' in line][0]]
    run(project, until_check, {})
    expected = sorted(line.split()[1:] for line in (project / 'mine' / 'AVA.txt').read_text().splitlines())
    os.remove(str(project / 'mine' / 'AVA.txt'))
    (project / 'votes.csv').write_bytes(b'\xef\xbb\xbf' + votes.replace('\n', '\r\n').encode())
    assert run(project, until_check, {})[-1] == 'nothing found'
    assert sorted(line.split()[1:] for line in (project / 'mine' / 'AVA.txt').read_text().splitlines()) == expected


@pytest.mark.slow
def test_the_recipe_as_it_stands(project):
    if not WEIGHTS.is_file():
        pytest.skip(f'no shared/weights/{WEIGHTS.name} beside the project: it stands in for the pre-trained weights')
    os.symlink(str(WEIGHTS), str(project / 'weights' / 'mobilenet_1_0_224_tf_no_top.h5'))
    check(project, run(project, recipe('README.md'), FLAGS))
