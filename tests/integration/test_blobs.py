# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that nginx sends itself: as the registry would send them, to those who may have them, and only where the registry would.

The registry's own answers are asked for beside nginx, through its socket.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from deployment import ADDRESS, WAIT_SECONDS, Deployment, deployed_hosts
from into_host import into

SOCKET = "/var/lib/drydock/sockets/registry-a.sock"
STORAGE = "/var/lib/drydock/registry/docker/registry/v2"
# What nginx says of itself, of the moment and of how browsers are to take answers.
OF_NGINX = {
    *("server", "date", "connection", "strict-transport-security", "x-content-type-options", "x-frame-options"),
    *("content-security-policy", "referrer-policy"),
}


# Prints which names were known together with which certificate, in the order in which that was first seen.
WATCH = """
import hashlib, http.client, json, select, ssl, sys
seen = []
while not select.select([sys.stdin], [], [], 0.05)[0]:
    connection = http.client.HTTPSConnection("127.0.0.1", context=ssl._create_unverified_context(), timeout=20)
    try:
        connection.connect()
        state = [hashlib.sha256(connection.sock.getpeercert(True)).hexdigest(), []]
        for name in sys.argv[1:]:
            connection.request("GET", "/v2/", headers={"Host": name})
            answer = connection.getresponse()
            answer.read()
            state[1].append(answer.status)
    except (OSError, http.client.HTTPException):
        continue
    finally:
        connection.close()
    if state not in seen:
        seen.append(state)
print(json.dumps(seen))
"""


class Answer(NamedTuple):
    """An answer of the registry, or of nginx in its place."""

    status: int
    headers: dict[str, str]
    sha256: str


class Blobs(Deployment):
    """A registry with some blobs, asked by way of nginx and by its socket."""

    marks = 0

    def fetch(self, way: tuple[str, ...], path: str, *options: str) -> Answer:
        """Make a request; return what came."""
        # An answer without a body leaves it as it is.
        self.host("truncate", "--size=0", "/srv/body")
        output = ("--silent", "--output", "/srv/body", "--dump-header", "-", *options, *way)
        said = self.host(
            "curl", *output, f"https://{ADDRESS}{path}" if SOCKET not in way else f"http://{ADDRESS}{path}"
        )
        status, *lines = said.stdout.strip().splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        # Without a body, curl writes the headers there.
        body = "" if "--head" in options else self.host("sha256sum", "/srv/body").stdout.split()[0]
        return Answer(int(status.split()[1]), headers, body)

    def registry(self, path: str, *options: str) -> Answer:
        """Ask the registry itself."""
        return self.fetch(("--unix-socket", SOCKET), path, *options)

    def nginx(self, path: str, *options: str, user: str = "admin") -> Answer:
        """Ask as a client does."""
        login = ("--user", f"{user}:{self.passwords[user]}") if user else ()
        return self.fetch(("--cacert", "/etc/drydock/tls/ca.crt", *login), path, *options)

    def sent_by_nginx(self, path: str, *options: str) -> bool:
        """Ask as a client does; tell from the log whether a registry took part."""
        self.marks += 1
        marker = f"mark-{self.marks}-{id(self)}"
        self.nginx(path, "--user-agent", marker, *options)
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            for line in self.host("docker", "logs", "--tail", "50", "drydock-proxy").stdout.splitlines():
                if marker in line:
                    logged: dict[str, Any] = json.loads(line)
                    return bool(logged["upstream"] == "")
            time.sleep(0.2)
        pytest.fail(f"nobody wrote down {marker}")

    def push(self, repository: str, text: str) -> str:
        """Push a blob; return its path."""
        digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        begun = self.nginx(f"/v2/{repository}/blobs/uploads/", "--request", "POST")
        upload = begun.headers["location"].partition(ADDRESS)[2]
        self.host("sh", "-c", "cat > /srv/blob", stdin=text)
        done = self.nginx(f"{upload}&digest={digest}", "--upload-file", "/srv/blob")
        assert done.status == 201
        return f"/v2/{repository}/blobs/{digest}"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    """Deploy; the folder of the images is nginx's, too, without being told."""
    made = Blobs("blobs", tmp_path_factory.mktemp("blobs"))
    made.passwords = {"admin": "the administrator's", "other": "somebody else's"}
    made.settings["registry_auth_users"] = [
        {"name": "admin", "password": made.passwords["admin"], "access": "admin"},
        {"name": "other", "password": made.passwords["other"], "repositories": ["theirs/**"]},
    ]
    with deployed_hosts(made):
        made.play("configure.yml")
        yield made


