#!/usr/bin/env bash
# Evaluates a trained model on one device: bash test_1p.sh [eval.py's flags]
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"
nima_one_device
exec "$NIMA_PYTHON" "$nima_root/eval.py" "$@"
