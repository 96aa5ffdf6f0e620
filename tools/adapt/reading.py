"""Reading on after what was read: keys and values are kept, so that a beginning in common is computed once.

The rule is the same as everywhere (`policy.visible`), as a dense mask: for many short texts that is cheaper than blocks.
"""

import dataclasses

import numpy
import torch
from torch.nn import functional

from policy import Policy, visible


@dataclasses.dataclass(frozen=True)
class Read:
    """What a row of tokens left behind: its `ids` and, by layer, keys and values [T, KV, 2 * D]."""

    ids: list[int] = dataclasses.field(default_factory=list)
    layers: list[torch.Tensor] = dataclasses.field(default_factory=list)


class Onward:
    """The attention of some rows of new tokens, all after `before`: what `Llama` calls a plan."""

    def __init__(self, policy: Policy, before: Read, rows: list[list[int]]):
        start, most = len(before.ids), max(map(len, rows))
        seen = [visible(policy, numpy.array(before.ids + row + [0] * (most - len(row))))[start:] for row in rows]
        # [B, 1, T, start + T]
        self.seen = torch.from_numpy(numpy.stack(seen))[:, None]
        self.before, self.layers = before, []

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """q [B, T, H, D], k and v [B, T, KV, D] to [B, T, H, D]."""
        kv = torch.cat((k, v), dim=3)
        if self.before.ids:
            old = self.before.layers[len(self.layers)]
            kv = torch.cat((old.expand(len(kv), -1, -1, -1), kv), dim=1)
        self.layers.append(kv)
        k, v = kv.transpose(1, 2).chunk(2, dim=3)
        return functional.scaled_dot_product_attention(q.transpose(1, 2), k, v, self.seen, enable_gqa=True).transpose(1, 2)


@torch.no_grad()
def read(model, policy: Policy, before: Read, rows: list[list[int]]) -> tuple[list[torch.Tensor], Read]:
    """Hidden states of each row's tokens, and what the first row leaves behind."""
    plan = Onward(policy, before, rows)
    most = max(map(len, rows))
    hidden = model(torch.tensor([row + [0] * (most - len(row)) for row in rows]), plan, start=len(before.ids))
    after = Read(before.ids + rows[0], [kv[0, :len(before.ids) + len(rows[0])] for kv in plan.layers])
    return [states[:len(row)] for states, row in zip(hidden, rows)], after
