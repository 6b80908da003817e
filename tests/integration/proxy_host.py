# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose nginx guards a registry, clients that say exactly what a test wants, and the certificates that they show."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import io
import json
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from deployment import ADDRESS, MANIFEST_TYPE, RELOAD, WAIT_SECONDS, Deployment, Run

FOLDER = Path(__file__).with_name("access")
PROXY = "/etc/drydock/proxy"
RECORD = "/run/recorded"
SOCKETS = "/var/lib/drydock/sockets"
DAY = datetime.timedelta(days=1)


# ---- certificates --------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A certificate and its key, as files for a client and as objects for what comes after."""

    files: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def cert(self) -> Path:
        """The certificate's file, with the chain where there is one."""
        return self.files / "client.cert"

    @property
    def private(self) -> Path:
        """The key's file."""
        return self.files / "client.key"


def now() -> datetime.datetime:
    """Return the time in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def pem(thing: x509.Certificate | x509.CertificateRevocationList) -> str:
    """Return the PEM text."""
    return thing.public_bytes(serialization.Encoding.PEM).decode()


class Authority:
    """A CA of client certificates that can do what none should."""

    def __init__(self, folder: Path, name: str, issuer: Authority | None = None) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.issuer = issuer
        others = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        usage = dict.fromkeys([*others.split(), "encipher_only", "decipher_only"], False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject if issuer else self.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - DAY)
            .not_valid_after(now() + 10 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
        )
        self.certificate = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())

    def issue(
        self,
        *names: str,
        usage: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
        organization: str = "",
    ) -> Pair:
        """Issue a certificate for these common names."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
        if organization:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() + begins)
            .not_valid_after(now() + ends)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        files = Path(tempfile.mkdtemp(dir=self.folder))
        pair = Pair(files, certificate, key)
        chain = [certificate] + ([self.certificate] if self.issuer else [])
        pair.cert.write_text("".join(pem(one) for one in chain), encoding="ascii")
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pair.private.write_bytes(text)
        return pair

    def crl(self, *revoked: Pair, ends: datetime.timedelta = DAY) -> str:
        """Sign the list of revoked certificates."""
        builder = x509.CertificateRevocationListBuilder(self.subject, now() - 2 * DAY, now() + ends)
        for pair in revoked:
            entry = x509.RevokedCertificateBuilder(pair.certificate.serial_number, now() - DAY / 24)
            builder = builder.add_revoked_certificate(entry.build())
        return pem(builder.sign(self.key, hashes.SHA256()))


# ---- clients -------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """An HTTP answer; the names of headers are in lower case. Status 0: the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error as registries write it."""
        return str(json.loads(self.body)["errors"][0]["code"])


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header that names a user."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


class Client:
    """A TLS connection to nginx on which a test writes its own HTTP; made anew where nginx has announced that it closes it."""

    def __init__(self, dial: Callable[[], ssl.SSLSocket]) -> None:
        self.dial = dial
        self.socket = dial()
        self.ends = False

    def raw(self, data: bytes, method: str = "GET") -> Answer:
        """Send bytes and read one answer."""
        if self.ends:
            self.socket.close()
            self.socket = self.dial()
        try:
            self.socket.sendall(data)
            response = http.client.HTTPResponse(self.socket, method=method)
            response.begin()
            body = response.read()
        except (ConnectionError, http.client.BadStatusLine, ssl.SSLError):
            return Answer(0, {}, b"")
        headers = {name.lower(): value for name, value in response.getheaders()}
        self.ends = response.will_close
        return Answer(response.status, headers, body)

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        host: str = ADDRESS,
        version: str = "HTTP/1.1",
    ) -> Answer:
        """Make a request whose target is sent as it is written."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        lines = [f"{method} {path} {version}", *([f"Host: {host}"] if host else [])]
        lines += [f"{name}: {value}" for name, value in pairs]
        if body or method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(body)}")
        return self.raw("\r\n".join([*lines, "", ""]).encode() + body, method)


class Recorded(NamedTuple):
    """One request as the registry got it; the names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]


