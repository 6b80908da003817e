# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that backs a host up: with a storage that a registry writes, the real program that copies it, and a stand-in for restic."""

from __future__ import annotations

import getpass
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from drydock_store import commands
from drydock_store.layout import blob_path

from tests.unit.store.model import digest_of, done, push
from tests.unit.store.places import Place, folder

PROGRAM = Path(__file__).parents[3] / "roles/registry_backup/files/drydock_backup.py"
STORE = Path(commands.__file__).parent.parent

_spec = importlib.util.spec_from_file_location("drydock_backup", PROGRAM)
assert _spec
assert _spec.loader
backup = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(backup)


class Host:
    """A host with a registry's storage, settings and a repository."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.place: Place = folder(directory, **settings)
        self.repository = directory / "mnt" / "repository"
        self.repository.mkdir(parents=True)
        self.state = directory / "backup"
        (directory / "etc").mkdir()
        (directory / "etc" / "http.secret").write_text("secret", encoding="utf-8")
        (directory / "password").write_text("right", encoding="utf-8")
        (directory / "storage.json").write_text(json.dumps(self.place.document), encoding="utf-8")
        program = [sys.executable, "-m", "drydock_store"]
        self.settings: dict[str, Any] = {
            "host": "registry1",
            "repository": str(self.repository),
            "password_file": str(directory / "password"),
            "state_directory": str(self.state),
            "own_directory": str(directory / "etc" / "backup"),
            "paths": [str(directory / "etc"), str(directory / "absent")],
            "images": {
                "folder": str(directory / "images" / "frozen"),
                "storage": str(directory / "images"),
                "user": getpass.getuser(),
                "container": "",
                "program": program,
                "copy": [*program, "--config", str(directory / "storage.json")],
            },
            "keep": {"last": 2},
        }

    def run(self, *words: str) -> tuple[dict[str, Any], int]:
        """Run the program; returns its answer and its exit status."""
        said = io.StringIO()
        with redirect_stdout(said):
            status = backup.main(["--config", self.configured(), *words])
        return json.loads(said.getvalue()), status

    def configured(self) -> str:
        """Write the settings."""
        config = self.directory / "backup.json"
        config.write_text(json.dumps(self.settings), encoding="utf-8")
        return str(config)

    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "report.json").read_text(encoding="utf-8")))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Provide a host with an image, in memory where there is some: each copy waits for the disk."""
    shared = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        made = Host(Path(directory))
        programs = made.directory / "bin"
        programs.mkdir()
        (programs / "restic").symlink_to(Path(__file__).with_name("restic.py"))
        monkeypatch.setenv("PATH", f"{directory}/bin:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(STORE))
        push(made.place.registry, "app", "1", b"layer")
        yield made


def test_a_backup_holds_settings_and_whole_images(host: Host) -> None:
    result, status = host.run("run")
    assert (result["problems"], status) == ([], 0)
    assert host.report()["backup"] == result
    fetched, status = host.run("fetch", str(host.directory / "new"))
    assert (fetched["snapshot"], status) == (result["snapshot"], 0)
    came = host.directory / "new" / str(host.directory).lstrip("/")
    assert (came / "etc" / "http.secret").read_text(encoding="utf-8") == "secret"
    again = Place(type(host.place.driver)(host.directory / "empty", renames=True), {})  # type: ignore[call-arg]
    again.driver.root = came / "images" / "frozen" / "docker/registry/v2"  # type: ignore[attr-defined]
    assert again.registry.missing("app", "1") == ""
    # What was copied says so, and nothing of the trash comes along.
    assert [path for path in again.driver.tree() if path.startswith("drydock/")] == ["drydock/copy.json"]


def test_what_was_deleted_comes_back_from_an_older_backup(host: Host) -> None:
    first, _status = host.run("run")
    done(host.place.registry.delete_tag("app", "1"))
    push(host.place.registry, "app", "2", b"layer")
    host.run("run")
    at = host.run("list")[0]["snapshots"][0]["time"]
    for words in (["--snapshot", first["snapshot"]], ["--at", at]):
        fetched, status = host.run("fetch", str(host.directory / "old"), *words)
        assert (fetched["snapshot"], status) == (first["snapshot"], 0)
        shutil.rmtree(host.directory / "old")
    assert "The first backup is of" in host.run("fetch", "/nowhere", "--at", "2020-01-01T00:00:00Z")[0]["error"]


def test_only_as_many_are_kept_as_were_asked_for(host: Host) -> None:
    for _ in range(3):
        host.run("run")
    assert len(host.run("list")[0]["snapshots"]) == 2


def test_what_else_is_backed_up_there_is_neither_taken_nor_forgotten(host: Host) -> None:
    host.run("run")
    foreign = ["restic", "backup", "--host=registry1", "--tag=home", str(host.directory / "etc")]
    settings = {"RESTIC_REPOSITORY": str(host.repository), "RESTIC_PASSWORD_FILE": str(host.directory / "password")}
    subprocess.run(foreign, check=True, env={**os.environ, **settings}, capture_output=True)
    assert len(host.run("list")[0]["snapshots"]) == 1
    for _ in range(2):
        host.run("run")
    assert len(host.run("list")[0]["snapshots"]) == 2
    assert len(list((host.repository / "snapshots").glob("*.json"))) == 3


def test_hosts_share_a_repository_and_see_their_own(host: Host) -> None:
    host.run("run")
    host.settings["host"] = "registry2"
    answer, status = host.run("fetch", str(host.directory / "new"))
    assert ("has no backup of registry2, but of registry1: a host's backups go" in answer["error"], status) == (True, 3)


def test_a_damaged_image_is_named_and_the_rest_is_saved(host: Host) -> None:
    push(host.place.registry, "app", "2", b"other")
    host.place.driver.delete(blob_path(digest_of(b"other")))
    result, status = host.run("run")
    assert status == 1
    assert "app:2" in result["problems"][0]
    assert host.report()["backup"]["snapshot"]


@pytest.mark.parametrize(
    ("wrong", "sentence", "status"),
    [
        ("password", "registry_backup_password is not the password", 2),
        ("repository", "is no folder: make it, or mount", 3),
        ("full", "is full: make room", 3),
        ("away", "cannot be reached: ", 3),
        ("denied", "does not let this host in: unable to open config file: Stat: Access Denied. Look", 3),
        ("storage", "The images were not backed up", 3),
    ],
)
def test_what_keeps_a_backup_from_being_made_is_said_and_noted(
    host: Host, monkeypatch: pytest.MonkeyPatch, wrong: str, sentence: str, status: int
) -> None:
    monkeypatch.setattr(backup, "_ANSWER_SECONDS", 1 if wrong == "away" else 60)
    good, _status = host.run("run")
    if wrong == "password":
        (host.directory / "password").write_text("wrong", encoding="utf-8")
    elif wrong == "repository":
        shutil.rmtree(host.repository)
    elif wrong in ("full", "away", "denied"):
        (host.repository / wrong).touch()
    else:
        shutil.rmtree(host.place.driver.root)  # type: ignore[attr-defined]
    answer, ended = host.run("run")
    assert sentence in answer["error"]
    assert ended == status
    noted = host.report()
    assert noted["backup"] == good
    assert sentence in noted["failed"]["error"]


def test_a_password_in_an_address_is_not_said(host: Host) -> None:
    host.settings["repository"] = f"rest:https://user:hidden@{host.repository}"
    for command in ("run", "drill", "list"):
        answer, _status = host.run(command)
        assert "hidden" not in answer["error"]
        assert "rest:https:///" in answer["error"]
    assert "hidden" not in (host.state / "report.json").read_text(encoding="utf-8")


def test_most_images_do_not_go_unasked(host: Host) -> None:
    host.run("run")
    host.place.driver.delete("repositories/app")
    push(host.place.registry, "other", "1", b"layer")
    answer, status = host.run("run")
    assert ("as if something had been lost" in answer["error"], status) == (True, 3)
    frozen = host.settings["images"]["folder"]
    assert f"--replace {frozen}" in answer["error"]
    assert host.run("run", "--replace", frozen)[1] == 0


def test_a_repository_that_was_there_is_not_made_anew(host: Host) -> None:
    host.run("run")
    shutil.rmtree(host.repository)
    host.repository.mkdir()
    answer, status = host.run("run")
    assert ("is it mounted?" in answer["error"], status) == (True, 3)
    assert list(host.repository.iterdir()) == []


def test_a_fetch_that_is_killed_leaves_nothing_under_its_name(host: Host) -> None:
    host.run("run")
    (host.repository / "slow").touch()
    # The stand-in kills whoever called it.
    words = [sys.executable, str(PROGRAM), "--config", host.configured(), "fetch", str(host.directory / "new")]
    assert subprocess.run(words, check=False).returncode == -9
    assert not (host.directory / "new").exists()
    assert (host.directory / "new.half" / "begun").exists()
    (host.repository / "slow").unlink()
    assert host.run("fetch", str(host.directory / "new"))[1] == 0
    assert not (host.directory / "new.half").exists()
    assert not (host.directory / "new" / "begun").exists()
    assert "is there already" in host.run("fetch", str(host.directory / "new"))[0]["error"]


def test_nothing_is_left_of_what_failed_or_was_killed(host: Host) -> None:
    host.run("run")
    (host.repository / "broken").touch()
    assert host.run("drill")[1] == 3
    assert not list(host.state.glob("drill*"))
    fetched = backup._fetched_folder(host.settings)
    # The account of the images could put something else in its place, where root works.
    assert fetched.parent == host.directory
    left = [host.state / "drill", host.state / "drill.half", fetched, fetched.with_name(f"{fetched.name}.half")]
    for one in left:
        one.mkdir()
        (one / "large").touch()
    assert host.run("run")[1] == 0
    assert not any(one.exists() for one in left)


def test_a_drill_runs_nothing_of_the_folder_that_it_is_started_in(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("run")
    (host.directory / "drydock_store.py").write_text("raise SystemExit('not ours')", encoding="utf-8")
    monkeypatch.chdir(host.directory)
    assert host.run("drill")[1] == 0


def test_a_drill_leaves_room_for_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("run")
    # Nobody has so much to spare.
    monkeypatch.setattr(backup, "_SPARE", 1.0)
    answer, status = host.run("drill")
    assert ("stay free: make room first" in answer["error"], status) == (True, 3)
    assert not list(host.state.glob("drill*"))
    # No backup makes up for it.
    host.run("run")
    assert host.report()["failed"]["error"] == answer["error"]
    monkeypatch.setattr(backup, "_SPARE", 0.0)
    assert host.run("drill")[1] == 0
    assert host.report()["failed"] is None
    assert host.run("fetch", str(host.directory / "new"))[1] == 0


def test_a_drill_reads_all_and_leaves_nothing(host: Host) -> None:
    host.run("run")
    result, status = host.run("drill")
    assert (result["problems"], status) == ([], 0)
    assert result["checked"]["blobs"] == 3
    assert not (host.state / "drill").exists()
    assert host.report()["drill"] == result
    for blob in host.repository.rglob("data"):
        if blob.read_bytes() == b"layer":
            blob.write_bytes(b"wrong")
    result, status = host.run("drill")
    assert status == 1
    assert "app:1" in result["problems"][0]


def test_a_link_in_a_backup_leads_to_nothing_that_changes_hands(host: Host) -> None:
    outside = host.directory / "shadow"
    outside.write_text("root's", encoding="utf-8")
    before = outside.stat().st_ctime_ns
    host.run("run")
    frozen = Path(host.settings["images"]["folder"])
    (frozen / "link").symlink_to(outside)
    (frozen / "dangling").symlink_to("nowhere")
    host.run("run")
    assert host.run("drill")[1] == 0
    # All of it is a link.
    [saved] = host.repository.glob(f"snapshots/00000002{frozen}")
    shutil.rmtree(saved)
    saved.symlink_to(host.directory, target_is_directory=True)
    answer, status = host.run("drill")
    assert ("has no images in" in answer["error"], status) == (True, 3)
    assert outside.stat().st_ctime_ns == before
    shutil.rmtree(frozen)
    frozen.symlink_to(host.directory, target_is_directory=True)
    answer, status = host.run("run")
    assert ("is a symbolic link" in answer["error"], status) == (True, 3)


def test_a_restore_puts_everything_in_its_place(host: Host) -> None:
    etc = host.directory / "etc"
    (etc / "live").symlink_to("http.secret")
    (etc / "backup").mkdir()
    (etc / "backup" / "settings").write_text("old", encoding="utf-8")
    (etc / "http.secret").chmod(0o640)
    before = host.place.images()
    host.run("run")
    shutil.rmtree(host.place.driver.root)  # type: ignore[attr-defined]
    for name in ("http.secret", "live"):
        (etc / name).unlink()
    (etc / "backup" / "settings").write_text("new", encoding="utf-8")
    result, status = host.run("restore")
    assert (result["problems"], status) == ([], 0)
    assert host.place.images() == before
    assert (etc / "http.secret").read_text(encoding="utf-8") == "secret"
    assert (etc / "http.secret").stat().st_mode & 0o777 == 0o640
    assert (etc / "live").readlink() == Path("http.secret")
    # The settings that led to the repository stay.
    assert (etc / "backup" / "settings").read_text(encoding="utf-8") == "new"
    assert not backup._fetched_folder(host.settings).exists()
    assert host.place.check(digests=True) == []


def test_a_secret_that_is_restored_is_closed_at_any_moment(host: Host) -> None:
    secret = host.directory / "etc" / "http.secret"
    secret.chmod(0o640)
    host.run("run")
    secret.unlink()
    seen: list[int] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        # It has its content, and gets its mode.
        if event == "shutil.copystat" and Path(arguments[1]).name == "http.secret.restored":
            seen.append(Path(arguments[1]).stat().st_mode & 0o777)

    sys.addaudithook(watch)
    assert host.run("restore", "--replace", str(host.directory / "images"))[1] == 0
    assert seen == [0o600]
    assert secret.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [("account", "This host has no account nobody-here: run site.yml"), ("place", "was not finished: ")],
)
def test_what_the_host_lacks_is_one_sentence_and_noted(host: Host, wrong: str, sentence: str) -> None:
    images = host.settings["images"]
    if wrong == "account":
        images["user"] = "nobody-here"
    else:
        images["folder"] = str(host.directory / "password" / "frozen")
    answer, _status = host.run("run")
    assert sentence in answer["error"]
    assert sentence in host.report()["failed"]["error"]


def test_what_is_no_file_keeps_nothing_from_being_restored(tmp_path: Path) -> None:
    (tmp_path / "was").mkdir()
    os.mkfifo(tmp_path / "was" / "a pipe")
    (tmp_path / "was" / "secret").write_text("secret", encoding="utf-8")
    backup._put(tmp_path / "was", tmp_path / "is", tmp_path / "own", backup._Accounts(tmp_path, None))
    assert [one.name for one in (tmp_path / "is").iterdir()] == ["secret"]


def test_a_restore_over_images_names_them(host: Host) -> None:
    before = host.place.images()
    host.run("run")
    push(host.place.registry, "app", "new", b"new")
    (host.directory / "etc" / "http.secret").write_text("newer", encoding="utf-8")
    answer, status = host.run("restore")
    assert ("--replace" in answer["error"], answer["restoring"], status) == (True, False, 3)
    assert host.place.registry.missing("app", "new") == ""
    assert (host.directory / "etc" / "http.secret").read_text(encoding="utf-8") == "newer"
    assert host.run("restore", "--replace", str(host.directory / "images"))[1] == 0
    assert host.place.images() == before
    # It is in the trash.
    host.place.undo()
    assert host.place.registry.missing("app", "new") == ""


@pytest.mark.parametrize("at", ["files", "images"])
def test_a_restore_that_is_killed_is_completed_by_the_next(
    host: Host, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    before = host.place.images()
    host.run("run")
    shutil.rmtree(host.place.driver.root)  # type: ignore[attr-defined]
    (host.directory / "etc" / "http.secret").unlink()

    class Killed(BaseException):
        """What SIGKILL does."""

    def killed(*_arguments: Any) -> None:
        if at == "images":
            # A half restore.
            push(host.place.registry, "app", "1", b"layer")
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(backup, "_put", killed)
        with pytest.raises(Killed):
            host.run("restore")
    # Half of it would be what the next restore takes.
    answer, status = host.run("run")
    assert ("whose restore was not finished" in answer["error"], status) == (True, 3)
    assert host.run("restore", "--snapshot", "none")[0]["restoring"]
    assert host.run("restore")[1] == 0
    assert host.place.images() == before
    assert (host.directory / "etc" / "http.secret").read_text(encoding="utf-8") == "secret"
    assert host.run("run")[1] == 0


@pytest.mark.parametrize("part", [["--tag", "app:1"], ["--repository", "a*"]])
def test_a_part_comes_back_beside_what_is_there(host: Host, part: list[str]) -> None:
    push(host.place.registry, "other", "1", b"other")
    host.run("run")
    done(host.place.registry.delete_tag("app", "1"))
    done(host.place.registry.delete_tag("other", "1"))
    push(host.place.registry, "app", "new", b"new")
    secret = host.directory / "etc" / "http.secret"
    secret.write_text("newer", encoding="utf-8")
    result, status = host.run("restore", *part)
    assert (result["problems"], status) == ([], 0)
    assert host.place.registry.missing("app", "1") == host.place.registry.missing("app", "new") == ""
    assert host.place.registry.missing("other", "1")
    assert secret.read_text(encoding="utf-8") == "newer"
    assert not backup._fetched_folder(host.settings).exists()
    assert "has no app:none" in host.run("restore", "--tag", "app:none")[0]["error"]


def test_what_a_killed_run_has_locked_is_unlocked_first(host: Host) -> None:
    for command in (["run"], ["list"], ["drill"], ["restore", "--tag", "app:1"], ["run"]):
        (host.repository / "stale").touch()
        assert host.run(*command)[1] == 0


def test_what_another_host_does_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("run")
    (host.repository / "lock").write_text("1", encoding="utf-8")
    assert host.run("run")[1] == 0
    monkeypatch.setattr(backup, "_WAIT_SECONDS", 0)
    (host.repository / "lock").write_text("1", encoding="utf-8")
    answer, status = host.run("drill")
    assert ("Another program is at work" in answer["error"], status) == (True, 4)
    # Whoever waited in vain has no backup, which is noted.
    assert host.report()["failed"]["error"] == answer["error"]


def test_a_backup_that_lacks_a_file_says_so(host: Host) -> None:
    host.run("run")
    (host.repository / "unreadable").touch()
    result, status = host.run("run")
    assert status == 1
    assert result["problems"] == ["The backup lacks what cannot be read: /etc/http.secret: input/output error."]
    assert host.report()["backup"] == result


def test_a_backup_counts_though_older_ones_stay(host: Host) -> None:
    host.run("run")
    (host.repository / "append only").touch()
    result, status = host.run("run")
    assert (status, "older ones were not looked after" in result["problems"][0]) == (1, True)
    assert host.report()["backup"] == result
    assert len(host.run("list")[0]["snapshots"]) == 2


def test_two_at_once_are_refused(host: Host) -> None:
    with backup._alone(host.settings):
        answer, status = host.run("run")
    assert ("Another backup" in answer["error"], status) == (True, 4)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T01:00:01.500000000+01:00", 1.5),
    ],
)
def test_times_are_read_as_restic_writes_them(text: str, seconds: float) -> None:
    assert backup._moment(text) == seconds


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-11-30T01:00:00", "2026-02-30T01:00:00Z", "2026-11-30T01:00:00+99:99"]
)
def test_what_is_no_time_gets_a_sentence(text: str) -> None:
    with pytest.raises(backup.BackupError, match="is no time"):
        backup._moment(text)


