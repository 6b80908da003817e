# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA for client certificates that lives in one folder: what it holds, what is wrong with it, what a run has to do.

The folder is the only record. Each fact is a file of its own that is made in one step, so a run that ends at any moment
leaves facts that the next one goes on from:

    ca.key, ca.crt        the CA
    issued/SERIAL.crt     each certificate; written before anybody gets it
    revoked/SERIAL.json   each revocation, with its date and reason
    crl.pem               all revocations, signed; made anew from revoked/ where it is lost
    pending/NAME.key      a key whose certificate is not handed out yet
    NAME/                 what a client gets: client.key, client.cert, ca.crt

No function here returns, raises or logs anything of a private key or a passphrase.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.drydock.registry.plugins.module_utils._access import CERTIFICATE_NAME, CERTIFICATE_NAME_RULE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID
except ImportError:
    # The filters say so; see _tls.library_problem.
    pass

# Names that the folder needs for itself.
OWN_NAMES = ("ca.key", "ca.crt", "crl.pem", "issued", "revoked", "pending")
REASONS = (
    "unspecified",
    "key_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "privilege_withdrawn",
)
ASN1_TIME = "%Y%m%d%H%M%SZ"


class Unreadable(Exception):
    """A file that cannot be read or understood; the text is a sentence for the user."""


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued."""

    name: str
    serial: int
    not_before: datetime.datetime
    not_after: datetime.datetime
    public_key: bytes
    path: str

    @property
    def hex(self) -> str:
        return serial_text(self.serial)


@dataclass(frozen=True)
class Revocation:
    """That a certificate is revoked, since when and why."""

    serial: int
    date: str
    reason: str

    @property
    def moment(self) -> datetime.datetime:
        return datetime.datetime.strptime(self.date, ASN1_TIME).replace(tzinfo=datetime.timezone.utc)


@dataclass(frozen=True)
class Bundle:
    """What lies in a client's folder."""

    name: str
    certificate: bytes
    ca: bytes


@dataclass
class State:
    """What lies in the folder of a CA."""

    directory: str
    problems: list[str] = field(default_factory=list)
    exists: bool = False
    key_exists: bool = False
    key_public: bytes = b""
    certificate: str = ""
    crl: str = ""
    crl_problem: str = ""
    crl_entries: dict[int, Revocation] = field(default_factory=dict)
    recorded: dict[int, Revocation] = field(default_factory=dict)
    issued: list[Issued] = field(default_factory=list)
    # The public key by name.
    pending: dict[str, bytes] = field(default_factory=dict)
    bundles: list[Bundle] = field(default_factory=list)
    open_files: list[str] = field(default_factory=list)

    @property
    def revoked(self) -> dict[int, Revocation]:
        """All revocations, wherever they are written down."""
        return {**self.crl_entries, **self.recorded}

    def valid(self, name: str) -> list[Issued]:
        """The certificates of a name that are not revoked, the newest first."""
        found = [each for each in self.issued if each.name == name and each.serial not in self.revoked]
        return sorted(found, key=lambda each: (each.not_before, each.not_after, each.serial), reverse=True)

    def resumable(self) -> dict[str, Issued]:
        """The certificates that were signed for a pending key, and not handed out yet."""
        found = {}
        for name, public in self.pending.items():
            signed = [each for each in self.valid(name) if each.public_key == public]
            if signed:
                found[name] = signed[0]
        return found


# ----- names --------------------------------------------------------------------------------------------------------


