#!/usr/bin/env python3
"""compare.py [--rounds N] [--threads N] [--decode FROM,TO] [--prefill FROM,TO] [--engines NAME,NAME] MODEL KILLICK [KILLICK ...]

Processor seconds a token of killick and of its peers, side by side, as a Markdown table; decoding and reading a prompt separately.
KILLICK is a program, arguments after commas: target/release/killick,--family,gpu.

Whole processes are measured, user and system time of all threads. A token's cost is the difference between a long and a short run,
divided by the tokens between them, so starting and loading cancel out. Each run is a process of its own, and the engines take turns.
On a shared machine only the ratios within one table mean anything.
--threads goes to lavapipe as well (LP_NUM_THREADS, unless it is set): with one, it works on the thread that submits.

The Vulkan driver is the environment's choice (VK_DRIVER_FILES, VK_ICD_FILENAMES). Peers are installed on first use.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "benches"))
import cost  # noqa: E402: it lies in another folder

# Tokens written by the short and the long run, and words read by them. llama.cpp reads so fast that a short prompt is noise;
# llama.cpp's Vulkan and WebGPU kernels are for GPUs and so slow on a software device that long ones take hours.
USUAL = {"decode": (8, 72), "prefill": (512, 1024)}
SLOWER = {"decode": (4, 20), "prefill": (64, 128)}
SLOW = {"decode": (2, 6), "prefill": (32, 64)}
WORDS = 8  # of the prompt, where writing is measured


class Engine:
    """One way to read and write: its name, its command, how much it is given."""

    def __init__(self, name, command, tokens):
        self.name, self.command, self.tokens = name, command, tokens
        self.seconds, self.says = {}, "did not run"

    def runs(self):
        """What is run: (test, short or long, words, tokens written)."""
        for end, tokens in zip(("short", "long"), self.tokens["decode"]):
            yield "decode", end, WORDS, tokens
        for end, words in zip(("short", "long"), self.tokens["prefill"]):
            yield "prefill", end, words, 1

    def run(self, test, end, words, tokens):
        seconds, text = cost.run(self.command(words, tokens))
        lines = cost.fields(text)
        # A text that ends early would divide by tokens that were not made.
        made = int(lines["tokens"].split()[2]) if "tokens" in lines else len(lines["ids"].split())
        if made != tokens:
            sys.exit(f"{self.name} made {made} tokens of {tokens}")
        # A browser's processes are counted by the script that runs it.
        self.seconds.setdefault((test, end), []).append(float(lines.get("cpu_s", seconds)))
        more = lines.get("driver") or lines.get("host")
        self.says = lines["adapter"].strip() + (f"; {more.strip()}" if more else "")

    def cost(self, test, kind):
        """Seconds a token, by the least or the median of each kind of run; the rounds' own differences would add their noise."""
        short, long = self.tokens[test]
        return (kind(self.seconds[test, "long"]) - kind(self.seconds[test, "short"])) / (long - short)


