"""Loss and recall of SmolLM2 under cache policies, stock and with the adapters, on held-out text; cell by cell, resumable.

    measure.py                       what is missing of the table of the newest adapters
    measure.py --steps 200 400       and of earlier ones: the curve

A cell is weights (stock, or an adapter at a step), a policy and a length. Text: held-out documents of the registers that
were trained on, and two that never were, Wikipedia leads and WikiText-2's validation set (made plain again; sentences
with <unk> are dropped). Recall: a fact of a form that was never trained on, 3 to 60 sentences ago among held-out prose.
Weights and arithmetic are bf16, losses f32. Results: measure.json beside the runs, a row a cell.
"""

import argparse
import dataclasses
import json
import pathlib
import random
import re
import time

import numpy
import torch

import smollm2
from corpus import ADAPT
from distil import far_repeats, policies
from policy import Plan, Policy, live, tags
from windows import FACTS_HELD_OUT, NAMES_HELD_OUT, PEOPLE, split

WINDOWS = {"sotu": 3, "austen": 3, "devotional": 3, "rust": 3, "wiki": 6, "wikitext": 6}
DISTANCES, TRIALS = (3, 8, 20, 60), 32


def policies_measured(tokens) -> dict[str, Policy]:
    known = policies(tokens)
    marks = {",", ";", ":", ".", "?", "!", "\n"}
    separators = frozenset(id for id in range(17, tokens.get_vocab_size()) if tokens.decode([id]).strip(" ") in marks)
    return known | {
        "full": Policy("full", full=True),
        # SepLLM (Chen et al. 2024), untrained: the opponent without any adaptation.
        "sepllm": Policy("sepllm", anchors=separators, window=32, sinks=4, isolated=False, segments=False),
        # Controls: no anchor is read after its segment; anchors read earlier anchors.
        "hidden": dataclasses.replace(known["anchor"], hidden=True),
        "joined": dataclasses.replace(known["anchor"], isolated=False),
    }


def newest(run: str) -> int:
    """The last step whose mean was kept."""
    return max(int(file.stem[5:]) for file in (ADAPT / "runs" / run).glob("step-*.safetensors"))


def wikitext(file: pathlib.Path) -> str:
    """Plain text of the tokenised form: marks joined to their words, headings and sentences with <unk> dropped."""
    lines = []
    for line in file.read_text("utf-8").split("\n"):
        line = line.strip()
        if not line or line.startswith("="):
            continue
        line = re.sub(r" @([-,.])@ ", r"\1", line)
        line = re.sub(r" ([.,;:!?)\]%]|'\w+|n't)", r"\1", line)
        line = re.sub(r"([(\[$£]) ", r"\1", line)
        line = re.sub(r'" ([^"]*?) ?"', r'"\1"', line)
        line = "".join(sentence for sentence in split(line) if "<unk>" not in sentence).strip()
        if len(line) > 100:
            lines.append(line)
    return "\n".join(lines)


def texts(file: pathlib.Path | None) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, text in json.loads((ADAPT / "heldout.json").read_text()):
        found.setdefault(name.split(" ")[0], []).append(text)
    joined = {register: "\n\n".join(parts) for register, parts in found.items()}
    if file:
        joined["wikitext"] = wikitext(file)
    return joined


