# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure, and write docs/benchmarks.

make bench
make bench PARTS="small blobs" ROUNDS=9
make bench PARTS=runs HOSTS="1 3 10"
make bench PARTS="fleet redis"
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from deployment import ROOT

from tests.bench import blobs, certificates, crowd, fleet, images, report, runs, small, storage
from tests.bench.stage import Stage, say, staged

ON_STAGE: dict[str, Callable[[Stage, int], report.Section]] = {
    "small": small.measure,
    "blobs": blobs.measure,
    "images": images.measure,
    "crowd": crowd.measure,
    "memory": blobs.memory,
}
ON_FLEET: dict[str, Callable[[fleet.Fleet, int], report.Section]] = {
    "fleet": fleet.measure,
    "redis": fleet.redis,
}
# These take as long as all others: several hosts, memory on a slow disk, and certificates.
USUAL = ("small", "blobs", "images", "crowd", "runs")
ORDER = (*USUAL, *ON_FLEET, "memory", "certificates", "storage")
# One part measures two things.
SHOWN = (*ORDER, "bucket")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=ORDER, default=USUAL)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--into", type=Path, default=ROOT / "docs/benchmarks")
    asked = parser.parse_args()
    measured: dict[str, report.Section] = {}

    def keep(name: str, section: report.Section, versions: str) -> None:
        """Write at once: what follows may fail."""
        section.machine, section.versions = report.machine(), versions
        measured[name] = section
        report.write(asked.into, measured, SHOWN)
        print(f"## {section.title}\n\n{section.text}\n\n{report.table(section)}\n", flush=True)

    versions = ""
    if set(asked.parts) & set(ON_STAGE):
        with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage:
            versions = stage.versions()
            for name, part in ON_STAGE.items():
                if name in asked.parts:
                    say(f"{name} ...")
                    keep(name, part(stage, asked.rounds), versions)
    if set(asked.parts) & set(ON_FLEET):
        with tempfile.TemporaryDirectory() as folder, fleet.balanced(Path(folder)) as hosts:
            for name, measure in ON_FLEET.items():
                if name in asked.parts:
                    say(f"{name} ...")
                    keep(name, measure(hosts, asked.rounds), hosts.versions())
    if "runs" in asked.parts:
        keep("runs", runs.measure(asked.hosts), versions)
    if "certificates" in asked.parts:
        keep("certificates", *certificates.measure())
    if "storage" in asked.parts:
        for name, section, said in storage.measure():
            keep(name, section, said)


if __name__ == "__main__":
    main()
