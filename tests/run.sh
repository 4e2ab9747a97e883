#!/usr/bin/env bash
# Every check: ruff, mypy, shellcheck, pytest.      bash tests/run.sh [--slow] [pytest's arguments]
# The long tests (marked slow) run only with --slow as the first argument.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/env.sh
NIMA_TEST_TOOLS=1 source "$root/utils/env.sh"
cd -- "$root"

selection=(-m 'not slow')
if [[ ${1:-} == --slow ]]; then
    selection=(-m 'slow or not slow')
    shift
fi

# The program shellcheck comes as a script of this Python, whose folder need not be on the PATH.
PATH=$("$NIMA_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("scripts"))'):$PATH

# With --slow Horovod is built too, once, where that can be: minutes of two cores. Its tests are skipped without it.
if [[ ${selection[1]} == 'slow or not slow' ]] && ! "$NIMA_PYTHON" -c 'import horovod' 2>/dev/null; then
    if type -P g++ cmake >/dev/null; then
        bash utils/horovod.sh
    else
        echo 'tests/run.sh: no g++ and cmake to build Horovod with: its tests are skipped' >&2
    fi
fi

"$NIMA_PYTHON" -m ruff check .
"$NIMA_PYTHON" -m mypy
shopt -s globstar nullglob
shellcheck -x -- **/*.sh .ci/run
# Most tests build graphs on one core, so two of them run side by side; who is done takes over from the other.
exec "$NIMA_PYTHON" -m pytest -n 2 --dist worksteal "${selection[@]}" "$@"
