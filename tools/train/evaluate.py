"""Measures the anchor model against its controls on held-out text, from checkpoints of the same step.

    evaluate.py --step 2000                  the kept checkpoints of that step
    evaluate.py --step 2000 --decay 400      the branches that end at step 2400
    add --samples for the prompts, the 10,000 sampled tokens and the recall probe (minutes)
    add --text FILE for the losses on the beginning of a plain text, to set beside `killick eval perplexity`

Windows of 1,024 tokens, each by itself, text positions only: a position counts when the next token is no <AC>. The
weights are those that ship, rounded to f16, and the arithmetic is f32. Writes evaluation-*.json beside the runs.
"""

import argparse
import json
import pathlib

import numpy
import torch
from tokenizers import Tokenizer

from data import AC, CACHE, EOT, encode
from decode import Decoder, generate
from export import weights
from kneser_ney import KneserNey
from model import MASKS, Llama, Plan

WINDOW = 1024
# Of sixty that were tried, those after which the shipped model's greedy text repeats itself least.
PROMPTS = [
    "Those who trust in God",
    "We should be careful not to",
    "Then the angel of the Lord",
    "Every believer",
    "When Jesus had finished speaking,",
    "And David said to",
    "Abraham rose early in the morning,",
    "Peter answered him,",
    "Therefore, brothers,",
    "Let all the earth praise",
]
NAMES = ["David", "Moses", "Peter", "Paul", "Joseph", "Daniel", "Samuel", "Jacob", "Solomon", "John"]


def load(run: str, file: str) -> Llama:
    tensors, _ = weights(CACHE / "runs" / run / file)
    model = Llama()
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval()


@torch.no_grad()
def losses(model: Llama, windows: torch.Tensor, anchor: int, mask: str) -> torch.Tensor:
    """Nats of tokens 2 to 1,024 of every window [N, WINDOW - 1]."""
    found = []
    for part in windows.split(4):
        logits = model.logits(model(part, Plan(part, anchor, mask)))[:, :-1]
        found.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="none").view(len(part), -1))
    return torch.cat(found)


def distinct(ids: list[int], n: int = 3) -> float:
    """Distinct n-grams among those of 1,000 tokens, mean over pieces."""
    shares = []
    for start in range(0, len(ids) - 999, 1000):
        grams = [tuple(ids[i:i + n]) for i in range(start, start + 1000 - n + 1)]
        shares.append(len(set(grams)) / len(grams))
    return sum(shares) / len(shares)


