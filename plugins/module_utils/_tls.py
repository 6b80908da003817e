# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What registry_tls decides: which names a certificate carries, what is wrong with it, when it is made anew.

No function here raises or logs anything of a private key, and one alone returns one.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
    from cryptography.x509 import Certificate

try:
    import cryptography
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    # 43 is the first release whose every call that is used below is there.
    HAS_CRYPTOGRAPHY = int(cryptography.__version__.split(".", 1)[0]) >= 43

# OpenSSL's security level 2, the default of Debian's and others' nginx, refuses a shorter RSA key.
SMALLEST_RSA_BITS = 2048

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<rest>.*)$", re.DOTALL)
_PORT = re.compile(r"^(?P<host>[^:]*):[0-9]*$")
_BRACKETS = re.compile(r"^\[(?P<host>[^\]]*)\](?P<port>:[0-9]*)?$")
_CERTIFICATE_BLOCK = "-----BEGIN CERTIFICATE-----"
_TRUSTED_BLOCK = "-----BEGIN TRUSTED CERTIFICATE-----"


def library_problem() -> str:
    """The sentence for a controller without the library that reads certificates; empty when it is there."""
    if HAS_CRYPTOGRAPHY:
        return ""
    return (
        "The Python that runs ansible-playbook has no cryptography of version 43 or newer, which reads certificates: "
        f"run `{sys.executable} -m pip install 'cryptography>=43'`."
    )


# ---- names ---------------------------------------------------------------------------------------------------------


def as_address(name: str) -> str:
    """The IP address in its one canonical form, or nothing."""
    try:
        return "" if "%" in name else str(ipaddress.ip_address(name))
    except ValueError:
        return ""


def _bare_host(text: str) -> str:
    """A guess at the host within a URL or an image's name, for the `write this` of a sentence."""
    match = _SCHEME.match(text)
    host = (match["rest"] if match else text).split("/", 1)[0].rsplit("@", 1)[-1].strip()
    for pattern in (_BRACKETS, _PORT):
        match = pattern.match(host)
        if match:
            host = match["host"]
    return host.rstrip(".")


def name_problem(variable: str, name: str, *, wildcard: bool = False) -> str:
    """Why no client could reach a registry under this name, as a sentence with the fix; empty when it can."""
    if not name.strip():
        return f"{variable} is empty: write the name that clients use, such as registry.example.com or localhost."
    if as_address(name):
        return ""
    start = f"{variable} is {name!r}, which "
    bare = _bare_host(name)
    # The guess is shorter than the name, or there is none: this ends.
    good = bare not in {"", name} and not name_problem("", bare, wildcard=wildcard)
    write = f"write {bare!r}." if good else "write the host name alone."
    if _SCHEME.match(name):
        return f"{start}is a URL: {write}"
    if "/" in name:
        return f"{start}holds a path: {write}"
    if re.search(r"\s", name):
        compact = "".join(name.split())
        fits = name.strip() == compact and not name_problem("", compact, wildcard=wildcard)
        return f"{start}holds a space: " + (f"write {compact!r}." if fits else "write one host name without spaces.")
    if _BRACKETS.match(name):
        return f"{start}holds brackets or a port: {write}"
    if _PORT.match(name):
        return f"{start}holds a port: {write}"
    if name.endswith("."):
        return f"{start}ends with a dot: {write}"
    labels = name.split(".")
    if labels[0] == "*" and len(labels) > 1:
        if not wildcard:
            return f"{start}is a wildcard: write the one name that clients use; a wildcard may stand in registry_tls_names."
        labels = labels[1:]
    if "_" in name:
        return f"{start}holds an underscore, which no host name may: use a name with a hyphen instead."
    if not name.isascii():
        try:
            ascii_form = name.encode("idna").decode("ascii")
        except UnicodeError:
            ascii_form = ""
        return f"{start}has letters beyond ASCII: " + (
            f"write {ascii_form!r}." if ascii_form else "write its ASCII form, which begins with xn--."
        )
    wrong = sorted(set(re.findall(r"[^A-Za-z0-9-]", "".join(labels))))
    if wrong:
        return f"{start}holds {' '.join(wrong)!r}: a host name has letters, digits, hyphens and dots only."
    if len(name) > 253:
        return f"{start}is longer than 253 characters: use a shorter name."
    if any(label == "" for label in labels):
        return f"{start}has nothing before or between its dots: write a name such as registry.example.com."
    if any(len(label) > 63 for label in labels):
        return f"{start}has a part longer than 63 characters: use a shorter name."
    if any(label[0] == "-" or label[-1] == "-" for label in labels):
        return f"{start}has a part that begins or ends with a hyphen: use a name without."
    if labels[-1].isdigit():
        return f"{start}looks like an IP address but is none: write four numbers from 0 to 255, or a host name."
    return ""


