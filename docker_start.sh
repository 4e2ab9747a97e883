#!/usr/bin/env bash
# Starts a container with this host's Ascend devices:     bash docker_start.sh IMAGE DATA_DIR MODEL_DIR
# DATA_DIR is found at the same path inside, MODEL_DIR becomes /nima/model. IMAGE is what `docker build -t IMAGE .`
# made, or the card's own, with this folder mounted by hand. Not run here on a host with devices.
set -euo pipefail

fail() {
    echo "docker_start.sh: error: $1" >&2
    exit 1
}

(($# == 3)) || fail 'type bash docker_start.sh IMAGE DATA_DIR MODEL_DIR'
image=$1
for folder in "$2" "$3"; do [[ -d $folder ]] || fail "$folder: no such folder"; done
data=$(CDPATH='' cd -- "$2" && pwd) model=$(CDPATH='' cd -- "$3" && pwd)

shopt -s nullglob
nodes=(/dev/davinci[0-9]*)
((${#nodes[@]})) || fail 'no /dev/davinci0 or other device found. Install the driver; npu-smi info lists the devices'
options=()
for node in "${nodes[@]}" /dev/davinci_manager /dev/devmm_svm /dev/hisi_hdc; do options+=("--device=$node"); done
# The driver, and where they are there npu-smi and the addresses that utils/device/rank_table.py reads.
for path in /usr/local/Ascend/driver /usr/local/Ascend/add-ons /usr/local/bin/npu-smi /usr/local/sbin/npu-smi \
    /etc/hccn.conf /etc/ascend_install.info; do
    [[ ! -e $path ]] || options+=(-v "$path:$path")
done
exec docker run -it --rm --ipc=host "${options[@]}" -v "$data:$data" -v "$model:/nima/model" "$image" /bin/bash
