# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for a load balancer: a pair that the user gives, and the proof that ACM asks for before it issues one.

No function here returns, raises or logs anything of a private key.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ansible_collections.drydock.registry.plugins.module_utils import _tls
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
except ImportError:  # the role says what to install
    pass

# What an Application Load Balancer takes from ACM and IAM.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html
RSA_BITS = (2048, 3072, 4096)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
# How long ACM is left alone between two questions.
POLL_SECONDS = 5.0
# Why ACM gave up, and what helps.
# https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-failed.html
FAILURES = {
    "CAA_ERROR": "the domain's CAA records let no CA of Amazon's issue: add one for amazon.com, or delete them",
    "DOMAIN_NOT_ALLOWED": "Amazon holds the domain for unsafe: write to AWS Support",
    "ADDITIONAL_VERIFICATION_REQUIRED": "Amazon wants to know more before it issues for this domain: write to AWS Support",
    "NO_AVAILABLE_CONTACTS": "nobody could be asked: use a certificate that is validated by DNS",
}


class Arn(NamedTuple):
    """What an ARN of a certificate says."""

    service: str
    region: str
    account_id: str
    resource: str


def parse_arn(arn: str) -> Optional[Arn]:
    """Read the ARN of a certificate in ACM, or of a server certificate in IAM; None when it is neither."""
    match = re.fullmatch(
        r"arn:aws[\w-]*:(?:(?P<acm>acm):(?P<region>[a-z0-9-]+)|(?P<iam>iam):):(?P<account>\d{12}):"
        r"(?P<resource>(?(acm)certificate|server-certificate)/\S+)",
        arn,
    )
    if not match:
        return None
    return Arn(match["acm"] or match["iam"], match["region"] or "", match["account"], match["resource"])


def covers(names: Sequence[str], domain: str) -> bool:
    """Tell whether a client that asks for the domain is content; a wildcard stands for one label, the leftmost."""
    known = {name.lower() for name in names}
    return domain.lower() in known or "*." + domain.lower().partition(".")[2] in known


def names_of(certificate: str) -> list[str]:
    """The names in a certificate's PEM text; none when it cannot be read."""
    found = _tls.certificates(certificate)
    return _tls.names_of(found[0]) if found else []


def is_over(certificate: str) -> bool:
    """Tell whether a certificate's time is over."""
    found = _tls.certificates(certificate)
    return bool(found) and found[0].not_valid_after_utc <= datetime.datetime.now(datetime.timezone.utc)


# ----- a pair that is given ---------------------------------------------------------------------


def fingerprint(certificate: str, chain: str) -> str:
    """Name a certificate and its chain by what they are, however their PEM text is written; empty when it cannot be read."""
    found = [*_tls.certificates(certificate), *_tls.certificates(chain)]
    if not found:
        return ""
    encoded = b"".join(one.public_bytes(serialization.Encoding.DER) for one in found)
    return hashlib.sha256(encoded).hexdigest()


def private_ca(certificate: str, chain: str) -> str:
    """The CA that clients have to be told to trust, where the chain leads to its root; a public CA's root is left out of chains."""
    found = [*_tls.certificates(certificate), *_tls.certificates(chain)]
    if not found or not _issued_by(found[-1], found[-1]):
        return ""
    return found[-1].public_bytes(serialization.Encoding.PEM).decode()


def pair_problems(certificate: str, chain: str, key: str, domain: str, now: datetime.datetime) -> list[str]:
    """Everything about a pair that AWS would refuse or a client would not trust, as sentences."""
    problem = _tls.library_problem()
    if problem:
        return [problem]
    variable = "aws_load_balancer_certificate"
    problems = [_text_problem(variable, certificate)]
    if chain.strip():
        problems.append(_text_problem("aws_load_balancer_certificate_chain", chain))
    private, key_problem = _load_key(key)
    problems = [problem for problem in (*problems, key_problem) if problem]
    if problems or private is None:
        return problems

    leaf, *others = [*_tls.certificates(certificate), *_tls.certificates(chain)]
    if len(_tls.certificates(certificate)) > 1:
        problems.append(
            f"{variable} holds several certificates: leave the server's there, and write the others as "
            "aws_load_balancer_certificate_chain."
        )
    if not _same_key(leaf, private):
        problems.append(
            f"aws_load_balancer_certificate_key does not belong to {variable} ({_who(leaf)}): write the key that the certificate was "
            "issued for."
        )
    names = _tls.names_of(leaf)
    if not covers(names, domain):
        problems.append(
            f"{variable} is for {', '.join(names) or 'no name'}, not for {domain} (aws_load_balancer_domain): write a certificate that "
            "covers it, or another domain."
        )
    return [*problems, *_chain_problems([leaf, *others]), *_date_problems([leaf, *others], now)]


def _text_problem(variable: str, text: str) -> str:
    if not text.strip():
        return f"{variable} is empty: write the PEM text, for example with lookup('ansible.builtin.file', 'tls.crt')."
    if "PRIVATE KEY-----" in text:
        return f"{variable} holds a private key: leave certificates there, and write the key as aws_load_balancer_certificate_key."
    if not _tls.certificates(text):
        return (
            f"{variable} is no PEM text of a certificate: write a file's content with lookup('ansible.builtin.file', 'tls.crt'), not its "
            "path."
        )
    return ""


