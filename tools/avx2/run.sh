#!/usr/bin/env bash
# run.sh PROGRAM [ARGUMENT...]: runs a program as on a processor with AVX2 and without AVX-512.
#
# What a software driver takes depends on which of them it compiles for, and machines have one or the other; so a machine with
# AVX-512 can measure both. Only Intel processors let Linux hide what they have ("cpuid_fault" in /proc/cpuinfo).
set -euo pipefail
. "$(dirname "$0")/../../scripts/env.sh"

[ $# -gt 0 ] || fail "no program was named" "usage: tools/avx2/run.sh PROGRAM [ARGUMENT...]"
grep -qw cpuid_fault /proc/cpuinfo || fail "this processor cannot hide what it has" "It needs cpuid_fault in /proc/cpuinfo."
source=$root/tools/avx2/without_avx512.c
library=$cache/avx2/$(key <"$source").so
if [ ! -e "$library" ]; then
    use_dir "$cache/avx2"
    cc -O2 -Wall -Wextra -shared -fPIC -o "$library.$$" "$source" -ldl
    mv "$library.$$" "$library"
fi
# Mesa keeps compiled shaders, and may not tell which processor they are for.
export MESA_SHADER_CACHE_DIR=$cache/avx2/mesa
export LD_PRELOAD=$library
exec "$@"
