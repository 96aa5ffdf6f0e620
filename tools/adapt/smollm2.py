"""A Llama model with a LoRA adapter, on the decoder of tools/train: stock, adapted, and written in PEFT's layout; SmolLM2 by default."""

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


# What the decoder of tools/train has no other form of: a field of config.json and what it must be, if it is there.
ONLY = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
    "pretraining_tp": (1,),
}


def stock(dtype: torch.dtype = torch.bfloat16, folder: pathlib.Path = FOLDER) -> Llama:
    """The model as it is, frozen."""
    c = json.loads((folder / "config.json").read_text())
    rope = c.get("rope_parameters") or c
    for field, allowed in ONLY.items():
        if c.get(field, allowed[0]) not in allowed:
            raise SystemExit(f"{folder}/config.json: {field} is {c[field]!r}, this trainer knows {allowed[0]!r} only")
    if rope.get("rope_type", "default") != "default":
        raise SystemExit(f"{folder}/config.json: rope_type is {rope['rope_type']!r}, this trainer knows 'default' only")
    config = Config(
        vocab=c["vocab_size"],
        hidden=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        kv_heads=c["num_key_value_heads"],
        head_dim=c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"],
        mlp=c["intermediate_size"],
        context=c["max_position_embeddings"],
        theta=rope.get("rope_theta", 10000.0),
        eps=c["rms_norm_eps"],
    )
    model = Llama(config)
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as source:
            weights |= {name: source.get_tensor(name) for name in source.keys()}
    if not weights:
        raise SystemExit(f"{folder}: there is no model*.safetensors; killick convert makes such a folder of a GGUF")
    output = weights.pop("lm_head.weight", None)
    model.load_state_dict(weights)
    # The matrix of the logits: the embedding's, unless the model has one of its own.
    tied = c.get("tie_word_embeddings", True) or output is None
    model.output = model.model["embed_tokens"].weight if tied else nn.Parameter(output)
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


def tokenizer(folder: pathlib.Path = FOLDER) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def sentence_ends(tokens: Tokenizer) -> frozenset[int]:
    """Ids of tokens of punctuation alone with . ! or ? in it, and of line breaks alone; special tokens are none."""
    found = set()
    special = {id for id, token in tokens.get_added_tokens_decoder().items() if token.special}
    for id in sorted(set(range(tokens.get_vocab_size())) - special):
        text = tokens.decode([id], skip_special_tokens=False)
        bare = text.strip(" ")
        ends = bare and not any(c.isalnum() for c in bare) and "\ufffd" not in bare and any(c in bare for c in ".!?")
        if ends or ("\n" in text and not text.strip()):
            found.add(id)
    return frozenset(found)
