# SPDX-License-Identifier: GPL-3.0-or-later
"""What registry_proxy refuses before it touches a host, the names nginx answers to, and what its reload program decides."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._proxy import hosts, settings_problems
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
SETTINGS: dict[str, Any] = {
    "domain": "registry.example.com",
    "names": [],
    "https_port": 443,
    "http_port": 0,
    "listen_address": "",
    "realm": "Registry",
    "client_certificates": "off",
    "client_ca_certificate": "",
    "client_crl": "",
    "reload_program": "/usr/local/sbin/drydock-reload-proxy",
    "password_cache_seconds": 60,
    "failed_logins_per_second": 5,
    "trusted_networks": ["10.60.0.0/20", "2001:db8::/56"],
    "keepalive_seconds": 65,
    "client_networks": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"],
    "metrics_networks": ["10.9.0.0/16"],
    "quotas": [{"repositories": ["team-a/**"], "quota_gib": 0.5}, {"namespaces": ["home/*", "team-b"], "quota_gib": 5}],
    "storage_report": "/var/lib/drydock/maintenance/report.json",
    "log_directory": "/var/log/drydock",
    "audit_days": 90,
    "immutable_tags": [{"repositories": ["**"], "tags": ["*"], "except_tags": ["latest", "dev-*"]}],
    "mirrors": [
        {
            "name": "hub",
            "url": "https://registry-1.docker.io",
            "hosts": ["docker.io", "[2001:db8::1]:5000"],
            "names": ["hub.example.com"],
        }
    ],
    "blob_directory": "/var/lib/drydock/registry",
    "cors_origins": ["https://ui.example.com", "http://localhost:8080", "https://[2001:db8::1]:8443"],
}


def pem(thing: Any) -> str:
    return str(thing.public_bytes(serialization.Encoding.PEM).decode())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def ca(
    *,
    is_ca: bool = True,
    signs: bool = True,
    key: Any = KEY,
    issuer: str = "CA",
    issuer_key: Any = None,
    begins: datetime.timedelta = -DAY,
    ends: datetime.timedelta = DAY,
) -> str:
    others = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    usage = dict.fromkeys([*others.split(), "encipher_only", "decipher_only"], False)
    return pem(
        x509.CertificateBuilder(name(issuer), name("CA"), key.public_key(), 1)
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage, key_cert_sign=signs, crl_sign=signs), critical=True)
        .sign(issuer_key or key, hashes.SHA256())
    )


def crl(
    *, key: Any = KEY, issuer: str = "CA", begins: datetime.timedelta = -DAY, ends: datetime.timedelta = DAY
) -> str:
    builder = x509.CertificateRevocationListBuilder(name(issuer), NOW + begins, NOW + ends)
    return pem(builder.sign(key, hashes.SHA256()))


def problems(*, client_ca_may_come: bool = False, **settings: Any) -> list[str]:
    return settings_problems({**SETTINGS, **settings}, NOW, client_ca_may_come=client_ca_may_come)


@pytest.mark.parametrize(
    ("domain", "names", "expected"),
    [
        ("", [], []),
        ("Registry.Example.com", [], ["registry.example.com"]),
        (
            "registry",
            ["*.example.com", "10.0.0.5", "2001:DB8::0:1"],
            ["registry", "*.example.com", "10.0.0.5", "[2001:db8::1]"],
        ),
        ("2001:DB8::0:1", [], ["[2001:db8::1]"]),
        ("localhost", ["127.0.0.1", "localhost"], ["localhost", "127.0.0.1", "[::1]"]),
    ],
)
def test_names_are_written_as_nginx_compares_them(domain: str, names: list[str], expected: list[str]) -> None:
    assert hosts(domain, names) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"domain": ""},
        {"names": ["10.0.0.5", "::1", "*.example.com"]},
        {"listen_address": "2001:db8::1", "domain": "2001:db8::2"},
        {"http_port": 80, "listen_address": "192.0.2.1", "realm": "Our images 1.0"},
        # Without a mode, nobody reads them.
        {"client_ca_certificate": "x", "client_crl": "x"},
        *(
            {"client_certificates": mode, "client_ca_certificate": ca(), "client_crl": crl()}
            for mode in ("optional", "required", "both")
        ),
    ],
)
def test_good_settings_have_no_problems(settings: dict[str, Any]) -> None:
    assert problems(**settings) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"domain": "https://registry"}, ("registry_proxy_domain is 'https://registry'", "without scheme")),
        ({"domain": "*.example.com"}, ("registry_proxy_domain",)),
        ({"domain": "a; return 200"}, ("registry_proxy_domain",)),
        ({"names": ["a:443"]}, ("registry_proxy_names holds 'a:443'",)),
        ({"names": ["a b"]}, ("registry_proxy_names",)),
        ({"names": ["default"]}, ("registry_proxy_names holds 'default'",)),
        ({"names": ["10.0.0.5"], "domain": ""}, ("registry_proxy_domain is empty",)),
        ({"https_port": 0}, ("registry_proxy_https_port is 0", "65535")),
        ({"https_port": 65536}, ("registry_proxy_https_port",)),
        ({"http_port": -1}, ("registry_proxy_http_port is -1",)),
        ({"http_port": 443}, ("as registry_proxy_https_port",)),
        ({"http_port": 80, "domain": ""}, ("registry_proxy_domain, which is empty",)),
        ({"listen_address": "eth0"}, ("registry_proxy_listen_address is `eth0`", "IPv4 or IPv6 address")),
        ({"listen_address": "fe80::1%eth0"}, ("registry_proxy_listen_address is `fe80::1%eth0`",)),
        ({"client_networks": ["10.0.0.1/8"]}, ("registry_proxy_client_networks has `10.0.0.1/8`", "host bits")),
        ({"client_networks": ["10.0.0.0/8; }"]}, ("registry_proxy_client_networks", "no network")),
        ({"metrics_networks": ["10.0.0.1/8"]}, ("registry_proxy_metrics_networks has `10.0.0.1/8`", "host bits")),
        ({"cors_origins": ["*"]}, ("registry_proxy_cors_origins has `*`", "no `*`")),
        ({"cors_origins": ["null"]}, ("registry_proxy_cors_origins",)),
        ({"cors_origins": ["https://ui.example.com/"]}, ("registry_proxy_cors_origins", "no path")),
        ({"cors_origins": ["https://UI.example.com"]}, ("registry_proxy_cors_origins", "small letters")),
        ({"cors_origins": ["https://a 1; default x"]}, ("registry_proxy_cors_origins",)),
        ({"cors_origins": ["https://ui.example.com:443"]}, ("leave out :443",)),
        ({"cors_origins": ["http://ui.example.com:80"]}, ("leave out :80",)),
        ({"listen_address": "300.1.1.1"}, ("registry_proxy_listen_address",)),
        ({"realm": 'a"; b'}, ("registry_proxy_realm",)),
        ({"realm": "off"}, ("registry_proxy_realm", "not `off`")),
        ({"reload_program": "reload"}, ("registry_proxy_reload_program", "absolute path")),
        ({"reload_program": "/a b"}, ("registry_proxy_reload_program",)),
        ({"password_cache_seconds": -1}, ("registry_proxy_password_cache_seconds is -1", "or 0")),
        ({"password_cache_seconds": 3601}, ("registry_proxy_password_cache_seconds", "3600")),
        ({"trusted_networks": ["0.0.0.0/0"]}, ("registry_proxy_trusted_networks has 0.0.0.0/0", "everybody")),
        ({"trusted_networks": ["::/0"]}, ("registry_proxy_trusted_networks has ::/0", "everybody")),
        ({"trusted_networks": ["10.0.0.1/8"]}, ("registry_proxy_trusted_networks has `10.0.0.1/8`", "host bits")),
        ({"trusted_networks": ["10.0.0.0/8;"]}, ("registry_proxy_trusted_networks has `10.0.0.0/8;`", "no network")),
        ({"keepalive_seconds": 0}, ("registry_proxy_keepalive_seconds is 0", "from 1")),
        ({"keepalive_seconds": 86401}, ("registry_proxy_keepalive_seconds is 86401", "86400")),
        ({"failed_logins_per_second": 0}, ("registry_proxy_failed_logins_per_second is 0", "from 1")),
        *(
            (
                {
                    "immutable_tags": [
                        {"repositories": ["**"], "tags": ["v*"]},
                        {"repositories": ["a"], "tags": ["*"], **wrong},
                    ]
                },
                words,
            )
            for wrong, words in (
                ({"repositories": []}, ("repositories of entry 2 in registry_proxy_immutable_tags is empty", "['**']")),
                (
                    {"repositories": ["A"]},
                    ("entry 2 in registry_proxy_immutable_tags holds the pattern 'A'", "write 'a'"),
                ),
                ({"tags": []}, ("tags of entry 2 in registry_proxy_immutable_tags is empty", "['*']")),
                ({"tags": "v1"}, ("tags of entry 2 in registry_proxy_immutable_tags is not a list", "['v1']")),
                ({"tags": [1.0]}, ("holds the pattern 1.0", "put it in quotes")),
                ({"tags": ["v1'; x"]}, ("no tag can match", "'*'")),
                ({"tags": ["-v"]}, ("no tag can match",)),
                ({"tags": ["v" * 129]}, ("1 to 128",)),
                ({"except_tags": []}, ("except_tags of entry 2", "leave it out")),
                (
                    {"except_tags": ["a/b"]},
                    ("except_tags of entry 2 in registry_proxy_immutable_tags holds", "no tag can match"),
                ),
            )
        ),
        *(
            ({"quotas": [{"repositories": ["a"], "quota_gib": 1}, {"quota_gib": 1, **wrong}]}, words)
            for wrong, words in (
                ({}, ("Entry 2 in registry_proxy_quotas has neither", "`namespaces` for those")),
                ({"repositories": ["b"], "namespaces": ["c"]}, ("Entry 2 in registry_proxy_quotas has both",)),
                (
                    {"repositories": []},
                    ("list repositories of entry 2 in registry_proxy_quotas is empty", "at least one"),
                ),
                ({"repositories": ["A"]}, ("entry 2 in registry_proxy_quotas holds the pattern 'A'", "write 'a'")),
                ({"namespaces": ["home/**"]}, ("namespaces of entry 2 in registry_proxy_quotas has '**'", "'home/*'")),
                (
                    {"repositories": ["a"]},
                    ("Entries 1 and 2 in registry_proxy_quotas have the same repositories", "leave one"),
                ),
                (
                    {"namespaces": ["b"], "quota_gib": 0},
                    ("quota_gib of entry 2 in registry_proxy_quotas is 0", "above 0"),
                ),
                ({"namespaces": ["b"], "quota_gib": "much"}, ("quota_gib of entry 2", "above 0")),
                ({"namespaces": ["b"], "quota_gib": float("nan")}, ("quota_gib of entry 2", "above 0")),
            )
        ),
        ({"log_directory": "/var/log/dry dock"}, ("registry_proxy_log_directory", "absolute path", "/var/log/drydock")),
        ({"log_directory": "logs"}, ("registry_proxy_log_directory", "absolute path")),
        ({"log_directory": "/log"}, ("registry_proxy_log_directory", "of its own")),
        ({"audit_days": 0}, ("registry_proxy_audit_days is 0", "from 1 on")),
        ({"storage_report": ""}, ("registry_proxy_quotas has quotas", "registry_maintenance", "ECS")),
        ({"blob_directory": ""}, ("registry_proxy_mirrors has mirrors", "registry_proxy_blob_directory is empty")),
        *(
            (
                {"mirrors": [{"name": "hub", "url": "https://a", "hosts": ["a"], "names": []}, {**good, **wrong}]},
                ("registry_proxy_mirrors has", "entry 2", "as they are in names of images"),
            )
            for good in [{"name": "b", "url": "https://b", "hosts": ["b"], "names": ["b.example.com"]}]
            for wrong in ({"name": "b'"}, {"url": "https://b/$host"}, {"hosts": ["b\\"]}, {"names": ["b c"]})
        ),
        ({"failed_logins_per_second": 1001}, ("registry_proxy_failed_logins_per_second", "1000")),
    ],
)
def test_settings_that_lead_nowhere_are_refused(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    (sentence,) = problems(**settings)
    for word in words:
        assert word in sentence


IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000001 02 40 00 80     eth0
"""


