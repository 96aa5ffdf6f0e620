#!/usr/bin/env bash
# build-wasm.sh: compiles wasm/ and its JavaScript glue; prints the folder that holds killick_wasm.js and killick_wasm_bg.wasm.
#
# The target folder is its own: another compiler would rebuild all that the host's build has made.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

build=(cargo build --locked --release --package killick-wasm --target wasm32-unknown-unknown)
# The target has no unwinding: the profile must say so where cargo builds the standard library itself. What is downloaded is made
# small; the time goes into shaders anyway. (wasm-opt makes it 5 % smaller and, once compressed, 1 % larger: docs/browser.md.)
environment=(CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
    CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_DEBUG=false)
compiler=rustc
case $(wasm_route) in
    rustup) ;;
    debian)
        # RUSTC_BOOTSTRAP opens -Zbuild-std in a stable cargo. Debian's compiler comes without a linker for this target, so
        # rustup's is used.
        compiler=/usr/bin/rustc
        linker=$(first_file "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-lld)
        [ -n "$linker" ] || fail "rust-lld was not found in $(rustc --print sysroot)" "A Rust toolchain from rustup has it."
        build+=(-Zbuild-std=std,panic_abort)
        environment+=(RUSTC_BOOTSTRAP=1 RUSTC="$compiler" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$linker")
        ;;
    *)
        fail "no compiler for wasm32-unknown-unknown was found" \
            "Run scripts/setup.sh test, or: rustup target add wasm32-unknown-unknown"
        ;;
esac

target=$cache/wasm-$( (cat Cargo.lock; rustc -vV; "$compiler" -vV) | key)
use_dir "$target"
env "${environment[@]}" CARGO_TARGET_DIR="$target" "${build[@]}" >&2

# The tool runs for seconds: compiling it unoptimised is the cheaper way.
use_cargo
CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo run --locked --package killick-glue -- \
    "$target/wasm32-unknown-unknown/release/killick_wasm.wasm" "$target/pkg" >&2
# Node.js must be told that the .js files are modules; a browser is told by the page.
echo '{ "type": "module" }' >"$target/pkg/package.json"
echo "$target/pkg"
