# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that belong together: what is refused, what is written, and that it is all of them or none, wherever a run ends."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _file_set as file_set

OWNER = {"owner": str(os.getuid()), "group": str(os.getgid())}
# What a step is, for a test that ends a run at each of them.
STEPS = ("mkdir", "open", "fsync", "chown", "chmod", "link", "rename", "unlink", "rmdir")


def directory(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "owner": None, "group": None, "mode": None, "state": "present", **more}


def file(path: Path, content: str | None = None, **more: Any) -> dict[str, Any]:
    rights = {"owner": None, "group": None, "mode": None}
    return {"path": str(path), "content": content, **rights, "state": "present", "keep": False, "secret": False, **more}


def parameters(
    *entries: dict[str, Any], directories: tuple[dict[str, Any], ...] = (), check: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"files": list(entries), "directories": list(directories), "check": check}


def plan_of(wanted: Mapping[str, Any], check_mode: bool = False) -> file_set.Plan:
    return file_set.make_plan(file_set.read_parameters(wanted, check_mode), check_mode)


def run(wanted: Mapping[str, Any]) -> file_set.Plan:
    plan = plan_of(wanted)
    file_set.execute(plan)
    return plan


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """All that lies below a folder, with modes and contents."""
    return {
        str(path.relative_to(root)): (
            stat.S_IMODE(path.lstat().st_mode),
            str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else "/",
        )
        for path in sorted(root.rglob("*"))
    }


def check(folder: Path, script: str, **more: Any) -> dict[str, Any]:
    return {"folder": str(folder), "argv": ["/bin/sh", "-c", script, "check", "{staged}"], "seconds": 10, **more}


# ----- what is written --------------------------------------------------------------------------


def test_a_bare_place(tmp_path: Path) -> None:
    wanted = parameters(
        file(tmp_path / "a/b/tls.crt", "certificate\n", mode="0640", **OWNER),
        file(tmp_path / "a/ca.crt", "ca\n"),
        directories=(directory(tmp_path / "a"), directory(tmp_path / "a/b", mode="0750", **OWNER)),
    )
    plan = run(wanted)
    assert tree(tmp_path) == {
        "a": (0o755, "/"),
        "a/b": (0o750, "/"),
        "a/b/tls.crt": (0o640, "certificate\n"),
        "a/ca.crt": (0o600, "ca\n"),
    }
    assert plan.created == [str(tmp_path / name) for name in ("a", "a/b", "a/b/tls.crt", "a/ca.crt")]
    assert plan.changed_files == [str(tmp_path / name) for name in ("a/b/tls.crt", "a/ca.crt")]
    again = run(wanted)
    assert (again.changed, again.changed_files, again.created, again.diff()) == (False, [], [], [])


def test_folders_above_are_created(tmp_path: Path) -> None:
    run(parameters(file(tmp_path / "a/b/c/x", "x"), directories=(directory(tmp_path / "a/b/c", mode="0700"),)))
    assert tree(tmp_path) == {"a": (0o755, "/"), "a/b": (0o755, "/"), "a/b/c": (0o700, "/"), "a/b/c/x": (0o600, "x")}


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    (tmp_path / "same").write_text("same")
    (tmp_path / "other").write_text("old")
    (tmp_path / "other").chmod(0o644)
    before = (tmp_path / "same").stat()
    plan = run(parameters(file(tmp_path / "same", "same"), file(tmp_path / "other", "new")))
    assert plan.changed_files == [str(tmp_path / "other")]
    assert plan.created == []
    assert (tmp_path / "same").stat() == before
    # What nothing is said about stays.
    assert tree(tmp_path)["other"] == (0o644, "new")


