# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that makes a registry of a fleet's host: what it keeps, what it tells Ansible, and what it leaves alone."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import jinja2
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.utils.yaml import from_yaml
from ansible.template import Templar, trust_as_template
from ansible_collections.drydock.registry.plugins.module_utils import _instance_fetch
from ansible_collections.drydock.registry.plugins.module_utils._instance_fetch import Fetched, Problem, Source

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "roles/aws_autoscaling/files/boot.py"
LIVE = {"registry_auth_users": [{"name": "alice", "password_hash": "$2b$10$x"}]}


def live(variables: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"format": 1, "variables": variables, **more}).encode()


@pytest.fixture(scope="module")
def boot() -> Iterator[ModuleType]:
    """The program, which finds the other one beside it as in a bundle."""
    sys.modules["_instance_fetch"] = _instance_fetch
    specification = importlib.util.spec_from_file_location("fleet_boot", PROGRAM)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["fleet_boot"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["fleet_boot"], sys.modules["_instance_fetch"]


@pytest.fixture
def host(boot: ModuleType, tmp_path: Path) -> Any:
    """What a host keeps."""
    return boot.State(tmp_path)


class Playbook:
    """In place of the playbook: what it was run with, and whether it fails."""

    def __init__(self, boot: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[dict[str, Any]] = []
        self.fails = False
        self.healthy = True
        monkeypatch.setattr(boot, "configure", self._configure)
        monkeypatch.setattr(boot, "is_healthy", lambda _variables: self.healthy)
        monkeypatch.setattr(boot, "python_folder", lambda _requirements: Path("/nowhere"))
        monkeypatch.setattr(boot, "BUNDLE", PROGRAM.parent)
        monkeypatch.setattr(Path, "read_bytes", self._read_bytes(Path.read_bytes))

    @staticmethod
    def _read_bytes(original: Any) -> Any:
        return lambda path: b"" if path.name == "requirements.txt" else original(path)

    def _configure(self, _python: Path, _bundle: Any, variables: dict[str, Any], _state: Any, _seconds: float) -> None:
        self.runs.append(dict(variables))
        if self.fails:
            self.fails = False
            raise Problem("ansible-playbook ended with 2, and the log says why")


@pytest.fixture
def playbook(boot: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Playbook:
    return Playbook(boot, monkeypatch)


@pytest.fixture
def bundle(boot: ModuleType) -> Any:
    return of(boot, {"drydock_domain": "registry.test"})


def of(boot: ModuleType, variables: dict[str, Any], group_url: str = "") -> Any:
    """What a host with these settings is made of."""
    return boot.Bundle(variables, "1.0.0", "", 30, "", "", "team-registry", group_url, 60)


# ----- the inventory ----------------------------------------------------------------------------


def read(text: str) -> Any:
    """Read an inventory as Ansible does."""
    return from_yaml(trust_as_template(text))


def test_the_inventory_is_of_one_registry(boot: ModuleType, bundle: Any) -> None:
    text = boot.inventory(bundle, LIVE)
    [(name, host)] = read(text)["all"]["children"]["registry"]["hosts"].items()
    assert name == "localhost"
    assert host == {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "drydock_domain": "registry.test",
        "drydock_platform": "host",
        "ansible_connection": "local",
        "ansible_become": False,
        **LIVE,
    }


@pytest.mark.parametrize("name", ["drydock_domain", "ansible_python_interpreter", "registry_server_config", "x"])
def test_only_what_may_change_comes_from_live_json(boot: ModuleType, name: str) -> None:
    """It is known by no checksum, and runs as root."""
    with pytest.raises(Problem, match=rf"live\.json in the bucket holds {name}, which belongs into settings"):
        boot.read_live(live({**LIVE, name: "/bin/sh"}))


def test_nothing_stands_behind_the_interpreter(boot: ModuleType) -> None:
    settings = of(boot, {"ansible_python_interpreter": "/bin/sh", "drydock_domain": "x"})
    text = boot.inventory(settings, LIVE)
    assert "/bin/sh" not in text
    assert text.rstrip("\n").endswith('"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}}}}}')


@pytest.mark.parametrize(
    "text",
    [
        "{{ lookup('pipe', 'id') }}",
        "{% raw %}",
        "{# x #}",
        'a "quoted" {{ x }}\nsecond',
        # Its first line has Jinja take other signs.
        "#jinja2:variable_start_string:'[%',variable_end_string:'%]'\n[% lookup('pipe', 'id') %]",
        "plain",
        "\U0001f469\u200d\U0001f4bb",
        "\x7f\x85\u2028\ufeff",
        "back\\slash \\U0001f469",
        # As YAML these would be something else without their quotes.
        *(
            "off",
            "yes",
            "2.8",
            "3",
            "0o17",
            "1:30",
            "1e3",
            "",
            "~",
            "null",
            "=",
            "<<",
            "2026-11-22",
            "[1]",
            "!x",
            "*x",
            "- 1",
        ),
        *("{}", "{a: 1}", "#", "a # b"),
    ],
)
def test_a_text_of_the_bucket_is_this_text(boot: ModuleType, text: str) -> None:
    found = Templar(DataLoader(), {}).template(read(boot.as_yaml({"users": [{"name": text}]})))
    assert found == {"users": [{"name": text}]}
    assert isinstance(found["users"][0]["name"], str)


def test_names_of_any_alphabet_are_read(boot: ModuleType) -> None:
    assert read(boot.as_yaml({"\U0001f469": 1, "a: b": 2})) == {"\U0001f469": 1, "a: b": 2}


@pytest.mark.parametrize(
    "value", ["plain", "yes", "on", "0755", "a: b # c", None, 3, 1.5, True, [], {}, "-----BEGIN\nX\n"]
)
def test_values_are_read_as_they_were_written(boot: ModuleType, value: Any) -> None:
    assert read(boot.as_yaml({"x": value})) == {"x": value}


# ----- live.json --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 2, "variables": {}}', b'{"format": 1, "variables": []}']
)
def test_what_it_cannot_read_is_a_sentence(boot: ModuleType, content: bytes) -> None:
    with pytest.raises(Problem, match=r"live\.json in the bucket is no"):
        boot.read_live(content)


def test_files_are_for_root_only(host: Any) -> None:
    host.keep(Fetched(live(LIVE), '"1"'))
    assert host.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in host.folder.iterdir()} == {0o600}
    assert host.etag == '"1"'


def test_the_same_variables_are_no_change(host: Any) -> None:
    host.keep(Fetched(live(LIVE, bundle="old"), '"1"'))
    assert host.is_applied(LIVE)
    assert not host.is_applied({})


def test_a_changed_file_is_applied(boot: ModuleType, bundle: Any, host: Any, playbook: Playbook) -> None:
    boot.apply(bundle, host, LIVE, Fetched(live(LIVE), '"1"'))
    assert playbook.runs == [LIVE]


def test_a_bad_one_leaves_a_registry_that_answers_alone(
    boot: ModuleType, bundle: Any, host: Any, playbook: Playbook
) -> None:
    host.keep(Fetched(live(LIVE), '"1"'))
    playbook.fails = True
    bad = Fetched(live({"registry_auth_users": "nonsense"}), '"2"')
    with pytest.raises(Problem, match=r"the changed live\.json is not in force: ansible-playbook ended with 2"):
        boot.apply(bundle, host, boot.read_live(bad.content), bad)
    assert len(playbook.runs) == 1
    # What was there before is asked for anew, and counts when it has been applied again.
    assert host.etag == ""
    assert host.waits(bad.content)
    assert not host.is_applied(LIVE)
    good = Fetched(live(LIVE), '"3"')
    boot.apply(bundle, host, LIVE, good)
    host.keep(good)
    assert len(playbook.runs) == 2
    assert host.is_applied(LIVE)
    assert not host.waits(live(LIVE))


def test_a_bad_one_that_broke_it_is_taken_back(boot: ModuleType, bundle: Any, host: Any, playbook: Playbook) -> None:
    host.keep(Fetched(live(LIVE), '"1"'))
    playbook.fails, playbook.healthy = True, False
    with pytest.raises(Problem):
        boot.apply(bundle, host, {}, Fetched(live({}), '"2"'))
    assert playbook.runs == [{}, LIVE]


def test_it_waits_longer_and_longer_with_what_fails(host: Any) -> None:
    pauses = []
    for _ in range(8):
        host.refuse(b"bad", 30)
        pauses.append(json.loads(host.refused.read_text(encoding="utf-8"))["pause"])
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
    host.refuse(b"other", 30)
    assert not host.waits(b"bad")
    assert host.waits(b"other")
    host.keep(Fetched(live(LIVE), '"1"'))
    assert not host.waits(b"other")


def test_a_clock_that_was_set_back_does_not_make_it_wait_for_ever(
    boot: ModuleType, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.refuse(b"bad", 30)
    now = boot.time.time()
    monkeypatch.setattr(boot.time, "time", lambda: now - 86400)
    assert not host.waits(b"bad")


def test_a_damaged_state_is_as_good_as_none(host: Any) -> None:
    (host.folder / "etag.json").write_text("{", encoding="utf-8")
    host.refused.write_text("[]", encoding="utf-8")
    assert host.etag == ""
    assert not host.waits(b"x")


# ----- the group ---------------------------------------------------------------------------------

NOBODY_WAITS = "No active Lifecycle Action found with instance ID i-1"


class Group(ThreadingHTTPServer):
    """Auto Scaling, which answers so, and keeps what it is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.status, self.message = status, message
        self.told: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        server: Group

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.server.told.append(dict(parse_qsl(self.rfile.read(length).decode())))
            content = f"<ErrorResponse><Error><Message>{self.server.message}</Message></Error></ErrorResponse>".encode()
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""


@contextlib.contextmanager
def group_of(status: int = 200, message: str = "") -> Iterator[Group]:
    """Let a group answer."""
    with Group(status, message) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def instance(boot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """This host as an instance: what the metadata service says of it, and how it is answered; `/run` is a folder of the test."""
    known = {"autoscaling/target-lifecycle-state": "InService", "instance-id": "i-1"}
    host: dict[str, Any] = {"metadata": known, "answers": True, "ran": []}
    monkeypatch.setattr(boot, "metadata", lambda *paths: [known[path] for path in paths])
    monkeypatch.setattr(boot, "role_keys", lambda _profile: _instance_fetch.Keys("hosts", "key", "secret", "token"))
    monkeypatch.setattr(boot, "bundle_source", lambda: Source("https://b", "eu-central-1", "1", "hosts", ""))
    monkeypatch.setattr(boot, "answers", lambda _variables, _path: host["answers"])
    monkeypatch.setattr(boot, "run", lambda *command, **_: host["ran"].append(command))
    monkeypatch.setattr(boot.subprocess, "run", lambda command, **_: host["ran"].append(tuple(command)))
    for name in ("SILENT", "ENTERED", "LEAVING", "FINISHED"):
        monkeypatch.setattr(boot, name, tmp_path / name)
    return host


def ask_group(boot: ModuleType, server: Group) -> Any:
    return of(boot, {}, f"http://127.0.0.1:{server.server_address[1]}/")


def test_a_host_tells_its_group_once_that_it_serves(boot: ModuleType, instance: dict[str, Any]) -> None:
    assert instance
    with group_of() as server:
        for _ in range(2):
            boot.enter_service(ask_group(boot, server), 0)
    assert server.told == [
        {
            "Action": "CompleteLifecycleAction",
            "Version": "2011-01-01",
            "AutoScalingGroupName": "team-registry",
            "LifecycleHookName": "launch",
            "LifecycleActionResult": "CONTINUE",
            "InstanceId": "i-1",
        }
    ]


def test_a_host_that_nobody_waits_for_goes_on(boot: ModuleType, instance: dict[str, Any]) -> None:
    assert instance
    with group_of(400, NOBODY_WAITS) as server:
        boot.enter_service(ask_group(boot, server), 0)
        for _ in range(2):
            boot.leave_service(ask_group(boot, server))
    assert [call["LifecycleHookName"] for call in server.told] == ["launch", "terminate"]


def test_a_group_that_does_not_hear_is_a_sentence(boot: ModuleType, instance: dict[str, Any]) -> None:
    assert instance
    with group_of(403, "User is not authorized") as server:
        settings = ask_group(boot, server)
        wanted = r"\(403 User is not authorized\): give the role hosts the right autoscaling:CompleteLifecycleAction"
        with pytest.raises(Problem, match=wanted):
            boot.enter_service(settings, 0)
    with pytest.raises(Problem, match=r"does not answer .*: hosts need a way to it, such as an interface endpoint"):
        boot.enter_service(settings, 0)


def test_a_host_that_leaves_lets_nginx_finish_first_and_once(boot: ModuleType, instance: dict[str, Any]) -> None:
    with group_of() as server:
        # The first time, the load balancer may not have let go of it yet.
        boot.leave_service(ask_group(boot, server))
        assert instance["ran"] == []
        for _ in range(2):
            boot.leave_service(ask_group(boot, server))
    assert [command[-1] for command in instance["ran"]] == ["drydock-proxy", "drydock-registry-a", "drydock-registry-b"]
    assert [call["LifecycleHookName"] for call in server.told] == ["terminate"]


def test_a_host_ends_when_nobody_has_answered_for_long(
    boot: ModuleType, bundle: Any, instance: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(boot.time, "monotonic", lambda: now)
    for answered, seconds in ((False, 0), (False, 290), (True, 5), (False, 10), (False, 290)):
        instance["answers"] = answered
        now += seconds
        boot.end_if_silent(bundle, {})
    assert instance["ran"] == []
    now += 10
    with pytest.raises(Problem, match="no registry has answered on this host of team-registry for 300 s, so it ends"):
        boot.end_if_silent(bundle, {})
    assert instance["ran"] == [("systemctl", "--no-block", "poweroff")]


# ----- sessions ---------------------------------------------------------------------------------


AGENT = "https://s3.eu-central-1.amazonaws.com/amazon-ssm-eu-central-1/3.3.1611.0/debian_arm64/amazon-ssm-agent.deb"


@pytest.fixture
def agent(boot: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A host without the agent: what it is given, in the order of its questions, and what it runs."""
    seen: dict[str, Any] = {"given": [], "asked": 0, "ran": [], "there": False, "now": 10_000.0}

    def ask(_opener: Any, _asked: str, _headers: Any) -> tuple[bytes, str]:
        seen["asked"] += 1
        given = seen["given"].pop(0)
        if isinstance(given, Exception):
            raise given
        return given, ""

    def run(*command: Any, **_: Any) -> None:
        if command[0] == "dpkg":
            assert command[2].read_bytes() == b"package"
            seen["there"] = True
        seen["ran"].append(command)

    monkeypatch.setattr(boot, "HOME", tmp_path)
    monkeypatch.setattr(boot, "AGENT_ASKED", tmp_path / "asked")
    monkeypatch.setattr(boot, "AGENT_PAUSE_SECONDS", 0)
    monkeypatch.setattr(boot, "ask", ask)
    monkeypatch.setattr(boot, "run", run)
    monkeypatch.setattr(boot.shutil, "which", lambda name: f"/usr/bin/{name}" if seen["there"] else None)
    return seen


def wanting(bundle: Any) -> Any:
    return bundle._replace(agent_url=AGENT, agent_sha256=hashlib.sha256(b"package").hexdigest())


@pytest.mark.parametrize(
    "before",
    [[], [OSError("reset")], [b"half of it", OSError("reset")]],
    ids=["at once", "again", "for the third time"],
)
def test_the_agent_of_session_manager_is_installed_where_it_is_wanted(
    boot: ModuleType, bundle: Any, agent: dict[str, Any], tmp_path: Path, before: list[Any]
) -> None:
    agent["given"] = [*before, b"package"]
    boot.install_agent(bundle)
    assert agent["ran"] == []
    boot.install_agent(wanting(bundle))
    package = tmp_path / "amazon-ssm-agent.deb"
    assert agent["ran"] == [
        ("dpkg", "--install", package),
        ("systemctl", "enable", "--now", "amazon-ssm-agent.service"),
    ]
    assert not package.exists()
    boot.install_agent(wanting(bundle))
    assert len(agent["ran"]) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (OSError("no route"), "no route"),
        (b"another", "it is another file than the one that was meant, with the SHA-256 ae448ac8"),
    ],
)
def test_a_host_without_that_agent_says_so_goes_on_and_tries_again(
    boot: ModuleType, bundle: Any, agent: dict[str, Any], capsys: pytest.CaptureFixture[str], given: Any, words: str
) -> None:
    agent["given"] = [given] * 4
    boot.install_agent(wanting(bundle))
    said = capsys.readouterr().out
    assert said.startswith(f"drydock: nobody can open a session on this host: {AGENT}: {words}")
    assert said.count("\n") == 1
    assert agent["asked"] == 3
    assert agent["ran"] == []
    # Not each time that it looks for changes.
    boot.retry_agent(wanting(bundle))
    assert agent["asked"] == 3
    os.utime(boot.AGENT_ASKED, (0, 0))
    boot.retry_agent(wanting(bundle))
    boot.retry_agent(bundle)
    assert agent["asked"] == 4


