"""Writes tests/data/tiny/: small random Llama checkpoints (HuggingFace folders, GGUF twins) and their golden logits, in float64.

The weights are random with a standard deviation of 0.21 and norms spread around 6.4 / sqrt(hidden), so that attention is sharp enough for one wrongly
visible key to move the loss far beyond any tolerance, while float32 stays well inside it; every golden case proves both about itself
("wrong" and "float32" in the file).
Weights are first rounded to the stored type, then everything is computed in float64 (policy.py says how) and compared
with the independent step-by-step cache of stepwise.py.

    gqa          float32, tied, 2 heads share a KV head, odd vocabulary      + gqa.f32.gguf
    mha-untied   float16, head_dim != hidden / heads, untied, eps 1e-3       + mha-untied.f16.gguf
    bf16         bfloat16, two shards, one KV head, config.json as transformers 5 writes it
    blocks       float32 of quantised weights; blocks.mixed.gguf holds the same weights in all six types

Run:  python tools/golden/tiny.py
"""

import base64
import json

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import stepwise
from common import DATA, LIMIT, rounded, write
from policy import ExactRotary, Policy, UNBOUNDED, attach, logits, resolve, score, tags, visible, windows

TINY = DATA / "tiny"
TRAINED = 256
TOLERANCE = 1e-4  # nats per token, of the tests that read these files
ANCHORS = [7, 30, 101]
SHAPES = {  # name -> hidden, ffn, layers, heads, KV heads, head_dim, vocab, tied, eps, theta, stored type
    "gqa": (64, 172, 3, 4, 2, 16, 321, True, 1e-5, 10000.0, torch.float32),
    "mha-untied": (48, 100, 2, 3, 3, 24, 130, False, 1e-3, 500000.0, torch.float16),
    "bf16": (128, 96, 2, 4, 1, 32, 256, True, 1e-6, 10000.0, torch.bfloat16),
    "blocks": (64, 128, 2, 2, 1, 32, 200, False, 1e-5, 100000.0, torch.float32),
}
SMALL = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
         "down_proj": "ffn_down", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "qkv_proj": "attn_qkv", "gate_up_proj": "ffn_up", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
# `blocks`: the type of every matrix, so that each type is met in several roles.
MIXED = {"token_embd.weight": "Q8_0", "output.weight": "Q4_1",
         **{f"blk.0.{n}.weight": t for n, t in dict(attn_q="Q4_0", attn_k="Q4_1", attn_v="Q8_0", attn_output="F16", ffn_gate="Q4_0", ffn_up="Q4_1", ffn_down="Q8_0").items()},
         **{f"blk.1.{n}.weight": t for n, t in dict(attn_q="BF16", attn_k="Q8_0", attn_v="Q4_0", attn_output="Q4_1", ffn_gate="F16", ffn_up="BF16", ffn_down="F32").items()}}


def config_of(name: str) -> dict:
    hidden, ffn, layers, heads, kv_heads, head_dim, vocab, tied, eps, theta, dtype = SHAPES[name]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim, "vocab_size": vocab, "max_position_embeddings": TRAINED,
              "rms_norm_eps": eps, "rope_theta": theta, "rope_scaling": None, "tie_word_embeddings": tied, "hidden_act": "silu", "attention_bias": False,
              "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": str(dtype).removeprefix("torch.")}
    if name == "bf16":  # as transformers 5 saves it; head_dim left to be hidden / heads
        del config["rope_theta"], config["rope_scaling"], config["torch_dtype"], config["head_dim"]
        config |= {"rope_parameters": {"rope_theta": theta, "rope_type": "default"}, "dtype": "bfloat16", "eos_token_id": [2, 5], "transformers_version": "5.23.0"}
    return config


def stock_model(config: dict):
    """As transformers makes it; dictionaries are copied, because config classes write into them."""
    wanted = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items() if k not in ("torch_dtype", "dtype", "architectures", "model_type", "transformers_version")}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **wanted, attn_implementation="eager"), attn_implementation="eager", dtype=torch.float32).eval()