@pytest.mark.parametrize(
    ("settings", "if_inet6", "words"),
    [
        ({"listen_address": "2001:db8:0::1", "domain": "::1"}, IF_INET6, ()),
        ({"listen_address": "192.0.2.1"}, "", ()),
        (
            {"listen_address": "2001:db8::2"},
            IF_INET6,
            ("registry_proxy_listen_address is 2001:db8::2", "no IPv6 address of this host"),
        ),
        ({"listen_address": "::1"}, "", ("registry_proxy_listen_address is ::1",)),
        ({"domain": "2001:db8::9"}, "", ("registry_proxy_domain is 2001:db8::9", "this host has no IPv6")),
        ({"domain": "2001:db8::9"}, IF_INET6, ()),
    ],
)
def test_a_host_without_the_ipv6_address_is_told_of(
    settings: dict[str, Any], if_inet6: str, words: tuple[str, ...]
) -> None:
    found = settings_problems({**SETTINGS, **settings}, NOW, client_ca_may_come=False, if_inet6=if_inet6)
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


OTHER = ec.generate_private_key(ec.SECP256R1())
KEY_TEXT = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


@pytest.mark.parametrize(
    ("ca_text", "crl_text", "words"),
    [
        (ca(), "", "registry_proxy_client_crl is empty, but registry_proxy_client_certificates is optional"),
        ("", crl(), "registry_proxy_client_ca_certificate is empty"),
        ("/etc/ca.crt", crl(), "registry_proxy_client_ca_certificate is no PEM text"),
        (ca() + KEY_TEXT, crl(), "holds a private key"),
        (ca() + ca(), crl(), "holds 2 certificates"),
        (ca(is_ca=False), crl(), "which is no CA"),
        (ca(signs=False), crl(), "may not sign"),
        (ca(issuer="Root", issuer_key=OTHER), crl(), "is the intermediate CA"),
        (ca(begins=-3 * DAY, ends=-DAY), crl(), "renew it"),
        (ca(begins=DAY, ends=2 * DAY), crl(), "clock"),
        (ca(), "/etc/crl.pem", "registry_proxy_client_crl is no PEM text"),
        (ca(), crl() + crl(), "holds 2 lists"),
        (ca(), crl(key=OTHER), "was not signed by 'CN=CA'"),
        (ca(), crl(issuer="Other", key=OTHER), "but by 'CN=Other'"),
        (ca(), crl(begins=-3 * DAY, ends=-DAY), "is out of date since 2029-12-31"),
        (ca(), crl(begins=DAY, ends=2 * DAY), "is not valid before 2030-01-02"),
    ],
)
def test_client_trust_that_nginx_could_not_use_is_refused(ca_text: str, crl_text: str, words: str) -> None:
    (sentence,) = problems(client_certificates="optional", client_ca_certificate=ca_text, client_crl=crl_text)
    assert words in sentence
    assert "PRIVATE KEY" not in sentence


