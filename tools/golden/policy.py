"""The visibility rule as a dense mask, and a forward pass of transformers that obeys it: the oracle of every golden file.

The rule, for query i and key j <= i (tags are decided online, when a token is the input):

    anc[t]  = id[t] in anchors and id[t - 1] not in not_after, or (seg_rule and t is the M-th token of the open segment)
    seg[t]  = number of anchors strictly before t
    visible = j == i  or  (seg_rule and seg[j] == seg[i])  or  i - j < W  or  j < S
              or  (anc[j] and not (isolated and anc[i]) and j is among the newest A anchors up to i and i - j < D)

RoPE: every key is rotated at its own position; a query reads the pinned prefix (j < S) rotated at min(i, D - 1) and all other keys rotated at i.

`attach` replaces the attention of a stock model (Llama and its descendants, attn_implementation="eager") by one that reads with
these two queries; it is given the mask as an explicit 4-D additive tensor, as transformers takes it. In float64 (`.double()`) the parts of transformers
that compute in float32 whatever the model's type (RMSNorm, the softmax, the RoPE angles) are computed in float64 too.

Run alone it checks itself: the mask against the 8 x 8 figure of the AnLLM paper, and the patched forward against stock
transformers.   python tools/golden/policy.py
"""

from __future__ import annotations

import dataclasses
import math
import types

import numpy as np
import torch

UNBOUNDED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Policy:
    seg_rule: bool
    window: int
    sinks: int
    anchors: tuple[int, ...]
    isolated: bool
    max_anchors: int
    max_segment: int
    max_distance: int
    not_after: tuple[int, ...] = ()
    layer_window: int | None = None  # the model's, of the layers that have one where others have none

    def with_(self, **changes) -> Policy:
        return dataclasses.replace(self, **changes)

    def as_json(self) -> dict:
        plain = {k: v for k, v in dataclasses.asdict(self).items() if k != "layer_window"}
        return {**plain, "anchors": list(self.anchors), "not_after": list(self.not_after)}


def windows(config) -> tuple[int | None, int | None]:
    """The sliding window that all layers of a model have, and the one that some have while others have none."""
    window, kinds = getattr(config, "sliding_window", None), set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if len(kinds) == 2 and window:
        return None, window
    return (window if "sliding_attention" in kinds else None), None


def resolve(spec: dict, trained: int, own_window: int | None = None, layer_window: int | None = None) -> Policy:
    """A preset with its overrides, every bound made a number; `trained` is the context length the model was trained for, the other two are
    what `windows` says: a window of all layers is that of `full`, one of some layers is theirs under every preset."""
    capacity = min(spec.get("ctx", trained), trained)
    bound = min(1024, trained)
    preset = spec["preset"]
    base = dict(seg_rule=False, window=1, sinks=0, anchors=(), isolated=False, max_anchors=bound, max_segment=bound, max_distance=None)
    base |= {
        "full": dict(window=min(own_window or capacity, capacity)),
        "anchor": dict(seg_rule=True, isolated=True),
        "sepllm": dict(window=256, sinks=3, max_anchors=1024),
        "streaming": dict(window=513, sinks=4),
        "window": dict(window=256),
    }[preset]
    base |= {k: v for k, v in spec.items() if k not in ("preset", "ctx")}
    if base["max_distance"] is None:
        base["max_distance"] = base["sinks"] + base["window"] if preset == "streaming" else trained
    base["layer_window"] = layer_window
    return Policy(**{**base, "anchors": tuple(sorted(set(base["anchors"]))), "not_after": tuple(base.get("not_after", ()))})


def reach(policy: Policy) -> int:
    """The largest distance that the policy shows, plus one."""
    near = max(policy.window, policy.max_segment if policy.seg_rule else 1)
    far = policy.sinks > 0 or ((policy.seg_rule or policy.anchors) and policy.max_anchors > 0)
    return max(near, policy.max_distance) if far else near


