# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one container takes the place of another, as a state machine that may be interrupted anywhere.

Nothing here talks to Docker: that is what `Operations` are for. The names of containers are all the state there is, so that the
next run sees what an interrupted one has left:

    NAME                the container that shall run
    NAME-old            the one that it replaces, which serves until NAME answers
    NAME-finishing-ID   one that has been told to finish: it takes no requests any more, answers its last ones and ends
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, Protocol

# Raised whenever the action gives containers other arguments of its own. It is part of every specification.
RECIPE = 4
# Limits that we do not set, and that `docker update` can.
OTHER_LIMITS = ("MemoryReservation", "NanoCpus", "CpuQuota", "CpuPeriod", "CpusetCpus", "CpusetMems", "BlkioWeight")
# While the new container takes requests and does not answer them, the old one is better alone.
SECONDS_BESIDE_THE_OLD = 15


class Container(NamedTuple):
    """What Docker says about a container. The specification and the user are labels of ours."""

    name: str
    id: str
    state: str
    image: str
    network: str
    specification: str
    user: str


class Answer(NamedTuple):
    """What the running container answers: the status is 0 where nothing answers, and then there is a reason."""

    status: int
    header: str
    reason: str


class Look(NamedTuple):
    """What is on the host. `error` is Docker's own complaint, and empty where it answers."""

    error: str
    # Whether the host's Python has the library that docker_container needs.
    library: bool
    # The id of the image that is asked for, empty where it is not there.
    image_id: str
    containers: tuple[Container, ...]
    answer: Answer
    # Of the running container, what can be changed while it runs.
    limits: Mapping[str, Any]


class Step(NamedTuple):
    """One command of Docker: rename, update (the restart policy), kill (a signal), wait (seconds), start, stop (seconds) or remove."""

    verb: str
    name: str
    argument: str = ""


class Made(NamedTuple):
    """What community.docker.docker_container did."""

    changed: bool


class StepFailed(Exception):
    """An operation on the host failed. The message says why."""


class NotServing(Exception):
    """The container does not run as it should. The message is for the user."""


class Operations(Protocol):
    """What the state machine needs done on the host. Each may raise StepFailed."""

    def look(self) -> Look:
        """Look at the image and the containers, and ask the running container once."""

    def perform(self, steps: Sequence[Step]) -> list[bool]:
        """Do the steps in this order, up to the first that fails. A `wait` is false where the container still runs."""

    def make(self, labels: Mapping[str, str], hostname: str) -> Made:
        """Have docker_container make the container or compare it with what is there."""

    def ask(self, hostname: str, seconds: int) -> str:
        """Ask until the container with this name answers, or any where it is empty. Returns what is wrong, or nothing."""

    def log(self) -> str:
        """Return the end of the container's log."""