def peers(options):
    """All peers by name; nothing is installed for a name that is not asked for."""
    installed = pathlib.Path(subprocess.run([HERE / "install.sh"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())

    def without_avx512():
        """The folder again, with llama.cpp's library for AVX2 as the only one, which it takes where there is no better."""
        folder = installed.with_name(installed.name + "-avx2")
        if not folder.exists():
            others = shutil.ignore_patterns("libggml-cpu-[!h]*.so")
            partial = folder.with_name(f"{folder.name}.{os.getpid()}")
            shutil.copytree(installed, partial, symlinks=True, ignore=others)
            partial.rename(folder)
        return folder

    deno = [installed / "node_modules/@deno/linux-x64-glibc/deno", "run", "--unstable-webgpu", "--allow-all"]

    def script(host, name, device, threads, folder=lambda: installed):
        return lambda words, tokens: [
            str(part) for part in [*host, folder() / name, options.model, device, threads, words, tokens]]

    def in_chromium(words, tokens):
        site = os.environ.get("KILLICK_SITE") or sys.exit("killick-chromium needs KILLICK_SITE, the folder that make web prints")
        return [str(part) for part in ["node", HERE / "killick_chromium.mjs", options.model, site, words, tokens]]

    return {
        "llama.cpp-cpu": (script(["node"], "llama_cpp.mjs", "cpu", options.threads), USUAL),
        "llama.cpp-cpu-avx2": (script(["node"], "llama_cpp.mjs", "cpu", options.threads, without_avx512), USUAL),
        "llama.cpp-vulkan": (script(["node"], "llama_cpp.mjs", "vulkan", options.threads), SLOWER),
        # Its threads would do nothing but wait for the GPU.
        "wllama-webgpu-deno": (script(deno, "wllama_deno.mjs", "webgpu", 1), SLOW),
        "wllama-cpu-chromium": (script(["node"], "wllama_chromium.mjs", "cpu", options.threads), USUAL),
        "wllama-webgpu-chromium": (script(["node"], "wllama_chromium.mjs", "webgpu", 1), SLOW),
        "killick-chromium": (in_chromium, SLOWER),
    }


def pair(text):
    """FROM,TO of an option."""
    short, long = (int(part) for part in text.split(","))
    if not 0 < short < long:
        raise argparse.ArgumentTypeError("FROM is less than TO")
    return short, long


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of engines on the CPU and of lavapipe; default: all cores")
    parser.add_argument("--decode", type=pair, help="tokens written; default: 8,72; fewer of engines that are slow on software devices")
    parser.add_argument("--prefill", type=pair, help="words read; default: 512,1024; fewer likewise")
    parser.add_argument("--engines", default="llama.cpp-cpu,llama.cpp-vulkan,wllama-webgpu-deno",
                        help="peers, or none; also llama.cpp-cpu-avx2, wllama-cpu-chromium, wllama-webgpu-chromium, killick-chromium; default: %(default)s")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("killick", nargs="+")
    return parser.parse_args()


def engines(options):
    asked = {what: tokens for what, tokens in (("decode", options.decode), ("prefill", options.prefill)) if tokens}

    def killick(program):
        return lambda words, tokens: cost.killick(f"{program},--ignore-eos", options.model, words, tokens)

    listed = [Engine(program, killick(program), USUAL | asked) for program in options.killick]
    names = [name for name in options.engines.split(",") if name not in ("", "none")]
    known = peers(options) if names else {}
    for name in names:
        if name not in known:
            sys.exit(f"no engine {name!r}; there are {', '.join(known)}")
        command, tokens = known[name]
        listed.append(Engine(name, command, tokens | asked))
    return listed


def machine():
    """The processor, its cores and what else it has to do."""
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores"


def load():
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def main():
    options = arguments()
    # llama.cpp leaves out devices that are no GPU, unless it is told which to take.
    os.environ.setdefault("GGML_VK_VISIBLE_DEVICES", "0")
    os.environ["NO_COLOR"] = "1"
    os.environ.setdefault("LP_NUM_THREADS", str(0 if options.threads == 1 else options.threads))
    if shutil.which("node") is None:
        sys.exit("compare.py needs node")
    listed = engines(options)
    began, started = load(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    for number in range(options.rounds):
        for engine in listed:
            for run in engine.runs():
                print(f"round {number + 1} of {options.rounds}: {engine.name} {run[0]}, {run[1]}", file=sys.stderr)
                engine.run(*run)

    print(f"{started}; {machine()}; load average {began} before, {load()} after; {options.rounds} rounds, {os.path.basename(options.model)}\n")
    print("| Engine | Decode, core-s a token: least | median | Prompt, core-s a token: least | median | Tokens written | Words read |")
    print("|---|---|---|---|---|---|---|")
    for engine in listed:
        cells = [f"{engine.cost(test, kind):.4f}" for test in ("decode", "prefill") for kind in (min, statistics.median)]
        spans = [" to ".join(str(count) for count in engine.tokens[test]) for test in ("decode", "prefill")]
        print(f"| {engine.name} | {' | '.join(cells + spans)} |")
    print()
    for engine in listed:
        command = subprocess.list2cmdline(engine.command(engine.tokens["prefill"][0], 1))
        shown = command.replace("the " * engine.tokens["prefill"][0], "the ...").replace(str(pathlib.Path.home()), "~")
        print(f"- {engine.name}: {engine.says}\n  `{shown}`")


if __name__ == "__main__":
    main()
