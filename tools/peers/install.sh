#!/usr/bin/env bash
# install.sh: brings the peers from npm into the cache, pinned by package-lock.json, with the scripts that run them; prints the folder.
# Nothing outside the cache is touched, and no package's install script runs.
set -euo pipefail
. "$(dirname "$0")/../../scripts/env.sh"

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the prebuilt parts that package.json names are for Linux on x86-64"
here=$root/tools/peers
dir=$cache/peers/npm-$(cat "$here"/package{,-lock}.json | key)
use_dir "$dir"
# Node.js looks for packages beside the script, and the tree is to have none.
cp "$here"/*.mjs "$here"/package{,-lock}.json "$dir"
if [ ! -e "$dir/.installed" ]; then
    # Not `npm ci`: it wants every system's parts in the lock file, and a registry may lack some of them.
    (cd "$dir" && npm install --omit=optional --prefer-offline --fetch-retries=1 --ignore-scripts --no-audit --no-fund >&2) ||
        fail "npm could not install what tools/peers/package.json names" "Is the machine online?"
    touch "$dir/.installed"
fi
echo "$dir"