def tags(ids, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """anc and seg of every token, decided from the past alone."""
    anc, seg, closed, open_len, barred = [], [], 0, 0, False
    for token in ids:
        open_len += 1
        is_anchor = (token in policy.anchors and not barred) or (policy.seg_rule and open_len == policy.max_segment)
        anc.append(is_anchor)
        seg.append(closed)
        if is_anchor:
            closed, open_len = closed + 1, 0
        barred = token in policy.not_after
    return np.array(anc, bool), np.array(seg)


def visible(ids, policy: Policy) -> np.ndarray:
    """The dense (n, n) boolean mask; row = query, column = key."""
    n = len(ids)
    anc, seg = tags(ids, policy)
    number = np.cumsum(anc)  # of anchors up to and including each position
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    newest = number[:, None] - number[None, :] < policy.max_anchors  # anchors after j, up to i
    anchor = anc[None, :] & ~(policy.isolated & anc[:, None]) & newest & (i - j < policy.max_distance)
    segment = policy.seg_rule & (seg[:, None] == seg[None, :])
    return (j <= i) & ((j == i) | segment | (i - j < policy.window) | (j < policy.sinks) | anchor)


def frequencies(config, far: bool = False, kind_of_layer: str | None = None) -> tuple[torch.Tensor, float]:
    """Radians per position of each pair of columns, and the factor of cos and sin: `modeling_rope_utils.py` of transformers in float64.
    `far`: of a text that reaches beyond the original context, where that turns in another way. `kind_of_layer`: where kinds differ."""
    p = config.rope_parameters
    if kind_of_layer:
        p = p[kind_of_layer]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    dim = int(head_dim * p.get("partial_rotary_factor", 1.0))
    plain = float(p["rope_theta"]) ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    kind = p["rope_type"]
    if kind == "default":
        return plain, 1.0
    if kind == "longrope":
        original = p["original_max_position_embeddings"]
        extended = p.get("factor") or config.max_position_embeddings / original
        suggested = math.sqrt(1 + math.log(extended) / math.log(original)) if extended > 1 else 1.0
        divisors = torch.tensor(p["long_factor" if far else "short_factor"], dtype=torch.float32).double()
        return plain / divisors, p.get("attention_factor") or suggested
    squeezed = plain / p["factor"]
    if kind == "linear":
        return squeezed, 1.0
    original = p["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = p["low_freq_factor"], p["high_freq_factor"]
        wavelength = 2 * math.pi / plain
        smooth = (original / wavelength - low) / (high - low)
        between = (1 - smooth) * squeezed + smooth * plain
        return torch.where(wavelength > original / low, squeezed, torch.where(wavelength < original / high, plain, between)), 1.0
    assert kind == "yarn", kind
    column = lambda turns: dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(p["rope_theta"]))
    first, last = column(p.get("beta_fast") or 32), column(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - first) / (last - first or 0.001)).clamp(0, 1)
    grown = lambda weight: 0.1 * weight * math.log(p["factor"]) + 1 if p["factor"] > 1 else 1.0
    factor = p.get("attention_factor")
    if factor is None:
        both = p.get("mscale") and p.get("mscale_all_dim")
        factor = grown(p["mscale"]) / grown(p["mscale_all_dim"]) if both else grown(1)
    return squeezed * ramp + plain * (1 - ramp), factor


