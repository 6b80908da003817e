# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA in a folder: what a run finds, refuses and has to do. Every CA here is a real one, made with the cryptography library."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.client_ca_state import client_ca_state
from ansible_collections.drydock.registry.plugins.module_utils import _client_ca as client_ca
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
PASSPHRASE = "open sesame"


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def pem(key: ec.EllipticCurvePrivateKey, passphrase: str = "") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class Folder:
    """A CA's folder as the role leaves it."""

    def __init__(self, path: Path, passphrase: str = "") -> None:
        self.path = path
        self.key = ec.generate_private_key(ec.SECP256R1())
        for name in ("issued", "revoked"):
            (path / name).mkdir(parents=True, mode=0o700)
        path.chmod(0o700)
        self.write("ca.key", pem(self.key, passphrase))
        self.ca = self.sign("the CA", self.key, 3650, "ca.crt")
        self.crl({})

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).parent.mkdir(exist_ok=True, mode=0o700)
        (self.path / name).write_bytes(content)
        (self.path / name).chmod(0o600)

    def sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, days: float, file: str = "", begin: float = 0
    ) -> x509.Certificate:
        made = (
            x509.CertificateBuilder(named("the CA"), named(name), key.public_key(), x509.random_serial_number())
            .not_valid_before(NOW + begin * DAY)
            .not_valid_after(NOW + days * DAY)
            .sign(self.key, hashes.SHA256())
        )
        text = made.public_bytes(serialization.Encoding.PEM)
        self.write(file or f"issued/{client_ca.serial_text(made.serial_number)}.crt", text)
        return made

    def issue(self, name: str, days: float = 90, begin: float = -1) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.sign(name, key, days, begin=begin)
        self.write(f"{name}/client.key", pem(key))
        self.write(f"{name}/client.cert", made.public_bytes(serialization.Encoding.PEM))
        return made

    def revoke(self, serial: int, reason: str = "superseded") -> None:
        content = {"date": NOW.strftime(client_ca.ASN1_TIME), "reason": reason}
        self.write(f"revoked/{client_ca.serial_text(serial)}.json", json.dumps(content).encode())

    def crl(self, entries: dict[int, x509.ReasonFlags], days: float = 365) -> None:
        builder = (
            x509.CertificateRevocationListBuilder(named("the CA"))
            .last_update(NOW - 1000 * DAY)
            .next_update(NOW + days * DAY)
        )
        for serial, flag in entries.items():
            entry = x509.RevokedCertificateBuilder(serial, NOW - DAY).add_extension(
                x509.CRLReason(flag), critical=False
            )
            builder = builder.add_revoked_certificate(entry.build())
        self.write("crl.pem", builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def state(self, **options: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "passphrase": "",
            "valid_days": 90,
            "crl_valid_days": 365,
            "server_ca_file": str(self.path.parent / "ca.crt"),
        }
        return client_ca_state(str(self.path), **{**settings, **options})

    def problems(self, **options: Any) -> list[str]:
        found = self.state(**options)["problems"]
        assert all(problem.endswith(".") and "\n" not in problem for problem in found)
        return list(found)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "clients")


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


# --- Names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        ("", []),
        (" , ", []),
        ("ci", ["ci"]),
        ("ci, build,", ["ci", "build"]),
        ([], []),
        (["ci", "build"], ["ci", "build"]),
        (["ci,build", "late"], ["ci", "build", "late"]),
        ([7], ["7"]),
        (7, ["7"]),
    ],
)
def test_names(value: object, names: list[str]) -> None:
    assert client_ca.names(value) == names


@pytest.mark.parametrize("name", ["a", "7", "build@ci-1.example.org", "x" * 64, "A_b"])
def test_good_name(name: str) -> None:
    assert client_ca.name_problem(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        "-a",
        ".a",
        "_a",
        "@a",
        "a b",
        "a/b",
        "../a",
        "ä",
        "a\n",
        "a,b",
        "ca.key",
        "Issued",
        "pending",
        "CRL.pem",
    ],
)
def test_bad_name(name: str) -> None:
    assert "write" in client_ca.name_problem(name) or "choose another" in client_ca.name_problem(name)


# --- What is refused ---------------------------------------------------------------------------------------------


