#!/usr/bin/env bash
# run.sh PROGRAM [ARGUMENT...]: runs a program as on a processor with AVX2 and without AVX-512.
#
# What a software driver takes depends on which of them it compiles for, and machines have one or the other; so a machine with
# AVX-512 can measure both.
#
# Intel processors let Linux hide what they have ("cpuid_fault" in /proc/cpuinfo): there every compiler of the program is told
# so. Elsewhere only lavapipe is: the scripts of this project then take copies of it that switch AVX-512 off in LLVM.
set -euo pipefail
. "$(dirname "$0")/../../scripts/env.sh"

[ $# -gt 0 ] || fail "no program was named" "usage: tools/avx2/run.sh PROGRAM [ARGUMENT...]"

# hide_from_all: the processor itself denies it (without_avx512.c).
hide_from_all() {
    local source library
    source=$root/tools/avx2/without_avx512.c
    library=$cache/avx2/$(key <"$source").so
    if [ ! -e "$library" ]; then
        cc -O2 -Wall -Wextra -shared -fPIC -o "$library.$$" "$source" -ldl
        mv "$library.$$" "$library"
    fi
    export LD_PRELOAD=$library
}

# copy_of MANIFEST NAME: a copy of that lavapipe, NAME.so and NAME.json; none where there is no such manifest. Mesa names the
# features it wants of LLVM as "+avx512f" or "-avx512f" and so on; in the copy all of them have the minus.
copy_of() {
    local library copy=$cache/avx2/$2
    if [ ! -e "$1" ]; then
        rm -f "$copy.json" "$copy.so"
        return
    fi
    library=$(python3 -c 'import json, os, sys; print(os.path.join(os.path.dirname(sys.argv[1]), json.load(open(sys.argv[1]))["ICD"]["library_path"]))' "$1")
    LC_ALL=C grep -q '+avx512' "$library" || fail "$library names no features as this script expects" "AVX-512 cannot be hidden from it."
    # Another run may be using the copy that is there.
    LC_ALL=C sed 's/+avx512/-avx512/g' "$library" >"$copy.so.$$"
    mv "$copy.so.$$" "$copy.so"
    sed -E "s|(\"library_path\": *\")[^\"]*|\\1$copy.so|" "$1" >"$copy.json.$$"
    mv "$copy.json.$$" "$copy.json"
}

use_dir "$cache/avx2"
if grep -qw cpuid_fault /proc/cpuinfo; then
    hide_from_all
else
    echo "${0##*/}: this processor cannot hide what it has; AVX-512 is hidden from lavapipe alone, where a script of this project chooses the driver" >&2
    unset KILLICK_LAVAPIPES
    copy_of "$mesa_icd" newer
    copy_of "$(system_lavapipe_icd)" system
    export KILLICK_LAVAPIPES=$cache/avx2
fi
# Mesa keeps compiled shaders, and may not tell which processor they are for.
export MESA_SHADER_CACHE_DIR=$cache/avx2/mesa
exec "$@"
