"""utils/check_dataset.py: every kind of finding, the verdicts on real unreadable files, both ways to start it."""
import csv
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, SHARED, make_dataset, snapshot

from utils import check_dataset, data_loader
from utils.base.errors import InputError
from utils.checks import findings, report
from utils.data import ava
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet


def check(dataset, *more):
    """The findings of main(), after a look that the dataset is as it was and that the list file has them all."""
    before = snapshot(dataset.folder)
    path = dataset.folder.parent / 'list.tsv'
    findings = check_dataset.main([*dataset.flags, '--list', str(path), *more])
    assert snapshot(dataset.folder) == before
    with open(str(path), encoding='utf-8', newline='\n') as stream:
        assert [tuple(line.rstrip('\n').split('\t')) for line in stream] == [tuple(finding) for finding in findings]
    return findings


def test_a_clean_dataset(dataset, capsys):
    assert check(dataset) == []
    printed = capsys.readouterr()
    reason = 'val_size: found 5000, expected 1 to 11 of the 12 images: type --val_size 1'
    assert printed.out.splitlines()[-2:] == [f'training images that are validation images too: not checked: {reason}',
                                             'nothing found in what was checked']
    assert 'decoding: 100%' in printed.err
    assert check(dataset, '--val_size', '4') == []
    assert capsys.readouterr().out.splitlines()[-1] == 'nothing found'


def test_a_typed_val_size_that_leaves_nothing_to_train_is_a_finding(dataset, capsys):
    reason = 'val_size: found 12, expected 1 to 11 of the 12 images: type --val_size 1'
    assert check(dataset, '--val_size', '12') == [('duplicate_across_split', '--val_size', f'not checked: {reason}')]
    assert f'training images that are validation images too: not checked: {reason}\n' in capsys.readouterr().out


def test_every_kind_of_finding(dataset, capsys):
    lines = dataset.labels.read_text().splitlines()
    lines[3] = '4 1003 1 2 3'
    lines += ['13 1000 1 2 3 4 5 6 7 8 9 10', '', '14 2000 1 2 3 4 5 6 7 8 9 10', '15 2001.png 0 1 1 1 1 1 1 1 1 1']
    dataset.labels.write_text('\n'.join(lines))
    shutil.copy(str(dataset.images / '1001.jpg'), str(dataset.images / '1001.png'))  # the label takes the .jpg
    (dataset.images / '1005.jpg').write_bytes((dataset.images / '1005.jpg').read_bytes()[:300])
    (dataset.images / 'notes.txt').write_text('no image')
    (dataset.images / 'Stray.JPG').write_bytes(b'')
    findings = check(dataset)
    no_label = 'found no label that names it: add one or take the file away'
    assert findings[:-2] == [
        ('bad_label', 'AVA.txt:4', "found 5 of 12 columns, '4 1003 1 2 3', expected index, id and ten votes: correct "
                                   'or delete the line'),
        ('bad_label', 'AVA.txt:13', 'found id 1000, which line 1 has too, expected each id once: delete one of the two '
                                    'lines'),
        ('label_without_image', '2000', 'found no 2000.jpg in the folder: add the image or delete the line'),
        ('label_without_image', '2001.png', 'found no 2001.png in the folder: add the image or delete the line'),
        ('image_without_label', '1001.png', no_label),
        ('image_without_label', '1003.jpg', no_label),
        ('image_without_label', 'Stray.JPG', no_label)]
    assert [finding[:2] for finding in findings[-2:]] == [('undecodable_image', '1005.jpg'),
                                                          ('undecodable_image', 'Stray.JPG')]
    assert findings[-2].reason.startswith('Invalid JPEG data') and findings[-1].reason.endswith('empty file')

    printed = capsys.readouterr().out
    for title, count in (('label lines that cannot be used', 2), ('labels without an image', 2),
                         ('images without a label', 3), ('unreadable images', 2)):
        assert f'{title}: {count}\n' in printed
    assert printed.splitlines()[-1].startswith('found 9 in all, listed in /')


def test_the_screen_shows_the_first_few_and_the_list_all(dataset, capsys):
    for number in range(20):
        (dataset.images / f'stray{number:02}.jpg').write_bytes((dataset.images / '1000.jpg').read_bytes())
    assert len(check(dataset)) == 20
    printed = capsys.readouterr().out
    assert '  stray04.jpg: ' in printed and '  and 15 more\n' in printed and 'stray05' not in printed


