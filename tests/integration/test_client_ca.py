# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of clients, from the CA on the controller: issue, renew, revoke, list, and what becomes of an interrupted run.

Each test has a folder of its own, most of them a copy of one in which two clients have certificates. No host and no Docker: what
a registry does with the certificates is judged by openssl and by a TLS connection.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from deployment import kill_controller

ROOT = Path(__file__).parents[2]
PASSPHRASE = "the CA's passphrase"
P12_PASSWORD = "the file's password"
WAIT_SECONDS = 300

STEPS = """---
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: step.yml
      loop: "{{ steps }}"
      loop_control: {loop_var: step}
    - ansible.builtin.debug:
        var: registry_client_ca_result
"""
# What is refused is collected, so that one run goes through all of it.
STEP = """---
- block:
    - ansible.builtin.include_role:
        name: drydock.registry.registry_client_ca
        tasks_from: "{{ step['entry'] }}"
      vars:
        registry_client_ca_directory: "{{ step['directory'] | default(directory) }}"
        registry_client_ca_issue: "{{ step['issue'] | default([]) }}"
        registry_client_ca_renew: "{{ step['renew'] | default([]) }}"
        registry_client_ca_revoke: "{{ step['revoke'] | default([]) }}"
        registry_client_ca_passphrase: "{{ step['passphrase'] | default('') }}"
        registry_client_ca_pkcs12_password: "{{ step['p12'] | default('') }}"
        registry_client_ca_revoke_reason: "{{ step['reason'] | default('unspecified') }}"
        registry_client_ca_revoke_on_renew_enabled: "{{ step['revoke_old'] | default(false) }}"
        registry_client_ca_valid_days: "{{ step['days'] | default(90) }}"
        registry_client_ca_crl_valid_days: "{{ step['crl_days'] | default(365) }}"
        registry_client_ca_name: "{{ step['name'] | default('') }}"
        registry_client_ca_ephemeral_directory: "{{ step['into'] | default('') }}"
  rescue:
    - ansible.builtin.debug:
        msg: "{{ ansible_failed_result['msg'] }}"
      when: step['refused'] | default(false)
    - ansible.builtin.fail:
        msg: "{{ ansible_failed_result['msg'] }}"
      when: not step['refused'] | default(false)
"""


class Run(NamedTuple):
    """What a playbook did: the tasks that changed something, what was said, and the messages of tasks that failed."""

    returncode: int
    changed: list[str]
    said: list[str]
    failures: list[str]
    result: dict[str, Any]
    output: str