def test_a_dry_run_may_come_before_the_ca() -> None:
    assert problems(client_certificates="both", client_ca_may_come=True) == []
    assert len(problems(client_certificates="both")) == 2
    # What is there is checked all the same.
    there = problems(client_certificates="both", client_ca_certificate="x", client_crl="x", client_ca_may_come=True)
    assert len(there) == 1


# ---- the reload program --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(host_program: Callable[[str], Any]) -> Any:
    """Import the program that the role installs."""
    return host_program("registry_proxy/files/reload_proxy.py")


@pytest.fixture
def folders(tmp_path: Path, program: Any) -> dict[str, Path]:
    """Folders as the container has them, without client certificates."""
    made = {target: tmp_path / Path(target).name for target in (program.CONFIGURATION, program.TLS, program.AUTH)}
    for folder in made.values():
        folder.mkdir()
    for folder, file in program.READ_AT_LOAD:
        if not file.startswith("client"):
            (made[folder] / file).write_text(file, encoding="ascii")
    return made


def test_each_file_is_part_of_the_name(program: Any, folders: dict[str, Path]) -> None:
    names = {program.fingerprint(folders)}
    for folder, file in program.READ_AT_LOAD:
        path = folders[folder] / file
        before = path.read_bytes() if path.exists() else None
        path.write_text("another", encoding="ascii")
        names.add(program.fingerprint(folders))
        path.write_text("", encoding="ascii")
        names.add(program.fingerprint(folders))
        path.unlink()
        if before is not None:
            names.add(program.fingerprint(folders))
            path.write_bytes(before)
    assert len(names) == 1 + 3 * len(program.READ_AT_LOAD) - 2
    assert program.fingerprint(folders) in names


