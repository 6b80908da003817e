# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment itself: from nothing, again, with one changed user; on one host and on several of one inventory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from deployment import SHARED, Deployment, Run, deployed_hosts

from tests.bench.report import Bar, Section, Spread
from tests.bench.stage import FOLDER, say


class Fleet(Deployment):
    """Several registries of one inventory, on hosts of their own."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(f"bench-{count}", folder)
        names = [f"registry-{number}.test" for number in range(1, count + 1)]
        inventory = yaml.safe_load((FOLDER / "hosts.yml").read_text(encoding="utf-8"))
        groups = inventory["all"]["children"]
        groups["test_hosts"]["hosts"] = {name: {"test_host_image": "debian12"} for name in names}
        groups["registry"]["hosts"] = dict.fromkeys(names)
        path = folder / "hosts.yml"
        path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        self.inventories = (path, SHARED / "inventory")
        self.settings = {
            "registry_auth_users": [
                {"name": "admin", "access": "admin"},
                {"name": "person", "password": "at the beginning"},
            ]
        }

    def timed(self) -> tuple[float, Run]:
        """Run the playbook for all; return the seconds."""
        start = time.monotonic()
        run = self.play("site.yml")
        return time.monotonic() - start, run


def measure(counts: Sequence[int]) -> Section:
    """Deploy on so many hosts, each time on new ones."""
    rows, bars = [], []
    for count in counts:
        say(f"{count} hosts: from nothing, again, one user ...")
        with tempfile.TemporaryDirectory() as folder, deployed_hosts(Fleet(Path(folder), count)) as fleet:
            assert isinstance(fleet, Fleet)
            cold, _ = fleet.timed()
            second, again = fleet.timed()
            fleet.settings["registry_auth_users"][1]["password"] = "another one"
            user, changed = fleet.timed()
        hosts = f"{count} host{'s' if count > 1 else ''}"
        rows.append(
            (hosts, f"{cold:.0f}", f"{second:.1f}", str(len(again.changed)), f"{user:.1f}", str(len(changed.changed)))
        )
        bars += [
            Bar.of(f"{hosts}: {what}", Spread([value]))
            for what, value in (("second run", second), ("one changed user", user))
        ]
    return Section(
        "Deployment",
        "`playbooks/site.yml` with everything in it, Ansible and all hosts on this one machine; from nothing includes Docker's installation"
        " and building both images.",
        ("Where", "from nothing, s", "second run, s", "changes", "one changed user, s", "changes"),
        rows,
        picture="runs.svg",
        scale="seconds",
        bars=bars,
    )
