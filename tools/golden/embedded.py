"""Writes tests/data/embedded/: what PyTorch makes of the model in models/killick-4m, whatever weights lie there.

The stored f16 weights are computed with in float32, by transformers' LlamaForCausalLM under the dense mask of policy.py, which shares no code with the
model of tools/train, whose attention knows blocks. The text is two held-out documents of the training data, a chapter of the World English Bible and one of
Matthew Henry's Concise Commentary (both public domain); it is cut as the engine cuts it: <|endoftext|>, then as many tokens as fit into WINDOW with an <AC>
between two sentences, but not at the edges of a window.

prompts: the prompts of tools/train/evaluate.py, and 64 greedy ids after each, by one masked forward a token.
windows: the losses under `anchor`, under the same with its anchors hidden (max_anchors 0), and under `full`.
training: the mean loss of each that tools/train's own code gives, text positions only, and its measure of variety for held-out text.

Needs the text of the training (tools/train/run.sh python data.py).   Run:  python tools/golden/embedded.py
"""

import json
import pathlib
import sys

import numpy
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from common import rounded, write, DATA
from policy import additive, resolve, score, visible

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train"))

from data import AC, CACHE, EOT, encode
from evaluate import PROMPTS, WINDOW, distinct, losses
from model import Llama

MODEL = ROOT / "models" / "killick-4m"
# Documents of heldout.txt: First Corinthians 15, and the commentary on Matthew 26. No sentence of theirs is near the longest segment, where the
# training puts its further <AC> elsewhere than the engine.
DOCUMENTS = (81, 153)
LONGEST = 100
GREEDY = 64
# The masks of the training, by the name of the case.
MASKS = {"anchor": "anchor", "hidden": "segment", "full": "causal"}


def cut(ids: list[int], anchor: int, end: int) -> list[list[int]]:
    """Windows of the ids of a text without its <|endoftext|>, an <AC> after each sentence; the rest that fills none is left out."""
    # Pairs of a token and whether an anchor stands before it.
    tokens = [(id, i > 0 and ids[i - 1] == anchor) for i, id in enumerate(ids) if id != anchor]
    windows, at = [], 0
    while True:
        window = [end]
        while at < len(tokens):
            id, marked = tokens[at]
            new = [anchor, id] if marked and len(window) > 1 else [id]
            if len(window) + len(new) > WINDOW:
                break
            window += new
            at += 1
        if at == len(tokens):
            return windows
        windows.append(window)


@torch.no_grad()
def logits(model, ids: list[int], policy) -> torch.Tensor:
    return model(torch.tensor([ids]), attention_mask=additive(visible(ids, policy), model.dtype), use_cache=False).logits[0]


def continued(model, prompt: list[int], policy) -> dict:
    ids, logprobs, margins = list(prompt), [], []
    for _ in range(GREEDY):
        row = logits(model, ids, policy)[-1].double()
        top = row.topk(2)
        ids.append(int(top.indices[0]))
        logprobs.append(torch.log_softmax(row, 0)[ids[-1]].item())
        margins.append((top.values[0] - top.values[1]).item())
    return {"prompt_ids": prompt, "ids": ids[len(prompt):], "logprobs": rounded(logprobs), "margin": rounded(margins)}


def trained(windows: list[list[int]], anchor: int, end: int) -> dict:
    """The mean loss of the text of each window under each mask, by the code of the training."""
    model = Llama()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(MODEL / "model.safetensors").items()})
    # What fills up a window comes after all that counts.
    filled = torch.tensor([window + [end] * (WINDOW - len(window)) for window in windows])
    counts = torch.tensor([[i < len(window) and window[i] != anchor for i in range(1, WINDOW)] for window in windows])
    mean = lambda nll: [round(float(row[kept].double().mean()), 8) for row, kept in zip(nll, counts)]
    return {"tokens": counts.sum(1).tolist(), **{name: mean(losses(model.eval(), filled, anchor, mask)) for name, mask in MASKS.items()}}


def main() -> None:
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    anchor, end = tokenizer.token_to_id(AC), tokenizer.token_to_id(EOT)
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    recorded = json.loads((MODEL / "config.json").read_text())
    spec = {key: value for key, value in recorded["killick_policy"].items() if key != "insert"}
    context = recorded["max_position_embeddings"]
    specs = {"anchor": spec, "hidden": {**spec, "max_anchors": 0}, "full": {"preset": "full"}}
    policies = {name: resolve(spec, context) for name, spec in specs.items()}

    documents = (CACHE / "heldout.txt").read_text(encoding="utf-8").split("\n\f\n")
    text = "\n\n".join(documents[i] for i in DOCUMENTS)
    ids = encode(tokenizer, text)[1:]
    longest = max(len(part) for part in "".join(map(chr, ids)).split(chr(anchor)))
    assert longest <= LONGEST, f"a sentence has {longest} tokens"
    windows = cut(ids, anchor, end)
    cases = {}
    for name, policy in policies.items():
        scores = [score(logits(model, window, policy), window) for window in windows]
        cases[name] = {"spec": specs[name], "windows": [{"nll": rounded(s["nll"]), "top1": s["top1"], "margin": rounded(s["margin"], 4)} for s in scores]}
        text_only = [[nll for nll, id in zip(s["nll"], window[1:]) if id != anchor] for s, window in zip(scores, windows)]
        print(name, [round(float(numpy.mean(nll)), 6) for nll in text_only])
    by_training = trained(windows, anchor, end)
    print("training's own code", by_training)
    unseen = [int(id) for id in numpy.load(CACHE / "heldout.npy") if id not in (anchor, end)][:10_000]
    prompts = [{"prompt": prompt, **continued(model, encode(tokenizer, prompt)[:-1], policies["anchor"])} for prompt in PROMPTS]
    for prompt in prompts:
        print(prompt["prompt"] + tokenizer.decode([id for id in prompt["ids"] if id != anchor]))
    write(DATA / "embedded" / "prompts.json", {"prompts": prompts})
    write(DATA / "embedded" / "windows.json", {"text": text, "window": WINDOW, "windows": windows, "cases": cases,
                                              "training": {**by_training, "distinct_3": round(distinct(unseen), 6)}})


if __name__ == "__main__":
    main()