def test_a_header_that_claims_billions_of_pixels_is_not_decoded(dataset):
    side = struct.pack('>II', 40000, 30000)
    jpeg = bytearray((dataset.images / '1000.jpg').read_bytes())
    start = jpeg.index(b'\xff\xc0') + 5
    jpeg[start:start + 4] = struct.pack('>HH', 60000, 60000)
    (dataset.images / '1000.jpg').write_bytes(jpeg)
    (dataset.images / '1001.jpg').write_bytes(b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + b'IHDR' + side + bytes(9))
    (dataset.images / '1002.jpg').write_bytes(b'GIF89a' + struct.pack('<HH', 60000, 50000) + bytes(9))
    assert check(dataset) == [
        ('undecodable_image', '1000.jpg', f'more than 100 megapixels: {60000 * 60000}'),
        ('undecodable_image', '1001.jpg', f'more than 100 megapixels: {40000 * 30000}'),
        ('undecodable_image', '1002.jpg', f'more than 100 megapixels: {60000 * 50000}')]


@pytest.mark.parametrize('content', [
    b'', b'<html>', b'GIF89a' + struct.pack('<HH', 60000, 50000) + bytes(9)], ids=['empty', 'web page', 'bomb'])
def test_training_stops_at_what_the_check_lists_and_for_the_same_reason(dataset, content):
    (dataset.images / '1003.jpg').write_bytes(content)
    finding, = check(dataset)
    with pytest.raises(InputError) as caught:
        next(data_loader.train_generator(12, images=ImageSet(ava.read(*dataset.flags[1::2]), BadImages(12))))
    assert str(caught.value).startswith(
        f'{dataset.images}/1003.jpg: unreadable ({finding.reason}). ')


@pytest.mark.parametrize('content', [b'', b'\x89', b'\x89PNG', b'\xff\xd8', b'\xff\xd8\xff', b'GIF8', b'GIF89a\0'])
def test_files_shorter_than_a_header(dataset, content):
    for number in (0, 11):  # the first and the last
        (dataset.images / f'{1000 + number}.jpg').write_bytes(content)
    assert [finding[:2] for finding in check(dataset)] == [('undecodable_image', '1000.jpg'),
                                                           ('undecodable_image', '1011.jpg')]


def test_names_that_are_not_utf8_and_folders_that_look_like_images(dataset):
    with open(os.path.join(os.fsencode(str(dataset.images)), b'\xff\t.jpg'), 'wb'):
        pass
    (dataset.images / '1012.jpg').mkdir()
    findings = check(dataset)
    assert [finding[:2] for finding in findings] == [
        ('image_without_label', '1012.jpg'), ('image_without_label', '\\xff\\x09.jpg'),
        ('undecodable_image', '1012.jpg'), ('undecodable_image', '\\xff\\x09.jpg')]
    assert 'Is a directory' in findings[2].reason


def test_the_histogram():
    means = np.array([2.5, 2.5, 2.75, 3.6, 10])
    rows = [line.split() for line in report.histogram(means).splitlines()]
    assert [float(row[0]) for row in rows] == np.arange(2.5, 10, 0.5).tolist()
    assert [int(row[3]) for row in rows] == [3, 0, 1] + [0] * 11 + [1]  # 10 belongs to the last bar
    assert [row[4] for row in rows[:3]] == ['60.0', '0.0', '20.0']
    assert [len(row[6]) if len(row) > 6 else 0 for row in rows[:3]] == [50, 0, int(np.ceil(50 / 3))]


def test_the_histogram_is_of_the_labels_with_an_image(dataset, capsys):
    os.remove(str(dataset.images / '1000.jpg'))
    check(dataset)
    printed = capsys.readouterr().out
    means = ava.read_labels(str(dataset.labels)).distributions[1:] @ ava.SCORES
    assert f'mean scores of the {12 - 1} labels with an image' in printed
    assert f'mean {means.mean():.2f}, above 5: {100 * np.mean(means > 5):.1f} %' in printed


def test_the_list_replaces_an_older_list(dataset):
    os.rename(str(dataset.images / '1000.jpg'), str(dataset.folder / 'away.jpg'))
    assert len(check(dataset)) == 1
    os.rename(str(dataset.folder / 'away.jpg'), str(dataset.images / '1000.jpg'))
    assert check(dataset) == []


