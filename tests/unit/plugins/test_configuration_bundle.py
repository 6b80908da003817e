# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle is made of: which files of which collection, which versions, and that it is always the same."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._configuration_bundle import (
    BundleProblem,
    Package,
    Wanted,
    bundle_files,
    collection_version,
    find_collection,
    pack,
    pinned,
)

FILES = {
    "galaxy.yml": "namespace: own\nname: thing\nversion: 1.2.3\n",
    "meta/runtime.yml": "---\n",
    "plugins/modules/do.py": "pass\n",
    "plugins/modules/__pycache__/do.cpython-311.pyc": "compiled",
    "plugins/module_utils/_aws_x.py": "pass\n",
    "playbooks/configure.yml": "---\n",
    "playbooks/.credentials/admin.password": "secret",
    "roles/web/tasks/main.yml": "---\n",
    "roles/web/tasks/main.yml~": "an editor's",
    "roles/aws_web/tasks/main.yml": "---\n",
    "inventories/prod/group_vars/all/vault.yml": "secret",
    "tests/test.py": "pass\n",
    ".git/config": "secret",
}
PACKAGES = {
    "ansible-core": Package(
        "ansible-core", "2.19.1", ["jinja2>=3", "PyYAML>=5", "importlib_resources; python_version < '3.10'"]
    ),
    "jinja2": Package("Jinja2", "3.1.6", ["MarkupSafe>=2.0", "Babel; extra == 'i18n'"]),
    "PyYAML": Package("PyYAML", "6.0.2", []),
    "MarkupSafe": Package("MarkupSafe", "3.0.2", []),
}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "ansible_collections/own/thing"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def names(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


def test_only_what_runs_is_packed(collection: Path) -> None:
    wanted = [Wanted("own.thing", str(collection), ["roles/aws_*", "plugins/module_utils/_aws_*"])]
    below = "collections/ansible_collections/own/thing"
    assert names(pack(bundle_files(wanted, [], {}, [], {}))) == [
        f"{below}/meta/runtime.yml",
        f"{below}/playbooks/configure.yml",
        f"{below}/plugins/modules/do.py",
        f"{below}/roles/web/tasks/main.yml",
        "requirements.txt",
        "settings.json",
    ]


def test_a_star_stands_for_no_slash(collection: Path) -> None:
    (collection / "playbooks/tasks").mkdir()
    (collection / "playbooks/tasks/site.yml").write_text("---\n", encoding="utf-8")
    files = bundle_files([Wanted("own.thing", str(collection), ["playbooks/*.yml"])], [], {}, [], {})
    assert [name.partition("thing/")[2] for name in files if "/playbooks/" in name] == ["playbooks/tasks/site.yml"]


def test_the_same_content_is_the_same_file(collection: Path) -> None:
    def packed(settings: dict[str, int]) -> bytes:
        return pack(bundle_files([Wanted("own.thing", str(collection))], [], {}, [], settings))

    first = packed({"a": 1, "b": 2})
    for path in collection.rglob("*"):
        path.touch()
    assert packed({"b": 2, "a": 1}) == first
    assert packed({"a": 1, "b": 3}) != first


def test_nothing_of_the_controller_shows() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack({"boot/x": b"x"}))) as archive:
        [member] = archive.getmembers()
    assert (member.uid, member.gid, member.uname, member.gname, member.mtime, member.mode) == (0, 0, "", "", 0, 0o644)


def test_further_files_and_settings(tmp_path: Path) -> None:
    program = tmp_path / "boot.py"
    program.write_text("pass\n", encoding="utf-8")
    files = bundle_files([], [], {"boot/boot.py": str(program)}, [], {"format": 1})
    assert files["boot/boot.py"] == b"pass\n"
    assert json.loads(files["settings.json"]) == {"format": 1}


def test_the_first_path_that_has_a_collection_counts(collection: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "ansible_collections/own/thing/plugins").mkdir(parents=True)
    paths = [str(tmp_path / "nothing"), str(tmp_path), str(other)]
    assert find_collection(Wanted("own.thing"), paths) == collection
    assert find_collection(Wanted("own.thing"), paths[::-1]) == other / "ansible_collections/own/thing"


def test_a_missing_collection_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleProblem, match=r"The collection own.thing is not in .*: install it with"):
        find_collection(Wanted("own.thing"), [str(tmp_path)])


def test_the_version_of_a_checkout_and_of_an_installed_collection(collection: Path) -> None:
    assert collection_version(collection) == "1.2.3"
    manifest = {"collection_info": {"version": "2.0.0"}}
    (collection / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert collection_version(collection) == "2.0.0"


def test_packages_are_pinned_with_all_that_they_need() -> None:
    assert pinned(["ansible-core"], PACKAGES.get) == [
        "ansible-core==2.19.1",
        "jinja2==3.1.6",
        "markupsafe==3.0.2",
        "pyyaml==6.0.2",
    ]


def test_a_missing_package_is_a_sentence() -> None:
    with pytest.raises(BundleProblem, match="Python lacks libpass: run `pip install"):
        pinned(["libpass"], PACKAGES.get)


def test_what_runs_here_can_be_pinned() -> None:
    found = pinned(["ansible-core", "requests"])
    assert {line.partition("==")[0] for line in found} >= {
        "ansible-core",
        "jinja2",
        "cryptography",
        "requests",
        "urllib3",
    }
