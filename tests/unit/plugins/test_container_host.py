# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the host for the container action: docker's command line, and a request."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Optional, cast

import pytest
from ansible_collections.drydock.registry.plugins.action.container import (
    ARGUMENT_SPEC,
    ActionModule,
    HostOperations,
    docker_container,
    wanted,
)
from ansible_collections.drydock.registry.plugins.module_utils import _container_host as host
from ansible_collections.drydock.registry.plugins.module_utils._container import (
    Answer,
    Container,
    Step,
    StepFailed,
    hostname_of,
    limits_of,
    wanted_limits,
)
from ansible_collections.drydock.registry.plugins.module_utils._container_host import Done

OPTIONS: dict[str, Any] = {
    "name": "web",
    "state": "present",
    "image": "web:1",
    "entrypoint": ["nginx"],
    "command": None,
    "env": {},
    "labels": {"drydock.config": "abc"},
    "user": "999:999",
    "mounts": [],
    "memory_mib": 256,
    "pids": 0,
    "log": {"driver": "", "options": {}},
    "cpu_shares": None,
    "network": "host",
    "published_ports": [],
    "stop_signal": "SIGQUIT",
    "stop_timeout_seconds": 30,
    "hand_over": {"header": "Web-Container", "seconds": 20},
    "health": {"url": "https://127.0.0.1/healthz", "unix_socket": "", "storage": False, "seconds": 60},
    "known": {},
}


class Docker:
    """Docker's command line, which answers as it is told."""

    def __init__(self, *answers: Done) -> None:
        self.answers = list(answers)
        self.commands: list[str] = []
        self.seconds: list[Optional[float]] = []

    def __call__(self, *arguments: str, seconds: Optional[float] = None) -> Done:
        self.commands.append(" ".join(arguments))
        self.seconds.append(seconds)
        return self.answers.pop(0)


FINE = Done(0, "", "")


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("web", True),
        ("web-old", True),
        ("web-finishing-0123456789ab", True),
        ("web-finishing-xyz", False),
        ("web-old-2", False),
        ("my-web", False),
        ("webx", False),
    ],
)
def test_family(name: str, matches: bool) -> None:
    assert bool(re.search(host.family_pattern("web"), f"/{name}")) is matches
    assert bool(re.search(host.family_pattern("web"), name)) is matches


def test_containers_are_listed() -> None:
    entry = {
        "name": "web",
        "id": "1" * 64,
        "state": "running",
        "image": "web:1",
        "network": "host",
        "specification": "abc",
        "user": "999:999",
    }
    docker = Docker(Done(0, json.dumps(entry) + "\n", ""))
    assert host.listed("web", docker) == [Container(**entry)]


def test_containers_are_seen_by_the_api(unix_socket: str) -> None:
    labels = {"drydock.specification": "abc", "drydock.user": "999:999"}
    entry = {"State": "running", "Image": "web:1", "NetworkSettings": {"Networks": {"host": {}}}, "Labels": labels}
    asked = [
        {"name": "web", "url": "http://web/healthz", "unix_socket": unix_socket, "header": "Web-Container"},
        {"name": "mail", "url": "http://mail/", "unix_socket": unix_socket, "header": ""},
        {"name": "none", "url": "http://none/", "unix_socket": unix_socket, "header": ""},
    ]
    answers = {
        "/containers/json?all=true": [
            {**entry, "Id": "1", "Names": ["/other/link", "/web"]},
            {**entry, "Id": "2", "Names": ["/web-old"], "State": "exited", "Labels": None},
            {**entry, "Id": "3", "Names": ["/mail"], "State": "exited"},
        ],
        "/containers/1/json": {"HostConfig": {"Memory": 256}},
    }
    web = Container("web", "1", "running", "web:1", "host", "abc", "999:999")
    old = Container("web-old", "2", "exited", "web:1", "host", "", "")
    assert host.seen(asked, answers.__getitem__) == {
        "web": {
            "asked": asked[0],
            "containers": [web, old],
            "limits": limits_of({"HostConfig": {"Memory": 256}}),
            "answer": Answer(200, "web", ""),
        },
        # One that does not run is not asked.
        "mail": {
            "asked": asked[1],
            "containers": [web._replace(name="mail", id="3", state="exited")],
            "limits": {},
            "answer": Answer(0, "", ""),
        },
        "none": {"asked": asked[2], "containers": [], "limits": {}, "answer": Answer(0, "", "")},
    }


