"""Decoding with a cache that is reduced at every anchor: what the engine's ring does, in a page of PyTorch.

After the step that consumed an anchor, the tokens of its segment are forgotten and the anchor stays; an anchor as a
query does not see earlier anchors; positions are the original ones. Beyond the trained context anchors further back
than it are not read, as the engine's default has it. The masks `causal` and `segment` decode by the same code.
"""

import torch
from torch.nn import functional

from model import Llama, rotate


class Decoder:
    def __init__(self, model: Llama, anchor: int, mask: str):
        self.model, self.anchor, self.mask, self.c = model, anchor, mask, model.config
        # Kept entries: K and V by layer [kept, KV, 2 D], their positions, and how many at the end are of the open segment.
        self.kv = [torch.zeros(0, self.c.kv_heads, 2 * self.c.head_dim) for _ in range(self.c.layers)]
        self.positions, self.open, self.at = torch.zeros(0, dtype=torch.long), 0, 0
        steps = torch.arange(0, self.c.head_dim, 2, dtype=torch.float64) / self.c.head_dim
        self.frequency = self.c.theta ** -steps

    @torch.no_grad()
    def step(self, token: int) -> torch.Tensor:
        """Consumes a token; the logits [V] of the next."""
        c, parts = self.c, self.model.model
        is_anchor = token == self.anchor
        self.positions = torch.cat((self.positions, torch.tensor([self.at])))
        self.open += 1
        visible = torch.ones(len(self.positions), dtype=torch.bool)
        if self.mask != "causal":
            old = len(visible) - self.open
            visible[:old] = self.mask == "anchor" and not is_anchor
            visible[:old] &= self.at - self.positions[:old] < c.context
        angle = self.at * self.frequency
        cos, sin = angle.cos().float(), angle.sin().float()
        x = parts["embed_tokens"].weight[token]
        for i, layer in enumerate(parts["layers"]):
            h = layer.input_layernorm(x)
            q, k, v = (layer.self_attn[name](h).view(-1, c.head_dim) for name in ("q_proj", "k_proj", "v_proj"))
            entry = torch.cat((rotate(k, cos, sin), v), dim=1)[None]
            self.kv[i] = torch.cat((self.kv[i], entry))
            keys, values = self.kv[i][visible].repeat_interleave(c.heads // c.kv_heads, dim=1).chunk(2, dim=2)
            scores = torch.einsum("hd,nhd->hn", rotate(q, cos, sin), keys) * c.head_dim**-0.5
            out = torch.einsum("hn,nhd->hd", torch.softmax(scores, dim=1), values)
            x = x + layer.self_attn["o_proj"](out.flatten())
            h = layer.post_attention_layernorm(x)
            x = x + layer.mlp["down_proj"](functional.silu(layer.mlp["gate_proj"](h)) * layer.mlp["up_proj"](h))
        if is_anchor and self.mask != "causal":
            keep = torch.ones(len(self.positions), dtype=torch.bool)
            keep[-self.open:-1] = False
            self.positions = self.positions[keep]
            self.kv = [entries[keep] for entries in self.kv]
            self.open = 0
        self.at += 1
        return self.model.logits(parts["norm"](x))

    @property
    def live(self) -> int:
        return len(self.positions)


def generate(model: Llama, anchor: int, mask: str, prompt: list[int], count: int, end: int | None, temperature=0.0, top_p=1.0, seed=0):
    """`count` ids after the prompt, fewer when `end` comes; and the most entries that were live."""
    decoder = Decoder(model, anchor, mask)
    for token in prompt:
        logits = decoder.step(token)
    generator = torch.Generator().manual_seed(seed)
    found, peak = [], 0
    while len(found) < count:
        if temperature == 0:
            token = int(logits.argmax())
        else:
            chances, ids = torch.softmax(logits / temperature, dim=0).sort(descending=True)
            chances[chances.cumsum(0) - chances > top_p] = 0
            token = int(ids[torch.multinomial(chances, 1, generator=generator)])
        if token == end:
            break
        found.append(token)
        peak = max(peak, decoder.live + 1)
        logits = decoder.step(token)
    return found, peak
