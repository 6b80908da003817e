# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of servers and clients through the playbooks, as a user has them: ordered, issued, renewed and revoked under load.

One host serves all tests, which run in the order of this file. Its certificate comes from a directory of the ACME protocol that
runs beside it. What a role does with each setting, its own tests tell; here the playbooks wire them together.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from certified import EAB_KEY, IMAGE, MANIFEST, Certificates, certified_hosts, requests
from deployment import ADDRESS, MANIFEST_TYPE
from load import CLOSED, Ask, Connection, Load, ask_once, under_load

RENEWALS = 3
REVOCATIONS = 10


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certificates]:
    """A host with nothing deployed on it but a directory of the ACME protocol."""
    with certified_hosts(tmp_path_factory.mktemp("certificates")) as made:
        yield made


@pytest.fixture(scope="module")
def clients(deployment: Certificates) -> tuple[str, ...]:
    """Certificates for the two users who have no password."""
    done = deployment.client_certificates(issue="team-a,scanner")
    assert done.returncode == 0
    return ("team-a", "scanner")


@pytest.fixture(scope="module")
def pushed(deployment: Certificates, clients: tuple[str, ...]) -> str:
    """An image that was pushed with a certificate and no password; its digest."""
    return deployment.push(clients[0])


def test_a_run_orders_the_certificate_and_clients_come_through(deployment: Certificates) -> None:
    deployment.play("site.yml")
    assert "Pebble" in deployment.served().issuer.rfc4514_string()
    assert deployment.ask("/v2/") == 401
    assert deployment.ask("/v2/", user="admin") == 200


def test_the_key_of_the_account_is_roots_alone(deployment: Certificates) -> None:
    assert deployment.host("stat", "--format", "%a %U", "/etc/drydock/acme/eab.ini").stdout.split() == ["600", "root"]
    # certbot writes the arguments that everybody on the host can see into its log.
    kept = deployment.host("grep", "--recursive", "--files-with-matches", EAB_KEY, "/etc", "/var/log", check=False)
    assert set(kept.stdout.split()) == {"/etc/drydock/acme/eab.ini", "/etc/pebble/14000.json"}
    deployment.host("grep", "--recursive", "--quiet", "/etc/drydock/acme/eab.ini", "/var/log/letsencrypt")


@pytest.mark.usefixtures("pushed")
def test_another_run_changes_nothing(deployment: Certificates) -> None:
    before, certificate = deployment.containers(), deployment.served()
    assert deployment.play("site.yml").changed == []
    assert deployment.containers() == before
    assert deployment.served() == certificate


@pytest.mark.usefixtures("pushed")
def test_a_certificate_carries_its_users_rights(deployment: Certificates) -> None:
    assert deployment.ask(MANIFEST, client="team-a") == 200
    assert deployment.ask(MANIFEST, client="scanner") == 200
    assert deployment.ask("/v2/team-b/app/tags/list", client="team-a") == 403
    assert deployment.ask("/v2/team-a/app/blobs/uploads/", client="scanner", method="POST") == 403
    assert deployment.ask(MANIFEST, client="team-a", method="DELETE") == 403
    # A second certificate under a name that has one would be one that nobody thinks of when it is to be revoked.
    refused = deployment.attempt("client_certificates.yml", "--extra-vars=drydock_client_issue=team-a")
    assert refused.returncode != 0
    assert "team-a" in refused.failures[0]


def enough(load: Load, reloads: int) -> None:
    """See that every client asked on while nginx reloaded, and that nothing failed that a client would notice."""
    print(load.table())
    assert load.failures == []
    assert all(count.asked > 10 for count in load.counts.values())
    # nginx closes a kept connection that is idle when it reloads, and a request may be on its way just then. Clients repeat a pull;
    # a push that this meets is lost, which nginx can avoid from 1.27.4 on (keepalive_min_timeout).
    assert sum(count.closed for name, count in load.counts.items() if name.startswith("push")) <= reloads


@pytest.mark.usefixtures("pushed")
def test_renewals_fail_no_request(deployment: Certificates) -> None:
    before = deployment.containers()
    serials = {deployment.served().serial_number}
    with under_load(deployment.ip, ADDRESS, requests(deployment)) as load:
        for _renewal in range(RENEWALS):
            print(f"renewed in {deployment.renew():.1f} s")
            serials.add(deployment.served().serial_number)
    enough(load, RENEWALS)
    assert len(serials) == RENEWALS + 1
    assert deployment.containers() == before
    # What the host did by itself is no change to the next run.
    assert deployment.play("configure.yml", "--tags=tls,proxy").changed == []


