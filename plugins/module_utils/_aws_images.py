# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images come from, and what whoever pulls them from ECR needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# A registry's host has a dot, a port or is localhost; what has none of them is an image of Docker Hub.
IMAGE = re.compile(
    r"(?:(?P<host>localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:\d))(?P<port>:\d+)?/)?"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>[\w][\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
# With IPv4 alone, with FIPS, and with both kinds of addresses; what follows the region is another thing in each partition.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html
ECR = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-\d+)\."
    r"(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.(?:com\.cn|eu))|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)

DOCKER_HUB = "docker.io"


def host_of(image: str) -> str:
    """The registry that an image comes from, with its port."""
    parts = IMAGE.fullmatch(image)
    return f"{parts['host']}{parts['port'] or ''}" if parts and parts["host"] else DOCKER_HUB


def ecr_repositories(images: Iterable[str], partition: str) -> list[str]:
    """The ARNs of the repositories in ECR that images are in."""
    found = set()
    for image in images:
        parts = IMAGE.fullmatch(image)
        host = ECR.fullmatch(parts["host"] or "") if parts else None
        if parts and host:
            found.add(f"arn:{partition}:ecr:{host['region']}:{host['account']}:repository/{parts['path']}")
    return sorted(found)


def pull_statements(
    images: Iterable[str], partition: str, pull_through_prefixes: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Allow to pull images that are in ECR, from their repositories alone.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/security_iam_id-based-policy-examples.html
    """
    repositories = ecr_repositories(images, partition)
    if not repositories:
        return []
    statements: list[dict[str, Any]] = [
        # Its answer opens nothing by itself; the action knows no resources.
        {"Sid": "LogInToEcr", "Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": ["*"]},
        {
            "Sid": "Pull",
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Resource": repositories,
        },
    ]
    prefixes = tuple(f"{prefix.strip('/')}/" for prefix in pull_through_prefixes)
    cached = [each for each in repositories if each.partition(":repository/")[2].startswith(prefixes)]
    if cached:
        # The first pull makes the repository, and fetches what it is to hold.
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-iam.html
        statements.append(
            {
                "Sid": "PullThrough",
                "Effect": "Allow",
                "Action": ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"],
                "Resource": cached,
            }
        )
    return statements
