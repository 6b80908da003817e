# SPDX-License-Identifier: GPL-3.0-or-later
"""How what a host tells is judged and shown, with certificates and revocation lists of all ages."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.drydock.registry.plugins.filter.status_report import status_report
from ansible_collections.drydock.registry.plugins.module_utils import _registry_status as core
from ansible_collections.drydock.registry.plugins.module_utils._registry_status_screen import screen, table
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime(2030, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)
DOMAIN = "registry.example.com"
Found = dict[str, Any]


def day(days: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=days)


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def make(name: str, begin: float, end: float, issuer: Pair | None = None) -> Pair:
    """A certificate for a name, valid from and to so many days from now; without an issuer it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(issuer.certificate.subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(day(begin))
        .not_valid_after(day(end))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def make_crl(issuer: Pair, begin: float, end: float, *revoked: int) -> str:
    """A revocation list of that CA."""
    builder = x509.CertificateRevocationListBuilder(issuer.certificate.subject, day(begin), day(end))
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(day(begin)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


CA = make("drydock registry CA", -100, 3550)
CLIENT_CA = make("drydock client CA", -100, 3550)


def file(path: str, pem: str = "", problem: str = "") -> Found:
    return {"path": path, "pem": pem, "modified": "2029-12-02T11:00:00Z" if pem else "", "problem": problem}


def container(name: str, **different: Any) -> Found:
    return {
        "name": name,
        "image": "drydock/registry:2.8.3",
        "because": "",
        "state": "running",
        "health": "",
        "exit_code": 0,
        "restarts": 0,
        "started": "2029-12-01T12:00:00Z",
        "finished": "",
        "socket": "" if name.endswith("proxy") else f"/sockets/{name}.sock",
        "answer": None if name.endswith("proxy") else {"status": 200, "problem": "", "storage_problem": ""},
        **different,
    }


def healthy(leaf: Pair | None = None) -> Found:
    """What a host tells where all is well."""
    leaf = leaf or make(DOMAIN, -30, 60, CA)
    return {
        "time": "2030-01-01T11:59:58Z",
        "certificate": file("/etc/drydock/tls/tls.crt", leaf.pem),
        "ca_certificate": file("/etc/drydock/tls/ca.crt", CA.pem),
        "client_ca_certificate": None,
        "client_crl": None,
        "proxy": {"status": 200, "problem": "", "certificate": leaf.pem, "configuration": "abc", "loaded": "loaded"},
        "users": {
            "access": {"anonymous": None, "users": {"alice": {"access": "admin", "repositories": ["**"]}}},
            "access_problem": "",
            "password_names": ["alice"],
            "password_problem": "",
        },
        "engine": {
            "problem": "",
            "containers": [
                container("drydock-proxy"),
                container("drydock-registry-a"),
                container("drydock-registry-b"),
            ],
        },
        "timer": None,
        "watch": "active",
        "mirror": "",
        "mirrors": [],
        "maintenance": None,
        "backup": None,
        "storage": {
            "directory": "/var/lib/drydock/registry",
            "problem": "",
            "used_bytes": 3 * 1024**3,
            "used_is_complete": True,
            "own_file_system": False,
            "total_bytes": 100 * 1024**3,
            "free_bytes": 50 * 1024**3,
            "total_inodes": 1000,
            "free_inodes": 900,
            "read_only": False,
        },
    }


def settings(**different: Any) -> dict[str, Any]:
    return {
        "host": "registry-1",
        "address": DOMAIN,
        "domain": DOMAIN,
        "provider": "self_signed",
        "renew_before_days": 30,
        "warn_days": "",
        "client_certificates": "off",
        "client_directory": "",
        "auth_directory": "/etc/drydock/auth",
        "proxy": "drydock-proxy",
        "reload_program": "/usr/local/sbin/drydock-reload-proxy",
        "storage": {"provider": "filesystem", "directory": "/var/lib/drydock/registry", "reserve_percent": "5"},
        **different,
    }


def judge(found: Found, clients: core.Clients | None = None, **different: Any) -> dict[str, Any]:
    made = core.report({"found": found}, settings(**different), NOW, clients)
    # It is written as JSON.
    assert json.loads(json.dumps(made)) == made
    return made


def problems(made: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["level"], problem["about"]) for problem in made["problems"]]


def message(made: dict[str, Any]) -> str:
    """The one problem's sentence."""
    assert len(made["problems"]) == 1, made["problems"]
    return str(made["problems"][0]["message"])


def with_client_ca(found: Found, crl: str = "", authority: Pair = CLIENT_CA) -> Found:
    found["client_ca_certificate"] = file("/etc/drydock/proxy/client-ca.crt", authority.pem)
    found["client_crl"] = file("/etc/drydock/proxy/client.crl", crl or make_crl(CLIENT_CA, -10, 355))
    return found


# ---- all is well ----


def test_nothing_is_wrong() -> None:
    made = judge(healthy())
    assert made["problems"] == []
    assert made["status"] == "ok"
    assert [(one["what"], one["days_left"], one["loaded"]) for one in made["certificates"]] == [
        ("server's", 60.0, True),
        ("server CA's", 3550.0, None),
    ]
    assert made["renewal"]["issued"] == "2029-12-02T12:00:00Z"
    assert made["renewal"]["next"] == "2030-01-31T12:00:00Z"
    assert made["users"] == [
        {"name": "alice", "access": "admin", "repositories": ["**"], "password": True, "certificate": False}
    ]
    assert made["storage"]["free_percent"] == 50.0
    assert [one["answer"] for one in made["containers"]] == [200, 200, 200]


# ---- the server's certificate ----


@pytest.mark.parametrize(
    ("begin", "end", "different", "level", "words"),
    [
        # A renewal is due with a third of the lifetime left, so there is a warning with a quarter.
        (-67, 23, {"provider": "acme"}, "ok", ""),
        (-68, 22, {"provider": "acme"}, "warning", "in 22 days: certbot has not renewed it"),
        (-33, 12, {"provider": "acme"}, "ok", ""),
        (-34, 11, {"provider": "acme"}, "warning", "in 11 days"),
        (-4, 2, {"provider": "acme"}, "ok", ""),
        (-5, 1, {"provider": "acme"}, "warning", "in 24 hours"),
        (-300, 65, {"provider": "provided"}, "ok", ""),
        (-336, 29, {"provider": "provided"}, "warning", "put a renewed one into registry_tls_provided"),
        # A run leaves a certificate of the deployment's own as it is while it is not due.
        (-20, 10, {"renew_before_days": 5}, "ok", ""),
        (-26, 4, {"renew_before_days": 5}, "warning", "run playbooks/site.yml, which renews it"),
        (-80, 10, {"warn_days": 9}, "ok", ""),
        (-80, 10, {"warn_days": "11"}, "warning", "run playbooks/site.yml, which renews it"),
        (-30, 60, {"warn_days": 61}, "warning", "a run of playbooks/site.yml renews it from 2030-01-31 12:00 UTC on"),
        (-90, -0.5, {}, "critical", "expired on 2030-01-01 00:00 UTC, 12 hours ago: run playbooks/site.yml"),
        (0.5, 90, {}, "critical", "is not valid before 2030-01-02 00:00 UTC"),
        (-90, -3, {"warn_days": 0}, "critical", "3 days ago"),
    ],
)
def test_days_left(begin: float, end: float, different: dict[str, Any], level: str, words: str) -> None:
    made = judge(healthy(make(DOMAIN, begin, end, CA)), **different)
    assert made["status"] == level, made["problems"]
    assert problems(made) == ([] if level == "ok" else [(level, "server's certificate")])
    assert words in (message(made) if words else "")


def test_certificate_on_the_disk_is_not_what_nginx_shows() -> None:
    found = healthy()
    found["proxy"]["certificate"] = make(DOMAIN, -85, 5, CA).pem
    made = judge(found)
    assert made["certificates"][0]["loaded"] is False
    assert "(until 2030-01-06 12:00 UTC)" in message(made)
    assert "run `/usr/local/sbin/drydock-reload-proxy` on registry-1" in message(made)


def test_what_nginx_shows_is_not_known_where_it_does_not_run() -> None:
    found = healthy()
    found["proxy"] = {
        "status": 0,
        "problem": "Connection refused",
        "certificate": "",
        "configuration": "",
        "loaded": "",
    }
    made = judge(found)
    assert made["certificates"][0]["loaded"] is None
    assert "nginx does not answer on registry-1 (Connection refused)" in message(made)


def test_something_else_on_the_disk_is_not_loaded() -> None:
    found = healthy()
    found["proxy"]["loaded"] = "pending"
    made = judge(found)
    assert made["service"]["loaded"] is False
    assert "nginx has not loaded all of what lies on registry-1's disk" in message(made)


@pytest.mark.parametrize(
    ("name", "level"), [(DOMAIN, "ok"), ("*.example.com", "ok"), ("example.com", "critical"), ("*.com", "critical")]
)
def test_name_of_the_certificate(name: str, level: str) -> None:
    assert judge(healthy(make(name, -30, 60, CA)))["status"] == level


def test_end_of_the_chain_in_between() -> None:
    middle = make("Middle", -300, 3, CA)
    leaf = make(DOMAIN, -30, 60, middle)
    found = healthy(leaf)
    # Clients have the root themselves: that this copy has ended matters to nobody.
    found["certificate"]["pem"] = leaf.pem + middle.pem + make("Root", -300, -1).pem
    made = judge(found, provider="provided")
    assert [one["what"] for one in made["certificates"]] == ["server's", "intermediate CA's", "server CA's"]
    assert "The intermediate CA's certificate expires on 2030-01-04 12:00 UTC, in 3 days" in message(made)


def test_ends_of_the_ca() -> None:
    found = healthy()
    found["ca_certificate"]["pem"] = make("drydock registry CA", -3640, 10).pem
    assert "give clients the new /etc/drydock/tls/ca.crt" in message(judge(found))


def test_standing_in_for_an_ordered_certificate() -> None:
    made = judge(healthy(make("placeholder", -1, 3649)), provider="acme")
    assert problems(made) == [("critical", "server's certificate")]
    assert "stands in" in message(made)


@pytest.mark.parametrize(
    "broken",
    [
        file("/tls.crt", problem="does not exist"),
        file("/tls.crt", problem="cannot be read (Permission denied)"),
        file("/tls.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ],
)
def test_no_certificate(broken: Found) -> None:
    found = healthy()
    found["certificate"] = broken
    made = judge(found)
    assert (broken["problem"] or "cannot be read as a certificate") in message(made)
    assert [one["what"] for one in made["certificates"]] == ["server CA's"]
    assert made["renewal"]["issued"] == ""


@pytest.mark.parametrize(("provider", "level"), [("self_signed", "warning"), ("provided", "ok"), ("acme", "ok")])
def test_ca_certificate_is_missing_only_where_clients_need_one(provider: str, level: str) -> None:
    found = healthy()
    found["ca_certificate"] = file("/etc/drydock/tls/ca.crt", problem="does not exist")
    assert judge(found, provider=provider)["status"] == level


# ---- renewal ----


def timer(**different: Any) -> Found:
    return {
        "name": "certbot.timer",
        "problem": "",
        "state": "active",
        "enabled": "enabled",
        "next": "2030-01-01T18:00:00Z",
        "last": "2030-01-01T06:00:00Z",
        "service": "certbot.service",
        "service_result": "success",
        "service_ended": "2030-01-01T06:00:01Z",
        **different,
    }


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({}, ""),
        ({"problem": "does not exist", "state": "inactive"}, "certbot.timer on registry-1 does not exist"),
        ({"state": "inactive"}, "systemctl enable --now certbot.timer"),
        ({"enabled": "disabled"}, "gone with the host's next start"),
        ({"service_result": "exit-code"}, "The last attempt to renew failed on 2030-01-01 06:00 UTC"),
    ],
)
def test_timer(different: dict[str, Any], words: str) -> None:
    found = healthy()
    found["timer"] = timer(**different)
    made = judge(found, provider="acme")
    assert made["renewal"]["next"] == "2030-01-01T18:00:00Z"
    assert problems(made) == ([("warning", "renewal")] if words else [])
    assert words in (message(made) if words else "")


# ---- client certificates ----


@pytest.mark.parametrize(
    ("begin", "end", "level", "words"),
    [
        (-10, 355, "ok", ""),
        (-336, 29, "warning", "expires on 2030-01-30 12:00 UTC, in 29 days"),
        (-5, 1, "warning", "in 24 hours"),
        (-365, -2, "critical", "nginx refuses every client certificate: put a new one into registry_proxy_client_crl"),
    ],
)
def test_revocation_list(begin: float, end: float, level: str, words: str) -> None:
    made = judge(with_client_ca(healthy(), make_crl(CLIENT_CA, begin, end, 7, 8)), client_certificates="optional")
    assert made["status"] == level
    assert words in (message(made) if words else "")
    assert made["crls"][0]["revoked"] == 2
    assert made["crls"][0]["days_left"] == end


def test_revocation_list_of_the_own_ca() -> None:
    found = with_client_ca(healthy(), make_crl(CLIENT_CA, -365, -2))
    made = judge(found, core.Clients(), client_certificates="optional")
    assert "run playbooks/client_certificates.yml, which makes it anew" in message(made)


def test_client_ca_does_not_matter_where_nobody_asks_for_certificates() -> None:
    made = judge(with_client_ca(healthy(), make_crl(CLIENT_CA, -365, -2)))
    assert (made["problems"], made["crls"]) == ([], [])


def test_revocation_list_of_another_ca() -> None:
    other = make("Other", -10, 100)
    made = judge(with_client_ca(healthy(), make_crl(other, -10, 355)), client_certificates="optional")
    assert "is of another CA (Other)" in message(made)


def test_client_ca_and_revocation_list_are_missing() -> None:
    found = with_client_ca(healthy())
    found["client_ca_certificate"] = file("/client-ca.crt", problem="does not exist")
    found["client_crl"] = file("/client.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    made = judge(found, client_certificates="required")
    assert problems(made) == [
        ("critical", "client CA's certificate"),
        ("critical", "client CA's revocation list"),
    ]


def client(name: str, begin: float, end: float, serial: int = 1) -> core.ClientCertificate:
    return core.ClientCertificate(name, serial, f"/clients/issued/{serial}.crt", day(begin), day(end))


def test_revoked_certificate_that_still_lets_in() -> None:
    found = with_client_ca(healthy(), make_crl(CLIENT_CA, -10, 355, 7))
    clients = core.Clients(in_force=[client("alice", -10, 80)], revoked={7: "old", 8: "stolen"})
    made = judge(found, clients, client_certificates="optional")
    assert problems(made) == [("critical", "client CA's revocation list")]
    assert "they still let in: stolen" in message(made)


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (-10, 80, ""),
        (-70, 20, "The client certificate of alice expires on 2030-01-21 12:00 UTC, in 20 days"),
        (-91, -1, "The client certificate of alice expired on 2029-12-31 12:00 UTC, 24 hours ago"),
    ],
)
def test_client_certificate(begin: float, end: float, words: str) -> None:
    clients = core.Clients(in_force=[client("alice", begin, end)])
    made = judge(with_client_ca(healthy()), clients, client_certificates="both")
    assert problems(made) == ([("warning", "client certificates")] if words else [])
    assert words in (message(made) if words else "")
    assert made["users"][0]["certificate"] is True
    assert made["client_certificates"][0]["days_left"] == end


