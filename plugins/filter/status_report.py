# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_report
short_description: Judge what a registry's host has told
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Makes a report of what the module M(drydock.registry.registry_status) found, with every problem as a sentence that says what is
    wrong, since or until when, and what to do.
  - A result of a host that could not be reached, or where the module failed, becomes a report with that problem.
  - A problem is V(critical) where clients are refused or served wrongly, or something that shall run does not. It is a
    V(warning) where that is to come, or harms one user alone.
options:
  _input:
    description: The registered result of the module.
    type: dict
    required: true
  settings:
    description: What the deployment is meant to be.
    type: dict
    required: true
    suboptions:
      host:
        description: The host's name in the inventory.
        type: str
        required: true
      address:
        description: What clients write, V(HOST) or V(HOST:PORT).
        type: str
        required: true
      domain:
        description: The name that the certificate has to cover.
        type: str
        required: true
      provider:
        description: Where the server's certificate comes from, V(self_signed), V(provided) or V(acme).
        type: str
        required: true
      renew_before_days:
        description: With V(self_signed), a run renews a certificate with fewer days left.
        type: int
        required: true
      warn_days:
        description:
          - Warn of certificates with fewer days left.
          - When it is empty, less than a quarter of the lifetime, but at most 30 days. This suits certificates of 6 days
            as well as those of 90, since a renewal is due with a third of the lifetime left.
          - Revocation lists always go by their lifetime.
        type: str
        required: true
      client_certificates:
        description: What nginx asks of clients, V(off), V(optional), V(required) or V(both).
        type: str
        required: true
      client_directory:
        description:
          - The folder on this machine of the CA that issues client certificates; empty where another CA does, or nobody.
        type: str
        required: true
      auth_directory:
        description: The folder of C(access.json) and C(htpasswd) on the host.
        type: str
        required: true
      proxy:
        description: The name of nginx's container.
        type: str
        required: true
      reload_program:
        description: The program on the host that makes nginx load what lies on the disk; may be empty.
        type: str
        required: true
      storage:
        description: Where images are kept; C(provider) and C(directory), or C(provider), C(bucket), C(region) and C(prefix).
        type: dict
        required: true
"""

EXAMPLES = r"""
- name: Fail where something is wrong now
  ansible.builtin.assert:
    that: report['status'] != 'critical'
    fail_msg: "{{ report['problems'] | map(attribute='message') | join(' ') }}"
  vars:
    report: "{{ found | drydock.registry.status_report(settings) }}"
