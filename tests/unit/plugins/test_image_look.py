# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a host has: by its name, else the one that apt would give."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._debian_image import Plan, Recipe
from ansible_collections.drydock.registry.plugins.module_utils._host_look import NotThere
from ansible_collections.drydock.registry.plugins.module_utils._image_look import built_version, look

PULLED = "docker.io/library/registry:3"
BUILT = "drydock/registry:2.8.2-0123456789ab"
LABELS = {"drydock.image": "registry"}
DEBIAN: dict[str, Any] = {
    "name": "drydock/registry",
    "packages": ["docker-registry"],
    "programs": ["/usr/bin/docker-registry"],
    "links": {},
    "entrypoint": "registry",
    "stop_signal": "",
    "labels": LABELS,
}
IMAGES: dict[str, dict[str, Any]] = {
    PULLED: {"Id": "sha256:pulled", "Config": {"Labels": None}},
    BUILT: {"Id": "sha256:built", "Config": {"Labels": {**LABELS, "org.opencontainers.image.version": "2.8.2-1"}}},
}


class Docker:
    """Docker's API, with some images."""

    def __init__(self, *names: str) -> None:
        self.images = {name: IMAGES[name] for name in names}

    def __call__(self, path: str) -> Any:
        where = urllib.parse.urlsplit(path)
        if where.path == "/images/json":
            assert json.loads(urllib.parse.parse_qs(where.query)["filters"][0]) == {"label": ["drydock.image=registry"]}
            images = [one["Config"]["Labels"] for one in self.images.values()]
            return [{"Labels": labels, "Created": 1} for labels in images if labels]
        try:
            return self.images[urllib.parse.unquote(where.path[len("/images/") : -len("/json")])]
        except KeyError:
            raise NotThere from None


def asked(**options: Any) -> dict[str, Any]:
    """What the module is asked."""
    return {"reference": "", "ids": [], "debian": DEBIAN, "plan": "if_built", **options}


WHY = "docker.io/library/registry:3 cannot be pulled"
IMAGES[f"{BUILT}-why"] = {"Id": "sha256:why", "Config": {"Labels": {**LABELS, "drydock.image.because": WHY}}}
NEITHER = {"reference": "", "id": "", "planned": "", "problem": "", "because": "", "version": ""}
IS_BUILT = {**NEITHER, "reference": BUILT, "id": "sha256:built", "planned": BUILT, "version": "2.8.2-1"}
IS_PULLED = {**NEITHER, "reference": PULLED, "id": "sha256:pulled"}


@pytest.mark.parametrize(
    ("names", "question", "answer"),
    [
        ([], asked(reference=PULLED), NEITHER),
        ([], asked(plan="always"), {**NEITHER, "planned": BUILT}),
        ([PULLED, BUILT], asked(reference=PULLED), IS_PULLED),
        ([BUILT], asked(reference=PULLED), IS_BUILT),
        ([BUILT], asked(plan="always"), IS_BUILT),
        ([PULLED], asked(reference=PULLED, ids=["sha256:other"], debian=None), NEITHER),
        ([PULLED], asked(reference=PULLED, ids=["sha256:pulled"], debian=None), IS_PULLED),
    ],
)
def test_look(names: list[str], question: dict[str, Any], answer: dict[str, str]) -> None:
    assert look(question, Docker(*names), lambda _recipe: Plan(BUILT, "2.8.2-1")) == answer


def test_an_update_of_a_package_is_another_image() -> None:
    newer = Plan("drydock/registry:2.8.3-ba9876543210", "2.8.3-1")
    assert look(asked(), Docker(BUILT), lambda _recipe: newer) == {**NEITHER, "planned": newer.reference}


@pytest.mark.parametrize(("planned", "reference"), [(f"{BUILT}-why", f"{BUILT}-why"), (f"{BUILT}-newer", "")])
def test_why_it_was_built_is_said_of_it_and_of_the_one_before(planned: str, reference: str) -> None:
    found = look(asked(reference=PULLED), Docker(f"{BUILT}-why"), lambda _recipe: Plan(planned, "2.8.2-1"))
    assert (found["reference"], found["because"]) == (reference, WHY)


def test_why_nothing_is_planned() -> None:
    def unplanned(recipe: Recipe) -> Plan:
        return Plan(f"{recipe.name}:not-known-yet", "", "no lists")

    found = look(asked(plan="always"), Docker(BUILT), unplanned)
    assert found == {**NEITHER, "planned": "drydock/registry:not-known-yet", "problem": "no lists"}


def test_only_an_image_that_was_built_here_says_its_version_by_a_label() -> None:
    assert built_version(IMAGES[BUILT]["Config"]["Labels"]) == "2.8.2-1"
    assert built_version({"org.opencontainers.image.version": "3"}) == built_version(LABELS) == ""
