#!/usr/bin/env bash
# Trains on all Ascend devices of this host, 8 as a rule: bash train_8p.sh [train.py's flags]
#     RANK_TABLE_FILE=table.json bash train_8p.sh ...    on each of several hosts that the table lists
# One process (rank) for each device, each with a log of its own in log/ranks/; rank 0's output appears here too. If one
# fails all are stopped, and the exit code is that one's. Ctrl-C and SIGTERM stop all of them with the state saved.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=utils/env.sh
source "$root/utils/env.sh"
# shellcheck source=utils/cann.sh
source "$nima_root/utils/cann.sh"

for argument; do
    case $argument in -h | --help) exec "$NIMA_PYTHON" "$nima_root/train.py" --help ;; esac
done

patience=${NIMA_STOP_SECONDS:-30}  # before a rank that was sent a signal is sent a stronger one
logs=${NIMA_RANK_LOGS:-$nima_root/log/ranks}
mkdir -p -- "$logs"
if [[ -n ${RANK_TABLE_FILE:-} ]]; then
    table=(--table "$RANK_TABLE_FILE")
else
    table=(--output "$logs/rank_table.json")
fi
mapfile -t ranks < <("${nima_module[@]}" utils.device.rank_table "${table[@]}")
((${#ranks[@]} > 1)) || exit 1  # its error is printed
export RANK_TABLE_FILE=${table[1]} RANK_SIZE=${ranks[0]} LOCAL_SIZE=$((${#ranks[@]} - 1))
export JOB_ID=${JOB_ID:-10087} HCCL_CONNECT_TIMEOUT=${HCCL_CONNECT_TIMEOUT:-600}
export ASCEND_GLOBAL_LOG_LEVEL=${ASCEND_GLOBAL_LOG_LEVEL:-3} ASCEND_SLOG_PRINT_TO_STDOUT=${ASCEND_SLOG_PRINT_TO_STDOUT:-0}
unset CM_CHIEF_IP CM_WORKER_SIZE DEVICE_ID

processes=() names=() signal='' repeated=0

# Sends a signal to all ranks that live.
send() {
    local process
    for process in ${processes[@]+"${processes[@]}"}; do kill -s "$1" "$process" 2>/dev/null || true; done
}

# On Ctrl-C and SIGTERM: the first is passed on, and the ranks save; at the second they end at once.
# shellcheck disable=SC2317  # the traps call it
stop() {
    signal=$1
    send TERM
}
trap 'stop 2' INT
trap 'stop 15' TERM

start() {
    local rank=$1 device=$2 log=$logs/rank_$1.log
    export RANK_ID=$rank ASCEND_DEVICE_ID=$device LOCAL_RANK=${#processes[@]}
    if ((LOCAL_RANK == 0)); then  # rank 0, or the first of another host
        "$NIMA_PYTHON" "$nima_root/train.py" "${flags[@]}" > >(exec tee -i -- "$log") 2>&1 &
    else
        "$NIMA_PYTHON" "$nima_root/train.py" "${flags[@]}" &>"$log" &
    fi
    processes+=($!)
    names+=("$rank")
}

flags=(--device npu --distribute hccl "$@")
for line in "${ranks[@]:1}"; do
    read -r rank device <<<"$line"
    start "$rank" "$device"
done

# Until all have ended: notes the first that fails, and stops the others.
failed='' status=0 deadline=0
while ((${#processes[@]})); do
    for index in "${!processes[@]}"; do
        kill -0 "${processes[index]}" 2>/dev/null && continue
        code=0
        wait "${processes[index]}" || code=$?
        if ((code)) && [[ -z $failed ]]; then
            failed=${names[index]} status=$code
            [[ -n $signal ]] || send TERM  # else they have it already, and at a second one they would not save
            deadline=$((SECONDS + patience))
        fi
        unset "processes[index]" "names[index]"
    done
    if ((deadline && SECONDS >= deadline && ${#processes[@]})); then  # they wait for the one that is gone
        if ((repeated++)); then send KILL; else send TERM; fi
        deadline=$((SECONDS + patience))
    fi
    ((${#processes[@]} == 0)) || sleep 0.2
done
[[ -n $failed ]] || exit 0
[[ -z $signal || $status != 143 ]] || exit $((128 + signal))
echo "train_8p.sh: error: rank $failed ended with exit code $status, the others were stopped. The reason is in \
$logs/rank_$failed.log; run the same command with --resume to continue" >&2
exit "$status"
