# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host answers to the roles' questions, with nothing there as well."""

from __future__ import annotations

import http.server
import json
import os
import pwd
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _host_look as host_look

ME = pwd.getpwuid(os.geteuid()).pw_name


def a_file(root: Path) -> Path:
    path = root / "web.conf"
    path.write_text("port 80\n", encoding="utf-8")
    path.chmod(0o640)
    return path


def a_folder(root: Path) -> Path:
    path = root / "web"
    path.mkdir(mode=0o750)
    return path


def a_link(root: Path) -> Path:
    path = root / "current"
    path.symlink_to(a_file(root))
    return path


def a_loose_link(root: Path) -> Path:
    path = root / "current"
    path.symlink_to(root / "nowhere")
    return path


def a_pipe(root: Path) -> Path:
    path = root / "pipe"
    os.mkfifo(path, 0o600)
    return path


def bytes_that_are_no_text(root: Path) -> Path:
    path = root / "store.jks"
    path.write_bytes(b"\xfe\xedA")
    return path


def too_large(root: Path) -> Path:
    path = root / "large"
    path.write_bytes(b"a" * (host_look.CONTENT_BYTES + 1))
    return path


FILES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "file": (a_file, {"exists": True, "kind": "file", "mode": "0640", "size": 8, "content": "port 80\n", "user": ME}),
    "folder": (a_folder, {"exists": True, "kind": "directory", "mode": "0750", "content": "", "uid": os.geteuid()}),
    "link": (a_link, {"exists": True, "kind": "link", "content": "port 80\n"}),
    "link that leads nowhere": (a_loose_link, {"exists": True, "kind": "link", "content": "", "error": ""}),
    "pipe": (a_pipe, {"exists": True, "kind": "other", "content": ""}),
    "no text": (bytes_that_are_no_text, {"exists": True, "content": "\ufffd\ufffdA"}),
    "too large": (too_large, {"exists": True, "size": host_look.CONTENT_BYTES + 1, "content": ""}),
    "nothing": (lambda root: root / "nothing", {"exists": False, "kind": "", "mode": "", "uid": -1, "content": ""}),
    "below a file": (lambda root: a_file(root) / "x", {"exists": False, "kind": "", "error": ""}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_described(tmp_path: Path, name: str) -> None:
    make, wanted = FILES[name]
    found = host_look.file(str(make(tmp_path)))
    assert {key: found[key] for key in wanted} == wanted  # type: ignore[literal-required]


def test_a_link_says_where_it_leads(tmp_path: Path) -> None:
    assert host_look.file(str(a_link(tmp_path)))["target"] == str(tmp_path / "web.conf")


def test_a_kernel_file_has_content_although_its_size_is_0() -> None:
    assert host_look.file("/proc/sys/kernel/ostype")["content"] == "Linux\n"


NEAREST: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "there": (a_folder, "web", "directory"),
    "below what is there": (lambda root: a_folder(root) / "a" / "b", "web", "directory"),
    "below a file": (lambda root: a_file(root) / "a", "web.conf", "file"),
    "through a link": (a_link, "current", "file"),
    "below a link that leads nowhere": (lambda root: a_loose_link(root) / "a", "current", "link"),
}


@pytest.mark.parametrize("name", NEAREST)
def test_the_nearest_thing_that_exists(tmp_path: Path, name: str) -> None:
    make, where, kind = NEAREST[name]
    found = host_look.nearest(str(make(tmp_path)))
    assert (found["path"], found["kind"], found["user"]) == (str(tmp_path / where), kind, ME)


def test_a_relative_path_has_no_nearest() -> None:
    assert host_look.nearest("srv/web") == {"path": "", "kind": "", "writable": False, "uid": -1, "user": ""}


def test_a_kernel_folder_cannot_be_written() -> None:
    assert host_look.nearest("/nowhere/web")["path"] == "/"
    assert host_look.nearest("/sys/kernel/web")["kind"] == "directory"


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    def make(name: str, *more: str) -> str:
        path = str(tmp_path / name)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=x"]
        subprocess.run(
            [*command, "-keyout", f"{path}.key", "-out", f"{path}.crt", *more], check=True, capture_output=True
        )
        return path

    mine, other = make("mine", "-nodes"), make("other", "-nodes")
    locked = make("locked", "-passout", "pass:secret")
    Path(f"{mine}.half").write_text(Path(f"{mine}.key").read_text()[:100])
    assert host_look.pair_loads(f"{mine}.crt", f"{mine}.key")
    assert [
        host_look.pair_loads(certificate, key)
        for certificate, key in (
            (f"{mine}.crt", f"{other}.key"),
            (f"{mine}.crt", f"{mine}.half"),
            (f"{locked}.crt", f"{locked}.key"),
            (f"{mine}.crt", f"{mine}.missing"),
            (f"{mine}.missing", f"{mine}.key"),
        )
    ] == [False] * 5


