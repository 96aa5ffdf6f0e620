"""A Llama decoder that trains under the anchor mask at the cost of the mask, not of its square.

The parameters are named and shaped as LlamaForCausalLM's, so that a checkpoint is a HuggingFace checkpoint. The
mask is the rule of the policy `anchor` (isolated, window 1, no sinks): i sees j <= i when both are in one segment, or
when j is an anchor and i is none. No segment is longer than MAX_SEGMENT, so a block of 64 queries needs the 192 keys
that end with it, and the anchors before those; nothing else is computed. `mask.py` has the rule itself, in a line.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional

MASKS = ("anchor", "causal", "segment")
BLOCK, BACK = 64, 2


@dataclasses.dataclass(frozen=True)
class Config:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 5
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    mlp: int = 512
    context: int = 1024
    theta: float = 10000.0
    eps: float = 1e-5


class Plan:
    """What each query sees, for a batch of windows `ids` [B, T]; made once a step, read by every layer."""

    def __init__(self, ids: torch.Tensor, anchor: int, mask: str):
        assert mask in MASKS, mask
        self.mask = mask
        if mask == "causal":
            return
        batch, length = ids.shape
        assert length % BLOCK == 0, f"{length} is no multiple of {BLOCK}"
        count = length // BLOCK
        is_anchor = ids == anchor
        segment = is_anchor.cumsum(1) - is_anchor.long()
        # Keys near a block: its own and those of BACK blocks before it; -1 is a key that does not exist.
        start = torch.arange(count)[:, None] * BLOCK
        near = start + torch.arange(-BACK * BLOCK, BLOCK)
        query = start + torch.arange(BLOCK)
        at = near.clamp(min=0)
        order = (near[:, None, :] >= 0) & (near[:, None, :] <= query[:, :, None])
        q_segment, k_segment = segment[:, query], segment[:, at]
        visible = q_segment[..., None] == k_segment[:, :, None, :]
        reads = mask == "anchor"
        if reads:
            visible |= is_anchor[:, at][:, :, None, :] & ~is_anchor[:, query][..., None]
        visible &= order
        self.far = None
        if reads:
            # Anchors in order, the same number for every window; a window with fewer gets position 0, unseen.
            most = int(is_anchor.sum(1).max().clamp(min=1))
            most += -most % 8
            rank = torch.where(is_anchor, segment, most)
            self.far = torch.zeros(batch, most + 1, dtype=torch.long).scatter_(1, rank, torch.arange(length).expand(batch, -1))[:, :most]
            real = torch.arange(most) < is_anchor.sum(1, keepdim=True)
            before = self.far[:, None, :] < (start - BACK * BLOCK)[None]
            seen = (before & real[:, None])[:, :, None, :] & ~is_anchor[:, query][..., None]
            visible = torch.cat((seen, visible), dim=3)
        visible = visible.flatten(0, 1)[:, None]
        # [B * blocks, 1, BLOCK, keys]
        self.bias = torch.zeros(visible.shape, dtype=torch.bfloat16).masked_fill_(~visible, float("-inf"))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """q [B, T, H, D], k and v [B, T, KV, D] to [B, T, H, D]."""
        if self.mask == "causal":
            return causal(q, k, v)
        return blocks(q, torch.cat((k, v), dim=3), self.far, BACK, self.bias)


def blocks(q: torch.Tensor, kv: torch.Tensor, far: torch.Tensor | None, back: int, bias: torch.Tensor) -> torch.Tensor:
    """Each block of queries against the keys at `far` [B, F], those of `back` blocks before it and its own.

    q [B, T, H, D], kv [B, T, KV, 2 * D], bias [B * blocks, 1, BLOCK, keys] to [B, T, H, D].
    """
    batch, length, heads, dim = q.shape
    count, kv_heads = length // BLOCK, kv.shape[2]
    group = heads // kv_heads
    padded = functional.pad(kv, (0, 0, 0, 0, back * BLOCK, 0))
    parts = padded.reshape(batch, count + back, BLOCK, *kv.shape[2:])
    keys = torch.cat([parts[:, i:i + count] for i in range(back + 1)], dim=2)
    if far is not None:
        index = far[:, :, None, None].expand(-1, -1, *kv.shape[2:])
        keys = torch.cat((kv.gather(1, index)[:, None].expand(-1, count, -1, -1, -1), keys), dim=2)
    keys = keys.flatten(0, 1).transpose(1, 2)
    k, v = keys[..., :dim], keys[..., dim:]
    # The queries of a group of heads are rows of one product: [B * blocks, KV, group * BLOCK, D].
    q = q.reshape(batch * count, BLOCK, kv_heads, group, dim).permute(0, 2, 3, 1, 4)
    q = q.reshape(batch * count, kv_heads, group * BLOCK, dim)
    scores = (q * dim**-0.5) @ k.transpose(2, 3) + bias.to(q.dtype).repeat(1, 1, group, 1)
    out = torch.softmax(scores, dim=-1) @ v
    out = out.reshape(batch, count, kv_heads, group, BLOCK, dim).permute(0, 1, 4, 2, 3, 5)
    return out.reshape(batch, length, heads, dim)


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Rows of 256 queries against the keys up to their end: plain products beat the fused kernel on a CPU."""
    batch, length, heads, dim = q.shape
    group = heads // k.shape[2]
    k, v = k.permute(0, 2, 3, 1), v.transpose(1, 2)
    q = q.reshape(batch, length, k.shape[1], group, dim).permute(0, 2, 3, 1, 4) * dim**-0.5
    rows = []
    for start in range(0, length, 256):
        end = min(start + 256, length)
        part = q[:, :, :, start:end].reshape(batch, k.shape[1], -1, dim)
        scores = (part @ k[..., :end]).unflatten(2, (group, -1))
        later = torch.ones(end - start, end, dtype=torch.bool).triu_(start + 1)
        scores = scores.masked_fill(later, float("-inf"))
        rows.append((torch.softmax(scores, dim=-1).flatten(2, 3) @ v[:, :, :end]).unflatten(2, (group, -1)))
    return torch.cat(rows, dim=3).permute(0, 3, 1, 2, 4).reshape(batch, length, heads, dim)


