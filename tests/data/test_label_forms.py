"""Label files in the forms in which sets are published, with made-up rows: docs/datasets.md has the same table."""
import json
import os
import re
import shlex

import numpy as np
import pytest
from conftest import ROOT, make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import labels
from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.data import ava, distributions

VOTES = [0, 1, 5, 17, 38, 36, 15, 6, 5, 1]  # AVA's image 953619
MEAN = float(np.dot(VOTES, range(1, 11))) / sum(VOTES)
V10 = ','.join(map(str, VOTES))


def read(path, *flags):
    """The labels as `labels` with these flags reads them."""
    return ava.read_labels(path, labels._flags([path, '-o', 'AVA.txt', *flags]).labels)


def means_of(path, *flags):
    found = read(path, *flags)
    return {name: pytest.approx(mean, abs=1e-6) for name, mean in zip(found.ids, found.distributions @ ava.SCORES)}


def refused(path, *flags):
    with pytest.raises(InputError) as caught:
        read(path, *flags)
    assert '\n' not in str(caught.value)
    return str(caught.value)


FORMS = {  # published set: name of its label file, header and rows, flags, what is read
    'AVA': ('AVA.txt', f'1 953619 {" ".join(map(str, VOTES))} 1 22 1396\n', [], {'953619': MEAN}),
    'AVA, comma-separated, 15 columns': ('AVA.csv', f'1,953619,{V10},1,22,1396\n', [], {'953619': MEAN}),
    'AVA, comma-separated, 12 columns': ('AVA.txt', f'1,953619,{V10}\n', [], {'953619': MEAN}),
    'AVA on Kaggle': ('ground_truth_dataset.csv', 'image_num,' + ','.join(f'vote_{score}' for score in range(1, 11))
                      + f'\n953619,{V10}\n', [], {'953619': MEAN}),
    'AVA, columns 2 to 11': ('ava.csv', 'image_id,' + ','.join(map(str, range(2, 12))) + f'\n953619,{V10}\n', [],
                             {'953619': MEAN}),
    "idealo's AVA": ('ava_labels_train.json', json.dumps([{'image_id': '953619', 'label': VOTES}]), [],
                     {'953619': MEAN}),
    'BIQ2021': ('train.csv', 'Image Name,MOS\nss03 (3029).jpg,0.75\nss01 (1).jpg,0.2\n', ['--range', '0', '1'],
                {'ss03 (3029).jpg': 7.75, 'ss01 (1).jpg': 2.8}),
    'KonIQ-10k, distributions and scores': (
        'koniq10k_scores_and_distributions.csv',
        '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n'
        '"10004473376.jpg",0,0,25,73,7,105,3.8286,0.53,63.96\n', [], {'10004473376.jpg': 1 + 9 * (402 / 105 - 1) / 4}),
    'KonIQ-10k, distributions and sets': (
        'koniq10k_distributions_sets.csv', 'image_name,c1,c2,c3,c4,c5,MOS,set\n10004473376.jpg,0,0,25,73,7,63.96,'
        'training\n', ['--ignore_columns', 'MOS'], {'10004473376.jpg': 1 + 9 * (402 / 105 - 1) / 4}),
    'KADID-10k': (
        'dmos.csv', 'dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.5,0.5\nI01_01_05.png,I01.png,1.5,0.4\n',
        ['--range', '1', '5', '--std', 'var'], {'I01_01_01.png': 8.875, 'I01_01_05.png': 2.125}),
    'TID2013': ('mos_with_names.txt', '5.51429 I01_01_1.bmp\n0.5 i01_01_2.bmp\n', ['--range', '0', '9'],
                {'I01_01_1.bmp': 6.51429, 'i01_01_2.bmp': 1.5}),
    'SPAQ': ('MOS and Image attribute scores.csv',
             'Image name,MOS,Brightness,Colorfulness,Contrast,Noisiness,Sharpness\n'
             '00001.jpg,40,50,60,70,80,90\n00002.jpg,80,1,2,3,4,5\n', ['--range', '0', '100'],
             {'00001.jpg': 4.6, '00002.jpg': 8.2}),
    'TAD66K': ('train.csv', 'image,score\n1001.jpg,6.5\n1002.jpg,2.25\n', [], {'1001.jpg': 6.5, '1002.jpg': 2.25}),
    'AADB': ('imgListTrainRegression_score.txt', 'farm1_2_3_n.jpg 0.6\nfarm1_4_5_n.jpg 0.1\n', ['--range', '0', '1'],
             {'farm1_2_3_n.jpg': 6.4, 'farm1_4_5_n.jpg': 1.9}),
    'PaQ-2-PiQ (FLIVE)': ('labels_image.csv', 'name_image,mos_image,is_valid\nvoc_emotic/a.jpg,50,1\nblur/b.jpg,75,1\n',
                          ['--range', '0', '100'], {'voc_emotic/a.jpg': 5.5, 'blur/b.jpg': 7.75}),
    'lists of IQA-PyTorch': ('meta_info.csv', 'img_name,mos,std\na.jpg,6,1.5\n', [], {'a.jpg': 6}),
    'AGIQA-3K': ('data.csv', 'name,prompt,mos_quality,std_quality,mos_align\na.jpg,"a dog, small",3,0.5,2\n'
                 'b.jpg,cat,1.5,0.3,2\n', ['--range', '0', '5'], {'a.jpg': 6.4, 'b.jpg': 3.7}),
    'FLICKR-AES': ('FLICKR-AES_image_labeled_by_each_worker.csv', ' worker, imagePair, score\nA1,a.jpg,5\nA2,a.jpg,4\n'
                   'A1,b.jpg,1\n', ['--range', '1', '5'], {'a.jpg': 8.875, 'b.jpg': 1}),
    'EVA': ('votes_filtered.csv', 'image_id=user_id=score=difficulty\n7=u1=8=1\n7=u2=5=2\n9=u1=3=1\n', [],
            {'7': 6.5, '9': 3}),
    'PARA, one row a rating': (
        'PARA-Images.csv', 'sessionId,imageName,userId,aestheticScore,qualityScore\ns1,a.jpg,u1,3,4\ns1,b.jpg,u1,5,4\n',
        ['--range', '1', '5', '--ignore_columns', 'qualityScore'], {'a.jpg': 5.5, 'b.jpg': 10}),
    'PARA, one row an image': (
        'PARA-GiaaTrain.csv',
        'sessionId,imageName,' + ','.join(f'{name}_{half / 2:.1f}' for name in ('aestheticScore', 'qualityScore')
                                          for half in range(2, 11))
        + ',colorScore_1,colorScore_2,colorScore_3,colorScore_4,colorScore_5,aestheticScore_mean,qualityScore_mean,'
          'aestheticScore_std,qualityScore_std\n'
        's1,a.jpg,0,0,0,0,2,0,6,2,0,9,0,0,0,0,0,0,0,1,1,1,1,1,1,3.9,1.4,0.4,1.2\n',
        ['--ignore_columns', 'quality*'], {'a.jpg': 1 + 9 * 2.9 / 4}),
    'LIVE (DMOS, lower is better)': (
        'dmos.csv', 'dis_img_path,dis_type,dmos\njp2k/img1.bmp,jp2k,0\nwn/img2.bmp,wn,60\n', ['--range', '100', '0'],
        {'jp2k/img1.bmp': 10, 'wn/img2.bmp': 4.6}),
}