def test_what_was_accepted_comes_back_in_the_place_of_what_was_refused(program: Any, folders: dict[str, Path]) -> None:
    proxy = program.Proxy(folders, ("drydock-proxy",))
    key, crl = folders[program.TLS] / "tls.key", folders[program.CONFIGURATION] / "client.crl"
    # Renewed on the host, it is reached through links.
    (folders[program.TLS] / "current.key").write_text("accepted", encoding="ascii")
    key.unlink()
    key.symlink_to("current.key")
    (folders[program.TLS] / "current.key").chmod(0o640)
    # Nothing was accepted yet.
    program.put_back(proxy)
    name = program.fingerprint(folders)
    program.keep(proxy)
    program.keep(proxy)
    for folder, file in program.READ_AT_LOAD:
        (folders[folder] / file).write_text("refused", encoding="ascii")
    program.put_back(proxy)
    assert program.fingerprint(folders) == name
    assert key.is_symlink()
    assert key.stat().st_mode & 0o777 == 0o640
    assert not crl.exists()
    # Nobody else reads the copies, and there are those of one state only.
    assert program.kept(proxy).stat().st_mode & 0o777 == 0o700
    key.write_text("accepted later", encoding="ascii")
    program.keep(proxy)
    assert [path.name for path in program.kept(proxy).iterdir()] == [program.fingerprint(folders)]


