# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine needs to be a registry's client, without any Ansible.

Everything that can be refused on the controller is refused here; what only the machine knows, the role's script checks.
No sentence made here ever holds a password or anything of a private key.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:
    # library_problem() has the sentence.
    pass

RUNTIMES = ("docker", "containerd", "podman")
# Names that people write for what podman's settings cover as well.
SAME_AS_PODMAN = ("skopeo", "buildah", "cri-o", "crio")

# What Docker takes as the first part of an image's name; no capitals, since hosts.toml and certs.d are compared literally.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CERTIFICATE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
CERTIFICATE_BLOCK = "-----BEGIN CERTIFICATE-----"


# ----- the address --------------------------------------------------------------------------------


def address_problem(address: object) -> str:
    """Say what is wrong with the address of a registry, or nothing."""
    variable = "registry_client_address"
    if not isinstance(address, str) or not address:
        return f"{variable} is empty: write the registry's host name and port, such as registry.example.com or registry.example.com:5443."
    shown = f"{variable} is {address!r}"
    if "://" in address:
        return f"{shown}: leave out the scheme, clients always use https."
    if "@" in address:
        return f"{shown}: leave out the user and set registry_client_username."
    if "/" in address:
        return f"{shown}: leave out the path, the machine becomes a client of the whole registry."
    if address.count(":") > 1 or "[" in address:
        return f"{shown}: write a host name or an IPv4 address, for container tools do not agree on how to write IPv6."
    host, colon, port = address.partition(":")
    if colon and not (re.fullmatch(r"[1-9][0-9]{0,4}", port) and int(port) <= 65535):
        return f"{shown}: write a port from 1 to 65535 after the colon, or nothing for 443."
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return f"{shown}: that is no IPv4 address."
        return ""
    if host != host.lower():
        return f"{shown}: write it in small letters, as Docker does in the names of images."
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in host.split(".")):
        return f"{shown}: write a host name of letters, digits, hyphens and dots."
    if "." not in host and not colon and host != "localhost":
        return f"{shown}: Docker takes a name without a dot and a port for a part of an image's name, so write the full name or the port."
    return ""


# ----- certificates -------------------------------------------------------------------------------


def certificates(text: str) -> list[Certificate]:
    """Read the certificates of a PEM text; none when any of them is damaged."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return []


def certificate_text_problem(variable: str, text: str, file: str) -> str:
    """Say what is wrong with a text of certificates, or nothing."""
    if "PRIVATE KEY-----" in text:
        return f"{variable} holds a private key: give it certificates only."
    if CERTIFICATE_BLOCK not in text:
        return (
            f"{variable} is no PEM text, which begins with {CERTIFICATE_BLOCK}: "
            f"give it a file's content with lookup('ansible.builtin.file', '{file}'), not its path."
        )
    if not certificates(text):
        return f"{variable} holds a PEM block that is damaged: copy the whole file again, with all its line breaks."
    return ""


def validity_problem(variable: str, certificate: Certificate, now: datetime.datetime) -> str:
    """Say whether a certificate is over or not yet valid, or nothing."""
    who = certificate.subject.rfc4514_string()
    if certificate.not_valid_after_utc <= now:
        return f"{variable}: the certificate of {who} ended on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: give a renewed one."
    if certificate.not_valid_before_utc > now:
        return (
            f"{variable}: the certificate of {who} begins on {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: "
            "wait until then, or set this machine's clock right."
        )
    return ""


def extension(certificate: Certificate, kind: type[Any]) -> Any:
    """Return the value of an extension, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def server_ca_problems(text: str, now: datetime.datetime) -> list[str]:
    """Say what is wrong with the CA that the machine shall trust."""
    variable = "registry_client_server_ca"
    if not text.strip():
        return []
    problem = certificate_text_problem(variable, text, "ca.crt")
    if problem:
        return [problem]
    return [problem for ca in certificates(text) if (problem := validity_problem(variable, ca, now))]


