#!/usr/bin/env bash
# test.sh STEP...: runs the named steps of the test suite in that order, each with its time, and closes with a summary.
#
# The environment that a step gives its tests is written here and nowhere else. The name of a test target says where it runs:
#   tests/gpu_*.rs    kernels and tiny models: on every driver, with and without optional features; the program around them on one
#   tests/model_*.rs  SmolLM2 and other large models, where a forward pass is slow: on lavapipe only
#   all others        with no driver in sight, so that what they test owes nothing to a GPU
# Before the tests of a step on a GPU its log names the adapter, the driver's version and the device's speed.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

usage="usage: scripts/test.sh STEP...   steps: fmt clippy docs unit portability kernels lavapipe baseline family widths lavapipe-system model swiftshader wasm browser"
[ $# -gt 0 ] || fail "no step was named" "$usage"

# One instance of the loader reads VK_DRIVER_FILES, an older one VK_ICD_FILENAMES.
no_driver=(VK_DRIVER_FILES=/dev/null VK_ICD_FILENAMES=/dev/null)
# The newer lavapipe where scripts/mesa.sh could bring it, else the system's.
lavapipe_for_models=(VK_DRIVER_FILES="$(lavapipe_icd)" VK_ICD_FILENAMES="$(lavapipe_icd)")
lavapipe_system=(VK_DRIVER_FILES="$(system_lavapipe_icd)" VK_ICD_FILENAMES="$(system_lavapipe_icd)" LP_NUM_THREADS=0)
# lavapipe wakes a thread for each core at every dispatch, which takes longer than a tiny model's work. Tests run side by side anyway.
lavapipe=("${lavapipe_for_models[@]}" LP_NUM_THREADS=0)
swiftshader=(VK_DRIVER_FILES="$(swiftshader_icd)" VK_ICD_FILENAMES="$(swiftshader_icd)")

# targets_but GLOB...: --test NAME for every test target of the package that no glob matches.
targets_but() {
    local name glob
    cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
packages = json.load(sys.stdin)["packages"]
print(*(t["name"] for p in packages if p["name"] == "killick" for t in p["targets"] if "test" in t["kind"]), sep="\n")' |
        while read -r name; do
            for glob in "$@"; do
                # shellcheck disable=SC2053 # the right side is a pattern
                [[ $name == $glob ]] && continue 2
            done
            printf -- '--test\n%s\n' "$name"
        done
}

# on_every_driver: --test NAME for what a driver or a lack of features may break. What is left to the step lavapipe is the program
# around the engine: conversations, evaluation, conversion, grammars, command line.
on_every_driver() { targets_but '!(gpu_*)' gpu_chat gpu_cli gpu_convert gpu_eval gpu_grammar; }

# parted VAR=VALUE... -- ARGUMENT...: what stands before the dashes and after them, in the caller's `environment` and `arguments`.
parted() {
    environment=()
    while [ "$1" != -- ]; do
        environment+=("$1")
        shift
    done
    arguments=("${@:2}")
}

# cargo_test VAR=VALUE... -- ARGUMENT...: cargo test with that environment. A GPU step says which driver it means. All of them run, whatever fails.
cargo_test() {
    local environment arguments
    parted "$@"
    env KILLICK_MODEL="$model" "${environment[@]}" cargo test --locked --no-fail-fast "${arguments[@]}"
}

# device VAR=VALUE...: shows the device of that environment, and sets `speed` to its speed against one on which all repetitions run.
device() {
    local said
    said=$(env -u KILLICK_SPEED "$@" cargo test --locked --test gpu_speed -- --nocapture --test-threads=1) || {
        printf '%s\n' "$said"
        return 1
    }
    # What a test prints follows its name on the same line.
    printf '%s\n' "$said" | sed -nE 's/.*(adapter ".*|speed [0-9.]+:.*)/\1/p'
    speed=$(printf '%s\n' "$said" | sed -nE 's/.*speed ([0-9.]+):.*/\1/p')
}

# gpu_test VAR=VALUE... -- ARGUMENT...: cargo_test on a GPU; the log first says which.
gpu_test() {
    local environment arguments
    parted "$@"
    device "${environment[@]}"
    cargo_test KILLICK_SPEED="$speed" "${environment[@]}" -- "${arguments[@]}"
}

# gpu_tests VAR=VALUE... -- ARGUMENT...: the same with several test programs at a time (scripts/test_programs.py).
gpu_tests() {
    local environment arguments
    parted "$@"
    device "${environment[@]}"
    env KILLICK_MODEL="$model" KILLICK_SPEED="$speed" "${environment[@]}" scripts/test_programs.py "${arguments[@]}"
}

step_fmt() { cargo fmt --all --check; }
# Not for wasm32: clippy comes from rustup, that target's standard library perhaps from another version of the compiler.
step_clippy() {
    cargo clippy --locked --workspace --all-targets -- -D warnings
    # The library alone, as other programs and WebAssembly take it.
    cargo clippy --locked --no-default-features -- -D warnings
}
step_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --package killick; }
step_unit() {
    local names targets
    names=$(targets_but 'gpu_*' 'model_*')
    mapfile -t targets <<<"$names"
    cargo_test "${no_driver[@]}" -- --lib --bins --examples --bench host "${targets[@]}"
    cargo_test "${no_driver[@]}" -- --doc
}
# Compilers of backends that have no driver here.
step_portability() { scripts/portability.sh; }
step_kernels() { gpu_tests "${lavapipe[@]}" KILLICK_THOROUGH=1 -- --test gpu_kernels; }
# Here as many repetitions run as the device has speed for; the other drivers are asked what a driver can break with the fewest that
# prove it (`share` in tests/support/gpu.rs).
step_lavapipe() { gpu_tests "${lavapipe[@]}" KILLICK_THOROUGH=1 -- --test 'gpu_*'; }
# The smallest device of all, and bindings so small that weights are really cut.
step_baseline() {
    local targets
    targets=$(on_every_driver)
    # shellcheck disable=SC2086 # names of targets
    gpu_tests "${lavapipe[@]}" KILLICK_BASELINE=1 KILLICK_MAX_BINDING=8388608 -- $targets
}
# Whole models with the kernels that real GPUs run; every device above is a software device, for which others would be chosen.
step_family() {
    gpu_tests "${lavapipe[@]}" KILLICK_FAMILY=gpu -- --test gpu_tiny --test gpu_loop --test gpu_families --test gpu_adapter \
        --test gpu_memory --test gpu_convert
    gpu_test "${lavapipe_for_models[@]}" KILLICK_FAMILY=gpu -- --test model_smollm2 a_greedy_text_equals_pytorchs_id_by_id
}
# lavapipe's subgroups are as wide as its vectors: 4 and 16 lanes here, 8 in the step above.
step_widths() {
    gpu_tests "${lavapipe[@]}" LP_NATIVE_VECTOR_WIDTH=128 -- --test gpu_kernels
    gpu_tests "${lavapipe[@]}" LP_NATIVE_VECTOR_WIDTH=512 -- --test gpu_kernels
}
# The driver that a Debian 12 brings, where the steps above had a newer one: each kernel against its twin, and the decode loop on tiny
# models. All tests of the kernels would take it four minutes; the others are left to the newer one.
step_lavapipe-system() {
    if [ "$(lavapipe_icd)" = "$(system_lavapipe_icd)" ]; then
        echo "kernels and the decode loop on the system's lavapipe: it is the only one here, and the other steps run on it" >>"$KILLICK_SKIPS"
        return
    fi
    gpu_test "${lavapipe_system[@]}" -- --test gpu_kernels match
    gpu_test "${lavapipe_system[@]}" -- --test gpu_loop
    gpu_test "${lavapipe_system[@]}" -- --test gpu_bench compiled_once
}
step_model() { gpu_test "${lavapipe_for_models[@]}" -- --test 'model_*'; }
# SwiftShader does not say its version; it is that of the browser it comes with.
swiftshader_version() { dpkg-query -W -f 'SwiftShader of ${Package} ${Version}\n' chromium 2>/dev/null || true; }
step_swiftshader() {
    local targets
    targets=$(on_every_driver)
    swiftshader_version
    # shellcheck disable=SC2086 # names of targets
    gpu_tests "${swiftshader[@]}" -- $targets
    gpu_tests "${swiftshader[@]}" KILLICK_BASELINE=1 KILLICK_MAX_BINDING=8388608 -- --test gpu_tiny --test gpu_loop --test gpu_segments
}
# The engine under Node.js, on Dawn over SwiftShader, against the native program on the same driver.
step_wasm() {
    local pkg modules
    pkg=$(scripts/build-wasm.sh)
    modules=$(scripts/npm.sh)
    cargo build --locked --bin killick
    swiftshader_version
    device "${swiftshader[@]}"
    env "${swiftshader[@]}" KILLICK_PKG="$pkg" KILLICK_NPM="$modules" KILLICK_NATIVE="$CARGO_TARGET_DIR/debug/killick" \
        node --test tests/node/score.test.mjs tests/node/write.test.mjs
    # SwiftShader has no 16-bit floats; lavapipe has.
    [ -z "$(lavapipe_icd)" ] || env "${lavapipe[@]}" KILLICK_NEEDS_F16=1 KILLICK_PKG="$pkg" KILLICK_NPM="$modules" \
        KILLICK_NATIVE="$CARGO_TARGET_DIR/debug/killick" node --test --test-name-pattern='16-bit floats' tests/node/score.test.mjs
}
# The package and the page in browsers: Chromium on the SwiftShader that it brings, Firefox on the newer lavapipe.
step_browser() {
    local site modules
    site=$(scripts/build-web.sh)
    modules=$(scripts/npm.sh tests/browser)
    cargo build --locked --bin killick
    printf '%s, %s\n' "$(/usr/bin/chromium --version 2>/dev/null)" "$(firefox-esr --version 2>/dev/null)"
    # One after the other: two browsers at a time would time each other out.
    env "${lavapipe_for_models[@]}" KILLICK_SITE="$site" KILLICK_NPM="$modules" KILLICK_MODEL="$model" \
        KILLICK_NATIVE="$CARGO_TARGET_DIR/debug/killick" node --test --test-concurrency=1 tests/browser/*.test.mjs
}

case " $* " in
    *" kernels "* | *" lavapipe "* | *" baseline "* | *" family "* | *" widths "* | *" lavapipe-system "* | *" model "* | *" browser "*) [ -n "$(lavapipe_icd)" ] || fail "lavapipe was not found" "Run: scripts/setup.sh test" ;;
esac
case " $* " in
    *" swiftshader "* | *" wasm "* | *" browser "*) [ -n "$(swiftshader_icd)" ] || fail "chromium's SwiftShader was not found" "Run: scripts/setup.sh test" ;;
esac
for step in "$@"; do
    declare -F "step_$step" >/dev/null || fail "there is no step \"$step\"" "$usage"
done

use_cargo
log=$(mktemp)
# What tests were asked and did not do (tests/support/skip.rs), step by step.
skips=$(mktemp)
export KILLICK_SKIPS=$skips.step
trap 'rm -f "$log" "$skips" "$skips.step"' EXIT
summary=()
begun=$SECONDS
result=0
for step in "$@"; do
    printf '\n=== %s\n' "$step"
    from=$SECONDS
    # The step runs in a shell of its own under `set -e`, which a shell ignores in a condition.
    set +e
    (set -e; "step_$step") 2>&1 | tee -a "$log"
    result=${PIPESTATUS[0]}
    set -e
    if [ -s "$skips.step" ]; then
        sort -u "$skips.step" | sed "s/^/$step: /" | tee -a "$skips" | sed 's/^/[skipped] /'
        rm "$skips.step"
    fi
    line=$(printf '%-12s %-6s %4d s' "$step" "$([ "$result" = 0 ] && echo ok || echo FAILED)" $((SECONDS - from)))
    summary+=("$line")
    printf -- '--- %s\n' "$line"
    [ "$result" = 0 ] || break
done

printf '\n=== summary: %d s\n' $((SECONDS - begun))
printf '%s\n' "${summary[@]}"
# Counted from the closing lines of cargo's and Node's test runners and of scripts/portability.sh.
awk '/^test result:/ { passed += $4; failed += $6 }
     /^(#|ℹ) pass / { passed += $3 }
     /^(#|ℹ) fail / { failed += $3 }
     /^[a-z]+: [0-9]+ passed, [0-9]+ failed$/ { passed += $2; failed += $4 }
     END { printf "%d passed, %d failed", passed, failed }' "$log"
printf ', %d skipped\n' "$(wc -l <"$skips")"
sed 's/^/  /' "$skips"
exit "$result"
