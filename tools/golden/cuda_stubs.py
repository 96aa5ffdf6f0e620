"""Makes PyPI's torch importable on a machine without CUDA, by writing empty stand-ins for the CUDA libraries it links.

PyPI has no CPU-only torch for x86-64 Linux, and the full install pulls about 2.5 GB of CUDA wheels that a CPU never
runs. `pip install --no-deps torch` is enough for CPU work once the loader finds a file with the right name, symbols and
symbol versions for every CUDA library that torch names; this script compiles those files into `torch/lib`.
Almost every stand-in function returns error 100 (no device); the few that torch calls while it starts up on a CPU answer properly.

Run with the Python of the environment that has torch (needs gcc and readelf):  venv/bin/python tools/golden/cuda_stubs.py
"""

import collections
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile

# Functions that torch calls on a CPU too: "there is no device", told in a way that it survives.
ANSWERS = {
    "cudaGetErrorString": 'const char *cudaGetErrorString(int e) { return "no CUDA: stand-in library"; }',
    "cudaGetErrorName": 'const char *cudaGetErrorName(int e) { return "stand-in"; }',
    "cudaStreamIsCapturing": "int cudaStreamIsCapturing(void *s, int *status) { *status = 0; return 0; }",
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int *count) { *count = 0; return 100; }",
    "cudaGetLastError": "int cudaGetLastError(void) { return 0; }",
    "cudaPeekAtLastError": "int cudaPeekAtLastError(void) { return 0; }",
}
# Unversioned symbols are told apart by the prefix of their name: library stem -> prefixes.
PREFIXES = {"cudart": ("cuda", "__cuda"), "cusparselt": ("cusparseLt",), "cublaslt": ("cublasLt",), "cufile": ("cuFile",), "nvshmem_host": ("nvshmem",)}


def readelf(*args: str) -> list[str]:
    return subprocess.run(["readelf", "-W", *args], capture_output=True, text=True, check=True).stdout.splitlines()


def scan(libraries: list[pathlib.Path]):
    """What the libraries need: names of other libraries, versioned symbols per library, and unversioned symbols nobody defines."""
    needed, versioned, undefined, defined = set(), collections.defaultdict(dict), set(), set()
    for path in libraries:
        needed |= {m.group(1) for line in readelf("-d", str(path)) if (m := re.search(r"\(NEEDED\).*\[(.+)\]", line))}
        owner, library = {}, None  # symbol version -> the library that must define it
        for line in readelf("-V", str(path)):
            if m := re.search(r"File: (\S+)", line):
                library = m.group(1)
            elif library and (m := re.search(r"Name: (\S+)\s+Flags", line)):
                owner[m.group(1)] = library
        for line in readelf("--dyn-syms", str(path)):
            columns = line.split()
            if len(columns) < 8 or not columns[0].rstrip(":").isdigit():
                continue
            name, _, version = columns[7].replace("@@", "@").partition("@")
            if columns[6] != "UND":
                defined.add(name)
            elif version in owner:
                versioned[owner[version]][name] = version
            elif not version:
                undefined.add(name)
    return needed, versioned, undefined - defined


def write_stub(path: pathlib.Path, versions: dict[str, str], plain: list[str]) -> None:
    by_version = collections.defaultdict(list)
    for symbol, version in versions.items():
        by_version[version].append(symbol)
    code = "\n".join(ANSWERS.get(s, f"int {s}(void) {{ return 100; }}") for s in [*versions, *plain])
    with tempfile.TemporaryDirectory() as scratch:
        source, script = pathlib.Path(scratch, "stub.c"), pathlib.Path(scratch, "stub.map")
        source.write_text(code or "int stub_of_nothing;\n")
        script.write_text("".join(f"{v} {{ global: {'; '.join(s)}; }};\n" for v, s in by_version.items()))
        options = [f"-Wl,--version-script={script}"] if by_version else []
        subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{path.name}", *options, str(source), "-o", str(path)], check=True)


def main() -> None:
    folder = pathlib.Path(sysconfig.get_paths()["purelib"], "torch", "lib")
    # The stand-ins of an earlier run are CUDA names too: they are made anew, never scanned.
    own = [p for p in sorted(folder.glob("*.so*")) if not p.is_symlink() and not re.match(r"lib(cu|nv|nccl)", p.name)]
    if not own:
        sys.exit(f"no torch libraries in {folder}: install torch first")
    needed, versioned, undefined = scan(own)
    cuda = [n for n in needed if re.match(r"lib(cu|nv|nccl)", n)]
    for name in sorted(cuda, key=lambda n: (-len(n), n)):  # the longest prefix takes its symbols first: cublasLt before cublas
        stem = re.match(r"lib(.+?)\.so", name).group(1).lower()
        plain = sorted(s for s in undefined if s.startswith(PREFIXES.get(stem, (stem,))))
        undefined -= set(plain)
        write_stub(folder / name, versioned.get(name, {}), plain)
        print(f"{name}: {len(versioned.get(name, {}))} versioned and {len(plain)} plain symbols")


if __name__ == "__main__":
    main()