def key_problem(text: str, certificate: Certificate) -> str:
    """Say what is wrong with the private key of a certificate, or nothing. What the library says is not passed on."""
    variable = "registry_client_key"
    if "PRIVATE KEY-----" not in text:
        return f"{variable} is no PEM text of a private key: give it the file's content, from a vault, not its path."
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in text or "Proc-Type: 4,ENCRYPTED" in text:
        return f"{variable} is encrypted, and nobody types a passphrase when an image is pulled: decrypt it with `openssl pkey`."
    # OpenSSL puts the parameters of a curve before the key, which confuses the library alone.
    start = re.search(r"-----BEGIN (?!EC PARAMETERS)[A-Z ]*PRIVATE KEY-----", text)
    try:
        key = serialization.load_pem_private_key(text[start.start() if start else 0 :].encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return f"{variable} holds a PEM block that is damaged: copy the whole file again, with all its line breaks."
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        return (
            f"{variable} does not belong to registry_client_certificate ({certificate.subject.rfc4514_string()}): "
            "give the key that the certificate was issued for, and the client's certificate before its chain."
        )
    return ""


def certificate_problems(name: str, certificate: str, key: str, directory: str, now: datetime.datetime) -> list[str]:
    """Say what is wrong with a client certificate and its key."""
    if name and not CERTIFICATE_NAME.fullmatch(name):
        return [f"registry_client_certificate_name is {name!r}: write the name of an issued certificate."]
    if name and not certificate.strip() and not key.strip():
        return [
            (
                f"registry_client_certificate_name is {name!r}, but {directory}/clients/{name} holds no certificate: "
                f"issue one first (playbook client_certificates, drydock_client_issue={name})."
            )
        ]
    if not certificate.strip() and not key.strip():
        return []
    if not key.strip():
        return ["registry_client_certificate has no key: give registry_client_key too, from a vault."]
    if not certificate.strip():
        return ["registry_client_key has no certificate: give registry_client_certificate too."]
    problem = certificate_text_problem("registry_client_certificate", certificate, "client.cert")
    if problem:
        return [problem]
    leaf = certificates(certificate)[0]
    problems = [key_problem(key, leaf), validity_problem("registry_client_certificate", leaf, now)]
    usage = extension(leaf, x509.ExtendedKeyUsage)
    if usage is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
        usage
    ):
        problems.append(
            "registry_client_certificate is not issued for clients: have one issued with the extended key usage clientAuth."
        )
    return [problem for problem in problems if problem]


# ----- the login ----------------------------------------------------------------------------------


def login_problems(username: object, password: object, directory: str) -> list[str]:
    """Say what is wrong with the user and the password."""
    if not isinstance(username, str):
        return ["registry_client_username is not text: put it in quotes."]
    if password is None or isinstance(password, (bool, int, float, bytes, Mapping, list, tuple)):
        return ["registry_client_password is not text: put it in quotes."]
    secret = str(password)
    if not username:
        return ["registry_client_password has no user: set registry_client_username too."] if secret else []
    if ":" in username or any(unicodedata.category(character)[0] in "CZ" for character in username):
        return [f"registry_client_username is {username!r}: a user name has no colon, space or control character."]
    if not secret:
        return [
            (
                f"User {username!r} has no password, for {directory}/{username}.password does not exist: "
                "set registry_client_password, from a vault, or leave registry_client_username empty where a certificate is enough."
            )
        ]
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in secret):
        return ["registry_client_password contains a control character such as a line break: leave it out."]
    return []


def login_texts(address: str, username: str, password: str) -> dict[str, str]:
    """Write a login as Docker's config.json keeps it and as a credential helper takes and gives it; empty without a user."""
    if not username:
        return {"entry": "", "helper": ""}
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    helper = json.dumps(
        {"ServerURL": address, "Username": username, "Secret": password}, ensure_ascii=False, separators=(",", ":")
    )
    # Helpers are written in Go, which escapes these; what a helper gives is compared with this text.
    for character in "<>&\u2028\u2029":
        helper = helper.replace(character, f"\\u{ord(character):04x}")
    return {"entry": json.dumps({"auth": encoded}), "helper": helper}


# ----- mirrors ------------------------------------------------------------------------------------

MIRROR_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
MIRRORED = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?")
DOCKER_HUB = "docker.io"


def mirror_texts(mirrors: Sequence[Mapping[str, Any]], address: str) -> dict[str, str]:
    """Write mirrors as the script has them: a line for each, and where Docker finds the one of Docker Hub, or nothing."""
    hub = next((one for one in mirrors if one["registry"] == DOCKER_HUB), None)
    return {
        "lines": "\n".join(f"{one['registry']} {one.get('name') or ''}".strip() for one in mirrors),
        "docker": str(hub.get("host") or ("" if hub.get("name") else address)) if hub else "",
    }


