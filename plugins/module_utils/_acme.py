# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the provider acme of registry_tls decides: whether an order can succeed, and whether one is due."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible_collections.drydock.registry.plugins.module_utils import _tls

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

if _tls.HAS_CRYPTOGRAPHY:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

SHORT_LIVED = datetime.timedelta(days=10)
_EMAIL = re.compile(r"[^@\s,<>]+@[^@\s,<>]+\.[^@\s,<>.]+")
# As a line of certbot's configuration can hold them.
_EAB_KEY_ID = re.compile(r"[^\s'\"#;]+")
_EAB_KEY = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_PROGRAM = re.compile(r"/\S+(?: .*)?")
_OPTION = re.compile(r"^\s*(?P<name>\w+)\s*=\s*(?P<value>.*?)\s*$", re.MULTILINE)


# ---- settings ------------------------------------------------------------------------------------------------------


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """What keeps an order from succeeding with these settings, a sentence each; needs no host."""
    acme = settings["acme"]
    problems = _account_problems(acme)
    problems += _name_problems(str(acme["challenge"]), str(settings["domain"] or ""), settings["names"])
    webroot = str(acme["webroot"])
    if not re.fullmatch(r"/[^/]+(/[^/]+)+", webroot) or {".", ".."} & set(webroot.split("/")):
        problems.append(
            f"registry_tls_acme_webroot is {webroot!r}: write an absolute path of two or more parts, such as /var/lib/drydock/acme."
        )
    command = str(acme["reload_command"] or "")
    if command and not _PROGRAM.fullmatch(command):
        problems.append(
            f"registry_tls_acme_reload_command is {command!r}: write a program's absolute path, with its arguments if it takes any."
        )
    problems += _eab_problems(str(acme["eab_key_id"] or ""), str(acme["eab_key"] or ""))
    problems += _key_problems(settings["key"])
    for key in ("ca_certificate", "client_ca_certificate"):
        text = str(acme[key] or "")
        if text.strip() and not _tls.library_problem():
            problem = _tls.certificate_text_problem(f"registry_tls_acme_{key}", text)
            problems += [problem] if problem else []
    return problems


def directory_url(url: str, staging: bool) -> str:
    """The directory that is meant."""
    return LETS_ENCRYPT_STAGING if staging else url


def _account_problems(acme: Mapping[str, Any]) -> list[str]:
    problems = []
    email = str(acme["email"] or "")
    if not email:
        problems.append(
            "registry_tls_acme_email is empty: write the address that the certificate authority may write to, such as admin@example.com."
        )
    elif not _EMAIL.fullmatch(email):
        problems.append(f"registry_tls_acme_email is {email!r}: write one e-mail address, such as admin@example.com.")
    url = str(acme["directory_url"] or "")
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or re.search(r"\s", url):
        problems.append(
            f"registry_tls_acme_directory_url is {url!r}: write the https URL of an ACME directory, such as {LETS_ENCRYPT}."
        )
    elif acme["staging_enabled"] and url not in {LETS_ENCRYPT, LETS_ENCRYPT_STAGING}:
        problems.append(
            f"registry_tls_acme_staging_enabled is true, which is Let's Encrypt's own, but registry_tls_acme_directory_url is {url!r}: "
            "write the URL of that directory's staging area there, or leave one of the two out."
        )
    return problems


def _name_problems(challenge: str, domain: str, names: Sequence[Any]) -> list[str]:
    problems = []
    fields = [("registry_tls_domain (drydock_domain)", domain)]
    fields += [(f"registry_tls_names[{index}]", str(name)) for index, name in enumerate(names)]
    for variable, name in fields:
        start = f"{variable} is {name!r}, "
        if _tls.as_address(name):
            problems.append(
                f"{start}an IP address, for which certbot gets no certificate: write a host name, or use another registry_tls_provider."
            )
        elif name.lower() == "localhost" or name.lower().endswith(".localhost"):
            problems.append(
                f"{start}which every machine takes for itself: write a public name, or use the registry_tls_provider self_signed."
            )
        elif name.startswith("*.") and challenge == "http-01":
            problems.append(
                f"{start}a wildcard, which needs registry_tls_acme_challenge dns-01: set that, or name each host instead."
            )
    return problems


