"""The check on real broken files, mutated ones, duplicates, odd labels; its JSON report and its clean label file."""
import csv
import json
import os
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
from conftest import make_dataset, snapshot

from utils import check_dataset
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.checks import ava_facts, findings
from utils.data import ava, image_headers, splits
from utils.data.bad_images import BadImages
from utils.data.image_set import ImageSet, Reading

VOTES = ' 1 2 3 4 5 6 7 8 9 10'
READING = Reading(Preprocessing(image_size=32))


class Run:
    """One run of the check: findings, the JSON report, what it printed; the dataset is as it was."""

    def __init__(self, dataset, *more):
        before = snapshot(dataset.folder)
        folder = dataset.folder.parent
        self.findings = check_dataset.main([*dataset.flags, '--list', str(folder / 'list.tsv'), '--json',
                                            str(folder / 'report.json'), *map(str, more)])
        assert snapshot(dataset.folder) == before
        self.report = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
        assert [tuple(finding.values()) for finding in self.report['findings']] == self.findings
        self.remarks = [tuple(remark.values()) for remark in self.report['remarks']]

    def found(self, kind):
        return [name for found, name, _ in [*self.findings, *self.remarks] if found == kind]


def manifest(shared):
    with open(str(shared / 'bad_images' / 'MANIFEST.tsv'), encoding='utf-8') as stream:
        return {row['file']: row for row in csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE)}


@pytest.fixture
def broken(tmp_path, shared):
    """All files of shared/bad_images, each with a label, as a dataset and their rows of the manifest."""
    if not (shared / 'bad_images').is_dir():
        pytest.skip('no shared/bad_images: it holds real broken files')
    dataset, rows = make_dataset(tmp_path / 'data', 1), manifest(shared)
    os.remove(str(dataset.images / '1000.jpg'))
    for name in rows:
        shutil.copyfile(str(shared / 'bad_images' / name), str(dataset.images / name))
    dataset.labels.write_text(''.join(f'0 {name}{VOTES}\n' for name in rows))
    return dataset, rows


def decodes(row):
    return row['TF1.15.0 decode_jpeg(channels=3)'].startswith('ok')


def test_every_broken_file_gets_the_right_verdict(broken, capsys):
    dataset, rows = broken
    run = Run(dataset)
    assert len(rows) == 40
    assert run.found('undecodable_image') == [name for name in sorted(rows) if not decodes(rows[name])]
    assert {finding[0] for finding in run.findings} == {'undecodable_image'}
    # EXIF and kind as Pillow sees them.
    assert run.found('rotated') == [name for name in sorted(rows) if decodes(rows[name])
                                    and rows[name]['exif_orientation'] not in ('None', '1')]
    kinds = {name: row['Pillow 9.5 open / load'].split()[0] for name, row in rows.items()}
    assert run.found('other_content') == [name for name in sorted(rows) if decodes(rows[name])
                                          and kinds[name] in ('PNG', 'GIF')]
    # What decodes to mean 0 is all black: a picture in the transparency that TF leaves out.
    black = [name for name in rows if rows[name]['TF1.15.0 decode_jpeg(channels=3)'].endswith('mean 0.00')]
    assert set(run.found('one_colour')) >= set(black) and black
    facts = {name: image_headers.read(str(dataset.images / name)) for name in rows}
    for name, row in rows.items():
        if decodes(row):
            height, width = map(int, row['TF1.15.0 decode_jpeg(channels=3)'].split()[1].split('x')[:2])
            assert (facts[name].height, facts[name].width, facts[name].problem) == (height, width, None)
        elif row['decode_jpeg(try_recover_truncated=True)'].startswith('ok'):
            assert facts[name].cause == 'truncated'
    causes = run.report['undecodable_causes']
    assert causes['empty'] == causes['absurdly large'] == 1 and causes['truncated'] >= 3
    assert sum(causes.values()) == len(run.found('undecodable_image'))
    assert 'remark: images with an EXIF rotation: 3\n' in capsys.readouterr().out


