"""Adapts SmolLM2 to a cache policy: an adapter learns to say under it what the stock model says under full attention.

    distil.py --policy anchor --minutes 60      goes on from its last checkpoint
    distil.py --policy streaming --minutes 60   the opponent: a sliding window of as many live entries, the same windows

The loss at a position is the cross-entropy against 0.85 of the teacher's distribution and 0.15 of the token that came.
Positions are weighted by whether the cache matters there: answers to questions, tokens last seen far back, beginnings of
segments; of the others a third is drawn, at three times the weight. The hidden states of the teacher, 2.4 MB a window,
are kept, so that both runs and every repetition share them. The exponential mean of the factors is what is measured and
shipped: with a constant learning rate it is a finished adapter at any time.
"""

import argparse
import json
import os
import pathlib
import time

import numpy
import torch
from torch.nn import functional

import smollm2
from corpus import ADAPT
from policy import Plan, Policy, tags
from windows import Text

LENGTH, CHUNK = 2048, 256
RATE, WARMUP, BETAS, CLIP, MEAN = 5e-4, 20, (0.9, 0.95), 1.0, 0.98
OF_TOKEN, OF_TOKEN_IN_ANSWER = 0.15, 0.5
# Until this step the rate is doubled.
LATER = 120
# What an answer counts from a step on: much until recall is learned, which takes some hundred thousand tokens; then less, for
# the rest had stood still; at last more again, for writing a fact out had suffered.
ANSWER = {0: 20.0, LATER: 6.0, 700: 10.0}
FAR, START, DRAWN = 2.0, 1.5, 1 / 3
SECONDS_BETWEEN_CHECKPOINTS = 120


def policies(tokens) -> dict[str, Policy]:
    ends = smollm2.sentence_ends(tokens)
    return {
        "anchor": Policy("anchor", anchors=ends, window=32, sinks=4),
        # About as many live entries as `anchor` has at 2,048 tokens; measure.py makes them equal.
        "streaming": Policy("streaming", window=128, sinks=4),
    }


def far_repeats(ids: numpy.ndarray, window: int = 128) -> numpy.ndarray:
    """Targets ids[1:] that occurred before, but last more than `window` tokens ago."""
    last: dict[int, int] = {}
    found = numpy.zeros(len(ids) - 1, dtype=bool)
    for at, id in enumerate(ids.tolist()):
        if at and id in last:
            found[at - 1] = at - last[id] > window
        last[id] = at
    return found


def weights(window, step: int, anchors: frozenset[int]) -> numpy.ndarray:
    """What each of the targets counts; 0 for most."""
    dice = numpy.random.default_rng([1, step])
    answer = next(ANSWER[since] for since in reversed(ANSWER) if step >= since)
    is_anchor, segment = tags(Policy("", anchors=anchors), window.ids[:-1])
    beginning = numpy.zeros(len(is_anchor), dtype=bool)
    beginning[1:] = is_anchor[:-1]
    beginning |= is_anchor
    far = far_repeats(window.ids)
    drawn = numpy.where(dice.random(len(far)) < DRAWN, 1 / DRAWN, 0.0)
    return numpy.select([window.answer, far, beginning], [answer, FAR, START], drawn)


def teach(model, teacher, hidden, window, weight) -> tuple[torch.Tensor, float]:
    """The gradient of the loss by the hidden states [T, D], and the mean excess over the teacher in nats."""
    matrix = model.output
    gradient, excess = torch.zeros_like(hidden), 0.0
    chosen = torch.from_numpy(numpy.flatnonzero(weight))
    targets, counts = torch.from_numpy(window.ids[1:]), torch.from_numpy(weight).float()
    of_token = torch.where(torch.from_numpy(window.answer), OF_TOKEN_IN_ANSWER, OF_TOKEN)
    total = counts.sum()
    for rows in chosen.split(CHUNK):
        wanted = torch.log_softmax((teacher[rows] @ matrix.T).float(), dim=1)
        said = torch.log_softmax((hidden[rows] @ matrix.T).float(), dim=1)
        chances = wanted.exp()
        excess += float(((wanted - said).mul_(chances).sum(1) * counts[rows]).sum() / total)
        part = of_token[rows, None]
        slope = said.exp_().sub_(chances.mul_(1 - part))
        slope[torch.arange(len(rows)), targets[rows]] -= part[:, 0]
        slope.mul_(counts[rows, None] / total)
        gradient[rows] = slope.to(hidden.dtype) @ matrix
    return gradient, excess


