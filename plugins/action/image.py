# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ensure that an image is on the host. What is decided lies in module_utils/_image.py; here is how it is done."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.drydock.registry.plugins.module_utils._image import (
    ASKED_OPTIONS,
    BECAUSE,
    KNOWN_OPTION,
    Archive,
    Found,
    ImageProblem,
    Question,
    Result,
    Wanted,
    built_options,
    ensure,
    found_from,
    is_passing,
    known_answer,
    read_archive,
)

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **ASKED_OPTIONS,
    "provider": {**ASKED_OPTIONS["provider"], "choices": ["auto", "pull", "archive", "debian"]},
    "variable": {"type": "str", "required": True},
    "archive": {"type": "str", "default": ""},
    "known": KNOWN_OPTION,
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """The steps on the host, each one module call."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Have the image on the host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, self.asked = self.validate_argument_spec(
            argument_spec=ARGUMENT_SPEC,
            required_if=[
                ("provider", "auto", ["reference", "debian"]),
                ("provider", "pull", ["reference"]),
                ("provider", "debian", ["debian"]),
            ],
        )
        self.variables = task_vars or {}
        self.known = (self.asked["known"].get("images") or {}).get(self.asked["name"]) or {}
        try:
            archive = self._read_archive() if self.asked["provider"] == "archive" else None
            image = ensure(
                Wanted(
                    name=self.asked["name"],
                    variable=self.asked["variable"],
                    provider=self.asked["provider"],
                    reference=self.asked["reference"],
                    host=self.variables["inventory_hostname"],
                    archive=archive,
                    dry_run=bool(self._task.check_mode),
                ),
                self,
            )
            result.update(image.__dict__)
            if image.changed and image.because:
                result["warnings"] = [self._warning(image)]
        except ImageProblem as problem:
            result.update(failed=True, msg=str(problem))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def look(self, question: Question) -> Found:
        """Ask the host, unless a look of this run has seen the image."""
        known, self.known = self.known, {}
        found = known_answer(known, {name: self.asked[name] for name in ASKED_OPTIONS})
        if found:
            return found
        arguments: dict[str, Any] = {
            "reference": question.reference,
            "ids": question.ids,
            "registry": question.registry,
            "version_command": self.asked["version_command"],
        }
        if question.plan != "never":
            arguments.update(plan=question.plan, debian=self._debian())
        return found_from(self._module("drydock.registry.image_look", arguments))

    def pull(self, reference: str) -> str:
        """Pull an image."""
        arguments = {"name": reference, "pull": "not_present"}
        answer = self._execute_module("community.docker.docker_image_pull", arguments, task_vars=self.variables)
        return (answer.get("msg") or "no reason given") if answer.get("failed") else ""

    def load(self) -> None:
        """Copy the archive to the host and load it."""
        shell = self._connection._shell
        if not shell.tmpdir:
            self._make_tmp_path()
        remote = shell.join_path(shell.tmpdir, "image.tar")
        self._transfer_file(self.archive_path, remote)
        self._fixup_perms2((shell.tmpdir, remote))
        self._module("community.docker.docker_image_load", {"path": remote})

    def build(self, because: str) -> str:
        """Build the image on the host."""
        arguments = {**self._debian(), "notes": {BECAUSE: because} if because else {}}
        reference: str = self._module("drydock.registry.debian_image", arguments)["reference"]
        return reference

    def _warning(self, image: Result) -> str:
        then = "The next run tries again." if is_passing(image.because) else "It is kept from now on."
        return f"{self.variables['inventory_hostname']} runs {image.reference}, which was built there, for {image.because}. {then}"

    def _debian(self) -> dict[str, Any]:
        return built_options(self.asked["name"], self.asked["debian"])

    def _read_archive(self) -> Archive:
        path = os.path.expanduser(self.asked["archive"])
        variable: str = self.asked["variable"]
        if not os.path.isfile(path):
            raise ImageProblem(
                f"{variable}_archive names `{path}`, which is no file on this machine; "
                "write the path of a tar file that `docker save` made."
            )
        self.archive_path = path
        return read_archive(path, variable)

    def _module(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(name, arguments, task_vars=self.variables)
        if answer.get("failed"):
            raise ImageProblem(answer.get("msg") or f"{name} failed without a reason")
        return answer