@pytest.fixture(scope="module")
def blob(deployment: Blobs) -> str:
    """The path of a blob that is large enough for several reads."""
    return deployment.push("ours/app", "layer" * 200_000)


def comparable(answer: Answer) -> Answer:
    """Leave out what differs by nature."""
    return answer._replace(headers={name: value for name, value in answer.headers.items() if name not in OF_NGINX})


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--head",),
        ("--header", "Accept-Encoding: gzip"),
        ("--range", "5-99"),
        ("--range", "-7"),
        ("--range", "0-1,5-9"),
        ("--range", "99999999-"),
        ("--range", "5-99", "--head"),
        ("--header", "If-Modified-Since: Sat, 01 Jan 2050 00:00:00 GMT"),
        ("--header", "If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT"),
        ("--header", 'If-None-Match: "something else"'),
        ("--range", "5-99", "--header", 'If-Range: "something else"'),
    ],
    ids=" ".join,
)
def test_answers_are_the_registrys(deployment: Blobs, blob: str, options: tuple[str, ...]) -> None:
    expected, got = comparable(deployment.registry(blob, *options)), comparable(deployment.nginx(blob, *options))
    if "0-1,5-9" in options:
        # Between the parts stands a line that is new in each answer.
        assert got.status == expected.status == 206
        return
    # The registry is not told of what it takes no notice of.
    assert got == expected


def test_the_blobs_own_name_is_taken_for_not_modified(deployment: Blobs, blob: str) -> None:
    header = ("--header", f'If-None-Match: "{blob.rpartition("/")[2]}"')
    assert deployment.nginx(blob, *header).status == deployment.registry(blob, *header).status == 304


@pytest.mark.parametrize("options", [(), ("--head",)], ids=["GET", "HEAD"])
def test_whole_blobs_are_sent_by_nginx(deployment: Blobs, blob: str, options: tuple[str, ...]) -> None:
    assert deployment.sent_by_nginx(blob, *options)


def test_parts_and_all_else_are_sent_by_the_registry(deployment: Blobs, blob: str) -> None:
    assert not deployment.sent_by_nginx(blob, "--range", "5-99")
    assert not deployment.sent_by_nginx("/v2/ours/app/tags/list")
    assert not deployment.sent_by_nginx("/v2/")


def test_answers_of_nginx_have_its_headers_for_browsers(deployment: Blobs, blob: str) -> None:
    assert OF_NGINX - {"connection"} <= deployment.nginx(blob).headers.keys()


def test_a_blob_is_had_from_its_own_repository_only(deployment: Blobs, blob: str) -> None:
    elsewhere = blob.replace("ours/app", "ours/other")
    assert deployment.nginx(elsewhere).status == deployment.registry(elsewhere).status == 404


@pytest.mark.parametrize(("user", "status"), [("", 401), ("other", 403)])
def test_who_may_not_have_it_gets_nothing(deployment: Blobs, blob: str, user: str, status: int) -> None:
    assert deployment.nginx(blob, user=user).status == status
    assert deployment.nginx(blob, "--head", user=user).status == status


def test_a_wrong_password_gets_nothing(deployment: Blobs, blob: str) -> None:
    assert deployment.nginx(blob, "--user", "admin:wrong", user="").status == 401


def test_a_deleted_blob_is_gone(deployment: Blobs) -> None:
    gone = deployment.push("ours/app", "not for long")
    assert deployment.sent_by_nginx(gone)
    assert deployment.nginx(gone, "--request", "DELETE").status == 202
    assert deployment.nginx(gone).status == deployment.registry(gone).status == 404


