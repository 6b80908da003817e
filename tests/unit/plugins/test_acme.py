# SPDX-License-Identifier: GPL-3.0-or-later
"""What the provider acme decides: settings, whether an order is due, whether it can succeed."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _acme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
SECOND = datetime.timedelta(seconds=1)


# ---- settings ----

ACME: dict[str, Any] = {
    "email": "admin@example.com",
    "directory_url": _acme.LETS_ENCRYPT,
    "staging_enabled": False,
    "challenge": "http-01",
    "webroot": "/var/lib/drydock/acme",
    "ca_certificate": "",
    "client_ca_certificate": "",
    "reload_command": "",
    "eab_key_id": "",
    "eab_key": "",
}
SETTINGS: dict[str, Any] = {"domain": "registry.example.com", "names": [], "key": {"type": "ECC"}}


def settings_problems(settings: dict[str, Any], acme: dict[str, Any]) -> list[str]:
    found = _acme.settings_problems({**SETTINGS, **settings, "acme": {**ACME, **acme}})
    for sentence in found:
        assert sentence.startswith("registry_tls_")
        assert sentence.endswith(".")
    return found


@pytest.mark.parametrize(
    ("settings", "acme"),
    [
        ({}, {}),
        ({"names": ["mirror.example.com"]}, {"staging_enabled": True}),
        ({"names": ["*.example.com"]}, {"challenge": "dns-01"}),
        ({"domain": "localhost.example.com"}, {"directory_url": "https://10.0.0.1:14000/dir"}),
        ({"key": {"type": "RSA"}}, {"reload_command": "/usr/sbin/nginx -s reload"}),
        ({"key": {"type": "RSA", "size": 2048}}, {"reload_command": "/usr/local/sbin/reload"}),
        ({}, {"eab_key_id": "kid/1=", "eab_key": "c2Vj-mV0_A=="}),
    ],
)
def test_settings_that_work(settings: dict[str, Any], acme: dict[str, Any]) -> None:
    assert settings_problems(settings, acme) == []


@pytest.mark.parametrize(
    ("settings", "acme", "part"),
    [
        ({}, {"email": ""}, "registry_tls_acme_email is empty: write"),
        ({}, {"email": "admin"}, "registry_tls_acme_email is 'admin': write one"),
        ({}, {"email": "a@example.com,b@example.com"}, "write one e-mail address"),
        ({}, {"directory_url": ""}, "registry_tls_acme_directory_url is '': write the https URL"),
        ({}, {"directory_url": "http://ca.example.com/dir"}, "write the https URL"),
        ({}, {"directory_url": "https:///dir"}, "write the https URL"),
        ({}, {"directory_url": "https://ca.example.com/dir", "staging_enabled": True}, "is Let's Encrypt's own"),
        ({"domain": "192.0.2.1"}, {}, "registry_tls_domain (drydock_domain) is '192.0.2.1', an IP address"),
        ({"names": ["2001:db8::1"]}, {"challenge": "dns-01"}, "registry_tls_names[0] is '2001:db8::1', an IP address"),
        ({"domain": "localhost"}, {}, "which every machine takes for itself"),
        ({"names": ["a.example.com", "Registry.LocalHost"]}, {}, "registry_tls_names[1] is 'Registry.LocalHost'"),
        ({"names": ["*.example.com"]}, {}, "a wildcard, which needs registry_tls_acme_challenge dns-01"),
        ({}, {"webroot": "acme"}, "registry_tls_acme_webroot is 'acme'"),
        ({}, {"webroot": "/var/../acme"}, "write an absolute path"),
        ({}, {"reload_command": "nginx -s reload"}, "write a program's absolute path"),
        ({"key": {"type": "RSA", "size": 1024}}, {}, "registry_tls_key.size is 1024: write 2048 or more"),
        ({}, {"ca_certificate": "/etc/ca.crt"}, "registry_tls_acme_ca_certificate is no PEM text"),
        (
            {},
            {"eab_key_id": "kid-1"},
            "registry_tls_acme_eab_key_id is set and registry_tls_acme_eab_key is not: write both",
        ),
        (
            {},
            {"eab_key": "c2VjcmV0"},
            "registry_tls_acme_eab_key is set and registry_tls_acme_eab_key_id is not: write both",
        ),
        ({}, {"eab_key_id": "kid 1", "eab_key": "c2VjcmV0"}, "registry_tls_acme_eab_key_id has a space, a quote or"),
        ({}, {"eab_key_id": "kid-1", "eab_key": "c2Vj+mV0"}, "registry_tls_acme_eab_key is not base64url"),
        ({}, {"eab_key_id": "kid-1", "eab_key": "c2VjcmV0\nserver = x"}, "registry_tls_acme_eab_key is not base64url"),
        ({}, {"client_ca_certificate": "ca"}, "registry_tls_acme_client_ca_certificate is no PEM text"),
    ],
)
def test_settings_that_lead_nowhere(settings: dict[str, Any], acme: dict[str, Any], part: str) -> None:
    found = settings_problems(settings, acme)
    assert len(found) == 1, found
    assert part in found[0]
    assert "c2Vj" not in found[0]


# ---- whether an order is due ----

RENEWAL = """\
renew_before_expiry = 43200 minutes
# renew_before_expiry = 30 days
version = 2.1.0
fullchain = /etc/letsencrypt/live/drydock/fullchain.pem

