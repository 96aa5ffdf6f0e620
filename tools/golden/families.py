"""Writes tests/data/tiny/<family>/ and <family>.f16.gguf: one small random checkpoint for each thing in which a descendant of Llama differs from it.

Made and judged as those of tiny.py (weights rounded to float16, then everything in float64, compared with stepwise.py). Besides, each is
compared with the *stock* model of transformers, eager and in float32: with the mask of `full` that the model makes itself, and with the
explicit masks of the others. The GGUF holds what llama.cpp's converter would write.

`ablations` change one thing at a time: "config" a key of config.json, "key" of the GGUF's metadata, "fill" all values of the tensors
whose names end so. PyTorch's loss after it is what a reader's engine must follow.

Run:  python tools/golden/families.py [FAMILY...]
"""

import json
import math
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

from common import LIMIT, rounded, write
from policy import frequencies, logits, masks, reach, resolve, score, visible, windows
from tiny import ANCHORS, TINY, TOLERANCE, TRAINED, golden_case, model_of, random_weights, stock_model, stream, write_gguf

VOCAB = 120
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCAB, "max_position_embeddings": TRAINED, "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float16"}


def like(model_type: str, name: str, **changes) -> dict:
    return LLAMA | {"model_type": model_type, "architectures": [f"{name}ForCausalLM"]} | changes


def scaled(**rope) -> dict:
    return LLAMA | {"rope_scaling": rope}


def without(config: dict, *keys: str) -> dict:
    return {k: v for k, v in config.items() if k not in keys}


YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=2.5, beta_slow=0.5)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
QWEN = dict(use_sliding_window=False, sliding_window=9, max_window_layers=0)
FAMILIES = {
    "linear": scaled(type="linear", factor=4.0),  # as written before transformers 4.45
    "llama3": scaled(**LLAMA3),
    "yarn": without(LLAMA, "rope_theta") | {"rope_parameters": {"rope_theta": 10000.0, **YARN}},  # as transformers 5 writes it
    "biases": LLAMA | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "mistral": like("mistral", "Mistral", sliding_window=9, tie_word_embeddings=False),
    "qwen2": like("qwen2", "Qwen2", rms_norm_eps=1e-6, **QWEN),
    "qwen3": like("qwen3", "Qwen3", rms_norm_eps=1e-6, attention_bias=False, **QWEN),
    "smollm3": without(like("smollm3", "SmolLM3", num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=5, rope_theta=20000.0, pad_token_id=0), "head_dim", "tie_word_embeddings"),
    "phi3": without(like("phi3", "Phi3", num_attention_heads=2, num_key_value_heads=1, partial_rotary_factor=0.75, sliding_window=23, original_max_position_embeddings=TRAINED,
                         pad_token_id=0, tie_word_embeddings=False), "head_dim"),
}
LONG = dict(type="longrope", short_factor=[1.0, 1.1, 1.3, 1.2, 1.5, 2.0], long_factor=[1.05, 1.6, 2.9, 4.2, 6.0, 7.7])
FAMILIES["longrope"] = without(like("phi3", "Phi3", num_attention_heads=2, num_key_value_heads=1, partial_rotary_factor=0.75, original_max_position_embeddings=32,
                                    rope_scaling=LONG, pad_token_id=0, tie_word_embeddings=False), "head_dim")
MIXED = like("qwen3", "Qwen3", rms_norm_eps=1e-6, num_hidden_layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=1)
FAMILIES["windows"] = MIXED | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GEMMA = dict(hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, query_pre_attn_scalar=16, sliding_window=9, bos_token_id=2, eos_token_id=1, pad_token_id=0)
FAMILIES["gemma2"] = without(like("gemma2", "Gemma2", num_hidden_layers=3, attn_logit_softcapping=3.0, final_logit_softcapping=4.0, **GEMMA), "hidden_act", "tie_word_embeddings")
FAMILIES["gemma3"] = without(like("gemma3_text", "Gemma3", num_hidden_layers=7, rope_theta=40000.0, rope_local_base_freq=500.0, rope_scaling=dict(rope_type="linear", factor=4.0),
                                  attn_logit_softcapping=None, final_logit_softcapping=None, sliding_window_pattern=6, **GEMMA), "hidden_act", "tie_word_embeddings")
GGUF = {"mistral": "llama", "windows": None, "gemma3": "gemma3"}  # what general.architecture says where it is not the model type; None: it cannot be said there