def _eab_problems(key_id: str, key: str) -> list[str]:
    """What is wrong with the key of an account; neither sentence shows the key."""
    problems = []
    if bool(key_id) != bool(key):
        given, missing = ("_id", "") if key_id else ("", "_id")
        problems.append(
            f"registry_tls_acme_eab_key{given} is set and registry_tls_acme_eab_key{missing} is not: "
            "write both as the directory's owner gives them, or neither."
        )
    if key_id and not _EAB_KEY_ID.fullmatch(key_id):
        problems.append(
            "registry_tls_acme_eab_key_id has a space, a quote or a '#' in it: write the id alone, as the directory's owner gives it."
        )
    if key and not _EAB_KEY.fullmatch(key):
        problems.append(
            "registry_tls_acme_eab_key is not base64url (letters, digits, '-' and '_'): "
            "write the key as the directory's owner gives it, without quotes and line breaks."
        )
    return problems


def _key_problems(key: Mapping[str, Any]) -> list[str]:
    size = key.get("size")
    if str(key.get("type", "ECC")) == "RSA" and size and int(size) < _tls.SMALLEST_RSA_BITS:
        return [f"registry_tls_key.size is {size}: write {_tls.SMALLEST_RSA_BITS} or more."]
    return []


# ---- whether an order is due ---------------------------------------------------------------------------------------


def renewal_options(text: str) -> dict[str, str]:
    """The options in a renewal configuration of certbot."""
    # Below [[webroot_map]] stand names of hosts.
    return {match["name"]: match["value"] for match in _OPTION.finditer(text.split("[[", 1)[0])}


def time_left_for_renewal(certificate: Certificate) -> datetime.timedelta:
    """A third of the lifetime, half of it where that is short: what certbot 4 does by itself."""
    # Both ends belong to the validity.
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc + datetime.timedelta(seconds=1)
    return lifetime / (2 if lifetime < SHORT_LIVED else 3)


def key_description(certificate: Certificate) -> str:
    """The kind of the certificate's key, as `key_wanted` says it."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECC {key.curve.name}"
    return type(key).__name__


def key_wanted(key: Mapping[str, Any]) -> str:
    """The kind of key that registry_tls_key asks for."""
    if str(key.get("type", "ECC")) == "RSA":
        return f"RSA {key.get('size') or 3072}"
    return f"ECC {key.get('curve') or 'secp256r1'}"


def reasons_to_order(certificate: str, renewal: str, wanted: Mapping[str, Any], now: datetime.datetime) -> list[str]:
    """Why a certificate must be ordered (anew); nothing when the lineage serves on.

    `wanted` holds the names, the key and the options of certbot's renewal configuration.
    """
    found = _tls.certificates(certificate) if certificate.strip() else []
    if not found or not renewal.strip():
        return ["there is none yet"]
    leaf = found[0]
    reasons = []
    if {str(name).lower() for name in wanted["names"]} != set(_tls.names_of(leaf)):
        reasons.append("its names changed")
    if key_description(leaf) != key_wanted(wanted["key"]):
        reasons.append("its kind of key changed")
    options = renewal_options(renewal)
    for option, words in (
        ("server", "the directory changed"),
        ("authenticator", "the challenge changed"),
        ("webroot_path", "the webroot changed"),
        ("renew_hook", "the way to deploy it changed"),
        ("required_profile", "its profile changed"),
    ):
        # certbot writes a path as a list of one.
        if options.get(option, "").rstrip(",") != str(wanted["options"].get(option, "")):
            reasons.append(words)
    if leaf.not_valid_after_utc <= now:
        reasons.append(f"it expired on {_tls.day(leaf.not_valid_after_utc)}")
    elif leaf.not_valid_after_utc - now < time_left_for_renewal(leaf):
        reasons.append(f"it ends on {_tls.day(leaf.not_valid_after_utc)}")
    if wanted["renew_now"]:
        reasons.append("registry_tls_acme_renew_now is set")
    return reasons


# ---- whether an order can succeed ----------------------------------------------------------------------------------


def reach_problems(report: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What keeps an order from succeeding, by what the host found out; a sentence each.

    `wanted` holds host, directory, profile, webroot, and whether there is a key for an account (eab).
    """
    problems = []
    if "directory" in report:
        problem = _directory_problem(report["directory"], wanted)
        problems += [problem] if problem else []
    own = [str(address) for address in report.get("own_addresses") or []]
    for name, found in (report.get("names") or {}).items():
        problem = _name_reach_problem(str(name), found, own, wanted)
        problems += [problem] if problem else []
    return problems