class Ca:
    """The folder of a CA, with an inventory beside it, and the runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = folder / ".credentials"
        self.directory = self.credentials / "clients"
        self.inventory = folder / "hosts.json"
        for name, content in (("steps.yml", STEPS), ("step.yml", STEP)):
            (folder / name).write_text(content, encoding="utf-8")
        users = [{"name": "ci", "certificate_only": True}, {"name": "build@example.org"}, {"name": "late"}]
        hosts = {"registry": {"hosts": {"one": {}, "two": {}}, "vars": {"registry_auth_users": users}}}
        self.inventory.write_text(json.dumps(hosts), encoding="utf-8")

    def start(self, playbook: Path, variables: dict[str, Any], *options: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return subprocess.Popen(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), "-i", self.inventory, playbook),
                *("--extra-vars", json.dumps(variables), *options),
            ],
            cwd=ROOT,
            env={
                **environment,
                "ANSIBLE_HOME": str(ROOT / ".ansible"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_steps(self, *steps: dict[str, Any]) -> subprocess.Popen[str]:
        return self.start(self.folder / "steps.yml", {"steps": steps, "directory": str(self.directory)}, "--limit=one")

    def steps(self, *steps: dict[str, Any], options: tuple[str, ...] = ()) -> Run:
        """Run entry points of the role, one after the other, in one playbook."""
        variables = {"steps": steps, "directory": str(self.directory)}
        return finished(self.start(self.folder / "steps.yml", variables, "--limit=one", *options))

    def playbook(self, *options: str, **variables: Any) -> Run:
        """Run client_certificates.yml for both hosts."""
        return finished(self.start(ROOT / "playbooks/client_certificates.yml", variables, *options))

    def digest(self) -> dict[str, str]:
        """What every file below the inventory holds, and who may read it."""
        return {
            f"{path.relative_to(self.folder)} {path.stat().st_mode:o}": (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            )
            for path in sorted(self.credentials.rglob("*"))
        }

    def certificate(self, name: str) -> x509.Certificate:
        """The one that the client has."""
        return x509.load_pem_x509_certificate((self.directory / name / "client.cert").read_bytes())

    def revoked(self) -> dict[int, x509.RevokedCertificate]:
        crl = x509.load_pem_x509_crl((self.directory / "crl.pem").read_bytes())
        return {each.serial_number: each for each in crl}

    def verify(self, certificate: Path, purpose: str = "sslclient") -> str:
        """What openssl says of a certificate; empty when it is good."""
        done = subprocess.run(
            [
                *("openssl", "verify", "-CAfile", self.directory / "ca.crt", "-crl_check"),
                *("-CRLfile", self.directory / "crl.pem", "-purpose", purpose, certificate),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr if done.returncode else ""

    def pair_fits(self, name: str) -> bool:
        """Whether the client's key is that of its certificate."""
        key = serialization.load_pem_private_key((self.directory / name / "client.key").read_bytes(), None)
        return key.public_key() == self.certificate(name).public_key()

    def lets_in(self, pair: Path) -> bool:
        """Whether a server that trusts this CA and heeds its CRL takes the pair in a folder."""
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.directory / "ca.crt"))
        server.load_verify_locations(str(self.directory / "crl.pem"))
        server.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        client = ssl.create_default_context()
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        client.load_cert_chain(pair / "client.cert", pair / "client.key")
        ends = socket.socketpair()
        answers: list[bool] = []

        def serve() -> None:
            try:
                with server.wrap_socket(ends[0], server_side=True) as connection:
                    connection.sendall(b"welcome")
                    answers.append(True)
            except (ssl.SSLError, OSError):
                ends[0].close()
                answers.append(False)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client.wrap_socket(ends[1]) as connection:
                connection.recv(7)
        except (ssl.SSLError, OSError):
            ends[1].close()
        thread.join()
        return answers == [True]


def finished(process: subprocess.Popen[str]) -> Run:
    with process:
        stdout, stderr = process.communicate(timeout=300)
    assert "{" in stdout, stdout + stderr
    record = json.loads(stdout[stdout.index("{") :])
    changed, said, failures = [], [], []
    result: dict[str, Any] = {}
    for play in record["plays"]:
        for task in play["tasks"]:
            for outcome in task["hosts"].values():
                if outcome.get("changed"):
                    changed.append(task["task"]["name"])
                if outcome.get("failed"):
                    failures.append(str(outcome.get("msg")))
                elif outcome.get("action") == "ansible.builtin.debug":
                    said.append(str(outcome.get("msg")))
                    result = outcome.get("registry_client_ca_result") or result
    return Run(process.returncode, changed, said, failures, result, stdout + stderr)


def good(run: Run) -> Run:
    assert run.returncode == 0, run.failures or run.output[-3000:]
    return run


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ca, Run, Run]:
    """Two clients that got certificates by the playbook; before that it ran dry on an empty controller."""
    ca = Ca(tmp_path_factory.mktemp("first"))
    wanted = {"drydock_client_issue": "ci, build@example.org"}
    dry = ca.playbook("--check", **wanted)
    assert not ca.credentials.exists(), dry.changed
    ca.credentials.mkdir(mode=0o700)
    (ca.credentials / "ca.crt").write_text("the server's CA\n", encoding="utf-8")
    return ca, good(dry), good(ca.playbook(**wanted))


