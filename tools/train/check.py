"""Trains the anchor model's first 200 steps anew and compares every loss with curve200.json, within 1 %.

    check.py            about three minutes of one core
    check.py --record   writes curve200.json from the log of the run that is there
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from data import CACHE

STEPS, LIMIT = 200, 0.01
CURVE = pathlib.Path(__file__).with_name("curve200.json")


def losses(runs: pathlib.Path) -> list[float]:
    lines = (runs / "anchor" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = {entry["step"]: entry["loss"] for entry in map(json.loads, lines)}
    return [found[step] for step in range(1, STEPS + 1)]


def main() -> None:
    if sys.argv[1:] == ["--record"]:
        CURVE.write_text(json.dumps(losses(CACHE / "runs")) + "\n", encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "train.py", "--mask", "anchor", "--to", str(STEPS), "--runs", runs, *sys.argv[1:]]
        subprocess.run(command, check=True)
        found = losses(pathlib.Path(runs))
    expected = json.loads(CURVE.read_text(encoding="utf-8"))
    worst = max((abs(a / b - 1), i + 1, a, b) for i, (a, b) in enumerate(zip(found, expected, strict=True)))
    print("largest difference {:.4%} at step {}: {} here, {} recorded".format(*worst))
    if not worst[0] <= LIMIT:
        raise SystemExit(f"check.py: more than {LIMIT:.0%}")


if __name__ == "__main__":
    main()
