#!/usr/bin/env bash
# setup.sh run | web | test | callgrind: installs what the machine lacks, and nothing when it lacks nothing.
#
# `run` is what `make run` needs; `web` what `make web` and `make serve-web` need, which build the page; `test` adds to both for
# `make test` the second Vulkan driver, two browsers, and the compilers of the backends that have no driver here; `callgrind` adds to
# `run` what `make callgrind` counts with.
# Debian 12 gets a newer lavapipe beside its own (scripts/mesa.sh), into the cache.
# On Debian the packages come from apt; elsewhere the script names what is missing and ends.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

set_name=${1:-run}
case $set_name in
    run | web | test | callgrind) ;;
    *) fail "unknown set \"$set_name\"" "usage: scripts/setup.sh run|web|test|callgrind" ;;
esac

has() { command -v "$1" >/dev/null 2>&1; }

# Rust comes first and is never installed here: Debian 12's is too old, and which toolchain to use is the user's choice.
has cargo || fail "cargo was not found" \
    "Install Rust with rustup: https://rustup.rs, or on a Debian newer than 12: apt-get install rustup && rustup default stable" \
    "(Debian 12's own rustc is too old; the version needed is rust-version in Cargo.toml)."
if [ "$set_name" = test ]; then
    { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1 ||
        fail "the tests need rustfmt and clippy" "Install them: rustup component add rustfmt clippy"
fi

has_vulkan_loader() { compgen -G '/usr/lib*/libvulkan.so.1' >/dev/null || compgen -G '/usr/lib/*-linux-*/libvulkan.so.1' >/dev/null; }
has_vulkan_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return
    local dir
    for dir in "$icd_dir" /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d /run/opengl-driver/share/vulkan/icd.d; do
        compgen -G "$dir/*.json" >/dev/null && return
    done
    return 1
}

# missing: the Debian packages that would fill what is missing, one a line.
missing() {
    has cc || printf '%s\n' gcc libc6-dev
    python3 -m pip --version >/dev/null 2>&1 || printf '%s\n' python3 python3-pip
    # macOS and Windows bring their own driver interface, and a page needs none.
    if [ "$(uname -s)" = Linux ] && [ "$set_name" != web ]; then
        has_vulkan_loader || echo libvulkan1
        has_vulkan_driver || echo mesa-vulkan-drivers
    fi
    if [ "$set_name" = callgrind ]; then
        [ -n "$(lavapipe_icd)" ] || echo mesa-vulkan-drivers
        has valgrind || echo valgrind
        has strip || echo binutils
    fi
    if [ "$set_name" = web ] || [ "$set_name" = test ]; then
        [ -n "$(wasm_route)" ] || printf '%s\n' rustc-web rust-web-src
        has node || echo nodejs
    fi
    [ "$set_name" = test ] || return 0
    [ -n "$(lavapipe_icd)" ] || echo mesa-vulkan-drivers
    [ -n "$(swiftshader_icd)" ] || echo chromium
    has npm || echo npm
    has firefox-esr || echo firefox-esr
    # What scripts/portability.sh shows the kernels to. It runs on this kind of machine alone.
    if [ "$(uname -sm)" = "Linux x86_64" ]; then
        has spirv-val || echo spirv-tools
        has g++ || echo g++
        has wine || printf '%s\n' wine wine64
        has x86_64-w64-mingw32-gcc || echo gcc-mingw-w64-x86-64
    fi
}

# Keyed caches that no checkout has used for two weeks.
[ ! -d "$cache" ] || find "$cache" -mindepth 2 -maxdepth 2 -name .used -mtime +14 -exec sh -c 'rm -rf "${1%/*}"' _ {} \;

# What Debian 12 offers outside the release that is installed; see there.
newer_lavapipe() { [ "$(uname -s)" != Linux ] || [ "$set_name" = web ] || scripts/mesa.sh >/dev/null; }

packages=$(missing | sort -u | tr '\n' ' ')
if [ -z "$packages" ]; then
    newer_lavapipe
    exit 0
fi

by_hand="Missing, by their names in Debian: $packages"
has apt-get || fail "this is not Debian, so nothing was installed" "$by_hand" \
    "Install the like of them with your system's own tools, then run this again."
as_root=()
if [ "$(id -u)" != 0 ]; then
    has sudo || fail "packages must be installed, and this user is not root and has no sudo" "$by_hand" \
        "As root: apt-get update && apt-get install --no-install-recommends $packages"
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@"; }

echo "setup: installing $packages"
# A failed update is not the end: the lists that are there may do.
apt update || echo "setup: apt-get update failed; going on with the package lists this machine has" >&2
# shellcheck disable=SC2086 # one word per package
apt install -y --no-install-recommends $packages ||
    fail "apt-get could not install: $packages" \
        "Is the machine online? Once it is, run this again, or as root: apt-get update && apt-get install --no-install-recommends $packages"

packages=$(missing | sort -u | tr '\n' ' ')
[ -z "$packages" ] || fail "still missing after the installation: $packages"
newer_lavapipe
