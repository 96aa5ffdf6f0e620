"""Trains one of three models that differ in their mask alone: same ids, same order, same seed.

    train.py --mask anchor --to 2000                     trains on to step 2000, from the last checkpoint if there is one
    train.py --mask anchor --decay-from 2000 --decay 400 a branch off step 2000 in which the learning rate falls to 0

A run may be killed at any time: it goes on from its last checkpoint (every three minutes, atomically replaced) with the
same data, since a step's windows depend on seed and step alone. The learning rate is constant after the warm-up, so
the length of a run need not be known; a branch makes a finished model of any checkpoint kept at a multiple of --keep.
"""

import argparse
import functools
import json
import os
import pathlib
import time

import numpy
import torch

from data import AC, CACHE
from model import MASKS, Config, Llama, Plan
from muon import Optimizer

WINDOW, BATCH, WARMUP, SEED = 1024, 4, 100, 1
SECONDS_BETWEEN_CHECKPOINTS = 180
HELD_OUT_EVERY, HELD_OUT_WINDOWS = 250, 16
ANCHOR = 1


class TiedLoss(torch.autograd.Function):
    """Mean cross-entropy of hidden [N, D] against targets [N] by the output matrix [V, D], in pieces that fit the cache.

    The gradients are made in the forward pass, where the probabilities are at hand. Returns loss and losses [N].
    """

    @staticmethod
    def forward(ctx, hidden, matrix, targets):
        to_hidden, to_matrix = torch.empty_like(hidden), torch.zeros_like(matrix, dtype=torch.float32)
        losses = torch.empty(len(targets))
        for rows in torch.arange(len(targets)).split(1024):
            piece, target = hidden[rows[0]:rows[-1] + 1], targets[rows]
            logits = (piece @ matrix.T).float()
            norm = torch.logsumexp(logits, dim=1, keepdim=True)
            losses[rows] = norm[:, 0] - logits.gather(1, target[:, None])[:, 0]
            gradient = logits.sub_(norm).exp_()
            gradient[torch.arange(len(rows)), target] -= 1
            gradient = gradient.mul_(1 / len(targets)).to(piece.dtype)
            to_hidden[rows[0]:rows[-1] + 1] = gradient @ matrix
            to_matrix += gradient.T @ piece
        ctx.save_for_backward(to_hidden, to_matrix.to(matrix.dtype))
        ctx.mark_non_differentiable(losses)
        return losses.mean(), losses

    @staticmethod
    def backward(ctx, scale, _):
        to_hidden, to_matrix = ctx.saved_tensors
        return to_hidden * scale, to_matrix * scale, None


