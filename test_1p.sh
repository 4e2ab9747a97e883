#!/usr/bin/env bash
# Evaluates a trained model on one device: bash test_1p.sh [eval.py's flags]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/run.sh" eval.py "$@"
