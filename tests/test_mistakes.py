"""Mistakes that people make, made as they do: one clear error, an exit code, nothing harmed on disk."""
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, copy_project, make_dataset, snapshot

from utils.base import defaults
from utils.demo import dataset as drawn

HOW = '(a flag, and a line of utils/data_loader.py)'
SKIP = ': correct or delete the line, or leave out bad lines with --skip_bad_labels'
TINY = ['--image_size', '32', '--batchsize', '4', '--weights', 'none', '--epochs', '1']
HTML = b'<!DOCTYPE html><html><title>404 Not Found</title></html>'


def start(command, cwd):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    environment = {**os.environ, 'PATH': path, 'CUDA_VISIBLE_DEVICES': '-1'}
    return subprocess.Popen([str(part) for part in command], cwd=str(cwd), env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, universal_newlines=True)


class Desk:
    """A person's folder: a dataset in data/, an old checkpoint and log; commands are typed in it."""

    def __init__(self, folder):
        self.folder = folder
        self.data = make_dataset(folder / 'data', 12)
        for name in ('model/model_001.h5', 'log/train.csv'):
            (folder / name).parent.mkdir()
            (folder / name).write_text('of an earlier run')

    def relabel(self, edit):
        """Replace the label file's lines by `edit` of them."""
        lines = self.data.labels.read_text().splitlines()
        self.data.labels.write_text('\n'.join(edit(lines)) + '\n')

    def start(self, name, argv):
        """Start a script on this desk's dataset, with small settings unless `argv` has others."""
        argv = list(map(str, argv))
        own = ['--ava_dataset_path', 'data/AVA.txt', '--base_images_path', 'data/image/images', '--val_size', '4',
               '--TMP_MODEL_PATF', 'model', '--device', 'cpu']
        # --overwrite: not even that lets bad input harm what is there.
        training = [*TINY, '--TMP_LOG_PATH', 'log', '--overwrite'] if name == 'train.py' else []
        return start([sys.executable, ROOT / name, *own, *training, *argv], self.folder)  # the last of a flag counts

    def stops(self, name, *argvs):
        """The sentences that a script stops with, typed once with each of `argvs`; nothing changes on disk."""
        before = snapshot(self.folder)
        results = []
        for first in range(0, len(argvs), 2):  # two at a time, for two cores
            running = [self.start(name, argv) for argv in argvs[first:first + 2]]
            results += [(*process.communicate(), process.returncode) for process in running]
        assert snapshot(self.folder) == before
        for out, err, code in results:
            assert code == 1 and 'Traceback' not in err and 'Traceback' not in out, err
        self.printed = [out for out, _, _ in results]
        sentences = [err.splitlines()[-1] for _, err, _ in results]
        assert all(sentence.startswith(f'{name}: error: ') for sentence in sentences)
        return [sentence[len(f'{name}: error: '):] for sentence in sentences]

    def stop(self, name, *argv):
        """The sentence that a script stops with."""
        return self.stops(name, argv)[0]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def clone(tmp_path):
    """A copy of the project as git clone leaves it."""
    return copy_project(tmp_path / 'clone')


def run_in(folder, *command):
    process = start(command, folder)
    out, err = process.communicate()
    return process.returncode, out, err


# --- dataset


def test_the_first_command_without_a_dataset(clone):
    before = snapshot(clone)
    code, _, err = run_in(clone, 'bash', 'train_1p.sh')
    assert (code, err) == (1, f'train.py: error: {clone}/AVA_dataset/AVA.txt: found nothing, expected the label file: '
                              f'set ava_dataset_path {HOW} to your copy of AVA.txt, or try everything without a '
                              'dataset: bash train_1p.sh --demo\n')
    code, _, err = run_in(clone, 'bash', 'test_1p.sh')
    assert (code, err) == (1, f'eval.py: error: {clone}/model/model_007.h5: no checkpoint, and no other in that '
                              'folder. Train first (bash train_1p.sh), or choose another --TMP_MODEL_PATF or '
                              '--checkpoint\n')
    assert snapshot(clone) == before