@functools.lru_cache(maxsize=2)
def order(epoch: int, count: int) -> numpy.ndarray:
    """Where the windows of an epoch begin: the text cut at another offset each time, in another order."""
    random = numpy.random.Generator(numpy.random.PCG64([SEED, epoch]))
    starts = numpy.arange(random.integers(WINDOW), count - WINDOW - 1 - WINDOW, WINDOW)
    # All epochs have the same number of windows.
    return random.permutation(starts)[: (count - 1) // WINDOW - 2]


def batch(ids: numpy.ndarray, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets [BATCH, WINDOW] of a step."""
    per_epoch = (len(ids) - 1) // WINDOW - 2
    numbers = range(step * BATCH, (step + 1) * BATCH)
    starts = [order(number // per_epoch, len(ids))[number % per_epoch] for number in numbers]
    windows = torch.from_numpy(numpy.stack([ids[start:start + WINDOW + 1] for start in starts]).astype(numpy.int64))
    return windows[:, :-1], windows[:, 1:]


def held_out(model: Llama, ids: numpy.ndarray, mask: str) -> float:
    """Nats per text token on some windows of held-out text."""
    starts = numpy.linspace(0, len(ids) - WINDOW - 1, HELD_OUT_WINDOWS).astype(int)
    total, count = 0.0, 0
    with torch.no_grad():
        for part in numpy.split(starts, HELD_OUT_WINDOWS // BATCH):
            windows = torch.from_numpy(numpy.stack([ids[start:start + WINDOW + 1] for start in part]).astype(numpy.int64))
            hidden = model(windows[:, :-1], Plan(windows[:, :-1], ANCHOR, mask)).flatten(0, 1)
            _, losses = TiedLoss.apply(hidden, model.model["embed_tokens"].weight, windows[:, 1:].flatten())
            text = windows[:, 1:].flatten() != ANCHOR
            total, count = total + float(losses[text].sum()), count + int(text.sum())
    return total / count


def save(path: pathlib.Path, value: dict) -> None:
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--mask", choices=MASKS, required=True)
    arguments.add_argument("--to", type=int, default=0, help="last step")
    arguments.add_argument("--decay-from", type=int, default=0, help="step of a kept checkpoint")
    arguments.add_argument("--decay", type=int, default=0, help="steps in which the learning rate falls to 0")
    arguments.add_argument("--keep", type=int, default=250, help="a checkpoint is kept at each multiple")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--runs", type=pathlib.Path, default=CACHE / "runs")
    a = arguments.parse_args()

    torch.set_num_threads(a.threads)
    torch.manual_seed(SEED)
    assert json.loads((CACHE / "tokenizer.json").read_text())["added_tokens"][ANCHOR]["content"] == AC
    ids, unseen = numpy.load(CACHE / "train.npy"), numpy.load(CACHE / "heldout.npy")
    model = Llama(Config())
    optimizer = Optimizer(model)

    folder = a.runs / a.mask
    start, last = folder / "latest.pt", a.to
    if a.decay:
        source = folder / f"step-{a.decay_from:06}.pt"
        folder, last = a.runs / f"{a.mask}-{a.decay_from}+{a.decay}", a.decay_from + a.decay
        start = folder / "latest.pt" if (folder / "latest.pt").exists() else source
    folder.mkdir(parents=True, exist_ok=True)
    step = 0
    if start.exists():
        checkpoint = torch.load(start, weights_only=True)
        optimizer.load(checkpoint["optimizer"])
        step = checkpoint["step"]
    elif a.decay:
        raise SystemExit(f"train.py: {start} does not exist")

    log = open(folder / "log.jsonl", "a", encoding="utf-8", buffering=1)
    began, saved = time.monotonic(), time.monotonic()
    while step < last:
        rate = min(1.0, (step + 1) / WARMUP)
        if a.decay:
            rate *= (last - step) / a.decay
        inputs, targets = batch(ids, step)
        hidden = model(inputs, Plan(inputs, ANCHOR, a.mask)).flatten(0, 1)
        loss, losses = TiedLoss.apply(hidden, model.model["embed_tokens"].weight, targets.flatten())
        loss.backward()
        step += 1
        optimizer.step(step, rate)
        loss, text = loss.detach(), float(losses[targets.flatten() != ANCHOR].mean())
        entry = {"step": step, "loss": round(float(loss), 5), "text": round(text, 5), "seconds": round(time.monotonic() - began, 2)}
        if step % HELD_OUT_EVERY == 0 or step == last:
            entry["heldout"] = round(held_out(model, unseen, a.mask), 5)
        print(json.dumps(entry), file=log)
        kept = step % a.keep == 0 and not a.decay
        if step == last or kept or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            value = {"optimizer": optimizer.state, "step": step, "mask": a.mask, "seed": SEED}
            save(folder / "latest.pt", value)
            if kept:
                save(folder / f"step-{step:06}.pt", value)
                # The last two, so that all masks have one in common, and every fourth.
                old = step - 2 * a.keep
                if old % (4 * a.keep):
                    (folder / f"step-{old:06}.pt").unlink(missing_ok=True)
            saved = time.monotonic()


if __name__ == "__main__":
    main()
