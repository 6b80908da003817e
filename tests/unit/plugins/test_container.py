# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container takes the place of another: interrupted at every step, the next run completes it and clients notice nothing."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._container import (
    Answer,
    Container,
    Look,
    Made,
    NotServing,
    Outcome,
    Step,
    StepFailed,
    Wanted,
    ensure_absent,
    ensure_present,
    hostname_of,
    limits_of,
    settled,
    wanted_limits,
)

NAME = "drydock-proxy"
WANTED = Wanted(
    name=NAME,
    host="registry.test",
    image="drydock/proxy:1",
    user="999:999",
    options={"memory_mib": 256},
    stop_signal="SIGQUIT",
    hand_over_seconds=30,
    limits={"memory": 256},
)
OTHER = replace(WANTED, options={"memory_mib": 512})
THIRD = replace(WANTED, options={"memory_mib": 1024})
# An image that does not answer.
BROKEN = replace(WANTED, image="drydock/proxy:broken")
IN_PLACE = replace(WANTED, hand_over_seconds=None)


class Killed(BaseException):
    """The run was killed."""


@dataclass
class Running:
    """A container of the host of these tests."""

    id: str
    image: str
    specification: str
    user: str = "999:999"
    network: str = "host"
    running: bool = True
    # It has its signal: it listens no more, and ends with its last request.
    told: bool = False
    restart: str = "unless-stopped"

    @property
    def serves(self) -> bool:
        """Tell whether it takes requests and answers them."""
        return self.running and not self.told and "broken" not in self.image


class Host:
    """A host with Docker, on which every step may be the last one of a run."""

    def __init__(self, wanted: Wanted = WANTED) -> None:
        self.wanted = wanted
        self.containers: dict[str, Running] = {}
        self.images = {image: f"sha256:{image}" for image in ("drydock/proxy:1", "drydock/proxy:2", BROKEN.image)}
        self.ids = itertools.count(1)
        # Whether requests of clients take longer than a run waits.
        self.busy = False
        # Which of two containers on one port answers the first question.
        self.old_answers = False
        # What somebody changed of the running container.
        self.limits: dict[str, int] = {"memory": 256}
        # The container of which somebody has replaced a folder.
        self.stale = ""
        self.error = ""
        self.library = True
        self.steps_left: Optional[int] = None
        self.ending: BaseException = Killed()
        self.never_down = False
        self.calls: list[str] = []

    def step(self) -> None:
        """Count a step, and end the run before it."""
        if self.never_down:
            assert any(container.serves for container in self.containers.values()), self.containers
        if self.steps_left is not None:
            if self.steps_left == 0:
                self.steps_left = None
                raise self.ending
            self.steps_left -= 1

    def run(self, wanted: Wanted, *, check_mode: bool = False) -> Outcome:
        """Run the state machine for a container."""
        self.wanted = wanted
        self.calls.clear()
        outcome = ensure_present(wanted, self, check_mode=check_mode)
        self.step()
        return outcome

    def restart(self) -> None:
        """Start the host again."""
        for container in self.containers.values():
            container.running = container.running and container.restart == "unless-stopped"
            container.told = False

    def finish_requests(self) -> None:
        """Let containers end that only had requests to answer."""
        for container in self.containers.values():
            container.running = container.running and not container.told

    def look(self) -> Look:
        """Look as the module on the host does."""
        self.calls.append("look")
        self.step()
        known = [
            Container(
                name,
                one.id,
                "running" if one.running else "exited",
                one.image,
                one.network,
                one.specification,
                one.user,
            )
            for name, one in self.containers.items()
        ]
        image_id = self.images.get(self.wanted.image, "")
        present = self.containers.get(NAME)
        limits = {**self.limits, **({"stale": ["/etc"]} if present and self.stale == present.id else {})}
        return Look(self.error, self.library, image_id, tuple(known), self.answer(), limits if present else {})

    def answer(self) -> Answer:
        """Answer a question."""
        serving = [one for one in self.containers.values() if one.serves]
        if not serving:
            return Answer(0, "", "Connection refused")
        one = serving[0 if self.old_answers else -1]
        return Answer(200, hostname_of(NAME, one.specification), "")

    def make(self, labels: Mapping[str, str], hostname: str) -> Made:
        """Do what docker_container does, step by step."""
        self.calls.append("make")
        specification = labels["drydock.specification"]
        assert hostname in ("", hostname_of(NAME, specification))
        self.step()
        present = self.containers.get(NAME)
        if present and present.specification == specification:
            changed = not present.running or self.limits != self.wanted.limits
            self.limits = dict(self.wanted.limits)
            present.running = True
            return Made(changed)
        if present:
            present.told, present.running = True, False
            self.step()
            del self.containers[NAME]
            self.step()
        made = Running(
            f"{next(self.ids):012x}{0:052x}", self.wanted.image, specification, self.wanted.user, running=False
        )
        self.containers[NAME] = made
        self.step()
        made.running = True
        return Made(True)

    def ask(self, hostname: str, seconds: int) -> str:
        """Ask until the container with this name answers."""
        self.calls.append(f"ask {seconds}")
        self.step()
        present = self.containers.get(NAME)
        if present and present.serves and hostname in ("", hostname_of(NAME, present.specification)):
            return ""
        return "it does not answer."

    def log(self) -> str:
        """Return the end of the log."""
        self.calls.append("log")
        self.step()
        return "nginx: [emerg] {broken}"

    def perform(self, steps: Sequence[Step]) -> list[bool]:
        """Do the steps."""
        self.calls.append("perform " + ", ".join(step.verb for step in steps))
        return [self.perform_one(*step) for step in steps]

    def perform_one(self, verb: str, name: str, argument: str) -> bool:
        """Do one step as docker does it."""
        self.step()
        container = self.containers.get(name)
        if container is None:
            if verb in ("stop", "remove"):
                return True
            raise StepFailed(f"no such container: {name}")
        if verb == "rename":
            if argument in self.containers:
                raise StepFailed(f"the name {argument} is taken")
            self.containers[argument] = self.containers.pop(name)
        elif verb == "update":
            container.restart = argument
        elif verb == "kill":
            assert argument == self.wanted.stop_signal
            container.told = True
        elif verb == "wait":
            container.running = container.running and self.busy
            return not container.running
        elif verb == "start":
            container.running = True
        elif verb == "stop":
            container.told, container.running = True, False
        elif verb == "remove":
            del self.containers[name]
        else:
            raise AssertionError(verb)
        return True


