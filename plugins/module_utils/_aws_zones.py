# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosted zones of Route 53, and the names that are in them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, Answer


def listed_from(account: Account, name: str) -> list[Answer]:
    """The zones from a name on; the answer is sorted (labels reversed) and begins with those of this very name."""
    answer = account.ask("route53", "list_hosted_zones_by_name", missing=["InvalidDomainName"], DNSName=name)
    zones: list[Answer] = (answer or {}).get("HostedZones", [])
    return zones


def name_of(zone: Answer) -> str:
    """The zone's name as people write it."""
    return str(zone["Name"]).rstrip(".").lower()


def id_of(zone: Answer) -> str:
    """The zone's id without the path that some answers put before it."""
    return str(zone["Id"]).rsplit("/", 1)[-1]


def is_private(zone: Answer) -> bool:
    """Tell whether only VPCs see the zone."""
    return bool(zone.get("Config", {}).get("PrivateZone"))


def holds(zone: str, name: str) -> bool:
    """Tell whether a name can be in a zone."""
    return name == zone or name.endswith(f".{zone}")


def not_found(name: str, zones: Sequence[Answer]) -> str:
    """Say that there is no zone of a name, and which one may be meant."""
    similar = difflib.get_close_matches(name, [name_of(zone) for zone in zones], n=1)
    return f"The account has no hosted zone {name}" + (f" (did you mean {similar[0]}?)" if similar else "")


def several(kind: str, name: str, zones: Sequence[Answer], variable: str) -> str:
    """Say that a name does not tell which zone is meant."""
    ids = " and ".join(id_of(zone) for zone in zones)
    return f"There are several {kind} hosted zones {name} ({ids}), and {variable} cannot tell them apart: delete all but one."