def test_owner_and_mode_are_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o777)
    (folder / "key").write_text("key")
    (folder / "key").chmod(0o666)
    inode = (folder / "key").stat().st_ino
    wanted = parameters(
        file(folder / "key", "key", mode="0600", secret=True, **OWNER), directories=(directory(folder, mode="0750"),)
    )
    plan = run(wanted)
    assert tree(tmp_path) == {"folder": (0o750, "/"), "folder/key": (0o600, "key")}
    assert plan.changed_files == [str(folder / "key")]
    assert (folder / "key").stat().st_ino == inode
    assert not run(wanted).changed


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_owners_by_name_and_number(tmp_path: Path) -> None:
    wanted = parameters(
        file(tmp_path / "a", "a", owner="nobody", group="7"), file(tmp_path / "b", "b", owner="9", mode=0o640)
    )
    run(wanted)
    assert [((tmp_path / name).stat().st_uid, (tmp_path / name).stat().st_gid) for name in "ab"] == [
        (65534, 7),
        (9, os.getgid()),
    ]
    os.chown(tmp_path / "a", 0, 0)
    assert run(wanted).changed_files == [str(tmp_path / "a")]
    assert (tmp_path / "a").stat().st_uid == 65534
    assert not run(wanted).changed


def test_keep_writes_only_what_is_missing(tmp_path: Path) -> None:
    wanted = parameters(file(tmp_path / "secret", "first", keep=True, mode="0600"))
    assert run(wanted).changed
    (tmp_path / "secret").chmod(0o644)
    plan = run(parameters(file(tmp_path / "secret", "second", keep=True, mode="0600")))
    assert plan.changed_files == [str(tmp_path / "secret")]
    assert tree(tmp_path) == {"secret": (0o600, "first")}


def test_what_something_else_makes_gets_its_rights(tmp_path: Path) -> None:
    wanted = parameters(file(tmp_path / "tls.key", keep=True, mode="0600"))
    assert not run(wanted).changed
    assert tree(tmp_path) == {}
    (tmp_path / "tls.key").write_text("key")
    assert run(wanted).changed_files == [str(tmp_path / "tls.key")]
    assert tree(tmp_path) == {"tls.key": (0o600, "key")}
    assert not run(wanted).changed
    (tmp_path / "tls.key").rename(tmp_path / "current")
    (tmp_path / "tls.key").symlink_to("current")
    assert not run(wanted).changed
    assert (tmp_path / "tls.key").is_symlink()
    assert not run(parameters(file(tmp_path / "nowhere/tls.key", keep=True, mode="0600"))).changed