@pytest.mark.parametrize('nested', ['AVA.txt', 'image'])
def test_a_dataset_that_was_unpacked_into_a_folder_of_its_own_name(desk, nested):
    target = desk.folder / 'AVA_dataset' / 'AVA_dataset'
    shutil.move(str(desk.data.folder), str(target))
    labels = 'AVA_dataset/AVA.txt' if nested == 'AVA.txt' else target / 'AVA.txt'
    sentence = desk.stop('train.py', '--ava_dataset_path', labels, '--base_images_path', 'AVA_dataset/image/images')
    if nested == 'AVA.txt':
        assert sentence == (f'{desk.folder}/AVA_dataset/AVA.txt: found nothing, expected the label file: set '
                            f'ava_dataset_path {HOW} to {target}/AVA.txt, which exists')
    else:
        assert sentence == (f'{desk.folder}/AVA_dataset/image/images: found nothing, expected the folder of '
                            f'images: set base_images_path {HOW} to {target}/image/images, where images are')


def test_the_two_paths_the_wrong_way_round(desk):
    assert desk.stop('train.py', '--ava_dataset_path', 'data/image/images', '--base_images_path', 'data/AVA.txt') == (
        f'ava_dataset_path is a folder, {desk.data.images}, and base_images_path a file, {desk.data.labels}: exchange '
        'the two')


def test_no_image_for_any_label(desk):
    desk.relabel(lambda lines: ['{} x{} {}'.format(*line.split(' ', 2)) for line in lines])
    assert desk.stop('eval.py', '--checkpoint', 'model_001.h5') == (
        f'{desk.data.images}: found none of the 12 labelled images, expected the folder of images: set '
        f'base_images_path {HOW} to the folder of ID.jpg')


BAD_LINES = {
    '13 1012 1 2 3': "found 5 of 12 columns, '13 1012 1 2 3', expected index, id and ten votes" + SKIP,
    'index id one two three four five six seven eight nine ten':
        "found 'one' votes for score 1, expected a number from 0" + SKIP,
    '13 1012 1 -2 3 4 5 6 7 8 9 10': "found '-2' votes for score 2, expected a number from 0" + SKIP,
    '13 1012 0 0 0 0 0 0 0 0 0 0': 'found votes that add up to 0, expected at least one vote' + SKIP,
    '13 1000 1 2 3 4 5 6 7 8 9 10': 'found id 1000, which line 1 has too, expected each id once: delete one of the two '
                                    'lines, or leave out bad lines with --skip_bad_labels',
}


@pytest.mark.slow
def test_bad_label_lines(desk):
    good = desk.data.labels.read_text()
    paths = [desk.folder / f'{number}.txt' for number in range(len(BAD_LINES))]
    for path, line in zip(paths, BAD_LINES):
        path.write_text(good + line)
    sentences = desk.stops('train.py', *[['--ava_dataset_path', path] for path in paths])
    assert sentences == [f'{path}:13: {message}' for path, message in zip(paths, BAD_LINES.values())]


def test_an_empty_label_file(desk):
    desk.data.labels.write_text('')
    assert desk.stop('train.py') == (f"{desk.data.labels}: found no lines, expected lines of 'index id v1 ... v10': "
                                      'give the label file AVA.txt')


@pytest.mark.parametrize('script, argv', [('train.py', ['--weights', 'missing.h5']),
                                          ('eval.py', ['--checkpoint', 'model_001.h5'])])
def test_bad_labels_are_skipped_and_counted_where_asked(desk, script, argv):
    desk.relabel(lambda lines: ['hello', *lines, '13 1012 0 0 0 0 0 0 0 0 0 0'])
    said = desk.stop(script, '--skip_bad_labels', '--max_bad_labels', '0.2', *argv)
    assert argv[-1] in said  # the run went on to the next mistake
    assert f"{desk.data.labels}: bad lines left out: 2, first line 1: found 1 of 12 columns, 'hello'" in desk.printed[0]


def test_windows_labels_are_read(desk):
    desk.data.labels.write_bytes(b'\xef\xbb\xbf' + desk.data.labels.read_bytes().replace(b'\n', b' \t\r\n'))
    assert 'missing.h5: no such file' in desk.stop('train.py', '--weights', 'missing.h5')


