"""What each query of a window sees under a policy, at the cost of what it sees: the rule of `src/kv/mask.rs`.

i sees j <= i when both are in one segment, or j is an anchor (and i is none, if isolated), or i - j < window, or
j < sinks. No segment is longer than `max_segment`, whose last token is then an anchor whatever it is. So a block of 64
queries needs the 64 * (back + 1) keys that end with it, the anchors before those, and the sinks.
"""

import dataclasses

import numpy
import torch

from model import BLOCK, blocks, causal


@dataclasses.dataclass(frozen=True)
class Policy:
    """`anchors` are ids; without any the policy is a sliding window with pinned tokens. `full` sees everything."""

    name: str
    anchors: frozenset[int] = frozenset()
    window: int = 1
    sinks: int = 4
    isolated: bool = True
    max_segment: int = 128
    full: bool = False
    # SepLLM: anchors without segments.
    segments: bool = True
    # A control: segments as they are, and no anchor is read after its segment.
    hidden: bool = False

    @property
    def by_segment(self) -> bool:
        return bool(self.anchors) and self.segments


def tags(policy: Policy, ids: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """For one window: which tokens are anchors, and the number of each token's segment."""
    is_anchor = numpy.isin(ids, list(policy.anchors))
    if policy.by_segment:
        length = 0
        for i in range(len(ids)):
            length += 1
            is_anchor[i] |= length == policy.max_segment
            length *= not is_anchor[i]
    return is_anchor, numpy.cumsum(is_anchor) - is_anchor


def visible(policy: Policy, ids: numpy.ndarray) -> numpy.ndarray:
    """The rule itself, [T, T]: what the blocks are checked against."""
    at = numpy.arange(len(ids))
    i, j = at[:, None], at[None]
    if policy.full:
        return j <= i
    is_anchor, segment = tags(policy, ids)
    seen = (i - j < policy.window) | (j < policy.sinks)
    if policy.by_segment:
        seen |= segment[:, None] == segment[None]
    if not policy.hidden:
        seen |= is_anchor[None] & ~(is_anchor[:, None] & policy.isolated)
    return seen & (j <= i)


def live(policy: Policy, ids: numpy.ndarray) -> int:
    """Entries that the next token after the window reads: what the engine keeps."""
    count = len(ids)
    if policy.full:
        return count
    is_anchor, segment = tags(policy, ids)
    at = numpy.arange(count)
    kept = (at < policy.sinks) | (at > count - policy.window) | is_anchor & (not policy.hidden)
    if policy.by_segment:
        kept |= segment == segment[-1] + is_anchor[-1]
    return int(kept.sum())


class Plan:
    """For a batch of windows `ids` [B, T]; made once a step, read by every layer."""

    def __init__(self, policy: Policy, ids: torch.Tensor):
        self.policy = policy
        if policy.full:
            return
        batch, length = ids.shape
        assert length % BLOCK == 0, f"{length} is no multiple of {BLOCK}"
        reach = max(policy.window - 1, policy.max_segment - 1 if policy.by_segment else 0)
        self.back = -(-reach // BLOCK)
        self.blocks = length // BLOCK
        found = [tags(policy, row) for row in ids.numpy()]
        is_anchor, segment = (torch.from_numpy(numpy.stack(part)) for part in zip(*found))
        start = torch.arange(self.blocks)[:, None] * BLOCK
        near = start + torch.arange(-self.back * BLOCK, BLOCK)
        query = (start + torch.arange(BLOCK))[:, :, None]
        real = near[:, None, :] >= 0
        near = near.clamp(min=0)
        key = near[:, None, :]
        reads = is_anchor[:, near][:, :, None, :] & ~(is_anchor[:, query[..., 0]][..., None] & policy.isolated)
        reads &= not policy.hidden
        seen = reads | (query - key < policy.window) | (key < policy.sinks)
        if policy.by_segment:
            seen = seen | (segment[:, query[..., 0]][..., None] == segment[:, near][:, :, None, :])
        seen = seen & real & (key <= query)
        # Sinks and anchors before the near keys, the same number for every window; the rest is position 0, unseen.
        lists = [numpy.flatnonzero((numpy.arange(length) < policy.sinks) | (row.numpy() & (not policy.hidden))) for row in is_anchor]
        most = max(8, -(-max(map(len, lists)) // 8) * 8)
        self.far = torch.tensor(numpy.stack([numpy.pad(row, (0, most - len(row))) for row in lists]))
        real = torch.arange(most) < torch.tensor([len(row) for row in lists])[:, None]
        before = (self.far[:, None, :] < (start - self.back * BLOCK)[None]) & real[:, None]
        pinned = (self.far < policy.sinks)[:, None, None, :]
        free = ~(is_anchor[:, query[..., 0]] & policy.isolated)[..., None]
        seen = torch.cat((before[:, :, None, :] & (pinned | free), seen), dim=3)
        # [B * blocks, 1, BLOCK, keys]
        self.bias = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf")).flatten(0, 1)[:, None]

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """q [B, T, H, D], k and v [B, T, KV, D] to [B, T, H, D]."""
        if self.policy.full:
            return causal(q, k, v)
        return blocks(q, torch.cat((k, v), dim=3), self.far, self.back, self.bias)