def test_empty_controller(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"passphrase": "", "valid_days": 90, "crl_valid_days": 365, "server_ca_file": "/none"}
    found = client_ca_state(str(tmp_path / "none"), **settings, issue="ci")
    assert (found["problems"], found["exists"], found["certificates"], found["crl"]) == ([], False, [], "")
    assert found["ca_reasons"]
    found = client_ca_state(str(tmp_path / "none"), **settings, revoke="ci")
    assert "No certificate has been issued yet" in only(found["problems"])


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"issue": "ci"}, "'ci' has a certificate already, until"),
        ({"issue": "late,late"}, "'late' is to be issued 2 times"),
        ({"issue": "../late"}, "'../late' is no name for a certificate"),
        ({"issue": "ca.crt"}, "'ca.crt' is a file of the CA's own folder"),
        ({"renew": "late"}, "'late' has no certificate to renew: issue one. There are certificates of ci, gone."),
        ({"renew": "gone"}, "All certificates of 'gone' are revoked: issue a new one"),
        ({"renew": "ci", "revoke": "ci"}, "'ci' is to be renewed and revoked"),
        ({"renew": "ci", "issue": "ci"}, "'ci' is to be renewed and issued"),
        ({"revoke": "late"}, "'late' has no certificate to revoke"),
        ({"valid_days": 0}, "registry_client_ca_valid_days is 0"),
        ({"ca_valid_days": 90}, "registry_client_ca_ca_valid_days is 90, but the CA must outlive"),
        ({"crl_valid_days": 1}, "registry_client_ca_crl_valid_days is 1"),
        ({"passphrase": "x"}, "is not encrypted, but registry_client_ca_passphrase is set"),
    ],
)
def test_bad_request(folder: Folder, request_: dict[str, Any], words: str) -> None:
    folder.issue("ci")
    folder.revoke(folder.issue("gone").serial_number)
    assert words in only(folder.problems(**request_))


@pytest.mark.parametrize(
    "request_",
    [{}, {"issue": "late"}, {"renew": "ci"}, {"revoke": "gone"}, {"issue": "gone"}, {"revoke": "ci", "issue": "ci"}],
)
def test_good_request(folder: Folder, request_: dict[str, Any]) -> None:
    folder.issue("ci")
    folder.revoke(folder.issue("gone").serial_number)
    assert folder.problems(**request_) == []


def test_relative_folder() -> None:
    found = client_ca_state("clients", passphrase="", valid_days=90, crl_valid_days=365, server_ca_file="/none")
    assert "write an absolute path" in only(found["problems"])


def remove(*names: str) -> Callable[[Folder], None]:
    def act(folder: Folder) -> None:
        for name in names:
            path = folder.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def put(name: str, content: bytes) -> Callable[[Folder], None]:
    return lambda folder: folder.write(name, content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove("ca.key"), "ca.key is missing, but certificates were signed with it: put it back from a backup"),
        (remove("ca.key", "ca.crt"), "ca.key is missing, but certificates were signed with it"),
        (remove("ca.key", "issued"), "ca.key is missing, but certificates were signed with it"),
        (put("ca.key", b""), "ca.key is missing, but certificates were signed with it"),
        (put("ca.key", b"no key"), "ca.key is no private key"),
        (
            put("ca.key", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"),
            "ca.key is no private key that can",
        ),
        (put("ca.key", pem(ec.generate_private_key(ec.SECP256R1()))), "ca.key is not the key of"),
        (put("ca.crt", b"no certificate"), "ca.crt is no certificate: put it back from a backup, or delete it"),
        (put("issued/0A.crt", b"no certificate"), "issued/0A.crt is no certificate: put it back from a backup."),
        (put("issued/0A.crt", b""), "issued/0A.crt is no certificate"),
        (put("revoked/0A.json", b""), "0A.json does not say when and why"),
        (put("revoked/0A.json", b"[]"), "0A.json does not say when and why"),
        (put("revoked/0A.json", b'{"date": "yesterday", "reason": "superseded"}'), "0A.json does not say when and why"),
        (
            put("revoked/0A.json", b'{"date": "20260101000000Z", "reason": "anger"}'),
            "0A.json does not say when and why",
        ),
        (
            put("revoked/x.json", b'{"date": "20260101000000Z", "reason": "superseded"}'),
            "x.json does not say when and why",
        ),
        (remove("revoked", "crl.pem"), "so nobody knows which certificates were revoked"),
    ],
)
def test_spoilt_folder(folder: Folder, spoil: Callable[[Folder], None], words: str) -> None:
    folder.issue("ci")
    spoil(folder)
    assert words in only(folder.problems())