def teacher_of(model, window, number: int, folder: pathlib.Path | None) -> torch.Tensor:
    """Hidden states of the stock model under full attention, [T, D]; computed once a window where there is a folder to keep them."""
    file = folder and folder / f"{number:06}.pt"
    ids = torch.from_numpy(window.ids[None, :-1])
    if file and file.exists():
        kept = torch.load(file, weights_only=True)
        # Other words in windows.py make other windows.
        if torch.equal(kept["ids"], ids[0]):
            return kept["hidden"]
    smollm2.switch(model, False)
    with torch.no_grad():
        found = model(ids, Plan(Policy("full", full=True), ids))[0].clone()
    smollm2.switch(model, True)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        torch.save({"ids": ids[0].clone(), "hidden": found}, part)
        part.replace(file)
    return found


def train(model, factors, text: Text, policy: Policy, anchors: frozenset[int], folder: pathlib.Path, a, teachers: pathlib.Path | None = None) -> dict[str, torch.Tensor]:
    """Goes on from the last checkpoint in `folder` for `a.minutes` or to step `a.steps`; the mean of the factors."""
    optimizer = torch.optim.AdamW(factors.values(), lr=a.rate, betas=BETAS, weight_decay=0.0, fused=True)
    mean = {name: factor.detach().clone() for name, factor in factors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    step, latest = 0, folder / "latest.pt"
    if latest.exists():
        checkpoint = torch.load(latest, weights_only=True)
        step, mean = checkpoint["step"], checkpoint["mean"]
        with torch.no_grad():
            for name, factor in factors.items():
                factor.copy_(checkpoint["factors"][name])
        optimizer.load_state_dict(checkpoint["optimizer"])

    def checkpoint():
        part = latest.with_suffix(".part")
        torch.save({"step": step, "mean": mean, "factors": {name: factor.detach() for name, factor in factors.items()}, "optimizer": optimizer.state_dict()}, part)
        part.replace(latest)

    log = open(folder / "log.jsonl", "a", encoding="utf-8", buffering=1)
    began = saved = time.monotonic()
    while step < a.steps and time.monotonic() - began < 60 * a.minutes:
        for group in optimizer.param_groups:
            group["lr"] = a.rate * min(1.0, (step + 1) / WARMUP) * (2 if step < LATER else 1)
        window = text.window(step)
        weight = weights(window, step, anchors)
        teacher = teacher_of(model, window, step, teachers)
        ids = torch.from_numpy(window.ids[None, :-1])
        hidden = model(ids, Plan(policy, ids))
        with torch.no_grad():
            gradient, excess = teach(model, teacher, hidden[0].detach(), window, weight)
        hidden.backward(gradient[None])
        norm = float(torch.nn.utils.clip_grad_norm_(list(factors.values()), CLIP))
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        keep = min(MEAN, step / (step + 5))
        with torch.no_grad():
            for name, factor in factors.items():
                mean[name].lerp_(factor, 1 - keep)
        entry = {"step": step, "tokens": step * text.length, "excess": round(excess, 4), "norm": round(norm, 3), "counted": int((weight > 0).sum()), "answers": int(window.answer.sum()), "seconds": round(time.monotonic() - began, 1), "cpu": round(time.process_time(), 1)}
        print(json.dumps(entry), file=log)
        kept = step % a.keep == 0
        if kept:
            smollm2.save(mean, folder / f"step-{step:06}.safetensors")
        if kept or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            checkpoint()
            saved = time.monotonic()
    checkpoint()
    return mean


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--policy", required=True)
    arguments.add_argument("--minutes", type=float, default=1e9)
    arguments.add_argument("--steps", type=int, default=1 << 30, help="last step")
    arguments.add_argument("--name", help="of the run, if not the policy's")
    arguments.add_argument("--warm", type=pathlib.Path, help="an adapter to begin with")
    arguments.add_argument("--rate", type=float, default=RATE)
    arguments.add_argument("--keep", type=int, default=50, help="the mean is kept at each multiple")
    a = arguments.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(1)
    tokens = smollm2.tokenizer()
    known = policies(tokens)
    model = smollm2.stock()
    factors = smollm2.adapt(model)
    if a.warm:
        smollm2.load(factors, a.warm)
    folder = ADAPT / "runs" / (a.name or a.policy)
    train(model, factors, Text(tokens, LENGTH), known[a.policy], known["anchor"].anchors, folder, a, ADAPT / "teacher")


if __name__ == "__main__":
    main()