def test_content_that_moves_to_another_file_changes_the_name(program: Any, folders: dict[str, Path]) -> None:
    configuration = folders[program.CONFIGURATION]
    (configuration / "client-ca.crt").write_text("ab", encoding="ascii")
    (configuration / "client.crl").write_text("c", encoding="ascii")
    before = program.fingerprint(folders)
    (configuration / "client-ca.crt").write_text("a", encoding="ascii")
    (configuration / "client.crl").write_text("bc", encoding="ascii")
    assert program.fingerprint(folders) != before


def test_certificates_are_asked_for_only_with_a_ca_and_its_list(program: Any, folders: dict[str, Path]) -> None:
    proxy = program.Proxy(folders, ("drydock-proxy",))
    configuration = folders[program.CONFIGURATION]
    for present in ((), ("client-ca.crt",), ("client.crl",), ("client-ca.crt", "client.crl")):
        for file in ("client-ca.crt", "client.crl"):
            (configuration / file).unlink(missing_ok=True)
        for file in present:
            (configuration / file).write_text("x", encoding="ascii")
        conf = program.wanted_conf(proxy)
        assert ("ssl_verify_client off;" in conf) == (len(present) < 2)
        assert ("ssl_crl" in conf) == (len(present) == 2)
        # No session is carried on where it would stand for a certificate.
        assert ("ssl_session_cache off;" in conf) == (len(present) == 2)
        assert (f"shared:tls_{program.fingerprint(folders)}:" in conf) == (len(present) < 2)


def test_each_change_gives_another_secret_that_the_name_does_not_tell(program: Any, folders: dict[str, Path]) -> None:
    secrets = {program.secret(folders)}
    for folder, file in program.READ_AT_LOAD:
        (folders[folder] / file).write_text("another", encoding="ascii")
        secrets.add(program.secret(folders))
    assert len(secrets) == 1 + len(program.READ_AT_LOAD)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in secrets)
    secret = program.secret(folders)
    assert f"set $password_cache_secret {secret};" in program.wanted_conf(program.Proxy(folders, ("drydock-proxy",)))
    assert program.fingerprint(folders) not in secret
    # The same again without anything stored, until the key is another one.
    assert program.secret(folders) == secret
    (folders[program.TLS] / "tls.key").write_text("renewed", encoding="ascii")
    assert program.secret(folders) != secret


def inspected(**changes: Any) -> dict[str, Any]:
    targets = ("/etc/drydock/proxy", "/etc/drydock/tls", "/etc/drydock/auth", "/run/drydock")
    return {
        "Name": "/drydock-proxy",
        "State": {"Running": True, "Restarting": False},
        "Mounts": [{"Destination": target, "Source": f"/srv{target}"} for target in targets],
        "HostConfig": {"NetworkMode": "host"},
        **changes,
    }


def test_container_tells_its_folders_and_whether_it_can_load(program: Any) -> None:
    proxy = program.proxy_of([inspected()])
    assert proxy.running == ("drydock-proxy",)
    assert str(proxy.conf()) == "/srv/etc/drydock/proxy/loaded.conf"
    for state in ({"Running": False, "Restarting": False}, {"Running": True, "Restarting": True}):
        assert program.proxy_of([inspected(State=state)]).running == ()
    # As before nginx had the host's network.
    assert program.proxy_of([inspected(HostConfig={"NetworkMode": "drydock-proxy"})]).running == ()
    with pytest.raises(program.Failed, match="has no /etc/drydock/proxy"):
        program.proxy_of([inspected(Mounts=[])])


def test_both_load_where_one_takes_the_place_of_another(program: Any) -> None:
    old = inspected(Name="/drydock-proxy-old")
    assert program.proxy_of([inspected(), old]).running == ("drydock-proxy", "drydock-proxy-old")
    # As a run leaves it that was killed before the new one was made, or where that one cannot start.
    assert program.proxy_of([old]).running == ("drydock-proxy-old",)
    stopped = inspected(State={"Running": False, "Restarting": False})
    assert program.proxy_of([stopped, old]).running == ("drydock-proxy-old",)


