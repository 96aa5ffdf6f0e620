#!/usr/bin/env bash
# run.sh: adapts a model to anchors; can be cut and called again.
#
#   tools/adapt/run.sh --model FOLDER --text FILE...   a Llama model of your own (own.py has the flags)
#   tools/adapt/run.sh [minutes]   SmolLM2-135M-Instruct, and its opponent by the same recipe, one process each, from their last
#                                  checkpoints; 60 minutes if none are named
#   tools/adapt/run.sh python …    any script here, in the environment of tools/train
#
# Everything is written to ${XDG_CACHE_HOME:-~/.cache}/killick/adapt. PYTHON names another interpreter that has the packages.
# WARM names an adapter to begin with (the shipped one, say).
set -euo pipefail
export HERE=$PWD
cd "$(dirname "$0")"
root=${XDG_CACHE_HOME:-$HOME/.cache}/killick
export PYTHONPATH=$PWD/../train
if [ "${1:-}" = python ]; then
    exec ../train/run.sh python "${@:2}"
fi
if [[ ${1:-} == --* ]]; then
    # Only the environment of tools/train is needed, not its text.
    exec env NO_TEXT=1 ../train/run.sh python "$PWD/own.py" "$@"
fi
# The model in a form that PyTorch reads, by the engine's own converter; the text.
if [ ! -d "$root/adapt/smollm2" ]; then
    model=$(../../scripts/fetch-model.sh)
    mkdir -p "$root/adapt"
    (. ../../scripts/env.sh && use_cargo && cargo run --locked --release --quiet -- convert "$model" "$root/adapt/smollm2" --to f32)
fi
[ -f "$root/adapt/train.json" ] || ../train/run.sh python "$PWD/corpus.py"
printf '%s\n' anchor streaming \
    | xargs -P "${JOBS:-2}" -I{} nice -n "${NICE:-19}" ../train/run.sh python "$PWD/distil.py" --policy {} --minutes "${1:-60}" ${WARM:+--warm "$WARM"}
