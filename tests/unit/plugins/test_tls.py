# SPDX-License-Identifier: GPL-3.0-or-later
"""What registry_tls decides: names, provided pairs, renewal."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any, NamedTuple, Union

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _tls
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
Key = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]


class Pair(NamedTuple):
    """A key, its certificate, and both as PEM texts."""

    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key_text(serialization.NoEncryption())

    def key_text(
        self,
        encryption: serialization.KeySerializationEncryption,
        form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    ) -> str:
        return self.key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()

    @property
    def fingerprint(self) -> str:
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashes.Hash(hashes.SHA256())
        digest.update(public)
        return digest.finalize().hex(":")


def make(
    name: str,
    issuer: Pair | None = None,
    *,
    names: tuple[str, ...] = (),
    ca: bool = False,
    start: int = -10,
    end: int = 80,
    key: Key | None = None,
    usage: x509.ObjectIdentifier | None = None,
) -> Pair:
    """A certificate, valid from `start` to `end` days from NOW; it signs itself where no issuer is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=start))
        .not_valid_after(NOW + datetime.timedelta(days=end))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        general: list[x509.GeneralName] = []
        for entry in names:
            try:
                general.append(x509.IPAddress(ipaddress.ip_address(entry)))
            except ValueError:
                general.append(x509.DNSName(entry))
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Pair(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


@pytest.fixture(scope="module")
def root() -> Pair:
    return make("Root", ca=True, end=3000)


@pytest.fixture(scope="module")
def middle(root: Pair) -> Pair:
    return make("Middle", root, ca=True, end=2000)


@pytest.fixture(scope="module")
def leaf(middle: Pair) -> Pair:
    return make(
        "leaf",
        middle,
        names=("registry.example.com", "*.wild.example.com", "192.0.2.1", "2001:db8::1"),
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
    )


# ---- names ----


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "registry",
        "registry.example.com",
        "Registry.Example.COM",
        "xn--bcher-kva.example",
        "1st.example.com",
        "a" * 63 + ".example.com",
        "192.0.2.1",
        "2001:db8::1",
        "::1",
    ],
)
def test_name_that_clients_can_use(name: str) -> None:
    assert not _tls.name_problem("x", name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("", "x is empty: write"),
        ("  ", "x is empty"),
        ("https://registry.example.com", "is a URL: write 'registry.example.com'."),
        ("https://registry.example.com:5443/v2/", "is a URL: write 'registry.example.com'."),
        ("https://", "is a URL: write the host name alone."),
        ("registry.example.com/team", "holds a path: write 'registry.example.com'."),
        ("registry.example.com:5000", "holds a port: write 'registry.example.com'."),
        ("_:5", "holds a port: write the host name alone."),
        ("[::1]", "holds brackets or a port: write '::1'."),
        ("[::1]:5000", "holds brackets or a port: write '::1'."),
        (" registry.example.com", "holds a space: write 'registry.example.com'."),
        ("my registry", "holds a space: write one host name without spaces."),
        ("registry.example.com.", "ends with a dot: write 'registry.example.com'."),
        ("my_registry.example.com", "holds an underscore"),
        ("*.example.com", "is a wildcard"),
        ("bücher.example", "write 'xn--bcher-kva.example'."),
        ("a" * 64 + ".example.com", "longer than 63"),
        (".".join(["a" * 60] * 5), "longer than 253"),
        ("registry..example.com", "nothing before or between"),
        (".example.com", "nothing before or between"),
        ("-registry.example.com", "begins or ends with a hyphen"),
        ("registry-.example.com", "begins or ends with a hyphen"),
        ("300.1.1.1", "looks like an IP address"),
        ("10.0.0", "looks like an IP address"),
        ("registry;example", "holds ';'"),
        ("fe80::1%eth0", "holds"),
        ("a*b.example.com", "holds '*'"),
    ],
)
def test_name_that_no_client_can_use(name: str, part: str) -> None:
    sentence = _tls.name_problem("x", name)
    assert part in sentence
    assert sentence.startswith("x is ")
    assert sentence.endswith(".")