def test_reads_the_folder_of_the_client_ca(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    offset = (now - NOW).days
    for folder in ("issued", "revoked"):
        (tmp_path / folder).mkdir()
    made = {
        "older": make("alice", offset - 50, offset + 40, CLIENT_CA),
        "newer": make("alice", offset - 10, offset + 80, CLIENT_CA),
        "gone": make("bob", offset - 10, offset + 80, CLIENT_CA),
    }
    for name, pair in made.items():
        (tmp_path / "issued" / f"{name}.crt").write_text(pair.pem)
    serial = made["gone"].certificate.serial_number
    (tmp_path / "revoked" / f"{serial:X}.json").write_text('{"date": "20260131120000Z", "reason": "unspecified"}')
    (tmp_path / "ca.crt").write_text(CLIENT_CA.pem)
    # The key's passphrase is nobody's business here.
    (tmp_path / "ca.key").write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    found = with_client_ca(healthy())
    found["time"] = ""
    report = status_report({"found": found}, settings(client_directory=str(tmp_path), client_certificates="optional"))
    assert [(one["name"], one["path"]) for one in report["client_certificates"]] == [
        ("alice", str(tmp_path / "issued/newer.crt"))
    ]
    told = [problem["message"] for problem in report["problems"]]
    assert any("they still let in: bob" in text for text in told)
    assert not any("ca.key" in text or "passphrase" in text for text in told)


# ---- users ----


def users(access: Any, *names: str, **different: Any) -> Found:
    found = healthy()
    rights = {"anonymous": None, "users": access} if access is not None else None
    found["users"] = {
        "access": rights,
        "access_problem": "" if access is not None else "does not exist",
        "password_names": list(names),
        "password_problem": "",
        **different,
    }
    return found


PULL = {"access": "pull", "repositories": ["team-a/*"]}


@pytest.mark.parametrize(
    ("mode", "certificates", "words"),
    [
        ("off", None, "ci (no password)"),
        ("optional", [], "ci (no password)"),
        # Another CA's certificates are not known here.
        ("optional", None, ""),
        ("optional", ["ci"], ""),
        ("required", ["ci"], "alice (no certificate)"),
        ("required", None, ""),
        ("both", ["ci", "alice"], "ci (no password)"),
        ("both", [], "alice (no certificate), ci (no password and no certificate)"),
    ],
)
def test_users_who_cannot_log_in(mode: str, certificates: list[str] | None, words: str) -> None:
    clients = None if certificates is None else core.Clients(in_force=[client(name, -1, 89) for name in certificates])
    found = with_client_ca(users({"alice": PULL, "ci": PULL}, "alice"))
    made = judge(found, clients, client_certificates=mode)
    assert problems(made) == ([("warning", "users")] if words else [])
    assert words in (message(made) if words else "")


def test_no_rights_are_known() -> None:
    made = judge(users(None, "alice"))
    assert problems(made) == [("critical", "users")]
    assert "/etc/drydock/auth/access.json on registry-1 does not exist" in message(made)
    assert made["users"][0]["name"] == "alice"


def test_password_without_rights() -> None:
    made = judge(users({"alice": PULL}, "alice", "mallory"))
    assert "mallory: in htpasswd, but without any rights" in message(made)
    assert [user["access"] for user in made["users"]] == ["pull", ""]


def test_passwords_do_not_matter_where_certificates_alone_count() -> None:
    found = with_client_ca(users({"alice": PULL}, password_problem="does not exist"))
    assert judge(found, client_certificates="required")["status"] == "ok"
    assert judge(found, client_certificates="optional")["status"] == "critical"


def test_anonymous() -> None:
    found = healthy()
    found["users"]["access"]["anonymous"] = {"repositories": ["public/**"]}
    made = judge(found)
    assert made["anonymous"] == {"repositories": ["public/**"]}
    assert any(line.startswith("(everybody)  pull    public/**") for line in screen(made))


@pytest.mark.parametrize("rights", [None, [], "push", {"access": 1, "repositories": None}])
def test_rights_that_make_no_sense(rights: Any) -> None:
    screen(judge(users({"alice": rights}, "alice")))


# ---- containers and service ----


@pytest.mark.parametrize(
    ("different", "level", "words"),
    [
        (
            {"state": "missing", "image": "", "answer": None},
            "critical",
            "is missing on registry-1: run playbooks/site.yml",
        ),
        (
            {"state": "exited", "exit_code": 137, "finished": "2030-01-01T11:00:00Z", "answer": None},
            "critical",
            "does not run (exited since 2030-01-01 11:00 UTC, exit code 137)",
        ),
        ({"state": "restarting", "exit_code": 2, "restarts": 9, "answer": None}, "critical", "again and again"),
        ({"state": "paused", "answer": None}, "critical", "docker unpause drydock-registry-b"),
        ({"health": "unhealthy"}, "critical", "its health check fails"),
        (
            {
                "answer": {
                    "status": 200,
                    "problem": "",
                    "storage_problem": "it cannot read its storage (it answers 500)",
                }
            },
            "critical",
            "The container drydock-registry-b runs, but it cannot read its storage (it answers 500)",
        ),
        ({"answer": {"status": 503, "problem": ""}}, "critical", "answers 503 at /sockets/drydock-registry-b.sock"),
        ({"answer": {"status": 0, "problem": "timed out"}}, "critical", "does not answer (timed out)"),
        ({"restarts": 3, "started": "2030-01-01T11:30:00Z"}, "warning", "restarted 3 times, last on 2030-01-01 11:30"),
        ({"restarts": 3, "started": "2029-12-30T11:30:00Z"}, "ok", ""),
    ],
)
def test_container(different: dict[str, Any], level: str, words: str) -> None:
    found = healthy()
    found["engine"]["containers"][2] = container("drydock-registry-b", **different)
    made = judge(found)
    assert problems(made) == ([] if level == "ok" else [(level, "container drydock-registry-b")])
    assert words in (message(made) if words else "")


def test_read_only_storage_is_told_from_one_that_is_away() -> None:
    found = healthy()
    found["storage"]["read_only"] = True
    made = judge(found)
    assert problems(made) == [("critical", "storage")]
    assert "is read-only, so pulls go on and pushes fail" in message(made)


def test_docker_does_not_answer() -> None:
    found = healthy()
    found["engine"]["problem"] = "Cannot connect to the Docker daemon. Is the docker daemon running?"
    for one in found["engine"]["containers"]:
        one.update(state="", image="", started="")
    made = judge(found)
    assert problems(made) == [("critical", "containers")]
    assert any("drydock-registry-a" in line and "unknown" in line for line in screen(made))


def test_an_image_that_was_built_in_the_place_of_another_one_says_why() -> None:
    found = healthy()
    for one in found["engine"]["containers"][1:]:
        one["because"] = "registry:3 cannot be pulled (no such host)"
    made = judge(found)
    assert problems(made) == []
    text = " ".join(screen(made))
    assert (
        text.count("drydock/registry:2.8.3 was built on the host, for registry:3 cannot be pulled (no such host).") == 1
    )


def test_no_registry_behind_nginx() -> None:
    found = healthy()
    found["proxy"]["status"] = 503
    assert "nginx answers 503 at /healthz" in message(judge(found))


@pytest.mark.parametrize(
    ("state", "level"), [("", ""), ("activating", ""), ("failed", "warning"), ("inactive", "warning")]
)
def test_nobody_watches_the_registries(state: str, level: str) -> None:
    found = healthy()
    found["watch"] = state
    made = judge(found)
    assert problems(made) == ([(level, "watch")] if level else [])
    if level:
        assert f"drydock-watch on registry-1 is {state}" in message(made)


# ---- storage ----


@pytest.mark.parametrize(
    ("different", "level", "words"),
    [
        ({"free_bytes": 10 * 1024**3}, "ok", ""),
        ({"free_bytes": 9 * 1024**3}, "warning", "has 9.0 % of its space left (9.0 GiB)"),
        ({"free_bytes": 5 * 1024**3}, "warning", "has 5.0 % of its space left"),
        (
            {"free_bytes": 4 * 1024**3},
            "critical",
            "full but for 4.0 % of its space (4.0 GiB), so new uploads are refused:",
        ),
        ({"free_inodes": 5}, "critical", "inodes"),
        # btrfs has no fixed number of them.
        ({"free_inodes": 0, "total_inodes": 0}, "ok", ""),
        ({"problem": "does not exist"}, "critical", "where the images are, does not exist"),
    ],
)
def test_storage(different: dict[str, Any], level: str, words: str) -> None:
    found = healthy()
    found["storage"].update(different)
    made = judge(found)
    assert problems(made) == ([] if level == "ok" else [(level, "storage")])
    assert words in (message(made) if words else "")


@pytest.mark.parametrize(
    ("reserve", "level"), [("0", "warning"), ("3", "warning"), ("4", "critical"), ("50", "critical")]
)
def test_the_reserve_decides_what_is_critical(reserve: str, level: str) -> None:
    found = healthy()
    found["storage"]["free_bytes"] = 3 * 1024**3
    made = judge(found, storage={"provider": "filesystem", "directory": "/srv", "reserve_percent": reserve})
    assert problems(made) == [(level, "storage")]
    assert ("new uploads are refused" in message(made)) == (level == "critical")


def test_storage_in_a_bucket_is_named_and_not_measured() -> None:
    found = healthy()
    found["storage"] = None
    bucket = {"provider": "s3", "bucket": "images", "region": "eu-west-1", "prefix": "registry"}
    made = judge(found, storage=bucket)
    assert made["storage"]["used_bytes"] is None
    assert "Storage: the bucket images in eu-west-1, below registry; S3 counts what is in it." in screen(made)


def test_a_count_that_is_not_complete_says_so() -> None:
    found = healthy()
    found["storage"]["used_is_complete"] = False
    assert "takes more than 3.0 GiB; 50.0 GiB of 100.0 GiB are free (50.0 %)." in " ".join(screen(judge(found)))


TOTALS = {"repositories": 3, "tags": 9, "images": 1, "garbage": 3456, "trash": 0, "growth": 2048}
MADE = {"time": "2030-01-01T03:20:00Z", "since": "2029-12-31T03:20:00Z"}


@pytest.mark.parametrize(
    ("totals", "words"),
    [
        (
            TOTALS,
            (
                "In it: 9 tags in 3 repositories, 1 image; 3.4 KiB that no image needs, 0 bytes in the trash; "
                "2.0 KiB more than 2029-12-31 03:20 UTC (counted 2030-01-01 03:20 UTC)."
            ),
        ),
        ({**TOTALS, "growth": -1024}, "1.0 KiB less than 2029-12-31"),
        ({**TOTALS, "growth": None}, "0 bytes in the trash (counted 2030-01-01 03:20 UTC)."),
        ({**TOTALS, "trash": None, "growth": None}, "3.4 KiB that no image needs (counted 2030-01-01 03:20 UTC)."),
        (None, "What is in it was not counted yet: run playbooks/storage_report.yml."),
    ],
)
def test_figures_of_the_storage(totals: dict[str, Any] | None, words: str) -> None:
    found = healthy()
    found["maintenance"] = {"timer": None, **MADE, "totals": totals}
    made = judge(found)
    assert words in " ".join(screen(made))
    assert made["maintenance"]["totals"] == totals
    assert made["status"] == "ok"


def test_the_timer_of_the_storage_has_sentences_of_its_own() -> None:
    found = healthy()
    failed = timer(name="drydock-storage.timer", service="drydock-storage.service", service_result="exit-code")
    found["maintenance"] = {"timer": failed, **MADE, "totals": TOTALS}
    made = judge(found)
    assert problems(made) == [("warning", "storage")]
    assert "The last attempt to keep the storage in order failed" in message(made)
    assert "`journalctl --unit drydock-storage.service`" in message(made)
    found["maintenance"]["timer"] = timer(name="drydock-storage.timer", problem="does not exist")
    assert "does not exist, so nothing keeps the storage in order" in message(judge(found))


BACKUP = {"time": "2029-12-31T01:47:00Z", "size": 2048, "added": 1024, "problems": []}
DRILL = {"time": "2029-12-02T05:23:00Z", "of": "2029-12-02T01:47:00Z", "problems": []}


def noted(**parts: Any) -> dict[str, Any]:
    found = healthy()
    found["backup"] = {"backup": BACKUP, "drill": DRILL, "failed": None, "restoring": "", **parts}
    return found


def days_before(days: float) -> str:
    return core.moment(NOW - datetime.timedelta(days=days))


@pytest.mark.parametrize(
    ("parts", "level", "words"),
    [
        ({"backup": None}, "critical", "registry-1 was never backed up: run playbooks/backup.yml."),
        ({"backup": {**BACKUP, "time": days_before(3)}}, "warning", "The last backup of registry-1 is 3 days old"),
        ({"backup": {**BACKUP, "time": days_before(8)}}, "critical", "The last backup of registry-1 is 8 days old"),
        (
            {"backup": {**BACKUP, "time": days_before(1), "problems": ["Something."]}},
            "warning",
            "The last backup of registry-1: Something.",
        ),
        (
            {"restoring": "1a2b3c4d", "backup": None},
            "critical",
            "registry-1 has a part of backup 1a2b3c4d, whose restore was not",
        ),
        ({"failed": {"time": "", "command": "run", "error": "It is full."}}, "warning", "failed: It is full."),
        (
            {"drill": {**DRILL, "time": days_before(9), "problems": ["A layer."]}},
            "critical",
            "its backup of 2029-12-02T01:47:00Z: A layer.",
        ),
        (
            {"drill": {**DRILL, "time": days_before(70)}},
            "warning",
            "were last tried 70 days ago: run playbooks/restore_drill.yml.",
        ),
    ],
)
def test_backups_that_are_old_or_failed(parts: dict[str, Any], level: str, words: str) -> None:
    fresh = {"backup": {**BACKUP, "time": days_before(1)}, "drill": {**DRILL, "time": days_before(20)}}
    made = judge(noted(**{**fresh, **parts}))
    assert problems(made) == [(level, "backup")]
    assert words in message(made)


@pytest.mark.parametrize(
    ("drill", "words"), [(None, "not tried yet"), ({**DRILL, "time": days_before(20)}, "last tried 20")]
)
def test_a_backup_that_is_well_is_a_line(drill: dict[str, Any] | None, words: str) -> None:
    made = judge(noted(backup={**BACKUP, "time": days_before(1)}, drill=drill))
    assert made["status"] == "ok"
    shown = " ".join(screen(made))
    assert "2.0 KiB, of which 1.0 KiB were new" in shown
    assert words in shown


# ---- other registries ----


def mirror(name: str = "hub", **different: Any) -> Found:
    told = {"limit": 100, "remaining": 76, "window_seconds": 21600, "told": "2030-01-01T11:00:00Z"}
    return {"name": name, **told, "problem": "", "problem_time": "", **different}


@pytest.mark.parametrize(
    ("state", "one", "expected", "words"),
    [
        ("active", mirror(), [], "Mirrors: hub (76 of 100 pulls left)."),
        # It does not say, or counts anew meanwhile.
        ("active", mirror("quay", limit=None, remaining=None), [], "Mirrors: quay."),
        ("active", mirror(remaining=0, told="2030-01-01T05:00:00Z"), [], "Mirrors: hub."),
        ("active", mirror(remaining=9), [("warning", "mirror hub")], "hub allows 9 more of 100 pulls to registry-1"),
        (
            "active",
            mirror(problem="hub: https://a does not answer", problem_time="2030-01-01T11:50:00Z"),
            [("warning", "mirror hub")],
            "On registry-1, hub: https://a does not answer.",
        ),
        ("active", mirror(problem="hub: was away", problem_time="2030-01-01T11:00:00Z"), [], "Mirrors: hub (76"),
        ("failed", mirror(), [("critical", "mirror")], "drydock-mirror on registry-1 is failed, so nothing comes from"),
    ],
)
def test_other_registries(state: str, one: Found, expected: list[tuple[str, str]], words: str) -> None:
    made = judge({**healthy(), "mirror": state, "mirrors": [one]})
    assert problems(made) == expected
    assert words in " ".join(line.strip() for line in screen(made))


# ---- hosts that tell little or nothing ----


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            {"unreachable": True, "msg": "Failed to connect to the host via ssh: timed out"},
            "registry-1 cannot be reached (Failed",
        ),
        (
            {"msg": "The module interpreter '/nowhere' was not found.", "failed": False},
            "cannot be looked at (The module",
        ),
        (
            {"msg": "No start of json char found", "module_stderr": "one\nError: No such container: x\n"},
            "No such container: x",
        ),
        ({}, "no reason given"),
    ],
)
def test_host_that_tells_nothing(result: dict[str, Any], words: str) -> None:
    made = core.report(result, settings(), NOW)
    assert problems(made) == [("critical", "host")]
    assert words in message(made)
    assert made["certificates"] == []
    assert len(screen(made)) <= 4


