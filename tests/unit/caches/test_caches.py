# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs of Ansible in tests share: it is there, and it is never another's."""

from __future__ import annotations

import marshal
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

CACHES = Path(__file__).parents[2] / "caches"
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.command:
        argv: [echo, "{{ ['a', word] | join(' ') }}"]
      register: said
    - ansible.builtin.assert:
        that: said['stdout'] == 'a ' ~ word and ['a', 'a'] | community.general.counter == dict(a=2)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty folder for what is shared."""
    (tmp_path / "shared").mkdir()
    return {
        **os.environ,
        "PYTHONPATH": f"{CACHES}{os.pathsep}{CACHES.with_name('hosts')}",
        "DRYDOCK_TEST_CACHES": str(tmp_path / "shared"),
    }


def run(environment: dict[str, str], *command: str | Path) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bytecode_is_that_of_the_source(tmp_path: Path, environment: dict[str, str]) -> None:
    archive = tmp_path / "archive.zip"
    program = f"import sys; sys.path.insert(0, {str(archive)!r}); import module; print(module.VALUE, module.f.__code__.co_filename)"
    for value in (1, 2, 1):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("module.py", f"VALUE = {value}\ndef f(): pass\n")
        assert run(environment, sys.executable, "-c", program).split() == [str(value), f"{archive}/module.py"]
    kept = sorted((tmp_path / "shared/bytecode").iterdir())
    assert len(kept) == 2
    # It is read: what lies there now is not what the source says.
    for path in kept:
        path.write_bytes(marshal.dumps(compile("VALUE = 3\ndef f(): pass\n", "elsewhere", "exec")))
    assert run(environment, sys.executable, "-c", program).split() == ["3", f"{archive}/module.py"]


def test_runs_of_ansible_share_what_they_compile(tmp_path: Path, environment: dict[str, str]) -> None:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK, encoding="utf-8")
    command: tuple[str | Path, ...] = (
        Path(sys.executable).with_name("ansible-playbook"),
        "--inventory=localhost,",
        "--connection=local",
        playbook,
    )
    command += (f"--extra-vars=ansible_python_interpreter={sys.executable}",)
    run(environment, *command, "--extra-vars=word=first")
    shared = {path: path.stat().st_ino for path in (tmp_path / "shared").rglob("*") if not path.name.endswith(".lock")}
    kinds = {path.name.partition("-")[0] for path in (tmp_path / "shared").iterdir()}
    assert kinds == {"bytecode", "payloads", "plugin", "routing", "template"}
    run(environment, *command, "--extra-vars=word=second")
    assert {path: path.stat().st_ino for path in shared} == shared


def test_boto3_reads_the_models_that_were_kept(tmp_path: Path, environment: dict[str, str]) -> None:
    program = """if True:
        import botocore.session
        session = botocore.session.get_session()
        print("sts" in session.get_available_services(), *session.get_service_model("sts").operation_names)
    """
    environment["AWS_CONFIG_FILE"] = os.devnull
    first = run(environment, sys.executable, "-c", program)
    assert "True" in first
    assert "GetCallerIdentity" in first
    kept = {path: path.read_bytes() for path in (tmp_path / "shared").glob("models-*")}
    assert len(kept) > 1
    assert run(environment, sys.executable, "-c", program) == first
    # They are read: without an operation there, there is none here.
    for path, content in kept.items():
        path.write_bytes(pickle.dumps(strip(pickle.loads(content), "GetCallerIdentity")))  # noqa: S301
    assert run(environment, sys.executable, "-c", program) == first.replace("GetCallerIdentity ", "")


def strip(model: Any, operation: str) -> Any:
    """Return a model without an operation."""
    if isinstance(model, dict) and "operations" in model:
        model["operations"].pop(operation, None)
    return model
