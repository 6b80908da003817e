# SPDX-License-Identifier: GPL-3.0-or-later
"""loaded.conf of an nginx that is never reloaded says what the program that reloads nginx on hosts would say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._proxy_loaded import READ_AT_LOAD, loaded_conf

FILES = {
    name: f"what {name} holds: ü\n"
    for name in ("nginx.conf", "access.js", "access.json", "htpasswd", "tls.crt", "tls.key")
}
TRUST = {"client-ca.crt": "a CA", "client.crl": "its list"}


@pytest.fixture(scope="module")
def program(host_program: Callable[[str], Any]) -> Any:
    return host_program("registry_proxy/files/reload_proxy.py")


@pytest.mark.parametrize("files", [FILES, FILES | TRUST], ids=["passwords", "certificates"])
def test_it_says_what_the_program_on_hosts_says(program: Any, files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    folders = dict.fromkeys((program.CONFIGURATION, program.TLS, program.AUTH), tmp_path)
    on_hosts = program.wanted_conf(program.Proxy(folders, ()))
    lines = [line for line in on_hosts.splitlines() if not line.startswith("#")]
    assert loaded_conf(files, program.CONFIGURATION).splitlines() == lines
    assert [name for _, name in program.READ_AT_LOAD] == list(READ_AT_LOAD)


def test_another_user_gives_it_another_name() -> None:
    assert loaded_conf(FILES, "/x") != loaded_conf({**FILES, "htpasswd": "others"}, "/x")
