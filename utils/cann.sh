# shellcheck shell=bash
# To be sourced: sets up CANN, the software of Ascend devices, where it is installed and not set up yet.
# A shell whose ASCEND_OPP_PATH is set is left as it is, but for the TensorFlow plugin where Python does not find it;
# without CANN nothing changes. utils/env.sh comes first: it sets NIMA_PYTHON. The caller works under set -euo pipefail.
# Looked for in ~/Ascend, where users install it, then in /usr/local/Ascend, where root does:
#   cann/set_env.sh, and tfplugin/set_env.sh                                  CANN 9
#   ascend-toolkit/set_env.sh or nnae/set_env.sh, and tfplugin/set_env.sh     CANN 5.0.4 to 8
#   ascend-toolkit/latest/ or nnae/latest/ with fwkacllib/ and opp/           CANN 20.x and 5.0.x
#   fwkacllib/ and opp/ in that folder itself                                 the oldest
# nima_one_device sets the environment of a run on a single device.

# Sources the vendor's script $1, which expects neither set -e nor set -u. It sees and may set the local variables of
# the functions here: hence their prefix.
nima_source() {
    local nima_script=$1
    shift
    set +eu
    # shellcheck source=/dev/null
    source "$nima_script"
    set -euo pipefail
}

# nima_prepend VARIABLE FOLDER...: puts those folders and eggs that exist in front of a path variable.
nima_prepend() {
    local nima_name=$1 nima_folder
    for nima_folder in "${@:2}"; do
        [[ ! -e $nima_folder ]] || export "$nima_name=$nima_folder${!nima_name:+:${!nima_name}}"
    done
}

# Sets by hand what a set_env.sh would; $1 holds fwkacllib/ and opp/.
nima_set_cann() {
    nima_prepend LD_LIBRARY_PATH "$1/fwkacllib/lib64"
    nima_prepend PATH "$1"/fwkacllib/{bin,ccec_compiler/bin}
    nima_prepend PYTHONPATH "$1/opp/op_impl/built-in/ai_core/tbe" \
        "$1"/fwkacllib/python/site-packages{/schedule_search.egg,/auto_tune.egg/auto_tune,}
    export ASCEND_OPP_PATH=$1/opp ASCEND_AICPU_PATH=$1
}

# Sets up the TensorFlow plugin beside the CANN in $1; it brings npu_bridge.
nima_set_tfplugin() {
    if [[ -f $1/tfplugin/set_env.sh ]]; then
        nima_source "$1/tfplugin/set_env.sh"
    else
        nima_prepend PYTHONPATH "$1"/tfplugin/{python,latest/python,latest/tfplugin/python}/site-packages
    fi
}

nima_set_up_cann() {
    local nima_base nima_toolkit
    for nima_base in "${HOME:-}/Ascend" /usr/local/Ascend; do
        for nima_toolkit in "$nima_base"/{cann,ascend-toolkit,nnae,ascend-toolkit/latest,nnae/latest} "$nima_base"; do
            if [[ -f $nima_toolkit/set_env.sh ]]; then
                nima_source "$nima_toolkit/set_env.sh"
            elif [[ -d $nima_toolkit/fwkacllib && -d $nima_toolkit/opp ]]; then
                nima_set_cann "$nima_toolkit"
            else
                continue
            fi
            nima_set_tfplugin "$nima_base"
            nima_prepend LD_LIBRARY_PATH /usr/local/Ascend/{add-ons,driver/lib64{,/common,/driver}}
            return 0
        done
    done
}

# Does Python find npu_bridge?
nima_has_tfplugin() {
    "$NIMA_PYTHON" -c 'import sys
sys.path.pop(0)  # the current folder, whose files are no packages
import importlib.util
sys.exit(importlib.util.find_spec("npu_bridge") is None)' &>/dev/null
}

# Where CANN is set up already.
nima_find_tfplugin() {
    local nima_base
    if nima_has_tfplugin; then return 0; fi
    for nima_base in "${HOME:-}/Ascend" /usr/local/Ascend; do
        [[ -d $nima_base/tfplugin ]] || continue
        nima_set_tfplugin "$nima_base"
        return 0
    done
}

# The caller's ASCEND_DEVICE_ID stays. Already the presence of a RANK_TABLE_FILE would turn on the communication
# between devices.
nima_one_device() {
    export JOB_ID=${JOB_ID:-10087} RANK_SIZE=1 RANK_ID=0
    unset RANK_TABLE_FILE CM_CHIEF_IP CM_WORKER_SIZE
    [[ -n ${ASCEND_DEVICE_ID:-}${DEVICE_ID:-} ]] || export ASCEND_DEVICE_ID=0
    export ASCEND_GLOBAL_LOG_LEVEL=${ASCEND_GLOBAL_LOG_LEVEL:-3}  # errors alone
    export ASCEND_SLOG_PRINT_TO_STDOUT=${ASCEND_SLOG_PRINT_TO_STDOUT:-0}
}

if [[ -n ${ASCEND_OPP_PATH:-} ]]; then nima_find_tfplugin; else nima_set_up_cann; fi
