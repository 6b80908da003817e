# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, that meet another run, or a storage that they cannot use; and the command line."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from drydock_store import commands
from drydock_store.__main__ import main
from drydock_store.layout import blob_path, layer_path, tag_path
from drydock_store.store import Locked, Store, StoreError

from tests.unit.store.model import Files, digest_of, done, image, push
from tests.unit.store.places import DAY, Place, bucket, folder

PACKAGE = Path(commands.__file__).parent.parent


class Killed(BaseException):
    """What SIGKILL does to a run: nothing of it happens any more."""


CHANGES = ("discard", "discard_folder", "restore", "settle", "forget", "tidy")


def killed_at(store: Store, step: int) -> Store:
    """End a run before its step of that number; a list of paths is a step for each."""
    left = [step]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    for name in CHANGES:
        original = getattr(store, name)

        def counted(*arguments: Any, _name: str = name, _original: Any = original) -> Any:
            if _name != "discard":
                count()
                return _original(*arguments)
            for path in arguments[1]:
                count()
                _original(arguments[0], [path])
            return None

        setattr(store, name, counted)
    return store


def prepared(directory: Path, **settings: Any) -> Place:
    """Make garbage in both phases, an image that goes by a rule, and trash that is old enough to be emptied."""
    rule = {"repositories": ["**"], "tags": ["old"], "keep_pushed_within_days": 1}
    place = folder(directory, retention=[rule], **settings)
    push(place.registry, "app", "1", b"layer")
    push(place.registry, "app", "old", b"old layer")
    done(place.registry.upload("app", b"garbage"))
    done(place.registry.upload("app", b"blob without a link"))
    place.driver.age(9 * DAY)
    place.driver.delete(layer_path("app", digest_of(b"blob without a link")))
    memory = place.memory()
    memory.unreferenced = {digest_of(b"blob without a link"): 0.0}
    memory.keep_seen()
    return place


@pytest.mark.parametrize("command", ["collect", "retention"])
def test_a_run_may_be_killed_at_every_step(tmp_path: Path, command: str) -> None:
    step = 0
    while True:
        place = prepared(tmp_path / str(step), trash_seconds=0)
        run = place.collect if command == "collect" else place.retention
        try:
            run(store=killed_at(place.store(), step))
            break
        except Killed:
            pass
        # Somebody pushes what it had taken, in the state in which it was left.
        pushed = push(place.registry, "app", "new", b"garbage", b"blob without a link")
        again = push(place.registry, "app", "old", b"old layer")
        run()
        assert place.registry.missing("app", "1") == ""
        assert place.registry.missing("app", pushed) == ""
        assert place.registry.missing("app", again) == ""
        assert place.check() == []
        place.collect_all()
        assert {path for path in place.images() if path.startswith("blobs/")} == {
            blob_path(digest)
            for digest in map(digest_of, (b"{}", b"layer", b"garbage", b"blob without a link", b"old layer"))
        } | {blob_path(digest) for digest in (pushed, again, digest_of(image(b"layer")))}
        step += 1
    assert step >= 3


@pytest.mark.parametrize("steps", range(4))
def test_undo_may_be_killed_at_every_step(tmp_path: Path, steps: int) -> None:
    place = prepared(tmp_path)
    before = place.images()
    place.retention()
    place.collect()
    with pytest.raises(Killed):
        commands.undo_runs(killed_at(place.store(), steps), place.memory(), place.settings, (), apply=True)
    assert place.undo()["skipped"] == []
    assert place.images() == before


def test_one_run_at_a_time_on_a_folder_and_no_lock_stays_of_a_killed_one(tmp_path: Path) -> None:
    place = prepared(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**place.document, "second_look_seconds": 600}))
    words = [sys.executable, "-m", "drydock_store", "--config", str(config), "collect", "--apply"]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(PACKAGE)}) as running:
        gone = place.driver.folder / "docker/registry/v2" / layer_path("app", digest_of(b"garbage"))  # type: ignore[attr-defined]
        while gone.exists():
            assert running.poll() is None
        with pytest.raises(Locked, match="Another run is at work"):
            place.collect()
        running.kill()
    assert place.collect()[1] == commands.FINE