def test_docker_that_does_not_answer_is_named() -> None:
    with pytest.raises(StepFailed, match=r"^Cannot connect to the Docker daemon\.$"):
        host.listed("web", Docker(Done(1, "", "Cannot connect to the Docker daemon.\n")))


@pytest.mark.parametrize(
    ("answer", "found"), [(Done(0, "sha256:1\n", ""), "sha256:1"), (Done(1, "[]\n", "No such image"), "")]
)
def test_image_id(answer: Done, found: str) -> None:
    assert host.image_id("web:1", Docker(answer)) == found


def test_steps_become_commands() -> None:
    steps = [
        Step("update", "web-old", "no"),
        Step("rename", "web-old", "web-finishing-1"),
        Step("kill", "web-finishing-1", "SIGQUIT"),
        Step("wait", "web-finishing-1", "30"),
        Step("start", "web"),
        Step("stop", "web", "30"),
        Step("remove", "web"),
    ]
    docker = Docker(*[FINE] * len(steps))
    assert host.perform(steps, docker) == [True] * len(steps)
    assert docker.commands == [
        "update --restart=no web-old",
        "rename web-old web-finishing-1",
        "kill --signal=SIGQUIT web-finishing-1",
        "wait web-finishing-1",
        "start web",
        "stop -t 30 web",
        "rm --force --volumes web",
    ]
    assert docker.seconds == [None, None, None, 30.0, None, None, None]


def test_wait_that_does_not_end_is_no_failure() -> None:
    assert host.perform([Step("wait", "web", "1")], Docker(Done(None, "", ""))) == [False]


@pytest.mark.parametrize(
    ("step", "complaint", "fails"),
    [
        (Step("kill", "web", "SIGQUIT"), "Container 12 is not running", False),
        (Step("kill", "web", "SIGQUIT"), "No such container: web", True),
        (Step("stop", "web", "1"), "Error: No such container: web", False),
        (Step("remove", "web"), "Error: No such container: web", False),
        (Step("rename", "web", "x"), "Error: No such container: web", True),
        (Step("start", "web"), "driver failed", True),
    ],
)
def test_failures(step: Step, complaint: str, fails: bool) -> None:
    docker = Docker(Done(1, "", complaint), FINE)
    if not fails:
        assert host.perform([step, Step("start", "other")], docker) == [True, True]
        return
    with pytest.raises(StepFailed, match=complaint):
        host.perform([step, Step("start", "other")], docker)
    assert len(docker.commands) == 1


def test_log_has_output_and_errors() -> None:
    assert host.log("web", Docker(Done(0, "started\n", "emerg\n"))) == "started\nemerg"
    assert host.log("web", Docker(Done(1, "", "No such container: web\n"))) == "No such container: web"


