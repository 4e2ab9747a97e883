"""What docs/ says, against the repository: files, names in the code, links, the import order."""
import keyword
import re
import subprocess

import pytest
from conftest import ROOT
from test_rules import ORDER

PAGES = sorted((ROOT / 'docs').glob('**/*.md'))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FILE = re.compile(r'[\w./-]+(\.(py|sh|md|txt|css|html|json)|/)')
NAME = re.compile(r'(\w+)(\(\))?')


def quoted(page):
    """Everything in single backticks."""
    return re.findall(r'(?<!`)`([^`\n]+)`(?!`)', page.read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def files():
    """All files that belong to the repository, and their folders, each with a slash before it."""
    listed = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=str(ROOT),
                            stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return {'/' + name for name in listed} | {'/' + name.rpartition('/')[0] + '/' for name in listed}


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_every_file_named_exists(page, files):
    named = {word for word in quoted(page) if FILE.fullmatch(word)}
    missing = {word for word in named if not any(name.endswith('/' + word) for name in files)}
    assert missing == set()


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_every_name_stands_in_the_code(page, files):
    sources = [ROOT / name[1:] for name in files if name.endswith(('.py', '.sh', '.txt')) and '/tests/' not in name]
    words = set(re.findall(r'\w+', '\n'.join(path.read_text(encoding='utf-8') for path in sources if path.exists())))
    named = {match.group(1) for match in map(NAME.fullmatch, quoted(page)) if match}
    assert named - words - set(keyword.kwlist) == set()


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r'\]\(([^)#:]+)\)', page.read_text(encoding='utf-8')):
        assert (page.parent / target).exists(), target


def test_the_import_order_is_the_tested_one():
    line, = re.findall(r'^    (base < .*)$', (ROOT / 'docs' / 'design.md').read_text(encoding='utf-8'), re.M)
    packages = [set(step.split(', ')) for step in line.split(' < ')]
    tested = [{name.replace('utils.', '') for name in step} for step in ORDER]
    assert packages == [*tested[:-2], {'commands'}, {'scripts'}]
