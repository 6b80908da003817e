# SPDX-License-Identifier: GPL-3.0-or-later
"""The example for Terraform: what it names is there, and what it hands over is what roles take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import registry_policy

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(ROOT.glob("docs/terraform/*.tf"))
REFERENCE = re.compile(r"\b(data\.)?(aws_\w+)\.(\w+)\.|\bvar\.(\w+)")


def bare(name: str) -> str:
    """Take the quotes off a name."""
    return name.strip('"')


def labels(blocks: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the labels of blocks, of which some have one and some two."""
    for block in blocks:
        for first, inner in block.items():
            if first.startswith("__"):
                continue
            named = [name for name, value in inner.items() if isinstance(value, dict) and name.startswith('"')]
            yield from ((bare(first), bare(name)) for name in named) if named else ((bare(first),),)


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.name)
def example(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    text = request.param.read_text(encoding="utf-8")
    return text, hcl2.loads(text)


def test_what_is_named_is_there(example: tuple[str, dict[str, Any]]) -> None:
    text, parsed = example
    made, looked_up = set(labels(parsed["resource"])), set(labels(parsed["data"]))
    variables = {name for (name,) in labels(parsed["variable"])}
    named = list(REFERENCE.finditer(text))
    assert len(named) > 20
    for found in named:
        data, kind, name, variable = found.groups()
        assert variable in variables if variable else (kind, name) in (looked_up if data else made), found[0]
    assert variables == {found[4] for found in named if found[4]}


def inputs() -> set[str]:
    """Return the inputs of all roles, and the collection's own."""
    found = {"drydock_region", "drydock_domain", "ansible_host", "ansible_user"}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        found |= {name for spec in specs.values() for name in spec.get("options", {})}
    return found


def test_what_is_handed_over_is_what_roles_take(example: tuple[str, dict[str, Any]]) -> None:
    _, parsed = example
    outputs = {bare(name): block["value"] for each in parsed["output"] for name, block in each.items()}
    (host,) = outputs["inventory"]["registry"]["hosts"].values()
    given = {**host, **outputs["inventory"]["registry"]["vars"], **outputs["settings"]}
    assert set(given) <= inputs()
    # Each value comes from what is made, or is a word that the role knows.
    assert given["aws_network_security_group_ids"] == ["${aws_security_group.registry.id}"]


def test_the_host_and_its_role_are_as_ours(example: tuple[str, dict[str, Any]]) -> None:
    _, parsed = example
    (host,) = (
        inner['"registry"']
        for each in parsed["resource"]
        for kind, inner in each.items()
        if bare(kind) == "aws_instance"
    )
    tasks = yaml.safe_load((ROOT / "roles/aws_instance/tasks/instance.yml").read_text(encoding="utf-8"))
    (ours,) = (
        task["amazon.aws.ec2_instance"]["metadata_options"] for task in tasks if "amazon.aws.ec2_instance" in task
    )
    (given,) = host["metadata_options"]
    assert bare(given["http_tokens"]) == ours["http_tokens"]
    assert given["http_put_response_hop_limit"] == ours["http_put_response_hop_limit"]

    policies = {
        bare(name): policy for each in parsed["data"] for block in each.values() for name, policy in block.items()
    }
    allowed = {bare(action) for statement in policies["registry"]["statement"] for action in statement["actions"]}
    assert {action for each in registry_policy("images")["Statement"] for action in each["Action"]} <= allowed
