# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with settings for AWS that can be seen without asking AWS.

Each function returns the end of a sentence ("... is empty: write one"), without its full stop, or nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import TAG

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# The IAM names made of it (64 characters at most) still hold the longest region.
DEPLOYMENT_LIMIT = 32
# A VPC is cut into 16 parts, none smaller than the smallest subnet of AWS.
SUBNET_BITS = 4
SMALLEST_SUBNET = 28
# AWS lets a thing have 50 tags; Name and ours are two of them.
TAGS_LIMIT = 48
# The characters that every service takes (EC2 takes more).
TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")

# EC2 takes ED25519 and RSA; the others are named so that the sentence can say it.
EC2_KEY_TYPES = ("ssh-ed25519", "ssh-rsa")
KEY_TYPES = (
    *EC2_KEY_TYPES,
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
)


class PublicKey(NamedTuple):
    """A key as a line of OpenSSH has it."""

    type: str
    blob: bytes

    @property
    def sha256(self) -> str:
        """The fingerprint as ssh shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """Type and key, without a comment."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


# ----- names ------------------------------------------------------------------------------------


def deployment_problem(name: str) -> str:
    """A deployment's name becomes part of other names, of which S3's and IAM's are the strictest."""
    if not name:
        return "is empty: write a name such as drydock"
    if len(name) > DEPLOYMENT_LIMIT:
        return f"is {len(name)} characters long: write at most {DEPLOYMENT_LIMIT}"
    if not re.fullmatch(r"[a-z0-9-]+", name):
        return "has other characters than lower-case letters, digits and hyphens: leave them out"
    if name.startswith("-") or name.endswith("-"):
        return "begins or ends with a hyphen: leave it out"
    return ""


def bucket_problem(name: str) -> str:
    """S3's rules for names, and one of ours: without dots, which S3's certificate does not cover."""
    if not 3 <= len(name) <= 63:
        return f"is {len(name)} characters long: write 3 to 63"
    if re.fullmatch(r"\d+(?:\.\d+){3}", name):
        return "has the form of an IP address: write another name"
    if not re.fullmatch(r"[a-z0-9.-]+", name):
        return "has other characters than lower-case letters, digits and hyphens: leave them out"
    if "." in name:
        return "has dots in it, and S3's TLS certificate does not cover such names: write hyphens"
    if name.startswith("-") or name.endswith("-"):
        return "begins or ends with a hyphen: leave it out"
    for prefix in ("xn--", "sthree-", "amzn-s3-demo-"):
        if name.startswith(prefix):
            return f"begins with {prefix}, which AWS keeps for itself: write another name"
    for suffix in ("-s3alias", "--ol-s3", "--x-s3", "--table-s3", ".mrap"):
        if name.endswith(suffix):
            return f"ends with {suffix}, which AWS keeps for itself: write another name"
    return ""


def prefix_problem(prefix: str) -> str:
    """A prefix stands in ARNs, where some characters are wildcards or variables."""
    if not prefix:
        return ""
    if not re.fullmatch(r"[A-Za-z0-9!_.'()/-]+", prefix):
        return "has characters that an ARN or a path does not take as they are: write letters, digits and - _ . /"
    if "//" in prefix:
        return "has two slashes in a row: write one"
    return ""


def domain_problem(domain: str) -> str:
    """A name that a record can have."""
    if len(domain) > 253:
        return "is longer than 253 characters: shorten it"
    label = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
    if not re.fullmatch(rf"{label}(?:\.{label})+", domain):
        return "is no domain name: write one such as registry.example.com"
    return ""


