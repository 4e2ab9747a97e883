#!/usr/bin/env bash
# The model zoo's performance run on all devices of this host: 3 short epochs, of which the first does not count in the
# speed.     bash test/train_performance_8p.sh --data_path=DIR | --help
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/modelzoo.sh
source "$root/utils/modelzoo.sh"
zoo_main perf train_8p.sh --epochs=3 --train_size=20040 --val_size=500 "$@"
