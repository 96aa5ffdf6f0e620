"""SmolLM2 with a LoRA adapter, on the decoder of tools/train: stock, adapted, and written in PEFT's layout."""

import json
import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from corpus import ADAPT
from model import Config, Llama

# Made by `killick convert` from the GGUF: the same weights as f32.
FOLDER = ADAPT / "smollm2"
RANK, ALPHA = 32, 64
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Adapted(nn.Module):
    """W' = W + (alpha / r) B A (Hu et al. 2021); the factors are kept in f32 and used in the type of the input."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.on = linear.weight, True
        rows, columns = linear.weight.shape
        self.a = nn.Parameter((torch.rand(RANK, columns) * 2 - 1) / columns**0.5)
        self.b = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, x):
        out = functional.linear(x, self.weight)
        if not self.on:
            return out
        return out + functional.linear(functional.linear(x, self.a.to(x.dtype)), (self.b * (ALPHA / RANK)).to(x.dtype))


def stock(dtype: torch.dtype = torch.bfloat16) -> Llama:
    """The model as it is, frozen."""
    c = json.loads((FOLDER / "config.json").read_text())
    rope = c.get("rope_parameters") or c
    config = Config(
        vocab=c["vocab_size"],
        hidden=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        kv_heads=c["num_key_value_heads"],
        head_dim=c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"],
        mlp=c["intermediate_size"],
        context=c["max_position_embeddings"],
        theta=rope["rope_theta"],
        eps=c["rms_norm_eps"],
    )
    model = Llama(config)
    with safe_open(FOLDER / "model.safetensors", "pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys() if name != "lm_head.weight"})
    return model.to(dtype).requires_grad_(False).eval()


def adapt(model: Llama) -> dict[str, nn.Parameter]:
    """Puts an adapter of no effect on every projection; its factors by PEFT's names."""
    factors = {}
    for number, layer in enumerate(model.model["layers"]):
        for part in ("self_attn", "mlp"):
            modules = getattr(layer, part)
            for name in PROJECTIONS:
                if name in modules:
                    modules[name] = adapted = Adapted(modules[name])
                    prefix = f"base_model.model.model.layers.{number}.{part}.{name}"
                    factors[f"{prefix}.lora_A.weight"], factors[f"{prefix}.lora_B.weight"] = adapted.a, adapted.b
    return factors


def switch(model: Llama, on: bool) -> None:
    for module in model.modules():
        if isinstance(module, Adapted):
            module.on = on


@torch.no_grad()
def load(factors: dict[str, nn.Parameter], file: pathlib.Path) -> None:
    with safe_open(file, "pt") as source:
        assert set(source.keys()) == set(factors), file
        for name, factor in factors.items():
            factor.copy_(source.get_tensor(name))


def save(factors: dict[str, torch.Tensor], file: pathlib.Path) -> None:
    """In f16, as it ships."""
    part = file.with_suffix(".part")
    save_file({name: factor.detach().half().contiguous() for name, factor in factors.items()}, part, metadata={"format": "pt"})
    part.replace(file)


def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def sentence_ends(tokens: Tokenizer) -> frozenset[int]:
    """Ids of tokens of punctuation alone with . ! or ? in it, and of line breaks alone; special tokens are none."""
    found = set()
    for id in range(17, tokens.get_vocab_size()):
        text = tokens.decode([id], skip_special_tokens=False)
        bare = text.strip(" ")
        ends = bare and not any(c.isalnum() for c in bare) and "\ufffd" not in bare and any(c in bare for c in ".!?")
        if ends or ("\n" in text and not text.strip()):
            found.add(id)
    return frozenset(found)
