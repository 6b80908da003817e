# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which people run Ansible: some hosts, one after the other, some tags, from a task on, dry, roles in plays of their own.

Three hosts start deployed, and a fourth one bare. They serve all tests, which run in the order of this file.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from deployment import ADDRESS, ROOT, Deployment, Run, deployed_hosts
from into_host import into

HOSTS = (ADDRESS, "two.test", "three.test")
BARE = "bare.test"
CONFIG = "/etc/drydock/proxy/nginx.conf"
KEY = "/etc/drydock/tls/tls.key"
# What a role leaves on a bare host.
MADE = "ls -d /etc/drydock /var/lib/drydock /usr/bin/docker* 2>/dev/null; getent passwd drydock"


class Hosts(Deployment):
    """Several hosts."""

    def on(self, host: str, command: str, stdin: str = "") -> str:
        """Run a shell command on one of the hosts and return what it prints."""
        inside = [*into(self.names[host]), "sh", "-c", command]
        return subprocess.run(inside, input=stdin, capture_output=True, text=True, check=False).stdout.strip()

    def logs_in(self, host: str, password: str) -> bool:
        """Tell whether alice may log in on a host with a password."""
        command = (
            "curl --silent --output /dev/null --write-out '%{http_code}' --config - --cacert /etc/drydock/tls/ca.crt "
            f"--connect-to {host}:443:127.0.0.1:443 https://{host}/v2/"
        )
        return self.on(host, command, f'user = "alice:{password}"\n') == "200"

    def set_password(self, password: str) -> None:
        """Set alice's password for the next run."""
        self.settings["registry_auth_users"] = [{"name": "alice", "password": password, "access": "admin"}]

    def changed_play(self, **keywords: Any) -> str:
        """Return the path of configure.yml with some keywords of a play, as somebody has it who made it his own."""
        folder = self.folder / "playbooks"
        if not folder.exists():
            shutil.copytree(ROOT / "playbooks", folder)
        plays = yaml.safe_load((folder / "configure.yml").read_text(encoding="utf-8"))
        (play,) = plays
        path = folder / f"configure-{'-'.join(keywords)}.yml"
        path.write_text(yaml.safe_dump([{**play, **keywords}]), encoding="utf-8")
        return str(path)

    def somebodys(self, host: str, **keywords: Any) -> Run:
        """Run a play that somebody has written for roles of the collection."""
        path = self.folder / "somebodys.yml"
        path.write_text(yaml.safe_dump([{"hosts": host, "become": True, **keywords}]), encoding="utf-8")
        return self.play(str(path))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Start the hosts."""
    made = Hosts("ways", tmp_path_factory.mktemp("ways"))
    with deployed_hosts(made):
        yield made


def test_one_host_after_the_other(hosts: Hosts) -> None:
    hosts.set_password("one by one")
    path = hosts.changed_play(serial=1)
    with hosts.start(path) as process:
        stdout, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stdout[-3000:] + stderr[-3000:]
    batches = [
        {host for task in play["tasks"] for host in task["hosts"]}
        for play in json.loads(stdout[stdout.index("{") :])["plays"]
    ]
    assert batches == [{host} for host in HOSTS]
    assert all(hosts.logs_in(host, "one by one") for host in HOSTS)


def test_each_host_at_its_own_pace(hosts: Hosts) -> None:
    hosts.set_password("at its own pace")
    path = hosts.changed_play(strategy="free")
    assert hosts.play(path).roles() == {"registry_auth", "registry_proxy"}
    assert all(hosts.logs_in(host, "at its own pace") for host in HOSTS)


def test_some_of_the_hosts(hosts: Hosts) -> None:
    hosts.set_password("on one of them")
    hosts.play("site.yml", "--limit=localhost,registry.test")
    assert [hosts.logs_in(host, "on one of them") for host in HOSTS] == [True, False, False]


# From here on, one of them is enough.
ONE = f"--limit=localhost,{ADDRESS}"


PROBED = "ls -d /var/lib/drydock/registry/docker/registry/v2/repositories/drydock/probe"
# Nobody knows the password.
HASHED = {
    "name": "alice",
    "password_hash": "$2y$10$abcdefghijklmnopqrstuuMmRqYC4iXg8L1F8e0nTgBlP7Qq9wFWW",
    "access": "admin",
}


def last_check(hosts: Hosts, **settings: Any) -> tuple[int, str]:
    """Run the last check alone with other settings; return its exit code, and what it says in the end."""
    return hosts.last_words("verify.yml", ONE, f"--extra-vars={json.dumps(settings)}")


def test_the_last_check_does_what_can_be_done(hosts: Hosts) -> None:
    # The run before has pushed an image, and deleted it.
    assert hosts.on(ADDRESS, PROBED) == ""
    left = hosts.folder / "credentials/gone.password"
    left.write_text("x", encoding="utf-8")
    code, said = last_check(hosts, registry_auth_users=[HASHED])
    left.unlink()
    assert code == 0
    assert "Not checked: logging in, pushing, pulling and deleting: registry_auth_users has a password_hash of " in said
    assert "password  the one whose hash is in the inventory" in said
    assert f"Nobody's password any more, delete the file unless another inventory uses it:\n  {left}\n" in said
    # An image would stay.
    code, said = last_check(hosts, registry_server_delete_enabled=False)
    assert code == 0
    assert "Not checked: that an image comes back: with deleting switched off" in said
    assert "Nobody's password" not in said
    assert hosts.on(ADDRESS, PROBED.replace("-d ", "")) == "_uploads"


def test_the_last_check_tells_a_closed_way_from_a_broken_registry(hosts: Hosts) -> None:
    here = {"drydock_verify_from": "localhost", "drydock_verify_seconds": 1}
    # The host is answered under its own address, and this machine not.
    code, said = last_check(hosts, **here, drydock_verify_address="127.0.0.1")
    assert code != 0
    assert said.startswith(
        f"{ADDRESS} itself gets answers from its registry, and the controller gets none at https://{ADDRESS}: "
    )
    assert "let TCP port 443 through the host's firewall" in said
    assert "Last lines of" not in said
    code, said = last_check(hosts, **here)
    assert code != 0
    assert ": the name does not resolve on this machine; " in said
    assert "Last lines of" not in said
    # Another name of the host, which its certificate does not have.
    code, said = last_check(hosts, drydock_domain="localhost", drydock_verify_seconds=1)
    assert code != 0
    assert ": the certificate does not fit the host name or the CA; " in said
    assert "Last lines of" not in said


def test_the_tag_of_one_role(hosts: Hosts) -> None:
    hosts.on(ADDRESS, f"chmod 644 {KEY}; echo '# more' >> {CONFIG}")
    # Settings of the others are not looked at.
    hosts.settings["registry_server_http_secret"] = "too short"
    try:
        assert hosts.play("configure.yml", "--tags=tls", ONE).roles() == {"registry_tls", "registry_proxy"}
        refused = hosts.attempt("configure.yml", "--tags=server", ONE)
    finally:
        del hosts.settings["registry_server_http_secret"]
    assert hosts.on(ADDRESS, f"stat --format %a {KEY}") == "640"
    # nginx reloads with it, and its role repairs it another time.
    assert "# more" in hosts.on(ADDRESS, f"tail -1 {CONFIG}")
    assert refused.changed == []
    assert ["registry_server_http_secret has fewer than 32 characters" in said for said in refused.failures] == [True]


def test_from_a_task_on(hosts: Hosts) -> None:
    hosts.on(ADDRESS, f"chmod 644 {KEY}")
    # What the test before has left.
    assert hosts.play("configure.yml", "--start-at-task=Run nginx", ONE).roles() == {"registry_proxy"}
    assert "# more" not in hosts.on(ADDRESS, f"cat {CONFIG}")
    assert hosts.on(ADDRESS, f"stat --format %a {KEY}") == "644"
    assert hosts.play("configure.yml", "--start-at-task=Install Docker", ONE).roles() == {"registry_tls"}


def test_all_but_one_role(hosts: Hosts) -> None:
    assert hosts.play("configure.yml", "--skip-tags=proxy", ONE).changed == []


def test_a_dry_run_on_a_bare_host(hosts: Hosts) -> None:
    more = hosts.folder / "bare.yml"
    # An image of a file for one, and one that nobody can be asked for yet for the other.
    archive = hosts.folder / "image.tar"
    with tarfile.open(archive, "w") as file:
        content = json.dumps([{"Config": "aa.json", "RepoTags": ["registry:2.8"], "Layers": []}]).encode()
        about = tarfile.TarInfo("manifest.json")
        about.size = len(content)
        file.addfile(about, io.BytesIO(content))
    settings = {
        "registry_server_image_provider": "archive",
        "registry_server_image_archive": str(archive),
        "registry_proxy_image_provider": "auto",
        "registry_proxy_client_certificates": "optional",
        "registry_proxy_http_port": 80,
    }
    more.write_text(yaml.safe_dump({"registry": {"hosts": {BARE: settings}}}), encoding="utf-8")
    before = hosts.on(BARE, MADE)
    done = hosts.play("configure.yml", "--check", "--diff", f"--inventory={more}", f"--limit={BARE}")
    assert done.roles() >= {"docker_engine", "registry_tls", "registry_auth", "registry_server", "registry_proxy"}
    assert hosts.on(BARE, MADE) == before == ""


USERS = {"registry_auth_users": [{"name": "alice", "password": "of somebody's play", "access": "admin"}]}
PLAYS: dict[str, dict[str, Any]] = {
    "roles, without facts": {
        "gather_facts": False,
        "roles": ["drydock.registry.registry_tls", "drydock.registry.registry_auth"],
    },
    "roles, with facts": {
        "gather_facts": True,
        "roles": [
            {"role": "drydock.registry.registry_tls"},
            {"role": "drydock.registry.registry_auth", "tags": ["users"]},
        ],
    },
    "include_role, without facts": {
        "gather_facts": False,
        "tasks": [
            {"name": "TLS", "ansible.builtin.include_role": {"name": "drydock.registry.registry_tls"}},
            {"name": "Users", "ansible.builtin.include_role": {"name": "drydock.registry.registry_auth"}, "when": True},
        ],
    },
    "include_role, with facts": {
        "gather_facts": True,
        "tasks": [
            {
                "name": "Both",
                "ansible.builtin.include_role": {"name": "drydock.registry.{{ item }}"},
                "loop": ["registry_auth", "registry_tls"],
            }
        ],
    },
    "import_role": {
        "gather_facts": False,
        "tasks": [
            {"name": "Users", "ansible.builtin.import_role": {"name": "drydock.registry.registry_auth"}},
            {"name": "TLS", "ansible.builtin.import_role": {"name": "drydock.registry.registry_tls"}},
        ],
    },
}


@pytest.mark.parametrize("name", PLAYS)
def test_roles_in_somebodys_play(hosts: Hosts, name: str) -> None:
    # The first one finds a bare host; the others find its libraries.
    hosts.on(BARE, "rm -rf /etc/drydock; userdel drydock")
    done = hosts.somebodys(BARE, vars=USERS, **PLAYS[name])
    assert done.roles() >= {"registry_tls", "registry_auth", "common"}
    made = hosts.on(BARE, "ls /etc/drydock/tls/tls.crt /etc/drydock/auth/htpasswd; id --group --name drydock")
    assert made.split() == ["/etc/drydock/auth/htpasswd", "/etc/drydock/tls/tls.crt", "drydock"]


@pytest.mark.parametrize("name", ["roles, without facts", "include_role, with facts"])
def test_roles_in_somebodys_play_change_nothing_again(hosts: Hosts, name: str) -> None:
    assert hosts.somebodys(BARE, vars=USERS, **PLAYS[name]).changed == []


def test_roles_with_containers_in_somebodys_play(hosts: Hosts) -> None:
    roles = ["docker_engine", "registry_server", "registry_proxy"]
    tasks = [
        {"name": f"Run {role}", "ansible.builtin.include_role": {"name": f"drydock.registry.{role}"}} for role in roles
    ]
    plays = (
        {"gather_facts": False, "roles": [f"drydock.registry.{role}" for role in roles]},
        {"gather_facts": True, "tasks": tasks},
    )
    # What site.yml tells the roles of each other, somebody's play leaves at its defaults.
    assert "registry_proxy" in hosts.somebodys(ADDRESS, **plays[0]).roles()
    assert hosts.somebodys(ADDRESS, **plays[1]).changed == []
    assert hosts.status("/healthz") == 200