def test_absent(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text(name)
    gone = parameters(
        file(folder / "one", state="absent"),
        file(folder / "never", state="absent"),
        file(tmp_path / "nowhere/at/all", state="absent"),
        directories=(directory(folder, state="absent_if_empty"),),
    )
    plan = run(gone)
    assert (plan.changed, plan.changed_files) == (True, [str(folder / "one")])
    assert tree(tmp_path) == {"folder": (0o755, "/"), "folder/two": (0o644, "two")}
    assert not run(gone).changed
    (folder / "two").unlink()
    assert run(gone).changed
    assert tree(tmp_path) == {}
    assert not run(gone).changed


def test_folders_that_lie_in_each_other_go_at_once(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    (inner / "one").write_text("one")
    gone = parameters(
        file(inner / "one", state="absent"),
        directories=tuple(directory(folder, state="absent_if_empty") for folder in (outer, inner)),
    )
    assert run(gone).changed
    assert tree(tmp_path) == {}
    assert not run(gone).changed


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("text")
    (tmp_path / "link").symlink_to("target")
    wanted = parameters(file(tmp_path / "link", "text", mode="0644"))
    assert run(wanted).changed
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"
    assert not run(wanted).changed


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    run(parameters(file(tmp_path / "link/x", "x"), directories=(directory(tmp_path / "link"),)))
    assert tree(tmp_path) == {"real": (0o755, "/"), "link": (0o777, "real"), "real/x": (0o600, "x")}


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    run(parameters(file(tmp_path / "x", b"\xff\x00".decode("utf-8", "surrogateescape"))))
    assert (tmp_path / "x").read_bytes() == b"\xff\x00"
    assert plan_of(parameters(file(tmp_path / "x", "text\n"))).diff()[0]["before"] == "(binary content)\n"


# ----- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: parameters(file(root / "x")), ["no content"]),
        (lambda _: parameters(file(Path("x"), "x")), ["x is relative"]),
        (lambda root: parameters(file(root / "x", "x"), file(root / "x", "y")), ["named 2 times"]),
        (lambda root: parameters(file(root / "x", "x", owner="nobody-at-all")), ["no such user", "'nobody-at-all'"]),
        (lambda root: parameters(file(root / "x", "x", group="nobody-at-all")), ["no such group"]),
        (lambda root: parameters(file(root / "x", "x", mode="u=rw")), ["octal number"]),
        (lambda root: parameters(file(root / "x", "x", mode="10000")), ["octal number"]),
        (lambda root: parameters(file(root / "x", "x", mode=True)), ["octal number"]),
        (lambda root: parameters(file(root / "missing/x", "x")), ["does not exist", "directories"]),
        (lambda root: parameters(file(root / "folder", "x")), ["is to be a file"]),
        (lambda root: parameters(directories=(directory(root / "file"),)), ["is to be a folder"]),
        (lambda root: parameters(file(root / "x", "x"), check=check(root / "folder", ":")), ["no file of this set"]),
        (lambda root: parameters(file(root / "x", "x"), check=check(root, ":", argv=[])), ["check.argv is empty"]),
        (lambda root: parameters(file(root / "x"), file(Path("y"), "y")), ["no content", "y is relative"]),
    ],
)
def test_refused(tmp_path: Path, make: Callable[[Path], dict[str, Any]], words: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("file")
    before = tree(tmp_path)
    with pytest.raises(file_set.Refused) as refused:
        run(make(tmp_path))
    assert [word for word in words if word not in str(refused.value)] == []
    assert tree(tmp_path) == before


# ----- dry runs and diffs -----------------------------------------------------------------------


def test_a_dry_run_on_a_bare_host(tmp_path: Path) -> None:
    wanted = parameters(
        file(tmp_path / "etc/x", "x\n", owner="nobody-at-all", group="nobody-at-all", mode="0640"),
        file(tmp_path / "elsewhere/y", "y\n"),
        directories=(directory(tmp_path / "etc", group="nobody-at-all", mode="0750"),),
    )
    plan = plan_of(wanted, check_mode=True)
    assert plan.changed
    assert plan.created == [str(tmp_path / name) for name in ("etc", "etc/x", "elsewhere/y")]
    assert tree(tmp_path) == {}
    # An account that is to come owns nothing yet.
    (tmp_path / "etc").mkdir()
    assert plan_of(wanted, check_mode=True).diff()[0]["after"]["group"] == "not known yet"


def test_diffs(tmp_path: Path) -> None:
    for name in ("text", "gone", "key", "old-key"):
        (tmp_path / name).write_text(f"old {name}\n")
        (tmp_path / name).chmod(0o644)
    wanted = parameters(
        file(tmp_path / "text", "new text\n", mode="0600"),
        file(tmp_path / "gone", state="absent"),
        file(tmp_path / "key", "new key\n", secret=True),
        file(tmp_path / "new-key", "new new-key\n", secret=True),
        file(tmp_path / "old-key", state="absent", secret=True),
    )
    diff = plan_of(wanted).diff()
    assert [entry.get("before_header") or entry.get("prepared") or entry["after"] for entry in diff] == [
        str(tmp_path / "text"),
        {"path": str(tmp_path / "text"), "mode": "0600"},
        str(tmp_path / "gone"),
        f"{tmp_path / 'key'}: the content changes; it is a secret, which is not shown\n",
        str(tmp_path / "new-key"),
        str(tmp_path / "old-key"),
    ]
    assert (diff[0]["before"], diff[0]["after"]) == ("old text\n", "new text\n")
    assert (diff[2]["before"], diff[2]["after"]) == ("old gone\n", "")
    assert "key\\n" not in repr(diff).replace("gone", "").replace("text", "")
    assert file_set.without_secrets(wanted)["files"][2]["content"] == "(a secret)"
    assert wanted["files"][2]["content"] == "new key\n"


# ----- the check --------------------------------------------------------------------------------


def test_the_check_sees_the_whole_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "nginx"
    (folder / "conf.d").mkdir(parents=True)
    for name, content in (("nginx.conf", "old"), ("mime.types", "types"), ("conf.d/other", "other"), ("gone", "gone")):
        (folder / name).write_text(content)
    (folder / "link").symlink_to("mime.types")
    os.mkfifo(folder / "pipe")
    seen = tmp_path / "seen"
    wanted = parameters(
        file(folder / "nginx.conf", "new"),
        file(folder / "conf.d/mine", "mine", mode="0640"),
        file(folder / "gone", state="absent"),
        file(tmp_path / "elsewhere", "not staged there"),
        directories=(directory(folder, mode="0750"),),
        check=check(
            folder,
            f'cd "$1" && find . -type f -o -type l | sort >{seen} && cat nginx.conf link >>{seen}; stat -c %a . >>{seen}',
        ),
    )
    run(wanted)
    assert seen.read_text() == "./conf.d/mine\n./conf.d/other\n./link\n./mime.types\n./nginx.conf\nnewtypes750\n"
    assert (folder / "nginx.conf").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "nginx", "seen"]
    # Nothing to check where nothing is written.
    seen.unlink()
    (folder / "nginx.conf").chmod(0o600)
    assert not run(wanted).changed
    assert not seen.exists()


