# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys on a machine's console, and the file of known hosts."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _aws_host_keys as host_keys
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem
from ansible_collections.drydock.registry.plugins.modules import ec2_host_keys


def key(kind: str, *parts: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind.encode(), *parts))
    return f"{kind} {base64.b64encode(blob).decode()}"


ED25519 = key("ssh-ed25519", b"k" * 32)
OTHER = key("ssh-ed25519", b"o" * 32)
ECDSA = key("ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"e" * 64)
RSA = key("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"r" * 384)
ALIAS = "i-0123456789abcdef0"


def block(*lines: str) -> str:
    return "\r\n".join([host_keys.BEGIN, *lines, host_keys.END, ""])


def found(console: str) -> list[str]:
    return [found.line for found in host_keys.console_keys(console)]


BOOT = "[    0.000000] Linux version 6.12\r\n<14>Nov 21 08:00:00 cloud-init: 3072 SHA256:abc root@host (RSA)\r\n"

CONSOLES = {
    "nothing yet": ("", []),
    "boot": (BOOT, []),
    "whole": (
        BOOT + block(f"{ECDSA} root@ip-10-0-0-1", f"{ED25519} root@ip-10-0-0-1", RSA) + "login: ",
        [ECDSA, ED25519, RSA],
    ),
    "not whole yet": (BOOT + block(ED25519)[:-10], []),
    "begun again": (block(ED25519) + host_keys.BEGIN + "\r\n" + OTHER, [ED25519]),
    "the last one counts": (block(OTHER) + BOOT + block(ED25519), [ED25519]),
    "keys outside": (f"{OTHER}\n" + block(ED25519) + f"{OTHER}\n", [ED25519]),
    "kernel in between": (
        block(ED25519, "[   12.345678] audit: type=1400", RSA[:30] + "[  12.4] oops", ECDSA),
        [ED25519, ECDSA],
    ),
    "glued to other text": (block(f"x {OTHER}", f"evil.example {OTHER}", f"{OTHER} a b", ED25519), [ED25519]),
    "damaged": (block(ED25519[:-6], OTHER.replace("ssh-ed25519", "ssh-rsa"), "ssh-ed25519 AAAA", RSA), [RSA]),
    "marker glued to text": (f"x {host_keys.BEGIN}\n{OTHER}\n{host_keys.END}\n", []),
    "end alone": (f"{host_keys.END}\n", []),
    "twice": (block(ED25519, ED25519), [ED25519]),
    "control characters": (block(f"{OTHER}\x1b[2K root", ED25519), [ED25519]),
    "no keys": (block(), []),
    "other types": (block("ssh-dss AAAA root", "sk-ssh-ed25519@openssh.com AAAA", ED25519), [ED25519]),
}


@pytest.mark.parametrize("name", CONSOLES)
def test_only_keys_in_the_last_whole_block_count(name: str) -> None:
    console, keys = CONSOLES[name]
    assert found(console) == keys


KNOWN = f"""\
# mine
example.com {OTHER}
|1|abc=|def= {OTHER}
@revoked {ALIAS} {OTHER}
{ALIAS}0 {OTHER}
"""


def test_keys_are_added_and_the_rest_stays() -> None:
    keys = host_keys.console_keys(block(ED25519, RSA))
    text = host_keys.with_keys(KNOWN, ALIAS, keys)
    assert text == KNOWN + f"{ALIAS} {ED25519}\n{ALIAS} {RSA}\n"
    assert [known.line for known in host_keys.known_keys(text, ALIAS)] == [ED25519, RSA]
    assert host_keys.with_keys(text, ALIAS, keys) == text
    assert host_keys.without(text, ALIAS) == KNOWN
    # The last line of a file that somebody wrote need not end.
    assert host_keys.with_keys(KNOWN.rstrip("\n"), ALIAS, keys) == text


def test_a_line_with_other_hosts_keeps_them() -> None:
    assert host_keys.without(f"a,{ALIAS},b {OTHER} x\n", ALIAS) == f"a,b {OTHER} x\n"
    assert host_keys.known_keys(f"a,{ALIAS} {OTHER}\n", ALIAS)
    # A damaged line is no key, and goes when the alias gets one.
    assert host_keys.known_keys(f"{ALIAS} ssh-ed25519 AAAA\n", ALIAS) == []
    assert host_keys.without(f"{ALIAS} ssh-ed25519 AAAA\n", ALIAS) == ""


def test_waiting_ends() -> None:
    clock = [0.0]
    shown = iter(["", BOOT, block(ED25519)])

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    assert host_keys.wait_for_keys(lambda: next(shown), 60, sleep, lambda: clock[0])
    assert clock == [10.0]
    assert host_keys.wait_for_keys(lambda: "", 7, sleep, lambda: clock[0]) == []
    assert clock == [17.0]


class Module:
    """As much of a module as is needed."""

    def __init__(self, path: Path, check_mode: bool = False, **params: Any) -> None:
        self.check_mode = check_mode
        self.params = {
            "instance_id": ALIAS,
            "known_hosts": str(path),
            "alias": None,
            "timeout_seconds": 0,
            "region": "eu-central-1",
            "state": "present",
            **params,
        }

    def add_cleanup_file(self, path: str) -> None:
        pass

    def atomic_move(self, source: str, target: str) -> None:
        Path(source).rename(target)


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the console shows, one entry a question."""
    shown: list[str] = []
    monkeypatch.setattr(ec2_host_keys, "console", lambda *_: shown.pop(0))
    return shown


def test_the_console_is_asked_once(tmp_path: Path, console: list[str]) -> None:
    path = tmp_path / "new" / "known_hosts"
    assert ec2_host_keys.run(Module(path, check_mode=True))["changed"] is True
    assert not path.parent.exists()

    console.append(block(ED25519))
    result = ec2_host_keys.run(Module(path))
    assert result["changed"] is True
    assert [entry["type"] for entry in result["keys"]] == ["ssh-ed25519"]  # type: ignore[attr-defined]
    assert path.read_text() == f"{ALIAS} {ED25519}\n"
    assert oct(path.stat().st_mode)[-4:] == "0600"
    assert oct(path.parent.stat().st_mode)[-4:] == "0700"

    for check_mode in (False, True):
        again = ec2_host_keys.run(Module(path, check_mode=check_mode))
        assert again == {**result, "changed": False}

    console.append(block(RSA))
    assert ec2_host_keys.run(Module(path, alias="other"))["changed"] is True
    assert ec2_host_keys.run(Module(path, alias="other", state="absent", check_mode=True))["changed"] is True
    assert ec2_host_keys.run(Module(path, alias="other", state="absent"))["changed"] is True
    assert ec2_host_keys.run(Module(path, alias="other", state="absent"))["changed"] is False
    assert path.read_text() == f"{ALIAS} {ED25519}\n"


def test_an_empty_console_is_refused_in_one_sentence(tmp_path: Path, console: list[str]) -> None:
    console.append("")
    with pytest.raises(AwsProblem, match="aws_instance_host_key_provider: first_use"):
        ec2_host_keys.run(Module(tmp_path / "known_hosts"))
    with pytest.raises(AwsProblem, match="plain name"):
        ec2_host_keys.run(Module(tmp_path / "known_hosts", alias="*"))


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([{"Output": "x"}], "x"),
        ([{}], ""),
        ([None, {"Output": "y"}], "y"),
        ([None, None], ""),
    ],
)
def test_where_the_latest_output_is_refused_the_last_one_is_asked(answers: list[Any], text: str) -> None:
    asked = []

    class Fake(Account):
        def ask(self, *_: Any, **parameters: Any) -> Any:
            asked.append(parameters.get("Latest"))
            return answers.pop(0)

    assert ec2_host_keys.console(Fake(lambda service: service, "eu-central-1", "drydock"), ALIAS) == text
    assert asked == [True, None][: len(asked)]
