# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What registry_proxy decides: the names that nginx answers to, and what is wrong with its settings."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.drydock.registry.plugins.module_utils._access import patterns_problems, tag_pattern_problem
from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
except ImportError:
    # library_problem() has the sentence.
    pass

_HOST_NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# They are no names to nginx: https://nginx.org/en/docs/http/ngx_http_map_module.html#map
_WORDS_OF_NGINX = ("default", "hostnames", "include", "volatile")
_LONGEST_KEEPALIVE_SECONDS = 86400
_LONGEST_CACHE_SECONDS = 3600
_MOST_FAILED_LOGINS = 1000
_CA_VARIABLE = "registry_proxy_client_ca_certificate"
_CRL_VARIABLE = "registry_proxy_client_crl"


# ---- names ---------------------------------------------------------------------------------------------------------


def _as_host(name: str) -> str:
    """A name or address as nginx compares it with the request's; empty when it is neither."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        lower = name.lower()
        return lower if _HOST_NAME.fullmatch(lower) and lower not in _WORDS_OF_NGINX else ""
    return f"[{address}]" if address.version == 6 else str(address)


def hosts(domain: str, names: Sequence[str]) -> list[str]:
    """Every name and address once, as nginx.conf writes them; `localhost` brings its two addresses along."""
    if not domain:
        return []
    wanted = [domain, *names]
    if domain.lower() == "localhost":
        wanted += ["127.0.0.1", "::1"]
    return list(dict.fromkeys(_as_host(name) for name in wanted if name))


def _name_problems(domain: str, names: Sequence[str]) -> list[str]:
    problems = []
    if domain and (not _as_host(domain) or domain.startswith("*")):
        problems.append(
            f"registry_proxy_domain is {domain!r}, which is no host name: write the name alone, without scheme, port and path."
        )
    problems += [
        f"registry_proxy_names holds {name!r}, which is no host name and no address: write it without scheme, port and path."
        for name in names
        if not _as_host(name)
    ]
    if names and not domain:
        problems.append(
            "registry_proxy_names has names, but registry_proxy_domain is empty: set it, or nginx answers to any name."
        )
    return problems


# ---- ports, addresses, words ---------------------------------------------------------------------------------------


def _address_problems(settings: Mapping[str, Any]) -> list[str]:
    https, http = int(settings["https_port"]), int(settings["http_port"])
    address = str(settings["listen_address"])
    problems = []
    if not 1 <= https <= 65535:
        problems.append(f"registry_proxy_https_port is {https}; write a number from 1 to 65535.")
    if not 0 <= http <= 65535:
        problems.append(f"registry_proxy_http_port is {http}; write a number from 1 to 65535, or 0 to keep it closed.")
    if http == https != 0:
        problems.append(
            f"registry_proxy_http_port is {http}, as registry_proxy_https_port; write another one, or 0 to keep it closed."
        )
    if http > 0 and not settings["domain"]:
        problems.append(
            "registry_proxy_http_port leads to registry_proxy_domain, which is empty; write the name that clients use."
        )
    if address:
        try:
            ipaddress.ip_address(address)
            scoped = "%" in address
        except ValueError:
            scoped = True
        if scoped:
            problems.append(
                f"registry_proxy_listen_address is `{address}`; write an IPv4 or IPv6 address of the host, "
                "or nothing for all of its addresses."
            )
    return problems


def _ipv6_problems(settings: Mapping[str, Any], if_inet6: str) -> list[str]:
    """What the host's IPv6 addresses, as the kernel lists them, do not allow."""
    have = {ipaddress.IPv6Address(int(line.split()[0], 16)) for line in if_inet6.splitlines() if line.strip()}
    problems = []
    wanted = _ipv6(str(settings["listen_address"]))
    if wanted and wanted not in have:
        problems.append(
            f"registry_proxy_listen_address is {wanted}, which is no IPv6 address of this host; "
            "write one that `ip -6 address` shows, or nothing for all addresses."
        )
    if _ipv6(str(settings["domain"] or "")) and not have:
        problems.append(
            f"registry_proxy_domain is {settings['domain']}, an IPv6 address, but this host has no IPv6; "
            "write a name or an IPv4 address, or give the host IPv6."
        )
    return problems


def _ipv6(text: str) -> ipaddress.IPv6Address | None:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        return None


_ORIGIN = re.compile(r"(https?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")


