#!/usr/bin/env bash
# make.sh: makes every golden file of tests/data anew that PyTorch has a word in, from nothing but Python 3.11, gcc and binutils.
#
# The environment (1.7 GB) goes to ${XDG_CACHE_HOME:-~/.cache}/killick/venv; the tests themselves never need it.
# Steps by name, all when none is given:  tools/golden/make.sh [policy] [visibility] [tiny] [families] [anllm] [adapter] [smollm2] [dequant] [tokenizer] [parts] [splits] [pieces] [llama_json] [added] [templates] [eval] [embedded]
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/killick
python=$cache/venv/bin/python

for tool in python3 gcc readelf; do
    command -v "$tool" >/dev/null || { echo "make.sh: $tool is missing (Debian: python3-venv, gcc, binutils)" >&2; exit 1; }
done
if ! cmp -s requirements.txt "$cache/venv/requirements.txt"; then
    python3 -m venv "$cache/venv"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
    "$python" cuda_stubs.py
    "$python" -c 'import accelerate, gguf, peft, torch, transformers'
    cp requirements.txt "$cache/venv/requirements.txt"
fi

for step in "${@:-policy visibility tiny families anllm adapter smollm2 dequant tokenizer parts splits pieces llama_json added templates eval embedded}"; do
    for script in $step; do
        if [ "$script" = smollm2 ]; then
            ../../scripts/fetch-model.sh
            [ -f "$cache/models/smollm2-hf/tokenizer.json" ] || "$python" smollm2_hf.py
        fi
        # What it measures on is cut from the text of the training.
        [ "$script" != embedded ] || PYTHON=$python ../train/run.sh python -c ''
        echo "== $script"
        arguments=()
        [ "$script" != tokenizer ] || arguments=("$(../../scripts/fetch-model.sh)")
        "$python" "$script.py" "${arguments[@]}"
    done
done
