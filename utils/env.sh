# shellcheck shell=bash
# To be sourced: sets NIMA_PYTHON, the Python that runs this project, and stays in the current folder. The array
# nima_module is the beginning of a command that runs a module of this project, whatever lies in the current folder.
#   1. A Python on the PATH that has TensorFlow 1.15 (the vendor's image, an activated environment) is kept.
#   2. Otherwise it is .venv beside README.md, made from requirements.txt once and found again later.
# With NIMA_TEST_TOOLS=1 the tools of tests/requirements.txt are part of both.
# An error is a sentence or two on standard error, with exit status 1.

nima_root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd) || return 1
nima_venv=$nima_root/.venv

nima_fail() {
    echo "utils/env.sh: error: $1" >&2
    return 1
}

# Is TensorFlow 1.15 in the Python $1, and are the packages beside it as the requirement files say?
# Status 0: yes; 3: not all of them, standard output says which; any other: no TensorFlow 1.15, or no Python.
# It reads what pip noted at installation: importing TensorFlow would take seconds.
nima_check() {
    "$1" - "$1" "$nima_root" "${NIMA_TEST_TOOLS:-}" 2>/dev/null <<'PYTHON'
import sys
if sys.version_info < (3, 7):
    sys.exit(1)
sys.path.pop(0)  # the caller's folder, whose files are no packages
import importlib.util
import os
import shlex
if importlib.util.find_spec('tensorflow') is None:
    sys.exit(1)
import pkg_resources

NEEDED = 'numpy', 'scipy', 'h5py', 'protobuf'  # by train.py and eval.py; the others are convenience
BUILDS = 'tensorflow', 'tensorflow-cpu', 'tensorflow-gpu', 'intel-tensorflow'

python, root, with_tests = sys.argv[1:]
lines = open(os.path.join(root, 'requirements.txt')).readlines()
if with_tests:
    lines += open(os.path.join(root, 'tests', 'requirements.txt')).readlines()
texts = [line.split('#')[0].split(';')[0].strip() for line in lines]
wanted = [(pkg_resources.Requirement.parse(text), text) for text in texts if text]
installed = pkg_resources.working_set.by_key

tensorflow = next(requirement for requirement, _ in wanted if requirement.key == 'tensorflow')
if not any(name in installed and installed[name].version in tensorflow for name in BUILDS):
    sys.exit(1)

found, missing = [], []
for requirement, text in wanted:
    if requirement.key == 'tensorflow' or not (with_tests or requirement.key in NEEDED):
        continue
    package = installed.get(requirement.key)
    if package is None:
        found.append('no ' + requirement.project_name)
    elif package.version not in requirement:
        found.append('{} {} (expected {})'.format(package.project_name, package.version, text))
    else:
        continue
    missing.append(text)
if found:
    command = ' '.join(map(shlex.quote, [python, '-m', 'pip', 'install'] + missing))
    print('{} has TensorFlow 1.15, but {}. Install them with {}'.format(
        python, ' and '.join(found), command))
    sys.exit(3)
PYTHON
}

