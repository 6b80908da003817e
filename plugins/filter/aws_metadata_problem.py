# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_metadata_problem
short_description: Say whether a registry could not use the role of its EC2 host
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Hosts made here take questions to the metadata service with a token only (IMDSv2). Upstream's registry 2.8 asks without one, since its
    SDK is older, and would have no credentials for S3. Debian's 2.8 and every 3.x ask with one.
options:
  _input:
    description:
      - The image that is pulled.
    type: str
    required: true
  provider:
    description:
      - How the host comes by its image. Only V(pull) brings upstream's 2.8.
    type: str
    required: true
  version:
    description:
      - The registry's line, or V(auto) where the image's tag says it.
    type: str
    default: auto
  s3:
    description:
      - The settings of the storage. With an access key the registry asks nobody.
    type: dict
    default: {}
seealso:
  - name: IMDSv2 in AWS's SDKs
    description: Go's has it since 1.25.38; upstream's 2.8 has 1.15.11.
    link: https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
"""

EXAMPLES = r"""
- name: Reject an image that could not reach its bucket
  ansible.builtin.assert:
    that: registry_server_image_reference | drydock.registry.aws_metadata_problem('pull') == ''
"""

RETURN = r"""
_value:
  description: A sentence, or nothing.
  type: str
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_UPSTREAM_2 = re.compile(r":v?2(?:\.[0-9.]+)?(?:@.*)?$")


def aws_metadata_problem(
    reference: str, provider: str, version: str = "auto", s3: Mapping[str, Any] | None = None
) -> str:
    """What is wrong with an image on a host that requires IMDSv2."""
    is_old = str(version) == "2.8" or (version == "auto" and _UPSTREAM_2.search(str(reference)) is not None)
    if provider != "pull" or not is_old or (s3 or {}).get("access_key"):
        return ""
    return (
        f"registry_server_image_provider is pull, and {reference} is registry 2.8, which cannot get credentials on a host made here: it "
        "asks the metadata service without a token (IMDSv1); write an image of registry 3, or registry_server_image_provider: debian."
    )


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_metadata_problem": aws_metadata_problem}
