#!/usr/bin/env bash
# The model zoo's accuracy run on all devices of this host: the card's 7 epochs and sizes.
#     bash test/train_full_8p.sh --data_path=DIR | --help
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/modelzoo.sh
source "$root/utils/modelzoo.sh"
zoo_main acc train_8p.sh --epochs=7 "$@"