def spelled_out(config: dict) -> dict:
    """What stepwise.py and the GGUF want to know without defaults."""
    full = config | {"head_dim": config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])}
    full.setdefault("rope_theta", config.get("rope_parameters", {}).get("rope_theta"))
    if config["model_type"] == "smollm3":
        full["no_rope_layers"] = [int((layer + 1) % 4 != 0) for layer in range(config["num_hidden_layers"])]
    if "gemma" in config["model_type"]:
        full["layer_types"] = ["sliding_attention" if (layer + 1) % config.get("sliding_window_pattern", 2) else "full_attention" for layer in range(config["num_hidden_layers"])]
    return full


def unstacked(weights: dict, config: dict) -> dict:
    """Phi-3's qkv_proj and gate_up_proj cut into the weights that others store one by one; in float64."""
    q, kv = (config[n] * config["head_dim"] for n in ("num_attention_heads", "num_key_value_heads"))
    ffn = config["intermediate_size"]
    plain = {}
    for name, weight in weights.items():
        weight = weight.double().numpy()
        if "qkv_proj" in name:
            plain |= {name.replace("qkv_proj", f"{p}_proj"): part for p, part in zip("qkv", np.split(weight, [q, q + kv]))}
        elif "gate_up_proj" in name:
            plain |= {name.replace("gate_up_proj", f"{p}_proj"): part for p, part in zip(("gate", "up"), np.split(weight, [ffn]))}
        else:
            plain[name] = weight
    return plain


def converter(name: str, config: dict, full: dict):
    """What llama.cpp's converter adds: scaling of RoPE, windows, rotated columns."""

    def add(out: gguf.GGUFWriter) -> None:
        if name == "linear":
            out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            out.add_rope_scaling_factor(config["rope_scaling"]["factor"])
        if name == "yarn":
            rope = config["rope_parameters"]
            out.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            out.add_rope_scaling_factor(rope["factor"])
            out.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
            out.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
            out.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        if name == "llama3":
            scaled, _ = frequencies(stock_model(config).config)
            plain = full["rope_theta"] ** (-torch.arange(0, full["head_dim"], 2, dtype=torch.float64) / full["head_dim"])
            out.add_tensor("rope_freqs.weight", (plain / scaled).float().numpy())
        if name == "longrope":
            original = config["original_max_position_embeddings"]
            out.add_rope_scaling_orig_ctx_len(original)
            out.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(config["max_position_embeddings"] / original) / math.log(original)))
            for kind in ("long", "short"):
                out.add_tensor(f"rope_factors_{kind}.weight", np.array(config["rope_scaling"][f"{kind}_factor"], np.float32))
        if name == "gemma2":
            out.add_attn_logit_softcapping(config["attn_logit_softcapping"])
            out.add_final_logit_softcapping(config["final_logit_softcapping"])
        if name == "gemma3":
            out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            out.add_rope_scaling_factor(config["rope_scaling"]["factor"])
            out.add_float32("gemma3.rope.freq_base_swa", config["rope_local_base_freq"])
        if name in ("mistral", "phi3", "gemma2", "gemma3"):
            out.add_sliding_window(config["sliding_window"])

    return add


def cases(name: str = "") -> list[tuple[str, dict, list[int]]]:
    a = {"anchors": ANCHORS}
    ids = lambda seed, n=64, often=0.14: stream(seed, n, VOCAB, often)
    return [("full", {"preset": "full"}, ids(41, 80)),
            ("anchor, D 24, sinks 4", {"preset": "anchor", **a, "max_distance": 24, "sinks": 4}, ids(42)),
            ("sepllm", {"preset": "sepllm", **a, "window": 8, "sinks": 3, "max_anchors": 4}, ids(43)),
            ("streaming", {"preset": "streaming", "window": 13, "sinks": 4}, ids(44)),
            ("window 12", {"preset": "window", "window": 12}, ids(45)),
            *([("full, ctx 30", {"preset": "full", "ctx": 30}, ids(46, 30))] if name == "longrope" else [])]


