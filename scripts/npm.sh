#!/usr/bin/env bash
# npm.sh [FOLDER]: installs what FOLDER/package-lock.json names, outside the tree; prints the folder that holds node_modules.
# FOLDER is tests/node unless it is given.
set -euo pipefail
. "$(dirname "$0")/env.sh"

from=$root/${1:-tests/node}
dir=$cache/npm-$(cat "$from"/package{,-lock}.json | key)
use_dir "$dir"
if [ ! -e "$dir/.installed" ]; then
    cp "$from"/package{,-lock}.json "$dir"
    (cd "$dir" && npm ci --prefer-offline --fetch-retries=1 --ignore-scripts --no-audit --no-fund >&2) ||
        fail "npm could not install what ${from#"$root"/}/package.json names" "Is the machine online?"
    touch "$dir/.installed"
fi
echo "$dir"
