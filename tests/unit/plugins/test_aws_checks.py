# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for AWS that can be judged without AWS."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.aws_metadata_problem import aws_metadata_problem
from ansible_collections.drydock.registry.plugins.module_utils import _aws_checks as checks
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import region_problem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from moto.ec2.utils import public_key_fingerprint, select_hash_algorithm


def line(key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


# Always the same, because they stand in the tests' names, which all workers have to agree on.
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
RSA = rsa.RSAPublicNumbers(65537, 2**2047 + 1).public_key()
ECDSA = ec.derive_private_key(2**200 + 1, ec.SECP256R1()).public_key()


@pytest.mark.parametrize("name", ["drydock", "a", "team-7", "x" * 32])
def test_good_deployments(name: str) -> None:
    assert checks.deployment_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        ("x" * 33, "33"),
        ("Team", "lower-case"),
        ("a_b", "lower-case"),
        ("-a", "hyphen"),
        ("a-", "hyphen"),
    ],
)
def test_bad_deployments(name: str, word: str) -> None:
    assert word in checks.deployment_problem(name)


@pytest.mark.parametrize("name", ["abc", "example-images", "0-9", "x" * 63])
def test_good_buckets(name: str) -> None:
    assert checks.bucket_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ab", "3 to 63"),
        ("x" * 64, "3 to 63"),
        ("Images", "lower-case"),
        ("my_bucket", "lower-case"),
        ("images.example.com", "certificate"),
        ("192.0.2.1", "IP address"),
        ("-images", "hyphen"),
        ("images-", "hyphen"),
        ("xn--images", "xn--"),
        ("images-s3alias", "-s3alias"),
        ("images--x-s3", "--x-s3"),
    ],
)
def test_bad_buckets(name: str, word: str) -> None:
    assert word in checks.bucket_problem(name)


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "192.0.2.7/32", "10.0.0.0/8", "::/0", "2001:db8::/32"])
def test_good_networks(cidr: str) -> None:
    assert checks.cidr_problem(cidr) == ""


@pytest.mark.parametrize(
    ("cidr", "words"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("192.0.2.7/24", "write 192.0.2.0/24"),
        ("10.0.0.1/8/9", "no network"),
        ("10.0.0.256/8", "no network"),
        ("everybody", "no length"),
        ("10.0.0.0/33", "no network"),
    ],
)
def test_bad_networks(cidr: str, words: str) -> None:
    assert words in checks.cidr_problem(cidr)


@pytest.mark.parametrize(
    ("cidr", "words"),
    [
        ("10.60.0.0/16", ""),
        ("10.60.0.0/24", ""),
        ("10.0.0.0/8", "/8"),
        ("10.60.0.0/25", "/25"),
        ("2001:db8::/32", "IPv4"),
        ("10.60.0.1/16", "10.60.0.0/16"),
    ],
)
def test_networks_of_a_vpc(cidr: str, words: str) -> None:
    problem = checks.vpc_cidr_problem(cidr)
    assert words in problem
    assert bool(problem) == bool(words)


def test_a_vpc_is_cut_into_sixteen() -> None:
    parts = checks.subnet_parts("10.60.0.0/16")
    assert len(parts) == 16
    assert str(parts[1]) == "10.60.16.0/20"
    # A VPC that somebody made smaller than we would.
    assert [str(part) for part in checks.subnet_parts("10.60.0.0/27")] == ["10.60.0.0/28", "10.60.0.16/28"]


@pytest.mark.parametrize(
    ("domain", "good"),
    [
        ("registry.example.com", True),
        ("a.b", True),
        ("localhost", False),
        ("-a.example", False),
        ("a..example", False),
        ("a_b.example", False),
        ("x" * 64 + ".example", False),
    ],
)
def test_domains(domain: str, good: bool) -> None:
    assert (checks.domain_problem(domain) == "") is good


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({}, ""),
        ({"team": "a & b"}, "team"),
        ({"team": "Zoë@example.com: a/b=c+d-e_f.g"}, ""),
        ({"Team": ""}, ""),
        ({"drydock-deployment": "x"}, "drydock-deployment"),
        ({"aws:team": "x"}, "aws:"),
        ({"k" * 129: "x"}, "129"),
        ({"": "x"}, "0"),
        ({"team": "x" * 257}, "257"),
        ({f"t{number}": "x" for number in range(49)}, "49 tags"),
        ({"cost": 7}, ""),
    ],
)
def test_tags(tags: dict[str, object], words: str) -> None:
    problems = checks.tags_problems(tags, "aws_storage_tags")
    assert words in " ".join(problems)
    assert bool(problems) == bool(words)