def test_folder_that_is_a_file(folder: Folder) -> None:
    shutil.rmtree(folder.path)
    folder.path.write_text("", encoding="utf-8")
    assert "cannot be read (Not a directory)" in only(folder.problems())


@pytest.mark.parametrize("name", ["ca.key", "ca.crt", "crl.pem"])
def test_file_that_is_a_folder(folder: Folder, name: str) -> None:
    """As root reads every file, a folder stands for one that cannot be read."""
    (folder.path / name).unlink()
    (folder.path / name).mkdir()
    assert f"{name} cannot be read (Is a directory): run as the user who owns it" in only(folder.problems())


@pytest.mark.parametrize(
    ("made_with", "passphrase", "words"),
    [
        (PASSPHRASE, "", "ca.key is encrypted: set registry_client_ca_passphrase"),
        (PASSPHRASE, "another", "registry_client_ca_passphrase is not the passphrase of"),
        (PASSPHRASE, PASSPHRASE, ""),
    ],
)
def test_passphrase(tmp_path: Path, made_with: str, passphrase: str, words: str) -> None:
    problems = Folder(tmp_path / "clients", made_with).problems(passphrase=passphrase)
    if not words:
        assert problems == []
        return
    assert words in only(problems)
    assert PASSPHRASE not in problems[0]
    assert "another" not in problems[0]


def test_ephemeral(folder: Folder, tmp_path: Path) -> None:
    state = client_ca.read_state(str(folder.path), "")
    assert client_ca.ephemeral_problems(state, "ci", str(tmp_path)) == []
    assert "is no name" in only(client_ca.ephemeral_problems(state, "c i", str(tmp_path)))
    assert "a folder that exists" in only(client_ca.ephemeral_problems(state, "ci", "relative"))
    empty = client_ca.read_state(str(tmp_path / "none"), "")
    assert "There is no CA in" in only(client_ca.ephemeral_problems(empty, "ci", str(tmp_path)))


# --- What a run has to do ----------------------------------------------------------------------------------------


def test_nothing_to_do(folder: Folder) -> None:
    folder.issue("ci")
    found = folder.state()
    due = (
        "problems",
        "missing_folders",
        "ca_reasons",
        "crl_reasons",
        "resumable",
        "dead_bundles",
        "stale_bundles",
        "open_files",
    )
    assert {key: found[key] for key in due} == {key: [] for key in due}
    assert not found["pending"]


def test_ca_that_ends_before_a_certificate_would(folder: Folder) -> None:
    assert folder.state(valid_days=3651, ca_valid_days=9000)["ca_reasons"] == ["fewer than 3651 days are left"]
    (folder.path / "ca.crt").unlink()
    found = folder.state()
    assert found["ca_reasons"] == ["there is none"]
    assert found["name"].startswith("drydock client CA ")


def test_new_ca_certificate_keeps_the_name_of_a_ca_that_was_brought_along(folder: Folder) -> None:
    assert folder.state()["issuer"] == [{"CN": "the CA"}]


@pytest.mark.parametrize(
    ("days", "wanted", "words"),
    [
        (365, 365, ""),
        (183, 365, ""),
        (182, 365, "in less than half of 365 days"),
        (365, 731, "in less than half of 731 days"),
        (-1, 365, "servers have refused every certificate since"),
    ],
)
def test_end_of_the_crl(folder: Folder, days: int, wanted: int, words: str) -> None:
    # An hour more than whole days: the test itself takes time.
    folder.crl({}, days + 1 / 24)
    reasons = folder.state(crl_valid_days=wanted)["crl_reasons"]
    assert (words in only(reasons)) if words else (reasons == [])


def test_crl_that_is_not_of_this_ca(folder: Folder) -> None:
    folder.key = ec.generate_private_key(ec.SECP256R1())
    folder.crl({})
    assert folder.state()["crl_reasons"] == ["it was not signed by this CA"]