def test_a_blob_whose_file_is_missing_is_the_registrys_to_explain(deployment: Blobs) -> None:
    lost = deployment.push("ours/app", "lost on the disk")
    name = lost.rpartition(":")[2]
    deployment.host("rm", f"{STORAGE}/blobs/sha256/{name[:2]}/{name}/data")
    assert deployment.nginx(lost).status == deployment.registry(lost).status


@pytest.mark.parametrize(
    "target", ["/etc/drydock/tls/tls.key", "/etc/drydock/auth/htpasswd", "/etc/passwd", "another blob"]
)
def test_what_lies_outside_the_storage_is_never_sent(deployment: Blobs, blob: str, target: str) -> None:
    """Whoever can write to the storage may put links there: in place of a blob, of a folder above it, and of the link to it."""
    path = deployment.push("ours/app", f"replaced by {target}")
    hexadecimal, other = path.rpartition(":")[2], blob.rpartition(":")[2]
    folder, link = (
        f"blobs/sha256/{hexadecimal[:2]}/{hexadecimal}",
        f"repositories/ours/app/_layers/sha256/{hexadecimal}/link",
    )
    place = """
        cd "$1" && what=$4
        [ -e "$what" ] || what=$PWD/blobs/sha256/$5/data
        case $6 in
        file) ln --symbolic --force "$what" "$2/data" ;;
        folder) mkdir -p moved && cp --dereference "$what" moved/data && rm -r "$2" && ln -s "$PWD/moved" "$2" ;;
        link) cp "$3" moved/link && ln --symbolic --force "$PWD/moved/link" "$3" ;;
        esac
    """
    for kind in ("file", "folder", "link"):
        deployment.host("sh", "-c", place, "sh", STORAGE, folder, link, target, f"{other[:2]}/{other}", kind)
        for options in ((), ("--head",), ("--range", "0-9")):
            answer = deployment.nginx(path, *options)
            assert answer.status == 404, (kind, options, answer)
            assert answer.headers["content-type"] == "application/json"


def test_an_image_is_pulled(deployment: Blobs) -> None:
    image = f"{ADDRESS}/ours/image:1"
    deployment.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
    assert deployment.login("admin", deployment.passwords["admin"])
    deployment.host("sh", "-c", f"tar --create --directory /usr lib/os-release | docker import - {image}")
    deployment.host("docker", "push", image)
    deployment.host("docker", "rmi", image)
    deployment.host("docker", "pull", image)


def test_nginx_sees_what_it_needs_and_writes_nothing(deployment: Blobs) -> None:
    mounts = json.loads(deployment.host("docker", "inspect", "--format={{json .Mounts}}", "drydock-proxy").stdout)
    assert not any(one["RW"] for one in mounts)
    needed = (
        "/etc/drydock/proxy",
        "/etc/drydock/tls",
        "/etc/drydock/auth",
        "/var/lib/drydock/sockets",
        "/var/lib/drydock/passwords",
    )
    assert {one["Source"] for one in mounts} == {*needed, "/var/lib/drydock/registry"}


def test_another_name_is_one_switch(deployment: Blobs) -> None:
    """Which names are known belongs to the certificate that is shown, at each moment; the old name stays, since the inventory says so.

    The new one is an IPv6 address, under which the run's own client then uses the registry.
    """
    deployment.host("sysctl", "--write", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.lo.disable_ipv6=0")
    deployment.settings |= {
        "drydock_domain": "::1",
        "registry_tls_names": [ADDRESS],
        "registry_proxy_blob_directory": "",
    }
    watcher = subprocess.Popen(
        [*into(deployment.names[ADDRESS]), "python3", "-c", WATCH, ADDRESS, "[::1]"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deployment.play("site.yml")
    seen = json.loads(watcher.communicate("enough\n", timeout=60)[0])
    assert [codes for _, codes in seen] == [[401, 421], [401, 401]]
    assert seen[0][0] != seen[1][0]


def test_switched_off_the_registry_sends_all(deployment: Blobs, blob: str) -> None:
    assert not deployment.sent_by_nginx(blob)
    assert deployment.nginx(blob).status == 200
    mounts = json.loads(deployment.host("docker", "inspect", "--format={{json .Mounts}}", "drydock-proxy").stdout)
    assert "/var/lib/drydock/registry" not in [one["Source"] for one in mounts]
