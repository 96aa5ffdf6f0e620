#!/usr/bin/env python3
"""depth_svg.py ROWS.jsonl [ROWS.jsonl ...] > depth.svg: draws what `killick bench --depth-sweep -o jsonl` has measured.

A row of the picture for each model: tokens a second of processor time, and bytes of keys and values that the next token reads, against
the tokens read before; a line for each policy. On a GPU the processor waits, so there tokens a second of the device's own time are
drawn, or of the clock where it has none. Where a test was measured several times, its fastest counts. The colours are readable on white and on black, and the background is what it lies on.
"""
import html
import json
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 240, 62, 14, 40, 44
COLOURS = {"full": "#3b82c4", "anchor": "#d9822b"}
OTHERS = ["#5a9e6f", "#a56cc1", "#c0504d"]
INK, GRID = "#7a7f87", "#7a7f8744"


def per_second(row):
    """Tokens a second, and of what."""
    if row["device_type"] == "cpu" and row["cpu_s_per_token"]:
        return 1 / row["cpu_s_per_token"], "tokens a second of processor time"
    if row["device_ns_per_token"]:
        return 1e9 / row["device_ns_per_token"], "tokens a second of the device's time"
    return row["avg_ts"], "tokens a second"


def mebibytes(row):
    return row["kv_bytes_live"] / 2**20, "MiB of keys and values that a token reads"


def steps(most):
    """Round marks from 0 to about `most`."""
    unit = 10.0 ** len(str(int(most))) / 100 if most >= 1 else 0.01
    while most / unit > 5:
        unit *= 2.5 if str(unit).strip("0.").startswith("2") and not str(unit).strip("0.").startswith("25") else 2
    marks, at = [], 0.0
    while at <= most * 1.001:
        marks.append(at)
        at += unit
    return marks


def number(value):
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def panel(x, y, rows, of, title, colours):
    """One plot with its top left corner at (x, y)."""
    label = of(rows[0])[1]
    deepest, most = max(row["n_depth"] for row in rows), 1.08 * max(of(row)[0] for row in rows)
    across = lambda depth: x + LEFT + (WIDTH - LEFT - RIGHT) * depth / deepest
    up = lambda value: y + HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most
    out = [f'<text x="{x + LEFT}" y="{y + 16}" font-weight="bold">{html.escape(title)}</text>',
           f'<text x="{x + LEFT}" y="{y + 32}" font-size="12">{label}</text>']
    for mark in steps(most):
        out.append(f'<path d="M{across(0):.1f} {up(mark):.1f}H{across(deepest):.1f}" stroke="{GRID}"/>')
        out.append(f'<text x="{x + LEFT - 6}" y="{up(mark) + 4:.1f}" text-anchor="end">{number(mark)}</text>')
    for mark in steps(deepest):
        out.append(f'<text x="{across(mark):.1f}" y="{y + HEIGHT - BOTTOM + 17}" text-anchor="middle">{number(mark)}</text>')
    middle = across(deepest / 2)
    out.append(f'<text x="{middle:.1f}" y="{y + HEIGHT - 8}" text-anchor="middle" font-size="12">tokens read before</text>')
    for policy, colour in colours.items():
        points = sorted((row["n_depth"], of(row)[0]) for row in rows if row["policy"] == policy)
        path = " ".join(f"{across(depth):.1f},{up(value):.1f}" for depth, value in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        out += [f'<circle cx="{across(depth):.1f}" cy="{up(value):.1f}" r="3" fill="{colour}"/>' for depth, value in points]
        depth, value = points[-1]
        # Below its line, unless it is the upper one or lies on the axis.
        above = value < most / 8 or value >= max(of(row)[0] for row in rows if row["n_depth"] == depth)
        out.append(f'<text x="{across(depth) - 4:.1f}" y="{up(value) + (-9 if above else 17):.1f}" text-anchor="end" fill="{colour}" '
                   f'font-weight="bold">{html.escape(policy)}</text>')
    return out


def main():
    models = {}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.strip()]
        for row in rows:
            if row["kind"] == "test":
                of_model = models.setdefault(row["model_filename"], {})
                test = row["policy"], row["n_depth"]
                of_model[test] = max(row, of_model.get(test, row), key=lambda row: per_second(row)[0])
    models = [list(of_model.values()) for of_model in models.values()]
    if not models:
        sys.exit(__doc__.split(":")[0])
    policies = list(dict.fromkeys(row["policy"] for rows in models for row in rows))
    rest = iter(OTHERS)
    colours = {policy: COLOURS.get(policy) or next(rest) for policy in policies}
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT * len(models)}" '
             f'font-family="sans-serif" font-size="12" fill="{INK}">']
    for index, rows in enumerate(models):
        name = rows[0]["model_filename"]
        for column, of in enumerate((per_second, mebibytes)):
            lines += panel(column * WIDTH, index * HEIGHT, rows, of, name, colours)
    print("\n".join(lines + ["</svg>"]))


if __name__ == "__main__":
    main()