@pytest.mark.parametrize('published', FORMS)
def test_a_published_form(table, published):
    name, content, flags, expected = FORMS[published]
    assert means_of(table(content, name), *flags) == expected


def test_the_page_has_the_same_forms():
    page = (ROOT / 'docs' / 'datasets.md').read_text(encoding='utf-8')
    rows = dict(re.findall(r'^\| ([^|]+?) \| `([^|]+)` \| [^|]+ \|', page, re.M))
    for published, (_, content, flags, _) in FORMS.items():
        assert published in rows, published
        row = re.search(rf'^\| {re.escape(published)} \| .+$', page, re.M).group()
        assert published.startswith('lists') or ' '.join(map(shlex.quote, flags)) in row, published
        if ' …' in rows[published]:
            assert content.replace('"', '').startswith(rows[published].split(' …')[0]), published


# --- votes under any name


@pytest.mark.parametrize('stem, first', [('c', 1), ('n', 0), ('bin_', 2), ('stars ', 1), ('Anzahl', 1)])
def test_ten_votes_under_any_stem(table, stem, first):
    names = ','.join(f'{stem}{number}' for number in range(first, first + 10))
    path = table(f'image_id,mean,{names}\n7,{MEAN:.3f},{V10}\n')
    found = read(path)
    np.testing.assert_allclose(found.distributions, [np.array(VOTES) / sum(VOTES)], rtol=1e-15)
    assert found.about[0].startswith(f'{path}: columns read: image_id (file), {stem.strip()}{" " * stem.endswith(" ")}')
    shares = ','.join(f'{vote / sum(VOTES):.4f}' for vote in VOTES)
    found = read(table(f'image_id,mean,{names}\n7,{MEAN:.3f},{shares}\n'))
    np.testing.assert_allclose(found.distributions, [np.array(VOTES) / sum(VOTES)], atol=1e-4)


def test_votes_in_halves_on_1_to_5(table):
    names = [f'{half / 2:g}' for half in range(2, 11)]
    path = table(f'image,mean,{",".join(f"stars_{name}" for name in names)}\na.jpg,2.75,0,0,0,2,2,0,0,0,0\n')
    found = read(path)
    assert found.distributions @ ava.SCORES == pytest.approx([1 + 9 * 1.75 / 4])
    assert found.panel.variances == pytest.approx([np.var([4.375, 4.375, 5.5, 5.5], ddof=1)])
    assert '(votes on 1 to 5: a score s becomes 1 + 9 (s - 1) / 4, its votes divided ' in found.about[-1]
    path = table(f'image,{",".join(names)},{",".join("q" + name for name in names)}\na.jpg{",0,3" * 9}\n')
    assert refused(path).endswith("leave the others out, as with --ignore_columns 'q*'")
    assert read(path, '--ignore_columns', 'q*').distributions.shape == (1, 10)


def test_ten_features_are_no_votes(table):
    names = ','.join(f'feature{number}' for number in range(1, 11))
    path = table(f'image_id,mean,{names}\n7,6.5,{"0.3," * 9}-1\n8,4,{"0.2," * 9}1.5\n')
    found = read(path)
    assert found.distributions @ ava.SCORES == pytest.approx([6.5, 4], abs=1e-8)
    assert 'not read: feature1, feature2' in found.about[0]
    names = ','.join(f'feat{number}' for number in range(1, 11))
    with pytest.raises(InputError, match='found the columns image_id, feat1, .* expected a file name and ten votes'):
        read(table(f'image_id,{names}\n7,{"3," * 9}4\n'))


