# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection works as a user gets it: as an installed tarball, and as a checkout in any folder. No network is used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from repository_rules import files, roles

ROOT = Path(__file__).parents[2]
# What users need; the rest is this checkout's business, or a secret. A folder stands for what is in it.
SHIPPED = (
    "CHANGELOG.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "SECURITY.md",
    "changelogs/",
    "docs/",
    "inventories/",
    "meta/runtime.yml",
    "playbooks/",
    "plugins/",
    "requirements.txt",
    "requirements.yml",
    "roles/",
)
NOT_SHIPPED = re.compile(
    r"changelogs/(fragments|config)|docs/benchmarks/.*\.json|docs/(conf\.py|site\.css)|inventories/rehearsal|credentials/|\.pyc|/\."
)

PLAY = """\
---
- name: Use a role and a module by their full names
  hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: A role
      ansible.builtin.include_role:
        name: drydock.registry.common

    - name: A module
      drydock.registry.htpasswd:
        path: "{{ playbook_dir }}/htpasswd"
        users: []
        cost: 4
"""


class Place(NamedTuple):
    """A way to have the collection: where it lies, where the user stands, and how Ansible is told."""

    collection: Path
    directory: Path
    settings: dict[str, str]


def ansible(command: Sequence[str | Path], directory: Path, settings: dict[str, str]) -> str:
    """Run a command of Ansible with nothing of this checkout's settings; return its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
    environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false", **settings}
    program = Path(sys.executable).with_name(str(command[0]))
    done = subprocess.run(
        [program, *command[1:]],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the collection."""
    target = tmp_path_factory.mktemp("tarball")
    home = {"ANSIBLE_HOME": str(target / "home")}
    ansible(["ansible-galaxy", "collection", "build", "--output-path", target, ROOT], target, home)
    (found,) = target.glob("drydock-registry-*.tar.gz")
    return found


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Install the collection as a user without network does."""
    directory = tmp_path_factory.mktemp("user")
    settings = {
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
    }
    (directory / "ansible.cfg").touch()
    command: list[str | Path] = [
        "ansible-galaxy",
        "collection",
        "install",
        "--offline",
        "-p",
        directory / "collections",
        tarball,
    ]
    ansible(command, directory, settings)
    return Place(directory / "collections/ansible_collections/drydock/registry", directory, settings)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Make a checkout with another name, one with spaces, and link it as `make venv` does."""
    directory = tmp_path_factory.mktemp("elsewhere") / "my own registry"
    for path in files(ROOT):
        target = directory / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    link = directory / ".venv/collections/ansible_collections/drydock/registry"
    link.parent.mkdir(parents=True)
    link.symlink_to(directory, target_is_directory=True)
    # The checkout's own ansible.cfg says where the collection is.
    return Place(link, directory, {"ANSIBLE_HOME": str(directory.parent / "home")})


@pytest.fixture(params=["installed", "checkout"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both ways, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found


def test_tarball_holds_what_a_user_needs(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {member.name for member in archive if member.isfile()}
    assert not [name for name in names if not name.startswith(SHIPPED) or NOT_SHIPPED.search(name)]
    # Whatever is new at the top has to be named here, or in galaxy.yml.
    assert not [entry for entry in SHIPPED if not entry.endswith("/") and entry not in names]
    of_git = {path.relative_to(ROOT).as_posix() for path in files(ROOT)}
    wanted = {name for name in of_git if name.startswith(("plugins/", "roles/", "playbooks/", "docs/", "inventories/"))}
    assert {name for name in wanted if not NOT_SHIPPED.search(name)} <= names


def test_roles_are_found_by_their_full_names(place: Place) -> None:
    names = [f"drydock.registry.{role.name}" for role in roles(ROOT)]
    found = json.loads(ansible(["ansible-doc", "-t", "role", "--json", *names], place.directory, place.settings))
    assert sorted(found) == sorted(names)
    for name, role in found.items():
        assert role["entry_points"], name
        assert all(entry["short_description"] for entry in role["entry_points"].values()), name
        assert Path(role["path"]).resolve() == place.collection.resolve(), name


@pytest.mark.parametrize("kind", ["module", "filter"])
def test_plugins_are_found_by_their_full_names(kind: str, place: Place) -> None:
    folder = {"module": "modules"}.get(kind, kind)
    stems = {path.stem for path in (ROOT / "plugins" / folder).iterdir() if path.suffix in {".py", ".yml"}}
    names = [f"drydock.registry.{stem}" for stem in sorted(stems - {"__init__"})]
    found = json.loads(ansible(["ansible-doc", "-t", kind, "--json", *names], place.directory, place.settings))
    assert sorted(found) == names


def test_playbooks_are_found_by_their_full_names(place: Place) -> None:
    stems = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
    names = [f"drydock.registry.{stem}" for stem in stems]
    said = ansible(["ansible-playbook", "--syntax-check", "-i", "localhost,", *names], place.directory, place.settings)
    assert [Path(line).stem for line in said.splitlines() if line.startswith("playbook: ")] == stems


def test_a_role_and_a_module_run_by_their_full_names(place: Place, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    ansible(["ansible-playbook", tmp_path / "play.yml"], place.directory, place.settings)
    assert (tmp_path / "htpasswd").read_text(encoding="utf-8") == ""
