# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where everything is, said once.
#
# All caches lie outside the tree, keyed by what decides their content, so that a fresh clone finds what the one before it built.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/killick
model_dir=$cache/models
model=$model_dir/SmolLM2-135M-Instruct.Q4_1.gguf

# Vulkan loaders complain at length where no desktop has set this.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}

# fail MESSAGE...: says why on standard error, one line each, and ends the script.
fail() {
    printf '%s\n' "${0##*/}: $1" "${@:2}" >&2
    exit 1
}

# key: a short name for what standard input holds.
key() { cksum | cut -d' ' -f1; }

# use_dir DIR: makes a keyed cache and notes when it was last used; scripts/setup.sh drops those that nothing uses any more.
use_dir() { mkdir -p "$1" && touch "$1/.used"; }

# The first file that exists among the arguments, or nothing.
first_file() {
    local file
    for file in "$@"; do
        [ -e "$file" ] && printf '%s\n' "$file" && return
    done
    return 0
}

# The software Vulkan drivers that the tests name: Mesa's lavapipe, of the system and the newer one that scripts/mesa.sh brings to
# Debian 12, and the SwiftShader inside Debian's chromium.
icd_dir=/usr/share/vulkan/icd.d
mesa_version=25.0.7-2~bpo12+1
mesa_dir=$cache/mesa-$mesa_version-$(uname -m)
# Its name is not the system's lvp_icd, so that a pattern can tell the loader which of the two to leave out.
mesa_icd=$mesa_dir/killick_lavapipe.json
# tools/avx2/run.sh puts others in the place of both: KILLICK_LAVAPIPES is the folder they are in.
system_lavapipe_icd() { first_file "${KILLICK_LAVAPIPES:-/nowhere}/system.json" "$icd_dir/lvp_icd.$(uname -m).json" "$icd_dir/lvp_icd.json"; }
lavapipe_icd() { first_file "${KILLICK_LAVAPIPES:-/nowhere}/newer.json" "$mesa_icd" "$(system_lavapipe_icd)"; }
swiftshader_icd() { first_file /usr/lib/chromium/vk_swiftshader_icd.json; }

# use_newer_lavapipe: the loader sees the newer lavapipe in place of the system's; every other driver stays, and a real GPU goes
# before any lavapipe. Who has told the loader something already knows better.
use_newer_lavapipe() {
    local icd
    icd=$(first_file "${KILLICK_LAVAPIPES:-/nowhere}/newer.json" "$mesa_icd")
    [ -n "$icd" ] || return 0
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}${VK_ADD_DRIVER_FILES:-}" ] || return 0
    [ -z "${VK_LOADER_DRIVERS_DISABLE:-}${VK_LOADER_DRIVERS_SELECT:-}" ] || return 0
    export VK_ADD_DRIVER_FILES=$icd VK_LOADER_DRIVERS_DISABLE='lvp_icd*'
}

# The compiler for the browser. rustup's own, where its wasm32 standard library was added; else Debian's rustc-web, which is
# new enough and ships the library's source, so that cargo builds the library too.
wasm_route() {
    if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; then
        echo rustup
    elif [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust/library ]; then
        echo debian
    fi
}

# use_cargo: one target folder per lock file and compiler.
use_cargo() {
    export CARGO_TARGET_DIR
    CARGO_TARGET_DIR=$cache/target-$( (cat "$root/Cargo.lock"; rustc -vV) | key)
    use_dir "$CARGO_TARGET_DIR"
}
