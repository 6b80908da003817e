# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certbot prints when an order fails, as one sentence that says what to do. Without Ansible and without a host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils import _aws_errors

# What certbot says around the reason.
_FRAME = re.compile(
    r"^(?:Saving debug log to .*|Ask for help or search for solutions at .*|Some challenges have failed\.|Requesting a certificate for .*"
    r"|Account registered\.|Renewing an existing certificate.*|An unexpected error occurred:|Plugins selected: .*|- - -.*"
    r"|Exiting abnormally:"
    r"|Hook '.*|Failed to renew certificate .* with error: ?|All renewals failed.*|\d+ renew failure\(s\).*|Processing .*"
    r"|\S+/fullchain\.pem \(failure\)|Encountered exception during recovery: .*|See the logfile .*)$"
)
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Timeout)\w*: ")
_REPORT = re.compile(
    r"^\s*(?:Domain|Identifier): *(?P<name>\S+)\s*\n\s*Type: *(?P<type>\S+)\s*\n\s*Detail: *(?P<detail>.*?)\s*$",
    re.MULTILINE,
)
_RETRY_AFTER = re.compile(r"retry after (?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?)(?: ?(?:UTC|Z))?")
_ADDRESS = re.compile(r"https?://[^\s\"'),]+")
_ZONE = re.compile(r"Unable to find a Route53 hosted zone for (?P<name>\S+)")

BAD_NONCE = re.compile(r"badNonce|anti-replay nonce")
LOCKED = re.compile(r"Another instance of Certbot is already running")


def text_of(result: Any) -> str:
    """What a task's result or certbot itself says."""
    if isinstance(result, Mapping):
        parts = [str(result.get(key) or "") for key in ("stdout", "stderr")]
        text = "\n".join(part for part in parts if part.strip())
        return text or str(result.get("msg") or "")
    return str(result or "")


def without_traceback(text: str) -> str:
    """What certbot says before its traceback, and the error that ended it.

    certbot 2.1 hides that error in Python 3.11 behind an AttributeError of its own, so certbot is run with --debug.
    """
    before, found, trace = text.partition("Traceback (most recent call last):")
    if not found:
        return text
    errors = [line for line in trace.splitlines() if _ERROR.match(line) and "can't set attribute" not in line]
    told = [line for line in errors if line.startswith("acme.messages.Error: ")] or errors
    return f"{before}\n{told[-1]}" if told else text


def sentence(result: Any, directory: str = "", host: str = "") -> str:
    """Say what is wrong and what to do; certbot's own reason where it is not known."""
    text = without_traceback(text_of(result))
    there = host or "the host"
    who = directory or "The ACME directory"
    for say in (_limits, _account, _names, _route53, _connection, _host):
        told = say(text, who, there)
        if told:
            return told
    return f"certbot failed: {_rest(text)}"


def _limits(text: str, who: str, _host: str) -> str:
    if "rateLimited" in text or "too many requests of a given type" in text or "too many certificates" in text:
        when = _RETRY_AFTER.search(text)
        reason = re.search(r"(too many [^\n]*?)(?:, retry after|: see|$)", text.rsplit("given type ::", maxsplit=1)[-1])
        at = f"after {when['time'].replace('T', ' ')} UTC" if when else "in some hours"
        said = f" ({reason.group(1).rstrip('.')})" if reason else ""
        return (
            f"{who} has issued or refused too much lately{said}: run again {at}; to try things out, set "
            "registry_tls_acme_staging_enabled: true, whose limits are higher."
        )
    if BAD_NONCE.search(text):
        return f"{who} refused the nonces of several attempts in a row: run again; if that stays, ask who runs the directory."
    if "The server experienced an internal error" in text or "serverInternal" in text:
        return f"{who} has an error of its own ({_detail(text)}): try again later."
    return ""


def _account(text: str, who: str, host: str) -> str:
    if re.search(
        r"invalid email address|invalidContact|unsupportedContact|contact email .* (?:invalid|forbidden)", text
    ):
        return f"{who} does not take registry_tls_acme_email ({_detail(text)}): write an address that can receive mail."
    if re.search(r"external ?account ?(?:binding|required)", text, re.IGNORECASE):
        return (
            f"{who} wants an account that its owner knows already, and does not know this one ({_detail(text)}): let him give you a key, "
            "and write registry_tls_acme_eab_key_id and registry_tls_acme_eab_key as he gives them."
        )
    if re.search(
        r"accountDoesNotExist|account does(?:n't| not) exist|account specified .* does not exist|unable to find existing account",
        text,
        re.IGNORECASE,
    ):
        folder = re.sub(r"^https?://", "", who) if who.startswith("http") else "..."
        return (
            f"{who} does not know {host}'s account any more: delete /etc/letsencrypt/accounts/{folder} there, and run again "
            "to register a new one."
        )
    if re.search(
        r"invalidProfile|unknown profile|does not (?:support|recognize) .*profile|profile .*(?:not recognized|not supported)",
        text,
        re.IGNORECASE,
    ):
        return f"{who} does not take registry_tls_acme_profile ({_detail(text)}): write one that it has, or leave it empty."
    if "unrecognized arguments: --required-profile" in text:
        return f"registry_tls_acme_profile needs certbot 4.0 or newer on {host}: leave it empty, or upgrade the host's system."
    return ""


