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
    return set(re.findall(r'^ +(--\w+)', done.stdout, re.M))


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
def test_outputs_are_pasted(readme):
    text = (ROOT / readme).read_text(encoding='utf-8')
    blocks = re.findall(r'<!-- output of: .+? -->\n```text\n(.*?)```', text, re.S)
    assert len(blocks) >= 2 and all(block.strip() for block in blocks)
    assert re.search(r'^loss  0\.\d{6}     srcc 0\.\d{6}$', text, re.M)