def _directory_problem(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    host, url = wanted["host"], wanted["directory"]
    detail = str(found.get("detail") or "")
    start = f"registry_tls_acme_directory_url: {url} "
    problem = found["problem"]
    if problem == "name":
        return f"{start}has a host name that {host} cannot resolve ({detail}): correct the URL, or the name server of {host}."
    if problem == "untrusted":
        return (
            f"{start}has a certificate that {host} does not trust ({detail}): give the PEM text of its CA in "
            "registry_tls_acme_ca_certificate, or correct the URL."
        )
    if problem == "silent":
        return (
            f"{start}does not answer {host} ({detail}): correct the URL, open the way out to it, "
            "or try again later if the directory is down."
        )
    if problem == "status" and int(detail) >= 500:
        return f"{start}is out of order (it answers {detail}): try again later."
    if problem:
        what = f"status {detail}" if problem == "status" else detail
        return f"{start}is no ACME directory ({what}): write a directory's URL, such as {LETS_ENCRYPT}."
    if found.get("external_account") and not wanted.get("eab"):
        return (
            f"{start}wants an account that its owner knows already: let him give you a key, and write its id as "
            "registry_tls_acme_eab_key_id and the key itself, from a vault, as registry_tls_acme_eab_key."
        )
    profile = str(wanted.get("profile") or "")
    profiles = [str(name) for name in found.get("profiles") or []]
    if profile and profile not in profiles:
        has = f"has {', '.join(profiles)}" if profiles else "has no profiles"
        return f"registry_tls_acme_profile is {profile!r}, but {url} {has}: write one that it has, or leave it empty."
    return ""


def _name_reach_problem(name: str, found: Mapping[str, Any], own: Sequence[str], wanted: Mapping[str, Any]) -> str:
    if not found["problem"]:
        return ""
    host = wanted["host"]
    addresses = [str(address) for address in found.get("addresses") or []]
    where = f"{host} ({', '.join(own)}, or the public address in front of it)" if own else str(host)
    detail = str(found.get("detail") or "")
    if found["problem"] == "name":
        return (
            f"{name} leads nowhere ({detail}): make a DNS record that leads to {where}, or correct registry_tls_domain "
            "(drydock_domain) and registry_tls_names."
        )
    start = f"{name} leads to {', '.join(addresses)}, "
    if found["problem"] == "silent":
        return (
            f"{start}where nothing answers on port 80 ({detail}); the certificate authority asks there: let the name lead to {where}, "
            "open port 80 for everybody in the firewalls, and let nginx listen on it (registry_proxy_http_port: 80)."
        )
    answer = f"status {detail}" if found["problem"] == "status" else detail
    if set(addresses) & set(own):
        return (
            f"{start}which is {host}, but what answers there on port 80 ({answer}) does not serve registry_tls_acme_webroot "
            f"{wanted['webroot']}: let nginx have that port (registry_proxy_http_port: 80), and end what else listens on it."
        )
    return (
        f"{start}where somebody else answers on port 80 ({answer}): let the name lead to {where}, or correct registry_tls_domain "
        "(drydock_domain) and registry_tls_names."
    )