def names(value: object) -> list[str]:
    """Take a list, or a text with commas, as the names in it."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Sequence):
        return [name for item in value for name in (names(item) if isinstance(item, str) else [str(item)])]
    return [str(value)]


def name_problem(name: str) -> str:
    """Say why a certificate cannot be for this name, or nothing."""
    if not CERTIFICATE_NAME.fullmatch(name):
        return f"{_shown(name)} is no name for a certificate: {CERTIFICATE_NAME_RULE}."
    if name.lower() in OWN_NAMES:
        return f"{_shown(name)} is a file of the CA's own folder: choose another name."
    return ""


def request_problems(state: State, issue: list[str], renew: list[str], revoke: list[str]) -> list[str]:
    """Say what is wrong with what is asked for, one sentence each. Certificates are revoked first, then renewed, then issued."""
    asked = {"issued": issue, "renewed": renew, "revoked": revoke}
    problems = [problem for wanted in asked.values() for problem in map(name_problem, dict.fromkeys(wanted)) if problem]
    problems += [
        f"{_shown(name)} is to be {verb} {count} times: name it once."
        for verb, wanted in asked.items()
        for name, count in Counter(wanted).items()
        if count > 1
    ]
    problems += [
        f"{_shown(name)} is to be renewed and {verb}: ask for one of the two."
        for verb, wanted in (("issued", issue), ("revoked", revoke))
        for name in dict.fromkeys(renew)
        if name in wanted
    ]
    if problems:
        return problems
    resumable = state.resumable()
    known = {each.name for each in state.issued}
    for name in issue:
        valid = state.valid(name)
        if valid and name not in resumable and name not in revoke:
            problems.append(
                f"{_shown(name)} has a certificate already, until {_day(valid[0].not_after)}: "
                "renew it, or revoke it first where its key may be in other hands."
            )
    for name in renew:
        if name not in known:
            problems.append(f"{_shown(name)} has no certificate to renew: issue one. {_known(known)}")
        elif not state.valid(name):
            problems.append(f"All certificates of {_shown(name)} are revoked: issue a new one.")
    problems += [
        f"{_shown(name)} has no certificate to revoke. {_known(known)}" for name in revoke if name not in known
    ]
    return problems


def ephemeral_problems(state: State, name: str, directory: str) -> list[str]:
    """Say why no certificate can be made for this name and into this folder, one sentence each."""
    problems = [name_problem(name)] if name_problem(name) else []
    if not (state.key_exists and state.certificate):
        problems.append(f"There is no CA in {state.directory} yet: run configure.yml, or this role's entry point main.")
    if not (os.path.isabs(directory) and os.path.isdir(directory)):
        problems.append(
            f"registry_client_ca_ephemeral_directory is {directory!r}: write the absolute path of a folder that exists."
        )
    return problems


def _known(known: Iterable[str]) -> str:
    listed = ", ".join(sorted(known))
    return f"There are certificates of {listed}." if listed else "No certificate has been issued yet."


def _shown(text: str) -> str:
    shown = f"'{text}'" if text.isprintable() else ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:70]}...'"


# ----- settings -----------------------------------------------------------------------------------------------------


def settings_problems(directory: str, valid_days: int, ca_valid_days: int, crl_valid_days: int) -> list[str]:
    """Say which settings lead nowhere, one sentence each."""
    problems = []
    if not os.path.isabs(directory):
        problems.append(f"registry_client_ca_directory is {directory!r}: write an absolute path.")
    if valid_days < 1:
        problems.append(f"registry_client_ca_valid_days is {valid_days}: write 1 or more.")
    if crl_valid_days < 2:
        problems.append(f"registry_client_ca_crl_valid_days is {crl_valid_days}: write 2 or more.")
    if ca_valid_days <= valid_days:
        problems.append(
            f"registry_client_ca_ca_valid_days is {ca_valid_days}, but the CA must outlive the certificates of {valid_days} days "
            "it signs: write more days than registry_client_ca_valid_days."
        )
    return problems


# ----- reading the folder -------------------------------------------------------------------------------------------


def read_state(directory: str, passphrase: str) -> State:
    """Read a CA's folder. What is wrong with it is in `problems`, one sentence each."""
    state = State(directory)
    try:
        names_there = sorted(os.listdir(directory))
    except FileNotFoundError:
        return state
    except OSError as error:
        state.problems.append(_cannot_read(directory, error))
        return state
    state.exists = True
    for step in (_read_issued, _read_revoked, _read_crl, _read_pending):
        step(state)
    _read_bundles(state, names_there)
    _read_ca(state, passphrase)
    if not state.problems:
        state.problems += _lost_revocations_problems(state)
        state.open_files = _open_files(directory)
    return state


def _cannot_read(path: str, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror}): run as the user who owns it."


def _read(state: State, path: str) -> bytes:
    """Read a file; nothing where there is none, and a problem where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        state.problems.append(_cannot_read(path, error))
        return b""


def _files(state: State, folder: str, suffix: str) -> list[str]:
    """The files of a kind in a folder of the CA's, without the leftovers of a run that was killed."""
    path = os.path.join(state.directory, folder)
    try:
        found = sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        state.problems.append(_cannot_read(path, error))
        return []
    return [os.path.join(path, name) for name in found if name.endswith(suffix) and not name.startswith(".")]


