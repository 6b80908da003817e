# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that brings certbot's pair to a server, run as certbot runs it."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = Path(__file__).parents[3] / "roles" / "registry_tls" / "files" / "deploy_certificate.py"
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
RENEWAL = "# renew_before_expiry = 30 days\nversion = 2.1.0\n\n[renewalparams]\nserver = https://ca.example.com/dir\n"


class Issuer(NamedTuple):
    """A CA."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    pem: str


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Issuer | None,
    extension: x509.ExtensionType,
    lifetime: datetime.timedelta = 90 * DAY,
    age: datetime.timedelta = DAY,
) -> str:
    constraints = extension if isinstance(extension, x509.BasicConstraints) else x509.BasicConstraints(False, None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.name if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - age)
        .not_valid_after(NOW - age + lifetime - datetime.timedelta(seconds=1))
        .add_extension(constraints, critical=True)
    )
    if extension is not constraints:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def authority(subject: str, issuer: Issuer | None = None) -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    return Issuer(name(subject), key, sign(subject, key, issuer, x509.BasicConstraints(ca=True, path_length=None)))


ROOT = authority("Root")
MIDDLE = authority("Middle", ROOT)


class Host:
    """A lineage of certbot, a server's directory, and the settings that name them."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "tls"
        self.lineage = root / "letsencrypt" / "live" / "drydock"
        self.renewal = root / "letsencrypt" / "renewal" / "drydock.conf"
        self.settings = root / "acme" / "deploy.json"
        self.reloads = root / "reloads"
        self.program = root / "deploy"
        for folder in (self.directory, self.lineage, self.renewal.parent, self.settings.parent):
            folder.mkdir(parents=True)
        self.program.write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
        self.renewal.write_text(RENEWAL, encoding="utf-8")
        self.settle()

    def settle(self, *names: str, reload: str = "") -> None:
        settings = {
            "directory": str(self.directory),
            "lineage": str(self.lineage),
            "renewal": str(self.renewal),
            "names": list(names or ["registry.example.com"]),
            "group": os.getgid(),
            "reload_command": reload or f"/bin/sh -c 'echo reload >>{self.reloads}'",
            "drop_in": str(self.settings.parent / "drop-in.conf"),
        }
        self.settings.write_text(json.dumps(settings), encoding="utf-8")

    def obtain(
        self,
        *names: str,
        lifetime: datetime.timedelta = 90 * DAY,
        age: datetime.timedelta = DAY,
        chain: tuple[Issuer, ...] = (MIDDLE,),
    ) -> str:
        """As certbot leaves a renewal; return the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        alt_names = x509.SubjectAlternativeName([x509.DNSName(entry) for entry in names or ("registry.example.com",)])
        leaf = sign("leaf", key, MIDDLE, alt_names, lifetime, age)
        pem = leaf + "".join(issuer.pem for issuer in chain)
        (self.lineage / "fullchain.pem").write_text(pem, encoding="ascii")
        (self.lineage / "privkey.pem").write_text(key_pem(key), encoding="ascii")
        return pem

    def run(self, action: str = "deploy") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.program), str(self.settings), action], capture_output=True, text=True, check=False
        )

    def refused(self) -> str:
        done = self.run()
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def count_reloads(self) -> int:
        return len(self.reloads.read_text(encoding="ascii").splitlines()) if self.reloads.exists() else 0

    @property
    def served(self) -> str:
        return (self.directory / "tls.crt").read_text(encoding="ascii")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_new_pair_is_served_and_the_server_told_once(host: Host) -> None:
    pem = host.obtain()
    assert host.run().stdout == "changed\n"
    assert host.served == pem
    assert host.run().stdout == "unchanged\n"
    assert host.count_reloads() == 1


def test_both_files_change_by_one_link_and_are_private(host: Host) -> None:
    host.obtain()
    host.run()
    first = (host.directory / "current").readlink()
    pem = host.obtain()
    host.run()
    assert (host.directory / "current").readlink() != first
    assert str((host.directory / "tls.crt").readlink()) == "current/tls.crt"
    assert str((host.directory / "tls.key").readlink()) == "current/tls.key"
    assert host.served == pem
    assert (host.directory / "tls.key").stat().st_mode & 0o777 == 0o640
    # Within the directory, which a container may see alone.
    assert (host.directory / "tls.key").resolve().is_relative_to(host.directory.resolve())


def test_plain_files_become_a_generation(host: Host) -> None:
    (host.directory / "tls.crt").write_text("old certificate", encoding="ascii")
    (host.directory / "tls.key").write_text("old key", encoding="ascii")
    pem = host.obtain()
    assert host.run().stdout == "changed\n"
    assert host.served == pem
    kept = [path.read_text(encoding="ascii") for path in host.directory.glob("generations/*/tls.crt")]
    assert "old certificate" in kept


def test_few_generations_are_kept(host: Host) -> None:
    for _ in range(6):
        pem = host.obtain()
        host.run()
    assert host.served == pem
    assert len(list((host.directory / "generations").iterdir())) == 3


@pytest.mark.parametrize(
    ("lifetime", "minutes"),
    [(90 * DAY, 30 * 1440), (45 * DAY, 15 * 1440), (6 * DAY, 3 * 1440), (DAY / 24 * 160, 80 * 60)],
)
def test_certbot_is_told_when_it_is_due(host: Host, lifetime: datetime.timedelta, minutes: int) -> None:
    host.obtain(lifetime=lifetime)
    for _ in range(2):
        host.run()
        lines = host.renewal.read_text(encoding="utf-8").splitlines()
        assert lines == [f"renew_before_expiry = {minutes} minutes", *RENEWAL.splitlines()]
        host.obtain(lifetime=lifetime)


def test_broken_pairs_are_refused_and_the_old_one_stays(host: Host) -> None:
    pem = host.obtain()
    host.run()
    start = "The new certificate is not used and the old one stays: "

    host.obtain()
    (host.lineage / "privkey.pem").write_text(key_pem(ROOT.key), encoding="ascii")
    assert host.refused().startswith(f"{start}the key {host.lineage}/privkey.pem does not belong to")
    (host.lineage / "privkey.pem").write_text("", encoding="ascii")
    assert host.refused().startswith(start)
    host.obtain("other.example.com")
    assert "is not good for registry.example.com: Hostname mismatch" in host.refused()
    host.obtain(lifetime=DAY, age=2 * DAY)
    assert "certificate has expired" in host.refused()
    host.obtain(age=-DAY)
    assert "certificate is not yet valid" in host.refused()
    host.obtain(chain=(ROOT, MIDDLE))
    assert "has its chain out of order: its certificate 2 did not issue the one before it" in host.refused()
    host.obtain(chain=(authority("Other"),))
    assert "unable to get local issuer" in host.refused()
    (host.lineage / "fullchain.pem").write_text("", encoding="ascii")
    assert "holds no certificate" in host.refused()
    (host.lineage / "fullchain.pem").unlink()
    assert "No such file" in host.refused()

    assert host.served == pem
    assert host.count_reloads() == 1


def test_all_names_are_looked_at(host: Host) -> None:
    host.settle("registry.example.com", "*.wild.example.com")
    host.obtain("registry.example.com")
    assert "is not good for *.wild.example.com" in host.refused()
    host.obtain("registry.example.com", "*.wild.example.com")
    assert host.run().stdout == "changed\n"


def test_failed_reload_is_told_and_done_at_the_next_time(host: Host) -> None:
    host.settle(reload="/bin/sh -c 'echo nginx is not there; exit 3'")
    pem = host.obtain()
    sentence = "The new certificate is in place, but the server still has the old one: /bin/sh ended with 3 (nginx is not there).\n"
    assert host.refused() == sentence
    assert host.served == pem
    assert host.refused() == sentence
    host.settle()
    assert host.run().stdout == "unchanged\n"
    assert host.run().returncode == 0
    assert host.count_reloads() == 1
    # A server that was taken down: it reads the files when it comes back, and is told once it is there again.
    host.settle(reload="/nowhere/program")
    host.obtain()
    assert host.run().stdout == "changed\n"
    host.settle()
    assert host.run().stdout == "unchanged\n"
    assert host.count_reloads() == 2


def test_nothing_is_done_before_the_first_order(host: Host) -> None:
    host.renewal.unlink()
    assert host.run().stdout == "unchanged\n"
    assert not (host.directory / "tls.crt").exists()


def test_server_can_start_before_the_first_order(host: Host) -> None:
    host.renewal.unlink()
    assert host.run("install").stdout == "changed\n"
    placeholder = host.served
    found = x509.load_pem_x509_certificate(placeholder.encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["registry.example.com"]
    assert host.run("install").stdout == "unchanged\n"
    assert host.served == placeholder
    assert host.count_reloads() == 0


def test_pair_that_a_server_can_load_is_never_replaced(host: Host) -> None:
    host.obtain()
    host.run()
    served = host.served
    host.obtain("other.example.com")
    assert host.run("install").stdout == "unchanged\n"
    assert host.served == served


def test_broken_files_are_mended_from_the_lineage(host: Host) -> None:
    pem = host.obtain()
    host.run()
    (host.directory / "tls.key").resolve().write_text("cut in half", encoding="ascii")
    assert host.run("install").stdout == "changed\n"
    assert host.served == pem
    assert host.run("install").stdout == "unchanged\n"


def test_leaving_keeps_the_pair_and_nothing_else(host: Host) -> None:
    pem = host.obtain()
    host.run()
    key = (host.directory / "tls.key").read_text(encoding="ascii")
    assert host.run("leave").returncode == 0
    assert sorted(path.name for path in host.directory.iterdir()) == ["tls.crt", "tls.key"]
    assert not (host.directory / "tls.crt").is_symlink()
    assert host.served == pem
    assert (host.directory / "tls.key").read_text(encoding="ascii") == key
    assert (host.directory / "tls.key").stat().st_mode & 0o777 == 0o640
    for path in (host.lineage, host.renewal, host.settings.parent, host.program):
        assert not path.exists()