def test_wildcard_where_it_may_stand() -> None:
    assert not _tls.name_problem("x", "*.example.com", wildcard=True)
    assert _tls.name_problem("x", "a.*.example.com", wildcard=True)


@pytest.mark.parametrize(
    ("domain", "names", "expected"),
    [
        ("registry.example.com", [], ["DNS:registry.example.com"]),
        ("Registry.Example.com", ["registry.example.COM"], ["DNS:registry.example.com"]),
        ("localhost", [], ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]),
        ("localhost", ["127.0.0.1"], ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]),
        ("192.0.2.1", ["2001:DB8:0::1", "*.example.com"], ["IP:192.0.2.1", "IP:2001:db8::1", "DNS:*.example.com"]),
    ],
)
def test_subject_alt_names(domain: str, names: list[str], expected: list[str]) -> None:
    assert _tls.subject_alt_names(domain, names) == expected


# ---- a provided pair ----


def problems(certificate: str, key: str, ca: str = "", names: tuple[str, ...] = ("registry.example.com",)) -> list[str]:
    found = _tls.provided_problems({"certificate": certificate, "private_key": key, "ca_certificate": ca}, names, NOW)
    for sentence in found:
        assert sentence.startswith("registry_tls_provided.")
        assert sentence.endswith(".")
        # Nothing of the key, not even a line of its base64, may be shown.
        assert not [line for line in key.splitlines() if len(line) > 30 and "-----" not in line and line in sentence]
    return found


def test_good_pair(leaf: Pair, middle: Pair, root: Pair) -> None:
    names = ("registry.example.com", "a.wild.example.com", "192.0.2.1", "2001:db8::1")
    assert problems(leaf.pem + middle.pem, leaf.key_pem, names=names) == []
    assert problems(leaf.pem + middle.pem, leaf.key_pem, root.pem) == []
    assert problems(leaf.pem + middle.pem + root.pem, leaf.key_pem, root.pem) == []
    assert problems(leaf.pem, leaf.key_pem, middle.pem) == []
    assert problems(leaf.pem, leaf.key_pem, root.pem + middle.pem) == []
    # What other tools write around the blocks, and older forms of keys.
    assert problems("subject=CN = leaf\n" + leaf.pem + "\r\n" + middle.pem, leaf.key_pem) == []
    old = leaf.key_text(serialization.NoEncryption(), serialization.PrivateFormat.TraditionalOpenSSL)
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert problems(leaf.pem + middle.pem, parameters + old) == []


