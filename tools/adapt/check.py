"""Holds the code that trains to what it stands for, in seconds: run it after a change.

The blocks see exactly what the rule says, under every policy; the decoder is transformers' LlamaForCausalLM, stock and
(where peft is installed) with an adapter; a window has its questions where they are marked.
"""

import dataclasses
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
from transformers import AutoModelForCausalLM

import smollm2
from distil import policies
from policy import Plan, Policy, live, visible
from reading import Read, read
from windows import Text


def blocks(policy: Policy, ids: numpy.ndarray) -> None:
    """Uniform attention over values that are the rows of the identity tells who sees whom."""
    length = len(ids)
    plan = Plan(policy, torch.from_numpy(ids[None]))
    q = torch.zeros(1, length, 3, length)
    k = torch.zeros(1, length, 1, length)
    v = torch.eye(length)[None, :, None, :]
    seen = plan.attend(q, k, v)[0, :, 0] > 0
    assert torch.equal(seen, torch.from_numpy(visible(policy, ids))), policy.name


def main() -> None:
    tokens = smollm2.tokenizer()
    text = Text(tokens, 511)
    window = next(w for w in map(text.window, range(100)) if w.answer.any())
    marked = [tokens.decode([id]) for id in window.ids[1:][window.answer]]
    print("answers:", marked)
    known = policies(tokens)
    ids = window.ids
    anchor = known["anchor"]
    short = dataclasses.replace(anchor, max_segment=16)
    cases = [*known.values(), short, dataclasses.replace(short, isolated=False), dataclasses.replace(anchor, hidden=True)]
    cases += [Policy("sepllm", anchors=anchor.anchors, window=40, sinks=3, isolated=False, segments=False), Policy("full", full=True)]
    for policy in cases:
        blocks(policy, ids)
        # The next token's keys, by the rule: it is no anchor, and its segment is the one that is open.
        longer = numpy.append(ids, 28)
        if 28 not in policy.anchors:
            assert live(policy, ids) == visible(policy, longer)[-1, :-1].sum() + (policy.window == 0), policy
    model = smollm2.stock(torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(smollm2.FOLDER, dtype=torch.float32).eval()
    x = torch.from_numpy(ids[None])

    # Read in three parts, the last of them as two rows of unequal length, as at once.
    for policy in cases:
        parts = ids[:200].tolist(), ids[200:411].tolist(), ids[411:].tolist()
        with torch.no_grad():
            want = model(x, Plan(policy, x))[0]
        _, after = read(model, policy, Read(), [parts[0]])
        (second,), after = read(model, policy, after, [parts[1]])
        short, third = read(model, policy, after, [parts[2][:9], parts[2]])[0]
        found = torch.cat((second, third))
        assert float((found - want[200:]).abs().max()) < 1e-3 and float((short - want[411:420]).abs().max()) < 1e-3, policy
        # A row of a token more is another text: what was kept matters.
        assert float((read(model, policy, Read(), [parts[1]])[0][0] - want[200:411]).abs().max()) > 1e-3
    print("read in parts as at once")

    def compare(theirs, what):
        for policy in cases:
            mask = torch.zeros(1, 1, len(ids), len(ids)).masked_fill_(~torch.from_numpy(visible(policy, ids)), torch.finfo(torch.float32).min)
            with torch.no_grad():
                want = theirs(input_ids=x, attention_mask=mask).logits
                difference = float((model.logits(model(x, Plan(policy, x))) - want).abs().max())
            print(f"{what}, {policy.name}: logits differ by {difference:.1e} at most, deviation {float(want.std()):.2f}")
            assert difference < 1e-3

    compare(theirs, "stock")
    factors = smollm2.adapt(model)
    with torch.no_grad():
        for name, factor in factors.items():
            factor.copy_((torch.randn_like(factor) * 0.02).half().float())
    try:
        from peft import LoraConfig, PeftModel, get_peft_model
    except ImportError:
        print("peft is not installed: the adapter is not compared")
        return
    with tempfile.TemporaryDirectory() as folder:
        config = LoraConfig(r=smollm2.RANK, lora_alpha=smollm2.ALPHA, target_modules=list(smollm2.PROJECTIONS))
        get_peft_model(theirs, config).save_pretrained(folder)
        import pathlib
        smollm2.save(factors, pathlib.Path(folder) / "adapter_model.safetensors")
        theirs = AutoModelForCausalLM.from_pretrained(smollm2.FOLDER, dtype=torch.float32).eval()
        compare(PeftModel.from_pretrained(theirs, folder).eval(), "adapted")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
