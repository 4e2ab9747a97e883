"""What the READMEs say, against the program: flags, files, edited lines."""
import re
import subprocess
import sys

import pytest
from conftest import ROOT

READMES = ['README.md', 'README.zh-CN.md']
SCRIPTS = ['train.py', 'eval.py', 'predict.py']


def flag_rows(text):
    """{flag: set of scripts} of the flag table: | `--flag` | default | scripts | meaning |."""
    rows = re.findall(r'^\| `(--\w+)` \| ([^|]*) \| ([^|]*) \|', text, re.M)
    return {flag: set(re.findall(r'\w+\.py', scripts)) for flag, _, scripts in rows}


def help_flags(script):
    done = subprocess.run([sys.executable, str(ROOT / script), '--help'], capture_output=True, text=True, check=True)
    return set(re.findall(r'^ +(?:-\w, )?(--\w+)', done.stdout, re.M))


@pytest.mark.parametrize('readme', READMES)
@pytest.mark.parametrize('script', SCRIPTS)
def test_the_table_of_flags_is_the_help(readme, script):
    table = flag_rows((ROOT / readme).read_text(encoding='utf-8'))
    assert {flag for flag, scripts in table.items() if script in scripts} == help_flags(script) - {'--help'}


@pytest.mark.parametrize('readme', READMES)
def test_every_file_named_exists(readme):
    text = (ROOT / readme).read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)#:]+)\)', text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize('readme', READMES)
def test_the_tree_names_every_file_and_nothing_else(readme):
    text = (ROOT / readme).read_text(encoding='utf-8')
    tree = re.search(r'```text\n(README\.md .*?)```', text, re.S).group(1)
    present = {path.name for folder in (ROOT, ROOT / 'utils') for pattern in ('*.py', '*.sh')
               for path in folder.glob(pattern)} - {'__init__.py'}
    assert set(re.findall(r'[\w.]+\.(?:py|sh)\b', tree)) == present
    packages = {path.parent.name for path in (ROOT / 'utils').glob('*/__init__.py')}
    assert set(re.findall(r'^  (\w+)/', tree, re.M)) == packages


@pytest.mark.parametrize('readme', READMES)
def test_the_lines_to_edit_are_quoted_as_they_stand(readme):
    text = (ROOT / readme).read_text(encoding='utf-8')
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
    text = (ROOT / readme).read_text(encoding='utf-8')
    blocks = re.findall(r'<!-- output of: .+? -->\n```text\n(.*?)```', text, re.S)
    assert len(blocks) >= 2 and all(block.strip() for block in blocks)
    assert re.search(r'^loss  0\.\d{6}     srcc 0\.\d{6}$', text, re.M)
