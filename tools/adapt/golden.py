"""Writes tests/data/adapter/smollm2_anchor.json: what PyTorch makes of SmolLM2 with the shipped adapter, in float32.

Through transformers and PEFT under the dense mask of `policy.py`, which shares no code with the blocks that trained.

    golden.py       needs models/smollm2-anchor, transformers and peft
"""

import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import smollm2
from policy import Policy, visible

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADAPTER = ROOT / "models" / "smollm2-anchor"
TEXT = (
    "The keeper of the lighthouse had a daughter, and her name was Rosalind. He rose before the sun. All day long the ships came and went, and he wrote"
    " down the name of each. \"Is there news from the north?\" she asked. There was none! The wind turned, the rain began, and in the evening nobody could"
    " see the rocks any more.\nSo he lit the lamp again, as he had done for thirty years. The keeper of the lighthouse had a daughter, and her name was Rosalind."
)


def main() -> None:
    torch.set_num_threads(1)
    recorded = json.loads((ADAPTER / "adapter_config.json").read_text())["killick_policy"]
    own = Policy("anchor", frozenset(recorded["anchors"]), recorded["window"], recorded["sinks"], recorded["isolated"], recorded["max_segment"])
    ids = smollm2.tokenizer().encode(TEXT, add_special_tokens=False).ids
    found = {}
    stock = AutoModelForCausalLM.from_pretrained(smollm2.FOLDER, dtype=torch.float32).eval()
    for name, adapted in (("stock", False), ("adapted", True)):
        model = PeftModel.from_pretrained(stock, ADAPTER).eval() if adapted else stock
        for policy in (own, Policy("full", full=True)):
            mask = torch.zeros(1, 1, len(ids), len(ids)).masked_fill_(~torch.from_numpy(visible(policy, numpy.array(ids))), torch.finfo(torch.float32).min)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), attention_mask=mask).logits[0, :-1]
            nll = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            found[f"{name}_{policy.name}"] = [round(float(x), 6) for x in nll]
            print(name, policy.name, float(nll.mean()))
    out = ROOT / "tests" / "data" / "adapter" / "smollm2_anchor.json"
    out.write_text(json.dumps({"text": TEXT, "ids": ids, "nll": found}, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