def test_a_first_look_decodes_nothing_and_is_right(broken, monkeypatch, capsys):
    from utils import data_loader
    from utils.data import image_files
    dataset, rows = broken
    monkeypatch.delattr(data_loader, 'verdicts')
    monkeypatch.delattr(image_files, 'ImageReader')
    run = Run(dataset, '--headers_only')
    unseen = {'fake_gif_animated.jpg', 'bomb_max_size.jpg', 'fuzz_huffman_overflow.jpg'} - set(
        run.found('undecodable_image'))
    assert set(run.found('undecodable_image')) | unseen == {name for name in rows if not decodes(rows[name])}
    assert unseen <= {'fake_gif_animated.jpg'}  # its frames are not counted
    assert run.report['headers_only'] is True
    assert 'headers only: no image was decoded' in capsys.readouterr().out


def test_training_on_the_clean_labels_meets_no_broken_file(broken, tmp_path):
    from utils import data_loader
    dataset, rows = broken
    clean = tmp_path / 'clean.txt'
    Run(dataset, '--write_clean', clean)
    ratings = ava.read(str(clean), str(dataset.images))
    assert sorted(ratings.ids) == sorted(name for name in rows if decodes(rows[name]))
    images = ImageSet(ratings, BadImages(ratings.count))
    assert sum(len(batch) for batch, _ in data_loader.val_batches(images, 8, READING)) == ratings.count


def with_orientation(content, orientation, order='>'):
    """A JPEG with an EXIF segment that asks for `orientation`."""
    exif = struct.pack(order + '4sIHHHIHHI', b'MM\0*' if order == '>' else b'II*\0', 8, 1, 0x0112, 3, 1, orientation, 0,
                       0)
    return content[:2] + b'\xff\xe1' + struct.pack('>H', 8 + len(exif)) + b'Exif\0\0' + exif + content[2:]


def mutated(content, random):
    """`content` with one kind of damage."""
    data = bytearray(content)
    places = [int(place) for place in random.randint(len(data), size=random.randint(1, 6))]
    kind = random.randint(7)
    if kind == 0:
        del data[places[0]:]
    elif kind == 1:
        for place in places:
            data[place] ^= 1 << random.randint(8)
    elif kind == 2:
        for place in places:
            data[place] = random.choice([0x00, 0xff, 0xc0, 0xd9, 0xda, 0xe1])
    elif kind == 3:
        del data[places[0]:places[0] + random.randint(1, 40)]
    elif kind == 4:
        data[places[0]:places[0]] = bytes(random.randint(256, size=random.randint(1, 40)).astype(np.uint8))
    elif kind == 5:
        for place in places:  # in the headers alone
            data[place % 200] = random.randint(256)
    else:
        start = data.index(b'\xff\xc0') + 5
        data[start:start + 4] = struct.pack('>HH', *(int(side) for side in random.randint(1, 700, size=2)))
    return bytes(data)


