#!/usr/bin/env bash
# The model zoo's accuracy run: the card's 7 epochs and sizes.     bash test/train_full_1p.sh --data_path=DIR | --help
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/modelzoo.sh
source "$root/utils/modelzoo.sh"
zoo_main acc train_1p.sh --epochs=7 "$@"
