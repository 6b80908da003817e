#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a registry's host and says what it finds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_status
author:
  - The drydock authors (@drydock)
short_description: Looks at a registry's host and says what it finds
version_added: 0.1.0
description:
  - Reads, in one call, what a report on a registry needs. These are its certificates and revocation list, the users, the
    containers, what nginx and the registries answer, the timer of the renewal, and what the storage takes.
  - Has each registry read from its storage and write to it, by an upload that begins and does not go on.
  - Judges nothing. The filter P(drydock.registry.status_report#filter) does, on the controller, which can read certificates.
  - Fails only where its options are wrong. What is missing, broken or does not answer is part of the result, in its C(problem),
    which is the end of a sentence such as V(does not exist); an empty C(problem) means that there is none.
  - No key, password or hash leaves the host, and no container's environment.
options:
  tls_directory:
    description: The folder with nginx's C(tls.crt) and, where clients need a CA certificate, C(ca.crt).
    type: path
    required: true
  auth_directory:
    description: The folder with C(access.json) and C(htpasswd).
    type: path
    required: true
  client_ca_certificate:
    description: The file with the CA that nginx trusts for client certificates. When it is not set, none is read.
    type: path
  client_crl:
    description: The file with that CA's revocation list. When it is not set, none is read.
    type: path
  server_name:
    description: The name by which clients call the registry.
    type: str
    required: true
  address:
    description: The address on which this host itself reaches nginx.
    type: str
    default: 127.0.0.1
  port:
    description: The port of nginx there.
    type: int
    default: 443
  containers:
    description: The containers of the deployment.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The container's name.
        type: str
        required: true
      socket:
        description: The unix socket on the host at which it answers C(GET /). When it is empty, it is not asked.
        type: path
        default: ""
  storage_directory:
    description: The folder that holds the images. When it is not set, because another place holds them, nothing is measured.
    type: path
  storage_seconds:
    description:
      - How many seconds to count the folder's size for. A folder that is a file system of its own needs no counting.
    type: float
    default: 3
  timer:
    description: The systemd timer that renews the certificate. When it is empty, none is asked for.
    type: str
    default: ""
  watch:
    description: The systemd service that watches the registries. When it is empty, none is asked for.
    type: str
    default: ""
  mirror:
    description: The systemd service that asks other registries. When it is empty, none is asked for.
    type: str
    default: ""
  mirror_state:
    description: The file in which it writes what other registries say of their limits. When it is not set, none is read.
    type: path
  maintenance_timer:
    description: The systemd timer that keeps the storage in order. When it is empty, none is asked for.
    type: str
    default: ""
  maintenance_report:
    description: The file with the last report on the storage, in JSON. When it is not set, none is read.
    type: path
  backup_report:
    description: The file in which the host's backups note what they did, in JSON. When it is not set, none is read.
    type: path
  reload_program:
    description:
      - The program that makes nginx take what lies on the disk. With C(--check) it tells whether nginx has.
      - When it is not set or not there, this is not told.
    type: path
  timeout:
    description: Seconds to wait for each answer of nginx, of a registry, of Docker and of systemd.
    type: int
    default: 10
attributes:
  check_mode:
    description: The same as without, but that no registry is asked to write.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: Nothing is ever changed, but that each registry begins an upload, which it gives up by itself.
    support: full
requirements:
  - The C(docker) client on the host, for the containers
"""

EXAMPLES = r"""
- name: Look at the registry
  drydock.registry.registry_status:
    tls_directory: /etc/drydock/tls
    auth_directory: /etc/drydock/auth
    server_name: registry.example.com
    containers:
      - name: drydock-proxy
      - name: drydock-registry-a
        socket: /var/lib/drydock/sockets/registry-a.sock
      - name: drydock-registry-b
        socket: /var/lib/drydock/sockets/registry-b.sock
    storage_directory: /var/lib/drydock/registry
  register: found
"""

RETURN = r"""
found:
  description: What the host tells. Times are in UTC, in ISO 8601; an empty text means not known.
  returned: always
  type: dict
  contains:
    time:
      description: The host's clock.
      type: str
      sample: "2030-01-01T12:00:00Z"
    certificate:
      description: C(tls.crt), the server's certificate and its chain.
      type: dict
      contains:
        path:
          description: The file.
          type: str
          sample: /etc/drydock/tls/tls.crt
        pem:
          description: Its certificates.
          type: str
        modified:
          description: Since when the file is as it is.
          type: str
          sample: "2030-01-01T11:00:00Z"
        problem:
          description: Why there is nothing to read.
          type: str
          sample: does not exist
    ca_certificate:
      description: C(ca.crt), likewise. Where clients need none, it does not exist.
      type: dict
    client_ca_certificate:
      description: The CA of client certificates, likewise; V(none) when O(client_ca_certificate) is not set.
      type: dict
    client_crl:
      description: Its revocation list, likewise; V(none) when O(client_crl) is not set.
      type: dict
    proxy:
      description: What nginx answers at C(/healthz).
      type: dict
      contains:
        status:
          description: The HTTP status; V(0) where nothing answers.
          type: int
          sample: 200
        problem:
          description: Why nothing answers.
          type: str
          sample: Connection refused
        certificate:
          description: The certificate that nginx shows, in PEM.
          type: str
        configuration:
          description: How nginx names what it has loaded.
          type: str
          sample: 5b1f0c9ab8d2
        loaded:
          description: V(loaded) or V(pending), whether nginx has loaded all that lies on the disk.
          type: str
          sample: loaded
    users:
      description: Who has which rights, and who has a password.
      type: dict
      contains:
        access:
          description: The content of C(access.json); V(none) where it cannot be read.
          type: dict
        access_problem:
          description: Why it cannot be read.
          type: str
        password_names:
          description: The names in C(htpasswd).
          type: list
          elements: str
        password_problem:
          description: Why it cannot be read.
          type: str
    engine:
      description: What the Docker daemon says.
      type: dict
      contains:
        problem:
          description: Why it does not answer.
          type: str
        containers:
          description: The containers of O(containers), in that order.
          type: list
          elements: dict
          contains:
            name:
              description: The container's name.
              type: str
            image:
              description: The image that it was made from.
              type: str
            because:
              description: Why the image was built on the host, where another one could not be pulled.
              type: str
            state:
              description: As Docker says it, or V(missing).
              type: str
              sample: running
            health:
              description: The result of the health check that its image brings.
              type: str
              sample: healthy
            exit_code:
              description: How it ended.
              type: int
            restarts:
              description: How often Docker has restarted it.
              type: int
            started:
              description: When it was started last.
              type: str
            finished:
              description: When it ended last.
              type: str
            socket:
              description: Where it was asked.
              type: str
            answer:
              description:
                - What it answered there, a C(status), a C(problem), and a C(storage_problem), why it cannot read its storage.
                - V(none) where it was not asked.
              type: dict
    watch:
      description: The state of O(watch), empty where it was not asked for.
      type: str
      sample: active
    mirror:
      description: The state of O(mirror), empty where it was not asked for.
      type: str
      sample: active
    mirrors:
      description:
        - What other registries have said, each with C(name), C(limit), C(remaining), C(window_seconds), C(told), C(problem) and
          C(problem_time).
      type: list
      elements: dict
    timer:
      description: The timer of the renewal; V(none) when O(timer) is empty, or systemd is not the host's service manager.
      type: dict
      contains:
        name:
          description: The timer.
          type: str
          sample: certbot.timer
        problem:
          description: Why systemd does not know it.
          type: str
        state:
          description: Its state.
          type: str
          sample: active
        enabled:
          description: Whether it comes back after a restart of the host.
          type: str
          sample: enabled
        next:
          description: When it runs next.
          type: str
        last:
          description: When it ran last.
          type: str
        service:
          description: What it runs.
          type: str
          sample: certbot.service
        service_result:
          description: How that ended last, V(success) also where it has not run yet.
          type: str
          sample: success
        service_ended:
          description: When that ended last.
          type: str
    maintenance:
      description: What keeps the storage in order; V(none) when O(maintenance_report) is not set.
      type: dict
      contains:
        timer:
          description: As RV(found.timer), of O(maintenance_timer).
          type: dict
        time:
          description: When the last report was made.
          type: str
          sample: "2030-01-01T03:20:00Z"
        since:
          description: When the one before was made, since which RV(found.maintenance.totals) tells the growth.
          type: str
        totals:
          description: Its totals; V(none) where there is no report.
          type: dict
    backup:
      description: What the host's backups have noted; V(none) when O(backup_report) is not set.
      type: dict
      contains:
        backup:
          description: The last backup, with its C(time), C(size), C(added) and C(problems); V(none) where there is none.
          type: dict
        restoring:
          description: The backup of which a part was restored, and not all; empty where there is none.
          type: str
        drill:
          description: The last time that a backup was fetched and read, with its C(time) and C(problems); V(none) where there is none.
          type: dict
        failed:
          description: The last attempt that failed since, with its C(time), C(command) and C(error); V(none) where none did.
          type: dict
    storage:
      description: The folder of the images; V(none) when O(storage_directory) is not set.
      type: dict
      contains:
        directory:
          description: The folder.
          type: str
        problem:
          description: Why it cannot be measured.
          type: str
        used_bytes:
          description: What it takes on the disk.
          type: int
        used_is_complete:
          description: Whether everything was counted within O(storage_seconds). If not, it takes more.
          type: bool
        own_file_system:
          description: Whether the folder is a file system of its own, of which RV(found.storage.used_bytes) is all that is used.
          type: bool
        total_bytes:
          description: The size of the file system, as far as programs that are not root's can use it.
          type: int
        free_bytes:
          description: What is free of it.
          type: int
        total_inodes:
          description: How many files it can hold; V(0) where there is no limit.
          type: int
        free_inodes:
          description: How many more it can hold.
          type: int
        read_only:
          description: Whether it is mounted read-only.
          type: bool
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._registry_status_host import (
    CERTIFICATE,
    CRL,
    Engine,
    Maintenance,
    ask_proxy,
    ask_socket,
    has_systemd,
    is_read_only,
    read_backup,
    read_containers,
    read_figures,
    read_loaded,
    read_mirrors,
    read_pem,
    read_service,
    read_storage,
    read_timer,
    read_users,
    utc,
)


class Runner:
    """Runs programs of the host, none of them longer than some seconds."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._limit: list[str] = []
        timeout = module.get_bin_path("timeout")
        if timeout:
            self._limit = [timeout, "--kill-after=1", str(module.params["timeout"])]

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        program = self._module.get_bin_path(command[0])
        if not program:
            return 127, "", f"{command[0]} is not installed"
        code, output, errors = self._module.run_command([*self._limit, program, *command[1:]], handle_exceptions=False)
        if code in {124, 137} and self._limit:
            errors = f"{command[0]} does not answer within {self._module.params['timeout']} seconds"
        return int(code), str(output), str(errors)


def containers(params: dict[str, Any], run: Runner, *, writes: bool) -> Engine:
    """All that is known of the containers."""
    found = read_containers([wanted["name"] for wanted in params["containers"]], run)
    for wanted, container in zip(params["containers"], found["containers"]):
        container["socket"] = wanted["socket"]
        # A container that does not run leaves its socket behind, and nobody answers there.
        if wanted["socket"] and container["state"] in {"running", ""}:
            container["answer"] = ask_socket(wanted["socket"], float(params["timeout"]), writes=writes)
    return found


def maintenance(params: dict[str, Any], run: Runner) -> Optional[Maintenance]:
    """What keeps the storage in order."""
    if not params["maintenance_report"]:
        return None
    wanted = params["maintenance_timer"]
    timer = read_timer(wanted, run) if wanted and has_systemd() else None
    made, since, totals = read_figures(params["maintenance_report"])
    return {"timer": timer, "time": made, "since": since, "totals": totals}


def find(params: dict[str, Any], run: Runner, *, dry: bool) -> dict[str, Any]:
    """Everything, the slow things side by side."""

    def pem(path: Optional[str], kind: str) -> Any:
        return read_pem(path, kind) if path else None

    with ThreadPoolExecutor() as pool:
        # run_command is no friend of threads: it is left to this one.
        answering = pool.submit(
            ask_proxy, params["address"], params["port"], params["server_name"], float(params["timeout"])
        )
        measured = (
            pool.submit(read_storage, params["storage_directory"], params["storage_seconds"])
            if params["storage_directory"]
            else None
        )
        timer = read_timer(params["timer"], run) if params["timer"] and has_systemd() else None
        watch = read_service(params["watch"], run) if params["watch"] and has_systemd() else ""
        loaded = read_loaded(params["reload_program"] or "", run)
        # Counting takes seconds. That a file system is read-only is known before.
        engine = containers(params, run, writes=not dry and not is_read_only(params["storage_directory"] or ""))
        return {
            "time": utc(time.time()),
            "certificate": pem(f"{params['tls_directory']}/tls.crt", CERTIFICATE),
            "ca_certificate": pem(f"{params['tls_directory']}/ca.crt", CERTIFICATE),
            "client_ca_certificate": pem(params["client_ca_certificate"], CERTIFICATE),
            "client_crl": pem(params["client_crl"], CRL),
            "proxy": {**answering.result(), "loaded": loaded},
            "users": read_users(params["auth_directory"]),
            "engine": engine,
            "timer": timer,
            "watch": watch,
            "mirror": read_service(params["mirror"], run) if params["mirror"] and has_systemd() else "",
            "mirrors": read_mirrors(params["mirror_state"]) if params["mirror_state"] else [],
            "maintenance": maintenance(params, run),
            "backup": read_backup(params["backup_report"]) if params["backup_report"] else None,
            "storage": measured.result() if measured else None,
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "tls_directory": {"type": "path", "required": True},
            "auth_directory": {"type": "path", "required": True},
            "client_ca_certificate": {"type": "path"},
            "client_crl": {"type": "path"},
            "server_name": {"type": "str", "required": True},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 443},
            "containers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "socket": {"type": "path", "default": ""},
                },
            },
            "storage_directory": {"type": "path"},
            "storage_seconds": {"type": "float", "default": 3},
            "timer": {"type": "str", "default": ""},
            "watch": {"type": "str", "default": ""},
            "mirror": {"type": "str", "default": ""},
            "mirror_state": {"type": "path"},
            "maintenance_timer": {"type": "str", "default": ""},
            "maintenance_report": {"type": "path"},
            "backup_report": {"type": "path"},
            "reload_program": {"type": "path"},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    for option in ("timeout", "storage_seconds"):
        if module.params[option] <= 0:
            module.fail_json(msg=f"{option} is {module.params[option]}: write a number of seconds above 0.")
    module.exit_json(changed=False, found=find(module.params, Runner(module), dry=module.check_mode))


if __name__ == "__main__":
    main()
