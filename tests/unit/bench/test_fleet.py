# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurement of several hosts reads and writes."""

from __future__ import annotations

import re

import pytest

from tests.bench.fleet import Questions, balancer, busy_seconds, idle_seconds, questions

VERSION_2 = "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"


@pytest.mark.parametrize(("counters", "seconds"), [(VERSION_2, 2.5), ("2500000000\n", 2.5)])
def test_a_host_tells_how_long_it_was_busy_on_both_versions_of_cgroups(counters: str, seconds: float) -> None:
    assert busy_seconds(counters) == seconds


def test_idle_time_is_that_of_all_cores() -> None:
    assert idle_seconds("cpu  10 20 30 4550 50 0 60 0 0 0\ncpu0 5 10 15 2000 25 0 30 0 0 0\n") == 45.5


def test_each_port_leads_to_its_own_hosts() -> None:
    sections = re.split(
        r"^listen ", balancer({8001: ["192.0.2.1"], 8002: ["192.0.2.1", "192.0.2.2"]}), flags=re.MULTILINE
    )
    assert {section.split()[0]: re.findall(r"192\.0\.2\.\d:443", section) for section in sections[1:]} == {
        "8001": ["192.0.2.1:443"],
        "8002": ["192.0.2.1:443", "192.0.2.2:443"],
    }
    assert all(f"bind :{section.split()[0]} ssl" in section for section in sections[1:])


def test_requests_to_the_bucket_are_lists_or_others() -> None:
    log = """\
GET /bench?list-type=2&max-keys=1000&prefix=docker%2Fregistry%2Fv2%2Fblobs%2Fsha256%2Fab
GET /bench?delimiter=&max-keys=1&prefix=docker/registry/v2/blobs
HEAD /bench/docker/registry/v2/blobs/sha256/ab/abcd/data
GET /bench/docker/registry/v2/repositories/a/_layers/sha256/abcd/link
GET /bench/docker/registry/v2/repositories/list-type=2/_layers/sha256/abcd/link
GET /bench?list-type=2&max-keys=1&prefix=
"""
    assert questions(log) == Questions(lists=2, others=3)
    assert str(questions(log)) == "5 (2 LIST)"
    assert questions("") == Questions(0, 0)
