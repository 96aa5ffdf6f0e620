"""Writes tests/data/adapter/: LoRA adapters that PEFT trained on the tiny checkpoints of tiny.py, and the logits of PEFT's merged models, in float64.

Every adapter is made by PEFT alone: get_peft_model, some steps of AdamW under the policy it is meant for, save_pretrained. Only the key
`killick_policy` is then written into adapter_config.json. The goldens load base and adapter anew, in float64, and let PEFT merge them.

    wide     on gqa: all seven projections, rank-stabilised, ranks and alphas by pattern, trained for `anchor`, a policy recorded
    narrow   on gqa: q and v only, bfloat16
    untied   on mha-untied: all seven and lm_head, alpha / rank
    stacked  on phi3, whose qkv_proj and gate_up_proj are several weights in one

Run:  python tools/golden/adapter.py (after tiny.py and families.py)
"""

import base64
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from common import DATA, LIMIT, write
from policy import logits, resolve, score
from tiny import ANCHORS, TINY, TRAINED, model_of, stream

OUT = DATA / "adapter"
TOLERANCE = 1e-4  # nats per token, of the tests that read these files
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ANCHOR = {"preset": "anchor", "anchors": ANCHORS}
ADAPTERS = {  # name -> base, settings, stored type, policy
    "wide": ("gqa", dict(r=4, lora_alpha=6, use_rslora=True, target_modules=ALL, rank_pattern={"q_proj": 3, "layers.1.mlp.up_proj": 6},
                         alpha_pattern={"down_proj": 11, "^model.layers.2.self_attn.k_proj": 2.5}), torch.float32, ANCHOR),
    "narrow": ("gqa", dict(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"]), torch.bfloat16, None),
    "untied": ("mha-untied", dict(r=3, lora_alpha=6, target_modules=[*ALL, "lm_head"]), torch.float32, None),
    "stacked": ("phi3", dict(r=3, lora_alpha=6, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]), torch.float32, None),
}


def base(name: str, dtype):
    config = json.loads((TINY / name / "config.json").read_text())
    return model_of(config, load_file(TINY / name / "model.safetensors"), dtype)


def train(name: str) -> None:
    origin, settings, dtype, policy = ADAPTERS[name]
    torch.manual_seed(sum(name.encode()))
    model = get_peft_model(base(origin, torch.float32), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings))
    vocab = model.config.vocab_size
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    rule = resolve(policy or {"preset": "full"}, TRAINED)
    for step in range(25):
        ids = stream(1000 + step % 4, 48, vocab, 0.14)
        losses = torch.nn.functional.cross_entropy(logits.__wrapped__(model.base_model.model, ids, rule)[:-1], torch.tensor(ids[1:]))
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        print(f"  {name} step {step:2} loss {losses.item():.3f}") if step % 8 == 0 else None
    # With lm_head among the targets PEFT would store the base's own embeddings, too, in case they had been resized.
    model.to(dtype).save_pretrained(OUT / name, save_embedding_layers=False)
    (OUT / name / "README.md").unlink(missing_ok=True)
    file = OUT / name / "adapter_config.json"
    config = json.loads(file.read_text()) | ({"killick_policy": policy} if policy else {})
    config["target_modules"].sort()  # PEFT keeps a set
    file.write_text(json.dumps(config, indent=2) + "\n")
    weights = load_file(OUT / name / "adapter_model.safetensors")
    assert all(w.float().std() > 1e-3 for w in weights.values()), "an untouched factor proves nothing"
    save_file(weights, OUT / name / "adapter_model.safetensors", {"format": "pt"})


def merged(origin: str, adapters: list[tuple[Path, float]]):
    """PEFT's own merge of adapters into a base, in float64."""
    model = base(origin, torch.float64)
    if not adapters:
        return model
    names = [f"a{k}" for k in range(len(adapters))]
    model = PeftModel.from_pretrained(model, adapters[0][0], adapter_name=names[0])
    for name, (folder, _) in list(zip(names, adapters))[1:]:
        model.load_adapter(folder, adapter_name=name)
    model = model.double()
    for name, (_, scale) in zip(names, adapters):
        for module in model.modules():
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.set_scale(name, scale)
    return model.merge_and_unload(adapter_names=names).eval()