@pytest.mark.parametrize(
    ("script", "more", "word"),
    [
        ('echo "unknown directive in $1/nginx.conf" >&2; exit 1', {}, "unknown directive in {folder}/nginx.conf"),
        ("exit 3", {}, "it ended with 3"),
        ("sleep 20", {"seconds": 1}, "within 1 seconds"),
        ("", {"argv": ["/nonexistent/program"]}, "is missing"),
    ],
)
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "deployed"])
def test_a_refused_set_leaves_everything_as_it_was(
    tmp_path: Path, script: str, more: dict[str, Any], word: str, bare: bool
) -> None:
    folder = tmp_path / "etc/nginx"
    if not bare:
        folder.mkdir(parents=True)
        (folder / "nginx.conf").write_text("old")
        (folder / "gone").write_text("gone")
    before = tree(tmp_path)
    wanted = parameters(
        file(folder / "nginx.conf", "new", mode="0640"),
        file(folder / "gone", state="absent"),
        file(tmp_path / "elsewhere/x", "x"),
        directories=(directory(folder, mode="0750"), directory(tmp_path / "elsewhere", mode="0700")),
        check=check(folder, script, **more),
    )
    with pytest.raises(file_set.Refused) as refused:
        run(wanted)
    assert word.format(folder=folder) in str(refused.value)
    assert tree(tmp_path) == before


# ----- failures and kills at each step ----------------------------------------------------------


class Breaker:
    """Lets the n-th of some calls of the operating system fail, or end the process as a kill does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, kill: bool) -> None:
        self.calls = 0
        self.names: list[str] = []
        self.broken = False
        for name in STEPS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name), at, kill))

    def _wrap(self, name: str, real: Callable[..., Any], at: int, kill: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            # Only what changes something.
            if name != "open" or arguments[1] & os.O_CREAT:
                self.calls += 1
                self.names.append(name)
                # One failure; what puts things back afterwards works.
                if self.calls == at and not self.broken:
                    self.broken = True
                    if kill:
                        os._exit(9)
                    raise OSError(28, "No space left on device", arguments[0])
            return real(*arguments, **keywords)

        return call


def stage_a_change(root: Path) -> dict[str, Any]:
    """A folder with all kinds of files, and a set that changes each kind."""
    folder = root / "tls"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for name in ("tls.crt", "tls.key", "gone", "open", "kept"):
        (folder / name).write_text(f"old {name}\n" * 1000)
        (folder / name).chmod(0o644)
    return parameters(
        file(folder / "tls.crt", "new crt\n" * 1000, mode="0640", **OWNER),
        file(folder / "tls.key", "new key\n" * 1000, mode="0600", secret=True, **OWNER),
        file(folder / "gone", state="absent"),
        file(folder / "open", "old open\n" * 1000, mode="0600"),
        file(folder / "kept", "other\n", keep=True),
        file(root / "new/place/ca.crt", "ca\n", mode="0644"),
        directories=(directory(folder, mode="0750"), directory(root / "new/place", mode="0700")),
        check=check(folder, 'test -e "$1/tls.crt" && ! test -e "$1/gone"'),
    )


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What the change leads to."""
    root = tmp_path_factory.mktemp("after")
    run(stage_a_change(root))
    return tree(root)


