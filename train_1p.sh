#!/usr/bin/env bash
# Trains on one device: bash train_1p.sh [train.py's flags]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/run.sh" train.py "$@"