@dataclass(frozen=True)
class Wanted:
    """The container that shall run, as the user describes it."""

    name: str
    # The host's name in the inventory, for sentences.
    host: str
    image: str
    user: str
    # All that the user says, for the specification.
    options: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"
    stop_timeout_seconds: int = 10
    health_seconds: int = 60
    # How long a run waits for the old container to finish; none where the container is replaced in its place.
    hand_over_seconds: Optional[int] = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    # Requests reach another one while this one is stopped, but not while it answers them wrongly.
    one_of_several: bool = False

    @property
    def old_name(self) -> str:
        """The name of the container that is being replaced."""
        return f"{self.name}-old"

    def specification(self, image_id: str, *, twin: bool = False) -> str:
        """Tell what makes two containers the same: all that the user says, and the image that its name means now.

        Its twin takes over from a container that is as it shall be, but cannot go on.
        """
        content = json.dumps([RECIPE, self.options, image_id, *(["twin"] if twin else [])], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def limits_of(details: Mapping[str, Any]) -> dict[str, Any]:
    """Read from `docker container inspect` what `docker update` and the like can change. All else is fixed when a container is made.

    Whether its mounts are stale, the host adds.
    """
    host = details.get("HostConfig") or {}
    networks = (details.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "restart": (host.get("RestartPolicy") or {}).get("Name") or "no",
        "memory": host.get("Memory") or 0,
        # No limit is -1, 0 or nothing, by Docker's version.
        "pids": max(0, host.get("PidsLimit") or 0),
        "cpu_shares": host.get("CpuShares") or 0,
        "other": [key for key in OTHER_LIMITS if host.get(key)],
        "networks": sorted(networks),
        "paused": bool((details.get("State") or {}).get("Paused")),
        "stale": [],
    }


def wanted_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for the container as the user describes it."""
    return {
        "restart": "unless-stopped",
        "memory": options["memory_mib"] * 1024 * 1024,
        "pids": max(0, options["pids"]),
        "cpu_shares": options["cpu_shares"] or 0,
        "other": [],
        "networks": [options["network"]],
        "paused": False,
        "stale": [],
    }


class Outcome(NamedTuple):
    """What was done, or would be done in a dry run."""

    changed: bool
    message: str
    handed_over: bool
    # Containers that were replaced and still have requests to answer.
    finishing: tuple[str, ...]


def hostname_of(name: str, specification: str) -> str:
    """Return the host name by which a container can tell that it is the one that answers."""
    return f"{name}-{specification[:12]}"


def is_finishing(container: Container) -> bool:
    """Tell whether it has been replaced."""
    return "-finishing-" in container.name


def finishing_name(wanted: Wanted, old: Container) -> str:
    """Return the name of a container that has been told to finish."""
    return f"{wanted.name}-finishing-{old.id[:12]}"


def finishing_steps(wanted: Wanted, old: Container) -> list[Step]:
    """Return how an old container is told to finish. Until it is, it keeps the name by which its configuration is reloaded."""
    return [
        Step("update", old.name, "no"),
        Step("kill", old.name, wanted.stop_signal),
        Step("rename", old.name, finishing_name(wanted, old)),
    ]


def taking_back_steps(wanted: Wanted) -> list[Step]:
    """Return how the old container gets its place back. It runs and starts with the host before the new one goes."""
    return [
        Step("update", wanted.old_name, "unless-stopped"),
        Step("start", wanted.old_name),
        Step("stop", wanted.name, str(wanted.stop_timeout_seconds)),
        Step("remove", wanted.name),
        Step("rename", wanted.old_name, wanted.name),
    ]


def without_docker(wanted: Wanted, error: str) -> str:
    """Return the sentence for a host on which Docker does not answer."""
    return (
        f"Docker does not answer on {wanted.host} ({error}); run the role drydock.registry.docker_engine on it first, "
        "or start Docker."
    )


class Found:
    """What of this container's family is on the host."""

    def __init__(self, wanted: Wanted, look: Look) -> None:
        named = {container.name: container for container in look.containers}
        self.present = named.get(wanted.name)
        self.old = named.get(wanted.old_name)
        finishing = [container for container in look.containers if is_finishing(container)]
        self.ended = [container for container in finishing if container.state != "running"]
        self.finishing = [container.name for container in finishing if container.state == "running"]
        self.running = self.present is not None and self.present.state == "running"

    def specification(self, wanted: Wanted, look: Look) -> str:
        """Choose the one of two specifications that a container shall have, so that it is told from the one that it takes over from."""
        one, twin = (wanted.specification(look.image_id, twin=twin) for twin in (False, True))
        if self.present is not None:
            there, goes_on = self.present.specification, not look.limits.get("stale")
        else:
            there, goes_on = self.old.specification if self.old else "", False
        return twin if (there == twin and goes_on) or (there == one and not goes_on) else one

    def kept(self, wanted: Wanted, specification: str) -> bool:
        """Tell whether the container that runs is the one that shall run."""
        return (
            self.present is not None
            and self.running
            and self.present.image == wanted.image
            and self.present.specification == specification
        )

    def answers(self, wanted: Wanted, answer: Answer) -> bool:
        """Tell whether it is the container of this name that answered, and not the old one beside it."""
        if self.present is None or not self.running or answer.status != 200:
            return False
        return wanted.hand_over_seconds is None or answer.header == hostname_of(wanted.name, self.present.specification)

    def can_share(self, wanted: Wanted) -> bool:
        """Tell whether another may listen beside it: Linux lets two processes share a port only where they are of one account."""
        return (
            self.present is not None
            and self.running
            and self.present.network == "host"
            and self.present.user == wanted.user
        )


def settled(wanted: Wanted, look: Look) -> bool:
    """Tell whether it runs and answers as it shall, and nothing of an earlier run is left, so that there is nothing to do."""
    found = Found(wanted, look)
    return (
        not look.error
        and bool(look.image_id)
        and found.kept(wanted, found.specification(wanted, look))
        and look.limits == wanted.limits
        and found.answers(wanted, look.answer)
        and len(look.containers) == 1
    )


def ensure_present(wanted: Wanted, operations: Operations, *, check_mode: bool) -> Outcome:
    """Have the container run and answer."""
    look = operations.look()
    if look.error and not check_mode:
        raise NotServing(without_docker(wanted, look.error))
    # A dry run does not start Docker, and fetches neither libraries nor images.
    if look.error or (check_mode and not (look.library and look.image_id)):
        return Outcome(
            changed=True, message=f"{wanted.name} would run {wanted.image}.", handed_over=False, finishing=()
        )
    found = Found(wanted, look)
    specification = found.specification(wanted, look)
    labels = {**wanted.labels, "drydock.specification": specification, "drydock.user": wanted.user}
    hostname = hostname_of(wanted.name, specification) if wanted.hand_over_seconds is not None else ""
    kept = found.kept(wanted, specification)
    # With its label, what was fixed when it was made is right.
    untouched = kept and look.limits == wanted.limits
    if check_mode:
        made = Made(False) if untouched else operations.make(labels, hostname)
        return Outcome(changed=made.changed or bool(found.ended), message="", handed_over=False, finishing=())

    steps = [Step("remove", container.name) for container in found.ended]
    left = found.finishing
    old = found.old if wanted.hand_over_seconds is not None else None
    if old is not None and not kept and found.can_share(wanted) and found.answers(wanted, look.answer):
        # The run that made the container which answers was killed before the one that it replaced was told so.
        steps += finishing_steps(wanted, old)
        left.append(finishing_name(wanted, old))
        old = None
    if wanted.hand_over_seconds is not None and found.present and old is None and not kept and found.can_share(wanted):
        steps.append(Step("rename", wanted.name, wanted.old_name))
        old = found.present._replace(name=wanted.old_name)
    if steps:
        operations.perform(steps)

    if untouched and found.answers(wanted, look.answer):
        made, reason = Made(False), ""
    else:
        made, reason = make_and_ask(wanted, operations, labels, hostname, two=old is not None)
    if reason:
        stop = wanted.one_of_several and made.changed
        raise NotServing(give_up(wanted, operations, reason, two=old is not None, stop=stop))

    # It answers. Whatever goes wrong from here on, the old one is not taken back: the next run goes on with this.
    if old is not None and not finish(wanted, operations, old):
        left.append(finishing_name(wanted, old))
    return Outcome(
        changed=bool(steps) or made.changed or old is not None,
        message="",
        handed_over=old is not None,
        finishing=tuple(left),
    )


def make_and_ask(
    wanted: Wanted, operations: Operations, labels: Mapping[str, str], hostname: str, *, two: bool
) -> tuple[Made, str]:
    """Have the container made and wait for its answer. Returns what was done, and what went wrong."""
    try:
        made = operations.make(labels, hostname)
        return made, operations.ask(hostname, SECONDS_BESIDE_THE_OLD if two else wanted.health_seconds)
    except StepFailed as failure:
        return Made(False), str(failure) or "no reason given"


def finish(wanted: Wanted, operations: Operations, old: Container) -> bool:
    """Let the old container finish what it has begun, wait for it, and remove it. Tells whether it has finished in time."""
    name = finishing_name(wanted, old)
    wait = Step("wait", name, str(max(1, wanted.hand_over_seconds or 0)))
    if not operations.perform([*finishing_steps(wanted, old), wait])[-1]:
        return False
    operations.perform([Step("remove", name)])
    return True


def give_up(wanted: Wanted, operations: Operations, reason: str, *, two: bool, stop: bool) -> str:
    """Take the old container back where there is one, or stop the new one, and say what happened, with the end of the log."""
    log = operations.log()
    sentences = [f"{wanted.name} on {wanted.host} does not run as it should: {reason}"]
    if two:
        try:
            operations.perform(taking_back_steps(wanted))
            sentences.append("The one that ran before goes on.")
        except StepFailed as failure:
            sentences.append(f"The one that ran before is {wanted.old_name}; it did not get its name back: {failure}")
    elif stop:
        try:
            operations.perform([Step("stop", wanted.name, str(wanted.stop_timeout_seconds))])
            sentences.append("It was stopped, so that no request reaches it; the next run starts it again.")
        except StepFailed as failure:
            sentences.append(f"It could not be stopped: {failure}")
    return "\n".join([*sentences, "Its last lines:", log])


def ensure_absent(wanted: Wanted, operations: Operations, *, check_mode: bool) -> Outcome:
    """Remove the container, the one that it replaces, and those that it has replaced."""
    look = operations.look()
    if look.error and not check_mode:
        raise NotServing(without_docker(wanted, look.error))
    steps = []
    for container in look.containers:
        if container.state not in ("created", "exited"):
            steps.append(Step("stop", container.name, str(wanted.stop_timeout_seconds)))
        steps.append(Step("remove", container.name))
    if steps and not check_mode:
        operations.perform(steps)
    return Outcome(changed=bool(steps), message="", handed_over=False, finishing=())