@pytest.mark.parametrize("key", [line(ED25519), f"{line(RSA)} alice@example\n", f"  {line(ED25519)} a b"])
def test_good_public_keys(key: str) -> None:
    assert checks.public_key_problem(key) == ""


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "empty"),
        ("~/.ssh/id_ed25519.pub", "no public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "private key"),
        (line(ECDSA), "EC2 takes ssh-ed25519 and ssh-rsa"),
        (line(ED25519)[:-4], "damaged"),
        (line(ED25519).replace("ssh-ed25519", "ssh-rsa"), "damaged"),
        ("ssh-ed25519 !!!!", "damaged"),
        ("ssh-ed25519", "no public key"),
        (f"{line(ED25519)}\n{line(RSA)}", "one line"),
    ],
)
def test_bad_public_keys(key: str, words: str) -> None:
    assert words in checks.public_key_problem(key)


@pytest.mark.parametrize(
    ("kind", "parts", "good"),
    [
        ("ssh-ed25519", [b"ssh-ed25519", b"k" * 32], True),
        ("ssh-ed25519", [b"ssh-ed25519", b"k" * 31], False),
        ("ssh-ed25519", [b"ssh-ed25519", b"k" * 32, b"more"], False),
        ("ssh-rsa", [b"ssh-rsa", b"\x01\x00\x01", b"n" * 256], True),
        ("ssh-rsa", [b"ssh-rsa", b"\x01\x00\x01", b"n" * 8], False),
        ("ecdsa-sha2-nistp256", [b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"k" * 64], True),
        ("ecdsa-sha2-nistp256", [b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"k" * 64], False),
        ("ssh-rsa", [b"ssh-ed25519", b"k" * 32], False),
    ],
)
def test_bytes_of_keys(kind: str, parts: list[bytes], good: bool) -> None:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    assert checks.well_formed(kind, blob) is good
    assert checks.well_formed(kind, blob[:-1]) is False


def test_the_fingerprint_of_an_imported_rsa_key_is_that_of_ec2() -> None:
    key = checks.parse_public_key(line(RSA))
    assert checks.rsa_md5(key) == public_key_fingerprint(RSA, select_hash_algorithm(RSA))


def test_keys_are_compared_by_key_or_fingerprint() -> None:
    mine, other = checks.parse_public_key(line(ED25519)), checks.parse_public_key(line(RSA))
    sha256 = base64.b64encode(base64.b64decode(mine.sha256[7:] + "="))
    assert checks.same_key(mine, f"{line(ED25519)} comment", "")
    assert not checks.same_key(mine, line(RSA), "")
    assert not checks.same_key(mine, "garbage", "")
    assert checks.same_key(mine, "", sha256.decode())
    assert checks.same_key(mine, "", mine.sha256)
    assert not checks.same_key(mine, "", "")
    assert checks.same_key(other, "", checks.rsa_md5(other))
    assert not checks.same_key(other, "", "00:11")


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("eu-central-1", ""),
        ("", "write drydock_region"),
        ("eu-centrall-1", "write eu-central-1"),
        ("Frankfurt", "such as eu-central-1"),
    ],
)
def test_regions(region: str, words: str) -> None:
    problem = region_problem(region, ["eu-central-1", "us-east-1"])
    assert words in problem
    assert bool(problem) == bool(words)


@pytest.mark.parametrize(
    ("reference", "provider", "more", "refused"),
    [
        ("docker.io/library/registry:2", "pull", {}, True),
        ("registry:2.8.3@sha256:" + "0" * 64, "pull", {}, True),
        ("mirror.example.com:5000/registry:3", "pull", {"version": "2.8"}, True),
        ("registry:2.8.3", "pull", {"s3": {"access_key": "id"}}, False),
        ("registry:2.8.3", "debian", {}, False),
        ("registry:3.1.1", "pull", {}, False),
        ("mirror.example.com:2/registry:3", "pull", {}, False),
        ("registry:2", "pull", {"version": "3"}, False),
    ],
)
def test_registries_that_cannot_use_the_role_of_a_host(
    reference: str, provider: str, more: dict[str, Any], refused: bool
) -> None:
    problem = aws_metadata_problem(reference, provider, **more)
    assert (reference in problem) is refused
    assert bool(problem) is refused
