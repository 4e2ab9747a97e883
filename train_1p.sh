#!/usr/bin/env bash
# Trains on one device: bash train_1p.sh [train.py's flags]
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"
nima_one_device
exec "$NIMA_PYTHON" "$nima_root/train.py" "$@"
