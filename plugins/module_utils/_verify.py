# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's last check: what it can prove with these users and settings, and what it means when it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.drydock.registry.plugins.module_utils._access import (
    EVERYTHING,
    access_document,
    is_true,
    password_users,
)
from ansible_collections.drydock.registry.plugins.module_utils._registry_probe import time_of

# Clocks that differ by less need no word.
_CLOCK_SECONDS = 60.0

_NOBODY_KNOWN = (
    "logging in, pushing, pulling and deleting: registry_auth_users has a password_hash of everybody who has a password, and so no "
    "password is known here; give one user with `access: admin` a `password`, or neither, and one is generated"
)
_NOBODY_PUSHES = (
    "pushing, pulling and deleting: nobody in registry_auth_users whose password is known here has `access: admin` to all "
    "repositories"
)
_READ_ONLY = "pushing and deleting: storage.maintenance.readonly in registry_server_config refuses both"
_PULL_THROUGH = (
    "pushing, pulling and deleting: a registry with proxy.remoteurl in registry_server_config takes no pushes"
)
_NO_DELETE = (
    "that an image comes back: with deleting switched off (registry_server_delete_enabled) it would stay; "
    "an upload was begun instead, which the registry drops after a week"
)


def plan(
    users: Sequence[Mapping[str, Any]], client_certificates: str, delete_enabled: bool, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Say whom a client can be and what he can try, and in `unchecked` why that is not everything."""
    by_certificate = client_certificates == "required"
    candidates = list(users) if by_certificate else password_users(users)
    known = [user for user in candidates if by_certificate or "password" in user or "password_hash" not in user]
    rights = access_document(users, anonymous_pull_enabled=False, anonymous_repositories=[])["users"]
    everything = {"access": "admin", "repositories": [EVERYTHING]}
    admins = [user for user in known if rights[str(user["name"])] == everything]

    storage = _part(config, "storage")
    readonly = is_true(_part(_part(storage, "maintenance"), "readonly").get("enabled", False))
    pull_through = bool(_part(config, "proxy").get("remoteurl"))
    deletes = is_true(_part(storage, "delete").get("enabled", delete_enabled))
    obstacles = [
        (not known, _NOBODY_KNOWN),
        (not admins, _NOBODY_PUSHES),
        (pull_through, _PULL_THROUGH),
        (readonly, _READ_ONLY),
    ]
    found = [sentence for there, sentence in obstacles if there]
    return {
        "user": dict((admins + known + candidates or [{"name": ""}])[0]),
        "login_enabled": bool(known),
        "push_enabled": not found,
        "delete_enabled": deletes,
        # The first explains the others away.
        "unchecked": found[0] if found else "" if deletes else _NO_DELETE,
    }


def _part(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = settings.get(key)
    return value if isinstance(value, Mapping) else {}


def explained(
    outside: Mapping[str, Any], inside: Mapping[str, Any], client: str, host: str, url: str
) -> dict[str, Any]:
    """Say what a client's failed probe means, where the registry's host was asked as well; and whether logs would tell more."""
    cause = outside.get("cause", "")
    answered = bool(inside.get("steps")) and not inside.get("cause")
    ahead = inside["clock"] - outside["clock"] if "clock" in inside and "clock" in outside else 0.0
    parts = urlsplit(url)
    places = ", ".join(outside.get("resolved", []))
    leads = f" (for {client} it leads to {places})" if places else ""
    sentence = ""
    if cause == "clock" and abs(ahead) > _CLOCK_SECONDS:
        sentence = (
            f"The clock of {host} says {time_of(inside['clock'])}, and that of {client} {time_of(outside['clock'])}: "
            "set the one that is wrong (`timedatectl set-ntp true` keeps it right) and run again."
        )
    elif answered and cause in ("refused", "silent"):
        sentence = (
            f"{host} itself gets answers from its registry, and {client} gets none at {url}: let TCP port {parts.port or 443} through "
            f"the host's firewall and what is on the way, and see that {parts.hostname} leads to the host{leads}; "
            "or name a machine that has a way there in drydock_verify_from."
        )
    elif answered and cause in ("tls", "handshake"):
        sentence = (
            f"{host} itself meets the right certificate, and {client} another at {url}: "
            "see whether the name leads to another host, or whether something on the way answers in its place."
        )
    told = str(outside.get("msg", ""))
    return {
        "message": f"{sentence}\n{told}" if sentence else told,
        "logs": not sentence and cause not in ("name", "tls", "clock"),
    }
