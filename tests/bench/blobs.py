# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers: pushes and pulls of one blob, and what 4 GiB do to the servers' memory."""

from __future__ import annotations

from collections import defaultdict

from tests.bench.report import Bar, Section, Spread, ratios
from tests.bench.stage import SERVERS, Stage, Way

SIZES_MIB = (1, 16, 512)
MEMORY_TIMES, MEMORY_MIB = 8, 512


def measure(stage: Stage, rounds: int) -> Section:
    """Push and pull each size by all ways in turn."""
    rows, bars = [], []
    for mib in SIZES_MIB:
        blob = stage.make_blob(mib)
        plain = stage.show(blob)

        def pull(way: Way, blob: tuple[str, str], plain: str = plain) -> float:
            return stage.request(way, plain)[0] if way == stage.plain else stage.pull(way, blob)

        for what in ("push", "pull"):
            act = stage.push if what == "push" else pull
            ways = [stage.bare, stage.password, stage.usual_open]
            if what == "pull":
                ways.append(stage.plain)
            rates: dict[str, list[float]] = defaultdict(list)
            busy: dict[str, list[float]] = defaultdict(list)
            for number in range(rounds + 1):
                for way in ways:
                    before = stage.used()
                    seconds = act(way, blob)
                    after = stage.used()
                    # The first round fills caches.
                    if number > 0:
                        rates[way.name].append(mib / seconds)
                        busy[way.name].append(sum(after[name].seconds - before[name].seconds for name in SERVERS))
            for way in ways:
                ratio = ratios(rates[way.name], rates[stage.bare.name])
                known = mib >= 100
                limit = str(ratios(rates[way.name], rates[stage.plain.name])) if what == "pull" else ""
                rows.append(
                    (
                        f"{what} {mib} MiB",
                        way.name,
                        f"{Spread(rates[way.name]).median:,.0f}",
                        str(ratio) if way != stage.bare else "1",
                        limit if way != stage.plain else "1",
                        f"{Spread(busy[way.name]).median / mib * 1024:.1f}" if known else "",
                    )
                )
                if way != stage.bare:
                    bars.append(Bar.of(f"{what} {mib} MiB: {way.name}", ratio, way == stage.password))
    return Section(
        "Layers",
        f"One client, curl, {rounds} rounds. A push is three requests, each on a connection of its own, to a file"
        " system that is synced at the end. The limit is a plain file that the same nginx sends over TLS: what TLS costs on"
        " this machine is in its ratio to bare HTTP.",
        ("What", "Way", "MiB/s", "to bare HTTP", "to a plain file over TLS", "CPU s of all servers for 1 GiB"),
        rows,
        picture="blobs.svg",
        scale="MiB/s, to those of the bare registry (dashed)",
        bars=bars,
    )


def memory(stage: Stage, _rounds: int) -> Section:
    """Push and pull gigabytes, and see whether memory grows."""
    blob = stage.make_blob(MEMORY_MIB)
    stage.push(stage.password, blob)
    before = stage.used()
    highest = dict(before)
    for act in (stage.push, stage.pull):
        for _time in range(MEMORY_TIMES):
            act(stage.password, blob)
            for name, used in stage.used().items():
                highest[name] = max(highest[name], used, key=lambda one: one.mib)
    gib = MEMORY_TIMES * MEMORY_MIB // 1024
    return Section(
        "Memory",
        f"{gib} GiB pushed and {gib} GiB pulled in blobs of {MEMORY_MIB} MiB; memory of the processes (Pss), looked at after each blob.",
        ("Container", "before, MiB", "highest, MiB"),
        [
            (name, f"{before[name].mib:.0f}", f"{highest[name].mib:.0f}")
            for name in SERVERS
            if not name.startswith("bench-")
        ],
    )