class Site(Deployment):
    """The host, its users, its client CA, and clients of every kind."""

    def __init__(self, folder: Path, image: str, name: str = "access") -> None:
        super().__init__(name, folder, image)
        self.authority = Authority(folder, "Client CA")

    # -- what runs on the host

    def deploy(self, *options: str) -> Run:
        """Run the playbook, which has to succeed."""
        return self.play(str(FOLDER / "deploy.yml"), *options)

    def refused(self, *options: str) -> str:
        """Run the playbook, which has to fail, and return the last reason."""
        done = self.attempt(str(FOLDER / "deploy.yml"), *options)
        assert done.returncode != 0
        return done.failures[-1]

    def start_recorder(self) -> None:
        """Start writing down what the registry gets."""
        subprocess.run(["docker", "cp", FOLDER / "recorder.py", f"{self.names[ADDRESS]}:/srv/"], check=True, timeout=60)
        sockets = (f"{SOCKETS}/recorded.sock", f"{SOCKETS}/registry-a.sock")
        self.host("systemd-run", "--quiet", "--unit=recorder", "python3", "/srv/recorder.py", *sockets, RECORD)
        answers = 'until curl --silent --output /dev/null --unix-socket "$1" http://registry/; do sleep 0.1; done'
        self.host("sh", "-c", answers, "sh", sockets[0])

    @contextmanager
    def recording(self) -> Iterator[list[Recorded]]:
        """Collect what the registry gets meanwhile, apart from the questions after its health."""
        self.host("truncate", "--size=0", RECORD)
        requests: list[Recorded] = []
        yield requests
        text = self.host("cat", RECORD).stdout
        form = re.compile(r"^([A-Z]+) (\S+) HTTP/1\.[01]\n(.*?)\n\n", re.MULTILINE | re.DOTALL)
        for found in form.finditer(text.replace("\r\n", "\n")):
            headers = dict(line.split(": ", 1) for line in found[3].split("\n") if ": " in line)
            requests.append(Recorded(found[1], found[2], {name.lower(): value for name, value in headers.items()}))
        requests[:] = [one for one in requests if one.target != "/" and "/storage-check/" not in one.target]

    @contextmanager
    def holding(self) -> Iterator[Callable[[], int]]:
        """Let what is written wait before the registry; hand out what counts it, at least one."""

        def count() -> int:
            end = time.monotonic() + WAIT_SECONDS
            while not (found := self.host("cat", RECORD).stdout.count("PUT /")):
                assert time.monotonic() < end, "nothing is written"
                time.sleep(0.1)
            return found

        self.host("truncate", "--size=0", RECORD)
        self.host("touch", f"{RECORD}.hold")
        try:
            yield count
        finally:
            self.host("rm", f"{RECORD}.hold")

    def write(self, path: str, text: str) -> None:
        """Replace a file that nginx reads, in one step."""
        group = self.host("stat", "--format=%g", f"{PROXY}/nginx.conf").stdout.strip()
        script = 'cat > "$1.new" && chgrp "$2" "$1.new" && chmod 640 "$1.new" && mv "$1.new" "$1"'
        self.host("sh", "-c", script, "sh", path, group, stdin=text)

    def reload(self) -> str:
        """Run the program that reloads nginx; return the word that it prints."""
        return self.host(RELOAD).stdout.strip()

    def logged(self, marker: str) -> dict[str, Any]:
        """Wait for the line of the access log that a request with this marker leaves behind."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            for line in self.docker("logs", "--tail", "100", "drydock-proxy").stdout.splitlines():
                if marker in line:
                    return dict(json.loads(line))
            assert time.monotonic() < end, f"nobody wrote down {marker}"
            time.sleep(0.2)

    def trust(self, crl: str) -> None:
        """Bring another list of revoked certificates."""
        self.write(f"{PROXY}/client.crl", crl)
        assert self.reload() == "changed"

    # -- clients

    def context(self, pair: Pair | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return what a client trusts and shows."""
        context = ssl.create_default_context(cadata=self.ca)
        if pair:
            context.load_cert_chain(pair.cert, pair.private)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    @property
    def ca(self) -> str:
        """The CA of the server's certificate."""
        if not hasattr(self, "_ca"):
            self._ca = self.host("cat", "/etc/drydock/tls/ca.crt").stdout
        return self._ca

    @contextmanager
    def connect(
        self, pair: Pair | None = None, *, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> Iterator[Client]:
        """Open a connection."""
        chosen, address = context or self.context(pair), (self.ip, 443)

        def dial() -> ssl.SSLSocket:
            plain = socket.create_connection(address, timeout=20)
            return chosen.wrap_socket(plain, server_hostname=ADDRESS, session=session)

        client = Client(dial)
        try:
            yield client
        finally:
            client.socket.close()

    def auth(self, user: str) -> dict[str, str]:
        """Return the header of a user of the registry; none for nobody."""
        return basic(user, self.passwords[user]) if user else {}

    def answer(
        self, path: str, method: str = "GET", *, user: str = "", pair: Pair | None = None, **more: Any
    ) -> Answer:
        """Make one request on a connection of its own."""
        headers = {"Accept": MANIFEST_TYPE, **self.auth(user), **dict(more.pop("headers", {}))}
        with self.connect(pair) as client:
            return client.ask(path, method, headers, **more)

    def code(self, path: str, method: str = "GET", *, user: str = "", pair: Pair | None = None) -> int:
        """Return the status of one request, 0 where nobody answers."""
        try:
            return self.answer(path, method, user=user, pair=pair).status
        except ConnectionError:
            return 0

    def push(self, repository: str, user: str) -> str:
        """Push an image with one small layer; return the layer's digest."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(f"layer/of/{repository}"))
        layer = archive.getvalue()
        file_system = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": file_system})
        digests = []
        with self.connect() as client:
            for blob in (layer, config.encode()):
                digests.append(f"sha256:{hashlib.sha256(blob).hexdigest()}")
                begun = client.ask(f"/v2/{repository}/blobs/uploads/", "POST", self.auth(user))
                assert begun.status == 202, begun
                address = begun.headers["location"].partition(ADDRESS)[2]
                done = client.ask(f"{address}&digest={digests[-1]}", "PUT", self.auth(user), blob)
                assert done.status == 201, done
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "digest": digests[1],
                    "size": len(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                        "digest": digests[0],
                        "size": len(layer),
                    }
                ],
            }
            headers = {**self.auth(user), "Content-Type": MANIFEST_TYPE}
            done = client.ask(f"/v2/{repository}/manifests/1", "PUT", headers, json.dumps(manifest).encode())
            assert done.status == 201, done
        return digests[0]

    def docker(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker on the host."""
        return self.host("docker", *arguments, stdin=stdin, check=check)

    def give_docker(self, pair: Pair | None) -> None:
        """Let Docker on the host show a certificate, or none."""
        folder = f"/etc/docker/certs.d/{ADDRESS}"
        self.host("rm", "--force", f"{folder}/client.cert", f"{folder}/client.key")
        self.host("install", "-D", "/etc/drydock/tls/ca.crt", f"{folder}/ca.crt")
        for path in (pair.cert, pair.private) if pair else ():
            self.host("sh", "-c", 'cat > "$1"', "sh", f"{folder}/{path.name}", stdin=path.read_text(encoding="ascii"))

    def client_folder(self, pair: Pair | None) -> Path:
        """Make a folder of certificates for skopeo and podman on this machine."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "ca.crt").write_text(self.ca, encoding="ascii")
        for path in (pair.cert, pair.private) if pair else ():
            shutil.copy(path, folder)
        return folder
