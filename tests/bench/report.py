# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, kept as JSON, shown as tables in Markdown and as bars in SVG."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

ROW, TOP, LEFT, WIDE = 26, 58, 400, 430
PREFACE = """# Benchmarks

Written by `make bench`, which measures on a host of its own and compares with a bare registry beside it: the same image,
configuration and file system, over HTTP, with no password and nothing in front. Ratios are taken round by round, since two
runs on one machine can differ more than what is compared; they read median (lowest to highest). Clients run on the same cores
as the servers, so TLS is paid for twice.
"""
COLOURS = {"ours": "#1d4ed8", "other": "#94a3b8"}


@dataclass
class Spread:
    """Several measurements of one thing."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f} to {max(self.values):.2f})"


@dataclass
class Bar:
    """One bar of a picture; `ours` is drawn in colour."""

    label: str
    median: float
    low: float
    high: float
    ours: bool = True

    @classmethod
    def of(cls, label: str, spread: Spread, ours: bool = True) -> Bar:
        """Make a bar of several measurements."""
        return cls(label, spread.median, min(spread.values), max(spread.values), ours)


@dataclass
class Section:
    """What one part has measured."""

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    picture: str = ""
    scale: str = ""
    bars: Sequence[Bar] = ()
    machine: str = ""
    versions: str = ""
    day: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))
    load: str = field(default_factory=lambda: f"{os.getloadavg()[0]:.1f}")


def ratios(measured: Sequence[float], bare: Sequence[float]) -> Spread:
    """Compare round by round."""
    return Spread([one / other for one, other in zip(measured, bare)])


def machine() -> str:
    """What this machine is."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores ({names[0] if names else platform.machine()}), {memory:.0f} GiB, Linux {platform.release()}"


def table(section: Section) -> str:
    """Return a table in Markdown."""
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in (section.head, ["---"] * len(section.head), *section.rows)
    )


def svg(section: Section) -> str:
    """Draw horizontal bars, each with the range of its rounds; a line stands at 1 where the scale is a ratio."""
    top = max(1e-9, *(bar.high for bar in section.bars)) * 1.05
    height = TOP + ROW * len(section.bars) + 20

    def at(value: float) -> float:
        return LEFT + WIDE * value / top

    font = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
    size = f'viewBox="0 0 960 {height}" width="960" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t" font-family="{font}" font-size="13">',
        f'  <title id="t">{escape(section.title)}: {escape(section.scale)}</title>',
        f'  <rect x="1" y="1" width="958" height="{height - 2}" rx="12" fill="#f8fafc" stroke="#cbd5e1"/>',
        f'  <text x="24" y="32" font-weight="600" fill="#0f172a">{escape(section.scale)}</text>',
    ]
    if "(dashed)" in section.scale:
        parts.append(f'  <path d="M{at(1):.1f} {TOP - 12}V{height - 14}" stroke="#64748b" stroke-dasharray="4 4"/>')
    for number, bar in enumerate(section.bars):
        y = TOP + ROW * number
        low, high, width = at(bar.low), at(bar.high), at(bar.median) - LEFT
        range_of_rounds = f"M{low:.1f} {y + 8}H{high:.1f}M{low:.1f} {y + 4}v8M{high:.1f} {y + 4}v8"
        colour = COLOURS["ours" if bar.ours else "other"]
        parts += [
            f'  <text x="{LEFT - 10}" y="{y + 12}" text-anchor="end" fill="#334155">{escape(bar.label)}</text>',
            f'  <rect x="{LEFT}" y="{y}" width="{width:.1f}" height="16" rx="3" fill="{colour}"/>',
            f'  <path d="{range_of_rounds}" stroke="#0f172a" stroke-width="1.5"/>',
            f'  <text x="{high + 8:.1f}" y="{y + 12}" fill="#0f172a">{number_text(bar.median)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def number_text(value: float) -> str:
    """As many digits as say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def load(path: Path) -> dict[str, Section]:
    """Read what former runs have measured."""
    if not path.exists():
        return {}
    stored: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: Section(**{**one, "bars": [Bar(**bar) for bar in one["bars"]]}) for name, one in stored.items()}


def page(sections: dict[str, Section]) -> str:
    """Return the whole page."""
    text = [PREFACE]
    for section in sections.values():
        text += [f"## {section.title}", "", section.text, ""]
        if section.picture:
            text += [f"![{section.title}: {section.scale}]({section.picture})", ""]
        text += [table(section), "", f"{section.day}, {section.machine}, load {section.load}; {section.versions}", ""]
    return "\n".join(text)


def write(folder: Path, measured: dict[str, Section], order: Sequence[str]) -> None:
    """Write tables and pictures; a part that was not measured keeps what it had."""
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "results.json"
    known = {**load(store), **measured}
    sections = {name: known[name] for name in order if name in known}
    store.write_text(
        json.dumps({name: asdict(one) for name, one in sections.items()}, indent=1) + "\n", encoding="utf-8"
    )
    for section in sections.values():
        if section.picture:
            (folder / section.picture).write_text(svg(section), encoding="utf-8")
    (folder / "README.md").write_text(page(sections), encoding="utf-8")