def test_the_last_backup_is_the_last_one_in_whichever_zone(host: Host) -> None:
    for _ in range(2):
        host.run("run")
    # In Tokyo, and hours later on a new host, in UTC.
    times = ["2026-11-30T10:47:00.5+09:00", "2026-11-30T06:00:00.5Z"]
    for entry, time in zip(sorted((host.repository / "snapshots").glob("*.json")), times):
        entry.write_text(json.dumps({**json.loads(entry.read_text(encoding="utf-8")), "time": time}), encoding="utf-8")
    assert [one["time"] for one in host.run("list")[0]["snapshots"]] == times


def test_a_backup_of_the_future_is_named(host: Host) -> None:
    first, _status = host.run("run")
    [entry] = (host.repository / "snapshots").glob("*.json")
    found = json.loads(entry.read_text(encoding="utf-8"))
    entry.write_text(json.dumps({**found, "time": "2999-01-01T00:00:00Z"}), encoding="utf-8")
    result, status = host.run("run")
    assert status == 1
    assert result["problems"][0].startswith(
        f"Restores take backup {first['snapshot']} of 2999-01-01T00:00:00Z and not this one"
    )
    entry.unlink()
    assert host.run("run")[0]["problems"] == []


def test_two_machines_of_one_name_are_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.settings["keep"] = {}
    machines = {}
    for name in ("old", "new"):
        machines[name] = host.directory / name
        machines[name].write_text(name, encoding="utf-8")

    def run(name: str) -> list[str]:
        monkeypatch.setattr(backup, "_MACHINE", str(machines[name]))
        return list(host.run("run")[0]["problems"])

    assert run("old") == run("old") == []
    # A host that takes another one's place, and does not look into its backups.
    [said] = run("new")
    assert said.startswith("The backups of registry1 before this one were made by another machine")
    assert run("new") == []
    [said] = run("old")
    assert said.startswith("Another machine backs up under the name registry1, last at ")
    assert len(run("new")) == 1
    assert run("new") == []
    machines["restored"] = host.directory / "restored"
    machines["restored"].write_text("restored", encoding="utf-8")
    assert host.run("restore", "--replace", str(host.directory / "images"))[1] == 0
    assert run("restored") == []