"""

RETURN = r"""
_value:
  description: The report. Times are in UTC, in ISO 8601, and empty where they are not known; V(none) means not known, or none.
  type: dict
  contains:
    host:
      description: The host's name in the inventory.
      type: str
      sample: registry-1
    address:
      description: What clients write.
      type: str
      sample: registry.example.com
    checked:
      description: When it was looked at.
      type: str
      sample: "2030-01-01T12:00:00Z"
    status:
      description: V(ok), V(warning) or V(critical), the worst level among the problems.
      type: str
      sample: warning
    problems:
      description: What is wrong, the worst first.
      type: list
      elements: dict
      contains:
        level:
          description: V(critical) or V(warning).
          type: str
        about:
          description: What it is about, a few words that stay the same from run to run.
          type: str
          sample: server's certificate
        message:
          description: One sentence.
          type: str
    certificates:
      description: The server's, those between it and the server's CA, the server CA's, and the client CA's.
      type: list
      elements: dict
      contains:
        what:
          description: V(server's), V(intermediate CA's), V(server CA's) or V(client CA's).
          type: str
        path:
          description: The file.
          type: str
        subject:
          description: The common name.
          type: str
        issuer:
          description: The issuer's common name.
          type: str
        names:
          description: The names and addresses that it covers.
          type: list
          elements: str
        serial:
          description: The serial number in hexadecimal, as openssl writes it.
          type: str
        not_before:
          description: When it begins.
          type: str
        not_after:
          description: When it ends.
          type: str
        days_left:
          description: Until then; below 0 after it.
          type: float
        loaded:
          description: Whether nginx shows the server's certificate that lies on the disk.
          type: bool
    crls:
      description: The client CA's revocation list, where nginx asks for client certificates.
      type: list
      elements: dict
      contains:
        what:
          description: V(client CA's).
          type: str
        path:
          description: The file.
          type: str
        issuer:
          description: The issuer's common name.
          type: str
        this_update:
          description: When it was made.
          type: str
        next_update:
          description: When it ends.
          type: str
        days_left:
          description: Until then.
          type: float
        revoked:
          description: How many certificates it revokes.
          type: int
    renewal:
      description: How the server's certificate is renewed.
      type: dict
      contains:
        provider:
          description: Where it comes from.
          type: str
        by:
          description: What renews it.
          type: str
        issued:
          description: When it was renewed last, which is when it begins. Many issuers date it back by an hour.
          type: str
        installed:
          description: Since when the file on the host is as it is.
          type: str
        next:
          description: When it is renewed next; with V(acme) when certbot looks next whether it is time.
          type: str
        timer:
          description: C(name), C(state), C(enabled), C(next), C(last) and C(service_result) of the timer that renews it.
          type: dict
    users:
      description: Everybody with rights or a password.
      type: list
      elements: dict
      contains:
        name:
          description: The name.
          type: str
        access:
          description: V(pull), V(create), V(push), V(admin) or V(metrics); empty without rights.
          type: str
        repositories:
          description: Where.
          type: list
          elements: str
        password:
          description: Whether the host has one.
          type: bool
        certificate:
          description: Whether this machine has issued one that is in force.
          type: bool
    anonymous:
      description: What everybody may pull, C(repositories).
      type: dict
    client_certificates:
      description: Those in force, each with C(name), C(path), C(serial), C(not_before), C(not_after) and C(days_left).
      type: list
      elements: dict
    service:
      description: What nginx answers.
      type: dict
      contains:
        url:
          description: What it was asked.
          type: str
        status:
          description: The HTTP status; V(0) where nothing answers.
          type: int
        problem:
          description: Why nothing answers.
          type: str
        configuration:
          description: How nginx names what it has loaded.
          type: str
        loaded:
          description: Whether that is all that lies on the disk.
          type: bool
    containers:
      description: The containers.
      type: list
      elements: dict
      contains:
        name:
          description: The container's name.
          type: str
        image:
          description: Its image.
          type: str
        state:
          description: V(running), V(missing) or another of Docker's words; empty where Docker does not answer.
          type: str
        health:
          description: Docker's own health check, where the image has one.
          type: str
        answer:
          description: The HTTP status that it answers; V(0) where it does not.
          type: int
        restarts:
          description: How often Docker has restarted it.
          type: int
        started:
          description: When it was started last.
          type: str
    maintenance:
      description: What keeps the storage in order, and the figures of its last report; V(none) where the host has no part in it.
      type: dict
      contains:
        timer:
          description: The timer that runs it, V(none) where there is none.
          type: dict
        time:
          description: When the last report was made.
          type: str
        since:
          description: When the one before was made, since which C(totals) tells the growth.
          type: str
        totals:
          description: What is there by numbers and bytes; V(none) before the first report.
          type: dict
    storage:
      description: Where the images are.
      type: dict
      contains:
        provider:
          description: V(filesystem) or V(s3).
          type: str
        directory:
          description: The folder.
          type: str
        bucket:
          description: The bucket, which is not measured, with its C(region), and the C(prefix) below which the images are.
          type: str
        used_bytes:
          description: What the folder takes on the disk.
          type: int
        used_is_complete:
          description: Whether that is all. A large folder that is no file system of its own is not counted to its end.
          type: bool
        own_file_system:
          description: Whether the folder is a file system of its own.
          type: bool
        free_bytes:
          description: What is free on its file system.
          type: int
        total_bytes:
          description: The size of its file system.
          type: int
        free_percent:
          description: The share that is free.
          type: float
"""

import datetime
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from ansible_collections.drydock.registry.plugins.module_utils._registry_status import Clients


def _clients(directory: str) -> Clients | None:
    """Read the CA's folder. Its key is left alone, so that an encrypted one is no problem."""
    from ansible_collections.drydock.registry.plugins.module_utils._client_ca import read_state
    from ansible_collections.drydock.registry.plugins.module_utils._registry_status import ClientCertificate, Clients

    if not directory:
        return None
    state = read_state(directory, "")
    newest = {name: state.valid(name) for name in sorted({each.name for each in state.issued})}
    return Clients(
        in_force=[
            ClientCertificate(name, valid[0].serial, valid[0].path, valid[0].not_before, valid[0].not_after)
            for name, valid in newest.items()
            if valid
        ],
        revoked={each.serial: each.name for each in state.issued if each.serial in state.revoked},
        problems=[problem for problem in state.problems if not problem.startswith(os.path.join(directory, "ca.key"))],
    )


def status_report(result: Any, settings: Any) -> dict[str, Any]:
    """The report on one host."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_status import report
    from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem

    if not isinstance(result, Mapping) or not isinstance(settings, Mapping):
        raise AnsibleFilterError("drydock.registry.status_report takes a module's result and a dictionary of settings.")
    problem = library_problem()
    if problem:
        raise AnsibleFilterError(problem)
    clients = _clients(os.path.expanduser(str(settings["client_directory"])))
    return report(result, settings, datetime.datetime.now(datetime.timezone.utc), clients)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"status_report": status_report}
