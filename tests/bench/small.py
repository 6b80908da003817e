# SPDX-License-Identifier: GPL-3.0-or-later
"""Small requests: `GET /v2/`, which a login is, and manifests; ways to authenticate side by side."""

from __future__ import annotations

from collections import defaultdict

from tests.bench.report import Bar, Section, Spread, ratios
from tests.bench.stage import Stage, Way

SECONDS = 2
CONNECTIONS = 8
MANIFEST = "/v2/bench/app/manifests/1"


def measure(stage: Stage, rounds: int) -> Section:
    """Ask each in turn, round by round."""
    blob = stage.make_blob(1 / 64)
    for way in (stage.bare, stage.password):
        stage.push(way, blob)
        stage.push_manifest(way, [blob])
    slow = stage.usual_person, stage.own
    others = stage.usual_open, stage.usual, *slow
    ways: dict[str, list[Way]] = {
        "/v2/": [stage.bare, stage.tuned, stage.password, stage.person, *others],
        MANIFEST: [stage.bare, stage.tuned, stage.anonymous, stage.password, *others],
    }
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    halves: dict[tuple[str, str], list[float]] = defaultdict(list)
    slowest: dict[tuple[str, str], list[float]] = defaultdict(list)
    certified: list[float] = []
    for _round in range(rounds):
        for path, those in ways.items():
            for way in those:
                # bcrypt answers so few that a short time says little.
                seconds = SECONDS * (3 if way in slow else 1)
                got = stage.wrk(way, path, seconds, CONNECTIONS)
                rates[path, way.name].append(got.rate)
                halves[path, way.name].append(got.half)
                slowest[path, way.name].append(got.slowest)
        by_certificate = stage.apache_bench(stage.by_certificate, MANIFEST, 3000, CONNECTIONS)
        certified.append(by_certificate / stage.apache_bench(stage.anonymous, MANIFEST, 3000, CONNECTIONS))
    rows, bars = [], []
    for path, those in ways.items():
        what = "`GET /v2/`" if path == "/v2/" else "manifest"
        for way in those:
            key = path, way.name
            ratio = ratios(rates[key], rates[path, stage.bare.name])
            ours = way.name.startswith("this")
            rows.append(
                (
                    what,
                    way.name,
                    f"{Spread(rates[key]).median:,.0f}",
                    str(ratio) if way != stage.bare else "1",
                    f"{Spread(halves[key]).median:.1f}",
                    f"{Spread(slowest[key]).median:.1f}",
                )
            )
            if way != stage.bare:
                bars.append(Bar.of(f"{what.strip('`')}: {way.name}", ratio, ours))
    rows.append(
        ("manifest", "client certificate to none, both this collection, by ab", "", str(Spread(certified)), "", "")
    )
    return Section(
        "Small requests",
        f"wrk asks on {CONNECTIONS} kept connections for {SECONDS} s in each of {rounds} rounds. Generated passwords have bcrypt cost 5,"
        " chosen ones cost 10; the usual nginx checks them with `auth_basic` in each request, and so does the registry with its own"
        " `htpasswd`. This collection has Go's garbage collector run less often (`GOGC`), which is a row of its own.",
        ("What", "Way", "requests/s", "to bare HTTP", "p50 ms", "p99 ms"),
        rows,
        picture="small.svg",
        scale="requests/s, to those of the bare registry (dashed)",
        bars=bars,
    )