def test_a_mean_unlike_its_votes_stops(table):
    header = 'image,mean,' + ','.join(f'c{score}' for score in range(1, 11))
    rows = [f'{number}.jpg,{MEAN:.2f},{V10}' for number in range(99)]
    one = table('\n'.join([header, *rows, f'x.jpg,{MEAN + 0.06},{V10}']))
    assert len(read(one).ids) == 100  # one of a hundred may
    path = table('\n'.join([header, *rows, f'x.jpg,6.5,{V10}', f'y.jpg,6.5,{V10}']))
    assert refused(path) == (
        f'{path}: found means in the column mean that are not those of the votes in 1.98 % of the rows, first 6.5 '
        'beside votes with the mean 5.637, expected the same: correct the table, or leave the column out with '
        "--ignore_columns 'mean', or the votes with --ignore_columns 'c*'")
    assert len(read(path, '--ignore_columns', 'MEAN').ids) == 101
    assert read(path, '--ignore_columns', 'c*').panel.assumed.sum() == 101


def test_votes_beside_a_mean_that_lack_a_row_are_bad_lines(table):
    header = 'image,mean,' + ','.join(f'c{score}' for score in range(1, 11))
    path = table('\n'.join([header, *(f'{number}.jpg,{MEAN:.3f},{V10}' for number in range(9)), f'x.jpg,6,{"," * 9}']))
    assert refused(path).startswith(f"{path}:11: found '' votes for score 1, expected a number from 0: correct or "
                                    'delete the line, or leave out bad lines with --skip_bad_labels')
    found = read(path, '--skip_bad_labels', '--max_bad_labels', '0.1')
    assert found.totals.tolist() == [sum(VOTES)] * 9 and len(found.bad) == 1
    assert read(path, '--ignore_columns', 'c*').panel.assumed.sum() == 10


def test_an_empty_mean_beside_scores_gives_no_warning_of_numpy(table):
    header = 'image,mean,' + ','.join(f'c{score}' for score in range(1, 11))
    with np.errstate(invalid='raise'):
        path = table(f'{header}\na.jpg,,3,4,5,6,5,4,3,2,1,1\nb.jpg,3.4,3,4,5,6,5,4,3,2,1,1\n')
        assert means_of(path) == {'a.jpg': 3.4, 'b.jpg': 3.4}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), min_size=10, max_size=10).filter(sum), min_size=1, max_size=5),
       st.floats(-9, 9).filter(lambda shift: abs(shift) > 0.06), st.sampled_from(['c', 'vote_', 'z']))
def test_no_table_is_read_with_a_mean_that_differs_from_its_votes(tmp_path_factory, votes, shift, stem):
    path = str(tmp_path_factory.mktemp('table') / 'a.csv')
    header = 'image,mean,' + ','.join(f'{stem}{score}' for score in range(1, 11))
    means = [np.dot(row, range(1, 11)) / sum(row) for row in votes]
    with open(path, 'w') as stream:
        stream.write('\n'.join([header, *(f'{number}.jpg,{mean + shift!r},{",".join(map(str, row))}'
                                          for number, (mean, row) in enumerate(zip(means, votes)))]))
    assert 'that are not those of the votes in 100 % of the rows' in refused(path)


def test_five_votes_keep_their_means(table):
    path = table('image,c1,c2,c3,c4,c5\na.jpg,4,0,0,0,0\nb.jpg,1,1,1,1,0\nc.jpg,0,4,0,0,0\n')
    found = read(path)
    assert found.distributions @ ava.SCORES == pytest.approx([1, 1 + 9 * 1.5 / 4, 3.25])
    assert found.distributions[2].tolist() == [0, 0, 0.75, 0.25] + [0] * 6
    assert found.panel.numbers.tolist() == [4, 4, 4]
    assert found.panel.variances == pytest.approx([0, np.var([1, 3.25, 5.5, 7.75], ddof=1), 0])
    assert found.about[-1].endswith('on 1 to 10 (votes on 1 to 5: a score s becomes 1 + 9 (s - 1) / 4, its votes '
                                    'divided between the two scores beside it)')


# --- scales


@pytest.mark.parametrize('values, reason, first, second', [
    ([2, 4.9], 'as none exceeds 5', '1 5', '1 10'), ([0.2, 0.8], 'as none exceeds 5', '0 1', '1 0'),
    ([0.5, 4], 'as none exceeds 5', '0 5', '0 10'), ([0.5, 7], 'as the 0.5 of line 2 is not on 1 to 10', '0 10', '0 9'),
    ([30, 77], 'as the 30 of line 2 is not on 1 to 10', '0 100', '1 100'),
    ([6, 55], 'as the 55 of line 3 is not on 1 to 10', '0 100', '1 100'),
    ([-2, 3], 'as none exceeds 5', '-3 3', '3 -3'),
    ([-2, 7], 'as the -2 of line 2 is not on 1 to 10', '-10 10', '10 -10')])
def test_a_scale_is_asked_and_never_guessed(table, values, reason, first, second):
    path = table('image,mos\n' + ''.join(f'{number}.jpg,{value}\n' for number, value in enumerate(values)))
    assert refused(path) == (f'{path}: found means from {values[0]:g} to {values[1]:g}, expected to know their scale, '
                             f'{reason}: type --range {first}, or --range {second}, the values of the worst and the '
                             'best images')
    for typed in (first, second):
        low, high = map(float, typed.split())
        assert list(means_of(path, '--range', *typed.split()).values()) == [
            1 + 9 * (value - low) / (high - low) for value in values]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=8), st.sampled_from(['file,mean', 'name,score', '']))
def test_no_means_up_to_5_are_read_as_1_to_10_unasked(tmp_path_factory, values, header):
    path = str(tmp_path_factory.mktemp('table') / 'a.csv')
    with open(path, 'w') as stream:
        stream.write('\n'.join([header, *(f'{number}.jpg,{value!r}' for number, value in enumerate(values))]))
    assert 'expected to know their scale' in refused(path)


