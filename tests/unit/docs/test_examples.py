# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of docs/examples are what those take who read them, and they fit together."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.drydock.registry.plugins.filter.users_problems import users_problems

EXAMPLES = Path(__file__).parents[3] / "docs/examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
USERS = yaml.safe_load(README.split("```yaml\n")[1].split("```")[0])["registry_auth_users"]


def documents(name: str) -> list[dict[str, Any]]:
    """Return the documents of an example."""
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("github-workflows", "github-actions.yml"),
        ("gitlab-ci", "gitlab-ci.yml"),
        ("compose-spec", "compose.yml"),
    ],
)
def test_schemas(schema: str, name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_explained() -> None:
    names = {path.name + "/" * path.is_dir() for path in EXAMPLES.iterdir()} - {"README.md"}
    assert {name for name in names if f"| [{name}](" not in README} == set()


def test_users_are_as_the_role_takes_them() -> None:
    assert users_problems(USERS, "registry_auth_users") == []
    assert {user["name"]: user["access"] for user in USERS} == {"pipeline": "create", "cluster": "pull"}


def test_pipelines_give_what_push_wants() -> None:
    wanted = set(re.findall(r"\$\{?([A-Z_]+)", (EXAMPLES / "hello/push").read_text(encoding="utf-8"))) - {
        "DOCKER_CONFIG"
    }
    (github,) = documents("github-actions.yml")
    (gitlab,) = documents("gitlab-ci.yml")
    job = github["jobs"]["image"]
    given = [{**job["env"], **job["steps"][-1]["env"]}, {**gitlab["variables"], **gitlab["push"]["variables"]}]
    assert wanted == set(given[0])
    # The password is in GitLab's settings.
    assert wanted - set(given[1]) == {"REGISTRY_PASSWORD"}
    for settings in given:
        assert settings["REGISTRY_USER"] == "pipeline"
        assert settings["IMAGE"].startswith(f"{settings['REGISTRY']}/team-a/")


def test_who_pulls_takes_what_was_pushed() -> None:
    (gitlab,) = documents("gitlab-ci.yml")
    pushed = gitlab["variables"]["IMAGE"]
    deployment, service = documents("kubernetes.yml")
    (compose,) = documents("compose.yml")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["image"].partition("@")[0] == pushed
    assert compose["services"]["hello"]["image"].partition(":$")[0] == pushed
    # The secret that the comment makes, and the port on which the image answers.
    text = (EXAMPLES / "kubernetes.yml").read_text(encoding="utf-8")
    (secret,) = pod["spec"]["imagePullSecrets"]
    assert f"create secret docker-registry {secret['name']} --namespace {deployment['metadata']['namespace']} " in text
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] == container["ports"][0]["containerPort"]
    assert f"EXPOSE {port['targetPort']}\n" in (EXAMPLES / "hello/Dockerfile").read_text(encoding="utf-8")