@pytest.mark.usefixtures("aws")
def test_one_run_at_a_time_on_a_bucket_until_its_lease_ends(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")
    place.registry.driver.get("x")
    store = place.store()
    with store.lock():
        with pytest.raises(Locked, match=r"If it was killed, its lock ends in 10 minutes"), place.store().lock():
            pass
        other = place.store()
        now = other.now
        other.now = lambda: now() + 601  # type: ignore[method-assign]
        with other.lock():
            pass
        # The first was away for so long: it must not go on.
        store._held_until = 0.0  # type: ignore[attr-defined]
        with pytest.raises(Locked, match=r"its lock .* ended"):
            store.discard("run", ["blobs/x"])
    assert place.collect()[1] == commands.FINE


@pytest.mark.usefixtures("aws")
def test_one_run_at_a_time_also_with_the_library_of_debian_12(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")

    def old() -> Store:
        store = place.store()
        # What botocore 1.29 does not know.
        for operation in ("PutObject", "DeleteObject"):
            shape = store._client.meta.service_model.operation_model(operation).input_shape  # type: ignore[attr-defined]
            for name in ("IfMatch", "IfNoneMatch"):
                shape.members.pop(name, None)
        return store

    for _again in range(2):
        with old().lock(), pytest.raises(Locked, match=r"Another run is at work"), old().lock():
            pass


# What each store does not heed, and what is said of it.
BLIND = [
    ("PutObject", "If-None-Match", "does not heed If-None-Match when it writes, so two runs would not see each other"),
    ("PutObject", "If-Match", "does not heed If-Match when it writes"),
    ("DeleteObject", "If-Match", "does not heed If-Match when it deletes.*enable versioning"),
]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(("operation", "condition", "sentence"), BLIND)
@pytest.mark.parametrize("versioned", [True, False])
def test_a_store_that_heeds_no_conditions_is_refused(
    tmp_path: Path, operation: str, condition: str, sentence: str, versioned: bool
) -> None:
    place = bucket(tmp_path, versioned=versioned)
    push(place.registry, "app", "1", b"layer")
    done(place.registry.upload("app", b"garbage"))
    place.driver.age(2 * DAY)
    before = place.images()
    store = place.store()

    def forget(params: dict[str, Any], **_rest: Any) -> None:
        params["headers"].pop(condition, None)

    store._client.meta.events.register_last(f"before-call.s3.{operation}", forget)  # type: ignore[attr-defined]
    if operation == "DeleteObject" and versioned:
        # No run deletes on a condition there but its own lock.
        assert place.collect(store=store)[1] == commands.FINE
        return
    with pytest.raises(StoreError, match=sentence):
        place.collect(store=store)
    assert place.images() == before
    # Nor is a lock left behind.
    assert place.collect()[1] == commands.FINE


@pytest.mark.usefixtures("aws")
def test_a_bucket_without_versions_is_refused(tmp_path: Path) -> None:
    place = bucket(tmp_path, versioned=False)
    place.document["storage"]["s3"]["unversioned_enabled"] = False
    push(place.registry, "app", "1", b"layer")
    with pytest.raises(StoreError, match=r"keeps no versions.*set storage.s3.unversioned_enabled"):
        place.collect()
    assert place.collect(apply=False)[1] == commands.FINE


@pytest.mark.usefixtures("aws")
def test_a_bucket_with_another_name_is_named(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    place.document["storage"]["s3"]["bucket"] = "nobodys"
    with pytest.raises(StoreError, match="there is no such bucket"):
        place.collect()


@pytest.mark.parametrize("found", ["docker/registry/v2/notes/data", "docker/registry/v2", "harbor/blobs/data"])
def test_a_storage_that_is_not_distributions_is_named(tmp_path: Path, found: str) -> None:
    place = Place(Files(tmp_path / "other", renames=True), {"state_directory": str(tmp_path / "state")})
    place.document["storage"] = {"folder": str(tmp_path / "images")}
    (tmp_path / "images" / found).parent.mkdir(parents=True)
    (tmp_path / "images" / found).write_text("?")
    for run in (place.collect, place.check):
        with pytest.raises(StoreError, match=rf"{tmp_path}/images holds no registry's storage: \S+/v2 "):
            run()
    assert [str(one.relative_to(tmp_path / "images")) for one in (tmp_path / "images").rglob("*") if one.is_file()] == [
        found
    ]


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_not_distributions_is_named(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    done(place.driver.put("notes/data", b"?"))
    for run in (place.collect, place.check):
        with pytest.raises(
            StoreError, match=r"holds no registry's storage: there is nothing in \S+/v2/blobs or /repositories"
        ):
            run()
    assert place.driver.tree() == {"notes/data": b"?"}


@pytest.mark.usefixtures("aws")
def test_many_objects_are_listed_by_folders(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    for number in range(4):
        push(place.registry, f"team/r{number}", "1", f"layer {number}".encode())
    store = place.store()
    store._page = 3  # type: ignore[attr-defined]
    found = [item.path for under in ("blobs", "repositories") for item in store.files(under)]
    assert sorted(found) == sorted(place.images())


def test_symbolic_links_are_never_followed(tmp_path: Path) -> None:
    place = folder(tmp_path)
    push(place.registry, "app", "1", b"layer")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    assert isinstance(place.driver, Files)
    (place.driver.root / "blobs/sha256/00").symlink_to(outside)
    (place.driver.root / "repositories/evil").symlink_to(outside)
    place.driver.age(0)
    place.collect_all()
    assert [one["path"] for one in place.check()] == ["blobs/sha256/00", "repositories/evil"]
    assert (outside / "precious").read_text() == "kept"
    store = place.store()
    store.open()
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        store.discard("run", ["repositories/evil/precious"])
    (place.driver.root / "drydock").rename(tmp_path / "away")
    (place.driver.root / "drydock").symlink_to(outside)
    with pytest.raises(StoreError, match="cannot be written"):
        place.collect()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"storage": {"folder": "images"}}, "storage.folder: images is no absolute path: begin it with /."),
        ({"storage": {"folder": "/a", "s3": {"bucket": "b"}}}, "storage needs exactly one of `folder` and `s3`."),
        (
            {"storage": {"s3": {"bucket": "b", "prefix": "/x/"}}},
            "storage.s3.prefix: write 'x', without slashes at its ends.",
        ),
        ({"state_directory": None}, "state_directory is missing: set it."),
        ({"blob_wait_days": 1}, "the configuration has the key blob_wait_days, which is unknown"),
        ({"blob_wait_seconds": "1"}, "the configuration: blob_wait_seconds is not a whole number."),
        ({"retention": [{"repositories": [], "keep_newest": 1}]}, "retention, rule 1 names no repositories"),
        ({"retention": [{"repositories": ["a"]}]}, "retention, rule 1 says what to keep of nothing"),
        ({"retention": [{"repositories": ["Team/*"], "keep_newest": 1}]}, "'Team/*' can fit no repository's name"),
        ({"retention": [{"repositories": ["a"], "keep_newest": 0}]}, "keep_newest is 0: write 1 or more"),
        (
            {"retention": [{"repositories": ["a"], "keep_newest": 1, "order": "age"}]},
            "order is 'age': write one of pushed, semver, date.",
        ),
        ({"log_directory": "logs"}, "log_directory: logs is no absolute path"),
        (
            {"retention": [{"repositories": ["a"], "keep_pulled_within_days": 0}]},
            "keep_pulled_within_days is 0: write 1",
        ),
        ({"retention": [{"repositories": ["a"], "keep_used_gib": 0}]}, "keep_used_gib is 0: write 1"),
        ({"mirrors": "hub"}, "the configuration: mirrors is not a list."),
        ({"registry": {"url": "https://b:port"}}, "registry.url: https://b:port is no address such as https://"),
        ({"registry": {"socket": "/a", "url": "http://b"}}, "registry needs either `socket` or `url`."),
    ],
)
def test_a_wrong_configuration_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], sentence: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(
        json.dumps({"storage": {"folder": "/nowhere"}, "state_directory": str(tmp_path / "state"), **change})
    )
    assert main(["--config", str(file), "report"]) == commands.WRONG
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    place = prepared(tmp_path)
    place.document["second_look_seconds"] = 0
    place.document["retention"].append({"repositories": ["app"], "tags": ["old"], "keep_newest": 1})
    file = tmp_path / "config.json"
    file.write_text(json.dumps(place.document))

    def run(*words: str) -> tuple[int, str]:
        status = main(["--config", str(file), *words])
        return status, capsys.readouterr().out

    logs = tmp_path / "logs"
    logs.mkdir()
    place.document["log_directory"] = str(logs)
    file.write_text(json.dumps(place.document))
    monkeypatch.setenv("SUDO_USER", "somebody")
    assert run("validate", "--json")[0] == commands.FINE
    status, screen = run("report")
    assert status == commands.FINE
    assert screen.startswith("1 repositories, 2 tags, 2 images, 7 blobs: ")
    assert "`collect` would free 19 B now" in screen
    figures = json.loads(run("report", "--json")[1])
    assert figures["totals"]["growth"] == 0
    entry = figures["repositories"]["app"]
    assert (entry["tags"], entry["images"], entry["shared"]) == (2, 2, 0)
    assert entry["size"] == entry["alone"] == figures["totals"]["size"] - len(b"blob without a link")
    assert json.loads((tmp_path / "state/report.json").read_text())["totals"] == figures["totals"]
    assert "Nothing was changed: add --apply to do it." in run("collect")[1]
    taken = json.loads(run("--json", "collect", "--apply")[1])
    assert len(taken["links"]) == len(taken["blobs"]) == 1
    assert "would come back" in run("undo")[1]
    assert run("undo", "--apply", taken["run"])[0] == commands.FINE
    assert run("undo", "nonsense")[0] == commands.UNUSABLE
    assert run("delete", "--repository", "app:1")[0] == commands.WRONG
    assert "1 tags and 1 images would go" in run("retention")[1]
    assert run("delete", "--tag", "app:1", "--apply")[0] == commands.FINE
    assert run("check", "--digests")[0] == commands.FINE
    # What has changed something has a line in the audit log.
    (log,) = logs.glob("audit-*.log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["collect", "undo", "delete"]
    assert {line["user"] for line in lines} == {"somebody"}
    assert {line["status"] for line in lines} == {commands.FINE}
    assert (lines[0]["run"], lines[0]["links"], lines[0]["blobs"], lines[2]["tags"]) == (taken["run"], 1, 1, 1)
    log.unlink()
    logs.rmdir()
    assert "has no line of this run" in json.loads(run("collect", "--apply", "--json")[1])["problems"][-1]
    (tmp_path / "images/docker/registry/v2/x").write_text("?")
    assert run("check")[0] == commands.FOUND
    place.document["storage"] = {"folder": str(tmp_path / "none")}
    file.write_text(json.dumps(place.document))
    assert run("check")[0] == commands.UNUSABLE


def test_what_was_pushed_while_a_run_looked_comes_back_though_it_was_killed(tmp_path: Path) -> None:
    place = prepared(tmp_path)
    store = place.store()
    steps: list[str] = []

    def look(paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        found = list(type(store).read_many(store, paths))
        # Long after the tag was listed, and long before anything goes.
        if not steps:
            steps.append(push(place.registry, "app", "old", b"layer"))
            at = time.time() + 5
            (place.driver.root / tag_path("app", "old")).touch()  # type: ignore[attr-defined]
            os.utime(place.driver.root / tag_path("app", "old"), (at, at))  # type: ignore[attr-defined]
        yield from found

    began = time.time()
    store.read_many = look  # type: ignore[method-assign]
    # Its look takes a minute.
    store.now = lambda: began + (60 if steps else 0)  # type: ignore[method-assign]

    def killed(_seconds: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        place.retention(store=store, pause=killed)
    assert place.driver.get(tag_path("app", "old")) is None
    place.collect()
    assert place.driver.get(tag_path("app", "old")) == steps[0].encode()


def test_folders_that_cannot_be_renamed_are_emptied_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = prepared(tmp_path)
    before = place.images()
    rename = os.rename

    def as_overlay(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if stat.S_ISDIR(os.stat(source, dir_fd=src_dir_fd).st_mode):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", as_overlay)
    assert place.collect()[0]["blobs"]
    assert place.retention()["tags"]
    # A registry lists the folders of tags.
    assert place.driver.names("repositories/app/_manifests/tags") == ["1"]
    place.delete(repositories=["app"])
    assert [path for path in place.images() if path.startswith("repositories/app/_")] == []
    place.undo()
    assert place.images() == before

    def mounted(*_names: str, **_folders: int) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", mounted)
    with pytest.raises(StoreError, match=r"tags/old/\S+ is on another file system than .*, so it cannot be moved"):
        place.delete(tags=["app:old"])


def test_a_file_that_cannot_be_linked_comes_back_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = prepared(tmp_path)
    before = place.images()
    place.retention()
    place.collect()

    def refused(*_names: str, **_options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    new = push(place.registry, "app", "old", b"layer")
    assert len(place.undo()["skipped"]) == 1
    assert place.driver.get(tag_path("app", "old")) == new.encode()
    assert {path: place.images()[path] for path in before if "/tags/old/" not in path} == {
        path: content for path, content in before.items() if "/tags/old/" not in path
    }


def test_undo_of_one_run_brings_back_what_later_ones_took_of_its_images(place: Place) -> None:
    place.document["retention"] = [{"repositories": ["app"], "tags": ["old"], "keep_pushed_within_days": 1}]
    push(place.registry, "app", "old", b"layer")
    done(place.registry.upload("app", b"garbage"))
    place.driver.age(3 * DAY)
    run = place.retention()["run"]
    place.collect_all()
    place.undo(run)
    assert place.registry.missing("app", "old") == ""
    assert place.driver.get(blob_path(digest_of(b"garbage"))) is None


@pytest.mark.usefixtures("aws")
def test_a_plan_of_an_undo_counts_what_is_still_away(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")
    done(place.registry.upload("app", b"garbage"))
    place.driver.age(3 * DAY)
    place.collect()
    done(place.registry.upload("app", b"garbage"))
    assert commands.undo_runs(place.store(), place.memory(), place.settings, (), apply=False)[0]["files"] == 0


def test_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    place = prepared(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**place.document, "second_look_seconds": 0}))
    (place.driver.root / "repositories" / os.fsdecode(b"caf\xe9")).write_text("?")  # type: ignore[attr-defined]
    words = [sys.executable, "-m", "drydock_store", "--config", str(tmp_path / "config.json"), "check"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    found = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.startswith(r"repositories/caf\udce9 is nothing that a registry has written")
    assert found.stderr == ""


@pytest.mark.usefixtures("aws")
def test_a_lock_that_is_none_is_named(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")
    done(place.driver.put("drydock/lock", b"?"))
    with pytest.raises(StoreError, match="drydock/lock is no lock of ours: remove it"):
        place.collect()


def test_a_full_disk_gets_room_from_the_trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = prepared(tmp_path, second_look_seconds=0)
    done(place.registry.upload("app", b"more garbage"))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(place.document))
    assert main(["--config", str(file), "collect", "--apply"]) == commands.FINE
    trash = tmp_path / "images/docker/registry/v2/drydock/trash"
    (first,) = trash.iterdir()
    place.driver.age(2 * DAY)
    os_mkdir = os.mkdir

    def mkdir(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if first.exists() and not Path(f"/proc/self/fd/{dir_fd}", name).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os_mkdir(name, mode, dir_fd=dir_fd)

    def replace(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(Path, "replace", replace)
    assert main(["--config", str(file), "collect", "--apply"]) == commands.UNUSABLE
    assert "the trash holds nothing older than 7 days" in capsys.readouterr().err
    file.write_text(json.dumps({**place.document, "trash_seconds": 30}))
    store_now = time.time
    monkeypatch.setattr(time, "time", lambda: store_now() + 60)
    assert main(["--config", str(file), "collect", "--apply"]) == commands.UNFINISHED
    said = capsys.readouterr()
    assert "The trash of 1 earlier runs was emptied" in said.out
    assert "nothing was remembered in" in said.err
    assert not first.exists()
    assert place.driver.get(layer_path("app", digest_of(b"more garbage"))) is None
    assert sorted(one.name for one in (tmp_path / "state").iterdir()) == ["manifests", "seen"]


class Answers(BaseHTTPRequestHandler):
    """A registry that cannot read the image of one tag, and lacks another one."""

    def do_GET(self) -> None:
        self.do_HEAD()

    def do_HEAD(self) -> None:
        self.send_response({"old": 400, "z": 404}.get(self.path.rpartition("/")[2], 200))
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


def test_one_tag_that_the_registry_cannot_read_does_not_end_the_last_check(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = prepared(tmp_path, registry={"url": f"http://127.0.0.1:{server.server_port}"})
        push(place.registry, "app", "z", b"layer")
        before = place.images()
        result, status = place.collect()
        server.shutdown()
    assert "answered 400 for app:old" in result["problems"][0]
    assert result["last_check"] == {"asked": 2, "missed": ["app:z"], "done": False}
    assert (result["undone"], status) == (True, commands.FOUND)
    assert place.images() == before


@pytest.mark.usefixtures("aws")
def test_an_answer_that_breaks_off_is_a_sentence(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")
    store = place.store()
    get = store._client.get_object  # type: ignore[attr-defined]

    def broken(**asked: Any) -> dict[str, Any]:
        return {**get(**asked), "Body": StreamingBody(BytesIO(b"x"), 2)}

    store._client.get_object = broken  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="cannot be reached"):
        list(store.chunks(tag_path("app", "1")))
    with pytest.raises(StoreError, match="cannot be reached"):
        store.read(tag_path("app", "1"))