class Handler(BaseHTTPRequestHandler):
    """Answers with its name."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.send_header("Web-Container", self.headers["Host"])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """Return a name for a client at a unix socket."""
        return "client"


class UnixServer(socketserver.UnixStreamServer):
    """A server at a unix socket."""


@pytest.fixture
def unix_socket(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "web.sock")
    with UnixServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield path
        server.shutdown()


def test_asking_at_a_unix_socket(unix_socket: str) -> None:
    assert host.asked("http://web/healthz", unix_socket, "Web-Container") == Answer(200, "web", "")
    assert host.asked("http://web/", unix_socket, "") == Answer(503, "", "")


def test_asking_where_nobody_listens(tmp_path: Path) -> None:
    assert host.asked("http://web/", str(tmp_path / "none.sock"), "") == Answer(0, "", "No such file or directory")
    assert host.asked("https://127.0.0.1:1/", "", "") == Answer(0, "", "Connection refused")


@pytest.mark.parametrize(
    ("answer", "hostname", "wrong"),
    [
        (Answer(200, "", ""), "", ""),
        (Answer(200, "web-1", ""), "web-1", ""),
        (Answer(503, "web-1", ""), "web-1", "http://web/ answers 503 and not 200."),
        (Answer(503, "", "it cannot read"), "", "http://web/ answers, but it cannot read."),
        (Answer(200, "web-0", ""), "web-1", "http://web/ is answered by web-0 and not by web-1."),
        (Answer(200, "", ""), "web-1", "http://web/ is answered by another program and not by web-1."),
        (Answer(0, "", "Connection refused"), "", "nothing answers at http://web/ (Connection refused)."),
    ],
)
def test_complaints(answer: Answer, hostname: str, wrong: str) -> None:
    assert host.complaint(answer, "http://web/", hostname) == wrong


@pytest.mark.parametrize(
    ("answers_after", "seconds", "fine"), [(0, 5, True), (4.9, 5, True), (6, 5, False), (0, 0, True)]
)
def test_asking_goes_on_for_its_time(answers_after: float, seconds: int, fine: bool) -> None:
    now = [0.0]

    def sleep(pause: float) -> None:
        now[0] += pause

    def ask() -> Answer:
        return Answer(200, "", "") if now[0] >= answers_after else Answer(0, "", "refused")

    wrong = host.ask_until(ask, "web", "", seconds, clock=lambda: now[0], sleep=sleep)
    assert (wrong == "") is fine
    assert now[0] <= seconds + host.PAUSE_SECONDS


def test_a_folder_that_was_replaced_makes_a_mount_stale(tmp_path: Path) -> None:
    def mount(kind: str, name: str) -> dict[str, str]:
        return {"Type": kind, "Source": str(tmp_path / "host" / name), "Destination": f"/{name}"}

    for name in ("same", "replaced", "removed"):
        (tmp_path / "host" / name).mkdir(parents=True)
    root = tmp_path / "proc/7/root"
    root.mkdir(parents=True)
    # What the container sees are the folders as they were, by whatever name.
    for name in ("same", "replaced", "removed"):
        (root / name).symlink_to(tmp_path / "host" / name)
    for name in ("replaced", "removed"):
        (tmp_path / "host" / name).rename(tmp_path / f"{name}-before")
        (root / name).unlink()
        (root / name).symlink_to(tmp_path / f"{name}-before")
    (tmp_path / "host/replaced").mkdir()
    mounts = [mount("bind", name) for name in ("same", "replaced", "removed", "of another machine")] + [
        mount("volume", "replaced")
    ]
    details = {"State": {"Pid": 7}, "Mounts": mounts}
    assert host.stale(details, str(tmp_path / "proc")) == ["/replaced", "/removed"]
    assert host.stale({"State": {"Pid": 0}, "Mounts": mounts}, str(tmp_path / "proc")) == []


def test_arguments_of_docker_container() -> None:
    made = docker_container(OPTIONS, {"drydock.specification": "abc"}, "web-abc")
    # Users of the container are those of the host, also where the engine remaps them; nothing that it leaves outlives it.
    assert made["userns_mode"] == "host"
    assert made["keep_volumes"] is False
    assert made["hostname"] == "web-abc"
    assert made["memory"] == "256M"
    assert made["pids_limit"] == -1
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert "cpu_shares" not in made
    assert "command" not in made
    assert "hostname" not in docker_container(OPTIONS, {}, "")
    assert made["log_driver"] == "json-file"


@pytest.mark.parametrize(("facts", "name"), [({"nodename": "ip-10-0-0-1"}, "ip-10-0-0-1"), ({}, ""), (None, "")])
def test_streams_are_called_by_the_host(facts: Any, name: str) -> None:
    action: Any = None
    assert HostOperations(action, OPTIONS, {"ansible_facts": facts}).nodename() == name


@pytest.mark.parametrize(
    ("options", "host", "expected"),
    [
        ({"awslogs-group": "/g"}, "ip-10-0-0-1", {"awslogs-group": "/g", "tag": "ip-10-0-0-1/{{.Name}}/{{.FullID}}"}),
        ({"awslogs-group": "/g"}, "", {"awslogs-group": "/g", "tag": "{{.Name}}/{{.FullID}}"}),
        ({"awslogs-group": "/g", "awslogs-stream": "s"}, "h", {"awslogs-group": "/g", "awslogs-stream": "s"}),
    ],
)
def test_logs_elsewhere(options: dict[str, str], host: str, expected: dict[str, str]) -> None:
    log = {"driver": "awslogs", "options": options}
    made = docker_container({**OPTIONS, "log": log}, {}, "", host)
    assert (made["log_driver"], made["log_options"]) == ("awslogs", expected)
    other = docker_container({**OPTIONS, "log": {"driver": "journald", "options": {}}}, {}, "", host)
    assert (other["log_driver"], other["log_options"]) == ("journald", {})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"health": None}, True),
        ({"log": {"driver": "", "options": {}}}, True),
        ({"log": {"driver": "awslogs", "options": {}}}, False),
        ({"memory_mib": 512}, False),
        ({"labels": {"drydock.config": "abd"}}, False),
        ({"hand_over": {"header": "Web-Container", "seconds": 21}}, False),
    ],
)
def test_what_makes_another_container(change: dict[str, Any], same: bool) -> None:
    before, after = wanted(OPTIONS, "host"), wanted({**OPTIONS, **change}, "host")
    assert (before.specification("sha256:1") == after.specification("sha256:1")) is same
    assert before.specification("sha256:1") != before.specification("sha256:2")


def test_options_are_those_of_the_action() -> None:
    assert set(OPTIONS) == set(ARGUMENT_SPEC)


KNOWN: dict[str, Any] = {
    "images": {"web": {"asked": {}, "found": {"reference": "web:1", "id": "sha256:1"}}},
    "containers": {
        "web": {
            "asked": {"name": "web", "url": "https://127.0.0.1/healthz", "unix_socket": "", "header": "Web-Container"},
            "containers": [],
            "limits": {},
            "answer": [0, "", ""],
        }
    },
}


class Host(HostOperations):
    """A host where a module that is run tells so."""

    def steps(self, operation: str, **_arguments: Any) -> dict[str, Any]:
        raise StepFailed(operation)


def known(options: dict[str, Any]) -> dict[str, Any]:
    """What a look has seen of the container, where all is well."""
    specification = wanted(options, "").specification("sha256:1")
    running = ["web", "1", "running", "web:1", "host", specification, "999:999"]
    answer = [200, hostname_of("web", specification), ""]
    web = {**KNOWN["containers"]["web"], "containers": [running], "limits": wanted_limits(options), "answer": answer}
    return {**KNOWN, "containers": {"web": web}}


def operations(**options: Any) -> Host:
    """The operations of a task with these options."""
    return Host(cast(ActionModule, None), {**OPTIONS, **options}, {})


def test_a_container_that_is_known_to_be_well_costs_no_call() -> None:
    assert operations(known=known(OPTIONS)).look().image_id == "sha256:1"


@pytest.mark.parametrize(
    "options",
    [
        {"known": {}},
        {"known": KNOWN},
        {"known": {**known(OPTIONS), "images": {}}},
        {"known": known(OPTIONS), "image": "web:2"},
        {"known": known(OPTIONS), "labels": {"drydock.config": "abd"}},
        {"known": known(OPTIONS), "health": {"url": "https://127.0.0.1/", "unix_socket": "", "seconds": 60}},
        {"known": known(OPTIONS), "memory_mib": 128},
    ],
)
def test_whatever_differs_is_looked_at(options: dict[str, Any]) -> None:
    with pytest.raises(StepFailed, match="look"):
        operations(**options).look()
