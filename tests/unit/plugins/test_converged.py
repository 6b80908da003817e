# SPDX-License-Identifier: GPL-3.0-or-later
"""When a role is left out, and when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _converged as converged

INPUTS: dict[str, Any] = {"web": {"variables": {"web_port": 443, "web_users": [{"name": "a"}]}, "files": []}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "roles/web/tasks").mkdir(parents=True)
    (tmp_path / "roles/web/tasks/main.yml").write_text("---\n", encoding="utf-8")
    converged.code_digest.cache_clear()
    return tmp_path


def look(root: Path, inputs: dict[str, Any], **differences: list[str]) -> dict[str, Any]:
    """What the module tells after a run with these inputs."""
    before = {"salt": "salt", "keys": {}, "differences": {"web": ["no run is known"]}}
    kept = converged.to_keep(before, inputs, ["web"], root)
    return {"salt": "salt", "keys": {"web": kept["web"]["key"]}, "differences": differences or {"web": []}}


def test_a_role_is_left_out_where_nothing_differs(root: Path) -> None:
    assert converged.converged(look(root, INPUTS), INPUTS, ["web"], root) == ["web"]


def test_a_role_runs_where_the_host_differs_or_nothing_is_known(root: Path) -> None:
    assert converged.converged(look(root, INPUTS, web=["/etc/web"]), INPUTS, ["web"], root) == []
    assert converged.converged(look(root, INPUTS, other=[]), INPUTS, ["web"], root) == []
    unknown = {**look(root, INPUTS), "keys": {}}
    assert converged.converged(unknown, INPUTS, ["web"], root) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"web_port": 444, "web_users": [{"name": "a"}]},
        {"web_port": "443", "web_users": [{"name": "a"}]},
        {"web_port": 443, "web_users": [{"name": "b"}]},
        {"web_port": 443, "web_users": [{"name": "a"}], "web_more": None},
        {"web_port": 443},
    ],
)
def test_a_role_runs_with_other_variables(root: Path, variables: dict[str, Any]) -> None:
    assert converged.converged(look(root, INPUTS), {"web": {"variables": variables}}, ["web"], root) == []


def test_a_role_runs_when_a_file_on_the_controller_changes_comes_or_goes(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.password"
    inputs = {"web": {"variables": {}, "files": [str(path)]}}
    without = look(root, inputs)
    path.write_text("first", encoding="utf-8")
    first = look(root, inputs)
    assert converged.converged(without, inputs, ["web"], root) == []
    assert converged.converged(first, inputs, ["web"], root) == ["web"]
    path.write_text("second", encoding="utf-8")
    assert converged.converged(first, inputs, ["web"], root) == []


def test_of_a_large_file_its_date_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(b"x" * (1024 * 1024 + 1))
    assert converged.controller_file(str(path)).startswith("1048577 ")


def test_a_role_runs_with_another_version_of_the_collection(root: Path) -> None:
    before = look(root, INPUTS)
    (root / "roles/web/tasks/main.yml").write_text("--- # more\n", encoding="utf-8")
    converged.code_digest.cache_clear()
    assert converged.converged(before, INPUTS, ["web"], root) == []


def test_caches_of_python_are_no_version(root: Path) -> None:
    before = converged.code_digest(root)
    (root / "roles/__pycache__").mkdir()
    (root / "roles/__pycache__/x.pyc").write_text("x", encoding="utf-8")
    converged.code_digest.cache_clear()
    assert converged.code_digest(root) == before


def test_the_key_shows_no_input_and_differs_by_salt() -> None:
    inputs = {"variables": {"web_password": "secret-of-the-user"}}
    assert "secret" not in converged.role_key(inputs, "salt", "code")
    assert converged.role_key(inputs, "salt", "code") != converged.role_key(inputs, "other", "code")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, 0),
        ({"ends": ""}, 0),
        ({"ends": "1970-01-11T00:00:00Z", "days_before": 1}, 9 * 86400),
        ({"ends": "1970-01-11T00:00:00Z"}, 10 * 86400),
        # What was due before it began is due at once.
        ({"ends": "1970-01-11T00:00:00Z", "days_before": 30}, 1),
    ],
)
def test_a_role_runs_some_days_before_something_ends(inputs: dict[str, Any], expected: float) -> None:
    assert converged.until(inputs) == expected


def test_only_files_that_differ_are_written(tmp_path: Path) -> None:
    path = tmp_path / "registry.env"
    file = {"path": str(path), "content": "A=ü\n", "mode": "0600"}
    assert converged.to_write([file]) == [file]
    path.write_text("A=ü\n", encoding="utf-8")
    path.chmod(0o600)
    assert converged.to_write([file]) == []
    path.chmod(0o640)
    assert converged.to_write([file]) == [file]
    path.chmod(0o600)
    path.write_text("A=u\n", encoding="utf-8")
    assert converged.to_write([file]) == [file]
