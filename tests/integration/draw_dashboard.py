# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the panels of the dashboard from what a Prometheus has, since no package of Debian or Python brings Grafana.

tests/integration/draw_dashboard.py http://127.0.0.1:9090 BEGIN END PICTURE.svg, with the times in seconds since 1970.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.parse
import urllib.request
from html import escape
from pathlib import Path
from typing import Any

import yaml

PANELS = Path(__file__).parents[2] / "docs/monitoring/panels.yml"
WIDTH, HEIGHT, COLUMNS = 320, 170, 3
LEFT, TOP, RIGHT, BOTTOM = 52, 30, 10, 34
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f")
STEPS = 100


def lines(url: str, queries: dict[str, str], begin: float, end: float) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return the lines of a panel, each with its name."""
    found = []
    for query, legend in queries.items():
        asked = {
            "query": query.replace("$__rate_interval", "20s").replace("$instance", ".*"),
            "start": begin,
            "end": end,
            "step": (end - begin) / STEPS,
        }
        with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(asked)}") as answer:  # noqa: S310
            results: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        for one in results:
            name = re.sub(r"\{\{(\w+)\}\}", lambda label, one=one: one["metric"].get(label[1], ""), legend)  # type: ignore[misc]
            points = [(float(time), float(value)) for time, value in one["values"] if value not in ("NaN", "+Inf")]
            found.append((name, points))
    return found


def short(value: float) -> str:
    """Write a number for an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def panel(
    number: int, about: dict[str, Any], drawn: list[tuple[str, list[tuple[float, float]]]], span: tuple[float, float]
) -> str:
    """Draw one panel."""
    begin, end = span
    x0, y0 = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
    top = max((value for _name, points in drawn for _time, value in points), default=0) or 1
    inner, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts = [
        f'<rect x="4" y="4" width="{WIDTH - 8}" height="{HEIGHT - 8}" rx="4" fill="white" stroke="#ccc"/>',
        f'<text x="12" y="20" font-weight="bold">{escape(about["title"])} ({escape(about["unit"])})</text>',
    ]
    for share in (0, 0.5, 1):
        y = TOP + high * (1 - share)
        parts.append(f'<path d="M{LEFT} {y:.0f}h{inner}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y + 3:.0f}" text-anchor="end">{short(top * share)}</text>')
    names = []
    for i, (name, points) in enumerate(drawn):
        colour = COLOURS[i % len(COLOURS)]
        way = " ".join(
            f"{LEFT + (time - begin) / (end - begin) * inner:.1f},{TOP + high * (1 - value / top):.1f}"
            for time, value in points
        )
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        names.append(f'<tspan fill="{colour}">{escape(name)}</tspan>')
    parts.append(f'<text x="12" y="{HEIGHT - 14}">{" ".join(names)}</text>')
    return f'<g transform="translate({x0} {y0})">{"".join(parts)}</g>'


def main(url: str, begin: str, end: str, picture: str) -> None:
    """Draw all panels."""
    span = (float(begin), float(end))
    panels = yaml.safe_load(PANELS.read_text(encoding="utf-8"))
    drawn = "\n".join(panel(i, one, lines(url, one["queries"], *span), span) for i, one in enumerate(panels))
    width, height = WIDTH * COLUMNS, HEIGHT * -(-len(panels) // COLUMNS)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="9.5">'
    text = f'{head}\n<rect width="100%" height="100%" fill="#f4f4f4"/>\n{drawn}\n</svg>\n'
    Path(picture).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