class ExactRotary(torch.nn.Module):
    """cos and sin of pos * frequency, all in float64 (stock transformers rounds frequency and angle to float32)."""

    def __init__(self, config, stock=None):
        super().__init__()
        self.far = False
        # Gemma 3 turns by the kind of the layer.
        self.layer_types = getattr(stock, "layer_types", None)
        self.kinds = {kind: frequencies(config, kind_of_layer=kind) for kind in self.layer_types or ()}
        if self.layer_types:
            for kind, (inverse, factor) in self.kinds.items():
                assert (getattr(stock, f"{kind}_inv_freq").double() / inverse - 1).abs().max() < 1e-5 and factor == getattr(stock, f"{kind}_attention_scaling")
            return
        self.sets = [frequencies(config, far) for far in (False, True)]
        self.inverse, self.factor = self.sets[0]
        if stock is not None:
            gap = (stock.inv_freq.double() / self.inverse - 1).abs().max()
            assert gap < 1e-5 and abs(stock.attention_scaling / self.factor - 1) < 1e-6, (gap, stock.attention_scaling, self.factor)

    def forward(self, x, position_ids, layer_type=None):
        inverse, factor = self.kinds[layer_type] if layer_type else self.sets[self.far]
        angle = position_ids[..., None].double() * inverse
        angle = torch.cat((angle, angle), -1)
        return (angle.cos() * factor).to(x.dtype), (angle.sin() * factor).to(x.dtype)


def exact_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def exact_gemma_norm(self, x):
    return (1 + self.weight) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate(x, cos, sin):
    """The first columns, as many as cos has; the others stay as they are."""
    x, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    half = x.shape[-1] // 2
    return torch.cat((x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin, rest), -1)


def queries_keys_values(self, x):
    """(batch, heads, n, head_dim) each, as the class of `self` makes them before it rotates."""
    heads = lambda y: y.view(*x.shape[:2], -1, self.head_dim)
    if hasattr(self, "qkv_proj"):
        kv = self.num_key_value_heads * self.head_dim
        q, k, v = (heads(y) for y in self.qkv_proj(x).split([self.config.num_attention_heads * self.head_dim, kv, kv], -1))
    else:
        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
    if hasattr(self, "q_norm"):
        q, k = self.q_norm(q), self.k_norm(k)
    return (y.transpose(1, 2) for y in (q, k, v))


def two_query_attention(self, hidden_states, position_embeddings=None, attention_mask=None, **_):
    """Eager attention in which the pinned prefix is read by a second query, rotated at min(i, D - 1). Replaces the forward of the attention."""
    batch, n = hidden_states.shape[:2]
    q, k, v = queries_keys_values(self, hidden_states)
    turn = rotate if getattr(self, "use_rope", True) else lambda x, *_: x
    unclipped = [t[:, None] for t in position_embeddings]
    k = turn(k, *unclipped).repeat_interleave(self.num_key_value_groups, 1)
    v = v.repeat_interleave(self.num_key_value_groups, 1)
    scores = turn(q, *unclipped) @ k.transpose(2, 3)
    sinks, clipped = self.pinned
    if sinks:
        pinned = turn(q, *clipped) @ k[:, :, :sinks].transpose(2, 3)
        scores = torch.cat((pinned, scores[:, :, :, sinks:]), -1)
    scores = scores * self.scaling
    # Gemma 3 has such a number too, and does not use it.
    if "Gemma2" in type(self).__name__ and self.attn_logit_softcapping is not None:
        scores = self.attn_logit_softcapping * torch.tanh(scores / self.attn_logit_softcapping)
    weights = torch.softmax(scores + attention_mask, -1)
    return self.o_proj((weights @ v).transpose(1, 2).reshape(batch, n, -1)), None


def attach(model):
    """Gives a model the attention above; a float64 model also gets float64 norms and angles."""
    assert model.config._attn_implementation == "eager"
    exact = model.dtype == torch.float64
    for module in model.modules():
        if type(module).__name__.endswith("Attention"):
            module.forward = types.MethodType(two_query_attention, module)
        if exact and type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(exact_gemma_norm if "Gemma" in type(module).__name__ else exact_norm, module)
        if exact and "ScaledWordEmbedding" in type(module).__name__:
            module.embed_scale = torch.tensor(module.embedding_dim**0.5, dtype=torch.float64)
    if exact:
        model.model.rotary_emb = ExactRotary(model.config, model.model.rotary_emb)
    return model.eval()


