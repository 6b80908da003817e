# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's partitions: what begins an ARN, and what ends the name of an endpoint.

https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
"""

from __future__ import annotations

import re

# How names of regions begin that are not the commercial ones'.
_BEGINNINGS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
SUFFIXES = {
    "aws": "amazonaws.com",
    "aws-us-gov": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
}
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]")


def is_region(name: str) -> bool:
    """Tell whether a name has the form that all of AWS's regions have."""
    return _REGION.fullmatch(name) is not None


def suffix_of(partition: str) -> str:
    """What names of services end with; in a partition that is not known here, as in the commercial one."""
    return SUFFIXES.get(partition, SUFFIXES["aws"])


def partition_of(region: str) -> str:
    """The partition that a region belongs to, by its name."""
    return next((name for beginning, name in _BEGINNINGS.items() if region.startswith(beginning)), "aws")