def fake_docker(folder: Path, *lines: str) -> None:
    """Put a program in the place of Docker's client."""
    path = folder / "docker"
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n", encoding="ascii")
    path.chmod(0o755)


def test_warnings_of_docker_are_no_failure(program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found.json").write_text(json.dumps([inspected()]), encoding="ascii")
    fake_docker(
        tmp_path,
        "echo 'WARNING: Error loading config file' >&2",
        f'[ "$3" = drydock-proxy ] && exec cat {tmp_path}/found.json',
        'echo "Error response from daemon: No such container: $3" >&2; exit 1',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert program.find_proxy().running == ("drydock-proxy",)


def test_docker_that_fails_without_a_word_is_not_taken_for_no_container(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(program.Failed, match="cannot tell whether there is a container drydock-proxy"):
        program.find_proxy()


@pytest.mark.parametrize(
    ("listen", "address", "port"),
    [
        ("0.0.0.0:443 ssl default_server reuseport", "127.0.0.1", 443),
        ("192.0.2.1:8443 ssl default_server reuseport so_keepalive=60s::", "192.0.2.1", 8443),
        ("[2001:db8::1]:8443 ssl default_server reuseport", "2001:db8::1", 8443),
    ],
)
def test_configuration_tells_where_nginx_answers(
    program: Any, folders: dict[str, Path], listen: str, address: str, port: int
) -> None:
    conf = folders[program.CONFIGURATION] / "nginx.conf"
    others = "listen unix:/tmp/x.sock;\nlisten 0.0.0.0:80 default_server;\n# listen 0.0.0.0:1 ssl\nlisten [::]:2 ssl;"
    conf.write_text(f"{others}\n        listen {listen};\n", encoding="ascii")
    assert program.Proxy(folders, ("drydock-proxy",)).listens() == (address, port)
    conf.write_text(others, encoding="ascii")
    with pytest.raises(program.Failed, match="does not say where nginx listens"):
        program.Proxy(folders, ("drydock-proxy",)).listens()


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('{"users": {}, "anonymous": null}', ""),
        ('{"users": {"a": {"access": "pull", "repositories": ["**"]}}, "anonymous": {"repositories": ["x"]}}', ""),
        ("null", "an object with `users` and `anonymous`"),
        ("[]", "an object with"),
        ("{}", "an object with"),
        ('"x"', "an object with"),
        ('{"users": null, "anonymous": null}', "an object with"),
        ('{"users": []}', "an object with"),
        ('{"users": {}}', "an object with"),
        ('{"users": {}, "anonymous": true}', "`anonymous` null, or an object"),
        ('{"users": {}, "anonymous": {"repositories": "**"}}', "`anonymous` null, or an object"),
        ('{"users": {"a": null}, "anonymous": null}', 'the user "a" an access'),
        ('{"users": {"a": {"access": "root", "repositories": []}}, "anonymous": null}', 'the user "a" an access'),
        ('{"users": {"a": {"access": [], "repositories": []}}, "anonymous": null}', 'the user "a" an access'),
        ('{"users": {"a": {"access": "pull", "repositories": [1]}}, "anonymous": null}', 'the user "a" an access'),
        ("{ no json", "is no JSON"),
    ],
)
def test_rules_that_say_nothing_are_refused(program: Any, folders: dict[str, Path], rules: str, words: str) -> None:
    proxy = program.Proxy(folders, ())
    (folders[program.AUTH] / "access.json").write_text(rules, encoding="utf-8")
    conf = folders[program.CONFIGURATION] / "nginx.conf"
    # Where nginx does not read them, they are nobody's business.
    program.refuse_rules(proxy)
    conf.write_text("    js_preload_object access_rules from /etc/drydock/auth/access.json;", encoding="utf-8")
    if not words:
        program.refuse_rules(proxy)
        return
    with pytest.raises(program.Failed, match=re.escape(words)) as refused:
        program.refuse_rules(proxy)
    assert str(folders[program.AUTH] / "access.json") in str(refused.value)


def test_complaint_names_the_cause(program: Any) -> None:
    text = 'nginx: [warn] x\nnginx: [emerg] cannot load "a.crt"\nnginx: configuration file nginx.conf test failed\n'
    assert program.complaint(text) == 'nginx: [emerg] cannot load "a.crt"'
    assert program.complaint("one\ntwo") == "two"
    assert program.complaint("") == "no reason given"
