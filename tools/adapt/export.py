"""Writes an adapter as a folder in PEFT's layout, the policy it was trained for in adapter_config.json.

    export.py ~/.cache/killick/adapt/runs/anchor/step-000400.safetensors models/smollm2-anchor
"""

import argparse
import json
import pathlib
import shutil

from safetensors import safe_open

import smollm2
from distil import policies
from policy import Policy

LIMIT = 20_000_000


def write(factors: pathlib.Path, folder: pathlib.Path, policy: Policy, base: str, context: int, limit: int | None = None) -> int:
    """Writes the adapter that was trained for `base` under `policy`; the size of its weights in bytes, at most `limit`."""
    recorded = {"preset": policy.name, "window": policy.window, "sinks": policy.sinks}
    if policy.anchors:
        recorded |= {"anchors": sorted(policy.anchors), "isolated": policy.isolated, "max_segment": policy.max_segment}
    else:
        # It was trained at original positions; a window's are pulled together (StreamingLLM) unless this is said.
        recorded["max_distance"] = context
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": smollm2.RANK,
        "lora_alpha": smollm2.ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(smollm2.PROJECTIONS),
        "killick_policy": recorded,
    }
    with safe_open(factors, "pt") as file:
        assert all(file.get_tensor(name).isfinite().all() for name in file.keys())
    folder.mkdir(parents=True, exist_ok=True)
    # One id a line would make a page of them.
    ids = recorded.get("anchors")
    text = json.dumps(config, indent=2)
    if ids:
        text = text.replace(json.dumps(config, indent=2).split('"anchors": ')[1].split("]")[0] + "]", json.dumps(ids))
    assert json.loads(text) == config
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    shutil.copy(factors, folder / "adapter_model.safetensors")
    size = (folder / "adapter_model.safetensors").stat().st_size
    assert limit is None or size <= limit, f"adapter_model.safetensors has {size} bytes, more than {limit}"
    return size


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("factors", type=pathlib.Path)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--policy", default="anchor", help="the one it was trained under")
    a = arguments.parse_args()
    policy = policies(smollm2.tokenizer())[a.policy]
    context = json.loads((smollm2.FOLDER / "config.json").read_text())["max_position_embeddings"]
    size = write(a.factors, a.folder, policy, "HuggingFaceTB/SmolLM2-135M-Instruct", context, LIMIT)
    print(f"{a.folder}: {size} bytes")


if __name__ == "__main__":
    main()
