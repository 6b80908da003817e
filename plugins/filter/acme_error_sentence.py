# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: acme_error_sentence
short_description: Say in one sentence why certbot failed
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Turns what certbot printed, or the result of the task that ran it, into a sentence that says what is wrong and what to do.
  - Rate limits with the time to try again, names that lead elsewhere, closed ports, CAA records, addresses and accounts that the
    directory refuses, a directory that does not answer or is not trusted, zones and permissions of Route 53.
  - What it does not know comes back as certbot says it.
options:
  _input:
    description: A task's result, or certbot's output.
    type: raw
    required: true
  directory:
    description: The URL of the ACME directory, for the sentence.
    type: str
    default: ''
  host:
    description: The name of the host that certbot ran on, for the sentence.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Order a certificate
  block:
    - name: Run certbot
      ansible.builtin.command:
        argv: [certbot, certonly, --non-interactive, --cert-name, example]
  rescue:
    - name: Say what is wrong
      ansible.builtin.fail:
        msg: "{{ ansible_failed_result | drydock.registry.acme_error_sentence(host=inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The sentence.
  type: str
"""

from collections.abc import Callable
from typing import Any


def acme_error_sentence(result: Any, directory: str = "", host: str = "") -> str:
    """What certbot's failure means."""
    from ansible_collections.drydock.registry.plugins.module_utils._acme_errors import sentence

    return sentence(result, str(directory), str(host))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"acme_error_sentence": acme_error_sentence}
