"""Writes tests/data/eval/: a small random Llama for the tokenizer of tests/data/tokenizer/tiny.json, and what the rules of lm-evaluation-harness
and the sliding windows of transformers' documentation make of it, in float64.

Choices: the text of context and choice is encoded whole, and the ids beyond those of the context alone are the choice; trailing white space of the
context moves to the choice; accuracy takes the largest log-likelihood, normalized accuracy the largest by bytes of the choice.
Perplexity: windows of `size` tokens that begin `stride` apart, of which only what no window before has counted counts. Each text and window begins
with the tokenizer's first special token.

Run:  python tools/golden/eval.py
"""

import json
import math

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from common import DATA, rounded, write
from policy import logits, resolve
from tiny import model_of, random_weights

EVAL = DATA / "eval"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 514, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": True, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
          "bos_token_id": 0, "eos_token_id": 3, "torch_dtype": "float16"}
ITEMS = [
    ("Question: What does a miller make?", ["flour", "shoes. He makes many of them", "boats", "it rain"], 0),
    ("Question: Where do fishes live?", ["In the water.", "On a hill, near the old mill.", "In trees."], 0),
    ("The opposite of cold is", ["hot", "a very long winter"], 0),
    ("Question: How many legs has a horse?", ["two", "four", "six", "eight legs, and a tail"], 1),
    ("Question: Who rows the boat. It is", ["the man", "the king of the road and of the sea", "a stone"], 0),
    ("He looked at the sea and", ["saw a sail.", "was sold"], 0),
    ("Question: What is made of wood?", ["a chair", "the moon, which is far away"], 0),
    ("Question: When is it dark?", ["at noon", "at night", "in the morning, when birds sing"], 1),
    ("The sum of two and three is", ["five", "seven", "one and a half"], 0),
    ("Question: What falls from the sky?", ["rain", "mills", "roads and bridges"], 0),
]
TEXT = " ".join(f"{query} {choices[gold]}" for query, choices, gold in ITEMS)
SPECS = [
    {"preset": "full"},
    {"preset": "sepllm", "window": 12, "stops": True},
    {"preset": "anchor", "sinks": 2, "stops": True},
    {"preset": "streaming", "window": 10},
    {"preset": "window", "window": 9},
]


def main():
    weights = {k: v.half() for k, v in random_weights(CONFIG, 77).items()}
    EVAL.mkdir(parents=True, exist_ok=True)
    (EVAL / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(weights, EVAL / "model.safetensors", {"format": "pt"})
    model = model_of(CONFIG, weights)
    tokenizer = Tokenizer.from_file(str(DATA / "tokenizer" / "tiny.json"))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    bos = tokenizer.encode("", add_special_tokens=True).ids[:1]
    stops = [i for i in range(tokenizer.get_vocab_size()) if tokenizer.decode([i], skip_special_tokens=False) == "."]
    assert stops

    def losses(ids, policy):
        """Negative log-likelihood of ids[1:]."""
        rows = torch.log_softmax(logits(model, ids, policy), -1)
        return [-rows[i, ids[i + 1]].item() for i in range(len(ids) - 1)]

    def loglikelihood(context, continuation, policy):
        spaces = len(context) - len(context.rstrip())
        if spaces > 0:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        whole, before = bos + encode(context + continuation), bos + encode(context)
        assert whole[: len(before)] == before
        return -sum(losses(whole, policy)[len(before) - 1:])

    def choices(shots, delimiter, policy):
        shown = "".join(f"{query}{delimiter}{options[gold]}\n\n" for query, options, gold in ITEMS[:shots])
        asked = ITEMS[shots:]
        all_scores = [[loglikelihood(f"{shown}{query}{delimiter}", option, policy) for option in options] for query, options, _ in asked]
        best = lambda scores: max(range(len(scores)), key=lambda i: scores[i])
        hits = [best(scores) == gold for scores, (_, _, gold) in zip(all_scores, asked)]
        normed = [best([s / len(o.encode()) for s, o in zip(scores, options)]) == gold for scores, (_, options, gold) in zip(all_scores, asked)]
        n = len(asked)
        error = lambda hits: math.sqrt(sum((h - sum(hits) / n) ** 2 for h in hits) / (n - 1) / n)
        return {"shots": shots, "delimiter": delimiter, "logprobs": [rounded(scores) for scores in all_scores], "acc": sum(hits) / n, "acc_stderr": error(hits),
                "acc_norm": sum(normed) / n, "acc_norm_stderr": error(normed)}

    def perplexity(size, stride, policy):
        ids, end, nats, count = encode(TEXT), 0, 0.0, 0
        for begin in range(0, len(ids), stride - 1):
            window = ids[begin: begin + size - 1]
            fresh = begin + len(window) - end
            nats, count, end = nats + sum(losses(bos + window, policy)[-fresh:]), count + fresh, begin + len(window)
            if end == len(ids):
                break
        return {"size": size, "stride": stride, "tokens": count, "mean_nll": nats / count, "bits_per_byte": nats / math.log(2) / len(TEXT.encode())}

    cases = []
    for spec in SPECS:
        spec = dict(spec)
        if spec.pop("stops", False):
            spec["anchors"] = stops
        policy = resolve(spec, CONFIG["max_position_embeddings"])
        cases.append({"spec": spec, "choices": [choices(0, " ", policy), choices(3, "\nAnswer: ", policy)],
                      "perplexity": [perplexity(64, 64, policy), perplexity(64, 24, policy)]})
    for part in (0, 1):
        accs = {(case["choices"][part]["acc"], case["choices"][part]["acc_norm"]) for case in cases}
        print("accuracies", sorted(accs))
    items = [{"query": query, "choices": options, "gold": gold} for query, options, gold in ITEMS]
    write(EVAL / "golden.json", {"items": items, "text": TEXT, "cases": cases})


if __name__ == "__main__":
    main()
