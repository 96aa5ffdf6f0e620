"""Where the goldens go, and how they are written: compact JSON, at most 1 MiB a file."""

import json
import os
import pathlib

DATA = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "killick"
LIMIT = 1 << 20


def write(path: pathlib.Path, value) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
    assert len(text.encode()) <= LIMIT, f"{path} would be {len(text.encode())} bytes"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(DATA)}: {len(text.encode())} bytes")


def rounded(values, digits: int = 6) -> list[float]:
    return [round(float(v), digits) for v in values]
