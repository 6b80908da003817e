# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an image gets to a host: look, and only where it is missing pull, load or build it.

Each step is complete or leaves nothing behind: Docker names an image when it is whole. So a run that was interrupted anywhere
is completed by the next, which looks anew.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Protocol

from ansible_collections.drydock.registry.plugins.module_utils._debian_image import RECIPE_OPTIONS

# A label of an image that was built because another one could not be pulled: why that was so. Containers inherit it.
BECAUSE = "drydock.image.because"
_REASON_LENGTH = 200
# What the engine says, within what its client says around it: to the client each failure is the engine's own.
_ENGINES_REASON = re.compile(r'http\+docker://.*?\("(.*)"\)\s*$', re.DOTALL)
# What ends by itself: limits, time-outs, and servers and networks that have a bad hour.
_PASSING = re.compile(
    r"toomanyrequests|too many requests|rate.?limit|time.?out|timed out|deadline exceeded|temporar|try again|server misbehaving"
    r"|connection reset|unexpected EOF|\b(?:429|50[0-9])\b|(?:internal server|bad gateway|service unavailable)",
    re.IGNORECASE,
)
# What a host is asked by, before the settings are validated, so that an unknown provider is no error here; the labels of a built image are
# the collection's own.
ASKED_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "provider": {"type": "str", "default": "auto"},
    "reference": {"type": "str", "default": ""},
    "debian": {
        "type": "dict",
        "options": {name: option for name, option in RECIPE_OPTIONS.items() if name != "labels"},
    },
    "version_command": {"type": "list", "elements": "str", "default": []},
}
# What a look of the run has seen, for the actions that need not look again.
KNOWN_OPTION: dict[str, Any] = {
    "type": "dict",
    "default": {},
    "options": {"containers": {"type": "dict", "default": {}}, "images": {"type": "dict", "default": {}}},
}


class ImageProblem(Exception):
    """A sentence for the user."""


@dataclass(frozen=True)
class Archive:
    """What an archive of `docker save` holds: the image's name, and what Docker may call its id."""

    reference: str
    ids: list[str]


@dataclass(frozen=True)
class Wanted:
    """The image that a role wants. `variable` is what the names of the role's inputs begin with."""

    name: str
    variable: str
    provider: str
    reference: str
    host: str
    archive: Optional[Archive] = None
    dry_run: bool = False


@dataclass(frozen=True)
class Question:
    """What the host is asked. See the options of the module image_look."""

    reference: str = ""
    ids: list[str] = field(default_factory=list)
    plan: str = "never"
    registry: bool = False


@dataclass(frozen=True)
class Found:
    """The host's answer. See what the module image_look returns."""

    answers: bool = True
    error: str = ""
    apt: bool = True
    reference: str = ""
    id: str = ""
    planned: str = ""
    problem: str = ""
    in_registry: bool = False
    version_output: str = ""
    # Of the image that was built here, why no other one was pulled.
    because: str = ""


@dataclass(frozen=True)
class Result:
    """The image that containers run."""

    reference: str
    id: str
    version_output: str
    source: str
    changed: bool
    because: str = ""


class Host(Protocol):
    """What can be done on a host. Those that may be refused return why, or nothing."""

    def look(self, question: Question) -> Found:
        """Ask which image there is."""

    def pull(self, reference: str) -> str:
        """Pull an image."""

    def load(self) -> None:
        """Load the archive of the controller."""

    def build(self, because: str) -> str:
        """Build the image from the host's apt sources, keep in it why, and return its name."""


def read_archive(path: str, variable: str) -> Archive:
    """Read what an archive on the controller holds.

    The digest of an image's configuration is the image's id, for Docker's containerd image store that of its manifest.
    """

    def member(archive: tarfile.TarFile, name: str) -> Any:
        file = archive.extractfile(name)
        return json.load(io.TextIOWrapper(file, encoding="utf-8")) if file else None

    try:
        with tarfile.open(path) as archive:
            image = member(archive, "manifest.json")[0]
            manifests = member(archive, "index.json")["manifests"] if "index.json" in archive.getnames() else []
        digest = os.path.splitext(os.path.basename(image["Config"]))[0]
        ids = [f"sha256:{digest}", *(manifest["digest"] for manifest in manifests)]
        tags = image["RepoTags"] or []
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, IndexError, TypeError) as error:
        # tarfile's own sentence has a line for each kind of compression.
        reason = str(error).splitlines()[0].removesuffix(":") if str(error) else "it is empty"
        raise ImageProblem(
            f"{variable}_archive: {path} is not an archive of images ({reason}); make one with `docker save --output FILE IMAGE:TAG`."
        ) from error
    if not tags:
        raise ImageProblem(
            f"{variable}_archive: the image in {path} has no name; make the archive with `docker save --output FILE IMAGE:TAG`."
        )
    return Archive(tags[0], ids)


def first_question(provider: str, reference: str) -> Question:
    """Return what a host is asked first. Of `archive` it depends on the archive."""
    # What the host has wins for `auto`, so that a later run neither asks the network nor changes the image.
    return {
        "auto": Question(reference, plan="if_built"),
        "pull": Question(reference),
        "debian": Question(plan="always"),
    }[provider]


def built_options(name: str, debian: Mapping[str, Any]) -> dict[str, Any]:
    """Return how an image is built of packages, with the labels by which it is found again."""
    return {**debian, "name": f"drydock/{name}", "labels": {"drydock.image": name}}