def test_the_range_1_to_10_answers_for_poor_images(table):
    assert list(means_of(table('a.jpg,2\nb.jpg,3.5\n'), '--range', '1', '10').values()) == [2, 3.5]


def test_direction_is_asked(table):
    path = table('image,DMOS,std\na.jpg,20,5\nb.jpg,70,6\n')
    assert refused(path) == (f'{path}:1: found the column DMOS, expected to know whether a high value is a good image: '
                             'type --range 0 100 where it is, or --range 100 0 where a low value is')
    found = read(path, '--range', '100', '0')
    assert found.distributions @ ava.SCORES == pytest.approx([8.2, 3.7], abs=1e-7)
    assert found.about[-1].endswith('(moved from 100 to 0, where a low value is the better image)')
    stds = np.sqrt(found.distributions @ ava.SCORES ** 2 - (found.distributions @ ava.SCORES) ** 2)
    assert stds == pytest.approx([0.45, 0.54], abs=1e-6)


# --- layouts and encodings


ROWS = {'a.jpg': 6.5, 'b.jpg': 2.25}


@pytest.mark.parametrize('name, content', [
    ('a.tsv', 'img_id\taesthetic_score\na.jpg\t6.5\nb.jpg\t2.25\n'),
    ('a.txt', 'image_path,overall_score\na.jpg,6.5\nb.jpg,2.25\n'),
    ('a.txt', 'a.jpg 6.5\nb.jpg 2.25\n'), ('a.txt', '6.5 a.jpg\n2.25 b.jpg\n'),
    ('a.txt', 'image mos\na.jpg 6.5\nb.jpg 2.25'),
    ('a.txt', 'a.jpg;6,5\nb.jpg;2,25\n'), ('a.csv', 'a.jpg 6.5\nb.jpg 2.25\n'),
    ('a.csv', '文件名,平均分\na.jpg,6.5\nb.jpg,2.25\n'),
    ('a.csv', '文件名,平均分\na.jpg,6.5\nb.jpg,2.25\n'.encode('gbk')),
    ('a.csv', '文件名,平均分\na.jpg,6.5\nb.jpg,2.25\n'.encode('utf-16')),
    ('a.csv', '\ufeffname,stars\na.jpg,6.5\nb.jpg,2.25'),
    ('a.jsonl', '{"file": "a.jpg", "mos": 6.5}\n{"file": "b.jpg", "mos": 2.25}\n'),
    ('a.json', '{"file": "a.jpg", "mos": 6.5}\n{"file": "b.jpg", "mos": 2.25}\n'),
    ('a.json', '{"a.jpg": 6.5, "b.jpg": 2.25}'), ('a.json', '{"a.jpg": {"mos": 6.5}, "b.jpg": {"mos": 2.25}}'),
    ('a.json', '{"images": [{"file": "a.jpg", "mos": 6.5}, {"file": "b.jpg", "mos": 2.25}]}'),
    ('a.csv', 'image,label\na.jpg,6.5\nb.jpg,2.25\n'), ('a.csv', 'image,mean,std\na.jpg,6.5,\nb.jpg,2.25\n'),
    ('a.csv', 'id,file_name,mean\n1,a.jpg,6.5\n2,b.jpg,2.25\n'),
    ('a.csv', 'name,path,mean\nx,./a.jpg,6.5\ny,./b.jpg,2.25\n'),
    ('a.csv', 'path,mean\nD:\\x\\a.jpg,6.5\nD:\\x\\b.jpg,2.25\n'),
    ('a.csv', 'path,mean\n/data/x/a.jpg,6.5\n/data/x/b.jpg,2.25\n'),
])
def test_a_layout(table, name, content):
    assert means_of(table(content, name)) == ROWS


@pytest.mark.parametrize('name, content', [
    ('a.json', json.dumps({'a.jpg': VOTES})), ('a.csv', f'image,votes\na.jpg,"{VOTES}"\n'),
    ('a.csv', f'a.jpg,"{VOTES}"\n'), ('a.tsv', f'image\tlabel\na.jpg\t{VOTES}\n'),
    ('a.txt', f'1,a.jpg,{V10}\n')])
def test_lists_of_votes(table, name, content):
    found = read(table(content, name))
    np.testing.assert_allclose(found.distributions, [np.array(VOTES) / sum(VOTES)], rtol=1e-15)
    assert found.ids.tolist() == ['a.jpg'] and found.panel.numbers.tolist() == [sum(VOTES)]


def test_excel(tmp_path):
    openpyxl = pytest.importorskip('openpyxl')
    book = openpyxl.Workbook()
    for row in (['Image name', 'MOS', 'comment'], ['a.jpg', 6.5, None], [17, 2.25, 'dark'], [None, None, None]):
        book.active.append(row)
    path = str(tmp_path / 'MOS.xlsx')
    book.save(path)
    assert means_of(path) == {'a.jpg': 6.5, '17': 2.25}
    assert read(path).about[0].startswith(f'{path}: columns read')
    book.active.sheet_state = 'hidden'
    for title in ('votes', 'notes'):
        book.create_sheet(title).append(['b.jpg', 7])
    book.save(path)
    assert means_of(path) == {'b.jpg': 7}
    assert read(path).about[0] == f'{path}: sheet read: votes; not read: Sheet, notes'
    (tmp_path / 'no.xlsx').write_bytes(b'PK\x03\x04no')
    assert refused(str(tmp_path / 'no.xlsx')).startswith(f'{tmp_path}/no.xlsx: found no Excel file that can be read (')