def serving(wanted: Wanted = WANTED, *, guarded: bool = True) -> Host:
    """Return a host on which the container runs."""
    host = Host()
    host.run(wanted)
    host.never_down = guarded
    return host


def specifications(host: Host, wanted: Wanted) -> list[str]:
    """Return the specification of a container, and that of its twin."""
    return [wanted.specification(host.images[wanted.image], twin=twin) for twin in (False, True)]


def assert_complete(host: Host, wanted: Wanted) -> None:
    """Nothing but the wanted container runs, and it starts with the host."""
    present = host.containers.pop(NAME)
    assert present.serves
    assert present.specification in specifications(host, wanted)
    assert present.restart == "unless-stopped"
    for name, other in host.containers.items():
        assert "-finishing-" in name, name
        assert other.told, f"{name} has not been told to finish"
        assert other.restart == "no"


def ended_at(first: int, host: Host, wanted: Wanted, ending: BaseException) -> bool:
    """Run, end it before a step, and tell whether it had so many steps."""
    host.steps_left, host.ending = first, ending
    with contextlib.suppress(Killed, StepFailed, NotServing):
        host.run(wanted)
    reached = host.steps_left is None
    host.steps_left = None
    return reached


def every_end(wanted: Wanted, ending: BaseException, *, busy: bool = False) -> Iterator[tuple[int, Host]]:
    """Yield hosts on which a run that changes the container was ended before each of its steps."""
    for step in itertools.count():
        host = serving()
        host.busy = busy
        if not ended_at(step, host, wanted, ending):
            assert step > 6
            return
        yield step, host


ENDINGS = [pytest.param(Killed(), id="killed"), pytest.param(StepFailed("no space left"), id="failed")]
# What is changed first, and what the next run wants.
CHANGES = [
    pytest.param(OTHER, OTHER, id="the same again"),
    pytest.param(OTHER, THIRD, id="another change"),
    pytest.param(OTHER, WANTED, id="back again"),
    pytest.param(BROKEN, OTHER, id="does not answer, then corrected"),
    pytest.param(BROKEN, WANTED, id="does not answer, then back again"),
]


