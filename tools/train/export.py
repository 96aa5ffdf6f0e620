"""Writes a checkpoint as a HuggingFace folder that Killick and transformers load: f16 weights, the policy in config.json.

    export.py ~/.cache/killick/train/runs/anchor-2000+400/latest.pt models/killick-4m
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

from data import AC, CACHE, EOT, MAX_SEGMENT
from model import Config

LIMIT = 8_000_000


def weights(checkpoint: pathlib.Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors as they ship, in f16, and the checkpoint."""
    found = torch.load(checkpoint, weights_only=True)
    return {name: tensor.half() for name, tensor in found["optimizer"]["weight"].items()}, found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoint", type=pathlib.Path)
    arguments.add_argument("folder", type=pathlib.Path)
    a = arguments.parse_args()
    tensors, checkpoint = weights(a.checkpoint)
    tokens = {entry["content"]: entry["id"] for entry in json.loads((CACHE / "tokenizer.json").read_text())["added_tokens"]}
    c = Config()
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab,
        "hidden_size": c.hidden,
        "intermediate_size": c.mlp,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "max_position_embeddings": c.context,
        "rms_norm_eps": c.eps,
        "rope_theta": c.theta,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": tokens[EOT],
        "eos_token_id": tokens[EOT],
        "torch_dtype": "float16",
    }
    if checkpoint["mask"] == "anchor":
        config["killick_policy"] = {
            "preset": "anchor",
            "anchors": [tokens[AC]],
            "max_segment": MAX_SEGMENT,
            "insert": {"id": tokens[AC], "place": "between"},
        }
    a.folder.mkdir(parents=True, exist_ok=True)
    (a.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    names = {"bos_token": EOT, "eos_token": EOT, "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (a.folder / "tokenizer_config.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")
    shutil.copy(CACHE / "tokenizer.json", a.folder / "tokenizer.json")
    save_file(tensors, a.folder / "model.safetensors", metadata={"format": "pt"})
    size = (a.folder / "model.safetensors").stat().st_size
    assert size <= LIMIT, f"model.safetensors has {size} bytes, more than {LIMIT}"
    print(f"{a.folder}: step {checkpoint['step']}, {size} bytes")


if __name__ == "__main__":
    main()