# Options used in the renewal process
[renewalparams]
account = 9bb284064c42c8b34552e2ad8cc5f9e8
server = https://ca.example.com/dir
authenticator = webroot
webroot_path = /var/lib/drydock/acme,
key_type = ecdsa
renew_hook = /usr/local/sbin/deploy /etc/deploy.json
[[webroot_map]]
registry.example.com = /var/lib/drydock/acme
server = /var/lib/drydock/acme
"""
WANTED: dict[str, Any] = {
    "names": ["registry.example.com"],
    "key": {"type": "ECC", "curve": "secp256r1"},
    "renew_now": False,
    "options": {
        "server": "https://ca.example.com/dir",
        "authenticator": "webroot",
        "webroot_path": "/var/lib/drydock/acme",
        "renew_hook": "/usr/local/sbin/deploy /etc/deploy.json",
        "required_profile": "",
    },
}


def certificate(
    lifetime: datetime.timedelta,
    left: datetime.timedelta,
    names: tuple[str, ...] = ("registry.example.com",),
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> str:
    """A certificate as an authority makes it: its last second belongs to its lifetime."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + left - lifetime + SECOND)
        .not_valid_after(NOW + left)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(entry) for entry in names]), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def reasons(pem: str, renewal: str = RENEWAL, **wanted: Any) -> list[str]:
    return _acme.reasons_to_order(pem, renewal, {**WANTED, **wanted}, NOW)


@pytest.mark.parametrize(
    ("lifetime", "last_day_without"),
    [(90, 30), (47, 47 / 3), (45, 15), (10, 10 / 3), (9.99, 9.99 / 2), (6, 3), (160 / 24, 80 / 24)],
)
def test_due_at_a_third_of_the_lifetime_or_half_of_a_short_one(lifetime: float, last_day_without: float) -> None:
    minute = datetime.timedelta(minutes=1)
    assert reasons(certificate(lifetime * DAY, last_day_without * DAY + minute)) == []
    assert "it ends on" in reasons(certificate(lifetime * DAY, last_day_without * DAY - minute))[0]


def test_expired() -> None:
    assert reasons(certificate(90 * DAY, -SECOND)) == ["it expired on 2029-12-31 23:59 UTC"]


@pytest.mark.parametrize(("pem", "renewal"), [("", RENEWAL), ("-----BEGIN", RENEWAL), (None, "")])
def test_nothing_that_certbot_could_renew(pem: str | None, renewal: str) -> None:
    found = certificate(90 * DAY, 60 * DAY) if pem is None else pem
    assert reasons(found, renewal) == ["there is none yet"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, []),
        ({"names": ["Registry.example.com"]}, []),
        ({"names": ["registry.example.com", "mirror.example.com"]}, ["its names changed"]),
        ({"names": ["mirror.example.com"]}, ["its names changed"]),
        ({"key": {}}, []),
        ({"key": {"type": "ECC", "curve": "secp384r1"}}, ["its kind of key changed"]),
        ({"key": {"type": "RSA"}}, ["its kind of key changed"]),
        ({"renew_now": True}, ["registry_tls_acme_renew_now is set"]),
        ({"options": {**WANTED["options"], "server": _acme.LETS_ENCRYPT}}, ["the directory changed"]),
        (
            {"options": {**WANTED["options"], "authenticator": "dns-route53", "webroot_path": ""}},
            ["the challenge changed", "the webroot changed"],
        ),
        ({"options": {**WANTED["options"], "renew_hook": "/bin/other"}}, ["the way to deploy it changed"]),
        ({"options": {**WANTED["options"], "required_profile": "shortlived"}}, ["its profile changed"]),
    ],
)
def test_other_wishes(wanted: dict[str, Any], expected: list[str]) -> None:
    assert reasons(certificate(90 * DAY, 60 * DAY), **wanted) == expected