def additive(mask: np.ndarray, dtype) -> torch.Tensor:
    """The explicit 4-D mask of transformers: 0 where visible, minus infinity elsewhere. A row is never empty."""
    bias = torch.zeros(mask.shape, dtype=dtype)
    return bias.masked_fill(~torch.from_numpy(mask), float("-inf"))[None, None]


def masks(mask: np.ndarray, policy: Policy, dtype):
    """What transformers takes: one mask, or one for each kind of layer."""
    if policy.layer_window is None:
        return additive(mask, dtype)
    i, j = np.ogrid[: len(mask), : len(mask)]
    return {"full_attention": additive(mask, dtype), "sliding_attention": additive(mask & (i - j < policy.layer_window), dtype)}


@torch.no_grad()
def logits(model, ids, policy: Policy, mask: np.ndarray | None = None, clip: bool = True) -> torch.Tensor:
    """(n, vocab) logits of one masked forward. `mask` and `clip=False` are for deliberately wrong rules."""
    mask = visible(ids, policy) if mask is None else mask
    positions = torch.arange(len(ids))[None]
    at = positions.clamp(max=policy.max_distance - 1) if clip else positions
    original = (model.config.rope_parameters or {}).get("original_max_position_embeddings")
    model.model.rotary_emb.far = bool(original) and reach(policy) > original
    kinds = model.config.layer_types if getattr(model.model.rotary_emb, "layer_types", None) else [None for _ in model.model.layers]
    clipped = {kind: [t[:, None] for t in model.model.rotary_emb(model.model.embed_tokens.weight, at, *([kind] if kind else []))] for kind in set(kinds)}
    for kind, layer in zip(kinds, model.model.layers):
        layer.self_attn.pinned = (min(policy.sinks, len(ids)), clipped[kind])
    return model(torch.tensor([list(ids)]), attention_mask=masks(mask, policy, model.dtype), position_ids=positions, use_cache=False).logits[0]


def score(z: torch.Tensor, ids) -> dict:
    """nll[i] of ids[i+1] given ids[..=i], and the likeliest next id after every position with its lead over the second."""
    nll = torch.nn.functional.cross_entropy(z[:-1].double(), torch.tensor(list(ids[1:])), reduction="none")
    top = z.double().topk(2)
    return {"nll": nll.numpy(), "top1": top.indices[:, 0].tolist(), "margin": (top.values[:, 0] - top.values[:, 1]).numpy()}


FIGURE = "10000000 11000000 11100000 11110000 00011000 00011100 00001110 00010011"  # AnLLM, Figure 2


def check() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = visible([1, 1, 1, 0, 1, 1, 0, 1], resolve({"preset": "anchor", "anchors": [0]}, 64)).astype(int)
    assert " ".join("".join(map(str, r)) for r in rows) == FIGURE, rows
    torch.manual_seed(0)
    shape = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=64)
    stock = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=256, attn_implementation="eager", initializer_range=0.2)).eval()
    ids = np.random.default_rng(0).integers(0, 64, 70).tolist()
    specs = [{"preset": "full"}, {"preset": "anchor", "anchors": [3, 5, 8], "sinks": 4}, {"preset": "sepllm", "anchors": [3, 5], "window": 7},
             {"preset": "streaming", "window": 9, "max_distance": 200}, {"preset": "window", "window": 5}]
    want = []
    with torch.no_grad():
        for spec in specs:
            mask = additive(visible(ids, resolve(spec, 256)), torch.float32)
            want.append(stock(torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0])
    for dtype in (torch.float32, torch.float64):
        model = attach(stock.to(dtype))
        for spec, z in zip(specs, want):
            gap = (logits(model, ids, resolve(spec, 256)) - z).abs().max().item()
            assert gap < 2e-4, (dtype, spec, gap)
            print(f"patched {str(dtype):14} equals stock eager float32, {spec['preset']:9}: largest logit difference {gap:.1e} of {z.abs().max():.1f}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    check()