@pytest.mark.parametrize("old_answers", [False, True], ids=["the new one answers", "the old one answers"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("first", "then"), CHANGES)
def test_next_run_completes_one_that_ended_anywhere(
    first: Wanted, then: Wanted, ending: BaseException, busy: bool, old_answers: bool
) -> None:
    for _, host in every_end(first, ending, busy=busy):
        host.old_answers = old_answers
        host.run(then)
        assert_complete(host, then)


@pytest.mark.parametrize(("first", "then"), CHANGES)
def test_two_runs_may_end_anywhere(first: Wanted, then: Wanted) -> None:
    """Each is killed before each of its steps, and the third run completes it."""
    for step, _ in every_end(first, Killed()):
        for second in itertools.count():
            host = serving()
            ended_at(step, host, first, Killed())
            if not ended_at(second, host, then, Killed()):
                break
            host.run(then)
            assert_complete(host, then)


@pytest.mark.parametrize("first", [OTHER, BROKEN], ids=["good", "broken"])
def test_host_that_starts_again_after_any_step_serves(first: Wanted) -> None:
    for step, host in every_end(first, Killed()):
        host.restart()
        assert any(one.serves for one in host.containers.values()), step
        host.run(THIRD)
        assert_complete(host, THIRD)


@pytest.mark.parametrize("wanted", [WANTED, IN_PLACE], ids=["hands over", "in its place"])
def test_container_that_sees_a_folder_which_was_replaced_makes_room_for_its_twin(wanted: Wanted) -> None:
    for step in itertools.count():
        host = serving(wanted, guarded=wanted is WANTED)
        for _ in range(3):
            host.stale = host.containers[NAME].id
            reached = ended_at(step, host, wanted, Killed())
            if reached:
                host.run(wanted)
            assert host.containers[NAME].id != host.stale
            assert not host.run(wanted).changed
        assert_complete(host, wanted)
        if not reached:
            assert step > 1
            return


def test_container_that_is_replaced_in_its_place_is_completed() -> None:
    for step in itertools.count():
        host = serving(IN_PLACE, guarded=False)
        other = replace(IN_PLACE, options={"memory_mib": 512})
        if not ended_at(step, host, other, Killed()):
            break
        host.run(other)
        assert_complete(host, other)


def test_unchanged_container_costs_one_call() -> None:
    host = serving()
    outcome = host.run(WANTED)
    assert host.calls == ["look"]
    assert outcome == Outcome(changed=False, message="", handed_over=False, finishing=())
    assert host.run(WANTED, check_mode=True) == outcome


ALONE = Container(NAME, "1", "running", WANTED.image, "host", WANTED.specification("sha256:1"), WANTED.user)
WELL = Look("", True, "sha256:1", (ALONE,), Answer(200, hostname_of(NAME, ALONE.specification), ""), WANTED.limits)
NOT_SETTLED: dict[str, Look] = {
    "Docker does not answer": WELL._replace(error="Cannot connect to the Docker daemon."),
    "the image is gone": WELL._replace(image_id=""),
    "the name means another image": WELL._replace(image_id="sha256:2"),
    "there is no container": WELL._replace(containers=()),
    "it has ended": WELL._replace(containers=(ALONE._replace(state="exited"),)),
    "it starts again and again": WELL._replace(containers=(ALONE._replace(state="restarting"),)),
    "it is of another image": WELL._replace(containers=(ALONE._replace(image="drydock/proxy:0"),)),
    "it has another label": WELL._replace(containers=(ALONE._replace(specification="0" * 64),)),
    "it has another limit": WELL._replace(limits={"memory": 128}),
    "it sees a folder that was replaced": WELL._replace(limits={**WANTED.limits, "stale": ["/etc/web"]}),
    "nothing answers": WELL._replace(answer=Answer(0, "", "Connection refused")),
    "it is unhealthy": WELL._replace(answer=Answer(503, WELL.answer.header, "")),
    "another one answers": WELL._replace(answer=Answer(200, "drydock-proxy-0", "")),
    "one that it replaces is left": WELL._replace(containers=(ALONE, ALONE._replace(name=f"{NAME}-old"))),
    "one that it has replaced is left": WELL._replace(containers=(ALONE, ALONE._replace(name=f"{NAME}-finishing-0"))),
}


def test_a_container_that_is_as_it_shall_be_needs_nothing() -> None:
    assert settled(WANTED, WELL)
    assert settled(IN_PLACE, WELL._replace(answer=Answer(200, "", "")))
    assert not settled(OTHER, WELL)


@pytest.mark.parametrize("name", NOT_SETTLED)
def test_a_container_that_needs_something_is_looked_at_again(name: str) -> None:
    assert not settled(WANTED, NOT_SETTLED[name])


def test_changed_limit_is_repaired() -> None:
    host = serving()
    host.limits["memory"] = 128
    outcome = host.run(WANTED)
    assert outcome == Outcome(changed=True, message="", handed_over=False, finishing=())
    assert host.calls == ["look", "make", "ask 60"]
    assert not host.run(WANTED).changed


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"HostConfig": {"PidsLimit": -1}}, True),
        ({"HostConfig": {"PidsLimit": None}}, True),
        ({"HostConfig": {"PidsLimit": 5}}, False),
        ({"HostConfig": {"Memory": 1}}, False),
        ({"HostConfig": {"RestartPolicy": {"Name": "no"}}}, False),
        ({"HostConfig": {"CpuShares": 2}}, False),
        ({"HostConfig": {"NanoCpus": 1000}}, False),
        ({"HostConfig": {"CpusetCpus": "0"}}, False),
        ({"NetworkSettings": {"Networks": {"host": {}, "bridge": {}}}}, False),
        ({"State": {"Paused": True}}, False),
    ],
)
def test_limits_are_compared(change: Mapping[str, Any], same: bool) -> None:
    options = {"memory_mib": 256, "pids": 0, "cpu_shares": None, "network": "host"}
    details = {
        "HostConfig": {
            "RestartPolicy": {"Name": "unless-stopped"},
            "Memory": 256 * 1024 * 1024,
            "PidsLimit": 0,
            "CpuShares": 0,
            **change.get("HostConfig", {}),
        },
        "NetworkSettings": {"Networks": {"host": {}}},
        **{key: value for key, value in change.items() if key != "HostConfig"},
    }
    assert (limits_of(details) == wanted_limits(options)) is same


