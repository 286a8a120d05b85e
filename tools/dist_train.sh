#!/usr/bin/env bash
# Train on several GPUs, or with as many CPU processes (gloo) where there is no GPU. PORT, NNODES, NODE_RANK and
# MASTER_ADDR say where the processes meet; without PORT a free one is taken.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]" >&2; exit 2; }
tools=$(dirname "$0")
exec python "$tools/dist_run.py" "$2" "$tools/train.py" "$1" --launcher pytorch "${@:3}"