def test_a_bare_host() -> None:
    found = healthy()
    for name in ("certificate", "ca_certificate"):
        found[name] = file(f"/etc/drydock/tls/{name}", problem="does not exist")
    found["proxy"] = {
        "status": 0,
        "problem": "Connection refused",
        "certificate": "",
        "configuration": "",
        "loaded": "",
    }
    found["users"] = {
        "access": None,
        "access_problem": "does not exist",
        "password_names": [],
        "password_problem": "does not exist",
    }
    found["engine"] = {"problem": "docker is not installed", "containers": []}
    found["storage"]["problem"] = "does not exist"
    made = judge(found)
    assert made["status"] == "critical"
    screen(made)


@pytest.mark.parametrize(
    ("clock", "words"), [("2030-01-01T12:20:00Z", "20 minutes ahead of"), ("2029-12-31T12:00:00Z", "behind")]
)
def test_clocks_differ(clock: str, words: str) -> None:
    found = healthy()
    found["time"] = clock
    assert words in message(judge(found))


# ---- the screen ----


def everything_wrong(found: Found) -> None:
    found["users"]["access"]["users"] = {
        f"user-{number}": {"access": "push", "repositories": ["a-long-name-of-a-team/**", "another/*"] * 4}
        for number in range(5)
    }
    for one in found["engine"]["containers"]:
        one.update(
            image="registry.example.com:5443/very/long/path/to/an/image:1.2.3@sha256:" + "0" * 64, state="exited"
        )
    found["storage"]["free_bytes"] = 0
    found["proxy"]["loaded"] = "pending"


