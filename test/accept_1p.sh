#!/usr/bin/env bash
# Does this device compute what it should?     bash test/accept_1p.sh [flags of utils/accept.py] | --help
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run.sh" -m utils.accept "$@"
