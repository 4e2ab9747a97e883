#!/usr/bin/env bash
# Runs a script or command of this project with the Python that has TensorFlow 1.15, from any folder:
#     bash run.sh predict.py photos/        bash run.sh -m utils.check_dataset --help
#     bash run.sh -m pip install -r requirements-report.txt
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
file=${1:-}
if [[ $file == utils/*.py || $* == '-m utils.rank_table'* ]]; then
    module=${file%.py}
    [[ $file != -m ]] || module=utils/device/rank_table
    echo "run.sh: error: that is a module: type bash run.sh -m ${module//\//.}" >&2
    exit 2
fi
[[ $file != -m ]] || { file=${2:-}; file=${file//.//}.py; }
[[ ${1:-}-$file == -m-pip.py || $file == *.py && -f $root/$file ]] || {
    printf -v typed '%q ' "$@"
    echo "run.sh: error: ${typed% } names no script or command of $root. Type for example bash run.sh predict.py --help or \
bash run.sh -m utils.labels --help" >&2
    exit 2
}
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"
nima_one_device
if [[ $1 == -m ]]; then exec "${nima_module[@]}" "${@:2}"; fi
exec "$NIMA_PYTHON" "$nima_root/$file" "${@:2}"
