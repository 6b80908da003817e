# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges what the module registry_status found: one report for each host, with its problems as sentences.

It runs on the controller, which has cryptography. Nothing of a broken deployment makes it fail: what cannot be told is a
problem or None.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.drydock.registry.plugins.module_utils._client_ca import serial_text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509.oid import NameOID
except ImportError:
    # The filter says so before it comes here.
    pass

OK, WARNING, CRITICAL = "ok", "warning", "critical"
_LEVELS = (OK, WARNING, CRITICAL)

# A renewal is due when a third of the lifetime is left, and long before the end where that is long.
WARN_FRACTION = 0.25
WARN_AT_MOST = datetime.timedelta(days=30)
# Below these, in percent, the disk is nearly full and as good as full, where nothing more is reserved.
LOW_PERCENT, FULL_PERCENT = 10.0, 2.0
# A backup is made every day, and tried every month.
BACKUP_IS_OLD, BACKUP_IS_TOO_OLD = datetime.timedelta(days=2), datetime.timedelta(days=7)
DRILL_IS_OLD = datetime.timedelta(days=62)
# A run takes a while from the host's clock to this one's.
CLOCK_TOLERANCE = datetime.timedelta(minutes=5)
RESTARTED_RECENTLY = datetime.timedelta(hours=1)
# So long ago, what was wrong with another registry may be over.
PROBLEM_RECENTLY = datetime.timedelta(minutes=15)


@dataclass(frozen=True)
class ClientCertificate:
    """A client certificate that is in force, or was revoked."""

    name: str
    serial: int
    path: str
    not_before: datetime.datetime
    not_after: datetime.datetime


