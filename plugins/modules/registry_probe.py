#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves from a client's side that a registry works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_probe
author:
  - The drydock authors (@drydock)
short_description: Proves from a client's side that a registry works
version_added: "0.1.0"
description:
  - Does what a client does, in one call. It waits until the registry answers, checks that anonymous requests, wrong
    passwords and unknown users are refused, logs in, pushes a tiny image, pulls it back, compares every byte by
    SHA-256, deletes it and checks that it is gone.
  - Fails with one sentence that names the step, what was expected and what came.
  - What was pushed is deleted even when a step in the middle fails. As with every deleted image, its bytes (less than
    2 KiB) lie in the storage until the next garbage collection.
  - Certificates and their host names are always verified. The password is sent to no other host than the registry's.
  - The module always reports V(changed=false), because it leaves the registry's content as it found it.
options:
  url:
    description:
      - The registry's address, as V(https://HOST) or V(https://HOST:PORT). Its proxy must answer C(/healthz).
    type: str
    required: true
  username:
    description:
      - A user who may push and delete.
      - One who may not is enough with O(push_enabled=false), and nobody with O(login_enabled=false).
    type: str
    default: ""
  password:
    description: The user's password. Only O(client_certificates=required) and O(login_enabled=false) do without.
    type: str
    default: ""
  login_enabled:
    description:
      - Whether to log in.
      - With V(false) only what strangers get is checked, for whoever knows no password. O(push_enabled) has to be V(false) then.
    type: bool
    default: true
  client_certificates:
    description:
      - Which client certificates the registry asks for. With V(off) and V(optional) the password is tried.
      - With V(required) the certificate is, without a password, and with V(both) both are; then it is also checked that
        nobody gets in without a certificate, not even with the right password.
    type: str
    choices: [ "off", optional, required, both ]
    default: "off"
  client_certificate:
    description: PEM text of the user's certificate, for O(client_certificates=required) and O(client_certificates=both).
    type: str
    default: ""
  client_key:
    description: PEM text of its key, not encrypted.
    type: str
    default: ""
  anonymous_pull_enabled:
    description: Whether the registry lets everybody pull, at least from some repositories.
    type: bool
    default: false
  ca_certificate:
    description:
      - PEM text of the CA that signed the registry's certificate.
      - When it is empty or not set, the system's CAs are trusted.
    type: str
  connect_to:
    description:
      - The IP address, or the name of a load balancer, to connect to in place of what the registry's name resolves to, as curl's
        C(--connect-to) does. Name and certificate are checked as ever.
      - For a registry whose DNS record is new or not made yet.
    type: str
    default: ""
  repository:
    description:
      - The repository into which the image is pushed.
      - Where the storage is a file system, the registry leaves empty folders, and so its name in the catalog.
    type: str
    default: drydock/probe
  mirrors:
    description:
      - The first parts of names of images that come from other registries. Each is asked for an image that it has by itself.
      - O(username) has to be allowed to pull from them. With O(push_enabled=false) none is asked.
    type: list
    elements: str
    default: []
  push_enabled:
    description:
      - Whether O(username) may push and delete.
      - With V(false) only who gets in and who does not is checked, and nothing is pushed.
    type: bool
    default: true
  delete_enabled:
    description:
      - Whether the registry is configured to delete.
      - With V(false) no image is pushed, because it would stay. An upload is begun instead, which the registry drops after a week.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait until the registry answers, and for each request after that.
      - For a name that does not resolve three seconds are enough, except where O(connect_to) is a name.
    type: int
    default: 60
attributes:
  check_mode:
    description:
      - In check mode nothing is pushed. A registry that does not answer is skipped, and so is one with nothing to log in with,
        since a dry run makes no passwords and certificates.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: Every run leaves the registry's content as it was.
    support: full
"""

EXAMPLES = r"""
- name: Prove that the registry works
  drydock.registry.registry_probe:
    url: https://registry.example.com
    username: alice
    password: "{{ vault_drydock_alice_password }}"
    ca_certificate: "{{ registry_tls_result['ca_certificate_pem'] }}"
"""

RETURN = r"""
steps:
  description: What was tried, in order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What was done.
      type: str
      sample: anonymous GET /v2/
    expected:
      description: What a working registry gives.
      type: str
      sample: "401"
    got:
      description: What came.
      type: str
      sample: "401"
    seconds:
      description: How long it took.
      type: float
      sample: 0.012
seconds:
  description: How long everything took.
  returned: always
  type: float
  sample: 0.8
left_behind:
  description: URLs of what was pushed and could not be deleted.
  returned: always
  type: list
  elements: str
