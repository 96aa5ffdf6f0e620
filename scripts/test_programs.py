#!/usr/bin/env python3
"""test_programs.py ARGUMENT...: cargo test --locked ARGUMENT..., with several test programs at a time.

cargo runs one after the other. The tests of a program share one device, and a software device does the work of all on one thread, so
a second core would stand idle. Each program's output is printed whole when it ends. All of them run, whatever fails.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

# Those that measure time run by themselves, after the others.
ALONE = {"gpu_cost", "gpu_latency", "gpu_speed"}
# Each takes up to a gigabyte.
AT_A_TIME = min(os.cpu_count() or 1, 4)
# So long that it is run in parts, which go first.
IN_PARTS = "gpu_kernels"

printing = Lock()


def say(words):
    with printing:
        print(words, flush=True)


def build(arguments):
    """The test programs that the arguments name: (name, command)."""
    command = ["cargo", "test", "--locked", "--no-run", "--message-format=json-render-diagnostics", *arguments]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        sys.exit(built.returncode)
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact" and message["profile"]["test"]]
    return [(artifact["target"]["name"], [artifact["executable"]]) for artifact in artifacts]


def parts(program):
    """The program as several, each with every so many of its tests."""
    name, command = program
    listed = subprocess.run([*command, "--list", "--format", "terse"], stdout=subprocess.PIPE, text=True, check=True).stdout
    tests = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
    # Without a name all tests would run.
    shares = [tests[i::AT_A_TIME] for i in range(AT_A_TIME) if tests[i::AT_A_TIME]]
    if not shares:
        sys.exit(f"test_programs.py: {name} lists no test")
    return [(f"{name}, part {i + 1}", [*command, "--exact", *share]) for i, share in enumerate(shares)]


def run(program):
    """Whether it passed."""
    name, command = program
    begun = time.monotonic()
    say(f"     Running {name}")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    closing = "" if done.returncode == 0 else f"\nerror: {name} ended with {done.returncode}"
    say(f"\n     {name}, {time.monotonic() - begun:.0f} s\n{done.stdout.rstrip()}{closing}")
    return done.returncode == 0


def main():
    programs = sorted(build(sys.argv[1:]))
    if not programs:
        sys.exit("test_programs.py: these arguments name no test program")
    together = [part for program in programs if program[0] == IN_PARTS for part in parts(program)]
    together += [program for program in programs if program[0] != IN_PARTS and program[0] not in ALONE]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        passed = list(pool.map(run, together))
    passed += [run(program) for program in programs if program[0] in ALONE]
    sys.exit(0 if all(passed) else 1)


main()
