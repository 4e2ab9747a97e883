#!/usr/bin/env bash
# Does this device compute what it should?     bash test/accept_1p.sh [flags of utils/accept.py] | --help
# With RANK_SIZE, RANK_ID, RANK_TABLE_FILE and JOB_ID set it is one rank of several: see docs/acceptance.md.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ! ${RANK_SIZE:-1} =~ ^[0-9]{1,9}$ ]] || ((10#${RANK_SIZE:-1} == 0)); then
    echo "accept_1p.sh: error: RANK_SIZE is '$RANK_SIZE', expected a whole number from 1. For one device unset it" >&2
    exit 1
fi
if ((10#${RANK_SIZE:-1} == 1)); then exec bash "$root/run.sh" -m utils.accept "$@"; fi
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"
exec "${nima_module[@]}" utils.accept "$@"
