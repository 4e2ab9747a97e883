# shellcheck shell=bash
# To be sourced by the scripts of test/: the model zoo's options, output folder and result lines around train_1p.sh or
# train_8p.sh. The working folder stays, and no file outside test/output/ changes.

nima_root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

zoo_help() {
    cat <<TEXT
bash ${0##*/} --data_path=DIR [options] [flags of train.py]
  --data_path=DIR        holds AVA_dataset/ (AVA.txt, image/images/) and the pre-trained weights, or is AVA_dataset/
                         itself; the weights are then those in weights/
  --ckpt_path=DIR        another folder of pre-trained weights
  --precision_mode=MODE  of the NPU (default: allow_mix_precision)
  --over_dump            records operators that overflow, into overflow_dump/ of the output folder
  --data_dump_flag       records inputs and outputs of all operators, into data_dump/ of the output folder
  --data_dump_step=N     the steps that --data_dump_flag records (default: 0)
  --profiling            records profiles of the device, into profiling/ of the output folder
  -h, --help             this text
The output folder is test/output/\$ASCEND_DEVICE_ID, on all devices test/output/8p, which is emptied first. A folder may also follow a blank
(--data_path DIR); switches also take =True and =False.
TEXT
}

zoo_fail() {
    echo "${0##*/}: error: $1" >&2
    exit 1
}

# Reads the arguments; sets zoo_data, zoo_weights and zoo_flags, which are those of train.py.
zoo_parse() {
    local argument
    zoo_data='' zoo_weights='' zoo_flags=()
    while (($#)); do
        argument=$1
        shift
        if [[ $argument =~ ^--(data|ckpt)_path$ && ${1:-} && $1 != --* ]]; then
            argument="$argument=$1"
            shift
        fi
        case $argument in
            -h | --help) zoo_help && exit 0 ;;
            --data_path=?*) zoo_data=${argument#*=} ;;
            --ckpt_path=?*) zoo_weights=${argument#*=} ;;
            --over_dump | --over_dump=[Tt]rue) zoo_flags+=("--over_dump_path=$zoo_output/overflow_dump") ;;
            --data_dump_flag | --data_dump_flag=[Tt]rue) zoo_flags+=("--data_dump_path=$zoo_output/data_dump") ;;
            --profiling | --profiling=[Tt]rue) zoo_flags+=("--profiling_dump_path=$zoo_output/profiling") ;;
            --over_dump=[Ff]alse | --data_dump_flag=[Ff]alse | --profiling=[Ff]alse) ;;
            --over_dump=* | --data_dump_flag=* | --profiling=*)
                zoo_fail "${argument%%=*}: found '${argument#*=}', expected True or False" ;;
            --data_path | --data_path= | --ckpt_path | --ckpt_path=)
                zoo_fail "${argument%=} needs a folder. Type ${argument%=}=DIR" ;;
            *) zoo_flags+=("$argument") ;;
        esac
    done
}

# Sets zoo_dataset, the folder of AVA.txt, and zoo_weights, unless they were given.
zoo_find_data() {
    [[ -n $zoo_data ]] || zoo_fail '--data_path is missing. Type --data_path=DIR, the folder of the data'
    if [[ -f $zoo_data/AVA_dataset/AVA.txt ]]; then
        zoo_dataset=$zoo_data/AVA_dataset
        zoo_weights=${zoo_weights:-$zoo_data}
    elif [[ -f $zoo_data/AVA.txt ]]; then
        zoo_dataset=$zoo_data
        zoo_weights=${zoo_weights:-$nima_root/weights}
    else
        zoo_fail "--data_path=$zoo_data: this folder has neither AVA_dataset/AVA.txt nor AVA.txt. Type the folder of the data"
    fi
}

