# SPDX-License-Identifier: GPL-3.0-or-later
"""What the last check of a run tries, and what it says when it fails."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.verify_failure import verify_failure
from ansible_collections.drydock.registry.plugins.filter.verify_plan import verify_plan

HASH = "$2y$10$abcdefghijklmnopqrstuuMmRqYC4iXg8L1F8e0nTgBlP7Qq9wFWW"
ADMIN = {"name": "root", "password": "x", "access": "admin"}
GENERATED = {"name": "made", "access": "admin"}
CARRIED = {"name": "old", "password_hash": HASH, "access": "admin"}
PUSHES = {"name": "ci", "password": "y"}
TEAM = {"name": "lead", "password": "z", "access": "admin", "repositories": ["team/**"]}
CERTIFIED = {"name": "box", "certificate_only": True, "access": "admin"}


@pytest.mark.parametrize(
    ("users", "mode", "name", "login", "push"),
    [
        ([PUSHES, ADMIN], "off", "root", True, True),
        ([CARRIED, GENERATED], "off", "made", True, True),
        ([CARRIED, PUSHES], "off", "ci", True, False),
        ([CARRIED, TEAM], "optional", "lead", True, False),
        ([CARRIED], "off", "old", False, False),
        ([CERTIFIED, CARRIED], "both", "old", False, False),
        ([CARRIED], "required", "old", True, True),
        ([CERTIFIED], "required", "box", True, True),
        ([CERTIFIED], "off", "", False, False),
        ([], "off", "", False, False),
    ],
)
def test_the_client_is_somebody_whose_password_is_known(
    users: list[dict[str, Any]], mode: str, name: str, login: bool, push: bool
) -> None:
    plan = verify_plan(users, mode)
    assert (plan["user"]["name"], plan["login_enabled"], plan["push_enabled"]) == (name, login, push)
    assert plan["unchecked"].startswith("" if push else "pushing" if login else "logging in")
    assert bool(plan["unchecked"]) is not push


@pytest.mark.parametrize(
    ("config", "push", "delete", "told"),
    [
        ({}, True, True, ""),
        ({"storage": {"maintenance": {"readonly": {"enabled": True}}}}, False, True, "storage.maintenance.readonly"),
        ({"storage": {"maintenance": {"readonly": {"enabled": False}}}}, True, True, ""),
        ({"storage": {"maintenance": {"uploadpurging": {"enabled": False}}, "redirect": None}}, True, True, ""),
        ({"proxy": {"remoteurl": "https://registry-1.docker.io"}}, False, True, "proxy.remoteurl"),
        ({"proxy": None}, True, True, ""),
        ({"storage": {"delete": {"enabled": False}}}, True, False, "an upload was begun instead"),
    ],
)
def test_the_client_tries_what_the_registry_is_set_to_do(
    config: dict[str, Any], push: bool, delete: bool, told: str
) -> None:
    plan = verify_plan([ADMIN], config=config)
    assert (plan["push_enabled"], plan["delete_enabled"]) == (push, delete)
    assert told in plan["unchecked"]
    assert bool(told) == bool(plan["unchecked"])


@pytest.mark.parametrize("off", [False, "false", "no"])
def test_deleting_that_is_switched_off(off: object) -> None:
    plan = verify_plan([ADMIN], delete_enabled=off)
    assert (plan["push_enabled"], plan["delete_enabled"]) == (True, False)
    assert "registry_server_delete_enabled" in plan["unchecked"]


NOW = 1795986000.0
FINE = {"steps": [{"name": "GET /healthz"}], "clock": NOW + 1}
SICK = {"steps": [{"name": "GET /healthz"}], "cause": "healthz", "clock": NOW + 1}


@pytest.mark.parametrize(
    ("cause", "inside", "told", "logs"),
    [
        (
            "refused",
            FINE,
            "r1 itself gets answers from its registry, and the controller gets none at https://r.example:5443: ",
            False,
        ),
        ("silent", FINE, "let TCP port 5443 through the host's firewall", False),
        ("silent", FINE, "for the controller it leads to 192.0.2.1, 192.0.2.2", False),
        ("silent", SICK, "It failed.", True),
        ("refused", {}, "It failed.", True),
        # The module could not run there.
        ("refused", {"msg": "no Python"}, "It failed.", True),
        ("tls", FINE, "r1 itself meets the right certificate, and the controller another at ", False),
        ("tls", SICK, "It failed.", False),
        (
            "clock",
            {**SICK, "clock": NOW + 7200},
            "The clock of r1 says 2026-11-29 23:00:00 UTC, and that of the controller 2026-11-29 21:00:00 UTC: ",
            False,
        ),
        ("clock", {**FINE, "clock": NOW - 7200}, "The clock of r1 says 2026-11-29 19:00:00 UTC, ", False),
        ("clock", {**SICK, "clock": NOW + 5}, "It failed.", False),
        ("name", {}, "It failed.", False),
        ("healthz", {}, "It failed.", True),
    ],
)
def test_what_a_failure_means(cause: str, inside: dict[str, Any], told: str, logs: bool) -> None:
    outside = {"msg": "It failed.", "cause": cause, "clock": NOW, "resolved": ["192.0.2.1", "192.0.2.2"]}
    found = verify_failure(outside, inside, client="the controller", host="r1", url="https://r.example:5443")
    assert told in found["message"]
    assert found["message"].endswith("It failed.")
    assert found["message"].startswith("It failed.") == (told == "It failed.")
    assert found["logs"] is logs


def test_a_failure_that_is_no_probes_is_told_as_it_is() -> None:
    found = verify_failure({"msg": "find: no such file"}, {}, client="c", host="h", url="https://h")
    assert found == {"message": "find: no such file", "logs": True}