def test_rsa_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = certificate(90 * DAY, 60 * DAY, key=key)
    assert reasons(pem, key={"type": "RSA", "size": 2048}) == []
    assert reasons(pem, key={"type": "RSA"}) == ["its kind of key changed"]


# ---- whether an order can succeed ----

HOST = {"host": "dock1", "directory": "https://ca.example.com/dir", "profile": "", "webroot": "/var/lib/drydock/acme"}


def directory_problems(found: dict[str, Any], **wanted: Any) -> list[str]:
    return _acme.reach_problems({"directory": found, "own_addresses": []}, {**HOST, **wanted})


def test_directory_that_serves() -> None:
    good = {"problem": "", "profiles": ["classic", "shortlived"], "external_account": False}
    assert directory_problems(good) == []
    assert directory_problems({**good, "external_account": True}, eab=True) == []
    assert directory_problems(good, profile="shortlived") == []


@pytest.mark.parametrize(
    ("found", "part"),
    [
        ({"problem": "name", "detail": "Name or service not known"}, "that dock1 cannot resolve"),
        ({"problem": "untrusted", "detail": "self-signed certificate"}, "in registry_tls_acme_ca_certificate"),
        ({"problem": "silent", "detail": "Connection refused"}, "does not answer dock1 (Connection refused)"),
        ({"problem": "status", "detail": "503"}, "is out of order (it answers 503): try again later"),
        ({"problem": "status", "detail": "404"}, "is no ACME directory (status 404)"),
        ({"problem": "other", "detail": "no JSON"}, "is no ACME directory (no JSON)"),
        ({"problem": "", "external_account": True}, "registry_tls_acme_eab_key_id and the key itself"),
    ],
)
def test_directory_that_does_not_serve(found: dict[str, Any], part: str) -> None:
    said = directory_problems(found)
    assert len(said) == 1
    assert said[0].startswith("registry_tls_acme_directory_url: https://ca.example.com/dir ")
    assert part in said[0]


@pytest.mark.parametrize(
    ("profiles", "part"), [([], "has no profiles"), (["classic", "tlsserver"], "has classic, tlsserver")]
)
def test_profile_that_the_directory_lacks(profiles: list[str], part: str) -> None:
    said = directory_problems({"problem": "", "profiles": profiles}, profile="shortlived")
    assert said == [
        f"registry_tls_acme_profile is 'shortlived', but https://ca.example.com/dir {part}: write one that it has, or leave it empty."
    ]


@pytest.mark.parametrize(
    ("found", "parts"),
    [
        ({"problem": ""}, []),
        (
            {"problem": "name", "detail": "Name or service not known", "addresses": []},
            ["registry.example.com leads nowhere", "leads to dock1 (10.0.0.5, or the public address in front of it)"],
        ),
        (
            {"problem": "silent", "detail": "Connection refused", "addresses": ["203.0.113.9"]},
            [
                "leads to 203.0.113.9, where nothing answers on port 80 (Connection refused)",
                "registry_proxy_http_port: 80",
            ],
        ),
        (
            {"problem": "status", "detail": "404", "addresses": ["203.0.113.9"]},
            [
                "leads to 203.0.113.9, where somebody else answers on port 80 (status 404)",
                "let the name lead to dock1 (10.0.0.5",
            ],
        ),
        (
            {"problem": "content", "detail": "another file", "addresses": ["10.0.0.5"]},
            ["leads to 10.0.0.5, which is dock1", "does not serve registry_tls_acme_webroot /var/lib/drydock/acme"],
        ),
    ],
)
def test_names_that_must_lead_here(found: dict[str, Any], parts: list[str]) -> None:
    report = {"own_addresses": ["10.0.0.5"], "names": {"registry.example.com": found}}
    said = _acme.reach_problems(report, HOST)
    assert len(said) == (1 if parts else 0)
    for part in parts:
        assert part in said[0]
