"""What docs/ says, against the repository: files, names in the code, links, the import order."""
import ast
import keyword
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_rules import ORDER

PAGES = sorted((ROOT / 'docs').glob('**/*.md'))
DESIGN = ROOT / 'docs' / 'design.md'
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


def test_every_file_named_in_the_design_exists(files):
    named = {word for word in quoted(DESIGN) if FILE.fullmatch(word)}
    assert {word for word in named if not any(name.endswith('/' + word) for name in files)} == set()


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_every_file_of_the_repository_named_exists(page):
    folders = 'utils|test|tests|tools|benchmarks'
    text = page.read_text(encoding='utf-8')
    named = set(re.findall(rf'\b((?:{folders})/[\w/]+\.(?:py|sh))\b', text)) | set(
        re.findall(r'\bbash (\w+\.sh)\b', text)) | set(re.findall(r'\brun\.sh (\w+\.py)\b', text)) | {
        name.replace('.', '/') + '.py' for name in re.findall(r'-m (utils\.[a-z][\w.]*\w)', text)}
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_name_in_the_design_stands_in_the_code(files):
    sources = [ROOT / name[1:] for name in files if name.endswith(('.py', '.sh', '.txt')) and '/tests/' not in name]
    words = set(re.findall(r'\w+', '\n'.join(path.read_text(encoding='utf-8') for path in sources if path.exists())))
    named = {match.group(1) for match in map(NAME.fullmatch, quoted(DESIGN)) if match}
    assert named - words - set(keyword.kwlist) == set()


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r'\]\(([^)#:]+)\)', page.read_text(encoding='utf-8')):
        assert (page.parent / target).exists(), target


def messages():
    """All texts in the programs, in lower case, without the values that are put in."""
    texts = [path.read_text(encoding='utf-8').replace('\\\n', '') for path in ROOT.glob('**/*.sh')
             if '.venv' not in path.parts]
    for path in [*ROOT.glob('*.py'), *ROOT.glob('utils/**/*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                texts.append(''.join(getattr(part, 's', '\0') for part in node.values))
            elif isinstance(node, ast.Str):
                texts.append(node.s)
    return '\n'.join(texts).lower()


@pytest.mark.parametrize('page', [page for page in PAGES if page.name == 'troubleshooting.md'],
                         ids=lambda page: page.parent.name)
def test_every_message_explained_is_one_that_is_printed(page):
    printed = messages()
    cells = re.findall(r'^\| (`.*?) \|', page.read_text(encoding='utf-8'), re.M)
    quotes = [message for cell in cells for message in re.findall('`(.*?)`', cell)]
    assert len(quotes) > 25
    for message in quotes:
        parts = re.split(r"\.\.\.|\d+|'[^']*'|warning:|\S+\.(?:txt|h5)", message.lower())
        fragments = [part.strip(" ,:()'") for part in parts]
        assert all(part in printed for part in fragments if len(part) > 3), message


def test_the_page_of_flags_is_made_from_the_parsers():
    sys.path.insert(0, str(ROOT / 'tools'))
    import flags_page
    assert flags_page.PAGE.read_text(encoding='utf-8') == flags_page.page(), 'bash run.sh tools/flags_page.py'


def test_the_import_order_is_the_tested_one():
    line, = re.findall(r'^    (base < .*)$', DESIGN.read_text(encoding='utf-8'), re.M)
    packages = [set(step.split(', ')) for step in line.split(' < ')]
    tested = [{name.replace('utils.', '') for name in step} for step in ORDER]
    assert packages == [*tested[:-2], {'commands'}, {'scripts'}]
