"""Writes tests/data/visibility.json: dense masks of the rule for the paper's 8 x 8 figure and for small random policies.

Each case holds the resolved policy, the ids, the tags (`anchors`: bit string of anc; `segments`: seg) and one bit string per query row.
Run:  python tools/golden/visibility.py
"""

import collections
import random

from common import DATA, write
from policy import FIGURE, Policy, UNBOUNDED, resolve, tags, visible


def bits(values) -> str:
    return "".join("1" if v else "0" for v in values)


def case(name, ids, policy):
    anc, seg = tags(ids, policy)
    rows = [bits(row) for row in visible(ids, policy)]
    return {"name": name, "policy": policy.as_json(), "ids": ids, "anchors": bits(anc), "segments": seg.tolist(), "rows": rows}


def main() -> None:
    figure = case("figure 2 of the paper", [1, 1, 1, 0, 1, 1, 0, 1], resolve({"preset": "anchor", "anchors": [0]}, 64))
    assert " ".join(figure["rows"]) == FIGURE
    rng, cases, moved = random.Random(20), [figure], collections.Counter()
    for number in range(56):
        anchors = rng.choice([(), (0,), (0,), (0, 1)])
        policy = Policy(
            seg_rule=rng.random() < 0.65, window=rng.choice([1, 1, 1, 2, 4, 9, UNBOUNDED]), sinks=rng.choice([0, 0, 1, 3, 5]), anchors=anchors,
            isolated=rng.random() < 0.6, max_anchors=rng.choice([0, 1, 2, 4, 1000]), max_segment=rng.choice([1, 2, 3, 6, 1000]),
            max_distance=rng.choice([1, 6, 12, UNBOUNDED]), not_after=rng.choice([(), (), (1,), (0, 2)]))
        ids = [rng.choice([0, 1, 2, 3, 4, 5]) for _ in range(number if number in (1, 2) else rng.choice([12, 20, 24]))]
        if number % 9 == 0:
            ids = [0] * 12
        cases.append(case(f"random {number}", ids, policy))
        for field, value in vars(policy).items():  # which fields this case can tell from a neighbouring value
            other = {"anchors": (*anchors, 2), "not_after": (*policy.not_after, 3), "seg_rule": not value, "isolated": not value}.get(field, value + 1 if field not in ("anchors", "not_after") else None)
            moved[field] += (visible(ids, policy.with_(**{field: other})) != visible(ids, policy)).any()
    assert set(moved) == set(vars(policy)) and min(moved.values()) >= 5, moved
    write(DATA / "visibility.json", {"unbounded": UNBOUNDED, "cases": cases})


if __name__ == "__main__":
    main()
