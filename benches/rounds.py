#!/usr/bin/env python3
"""rounds.py [--rounds N] [--common "FLAGS"] KILLICK "FLAGS" ["FLAGS" ...]: tests of `killick bench` that take turns, by processor time.

Each FLAGS is a run of `killick bench FLAGS -r 1`, which may measure several tests. All of them run in turn, N times (default 5), so
that what else the machine does meets all alike; --common goes before each. Printed is a line a test: processor milliseconds of the
whole process a token, least and median of the rounds, and both against the first test's. On a shared machine only these ratios mean
anything, and the least more than the median.

The driver is the environment's choice (VK_DRIVER_FILES, VK_ICD_FILENAMES). Examples:
  a token at a depth       --common "-p 0 -n 512 --policies anchor:max-anchors=16:max-segment=32" killick "-d 2048" "-d 16384"
  several texts at a time  --common "--shape smollm2-135m -p 0 -n 32" killick "--dtype f16 -b 1,4,16" "--dtype q4_0 -b 1,4,16"
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys


def measured(command):
    """The rows of one run."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def main():
    parser = argparse.ArgumentParser(description="Tests of killick bench that take turns.", usage=__doc__.split(":")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--common", default="")
    parser.add_argument("killick")
    parser.add_argument("runs", nargs="+", metavar="FLAGS")
    args = parser.parse_args()
    costs, machine = {}, None
    for _ in range(args.rounds):
        for run in args.runs:
            flags = shlex.split(args.common) + shlex.split(run)
            for row in measured([args.killick, "bench", *flags, "-r", "1", "-o", "jsonl"]):
                machine = f"{row['gpu_info']}, {row['driver']}"
                if row["cpu_s_per_token"] is None:
                    sys.exit("this system does not say how much processor time a process took")
                costs.setdefault((run, row["test"], row["batch"]), []).append(1000 * row["cpu_s_per_token"])
    print(f"{machine}\n{args.rounds} rounds of {args.common}\nCPU ms a token: least, median; against the first: least, median")
    first = next(iter(costs.values()))
    for (run, test, batch), of in costs.items():
        least, median = min(of), statistics.median(of)
        of_first = least / min(first), median / statistics.median(first)
        print(f"{least:9.4f} {median:9.4f} {of_first[0]:8.3f} {of_first[1]:8.3f}   {test}, {batch} at a time: {run}")


if __name__ == "__main__":
    main()