def test_what_takes_long_is_said_when_it_begins(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    result, _status = host.run("run")
    assert capsys.readouterr().err.splitlines() == [
        "Copying images.",
        f"Saving to {host.repository}.",
        "Removing what no backup needs any more.",
    ]
    host.run("drill")
    assert capsys.readouterr().err.splitlines() == [
        f"Fetching backup {result['snapshot']} of {host.report()['drill']['of']}, 0 MiB.",
        "Reading all images.",
    ]


@pytest.mark.parametrize(
    ("why", "missing"),
    [
        ("stat /mnt/backup/config: no such file or directory", True),
        ("<config/> does not exist", True),
        ("Stat: The specified key does not exist.", True),
        ("storage: object doesn't exist", True),
        ("RESPONSE 404\nERROR CODE: BlobNotFound\n-----", True),
        ("Stat: Access Denied.", False),
        ("Stat: 401 ", False),
        ('Get "https://s3/": x509: certificate signed by unknown authority', False),
        ("Stat: The difference between the request time and the server's time is too large.", False),
    ],
)
def test_a_repository_that_cannot_be_read_is_not_one_that_is_missing(why: str, missing: bool) -> None:
    said = f"Fatal: unable to open config file: {why}\nIs there a repository at the following location?\nhttps://s3/"
    assert bool(backup._NO_REPOSITORY.search(said)) == missing


def test_a_limit_is_handed_on_in_kib(host: Host) -> None:
    host.settings["limit_mib"] = 2
    host.run("run")
    asked = (host.repository.parent / "asked").read_text(encoding="utf-8")
    assert all("--limit-upload=2048 --limit-download=2048" in line for line in asked.splitlines())
