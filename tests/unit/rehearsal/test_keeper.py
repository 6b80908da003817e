# SPDX-License-Identifier: GPL-3.0-or-later
"""How many hosts of a group have to be healthy while they are replaced, and which of them get requests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aws_stand_in.balancers import redirect, share
from aws_stand_in.haproxy import Pool
from aws_stand_in.keeper import bounds
from aws_stand_in.target_health import Target, is_wanted


@pytest.mark.parametrize(
    ("desired", "least_percent", "most_percent", "expected"),
    [
        # The new one comes before the old one goes.
        (2, 100, 100, (2, 3)),
        (2, 100, 200, (2, 4)),
        (1, 100, 100, (1, 2)),
        # What AWS assumes: 90 % of two are two, and yet one at a time is replaced.
        (2, 90, 100, (1, 2)),
        (10, 90, 100, (9, 10)),
        (10, 90, 110, (9, 11)),
        (1, 90, 100, (0, 1)),
        (4, 50, 100, (2, 4)),
        (0, 100, 100, (0, 1)),
    ],
)
def test_bounds(desired: int, least_percent: int, most_percent: int, expected: tuple[int, int]) -> None:
    assert bounds(desired, least_percent, most_percent) == expected


@pytest.mark.parametrize(
    ("status", "wanted", "expected"),
    [(200, "200", True), (204, "200", False), (301, "200,300-302", True), (303, "200,300-302", False)],
)
def test_is_wanted(status: int, wanted: str, expected: bool) -> None:
    assert is_wanted(status, wanted) is expected


def targets(*states: str) -> list[Target]:
    group: Any = SimpleNamespace()
    return [Target(group, f"i-{number}", "172.31.0.9", 443, state=state) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "mode", "expected"),
    [
        (
            ["healthy", "initial", "unhealthy", "draining", "unused"],
            "http",
            ["ready", "maint", "drain", "drain", "maint"],
        ),
        # A load balancer that passes connections on breaks those to an unhealthy target.
        (["healthy", "unhealthy", "draining"], "tcp", ["ready", "maint", "drain"]),
        # Rather an unhealthy one than none.
        (["unhealthy", "unhealthy", "initial"], "http", ["ready", "ready", "maint"]),
    ],
)
def test_who_gets_requests(states: list[str], mode: str, expected: list[str]) -> None:
    found = targets(*states)
    assert [share(target, found, mode) for target in found] == expected


def test_a_redirect_in_haproxys_words() -> None:
    config = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    assert redirect(config, "http", "80") == (
        "http-request redirect code 301 location https://%[req.hdr(host),field(1,:)]:443%[pathq]"
    )


def test_a_target_begins_without_requests() -> None:
    pool = Pool("registry", "172.31.0.5", "http", True, 900, {"i-1-443": "172.31.0.9:443"}, {"i-1-443": "ready"})
    assert "    server i-1-443 172.31.0.9:443 ssl verify none pool-purge-delay 900s disabled" in pool.lines()
    assert "    source 172.31.0.5" in pool.lines()