def test_what_is_written_openssl_reads_as_well(leaf: Pair, middle: Pair, root: Pair, tmp_path: Path) -> None:
    # No line break between the two.
    chain = leaf.pem.rstrip() + middle.pem
    key = leaf.key_text(serialization.NoEncryption(), serialization.PrivateFormat.TraditionalOpenSSL)
    assert problems(chain, key, root.pem) == []
    written = _tls.reencoded(
        {"certificate": chain, "private_key": f"\n{key}", "ca_certificate": f"# our CA\n{root.pem}"}
    )
    assert written == {
        "certificate": leaf.pem + middle.pem,
        "private_key": leaf.key_pem,
        "ca_certificate": root.pem,
    }
    for name, text in (
        ("given.crt", chain),
        ("written.crt", written["certificate"]),
        ("tls.key", written["private_key"]),
    ):
        (tmp_path / name).write_text(text, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(tmp_path / "given.crt", tmp_path / "tls.key")
    context.load_cert_chain(tmp_path / "written.crt", tmp_path / "tls.key")


def test_of_what_cannot_be_read_nothing_is_written() -> None:
    nothing = {"certificate": "", "private_key": "", "ca_certificate": ""}
    assert _tls.reencoded({}) == _tls.reencoded({"certificate": "x", "private_key": "x"}) == nothing


def test_self_signed_pair() -> None:
    own = make("own", names=("registry.example.com",))
    assert problems(own.pem, own.key_pem, own.pem) == []
    assert "is self-signed" in problems(own.pem, own.key_pem)[0]


def test_texts_that_are_none(leaf: Pair, middle: Pair) -> None:
    chain = leaf.pem + middle.pem
    damaged = leaf.pem.replace("M", "!", 40)
    encrypted = leaf.key_text(serialization.BestAvailableEncryption(b"secret"))
    old_encrypted = leaf.key_text(
        serialization.BestAvailableEncryption(b"secret"), serialization.PrivateFormat.TraditionalOpenSSL
    )
    cases = [
        ("", leaf.key_pem, "", "certificate is empty"),
        ("/etc/ssl/tls.crt", leaf.key_pem, "", "certificate is no PEM text"),
        (leaf.key_pem + chain, leaf.key_pem, "", "certificate holds a private key"),
        (damaged, leaf.key_pem, "", "certificate holds a PEM block that is damaged"),
        (chain.replace("BEGIN CERT", "BEGIN TRUSTED CERT"), leaf.key_pem, "", "OpenSSL's own trusted form"),
        (chain, "", "", "private_key is empty"),
        (chain, "/etc/ssl/tls.key", "", "private_key is no PEM text"),
        (chain, leaf.pem, "", "private_key is no PEM text"),
        (chain, leaf.key_pem.replace("M", "!", 3), "", "private_key holds a PEM block that is damaged"),
        (chain, encrypted, "", "private_key is encrypted"),
        (chain, old_encrypted, "", "private_key is encrypted"),
        (chain, leaf.key_pem, "ca.crt", "ca_certificate is no PEM text"),
    ]
    for certificate, key, ca, part in cases:
        found = problems(certificate, key, ca)
        assert len(found) == 1, found
        assert part in found[0]


def test_pairs_that_do_not_fit(leaf: Pair, middle: Pair, root: Pair) -> None:
    other = make("other", middle, names=("registry.example.com",))
    expired = make("expired", middle, names=("registry.example.com",), end=-1)
    early = make("early", middle, names=("registry.example.com",), start=5)
    client = make("client", middle, names=("registry.example.com",), usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    nameless = make("registry.example.com", middle)
    short = make(
        "short",
        middle,
        names=("registry.example.com",),
        key=rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 (that is what is tested)
    )
    ended = make("Middle", root, ca=True, end=-1, key=middle.key)
    cases = [
        (leaf.pem + middle.pem, other.key_pem, "", "private_key does not belong to"),
        (middle.pem + leaf.pem, leaf.key_pem, "", "has its chain out of order: the private key belongs to a later"),
        (leaf.pem + root.pem + middle.pem, leaf.key_pem, "", "has its chain out of order: 'CN=leaf' was not issued"),
        (leaf.pem, leaf.key_pem, "", "has no chain: append the certificate of its issuer 'CN=Middle'"),
        (leaf.pem, leaf.key_pem, root.pem, "does not lead to registry_tls_provided.ca_certificate"),
        (leaf.pem + middle.pem, leaf.key_pem, other.pem, "which is no CA"),
        (expired.pem + middle.pem, expired.key_pem, "", "expired on 2029-12-31 00:00 UTC"),
        (early.pem + middle.pem, early.key_pem, "", "is not valid before 2030-01-06 00:00 UTC"),
        (leaf.pem + ended.pem, leaf.key_pem, "", "'CN=Middle' expired"),
        (client.pem + middle.pem, client.key_pem, "", "is not issued for servers"),
        (nameless.pem + middle.pem, nameless.key_pem, "", "does not cover registry.example.com but only nothing"),
        (short.pem + middle.pem, short.key_pem, "", "RSA key of 1024 bits"),
    ]
    for certificate, key, ca, part in cases:
        found = problems(certificate, key, ca)
        assert part in found[0], found


@pytest.mark.parametrize("name", ["wild.example.com", "a.b.wild.example.com", "example.com", "192.0.2.2", "registry"])
def test_names_that_the_certificate_does_not_cover(leaf: Pair, middle: Pair, name: str) -> None:
    found = problems(leaf.pem + middle.pem, leaf.key_pem, names=("registry.example.com", name))
    assert len(found) == 1
    assert f"does not cover {name} but only registry.example.com, *.wild.example.com" in found[0]


# ---- settings as a whole ----

SETTINGS: dict[str, Any] = {
    "provider": "self_signed",
    "domain": "registry.example.com",
    "names": [],
    "directory": "/etc/drydock/tls",
    "ca_directory": "/etc/drydock/ca",
    "valid_days": 90,
    "renew_before_days": 30,
    "ca_valid_days": 3650,
    "provided": {},
}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, []),
        ({"domain": ""}, ["registry_tls_domain (drydock_domain) is empty"]),
        ({"domain": None}, ["registry_tls_domain (drydock_domain) is empty"]),
        ({"names": ["ok.example.com", "a b"]}, ["registry_tls_names[1] is 'a b'"]),
        ({"names": ["*.example.com"]}, []),
        ({"domain": "a_b", "valid_days": 0}, ["underscore", "registry_tls_valid_days is 0"]),
        ({"renew_before_days": -1}, ["registry_tls_renew_before_days is -1"]),
        ({"renew_before_days": 90}, ["renews a certificate of 90 days at every run"]),
        ({"ca_valid_days": 90}, ["registry_tls_ca_valid_days is 90"]),
        ({"directory": "tls"}, ["registry_tls_directory is 'tls'"]),
        ({"directory": "/"}, ["registry_tls_directory is '/'"]),
        ({"directory": "/etc"}, ["registry_tls_directory is '/etc'"]),
        ({"ca_directory": "/etc/drydock/../"}, ["registry_tls_ca_directory is"]),
        ({"ca_directory": "/etc/drydock/tls"}, ["lies in registry_tls_directory"]),
        ({"ca_directory": "/etc/drydock/tls/ca"}, ["lies in registry_tls_directory"]),
        ({"ca_directory": "/etc/drydock/tls-ca"}, []),
        ({"directory": "/etc/drydock/ca/tls"}, ["lies in registry_tls_ca_directory"]),
        # The periods are those of self_signed, the pair that of provided.
        ({"provider": "provided", "valid_days": 0}, ["certificate is empty", "private_key is empty"]),
    ],
)
def test_settings(changes: dict[str, Any], parts: list[str]) -> None:
    found = _tls.settings_problems({**SETTINGS, **changes}, NOW)
    assert len(found) == len(parts), found
    for sentence, part in zip(found, parts):
        assert part in sentence