def test_what_is_unusual_is_reported(table):
    path = table('路径,平均分\nD:\\x\\a.jpg,6.5\nD:\\x\\s\\b.jpg,2.5\n'.encode('gbk'))
    found = read(path)
    assert found.ids.tolist() == ['a.jpg', 's/b.jpg']
    assert found.about == [
        f'{path}: read as GBK', f'{path}: D:/x/ in front of all names is cut off',
        f'{path}: columns read: 路径 (file), 平均分 (mean); not read: none',
        f'{path}: 2 images, mean scores 2.50 to 6.50, on average 4.50, on 1 to 10',
        f'{path}: 2 labels are a mean alone: their std, at most {distributions.ASSUMED_STD:g} (--std), is assumed, not '
        'measured']


def test_the_std_of_the_mean_is_read(table):
    header = 'image,aesthetic_mean,aesthetic_std,brightness_std\n'
    found = read(table(header + 'a.jpg,6,1.5,0.1\n'))
    assert np.sqrt(found.distributions @ ava.SCORES ** 2 - 36) == pytest.approx([1.5], abs=1e-6)
    found = read(table(header + 'a.jpg,6,1.5,1.25\n'), '--std', 'Brightness-Std')
    assert np.sqrt(found.distributions @ ava.SCORES ** 2 - 36) == pytest.approx([1.25], abs=1e-6)
    assert not found.panel.assumed.any()
    path = table('image,mos,contrast_std\na.jpg,6,1.5\n')
    assert read(path).panel.assumed.all()
    assert refused(path, '--std', 'var') == (f"{path}:1: found 0 columns 'var', expected the one with the standard "
                                             'deviations: type --std with a number, or the name of a column')


def test_kadids_var_has_standard_deviations(table):
    """Published rows: 27 votes for 1 and 3 for 2 have the mean 1.1 and the std 0.3, as 15 and 15 have 1.5 and 0.5."""
    votes = np.array([[27, 3, 0, 0, 0], [15, 15, 0, 0, 0], [0, 0, 0, 13, 17]])
    means = votes @ np.arange(1, 6) / 30
    assert means.round(2).tolist() == [1.1, 1.5, 4.57]
    assert np.sqrt(votes @ np.arange(1, 6) ** 2 / 30 - means ** 2).round(3).tolist() == [0.3, 0.5, 0.496]
    found = read(table('dist_img,ref_img,dmos,var\na.png,a,1.1,0.3\nb.png,b,1.5,0.5\nc.png,c,4.57,0.496\n'), '--range',
                 '1', '5', '--std', 'var')
    stds = np.sqrt(found.distributions @ ava.SCORES ** 2 - (found.distributions @ ava.SCORES) ** 2)
    assert stds == pytest.approx([0.3 * 9 / 4, 0.5 * 9 / 4, 0.496 * 9 / 4], abs=1e-3)


def test_a_missing_std_is_that_images_own(table):
    found = read(table('image,mean,std\na.jpg,6,1.5\nb.jpg,6,\nc.jpg,6,1.5\n'))
    stds = np.sqrt(found.distributions @ ava.SCORES ** 2 - (found.distributions @ ava.SCORES) ** 2)
    assert stds == pytest.approx([1.5, distributions.ASSUMED_STD, 1.5], abs=1e-6)
    assert found.panel.assumed.tolist() == [False, True, False]
    found = read(table('image,mean\na.jpg,6\n'), '--std', '1.2')
    assert np.sqrt(found.distributions @ ava.SCORES ** 2 - 36) == pytest.approx([1.2], abs=1e-6)


# --- ratings


def test_ratings_are_counted(table):
    path = table('image,rater,score\na.jpg,ann,7\na.jpg,bob,8\nb.jpg,ann,3\na.jpg,cy,7\nb.jpg,cy,4.5\n')
    found = read(path)
    assert found.ids.tolist() == ['a.jpg', 'b.jpg'] and found.totals.tolist() == [3, 2]
    assert (found.distributions * found.totals[:, np.newaxis]).tolist() == [
        [0, 0, 0, 0, 0, 0, 2, 1, 0, 0], [0, 0, 1, 0.5, 0.5, 0, 0, 0, 0, 0]]
    assert f'{path}: 5 ratings of 3 raters; raters an image: 2 to 3, on average 2.5' in found.about
    path = table('image,rater,score\na.jpg,ann,7\na.jpg,bob,8\na.jpg,ann,3\n')
    assert refused(path).startswith(f"{path}:4: found 'a.jpg' of 'ann' again, which line 2 has too, expected each name "
                                    'once for each rater: delete one of the two')
    path = table('image,rater,score\na.jpg,ann,4\na.jpg,bob,5\n')
    assert 'found ratings from 4 to 5, expected to know their scale' in refused(path)


@pytest.mark.parametrize('first, second, found', [
    ({'score': 7}, {'rater': 'bob', 'score': 5}, 'a rater, where object 1 has none'),
    ({'rater': 'bob', 'score': 6}, {'votes': VOTES}, 'no rater, where object 1 has one')])
def test_ratings_among_labels_of_images_stop(table, first, second, found):
    path = table(''.join(json.dumps({'image': name, **more}) + '\n' for name, more in (
        ('a.jpg', first), ('b.jpg', second))), 'a.jsonl')
    assert refused(path) == (f'{path}: object 2: found {found}, expected one rating, or one image, in each object: '
                             'give those with a rater in a file of their own')


SCORES_OF_TEN = [[7, 8, 6, 7, 9, 5, 6, 7, 8, 7], [2, 3, 1, 4, 2, 3, 2, 1, 2, 5]]


