# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a difference on a host, and what is believed of an earlier look."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _host_state as host_state
from ansible_collections.drydock.registry.plugins.module_utils._host_state import Footprint, Kept

CONTAINER = {
    "Image": "sha256:1",
    "State": {"Running": True, "Pid": 7},
    "Config": {"Image": "web:1", "Hostname": "abc", "Labels": {"a": "1"}},
    "HostConfig": {"Memory": 1},
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
    "NetworkSettings": {"Networks": {"none": {"IPAddress": ""}}},
}


def folder(root: Path) -> Path:
    made = root / "web"
    (made / "below").mkdir(parents=True)
    made.joinpath("web.conf").write_text("a", encoding="utf-8")
    made.joinpath("web.conf").chmod(0o640)
    made.joinpath("link").symlink_to("web.conf")
    return made


def turn(link: Path) -> None:
    link.unlink()
    link.symlink_to("below")


def replace_by_file(path: Path) -> None:
    path.rmdir()
    path.touch()


DRIFTS: dict[str, Callable[[Path], object]] = {
    "content": lambda made: made.joinpath("web.conf").write_text("b", encoding="utf-8"),
    "mode": lambda made: made.joinpath("web.conf").chmod(0o644),
    "mode of the folder": lambda made: made.chmod(0o700),
    "file removed": lambda made: made.joinpath("web.conf").unlink(),
    "file added": lambda made: made.joinpath("below", "new").touch(),
    "link turned": lambda made: turn(made / "link"),
    "folder removed": lambda made: made.joinpath("below").rmdir(),
    "folder replaced by a file": lambda made: replace_by_file(made / "below"),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_whatever_happens_in_a_tree_is_a_difference(tmp_path: Path, name: str) -> None:
    made = folder(tmp_path)
    footprint: Footprint = {"trees": [str(made)]}
    before = host_state.state_of(footprint)
    assert host_state.differences(before, host_state.state_of(footprint)) == []
    DRIFTS[name](made)
    assert host_state.differences(before, host_state.state_of(footprint)), name


def test_a_tree_that_is_missing_differs_from_one_that_is_there(tmp_path: Path) -> None:
    footprint: Footprint = {"trees": [str(tmp_path / "none")]}
    assert list(host_state.state_of(footprint).values()) == ["not there"]


def test_of_a_place_the_content_does_not_count_but_the_mode_does(tmp_path: Path) -> None:
    made = folder(tmp_path)
    footprint: Footprint = {"trees": [str(made)], "places": [str(made / "web.conf")]}
    before = host_state.state_of(footprint)
    made.joinpath("web.conf").write_text("another", encoding="utf-8")
    assert host_state.differences(before, host_state.state_of(footprint)) == []
    made.joinpath("web.conf").chmod(0o600)
    assert host_state.differences(before, host_state.state_of(footprint)) == [str(made / "web.conf")]


def test_a_date_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text("{}", encoding="utf-8")
    footprint: Footprint = {"dated": [str(tmp_path / "*.json")], "files": [str(path)]}
    before = host_state.state_of(footprint)
    os.utime(path, (1, 1))
    assert host_state.differences(before, host_state.state_of(footprint)) == [f"{path} and its date"]


def test_what_appears_counts_only_where_it_is_another_s(tmp_path: Path) -> None:
    path = tmp_path / "registry/docker"
    footprint: Footprint = {"owned": [str(path)]}
    before = host_state.state_of(footprint)
    path.mkdir(parents=True)
    assert host_state.state_of(footprint) == before == {f"owner of {path}": str(os.geteuid())}
    assert host_state.owner_near("/") == "0"


def test_package_lists_grow_old(tmp_path: Path) -> None:
    footprint: Footprint = {"fresh": [str(tmp_path), str(tmp_path / "none")]}
    assert host_state.state_of(footprint) == {f"{tmp_path} was written within a day": "yes"}
    os.utime(tmp_path, (1, 1))
    assert host_state.state_of(footprint) == {f"{tmp_path} was written within a day": "no"}


def test_accounts_and_libraries_are_there_or_not() -> None:
    state = host_state.state_of({"accounts": ["root", "no-such-account"], "libraries": ["json", "no_such_library"]})
    assert state["account root"].startswith("0:0 ")
    assert state["account no-such-account"] == "not there"
    assert state["Python library json"] == "there"
    assert state["Python library no_such_library"] == "not there"


class Engine(socketserver.UnixStreamServer):
    """Docker's API, as far as it is asked."""

    def __init__(self, path: Path, answers: dict[str, Any]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path)
                body = json.dumps(found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return ""

        super().__init__(str(path), Handler)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    answers = {
        "/info": {"ServerVersion": "26", "Containers": 3},
        "/containers/web/json": json.loads(json.dumps(CONTAINER)),
        "/images/web:1/json": {"Id": "sha256:1"},
        "/networks/net": {"Driver": "bridge"},
    }
    path = tmp_path / "docker.sock"
    with Engine(path, answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(path), answers
        server.shutdown()
        thread.join()


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "stopped": lambda answers: answers["/containers/web/json"]["State"].update(Running=False),
    "gone": lambda answers: answers.pop("/containers/web/json"),
    "another limit": lambda answers: answers["/containers/web/json"]["HostConfig"].update(Memory=2),
    "another mount": lambda answers: answers["/containers/web/json"]["Mounts"].pop(),
    "another label": lambda answers: answers["/containers/web/json"]["Config"]["Labels"].update(a="2"),
    "another image": lambda answers: answers["/containers/web/json"].update(Image="sha256:2"),
    "another network": lambda answers: answers["/containers/web/json"]["NetworkSettings"].update(Networks={"host": {}}),
    "the tag leads elsewhere": lambda answers: answers["/images/web:1/json"].update(Id="sha256:2"),
    "the image is gone": lambda answers: answers.pop("/images/web:1/json"),
    "network gone": lambda answers: answers.pop("/networks/net"),
    "another engine": lambda answers: answers["/info"].update(ServerVersion="27"),
    "no engine": lambda answers: answers.pop("/info"),
}
FOOTPRINT: Footprint = {"containers": ["web"], "networks": ["net"], "engine": True}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_happens_to_a_container_is_a_difference(engine: tuple[str, dict[str, Any]], name: str) -> None:
    path, answers = engine
    before = host_state.state_of(FOOTPRINT, path)
    CHANGES[name](answers)
    assert host_state.differences(before, host_state.state_of(FOOTPRINT, path)), name


def test_what_changes_by_itself_is_no_difference(engine: tuple[str, dict[str, Any]]) -> None:
    path, answers = engine
    before = host_state.state_of(FOOTPRINT, path)
    answers["/containers/web/json"]["State"].update(Pid=8)
    answers["/containers/web/json"]["Config"].update(Hostname="def")
    answers["/containers/web/json"]["Mounts"].reverse()
    answers["/info"].update(Containers=4)
    assert host_state.state_of(FOOTPRINT, path) == before


def test_without_docker_everything_in_it_is_missing(tmp_path: Path) -> None:
    state = host_state.state_of(FOOTPRINT, str(tmp_path / "none"))
    assert set(state.values()) == {"not there"}


def test_a_server_behind_a_socket_is_asked(engine: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    path, answers = engine
    answers["/"] = {}
    assert host_state.state_of({"sockets": [path]}) == {f"answer at {path}": "200"}
    assert host_state.answer(str(tmp_path / "none")) == 0


KEPT = {"web": Kept(key="k", until=100.0, state={"/a": "1"})}
REASONS = {
    "nothing differs": (KEPT, {"/a": "1"}, 99, []),
    "something differs": (KEPT, {"/a": "2"}, 99, ["/a"]),
    "something came": (KEPT, {"/a": "1", "/b": "1"}, 99, ["/b"]),
    "something went": (KEPT, {}, 99, ["/a"]),
    "too old": (KEPT, {"/a": "1"}, 100, ["the last look is too long ago"]),
    "the clock was set back": (KEPT, {"/a": "1"}, 49, ["the last look is too long ago"]),
    "nothing kept": ({}, {"/a": "1"}, 99, ["no run is known since the host has started"]),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons(name: str) -> None:
    kept, state, now, expected = REASONS[name]
    assert host_state.reasons({"web": {}}, {"web": state}, kept, now, now + 50) == {"web": expected}


def test_what_is_kept_is_read_again_and_nonsense_is_nothing() -> None:
    assert host_state.parse_kept(host_state.render_kept("salt", KEPT)) == ("salt", KEPT)
    for text in (
        "",
        "{",
        "[]",
        "null",
        '{"salt": "s"}',
        '{"salt": "s", "roles": {"web": {}}}',
        '{"salt": "s", "roles": []}',
    ):
        assert host_state.parse_kept(text) == ("", {}), text


def test_a_file_that_others_can_write_or_read_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.touch()
    for mode, private in ((0o600, True), (0o640, False), (0o602, False), (0o604, False)):
        path.chmod(mode)
        assert host_state.is_private(path.stat(), os.geteuid()) is private
    path.chmod(0o600)
    assert not host_state.is_private(path.stat(), os.geteuid() + 1)
    assert not host_state.is_private(tmp_path.stat(), os.geteuid())


def test_a_misspelt_key_of_a_footprint_is_refused() -> None:
    (sentence,) = host_state.problems({"web": {"tree": ["/etc"]}, "good": {"trees": []}})
    assert "footprints.web" in sentence
    assert "tree:" in sentence
