# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a container, and let it take over from the one that runs. Its documentation is that of the module of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible.plugins.action import ActionBase
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
    settled,
    wanted_limits,
)
from ansible_collections.drydock.registry.plugins.module_utils._image import KNOWN_OPTION

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "image": {"type": "str"},
    "entrypoint": {"type": "list", "elements": "str"},
    "command": {"type": "list", "elements": "str"},
    "env": {"type": "dict", "default": {}},
    "labels": {"type": "dict", "default": {}},
    "user": {"type": "str"},
    "mounts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "type": {"type": "str", "default": "bind"},
            "source": {"type": "str", "required": True},
            "target": {"type": "str", "required": True},
            "read_only": {"type": "bool", "default": False},
        },
    },
    "memory_mib": {"type": "int", "default": 0},
    "pids": {"type": "int", "default": 0},
    "cpu_shares": {"type": "int"},
    "network": {"type": "str", "default": "none"},
    "published_ports": {"type": "list", "elements": "str", "default": []},
    "stop_signal": {"type": "str", "default": "SIGTERM"},
    "stop_timeout_seconds": {"type": "int", "default": 10},
    "log": {
        "type": "dict",
        "default": {},
        "options": {"driver": {"type": "str", "default": ""}, "options": {"type": "dict", "default": {}}},
    },
    "hand_over": {
        "type": "dict",
        "options": {
            "header": {"type": "str", "required": True},
            "seconds": {"type": "int", "required": True},
        },
    },
    "health": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "unix_socket": {"type": "str", "default": ""},
            "storage": {"type": "bool", "default": False},
            "seconds": {"type": "int", "default": 60},
        },
    },
    "known": KNOWN_OPTION,
}
# What says how it is asked makes no other container.
NOT_SPECIFIED = ("state", "health", "known")


