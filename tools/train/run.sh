#!/usr/bin/env bash
# run.sh: trains the anchor model and its two controls from nothing but Python 3.11, gcc, binutils and apt; can be cut and called again.
#
#   tools/train/run.sh            the three masks in turns of 250 steps, two at a time, until killed or at $STEPS (default 20000)
#   tools/train/run.sh decay N D  the three masks from step N with a learning rate that falls to 0 over D steps
#   tools/train/run.sh check      the first 200 steps again, against curve200.json
#   tools/train/run.sh python …   any script here, in the environment of the training
#
# Everything is written to ${XDG_CACHE_HOME:-~/.cache}/killick/train. PYTHON names another interpreter that has the packages;
# with NO_TEXT=1 the training text is not fetched.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/killick/train
python=${PYTHON:-$cache/venv/bin/python}
# One thread a process, and none that spins while it waits: the machine is shared.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive KMP_BLOCKTIME=0 PYTHONUNBUFFERED=1
# Freed memory is kept: giving it back to the system after every product costs a fifth of a step.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456

mkdir -p "$cache"
if [ -z "${PYTHON:-}" ] && ! cmp -s requirements.txt "$cache/venv/requirements.txt"; then
    for tool in python3 gcc readelf; do
        command -v "$tool" >/dev/null || { echo "run.sh: $tool is missing (Debian: python3-venv, gcc, binutils)" >&2; exit 1; }
    done
    python3 -m venv "$cache/venv"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
    "$python" ../golden/cuda_stubs.py
    cp requirements.txt "$cache/venv/requirements.txt"
fi
[ -n "${NO_TEXT:-}" ] || [ -f "$cache/train.npy" ] || "$python" data.py

# The masks named on standard input, two at a time.
train() { xargs -P "${JOBS:-2}" -I{} nice -n "${NICE:-19}" "$python" train.py --mask {} "$@"; }

case ${1:-} in
    python) shift; exec "$python" "$@" ;;
    check) exec "$python" check.py ;;
    decay) printf '%s\n' anchor causal segment | train --decay-from "$2" --decay "$3" ;;
    "")
        # In turns, so that the three can be compared at equal steps whenever this is cut.
        done=${STEPS:-20000}
        for mask in anchor causal segment; do
            kept=$(find "$cache/runs/$mask" -name 'step-*.pt' 2>/dev/null | sort | tail -n 1 | grep -o '[0-9]*' | tail -n 1 || true)
            kept=$((10#${kept:-0}))
            done=$((kept < done ? kept : done))
        done
        for ((step = done + 250; step <= ${STEPS:-20000}; step += 250)); do
            printf '%s\n' anchor causal segment | train --to "$step"
        done
        ;;
    *) echo "run.sh: unknown step $1" >&2; exit 2 ;;
esac