def test_libraries_present_and_missing() -> None:
    found = host_look.libraries(["json", "no_such_library"])
    assert found == {
        "present": ["json"],
        "missing": ["no_such_library"],
        # These tests run in a virtual environment.
        "system": False,
        "python": sys.executable,
    }


def test_accounts() -> None:
    assert host_look.account("root") == {"uid": 0, "gid": 0}
    assert host_look.account("no-such-account") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("00000000", "0.0.0.0"),  # noqa: S104
        ("0100007F", "127.0.0.1"),
        ("00000000000000000000000000000000", "::"),
        ("00000000000000000000000001000000", "::1"),
    ],
)
def test_addresses_as_the_kernel_writes_them(text: str, wanted: str) -> None:
    assert host_look.address(text) == wanted


def test_the_table_of_sockets() -> None:
    table = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
"""
    assert host_look.listening(table) == [(host_look.address("0100007F"), 8080, "4711")]
    assert host_look.listening("") == []


@pytest.mark.parametrize(("family", "where"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_is_found_with_its_program(family: socket.AddressFamily, where: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        try:
            server.bind((where, 0))
        except OSError:
            assert family == socket.AF_INET6, "this machine has no loopback address"
            return
        port = server.getsockname()[1]
        assert [entry for entry in host_look.listeners() if entry["port"] == port] == []
        server.listen()
        own = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        assert [entry for entry in host_look.listeners() if entry["port"] == port] == [
            {"address": where, "port": port, "program": own}
        ]


def test_listeners_without_a_proc(tmp_path: Path) -> None:
    assert host_look.listeners(str(tmp_path)) == []


def test_programs() -> None:
    assert host_look.program("sh").endswith("/sh")
    assert host_look.program("no-such-program") == ""


SHOWN = """\
ActiveState=active
UnitFileState=enabled

ActiveState=inactive
UnitFileState=
"""


@pytest.mark.parametrize(("shown", "first"), [(SHOWN, True), ("", False)], ids=["systemd", "no systemd"])
def test_units(shown: str, first: bool) -> None:
    assert host_look.units(["web.timer", "no-such.timer"], lambda _names: shown) == {
        "web.timer": {"active": first, "enabled": first},
        "no-such.timer": {"active": False, "enabled": False},
    }


def test_no_unit_is_no_question() -> None:
    def asked(_names: Sequence[str]) -> str:
        raise AssertionError

    assert host_look.units([], asked) == {}


def an_answer(root: Path) -> tuple[bool, bool]:
    found = host_look.package_lists(str(root))
    return found["there"], 0 <= found["age_seconds"] < 60


def test_package_lists(tmp_path: Path) -> None:
    assert an_answer(tmp_path) == (False, False)
    lists = tmp_path / "lists"
    lists.mkdir()
    # Young and empty, as on a fresh cloud host.
    assert host_look.package_lists(str(tmp_path)) == {"there": False, "age_seconds": -1}
    (lists / "mirror_debian_dists_trixie_main_binary-amd64_Packages.lz4").touch()
    assert an_answer(tmp_path) == (True, True)
    os.utime(lists, (1, 1))
    assert host_look.package_lists(str(tmp_path))["age_seconds"] > 86400
    (tmp_path / "periodic").mkdir()
    (tmp_path / "periodic" / "update-success-stamp").touch()
    assert an_answer(tmp_path) == (True, True)


class Engine(socketserver.ThreadingUnixStreamServer):
    """A few answers of Docker's API."""

    answers: dict[str, tuple[int, bytes]]
    asked: list[str]