@pytest.fixture
def ca(first: tuple[Ca, Run, Run], tmp_path: Path) -> Ca:
    """A copy of it."""
    copy = Ca(tmp_path)
    shutil.copytree(first[0].credentials, copy.credentials)
    return copy


def test_issue(first: tuple[Ca, Run, Run]) -> None:
    ca, dry, run = first
    assert any("ci, build@example.org" in said for said in dry.said), dry.said
    for name in ("ci", "build@example.org"):
        found = ca.certificate(name)
        assert found.subject.rfc4514_string() == f"CN={name}"
        assert 89.9 < days(found) < 90.1
        assert ca.pair_fits(name)
        assert ca.verify(ca.directory / name / "client.cert") == ""
        assert "purpose" in ca.verify(ca.directory / name / "client.cert", "sslserver")
        assert (ca.directory / name / "ca.crt").read_text(encoding="utf-8") == "the server's CA\n"
        assert {path.name for path in (ca.directory / name).iterdir()} == {"client.cert", "client.key", "ca.crt"}
        listed = [said for said in run.said if f"{found.serial_number:X}" in said]
        assert listed
        assert name in listed[0]
    text = openssl("x509", "-noout", "-text", "-in", ca.directory / "ci" / "client.cert")
    for words in ("prime256v1", "Digital Signature\n", "TLS Web Client Authentication\n", "CA:FALSE"):
        assert words in text
    text = openssl("x509", "-noout", "-text", "-in", ca.directory / "ca.crt")
    for words in ("prime256v1", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign\n"):
        assert words in text
    assert 3649 < days(x509.load_pem_x509_certificate((ca.directory / "ca.crt").read_bytes())) < 3651
    assert any("registry_proxy_client_certificates is `off`" in said for said in run.said)


def test_owner_alone_may_read(first: tuple[Ca, Run, Run]) -> None:
    ca = first[0]
    for path in (ca.directory, *ca.directory.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_nothing_left_to_do(ca: Ca) -> None:
    """A second run and a dry run change nothing."""
    before = ca.digest()
    run = good(ca.steps({"entry": "main"}, {"entry": "list"}))
    assert run.changed == []
    assert run.result["directory"] == str(ca.directory)
    assert run.result["certificate"] == (ca.directory / "ca.crt").read_text(encoding="utf-8")
    assert run.result["crl"] == (ca.directory / "crl.pem").read_text(encoding="utf-8")
    assert [each["name"] for each in run.result["certificates"]] == ["build@example.org", "ci"]
    steps = (
        {"entry": "renew", "renew": "ci"},
        {"entry": "revoke", "revoke": "ci"},
        {"entry": "issue", "issue": "late"},
    )
    good(ca.steps(*steps, options=("--check", "--diff")))
    assert ca.digest() == before


def test_renew_with_the_old_one_revoked_and_begin_anew(ca: Ca) -> None:
    """What is there afterwards fits together, and a PKCS#12 file of an older certificate is not among it."""
    (ca.directory / "ci/client.p12").write_bytes(b"of the certificate before")
    (ca.directory / "ca.key").chmod(0o644)
    (ca.credentials / "ca.crt").write_text("another CA of the server\n", encoding="utf-8")
    first = ca.certificate("ci")
    good(ca.steps({"entry": "renew", "renew": "ci", "revoke_old": True, "days": 30}))
    second = ca.certificate("ci")
    assert second.public_key() != first.public_key()
    assert days(second) < 31
    assert ca.pair_fits("ci")
    assert ca.verify(ca.directory / "ci/client.cert") == ""
    assert reasons(ca) == {first.serial_number: x509.ReasonFlags.superseded}
    assert not (ca.directory / "ci/client.p12").exists()
    assert (ca.directory / "ca.key").stat().st_mode & 0o777 == 0o600
    for name in ("ci", "build@example.org"):
        assert (ca.directory / name / "ca.crt").read_text(encoding="utf-8") == "another CA of the server\n"
    good(ca.steps({"entry": "revoke", "revoke": ["ci"]}, {"entry": "issue", "issue": ["ci"]}))
    assert set(ca.revoked()) == {first.serial_number, second.serial_number}
    assert ca.pair_fits("ci")
    assert ca.verify(ca.directory / "ci/client.cert") == ""


def test_revoke(ca: Ca) -> None:
    """A client that is revoked gets in no more, with none of its certificates; to revoke it again changes nothing."""
    server_pair(ca.folder)
    old = shutil.copytree(ca.directory / "ci", ca.folder / "old")
    good(ca.steps({"entry": "renew", "renew": ["ci"]}))
    new = shutil.copytree(ca.directory / "ci", ca.folder / "new")
    assert ca.lets_in(new)
    assert ca.lets_in(old), "a renewal leaves the old certificate valid"
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    good(ca.steps({"entry": "revoke", "revoke": "ci", "reason": "key_compromise"}))
    assert set(reasons(ca).values()) == {x509.ReasonFlags.key_compromise}
    assert len(ca.revoked()) == 2
    for entry in ca.revoked().values():
        assert before <= entry.revocation_date_utc <= datetime.datetime.now(datetime.timezone.utc)
    for pair in (old, new):
        assert not ca.lets_in(pair)
        assert "certificate revoked" in ca.verify(pair / "client.cert")
    assert ca.lets_in(ca.directory / "build@example.org")
    assert not (ca.directory / "ci").exists()

    before_again = ca.digest()
    run = good(ca.playbook(drydock_client_revoke=["ci"]))
    assert run.changed == []
    assert ca.digest() == before_again


def test_passphrase_and_pkcs12(tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    secrets = {"passphrase": PASSPHRASE, "p12": P12_PASSWORD}
    run = good(
        ca.steps(
            {"entry": "issue", "issue": ["ci"], **secrets},
            {"entry": "revoke", "revoke": ["ci"], "refused": True},
            {"entry": "revoke", "revoke": ["ci"], "refused": True, "passphrase": "another"},
            options=("-vv", "--diff"),
        )
    )
    assert "ENCRYPTED" in (ca.directory / "ca.key").read_text(encoding="utf-8")
    openssl("pkey", "-in", ca.directory / "ca.key", "-passin", f"pass:{PASSPHRASE}")
    assert any("ca.key is encrypted: set registry_client_ca_passphrase" in said for said in run.said), run.said
    assert any("registry_client_ca_passphrase is not the passphrase of" in said for said in run.said), run.said
    text = openssl("pkcs12", "-in", ca.directory / "ci/client.p12", "-passin", f"pass:{P12_PASSWORD}", "-nodes")
    assert "PRIVATE KEY" in text
    assert (ca.directory / "ci/client.cert").read_text(encoding="utf-8").strip() in text
    assert (ca.directory / "ca.crt").read_text(encoding="utf-8").strip() in text
    assert ca.verify(ca.directory / "ci/client.cert") == ""
    assert ca.revoked() == {}
    assert "PRIVATE KEY" not in run.output


def test_ephemeral(ca: Ca, tmp_path: Path) -> None:
    before = ca.digest()
    into = tmp_path / "into"
    into.mkdir()
    run = good(
        ca.steps(
            {"entry": "ephemeral", "name": "late", "into": str(into)},
            {"entry": "ephemeral", "name": "no name", "into": "/nowhere", "directory": str(into), "refused": True},
        )
    )
    assert ca.verify(into / "client.cert") == ""
    found = x509.load_pem_x509_certificate((into / "client.cert").read_bytes())
    assert found.subject.rfc4514_string() == "CN=late"
    assert 0 < days(found) * 24 <= 1
    assert (into / "client.key").stat().st_mode & 0o777 == 0o600
    assert ca.digest() == before
    assert run.changed == []
    for words in ("'no name' is no name", "write the absolute path of a folder that exists", "There is no CA in"):
        assert any(words in said for said in run.said), words


# --- What is refused ---------------------------------------------------------------------------------------------


def test_bad_input(ca: Ca) -> None:
    """Each is refused in one sentence, and nothing is changed. tests/unit/plugins/test_client_ca.py has the others."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"entry": "preflight", "issue": "../late"}, "'../late' is no name for a certificate: write 1 to 64 letters"),
        ({"entry": "preflight", "renew": ["ci"], "revoke": ["ci"]}, "'ci' is to be renewed and revoked"),
        ({"entry": "issue", "issue": ["ci"]}, "'ci' has a certificate already, until"),
        ({"entry": "renew", "renew": "late"}, "'late' has no certificate to renew: issue one."),
        ({"entry": "revoke", "revoke": ["nobody"]}, "'nobody' has no certificate to revoke. There are certificates of"),
        ({"entry": "main", "days": 4000}, "registry_client_ca_ca_valid_days is 3650, but the CA must outlive"),
    ]
    before = ca.digest()
    run = good(ca.steps(*({**case, "refused": True} for case, _words in cases)))
    said = [each for each in run.said if each != "None"]
    assert len(said) == len(cases), said
    for (_case, words), message in zip(cases, said):
        assert words in message
        assert "\n" not in message
    assert run.changed == []
    assert ca.digest() == before

    # Never silently another CA.
    (ca.directory / "ca.key").unlink()
    before = ca.digest()
    run = ca.steps({"entry": "issue", "issue": ["late"]})
    assert run.returncode != 0
    assert "ca.key is missing, but certificates were signed with it: put it back from a backup" in run.failures[0]
    assert ca.digest() == before


def test_names_that_are_no_users_are_refused(ca: Ca) -> None:
    before = ca.digest()
    run = ca.playbook(drydock_client_issue="stranger", drydock_client_revoke="ci")
    assert run.returncode != 0
    assert len(run.failures) == 1
    assert "add {name: stranger, certificate_only: true} to them" in run.failures[0]
    assert ca.digest() == before


# --- Behind a load balancer, where no host is in the inventory ----------------------------------------------------


@pytest.mark.parametrize(("platform", "brought_by"), [("fleet", "fleet_users.yml"), ("ecs", "site.yml")])
def test_behind_a_load_balancer(tmp_path: Path, platform: str, brought_by: str) -> None:
    """The CA is on the controller for these as well, and the run ends with what brings it to hosts or tasks."""
    ca = Ca(tmp_path)
    ca.inventory = shutil.copytree(ROOT / "inventories" / platform, tmp_path / "inventory")
    ca.directory = ca.inventory / ".credentials/clients"
    settings = {
        "registry_auth_users": [{"name": "ci", "certificate_only": True}],
        "registry_proxy_client_certificates": "required",
        "aws_load_balancer_type": "network",
    }

    # What does not depend on the platform is asked on one of them.
    if platform == "fleet":
        refused = ca.playbook(**{**settings, "aws_load_balancer_type": "application"}, drydock_client_issue="ci")
        assert refused.returncode != 0
        assert "aws_load_balancer_type is application, which ends TLS" in refused.failures[0]
        assert not ca.directory.exists()

    issued = good(ca.playbook(**settings, drydock_client_issue="ci"))
    serial = ca.certificate("ci").serial_number
    assert ca.verify(ca.directory / "ci/client.cert") == ""
    assert any(f"run playbooks/{brought_by}" in said for said in issued.said), issued.said

    if platform == "ecs":
        revoked = good(ca.playbook(**settings, drydock_client_revoke="ci"))
        assert set(ca.revoked()) == {serial}
        assert any(f"{serial:X}" in said and "(unspecified)" in said for said in revoked.said), revoked.said


# --- What time and accidents do ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("late/client.key", {"entry": "issue", "issue": ["late"]}),
        ("revoked/*.json", {"entry": "revoke", "revoke": ["ci", "build@example.org"]}),
    ],
    ids=["handed-out", "revocation-recorded"],
)
def test_killed(ca: Ca, moment: str, step: dict[str, Any]) -> None:
    """A run that is killed as soon as a file is there is mended by the same run again."""
    there = set(ca.directory.glob(moment))
    process = ca.start_steps(step)
    deadline = time.monotonic() + WAIT_SECONDS
    while not set(ca.directory.glob(moment)) - there:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill_controller(process.pid)
    process.communicate()

    good(ca.steps(step))
    assert not (ca.directory / "pending").exists()
    if step["entry"] == "revoke":
        assert len(ca.revoked()) == 2
        assert not (ca.directory / "ci").exists()
    else:
        assert ca.pair_fits("late")
        assert ca.verify(ca.directory / "late/client.cert") == ""
        records = [
            x509.load_pem_x509_certificate(path.read_bytes()) for path in (ca.directory / "issued").glob("*.crt")
        ]
        assert [each for each in records if each.subject == ca.certificate("late").subject] == [ca.certificate("late")]


def test_lost_and_outdated(ca: Ca) -> None:
    """A CRL that is out of date or lost is made anew with all revocations, and a run says why."""
    good(ca.steps({"entry": "revoke", "revoke": ["ci"]}))
    (serial, entry), *_ = ca.revoked().items()
    # The other record of the revocation is lost as well.
    for path in (ca.directory / "revoked").iterdir():
        path.unlink()
    end_crl(ca)
    assert "CRL has expired" in ca.verify(ca.directory / "build@example.org/client.cert")
    said = good(ca.steps({"entry": "list"})).said
    assert any("servers have refused every certificate since" in each for each in said), said
    assert ca.verify(ca.directory / "build@example.org/client.cert") == ""
    assert {each: found.revocation_date_utc for each, found in ca.revoked().items()} == {
        serial: entry.revocation_date_utc
    }

    # The CA's certificate is signed anew with the same key and name, so what it signed before stays good.
    content = {"date": "20260102030405Z", "reason": "key_compromise"}
    (ca.directory / f"revoked/{serial:X}.json").write_text(json.dumps(content), encoding="utf-8")
    for name in ("ca.crt", "crl.pem"):
        (ca.directory / name).unlink()
    said = good(ca.steps({"entry": "main"})).said
    assert any("signed anew: there is none" in each for each in said), said
    assert reasons(ca) == {serial: x509.ReasonFlags.key_compromise}
    assert ca.verify(ca.directory / "build@example.org/client.cert") == ""


def reasons(ca: Ca) -> dict[int, x509.ReasonFlags]:
    """Why each certificate was revoked."""
    return {
        serial: each.extensions.get_extension_for_class(x509.CRLReason).value.reason
        for serial, each in ca.revoked().items()
    }


def days(certificate: x509.Certificate) -> float:
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    return left / datetime.timedelta(days=1)


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def server_pair(folder: Path) -> None:
    """A pair for the server of a test."""
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server"),
        *("-keyout", folder / "server.key", "-out", folder / "server.crt"),
    )


def end_crl(ca: Ca) -> None:
    """Sign the CRL so that it ended yesterday."""
    crl = x509.load_pem_x509_crl((ca.directory / "crl.pem").read_bytes())
    key = serialization.load_pem_private_key((ca.directory / "ca.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateRevocationListBuilder(crl.issuer)
        .last_update(now - datetime.timedelta(days=9))
        .next_update(now - datetime.timedelta(days=1))
    )
    for entry in crl:
        builder = builder.add_revoked_certificate(entry)
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    (ca.directory / "crl.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
