"""Adapts a Llama model of one's own to anchors: an adapter learns to say under them what the model says with its whole cache.

    run.sh --model FOLDER --text FILE... [--out FOLDER] [--minutes 60]

FOLDER holds config.json, tokenizer.json and safetensors (`killick convert` makes one of a GGUF). Each FILE is a document of
plain text in UTF-8, of the kind that the model is to write or read; a sixteenth of each, its end, is held out. The recipe is
that of the shipped adapter (distil.py): sentences end in anchors, the last 32 tokens and the first 4 stay. It can be cut and
called again; what it costs and what it gave is printed, and written beside the adapter as adapt.json.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import time

import numpy
import torch

import export
import smollm2
from corpus import ADAPT
from distil import CHUNK, RATE, train
from policy import Plan, Policy, live
from windows import WITH_FACTS, Text

HELD_OUT = 16
# Windows that are measured, at most.
MEASURED = 24


def split_off(files: list[pathlib.Path]) -> tuple[list[str], list[str]]:
    """The documents to learn from, and the ends of the same that are held out."""
    learn, held = [], []
    for file in files:
        text = file.read_text("utf-8")
        # At a line's beginning.
        at = text.rfind("\n", 0, len(text) - len(text) // HELD_OUT) + 1 or len(text) - len(text) // HELD_OUT
        learn.append(text[:at])
        held.append(text[at:])
    return learn, held


def windows(tokens, held: list[str], length: int) -> list[numpy.ndarray]:
    """Windows of length + 1 tokens, spread over the held-out texts."""
    found = []
    for text in held:
        ids = tokens.encode(text, add_special_tokens=False).ids
        found += [numpy.array(ids[at:at + length + 1]) for at in range(0, len(ids) - length, length)]
    return found[:: max(1, len(found) // MEASURED)][:MEASURED]


@torch.no_grad()
def loss(model, policy: Policy, chosen: list[numpy.ndarray]) -> float:
    """Nats a token, the mean over windows."""
    losses = []
    for ids in chosen:
        x = torch.from_numpy(ids[None, :-1])
        hidden = model(x, Plan(policy, x))[0]
        parts = zip(hidden.split(CHUNK), torch.from_numpy(ids[1:]).split(CHUNK))
        said = [torch.nn.functional.cross_entropy((h @ model.output.T).float(), t, reduction="sum") for h, t in parts]
        losses.append(float(sum(said)) / (len(ids) - 1))
    return sum(losses) / len(losses)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=pathlib.Path, required=True)
    arguments.add_argument("--text", type=pathlib.Path, nargs="+", required=True)
    arguments.add_argument("--out", type=pathlib.Path, help="folder of the adapter (the model's name with -anchor, here)")
    arguments.add_argument("--minutes", type=float, default=60, help="of this call")
    arguments.add_argument("--steps", type=int, default=1 << 30, help="last step, a window each")
    arguments.add_argument("--length", type=int, help="tokens of a window (the context, 2048 at most)")
    arguments.add_argument("--window", type=int, default=32, help="recent tokens that stay")
    arguments.add_argument("--facts", type=float, default=WITH_FACTS, help="share of windows with made-up English facts to recall (0 for other languages)")
    arguments.add_argument("--rate", type=float, default=RATE)
    arguments.add_argument("--keep", type=int, default=50, help="the mean is kept at each multiple")
    a = arguments.parse_args()
    # Paths are those of who called run.sh.
    os.chdir(os.environ.get("HERE", "."))

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = smollm2.stock(folder=a.model)
    tokens = smollm2.tokenizer(a.model)
    length = a.length or min(2048, model.config.context) // 64 * 64
    policy = Policy("anchor", anchors=smollm2.sentence_ends(tokens), window=a.window, sinks=4)
    if not policy.anchors:
        raise SystemExit(f"{a.model}: no token of the vocabulary ends a sentence")
    learn, held = split_off(a.text)
    chosen = windows(tokens, held, length)
    if not chosen:
        raise SystemExit(f"--text: the held-out sixteenth of each file has fewer than {length} tokens; give more text, or a smaller --length")
    factors = smollm2.adapt(model)
    # The same model, text and settings go on; others begin anew.
    what = json.dumps([str(a.model.resolve()), [hashlib.sha256(text.encode()).hexdigest() for text in learn], length, a.window, a.facts, a.rate])
    folder = ADAPT / "own" / f"{a.model.resolve().name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    began = time.monotonic()
    mean = train(model, factors, Text(tokens, length, learn, a.facts), policy, policy.anchors, folder, a)
    minutes, cpu = (time.monotonic() - began) / 60, time.process_time() / 60
    file = folder / "adapter.safetensors"
    smollm2.save(mean, file)
    smollm2.load(factors, file)
    full = Policy("full", full=True)
    rows = {"adapted, anchors": loss(model, policy, chosen)}
    smollm2.switch(model, False)
    rows |= {"stock, anchors": loss(model, policy, chosen), "stock, full cache": loss(model, full, chosen)}
    out = a.out or pathlib.Path(f"{a.model.resolve().name}-anchor")
    size = export.write(file, out, policy, a.model.resolve().name, model.config.context)
    kept = sum(live(policy, ids[:-1]) for ids in chosen) / len(chosen)
    steps = torch.load(folder / "latest.pt", weights_only=True)["step"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {"steps": steps, "tokens": steps * length, "minutes": round(minutes, 1), "processor_minutes": round(cpu, 1), "memory_mib": round(memory), "windows": len(chosen), "length": length, "live": round(kept, 1), "nats": {name: round(value, 4) for name, value in rows.items()}, "bytes": size}
    (out / "adapt.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name in ("stock, full cache", "stock, anchors", "adapted, anchors"):
        entries = length if "full" in name else round(kept)
        print(f"{name:<18} {rows[name]:.4f} nats a token, {entries} live entries of {length}")
    print(f"{out}: {steps} steps of {length} tokens, {minutes:.1f} minutes now, {memory:.0f} MiB of memory, {size} bytes")
    print(f"killick generate --model {a.model} --adapter {out} ...")


if __name__ == "__main__":
    main()
