# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests/hosts/build gets what it needs."""

from __future__ import annotations

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).parents[2] / "hosts/build"
# As the real one, it ends with 100 where another one is at work.
APT_GET = """\
#!/bin/sh -e
mkdir "$0.lock" || exit 100
sleep 0.3
case $* in
    *install*) ln -s /bin/true "${0%/*}/mmdebstrap" ;;
esac
echo "$*" >>"$0.log"
rmdir "$0.lock"
"""


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader("hosts_build", SourceFileLoader("hosts_build", str(path)))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_whoever_needs_mmdebstrap_at_the_same_time_has_it_installed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = loaded(BUILD)
    (tmp_path / "apt-get").write_text(APT_GET, encoding="utf-8")
    (tmp_path / "apt-get").chmod(0o755)
    for program in ("mkdir", "sleep", "ln", "rmdir"):
        (tmp_path / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(build, "APT", tmp_path)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _number: build.ensure_mmdebstrap(), range(3))) == [None] * 3
    assert [line.split()[2] for line in Path(tmp_path, "apt-get.log").read_text().splitlines()] == ["update", "install"]
