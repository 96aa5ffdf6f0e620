"""Multiple-choice accuracy of SmolLM2 under cache policies, stock and adapted: the paper's Table 1 for a stock model.

    choices.py FOLDER --shots 0 --limit 200      FOLDER has arc_easy.jsonl, openbook_qa.jsonl and piqa.jsonl

The conventions are those of `killick eval choices` (docs/cli.md): a choice's log-likelihood after query and delimiter,
`acc` by the largest, `acc_norm` by the largest for each byte; demonstrations are drawn once, from the end of the file,
and stand before every query. The engine does the same through the ring; it is done here because a model of 135 million
parameters on a software driver takes seconds for an item. Results: choices.json beside the runs, a row a cell.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import random

import numpy
import torch

import smollm2
from corpus import ADAPT
from measure import newest, policies_measured
from policy import live
from reading import Read, read

SETS = {"arc_easy": "\nAnswer: ", "openbook_qa": " ", "piqa": "\nAnswer: "}
SEPARATOR = "\n\n"


def items(file: pathlib.Path) -> list[dict]:
    found = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
    return [{**item, "query": item["query"].rstrip(), "choices": [choice.strip() for choice in item["choices"]]} for item in found]


def item_scores(model, tokens, policy, opening: Read, item: dict, delimiter: str) -> tuple[list[float], list[int]]:
    """Log-likelihood of every choice; the tokens up to the end of the query."""
    bare = delimiter.rstrip(" ")
    query = tokens.encode(item["query"] + bare, add_special_tokens=False).ids
    choices = [tokens.encode(delimiter[len(bare):] + choice, add_special_tokens=False).ids for choice in item["choices"]]
    (asked,), after = read(model, policy, opening, [query])
    # Of a choice the last token is only foretold; of a token there is nothing to read.
    answered, _ = read(model, policy, after, [choice[:-1] or choice for choice in choices])
    scores = []
    for choice, states in zip(choices, answered):
        before = torch.cat((asked[-1:], states[:len(choice) - 1]))
        logits = model.logits(before).float()
        scores.append(float(-torch.nn.functional.cross_entropy(logits, torch.tensor(choice), reduction="sum")))
    return scores, after.ids


def cell(model, tokens, policy, anchor, file: pathlib.Path, delimiter: str, shots: int, limit: int) -> dict:
    every = items(file)
    drawn = random.Random(0).sample(range(len(every) // 2, len(every)), shots)
    demonstrations = [every[i]["query"] + delimiter + every[i]["choices"][every[i]["gold"]] + SEPARATOR for i in drawn]
    opening = [id for text in demonstrations for id in tokens.encode(text, add_special_tokens=False).ids]
    asked = [item for number, item in enumerate(every) if number not in drawn][:limit]
    if policy.name == "streaming":
        # As many live entries as the anchors leave at the end of the queries.
        contexts = [opening + tokens.encode(item["query"] + delimiter.rstrip(" "), add_special_tokens=False).ids for item in asked]
        mean = sum(live(anchor, numpy.array(context)) for context in contexts) / len(contexts)
        policy = dataclasses.replace(policy, window=max(1, round(mean) - policy.sinks + 1))
    begun = read(model, policy, Read(), [opening])[1] if opening else Read()
    right = normed = 0
    seen, kept = [], []
    for item in asked:
        scores, context = item_scores(model, tokens, policy, begun, item, delimiter)
        right += max(range(len(scores)), key=lambda i: scores[i]) == item["gold"]
        normed += max(range(len(scores)), key=lambda i: scores[i] / len(item["choices"][i].encode())) == item["gold"]
        seen.append(len(context))
        kept.append(live(policy, numpy.array(context)))
    n = len(asked)
    error = lambda share: math.sqrt(share * (1 - share) / (n - 1))
    return {
        "items": n,
        "acc": right / n,
        "acc_stderr": error(right / n),
        "acc_norm": normed / n,
        "acc_norm_stderr": error(normed / n),
        "live": sum(kept) / n,
        "cache_reduction": 1 - sum(count / length for count, length in zip(kept, seen)) / n,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--shots", type=int, default=0)
    arguments.add_argument("--limit", type=int, default=200)
    arguments.add_argument("--cases", nargs="*", default=["stock:full", "stock:anchor", "anchor:anchor", "stock:sepllm", "stock:streaming", "streaming:streaming"])
    arguments.add_argument("--sets", nargs="*", default=list(SETS))
    a = arguments.parse_args()
    torch.set_num_threads(1)
    tokens = smollm2.tokenizer()
    known = policies_measured(tokens)
    model = smollm2.stock()
    factors = smollm2.adapt(model)
    results = ADAPT / "runs" / "choices.json"
    for case in a.cases:
        run, name = case.split(":")
        smollm2.switch(model, run != "stock")
        weights = run
        if run != "stock":
            step = newest(run)
            weights = f"{run}-{step}"
            smollm2.load(factors, ADAPT / "runs" / run / f"step-{step:06}.safetensors")
        for dataset in a.sets:
            rows = json.loads(results.read_text()) if results.exists() else []
            key = {"weights": weights, "policy": name, "set": dataset, "shots": a.shots, "limit": a.limit}
            if any(key.items() <= row.items() for row in rows):
                continue
            row = key | cell(model, tokens, known[name], known["anchor"], a.folder / f"{dataset}.jsonl", SETS[dataset], a.shots, a.limit)
            # Another process may have added to it, even this cell.
            rows = json.loads(results.read_text()) if results.exists() else []
            rows = [other for other in rows if not key.items() <= other.items()] + [row]
            results.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