@pytest.mark.usefixtures("pushed")
def test_new_lists_of_revoked_certificates_fail_no_request(deployment: Certificates) -> None:
    before = deployment.containers()
    with under_load(deployment.ip, ADDRESS, requests(deployment)) as load:
        for serial in range(1, REVOCATIONS + 1):
            deployment.publish(*range(1, serial + 1))
    enough(load, REVOCATIONS)
    assert deployment.containers() == before


@pytest.mark.usefixtures("pushed")
def test_a_lost_ca_is_not_replaced_in_silence(deployment: Certificates) -> None:
    kept = deployment.clients.with_name("kept")
    deployment.clients.rename(kept)
    try:
        refused = deployment.attempt("configure.yml", "--tags=proxy")
    finally:
        shutil.rmtree(deployment.clients)
        kept.rename(deployment.clients)
    assert refused.returncode != 0
    assert "set registry_proxy_client_ca_replace_enabled to true" in refused.failures[0]
    assert deployment.ask(MANIFEST, client="scanner") == 200


@pytest.mark.usefixtures("pushed")
def test_a_revoked_certificate_is_refused_at_once(deployment: Certificates) -> None:
    connection = Connection(deployment.ip, ADDRESS, deployment.context("team-a"))
    ask = Ask("", "GET", MANIFEST, 200, {"Accept": MANIFEST_TYPE}, deployment.context(), kept=True)
    assert ask_once(connection, ask) == 200
    certificate = deployment.context("team-a")

    revoked = deployment.client_certificates(revoke="team-a")

    assert revoked.returncode == 0
    with pytest.raises(CLOSED):
        ask_once(connection, ask)
    stale = Connection(deployment.ip, ADDRESS, certificate)
    assert ask_once(stale, ask) == 403
    assert deployment.host("docker", "pull", IMAGE, check=False).returncode != 0
    assert deployment.ask(MANIFEST, client="scanner") == 200
    assert deployment.ask(MANIFEST, user="admin") == 200
    again = deployment.client_certificates(revoke="team-a")
    assert again.changed == []
    unknown = deployment.attempt("client_certificates.yml", "--extra-vars=drydock_client_revoke=nobody")
    assert unknown.returncode != 0
    assert "nobody" in unknown.failures[0]


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize(
    ("mode", "by_password", "by_certificate"), [("both", 403, 401), ("required", 403, 200), ("optional", 200, 200)]
)
def test_modes(deployment: Certificates, mode: str, by_password: int, by_certificate: int) -> None:
    before = deployment.containers()
    deployment.settings["registry_proxy_client_certificates"] = mode
    deployment.play("configure.yml", "--tags=proxy")
    deployment.play("verify.yml")
    assert deployment.ask("/v2/") == (401 if mode == "optional" else 403)
    assert deployment.ask("/v2/", user="admin") == by_password
    assert deployment.ask("/v2/", client="scanner") == by_certificate
    assert deployment.containers() == before


@pytest.mark.usefixtures("pushed")
def test_a_user_who_is_removed_has_no_rights_with_a_good_certificate(deployment: Certificates) -> None:
    assert deployment.ask(MANIFEST, client="scanner") == 200
    deployment.settings["registry_auth_users"] = [{"name": "admin", "access": "admin"}]
    deployment.play("configure.yml", "--tags=users")
    assert deployment.ask(MANIFEST, client="scanner") == 403
    assert deployment.ask(MANIFEST, user="admin") == 200


def test_everything_is_taken_away(deployment: Certificates) -> None:
    gone = '{"drydock_teardown_destroy": ["data", "users", "tls"]}'
    deployment.play("teardown.yml", "--extra-vars", gone)
    assert deployment.host("docker", "ps", "--all", "--quiet").stdout == ""
    # What certbot's package brings stays, with nothing that is renewed.
    ours = ("/etc/drydock", "/usr/local/sbin", "/etc/letsencrypt/renewal", "/etc/systemd/system/certbot.service.d")
    assert deployment.host("find", *ours, "-type", "f", check=False).stdout == ""
    assert deployment.play("teardown.yml", "--extra-vars", gone).changed == []