# Sets NIMA_PYTHON to the active Python that has TensorFlow 1.15. Status 2: it has, but lacks other packages.
nima_keep_active() {
    local name python report status
    for name in python3 python3.7 python; do
        python=$(type -P "$name") || continue
        [[ ${python%/*} -ef $nima_venv/bin ]] && continue
        status=0
        report=$(nima_check "$python") || status=$?
        case $status in
            0) NIMA_PYTHON=$python; return 0 ;;
            3) nima_fail "$report" || return 2 ;;
        esac
    done
    return 1
}

# Checksums of the files that the environment is made from, as written into .venv after success.
nima_checksum() {
    if [[ -n ${NIMA_TEST_TOOLS:-} ]]; then
        cat "$nima_root"/requirements.txt "$nima_root"/tests/{requirements,constraints}.txt
    else
        cat "$nima_root/requirements.txt"
    fi | cksum
}

nima_venv_is_ready() {
    local stamp=$nima_venv/installed${NIMA_TEST_TOOLS:+-with-tests}.cksum
    [[ -f $stamp && $(<"$stamp") == "$(nima_checksum)" ]] && nima_check "$nima_venv/bin/python" >/dev/null
}

# Where a Python 3.7 may be: the PATH, pyenv, the vendor's folder, conda, uv. Not all of these files exist.
nima_python_candidates() {
    local home=${HOME:-} folder
    type -aP python3.7 python3 python || true
    printf '%s\n' "${PYENV_ROOT:-$home/.pyenv}"/versions/3.7*/bin/python3.7
    printf '%s\n' /usr/local/python3.7*/bin/python3.7
    for folder in "${CONDA_EXE:+${CONDA_EXE%/*/*}}" "$home/.conda" /opt/conda \
        {"$home",/opt}/{miniconda3,anaconda3,miniforge3,mambaforge}; do
        printf '%s\n' "$folder"/bin/python3.7 "$folder"/envs/*/bin/python3.7
    done
    uv python find 3.7 2>/dev/null || true
    folder=${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$home/.local/share}/uv/python}
    printf '%s\n' "$folder"/*/bin/python3.7
}

# Prints a Python 3.7 that runs and can make environments.
nima_find_python37() {
    local python status without_venv=''
    while IFS='' read -r python; do
        [[ -x $python && ! ${python%/*} -ef $nima_venv/bin ]] || continue
        status=0
        "$python" -I -c 'import sys
if sys.version_info[:2] != (3, 7) or sys.maxsize < 2**32 or sys.implementation.name != "cpython": sys.exit(1)
try: import ensurepip, venv
except ImportError: sys.exit(4)' &>/dev/null </dev/null || status=$?
        case $status in
            0) echo "$python"; return 0 ;;
            4) without_venv=$python ;;
        esac
    done < <(nima_python_candidates)
    if [[ -n $without_venv ]]; then
        nima_fail "$without_venv is a Python 3.7 without venv and ensurepip, which Debian and Ubuntu package \
separately. Install them (apt-get install python3.7-venv python3.7-distutils) and run the same command again"
    else
        nima_fail "found no Python 3.7 on the PATH, in pyenv, conda or uv, and TensorFlow 1.15 runs on no newer one. \
Install one with 'uv python install 3.7' or 'pyenv install 3.7', or work in the docker image python:3.7 or, on an \
Ascend server, in the vendor's image; then run the same command again"
    fi
}

nima_check_machine() {
    local machine
    machine="$(uname -s) $(uname -m)"
    [[ $machine == 'Linux x86_64' ]] || nima_fail "found no Python with TensorFlow 1.15, and this machine is \
$machine: the package index has it for Linux x86_64 only. On an Ascend server with ARM work in the vendor's image \
(ascend-tensorflow-arm), which has it, elsewhere on a Linux x86_64 machine with Python 3.7 ('uv python install 3.7', \
'pyenv install 3.7' or the docker image python:3.7)"
}

# Makes .venv, or completes one that an interrupted or older set-up left; one process at a time.
nima_make_venv() (
    trap 'exit 130' INT
    if type -P flock >/dev/null && ! flock -n 9; then
        echo "Waiting for another start that is setting up $nima_venv" >&2
        flock 9 || true
    fi
    if nima_venv_is_ready; then exit 0; fi
    python=$nima_venv/bin/python
    log=$nima_venv/pip.log
    export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

    version=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=''
    if [[ -n $version && $version != 3.7 ]]; then
        nima_fail "$nima_venv is an environment of Python $version, expected 3.7. \
Remove or rename that folder and run the same command again" || exit 1
    fi
    base=''
    if [[ -z $version ]] || ! "$python" -I -m pip --version &>/dev/null; then
        base=$(nima_find_python37) || exit 1
    fi
    echo "Setting up $nima_venv with TensorFlow 1.15: about a minute and 200 MB (pip's progress: $log)" >&2
    if [[ -n $base ]]; then
        options=()  # one that only lacks pip is completed; one that does not run is made again
        [[ -n $version ]] || options=(--clear)
        reason=$("$base" -I -m venv ${options[@]+"${options[@]}"} "$nima_venv" 2>&1) ||
            nima_fail "$base could not make $nima_venv (${reason##*$'\n'}). Correct that and run the same command \
again" || exit 1
    fi

    files=(-r "$nima_root/requirements.txt")
    [[ -z ${NIMA_TEST_TOOLS:-} ]] ||
        files+=(-r "$nima_root/tests/requirements.txt" -c "$nima_root/tests/constraints.txt")
    # The pip that comes with the older Pythons 3.7 does not know today's wheels.
    if ! "$python" -I -m pip install 'pip>=21.3' &>"$log" ||
        ! "$python" -I -m pip install "${files[@]}" >>"$log" 2>&1; then
        reason=$(grep '^ERROR' "$log" | tail -n 1) || true
        nima_fail "pip could not install into $nima_venv (${reason:-no reason given}; the log is $log). Correct that, \
for a package index out of reach by setting pip's proxy or a mirror, and run the same command again" || exit 1
    fi
    nima_checksum >"$nima_venv/installed${NIMA_TEST_TOOLS:+-with-tests}.cksum"
    NIMA_TEST_TOOLS='' nima_checksum >"$nima_venv/installed.cksum"
) 9<"$nima_root/requirements.txt"

nima_set_up() {
    local status=0
    nima_keep_active || status=$?
    case $status in
        0) return 0 ;;
        2) return 1 ;;
    esac
    nima_venv_is_ready || { nima_check_machine && nima_make_venv; } || return 1
    NIMA_PYTHON=$nima_venv/bin/python
}

export NIMA_PYTHON=''
trap 'exit 130' INT  # a Python that is tried ends with 1 at Ctrl-C, as one without TensorFlow does
nima_set_up || return 1
trap - INT
# python3 -m would look for utils/ in the current folder first.
# shellcheck disable=SC2034  # for those who source this file
nima_module=("$NIMA_PYTHON" -c 'import sys
sys.path[0] = sys.argv[1]
import runpy
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)' "$nima_root")

# Output reaches a log file at once, and TensorFlow's C++ code reports no more than warnings unless told to.
export PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1} TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-1}