ROPE = "rope_scaling"
ABLATIONS = {  # family -> (name, kind, change); "config" merges into config.json, "key" into metadata, "fill" sets tensors
    "linear": [("factor", "config", {ROPE: dict(type="linear", factor=2.0)}), ("type", "config", {ROPE: None}), ("gguf factor", "key", {"rope.scaling.factor": 2.0})],
    "llama3": [(f, "config", {ROPE: LLAMA3 | {f: v}}) for f, v in dict(factor=2.0, low_freq_factor=0.25, high_freq_factor=16.0, original_max_position_embeddings=512).items()]
    + [("rope_type", "config", {ROPE: None})],
    "yarn": [(f, "config", {"rope_parameters": dict(YARN, rope_theta=10000.0) | {f: v}})
             for f, v in dict(factor=16.0, beta_fast=20.0, beta_slow=0.05, attention_factor=1.5, truncate=False, original_max_position_embeddings=256, rope_type="default").items()]
    + [("mscale", "config", {"rope_parameters": dict(YARN, rope_theta=10000.0, mscale=3.0, mscale_all_dim=1.0)}),
       ("gguf factor", "key", {"rope.scaling.factor": 16.0}), ("gguf beta_fast", "key", {"rope.scaling.yarn_beta_fast": 20.0}), ("gguf beta_slow", "key", {"rope.scaling.yarn_beta_slow": 0.05}),
       ("gguf original context", "key", {"rope.scaling.original_context_length": 256})],
    "biases": [(f"bias of {r}", "fill", {f"{r}_proj.bias": 0.0}) for r in ("q", "k", "v", "o", "gate", "up", "down")],
    "mistral": [("sliding_window", "config", {"sliding_window": 7}), ("no window", "config", {"sliding_window": None}), ("gguf window", "key", {"attention.sliding_window": 7})],
    "qwen2": [("use_sliding_window", "config", {"use_sliding_window": True}), *((f"bias of {r}", "fill", {f"{r}_proj.bias": 0.0}) for r in "qkv")],
    "qwen3": [("use_sliding_window", "config", {"use_sliding_window": True}), ("q_norm", "fill", {"q_norm.weight": 1.0}), ("k_norm", "fill", {"k_norm.weight": 1.0}),
              ("rms_norm_eps", "config", {"rms_norm_eps": 1.0})],
    "smollm3": [("no_rope_layers", "config", {"no_rope_layers": [1, 1, 1, 1, 1]}), ("another layer", "config", {"no_rope_layers": [1, 0, 1, 1, 1]}),
                ("no_rope_layer_interval", "config", {"no_rope_layer_interval": 2})],
    "longrope": [(f"rope_scaling {f}", "config", {ROPE: LONG | {f: v}}) for f, v in dict(long_factor=[1.0] * 6, attention_factor=1.1).items()]
    + [("original_max_position_embeddings", "config", {"original_max_position_embeddings": 64}), ("short_factor", "config", {"original_max_position_embeddings": 256}),
       ("type", "config", {ROPE: None}), ("gguf attention factor", "key", {"rope.scaling.attn_factor": 1.1})],
    "gemma2": [("sliding_window", "config", {"sliding_window": 7}), ("layer_types", "config", {"layer_types": ["full_attention"] * 3}),
               ("query_pre_attn_scalar", "config", {"query_pre_attn_scalar": 64}), ("attn_logit_softcapping", "config", {"attn_logit_softcapping": 1.0}),
               ("no bound of scores", "config", {"attn_logit_softcapping": None}), ("final_logit_softcapping", "config", {"final_logit_softcapping": 2.0}),
               ("no bound of logits", "config", {"final_logit_softcapping": None}), ("rms_norm_eps", "config", {"rms_norm_eps": 1.0}),
               *((n, "fill", {f"{n}.weight": 0.5}) for n in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")),
               ("gguf window", "key", {"attention.sliding_window": 7}), ("gguf bound of scores", "key", {"attn_logit_softcapping": 1.0}),
               ("gguf bound of logits", "key", {"final_logit_softcapping": 2.0})],
    "gemma3": [("sliding_window", "config", {"sliding_window": 7}), ("sliding_window_pattern", "config", {"sliding_window_pattern": 3}),
               ("layer_types", "config", {"layer_types": ["full_attention"] + ["sliding_attention"] * 6}), ("rope_theta", "config", {"rope_theta": 100.0}),
               ("rope_local_base_freq", "config", {"rope_local_base_freq": 20000.0}), ("rope_scaling", "config", {"rope_scaling": None}),
               ("query_pre_attn_scalar", "config", {"query_pre_attn_scalar": 64}), ("final_logit_softcapping", "config", {"final_logit_softcapping": 2.0}),
               *((n, "fill", {f"{n}.weight": 0.5}) for n in ("q_norm", "k_norm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")),
               ("gguf window", "key", {"attention.sliding_window": 7}), ("gguf factor", "key", {"rope.scaling.factor": 2.0}), ("gguf base of windows", "key", {"rope.freq_base_swa": 20000.0})],
    "windows": [("sliding_window", "config", {"sliding_window": 7}), ("layer_types", "config", {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
                ("max_window_layers", "config", {"layer_types": None}), ("every layer", "config", {"max_window_layers": 0, "layer_types": None}),
                ("use_sliding_window", "config", {"use_sliding_window": False, "layer_types": None})],
    "phi3": [("partial_rotary_factor", "config", {"partial_rotary_factor": 1.0}), ("sliding_window", "config", {"sliding_window": 7}), ("gguf window", "key", {"attention.sliding_window": 7}),
             ("gguf rotated columns", "key", {"rope.dimension_count": 16})],
}
KEYS = {  # what a key of the metadata is in config.json
    "rope.scaling.factor": "factor", "rope.scaling.yarn_beta_fast": "beta_fast", "rope.scaling.yarn_beta_slow": "beta_slow",
    "rope.scaling.original_context_length": "original_max_position_embeddings", "attention.sliding_window": "sliding_window", "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping", "rope.freq_base_swa": "rope_local_base_freq"}


def as_config(config: dict, key: str, value) -> dict:
    if key == "rope.dimension_count":
        return {"partial_rotary_factor": value / 16}
    if key == "rope.scaling.attn_factor":
        return {ROPE: config[ROPE] | {"attention_factor": value}}
    if KEYS[key] in config:
        return {KEYS[key]: value}
    rope = ROPE if ROPE in config else "rope_parameters"
    return {rope: config[rope] | {KEYS[key]: value}}


def ablations(name: str, config: dict, weights: dict) -> dict:
    ids = stream(50, 96, VOCAB, 0.14)

    def nll(now, other=weights):
        model = model_of(now, other)
        return score(logits(model, ids, resolve({"preset": "full"}, TRAINED, *windows(model.config))), ids)["nll"]

    right, fields = nll(config), []
    for field, kind, change in ABLATIONS[name]:
        if kind == "fill":
            (end, value), = change.items()
            hit = [n for n in weights if n.endswith(end)]
            assert len(hit) == config["num_hidden_layers"], (end, hit)
            after = nll(config, weights | {n: torch.full_like(weights[n], value) for n in hit})
        else:
            changed = as_config(config, *next(iter(change.items()))) if kind == "key" else change
            after = nll(config | changed)
        moves = float(np.abs(after - right).mean())
        assert moves > 100 * TOLERANCE, (name, field, moves)
        print(f"  ablation {field:34} moves a token by {moves:.3f} nats")
        fields.append({"field": field, kind: change, "moves": round(moves, 4), "nll": rounded(after)})
    return {"spec": {"preset": "full"}, "ids": ids, "nll": rounded(right), "fields": fields}


@torch.no_grad()
def stock_gap(family: str, config: dict, weights: dict) -> float:
    """The largest NMSE between our logits and those of the stock model in float32."""
    stock = stock_model(config)
    stock.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    stock.tie_weights()
    ours, worst = model_of(config, weights), 0.0
    for name, spec, ids in cases(family):
        policy = resolve(spec, TRAINED, *windows(ours.config))
        if policy.max_distance < len(ids):
            continue  # its second query is not in stock transformers
        original = config.get("original_max_position_embeddings", TRAINED)
        if (len(ids) > original) != (reach(policy) > original):
            continue  # stock transformers goes by the length of the text
        mask = None if spec["preset"] == "full" else masks(visible(ids, policy), policy, torch.float32)
        z = stock(torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0].double()
        want = logits(ours, ids, policy)
        worst = max(worst, float((z - want).pow(2).sum() / want.pow(2).sum()))
    return worst


def main() -> None:
    for seed, (name, config) in enumerate(FAMILIES.items(), 100):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        full = spelled_out(config)
        weights = {n: w.half() for n, w in random_weights({"tie_word_embeddings": config["model_type"] == "smollm3" or "gemma" in config["model_type"]} | config, seed).items()}
        assert all(w.float().std() >= 0.2 for w in weights.values() if w.ndim == 2)
        folder = TINY / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        architecture = GGUF.get(name, config["model_type"])
        if architecture:
            write_gguf(f"{name}.f16.gguf", full, weights, lambda n: "F16", architecture, architecture in ("llama", "smollm3"), converter(name, config, full))
        gap = stock_gap(name, config, weights)
        print(f"{name}: stock transformers in float32 differs by NMSE {gap:.1e}")
        assert gap < 1e-8, gap
        plain = unstacked(weights, full)
        golden = {"trained_context": TRAINED, "vocab": VOCAB, "tolerance": TOLERANCE, "stock_nmse": float(f"{gap:.1e}"),
                  "cases": [golden_case(model_of(config, weights), plain, full, *case, model_of(config, weights, torch.float32)) for case in cases(name)],
                  "ablations": ablations(name, config, weights)}
        write(folder / "golden.json", golden)
    assert all(p.stat().st_size <= LIMIT for p in TINY.rglob("*") if p.is_file())


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
