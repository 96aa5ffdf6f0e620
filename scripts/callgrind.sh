#!/usr/bin/env bash
# callgrind.sh [PROGRAM]: prints how many instructions of the program's own code one decoded token takes (docs/performance.md, "The host").
#
# The embedded model writes greedily, eight steps a submit, on one thread of lavapipe under valgrind's callgrind: a run of 97 tokens less
# one of 33, divided by 64, so that loading and compiling cancel out. What lies in the program itself counts, its libraries in Rust
# included; the driver, compiled shaders and the C library do not. PROGRAM is built where none is named.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

program=${1:-}
if [ -z "$program" ]; then
    use_cargo
    cargo build --locked --release --quiet --bin killick
    program=$CARGO_TARGET_DIR/release/killick
fi
[ -x "$program" ] || fail "there is no program $program"
[ -n "$(lavapipe_icd)" ] || fail "lavapipe was not found" "Run: scripts/setup.sh callgrind"
command -v valgrind >/dev/null || fail "valgrind was not found" "Run: scripts/setup.sh callgrind"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Debug information is only read, for seconds; no instruction depends on it.
strip -o "$work/killick" "$program"
export VK_DRIVER_FILES VK_ICD_FILENAMES
VK_DRIVER_FILES=$(lavapipe_icd)
VK_ICD_FILENAMES=$VK_DRIVER_FILES
export LP_NUM_THREADS=1

# write TOKENS [COMMAND...]: lets the model write so many tokens, under that command.
write() {
    "${@:2}" "$work/killick" generate "The Lord is" --temperature 0 --ignore-eos --steps 8 --max-tokens "$1" >"$work/text" 2>"$work/errors" ||
        fail "a run of $1 tokens failed" "$(tail -n 5 "$work/errors")"
}

# instructions TOKENS: those of the program's own code in a run of so many tokens.
instructions() {
    write "$1" valgrind --tool=callgrind --callgrind-out-file="$work/out.$1" --compress-strings=no
    # `ob=` says whose code the lines after it are; the line after `calls=` is what another function took.
    awk -v own="ob=$work/killick" '
        /^ob=/ { mine = $0 == own }
        /^calls=/ { getline; next }
        /^[0-9+*-]/ && mine { sum += $2 }
        END { printf "%.0f\n", sum }' "$work/out.$1"
}

# The driver keeps compiled shaders on disk, for the processor that it sees, which valgrind makes a plainer one. So it compiles them
# here, where nothing is counted and all is faster.
write 33 valgrind --tool=none
short=$(instructions 33)
long=$(instructions 97)
printf '%d instructions of the host a decoded token (killick-4m, greedy, 8 steps a submit; %s)\n' \
    $(((long - short) / 64)) "$(valgrind --version)"