@pytest.mark.parametrize(
    ("text", "flags"), [(b"a==1\n", []), (b"a==1 \\\n    --hash=sha256:00\n", ["--require-hashes"])]
)
def test_pip_takes_nothing_without_a_hash_where_there_are_some(
    boot: ModuleType, bundle: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: bytes, flags: list[str]
) -> None:
    ran: list[tuple[Any, ...]] = []
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/requirements.txt").write_bytes(text)
    monkeypatch.setattr(boot, "BUNDLE", tmp_path / "bundle")
    monkeypatch.setattr(boot, "HOME", tmp_path)
    monkeypatch.setattr(boot, "install_venv", lambda _deadline: None)

    def run(*command: Any, **_: Any) -> None:
        ran.append(command)
        if "venv" in command:
            command[-1].mkdir(parents=True)

    monkeypatch.setattr(boot, "run", run)
    boot.install_python(bundle, time.monotonic() + 60)
    assert [word for word in ran[-1] if word == "--require-hashes"] == flags
    assert f"--requirement={tmp_path}/bundle/requirements.txt" in ran[-1]


# ----- an image ---------------------------------------------------------------------------------


def host_folders(**variables: str) -> dict[str, str]:
    """Return the defaults of the roles' folders on a host."""
    found: dict[str, str] = {}
    for role in ("registry_tls", "registry_auth", "registry_server", "registry_proxy"):
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8"))
        for name, value in defaults.items():
            is_path = isinstance(value, str) and value.startswith(("/", "{{ drydock_directory"))
            if is_path and not name.endswith("_program"):
                found[name] = jinja2.Template(value).render(**variables)
    return found