def count_steps(root: Path) -> list[str]:
    wanted = stage_a_change(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaker = Breaker(monkeypatch, at=0, kill=False)
        run(wanted)
    return breaker.names


# More than there are, as the next test sees.
MORE_THAN_ALL_STEPS = 50


def test_each_kind_of_step_is_among_those_that_break(tmp_path: Path) -> None:
    names = count_steps(tmp_path / "count")
    assert set(STEPS) - set(names) <= {"unlink"}
    assert names.count("rename") == 4
    assert len(names) < MORE_THAN_ALL_STEPS


@pytest.mark.parametrize("step", range(1, MORE_THAN_ALL_STEPS))
def test_a_failure_at_any_step_leaves_all_or_none(tmp_path: Path, step: int, after: dict[str, tuple[int, str]]) -> None:
    root = tmp_path / "root"
    wanted = stage_a_change(root)
    before = tree(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaker = Breaker(monkeypatch, at=step, kill=False)
        try:
            run(wanted)
        except file_set.Refused as refused:
            message = str(refused)
        else:
            message = ""
    if message:
        assert "No space left on device" in message
        assert "Nothing was changed" in message
        assert {name: entry for name, entry in tree(root).items() if "drydock" not in name} == before
    else:
        # The step was one after all renames, such as removing what was staged, or there is no such step.
        assert {name: entry for name, entry in tree(root).items() if "drydock" not in name} == after
    # Without links, a copy keeps the old file; the others are steps of removing what was staged.
    if breaker.broken and breaker.names[step - 1] not in ("link", "unlink", "rmdir"):
        assert message
    run(wanted)
    assert tree(root) == after


@pytest.mark.parametrize("step", range(1, MORE_THAN_ALL_STEPS))
def test_a_kill_at_any_step_leaves_no_half_file_and_the_next_run_completes(
    tmp_path: Path, step: int, after: dict[str, tuple[int, str]]
) -> None:
    root = tmp_path / "root"
    wanted = stage_a_change(root)
    before = tree(root)
    child = os.fork()
    if child == 0:
        Breaker(pytest.MonkeyPatch(), at=step, kill=True)
        try:
            run(wanted)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    for name, (_, content) in tree(root).items():
        if "drydock" not in name and content != "/":
            assert content in {entries[name][1] for entries in (before, after) if name in entries}, name
    for path in root.glob(".*drydock*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    run(wanted)
    assert tree(root) == after


def test_a_staging_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    used = file_set.Staging(str(folder))
    (tmp_path / ".tls.drydock-left").mkdir()
    (tmp_path / ".other.drydock-left").mkdir()
    run(parameters(file(folder / "x", "x")))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [Path(used.path).name, ".other.drydock-left", "tls"]
    )
    used.remove()


def test_a_leftover_goes_even_where_nothing_differs(tmp_path: Path) -> None:
    wanted = parameters(file(tmp_path / "tls/x", "x"), directories=(directory(tmp_path / "tls"),))
    run(wanted)
    (tmp_path / ".tls.drydock-left/new").mkdir(parents=True)
    (tmp_path / "tls/.tls.drydock-left").mkdir()
    assert not run(wanted).changed
    assert tree(tmp_path) == {"tls": (0o755, "/"), "tls/x": (0o600, "x")}


def test_a_folder_that_is_a_mount_point_is_staged_in_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 98:0 / {str(folder).replace(' ', chr(92) + '040')} rw - ext4 /dev/x rw\n")
    real_open = open

    def from_file(path: Any, *arguments: Any, **keywords: Any) -> Any:
        return real_open(mounts if path == "/proc/self/mountinfo" else path, *arguments, **keywords)

    monkeypatch.setattr("builtins.open", from_file)
    staging = file_set.Staging(str(folder))
    assert Path(staging.path).parent == folder
    staging.remove()
    run(parameters(file(folder / "x", "x"), check=check(folder, 'test "$(ls -A "$1")" = x')))
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_what_cannot_be_put_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).write_text("old")
    real = os.rename
    calls: list[str] = []

    def rename(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) > 1:
            raise OSError(5, "Input/output error", source, None, target)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(file_set.Refused, match=rf"These could not be put back: {tmp_path}/a \(Input/output error\)"):
        run(parameters(file(tmp_path / "a", "new"), file(tmp_path / "b", "new")))
