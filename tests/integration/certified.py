# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry with a certificate from a directory of the ACME protocol that runs beside it, and clients with certificates."""

from __future__ import annotations

import base64
import datetime
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from deployment import ADDRESS, CRL, MANIFEST_TYPE, RELOAD, ROOT, Deployment, Run, deployed_hosts, digest
from load import Ask, Connection, ask_once

IMAGE = f"{ADDRESS}/team-a/app:1"
MANIFEST = "/v2/team-a/app/manifests/1"
PEBBLE = ROOT / "tests/hosts/pebble"
# Who may order from the directory.
EAB_KEY_ID = "kid-1"
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
LINEAGE = "/etc/letsencrypt/renewal/drydock.conf"


class Certificates(Deployment):
    """A registry with a certificate from outside, and clients with certificates."""

    @property
    def clients(self) -> Path:
        """Where the controller keeps the clients' CA and the bundles."""
        return self.folder / "credentials/clients"

    @property
    def password(self) -> str:
        """The administrator's password, as a run generated it."""
        return (self.folder / "credentials/admin.password").read_text(encoding="utf-8").strip()

    def context(self, client: str = "") -> ssl.SSLContext:
        """How a client meets the server: it trusts the directory's root, and may have a certificate."""
        context = ssl.create_default_context(cadata=self.settings["registry_tls_acme_client_ca_certificate"])
        if client:
            context.load_cert_chain(self.clients / client / "client.cert", self.clients / client / "client.key")
        return context

    def ask(self, path: str, client: str = "", user: str = "", method: str = "GET") -> int:
        """Return the status of a request, 0 where the handshake fails."""
        headers = {"Accept": MANIFEST_TYPE, **(self.authorization(user) if user else {})}
        connection = Connection(self.ip, ADDRESS, self.context(client))
        try:
            return ask_once(connection, Ask("", method, path, 0, headers, self.context(), kept=False))
        except (ssl.SSLError, ConnectionError):
            return 0
        finally:
            connection.close()

    def authorization(self, user: str) -> dict[str, str]:
        """Return the header with the user's password."""
        token = base64.b64encode(f"{user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {token}"}

    def served(self) -> x509.Certificate:
        """The certificate that nginx presents."""
        with closing(Connection(self.ip, ADDRESS, self.context())) as connection:
            connection.connect()
            der = connection.sock.getpeercert(binary_form=True) or b""
        return x509.load_der_x509_certificate(der)

    def client_certificates(self, **words: str) -> Run:
        """Run the playbook of client certificates."""
        return self.play(
            "client_certificates.yml", *(f"--extra-vars=drydock_client_{key}={value}" for key, value in words.items())
        )

    def push(self, client: str) -> str:
        """Push an image with Docker on the host, which has a client's certificate and no password; return its digest."""
        folder = f"/etc/docker/certs.d/{ADDRESS}"
        self.host("mkdir", "-p", folder)
        for path in (self.clients / client).iterdir():
            self.host("sh", "-c", f"umask 077; cat > {folder}/{path.name}", stdin=path.read_text(encoding="utf-8"))
        self.host("sh", "-c", f"tar --create --directory /etc hostname | docker import - {IMAGE}")
        return digest(self.host("docker", "push", IMAGE).stdout)

    def renew(self) -> float:
        """Make the certificate due and have certbot's service renew it, as its timer does; return the seconds."""
        self.host("sed", "-i", "s/^renew_before_expiry.*/renew_before_expiry = 4000 days/", LINEAGE)
        start = time.monotonic()
        self.host("systemctl", "start", "certbot.service")
        return time.monotonic() - start

    def publish(self, *serials: int) -> None:
        """Bring another list of revoked certificates to the host as the playbook does, without running it."""
        key = serialization.load_pem_private_key((self.clients / "ca.key").read_bytes(), None)
        issuer = x509.load_pem_x509_certificate((self.clients / "ca.crt").read_bytes())
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=30))
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        assert isinstance(key, EllipticCurvePrivateKey)
        text = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        write = f"cat > {CRL}.new && chgrp drydock {CRL}.new && chmod 0640 {CRL}.new && mv {CRL}.new {CRL} && {RELOAD}"
        assert self.host("sh", "-c", write, stdin=text).stdout.strip() == "changed"


@contextmanager
def certified_hosts(folder: Path) -> Iterator[Certificates]:
    """Start a host with nothing deployed on it but the directory, and settings that order from it."""
    made = Certificates("certificates", folder)
    with deployed_hosts(made):
        # What was there before has a certificate already, and the first one has to be ordered from nothing.
        made.play("teardown.yml", '--extra-vars={"drydock_teardown_destroy": ["data", "users", "tls"]}')
        made.host("sh", "-c", "cat > /srv/pebble", stdin=PEBBLE.read_text(encoding="utf-8"))
        made.host("env", f'PEBBLE_EAB="{EAB_KEY_ID}": "{EAB_KEY}"', "sh", "/srv/pebble")
        authority = made.host("cat", "/etc/pebble/ca.crt").stdout
        root = made.host(
            "curl", "--silent", "--fail", "--cacert", "/etc/pebble/ca.crt", "https://localhost:15000/roots/0"
        )
        made.settings.update(
            registry_tls_provider="acme",
            registry_tls_acme_email="operations@example.com",
            registry_tls_acme_directory_url="https://localhost:14000/dir",
            registry_tls_acme_ca_certificate=authority,
            registry_tls_acme_eab_key_id=EAB_KEY_ID,
            registry_tls_acme_eab_key=EAB_KEY,
            registry_tls_acme_client_ca_certificate=root.stdout,
            registry_proxy_client_certificates="optional",
            registry_auth_users=[
                {"name": "admin", "access": "admin"},
                {"name": "team-a", "access": "push", "repositories": ["team-a/**"], "certificate_only": True},
                {"name": "scanner", "access": "pull", "certificate_only": True},
            ],
        )
        yield made


def requests(deployment: Certificates) -> list[Ask]:
    """What clients do meanwhile: pull and begin to push, on kept and on new connections, by password and by certificate."""
    accept = {"Accept": MANIFEST_TYPE}
    by_password = {**accept, **deployment.authorization("admin")}
    plain, certified = deployment.context(), deployment.context("team-a")
    uploads = "/v2/team-a/app/blobs/uploads/"
    return [
        Ask("pull, password, kept", "GET", MANIFEST, 200, by_password, plain, kept=True),
        Ask("pull, password, new", "GET", MANIFEST, 200, by_password, plain, kept=False),
        Ask("pull, certificate, kept", "GET", MANIFEST, 200, accept, certified, kept=True),
        Ask("pull, certificate, new", "GET", MANIFEST, 200, accept, certified, kept=False),
        Ask("push, certificate, kept", "POST", uploads, 202, {"Content-Length": "0"}, certified, kept=True),
        Ask("push, certificate, new", "POST", uploads, 202, {"Content-Length": "0"}, certified, kept=False),
    ]
