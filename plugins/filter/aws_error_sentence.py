# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_error_sentence
short_description: Say in one sentence why a module for AWS failed
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Turns the failed result of a module such as M(amazon.aws.ec2_instance) into a sentence that says what is wrong and what to do.
  - Missing, expired and refused credentials, a missing permission with its name and who lacks it, an API that does not answer, quotas,
    no capacity, throttling, names that are taken, what is still in use.
  - A message that it does not know comes back as it is. Of a loop's result, the items that failed are told.
options:
  _input:
    description:
      - A task's result, or its message.
    type: raw
    required: true
seealso:
  - module: drydock.registry.aws_preflight
"""

EXAMPLES = r"""
- name: Make the host
  block:
    - name: Start an instance
      amazon.aws.ec2_instance:
        name: example
  rescue:
    - name: Say what is wrong
      ansible.builtin.fail:
        msg: "{{ ansible_failed_result | drydock.registry.aws_error_sentence }}"

# AWS refuses ec2:RunInstances to arn:aws:iam::123456789012:user/deployer: allow this action in the policies of that user or role, ...
"""

RETURN = r"""
_value:
  description: The sentence.
  type: str
"""

from collections.abc import Callable
from typing import Any


def aws_error_sentence(result: Any) -> str:
    """What a failed result means."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_errors import result_sentence

    return result_sentence(result)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_error_sentence": aws_error_sentence}