def wanted_names(domain: str, names: Sequence[str]) -> list[str]:
    """Every name and address once, in canonical form; `localhost` brings its two addresses along."""
    wanted = [domain, *names]
    if domain.lower() == "localhost":
        wanted += ["127.0.0.1", "::1"]
    return list(dict.fromkeys(as_address(name) or name.lower() for name in wanted if name))


def subject_alt_names(domain: str, names: Sequence[str]) -> list[str]:
    """The names as community.crypto takes them: `DNS:registry.example.com`, `IP:192.0.2.1`."""
    return [f"IP:{name}" if as_address(name) else f"DNS:{name}" for name in wanted_names(domain, names)]


# ---- reading certificates ------------------------------------------------------------------------------------------


def certificates(pem: str) -> list[Certificate]:
    """All certificates of a PEM text in their order; none when it cannot be read."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return []


def _fingerprint(key: PublicKeyTypes) -> str:
    """SHA-256 of a public key, in the form of community.crypto."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(encoded)
    return digest.finalize().hex(":")


def _public_key(certificate: Certificate) -> PublicKeyTypes | None:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _key_matches(certificate: Certificate, fingerprint: str) -> bool:
    key = _public_key(certificate)
    return key is not None and _fingerprint(key) == fingerprint


def _extension(certificate: Certificate, kind: type[Any]) -> Any:
    """The extension's value, or None where it is missing or cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def names_of(certificate: Certificate) -> list[str]:
    """The names a client compares with, in canonical form. Clients have stopped reading the common name."""
    extension = _extension(certificate, x509.SubjectAlternativeName)
    if extension is None:
        return []
    dns = [str(name).lower() for name in extension.get_values_for_type(x509.DNSName)]
    return dns + [str(address) for address in extension.get_values_for_type(x509.IPAddress)]


def _covers(alt_names: Sequence[str], name: str) -> bool:
    """Whether a client that asks for this name is content. `*` stands for exactly one leftmost label."""
    if name in alt_names:
        return True
    if as_address(name) or "." not in name:
        return False
    return "*." + name.split(".", 1)[1] in alt_names


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_ca(certificate: Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return bool(constraints is not None and constraints.ca)


def _who(certificate: Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


def day(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


# ---- a pair that the user provides ---------------------------------------------------------------------------------


def certificate_text_problem(variable: str, text: str) -> str:
    """Why a text is no PEM certificate; empty when it reads like one."""
    if not text.strip():
        return f"{variable} is empty: give it the PEM text, for example with lookup('ansible.builtin.file', 'tls.crt')."
    if "PRIVATE KEY-----" in text:
        return f"{variable} holds a private key: give it certificates only and put the key into registry_tls_provided.private_key."
    if _TRUSTED_BLOCK in text:
        return (
            f"{variable} is in OpenSSL's own trusted form: convert it with `openssl x509 -in tls.crt -out plain.crt`."
        )
    if _CERTIFICATE_BLOCK not in text:
        return (
            f"{variable} is no PEM text, which begins with {_CERTIFICATE_BLOCK}: "
            "give it a file's content with lookup('ansible.builtin.file', 'tls.crt'), not its path; `openssl x509 -inform DER` converts."
        )
    if not certificates(text):
        return f"{variable} holds a PEM block that is damaged: copy the whole file again, with all its line breaks."
    return ""


def _load_key(text: str) -> tuple[PrivateKeyTypes | None, str]:
    """The private key or what is wrong with it. What the library says is not passed on."""
    variable = "registry_tls_provided.private_key"
    if not text.strip():
        return (
            None,
            f"{variable} is empty: give it the PEM text of the key that belongs to the certificate, from a vault.",
        )
    if "PRIVATE KEY-----" not in text:
        return None, (
            f"{variable} is no PEM text of a private key: "
            "give it the file's content with lookup('ansible.builtin.file', 'tls.key'), not its path."
        )
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in text or "Proc-Type: 4,ENCRYPTED" in text:
        return None, (
            f"{variable} is encrypted and nginx starts without anybody to type a passphrase: "
            "decrypt it with `openssl pkey -in tls.key -out plain.key` and keep the result in a vault."
        )
    try:
        # What stands before the key, such as `BEGIN EC PARAMETERS`, confuses no nginx, but the library.
        start = re.search(r"-----BEGIN (?!EC PARAMETERS)[A-Z ]*PRIVATE KEY-----", text)
        return serialization.load_pem_private_key(text[start.start() if start else 0 :].encode(), password=None), ""
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return (
            None,
            f"{variable} holds a PEM block that is damaged: copy the whole file again, with all its line breaks.",
        )


def _key_kind_problem(key: PrivateKeyTypes) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < SMALLEST_RSA_BITS:
            return (
                f"registry_tls_provided.private_key is an RSA key of {key.key_size} bits, which OpenSSL refuses: "
                f"have a certificate issued for a key of {SMALLEST_RSA_BITS} bits or more, or for an ECDSA key."
            )
        return ""
    if isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        return ""
    return "registry_tls_provided.private_key is of a kind that no TLS client takes: use an ECDSA P-256 or an RSA key."


def _validity_problems(variable: str, certificate: Certificate, now: datetime.datetime) -> list[str]:
    if certificate.not_valid_after_utc <= now:
        return [
            (
                f"{variable}: the certificate of {_who(certificate)} expired on {day(certificate.not_valid_after_utc)}: "
                "provide a renewed one."
            )
        ]
    if certificate.not_valid_before_utc > now:
        return [
            (
                f"{variable}: the certificate of {_who(certificate)} is not valid before {day(certificate.not_valid_before_utc)}: "
                "wait until then, or set this machine's clock right."
            )
        ]
    return []


def _chain_problems(chain: Sequence[Certificate], anchors: Sequence[Certificate]) -> list[str]:
    """Whether each certificate was issued by the next, and the last one by what clients trust."""
    variable = "registry_tls_provided.certificate"
    for certificate, issuer in zip(chain, chain[1:]):
        if not _issued(issuer, certificate):
            return [
                (
                    f"{variable} has its chain out of order: {_who(certificate)} was not issued by {_who(issuer)}, which follows it; "
                    "put the server's certificate first and each one's issuer after it."
                )
            ]
    last = chain[-1]
    own = _issued(last, last)
    if anchors:
        if last in anchors or any(_issued(anchor, last) for anchor in anchors):
            return []
        return [
            (
                f"{variable} does not lead to registry_tls_provided.ca_certificate: {_who(last)} was issued by "
                f"{last.issuer.rfc4514_string()!r}; append the certificates in between, or give the right CA."
            )
        ]
    if own and len(chain) == 1:
        return [
            (
                f"{variable} is self-signed, so no client knows whom to trust: "
                "put the same text into registry_tls_provided.ca_certificate too, or use the provider self_signed."
            )
        ]
    if not own and len(chain) == 1:
        return [
            (
                f"{variable} has no chain: append the certificate of its issuer {last.issuer.rfc4514_string()!r} "
                "(the file that CAs call fullchain.pem), or give that CA as registry_tls_provided.ca_certificate."
            )
        ]
    return []


def provided_problems(provided: Mapping[str, Any], names: Sequence[str], now: datetime.datetime) -> list[str]:
    """Everything that would keep nginx from starting or a client from trusting a pair the user provides."""
    text = {key: str(provided.get(key) or "") for key in ("certificate", "private_key", "ca_certificate")}
    variable = "registry_tls_provided.certificate"
    ca_variable = "registry_tls_provided.ca_certificate"
    problems = [problem for problem in [certificate_text_problem(variable, text["certificate"])] if problem]
    key, problem = _load_key(text["private_key"])
    problems += [problem] if problem else []
    if text["ca_certificate"].strip():
        problem = certificate_text_problem(ca_variable, text["ca_certificate"])
        problems += [problem] if problem else []
    if problems or key is None:
        return problems

    chain = certificates(text["certificate"])
    anchors = certificates(text["ca_certificate"])
    fingerprint = _fingerprint(key.public_key())
    problem = _key_kind_problem(key)
    problems += [problem] if problem else []
    if not _key_matches(chain[0], fingerprint):
        if any(_key_matches(certificate, fingerprint) for certificate in chain[1:]):
            return [
                *problems,
                (
                    f"{variable} has its chain out of order: the private key belongs to a later certificate than {_who(chain[0])}; "
                    "put the server's certificate first and each one's issuer after it."
                ),
            ]
        return [
            *problems,
            (
                "registry_tls_provided.private_key does not belong to registry_tls_provided.certificate "
                f"({_who(chain[0])}): provide the key that the certificate was issued for."
            ),
        ]

    alt_names = names_of(chain[0])
    missing = [name for name in names if not _covers(alt_names, name)]
    if missing:
        problems.append(
            f"{variable} does not cover {', '.join(missing)} but only {', '.join(alt_names) or 'nothing'}: "
            "provide a certificate with all of the names, or correct registry_tls_domain (drydock_domain) and registry_tls_names."
        )
    usage = _extension(chain[0], x509.ExtendedKeyUsage)
    if usage is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
        usage
    ):
        problems.append(
            f"{variable} is not issued for servers: have one issued with the extended key usage serverAuth."
        )
    for certificate in chain:
        problems += _validity_problems(variable, certificate, now)
    for certificate in anchors:
        problems += _validity_problems(ca_variable, certificate, now)
        if not _is_ca(certificate) and certificate != chain[0]:
            problems.append(
                f"{ca_variable} holds {_who(certificate)}, which is no CA: give the certificate that clients shall trust."
            )
    return problems + _chain_problems(chain, anchors)


def reencoded(provided: Mapping[str, Any]) -> dict[str, str]:
    """The pair and the CA, written anew from what was read: programs differ in which PEM they read. What cannot be read is left out."""

    def pem(name: str) -> str:
        found = certificates(str(provided.get(name) or ""))
        return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)

    key, _problem = _load_key(str(provided.get("private_key") or ""))
    kind, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, kind, encryption).decode() if key else ""
    return {"certificate": pem("certificate"), "private_key": text, "ca_certificate": pem("ca_certificate")}


# ---- settings as a whole -------------------------------------------------------------------------------------------


def _directory_problems(directory: str, ca_directory: str) -> list[str]:
    problems = []
    for variable, path in (("registry_tls_directory", directory), ("registry_tls_ca_directory", ca_directory)):
        if not re.fullmatch(r"/[^/]+(/[^/]+)+", path) or {".", ".."} & set(path.split("/")):
            problems.append(
                f"{variable} is {path!r}: write an absolute path of two or more parts, such as /etc/drydock/tls, "
                "for the directory is this role's alone and is deleted with it."
            )
    if not problems and (ca_directory + "/").startswith(directory + "/"):
        problems.append(
            f"registry_tls_ca_directory {ca_directory!r} lies in registry_tls_directory {directory!r}, which nginx reads: "
            "write a path elsewhere, so that nothing but root reaches the CA's key."
        )
    if not problems and directory.startswith(ca_directory + "/"):
        problems.append(
            f"registry_tls_directory {directory!r} lies in registry_tls_ca_directory {ca_directory!r}, which only root may enter: "
            "write a path elsewhere."
        )
    return problems


def _period_problems(valid_days: int, renew_before_days: int, ca_valid_days: int) -> list[str]:
    problems = []
    if valid_days < 1:
        problems.append(f"registry_tls_valid_days is {valid_days}: write 1 or more.")
    if renew_before_days < 0:
        problems.append(f"registry_tls_renew_before_days is {renew_before_days}: write 0 or more.")
    if problems:
        return problems
    if renew_before_days >= valid_days:
        problems.append(
            f"registry_tls_renew_before_days is {renew_before_days}, which renews a certificate of {valid_days} days at every run: "
            "write fewer days than registry_tls_valid_days."
        )
    if ca_valid_days <= valid_days:
        problems.append(
            f"registry_tls_ca_valid_days is {ca_valid_days}, but the CA must outlive the certificates of {valid_days} days it signs: "
            "write more days than registry_tls_valid_days."
        )
    return problems


def settings_problems(settings: Mapping[str, Any], now: datetime.datetime) -> list[str]:
    """What keeps registry_tls from its outcome with these settings, a sentence each; needs no host."""
    provider = str(settings["provider"])
    domain = str(settings["domain"] or "")
    names = [str(name) for name in settings["names"]]
    problems = [name_problem("registry_tls_domain (drydock_domain)", domain)]
    problems += [name_problem(f"registry_tls_names[{index}]", name, wildcard=True) for index, name in enumerate(names)]
    problems = [problem for problem in problems if problem]
    names_are_good = not problems
    problems += _directory_problems(str(settings["directory"]), str(settings["ca_directory"]))
    library = library_problem()
    if library:
        return [*problems, library]
    if provider == "self_signed":
        problems += _period_problems(
            int(settings["valid_days"]), int(settings["renew_before_days"]), int(settings["ca_valid_days"])
        )
    if provider == "provided":
        wanted = [as_address(name) or name.lower() for name in [domain, *names]] if names_are_good else []
        problems += provided_problems(settings["provided"], wanted, now)
    return problems


# ---- a certificate of the deployment's own -------------------------------------------------------------------------


def reasons_to_issue(
    certificate: str,
    *,
    key_fingerprint: str,
    days_left: int,
    now: datetime.datetime,
    issuer: str = "",
    alt_names: Sequence[str] = (),
    ca: bool = False,
) -> list[str]:
    """Why this certificate must be made (anew); nothing when it serves on."""
    found = certificates(certificate) if certificate.strip() else []
    if not found:
        return ["there is none that can be read"]
    leaf = found[0]
    signers = [leaf] if ca else certificates(issuer)
    reasons = []
    if not _key_matches(leaf, key_fingerprint):
        reasons.append("it does not belong to the private key")
    elif not any(_issued(signer, leaf) for signer in signers):
        reasons.append("it was not signed by this CA")
    if ca != _is_ca(leaf):
        reasons.append("it is no CA's" if ca else "it is a CA's")
    wanted = [name.split(":", 1)[1] for name in alt_names]
    if not ca and set(wanted) != set(names_of(leaf)):
        reasons.append("its names changed")
    if leaf.not_valid_before_utc > now:
        reasons.append(f"it is not valid before {day(leaf.not_valid_before_utc)}")
    if leaf.not_valid_after_utc - now < datetime.timedelta(days=days_left):
        reasons.append(f"fewer than {days_left} days are left")
    return reasons


def _is_of_kind(key: PublicKeyTypes | None, kind: Mapping[str, Any]) -> bool:
    """Tell whether a key is of the wanted type, and of the wanted curve or size."""
    if str(kind.get("type") or "ECC") == "RSA":
        return isinstance(key, rsa.RSAPublicKey) and key.key_size == int(kind.get("size") or 3072)
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == str(kind.get("curve") or "secp256r1")


def is_due(
    *,
    certificate: str,
    ca: str,
    pairs_load: bool,
    key: Mapping[str, Any],
    alt_names: Sequence[str],
    valid_days: int,
    renew_before_days: int,
    now: datetime.datetime,
) -> bool:
    """Tell whether a key or a certificate of the server or of its CA has to be made (anew).

    Where the host could load both pairs, the keys are those of the certificates, so these tell all that there is to know of them.
    """
    leaves, signers = certificates(certificate), certificates(ca)
    if not (pairs_load and leaves and signers):
        return True
    keys = _public_key(leaves[0]), _public_key(signers[0])
    if keys[0] is None or keys[1] is None or not _is_of_kind(keys[0], key):
        return True
    ca_reasons = reasons_to_issue(ca, key_fingerprint=_fingerprint(keys[1]), days_left=valid_days, now=now, ca=True)
    return bool(
        ca_reasons
        or reasons_to_issue(
            certificate,
            key_fingerprint=_fingerprint(keys[0]),
            days_left=renew_before_days,
            now=now,
            issuer=ca,
            alt_names=alt_names,
        )
    )
