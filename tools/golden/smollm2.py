"""Writes tests/data/smollm2/: what PyTorch (transformers, eager attention, explicit 4-D mask, float32) says about SmolLM2-135M-Instruct.

    golden.json       four short texts under the five policies: NLL of every token, top-1 and its margin
    golden_long.json  the same texts in full (510 to 737 tokens) under the default windows and some bounds
    greedy.json       "The capital of France is"; 200 greedy ids scored under `full` and `anchor`; one greedy text without a close call

The weights are those of the GGUF, dequantised (smollm2_hf.py, run first).
Run:  python tools/golden/smollm2.py [golden] [greedy] [golden_long]
"""

import sys

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from common import DATA, rounded, write
from policy import additive, attach, logits, resolve, score, tags, visible
from smollm2_hf import FOLDER
from texts import NO_STOP, NUMBERS, PROSE

OUT = DATA / "smollm2"
TRAINED = 8192
STOP = 30  # the id of "."
CAPITAL = [504, 3575, 282, 4649, 314]
CAPITAL_IDS = [int(i) for i in "7042 30 198 198 504 2988 314 42 216 34 32 33 40 29 32 33 29 34 34 216 33 34 42 33 34 42 37 35 30 2".split()]  # what an earlier, independent run of transformers gave
STEADY = "The numbers from one to twenty are: 1, 2, 3,"  # counts on, each choice far ahead of the next best
STORY = "My name is Anna and I live in"  # of six openings the first that neither ends nor repeats itself within 200 tokens


def single(tokenizer, text: str) -> int:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) == 1, (text, ids)
    return ids[0]


def short_policies(separators) -> dict[str, dict]:
    return {"full": {"preset": "full"}, "anchor": {"preset": "anchor", "anchors": [STOP]}, "sepllm": {"preset": "sepllm", "anchors": separators, "window": 16, "sinks": 3},
            "streaming": {"preset": "streaming", "window": 17, "sinks": 4}, "window": {"preset": "window", "window": 16}}


def long_policies(separators) -> dict[str, dict]:
    anchor, sepllm = {"preset": "anchor", "anchors": [STOP]}, {"preset": "sepllm", "anchors": separators}
    return {"full": {"preset": "full"}, "anchor": anchor, "sepllm": sepllm, "streaming": {"preset": "streaming"}, "window": {"preset": "window"},
            "anchor, sinks 4, W 32": anchor | {"sinks": 4, "window": 32}, "anchor, A 6, M 64, D 300, sinks 4": anchor | {"max_anchors": 6, "max_segment": 64, "max_distance": 300, "sinks": 4},
            "streaming, 64": {"preset": "streaming", "window": 64}, "sepllm, 64, A 16": sepllm | {"window": 64, "max_anchors": 16}}


def scored(model, ids, spec) -> dict:
    policy = resolve(spec, TRAINED)
    result = score(logits(model, ids, policy), ids)
    return {"spec": spec, "policy": policy.as_json(), "mean_nll": round(float(result["nll"].mean()), 7), "nll": rounded(result["nll"]), "top1": result["top1"],
            "margin": rounded(result["margin"], 3), "anchors": int(tags(ids, policy)[0].sum())}


def goldens(model, tokenizer, texts: dict[str, list[int]], policies: dict[str, dict]) -> dict:
    out = []
    for name, ids in texts.items():
        text = tokenizer.decode(ids, skip_special_tokens=False)
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids or name == "stops", name
        cases = {policy: scored(model, ids, spec) for policy, spec in policies.items()}
        print(f"{name:8} n {len(ids):3} " + "  ".join(f"{p} {c['mean_nll']:.3f}" for p, c in cases.items()), flush=True)
        out.append({"name": name, "text": text, "ids": ids, "cases": cases})
    return {"model": "SmolLM2-135M-Instruct Q4_1, dequantised to float32", "texts": out}