def test_revocations_survive_the_loss_of_either_record(folder: Folder) -> None:
    """The CRL and the folder `revoked` each hold what the other lost; a CRL from before a revocation is due."""
    first, second = folder.issue("ci"), folder.issue("build")
    folder.revoke(first.serial_number)
    assert folder.state()["crl_reasons"] == ["it lacks 1 revoked certificate"]
    folder.crl({second.serial_number: x509.ReasonFlags.key_compromise})
    found = folder.state()
    assert {entry["serial_number"] for entry in found["crl_entries"]} == {first.serial_number, second.serial_number}
    assert {entry["reason"] for entry in found["crl_entries"]} == {"superseded", "key_compromise"}
    assert [row["reason"] for row in found["certificates"]] == ["key_compromise", "superseded"]
    folder.write("crl.pem", b"spoilt")
    found = folder.state()
    assert found["crl_reasons"] == ["the old one cannot be read"]
    assert [entry["serial_number"] for entry in found["crl_entries"]] == [first.serial_number]


def test_unspecified_reason_is_left_out_of_the_crl(folder: Folder) -> None:
    folder.revoke(folder.issue("ci").serial_number, "unspecified")
    assert "reason" not in folder.state()["crl_entries"][0]


def revocations(folder: Folder, name: str, **options: bool) -> set[str]:
    state = client_ca.read_state(str(folder.path), "")
    return {each["file"] for each in client_ca.revocations(state, [name, name], "superseded", NOW, **options)}


def test_what_is_to_be_revoked(folder: Folder) -> None:
    oldest, newest, middle = (folder.issue("ci", begin=begin) for begin in (-30, -1, -9))
    folder.issue("build")
    texts = {each: f"{client_ca.serial_text(each.serial_number)}.json" for each in (oldest, middle, newest)}
    assert revocations(folder, "ci") == set(texts.values())
    assert revocations(folder, "ci", keep_newest=True) == {texts[oldest], texts[middle]}
    folder.revoke(oldest.serial_number)
    folder.revoke(middle.serial_number)
    assert revocations(folder, "ci") == {texts[newest]}
    assert revocations(folder, "ci", keep_newest=True) == set()


def test_interrupted_run_is_gone_on_with(folder: Folder) -> None:
    """A key that a certificate was signed for is handed out; one without is made anew, and its name may be issued."""
    for name in ("signed", "unsigned"):
        folder.write(f"pending/{name}.key", pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key((folder.path / "pending/signed.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = folder.sign("signed", key, 90)
    folder.write("pending/spoilt.key", b"")
    folder.write("pending/.ansible_tmp", b"")
    found = folder.state(issue="signed,unsigned,spoilt")
    assert found["problems"] == []
    assert [each["name"] for each in found["resumable"]] == ["signed"]
    assert found["resumable"][0]["path"].endswith(f"{client_ca.serial_text(made.serial_number)}.crt")
    folder.revoke(made.serial_number)
    assert folder.state()["resumable"] == []


def test_folders_of_clients(folder: Folder) -> None:
    """That of a revoked client is removed; one with another CA of the server than there is now gets that."""
    folder.revoke(folder.issue("gone").serial_number)
    for name in ("old", "new", "none"):
        folder.issue(name)
    folder.write("old/ca.crt", b"old")
    folder.write("new/ca.crt", b"new")
    assert folder.state()["stale_bundles"] == []
    (folder.path.parent / "ca.crt").write_bytes(b"new")
    found = folder.state()
    assert found["stale_bundles"] == ["none", "old"]
    assert found["dead_bundles"] == ["gone"]


def test_files_that_others_can_read(folder: Folder) -> None:
    (folder.path / "ca.key").chmod(0o640)
    (folder.path / "issued").chmod(0o755)
    assert sorted(folder.state()["open_files"]) == [str(folder.path / "ca.key"), str(folder.path / "issued")]


def test_table(folder: Folder) -> None:
    assert client_ca.table([]) == ["No client certificate has been issued yet."]
    folder.revoke(folder.issue("build").serial_number)
    folder.issue("ci", days=30)
    folder.issue("ended", days=-1, begin=-9)
    lines = folder.state()["table"]
    assert lines[0].split() == ["name", "serial", "until", "days", "left", "revoked", "on"]
    today = f"{NOW:%Y-%m-%d}"
    assert [line.split()[0] for line in lines[1:]] == ["build", "ci", "ended"]
    assert lines[1].split()[3:] == ["-", today, "(superseded)"]
    assert lines[2].split()[2:] == [f"{NOW + 30 * DAY:%Y-%m-%d}", "30", "-"]
    assert lines[3].split()[3:] == ["0", "-"]