def nll(model, ids, spec) -> np.ndarray:
    return score(logits(model, ids, resolve(spec, TRAINED)), ids)["nll"]


def case(name: str, origin: str, adapters: list[tuple[str, float]], spec: dict, seed: int) -> dict:
    plain = base(origin, torch.float64)
    ids = stream(seed, 72, plain.config.vocab_size, 0.14)
    z = logits(merged(origin, [(OUT / a, s) for a, s in adapters]), ids, resolve(spec, TRAINED))
    right = score(z, ids)["nll"]
    moves = float(np.abs(right - nll(plain, ids, spec)).mean())
    assert moves > 1000 * TOLERANCE, (name, moves)
    rows = [len(ids) // 2, len(ids) - 2, len(ids) - 1]
    print(f"  {name:24} nll {right.mean():.4f}, the adapters move a token by {moves:.2f} nats")
    return {"name": name, "base": origin, "adapters": adapters, "spec": spec, "ids": ids, "mean_nll": round(float(right.mean()), 7), "moves": round(moves, 4),
            "logit_rows": rows, "logits": base64.b64encode(z[rows].numpy().astype("<f4").tobytes()).decode()}


def ablations() -> list[dict]:
    """Changes to `wide`, repeated by the tests: what each does to the mean NLL of one text."""
    ids = stream(55, 72, 321, 0.14)
    right = nll(merged("gqa", [(OUT / "wide", 1.0)]), ids, ANCHOR)
    out = [{"field": "none", "ids": ids, "spec": ANCHOR, "mean_nll": round(float(right.mean()), 7)}]

    def changed(field: str, config: dict, without: str | None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder) / "wide"
            shutil.copytree(OUT / "wide", folder)
            file = folder / "adapter_config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | config))
            if without:
                weights = load_file(folder / "adapter_model.safetensors")
                # PEFT takes absent factors for B = 0, as it initialises them, with a warning.
                kept = {n: w for n, w in weights.items() if without not in n}
                assert 0 < len(kept) < len(weights)
                save_file(kept, folder / "adapter_model.safetensors")
            got = nll(merged("gqa", [(folder, 1.0)]), ids, ANCHOR)
        moves = float(np.abs(got - right).mean())
        assert moves > 100 * TOLERANCE and abs(got.mean() - right.mean()) > 20 * TOLERANCE, (field, moves, got.mean())
        print(f"  ablation {field:28} moves a token by {moves:.3f} nats, the mean to {got.mean():.4f}")
        out.append({"field": field, "config": config, "without": without, "mean_nll": round(float(got.mean()), 7)})

    changed("use_rslora", {"use_rslora": False}, None)
    changed("lora_alpha", {"lora_alpha": 9}, None)
    changed("alpha_pattern", {"alpha_pattern": {}}, None)
    changed("alpha_pattern of a layer", {"alpha_pattern": {"down_proj": 11}}, None)
    for module in ALL:
        changed(f"without {module}", {}, f".{module}.")
    return out


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    for name in ADAPTERS:
        train(name)
    full = {"preset": "full"}
    cases = [case("wide", "gqa", [("wide", 1.0)], ANCHOR, 41), case("narrow", "gqa", [("narrow", 1.0)], full, 42),
             case("two with scales", "gqa", [("wide", 0.75), ("narrow", -1.5)], full, 43),
             case("untied", "mha-untied", [("untied", 1.0)], full, 44), case("untied, doubled", "mha-untied", [("untied", 2.0)], ANCHOR, 45),
             case("stacked", "phi3", [("stacked", 1.0)], ANCHOR, 46)]
    write(OUT / "golden.json", {"trained_context": TRAINED, "tolerance": TOLERANCE, "cases": cases, "ablations": ablations()})
    assert all(p.stat().st_size <= LIMIT for p in OUT.rglob("*") if p.is_file())


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