@pytest.mark.parametrize('script, argv, message', [
    ('train.py', ['--val_size', '5000'],
     'val_size: found 5000, expected 1 to 11 of the 12 images: type --val_size 1'),
    ('train.py', ['--val_size', '12'],
     'val_size: found 12, expected 1 to 11 of the 12 images: type --val_size 1'),
    ('eval.py', ['--val_size', '13', '--checkpoint', 'model_001.h5'],
     'val_size: found 13, expected 1 to 12 of the 12 images: type --val_size 12'),
    ('train.py', ['--batchsize', '100'], 'batchsize 100 is more than the 8 training images of an epoch. '
                                         'Use --batchsize 8 or less'),
])
def test_sizes_that_do_not_fit_the_dataset(desk, script, argv, message):
    assert desk.stop(script, *argv) == message


@pytest.mark.slow
def test_unreadable_images(desk):
    (desk.data.images / '1003.jpg').write_bytes(HTML)
    shutil.rmtree(str(desk.folder / 'log'))
    before = snapshot(desk.folder / 'model')
    process = desk.start('train.py', [])
    _, err = process.communicate()
    assert process.returncode == 1 and 'Traceback' not in err
    assert re.search(rf'^train\.py: error: {desk.data.images}/1003\.jpg: unreadable \(.*\)\. 1 of 8 training images '
                     rf'are unreadable, more than --max_bad_images 0\.01 allows\. .*bash {ROOT}/run\.sh -m '
                     r'utils\.check_dataset, with', err, re.M)
    assert snapshot(desk.folder / 'model') == before


# --- model files


@pytest.mark.parametrize('script, flag, missing', [
    ('train.py', '--weights', 'no such file, expected pre-trained weights. Correct --weights or '),
    ('eval.py', '--checkpoint', 'no such checkpoint, but model_001.h5. Type bash ')])
def test_model_files_that_are_none(desk, script, flag, missing):
    (desk.folder / 'model' / 'page.h5').write_bytes(HTML)
    (desk.folder / 'model' / 'cut.h5').write_bytes(b'\x89HDF\r\n\x1a\n' + bytes(100))
    paths = [desk.folder / 'model' / name for name in ('missing.h5', 'page.h5', 'cut.h5')]
    sentences = desk.stops(script, *[[flag, path] for path in paths])
    for path, sentence, found in zip(paths, sentences, (missing, 'found a web page, expected ',
                                                        'found a truncated or damaged HDF5 file (')):
        assert sentence.startswith(f'{path}: {found}')


@pytest.mark.slow
def test_model_files_of_something_else(desk):
    import h5py
    import tensorflow as tf
    for name, layer, shape in (('quarter.h5', 'conv1', (3, 3, 3, 8)), ('other_weights.h5', 'fc6', (100, 7))):
        with h5py.File(str(desk.folder / name), 'w') as file:  # as Keras's save_weights writes it
            file.attrs['layer_names'] = [layer.encode()]
            file.create_group(layer).attrs['weight_names'] = [f'{layer}/kernel:0'.encode()]
            file[layer][f'{layer}/kernel:0'] = np.zeros(shape)
    inputs = tf.keras.Input((32, 32, 3))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(7)(tf.keras.layers.Flatten()(inputs)))
    model.save(str(desk.folder / 'other.h5'))
    tf.compat.v1.keras.backend.clear_session()
    quarter, other = desk.stops('train.py', ['--weights', './quarter.h5'], [
        '--weights', './other_weights.h5', '--TMP_MODEL_PATF', 'model of its own'])  # one run at a time in a folder
    assert re.match(rf"{desk.folder}/quarter\.h5: found shapes .* for the layer 'conv1', expected .* this architecture",
                    quarter)
    assert re.match(rf"{desk.folder}/other_weights\.h5: found .* layer .* this architecture", other)
    other, quarter = desk.stops('eval.py', ['--checkpoint', './other.h5'], ['--checkpoint', './quarter.h5'])
    assert re.match(rf'{desk.folder}/other\.h5: found a network whose last layer has 7 outputs; expected ', other)
    assert re.match(rf'{desk.folder}/quarter\.h5: found weights without a network', quarter)


# --- output