def wide(names, rows, mean=''):
    lines = [','.join(['image', *([mean] if mean else []), *names])]
    lines += [','.join([f'{image}.jpg', *([f'{np.mean(row):.2f}'] if mean else []), *map(str, row)])
              for image, row in zip('ab', rows)]
    return '\n'.join(lines) + '\n'


@pytest.mark.parametrize('stem, mean', [('rater', ''), ('observer_', 'mos'), ('score', 'mean'), ('s', 'mean')])
def test_a_column_for_each_rater_is_ratings(table, stem, mean):
    path = table(wide([f'{stem}{number}' for number in range(1, 11)], SCORES_OF_TEN, mean))
    found = read(path)
    assert found.totals.tolist() == [10, 10]
    assert (found.distributions * 10).tolist() == [[row.count(score) for score in range(1, 11)]
                                                   for row in SCORES_OF_TEN]
    assert found.panel.ratings is not None
    assert f'{path}: {stem}1 ... {stem}10: the scores of a rater each, 10 in all' in found.about
    assert f'{path}: 20 ratings of 10 raters; raters an image: 10 to 10, on average 10.0' in found.about


def test_raters_may_be_any_number_and_miss_images(table):
    found = read(table('image,rater_1,rater_2,rater_3,scene\na.jpg,7,,8,x\nb.jpg,3,NaN,\nc.jpg,9,10,9,y\n'))
    assert found.totals.tolist() == [2, 1, 3] and found.panel.groups.tolist() == ['x', '', 'y']
    found = read(table('image,user1,user2\na.jpg,4,5\nb.jpg,1,2\n'), '--range', '1', '5')
    assert found.distributions @ ava.SCORES == pytest.approx([1 + 9 * 3.5 / 4, 1 + 9 * 0.5 / 4])
    path = table('image,user1,user2,mos\na.jpg,8,9,85\nb.jpg,1,2,15\n')
    assert refused(path) == (f'{path}:1: found means in the column mos that are not those of the ratings in 100 % of '
                             'the rows, first 85 beside ratings with the mean 8.5, expected the same: correct the '
                             "table, or leave the column out with --ignore_columns 'mos', or the ratings with "
                             "--ignore_columns 'user*'")


@pytest.mark.parametrize('stem', ['score', 'c', 'r', ''])
def test_ten_scores_are_never_read_as_votes(table, stem):
    names = [f'{stem}{number}' for number in range(1, 11)]
    path = table(wide(names, SCORES_OF_TEN))
    assert refused(path) == (f'{path}:1: found numbers from 1 to 9 alone in the columns {names[0]} ... {names[-1]}, '
                             'expected to know what they are: name them v1 ... v10 where they count votes, or rater1 '
                             "... rater10 where each has one rater's scores")
    assert read(table(wide([f'v{number}' for number in range(1, 11)], SCORES_OF_TEN))).totals.tolist() == [70, 25]


@pytest.mark.parametrize('names, rows, low', [
    ([f'rating_{number}' for number in range(1, 11)], [[7.3, 6.4, 8.2, 7.5, 6.3, 0.5, 8, 7, 8, 0]] * 2, 'v1 ... v10'),
    ([f'score{number}' for number in range(1, 6)], [[73, 64, 82, 75, 63], [11, 22, 31, 22, 41]], 'v1 ... v5')])
def test_scores_that_are_no_counts_are_asked_about(table, names, rows, low):
    assert f'name them {low} where they count votes, or rater1 ... rater{len(names)} where' in refused(table(wide(
        names, rows)))
    assert read(table(wide([f'v{number}' for number in range(1, len(names) + 1)], rows))).totals == pytest.approx(
        [sum(row) for row in rows])


def test_scores_that_are_shares_are_votes(table):
    names = [f'score{number}' for number in range(1, 6)]
    rows = [[0, 0, 50, 50, 0], [100, 0, 0, 0, 0]]
    assert means_of(table(wide(names, rows))) == {'a.jpg': 1 + 9 * 2.5 / 4, 'b.jpg': 1}


@pytest.mark.parametrize('first', ['', '1,'])
def test_ten_scores_without_names_are_asked_about(table, first):
    path = table(''.join(f'{first}{name}.jpg,{",".join(map(str, row))}\n' for name, row in zip('ab', SCORES_OF_TEN)))
    assert refused(path).startswith(f'{path}:1: found numbers from 1 to 9 alone in 10 columns without names, expected')
    assert read(table(f'{first}a.jpg,{V10}\n')).totals.tolist() == [sum(VOTES)]


def test_thousands_among_votes_are_refused(table):
    names, row = [f'v{number}' for number in range(1, 11)], '10\t20\t100\t300\t{}\t900\t100\t50\t20\t3\n'
    header = 'file\tmean\t' + '\t'.join(names) + '\n'
    path = table(header.replace('mean\t', '') + 'a.jpg\t' + row.format('1,234'), 'a.tsv')
    assert refused(path).startswith(f"{path}:2: found '1,234' votes for score 5, expected a number from 0")
    votes = [10, 20, 100, 300, 1234, 900, 100, 50, 20, 3]
    mean = f'{np.dot(votes, range(1, 11)) / sum(votes):.3f}'.replace('.', ',')
    assert read(table(header + f'a.jpg\t{mean}\t' + row.format('1234'), 'b.tsv')).totals.tolist() == [sum(votes)]
    decimals = table(header.replace('mean\t', '') + 'a.jpg\t' + row.format('1,234').replace('300', '2,5'), 'c.tsv')
    assert read(decimals).totals == pytest.approx([sum(votes) - 1234 + 1.234 - 300 + 2.5])