def greedy(model, prompt: list[int], count: int) -> tuple[list[int], np.ndarray]:
    """Stock generation loop: full causal attention with a KV cache, the largest logit, no stop. Returns ids and the margin of each choice."""
    cache, ids, margins, step = None, [], [], torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(count):
            seen = model(step, past_key_values=cache, use_cache=True)
            cache, top = seen.past_key_values, seen.logits[0, -1].topk(2)
            ids.append(int(top.indices[0]))
            margins.append(float(top.values[0] - top.values[1]))
            step = torch.tensor([[ids[-1]]])
    return ids, np.array(margins)


def forced(model, prompt: list[int], ids: list[int], spec: dict) -> dict:
    """Teacher-forced over the greedy ids: what the rule would choose at every position, and by how much."""
    sequence, policy = prompt + ids, resolve(spec, TRAINED)
    result, first = score(logits(model, sequence, policy), sequence), len(prompt) - 1
    top1, margin = result["top1"][first:-1], result["margin"][first:-1]
    print(f"  teacher-forced, {spec['preset']}: {int((margin > 1e-2).sum())} of {len(top1)} positions with a margin above 1e-2, smallest {margin.min():.4f}, equal to the ids {sum(map(int.__eq__, top1, ids))}")
    return {"spec": spec, "policy": policy.as_json(), "top1": top1, "margin": rounded(margin, 4), "nll": rounded(result["nll"][first:])}


def greedy_file(stock, model, tokenizer) -> dict:
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    assert encode("The capital of France is") == CAPITAL
    ids, margins = greedy(stock, CAPITAL, len(CAPITAL_IDS))
    assert ids == CAPITAL_IDS, ids
    capital = {"prompt": "The capital of France is", "prompt_ids": CAPITAL, "ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False), "margin": rounded(margins, 4)}
    steady_ids, sure = greedy(stock, encode(STEADY), 40)
    assert sure.min() > 1, sure.min()
    steady = {"prompt": STEADY, "prompt_ids": encode(STEADY), "ids": steady_ids, "text": tokenizer.decode(steady_ids), "margin": rounded(sure, 4)}
    print(f"steady: {steady['text']!r}, smallest margin {sure.min():.3f}; capital: smallest margin {margins.min():.4f}")
    story, _ = greedy(stock, encode(STORY), 200)
    assert 2 not in story and story.count(STOP) >= 6 and len({tuple(story[k:k + 4]) for k in range(197)}) > 150
    long = {"prompt": STORY, "prompt_ids": encode(STORY), "ids": story, "text": tokenizer.decode(story),
            "forced": {spec["preset"]: forced(model, encode(STORY), story, spec) for spec in ({"preset": "full"}, {"preset": "anchor", "anchors": [STOP]})}}
    return {"capital": capital, "steady": steady, "forced_200": long}


def main() -> None:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    separators = sorted(single(tokenizer, text) for text in ".,?!;:\n")
    assert single(tokenizer, ".") == STOP
    stock = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager").eval()
    model = attach(AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager"))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    full = {"numbers": encode(NUMBERS), "no_stop": encode(NO_STOP), "stops": [STOP] * 600, "prose": encode(PROSE)}
    assert STOP not in full["no_stop"] and "." not in NO_STOP
    short = {name: ids[:count] for (name, ids), count in zip(full.items(), (88, 64, 40, 96))}
    ids = short["prose"]  # the patched attention is the stock one where D doesn't act
    spec = short_policies(separators)["anchor"]
    with torch.no_grad():
        want = stock(torch.tensor([ids]), attention_mask=additive(visible(ids, resolve(spec, TRAINED)), torch.float32), use_cache=False).logits[0]
    gap = (logits(model, ids, resolve(spec, TRAINED)) - want).abs().max().item()
    assert gap < 1e-3, gap
    print(f"separators {separators}; patched and stock attention differ by {gap:.1e} in {want.abs().max():.0f}")
    files = {"golden": lambda: goldens(model, tokenizer, short, short_policies(separators)), "greedy": lambda: greedy_file(stock, model, tokenizer),
             "golden_long": lambda: goldens(model, tokenizer, full, long_policies(separators))}
    for name in sys.argv[1:] or files:
        write(OUT / f"{name}.json", files[name]())


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