def test_settings_of_a_provided_pair(leaf: Pair, middle: Pair) -> None:
    provided = {"certificate": leaf.pem + middle.pem, "private_key": leaf.key_pem}
    settings = {**SETTINGS, "provider": "provided", "provided": provided}
    assert _tls.settings_problems(settings, NOW) == []
    assert _tls.settings_problems({**settings, "domain": "Registry.Example.com", "names": ["2001:DB8::1"]}, NOW) == []
    # A name that is none is told once, not as one more that the certificate lacks.
    assert len(_tls.settings_problems({**settings, "domain": "https://x"}, NOW)) == 1


def test_controller_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tls, "HAS_CRYPTOGRAPHY", False)
    found = _tls.settings_problems({**SETTINGS, "domain": ""}, NOW)
    assert len(found) == 2
    assert "-m pip install 'cryptography>=43'" in found[1]


# ---- renewal ----


def reasons(certificate: str, pair: Pair, issuer: Pair, **options: Any) -> list[str]:
    options = {"alt_names": ["DNS:registry.example.com", "IP:::1"], "days_left": 30, **options}
    return _tls.reasons_to_issue(certificate, key_fingerprint=pair.fingerprint, issuer=issuer.pem, now=NOW, **options)


def test_reasons_to_issue(root: Pair) -> None:
    own = make("own", root, names=("registry.example.com", "::1"), end=30)
    assert reasons(own.pem, own, root) == []
    # The order of names does not matter, nor does a CA certificate renewed with its key.
    assert reasons(own.pem, own, root, alt_names=["IP:::1", "DNS:registry.example.com"]) == []
    assert reasons(own.pem, own, make("Root", ca=True, key=root.key)) == []
    for certificate in ("", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert reasons(certificate, own, root) == ["there is none that can be read"]
    assert reasons(own.pem, own, root, days_left=31) == ["fewer than 31 days are left"]
    assert reasons(own.pem, own, root, alt_names=["DNS:other.example.com"]) == ["its names changed"]
    assert reasons(own.pem, own, root, alt_names=["DNS:registry.example.com"]) == ["its names changed"]
    assert reasons(own.pem, root, root) == ["it does not belong to the private key"]
    assert reasons(own.pem, own, make("Root", ca=True)) == ["it was not signed by this CA"]
    future = make("own", root, names=("registry.example.com", "::1"), start=1)
    assert reasons(future.pem, future, root) == ["it is not valid before 2030-01-02 00:00 UTC"]


def test_reasons_to_issue_a_ca(root: Pair, leaf: Pair) -> None:
    def of(pair: Pair, certificate: str, days_left: int = 90) -> list[str]:
        return _tls.reasons_to_issue(
            certificate, key_fingerprint=pair.fingerprint, days_left=days_left, now=NOW, ca=True
        )

    assert of(root, root.pem) == []
    assert of(root, root.pem, 3001) == ["fewer than 3001 days are left"]
    assert of(leaf, root.pem) == ["it does not belong to the private key"]
    assert of(leaf, make("x", key=leaf.key, end=3000).pem) == ["it is no CA's"]


def test_what_is_due(root: Pair) -> None:
    own = make("own", root, names=("registry.example.com", "::1"), end=60)
    rsa_key = make(
        "own", root, names=("registry.example.com", "::1"), end=60, key=rsa.generate_private_key(65537, 2048)
    )

    def due(**changes: Any) -> bool:
        wanted: dict[str, Any] = {
            "certificate": own.pem,
            "ca": root.pem,
            "pairs_load": True,
            "key": {"type": "ECC", "curve": "secp256r1"},
            "alt_names": ["DNS:registry.example.com", "IP:::1"],
            "valid_days": 90,
            "renew_before_days": 30,
        }
        return _tls.is_due(**{**wanted, **changes}, now=NOW)

    rsa_kind = {"type": "RSA", "size": 2048}
    assert [due(), due(key={}), due(key={"type": "ECC", "curve": None})] == [False] * 3
    assert not due(certificate=rsa_key.pem, key=rsa_kind)
    cases: dict[str, dict[str, Any]] = {
        "no certificate": {"certificate": ""},
        "a broken one": {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "no CA": {"ca": ""},
        "a missing, broken or foreign key": {"pairs_load": False},
        "another curve": {"key": {"type": "ECC", "curve": "secp384r1"}},
        "another type": {"key": rsa_kind},
        "another type back": {"certificate": rsa_key.pem},
        "another size": {"certificate": rsa_key.pem, "key": {"type": "RSA"}},
        "other names": {"alt_names": ["DNS:other.example.com"]},
        "the days": {"renew_before_days": 61},
        "another CA": {"ca": make("Root", ca=True).pem},
        "a CA that ends first": {"valid_days": 3001},
        "a CA that is none": {"ca": own.pem},
    }
    assert [name for name, changes in cases.items() if not due(**changes)] == []