def _client_problems(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with who may connect, and from which web pages."""
    problems = [
        f"registry_proxy_{name} has `{network}`, which is no network; write it as 10.0.0.0/16, without host bits."
        for name in ("client_networks", "metrics_networks")
        for network in settings[name]
        if not _is_network(network)
    ]
    for origin in settings["cors_origins"]:
        found = _ORIGIN.fullmatch(str(origin))
        if not found:
            problems.append(
                f"registry_proxy_cors_origins has `{origin}`; write each origin as browsers send it, such as https://ui.example.com or "
                "http://localhost:8080: small letters, no path, no `*`."
            )
        elif found[4] == {"https": ":443", "http": ":80"}[found[1]]:
            problems.append(
                f"registry_proxy_cors_origins has `{origin}`; leave out {found[4]}, which browsers do not send."
            )
    return problems


def _is_network(text: Any) -> bool:
    try:
        ipaddress.ip_network(str(text))
    except ValueError:
        return False
    return True


def _balancer_problems(settings: Mapping[str, Any]) -> list[str]:
    problems = []
    for network in settings["trusted_networks"]:
        try:
            everybody = ipaddress.ip_network(str(network)).prefixlen == 0
        except ValueError:
            problems.append(
                f"registry_proxy_trusted_networks has `{network}`, which is no network; write it as 10.0.0.0/16, without host bits."
            )
            continue
        if everybody:
            problems.append(
                f"registry_proxy_trusted_networks has {network}, so everybody could claim to be somebody else; "
                "write the networks of the load balancers."
            )
    seconds = int(settings["keepalive_seconds"])
    if not 1 <= seconds <= _LONGEST_KEEPALIVE_SECONDS:
        problems.append(
            f"registry_proxy_keepalive_seconds is {seconds}; write a number from 1 to {_LONGEST_KEEPALIVE_SECONDS}."
        )
    return problems


def _text_problems(settings: Mapping[str, Any]) -> list[str]:
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9 ._-]+", str(settings["realm"])) or settings["realm"] == "off":
        problems.append(
            "registry_proxy_realm may hold letters, digits, blanks, dots, underscores and hyphens only, and is not `off`; "
            "write it without other characters."
        )
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", str(settings["reload_program"])):
        problems.append(
            f"registry_proxy_reload_program is {settings['reload_program']!r}; write an absolute path of letters, digits, dots, "
            "underscores and hyphens."
        )
    return problems


def _password_problems(settings: Mapping[str, Any]) -> list[str]:
    seconds, failures = int(settings["password_cache_seconds"]), int(settings["failed_logins_per_second"])
    problems = []
    if not 0 <= seconds <= _LONGEST_CACHE_SECONDS:
        problems.append(
            f"registry_proxy_password_cache_seconds is {seconds}; write a number from 1 to {_LONGEST_CACHE_SECONDS}, "
            "or 0 to have each request checked anew."
        )
    if not 1 <= failures <= _MOST_FAILED_LOGINS:
        problems.append(
            f"registry_proxy_failed_logins_per_second is {failures}; write a number from 1 to {_MOST_FAILED_LOGINS}."
        )
    return problems


# ---- tags ----------------------------------------------------------------------------------------------------------

_TAGS_VARIABLE = "registry_proxy_immutable_tags"


def _immutable_tags_problems(rules: Any) -> list[str]:
    """What is wrong with the tags that nobody may change; what is no list of dictionaries, the argument specification refuses."""
    problems = []
    for number, rule in enumerate(rules, 1):
        problems += patterns_problems(
            rule["repositories"],
            f"The list of repositories of entry {number} in {_TAGS_VARIABLE}",
            "name at least one, or write ['**'] for all of them",
        )
        for key, remedy in (
            ("tags", "write ['*'] for all of them"),
            ("except_tags", "leave it out where all of them count"),
        ):
            if key in rule:
                what = f"The list {key} of entry {number} in {_TAGS_VARIABLE}"
                problems += patterns_problems(rule[key], what, remedy, problem_of=tag_pattern_problem, example="v*")
    return problems


# ---- the audit log -------------------------------------------------------------------------------------------------


def _log_problems(directory: str, days: int) -> list[str]:
    """What is wrong with where the audit log is, and with how long it is kept."""
    problems = []
    # nginx.conf and Docker write it as it is.
    if directory and not re.fullmatch(r"(/[A-Za-z0-9._-]+){2,}", directory):
        problems.append(
            f"registry_proxy_log_directory is {directory!r}: write the absolute path of a directory of its own, such as /var/log/drydock, "
            "of letters, digits, '.', '_' and '-', or nothing to have the audit log on nginx's standard output."
        )
    if days < 1:
        problems.append(f"registry_proxy_audit_days is {days}: write how many days the audit log is kept, from 1 on.")
    return problems


# ---- quotas --------------------------------------------------------------------------------------------------------

_QUOTAS_VARIABLE = "registry_proxy_quotas"


def _quotas_problems(quotas: Any, report: str) -> list[str]:
    """What is wrong with the quotas; what is no list of dictionaries, the argument specification refuses."""
    problems = []
    seen: dict[str, int] = {}
    for number, quota in enumerate(quotas, 1):
        label = f"entry {number} in {_QUOTAS_VARIABLE}"
        kinds = [kind for kind in ("repositories", "namespaces") if kind in quota]
        if len(kinds) != 1:
            has = "both `repositories` and" if kinds else "neither `repositories` nor"
            problems.append(
                f"Entry {number} in {_QUOTAS_VARIABLE} has {has} `namespaces`: write `repositories` for those that share the quota, "
                "or `namespaces` for those that have it each by itself."
            )
            continue
        problems += patterns_problems(quota[kinds[0]], f"The list {kinds[0]} of {label}", "name at least one")
        if kinds == ["namespaces"] and any("**" in str(pattern) for pattern in quota["namespaces"]):
            problems.append(
                f"The list namespaces of {label} has '**', which stands for any number of parts: write '*' for each part, such as 'home/*'."
            )
        gib = quota["quota_gib"]
        if not _is_positive(gib):
            problems.append(
                f"The quota_gib of {label} is {gib}: write a number above 0; who is to push nothing has `access: pull`."
            )
        first = seen.setdefault(repr((kinds[0], sorted(map(str, quota[kinds[0]])))), number)
        if first != number:
            problems.append(
                f"Entries {first} and {number} in {_QUOTAS_VARIABLE} have the same {kinds[0]}: leave one of them out."
            )
    if quotas and not report:
        problems.append(
            f"{_QUOTAS_VARIABLE} has quotas, but registry_proxy_storage_report is empty, so nobody says what repositories hold: "
            "on a host, let registry_maintenance report every day; hosts of a fleet and tasks of ECS have no report, so leave the quotas "
            "out there."
        )
    return problems


def _is_positive(value: Any) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except (TypeError, ValueError):
        return False


# ---- client certificates -------------------------------------------------------------------------------------------


def _ca_certificate(text: str) -> tuple[Certificate | None, str]:
    """The one certificate in a text, or why there is none."""
    if "PRIVATE KEY-----" in text:
        return None, f"{_CA_VARIABLE} holds a private key, which no host may have: give it the CA's certificate only."
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None, (
            f"{_CA_VARIABLE} is no PEM text of a certificate: give it a file's content with lookup('ansible.builtin.file', 'ca.crt')."
        )
    if len(found) != 1:
        return None, f"{_CA_VARIABLE} holds {len(found)} certificates: give it the one CA whose certificates count."
    return found[0], ""


def _ca_problem(ca: Certificate, now: datetime.datetime) -> str:
    who = ca.subject.rfc4514_string()
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        return f"{_CA_VARIABLE} is the certificate of {who!r}, which is no CA: give the one that signs the clients' certificates."
    try:
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not (usage.key_cert_sign and usage.crl_sign):
        return f"{_CA_VARIABLE}: the CA {who!r} may not sign certificates and revocations (keyCertSign, cRLSign): use one that may."
    if not _signed_by(ca, ca):
        return (
            f"{_CA_VARIABLE} is the intermediate CA {who!r}, below which nginx trusts nothing without the CA above it: "
            "use a root CA for clients alone."
        )
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        return (
            f"{_CA_VARIABLE}: the CA {who!r} is valid from {_day(ca.not_valid_before_utc)} to {_day(ca.not_valid_after_utc)}: renew it, "
            "or set this machine's clock right."
        )
    return ""


def _signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _crl_problem(text: str, ca: Certificate, now: datetime.datetime) -> str:
    try:
        crl: CertificateRevocationList = x509.load_pem_x509_crl(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return (
            f"{_CRL_VARIABLE} is no PEM text of a list of revoked certificates: "
            "give it a file's content with lookup('ansible.builtin.file', 'crl.pem'); an empty list is one, too."
        )
    lists = text.count("-----BEGIN X509 CRL-----")
    if lists != 1:
        return f"{_CRL_VARIABLE} holds {lists} lists of revoked certificates: give it the newest one of the CA alone."
    try:
        signed = crl.issuer == ca.subject and crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        signed = False
    if not signed:
        return (
            f"{_CRL_VARIABLE} was not signed by {ca.subject.rfc4514_string()!r} of {_CA_VARIABLE} "
            f"but by {crl.issuer.rfc4514_string()!r}: give the list of that CA."
        )
    if crl.last_update_utc > now:
        return f"{_CRL_VARIABLE} is not valid before {_day(crl.last_update_utc)}: wait until then, or set this machine's clock right."
    if crl.next_update_utc is not None and crl.next_update_utc <= now:
        return (
            f"{_CRL_VARIABLE} is out of date since {_day(crl.next_update_utc)}, so nginx would refuse every certificate: "
            "have the CA write it anew."
        )
    return ""


def _day(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def client_trust_problems(settings: Mapping[str, Any], now: datetime.datetime, *, may_come: bool) -> list[str]:
    """What keeps nginx from judging client certificates; `may_come` where the texts may be empty for now."""
    mode = str(settings["client_certificates"])
    if mode == "off":
        return []
    texts = {
        _CA_VARIABLE: str(settings["client_ca_certificate"] or ""),
        _CRL_VARIABLE: str(settings["client_crl"] or ""),
    }
    empty = [variable for variable, text in texts.items() if not text.strip()]
    if empty:
        if may_come:
            return []
        return [
            f"{variable} is empty, but registry_proxy_client_certificates is {mode}: give it the PEM text, "
            "or set registry_proxy_client_certificates to 'off'."
            for variable in empty
        ]
    problem = library_problem()
    if problem:
        return [problem]
    ca, problem = _ca_certificate(texts[_CA_VARIABLE])
    if ca is None:
        return [problem]
    problem = _ca_problem(ca, now) or _crl_problem(texts[_CRL_VARIABLE], ca, now)
    return [problem] if problem else []


# ---- mirrors -------------------------------------------------------------------------------------------------------

# nginx.conf has them as one word in quotes.
_PLAIN = re.compile(r"[A-Za-z0-9._:/\[\]-]+")


def _mirrors_problems(mirrors: Any, blob_directory: str) -> list[str]:
    """What is wrong with the mirrors; what is no list of dictionaries, the argument specification refuses."""
    problems = [
        f"registry_proxy_mirrors has {text!r} in entry {number}: write names and addresses as they are in names of images."
        for number, mirror in enumerate(mirrors, 1)
        for text in (mirror["name"], mirror["url"], *mirror["hosts"], *mirror["names"])
        if not _PLAIN.fullmatch(str(text))
    ]
    if mirrors and not blob_directory:
        problems.append(
            "registry_proxy_mirrors has mirrors, but registry_proxy_blob_directory is empty, and what they get is sent from that folder: "
            "set it, or leave the mirrors out."
        )
    return problems


# ---- settings as a whole -------------------------------------------------------------------------------------------


def settings_problems(
    settings: Mapping[str, Any], now: datetime.datetime, *, client_ca_may_come: bool, if_inet6: str | None = None
) -> list[str]:
    """What keeps registry_proxy from its outcome with these settings, a sentence each; of the host, it takes the IPv6 addresses."""
    return [
        *_name_problems(str(settings["domain"] or ""), [str(name) for name in settings["names"]]),
        *_address_problems(settings),
        *_balancer_problems(settings),
        *_client_problems(settings),
        *([] if if_inet6 is None else _ipv6_problems(settings, if_inet6)),
        *_text_problems(settings),
        *_password_problems(settings),
        *_immutable_tags_problems(settings["immutable_tags"]),
        *_quotas_problems(settings["quotas"], str(settings["storage_report"] or "")),
        *_mirrors_problems(settings["mirrors"], str(settings["blob_directory"] or "")),
        *_log_problems(str(settings["log_directory"] or ""), int(settings["audit_days"])),
        *client_trust_problems(settings, now, may_come=client_ca_may_come),
    ]