# Prints the result lines, and writes the CaseName log and the losses of the epochs; $1 is acc or perf. The figures
# are those of train.py's summary.json; the seconds are those of this script, with the set-up.
zoo_report() {
    "$NIMA_PYTHON" -I - "$1" "$zoo_output" "$SECONDS" <<'PYTHON'
import json
import os
import platform
import sys

kind, folder, seconds = sys.argv[1:]
with open(os.path.join(folder, 'log', 'summary.json')) as stream:
    summary = {name: float('nan') if value is None else value for name, value in json.load(stream).items()}
network, ranks = 'NIMA_ID0853_for_TensorFlow', summary.get('devices', 1)
case = '{}_bs{}_{}p_{}'.format(network, summary['batchsize'], ranks, kind)
speed = '{:.2f}'.format(summary['images_per_second'])
accuracy = '{:.4f}'.format(summary['val_srcc'])
print('Final Performance images/sec : ' + speed)
print('Final Train Accuracy : ' + accuracy)
print('E2E Training Duration sec : ' + seconds)
if summary.get('includes_compilation'):
    print('The speed is that of the only epoch, and includes compilation')

lines = [('Network', network), ('RankSize', ranks), ('BatchSize', summary['batchsize']),
         ('DeviceType', platform.machine()), ('CaseName', case), ('ActualFPS', speed),
         ('TrainingTime', '{:.2f}'.format(1000 * summary['seconds_per_step']))]  # milliseconds a step
if kind == 'acc':
    lines.append(('TrainAccuracy', accuracy))
lines += [('ActualLoss', '{:.4f}'.format(summary['loss'])), ('E2ETrainingTime', seconds)]
with open(os.path.join(folder, case + '.log'), 'w') as stream:
    stream.writelines('{} = {}\n'.format(name, value) for name, value in lines)
with open(os.path.join(folder, 'train_{}_loss.txt'.format(case)), 'w') as stream:
    stream.writelines('{:.6f}\n'.format(loss) for loss in summary['losses'])
PYTHON
}

# Ends this script while the training of another one writes into the output folder.
zoo_require_free() {
    local process='' machine='' lock=$zoo_output/ckpt/.lock
    [[ ! -f $lock ]] || read -r process machine <"$lock" || true
    [[ $process =~ ^[0-9]+$ && $machine == "$HOSTNAME" ]] && kill -s 0 "$process" 2>/dev/null || return 0
    zoo_fail "$zoo_output is in use: process $process writes there. Wait for it or stop it; if it is no training, remove \
$lock"
}

# zoo_run LOG COMMAND...: runs the command and passes signals on to it; the exit code is its own.
zoo_run() {
    local child status=0
    set -m  # without it bash has a job of the background ignore SIGINT
    "${@:2}" &>"$1" &
    child=$!
    set +m
    trap 'kill -s TERM "$child" 2>/dev/null' TERM HUP
    trap 'kill -s INT "$child" 2>/dev/null' INT
    while wait "$child" || status=$?; kill -s 0 "$child" 2>/dev/null; do status=0; done  # a signal ends a wait
    trap - TERM HUP INT
    return "$status"
}

# zoo_main KIND SCRIPT ARGUMENT...: trains with train_1p.sh or train_8p.sh and reports; the exit code is that of train.py.
zoo_main() {
    local kind=$1 script=$2 name=ASCEND_DEVICE_ID device log status=0
    [[ -n ${ASCEND_DEVICE_ID:-} || -z ${DEVICE_ID:-} ]] || name=DEVICE_ID  # train_1p.sh leaves both as they are
    device=${!name:-0}
    [[ $device =~ ^[0-9]{1,9}$ ]] || zoo_fail "$name is '$device', expected a device number from 0"
    [[ $script != train_8p.sh ]] || device=8p
    zoo_output=$nima_root/test/output/$device
    zoo_parse "${@:3}"
    zoo_find_data
    # shellcheck source=utils/env.sh
    source "$nima_root/utils/env.sh"
    zoo_require_free
    rm -rf -- "$zoo_output"
    mkdir -p -- "$zoo_output/ckpt"
    log=$zoo_output/train_$device.log
    echo "Training; its output goes to $log"
    export NIMA_RANK_LOGS=$zoo_output/ranks  # of train_8p.sh
    zoo_run "$log" bash "$nima_root/$script" --ava_dataset_path="$zoo_dataset/AVA.txt" \
        --base_images_path="$zoo_dataset/image/images" --TMP_WEIGHTS_PATH="$zoo_weights" \
        --TMP_MODEL_PATF="$zoo_output/ckpt" --TMP_LOG_PATH="$zoo_output/log" \
        ${zoo_flags[@]+"${zoo_flags[@]}"} || status=$?
    if ((status)); then
        tail -n 20 "$log" >&2
        echo "${0##*/}: error: the training ended with exit code $status; all of its output is in $log" >&2
        exit "$status"
    fi
    zoo_report "$kind"
}