cause:
  description:
    - What kind of failure it is. Without an answer V(name) (which does not resolve), V(refused), V(silent), V(handshake), V(tls) (a
      certificate that does not fit) or V(clock) (a certificate for another time).
    - Other values name a step or a part of the registry.
  returned: when a step failed
  type: str
  sample: refused
clock:
  description: The time on this machine in the end, in seconds since 1970.
  returned: always
  type: float
  sample: 1795986000.0
resolved:
  description:
    - The addresses that the registry's name resolves to on this machine, sorted; empty when it does not resolve.
    - O(connect_to) does not change them.
  returned: when O(connect_to) is set, or a step failed
  type: list
  elements: str
  sample: [192.0.2.10]
skipped:
  description: Whether nothing was checked, because in check mode no registry answers or there is nothing to log in with.
  returned: when nothing was checked
  type: bool
"""

import errno
import http.client
import ipaddress
import os
import re
import socket
import ssl
import tempfile
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.drydock.registry.plugins.module_utils._registry_probe import (
    Answer,
    NoAnswerError,
    Probe,
    ProbeFailedError,
    Request,
    as_dicts,
    repository_problem,
    time_of,
    url_problem,
)

_MAX_BODY_BYTES = 4 * 1024 * 1024
# OpenSSL's numbers for a certificate that is not valid yet, or no more.
_OTHER_TIMES = (9, 10)
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)


class UrlTransport:
    """Sends requests with ansible's open_url: certificates verified, no redirect followed, no .netrc read."""

    def __init__(
        self,
        ca_path: str | None = None,
        foreign_ca_path: str | None = None,
        client_certificate_path: str | None = None,
        client_key_path: str | None = None,
    ) -> None:
        self._ca_path = ca_path
        self._foreign_ca_path = foreign_ca_path
        self._client_certificate_path = client_certificate_path
        self._client_key_path = client_key_path

    def __call__(self, request: Request, timeout: float, foreign: bool) -> Answer:
        bare = request.bare or foreign
        try:
            response = open_url(
                request.url,
                data=request.body,
                headers=dict(request.headers),
                method=request.method,
                timeout=timeout,
                validate_certs=True,
                ca_path=self._foreign_ca_path if foreign else self._ca_path,
                client_cert=None if bare else self._client_certificate_path,
                client_key=None if bare else self._client_key_path,
                follow_redirects="none",
                use_netrc=False,
                decompress=False,
                http_agent="drydock.registry.registry_probe",
            )
        except HTTPError as error:
            response = error
        except URLError as error:
            raise _no_answer(error.reason) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _no_answer(error) from error
        try:
            with response:
                data = response.read(_MAX_BODY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _no_answer(error) from error
        names = {name.lower() for name in response.headers}
        joined = {name: ", ".join(response.headers.get_all(name)) for name in names}
        return Answer(int(response.code), joined, data)


def _no_answer(error: object) -> NoAnswerError:
    reason = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"the certificate was refused, {error.verify_message}"
        if error.verify_code in _OTHER_TIMES:
            return NoAnswerError(f"{reason} (it is {time_of(time.time())} here)", "clock")
        return NoAnswerError(reason, "tls")
    if isinstance(error, ssl.SSLError):
        return NoAnswerError(reason, "handshake")
    if isinstance(error, socket.gaierror):
        return NoAnswerError(reason, "name")
    if isinstance(error, ConnectionRefusedError):
        return NoAnswerError(reason, "refused")
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno in _UNREACHABLE):
        return NoAnswerError(reason, "silent")
    return NoAnswerError(reason)


def _resolved(host: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)})
    except OSError:
        return []


def _connect_to(host: str, address: str) -> None:
    """Let this process, which ends with the module, find the host at the address."""
    ask: Any = socket.getaddrinfo

    def getaddrinfo(name: Any, *args: Any, **kwargs: Any) -> Any:
        return ask(address if name == host else name, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]


def _write(directory: str, text: str) -> str:
    handle, path = tempfile.mkstemp(dir=directory, suffix=".pem")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _transport(params: dict[str, Any], directory: str) -> UrlTransport:
    pair: tuple[str, ...] = ()
    if params["login_enabled"] and params["client_certificates"] in ("required", "both"):
        pair = tuple(_write(directory, params[name].strip() + "\n") for name in ("client_certificate", "client_key"))
    certificate = params["ca_certificate"] or ""
    if not certificate.strip():
        return UrlTransport(None, None, *pair)
    # A presigned URL may point to a public storage service or to one with the deployment's own CA: trust both.
    system = ssl.get_default_verify_paths().cafile
    public = ""
    if system and os.path.isfile(system):
        with open(system, encoding="utf-8") as file:
            public = file.read()
    own = certificate.strip() + "\n"
    return UrlTransport(_write(directory, own), _write(directory, own + public), *pair)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text) is not None
    return True