def test_container_that_does_not_answer_any_more_is_asked_again() -> None:
    host = serving(guarded=False)
    host.containers[NAME].told = True
    with pytest.raises(NotServing):
        host.run(WANTED)
    assert host.calls == ["look", "make", "ask 60", "log"]


def test_change_hands_over() -> None:
    host = serving()
    outcome = host.run(OTHER)
    assert outcome == Outcome(changed=True, message="", handed_over=True, finishing=())
    assert host.calls == [
        "look",
        "perform rename",
        "make",
        "ask 15",
        "perform update, kill, rename, wait",
        "perform remove",
    ]
    assert list(host.containers) == [NAME]


def test_first_container_has_its_own_time_to_answer() -> None:
    host = Host()
    outcome = host.run(WANTED)
    assert outcome == Outcome(changed=True, message="", handed_over=False, finishing=())
    assert host.calls == ["look", "make", "ask 60"]


def test_busy_container_goes_on_and_a_later_run_removes_it() -> None:
    host = serving()
    host.busy = True
    (left,) = host.run(OTHER).finishing
    assert host.containers[left].running
    outcome = host.run(OTHER)
    assert outcome == Outcome(changed=False, message="", handed_over=False, finishing=(left,))
    host.finish_requests()
    assert host.run(OTHER, check_mode=True).changed
    outcome = host.run(OTHER)
    assert outcome == Outcome(changed=True, message="", handed_over=False, finishing=())
    assert list(host.containers) == [NAME]


def test_failure_names_the_reason_and_shows_the_log_and_the_old_one_goes_on() -> None:
    host = serving()
    before = host.containers[NAME].id
    with pytest.raises(NotServing) as failure:
        host.run(BROKEN)
    assert str(failure.value) == (
        "drydock-proxy on registry.test does not run as it should: it does not answer.\n"
        "The one that ran before goes on.\nIts last lines:\nnginx: [emerg] {broken}"
    )
    assert {name: one.id for name, one in host.containers.items()} == {NAME: before}
    host.run(WANTED)
    assert host.calls == ["look"]


def test_failure_without_an_old_one_leaves_the_container_to_be_looked_at() -> None:
    host = Host()
    with pytest.raises(NotServing, match="does not run as it should: it does not answer") as failure:
        host.run(BROKEN)
    assert "The one that ran before" not in str(failure.value)
    assert list(host.containers) == [NAME]


def test_one_of_several_that_fails_is_stopped_and_made_again_by_the_next_run() -> None:
    several = replace(IN_PLACE, one_of_several=True)
    host = Host()
    with pytest.raises(NotServing, match="It was stopped, so that no request reaches it; the next run starts it again"):
        host.run(replace(several, image=BROKEN.image))
    assert not host.containers[NAME].running
    host.run(several)
    assert host.containers[NAME].serves


def test_one_of_several_that_nobody_changed_is_left_running_while_it_fails() -> None:
    several = replace(IN_PLACE, one_of_several=True)
    host = Host()
    host.run(several)
    host.containers[NAME].told = True
    with pytest.raises(NotServing):
        host.run(several)
    assert host.calls == ["look", "make", "ask 60", "log"]


