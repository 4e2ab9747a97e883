#!/usr/bin/env bash
# The model zoo's performance run: 3 short epochs, of which the first does not count in the speed.
#     bash test/train_performance_1p.sh --data_path=DIR | --help
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/modelzoo.sh
source "$root/utils/modelzoo.sh"
zoo_main perf train_1p.sh --epochs=3 --train_size=2505 --val_size=500 "$@"