def is_address(name: str) -> bool:
    """Tell an IP address from a name, some of which look like names."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def tags_problems(tags: Mapping[str, object], variable: str) -> list[str]:
    """Tags that no service would refuse, and none of ours."""
    problems = []
    if len(tags) > TAGS_LIMIT:
        problems.append(f"{variable} has {len(tags)} tags: write at most {TAGS_LIMIT}.")
    for key, value in tags.items():
        text = "" if value is None else str(value)
        if key == TAG:
            problems.append(f"{variable} has the tag {key}, which is set by itself: leave it out.")
        elif not key or len(key) > 128:
            problems.append(f"{variable} has a key of {len(key)} characters: write 1 to 128.")
        elif key.lower().startswith("aws:"):
            problems.append(
                f"{variable} has the tag {key}, and AWS keeps keys with aws: for itself: write another key."
            )
        elif len(text) > 256:
            problems.append(f"The value of {key} in {variable} has {len(text)} characters: write at most 256.")
        elif not TAG_TEXT.fullmatch(key) or not TAG_TEXT.fullmatch(text):
            problems.append(
                f"The tag {key} in {variable} has characters other than letters, digits, spaces and _ . : / = + - @: leave them out."
            )
    return problems


# ----- networks ---------------------------------------------------------------------------------


def cidr_problem(cidr: str) -> str:
    """A network of any kind."""
    if "/" not in cidr:
        return (
            f"has no length: write {cidr}/32 for one address"
            if ":" not in cidr
            else f"has no length: write {cidr}/128 for one address"
        )
    try:
        ipaddress.ip_network(cidr)
    except ValueError:
        try:
            network: Network = ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            return "is no network: write one such as 192.0.2.0/24"
        return f"is an address in a network: write {network}"
    return ""


def vpc_cidr_problem(cidr: str) -> str:
    """A network for a VPC that is cut into 16 parts."""
    problem = cidr_problem(cidr)
    if problem:
        return problem
    network = ipaddress.ip_network(cidr)
    if network.version != 4:
        return "is no IPv4 network: write one such as 10.60.0.0/16"
    smallest = SMALLEST_SUBNET - SUBNET_BITS
    if not 16 <= network.prefixlen <= smallest:
        return f"is a /{network.prefixlen}: write one from /16, the largest that AWS takes, to /{smallest}, which holds 16 subnets"
    return ""


def subnet_parts(cidr: str) -> list[ipaddress.IPv4Network]:
    """The 16 equal parts of a VPC's network, one of which is a subnet's."""
    network = ipaddress.IPv4Network(cidr)
    return list(network.subnets(prefixlen_diff=min(SUBNET_BITS, max(SMALLEST_SUBNET - network.prefixlen, 0))))


# ----- keys -------------------------------------------------------------------------------------


def parse_public_key(text: str) -> PublicKey:
    """Read `type base64 [comment]`; a ValueError's text says what is wrong."""
    text = text.strip()
    if not text:
        raise ValueError("is empty: write the content of a file such as ~/.ssh/id_ed25519.pub")
    if "PRIVATE KEY" in text:
        raise ValueError(
            "is a private key: write the content of the .pub file beside it, and make a new key, since this one was shown"
        )
    words = text.split()
    if "\n" in text or words[0] not in KEY_TYPES or len(words) < 2:
        raise ValueError(
            "is no public key of OpenSSH: write the content of a file such as ~/.ssh/id_ed25519.pub, one line"
        )
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if not well_formed(words[0], blob):
        raise ValueError("is damaged, as its key does not match its type: copy the whole line again")
    return PublicKey(words[0], blob)


def public_key_problem(text: str) -> str:
    """A public key that EC2 takes."""
    try:
        key = parse_public_key(text)
    except ValueError as error:
        return str(error)
    if key.type not in EC2_KEY_TYPES:
        return f"is of the type {key.type}: EC2 takes ssh-ed25519 and ssh-rsa, so make one with ssh-keygen -t ed25519"
    return ""


def well_formed(kind: str, blob: bytes) -> bool:
    """Tell whether a key's bytes are what its type says, to the last byte (RFC 4253, RFC 5656, RFC 8709)."""
    parts = _strings(blob)
    if not parts or parts[0] != kind.encode():
        return False
    if kind == "ssh-ed25519":
        return len(parts) == 2 and len(parts[1]) == 32
    if kind == "ssh-rsa":
        return len(parts) == 3 and len(parts[1]) >= 1 and len(parts[2]) >= 128
    if kind.startswith("ecdsa-sha2-"):
        return len(parts) == 3 and parts[1] == kind[len("ecdsa-sha2-") :].encode() and parts[2][:1] == b"\x04"
    return len(parts) >= 2


def same_key(key: PublicKey, public_key: str, fingerprint: str) -> bool:
    """Tell whether a key pair of EC2 has this key: by its public key, or else by its fingerprint.

    An imported RSA key has the MD5 of its DER form, an ED25519 key the SHA-256 in base64.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
    """
    if public_key:
        try:
            return parse_public_key(public_key).blob == key.blob
        except ValueError:
            return False
    if key.type == "ssh-ed25519":
        given = fingerprint.removeprefix("SHA256:")
        return given.rstrip("=") == key.sha256[len("SHA256:") :]
    return fingerprint == rsa_md5(key)


def rsa_md5(key: PublicKey) -> str:
    """The fingerprint of an imported RSA key: the MD5 of its SubjectPublicKeyInfo (RFC 3279)."""
    _type, exponent, modulus = _strings(key.blob)
    numbers = _der(0x30, _der(0x02, modulus) + _der(0x02, exponent))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    digest = hashlib.md5(_der(0x30, algorithm + _der(0x03, b"\x00" + numbers)), usedforsecurity=False).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, 32, 2))


def _strings(blob: bytes) -> Sequence[bytes]:
    """Split what SSH packs as length and bytes; nothing when it does not come out even."""
    parts = []
    while blob:
        if len(blob) < 4:
            return []
        (length,) = struct.unpack(">I", blob[:4])
        if len(blob) < 4 + length:
            return []
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return parts


def _der(tag: int, content: bytes) -> bytes:
    """Pack one value of DER."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
