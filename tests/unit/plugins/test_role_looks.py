# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions of several roles about a host are asked as one, and each role gets the answers to its own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.action.validate_settings import wanted
from ansible_collections.drydock.registry.plugins.module_utils._role_looks import (
    FACTS,
    answers_to,
    missing_facts,
    together,
)

PAIR = {"certificate": "/a.crt", "key": "/a.key"}
WEB: dict[str, Any] = {
    "files": ["/a", "/b"],
    "pairs": [PAIR],
    "libraries": ["requests"],
    "docker": True,
    "listeners": False,
}
MAIL: dict[str, Any] = {
    "files": ["/b", "/c"],
    "nearest": ["/srv"],
    "foreign": [{"path": "/srv/mail", "account": "mail"}],
    "libraries": ["bcrypt", "requests"],
    "accounts": ["mail"],
    "programs": ["sh"],
    "units": ["mail.timer"],
    "listeners": True,
}
ALL: dict[str, Any] = {
    "files": ["/a", "/b", "/c"],
    "pairs": [PAIR],
    "libraries": ["requests", "bcrypt"],
    "docker": True,
    "listeners": True,
    "nearest": ["/srv"],
    "foreign": [{"path": "/srv/mail", "account": "mail"}],
    "accounts": ["mail"],
    "programs": ["sh"],
    "units": ["mail.timer"],
}
ANSWERS: dict[str, Any] = {
    "user": {"uid": 0, "name": "root"},
    "files": {"/a": "a", "/b": "b", "/c": "c"},
    "pairs": {"/a.crt": True},
    "nearest": {"/srv": "a folder"},
    "foreign": {"/srv/mail": ""},
    "libraries": {"present": ["requests"], "missing": ["bcrypt"], "system": True, "python": "/usr/bin/python3"},
    "accounts": {"mail": None},
    "programs": {"sh": "/bin/sh"},
    "units": {"mail.timer": {"active": True, "enabled": True}},
    "listeners": [],
    "docker": {"answers": True},
}


def test_each_question_is_asked_once() -> None:
    assert together([WEB, MAIL]) == together([WEB, MAIL, WEB]) == ALL
    assert together([]) == {}
    # The roles' own questions stay as they are.
    assert WEB["files"] == ["/a", "/b"]


def test_each_role_gets_its_own_answers() -> None:
    assert answers_to(WEB, ANSWERS) == {
        "user": ANSWERS["user"],
        "files": {"/a": "a", "/b": "b"},
        "pairs": {"/a.crt": True},
        "libraries": {"present": ["requests"], "missing": [], "system": True, "python": "/usr/bin/python3"},
        "docker": {"answers": True},
    }
    assert answers_to(MAIL, ANSWERS) == {
        "user": ANSWERS["user"],
        "files": {"/b": "b", "/c": "c"},
        "nearest": {"/srv": "a folder"},
        "foreign": {"/srv/mail": ""},
        "libraries": ANSWERS["libraries"],
        "accounts": {"mail": None},
        "programs": {"sh": "/bin/sh"},
        "units": ANSWERS["units"],
        "listeners": [],
    }


def test_facts_are_gathered_where_one_of_them_is_missing() -> None:
    assert not missing_facts(dict.fromkeys(FACTS))
    for name in FACTS:
        assert missing_facts({fact: "" for fact in FACTS if fact != name})


@pytest.mark.parametrize(
    ("run", "skip", "roles"),
    [
        (["all"], [], ["common", "web", "mail"]),
        (["web"], [], ["common", "web"]),
        (["other"], [], ["common"]),
        (["all"], ["mail"], ["common", "web"]),
        (["tagged"], [], ["common", "web", "mail"]),
    ],
)
def test_the_roles_that_the_tags_leave(run: list[str], skip: list[str], roles: list[str]) -> None:
    assert wanted({"common": "always", "web": "web", "mail": "mail"}, run, skip) == roles
