# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a host has, by Docker's API and what apt would give. It runs on the host and changes nothing there."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils._debian_image import (
    CACHE,
    NO_APT,
    VERSION_LABEL,
    Apt,
    Plan,
    Recipe,
    RunCommand,
    recipe_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._host_look import NotThere
from ansible_collections.drydock.registry.plugins.module_utils._image import BECAUSE

# Asks Docker's API for a path. Raises OSError or ValueError where there is no answer.
Ask = Callable[[str], Any]
# What an image is called that was built here.
BUILT_LABEL = "drydock.image"


def image(reference: str, ask: Ask) -> tuple[str, dict[str, str]]:
    """Return the id and the labels of an image; neither where it is not there."""
    try:
        found = ask(f"/images/{urllib.parse.quote(reference, safe='/:@')}/json")
    except NotThere:
        return "", {}
    return str(found["Id"]), dict((found.get("Config") or {}).get("Labels") or {})


def newest_of(labels: Mapping[str, str], ask: Ask) -> Optional[dict[str, str]]:
    """Return the labels of the newest image with these labels."""
    filters = json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
    images = ask(f"/images/json?{urllib.parse.urlencode({'filters': filters})}")
    return dict(max(images, key=lambda one: one["Created"])["Labels"]) if images else None


def built_version(labels: Mapping[str, str]) -> str:
    """Return the version of an image that was built here, which its label says; of another one nothing is known."""
    return labels.get(VERSION_LABEL, "") if BUILT_LABEL in labels else ""


def plan(run: RunCommand, tmpdir: str, recipe: Recipe, *, apt: bool, makes_cache: bool) -> Plan:
    """Return the image that apt gives. What apt computes for it is kept for the next call where that may be."""
    if not apt:
        return Plan("", "", NO_APT)
    cache = os.path.join(CACHE, "apt")
    usable = os.geteuid() == 0 and (makes_cache or os.path.isdir(cache))
    with tempfile.TemporaryDirectory(prefix="drydock-image-", dir=tmpdir) as scratch:
        return Apt(run, scratch, cache if usable else None).plan(recipe)


def look(asked: Mapping[str, Any], ask: Ask, plan_for: Callable[[Recipe], Plan]) -> dict[str, Any]:
    """Look for an image by its name, else for the one that apt gives."""
    result: dict[str, Any] = dict.fromkeys(("reference", "id", "planned", "problem", "because"), "")
    debian: Optional[Mapping[str, Any]] = asked["debian"]
    found, labels = image(asked["reference"], ask) if asked["reference"] else ("", {})
    if found and (not asked["ids"] or found in asked["ids"]):
        result.update(reference=asked["reference"], id=found)
    elif debian is not None:
        recipe = recipe_of(debian["name"], debian)
        built_here = newest_of(recipe.labels, ask)
        if asked["plan"] == "always" or built_here is not None:
            planned = plan_for(recipe)
            result.update(planned=planned.reference, problem=planned.problem)
            found, labels = (
                image(planned.reference, ask) if built_here is not None and not planned.problem else ("", {})
            )
            if found:
                result.update(reference=planned.reference, id=found)
            result.update(because=(labels if found else built_here or {}).get(BECAUSE, ""))
    return {**result, "version": built_version(labels) if result["reference"] else ""}
