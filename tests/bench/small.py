# SPDX-License-Identifier: GPL-3.0-or-later
"""Small requests: `GET /v2/`, which a login is, and manifests by tag and by digest; ways to authenticate side by side."""

from __future__ import annotations

from collections import defaultdict

from tests.bench.report import Bar, Section, Spread, ratios
from tests.bench.stage import Stage, Way

SECONDS = 2
CONNECTIONS = 8
MANIFEST = "/v2/bench/app/manifests/1"
# What is asked with and without the audit log and metrics.
LOGGED = ("`GET /v2/`", "manifest")


def measure(stage: Stage, rounds: int) -> Section:
    """Ask each in turn, round by round."""
    blob = stage.make_blob(1 / 64)
    for way in (stage.bare, stage.password):
        stage.push(way, blob)
        digest = stage.push_manifest(way, [blob])
    stage.host("cp", "/srv/manifest.json", "/srv/plain/manifest.json")
    by_digest = f"/v2/bench/app/manifests/{digest}"
    slow = stage.usual_person, stage.own
    others = stage.usual_open, stage.usual, *slow
    few = [stage.bare, stage.password, stage.usual_open]
    whats = {
        "`GET /v2/`": ("GET", "/v2/"),
        "manifest": ("GET", MANIFEST),
        "manifest, HEAD": ("HEAD", MANIFEST),
        "manifest by digest": ("GET", by_digest),
        "manifest by digest, HEAD": ("HEAD", by_digest),
        "a file of that size": ("GET", "/manifest.json"),
    }
    ways: dict[str, list[Way]] = {
        "`GET /v2/`": [stage.bare, stage.tuned, stage.password, stage.person, *others],
        "manifest": [stage.bare, stage.tuned, stage.anonymous, stage.password, *others],
        **dict.fromkeys(("manifest, HEAD", "manifest by digest", "manifest by digest, HEAD"), few),
        "a file of that size": [stage.plain],
    }
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    halves: dict[tuple[str, str], list[float]] = defaultdict(list)
    slowest: dict[tuple[str, str], list[float]] = defaultdict(list)
    certified: list[float] = []
    logged: dict[str, list[float]] = defaultdict(list)
    for _round in range(rounds):
        for what, those in ways.items():
            method, path = whats[what]
            for way in those:
                # bcrypt answers so few that a short time says little.
                seconds = SECONDS * (3 if way in slow else 1)
                got = stage.wrk(way, path, seconds, CONNECTIONS, method)
                rates[what, way.name].append(got.rate)
                halves[what, way.name].append(got.half)
                slowest[what, way.name].append(got.slowest)
        by_certificate = stage.apache_bench(stage.by_certificate, MANIFEST, 3000, CONNECTIONS)
        certified.append(by_certificate / stage.apache_bench(stage.anonymous, MANIFEST, 3000, CONNECTIONS))
        with stage.unlogged():
            for what in LOGGED:
                method, path = whats[what]
                # The first has its password checked.
                stage.request(stage.password, path)
                without = stage.wrk(stage.password, path, SECONDS, CONNECTIONS, method).rate
                logged[what].append(rates[what, stage.password.name][-1] / without)
    rows, bars = [], []
    for what, those in ways.items():
        # A file is compared with what the registry answers by tag.
        reference = what if stage.bare in those else "manifest"
        for way in those:
            key = what, way.name
            ratio = ratios(rates[key], rates[reference, stage.bare.name])
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
    rows += [
        (what, "audit log and metrics to neither, both this collection", "", str(Spread(logged[what])), "", "")
        for what in LOGGED
    ]
    return Section(
        "Small requests",
        f"wrk asks on {CONNECTIONS} kept connections for {SECONDS} s in each of {rounds} rounds. Generated passwords have bcrypt cost 5,"
        " chosen ones cost 10; the usual nginx checks them with `auth_basic` in each request, and so does the registry with its own"
        " `htpasswd`. This collection has Go's garbage collector run less often (`GOGC`), which is a row of its own. A file that the same"
        " nginx sends over TLS is what nothing in front of a registry can be faster than. Metrics are on, which they are not by default.",
        ("What", "Way", "requests/s", "to bare HTTP", "p50 ms", "p99 ms"),
        rows,
        picture="small.svg",
        scale="requests/s, to those of the bare registry (dashed)",
        bars=bars,
    )