@pytest.mark.parametrize('count', [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_files_without_a_crash(tmp_path, count):
    """The check ends, lists at least the files whose headers are damaged, and loads what it does not list."""
    from utils import data_loader
    dataset, random = make_dataset(tmp_path / 'data', 4, side=24), np.random.RandomState(0)
    originals = [(dataset.images / f'100{number}.jpg').read_bytes() for number in range(4)]
    originals[3] = with_orientation(originals[3], 6)
    for number in range(count):
        (dataset.images / f'm{number:04}.jpg').write_bytes(mutated(originals[number % 4], random))
    dataset.labels.write_text(''.join(f'0 {path.name}{VOTES}\n' for path in sorted(dataset.images.iterdir())))
    clean = tmp_path / 'clean.txt'
    run = Run(dataset, '--write_clean', clean)
    bad = set(run.found('undecodable_image'))
    assert count / 10 < len(bad) < 0.9 * count
    problems = {path.name for path in dataset.images.iterdir() if image_headers.read(str(path)).problem}
    assert problems <= bad and len(problems) > count / 20
    ratings = ava.read(str(clean), str(dataset.images))
    images = ImageSet(ratings, BadImages(ratings.count))
    assert sum(len(batch) for batch, _ in data_loader.val_batches(images, 100, READING)) == ratings.count


def test_pillow_agrees_on_size_and_rotation_of_mutated_files(tmp_path):
    """Where Pillow opens a mutated file as a JPEG, its height, width and rotation are the same."""
    from PIL import Image
    dataset, random = make_dataset(tmp_path / 'data', 2, side=24), np.random.RandomState(1)
    original = with_orientation((dataset.images / '1000.jpg').read_bytes(), 8, '<')
    path, agreed = tmp_path / 'mutated.jpg', 0
    for _ in range(300):
        path.write_bytes(mutated(original, random))
        facts = image_headers.read(str(path))
        if facts.problem:
            continue
        try:
            with Image.open(str(path)) as image:
                size, orientation = image.size, image.getexif().get(0x0112, 1)
        except Exception:  # noqa: B902 - what Pillow raises on damage is of many kinds
            continue
        agreed += (facts.width, facts.height) == size and facts.orientation == (orientation or 1)
    assert agreed > 150


# --- duplicates, and the split


@pytest.fixture
def copies(dataset):
    """1001 is 1009's copy, 1002 is 1000's, 1010 is 1011's."""
    for copy, original in (('1001', '1009'), ('1002', '1000'), ('1010', '1011')):
        shutil.copyfile(str(dataset.images / f'{original}.jpg'), str(dataset.images / f'{copy}.jpg'))
    return dataset


def test_training_images_that_are_for_validation_too(copies, tmp_path, capsys):
    clean = tmp_path / 'clean.txt'
    run = Run(copies, '--val_size', '4', '--write_clean', clean)
    assert run.findings == [('duplicate_across_split', '1001.jpg', 'found the same content as in 1009.jpg, which is '
                                                                   'for validation: delete one of the two lines')]
    assert run.found('duplicate') == ['1002.jpg', '1011.jpg']
    _, val = splits.choose(ava.read(*copies.flags[1::2]), 'last', 4)
    assert run.report['split'] == {'text': splits.describe('last', val), 'training': 8, 'validation': 4}
    assert splits.describe('last', val) in capsys.readouterr().out
    kept = [line for line in copies.labels.read_text().splitlines() if ' 1001 ' not in line]
    assert clean.read_text().splitlines() == kept


def test_a_list_decides_what_a_duplicate_across_the_split_is(copies, tmp_path):
    listing = tmp_path / 'list.txt'
    listing.write_text('1002\n')
    assert Run(copies, '--split', listing).found('duplicate_across_split') == ['1000.jpg']
    assert Run(copies).found('duplicate') == ['1002.jpg', '1009.jpg', '1011.jpg']  # 12 images, no split of 5000
    report = Run(copies).report
    assert report['split']['text'].startswith('not checked: val_size: found 5000')
    assert 'duplicate_across_split' not in report['counts'] and report['counts']['duplicate'] == 3


def test_two_labels_of_one_file(dataset, tmp_path):
    dataset.labels.write_text(dataset.labels.read_text() + f'13 1003.jpg{VOTES}\n')
    clean = tmp_path / 'clean.txt'
    run = Run(dataset, '--write_clean', clean)
    assert run.findings == [('label_of_same_image', '1003.jpg', 'found the same file as for 1003: delete one of the '
                                                                'two lines')]
    assert clean.read_text().splitlines() == dataset.labels.read_text().splitlines()[:12]


# --- remarks


def test_the_image_behind_a_warning_of_the_jpeg_library_is_named(dataset, monkeypatch, capfd):
    monkeypatch.setattr('utils.data_loader.CHECK_GROUP', 5)
    for name in ('1003.jpg', '1009.jpg', '1010.jpg'):
        content = (dataset.images / name).read_bytes()
        (dataset.images / name).write_bytes(content[:-2] + bytes(14) + content[-2:])
    cut = (dataset.images / '1011.jpg').read_bytes()[:-300] + b'\xff\xd9'
    (dataset.images / '1011.jpg').write_bytes(cut)
    (dataset.images / '1004.jpg').write_bytes((dataset.images / '1004.jpg').read_bytes()[:-300])  # which is a finding
    run = Run(dataset)
    assert run.found('decoder_warning') == ['1003.jpg', '1009.jpg', '1010.jpg', '1011.jpg']
    warning = re.compile('is decoded, with the warning Corrupt JPEG data: '
                         '(1[0-4] extraneous bytes before marker 0xd9|premature end of data segment)')
    assert all(warning.fullmatch(text) for kind, _, text in run.remarks if kind == 'decoder_warning')
    assert run.found('undecodable_image') == ['1004.jpg']
    printed = capfd.readouterr()
    assert 'images that are decoded with a warning: 4\n  1003.jpg: is decoded' in printed.out
    assert 'Corrupt JPEG' not in printed.err and 'decoding: 100%' in printed.err


def test_one_colour_large_rotated_and_other_content(dataset, monkeypatch):
    from PIL import Image
    monkeypatch.setattr(findings, 'LARGE', 300 * 200)
    Image.new('RGB', (640, 480), (200, 30, 40)).save(str(dataset.images / '1000.jpg'))
    Image.new('RGB', (64, 48), (200, 30, 40)).save(str(dataset.images / '1001.jpg'), 'PNG')
    almost = Image.new('RGB', (224, 224), (200, 30, 40))
    almost.paste((200, 30, 100), (100, 100, 124, 124))
    almost.save(str(dataset.images / '1002.jpg'))
    path = dataset.images / '1003.jpg'
    path.write_bytes(with_orientation(path.read_bytes(), 3))
    run = Run(dataset)
    assert run.findings == []
    assert run.remarks == [
        ('other_content', '1001.jpg', 'holds PNG content, which is decoded as such'),
        ('one_colour', '1000.jpg', 'shows one colour only at the size that the network sees'),
        ('one_colour', '1001.jpg', 'shows one colour only at the size that the network sees'),
        ('large_image', '1000.jpg', 'has 0 megapixels: a smaller copy would be read faster'),
        ('rotated', '1003.jpg', 'has the EXIF orientation 3, which --exif_orientation applies or ignores')]


def test_a_pipe_among_the_images_is_not_read(dataset):
    os.mkfifo(str(dataset.images / '1012.jpg'))
    try:
        findings = check_dataset.main([*dataset.flags, '--list', str(dataset.folder / 'list.tsv')])
    finally:
        os.remove(str(dataset.images / '1012.jpg'))
    assert [(finding.kind, finding.name) for finding in findings] == [
        ('image_without_label', '1012.jpg'), ('undecodable_image', '1012.jpg')]
    assert findings[1].reason == 'found something that is no file'


def test_a_pipe_in_the_place_of_a_labelled_image_is_named(dataset):
    path = dataset.images / '1001.jpg'
    path.unlink()
    os.mkfifo(str(path))
    try:
        findings = check_dataset.main([*dataset.flags, '--list', str(dataset.folder / 'list.tsv')])
    finally:
        path.unlink()
    assert [(finding.kind, finding.name) for finding in findings] == [
        ('label_without_image', '1001'), ('undecodable_image', '1001.jpg')]


# --- AVA's known facts


def test_the_hash_is_gits(tmp_path):
    path = tmp_path / 'AVA.txt'
    path.write_bytes(b'1 2 3\n')
    expected = subprocess.run(['git', 'hash-object', str(path)], capture_output=True, text=True, check=True)
    assert ava_facts.git_hash(str(path)) == expected.stdout.strip()
    assert all(len(known) == 40 for known in ava_facts.ORIGINAL)


def test_real_labels_are_as_avas(shared):
    path = str(shared / 'ava_labels' / 'AVA_43533.txt')
    labels = ava.read_labels(path)
    assert ava_facts.looks_like_ava(labels)
    assert list(ava_facts.remarks(path, labels, set())) == []


def test_labels_that_are_unlike_avas_where_they_look_like_them(tmp_path, monkeypatch):
    path = tmp_path / 'AVA.txt'
    votes = ['0 0 0 0 100 100 0 0 0 0'] * 1000 + ['0 0 0 0 0 600 0 0 0 0'] * 200
    path.write_text(''.join(f'{row} {440774 + row} {each} 0 0 1\n' for row, each in enumerate(votes)))
    labels = ava.read_labels(str(path))
    remarks = list(ava_facts.remarks(str(path), labels, {'440774', '440775'}))
    assert [reason for _, reason in remarks[:200]] == ['has 600 votes; AVA has 78 to 549 for an image'] * 200
    average = (1000 * 200 + 200 * 600) / 1200
    mean = (1000 * 5.5 + 200 * 6) / 1200
    assert remarks[200:] == [('votes', f'are {average:.0f} for an image on average; AVA has 210'),
                             ('mean score', f'is {mean:.2f} on average; AVA has 5.38'),
                             ('440774', 'is known to be damaged or missing in copies of AVA')]
    monkeypatch.setattr(ava_facts, 'ORIGINAL', {ava_facts.git_hash(str(path)): 'with line ends of Unix'})
    assert next(ava_facts.remarks(str(path), labels, set())) == (
        'AVA.txt', 'is the original label file, with line ends of Unix')


@pytest.mark.parametrize('line', ['0 a.jpg 20 20 20 20 20 20 20 20 20 20', '0 7 0.5 20 20 20 20 20 20 20 20 20',
                                  '0 7 1 0 0 0 0 0 0 0 0 0'])
def test_other_labels_are_not_measured_by_ava(tmp_path, line):
    path = tmp_path / 'AVA.txt'
    path.write_text(line)
    assert list(ava_facts.remarks(str(path), ava.read_labels(str(path)), {'440774'})) == []


# --- what is written


def test_a_clean_file_keeps_lines_as_they_stand(dataset, tmp_path):
    lines = [line + '  tail' for line in dataset.labels.read_text().splitlines()]
    dataset.labels.write_bytes(b'\xef\xbb\xbf' + '\r\n'.join(['junk', '', *lines, f'99 2000{VOTES}']).encode())
    (dataset.images / '1004.jpg').write_bytes(b'')
    clean = tmp_path / 'clean.txt'
    run = Run(dataset, '--write_clean', clean)
    assert [finding[0] for finding in run.findings] == ['bad_label', 'label_without_image', 'undecodable_image']
    assert clean.read_text().splitlines() == [line for line in lines if ' 1004 ' not in line]


def test_the_clean_file_of_a_table_is_lines_of_ava(dataset, tmp_path):
    table = dataset.folder / 'votes.csv'
    table.write_text(''.join(f'100{number}.jpg,{number},1{",0" * 8}\n' for number in range(4)) + 'gone.jpg' + ',1' * 10)
    clean = tmp_path / 'clean.txt'
    findings = check_dataset.main(['--ava_dataset_path', str(table), *dataset.flags[2:], '--list',
                                   str(tmp_path / 'list.tsv'), '--write_clean', str(clean)])
    assert 'label_without_image' in {finding.kind for finding in findings}
    assert clean.read_text().splitlines() == [
        f'{number + 1} 100{number}.jpg {number} 1 0 0 0 0 0 0 0 0' for number in range(4)]


def test_two_label_files_are_both_checked(dataset, tmp_path, capsys):
    lines = dataset.labels.read_text().splitlines()
    train, val = dataset.folder / 'train.txt', dataset.folder / 'val.csv'
    train.write_text('\n'.join([*lines[:8], '9 1009 1 2 3']) + '\n')
    val.write_text('file,mean\n1008.jpg,6\n1009.jpg,7\n1010.jpg,no\n1012.jpg,5.5\n')
    shutil.copyfile(str(dataset.images / '1008.jpg'), str(dataset.images / '1001.jpg'))
    os.remove(str(dataset.images / '1011.jpg'))
    os.remove(str(dataset.labels))
    clean = tmp_path / 'clean.txt'
    paths = ['--ava_dataset_path', train, '--val_dataset_path', val]
    run = Run(dataset, *paths, '--write_clean', clean)
    assert [tuple(finding[:2]) for finding in run.findings] == [
        ('bad_label', 'train.txt:9'), ('bad_label', 'val.csv:4'), ('label_without_image', '1012.jpg'),
        ('image_without_label', '1010.jpg'), ('duplicate_across_split', '1001.jpg')]
    printed = capsys.readouterr().out
    assert f'labels: 8 usable, {train}\nlabels: 3 usable, {val}\n' in printed and 'split val.csv 2, hash ' in printed
    assert printed.count(': noise ceiling: not measured') + printed.count('two panels of 200 would agree') == 2
    assert run.report['split']['training'] == 8 and run.report['split']['validation'] == 2
    assert [run.report[part]['usable'] for part in ('labels', 'validation_labels')] == [8, 3]
    assert f'{clean}: 9 labels, the last 2 for validation: --val_size 2' in printed
    kept = [line.split() for line in clean.read_text().splitlines()]
    assert [line[1] for line in kept] == ['1000', *map(str, range(1002, 1008)), '1008.jpg', '1009.jpg']
    assert [' '.join(line) for line in kept[:7]] == [lines[0], *lines[2:8]]
    assert [line[12:] for line in kept[7:]] == [['0', '0', '-1']] * 2

    with open(str(train), 'a') as stream:
        stream.write(f'9 1009.jpg{VOTES}\n')
    run = Run(dataset, *paths)
    assert ('label_of_same_image', '1009.jpg', 'found the same file as for 1009.jpg in val.csv: delete one of the two '
            'lines') in run.findings
    assert run.found('duplicate_across_split') == ['--val_dataset_path']


def test_nothing_else_is_replaced(dataset, tmp_path):
    other, flags = tmp_path / 'other.txt', [*dataset.flags, '--list', str(tmp_path / 'list.tsv')]
    other.write_text('{"of": "somebody else"}')
    before = snapshot(tmp_path)
    for more, message in (
            (['--write_clean', dataset.labels], f'--write_clean: {dataset.labels} exists already. '),
            (['--write_clean', tmp_path / 'new.csv'], f'--write_clean: {tmp_path}/new.csv would be read as a table'),
            (['--json', other], f'--json: {other} exists and is no JSON report of this command. Choose another name'),
            (['--json', dataset.labels], f'--json: {dataset.labels} exists and is no JSON report')):
        with pytest.raises(InputError) as caught:
            check_dataset.main([*flags, *map(str, more)])
        assert str(caught.value).startswith(message)
    assert snapshot(tmp_path) == before
    Run(dataset)
    Run(dataset)  # an earlier report is replaced
    os.remove(str(dataset.images / '1000.jpg'))
    dataset.labels.write_text(f'1 1000{VOTES}\n2 1001{VOTES}\n')
    (dataset.images / '1001.jpg').write_bytes(b'')
    with pytest.raises(InputError, match='--write_clean: every label has a finding'):
        check_dataset.main([*flags, '--write_clean', str(tmp_path / 'clean.txt')])
    assert not (tmp_path / 'clean.txt').exists()