def mirror_problems(mirrors: object) -> list[str]:
    """Say what is wrong with the mirrors."""
    variable = "registry_client_mirrors"
    if not isinstance(mirrors, Sequence) or isinstance(mirrors, (str, bytes)):
        return [f"{variable} is not a list: write each mirror as an entry that begins with `- registry:`."]
    problems = []
    seen: set[str] = set()
    for number, one in enumerate(mirrors, 1):
        if not isinstance(one, Mapping):
            problems.append(f"Entry {number} in {variable} is not a dictionary: write `registry:` and `name:`.")
            continue
        registry, name, host = (one.get(key) or "" for key in ("registry", "name", "host"))
        if not isinstance(registry, str) or not MIRRORED.fullmatch(registry):
            problems.append(
                f"Entry {number} in {variable} has the registry {registry!r}: write it as names of images begin, such as docker.io."
            )
        elif registry in seen:
            problems.append(f"{variable} has {registry} twice: leave one of them out.")
        seen.add(str(registry))
        if name and (not isinstance(name, str) or not MIRROR_NAME.fullmatch(name)):
            problems.append(
                f"Entry {number} in {variable} has the name {name!r}: write what names of its images begin with here, such as hub."
            )
        if host and registry != DOCKER_HUB:
            problems.append(
                f"Entry {number} in {variable} has a host, which is for docker.io alone, since Docker knows mirrors of no other registry: "
                "leave it out."
            )
        elif host and address_problem(host):
            problems.append(
                f"Entry {number} in {variable} has the host {host!r}: write a host name in small letters, with its port unless that is 443."
            )
    return problems


# ----- all settings -------------------------------------------------------------------------------


def list_problems(variable: str, values: object, pattern: re.Pattern[str], example: str) -> list[str]:
    """Say what is wrong with a list of names."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        return [f"{variable} is not a list: write a list such as {example}."]
    return [
        f"{variable} names {value!r}: write a list such as {example}."
        for value in values
        if not isinstance(value, str) or not pattern.fullmatch(value)
    ]


def runtime_problems(runtimes: object) -> list[str]:
    """Say which runtimes are unknown."""
    variable = "registry_client_runtimes"
    if not isinstance(runtimes, Sequence) or isinstance(runtimes, (str, bytes)):
        return [f"{variable} is not a list: write a list such as [docker]."]
    return [
        f"{variable} names {runtime!r}: write podman, whose settings it reads too."
        if runtime in SAME_AS_PODMAN
        else f"{variable} names {runtime!r}: write one or more of {', '.join(RUNTIMES)}, or nothing for those that are found."
        for runtime in runtimes
        if runtime not in RUNTIMES
    ]


def client_problems(settings: Mapping[str, Any], now: datetime.datetime) -> list[str]:
    """Say what is wrong with the settings of a client, one sentence each."""
    texts = {key: str(settings.get(key) or "") for key in ("server_ca", "certificate_name", "certificate", "key")}
    directory = str(settings.get("credentials_directory") or "")
    helper = settings.get("credential_helper") or ""
    problems = [problem for problem in [address_problem(settings.get("address"))] if problem]
    problems += runtime_problems(settings.get("runtimes", []))
    problems += list_problems("registry_client_users", settings.get("users", []), USER, "[root, deploy]")
    problems += mirror_problems(settings.get("mirrors", []))
    problems += login_problems(settings.get("username", ""), settings.get("password", ""), directory)
    library = library_problem()
    if library:
        problems.append(library)
    else:
        problems += server_ca_problems(texts["server_ca"], now)
        problems += certificate_problems(texts["certificate_name"], texts["certificate"], texts["key"], directory, now)
    if helper and (
        not isinstance(helper, str) or not HELPER.fullmatch(helper) or helper.startswith("docker-credential-")
    ):
        problems.append(
            f"registry_client_credential_helper is {helper!r}: write what follows 'docker-credential-' in the program's name, such as pass."
        )
    if helper and not settings.get("username"):
        problems.append("registry_client_credential_helper has nothing to keep: set registry_client_username too.")
    return problems
