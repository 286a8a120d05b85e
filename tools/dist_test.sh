#!/usr/bin/env bash
# Evaluate on several GPUs, or with as many CPU processes (gloo) where there is no GPU; see tools/dist_train.sh.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]" >&2; exit 2; }
tools=$(dirname "$0")
exec python "$tools/dist_run.py" "$3" "$tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