def _input_problem(params: dict[str, Any]) -> str:
    problem = url_problem(params["url"])
    if problem:
        return f"url: {problem}."
    problem = repository_problem(params["repository"])
    if problem:
        return f"repository: {problem}."
    if not params["login_enabled"] and params["push_enabled"]:
        return "login_enabled: is false, and nobody can push without logging in; set push_enabled to false as well."
    if ":" in params["username"] or (params["login_enabled"] and not params["username"]):
        return "username: is empty or has a colon in it, which HTTP cannot carry; write another user name."
    if params["connect_to"] and not _is_address(params["connect_to"]):
        return "connect_to: is neither an IP address nor a host name; write one, or leave it out to go where the name leads."
    if params["timeout"] < 1:
        return "timeout: must be 1 second or more."
    certificate = params["ca_certificate"] or ""
    if certificate.strip():
        try:
            ssl.create_default_context(cadata=certificate)
        except (ssl.SSLError, ValueError):
            return "ca_certificate: is no certificate in PEM; write the text of the file, not its path."
    return ""


def _nothing_to_log_in_with(params: dict[str, Any]) -> str:
    mode = params["client_certificates"]
    if not params["login_enabled"]:
        return ""
    if mode != "required" and not params["password"]:
        return "password: is empty; write the user's password."
    for name in ("client_certificate", "client_key"):
        if mode in {"required", "both"} and "-----BEGIN " not in params[name]:
            return f"{name}: is no PEM text, which client_certificates={mode} needs."
    return ""


def run(module: AnsibleModule) -> None:
    params: dict[str, Any] = module.params
    start = time.monotonic()
    problem = _input_problem(params)
    missing = _nothing_to_log_in_with(params)
    nothing: dict[str, Any] = {"steps": [], "seconds": 0.0, "left_behind": [], "clock": time.time()}
    if missing and module.check_mode and not problem:
        # A dry run makes neither passwords nor certificates.
        module.exit_json(changed=False, skipped=True, **nothing)
    if problem or missing:
        module.fail_json(msg=problem or missing, **nothing)
    probe = Probe(
        url=params["url"],
        username=params["username"],
        password=params["password"],
        transport=_transport(params, module.tmpdir),
        client_certificates=params["client_certificates"],
        anonymous_pull=params["anonymous_pull_enabled"],
        repository=params["repository"],
        mirrors=params["mirrors"],
        timeout=float(params["timeout"]),
        login_enabled=params["login_enabled"],
        delete_enabled=params["delete_enabled"],
    )
    result: dict[str, Any] = {"changed": False}
    host = urlsplit(params["url"]).hostname or ""
    if params["connect_to"]:
        result["resolved"] = _resolved(host)
        _connect_to(host, params["connect_to"])
        # The record of a load balancer may be as new as it is.
        probe.name_timeout = probe.timeout
    failure = ""
    try:
        if not module.check_mode:
            (probe.run if params["push_enabled"] else probe.read)()
        elif probe.answers():
            probe.read()
        else:
            result["skipped"] = True
    except ProbeFailedError as error:
        failure = str(error)
        result["cause"] = error.cause
        result.setdefault("resolved", _resolved(host))
    result.update(
        steps=as_dicts(probe.steps),
        seconds=round(time.monotonic() - start, 3),
        left_behind=probe.left_behind,
        clock=time.time(),
    )
    if failure:
        module.fail_json(msg=failure, **result)
    module.exit_json(**result)


def main() -> None:
    run(
        AnsibleModule(
            argument_spec={
                "url": {"type": "str", "required": True},
                "username": {"type": "str", "default": ""},
                "password": {"type": "str", "default": "", "no_log": True},
                "login_enabled": {"type": "bool", "default": True},
                "client_certificates": {
                    "type": "str",
                    "choices": ["off", "optional", "required", "both"],
                    "default": "off",
                },
                "client_certificate": {"type": "str", "default": ""},
                "client_key": {"type": "str", "default": "", "no_log": True},
                "anonymous_pull_enabled": {"type": "bool", "default": False},
                "ca_certificate": {"type": "str"},
                "connect_to": {"type": "str", "default": ""},
                "repository": {"type": "str", "default": "drydock/probe"},
                "mirrors": {"type": "list", "elements": "str", "default": []},
                "push_enabled": {"type": "bool", "default": True},
                "delete_enabled": {"type": "bool", "default": True},
                "timeout": {"type": "int", "default": 60},
            },
            supports_check_mode=True,
        )
    )


if __name__ == "__main__":
    main()
