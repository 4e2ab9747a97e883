#!/usr/bin/env bash
# Runs a script or command of this project with the Python that has TensorFlow 1.15, from any folder:
#     bash run.sh predict.py photos/        bash run.sh -m utils.check_dataset --help
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
usage='expected a script or a command, such as: bash run.sh predict.py --help, or bash run.sh -m utils.labels --help'
if [[ ${1:-} == -m ]]; then
    module=${2:-}
    file=$root/${module//.//}.py
else
    module=''
    file=$root/${1:-}
fi
[[ -f $file && $file == *.py ]] || { echo "run.sh: error: found '$*', $usage" >&2; exit 2; }
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"
nima_one_device
[[ -n $module ]] || exec "$NIMA_PYTHON" "$file" "${@:2}"
# python3 -m would look for utils in the current folder first.
exec "$NIMA_PYTHON" -c 'import runpy, sys
_, sys.path[0], module, *words = sys.argv
sys.argv = [module, *words]
runpy.run_module(module, run_name="__main__", alter_sys=True)' "$nima_root" "${@:2}"
