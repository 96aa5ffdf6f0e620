"""A second opinion in plain numpy, float64: one token at a time, with a cache that really drops what nobody will read again.

It shares no code with policy.py (no mask, no torch, its own tags, its own RoPE), so that a slip in the rule or in
the patched transformers would have to be made twice. `tiny.py` compares every golden case with it.
"""

import math

import numpy as np


def wheel(config: dict, policy) -> tuple[list[float], float]:
    """Radians per position of each pair of columns, and what a rotated pair grows by, under a policy. `config` as in config.json with a plain `rope_theta`."""
    p = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind, s, original = p.get("rope_type", p.get("type", "default")), p.get("factor"), p.get("original_max_position_embeddings", config["max_position_embeddings"])
    pairs, theta = int(config["head_dim"] * config.get("partial_rotary_factor", 1)) // 2, config["rope_theta"]
    turns = [theta ** (-k / pairs) for k in range(pairs)]
    if kind == "linear":
        return [w / s for w in turns], 1
    if kind == "llama3":
        low, high = p["low_freq_factor"], p["high_freq_factor"]
        share = [min(1, max(0, (original * w / (2 * math.pi) - low) / (high - low))) for w in turns]
        return [w * (f + (1 - f) / s) for w, f in zip(turns, share)], 1
    if kind == "longrope":
        original = config.get("original_max_position_embeddings", original)
        lone = policy.sinks == 0 and not (policy.max_anchors and (policy.anchors or policy.seg_rule))
        spans = [policy.window, policy.seg_rule and policy.max_segment, 0 if lone else policy.max_distance]
        by = p["long_factor"] if max(spans) > original else p["short_factor"]
        return [w / float(np.float32(d)) for w, d in zip(turns, by)], (1 + math.log(config["max_position_embeddings"] / original, original)) ** 0.5
    if kind == "yarn":
        # The pair that turns b times in the original context, solved for its number.
        where = lambda b: pairs * math.log(original / (2 * math.pi * b), theta)
        first, last = max(0, math.floor(where(p["beta_fast"]))), min(2 * pairs - 1, math.ceil(where(p["beta_slow"])))
        share = [min(1, max(0, (k - first) / (last - first))) for k in range(pairs)]
        return [w * (1 - f) + w / s * f for w, f in zip(turns, share)], 0.1 * math.log(s) + 1
    return turns, 1


def rope(x, pos, turns, growth):
    """(heads, head_dim) rotated at integer position `pos`, rotate-half pairing; columns beyond the last pair stay."""
    half = len(turns)
    c, s = growth * np.cos(pos * np.array(turns)), growth * np.sin(pos * np.array(turns))
    a, b = x[:, :half], x[:, half : 2 * half]
    return np.concatenate((a * c - b * s, b * c + a * s, x[:, 2 * half :]), 1)


def decode(weights: dict, config: dict, ids, policy) -> np.ndarray:
    """(n, vocab) logits. `weights` by HuggingFace name, nothing stacked, float64; `config` as for `wheel`."""
    eps, head_dim = config["rms_norm_eps"], config["head_dim"]
    still = [1 - flag for flag in config.get("no_rope_layers", [])]
    groups = config["num_attention_heads"] // config["num_key_value_heads"]
    gemma = "gemma" in config["model_type"]
    norm = lambda x, w: x / np.sqrt((x * x).mean() + eps) * (w + 1 if gemma else w)
    bent = lambda x, cap: cap * np.tanh(x / cap) if cap else x
    # Gemma 3's own number is not used.
    score_cap = config.get("attn_logit_softcapping") if config["model_type"] == "gemma2" else None
    scale = config.get("query_pre_attn_scalar", head_dim) ** -0.5
    act = (lambda a: a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))) if gemma else lambda a: a / (1 + np.exp(-a))
    local = {**config, "rope_theta": config["rope_local_base_freq"], "rope_scaling": None} if "rope_local_base_freq" in config else config
    layers = range(config["num_hidden_layers"])
    kinds = config.get("layer_types") or ["full_attention" for _ in layers]
    cache = [{} for _ in layers]  # position -> (rotated key, value)
    anchors, segment, rows = [], [], []  # positions of the anchors so far, and of the open segment
    for i, token in enumerate(ids):
        segment.append(i)
        is_anchor = token in policy.anchors or (policy.seg_rule and len(segment) == policy.max_segment)
        if is_anchor:
            anchors.append(i)
        newest = anchors[max(0, len(anchors) - policy.max_anchors):]
        read = {i, *range(min(policy.sinks, i + 1)), *range(max(0, i - policy.window + 1), i + 1)}
        if policy.seg_rule:
            read |= set(segment)
        if not (is_anchor and policy.isolated):
            read |= {j for j in newest if i - j < policy.max_distance}
        x = weights["model.embed_tokens.weight"][token] * (config["hidden_size"] ** 0.5 if gemma else 1)
        for l in layers:
            w = lambda name: weights[f"model.layers.{l}.{name}.weight"]
            f = lambda name, x: w(name) @ x + weights.get(f"model.layers.{l}.{name}.bias", 0)
            near_layer = kinds[l] == "sliding_attention"
            turned = lambda x, pos: x if still and still[l] else rope(x, pos, *wheel(local if near_layer else config, policy))
            h = norm(x, w("input_layernorm"))
            q, k, v = (f(f"self_attn.{p}_proj", h).reshape(-1, head_dim) for p in "qkv")
            if f"model.layers.{l}.self_attn.q_norm.weight" in weights:
                q, k = np.array([norm(y, w("self_attn.q_norm")) for y in q]), np.array([norm(y, w("self_attn.k_norm")) for y in k])
            cache[l][i] = turned(k, i), v
            near, pinned = turned(q, i), turned(q, min(i, policy.max_distance - 1))
            at = sorted(j for j in read if kinds[l] == "full_attention" or not policy.layer_window or j > i - policy.layer_window)
            mixed = []
            for head in range(len(q)):
                s = bent(scale * np.array([(pinned if j < policy.sinks else near)[head] @ cache[l][j][0][head // groups] for j in at]), score_cap)
                p = np.exp(s - s.max())
                mixed.append(sum(pj * cache[l][j][1][head // groups] for pj, j in zip(p / p.sum(), at)))
            made = f("self_attn.o_proj", np.concatenate(mixed))
            x = x + (norm(made, w("post_attention_layernorm")) if gemma else made)
            h = norm(x, w("pre_feedforward_layernorm" if gemma else "post_attention_layernorm"))
            made = f("mlp.down_proj", act(f("mlp.gate_proj", h)) * f("mlp.up_proj", h))
            x = x + (norm(made, w("post_feedforward_layernorm")) if gemma else made)
        out = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        rows.append(bent(out @ norm(x, weights["model.norm.weight"]), config.get("final_logit_softcapping")))
        if is_anchor:
            segment = []
        # What any later token can still read; everything else is gone for good.
        live = {*range(policy.sinks), *anchors[max(0, len(anchors) - policy.max_anchors):], *range(i + 2 - policy.window, i + 1)} | (set(segment) if policy.seg_rule else set())
        for entries in cache:
            for j in [j for j in entries if j not in live]:
                del entries[j]
    return np.array(rows)
