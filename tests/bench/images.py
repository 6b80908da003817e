# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls of whole images, as clients make them: index by tag, manifest by digest, configuration, layers, on one connection."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tests.bench.report import Bar, Section, Spread, ratios
from tests.bench.stage import SERVERS, Clients, Stage, Way

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
ACCEPT = f"Accept: {INDEX_TYPE}, {IMAGE_TYPE}, application/vnd.docker.distribution.manifest.v2+json, */*"
LAYERS, LAYER_MIB = 10, 1
# How many pull at once, and how many images they pull together.
PULLS = {1: 20, 8: 80, 50: 150}


def described(kind: str, digest: str, size: int, **more: Any) -> dict[str, Any]:
    """Describe a part of an image."""
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def put(clients: Clients, way: Way, reference: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Push a manifest; return its description."""
    text = json.dumps(body)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    clients.host("sh", "-c", "cat > /srv/manifest.json", stdin=text)
    form = ("--request", "PUT", "--header", f"Content-Type: {kind}", "--data-binary", "@/srv/manifest.json")
    clients.request(way, f"/v2/bench/image/manifests/{reference or digest}", *form)
    return described(kind, digest, len(text.encode()))


def push_image(clients: Clients, way: Way) -> list[str]:
    """Push an image for one platform; return the paths that a client asks for."""
    sizes = {"config": 2000, **{f"layer-{number}": LAYER_MIB * 2**20 for number in range(LAYERS)}}
    parts = []
    for name, size in sizes.items():
        path = f"/srv/image-{name}"
        clients.shell(f"[ -e {path} ] || head -c {size} /dev/urandom > {path}")
        digest = "sha256:" + clients.host("sha256sum", path).stdout.split()[0]
        clients.push(way, (path, digest), "bench/image")
        parts.append(described(CONFIG_TYPE if name == "config" else LAYER_TYPE, digest, size))
    typed = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": parts[0], "layers": parts[1:]}
    image = put(clients, way, "", IMAGE_TYPE, typed) | {"platform": {"architecture": "amd64", "os": "linux"}}
    put(clients, way, "1", INDEX_TYPE, {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [image]})
    blobs = [f"/v2/bench/image/blobs/{part['digest']}" for part in parts]
    return ["/v2/bench/image/manifests/1", f"/v2/bench/image/manifests/{image['digest']}", *blobs]


def write_pull(clients: Clients, way: Way, name: str, paths: Sequence[str]) -> None:
    """Write down for curl what a client asks for."""
    lines = [f'header = "{ACCEPT}"']
    lines += [line for path in paths for line in (f'url = "{way.base}{path}"', 'output = "/dev/null"')]
    clients.host("sh", "-c", f"cat > /srv/pull-{name}", stdin="\n".join([*lines, ""]))


def pull_all(stage: Stage, way: Way, name: str, clients: int, images: int) -> float:
    """Let so many pull so many images together; return the seconds."""
    # As if they were on other machines, they leave the processors to the servers.
    go = f"seq {images} | chrt --idle 0 xargs -P {clients} -I@ {stage.quoted(way)} --config /srv/pull-{name}"
    return float(
        stage.shell(
            f"set -e; start=$(date +%s.%N); {go}; end=$(date +%s.%N); echo \"$end - $start\" | awk '{{print $1 - $3}}'"
        )
    )


def measure(stage: Stage, rounds: int) -> Section:
    """Pull by all ways in turn, round by round."""
    ways = {"bare": stage.bare, "open": stage.usual_open, "ours": stage.password}
    for name, way in ways.items():
        # The usual nginx has the storage of this collection, which takes a push once.
        paths = push_image(stage, stage.password if name == "open" else way)
        write_pull(stage, way, name, paths)
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    busy: dict[tuple[str, int], list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for clients, images in PULLS.items():
            for name, way in ways.items():
                before = stage.used()
                seconds = pull_all(stage, way, name, clients, images)
                after = stage.used()
                # The first round fills caches.
                if number > 0:
                    used = sum(after[one].seconds - before[one].seconds for one in SERVERS)
                    rates[name, clients].append(images / seconds)
                    busy[name, clients].append(used / images * 1000)
    rows, bars = [], []
    for clients in PULLS:
        who = f"{clients} client{'s' if clients > 1 else ''}"
        for name, way in ways.items():
            ratio = ratios(rates[name, clients], rates["bare", clients])
            rate, seconds = Spread(rates[name, clients]).median, Spread(busy[name, clients]).median
            rows.append((who, way.name, f"{rate:,.1f}", str(ratio) if name != "bare" else "1", f"{seconds:,.0f}"))
            if name != "bare":
                bars.append(Bar.of(f"{who}: {way.name}", ratio, name == "ours"))
    return Section(
        "Whole images",
        f"An OCI index, its manifest, its configuration and {LAYERS} layers of {LAYER_MIB} MiB, pulled by curl on one connection for each"
        f" image, in {rounds} rounds. The clients leave the processors to the servers (SCHED_IDLE), as if they were on other machines.",
        ("Who", "Way", "images/s", "to bare HTTP", "CPU s of all servers for 1,000 images"),
        rows,
        picture="images.svg",
        scale="images/s, to those of the bare registry (dashed)",
        bars=bars,
    )