def is_forgotten(boot: ModuleType, path: str, variables: dict[str, str]) -> bool:
    gone = [*boot.IDENTITY, *boot.own_folders(variables)]
    return any(Path(path).is_relative_to(folder) for folder in gone)


def test_no_folder_of_a_role_stays_on_an_image(boot: ModuleType) -> None:
    folders = host_folders()
    assert {"registry_auth_directory", "registry_server_secret_directory", "registry_tls_ca_directory"} <= set(folders)
    assert [name for name, path in folders.items() if not is_forgotten(boot, path, {})] == []
    moved = {"drydock_directory": "/srv/drydock"}
    assert [name for name, path in host_folders(**moved).items() if not is_forgotten(boot, path, moved)] == []
    for name in folders:
        assert is_forgotten(boot, "/srv/of/its/own/file", {name: "/srv/of/its/own"}), name


def test_other_variables_name_no_folder(boot: ModuleType) -> None:
    variables = {
        "drydock_domain": "registry.test",
        "registry_tls_acme_directory_url": "https://example.com/directory",
        "registry_proxy_blob_directory": "",
        "docker_engine_provider": "auto",
    }
    assert boot.own_folders(variables) == []


@pytest.mark.parametrize("folder", ["/", "/srv", "/srv/", "/srv/x/..", "//etc", "etc/drydock"])
def test_no_folder_that_the_system_needs_is_taken_away(boot: ModuleType, folder: str) -> None:
    with pytest.raises(Problem, match=r"registry_auth_directory is .*: write a folder of the registry's own"):
        boot.own_folders({"registry_auth_directory": folder})