def _read_issued(state: State) -> None:
    for path in _files(state, "issued", ".crt"):
        before = len(state.problems)
        text = _read(state, path)
        try:
            state.issued.append(_issued(text, path))
        except ValueError:
            if len(state.problems) == before:
                state.problems.append(
                    f"{path} is no certificate: put it back from a backup. Without it the certificate could not be revoked."
                )


def _issued(text: bytes, path: str) -> Issued:
    certificate = x509.load_pem_x509_certificate(text)
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Issued(
        name=str(found[0].value) if found else "",
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        public_key=_public(certificate.public_key()),
        path=path,
    )


def _read_revoked(state: State) -> None:
    for path in _files(state, "revoked", ".json"):
        text = _read(state, path)
        try:
            revocation = _revocation(text, path)
        except (ValueError, TypeError, KeyError):
            state.problems.append(
                f"{path} does not say when and why a certificate was revoked: put it back from a backup, or write "
                '{"date": "20260131120000Z", "reason": "unspecified"} into it.'
            )
        else:
            state.recorded[revocation.serial] = revocation


def _revocation(text: bytes, path: str) -> Revocation:
    entry = json.loads(text)
    serial = int(os.path.basename(path)[: -len(".json")], 16)
    revocation = Revocation(serial, entry["date"], entry["reason"])
    if revocation.reason not in REASONS or revocation.moment.year < 1950:
        raise ValueError(path)
    return revocation


def _read_crl(state: State) -> None:
    text = _read(state, os.path.join(state.directory, "crl.pem"))
    if not text:
        return
    try:
        crl = x509.load_pem_x509_crl(text)
        for entry in crl:
            state.crl_entries[entry.serial_number] = Revocation(
                entry.serial_number, entry.revocation_date_utc.strftime(ASN1_TIME), _reason(entry)
            )
    except (ValueError, UnsupportedAlgorithm):
        state.crl_problem = "the old one cannot be read"
        return
    state.crl = text.decode("ascii", "replace")


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        flag = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return "unspecified"
    word = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", flag.value).lower()
    return word if word in REASONS else "unspecified"


