"""A second opinion in plain numpy, float64: one token at a time, with a cache that really drops what nobody will read again.

It shares no code with policy.py (no mask, no torch, its own tags, its own RoPE), so that a slip in the rule or in
the patched transformers would have to be made twice. `tiny.py` compares every golden case with it.
"""

import numpy as np


def rope(x, pos, theta):
    """(heads, head_dim) rotated at integer position `pos`, rotate-half pairing."""
    half = x.shape[-1] // 2
    angle = pos * theta ** (-np.arange(half) / half)
    a, b = x[:, :half], x[:, half:]
    return np.concatenate((a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)), 1)


def decode(weights: dict, config: dict, ids, policy) -> np.ndarray:
    """(n, vocab) logits. `weights` by HuggingFace name, float64; `config` as in config.json with a plain `rope_theta`."""
    eps, theta, head_dim = config["rms_norm_eps"], config["rope_theta"], config["head_dim"]
    groups = config["num_attention_heads"] // config["num_key_value_heads"]
    norm = lambda x, w: x / np.sqrt((x * x).mean() + eps) * w
    layers = range(config["num_hidden_layers"])
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
        x = weights["model.embed_tokens.weight"][token]
        for l in layers:
            w = lambda name: weights[f"model.layers.{l}.{name}.weight"]
            h = norm(x, w("input_layernorm"))
            q, k, v = ((w(f"self_attn.{p}_proj") @ h).reshape(-1, head_dim) for p in "qkv")
            cache[l][i] = rope(k, i, theta), v
            near, pinned = rope(q, i, theta), rope(q, min(i, policy.max_distance - 1), theta)
            at = sorted(read)
            mixed = []
            for head in range(len(q)):
                s = np.array([(pinned if j < policy.sinks else near)[head] @ cache[l][j][0][head // groups] for j in at]) / np.sqrt(head_dim)
                p = np.exp(s - s.max())
                mixed.append(sum(pj * cache[l][j][1][head // groups] for pj, j in zip(p / p.sum(), at)))
            x = x + w("self_attn.o_proj") @ np.concatenate(mixed)
            h = norm(x, w("post_attention_layernorm"))
            gate = w("mlp.gate_proj") @ h
            x = x + w("mlp.down_proj") @ (gate / (1 + np.exp(-gate)) * (w("mlp.up_proj") @ h))
        out = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        rows.append(out @ norm(x, weights["model.norm.weight"]))
        if is_anchor:
            segment = []
        # What any later token can still read; everything else is gone for good.
        live = {*range(policy.sinks), *anchors[max(0, len(anchors) - policy.max_anchors):], *range(i + 2 - policy.window, i + 1)} | (set(segment) if policy.seg_rule else set())
        for entries in cache:
            for j in [j for j in entries if j not in live]:
                del entries[j]
    return np.array(rows)