def _names(text: str, who: str, host: str) -> str:
    reports = list(_REPORT.finditer(text))
    if reports:
        return " ".join(dict.fromkeys(_one_name(report, who, host) for report in reports))
    if re.search(r"rejectedIdentifier|will not issue certificates for the identifier", text):
        return (
            f"{who} issues no certificate for a name ({_detail(text)}): write public host names in registry_tls_domain (drydock_domain) "
            "and registry_tls_names."
        )
    if re.search(r"urn:ietf:params:acme:error:caa|CAA record", text):
        return f"A CAA record in the DNS keeps {who} from issuing ({_detail(text)}): add the authority to the CAA records of the domain."
    if re.search(r"badPublicKey|[Uu]nsupported (?:key|curve)|ECDSA curve .* not allowed", text):
        return f"{who} does not take this kind of key ({_detail(text)}): write registry_tls_key as {{type: ECC, curve: secp256r1}}."
    return ""


def _one_name(report: re.Match[str], who: str, host: str) -> str:
    name, kind, detail = report["name"], report["type"], report["detail"].rstrip(".")
    start = f"{who} could not check {name} ({detail}): "
    if kind == "caa" or "CAA record" in detail:
        return (
            f"A CAA record in the DNS keeps {who} from issuing for {name} ({detail}): "
            "add the authority to the CAA records of the domain."
        )
    if "TXT record" in detail or "_acme-challenge" in detail:
        return f"{start}see whether the DNS zone that dns-01 wrote to is the one that the domain is delegated to."
    if kind == "dns":
        return f"{start}make a DNS record of that name that leads to {host}, and wait until it is known everywhere."
    if kind == "connection":
        return (
            f"{start}open port 80 of {host} for everybody, in the firewalls and security groups too, "
            "and remove an AAAA record that leads elsewhere."
        )
    if kind == "unauthorized":
        return f"{start}the name has to lead to {host}, whose nginx serves registry_tls_acme_webroot on port 80."
    return f"{start}correct that and run again."


def _route53(text: str, _who: str, host: str) -> str:
    zone = _ZONE.search(text)
    if zone:
        return (
            f"The AWS account of {host}'s role has no Route 53 zone for {zone['name'].rstrip('.,')}: let registry_tls_domain "
            "(drydock_domain) and registry_tls_names lie in a public zone of that account, or set registry_tls_acme_challenge: http-01."
        )
    if "An error occurred (" in text or "Unable to locate credentials" in text:
        line = next(
            line
            for line in text.splitlines()
            if "An error occurred (" in line or "Unable to locate credentials" in line
        )
        if "AccessDenied" in line:
            action = _aws_errors.ACTION.search(line)
            needed = (
                action["action"]
                if action
                else "route53:ListHostedZones, route53:GetChange and route53:ChangeResourceRecordSets"
            )
            return (
                f"AWS refuses {needed} to {host}: for dns-01 its role needs route53:ListHostedZones and route53:GetChange, and "
                "route53:ChangeResourceRecordSets on the zone of the domain; allow them, or set registry_tls_acme_challenge: http-01."
            )
        if "Unable to locate credentials" in line:
            return (
                f"{host} has no AWS role, with which dns-01 writes to Route 53: give the instance a profile that may, "
                "or set registry_tls_acme_challenge: http-01."
            )
        return _aws_errors.result_sentence(line)
    return ""


def _connection(text: str, who: str, host: str) -> str:
    address = _ADDRESS.search(who)
    named = address.group() if address else who
    if re.search(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|certificate verify failed", text):
        return f"{named} has a certificate that {host} does not trust: give the PEM text of its CA in registry_tls_acme_ca_certificate."
    if re.search(r"Name or service not known|Temporary failure in name resolution|NameResolutionError", text):
        return f"{host} cannot resolve the host name of {named}: correct registry_tls_acme_directory_url, or the host's name server."
    if re.search(
        r"Connection refused|Connection reset|ConnectTimeout|[Tt]imed out|Max retries exceeded|No route to host|Network is unreachable",
        text,
    ):
        return f"{named} does not answer {host}: open the way out to it, or try again later if the directory is down."
    return ""


def _host(text: str, _who: str, host: str) -> str:
    if LOCKED.search(text):
        return f"Another certbot has been running on {host} for a while: wait until it has ended (ps -C certbot), then run again."
    if "No space left on device" in text:
        return f"The disk of {host} is full: make room below /etc and /var, then run again."
    return ""


def _detail(text: str) -> str:
    """The part of an error that its sender wrote: what follows the last `::`."""
    said = [line for line in text.splitlines() if "::" in line]
    return (said[-1].rsplit("::", 1)[1].strip() if said else _rest(text)).rstrip(".")


def _rest(text: str) -> str:
    """What certbot says without what it always says."""
    lines = [line.strip() for line in text.splitlines()]
    said = " ".join(line for line in lines if line and not _FRAME.match(line)) or "it gives no reason"
    return said if said.endswith((".", "!", "?")) else f"{said}."