@pytest.mark.parametrize('name', ['AVA.txt', 'image/images/1000.jpg'])
def test_the_list_replaces_nothing_else(dataset, name):
    before = snapshot(dataset.folder)
    with pytest.raises(InputError, match=rf'--list: .*{name} exists and is no list of findings\. Choose another name'):
        check_dataset.main([*dataset.flags, '--list', str(dataset.folder / name)])
    assert snapshot(dataset.folder) == before


def test_a_full_disk_is_one_sentence(dataset):
    full = '/dev/full'  # takes no byte
    if not os.path.exists(full):
        pytest.skip('no /dev/full on this machine')
    finding = findings.Finding('bad_label', 'AVA.txt:4', 'found 5 of 12 columns')
    with pytest.raises(InputError) as caught:
        report.write_list([finding], full)
    assert str(caught.value) == ('cannot write /dev/full: No space left on device. Free space or choose another '
                                 '--list')


def test_real_broken_images_next_to_good_images(tmp_path, shared):
    bad, sample = shared / 'bad_images', shared / 'ava_sample'
    if not bad.is_dir() or not sample.is_dir():
        pytest.skip('no shared/bad_images and shared/ava_sample: they hold real files')
    dataset = make_dataset(tmp_path / 'data', 1)
    os.remove(str(dataset.images / '1000.jpg'))
    with open(str(bad / 'MANIFEST.tsv'), encoding='utf-8') as stream:
        verdicts = {row['file']: row['TF1.15.0 decode_jpeg(channels=3)']
                    for row in csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE)}
    for path in [*(bad / name for name in verdicts), *(sample / 'images').iterdir()]:
        shutil.copyfile(str(path), str(dataset.images / path.name))
    votes = ' 1 2 3 4 5 6 7 8 9 10\n'
    dataset.labels.write_text((sample / 'AVA.txt').read_text() + ''.join(f'0 {name}{votes}' for name in verdicts))
    findings = check(dataset)
    assert len(verdicts) == 40
    assert [(finding.kind, finding.name) for finding in findings] == [
        ('undecodable_image', name) for name in sorted(verdicts) if not verdicts[name].startswith('ok')]


@pytest.mark.parametrize('command', [
    ['-m', 'utils.check_dataset'], pytest.param([str(ROOT / 'utils' / 'check_dataset.py')], marks=pytest.mark.slow)])
def test_both_ways_to_start_it_from_any_folder(dataset, tmp_path, command):
    def run(*flags):
        environment = {**os.environ, 'PYTHONPATH': str(ROOT) if command[0] == '-m' else ''}
        return subprocess.run([sys.executable, *command, *flags], cwd=str(tmp_path), env=environment,
                              capture_output=True, text=True)

    typed = ['--ava_dataset_path', 'data/AVA.txt', '--base_images_path', 'data/image/images', '--list', 'new/list.tsv']
    done = run(*typed)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, 'nothing found in what was checked'), done.stderr
    (dataset.images / '1004.jpg').write_bytes(b'')
    done = run(*typed)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert (tmp_path / 'new' / 'list.tsv').read_text().startswith('undecodable_image\t1004.jpg\t')
    done = run('--ava_dataset_path', 'data/image/images', '--base_images_path', 'data/AVA.txt')
    assert done.returncode == 1
    assert done.stderr.startswith('check_dataset: error: ava_dataset_path is a folder, ')
    assert done.stderr.endswith('exchange the two\n') and done.stderr.count('\n') == 1


def test_the_default_paths_are_the_edited_lines(dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(data_loader, 'base_images_path', str(dataset.images))
    monkeypatch.setattr(data_loader, 'ava_dataset_path', str(dataset.labels))
    assert check_dataset.main(['--list', str(tmp_path / 'list.tsv')]) == []


def test_the_real_shared_sample_is_clean(shared, tmp_path):
    sample = SHARED / 'ava_sample'
    if not sample.is_dir():
        pytest.skip('no shared/ava_sample: it holds ten real images')
    assert check_dataset.main(['--ava_dataset_path', str(sample / 'AVA.txt'), '--base_images_path',
                               str(sample / 'images'), '--list', str(tmp_path / 'list.tsv')]) == []