class Layer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        linear = lambda rows, columns: nn.Linear(columns, rows, bias=False)
        self.input_layernorm = nn.RMSNorm(c.hidden, eps=c.eps)
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": linear(c.heads * c.head_dim, c.hidden),
                "k_proj": linear(c.kv_heads * c.head_dim, c.hidden),
                "v_proj": linear(c.kv_heads * c.head_dim, c.hidden),
                "o_proj": linear(c.hidden, c.heads * c.head_dim),
            }
        )
        self.post_attention_layernorm = nn.RMSNorm(c.hidden, eps=c.eps)
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": linear(c.mlp, c.hidden),
                "up_proj": linear(c.mlp, c.hidden),
                "down_proj": linear(c.hidden, c.mlp),
            }
        )
        self.dim = c.head_dim

    def forward(self, x, cos, sin, plan: Plan):
        attn = self.self_attn
        h = self.input_layernorm(x)
        q, k, v = (attn[name](h).unflatten(-1, (-1, self.dim)) for name in ("q_proj", "k_proj", "v_proj"))
        out = plan.attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + attn["o_proj"](out.flatten(-2))
        h = self.post_attention_layernorm(x)
        mlp = self.mlp
        return x + mlp["down_proj"](functional.silu(mlp["gate_proj"](h)) * mlp["up_proj"](h))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Llama(nn.Module):
    """`model.embed_tokens` is also the output matrix (tied)."""

    def __init__(self, config: Config = Config()):
        super().__init__()
        self.config = c = config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(c.vocab, c.hidden),
                "layers": nn.ModuleList(Layer(c) for _ in range(c.layers)),
                "norm": nn.RMSNorm(c.hidden, eps=c.eps),
            }
        )
        angle = torch.arange(c.context)[:, None] * c.theta ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
        self.register_buffer("cos", angle.cos()[:, None, :], persistent=False)
        self.register_buffer("sin", angle.sin()[:, None, :], persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                scale = (2 * c.layers) ** -0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                std = 0.02 if "embed" in name else scale * weight.shape[1] ** -0.5
                nn.init.normal_(weight, std=std)

    def forward(self, ids: torch.Tensor, plan: Plan, start: int = 0) -> torch.Tensor:
        """ids [B, T], the first at position `start`, to hidden states [B, T, hidden] after the last norm."""
        x = self.model["embed_tokens"](ids)
        cos, sin = (t[start:start + ids.shape[1]].to(x.dtype) for t in (self.cos, self.sin))
        for layer in self.model["layers"]:
            x = layer(x, cos, sin, plan)
        return self.model["norm"](x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden, self.model["embed_tokens"].weight)