def ensure(wanted: Wanted, host: Host) -> Result:
    """Have the image on the host, or say in a dry run which one a run would take."""
    provider = {"auto": _auto, "pull": _pull, "archive": _archive, "debian": _debian}[wanted.provider]
    return provider(wanted, host)


def _pull(wanted: Wanted, host: Host) -> Result:
    found = _look(wanted, host, first_question("pull", wanted.reference))
    if found.reference:
        return _kept(found)
    if wanted.dry_run:
        return _predicted(wanted.reference, "pulled")
    complaint = host.pull(wanted.reference)
    if complaint:
        raise ImageProblem(
            f"{wanted.variable}_reference: {wanted.host} cannot pull {wanted.reference} ({complaint}); correct the name or the network, "
            f"or set {wanted.variable}_provider to `archive` (a tar file) or `debian` (built on the host)."
        )
    return _made(wanted, host, wanted.reference, "pulled")


def _archive(wanted: Wanted, host: Host) -> Result:
    archive = wanted.archive
    if archive is None:
        raise ImageProblem(f"{wanted.variable}_archive is empty; write the path of a tar file that `docker save` made.")
    found = _look(wanted, host, Question(archive.reference, ids=archive.ids))
    if found.reference:
        return _kept(found)
    if wanted.dry_run:
        return _predicted(archive.reference, "loaded")
    host.load()
    return _made(wanted, host, archive.reference, "loaded")


def _debian(wanted: Wanted, host: Host) -> Result:
    return _build(wanted, host, _look(wanted, host, first_question("debian", "")))


def _auto(wanted: Wanted, host: Host) -> Result:
    # What the host has wins, so that a later run neither asks the network nor changes the image. What was built here once is built from
    # then on; only where that was for a reason that passes, each run tries again.
    found = _look(wanted, host, replace(first_question("auto", wanted.reference), registry=wanted.dry_run))
    here = bool(found.reference or found.planned or found.problem)
    if here and not is_passing(found.because):
        return _build(wanted, host, found, found.because)
    because = found.because
    if wanted.dry_run:
        if not found.answers and found.apt:
            # Nobody can be asked before Docker is installed.
            built = _debian(wanted, host).reference
            return _predicted(f"{wanted.reference}, or {built} where it cannot be pulled", "pulled or built")
        if found.in_registry or not found.apt:
            return _predicted(wanted.reference, "pulled")
    else:
        complaint = host.pull(wanted.reference)
        if not complaint:
            return _made(wanted, host, wanted.reference, "pulled")
        if not found.apt:
            raise ImageProblem(
                f"{wanted.variable}_reference: {wanted.host} cannot pull {wanted.reference} ({complaint}) and has no apt to build it with; "
                f"correct the name or the network, or set {wanted.variable}_provider to `archive` and "
                f"{wanted.variable}_archive to a tar file."
            )
        because = f"{wanted.reference} cannot be pulled ({reason(complaint)})"
    return _build(wanted, host, found if here else _look(wanted, host, Question(plan="always")), because)


def reason(complaint: str) -> str:
    """Return what the engine says of a pull that failed, on one line."""
    found = _ENGINES_REASON.search(complaint)
    text = " ".join((found[1] if found else complaint).split())
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}..."


def is_passing(because: str) -> bool:
    """Tell whether an image can be pulled later that cannot be now, as far as one can tell from Docker's complaint."""
    return bool(_PASSING.search(because))


def _look(wanted: Wanted, host: Host, question: Question) -> Found:
    found = host.look(question)
    if not found.answers and not wanted.dry_run:
        raise ImageProblem(
            f"Docker does not answer on {wanted.host} ({found.error}); run the role drydock.registry.docker_engine on it first, "
            "or start Docker."
        )
    return found


def _build(wanted: Wanted, host: Host, found: Found, because: str = "") -> Result:
    """Build what was planned unless it is there."""
    if found.reference:
        return _kept(found)
    # In a dry run a bare host has no package lists yet, and the plan says so in the image's tag.
    if found.problem and not (wanted.dry_run and found.apt):
        raise ImageProblem(found.problem)
    if wanted.dry_run:
        return _predicted(found.planned, "built")
    return _made(wanted, host, host.build(because), "built")


def _kept(found: Found) -> Result:
    return Result(found.reference, found.id, found.version_output, "kept", changed=False, because=found.because)


def _predicted(reference: str, source: str) -> Result:
    return Result(reference, "", "", source, changed=True)


def _made(wanted: Wanted, host: Host, reference: str, source: str) -> Result:
    """Look at what was made, which also runs its version command."""
    found = _look(wanted, host, Question(reference))
    if not found.reference:
        raise ImageProblem(f"Docker on {wanted.host} has no image {reference} although it was {source}.")
    return Result(found.reference, found.id, found.version_output, source, changed=True, because=found.because)


def known_answer(known: Mapping[str, Any], asked: Mapping[str, Any]) -> Optional[Found]:
    """Return the answer of an earlier look where it was asked the same and the host has the image."""
    if not known or known["asked"] != asked:
        return None
    found = found_from(known["found"])
    # One that was built for a reason that passes is to be pulled.
    return found if found.reference and not is_passing(found.because) else None


def found_from(answer: Mapping[str, Any]) -> Found:
    """Read the answer of the module image_look."""
    return Found(**{name: answer[name] for name in Found.__dataclass_fields__})