@pytest.mark.parametrize("change", [lambda _found: None, everything_wrong])
def test_screen_fits(change: Callable[[Found], None]) -> None:
    found = copy.deepcopy(healthy())
    change(found)
    lines = screen(judge(found))
    assert max(map(len, lines)) <= 94
    assert all(line == line.rstrip() for line in lines)
    first_section = lines.index("")
    assert all(not line.startswith(("CRITICAL", "WARNING")) for line in lines[first_section:])


def test_screen_begins_with_the_worst() -> None:
    found = healthy(make(DOMAIN, -80, 10, CA))
    found["engine"]["containers"][0]["state"] = "exited"
    lines = screen(judge(found))
    assert lines[0] == "registry.example.com on registry-1: 1 critical problem, 1 warning (2030-01-01 12:00 UTC)"
    starts = [line.split()[0] for line in lines if line.startswith(("CRITICAL", "WARNING"))]
    assert starts == ["CRITICAL", "WARNING"]


def test_columns_are_aligned() -> None:
    assert table([("A", "B"), ("long one", "x"), ("s", "y")], 94) == ["A         B", "long one  x", "s         y"]
    assert table([("name", "x" * 60, "end")], 40) == ["name  " + "x" * 26 + "...  end"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59, "less than a minute"),
        (60, "1 minute"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (2 * 86400 - 1, "47 hours"),
        (2 * 86400, "2 days"),
        (-3 * 86400, "3 days"),
    ],
)
def test_span(seconds: int, text: str) -> None:
    assert core.span(datetime.timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1024, "1.0 KiB"), (1536 * 1024**2, "1.5 GiB"), (3 * 1024**5, "3072.0 TiB")]
)
def test_size(count: int, text: str) -> None:
    assert core.size(count) == text
