#!/usr/bin/env bash
# bench-gpu.sh pack DIR | run OUT: everything there is to know about Killick on a machine with a real GPU, in one call of ten minutes.
#
#   tools/bench-gpu.sh pack DIR [--killick PROGRAM]
#       Here, with cargo: builds the program and the test programs, strips them, and puts all that the other machine needs into DIR:
#       this script and one archive. Prints the size of each part. PROGRAM is taken instead of a build.
#   DIR/bench-gpu.sh run OUT [--seconds N] [--quick] [--only STEP,STEP] [--gpu NAME] [--vulkan FOLDER]
#       There, without cargo, source tree or network: names the machine, runs the tests on its GPU, times kernels and models.
#       OUT gets device.txt, tests.txt, log.txt and, as JSON lines, steps, models, kernels and depth (docs/bench.md has their fields).
#
#   --seconds N      the whole budget, 570; a step gets at most what is left, and one that gets nothing is said to be left out
#   --quick          few repetitions, short texts and small models alone, to try the script itself on a software device
#   --only A,B       steps whose names begin so: device, smoke, test, models, kernels, depth
#   --gpu NAME       index or part of the name of the GPU; else the first real one
#   --vulkan FOLDER  where libvulkan.so.1 lies, if neither the system nor the archive has one that works
#
# The last line says what failed; the exit code is 1 if anything did. Results are kept under benches/results/DEVICE/.
set -euo pipefail

# The most that may be carried, all of it.
MOST_MIB=64
# The correctness suite, most telling first. These programs start nothing and read nothing but tests/data.
TESTS=(gpu_tiny gpu_kernels gpu_loop gpu_split gpu_memory gpu_families gpu_batch gpu_together gpu_adapter gpu_f16)
DATA=(tests/data/tiny tests/data/adapter tests/data/embedded)
ARCHIVE='killick-gpu.tar.xz'

fail() {
    printf '%s\n' "bench-gpu: $1" "${@:2}" >&2
    exit 1
}

usage() {
    sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2
    exit 2
}

# ---- pack

# test_programs: builds the test programs; a line each with name and path.
test_programs() {
    local name flags=()
    for name in "${TESTS[@]}"; do flags+=(--test "$name"); done
    cargo test --locked --no-run --message-format=json "${flags[@]}" | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and "test" in message["target"]["kind"]:
        print(message["target"]["name"], message["executable"])'
}

