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
    fits_hosts,
    pack,
    pinned,
    requirements,
    with_hashes,
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
    assert names(pack(bundle_files(wanted, [], {}, b"", {}))) == [
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
    files = bundle_files([Wanted("own.thing", str(collection), ["playbooks/*.yml"])], [], {}, b"", {})
    assert [name.partition("thing/")[2] for name in files if "/playbooks/" in name] == ["playbooks/tasks/site.yml"]


def test_the_same_content_is_the_same_file(collection: Path) -> None:
    def packed(settings: dict[str, int]) -> bytes:
        return pack(bundle_files([Wanted("own.thing", str(collection))], [], {}, b"", settings))

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
    files = bundle_files([], [], {"boot/boot.py": str(program)}, b"", {"format": 1})
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


ONE, TWO, THREE = (f"{number}" * 64 for number in range(1, 4))
PAGE = f"""<!DOCTYPE html><html><body>
<a href="../../files/PyYAML-6.0.2.tar.gz#sha256={THREE}">PyYAML-6.0.2.tar.gz</a>
<a href="https://files.example.com/PyYAML-6.0.2-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl#sha256={ONE}"
   data-requires-python="&gt;=3.8">one</a><br/>
<a  href='PyYAML-6.0.2-cp311-cp311-manylinux_2_28_x86_64.whl#sha256={TWO}'>two</a>
<a href="PyYAML-6.0.3-cp311-cp311-manylinux_2_28_x86_64.whl#sha256={THREE}">later</a>
<a href="PyYAML-6.0.2-cp311-cp311-macosx_10_9_x86_64.whl#sha256={THREE}">elsewhere</a>
</body></html>""".encode()


@pytest.mark.parametrize(
    ("name", "version", "fits"),
    [
        ("jinja2-3.1.6-py3-none-any.whl", "3.1.6", True),
        ("certifi-2026.1.4-py3-none-any.whl", "2026.01.04", True),
        ("bcrypt-4.3.0-cp39-abi3-manylinux_2_34_x86_64.whl", "4.3.0", True),
        ("cffi-1.17.1-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", "1.17.1", True),
        ("six-1.17.0-py2.py3-none-any.whl", "1.17.0", True),
        ("cffi-1.17.1-cp310-cp310-manylinux_2_17_x86_64.whl", "1.17.1", False),
        ("cffi-2.0.0-cp314-cp314t-manylinux_2_17_x86_64.whl", "2.0.0", False),
        ("bcrypt-4.3.0-cp39-abi3-musllinux_1_2_x86_64.whl", "4.3.0", False),
        ("bcrypt-4.3.0-cp39-abi3-win_amd64.whl", "4.3.0", False),
        ("cffi-1.17.1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl", "1.17.1", False),
        ("jinja2-3.1.7-py3-none-any.whl", "3.1.6", False),
        ("jinja2-3.1.6.tar.gz", "3.1.6", False),
        ("nothing.whl", "1", False),
    ],
)
def test_what_hosts_could_install(name: str, version: str, fits: bool) -> None:
    assert fits_hosts(name, version) is fits


def test_hashes_in_both_kinds_of_answers() -> None:
    files = [
        {"filename": "PyYAML-6.0.2-cp311-cp311-manylinux_2_28_x86_64.whl", "hashes": {"sha256": TWO}},
        {"filename": "PyYAML-6.0.2-cp313-cp313-manylinux2014_aarch64.whl", "hashes": {"sha256": ONE}},
    ]
    for page in (PAGE, json.dumps({"files": files}).encode()):
        assert with_hashes(["pyyaml==6.0.2"], {}, {"pyyaml": page}.__getitem__) == {"pyyaml==6.0.2": [ONE, TWO]}


def test_another_file_of_the_same_version_changes_nothing() -> None:
    def ask(name: str) -> bytes:
        asked.append(name)
        return {"pyyaml": PAGE, "jinja2": f'<a href="jinja2-3.1.6-py3-none-any.whl#sha256={ONE}">x</a>'.encode()}[name]

    asked: list[str] = []
    known = with_hashes(["pyyaml==6.0.2"], {}, ask)
    later = PAGE.replace(
        b"</body>", f'<a href="PyYAML-6.0.2-cp314-cp314-linux_x86_64.whl#sha256={THREE}">x</a>'.encode()
    )
    assert with_hashes(["pyyaml==6.0.2"], {}, lambda _name: later) != known
    assert with_hashes(["pyyaml==6.0.2"], known, lambda _name: later) == known
    # Only what is new is asked for.
    both = with_hashes(["jinja2==3.1.6", "pyyaml==6.0.2"], known, ask)
    assert asked == ["pyyaml", "jinja2"]
    assert requirements([*both], both).decode().splitlines() == [
        "jinja2==3.1.6 \\",
        f"    --hash=sha256:{ONE}",
        "pyyaml==6.0.2 \\",
        f"    --hash=sha256:{ONE} \\",
        f"    --hash=sha256:{TWO}",
    ]
    assert requirements(["pyyaml==6.0.2"], {}) == b"pyyaml==6.0.2\n"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"<html></html>", "no built package of pyyaml==6.0.2"),
        (PAGE.replace(b"#sha256=", b"#md5="), "does not say the SHA-256 of PyYAML-6.0.2-cp313"),
        (b'{"files": [', "does not answer with a list of files of pyyaml"),
        (b'{"message": "who are you"}', "does not answer with a list of files of pyyaml"),
        (b'{"files": [{"filename": "a.whl", "hashes": []}]}', "does not answer with a list of files of pyyaml"),
    ],
)
def test_an_index_that_tells_no_hashes_is_a_sentence(page: bytes, words: str) -> None:
    with pytest.raises(BundleProblem, match=words):
        with_hashes(["pyyaml==6.0.2"], {}, lambda _name: page)


def test_what_runs_here_can_be_pinned() -> None:
    found = pinned(["ansible-core", "requests"])
    assert {line.partition("==")[0] for line in found} >= {
        "ansible-core",
        "jinja2",
        "cryptography",
        "requests",
        "urllib3",
    }
