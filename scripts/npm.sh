#!/usr/bin/env bash
# npm.sh: installs what tests/node/package-lock.json names, outside the tree; prints the folder that holds node_modules.
set -euo pipefail
. "$(dirname "$0")/env.sh"

dir=$cache/npm-$(cat "$root"/tests/node/package{,-lock}.json | key)
use_dir "$dir"
if [ ! -e "$dir/.installed" ]; then
    cp "$root"/tests/node/package{,-lock}.json "$dir"
    (cd "$dir" && npm ci --prefer-offline --fetch-retries=1 --ignore-scripts --no-audit --no-fund >&2) ||
        fail "npm could not install what tests/node/package.json names" "Is the machine online?"
    touch "$dir/.installed"
fi
echo "$dir"