def model_of(config: dict, weights: dict | None = None, dtype=torch.float64):
    model = stock_model(config).to(dtype)
    if weights is not None:
        missing, unexpected = model.load_state_dict({k: v.to(dtype) for k, v in weights.items()}, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        model.tie_weights()
    return attach(model)


def random_weights(config: dict, seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, like in model_of(config).state_dict().items():
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        noise = torch.randn(like.shape, generator=generator)
        less = 1 if "gemma" in config["model_type"] else 0  # its gains are stored so
        weights[name] = 6.4 * like.shape[0] ** -0.5 - less + 0.2 * noise if "norm" in name else (0.4 if name.endswith("bias") else 0.21) * noise
    return weights


GEMMA = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(name: str, gemma: bool = False) -> str:
    if name in (top := {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}):
        return top[name]
    layer, role, end = name.split(".")[2], *name.split(".")[-2:]
    return f"blk.{layer}.{(SMALL | GEMMA if gemma else SMALL)[role]}.{end}"


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """The row order llama.cpp gives q and k of `llama`: rotate-half pairs become neighbours."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def restored(rows: np.ndarray, heads: int) -> np.ndarray:
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def heads_of(config: dict, name: str) -> int | None:
    return {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(name.split(".")[-2])


def write_gguf(file: str, config: dict, weights: dict, type_of, architecture: str = "llama", interleaved: bool = True, more=lambda out: None) -> dict:
    """Writes the GGUF and returns the dequantised weights under their HuggingFace names and in their row order. `more` adds what llama.cpp's
    converter adds for the model."""
    out = gguf.GGUFWriter(TINY / file, architecture)
    out.add_name(file)
    config = config | {"rope_dim": int(config["head_dim"] * config.get("partial_rotary_factor", 1))}
    for add, key in [(out.add_context_length, "max_position_embeddings"), (out.add_embedding_length, "hidden_size"), (out.add_block_count, "num_hidden_layers"),
                     (out.add_feed_forward_length, "intermediate_size"), (out.add_head_count, "num_attention_heads"), (out.add_head_count_kv, "num_key_value_heads"),
                     (out.add_layer_norm_rms_eps, "rms_norm_eps"), (out.add_rope_freq_base, "rope_theta"), (out.add_vocab_size, "vocab_size"),
                     (out.add_rope_dimension_count, "rope_dim"), (out.add_key_length, "head_dim"), (out.add_value_length, "head_dim")]:
        add(config[key])
    more(out)
    back = {}
    gemma = "gemma" in architecture
    for name, tensor in weights.items():
        heads, value = heads_of(config, name) if interleaved else None, tensor.float().numpy()
        if gemma and "norm" in name:
            value = value + np.float32(1)  # the gain itself
        kind = gguf.GGMLQuantizationType[type_of(gguf_name(name, gemma)) if value.ndim == 2 else "F32"]
        stored = gguf.quantize(permuted(value, heads) if heads else value, kind)
        out.add_tensor(gguf_name(name, gemma), stored, raw_dtype=kind)
        plain = gguf.dequantize(stored, kind).astype(np.float32).reshape(value.shape)
        back[name] = torch.from_numpy(np.ascontiguousarray(restored(plain, heads) if heads else plain))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return back


def save(name: str, config: dict, weights: dict) -> None:
    folder = TINY / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    meta = {"format": "pt"}
    if name != "bf16":
        return save_file(weights, folder / "model.safetensors", meta)
    names = list(weights)
    parts = {f"model-0000{k + 1}-of-00002.safetensors": {n: weights[n] for n in names[k::2]} for k in range(2)}
    for file, part in parts.items():
        save_file(part, folder / file, meta)
    total = sum(t.numel() * t.element_size() for t in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": {n: f for f, part in parts.items() for n in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")


def stream(seed: int, n: int, vocab: int, often: float, only: bool = False) -> list[int]:
    rng = np.random.default_rng(seed)
    plain = [t for t in range(3, vocab) if t not in ANCHORS]
    return [int(rng.choice(ANCHORS if only or rng.random() < often else plain)) for _ in range(n)]


def cases(vocab: int, short: bool) -> list[tuple[str, dict, list[int]]]:
    a = {"anchors": ANCHORS}
    ids = lambda seed, n=96, often=0.14, **k: stream(seed, n, vocab, often, **k)
    pinned = ids(12, 150)
    pinned[1] = ANCHORS[0]  # an anchor inside the pinned prefix
    every = [
        ("full", {"preset": "full"}, ids(1)),
        ("full, ctx 100", {"preset": "full", "ctx": 100}, ids(2, 60)),
        ("anchor", {"preset": "anchor", **a}, ids(3)),
        ("anchor, sinks 4", {"preset": "anchor", **a, "sinks": 4}, ids(4)),
        ("anchor, not isolated", {"preset": "anchor", **a, "isolated": False}, ids(5)),
        ("anchor, A 3", {"preset": "anchor", **a, "max_anchors": 3}, ids(6, 96, 0.2)),
        ("anchor, A 0", {"preset": "anchor", **a, "max_anchors": 0}, ids(7, 60)),
        ("anchor, M 5", {"preset": "anchor", **a, "max_segment": 5}, ids(8, 96, 0.08)),
        ("anchor, D 24, sinks 4", {"preset": "anchor", **a, "max_distance": 24, "sinks": 4}, ids(9, 120)),
        ("anchor, W 6", {"preset": "anchor", **a, "window": 6}, ids(10)),
        ("anchor, nothing but anchors", {"preset": "anchor", **a}, ids(11, 60, only=True)),
        ("anchor, no anchors", {"preset": "anchor", **a}, ids(21, 80, 0.0)),
        ("anchor, no anchors, M 7", {"preset": "anchor", **a, "max_segment": 7}, ids(22, 80, 0.0)),
        ("sepllm", {"preset": "sepllm", **a, "window": 8, "sinks": 3, "max_anchors": 4}, ids(13, 120)),
        ("sepllm, nothing but separators", {"preset": "sepllm", **a, "window": 8, "sinks": 3, "max_anchors": 10}, ids(14, 60, only=True)),
        ("sepllm, isolated", {"preset": "sepllm", **a, "window": 5, "isolated": True, "max_distance": 40}, ids(15)),
        ("streaming", {"preset": "streaming", "window": 13, "sinks": 4}, ids(16, 120)),
        ("streaming, D trained", {"preset": "streaming", "window": 13, "sinks": 4, "max_distance": TRAINED}, ids(16, 120)),
        ("window 9", {"preset": "window", "window": 9}, ids(17)),
        ("window 1", {"preset": "window", "window": 1}, ids(18, 60)),
        ("everything", {"preset": "anchor", **a, "window": 5, "sinks": 3, "max_anchors": 3, "max_segment": 6, "max_distance": 20}, pinned),
        ("everything, not isolated", {"preset": "anchor", **a, "window": 5, "sinks": 3, "isolated": False, "max_anchors": 3, "max_segment": 6, "max_distance": 20}, pinned),
    ]
    kept = {"full", "anchor", "anchor, D 24, sinks 4", "sepllm", "streaming", "window 9", "everything"}
    return [(name, spec, ids[:80] if short else ids) for name, spec, ids in every if not short or name in kept]


def wrong_rules(p: Policy) -> dict[str, dict]:
    """Deliberately wrong readings of the rule: name -> arguments of `logits` to change."""
    rules = {"dense": p.with_(window=UNBOUNDED), "no residual mask": p.with_(isolated=False), "no forced anchors": p.with_(max_segment=UNBOUNDED),
             "window + 1": p.with_(window=p.window + 1), "no pinned prefix": p.with_(sinks=0), "A + 1": p.with_(max_anchors=p.max_anchors + 1),
             "M + 1": p.with_(max_segment=p.max_segment + 1), "D + 1": p.with_(max_distance=p.max_distance + 1)}
    return rules


def golden_case(model, plain: dict, config: dict, name: str, spec: dict, ids: list[int], single=None) -> dict:
    """`plain` are the weights in float64 and `config` the numbers for stepwise.py; `single` is the model in float32, if that differs."""
    policy = resolve(spec, TRAINED, *windows(model.config))
    mask, z = visible(ids, policy), logits(model, ids, policy)
    gap = np.abs(stepwise.decode(plain, config, ids, policy) - z.numpy()).max()
    assert gap < 1e-9, (name, gap)
    right = score(z, ids)
    wrong = {}
    for rule, other in wrong_rules(policy).items():
        changed = visible(ids, other)
        # The mask alone is wrong here: the rotation stays right, except where the rule is about the rotation.
        if (changed != mask).any():
            delta = np.abs(score(logits(model, ids, policy, mask=changed), ids)["nll"] - right["nll"])
            wrong[rule] = [float(delta.mean()), float(delta.max())]
    for rule, changes in {"no layer window": None, "layer window + 1": (policy.layer_window or 0) + 1}.items() if policy.layer_window else ():
        delta = np.abs(score(logits(model, ids, policy.with_(layer_window=changes or UNBOUNDED), mask=mask), ids)["nll"] - right["nll"])
        if delta.max() > 0:  # a policy may show nothing beyond the window
            wrong[rule] = [float(delta.mean()), float(delta.max())]
    if policy.sinks and len(ids) > policy.max_distance:
        delta = np.abs(score(logits(model, ids, policy, clip=False), ids)["nll"] - right["nll"])
        wrong["pinned prefix read by the unclipped query"] = [float(delta.mean()), float(delta.max())]
    for rule, (mean, largest) in wrong.items():
        assert largest > 100 * TOLERANCE, (name, rule, mean, largest)
        assert mean > 100 * TOLERANCE or "+ 1" in rule, (name, rule, mean, largest)
    single = single or model_of(config, {n: torch.from_numpy(w) for n, w in plain.items()}, torch.float32)
    single.model.rotary_emb = ExactRotary(single.config, single.model.rotary_emb)  # an engine can know its angles exactly
    noise = np.abs(score(logits(single, ids, policy), ids)["nll"] - right["nll"]).max()
    assert noise < TOLERANCE / 5, (name, noise)  # what float32 costs, so that the tolerance asks for nothing impossible
    anc, n = tags(ids, policy)[0], len(ids)
    rows = sorted({int(np.flatnonzero(anc)[-1]) if anc.any() else n // 2, n - 3, n - 2, n - 1})
    print(f"  {name:32} n {n:3} anchors {int(anc.sum()):2} nll {right['nll'].mean():8.4f} stepwise gap {gap:.0e}  float32 gap {noise:.0e}  least wrong {min((w[1] for w in wrong.values()), default=0):.2g} nats ({len(wrong)} rules)")
    return {"name": name, "spec": spec, "policy": policy.as_json(), "ids": ids, "nll": rounded(right["nll"]), "mean_nll": round(float(right["nll"].mean()), 7),
            "top1": right["top1"], "margin": rounded(right["margin"], 4), "logit_rows": rows, "logits": base64.b64encode(z[rows].numpy().astype("<f4").tobytes()).decode(),
            "float32": float(f"{noise:.1e}"), "wrong": {rule: rounded(w, 4) for rule, w in wrong.items()}}


def ablations(config: dict, weights: dict, ids: list[int]) -> list[dict]:
    """One config field changed at a time. Those that keep the shapes of the weights are repeated by the reader's engine ("config" is what to change)."""
    out, spec = [], {"preset": "anchor", "anchors": ANCHORS, "sinks": 4}

    def nll(changed=None, other=None):
        now = config | (changed or {})
        return score(logits(model_of(now, other or weights), ids, resolve(spec, now["max_position_embeddings"])), ids)["nll"]

    right = nll()
    for name, changed in [("rope_theta", {"rope_theta": 5000.0}), ("rms_norm_eps", {"rms_norm_eps": 0.01}),
                          ("heads", {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}),
                          ("max_position_embeddings", {"max_position_embeddings": 24})]:
        out.append({"field": name, "config": changed, "nll": nll(changed)})
    swap = torch.arange(64).reshape(4, 16)[[0, 2, 1, 3]].flatten()  # query head h reads KV head h mod 2 instead of h div 2
    by_role = lambda role, f: {n: f(w) if role in n else w for n, w in weights.items()}
    crossed = {n: w[swap] if "q_proj" in n else w[:, swap] if "o_proj" in n else w for n, w in weights.items()}
    unpermuted = {n: torch.from_numpy(permuted(w.numpy(), heads_of(config, n))) if heads_of(config, n) else w for n, w in weights.items()}
    untied = weights | {"lm_head.weight": weights["model.embed_tokens.weight"].roll(1, 0)}
    for name, changed, other in [("KV head of a query head", {}, crossed), ("rotate-half pairing", {}, unpermuted), ("tie_word_embeddings", {"tie_word_embeddings": False}, untied),
                                 ("hidden_act", {"hidden_act": "gelu"}, None), ("num_hidden_layers", {"num_hidden_layers": 2}, {n: w for n, w in weights.items() if "layers.2." not in n}),
                                 ("norm weights", {}, by_role("norm", torch.ones_like))]:
        out.append({"field": name, "nll": nll(changed, other)})
    for entry in out:
        entry["mean_nll"], entry["moves"] = round(float(entry["nll"].mean()), 7), round(float(np.abs(entry.pop("nll") - right).mean()), 4)
        assert entry["moves"] > 100 * TOLERANCE, entry
        assert "config" not in entry or abs(entry["mean_nll"] - right.mean()) > 100 * TOLERANCE, entry
        print(f"  ablation {entry['field']:26} moves a token by {entry['moves']:.3f} nats, the mean to {entry['mean_nll']:.4f}")
    return [{"spec": spec, "ids": ids, "mean_nll": round(float(right.mean()), 7)}, *out]


def main() -> None:
    TINY.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(SHAPES):
        print(name)
        config, dtype = config_of(name), SHAPES[name][-1]
        full = config | {"head_dim": SHAPES[name][5], "rope_theta": SHAPES[name][9]}
        weights = {n: w.to(dtype) for n, w in random_weights(config, seed).items()}
        if name == "blocks":
            weights = write_gguf("blocks.mixed.gguf", full, weights, lambda n: MIXED[n])
        save(name, config, weights)
        if name == "gqa":
            write_gguf("gqa.f32.gguf", full, weights, lambda n: "F32")
        if name == "mha-untied":
            write_gguf("mha-untied.f16.gguf", full, weights, lambda n: "F16")
        for matrix in (w for n, w in weights.items() if w.ndim == 2):
            assert matrix.float().std() >= 0.2
        plain = {n: w.double().numpy() for n, w in weights.items()}
        golden = {"trained_context": TRAINED, "vocab": config["vocab_size"], "tolerance": TOLERANCE,
                  "cases": [golden_case(model_of(config, weights), plain, full, *case) for case in cases(config["vocab_size"], short=name != "gqa")]}
        if name == "gqa":
            base, *changed = ablations(config, weights, stream(30, 96, config["vocab_size"], 0.14))
            golden["ablations"] = base | {"fields": changed}
        write(TINY / name / "golden.json", golden)
    assert all(p.stat().st_size <= LIMIT for p in TINY.rglob("*") if p.is_file())


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