def test_lists_of_ratings(table):
    ratings = [{'image': 'a.jpg', 'ratings': [7, 8, 6]}, {'image': 'b.jpg', 'ratings': SCORES_OF_TEN[1]}]
    assert read(table(json.dumps(ratings), 'a.json')).totals.tolist() == [3, 10]
    path = table(json.dumps([{'image': 'a.jpg', 'scores': [70, 80, 65, 90, 0]}, {'image': 'b.jpg', 'scores': []}]),
                 'c.json')
    assert 'found ratings from 0 to 90, expected to know their scale' in refused(path)
    assert means_of(path, '--range', '0', '100') == {'a.jpg': 1 + 9 * (70 + 80 + 65 + 90) / 500}
    path = table(json.dumps([{'image': 'a.jpg', 'ratings': [70, 80, 65, 90, 75]}]), 'd.json')
    assert refused(path) == (f'{path}: object 1: found lists with numbers from 65 to 90 alone in ratings, expected to '
                             'know what they are: name them histogram where they count votes, or type --range 0 100 '
                             "where each number is one rater's score")
    assert means_of(path, '--range', '0', '100') == {'a.jpg': 1 + 9 * (70 + 80 + 65 + 90 + 75) / 500}
    path = table(json.dumps(dict(zip(['a.jpg', 'b.jpg'], SCORES_OF_TEN))), 'b.json')
    assert refused(path) == (f'{path}: object 1: found lists with numbers from 1 to 10 alone in votes, expected to '
                             'know what they are: name them histogram where they count votes, or ratings where each '
                             "number is one rater's score")
    assert read(table(f'image,histogram\na.jpg,"{SCORES_OF_TEN[0]}"\n')).totals.tolist() == [70]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 10), min_size=10, max_size=10), min_size=1, max_size=4),
       st.sampled_from(['rater', 'c', 'score', 'person_', '']), st.booleans())
def test_scores_of_ten_raters_keep_their_mean_or_are_asked_about(tmp_path_factory, rows, stem, has_mean):
    path = str(tmp_path_factory.mktemp('table') / 'a.csv')
    with open(path, 'w') as stream:
        stream.write(wide([f'{stem}{number}' for number in range(1, 11)], rows[:2], 'mean' if has_mean else ''))
    try:
        found = read(path)
    except InputError:
        return
    assert found.distributions @ ava.SCORES == pytest.approx([np.mean(row) for row in rows[:2]])


# --- names and files


def test_names_in_sub_folders_and_in_another_case(tmp_path):
    from PIL import Image
    folder = tmp_path / 'images'
    for name in ('a.JPG', 'session1/b.jpg', 'session2/B.jpg', 'session1/c.png'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40, 40), (200, 10, 10)).save(str(folder / name), 'PNG')
    table = tmp_path / 'labels.csv'
    table.write_text('id,file,mean\n1,A.jpg,6\n2,./session1/b.jpg,7\n3,session2/B.jpg,8\n4,session1/c,9\n')
    lines = []
    found = ava.read(str(table), str(folder), report=lines.append)
    assert found.paths.tolist() == [f'{folder}/{name}' for name in ('a.JPG', 'session1/b.jpg', 'session2/B.jpg',
                                                                    'session1/c.png')]
    assert lines[-1] == f'{table}: 1 names differ from their files in the case of letters only, first A.jpg'
    labels.main([str(table), '-o', str(tmp_path / 'AVA.txt')])
    again = ava.read(str(tmp_path / 'AVA.txt'), str(folder))
    assert again.paths.tolist() == found.paths.tolist()
    np.testing.assert_array_equal(again.distributions, found.distributions)


def test_a_folder_that_is_cut_off_is_reported_where_no_image_is_found(tmp_path):
    dataset, lines = make_dataset(tmp_path / 'data', 2), []
    table = tmp_path / 'labels.csv'
    table.write_text('image,mean\n/data/x/s/a.jpg,6\n/data/x/s/b.jpg,7\n')
    with pytest.raises(InputError, match='found none of the 2 labelled images'):
        ava.read(str(table), str(dataset.images), report=lines.append)
    assert lines[0] == f'{table}: /data/x/s/ in front of all names is cut off'


def test_sub_folders_in_a_column_of_their_own(tmp_path):
    dataset = make_dataset(tmp_path / 'data', 4)
    for number in range(4):
        folder = dataset.images / f's{number % 2}'
        folder.mkdir(exist_ok=True)
        os.rename(str(dataset.images / f'100{number}.jpg'), str(folder / ('same.jpg' if number < 2 else 'x.jpg')))
    table, images = tmp_path / 'labels.csv', str(dataset.images)
    table.write_text('sessionId,imageName,mean\ns0,same.jpg,6\ns1,same.jpg,7\ns0,x.jpg,8\n')
    lines = []
    assert ava.read(str(table), images, report=lines.append).ids.tolist() == ['s0/same.jpg', 's1/same.jpg', 's0/x.jpg']
    assert lines[0] == f'{table}: columns read: imageName (file), sessionId (folder), mean (mean); not read: none'
    labels.main([str(table), '-o', str(tmp_path / 'AVA.txt'), '--base_images_path', images])
    assert ava.read(str(tmp_path / 'AVA.txt'), images).count == 3