def windows(tokens, source: dict[str, str], length: int) -> list[tuple[str, numpy.ndarray]]:
    """The same beginnings at every length, spread over each register's text, at a line's beginning."""
    found = []
    for register, count in WINDOWS.items():
        text = source.get(register)
        if text is None:
            continue
        for number in range(count):
            at = text.find("\n", (len(text) - 40_000) * number // count) + 1
            ids = tokens.encode(text[at:at + 8 * length], add_special_tokens=False).ids[:length + 1]
            assert len(ids) == length + 1, register
            found.append((register, numpy.array(ids)))
    return found


@torch.no_grad()
def losses(model, policy: Policy, ids: numpy.ndarray) -> numpy.ndarray:
    x = torch.from_numpy(ids[None, :-1])
    hidden = model(x, Plan(policy, x))[0]
    parts = zip(hidden.split(512), torch.from_numpy(ids[1:]).split(512))
    return torch.cat([torch.nn.functional.cross_entropy(model.logits(h).float(), t, reduction="none") for h, t in parts]).numpy()


def loss_cell(model, policy: Policy, chosen, anchors) -> dict:
    by_register: dict[str, list[float]] = {}
    far, starts, kept = [], [], []
    for register, ids in chosen:
        found = losses(model, policy, ids)
        by_register.setdefault(register, []).append(float(found.mean()))
        far.append(found[far_repeats(ids)])
        is_anchor, _ = tags(Policy("", anchors=anchors), ids[:-1])
        starts.append(found[is_anchor])
        kept.append(live(policy, ids[:-1]))
    length = len(chosen[0][1]) - 1
    every = [value for part in by_register.values() for value in part]
    return {
        "loss": sum(every) / len(every),
        "by_register": {register: sum(part) / len(part) for register, part in by_register.items()},
        "far_repeats": float(numpy.concatenate(far).mean()),
        "far_count": int(sum(map(len, far))),
        "after_anchor": float(numpy.concatenate(starts).mean()),
        "live": sum(kept) / len(kept),
        "cache_reduction": 1 - sum(kept) / len(kept) / length,
        "windows": len(chosen),
    }


def trials(tokens, prose: str, distance: int) -> list[tuple[list[int], list[int], int]]:
    """(ids up to the question's end, first ids of the answers, index of the right one)."""
    sentences = [part.strip() for part in split(prose)]
    sentences = [part for part in sentences if 5 <= part.count(" ") <= 30 and part[-1] in ".?!" and part[0].isupper() and '"' not in part]
    found = []
    for trial in range(TRIALS):
        dice = random.Random(f"recall {trial}")
        statement, question, words = FACTS_HELD_OUT[trial % len(FACTS_HELD_OUT)]
        slots = {"person": dice.choice(PEOPLE), "name": dice.choice(NAMES_HELD_OUT)}
        gold = dice.randrange(len(words))
        first = dice.randrange(len(sentences) - 80)
        text = sentences[first:first + 4] + [statement.replace("{}", words[gold]).format(**slots) + "."]
        text += sentences[first + 4:first + 4 + distance - 1] + [question.format(**slots)]
        ids = tokens.encode(" ".join(text), add_special_tokens=False).ids
        answers = [tokens.encode(" " + word, add_special_tokens=False).ids[0] for word in words]
        assert len(set(answers)) == len(answers)
        found.append((ids, answers, gold))
    return found


@torch.no_grad()
def recall_cell(model, policy: Policy, tokens, prose: str) -> dict:
    found = {}
    for distance in DISTANCES:
        right = exact = back = kept = 0
        for ids, answers, gold in trials(tokens, prose, distance):
            padded = torch.tensor([ids + [0] * (-len(ids) % 64)])
            logits = model.logits(model(padded, Plan(policy, padded))[:, len(ids) - 1:len(ids)])[0, 0].float()
            right += int(logits[answers].argmax()) == gold
            exact += int(logits.argmax()) == answers[gold]
            kept += live(policy, numpy.array(ids))
            back += len(ids)
        found[distance] = {"acc": right / TRIALS, "exact": exact / TRIALS, "live": kept / TRIALS, "tokens": back / TRIALS}
    return {"recall": found, "trials": TRIALS}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, nargs="*", default=[])
    arguments.add_argument("--wikitext", type=pathlib.Path)
    arguments.add_argument("--lengths", type=int, nargs="*", default=[512, 2048])
    arguments.add_argument("--weights", nargs="*", default=["stock", "anchor", "streaming"])
    arguments.add_argument("--policies", nargs="*", default=["full", "anchor", "streaming", "sepllm", "hidden"])
    arguments.add_argument("--no-recall", action="store_true")
    a = arguments.parse_args()
    torch.set_num_threads(1)
    tokens = smollm2.tokenizer()
    known = policies_measured(tokens)
    anchors = known["anchor"].anchors
    source = texts(a.wikitext)
    model = smollm2.stock()
    factors = smollm2.adapt(model)
    results = ADAPT / "runs" / "measure.json"
    rows = json.loads(results.read_text()) if results.exists() else []
    done = {(row["weights"], row["policy"], row["length"]) for row in rows}
    for run in a.weights:
        steps = [None] if run in ("stock", "warm") else a.steps or [newest(run)]
        for step in steps:
            weights = f"{run}-{step}" if step else run
            smollm2.switch(model, run != "stock")
            if run != "stock":
                smollm2.load(factors, ADAPT / "warm.safetensors" if run == "warm" else ADAPT / "runs" / run / f"step-{step:06}.safetensors")
            for name in a.policies:
                for length in [*a.lengths, *([] if a.no_recall else [0])]:
                    if (weights, name, length) in done:
                        continue
                    began = time.process_time()
                    policy = known[name]
                    if policy.name == "streaming" and length:
                        # As many live entries as the anchors have at this length.
                        chosen = windows(tokens, source, length)
                        mean = sum(live(known["anchor"], ids[:-1]) for _, ids in chosen) / len(chosen)
                        policy = dataclasses.replace(policy, window=round(mean) - policy.sinks + 1)
                    cell = loss_cell(model, policy, windows(tokens, source, length), anchors) if length else recall_cell(model, policy, tokens, source["austen"])
                    # Another process may have added to it.
                    rows = json.loads(results.read_text()) if results.exists() else []
                    rows.append({"weights": weights, "policy": name, "window": policy.window, "length": length, "cpu": round(time.process_time() - began), **cell})
                    results.write_text(json.dumps(rows, indent=1) + "\n")
                    short = {key: value for key, value in rows[-1].items() if key not in ("recall",)}
                    if not length:
                        short["recall"] = " ".join(f"{n}:{entry['acc']:.2f}/{entry['exact']:.2f}" for n, entry in cell["recall"].items())
                    print(json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