class HostOperations:
    """The operations of the state machine, each one call of a module on the host."""

    def __init__(self, action: ActionModule, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> None:
        self.action = action
        self.options = options
        self.task_vars = task_vars
        self.made: Mapping[str, Any] = {}
        self.health: Mapping[str, Any] = options["health"] or {}
        self.header = (options["hand_over"] or {}).get("header", "")

    def call(self, module: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a module on the host. Raises StepFailed where it fails."""
        result: dict[str, Any] = self.action._execute_module(
            module_name=module, module_args=dict(arguments), task_vars=self.task_vars
        )
        if result.get("failed"):
            raise StepFailed(result.get("msg") or "no reason given")
        return result

    def steps(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Run our own module on the host."""
        return self.call(
            "drydock.registry.container_steps",
            {"operation": operation, **self._question(), "storage": self.health.get("storage", False), **arguments},
        )

    def look(self) -> Look:
        """Look at the image and the containers, and ask the running container once; not where it is known that all is well."""
        known = self._known()
        if known is not None and settled(wanted(self.options, ""), known):
            return known
        return self._read(self.steps("look", image=self.options["image"] or ""))

    def _known(self) -> Optional[Look]:
        """Return what a look of this run has seen, where it was asked the same."""
        known = self.options["known"] or {}
        seen = (known.get("containers") or {}).get(self.options["name"])
        images = [found["found"] for found in (known.get("images") or {}).values()]
        ids = [image["id"] for image in images if image["reference"] == self.options["image"]]
        if not seen or not ids or seen["asked"] != self._question():
            return None
        return self._read({**seen, "error": "", "library": True, "image_id": ids[0]})

    def _question(self) -> dict[str, str]:
        return {
            "name": self.options["name"],
            "url": self.health.get("url", ""),
            "unix_socket": self.health.get("unix_socket", ""),
            "header": self.header,
        }

    def _read(self, found: Mapping[str, Any]) -> Look:
        return Look(
            found["error"],
            found["library"],
            found["image_id"],
            tuple(Container(*entry) for entry in found["containers"]),
            Answer(*found["answer"]) if self.health else Answer(200, "", ""),
            found["limits"],
        )

    def perform(self, steps: Sequence[Step]) -> list[bool]:
        """Do several steps in one call."""
        done: list[bool] = self.steps("perform", steps=[list(step) for step in steps])["done"]
        return done

    def ask(self, hostname: str, seconds: int) -> str:
        """Ask until the container answers. Returns what is wrong, or nothing."""
        if not self.health:
            return ""
        return str(self.steps("ask", hostname=hostname, seconds=seconds)["wrong"])

    def nodename(self) -> str:
        """Return what the host calls itself, as far as it was asked."""
        return str((self.task_vars.get("ansible_facts") or {}).get("nodename", ""))

    def log(self) -> str:
        """Return the end of the container's log."""
        try:
            return str(self.steps("log")["log"])
        except StepFailed as failure:
            return str(failure)

    def make(self, labels: Mapping[str, str], hostname: str) -> Made:
        """Have docker_container make the container or compare it with what is there."""
        self.made = self.call(
            "community.docker.docker_container", docker_container(self.options, labels, hostname, self.nodename())
        )
        return Made(bool(self.made.get("changed")))


# A stream for each container of each host, by Docker's own words.
STREAM = "{{.Name}}/{{.FullID}}"


def log_of(log: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return where Docker keeps what the container says: on the host, unless another place is named."""
    if not log.get("driver"):
        return {"log_driver": "json-file", "log_options": {"max-size": "10m", "max-file": "3"}}
    given = {key: str(value) for key, value in log["options"].items()}
    if log["driver"] == "awslogs" and not {"tag", "awslogs-stream"} & set(given):
        given["tag"] = f"{host}/{STREAM}" if host else STREAM
    return {"log_driver": log["driver"], "log_options": given}


def docker_container(
    options: Mapping[str, Any], labels: Mapping[str, str], hostname: str, host: str = ""
) -> dict[str, Any]:
    """Return the arguments of community.docker.docker_container. Who changes them raises RECIPE."""
    arguments = {
        "name": options["name"],
        "state": "started",
        "paused": False,
        "restart_policy": "unless-stopped",
        "image": options["image"],
        "pull": "never",
        # What an image keeps in volumes of its own goes with the container.
        "keep_volumes": False,
        "entrypoint": options["entrypoint"],
        "command": options["command"],
        "env": options["env"],
        "labels": dict(labels),
        # Who breaks into it can write nowhere, gain nothing and reach little.
        "user": options["user"],
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opts": ["no-new-privileges=true"],
        "tmpfs": ["/tmp:rw,noexec,nosuid,nodev,size=64m,mode=1777"],  # noqa: S108
        "mounts": options["mounts"],
        "memory": f"{options['memory_mib']}M",
        "pids_limit": options["pids"] if options["pids"] > 0 else -1,
        "cpu_shares": options["cpu_shares"],
        "network_mode": options["network"],
        # The account is the host's own. Where the engine remaps users, containers would see the folders as somebody else's.
        "userns_mode": "host",
        "hostname": hostname or None,
        "published_ports": options["published_ports"],
        "stop_signal": options["stop_signal"],
        "stop_timeout": options["stop_timeout_seconds"],
        **log_of(options.get("log") or {}, host),
        # An image may bring labels and variables of its own.
        "comparisons": {"env": "allow_more_present", "labels": "allow_more_present"},
    }
    return {key: value for key, value in arguments.items() if value is not None}


def wanted(options: Mapping[str, Any], host: str) -> Wanted:
    """Return the container that the options describe."""
    return Wanted(
        name=options["name"],
        host=host,
        image=options["image"] or "",
        user=options["user"] or "",
        # One that logs as ever is the same as before it could be said.
        options={
            key: value
            for key, value in options.items()
            if key not in NOT_SPECIFIED and (key != "log" or (value or {}).get("driver"))
        },
        labels={key: str(value) for key, value in options["labels"].items()},
        stop_signal=options["stop_signal"],
        stop_timeout_seconds=options["stop_timeout_seconds"],
        health_seconds=(options["health"] or {}).get("seconds", 0),
        one_of_several=(options["health"] or {}).get("storage", False),
        hand_over_seconds=options["hand_over"]["seconds"] if options["hand_over"] else None,
        limits=wanted_limits(options),
    )


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action as Ansible finds it."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the container, or remove it."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(
            argument_spec=ARGUMENT_SPEC,
            required_if=[("state", "present", ("image", "user"))],
        )
        host = variables.get("inventory_hostname", "the host")
        operations = HostOperations(self, options, variables)
        container = wanted(options, host)
        ensure = ensure_present if options["state"] == "present" else ensure_absent
        try:
            outcome = ensure(container, operations, check_mode=self._task.check_mode)
        except NotServing as failure:
            return {"failed": True, "msg": str(failure)}
        except StepFailed as failure:
            return {"failed": True, "msg": f"{container.name} on {host}: {failure}"}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result_of(outcome, operations.made)


def result_of(outcome: Outcome, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task reports."""
    result: dict[str, Any] = {
        "changed": outcome.changed,
        "handed_over": outcome.handed_over,
        "finishing": list(outcome.finishing),
    }
    if outcome.message:
        result["msg"] = outcome.message
    for key in ("diff", "warnings", "deprecations"):
        if made.get(key):
            result[key] = made[key]
    return result