def recall(models: dict, tokenizer: Tokenizer, filler: list[list[int]], anchor: int) -> dict:
    """A name is given, some sentences of held-out text follow, the name is asked for: how often it is the likeliest of ten."""
    encode_one = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    asked = encode_one(" The name of the man was")
    answers = [encode_one(" " + name)[0] for name in NAMES]
    found = {mask: {} for mask in models}
    for between in (0, 1, 2, 4, 8, 16, 32):
        for mask, model in models.items():
            right = 0
            for trial in range(20):
                name = trial % len(NAMES)
                ids = [0] + encode_one(f"There was a man in the city, and his name was {NAMES[name]}.") + [anchor]
                for i in range(between):
                    ids += filler[(trial * 37 + i) % len(filler)] + [anchor]
                ids = (ids + asked)[:WINDOW]
                length = len(ids)
                padded = torch.tensor([ids + [0] * (-length % 64)])
                with torch.no_grad():
                    hidden = model(padded, Plan(padded, anchor, mask))[0, length - 1]
                    scores = model.logits(hidden)[answers]
                right += int(scores.argmax()) == name
            found[mask][between] = right / 20
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--step", type=int, required=True)
    arguments.add_argument("--decay", type=int, default=0)
    arguments.add_argument("--windows", type=int, default=128)
    arguments.add_argument("--samples", action="store_true")
    arguments.add_argument("--text", type=pathlib.Path)
    a = arguments.parse_args()
    torch.set_num_threads(1)

    tokenizer = Tokenizer.from_file(str(CACHE / "tokenizer.json"))
    anchor, end = tokenizer.token_to_id(AC), tokenizer.token_to_id(EOT)
    suffix, file = (f"-{a.step}+{a.decay}", "latest.pt") if a.decay else ("", f"step-{a.step:06}.pt")
    models = {mask: load(mask + suffix, file) for mask in MASKS if (CACHE / "runs" / (mask + suffix) / file).exists()}

    unseen = numpy.load(CACHE / "heldout.npy")
    starts = numpy.linspace(0, len(unseen) - WINDOW, a.windows).astype(int)
    assert starts[1] - starts[0] >= WINDOW, "the windows overlap"
    windows = torch.from_numpy(numpy.stack([unseen[start:start + WINDOW] for start in starts]).astype(numpy.int64))
    text = windows[:, 1:] != anchor
    # A byte-level token has one character a byte.
    sizes = torch.zeros(tokenizer.get_vocab_size(), dtype=torch.long)
    for token, id in tokenizer.get_vocab().items():
        sizes[id] = 0 if id in (anchor, end) else len(token)
    size = int(sizes[windows[:, 1:]].sum())

    report = {"step": a.step + a.decay, "tokens": windows.numel(), "text_positions": int(text.sum())}
    cases = [("anchor", "anchor"), ("anchor", "segment"), ("causal", "causal"), ("segment", "segment")]
    for run, mask in [case for case in cases if case[0] in models]:
        found = losses(models[run], windows, anchor, mask)
        name = run if run == mask else f"{run}_hidden"
        report[name] = {
            "loss": float(found[text].mean()),
            "loss_with_anchors": float(found.mean()),
            "bits_per_byte": float(found[text].sum()) / size / numpy.log(2),
        }
    is_anchor = windows == anchor
    last = WINDOW - 1 - is_anchor.flip(1).int().argmax(1)
    live = is_anchor.sum(1) + (WINDOW - 1 - last)
    report["cache_reduction"] = float((1 - live / WINDOW).mean())
    counted = KneserNey(numpy.load(CACHE / "train.npy"), tokenizer.get_vocab_size())
    found = torch.from_numpy(numpy.stack([counted.losses(window) for window in windows.numpy()]))
    report["five_gram"] = {"loss": float(found[text].mean()), "loss_with_anchors": float(found.mean()), "bits_per_byte": float(found[text].sum()) / size / numpy.log(2)}
    if {"anchor", "causal", "segment"} <= models.keys():
        seg, anc, full = (report[name]["loss"] for name in ("segment", "anchor", "causal"))
        report["above_causal"] = anc / full - 1
        report["anchors_carry"] = (seg - anc) / (seg - full)
    if a.text:
        # Like the engine's, every window begins with <|endoftext|>.
        ids = encode(tokenizer, a.text.read_text(encoding="utf-8"))[1:]
        cuts = range(0, len(ids) - WINDOW + 2, WINDOW - 1)[:a.windows]
        if not cuts:
            raise SystemExit(f"evaluate.py: {a.text} has {len(ids)} tokens, and a window takes {WINDOW - 1}")
        part = torch.tensor([[end] + ids[at:at + WINDOW - 1] for at in cuts])
        counts = part[:, 1:] != anchor
        report["text"] = {"windows": len(part)} | {mask: float(losses(model, part, anchor, mask)[counts].mean()) for mask, model in models.items()}
    if a.samples:
        report |= samples(models, tokenizer, unseen, anchor, end)
    name = f"evaluation-{a.step}+{a.decay}.json" if a.decay else f"evaluation-{a.step}.json"
    (CACHE / "runs" / name).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def samples(models: dict, tokenizer: Tokenizer, unseen: numpy.ndarray, anchor: int, end: int) -> dict:
    model, report = models["anchor"], {"greedy": {}}
    # Decoding with the reduced cache is the masked forward.
    ids = torch.from_numpy(unseen[:256].astype(numpy.int64))
    decoder = Decoder(model, anchor, "anchor")
    stepped = torch.stack([decoder.step(int(id)) for id in ids])
    with torch.no_grad():
        masked = model.logits(model(ids[None], Plan(ids[None], anchor, "anchor")))[0]
    report["masked_against_stepped"] = float((stepped - masked).abs().max())
    for prompt in PROMPTS:
        ids = encode(tokenizer, prompt)[:-1]
        found, _ = generate(model, anchor, "anchor", ids, 64, end)
        report["greedy"][prompt] = tokenizer.decode([id for id in found if id != anchor])
    found, peak = generate(model, anchor, "anchor", encode(tokenizer, PROMPTS[0])[:-1], 10_000, None, temperature=0.8, top_p=0.95)
    shown = [id for id in found if id not in (anchor, end)]
    real = [int(id) for id in unseen if id not in (anchor, end)][:10_000]
    report["sampled"] = {
        "tokens": len(found),
        "peak_live": peak,
        "distinct_3": distinct(shown),
        "distinct_3_heldout": distinct(real),
        "start": tokenizer.decode(shown[:300]),
    }
    anchors = numpy.flatnonzero(unseen == anchor)
    pieces = [unseen[a + 1:b].tolist() for a, b in zip(anchors[:-1], anchors[1:])]
    filler = [piece for piece in pieces if end not in piece and 8 <= len(piece) <= 40][::7]
    report["recall"] = recall(models, tokenizer, filler, anchor)
    return report


if __name__ == "__main__":
    main()