class Answers(http.server.BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, body = self.server.answers.get(self.path.split("?")[0], (404, b"{}"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(str(tmp_path / "docker.sock"), Answers) as server:
        server.answers, server.asked = {}, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PROXY = {
    "Id": "abc",
    "Names": ["/other/link", "/drydock-proxy"],
    "State": "running",
    "Image": "drydock/proxy:1",
    "ImageID": "sha256:1",
    "HostConfig": {"NetworkMode": "host"},
    "Ports": [{"PrivatePort": 80}, {"PrivatePort": 443, "PublicPort": 8443}, {"PrivatePort": 443, "PublicPort": 8443}],
    "Labels": {"drydock.user": "998:998"},
}
PROXY["Mounts"] = [{"Source": "/srv/tls", "Destination": "/etc/drydock/tls"}]
REGISTRY = {"Id": "def", "Names": ["/drydock-registry-a"], "State": "exited"}
STRANGER = {"Id": "ghi", "Names": ["/not-drydock-at-all"], "State": "running"}


def test_docker_with_containers_of_ours(engine: Engine) -> None:
    info = {"ServerVersion": "26.1.5", "Swarm": {"LocalNodeState": "inactive"}, "LiveRestoreEnabled": True}
    engine.answers["/info"] = (200, json.dumps(info).encode())
    engine.answers["/containers/json"] = (
        200,
        json.dumps([REGISTRY, STRANGER, {**STRANGER, "State": "exited"}, PROXY]).encode(),
    )
    found = host_look.docker(str(engine.server_address))
    assert (found["answers"], found["version"], found["swarm"], found["error"]) == (True, "26.1.5", False, "")
    assert (found["live_restore"], found["others"]) == (True, ["not-drydock-at-all"])
    assert found["containers"] == [
        {
            "name": "drydock-proxy",
            "id": "abc",
            "state": "running",
            "image": "drydock/proxy:1",
            "image_id": "sha256:1",
            "ports": [8443],
            "network": "host",
            "labels": {"drydock.user": "998:998"},
            "mounts": {"/etc/drydock/tls": "/srv/tls"},
        },
        {
            "name": "drydock-registry-a",
            "id": "def",
            "state": "exited",
            "image": "",
            "image_id": "",
            "ports": [],
            "network": "",
            "labels": {},
            "mounts": {},
        },
    ]
    assert "all=true" in engine.asked[1]


@pytest.mark.parametrize(("state", "swarm"), [("", False), ("inactive", False), ("active", True), ("pending", True)])
def test_docker_in_a_swarm(engine: Engine, state: str, swarm: bool) -> None:
    engine.answers["/info"] = (200, json.dumps({"ServerVersion": "1", "Swarm": {"LocalNodeState": state}}).encode())
    engine.answers["/containers/json"] = (200, b"[]")
    assert host_look.docker(str(engine.server_address))["swarm"] is swarm


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"{}", "answers 500"),
        (200, b"no JSON", "Expecting value"),
        (200, b"[]", "attribute"),
    ],
)
def test_a_docker_that_does_not_answer_well(engine: Engine, status: int, body: bytes, error: str) -> None:
    engine.answers["/info"] = (status, body)
    engine.answers["/containers/json"] = (200, b"[]")
    found = host_look.docker(str(engine.server_address))
    assert not found["answers"]
    assert error in found["error"]


def test_no_docker(tmp_path: Path) -> None:
    found = host_look.docker(str(tmp_path / "docker.sock"))
    assert not found["answers"]
    assert found["error"] == f"{tmp_path / 'docker.sock'}: No such file or directory"
    assert found["containers"] == []


def test_what_is_not_an_accounts(tmp_path: Path) -> None:
    a_folder(tmp_path).joinpath("deep").mkdir()
    assert host_look.foreign(str(tmp_path), ME) == ""
    assert host_look.foreign(str(tmp_path), "nobody-of-that-name") == str(tmp_path)
    assert host_look.foreign(str(tmp_path / "nothing"), ME) == ""
    # A link is looked at, and not what it leads to.
    (tmp_path / "link").symlink_to("/proc/1")
    assert host_look.foreign(str(tmp_path), ME) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_not_an_accounts_is_found_deep_below(tmp_path: Path) -> None:
    deep = a_folder(tmp_path) / "deep"
    deep.mkdir()
    blob = deep / "data"
    blob.write_bytes(b"")
    os.chown(blob, 12345, 12345)
    assert host_look.foreign(str(tmp_path), ME) == str(blob)
