#!/usr/bin/env bash
# fuzz.sh [TARGET] [SECONDS]: runs one fuzzer, or each in turn, for so many seconds (all, 60).
#
# fuzz/corpus/TARGET holds a few dozen small inputs of earlier runs, each of which reaches code that the others do not.
# libFuzzer needs nothing but a C++ compiler and flags that a stable rustc takes; there is no unsafe code to sanitize. What is
# worth keeping of the inputs lies in the cache and grows from run to run. An input that breaks something is printed and kept in
# fuzz/found/TARGET/, where tests/fuzz_corpus.rs replays it: give it a name that says what it is, and commit it with the mend.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

targets=(gguf split safetensors sniff adapter tokenizer plan template)
wanted=${1:-all}
seconds=${2:-60}
[ "$wanted" = all ] || targets=("$wanted")
command -v c++ >/dev/null || fail "the fuzzers need a C++ compiler" "On Debian: apt-get install g++"
host=$(rustc -vV | sed -n 's/^host: //p')

# The seeds are the tests' own small models.
work=$cache/fuzz
mkdir -p "$work/seeds"
(use_cargo && KILLICK_SEEDS="$work/seeds" cargo test --locked --quiet --test fuzz_corpus every_target_accepts_its_seed >&2)

coverage=(-Cpasses=sancov-module -Ccodegen-units=1 --cfg=fuzzing)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=("-Cllvm-args=-sanitizer-coverage-$option")
done
export CARGO_TARGET_DIR=$work/target
# With a target named, build scripts and macros are not instrumented.
RUSTFLAGS="${coverage[*]}" cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host" >&2

for target in "${targets[@]}"; do
    bin=$CARGO_TARGET_DIR/$host/release/$target
    [ -x "$bin" ] || fail "there is no fuzzer \"$target\""
    mkdir -p "$work/corpus/$target" "fuzz/corpus/$target" "fuzz/found/$target"
    echo "== $target"
    "$bin" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="fuzz/found/$target/" "$work/corpus/$target" "$work/seeds/$target" "fuzz/corpus/$target" "fuzz/found/$target" 2>&1 |
        grep -E 'ERROR|panicked|SUMMARY|artifact|stat::|Done' || fail "$target was stopped by an input; see fuzz/found/$target"
    rmdir --ignore-fail-on-non-empty "fuzz/corpus/$target" "fuzz/found/$target"
done