def test_the_column_whose_values_are_files_counts(tmp_path):
    dataset = make_dataset(tmp_path / 'data', 3)
    table = tmp_path / 'labels.csv'
    table.write_text('image,image_id,mean\nx1,1000,6\nx2,1001,7\nx3,1002,8\n')
    assert ava.read(str(table), str(dataset.images)).ids.tolist() == ['1000', '1001', '1002']
    assert ava.read_labels(str(table)).ids.tolist() == ['x1', 'x2', 'x3']


def test_an_assumed_std_is_remembered_in_lines_of_ava(table, tmp_path):
    output = tmp_path / 'AVA.txt'
    path = table('image,mean,std\na.jpg,6,1.5\nb.jpg,6.5,\nc.jpg,7,1.5\n')
    labels.main([path, '-o', str(output), '--shuffle', '1'])
    lines = [line.split() for line in output.read_text().splitlines()]
    assert {tuple(line[12:]) for line in lines if line[1] == 'b.jpg'} == {('0', '0', '-1')}
    assert [line[12:] for line in lines if line[1] != 'b.jpg'] == [[], []]
    np.testing.assert_allclose(np.genfromtxt(str(output), usecols=range(2, 12)).sum(axis=1), 1)  # as others read it
    found = read(str(output))
    assert found.ids[found.panel.assumed].tolist() == ['b.jpg']
    assert found.about == [f'{output}: 1 labels are a mean alone: their std is assumed, not measured']
    assert read(table(f'1 953619 {" ".join(map(str, VOTES))} 0 0 -1396\n', 'AVA.txt')).about == []


@pytest.mark.parametrize('flags_of', ['train', 'eval', 'records', 'bins', 'check_dataset'])
@pytest.mark.parametrize('split', ['last', 'official', 'list.txt'])
def test_a_split_beside_two_label_files_is_an_error(flags_of, split, capsys):
    from utils import check_dataset, records
    from utils.formats.flags import export_flags
    from utils.scoring.flags import eval_flags
    from utils.training.flags import train_stages
    parse, first = {'train': (train_stages, []), 'eval': (eval_flags, []), 'check_dataset': (check_dataset._flags, []),
                    'records': (records._flags, ['pack', '--use', 'training', '-o', 'x']),
                    'bins': (export_flags, ['bins', 'model.h5', '-o', 'x'])}[flags_of]
    with pytest.raises(SystemExit) as caught:
        parse([*first, '--split', split, '--val_dataset_path', 'TEST.csv'])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.count('\n') == 1
    assert ('error: --split and --val_dataset_path both say which images are for validation: leave one of them out'
            in said)


def test_two_label_files(tmp_path, capsys):
    from utils import data_loader
    dataset = make_dataset(tmp_path / 'data', 6)
    rows = [f'{number}.jpg,{6 + number % 3}' for number in range(1000, 1006)]
    for name, part in (('train.csv', rows[:4]), ('test.csv', rows[4:]), ('same.csv', rows[3:])):
        (tmp_path / name).write_text('\n'.join(['file,mean', *part]))

    def split(name, val_size=None, to_train=1):
        return data_loader.read_split(val_size, split=str(tmp_path / name), labels=str(tmp_path / 'train.csv'),
                                      images=str(dataset.images), options=LabelOptions(val_path=str(tmp_path / name)),
                                      to_train=to_train, report=print)
    train, val = split('test.csv')
    assert [os.path.basename(path) for path in val.paths] == ['1004.jpg', '1005.jpg'] and train.count == 4
    assert 'split test.csv 2, hash ' in capsys.readouterr().out
    assert split('test.csv', 1)[1].ids.tolist() == ['1004.jpg']
    assert split('same.csv', to_train=0)[1].count == 3
    with pytest.raises(InputError, match=r'1003\.jpg: this image is for training, as 1003\.jpg, and for validation'):
        split('same.csv')


def test_means_off_those_of_five_votes_are_shown_on_the_scale_of_the_votes(table):
    found = refused(table('image,mean,c1,c2,c3,c4,c5\na.jpg,3.15,0,2,6,2,0\nb.jpg,3.65,0,1,3,5,1\n'))
    assert 'first 3.15 beside votes with the mean 3,' in found


def test_a_range_in_its_name_does_not_tell_the_direction_of_dmos(table):
    path = table('image,dmos_0_100\na.jpg,20\nb.jpg,80\n')
    assert 'type --range 0 100 where it is, or --range 100 0' in refused(path)
    assert means_of(path, '--range', '100', '0') == {'a.jpg': 8.2, 'b.jpg': 2.8}


def test_a_list_of_five_votes_is_compared_and_reported_on_1_to_5(table):
    path = table('image,mos,votes\na.jpg,3.0,"[0, 2, 6, 2, 0]"\nb.jpg,3.4,"[0, 1, 4, 5, 0]"\n')
    assert means_of(path) == {'a.jpg': 5.5, 'b.jpg': 6.4}
    assert '(votes on 1 to 5: a score s becomes 1 + 9 (s - 1) / 4' in '\n'.join(read(path).about)


def test_shares_with_percent_signs_are_votes(table):
    header = 'image,mean,' + ','.join(f'p{n}' for n in range(1, 11))
    found = read(table(f'{header}\na.jpg,5.5,' + ','.join(['10%'] * 10) + '\n'))
    np.testing.assert_allclose(found.distributions, np.full((1, 10), 0.1))
    assert 'not read: none' in '\n'.join(found.about)


def test_cells_without_a_number_beside_a_mean_give_no_warning_of_numpy(table):
    header = 'image,mean,' + ','.join(f'p{n}' for n in range(1, 11))
    with np.errstate(invalid='raise'):
        assert 'not read: p1' in '\n'.join(read(table(f'{header}\na.jpg,6.0,' + ','.join(['few'] * 10) + '\n')).about)