@dataclass(frozen=True)
class Clients:
    """What the CA of client certificates on the controller has issued."""

    in_force: Sequence[ClientCertificate] = ()
    # The name by serial number.
    revoked: Mapping[int, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


@dataclass
class Report:
    """Collects the problems of one host."""

    now: datetime.datetime
    settings: Mapping[str, Any]
    # None where another CA issues them, or nobody.
    clients: Clients | None = None
    problems: list[dict[str, str]] = field(default_factory=list)

    def critical(self, about: str, message: str) -> None:
        self.problems.append({"level": CRITICAL, "about": about, "message": message})

    def warning(self, about: str, message: str) -> None:
        self.problems.append({"level": WARNING, "about": about, "message": message})

    @property
    def host(self) -> str:
        return str(self.settings["host"])

    @property
    def asks_for_client_certificates(self) -> bool:
        return str(self.settings["client_certificates"]) != "off"

    def margin(self, lifetime: datetime.timedelta) -> datetime.timedelta:
        """A certificate with less than this left gets a warning."""
        days = str(self.settings["warn_days"])
        return datetime.timedelta(days=int(days)) if days else _share(lifetime)

    def finish(self, **parts: Any) -> dict[str, Any]:
        """The report, the worst problems first."""
        problems = sorted(self.problems, key=lambda problem: -_LEVELS.index(problem["level"]))
        return {
            "host": self.host,
            "address": str(self.settings["address"]),
            "checked": moment(self.now),
            "status": problems[0]["level"] if problems else OK,
            "problems": problems,
            "certificates": [],
            "crls": [],
            "renewal": None,
            "anonymous": None,
            "users": [],
            "client_certificates": [],
            "service": None,
            "containers": [],
            "storage": None,
            "maintenance": None,
            "backup": None,
            "mirrors": [],
            **parts,
        }


# ---- times ---------------------------------------------------------------------------------------------------------


def moment(when: datetime.datetime) -> str:
    return when.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(text: object) -> datetime.datetime | None:
    """The time of an ISO 8601 text in UTC; None where it is none."""
    try:
        return datetime.datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None


def readable(when: datetime.datetime | None) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC") if when else ""


def span(length: datetime.timedelta) -> str:
    """A length in the largest unit of which there are two: `59 days`, `36 hours`, `1 minute`."""
    seconds = abs(length).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count >= 2 or (unit == "minute" and count == 1):
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def _days(length: datetime.timedelta) -> float:
    return round(length.total_seconds() / 86400, 2)


def _share(lifetime: datetime.timedelta) -> datetime.timedelta:
    return min(lifetime * WARN_FRACTION, WARN_AT_MOST)


# ---- certificates --------------------------------------------------------------------------------------------------


def _certificates(pem: str) -> list[Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return []


def _crl(pem: str) -> CertificateRevocationList | None:
    try:
        return x509.load_pem_x509_crl(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _name(name: x509.Name) -> str:
    """The common name, or all of it."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _alt_names(certificate: Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [str(name).lower() for name in names.get_values_for_type(x509.DNSName)] + addresses


def _covers(names: Sequence[str], name: str) -> bool:
    name = name.lower()
    return name in names or ("." in name and "*." + name.split(".", 1)[1] in names)


def _entry(what: str, path: str, certificate: Certificate, now: datetime.datetime) -> dict[str, Any]:
    return {
        "what": what,
        "path": path,
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "names": _alt_names(certificate),
        "serial": serial_text(certificate.serial_number),
        "not_before": moment(certificate.not_valid_before_utc),
        "not_after": moment(certificate.not_valid_after_utc),
        "days_left": _days(certificate.not_valid_after_utc - now),
        "loaded": None,
    }


def _validity(
    report: Report, about: str, certificate: Certificate, advice: str, margin: datetime.timedelta | None = None
) -> None:
    """Say whether a certificate has ended, has not begun or ends soon."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    left = end - report.now
    if left <= datetime.timedelta():
        report.critical(about, f"The {about} expired on {readable(end)}, {span(left)} ago: {advice}.")
    elif begin > report.now:
        report.critical(
            about,
            f"The {about} is not valid before {readable(begin)}: set the clocks of this machine and of {report.host} right, "
            "or wait until then.",
        )
    elif left < (report.margin(end - begin) if margin is None else margin):
        report.warning(about, f"The {about} expires on {readable(end)}, in {span(left)}: {advice}.")


def _renewal_advice(report: Report) -> str:
    provider = str(report.settings["provider"])
    if provider == "acme":
        return f"certbot has not renewed it; `journalctl --unit certbot` on {report.host} says why"
    if provider == "provided":
        return "put a renewed one into registry_tls_provided and run playbooks/site.yml"
    return "run playbooks/site.yml, which renews it"


def _server_certificates(report: Report, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The server's certificate, its chain and the CA that clients trust."""
    file, proxy = found["certificate"], found["proxy"]
    entries: list[dict[str, Any]] = []
    chain = _certificates(file["pem"])
    provider = str(report.settings["provider"])
    if not chain:
        what = file["problem"] or "cannot be read as a certificate"
        report.critical("server's certificate", f"{file['path']} on {report.host} {what}: run playbooks/site.yml.")
    for place, certificate in enumerate(chain):
        # Clients have the root themselves; one that comes with the chain may end unnoticed.
        if place and certificate.issuer == certificate.subject:
            continue
        entries.append(_entry("intermediate CA's" if place else "server's", file["path"], certificate, report.now))
        if place:
            _validity(report, "intermediate CA's certificate", certificate, _renewal_advice(report))
    if chain:
        _leaf(report, chain[0], entries[0], proxy)
    authority = found["ca_certificate"]
    anchors = _certificates(authority["pem"])
    if not anchors and (provider == "self_signed" or authority["problem"] != "does not exist"):
        what = authority["problem"] or "cannot be read as a certificate"
        report.warning(
            "server CA's certificate", f"{authority['path']} on {report.host} {what}: run playbooks/site.yml."
        )
    for certificate in anchors:
        # A certificate that is its own CA is one certificate.
        if chain and certificate == chain[0]:
            continue
        entries.append(_entry("server CA's", authority["path"], certificate, report.now))
        renew = _renewal_advice(report)
        if provider == "acme":
            renew = "put the authority's new one into registry_tls_acme_client_ca_certificate, run playbooks/site.yml"
        advice = f"{renew}, and give clients the new {authority['path']}"
        _validity(report, "server CA's certificate", certificate, advice)
    return entries


def _leaf(report: Report, leaf: Certificate, entry: dict[str, Any], proxy: Mapping[str, Any]) -> None:
    """What is wrong with the server's certificate itself."""
    about, provider = "server's certificate", str(report.settings["provider"])
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    stands_in = provider == "acme" and leaf.issuer == leaf.subject
    if stands_in:
        report.critical(
            about,
            "The server's certificate is the one that stands in until the ordered one is there, and no client trusts it: "
            "run playbooks/site.yml, which orders it or says what keeps it from coming.",
        )
    elif provider == "self_signed":
        # Before that day a run would leave it as it is.
        due = datetime.timedelta(days=int(report.settings["renew_before_days"]))
        margin = report.margin(end - begin)
        advice = _renewal_advice(report)
        if not str(report.settings["warn_days"]):
            margin = min(margin, due)
        elif end - report.now >= due:
            advice = (
                f"a run of playbooks/site.yml renews it from {readable(end - due)} on (registry_tls_renew_before_days)"
            )
        _validity(report, about, leaf, advice, margin)
    else:
        _validity(report, about, leaf, _renewal_advice(report))
    domain = str(report.settings["domain"])
    if domain and not stands_in and not _covers(entry["names"], domain):
        report.critical(
            about,
            f"The server's certificate is for {', '.join(entry['names']) or 'no name'}, not for {domain}: "
            "correct drydock_domain and run playbooks/site.yml.",
        )
    served = _certificates(str(proxy["certificate"]))
    if served:
        entry["loaded"] = served[0] == leaf
    if entry["loaded"] is False:
        report.critical(
            about,
            f"nginx still shows another certificate (until {readable(served[0].not_valid_after_utc)}) than lies in {entry['path']} "
            f"(until {readable(leaf.not_valid_after_utc)}): {_reload_advice(report)}.",
        )


def _reload_advice(report: Report) -> str:
    program = str(report.settings["reload_program"])
    return f"run `{program}` on {report.host}, or playbooks/site.yml" if program else "run playbooks/site.yml"


# ---- client certificates -------------------------------------------------------------------------------------------


def _client_authority(report: Report, found: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The CA of client certificates and its revocation list, where nginx asks for them."""
    if not report.asks_for_client_certificates:
        return [], []
    entries: list[dict[str, Any]] = []
    lists: list[dict[str, Any]] = []
    own = "run playbooks/client_certificates.yml, which makes it anew"
    other = "put a new one into {} and run playbooks/site.yml"
    file = found["client_ca_certificate"]
    authorities = _certificates(file["pem"]) if file else []
    if file and not authorities:
        what = file["problem"] or "cannot be read as a certificate"
        report.critical("client CA's certificate", f"{file['path']} on {report.host} {what}: run playbooks/site.yml.")
    for certificate in authorities:
        entries.append(_entry("client CA's", file["path"], certificate, report.now))
        advice = own if report.clients is not None else other.format("registry_proxy_client_ca_certificate")
        _validity(report, "client CA's certificate", certificate, advice)
    file = found["client_crl"]
    crl = _crl(file["pem"]) if file and file["pem"] else None
    if file and crl is None:
        what = file["problem"] or "cannot be read as a revocation list"
        report.critical(
            "client CA's revocation list", f"{file['path']} on {report.host} {what}: run playbooks/site.yml."
        )
    if crl is not None:
        advice = own if report.clients is not None else other.format("registry_proxy_client_crl")
        lists.append(_revocation_list(report, file["path"], crl, authorities, advice))
    return entries, lists


def _revocation_list(
    report: Report, path: str, crl: CertificateRevocationList, authorities: Sequence[Certificate], advice: str
) -> dict[str, Any]:
    about, what = "client CA's revocation list", "The client CA's revocation list"
    begin, end = crl.last_update_utc, crl.next_update_utc
    if end is not None:
        left = end - report.now
        if left <= datetime.timedelta():
            report.critical(
                about,
                f"{what} expired on {readable(end)}, {span(left)} ago, and nginx refuses every client certificate: {advice}.",
            )
        elif left < _share(end - begin):
            report.warning(about, f"{what} expires on {readable(end)}, in {span(left)}: {advice}.")
    if authorities and not any(crl.issuer == one.subject for one in authorities):
        report.critical(about, f"{what} is of another CA ({_name(crl.issuer)}): run playbooks/site.yml.")
    listed = {one.serial_number for one in crl}
    revoked = report.clients.revoked if report.clients else {}
    still_in = sorted({name for serial, name in revoked.items() if serial not in listed})
    if still_in:
        report.critical(
            about,
            f"{what} on {report.host} lacks revoked certificates, so they still let in: {', '.join(still_in)}; "
            "run playbooks/client_certificates.yml, which brings it there.",
        )
    return {
        "what": "client CA's",
        "path": path,
        "issuer": _name(crl.issuer),
        "this_update": moment(begin),
        "next_update": moment(end) if end else "",
        "days_left": _days(end - report.now) if end else None,
        "revoked": len(crl),
    }


def _client_certificates(report: Report) -> list[dict[str, Any]]:
    """Those that the controller has issued and that are neither revoked nor replaced."""
    entries = []
    about = "client certificates"
    clients = report.clients or Clients()
    for problem in clients.problems:
        report.warning(about, problem)
    for one in clients.in_force:
        left = one.not_after - report.now
        entries.append(
            {
                "name": one.name,
                "path": one.path,
                "serial": serial_text(one.serial),
                "not_before": moment(one.not_before),
                "not_after": moment(one.not_after),
                "days_left": _days(left),
            }
        )
        end = readable(one.not_after)
        advice = f"run playbooks/client_certificates.yml -e drydock_client_renew={one.name} and hand it over"
        # One client is locked out, the registry works.
        if left <= datetime.timedelta():
            report.warning(about, f"The client certificate of {one.name} expired on {end}, {span(left)} ago: {advice}.")
        elif left < report.margin(one.not_after - one.not_before):
            report.warning(about, f"The client certificate of {one.name} expires on {end}, in {span(left)}: {advice}.")
    return entries


# ---- renewal -------------------------------------------------------------------------------------------------------


def _renewal(
    report: Report, found: Mapping[str, Any], certificates: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """When the server's certificate was renewed last and is renewed next, and by what."""
    provider = str(report.settings["provider"])
    leaf = next((one for one in certificates if one["what"] == "server's"), None)
    end = parsed(leaf["not_after"]) if leaf else None
    renewal: dict[str, Any] = {
        "provider": provider,
        "by": {"acme": "certbot", "provided": "you"}.get(provider, "a run of playbooks/site.yml"),
        "issued": leaf["not_before"] if leaf else "",
        "installed": found["certificate"]["modified"] if leaf else "",
        "next": "",
        "timer": None,
    }
    if provider == "self_signed" and end:
        renewal["next"] = moment(end - datetime.timedelta(days=int(report.settings["renew_before_days"])))
    timer = found["timer"]
    if timer:
        renewal["timer"] = _timer(report, timer, "renewal", "renews the certificate", "renew")
        renewal["next"] = timer["next"]
    return renewal


def _timer(report: Report, timer: Mapping[str, Any], about: str, does: str, attempt: str) -> dict[str, Any]:
    """A timer's entry."""
    name = timer["name"]
    if timer["problem"]:
        report.warning(
            about,
            f"{name} on {report.host} {timer['problem']}, so nothing {does}: run playbooks/site.yml.",
        )
    elif timer["state"] != "active":
        report.warning(
            about,
            f"{name} on {report.host} is {timer['state']}, so nothing {does}: "
            f"run `systemctl enable --now {name}` there, or playbooks/site.yml.",
        )
    elif timer["enabled"] not in {"enabled", "enabled-runtime", "static", "generated", "alias"}:
        report.warning(
            about,
            f"{name} on {report.host} is {timer['enabled'] or 'not enabled'}, so it is gone with the host's next start: "
            f"run `systemctl enable {name}` there, or playbooks/site.yml.",
        )
    if not timer["problem"] and timer["service_result"] not in {"", "success"}:
        ended = parsed(timer["service_ended"])
        report.warning(
            about,
            f"The last attempt to {attempt} failed{f' on {readable(ended)}' if ended else ''}: "
            f"`journalctl --unit {timer['service']}` on {report.host} says why.",
        )
    return {key: timer[key] for key in ("name", "state", "enabled", "next", "last", "service_result")}


# ---- users ---------------------------------------------------------------------------------------------------------


def _users(
    report: Report, found: Mapping[str, Any], clients: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Who may do what, and who can prove who he is; and what everybody may do."""
    users, about = found["users"], "users"
    mode = str(report.settings["client_certificates"])
    with_password = set(users["password_names"])
    with_certificate = {str(client["name"]) for client in clients}
    files = [("access.json", users["access_problem"])]
    if mode != "required":
        files.append(("htpasswd", users["password_problem"]))
    for name, problem in files:
        if problem:
            path = f"{report.settings['auth_directory']}/{name}"
            report.critical(about, f"{path} on {report.host} {problem}, so users are refused: run playbooks/site.yml.")
    access = users["access"] or {"users": {}, "anonymous": None}
    entries = []
    for name, stored in access["users"].items():
        rights: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
        entries.append(
            {
                "name": str(name),
                "access": str(rights.get("access", "")),
                "repositories": [str(one) for one in rights.get("repositories") or []],
                "password": name in with_password,
                "certificate": name in with_certificate,
            }
        )
    # Without the list of rights there would be one complaint for each.
    strangers = sorted(with_password - set(access["users"])) if users["access"] else []
    if strangers:
        report.warning(
            about,
            f"{', '.join(strangers)}: in htpasswd, but without any rights in access.json: run playbooks/site.yml.",
        )
    entries += [
        {"name": name, "access": "", "repositories": [], "password": True, "certificate": name in with_certificate}
        for name in sorted(with_password - set(access["users"]))
    ]
    _stranded(report, mode, entries if users["access"] and not users["password_problem"] else [])
    anonymous = access.get("anonymous")
    return entries, dict(anonymous) if isinstance(anonymous, Mapping) else None


def _stranded(report: Report, mode: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """Who has rights and no way to use them. Certificates are known only where the controller issues them."""
    known = report.clients is not None
    stranded = []
    for user in entries:
        lacks_password = not user["password"] and (
            mode in {"off", "both"} or (mode == "optional" and known and not user["certificate"])
        )
        lacks_certificate = mode in {"required", "both"} and known and not user["certificate"]
        if user["access"] and (lacks_password or lacks_certificate):
            what = [word for word, is_so in (("password", lacks_password), ("certificate", lacks_certificate)) if is_so]
            stranded.append(f"{user['name']} (no {' and no '.join(what)})")
    if stranded:
        report.warning(
            "users",
            f"Users who cannot log in: {', '.join(stranded)}; registry_proxy_client_certificates is {mode}. Give them what is "
            "missing (registry_auth_users, playbooks/client_certificates.yml), or take them off registry_auth_users.",
        )


# ---- service and containers ----------------------------------------------------------------------------------------


def _service(report: Report, found: Mapping[str, Any]) -> dict[str, Any]:
    """What nginx answers."""
    proxy = found["proxy"]
    url = f"https://{report.settings['address']}/healthz"
    logs = f"`docker logs --tail 30 {report.settings['proxy']}` on {report.host} says more"
    if not proxy["status"]:
        more = "it cannot run without Docker" if found["engine"]["problem"] else logs
        report.critical("service", f"nginx does not answer on {report.host} ({proxy['problem']}): {more}.")
    elif proxy["status"] != 200:
        report.critical(
            "service",
            f"nginx answers {proxy['status']} at /healthz, so no registry answers or none reaches its storage: "
            "the containers' logs say more.",
        )
    if proxy["loaded"] == "pending":
        report.critical(
            "service", f"nginx has not loaded all of what lies on {report.host}'s disk: {_reload_advice(report)}."
        )
    return {
        "url": url,
        "status": proxy["status"],
        "problem": proxy["problem"],
        "configuration": proxy["configuration"],
        "loaded": {"loaded": True, "pending": False}.get(proxy["loaded"]),
    }


def _containers(report: Report, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers, each with what it answers."""
    engine, entries = found["engine"], []
    if engine["problem"]:
        report.critical(
            "containers",
            f"Docker does not answer on {report.host} ({engine['problem'].rstrip('.')}): "
            "run `systemctl status docker` there, or playbooks/site.yml.",
        )
    for one in engine["containers"]:
        answer = one["answer"]
        is_proxy = one["name"] == report.settings["proxy"]
        status = found["proxy"]["status"] if is_proxy else answer["status"] if answer else None
        entries.append(
            {
                **{key: one[key] for key in ("name", "image", "because", "state", "health", "restarts", "started")},
                "answer": status,
            }
        )
        _container(report, one, status, is_proxy)
    if found["watch"] not in {"", "active", "activating"}:
        report.warning(
            "watch",
            f"drydock-watch on {report.host} is {found['watch']}, so nobody restarts a registry that hangs, and uploads may fill the "
            "disk: run playbooks/site.yml.",
        )
    return entries


def _container(report: Report, one: Mapping[str, Any], status: int | None, is_proxy: bool) -> None:
    about, name, state = f"container {one['name']}", one["name"], one["state"]
    logs = f"`docker logs --tail 30 {name}` on {report.host} says why"
    started, finished = parsed(one["started"]), parsed(one["finished"])
    if not state:
        return
    if state == "missing":
        report.critical(about, f"The container {name} is missing on {report.host}: run playbooks/site.yml.")
    elif state == "restarting":
        report.critical(
            about,
            f"The container {name} ends and is restarted again and again (exit code {one['exit_code']}, "
            f"{one['restarts']} restarts): {logs}.",
        )
    elif state != "running":
        since = f" since {readable(finished)}" if finished and state == "exited" else ""
        code = f", exit code {one['exit_code']}" if state == "exited" else ""
        start = f"`docker unpause {name}`" if state == "paused" else f"`docker start {name}`"
        report.critical(about, f"The container {name} does not run ({state}{since}{code}): {logs}, {start} starts it.")
    elif one["health"] == "unhealthy":
        report.critical(about, f"The container {name} runs, but its health check fails: {logs}.")
    elif not is_proxy and status not in {None, 200}:
        got = f"answers {status}" if status else f"does not answer ({one['answer']['problem']})"
        report.critical(about, f"The container {name} runs, but {got} at {one['socket']}: {logs}.")
    elif one["answer"] and one["answer"]["storage_problem"]:
        report.critical(about, f"The container {name} runs, but {one['answer']['storage_problem']}: {logs}.")
    elif one["restarts"] and started and report.now - started < RESTARTED_RECENTLY:
        times = "once" if one["restarts"] == 1 else f"{one['restarts']} times"
        report.warning(
            about, f"The container {name} ended and was restarted {times}, last on {readable(started)}: {logs}."
        )


# ---- storage -------------------------------------------------------------------------------------------------------


def size(count: int) -> str:
    """A number of bytes for people."""
    amount, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{amount:.0f} bytes" if units[0] == "bytes" else f"{amount:.1f} {units[0]}"


def _storage(report: Report, found: Mapping[str, Any]) -> dict[str, Any]:
    """Where the images are, and how much more fits there."""
    settings = report.settings["storage"]
    disk = found["storage"]
    entry: dict[str, Any] = {**settings, "used_bytes": None, "used_is_complete": None, "own_file_system": None}
    entry.update(free_bytes=None, total_bytes=None, free_percent=None)
    if not disk:
        return entry
    about, place = "storage", f"{disk['directory']} on {report.host}"
    if disk["problem"]:
        report.critical(
            about, f"{place}, where the images are, {disk['problem']}: put it back, or run playbooks/site.yml."
        )
        return entry
    entry.update({key: disk[key] for key in ("used_bytes", "used_is_complete", "own_file_system")})
    entry.update({key: disk[key] for key in ("free_bytes", "total_bytes")})
    if disk["read_only"]:
        report.critical(
            about,
            f"The file system of {place} is read-only, so pulls go on and pushes fail: `dmesg` there says why, and "
            f"`mount -o remount,rw $(findmnt -no TARGET -T {disk['directory']})` makes it writable.",
        )
    advice = "delete images and run playbooks/storage_collect.yml, or enlarge the disk"
    reserve = float(settings["reserve_percent"])
    for what, free, total, amount in (
        ("space", disk["free_bytes"], disk["total_bytes"], size(disk["free_bytes"])),
        ("room for files (inodes)", disk["free_inodes"], disk["total_inodes"], str(disk["free_inodes"])),
    ):
        if not total:
            continue
        percent = 100 * free / total
        if what == "space":
            entry["free_percent"] = round(percent, 1)
        if percent < max(reserve, FULL_PERCENT):
            refused = ", so new uploads are refused" if percent < reserve else ""
            report.critical(
                about,
                f"The disk of {place} is full but for {percent:.1f} % of its {what} ({amount}){refused}: {advice}.",
            )
        elif percent < LOW_PERCENT:
            report.warning(about, f"The disk of {place} has {percent:.1f} % of its {what} left ({amount}): {advice}.")
    return entry


def _maintenance(report: Report, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """What keeps the storage in order, and the figures of its last report."""
    seen = found["maintenance"]
    if not seen:
        return None
    timer = seen["timer"]
    words = ("storage", "keeps the storage in order", "keep the storage in order")
    return {
        "timer": _timer(report, timer, *words) if timer else None,
        **{key: seen[key] for key in ("time", "since", "totals")},
    }


def _backup(report: Report, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last backup and the last drill."""
    seen = found["backup"]
    if not seen:
        return None
    last, drill, failed = seen["backup"], seen["drill"], seen["failed"]
    made = parsed((last or {}).get("time"))
    if seen["restoring"]:
        report.critical(
            "backup",
            f"{report.host} has a part of backup {seen['restoring']}, whose restore was not finished: run playbooks/restore.yml again.",
        )
    elif made is None:
        report.critical("backup", f"{report.host} was never backed up: run playbooks/backup.yml.")
    else:
        age = report.now - made
        sentence = f"The last backup of {report.host} is {span(age)} old: `journalctl --unit drydock-backup` on the host says why."
        if age > BACKUP_IS_TOO_OLD:
            report.critical("backup", sentence)
        elif age > BACKUP_IS_OLD:
            report.warning("backup", sentence)
    if failed:
        report.warning(
            "backup", f"The last attempt to back {report.host} up or to try its backup failed: {failed.get('error')}"
        )
    for problem in (last or {}).get("problems") or ():
        report.warning("backup", f"The last backup of {report.host}: {problem}")
    for problem in (drill or {}).get("problems") or ():
        report.critical("backup", f"The last drill of {report.host}, of its backup of {drill['of']}: {problem}")
    tried = parsed((drill or {}).get("time"))
    if tried and report.now - tried > DRILL_IS_OLD:
        report.warning(
            "backup",
            f"The backups of {report.host} were last tried {span(report.now - tried)} ago: run playbooks/restore_drill.yml.",
        )
    return dict(seen)


# ---- other registries ----------------------------------------------------------------------------------------------


def _mirrors(report: Report, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The other registries whose images come through this one: what is left of their limits, and what was wrong lately."""
    if found["mirror"] not in {"", "active", "activating"}:
        report.critical(
            "mirror",
            f"drydock-mirror on {report.host} is {found['mirror']}, so nothing comes from other registries: `journalctl -u drydock-mirror` "
            "there says why, and playbooks/site.yml starts it.",
        )
    entries = []
    for one in found["mirrors"]:
        told, problem = parsed(one["told"]), parsed(one["problem_time"])
        counts = bool(told and told + datetime.timedelta(seconds=one["window_seconds"]) > report.now)
        limit, left = (one["limit"], one["remaining"]) if counts else (None, None)
        if limit and left is not None and 100 * left < LOW_PERCENT * limit:
            report.warning(
                f"mirror {one['name']}",
                f"{one['name']} allows {left} more of {limit} pulls to {report.host}; what is not kept there is refused after that: log in "
                "to it (registry_mirror_upstreams), or get images ahead of time (registry_mirror_prefetch).",
            )
        lately = bool(problem and report.now - problem < PROBLEM_RECENTLY)
        if lately:
            report.warning(f"mirror {one['name']}", f"On {report.host}, {one['problem'].rstrip('.')}.")
        entries.append({"name": one["name"], "limit": limit, "left": left, "problem": one["problem"] if lately else ""})
    return entries


# ---- the whole -----------------------------------------------------------------------------------------------------


def failure(result: Mapping[str, Any]) -> str:
    """Why the host told nothing; empty where it did."""
    if isinstance(result.get("found"), Mapping):
        return ""
    # What a connection says on its error output is often more than the message.
    texts = (str(result.get(key) or "").strip() for key in ("msg", "module_stderr"))
    reason = "; ".join(text.splitlines()[-1].rstrip(".") for text in texts if text) or "no reason given"
    if result.get("unreachable"):
        return f"cannot be reached ({reason}): bring it up, or correct how Ansible connects to it"
    return f"cannot be looked at ({reason}): run the playbook with -vvv to see more"


def report(
    result: Mapping[str, Any], settings: Mapping[str, Any], now: datetime.datetime, clients: Clients | None = None
) -> dict[str, Any]:
    """The report on one host, from the module's result and the deployment's settings."""
    made = Report(now=now, settings=settings, clients=clients)
    why = failure(result)
    if why:
        made.critical("host", f"{made.host} {why}.")
        return made.finish()
    found = result["found"]
    clock = parsed(found["time"])
    if clock and abs(clock - now) > CLOCK_TOLERANCE:
        made.warning(
            "clock",
            f"The clock of {made.host} is {span(clock - now)} {'ahead of' if clock > now else 'behind'} this machine's: "
            "set the one that is wrong right, since certificates begin and end by it.",
        )
    certificates = _server_certificates(made, found)
    client_authorities, crls = _client_authority(made, found)
    in_force = _client_certificates(made)
    users, anonymous = _users(made, found, in_force)
    return made.finish(
        renewal=_renewal(made, found, certificates),
        certificates=certificates + client_authorities,
        crls=crls,
        client_certificates=in_force,
        users=users,
        anonymous=anonymous,
        service=_service(made, found),
        containers=_containers(made, found),
        storage=_storage(made, found),
        maintenance=_maintenance(made, found),
        backup=_backup(made, found),
        mirrors=_mirrors(made, found),
    )
