#!/usr/bin/env bash
# pack-package.sh PKG OUT: the package `killick`, ready for npm and for a page, in OUT. PKG is the folder that build-wasm.sh prints.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

[ $# = 2 ] || fail "usage: scripts/pack-package.sh PKG OUT"
pkg=$1 out=$2
rm -rf "$out"
mkdir -p "$out/wasm" "$out/models/killick-4m"
cp -r web/killick/. "$out"
cp "$pkg"/killick_wasm{.js,.d.ts,_bg.wasm} "$out/wasm"
cp LICENSE-APACHE LICENSE-MIT "$out"
model=models/killick-4m
cp $model/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json} "$out/$model"
# What each of them must be, so that a page can tell a broken download from a good one.
python3 - "$out/$model" <<'PYTHON'
import hashlib, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
files = {file.name: {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in sorted(folder.iterdir())}
(folder / "files.json").write_text(json.dumps(files, indent=1) + "\n")
PYTHON
