# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before a machine is made a client, and the pieces of the script that can be tried without one."""

from __future__ import annotations

import base64
import datetime
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._registry_client import (
    address_problem,
    client_problems,
    login_texts,
    mirror_problems,
    mirror_texts,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(__file__).parents[3]
NOW = datetime.datetime(2026, 5, 4, 12, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def make(name: str, *, usage: x509.ObjectIdentifier | None = None, begins: int = -1, ends: int = 30) -> tuple[str, str]:
    """Make a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOW + begins * DAY, NOW + ends * DAY)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return certificate, key.private_bytes(*form).decode()


CA, CA_KEY = make("ca")
CLIENT, KEY = make("ci", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
SERVER, SERVER_KEY = make("server", usage=ExtendedKeyUsageOID.SERVER_AUTH)
OLD, OLD_KEY = make("old", begins=-9, ends=-2)
EARLY, EARLY_KEY = make("early", begins=1)
SETTINGS = {
    "address": "registry.example.com:5443",
    "server_ca": CA,
    "username": "ci",
    "password": "secret-8315",
    "certificate_name": "",
    "certificate": CLIENT,
    "key": KEY,
    "runtimes": ["docker", "containerd", "podman"],
    "users": ["root", "deploy"],
    "credential_helper": "",
    "credentials_directory": "/keep/.credentials",
}


# ----- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "registry.example.com",
        "registry.example.com:5443",
        "10.0.0.5",
        "10.0.0.5:5000",
        "localhost",
        "registry:5000",
        "a-b.c1:1",
    ],
)
def test_addresses_as_in_image_names(address: str) -> None:
    assert address_problem(address) == ""


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "is empty: write the registry's host name"),
        (None, "is empty: write the registry's host name"),
        ("https://registry.example.com", "leave out the scheme"),
        ("registry.example.com/team", "leave out the path"),
        ("registry.example.com/", "leave out the path"),
        ("ci@registry.example.com", "set registry_client_username"),
        ("registry.example.com:0", "a port from 1 to 65535"),
        ("registry.example.com:65536", "a port from 1 to 65535"),
        ("registry.example.com:https", "a port from 1 to 65535"),
        ("registry.example.com:", "a port from 1 to 65535"),
        ("10.0.0.256", "that is no IPv4 address"),
        ("10.0.0", "that is no IPv4 address"),
        ("[2001:db8::1]:5443", "do not agree on how to write IPv6"),
        ("2001:db8::1", "do not agree on how to write IPv6"),
        ("Registry.example.com", "small letters"),
        ("registry_1.example.com", "letters, digits, hyphens and dots"),
        ("registry..example.com", "letters, digits, hyphens and dots"),
        ("registry.example.com\n", "letters, digits, hyphens and dots"),
        ("registry.example.com;reboot", "letters, digits, hyphens and dots"),
        ("registry", "write the full name or the port"),
    ],
)
def test_other_addresses_are_refused(address: object, says: str) -> None:
    assert says in address_problem(address)


def test_good_settings_pass() -> None:
    assert client_problems(SETTINGS, NOW) == []


def test_a_machine_needs_no_login_and_no_certificate() -> None:
    nothing = {
        "username": "",
        "password": "",
        "certificate": "",
        "key": "",
        "server_ca": "",
        "runtimes": [],
        "users": [],
    }
    assert client_problems({**SETTINGS, **nothing}, NOW) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"runtimes": ["docker", "rocket"]}, "registry_client_runtimes names 'rocket': write one or more of docker"),
        ({"runtimes": ["skopeo"]}, "registry_client_runtimes names 'skopeo': write podman"),
        ({"runtimes": "docker"}, "registry_client_runtimes is not a list"),
        ({"users": ["deploy; id"]}, "registry_client_users names 'deploy; id'"),
        ({"users": ["-x"]}, "registry_client_users names '-x'"),
        ({"users": "root"}, "registry_client_users is not a list"),
        ({"username": ""}, "registry_client_password has no user: set registry_client_username"),
        ({"password": ""}, "User 'ci' has no password, for /keep/.credentials/ci.password does not exist"),
        ({"password": 8315}, "registry_client_password is not text: put it in quotes"),
        ({"password": "secret\n8315"}, "registry_client_password contains a control character"),
        ({"username": "c:i"}, "a user name has no colon"),
        ({"credential_helper": "docker-credential-pass"}, "write what follows 'docker-credential-'"),
        ({"credential_helper": "../pass"}, "write what follows 'docker-credential-'"),
        ({"credential_helper": "pass", "username": "", "password": ""}, "has nothing to keep"),
        ({"server_ca": "/etc/ca.crt"}, "registry_client_server_ca is no PEM text"),
        ({"server_ca": CA.replace("M", "", 3)}, "registry_client_server_ca holds a PEM block that is damaged"),
        ({"server_ca": CA + CA_KEY}, "registry_client_server_ca holds a private key"),
        ({"server_ca": CA + OLD}, "registry_client_server_ca: the certificate of CN=old ended on 2026-05-02"),
        ({"key": ""}, "registry_client_certificate has no key"),
        ({"certificate": ""}, "registry_client_key has no certificate"),
        ({"key": SERVER_KEY}, "registry_client_key does not belong to registry_client_certificate (CN=ci)"),
        ({"key": "/etc/client.key"}, "registry_client_key is no PEM text"),
        ({"key": KEY.replace("M", "", 3)}, "registry_client_key holds a PEM block that is damaged"),
        ({"key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"}, "registry_client_key is encrypted"),
        ({"certificate": SERVER, "key": SERVER_KEY}, "registry_client_certificate is not issued for clients"),
        ({"certificate": OLD, "key": OLD_KEY}, "registry_client_certificate: the certificate of CN=old ended on"),
        (
            {"certificate": EARLY, "key": EARLY_KEY},
            "registry_client_certificate: the certificate of CN=early begins on",
        ),
        (
            {"certificate": "", "key": "", "certificate_name": "ci"},
            "/keep/.credentials/clients/ci holds no certificate",
        ),
        ({"certificate_name": "../ca"}, "registry_client_certificate_name is '../ca'"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(settings: Mapping[str, Any], says: str) -> None:
    problems = client_problems({**SETTINGS, **settings}, NOW)
    assert len(problems) == 1, problems
    assert says in problems[0]
    assert problems[0].endswith(".")
    assert "8315" not in problems[0]
    assert KEY.splitlines()[1] not in problems[0]


def test_a_key_with_its_curve_before_it_is_read() -> None:
    """As `openssl ecparam -genkey` writes it."""
    curve = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert client_problems({**SETTINGS, "key": curve + KEY}, NOW) == []


# ----- the login ----------------------------------------------------------------------------------


def test_a_login_in_both_forms() -> None:
    texts = login_texts("registry.example.com", "ci", 'a"b\\<&>ü')
    assert base64.b64decode(json.loads(texts["entry"])["auth"]).decode() == 'ci:a"b\\<&>ü'
    assert json.loads(texts["helper"]) == {"ServerURL": "registry.example.com", "Username": "ci", "Secret": 'a"b\\<&>ü'}
    # As Go writes it, so that what a helper gives can be compared.
    assert r'"Secret":"a\"b\\\u003c\u0026\u003eü"' in texts["helper"]


def test_no_user_no_login() -> None:
    assert login_texts("registry.example.com", "", "") == {"entry": "", "helper": ""}


# ----- mirrors ------------------------------------------------------------------------------------

HUB = {"registry": "docker.io", "name": "hub"}


@pytest.mark.parametrize(
    ("mirrors", "lines", "docker"),
    [
        ([], "", ""),
        ([{"registry": "docker.io"}], "docker.io", "r:5443"),
        # Docker knows no path.
        ([HUB], "docker.io hub", ""),
        ([{**HUB, "host": "hub.r:5443"}, {"registry": "a:5000", "name": "a"}], "docker.io hub\na:5000 a", "hub.r:5443"),
        ([{"registry": "quay.io", "name": None, "host": None}], "quay.io", ""),
    ],
)
def test_mirrors_as_the_script_has_them(mirrors: list[dict[str, Any]], lines: str, docker: str) -> None:
    assert mirror_problems(mirrors) == []
    assert mirror_texts(mirrors, "r:5443") == {"lines": lines, "docker": docker}


@pytest.mark.parametrize(
    ("mirrors", "words"),
    [
        ("docker.io", "registry_client_mirrors is not a list"),
        (["docker.io"], "Entry 1 in registry_client_mirrors is not a dictionary"),
        ([{"registry": "https://docker.io"}], "has the registry 'https://docker.io'"),
        ([{"registry": "a b"}], "has the registry 'a b'"),
        ([{}], "has the registry ''"),
        ([HUB, HUB], "has docker.io twice"),
        ([{**HUB, "name": "a/b"}], "has the name 'a/b'"),
        ([{"registry": "quay.io", "host": "quay.r"}], "a host, which is for docker.io alone"),
        ([{**HUB, "host": "https://hub.r"}], "has the host 'https://hub.r'"),
    ],
)
def test_mirrors_that_lead_nowhere(mirrors: object, words: str) -> None:
    (sentence,) = client_problems({**SETTINGS, "mirrors": mirrors}, NOW)
    assert words in sentence


def contents(kind: str, *mirrors: dict[str, Any]) -> str:
    """Run the script's functions that say what is put where."""
    functions = re.findall(
        r"^(?:contents|list_pems|list_files|has_runtime)\(\) \{\n.*?^\}\n", SCRIPT, re.DOTALL | re.MULTILINE
    )
    texts = mirror_texts(mirrors, "r:5443")
    variables = {
        "address": "r:5443",
        "runtimes": "docker containerd podman",
        "users": "root",
        "ca_certificate": "CA",
        "certificate": "",
        "system_trust": "false",
        "mirrors": texts["lines"],
        "docker_mirror": texts["docker"],
        "containerd_hosts": "/c",
        "podman_mirror": "/p.conf",
        "newline": "\n",
        "PATH": "/usr/bin:/bin",
    }
    script = "set -eu\n" + "".join(functions) + ('contents "$1"' if kind else "list_files")
    done = subprocess.run(["sh", "-c", script, "sh", kind], capture_output=True, text=True, check=True, env=variables)
    return done.stdout


QUAY = {"registry": "quay.io:444", "name": "quay"}


def test_what_each_tool_reads_of_mirrors() -> None:
    assert contents("mirror_hosts=docker.io=hub", HUB) == (
        'server = "https://registry-1.docker.io"\n\n[host."https://r:5443/v2/hub"]\n'
        '  capabilities = ["pull", "resolve"]\n  override_path = true\n  ca = "/c/r:5443/ca.crt"\n'
    )
    assert contents("mirror_hosts=quay.io=", HUB) == (
        'server = "https://quay.io"\n\n[host."https://r:5443"]\n'
        '  capabilities = ["pull", "resolve"]\n  ca = "/c/r:5443/ca.crt"\n'
    )
    assert contents("mirror_podman", HUB, QUAY) == (
        '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n\n[[registry.mirror]]\nlocation = "r:5443/hub"\n\n'
        '[[registry]]\nprefix = "quay.io:444"\nlocation = "quay.io:444"\n\n[[registry.mirror]]\nlocation = "r:5443/quay"\n'
    )


def test_where_mirrors_are_written() -> None:
    written = contents("", {**HUB, "host": "hub.r:5443"}, QUAY).splitlines()
    assert set(written) - set(contents("").splitlines()) == {
        "644 ca root /etc/docker/certs.d/hub.r:5443/ca.crt",
        "644 mirror_podman root /p.conf",
        "644 mirror_hosts=docker.io=hub root /c/docker.io/hosts.toml",
        "644 mirror_hosts=quay.io:444=quay root /c/quay.io:444/hosts.toml",
    }


# ----- the script's JSON --------------------------------------------------------------------------

SCRIPT = (ROOT / "roles/registry_client/templates/client.sh.j2").read_text(encoding="utf-8")
UNCHANGED, NO_JSON = 3, 4


def edit(text: str, *operations: str) -> tuple[int, str]:
    """Run the script's function `json`, which is there as it is in the template."""
    function = re.search(r"^json\(\) \{\n.*?^\}\n", SCRIPT, re.DOTALL | re.MULTILINE)
    assert function
    command = ["sh", "-c", f'{function.group()}\njson "$1" "$2"', "sh", "\n".join(operations), text]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


LOGIN = 'set\t{"auth": "Y2k6cA=="}\t"auths"\t"r:5443"'
LOGOUT = 'drop\t-\t"auths"\t"r:5443"'
MIRROR = 'add\t"https://r"\t"registry-mirrors"'
NO_MIRROR = 'take\t"https://r"\t"registry-mirrors"'
PRUNE = 'prune\t-\t"registry-mirrors"'


@pytest.mark.parametrize(
    ("before", "operation", "after"),
    [
        ("", LOGIN, {"auths": {"r:5443": {"auth": "Y2k6cA=="}}}),
        ("{}", LOGIN, {"auths": {"r:5443": {"auth": "Y2k6cA=="}}}),
        ('{"auths": null}', LOGIN, {"auths": {"r:5443": {"auth": "Y2k6cA=="}}}),
        ('{"auths": {"r:5443": {}}}', LOGIN, {"auths": {"r:5443": {"auth": "Y2k6cA=="}}}),
        (
            '{"auths":{"o":{"auth":"eA=="},"r:5443":{"auth":"x","identitytoken":"t"}},"psFormat":"a\\"}{\\\\\\t"}',
            LOGIN,
            {"auths": {"o": {"auth": "eA=="}, "r:5443": {"auth": "Y2k6cA=="}}, "psFormat": 'a"}{\\\t'},
        ),
        (
            '{"auths": {"r:5443": {"auth": "x"}}, "a": [1, -2.5e+3, true, null, {}, []]}',
            LOGOUT,
            {"a": [1, -2500.0, True, None, {}, []]},
        ),
        ('{"auths": {"r:5443": {}, "o": {}}}', LOGOUT, {"auths": {"o": {}}}),
        ('{"auths": {"r:5443": {"auth": "x"}}}', LOGOUT, {}),
        ("{}", MIRROR, {"registry-mirrors": ["https://r"]}),
        ('{"registry-mirrors": ["https://o"]}', MIRROR, {"registry-mirrors": ["https://o", "https://r"]}),
        ('{"registry-mirrors": ["https://r", "https://o"]}', NO_MIRROR, {"registry-mirrors": ["https://o"]}),
        ('{"registry-mirrors": ["https://r"], "debug": true}', NO_MIRROR, {"registry-mirrors": [], "debug": True}),
        ('{"registry-mirrors": [], "debug": true}', PRUNE, {"debug": True}),
    ],
)
def test_json_is_changed_and_the_rest_stays(before: str, operation: str, after: object) -> None:
    code, text = edit(before, operation)
    assert code == 0
    assert json.loads(text) == after
    assert list(json.loads(text)) == list(after)  # type: ignore[call-overload]
    assert edit(text, operation) == (UNCHANGED, "")


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ('{ "auths":{"r:5443":{ "auth":"Y2k6cA=="}}}', LOGIN),
        ("", LOGOUT),
        ('{"auths": {}}', LOGOUT),
        ('{"auths": {"o": {}}}', LOGOUT),
        ("{}", NO_MIRROR),
        ('{"registry-mirrors": ["https://r", "https://o"]}', MIRROR),
        ('{"registry-mirrors": []}', NO_MIRROR),
        ('{"registry-mirrors": ["https://o"]}', PRUNE),
        ("{}", PRUNE),
    ],
)
def test_json_that_is_right_is_left_alone(text: str, operation: str) -> None:
    assert edit(text, operation) == (UNCHANGED, "")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '"text"',
        '{"a": }',
        '{"a": 1,}',
        '{"a" 1}',
        '{"a": 1} x',
        "{'a': 1}",
        '{"a": "b}',
        "{a: 1}",
        '{"a": 01}',
        '{"a": [1 2]}',
    ],
)
def test_what_is_no_json_object_is_not_touched(text: str) -> None:
    assert edit(text, LOGIN) == (NO_JSON, "")


@pytest.mark.parametrize("indent", ["\t", "  ", "    "])
def test_json_keeps_its_indentation(indent: str) -> None:
    """A file that Docker, or a person, wrote differs in the one line."""
    before = {"auths": {"o": {"auth": "eA=="}}, "credHelpers": {"x": "y"}}
    after = {"auths": {"o": {"auth": "eA=="}, "r:5443": {"auth": "Y2k6cA=="}}, "credHelpers": {"x": "y"}}
    assert edit(json.dumps(before, indent=indent), LOGIN) == (0, json.dumps(after, indent=indent) + "\n")


def test_json_is_read() -> None:
    get = 'get\t-\t"credHelpers"\t"r:5443"'
    assert edit('{"credHelpers": {"r:5443": "pass"}}', get) == (UNCHANGED, '"pass"\n')
    assert edit("{}", get) == (UNCHANGED, "")
