"""utils/env.sh and the two scripts, as real processes with small stand-ins for Python, pip and uname."""
import glob
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = 'bash', 'dirname', 'uname', 'cat', 'cksum', 'grep', 'tail', 'flock', 'cp'
GOOD = {'tensorflow': '1.15.0', 'numpy': '1.17.2', 'scipy': '1.3.3', 'h5py': '2.8.0', 'protobuf': '3.11.3'}

# Says what it was given; "exit N" as the last two arguments makes N its exit code.
TRAIN = '''
import json, os, sys
print(json.dumps({'args': sys.argv[1:], 'folder': os.getcwd(), 'python': sys.prefix, 'process': os.getpid(),
                  'script': os.path.basename(sys.argv[0]), 'log_level': os.environ['TF_CPP_MIN_LOG_LEVEL']}))
sys.exit(int(sys.argv[-1]) if sys.argv[-2:-1] == ['exit'] else 0)
'''

# A pip that notes its arguments in $NOTES and "installs" GOOD, and the test tools where they are asked for.
PIP = '''
import os, signal, sys, time
from pathlib import Path
GOOD = {good}
{install}
if sys.argv[1:] == ['--version']:
    sys.exit()
with open(os.environ['NOTES'], 'a') as notes:
    print('pip', *sys.argv[1:], file=notes)
if '-r' not in sys.argv:
    sys.exit()
how = os.environ.get('PIP_STAND_IN')
if how == 'offline':
    sys.exit('WARNING: Retrying\\nERROR: No matching distribution found for tensorflow==1.15.*')
if how == 'slow':
    time.sleep(0.5)
site = Path(__file__).parents[1]
install(site, dict(tensorflow='1.15.5') if how == 'killed' else GOOD)
if how == 'killed':
    os.killpg(0, signal.SIGKILL)
if any('tests' in word for word in sys.argv):
    install(site, dict(Pillow='9.5.0', tqdm='4.68.2', pytest='7.4.4', keras='2.3.1'))
'''

# A Python 3.7 whose venv takes milliseconds: no pip but the one above.
BASE_PYTHON = '''#!/usr/bin/env bash
if [[ ${{*:1:3}} == '-I -m venv' ]]; then
    echo venv >>"$NOTES"
    {python} "${{@:1:3}}" --without-pip "${{@:4}}" && cp -R {site}/. "${{@: -1}}/lib/python3.7/site-packages"
else
    exec {python} "$@"
fi
'''