def _load_key(text: str) -> tuple[Optional[PrivateKeyTypes], str]:
    """The private key, or what is wrong with it. What the library says is not passed on."""
    variable = "aws_load_balancer_certificate_key"
    if not text.strip():
        return (
            None,
            f"{variable} is empty: write the PEM text of the key that belongs to the certificate, from a vault.",
        )
    if "ENCRYPTED" in text:
        return (
            None,
            f"{variable} is encrypted, and AWS takes no passphrase: decrypt it (openssl pkey), and keep it in a vault.",
        )
    try:
        key = serialization.load_pem_private_key(text.strip().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, f"{variable} is no PEM text of a private key: copy the whole file again, with all its line breaks."
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in RSA_BITS:
        return key, ""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return key, ""
    return None, f"{variable} is of a kind that load balancers do not take: use ECDSA P-256, or RSA with 2048 bits."


def _same_key(certificate: Certificate, key: PrivateKeyTypes) -> bool:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def _chain_problems(chain: Sequence[Certificate]) -> list[str]:
    variable = "aws_load_balancer_certificate_chain"
    for certificate, issuer in zip(chain, chain[1:]):
        if not _issued_by(certificate, issuer):
            return [
                (
                    f"{variable} is out of order: {_who(certificate)} was not issued by {_who(issuer)}, which follows it; write the issuer "
                    "of the server's certificate first, and each one's issuer after it."
                )
            ]
    if len(chain) == 1 and not _issued_by(chain[0], chain[0]):
        return [
            (
                f"{variable} is empty, but the certificate was issued by {chain[0].issuer.rfc4514_string()!r}: write that CA's "
                "certificate, or clients cannot tell who vouches for it."
            )
        ]
    return []


def _date_problems(chain: Sequence[Certificate], now: datetime.datetime) -> list[str]:
    problems = []
    for certificate in chain:
        if certificate.not_valid_after_utc <= now:
            problems.append(
                f"The certificate of {_who(certificate)} in aws_load_balancer_certificate or its chain expired on "
                f"{_tls.day(certificate.not_valid_after_utc)}: write a renewed one."
            )
        elif certificate.not_valid_before_utc > now:
            problems.append(
                f"The certificate of {_who(certificate)} in aws_load_balancer_certificate or its chain is not valid before "
                f"{_tls.day(certificate.not_valid_before_utc)}: wait until then, or set this machine's clock right."
            )
    return problems


def _issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _who(certificate: Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


# ----- the proof for ACM ------------------------------------------------------------------------


def describe(account: Account, arn: str) -> dict[str, Any]:
    """What ACM says of a certificate; nothing when there is none."""
    answer = account.ask("acm", "describe_certificate", missing=["ResourceNotFoundException"], CertificateArn=arn)
    found: dict[str, Any] = (answer or {}).get("Certificate", {})
    return found


def proofs(certificate: Mapping[str, Any]) -> list[dict[str, str]]:
    """The records by which ACM sees whose domain it is, each once; none while ACM has not made them up."""
    records = [option.get("ResourceRecord") or {} for option in certificate.get("DomainValidationOptions", [])]
    by_name = {record["Name"].rstrip(".").lower(): record["Value"] for record in records if record.get("Name")}
    return [{"name": name, "value": value} for name, value in by_name.items()]


def wait_for(
    look: Callable[[], Mapping[str, Any]],
    good: Callable[[Mapping[str, Any]], bool],
    seconds: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Mapping[str, Any]:
    """Ask again until the certificate is as it is to be, has failed, or time is over; return what was seen last."""
    end = clock() + seconds
    while True:
        found = look()
        failed = found.get("Status", "PENDING_VALIDATION") not in {"PENDING_VALIDATION", "ISSUED"}
        if good(found) or failed or clock() >= end:
            return found
        sleep(POLL_SECONDS)


def idempotency_token(domain: str, tags: Mapping[str, Any]) -> str:
    """What two runs say when they ask for the same certificate, so that ACM makes one; it holds for an hour."""
    return hashlib.sha256(
        json.dumps([domain.lower(), sorted((key, str(value)) for key, value in tags.items())]).encode()
    ).hexdigest()[:32]


def is_unusable(certificate: Mapping[str, Any]) -> bool:
    """Tell whether a certificate that ACM has answered with is gone or has failed: for an hour, it goes on answering with that one."""
    return certificate.get("Status", "gone") not in {"PENDING_VALIDATION", "ISSUED"}


def refuse_unproven(certificate: Mapping[str, Any], domain: str, seconds: float) -> None:
    """Say that nobody could prove whose domain it is, as ACM does not say how."""
    if proofs(certificate):
        return
    raise AwsProblem(
        f"ACM has not said in {seconds:.0f} s which records prove whose domain {domain} is: run the playbook again, which goes on with "
        "the certificate that is requested."
    )


def refuse_unissued(certificate: Mapping[str, Any], seconds: float) -> None:
    """Say why a certificate that was asked for is not there."""
    status = certificate.get("Status", "")
    arn, domain = certificate.get("CertificateArn", ""), certificate.get("DomainName", "")
    if status == "ISSUED":
        return
    if status == "PENDING_VALIDATION":
        raise AwsProblem(
            f"ACM has not issued the certificate for {domain} in {seconds:.0f} s: see that the domain's registrar names the name "
            "servers of the hosted zone, then run the playbook again, which goes on waiting."
        )
    reason = str(certificate.get("FailureReason") or status)
    advice = FAILURES.get(reason, "see its page in the console of ACM, put that right, and run the playbook again")
    raise AwsProblem(f"ACM does not issue the certificate for {domain} ({arn}, {reason}): {advice}.")
