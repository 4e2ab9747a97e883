"""What the READMEs say, against the program and the model card: flags, files, edited lines, sections, size."""
import re
import subprocess
import sys

import pytest
from conftest import ROOT, SHARED

READMES = ['README.md', 'README.zh-CN.md']
SCRIPTS = ['train.py', 'eval.py', 'predict.py']
CARD_FLAGS = {'--epochs': '7', '--batchsize': '100', '--train_size': '250502', '--val_size': '5000'}


def read(name):
    return (ROOT / name).read_text(encoding='utf-8')


def flag_rows(text):
    """{flag: set of scripts} of the flag table: | `--flag` | default | scripts | meaning |."""
    rows = re.findall(r'^\| `(--\w+)` \| ([^|]*) \| ([^|]*) \|', text, re.M)
    return {flag: set(re.findall(r'\w+\.py', scripts)) for flag, _, scripts in rows}


def help_flags(script):
    done = subprocess.run([sys.executable, str(ROOT / script), '--help'], capture_output=True, text=True, check=True)
    return set(re.findall(r'^ +(?:-\w, )?(--\w+)', done.stdout, re.M))


@pytest.mark.parametrize('script', SCRIPTS)
def test_the_chinese_table_of_flags_is_the_help(script):
    table = flag_rows(read('docs/zh/flags.md'))
    assert {flag for flag, scripts in table.items() if script in scripts} == help_flags(script) - {'--help'}


@pytest.mark.parametrize('readme', READMES)
def test_the_flags_of_the_card_and_their_defaults(readme):
    text = read(readme)
    for flag, default in CARD_FLAGS.items():
        assert re.search(rf'^(?:\| `)?{flag}`? .*{default}\b', text, re.M), flag


def test_the_english_readme_is_read_in_five_minutes():
    text = read('README.md')
    assert text.count('\n') <= 250 and len(text.encode()) <= 14 * 1024


@pytest.mark.parametrize('readme', READMES)
def test_every_file_linked_exists(readme):
    for target in re.findall(r'\]\(([^)#:]+)[#)]', read(readme)):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize('readme', READMES)
def test_every_page_is_linked(readme):
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')}
    assert pages <= set(re.findall(r'docs/(?:zh/)?(\w+\.md)', read(readme)))


def test_each_readme_links_to_the_other_in_its_first_lines():
    for readme, other in (READMES, READMES[::-1]):
        assert f']({other})' in read(readme).split('\n')[2]


@pytest.mark.parametrize('readme', READMES)
def test_the_tree_names_the_scripts_and_packages(readme):
    tree = re.search(r'```text\n(README\.md .*?)```', read(readme), re.S).group(1)
    top = {path.name for pattern in ('*.py', '*.sh') for path in ROOT.glob(pattern)}
    assert {name for name in re.findall(r'[\w.]+\.(?:py|sh)\b', tree) if not (ROOT / 'utils' / name).exists()} == top
    packages = {path.parent.name for path in (ROOT / 'utils').glob('*/__init__.py')}
    assert set(re.findall(r'(\w+)/', re.search(r'^  (base/.*)$', tree, re.M).group(1))) == packages


@pytest.mark.parametrize('readme', READMES)
def test_the_lines_to_edit_are_quoted_as_they_stand(readme):
    text = read(readme)
    for name, lines in {'utils/data_loader.py': ["base_images_path = r'./AVA_dataset/image/images/'",
                                                 "ava_dataset_path = r'./AVA_dataset/AVA.txt'"],
                        'train.py': ["TMP_WEIGHTS_PATH = './weights'",
                                     'WEIGHTS_NAME = "mobilenet_1_0_224_tf_no_top.h5"',
                                     'base_model = MobileNet((image_size, image_size, 3), alpha=1, include_top=False, '
                                     "pooling='avg', weights=None)"],
                        'eval.py': ["TMP_MODEL_PATF = './model/'", 'CHECKPOINT = "model_007.h5"']}.items():
        source = (ROOT / name).read_text()
        assert all(line in text and line in source for line in lines)


@pytest.mark.parametrize('readme', READMES)
def test_outputs_are_pasted(readme):
    text = read(readme)
    blocks = re.findall(r'<!-- (?:output|last \d+ lines) of: .+? -->\n```text\n(.*?)```', text, re.S)
    assert len(blocks) >= 2 and all(block.strip() for block in blocks)
    assert re.search(r'^loss  0\.\d{6}     srcc 0\.\d{6}$', text, re.M)


def test_the_chinese_readme_has_the_sections_of_the_card_in_its_order():
    card = SHARED / 'model_card.zh.md'
    if not card.is_file():
        pytest.skip('no shared/model_card.zh.md beside the project')
    wanted = re.findall(r'^(?:<h2 id="[^"]*">|## )(.+?)(?:</h2>)?$', card.read_text(encoding='utf-8'), re.M)
    found = re.findall(r'^#{2,3} (.+)$', read('README.zh-CN.md'), re.M)
    assert len(wanted) >= 10
    assert [section for section in found if section in wanted] == wanted