def install(site, packages):
    """What pip notes of installed packages; TensorFlow itself must not be imported to find it."""
    for name, version in packages.items():
        note = site / f'{name.replace("-", "_")}-{version}.dist-info'
        note.mkdir(exist_ok=True)
        (note / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        if 'tensorflow' in name:
            (site / 'tensorflow').mkdir(exist_ok=True)
            (site / 'tensorflow' / '__init__.py').write_text('raise SystemExit("TensorFlow was imported")')


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Machine:
    """A PATH, a home and a copy of the scripts in a folder with a blank in its name."""

    def __init__(self, folder):
        self.folder = folder
        self.home, self.tools, self.bin = folder / 'home', folder / 'tools', folder / 'bin'
        self.root = folder / 'a project'
        self.notes = folder / 'notes'
        self.venv = self.root / '.venv'
        self.installation = f'pip install -r {self.root}/requirements.txt'
        for path in (self.home, self.tools, self.bin, self.root / 'utils', self.root / 'tests'):
            path.mkdir(parents=True)
        for tool in TOOLS:
            if shutil.which(tool):
                (self.tools / tool).symlink_to(shutil.which(tool))
        script(self.tools / 'env', f'#!/bin/sh\nexec {shutil.which("env")} "$@"\n')
        for name in ('utils/env.sh', 'utils/cann.sh', 'run.sh', 'train_1p.sh', 'test_1p.sh', 'requirements.txt'):
            shutil.copy(str(ROOT / name), str(self.root / name))
        (self.root / 'tests' / 'requirements.txt').write_text('pytest\nkeras==2.3.1\n')
        (self.root / 'tests' / 'constraints.txt').write_text('pytest==7.4.4\n')
        for name in ('train.py', 'eval.py'):
            (self.root / name).write_text(TRAIN)
        self.uname('Linux', 'x86_64')

    def uname(self, system, machine):
        (self.tools / 'uname').unlink()
        script(self.tools / 'uname',
               f'#!/usr/bin/env bash\n[[ $1 == -s ]] && echo {system} || echo {machine}\n')

    def active_python(self, packages, name='python3'):
        """A Python with `packages`, on the PATH under `name`; returns its prefix."""
        prefix = self.folder / 'active'
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(prefix)], check=True)
        site = next(prefix.glob('lib/python*/site-packages'))
        self._pkg_resources(site)
        install(site, packages)
        script(self.bin / name, f'#!/usr/bin/env bash\nexec {prefix}/bin/python "$@"\n')
        return prefix

    def base_python(self, path=None):
        """A Python 3.7 without TensorFlow, on the PATH or at `path`, that can make a .venv."""
        site = self.folder / 'site'
        script(site / 'pip' / '__main__.py', PIP.format(good=GOOD, install=inspect.getsource(install)))
        if not (site / 'pkg_resources').exists():
            self._pkg_resources(site)
        python = Path(os.path.realpath(sys.executable))
        return script(path or self.bin / 'python3.7', BASE_PYTHON.format(python=python, site=site))

    @staticmethod
    def _pkg_resources(site):
        import pkg_resources
        (site / 'pkg_resources').symlink_to(Path(pkg_resources.__file__).parent)

    def start(self, *arguments, name='train_1p.sh', folder=None, path=(), **environment):
        places = [*map(str, path), str(self.bin), str(self.tools)]
        environment.update(PATH=':'.join(places), HOME=str(self.home), NOTES=str(self.notes),
                           PIP_NO_INDEX='1')  # a mistake here must not install anything
        return subprocess.Popen(
            ['bash', str(self.root / name), *arguments], cwd=str(folder or self.folder), env=environment,
            start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments, **options):
        """(what train.py said, or None; standard error; exit code)"""
        process = self.start(*arguments, **options)
        said, errors = process.communicate()
        return json.loads(said) if said else None, errors, process.returncode

    def noted(self):
        """The calls of venv and pip since the last time."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.write_text('')
        return lines


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def assert_sentence(errors, *parts):
    """One line that names env.sh and holds all of `parts`."""
    assert errors.startswith('utils/env.sh: error: ') and errors.count('\n') == 1, errors
    for part in parts:
        assert part in errors


def files(folder):
    return sorted(str(path) for path in folder.rglob('*') if '__pycache__' not in str(path))


# --- an active Python with TensorFlow 1.15

@pytest.mark.parametrize('build', ['tensorflow', 'tensorflow-cpu', 'tensorflow-gpu', 'intel-tensorflow'])
def test_an_active_python_with_tensorflow_1_15_is_kept(machine, build):
    packages = {build if name == 'tensorflow' else name: version for name, version in GOOD.items()}
    prefix = machine.active_python(packages)
    machine.base_python()
    before = files(prefix)
    said, errors, code = machine.run()
    assert (said['python'], errors, code) == (str(prefix), '', 0)
    assert not machine.venv.exists() and machine.noted() == [] and files(prefix) == before


@pytest.mark.parametrize('change, named, missing', [
    ({'h5py': '3.1.0'}, 'h5py 3.1.0 (expected h5py>=2.8,<3)', "'h5py>=2.8,<3'"),
    ({'protobuf': '4.21.1'}, 'protobuf 4.21.1 (expected protobuf>=3.6.1,<3.21)', "'protobuf>=3.6.1,<3.21'"),
    ({'scipy': None}, 'no scipy', "'scipy>=1.2,<1.8'"),
    ({'numpy': None}, 'no numpy', "'numpy>=1.16,<1.22'"),
    ({'h5py': '3.1.0', 'scipy': None}, 'no scipy and h5py 3.1.0', "'scipy>=1.2,<1.8' 'h5py>=2.8,<3'"),
])
def test_packages_that_are_missing_beside_tensorflow_are_named_and_not_installed(machine, change, named, missing):
    packages = {name: version for name, version in {**GOOD, **change}.items() if version}
    prefix = machine.active_python(packages)
    machine.base_python()
    before = files(prefix)
    said, errors, code = machine.run()
    assert said is None and code == 1
    assert_sentence(errors, f'{machine.bin}/python3 has TensorFlow 1.15', named,
                    f'. Install them with {machine.bin}/python3 -m pip install {missing}\n')
    assert not machine.venv.exists() and machine.noted() == [] and files(prefix) == before


def test_test_tools_that_an_active_python_lacks_are_named(machine):
    machine.active_python({**GOOD, 'Pillow': '9.5.0', 'tqdm': '4.1', 'keras': '2.4.3'})
    _, errors, code = machine.run(NIMA_TEST_TOOLS='1')
    assert code == 1
    assert_sentence(errors, 'no pytest and keras 2.4.3 (expected keras==2.3.1)',
                    'python3 -m pip install pytest keras==2.3.1\n')


def test_another_tensorflow_is_no_reason_to_keep_a_python(machine):
    machine.active_python({**GOOD, 'tensorflow': '2.4.1'})
    machine.base_python()
    said, _, code = machine.run()
    assert (said['python'], code) == (str(machine.venv), 0)


def test_files_of_the_current_folder_do_not_pass_for_packages(machine, tmp_path):
    prefix = machine.active_python(GOOD)
    for name in ('tensorflow.py', 'pkg_resources.py', 'shlex.py'):
        (tmp_path / name).write_text('raise SystemExit("imported from the current folder")')
    said, errors, code = machine.run(folder=tmp_path)
    assert (said['python'], errors, code) == (str(prefix), '', 0)


# --- no Python 3.7, no TensorFlow 1.15 for this machine

@pytest.mark.skipif(bool(glob.glob('/usr/local/python3.7*') + glob.glob('/opt/*conda*')),
                    reason='this machine has a Python 3.7 at a place that no PATH or HOME hides')
def test_without_any_python_37_one_sentence_says_so(machine):
    script(machine.bin / 'python3', '#!/usr/bin/env bash\nexit 1\n')
    said, errors, code = machine.run()
    assert said is None and code == 1 and not machine.venv.exists()
    assert_sentence(errors, 'found no Python 3.7', "'uv python install 3.7'", "'pyenv install 3.7'",
                    'docker image python:3.7', "the vendor's image")


@pytest.mark.parametrize('system, kind', [
    ('Linux', 'aarch64'), ('Darwin', 'arm64'), ('Darwin', 'x86_64'), ('MINGW64_NT-10.0-19045', 'x86_64')])
def test_a_machine_without_tensorflow_1_15_is_refused_before_pip_runs(machine, system, kind):
    machine.base_python()
    machine.uname(system, kind)
    said, errors, code = machine.run()
    assert said is None and code == 1 and machine.noted() == [] and not machine.venv.exists()
    assert_sentence(errors, f'this machine is {system} {kind}', 'for Linux x86_64 only',
                    'ascend-tensorflow-arm', "'uv python install 3.7'", 'docker image python:3.7')


def test_the_vendors_python_is_kept_on_arm(machine):
    prefix = machine.active_python(GOOD)
    machine.uname('Linux', 'aarch64')
    said, _, code = machine.run()
    assert (said['python'], code) == (str(prefix), 0)


def test_a_python_37_without_ensurepip_is_named(machine):
    without = 'import sys; sys.modules["ensurepip"] = None; exec(sys.argv[1])'
    python = script(machine.bin / 'python3.7', f'''#!/usr/bin/env bash
[[ $2 == -c ]] || exit 1
exec {os.path.realpath(sys.executable)} -I -c '{without}' "$3"
''')
    _, errors, code = machine.run()
    assert code == 1
    assert_sentence(errors, f'{python} is a Python 3.7 without venv', 'apt-get install python3.7-venv')


# --- .venv

@pytest.mark.parametrize('place', [
    'home/.pyenv/versions/3.7.16/bin/python3.7',
    'home/miniconda3/envs/a name/bin/python3.7',
    'home/.conda/envs/nima/bin/python3.7',
    'home/.local/share/uv/python/cpython-3.7.9-linux-x86_64-gnu/bin/python3.7',
    'pyenv root/versions/3.7.9/bin/python3.7',
    'conda/bin/python3.7',
    'uv/python3.7',
])
def test_python_37_is_found_behind_a_broken_shim(machine, tmp_path, place):
    for name in ('python3.7', 'python3', 'python'):
        script(machine.bin / name, f'#!/usr/bin/env bash\necho "pyenv: {name}: not found" >&2\nexit 127\n')
    python = machine.base_python(tmp_path / place)
    options = {}
    if place.startswith('pyenv'):
        options['PYENV_ROOT'] = str(tmp_path / 'pyenv root')
    if place.startswith('conda'):
        options['CONDA_EXE'] = str(tmp_path / 'conda/bin/conda')
    if place.startswith('uv'):
        script(machine.bin / 'uv', f'#!/usr/bin/env bash\n[[ "$*" == "python find 3.7" ]] && echo {python}\n')
    said, errors, code = machine.run(**options)
    assert code == 0, errors
    assert said['python'] == str(machine.venv) and machine.noted()[0] == 'venv'


def test_venv_is_made_with_one_line_and_found_again_without_pip(machine):
    python = machine.base_python()
    said, errors, code = machine.run()
    assert (said['python'], code) == (str(machine.venv), 0)
    assert errors.startswith(f'Setting up {machine.venv}') and errors.count('\n') == 1
    assert machine.noted() == ['venv', 'pip install pip>=21.3', machine.installation]
    python.unlink()
    machine.uname('Linux', 'aarch64')
    said, errors, code = machine.run()
    assert (said['python'], errors, code) == (str(machine.venv), '', 0)
    assert machine.noted() == []


def test_test_tools_are_installed_beside_with_exact_versions(machine):
    machine.base_python()
    machine.run()
    machine.noted()
    said, _, code = machine.run(NIMA_TEST_TOOLS='1')
    assert (said['python'], code) == (str(machine.venv), 0)
    assert machine.noted()[-1] == (f'pip install -r {machine.root}/requirements.txt '
                                   f'-r {machine.root}/tests/requirements.txt '
                                   f'-c {machine.root}/tests/constraints.txt')
    machine.run(NIMA_TEST_TOOLS='1')
    machine.run()
    assert machine.noted() == []


def test_an_interrupted_set_up_is_completed(machine):
    machine.base_python()
    assert machine.run(PIP_STAND_IN='killed')[2] == -9
    assert machine.venv.exists()
    machine.noted()
    said, _, code = machine.run()
    assert (said['python'], code) == (str(machine.venv), 0)
    assert machine.noted()[-1] == machine.installation


def test_a_venv_whose_python_does_not_run_is_made_again(machine):
    machine.base_python()
    machine.run()
    machine.noted()
    (machine.venv / 'bin' / 'python').unlink()
    (machine.venv / 'bin' / 'python').symlink_to('/nowhere/python3.7')
    said, errors, code = machine.run()
    assert (said['python'], code) == (str(machine.venv), 0), errors
    assert machine.noted()[0] == 'venv'


@pytest.mark.parametrize('activated', [False, True])
def test_changed_requirements_are_installed_again(machine, activated):
    machine.base_python()
    machine.run()
    machine.noted()
    with (machine.root / 'requirements.txt').open('a') as text:
        text.write('tabulate\n')
    said, _, code = machine.run(path=[machine.venv / 'bin'] if activated else [])
    assert (said['python'], code) == (str(machine.venv), 0)
    assert len(machine.noted()) == 2
    machine.run()
    assert machine.noted() == []


def test_a_package_removed_by_hand_is_installed_again(machine):
    machine.base_python()
    machine.run()
    machine.noted()
    site = next(machine.venv.glob('lib/python*/site-packages'))
    shutil.rmtree(str(site / 'scipy-1.3.3.dist-info'))
    assert machine.run()[2] == 0
    assert machine.noted()[-1] == machine.installation


def test_pip_without_network_is_one_sentence_and_leaves_nothing_that_passes_for_complete(machine):
    machine.base_python()
    said, errors, code = machine.run(PIP_STAND_IN='offline')
    assert said is None and code == 1
    assert_sentence(errors.split('\n', 1)[1], 'pip could not install into',
                    'ERROR: No matching distribution found for tensorflow==1.15.*',
                    f'{machine.venv}/pip.log', 'a mirror')
    assert machine.run()[2] == 0


def test_somebody_elses_venv_is_not_touched(machine):
    machine.base_python()
    script(machine.venv / 'bin' / 'python', '#!/usr/bin/env bash\necho 3.11\n')
    _, errors, code = machine.run()
    assert code == 1 and files(machine.venv) == [f'{machine.venv}/bin', f'{machine.venv}/bin/python']
    assert_sentence(errors, f'{machine.venv} is an environment of Python 3.11, expected 3.7')


def test_two_starts_at_once_install_once(machine):
    machine.base_python()
    processes = [machine.start(PIP_STAND_IN='slow') for _ in range(2)]
    for process in processes:
        assert process.communicate() and process.returncode == 0
    assert [line for line in machine.noted() if '-r' in line] == [machine.installation]


# --- the scripts

@pytest.mark.parametrize('name, python', [('train_1p.sh', 'train.py'), ('test_1p.sh', 'eval.py')])
def test_arguments_exit_code_folder_and_process_are_pythons(machine, tmp_path, name, python):
    machine.active_python(GOOD)
    folder = tmp_path / 'another folder'
    folder.mkdir()
    arguments = ['--TMP_MODEL_PATF', 'a folder/with  blanks', '', '*', '$HOME', 'exit', '7']
    process = machine.start(*arguments, name=name, folder=folder)
    said, errors = process.communicate()
    assert (process.returncode, errors) == (7, '')
    assert json.loads(said) == {
        'args': arguments, 'folder': str(folder), 'python': str(machine.folder / 'active'),
        'process': process.pid, 'script': python, 'log_level': '1'}


def test_the_scripts_are_found_from_the_current_folder_in_spite_of_cdpath(machine):
    machine.active_python(GOOD)
    (machine.folder / 'elsewhere' / machine.root.name).mkdir(parents=True)
    process = subprocess.run(
        ['bash', f'{machine.root.name}/train_1p.sh'], cwd=str(machine.folder), stdout=subprocess.PIPE,
        env={'PATH': f'{machine.bin}:{machine.tools}', 'HOME': str(machine.home),
             'CDPATH': str(machine.folder / 'elsewhere')})
    assert process.returncode == 0 and json.loads(process.stdout.decode())['folder'] == str(machine.folder)


def test_the_callers_log_level_is_kept(machine):
    machine.active_python(GOOD)
    assert machine.run(TF_CPP_MIN_LOG_LEVEL='0')[0]['log_level'] == '0'


# --- run.sh

MODULE = f'''
from utils import base
{TRAIN}'''


@pytest.fixture
def commands(machine):
    """The machine with a utils/ that has a command, which imports from its own package."""
    machine.active_python(GOOD)
    (machine.root / 'utils' / '__init__.py').write_text('')
    (machine.root / 'utils' / 'base.py').write_text('')
    (machine.root / 'utils' / 'labels.py').write_text(MODULE)
    return machine


@pytest.mark.parametrize('words, file', [(['train.py'], 'train.py'), (['-m', 'utils.labels'], 'utils/labels.py')])
def test_run_passes_on_arguments_exit_code_folder_and_process(commands, tmp_path, words, file):
    folder = tmp_path / 'another folder'
    for name in ('utils/base.py', 'utils/__init__.py', 'utils/labels.py', 'runpy.py'):
        script(folder / name, 'raise SystemExit("imported from the current folder")')
    arguments = ['a folder/with  blanks', '', '*', '-m', 'exit', '7']
    process = commands.start(*words, *arguments, name='run.sh', folder=folder)
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (7, '')
    found = json.loads(printed)
    assert (found['args'], found['folder'], found['process']) == (arguments, str(folder), process.pid)
    assert (found['python'], found['script']) == (str(commands.folder / 'active'), os.path.basename(file))


def test_run_uses_the_environment_beside_it_where_no_python_has_tensorflow(machine):
    machine.base_python()
    found, _, code = machine.run('train.py', name='run.sh')
    assert (found['python'], code) == (str(machine.venv), 0)


@pytest.mark.parametrize('words', [
    ['-m', 'utils.labels'], ['train.py']])
def test_signals_reach_what_run_started(commands, words):
    for name in ('train.py', 'utils/labels.py'):
        (commands.root / name).write_text('import signal, sys, time\n'
                                          'signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n'
                                          'print("ready", flush=True)\ntime.sleep(60)\n')
    process = commands.start(*words, name='run.sh')
    assert process.stdout.readline() == 'ready\n'
    process.terminate()
    assert process.communicate(timeout=30) == ('', '') and process.returncode == 9


def test_pip_is_that_of_the_python_that_runs_the_project(tmp_path):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    for name in ('pip', 'json'):  # of the current folder, so not to be run
        (tmp_path / f'{name}.py').write_text('raise SystemExit("run")')
    done = subprocess.run(['bash', str(ROOT / 'run.sh'), '-m', 'pip', '--version'], cwd=str(tmp_path),
                          env={**os.environ, 'PATH': path}, capture_output=True, text=True)
    assert done.returncode == 0 and sys.prefix in done.stdout


def interrupting(place):
    """A stand-in of a program at which Ctrl-C comes, and which ends with 1, as Python 3.7 does."""
    return script(place, '#!/usr/bin/env bash\ntrap "" INT\nkill -s INT 0\nsleep 0.2\nexit 1\n')


def test_ctrl_c_while_a_python_is_tried_ends_the_script(machine):
    machine.base_python()
    (machine.tools / 'sleep').symlink_to(shutil.which('sleep'))
    interrupting(machine.bin / 'python3')
    assert machine.run('train.py', name='run.sh') == (None, '', 130)
    assert machine.noted() == []


def test_ctrl_c_while_the_environment_is_made_ends_the_script(machine):
    (machine.tools / 'sleep').symlink_to(shutil.which('sleep'))
    machine.base_python()
    interrupting(machine.venv / 'bin' / 'python')
    said, errors, code = machine.run('train.py', name='run.sh')
    assert (said, code) == (None, 130) and 'error' not in errors
    assert machine.noted() == []


@pytest.mark.parametrize('words', [
    [], ['pip.py'], ['pip'], ['predct.py'], ['-m'], ['-m', 'utils.lables'], ['utils'], ['README.md'], ['']])
def test_run_without_a_script_of_the_project(commands, words):
    (commands.root / 'README.md').write_text('')
    said, errors, code = commands.run(*words, name='run.sh')
    assert (said, code) == (None, 2) and errors.count('\n') == 1
    typed = ' '.join(words) or "''"
    assert errors.startswith(f'run.sh: error: {typed} names no script or command of {commands.root}. Type ')


def test_what_was_typed_is_printed_without_control_codes(commands):
    said, errors, code = commands.run('\x1b[31mred\n', name='run.sh')
    assert (said, code) == (None, 2) and errors.startswith(r"run.sh: error: $'\E[31mred\n' names no script ")


@pytest.mark.parametrize('words, module', [(['utils/labels.py', 'votes.csv'], 'utils.labels'),
                                           (['-m', 'utils.rank_table', '--help'], 'utils.device.rank_table')])
def test_run_with_the_file_or_the_old_name_of_a_module(commands, words, module):
    assert commands.run(*words, name='run.sh') == (
        None, f'run.sh: error: that is a module: type bash run.sh -m {module}\n', 2)
