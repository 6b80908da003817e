# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what in which repositories: what is wrong with it, and the document that a proxy reads.

A pattern is compared with a repository's whole name. `*` stands for anything within one part of it, `**` for any number
of parts, and everything else for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Each includes those before it, but `metrics`, which is a right of its own.
ACCESS_WORDS = ("pull", "create", "push", "admin", "metrics")
DEFAULT_ACCESS = "push"
EVERYTHING = "**"
# The longest name of a repository.
PATTERN_LIMIT = 255
TAG_LIMIT = 128

# A name that a client certificate can carry, and a program can put into a log line or a path as it is.
CERTIFICATE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
CERTIFICATE_NAME_RULE = (
    "write 1 to 64 letters, digits, dots, hyphens, underscores or '@', beginning with a letter or digit"
)

# A part of a repository's name, as the distribution API defines it.
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG_PATTERN = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9._*-]{0,127}")
_CHARACTERS = re.compile(r"[a-z0-9._/*-]")
_YES = ("true", "yes", "on", "1", "y", "t", "1.0")


def is_true(value: object) -> bool:
    """Read a switch as Ansible does; what is no switch is off, and argument validation refuses it."""
    return str(value).strip().lower() in _YES


def is_certificate_only(user: Mapping[str, Any]) -> bool:
    """Tell whether a user has a certificate instead of a password."""
    return is_true(user.get("certificate_only", False))


def password_users(users: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out the users who have no password."""
    return [user for user in users if not is_certificate_only(user)]


# ----- what is wrong ------------------------------------------------------------------------------------------------


def pattern_problem(pattern: object) -> str:
    """Say what is wrong with a pattern of repositories, or nothing."""
    if not isinstance(pattern, str):
        return "is not text: put it in quotes"
    if not pattern:
        return "is empty: write a repository's name, 'team-a/*', or '**' for all of them"
    if pattern.startswith("/") or pattern.endswith("/"):
        return f"begins or ends with a slash: write {pattern.strip('/') or EVERYTHING!r}"
    if "//" in pattern:
        return f"has an empty part: write {re.sub('/+', '/', pattern)!r}"
    if any(character.isupper() for character in pattern):
        return f"has upper-case letters, which no repository's name has: write {pattern.lower()!r}"
    if any(character.isspace() for character in pattern):
        return "has a space: write several patterns as several entries of the list"
    unknown = "".join(sorted({character for character in pattern if not _CHARACTERS.match(character)}))
    if unknown:
        return (
            f"has {unknown!r}: use lower-case letters, digits, '.', '_', '-' and '/', and the wildcards '*' and '**'; "
            "it is no regular expression"
        )
    if len(pattern) > PATTERN_LIMIT:
        return f"is longer than {PATTERN_LIMIT} characters, the longest name of a repository: shorten it"
    for part in pattern.split("/"):
        if "***" in part:
            return "has '***': write '*' for anything within one part of the name, '**' for any number of parts"
        if "**" in part and part != "**":
            return f"has {part!r}: '**' stands for whole parts of the name, so write '*' there, or '**' between slashes"
        if "*" not in part and not _PART.fullmatch(part):
            return f"has the part {part!r}, which no repository's name can have: write the name as clients do"
    return ""


def tag_pattern_problem(pattern: object) -> str:
    """Say what is wrong with a pattern of tags, or nothing."""
    if not isinstance(pattern, str):
        return "is not text: put it in quotes"
    if not _TAG_PATTERN.fullmatch(pattern):
        return (
            f"no tag can match: use 1 to {TAG_LIMIT} letters, digits, '.', '_' and '-', and the wildcard '*' for anything; "
            "a tag begins with neither '.' nor '-'"
        )
    return ""


def patterns_problems(
    patterns: object,
    what: str,
    remedy: str,
    *,
    problem_of: Callable[[object], str] = pattern_problem,
    example: str = "team-a/*",
) -> list[str]:
    """Say what is wrong with a list of patterns, one sentence each, beginning with what the list is."""
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        shown = f"['{patterns}']" if isinstance(patterns, str) and patterns else f"['{example}']"
        return [f"{what} is not a list: write {shown}."]
    if not patterns:
        return [f"{what} is empty: {remedy}."]
    problems = ((pattern, problem_of(pattern)) for pattern in patterns)
    return [
        f"{what} holds the pattern {shown_value(pattern)}, which {problem}." for pattern, problem in problems if problem
    ]


def access_problems(users: object, variable: str) -> list[str]:
    """Say what is wrong with the rights of users, one sentence each; malformed entries are told of elsewhere."""
    if not isinstance(users, Sequence) or isinstance(users, (str, bytes)):
        return []
    problems: list[str] = []
    for user in users:
        if not isinstance(user, Mapping) or "name" not in user:
            continue
        name = user["name"]
        label = f"of user {shown_value(name)} in {variable}"
        if "access" in user and user["access"] not in ACCESS_WORDS:
            words = f"{', '.join(ACCESS_WORDS[:-1])} or {ACCESS_WORDS[-1]}"
            problems.append(f"The access {label} is {shown_value(user['access'])}: write {words}.")
        if "repositories" in user:
            problems += patterns_problems(
                user["repositories"],
                f"The list of repositories {label}",
                "name at least one, or leave out the key 'repositories' for all of them",
            )
        if is_certificate_only(user):
            if "password" in user:
                problems.append(
                    f"The entry {label} has a password and certificate_only: leave out the one that the user is not to have."
                )
            if not CERTIFICATE_NAME.fullmatch(str(name)):
                problems.append(
                    f"The name {label} cannot stand in a certificate, and the user has certificate_only: {CERTIFICATE_NAME_RULE}."
                )
    return problems


def shown_value(value: object) -> str:
    """Show a value so that nothing in it can disturb a terminal or fill it."""
    text = f"'{value}'" if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 80 else f"{text[:70]}...'"


# ----- the document -------------------------------------------------------------------------------------------------


def access_document(
    users: Iterable[Mapping[str, Any]],
    anonymous_pull_enabled: bool,
    anonymous_repositories: Iterable[str],
) -> dict[str, Any]:
    """Make what a proxy reads: the rights of each user, and what everybody may pull."""
    return {
        "anonymous": {"repositories": list(anonymous_repositories)} if anonymous_pull_enabled else None,
        "users": {
            str(user["name"]): {
                "access": str(user.get("access", DEFAULT_ACCESS)),
                "repositories": [str(pattern) for pattern in user.get("repositories", [EVERYTHING])],
            }
            for user in users
        },
    }