def _read_pending(state: State) -> None:
    for path in _files(state, "pending", ".key"):
        text = _read(state, path)
        try:
            key = serialization.load_pem_private_key(text, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Nobody has it, and nothing was signed for it: it is made anew when it is needed.
            continue
        state.pending[os.path.basename(path)[: -len(".key")]] = _public(key.public_key())


def _read_bundles(state: State, found: Iterable[str]) -> None:
    for name in found:
        folder = os.path.join(state.directory, name)
        if name_problem(name) or not os.path.isdir(folder):
            continue
        certificate, ca = (_read(state, os.path.join(folder, file)) for file in ("client.cert", "ca.crt"))
        state.bundles.append(Bundle(name, certificate, ca))


def _read_ca(state: State, passphrase: str) -> None:
    key_path, certificate_path = (os.path.join(state.directory, name) for name in ("ca.key", "ca.crt"))
    before = len(state.problems)
    certificate = _read(state, certificate_path)
    key = _read(state, key_path)
    if len(state.problems) > before:
        return
    state.certificate = certificate.decode("utf-8", "replace")
    if not key:
        if certificate or state.issued:
            state.problems.append(
                f"{key_path} is missing, but certificates were signed with it: put it back from a backup. To begin anew with "
                f"another CA instead, move {state.directory} away; then no client gets in until it has a new certificate."
            )
        return
    state.key_exists = True
    try:
        state.key_public = _load_key(key, key_path, passphrase)
        certified = _load_ca(certificate, certificate_path) if certificate else state.key_public
    except Unreadable as error:
        state.problems.append(str(error))
        return
    if certified != state.key_public:
        state.problems.append(
            f"{key_path} is not the key of {certificate_path}: put the one back from a backup that was there before."
        )


def _load_key(text: bytes, path: str, passphrase: str) -> bytes:
    """Open the CA's key and return its public half."""
    if b"PRIVATE KEY-----" not in text:
        raise Unreadable(f"{path} is no private key: put it back from a backup.")
    encrypted = b"ENCRYPTED" in text
    if encrypted and not passphrase:
        raise Unreadable(f"{path} is encrypted: set registry_client_ca_passphrase to the passphrase it was made with.")
    if passphrase and not encrypted:
        raise Unreadable(
            f"{path} is not encrypted, but registry_client_ca_passphrase is set: leave it out, or encrypt the key with "
            f"`openssl pkey -aes256 -in {path} -out {path}.new` and put that in its place."
        )
    try:
        key = serialization.load_pem_private_key(text, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is not passed on: what OpenSSL tells of a key is nobody's business.
        if encrypted:
            raise Unreadable(f"registry_client_ca_passphrase is not the passphrase of {path}: correct it.") from None
        raise Unreadable(f"{path} is no private key that can be read: put it back from a backup.") from None
    return _public(key.public_key())


def _load_ca(text: bytes, path: str) -> bytes:
    """Return the public key of the CA's certificate."""
    try:
        return _public(x509.load_pem_x509_certificate(text).public_key())
    except (ValueError, UnsupportedAlgorithm):
        raise Unreadable(
            f"{path} is no certificate: put it back from a backup, or delete it to have it made anew."
        ) from None


def _lost_revocations_problems(state: State) -> list[str]:
    """A CRL made from nothing would let revoked clients in again."""
    revoked = os.path.join(state.directory, "revoked")
    if not state.issued or state.crl or os.path.isdir(revoked):
        return []
    return [
        (
            f"{state.directory} has neither a crl.pem that can be read nor the folder revoked, so nobody knows which certificates "
            f"were revoked: put them back from a backup, or, if none ever was, make the folder {revoked}."
        )
    ]


def _open_files(directory: str) -> list[str]:
    """The files and folders that others than their owner can reach."""
    return [
        path
        for folder, _folders, files in os.walk(directory)
        for path in (folder, *(os.path.join(folder, name) for name in files))
        if not os.path.islink(path) and os.stat(path).st_mode & 0o077
    ]


# ----- what a run has to do -----------------------------------------------------------------------------------------


def ca_reasons(state: State, valid_days: int, now: datetime.datetime) -> list[str]:
    """Why the CA's certificate must be signed (anew). With the same key and name it stays the same CA."""
    if not state.certificate:
        return ["there is none"]
    certificate = x509.load_pem_x509_certificate(state.certificate.encode())
    # No certificate may outlive the CA, so the CA is due when one more would.
    if certificate.not_valid_after_utc - now < datetime.timedelta(days=valid_days):
        return [f"fewer than {valid_days} days are left"]
    return []


def crl_reasons(state: State, crl_valid_days: int, now: datetime.datetime) -> list[str]:
    """Why the CRL must be signed (anew)."""
    if state.crl_problem:
        return [state.crl_problem]
    if not state.crl:
        return ["there is none"]
    reasons = []
    crl = x509.load_pem_x509_crl(state.crl.encode())
    ca = x509.load_pem_x509_certificate(state.certificate.encode()) if state.certificate else None
    if ca is not None and not _signed(crl, ca):
        reasons.append("it was not signed by this CA")
    end = crl.next_update_utc
    if end is None or end <= now:
        reasons.append(
            f"it ended on {_day(end)}, and servers have refused every certificate since" if end else "it has no end"
        )
    elif end - now < datetime.timedelta(days=crl_valid_days) / 2:
        reasons.append(f"it ends on {_day(end)}, in less than half of {crl_valid_days} days")
    missing = set(state.recorded) - set(state.crl_entries)
    if missing:
        reasons.append(f"it lacks {len(missing)} revoked certificate{'s' if len(missing) > 1 else ''}")
    return reasons


def _signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.issuer == ca.subject and crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False


def revocations(
    state: State, wanted: Iterable[str], reason: str, now: datetime.datetime, *, keep_newest: bool = False
) -> list[dict[str, Any]]:
    """The revocations that are still to be written down so that no certificate of these names is valid, or the newest alone."""
    return [
        {
            "name": name,
            "file": f"{each.hex}.json",
            "content": json.dumps({"date": now.strftime(ASN1_TIME), "reason": reason}) + "\n",
        }
        for name in dict.fromkeys(wanted)
        for each in state.valid(name)[1 if keep_newest else 0 :]
    ]


def summary(
    state: State, valid_days: int, crl_valid_days: int, server_ca: bytes, now: datetime.datetime
) -> dict[str, Any]:
    """All that the role's tasks need to know, as plain values."""
    usable = not state.problems
    crl = x509.load_pem_x509_crl(state.crl.encode()) if state.crl else None
    serials = {bundle.name: _bundle_serial(bundle) for bundle in state.bundles}
    found = certificates(state, now)
    return {
        "problems": state.problems,
        "exists": state.exists,
        "missing_folders": [
            path
            for path in (os.path.join(state.directory, name) for name in ("issued", "revoked"))
            if not os.path.isdir(path)
        ],
        "key_exists": state.key_exists,
        "certificate": state.certificate,
        "name": ca_name(state.key_public) if state.key_public else "",
        "issuer": _issuer(state.certificate) if usable and state.certificate else [],
        "ca_reasons": ca_reasons(state, valid_days, now) if usable else [],
        "crl": state.crl,
        "crl_next_update": crl.next_update_utc.isoformat() if crl and crl.next_update_utc else "",
        "crl_reasons": crl_reasons(state, crl_valid_days, now) if usable else [],
        "crl_entries": [
            {
                "serial_number": each.serial,
                "revocation_date": each.date,
                **({} if each.reason == "unspecified" else {"reason": each.reason}),
            }
            for each in sorted(state.revoked.values(), key=lambda each: (each.date, each.serial))
        ],
        "certificates": found,
        "table": table(found),
        "resumable": [
            {
                "name": name,
                "path": each.path,
                "old_pkcs12": os.path.exists(os.path.join(state.directory, name, "client.p12")),
            }
            for name, each in sorted(state.resumable().items())
        ],
        "pending": os.path.isdir(os.path.join(state.directory, "pending")),
        # Their keys open nothing any more, and nobody should hand them out.
        "dead_bundles": [name for name, serial in serials.items() if serial in state.revoked],
        "stale_bundles": [
            bundle.name
            for bundle in state.bundles
            if server_ca and bundle.certificate and bundle.ca != server_ca and serials[bundle.name] not in state.revoked
        ],
        "open_files": state.open_files,
    }


def _bundle_serial(bundle: Bundle) -> int | None:
    try:
        return x509.load_pem_x509_certificate(bundle.certificate).serial_number
    except ValueError:
        return None


def certificates(state: State, now: datetime.datetime) -> list[dict[str, Any]]:
    """Every certificate that was issued, by name and the newest first."""
    revoked = state.revoked
    found = sorted(state.issued, key=lambda each: (each.name, -each.not_before.timestamp(), each.serial))
    return [
        {
            "name": each.name,
            "serial": each.hex,
            "not_after": each.not_after.isoformat(),
            "days_left": max(0, math.ceil((each.not_after - now) / datetime.timedelta(days=1))),
            "revoked_on": revoked[each.serial].moment.isoformat() if each.serial in revoked else "",
            "reason": revoked[each.serial].reason if each.serial in revoked else "",
        }
        for each in found
    ]


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lay certificates out for a person, a line each."""
    head = ("name", "serial", "until", "days left", "revoked on")
    lines = [head]
    lines += [
        (
            str(row["name"]),
            str(row["serial"]),
            str(row["not_after"])[:10],
            "-" if row["revoked_on"] else str(row["days_left"]),
            f"{str(row['revoked_on'])[:10]} ({row['reason']})" if row["revoked_on"] else "-",
        )
        for row in rows
    ]
    if len(lines) == 1:
        return ["No client certificate has been issued yet."]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def ca_name(public_key: bytes) -> str:
    """The CA's name follows its key: a certificate that is signed anew is the same CA, and two deployments differ."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public_key)
    return f"drydock client CA {digest.finalize().hex()[:16]}"


def serial_text(serial: int) -> str:
    """A serial number as openssl writes it."""
    text = f"{serial:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _issuer(certificate: str) -> list[dict[str, str]]:
    """The CA's subject as community.crypto takes it."""
    subject = x509.load_pem_x509_certificate(certificate.encode()).subject
    return [{attribute.rfc4514_attribute_name: str(attribute.value)} for attribute in subject]


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _day(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d")