def test_a_host_of_an_image_keeps_apts_lists_young(
    boot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, baked = tmp_path / "lists", tmp_path / "baked"
    lists.mkdir()
    monkeypatch.setattr(boot, "LISTS", (tmp_path / "stamp", lists))
    monkeypatch.setattr(boot, "BAKED", baked)
    monkeypatch.setattr(boot, "BUNDLE", tmp_path / "0123")
    for content, young in ((None, False), ("4567", False), ("0123", True)):
        if content:
            baked.write_text(content, encoding="utf-8")
        os.utime(lists, (0, 0))
        boot.keep_lists()
        assert (lists.stat().st_mtime > 0) is young, content


# ----- its storage ------------------------------------------------------------------------------

UPLOAD = "/v2/drydock/probe/blobs/uploads/0123?_state=abc"


class Registry(UnixStreamServer):
    """A server that begins and gives up uploads with these statuses."""

    def __init__(self, path: Path, statuses: Mapping[str, int]) -> None:
        super().__init__(str(path), self.Handler)
        self.statuses = statuses
        self.asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        server: Registry

        def _answer(self) -> None:
            self.server.asked.append(f"{self.command} {self.path}")
            self.send_response(self.server.statuses[self.command])
            self.send_header("Location", f"http://localhost{UPLOAD}")
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"denied")

        do_POST = do_DELETE = _answer  # noqa: N815 - names of the library

        def log_message(self, *_: Any) -> None:
            """Say nothing."""


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [
        ({"POST": 202, "DELETE": 204}, ""),
        # Read-only, or a mirror.
        ({"POST": 405}, ""),
        ({"POST": 500}, "500 denied"),
        ({"POST": 202, "DELETE": 500}, "500 denied"),
    ],
)
def test_a_registry_that_cannot_store_says_so(
    boot: ModuleType, tmp_path: Path, statuses: dict[str, int], problem: str
) -> None:
    with Registry(tmp_path / "registry-a.sock", statuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert boot.storage_problem(tmp_path / "registry-a.sock") == problem
        finally:
            server.shutdown()
    assert server.asked == ["POST /v2/drydock/probe/blobs/uploads/", f"DELETE {UPLOAD}"][: len(statuses)]


def test_no_registry_is_a_sentence(boot: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="the registry cannot store images, and answers FileNotFoundError"):
        boot.wait_until_stored({"registry_server_socket_directory": str(tmp_path)}, 0)


# ----- what is asked for ------------------------------------------------------------------------


def test_what_a_program_says_last_is_the_reason(
    boot: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise Problem("the bucket has no live.json")

    monkeypatch.setattr(boot, "pull", fails)
    monkeypatch.setattr(sys, "argv", ["boot.py", "pull"])
    assert boot.main() == 1
    assert capsys.readouterr().err == "the bucket has no live.json\n"


def test_a_program_that_hangs_is_ended(boot: ModuleType) -> None:
    with pytest.raises(Problem, match="sleep has not ended after 1 s"):
        boot.run("sleep", "30", seconds=0)


def test_a_program_that_fails_is_a_sentence(boot: ModuleType) -> None:
    with pytest.raises(Problem, match="false ended with 1, and the log says why"):
        boot.run("false", seconds=10)
    with pytest.raises(Problem, match="no-such-program cannot be run"):
        boot.run("no-such-program", seconds=10)
