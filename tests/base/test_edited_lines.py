"""The lines that the card tells its users to edit: literal, once, and changed with sed in a copy of the project."""
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, copy_project, make_dataset, make_model

LINES = {
    'utils/data_loader.py': ["base_images_path = r'./AVA_dataset/image/images/'",
                             "ava_dataset_path = r'./AVA_dataset/AVA.txt'"],
    'train.py': ["TMP_WEIGHTS_PATH = './weights'", '"mobilenet_1_0_224_tf_no_top.h5"',
                 "base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, "],
    'eval.py': ["TMP_MODEL_PATF = './model/'", '"model_007.h5"'],
}


def make_project(folder):
    """A copy of the project with its own small dataset in AVA_dataset/."""
    folder = copy_project(folder / 'a project')
    make_dataset(folder / 'AVA_dataset', 12)
    return folder


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def make_checkpoint(folder):
    folder.mkdir()
    return make_model(folder / 'model_001.h5')


def sed(project, name, expression):
    before = (project / name).read_text()
    subprocess.run(['sed', '-i', expression, str(project / name)], check=True)
    assert (project / name).read_text() != before


def run(project, script, *flags, cwd='/'):
    done = subprocess.run([sys.executable, str(project / script), '--device', 'cpu', *flags], cwd=str(cwd),
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


TRAIN = ['--weights', 'none', '--image_size', '32', '--batchsize', '4', '--val_size', '4', '--epochs', '1']


@pytest.mark.parametrize('name, line', [(name, line) for name, lines in LINES.items() for line in lines])
def test_each_line_stands_once(name, line):
    text = (ROOT / name).read_text()
    assert text.count(line) == 1
    position = text[:text.index(line)].count('\n')
    assert position < 55


def test_the_paths_are_plain_assignments_one_a_line():
    for name in ('base_images_path', 'ava_dataset_path'):
        assert len(re.findall(rf"^{name} = r'[^']*'$", (ROOT / 'utils' / 'data_loader.py').read_text(), re.M)) == 1


@pytest.mark.slow
def test_unedited_a_copy_trains_and_scores_from_any_folder(project, tmp_path):
    assert run(project, 'train.py', *TRAIN, cwd=tmp_path)[0] == 0
    assert (project / 'model' / 'model_001.h5').is_file() and (project / 'log' / 'train.csv').is_file()
    code, out, _ = run(project, 'eval.py', '--val_size', '4', '--checkpoint', 'model_001.h5', cwd=tmp_path)
    assert code == 0 and re.fullmatch(r'loss  0\.\d{6}     srcc (-?[01]\.\d{6}|nan)', out.splitlines()[-1])


@pytest.mark.parametrize('relative', [pytest.param(True, marks=pytest.mark.slow), False])
def test_edited_dataset_paths(project, relative):
    shutil.move(str(project / 'AVA_dataset'), str(project / 'mine'))
    where = './mine' if relative else str(project / 'mine')
    sed(project, 'utils/data_loader.py', f's#^base_images_path = .*#base_images_path = r"{where}/image/images"#')
    sed(project, 'utils/data_loader.py', f's#^ava_dataset_path = .*#ava_dataset_path = r"{where}/AVA.txt"#')
    if relative:
        assert run(project, 'train.py', *TRAIN)[0] == 0
    else:  # the same lines, read by a quicker command
        check = [sys.executable, str(project / 'utils' / 'check_dataset.py'), '--headers_only', '--val_size', '4']
        assert subprocess.run(check, cwd='/').returncode == 0


@pytest.mark.slow
def test_edited_base_model_and_weights(project):
    done = subprocess.run([sys.executable, '-c', 'import tensorflow as tf; tf.keras.applications.MobileNet('
                           '(32, 32, 3), alpha=0.25, include_top=False, weights=None).save_weights("quarter.h5")'],
                          cwd=str(project), stderr=subprocess.DEVNULL)
    assert done.returncode == 0
    (project / 'trained').mkdir()
    os.rename(str(project / 'quarter.h5'), str(project / 'trained' / 'quarter.h5'))
    sed(project, 'train.py', "s#^TMP_WEIGHTS_PATH = .*#TMP_WEIGHTS_PATH = './trained/'#")
    sed(project, 'train.py', 's#mobilenet_1_0_224_tf_no_top.h5#quarter.h5#')
    code, _, err = run(project, 'train.py', *TRAIN[2:])
    assert code == 1 and "for the layer 'conv1', expected" in err
    sed(project, 'train.py', 's#alpha=1, #alpha=0.25, #')
    assert run(project, 'train.py', *TRAIN[2:])[0] == 0


@pytest.mark.slow
def test_edited_names_are_joined_to_their_folders(project, tmp_path):
    sed(project, 'train.py', 's#mobilenet_1_0_224_tf_no_top.h5#mine/base.h5#')
    code, _, err = run(project, 'train.py', *TRAIN[2:], cwd=tmp_path)
    assert code == 1 and f'{project}/weights/mine/base.h5: no such file' in err
    sed(project, 'eval.py', 's#"model_007.h5"#"mine/model_001.h5"#')
    make_checkpoint(project / 'model' / 'mine')
    assert run(project, 'eval.py', '--val_size', '4', cwd=tmp_path)[0] == 0
    image = project / 'AVA_dataset' / 'image' / 'images' / '1000.jpg'
    assert run(project, 'predict.py', str(image), cwd=tmp_path)[0] == 0


def test_edited_checkpoint_folder_and_name(project):
    make_checkpoint(project / 'elsewhere')
    sed(project, 'eval.py', "s#^TMP_MODEL_PATF = .*#TMP_MODEL_PATF = './elsewhere'#")
    code, _, err = run(project, 'eval.py', '--val_size', '4')
    assert code == 1 and 'no such checkpoint, but model_001.h5' in err and 'Traceback' not in err
    command = re.search(r'\. Type (.*), or --checkpoint newest', err).group(1)
    environment = {**os.environ, 'PATH': os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])}
    done = subprocess.run(command, shell=True, cwd='/', env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith('loss  '), done.stderr
    sed(project, 'eval.py', 's#"model_007.h5"#"model_001.h5"#')
    sed(project, 'eval.py', "s#^TMP_MODEL_PATF = .*#TMP_MODEL_PATF = './elsewhere/'#")
    assert run(project, 'eval.py', '--val_size', '4')[0] == 0


def test_a_flag_wins_over_an_edited_line(project):
    sed(project, 'utils/data_loader.py', 's#^ava_dataset_path = .*#ava_dataset_path = r"/nowhere/AVA.txt"#')
    code, _, err = run(project, 'train.py', *TRAIN)
    assert code == 1 and '/nowhere/AVA.txt' in err and 'Traceback' not in err
    assert run(project, 'eval.py', '--val_size', '4', '--ava_dataset_path', 'AVA_dataset/AVA.txt', '--checkpoint',
               str(make_checkpoint(project / 'mine')), cwd=project)[0] == 0