pack() {
    local dir=$1 root program='' work name path loader size commit
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --killick) program=$2 && shift 2 ;;
            *) usage ;;
        esac
    done
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    [ -z "$program" ] || program=$(realpath "$program")
    cd "$root"
    commit=$(git rev-parse HEAD)
    if [ -z "${CARGO_TARGET_DIR:-}" ]; then
        # shellcheck source=scripts/env.sh
        . scripts/env.sh && use_cargo
    fi
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # its name is known now
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work/tests" "$work/vulkan"
    if [ -z "$program" ]; then
        KILLICK_BUILD_COMMIT=${commit:0:9} cargo build --locked --release --bin killick
        program=$CARGO_TARGET_DIR/release/killick
    fi
    strip -o "$work/killick" "$program"
    path=$(test_programs)
    while read -r name path; do strip -o "$work/tests/$name" "$path"; done <<<"$path"
    for name in "${TESTS[@]}"; do [ -x "$work/tests/$name" ] || fail "cargo built no test program $name"; done
    echo "$commit" >"$work/commit"
    # By git's list, so that nothing else travels.
    git ls-files -z "${DATA[@]}" | tar -c --null -T - | tar -x -C "$work"
    loader=$(ldconfig -p 2>/dev/null | awk '/libvulkan\.so\.1 / { print $NF; exit }')
    if [ -n "$loader" ]; then cp -L "$loader" "$work/vulkan/libvulkan.so.1"; fi
    echo "bytes, stripped:"
    (cd "$work" && stat -c '%11s  %n' killick tests/gpu_* vulkan/*)
    printf '%11s  tests/data\n' "$(du -sb "$work/tests/data" | cut -f1)"
    # One window over all programs, for they share most of their code: a third of what gzip makes of them.
    tar -c -C "$work" . | xz -T1 --lzma2=preset=3,dict=128MiB >"$dir/$ARCHIVE"
    cp "${BASH_SOURCE[0]}" "$dir/bench-gpu.sh"
    size=$(du -sb "$dir" | cut -f1)
    printf 'to carry: %s, %d bytes, %d MiB\n' "$(cd "$dir" && echo *)" "$size" $(((size + 1048575) / 1048576))
    [ "$size" -le $((MOST_MIB << 20)) ] || fail "that is more than $MOST_MIB MiB"
}

# ---- run

# open_archive: unpacks the archive beside this script, by Python where there is no xz.
open_archive() {
    local archive
    archive=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$ARCHIVE
    [ -e "$archive" ] || fail "there is no $ARCHIVE beside this script" "Make it: tools/bench-gpu.sh pack DIR"
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # its name is known now
    trap "rm -rf '$work'" EXIT
    if command -v xz >/dev/null; then
        xz -dc "$archive" | tar -x -C "$work"
    else
        python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$archive" "$work"
    fi
    killick=$work/killick
}

# real_gpu: whether the program sees a GPU that is no software.
real_gpu() { "$killick" devices 2>/dev/null | grep -qE '^ +[a-z0-9]+ (discrete|integrated|virtual|other),'; }

# find_driver: points the loader to a driver, if it finds none by itself. In containers the driver's libraries are often mounted without
# being registered.
find_driver() {
    local json library
    [ -z "$vulkan" ] || export LD_LIBRARY_PATH=$vulkan${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    "$killick" devices >/dev/null 2>&1 || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$work/vulkan
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 0
    ! real_gpu || return 0
    for json in /usr/local/nvidia/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json \
        /usr/share/vulkan/icd.d/*.json /run/opengl-driver/share/vulkan/icd.d/*.json; do
        [ -e "$json" ] || continue
        export VK_DRIVER_FILES=$json VK_ICD_FILENAMES=$json
        ! real_gpu || return 0
    done
    for library in libGLX_nvidia.so.0 libEGL_nvidia.so.0 /usr/local/nvidia/lib64/libGLX_nvidia.so.0 /usr/local/nvidia/lib64/libEGL_nvidia.so.0; do
        json=$work/driver.json
        printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' "$library" >"$json"
        export VK_DRIVER_FILES=$json VK_ICD_FILENAMES=$json
        ! real_gpu || return 0
    done
    # None of them: what the system says stands.
    unset VK_DRIVER_FILES VK_ICD_FILENAMES
}

# step NAME LIMIT FILE COMMAND...: runs a command for at most LIMIT seconds, its output to FILE of OUT, its errors to log.txt.
step() {
    local name=$1 limit=$(($2 * patience)) file=$3 from=$SECONDS left rc=0 result=ok prefix wanted=0
    shift 3
    for prefix in "${only[@]}"; do [[ $name != "$prefix"* ]] || wanted=1; done
    [ $wanted = 1 ] || return 0
    left=$((budget - SECONDS))
    if [ $left -lt 3 ]; then
        result="no time left" rc=-1
    else
        [ $left -ge "$limit" ] || limit=$left
        printf '== %s\n' "$name" >>"$out/log.txt"
        [[ $file != tests.txt ]] || printf '== %s\n' "$name" >>"$out/$file"
        timeout --foreground -k 5 "$limit" "$@" >>"$out/$file" 2>>"$out/log.txt" || rc=$?
        case $rc in
            0) ;;
            124 | 137) result="cut after $limit s" ;;
            *) result="exit code $rc" ;;
        esac
    fi
    printf '%-28s %4d s  %s\n' "$name" $((SECONDS - from)) "$result"
    printf '{"step":"%s","seconds":%d,"exit_code":%d,"result":"%s"}\n' "$name" $((SECONDS - from)) $rc "$result" >>"$out/steps.jsonl"
    [ $rc -gt 0 ] || [ $rc = -1 ] || return 0
    failed+=("$name ($result)")
    [ $rc = -1 ] || tail -q -n 4 "$out/log.txt" "$out/$file" 2>/dev/null | cut -c1-300 | sed 's/^/    | /'
}

# device: the machine, in words.
device() {
    echo "killick    $("$killick" --version), commit $(cat "$work/commit")"
    echo "date       $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    # shellcheck source=/dev/null
    echo "system     $(uname -srm); $(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-}")"
    echo "processor  $(nproc) of $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)"
    echo "memory     $(awk '/^MemTotal/ { printf "%d MiB", $2 / 1024 }' /proc/meminfo)"
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv || true
    fi
    "$killick" devices
}

# models NAME LIMIT FLAGS...: a step that times a model.
models() { step "models $1" "$2" models.jsonl "$killick" bench "${gpu[@]}" -o jsonl "${@:3}"; }

run() {
    local out=$1 budget=570 only=('') vulkan='' quick=0 patience=1 gpu=() failed=() name limit op layout dtype
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --quick) quick=1 && shift && continue ;;
            --seconds | --only | --gpu | --vulkan) [ $# -ge 2 ] || usage ;;
            *) usage ;;
        esac
        case $1 in
            --seconds) budget=$2 ;;
            --only) IFS=, read -ra only <<<"$2" ;;
            --gpu) gpu=(--gpu "$2") && export KILLICK_GPU=$2 ;;
            --vulkan) vulkan=$(realpath "$2") ;;
        esac
        shift 2
    done
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    rm -f "$out"/{device,tests,log}.txt "$out"/{steps,models,kernels,depth}.jsonl
    SECONDS=0
    open_archive
    export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp} KILLICK_SOURCE=$work
    find_driver
    local test=(-p 512 -n 128 -r 3) few=(-p 512 -n 64 -r 2) shape=() sweep=()
    if [ $quick = 1 ]; then
        # A software device takes its time over the tests.
        patience=6
        test=(-p 32 -n 8 -r 1) few=(-p 16 -n 4 -r 1) shape=(--shape smollm2-135m -r 1) sweep=(-d '0,64' -n 8 -r 1)
    fi
    # In a shell of its own, so that `timeout` can end it.
    export killick work
    export -f device
    step device 30 device.txt bash -c device
    cat "$out/device.txt" 2>/dev/null || true
    real_gpu || echo "note: there is no real GPU here, or its driver was not found" | tee -a "$out/device.txt"
    step smoke 60 device.txt "$killick" generate "${gpu[@]}" "The Lord is" --temperature 0 --max-tokens 48 --stats

    models killick-4m 40 "${test[@]}"
    for name in "${TESTS[@]}"; do
        limit=40
        [ "$name" != gpu_kernels ] || limit=100
        step "test $name" $limit tests.txt "$work/tests/$name"
    done
    for dtype in q4_0 q8_0 f16; do
        models "smollm2-135m $dtype" 40 --shape smollm2-135m --dtype $dtype "${test[@]}"
        [ $quick = 1 ] || models "tinyllama-1.1b $dtype" 40 --shape tinyllama-1.1b --dtype $dtype "${test[@]}"
    done
    # One workgroup a head against several.
    step "kernels attention" 30 kernels.jsonl "$killick" bench "${gpu[@]}" -o jsonl --kernels --filter attention --filter ' rows 1 of 4096 tokens, full' --shape smollm2-135m -r 1
    # What the tuning chose for the embedded model, and why.
    step "devices --kernels" 30 device.txt "$killick" devices --kernels "${gpu[@]}"
    for name in matmul_tiled matmul_tiled_f16 matvec_runs gated_mlp_runs; do
        step "kernels $name" 30 kernels.jsonl "$killick" bench "${gpu[@]}" -o jsonl --kernels --filter " $name q4" "${shape[@]}"
    done
    # A layout is one word of a kernel's name; those of the other family have longer ones.
    for op in matvec matmul; do
        for layout in f16 q8 q4; do
            step "kernels $op $layout" 30 kernels.jsonl "$killick" bench "${gpu[@]}" -o jsonl --kernels --filter "$op $op $layout " "${shape[@]}"
        done
    done
    [ $quick = 1 ] || models "llama-2-7b q4_0" 60 --shape llama-2-7b --dtype q4_0 "${few[@]}"
    step "depth killick-4m" 60 depth.jsonl "$killick" bench "${gpu[@]}" -o jsonl --depth-sweep "${sweep[@]}"
    for dtype in f16 q8_0 q4_0; do
        models "batch $dtype" 30 --shape smollm2-135m --dtype $dtype -b 1,4,16 -p 0 "${few[@]:2}"
    done
    if [ $quick = 0 ]; then
        models "llama-2-7b q8_0" 60 --shape llama-2-7b --dtype q8_0 "${few[@]}"
        models "llama-2-7b f16" 75 --shape llama-2-7b --dtype f16 "${few[@]}"
        step "depth tinyllama-1.1b" 60 depth.jsonl "$killick" bench "${gpu[@]}" -o jsonl --depth-sweep --policies full,anchor \
            --shape tinyllama-1.1b --dtype q4_0 -d 0,1024,4096,16384
    fi

    printf '%d steps in %d s, ' "$(wc -l <"$out/steps.jsonl")" $SECONDS
    if [ ${#failed[@]} = 0 ]; then
        echo "none failed"
    else
        printf 'FAILED:'
        printf ' %s;' "${failed[@]}"
        echo
        exit 1
    fi
}

[ $# -ge 2 ] || usage
case $1 in
    pack | run) "$@" ;;
    *) usage ;;
esac