def test_output_folders_that_cannot_be_written(desk):
    typed = [(flag, folder) for flag in ('--TMP_MODEL_PATF', '--TMP_LOG_PATH')
             for folder in ('data/AVA.txt/below', '/proc/nima')]
    for (flag, folder), sentence in zip(typed, desk.stops('train.py', *typed)):
        assert re.match(rf'cannot write {os.path.join(str(desk.folder), folder)}: .+\. Change its permissions or '
                        rf'choose another {flag}', sentence)


def test_no_empty_folder_is_left_where_the_run_never_starts(desk):
    assert '--device gpu: TensorFlow lists no GPU' in desk.stop(
        'train.py', '--device', 'gpu', '--TMP_MODEL_PATF', 'new/model', '--TMP_LOG_PATH', 'new/log')


# --- flags


@pytest.mark.parametrize('script, argv, message', [
    ('train.py', ['--epochs', '0'], "argument --epochs: found '0', expected a whole number from 1"),
    ('train.py', ['--learning_rate', '-1'], "argument --learning_rate: found '-1', expected a number above 0"),
    ('train.py', ['--dropout', '1.5'], "argument --dropout: found '1.5', expected a number from 0 up to, but not, 1"),
    ('train.py', ['--image_size', '22400'],
     "argument --image_size/--input: found '22400', expected a whole number from 32, MobileNet's smallest image, to "
     '4096'),
    ('train.py', ['--optimizer', 'rmsprop'], "argument --optimizer: invalid choice: 'rmsprop' (choose from"),
    ('train.py', ['--epochs'], 'argument --epochs: expected one argument'),
    ('train.py', ['--ava_dataset_path', ''], 'argument --ava_dataset_path: found an empty path'),
    ('train.py', ['--batch_size', '4'], 'unrecognized arguments: --batch_size 4: did you mean --batchsize?'),
    ('eval.py', ['--epochs', '4'], 'unrecognized arguments: --epochs 4 '),
    ('eval.py', ['--val_size', 'many'], "argument --val_size: found 'many', expected a whole number from 1"),
])
def test_an_impossible_flag(tmp_path, script, argv, message):
    code, out, err = run_in(tmp_path, sys.executable, ROOT / script, *argv)
    assert (code, out) == (2, '')
    assert err.startswith(f'{script}: error: {message}')
    assert err.endswith(' (--help lists all flags)\n') and err.count('\n') == 1


# --- a demo that is started again, a run that is stopped


@pytest.mark.slow
def test_a_demo_restart_keeps_the_old_checkpoints_until_it_has_one_of_its_own(clone):
    demo = make_dataset(clone / 'AVA_dataset' / 'demo', 12)
    manifest = drawn._plan(defaults.DEMO['train_size'], defaults.DEMO['val_size'], 0)
    (demo.folder / 'demo.json').write_text(drawn.json.dumps(manifest))  # it counts as drawn
    old = clone / 'model' / 'demo' / 'model_007.h5'
    old.parent.mkdir()
    old.write_text('of an earlier run')
    weights = clone / 'page.h5'
    weights.write_bytes(HTML)
    tiny = ['--demo', '--image_size', '32', '--batchsize', '4', '--val_size', '4', '--device', 'cpu', '--epochs', '1']
    before = snapshot(clone)
    code, _, err = run_in(clone, 'bash', 'train_1p.sh', *tiny, '--weights', weights)
    assert code == 1 and 'page.h5: found a web page' in err
    assert snapshot(clone) == before
    code, _, err = run_in(clone, 'bash', 'train_1p.sh', *tiny)
    assert code == 0, err
    assert os.listdir(str(old.parent)) == ['model_001.h5']


def test_ctrl_c_is_one_line_and_leaves_good_checkpoints(desk):
    process = desk.start('train.py', ['--epochs', '1000', '--TMP_MODEL_PATF', 'new'])
    for line in process.stdout:
        if line.startswith('epoch 2:'):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert 'Traceback' not in err and re.match(r'stopped after epoch \d+, step \d of 2; run the same command with '
                                               r'--resume to continue$', err.splitlines()[-1])
    assert 'model_001.h5' in os.listdir(str(desk.folder / 'new'))
    assert not any(name.endswith('.tmp') for name in os.listdir(str(desk.folder / 'new')))
