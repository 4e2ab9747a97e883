#!/usr/bin/env bash
# Builds Horovod for the TensorFlow 1.15 that the scripts use, on CPUs:     bash utils/horovod.sh
# Variables of Horovod's own build, such as HOROVOD_GPU_OPERATIONS=NCCL, are left as they are.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"

imports_horovod=("$NIMA_PYTHON" -c 'import sys
sys.path.pop(0)  # the current folder, whose files are no packages
import horovod.tensorflow')
if "${imports_horovod[@]}" 2>/dev/null; then
    echo "Horovod is already installed: $NIMA_PYTHON"
    exit 0
fi
for tool in g++ cmake; do
    type -P "$tool" >/dev/null || {
        echo "utils/horovod.sh: error: found no $tool, and Horovod is built from source. Install it \
(apt-get install g++ cmake) and run the same command again" >&2
        exit 1
    }
done
export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
[[ -n ${HOROVOD_WITH_MPI:-} ]] || export HOROVOD_WITHOUT_MPI=1
echo 'Building Horovod 0.28.1: some minutes' >&2
"$NIMA_PYTHON" -I -m pip install 'setuptools<68' wheel
"$NIMA_PYTHON" -I -m pip install --no-build-isolation -r "$root/requirements-horovod.txt"
"${imports_horovod[@]}"
