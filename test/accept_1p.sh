#!/usr/bin/env bash
# Does this device compute what it should?     bash test/accept_1p.sh [flags of utils/accept.py] | --help
# With RANK_SIZE, RANK_ID, RANK_TABLE_FILE and JOB_ID set it is one rank of several: see docs/acceptance.md.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ! ${RANK_SIZE:-1} =~ ^[0-9]+$ ]] || ((${RANK_SIZE:-1} < 2)); then exec bash "$root/run.sh" -m utils.accept "$@"; fi
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"
exec "${nima_module[@]}" utils.accept "$@"
