# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights of users: what is refused, and what the document says of those who name none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.users_problems import users_problems
from ansible_collections.drydock.registry.plugins.module_utils import _access as access

VARIABLE = "registry_auth_users"


@pytest.mark.parametrize(
    "pattern",
    ["app", "team-a/app", "*", "**", "team-a/*", "team-a/**", "**/app", "a/**/b", "team-*/x_y.z", "a__b/c--d", "1/2/3"],
)
def test_good_patterns(pattern: str) -> None:
    assert access.pattern_problem(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (None, "put it in quotes"),
        (7, "put it in quotes"),
        ("", "is empty"),
        ("/app", "write 'app'"),
        ("team-a/", "write 'team-a'"),
        ("/", "write '**'"),
        ("a//b", "write 'a/b'"),
        ("Team-A/*", "write 'team-a/*'"),
        ("team a", "several patterns as several entries"),
        ("team-a/*\n", "several patterns as several entries"),
        ("^team", "'^': use lower-case letters"),
        ("team-[ab]/.+", "'+[]'"),
        ("a|b", "no regular expression"),
        ("a,b", "','"),
        ("ä", "'ä'"),
        ("a:b", "':'"),
        ("***", "'***'"),
        ("a/***/b", "'***'"),
        ("team**", "'**' stands for whole parts"),
        ("a" * 256, "255 characters"),
        ("..", "'..', which no repository's name can have"),
        ("a/../b", "'..', which no repository's name can have"),
        (".hidden", "'.hidden', which no repository's name can have"),
        ("a..b", "'a..b', which no repository's name can have"),
        ("-a", "'-a', which no repository's name can have"),
    ],
)
def test_bad_patterns(pattern: object, words: str) -> None:
    assert words in access.pattern_problem(pattern)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"access": "write"}, "'write': write pull, create, push, admin or metrics"),
        ({"access": "Admin"}, "'Admin': write pull, create, push, admin or metrics"),
        ({"access": ""}, "'': write"),
        ({"access": True}, "True: write"),
        ({"access": None}, "None: write"),
        ({"repositories": []}, "is empty: name at least one, or leave out the key 'repositories'"),
        ({"repositories": None}, "is not a list: write ['team-a/*']"),
        ({"repositories": "team-b"}, "is not a list: write ['team-b']"),
        ({"repositories": {"a": 1}}, "is not a list"),
        ({"repositories": ["a", "B"]}, "holds the pattern 'B', which has upper-case letters"),
        ({"certificate_only": True, "password": "hidden"}, "has a password and certificate_only"),
        ({"certificate_only": "yes", "password": "hidden"}, "has a password and certificate_only"),
        ({"certificate_only": True, "name": "Zoë"}, "cannot stand in a certificate"),
        ({"certificate_only": True, "name": "x" * 65}, "cannot stand in a certificate"),
        ({"certificate_only": True, "name": "-x"}, "cannot stand in a certificate"),
        ({"certificate_only": True, "name": "a\n"}, "cannot stand in a certificate"),
    ],
)
def test_bad_users(user: dict[str, Any], words: str) -> None:
    problems = access.access_problems([{"name": "bob", **user}], VARIABLE)
    assert len(problems) == 1
    assert words in problems[0]
    assert VARIABLE in problems[0]
    assert "hidden" not in problems[0]
    assert problems[0].endswith(".")


@pytest.mark.parametrize("users", [None, "alice", 7, {}, ["alice"], [None], [{}], [[]]])
def test_what_is_no_list_of_users_is_told_of_elsewhere(users: object) -> None:
    assert access.access_problems(users, VARIABLE) == []


def test_good_users() -> None:
    users: list[dict[str, Any]] = [
        {"name": "Zoë", "password": "x", "certificate_only": False},
        {"name": "a", "certificate_only": "no", "password": "x"},
        {"name": "build@ci-1.example.org", "certificate_only": True, "access": "pull", "repositories": ["a", "b/**"]},
    ]
    assert access.access_problems(users, VARIABLE) == []
    assert [user["name"] for user in access.password_users(users)] == ["Zoë", "a"]


def test_anonymous_repositories() -> None:
    def problems(patterns: list[str]) -> list[str]:
        return users_problems([{"name": "bob"}], "users", anonymous_repositories=patterns, anonymous_variable="v")

    assert problems(["public/**"]) == []
    assert problems([]) == ["v is empty: name at least one, or write ['**'] for all of them."]
    assert len(problems(["A", "/b", "c"])) == 2


def test_document() -> None:
    users: list[dict[str, Any]] = [
        {"name": "alice", "password": "secret"},
        {"name": "__proto__", "access": "pull"},
        {"name": "ci", "access": "admin", "repositories": ["team-a/*"], "certificate_only": True},
    ]
    rights = {
        "alice": {"access": "push", "repositories": ["**"]},
        "__proto__": {"access": "pull", "repositories": ["**"]},
        "ci": {"access": "admin", "repositories": ["team-a/*"]},
    }
    assert access.access_document(users, False, ["**"]) == {"anonymous": None, "users": rights}
    assert access.access_document(users, True, ["public/**"])["anonymous"] == {"repositories": ["public/**"]}
