#!/usr/bin/env python3
"""kernels.py [--rounds N] [--filter TEXT] KILLICK [KILLICK ...]

Two products by killick and by burn (crates.io, on wgpu) on the same Vulkan driver, as a Markdown table: 512x512 times 512x512, and a
matrix of 4096x4096 times a column. Both engines check their results before they time them. Wall and processor time are of one call.

burn takes the fastest kernel that its own search finds; killick shows all that it has for the format, those for GPUs too, or those whose
name or layout has TEXT in it: on a software device --filter texels, because its kernels for GPUs take minutes there.
KILLICK is a program, arguments after commas. The Vulkan driver is the environment's choice (VK_DRIVER_FILES, VK_ICD_FILENAMES).
burn is built on first use, in ${XDG_CACHE_HOME:-~/.cache}/killick/peers/burn: minutes, and 700 crates.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from compare import load, machine

HERE = pathlib.Path(__file__).resolve().parent
CASES = (("matmul", "512x512, 512 in", "512x512x512"), ("matvec", "4096x4096, 1 in", "4096x4096x1"))
FORMATS = ("f32", "f16")


def build():
    """The program that runs burn."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    target = cache / "killick/peers/burn"
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "burn/Cargo.toml", "--target-dir", target]
    subprocess.run(command, check=True)
    return target / "release/peer-burn"


def lines(command):
    """What a command prints, a line of JSON at a time."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def burn(program):
    """One round of burn: (op and size, format, engine, kernel, wall ns, cpu ns, check, device)."""
    for row in lines([program, "1"]):
        # A row times a matrix is the same product the other way round.
        size = "4096x4096x1" if row["op"] == "matvec" else row["shape"]
        check = f"within {row['worst_relative_error']:.0e}"
        device = f"burn {row['version']}; {row['gpu_info']}; {row['driver']}"
        yield f"{row['op']} {size}", row["dtype"], "burn", row["form"], row["wall_ns_min"], row["cpu_ns_min"], check, device


def killick(program, more):
    """One round of killick, likewise."""
    for op, shape, size in CASES:
        for dtype in FORMATS:
            filters = [part for text in (f"{op} ", dtype, shape, *more) for part in ("--filter", text)]
            # killick gives the mean of its repetitions, a tenth of a second together or one each.
            for row in lines([*program.split(","), "bench", "--kernels", *filters, "-r", "8", "-o", "jsonl"]):
                kernel = f"{row['implementation']}, {row['layout']}"
                device = f"killick {row['build_version']}, {row['build_commit']}; {row['gpu_info']}; {row['driver']}"
                wall = min(row["samples_ns"])
                yield f"{op} {size}", dtype, program, kernel, wall, 1e9 * row["cpu_s"], row["check"], device


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--filter", action="append", default=[], metavar="TEXT")
    parser.add_argument("killick", nargs="+")
    options = parser.parse_args()
    program = build()
    began, started = load(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    walls, cpus, checks, devices = {}, {}, {}, {}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for of in [burn(program), *(killick(one, options.filter) for one in options.killick)]:
            for what, dtype, engine, kernel, wall, cpu, check, device in of:
                key = (what, dtype, engine, kernel)
                walls.setdefault(key, []).append(wall / 1e6)
                cpus.setdefault(key, []).append(cpu / 1e6)
                checks[key], devices[engine] = check, device

    print(f"{started}; {machine()}; load average {began} before, {load()} after; {options.rounds} rounds\n")
    print("| Product | Weights | Engine | Kernel | Processor ms a call: least | median | Wall ms: least | median | Check |")
    print("|---|---|---|---|---|---|---|---|---|")
    for key in sorted(walls):
        cells = [f"{of(times[key]):.2f}" for times in (cpus, walls) for of in (min, statistics.median)]
        print(f"| {' | '.join(key)} | {' | '.join(cells)} | {checks[key]} |")
    print()
    for engine, device in devices.items():
        print(f"- {engine}: {device}")


if __name__ == "__main__":
    main()
