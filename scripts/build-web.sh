#!/usr/bin/env bash
# build-web.sh: puts the site together, a folder that any host can serve as it is; prints it.
#
#   index.html, app/, styles/     the demo page (web/page), and bench.html, which measures
#   killick/                      the package, with its WebAssembly and the embedded model
#   models/smollm2-anchor/        the adapter for SmolLM2
#   _headers                      what a host has to send with it
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

pkg=$(scripts/build-wasm.sh)
site=$cache/web-$(printf %s "$root" | key)
use_dir "$site"

# A place of its own until all is there, so that a page that is open meanwhile sees the old site or the new one.
next=$site/next
rm -rf "$next"
mkdir -p "$next"
cp -r web/page/. "$next"
scripts/pack-package.sh "$pkg" "$next/killick" >&2
mkdir -p "$next/models/smollm2-anchor"
cp models/smollm2-anchor/adapter_{config.json,model.safetensors} "$next/models/smollm2-anchor"
# What the service worker keeps, so that the page opens without a network: everything but weights and what only hosts read.
python3 - "$next" <<'PYTHON'
import json, pathlib, sys
site = pathlib.Path(sys.argv[1])
left_out = {".safetensors", ".md", ".ts"}
files = [str(file.relative_to(site)) for file in sorted(site.rglob("*")) if file.is_file() and file.suffix not in left_out]
kept = [file for file in files if pathlib.Path(file).name not in ("_headers", "package.json", "LICENSE-APACHE", "LICENSE-MIT")]
(site / "offline.json").write_text(json.dumps(["./"] + kept, indent=1) + "\n")
PYTHON
rm -rf "$site/site"
mv "$next" "$site/site"
echo "$site/site"