def test_failing_to_take_the_old_one_back_does_not_hide_the_reason() -> None:
    class Stubborn(Host):
        def perform_one(self, verb: str, name: str, argument: str) -> bool:
            if verb == "start":
                raise StepFailed("no memory.")
            return super().perform_one(verb, name, argument)

    host = Stubborn()
    host.run(WANTED)
    with pytest.raises(NotServing) as failure:
        host.run(BROKEN)
    assert "does not run as it should: it does not answer." in str(failure.value)
    assert "The one that ran before is drydock-proxy-old; it did not get its name back: no memory." in str(
        failure.value
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"user": "998:998"}, id="another account"),
        pytest.param({"network": "bridge"}, id="another network"),
        pytest.param({"running": False}, id="it does not run"),
    ],
)
def test_containers_that_cannot_share_a_port_follow_each_other(change: Mapping[str, object]) -> None:
    host = serving(guarded=False)
    host.containers[NAME] = replace(host.containers[NAME], **change)  # type: ignore[arg-type]
    outcome = host.run(OTHER)
    assert outcome == Outcome(changed=True, message="", handed_over=False, finishing=())
    assert host.calls == ["look", "make", "ask 60"]


def test_another_image_under_the_same_name_is_a_change() -> None:
    host = serving()
    host.images[WANTED.image] = "sha256:pulled-anew"
    assert host.run(WANTED).handed_over


def test_earlier_hand_over_is_completed_before_the_next_one_begins() -> None:
    """Killed after the new one answered: it is not stopped in its place, but goes on beside the third."""
    host = serving()
    host.steps_left = 6
    with pytest.raises(Killed):
        host.run(OTHER)
    assert set(host.containers) == {NAME, f"{NAME}-old"}
    assert host.run(THIRD).handed_over
    assert host.calls[:2] == ["look", "perform update, kill, rename, rename"]
    assert_complete(host, THIRD)


@pytest.mark.parametrize("missing", ["error", "library", "image"])
def test_dry_run_without_docker_library_or_image_says_what_would_run(missing: str) -> None:
    host = Host()
    if missing == "error":
        host.error = "Cannot connect to the Docker daemon"
    elif missing == "library":
        host.library = False
    else:
        host.images.clear()
    outcome = host.run(WANTED, check_mode=True)
    assert outcome == Outcome(
        changed=True, message="drydock-proxy would run drydock/proxy:1.", handed_over=False, finishing=()
    )
    assert host.calls == ["look"]


def test_dry_run_touches_nothing() -> None:
    host = serving()
    made: list[str] = []

    class Dry(Host):
        def make(self, labels: Mapping[str, str], _hostname: str) -> Made:
            made.append(labels["drydock.specification"])
            return Made(True)

    dry = Dry()
    dry.containers = host.containers
    assert dry.run(OTHER, check_mode=True).changed
    assert dry.calls == ["look"]
    assert len(made) == 1


def test_without_docker_a_run_fails_by_its_complaint() -> None:
    host = Host()
    host.error = "Cannot connect to the Docker daemon"
    with pytest.raises(
        NotServing, match=r"^Docker does not answer on registry.test \(Cannot connect to the Docker daemon\); run"
    ):
        host.run(WANTED)


def test_old_one_that_is_taken_back_starts_with_the_host_again() -> None:
    """Killed when it was about to be told, and what had replaced it has ended since."""
    host = serving()
    host.steps_left = 6
    with pytest.raises(Killed):
        host.run(OTHER)
    assert host.containers[f"{NAME}-old"].restart == "no"
    host.containers[NAME].running = False
    with pytest.raises(NotServing):
        host.run(BROKEN)
    host.restart()
    assert host.containers[NAME].serves


@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "dry run"])
def test_removal_takes_all_of_them(check_mode: bool) -> None:
    host = serving(guarded=False)
    host.busy = True
    host.run(OTHER)
    host.steps_left = 6
    with pytest.raises(Killed):
        host.run(THIRD)
    before = list(host.containers)
    assert len(before) == 3
    assert ensure_absent(WANTED, host, check_mode=check_mode).changed
    assert list(host.containers) == (before if check_mode else [])
    if not check_mode:
        assert not ensure_absent(WANTED, host, check_mode=False).changed


def test_removal_on_a_host_without_docker_is_done_in_a_dry_run() -> None:
    host = Host()
    host.error = "docker: No such file or directory"
    assert not ensure_absent(WANTED, host, check_mode=True).changed
    with pytest.raises(NotServing, match="Docker does not answer"):
        ensure_absent(WANTED, host, check_mode=False)
