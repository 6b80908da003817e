# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers and manifests that nginx sends itself: as the registry would send them, to those who may have them, and only where it would.

The registry's own answers are asked for beside nginx, through its socket. What is another registry's comes through this one, and is
then sent in the same way; a registry on the same host stands for the other.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from deployment import ADDRESS, REGISTRIES, WAIT_SECONDS, Deployment, deployed_hosts
from into_host import into

SOCKET = "/var/lib/drydock/sockets/registry-a.sock"
STORAGE = "/var/lib/drydock/registry/docker/registry/v2"
# What nginx says of itself, of the moment and of how browsers are to take answers.
OF_NGINX = {
    *("server", "date", "connection", "strict-transport-security", "x-content-type-options", "x-frame-options"),
    *("content-security-policy", "referrer-policy", "x-request-id"),
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


# Makes requests of the registry itself and of nginx, on a connection each, and prints what came from both.
COMPARE = """
import hashlib, http.client, json, socket, ssl, sys
given = json.load(sys.stdin)
class Registry(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(given["socket"])
trusted = ssl.create_default_context(cafile="/etc/drydock/tls/ca.crt")
connections = Registry(given["name"]), http.client.HTTPSConnection(given["name"], context=trusted)
def ask(connection, one, more):
    connection.putrequest(one["method"], one["path"], skip_accept_encoding=True)
    body = one.get("body", "").encode("latin-1")
    length = [["Content-Length", str(len(body))]] if body else []
    for name, value in one["headers"] + more + length:
        connection.putheader(name, value)
    connection.endheaders(body or None)
    answer = connection.getresponse()
    body = answer.read()
    return [answer.status, [[name.lower(), value] for name, value in answer.getheaders()], hashlib.sha256(body).hexdigest()]
said = []
for number, one in enumerate(given["requests"]):
    more = [["Authorization", given["login"]], ["User-Agent", given["mark"] + str(number)]]
    registry = [] if one["method"] == "PUT" else ask(connections[0], one, [])
    said.append([registry, ask(connections[1], one, more)])
print(json.dumps(said))
"""

# What the host is told besides what its image has.
TOLD = "--tags=tls,users,mirror,proxy,maintenance"

# Another registry, which counts what it is asked: what stands before it, and it itself.
ELSEWHERE = "127.0.0.1:5001"
BEHIND = "127.0.0.1:5002"
ASKED = "/srv/elsewhere"
FRONT = """
import http.client, http.server, pathlib, time
here = pathlib.Path("/srv/elsewhere")
class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with (here / "asked").open("a") as asked:
            print(self.command, self.path, file=asked)
        counts = self.command == "GET" and "/manifests/" in self.path
        left = int((here / "left").read_text()) - counts
        if counts and left >= 0:
            (here / "left").write_text(str(left))
        registry = http.client.HTTPConnection("127.0.0.1", 5002)
        registry.request(self.command, self.path, headers={"Accept": self.headers.get("Accept") or "*/*"})
        answer = registry.getresponse()
        body = answer.read()
        self.send_response(429 if left < 0 else answer.status)
        for name in ("Content-Type", "Docker-Content-Digest"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", answer.headers["Content-Length"] or str(len(body)))
        self.send_header("Retry-After", "1")
        self.send_header("RateLimit-Limit", "100;w=21600")
        self.send_header("RateLimit-Remaining", f"{max(left, 0)};w=21600")
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        while "/blobs/" in self.path and (here / "gate").exists():
            time.sleep(0.05)
        self.wfile.write(body[half:])
    do_HEAD = do_GET
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 5001), Front).serve_forever()
"""
ANOTHER = """
mkdir -p /srv/elsewhere
echo 100 > /srv/elsewhere/left
cat > /srv/elsewhere/config.yml <<END
version: "0.1"
storage: {inmemory: {}, delete: {enabled: true}}
http: {addr: "127.0.0.1:5002"}
END
image=$(docker inspect --format '{{.Config.Image}}' drydock-registry-a)
docker run --detach --name elsewhere --network host --volume /srv/elsewhere:/srv/elsewhere:ro --entrypoint registry "$image" \
    serve /srv/elsewhere/config.yml
until curl --silent --fail http://127.0.0.1:5002/v2/; do sleep 0.2; done
"""
ANSWERS = """
systemd-run --quiet --collect --unit=elsewhere python3 /srv/elsewhere/front.py
until curl --silent --fail http://127.0.0.1:5001/v2/; do sleep 0.1; done
"""

# Puts a file of the storage there, whatever was there before.
PLACE = """
import json, os, shutil, sys
for path, content in json.load(sys.stdin).items():
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content.encode("latin-1"))
"""


class Answer(NamedTuple):
    """An answer of the registry, or of nginx in its place."""

    status: int
    headers: dict[str, str]
    sha256: str


class Both(NamedTuple):
    """What the registry and nginx have answered to the same request, and whether nginx has asked no registry for it."""

    registry: Answer
    nginx: Answer
    alone: bool


class Blobs(Deployment):
    """A registry with some blobs, asked by way of nginx and by its socket."""

    marks = 0
    numbers = itertools.count()

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

    def both(self, *requests: dict[str, Any]) -> list[Both]:
        """Make requests of the registry and, as a client does, of nginx. What is pushed, is pushed through nginx alone."""
        mark = f"both-{next(self.numbers)}-{id(self)}-"
        login = base64.b64encode(f"admin:{self.passwords['admin']}".encode()).decode()
        given = {"socket": SOCKET, "name": ADDRESS, "login": f"Basic {login}", "mark": mark, "requests": requests}
        said = json.loads(self.host("python3", "-c", COMPARE, stdin=json.dumps(given)).stdout)
        answers = [[Answer(one[0], dict(one[1]), one[2]) if one else NOBODY for one in pair] for pair in said]
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            logged = [
                json.loads(line)
                for line in self.host("docker", "logs", "--tail", "5000", "drydock-proxy").stdout.splitlines()
                if mark in line
            ]
            if len(logged) == len(requests):
                alone = {one["agent"]: one["upstream"] == "" for one in logged}
                return [Both(pair[0], pair[1], alone[f"{mark}{number}"]) for number, pair in enumerate(answers)]
            time.sleep(0.2)
        pytest.fail(f"nobody wrote down all of {mark}")

    def place(self, files: dict[str, str | None]) -> None:
        """Write files of the storage past the registry; without a content, take them away."""
        # As the registries' account, which has to write into the same folders later.
        account = ("setpriv", "--reuid=drydock", "--regid=drydock", "--clear-groups")
        placed = {f"{STORAGE}/{name}": one for name, one in files.items()}
        self.host(*account, "python3", "-c", PLACE, stdin=json.dumps(placed))

    def push_manifest(self, reference: str, kind: str, body: str) -> str:
        """Push a manifest through nginx; return its digest."""
        request = {"method": "PUT", "path": f"/v2/{KINDS}/manifests/{reference}", "headers": [["Content-Type", kind]]}
        (pushed,) = self.both({**request, "body": body})
        assert pushed.nginx.status == 201, (reference, pushed)
        return pushed.nginx.headers["docker-content-digest"]

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
    # Each pull of a tag asks what it means.
    made.settings["registry_mirror_upstreams"] = [
        {"name": "there", "registry": ELSEWHERE, "url": f"http://{ELSEWHERE}", "fresh_seconds": 0},
        # It stands for Docker Hub as well, from which everybody may pull.
        {"name": "hub", "registry": "docker.io", "url": f"http://{ELSEWHERE}", "names": [f"hub.{ADDRESS}"]},
    ]
    made.settings["registry_auth_anonymous_pull_enabled"] = True
    made.settings["registry_auth_anonymous_repositories"] = ["hub/**"]
    with deployed_hosts(made):
        # By its address, clients on this machine reach it.
        made.settings["registry_tls_names"] = [made.ip, f"hub.{ADDRESS}"]
        made.play("configure.yml", TOLD)
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


# ---- manifests

KINDS = "ours/kinds"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
FORMS = (DOCKER, DOCKER_LIST, OCI, OCI_INDEX)
OLD = "application/vnd.docker.distribution.manifest.v1+prettyjws"
NOBODY = Answer(0, {}, "")
# What clients send: each entry is a header of its own.
ACCEPTS: dict[str, tuple[str, ...]] = {
    "docker": (*FORMS, OLD, "application/json"),
    "containerd": (f"{DOCKER}, {DOCKER_LIST}, {OCI}, {OCI_INDEX}, */*",),
    "skopeo": (OCI, DOCKER, "application/vnd.docker.distribution.manifest.v1+json", OLD, DOCKER_LIST, OCI_INDEX),
    "crane": (",".join((DOCKER, OCI, DOCKER_LIST, OCI_INDEX)),),
    "oras": (f"{DOCKER},{DOCKER_LIST},{OCI_INDEX},{OCI},application/vnd.oci.artifact.manifest.v1+json",),
    "weights": (f"{OCI};q=0.9, {DOCKER} ; q=0.8,{DOCKER_LIST};q=0,  {OCI_INDEX};q=1.0, */*;q=0.1",),
    "none": (),
    "anything": ("*/*",),
    "docker only": (DOCKER,),
    "OCI only": (OCI,),
    "lists only": (f"{DOCKER_LIST}, {OCI_INDEX}",),
    "capitals": (f"{OCI.upper()}, {DOCKER.upper()}",),
    "parameters": (f"{OCI};charset=utf-8, {DOCKER};x=y",),
    "broken": (f'{OCI};x=", {DOCKER};;',),
    "no weight": (f"{OCI};q=, {DOCKER};q=",),
    "glued": (f"{OCI} {DOCKER}",),
    "almost": (f"x{OCI}, {OCI}x, {DOCKER}x",),
    "no ASCII": (f"{OCI}, é",),
    "something else": ("text/html",),
}
# With these, 2.8 and 3.x agree that the client takes all forms.
ACCEPTING_ALL = ("docker", "containerd", "skopeo", "crane", "oras", "weights")


def manifest_of(**parts: Any) -> str:
    """Write a manifest as clients do."""
    return json.dumps({"schemaVersion": 2, **parts}, indent=3)


def kinds_of(part: dict[str, Any], child: dict[str, Any]) -> dict[str, tuple[str, str, bool]]:
    """All kinds of manifests that can be pushed: the form, the text, and whether nginx is to send it itself."""
    image = {"config": part, "layers": [part]}
    long, longest = {"text": "x" * 40_000}, {"text": "x" * 4_100_000}
    platform = {"architecture": "amd64", "os": "linux"}
    full = {**image, "artifactType": "application/x", "subject": child, "annotations": {"é": "ü\n"}}
    twice = manifest_of(mediaType=OCI, **image)[:-1] + f', "mediaType": "{OCI}"}}'
    return {
        "docker": (DOCKER, manifest_of(mediaType=DOCKER, **image), True),
        "oci": (OCI, manifest_of(mediaType=OCI, **image), True),
        "artifact": (OCI, manifest_of(mediaType=OCI, **full), True),
        "empty": (OCI, manifest_of(mediaType=OCI, config=part, layers=[]), True),
        "twice": (OCI, twice, True),
        "list": (DOCKER_LIST, manifest_of(mediaType=DOCKER_LIST, manifests=[{**child, "platform": platform}]), True),
        "index": (OCI_INDEX, manifest_of(mediaType=OCI_INDEX, manifests=[child], annotations={"a": "b"}), True),
        "no-children": (OCI_INDEX, manifest_of(mediaType=OCI_INDEX, manifests=[]), True),
        "oci-untyped": (OCI, manifest_of(**image), False),
        "index-untyped": (OCI_INDEX, manifest_of(manifests=[child]), False),
        "other-case": (OCI, manifest_of(mediaType=OCI, MEDIATYPE=OCI, **image), False),
        "other-key": (OCI, manifest_of(mediaType=OCI, more=[1], **image), False),
        "nothing-else": (OCI, manifest_of(mediaType=OCI, **image, subject=None), False),
        "long": (OCI, manifest_of(mediaType=OCI, **image, annotations=long), False),
        "longest": (OCI, manifest_of(mediaType=OCI, **image, annotations=longest), False),
    }


IMAGE: dict[str, Any] = {"config": {}, "layers": []}
# What no registry takes, so that it lies there by another way. It is the registry's to say what it makes of it: Go reads keys in any case,
# and takes some mistakes for nothing.
STRANGE = [
    *("x", "", "[]", "null", "2", '"text"'),
    json.dumps({"schemaVersion": 1, "name": KINDS, "tag": "1", "fsLayers": [], "history": []}),
    json.dumps({"schemaVersion": 3, "mediaType": OCI, **IMAGE}),
    json.dumps({"schemaVersion": "2", "mediaType": OCI, **IMAGE}),
    *(
        manifest_of(mediaType=form, **IMAGE)
        for form in ("application/x", OCI.upper(), [OCI], None, DOCKER_LIST, OCI_INDEX)
    ),
    manifest_of(mediaType=OCI, manifests=[]),
    manifest_of(mediaType=OCI, manifests=[], **IMAGE),
    manifest_of(mediaType=OCI_INDEX, manifests=[], config={}),
    manifest_of(mediaType=OCI_INDEX, manifests=[], layers=None),
    *(
        manifest_of(mediaType=OCI, **{**IMAGE, key: value})
        for key, value in (("config", []), ("config", None), ("layers", {}))
    ),
    *(manifest_of(mediaType=OCI, **{key: IMAGE[key]}) for key in IMAGE),
    *(
        manifest_of(mediaType=OCI, **IMAGE, **{key: value})
        for key, value in (
            *(("MediaType", DOCKER), ("\u017fubject", {}), ("__proto__", {}), ("other", 1)),
            *(("annotations", []), ("subject", "x"), ("artifactType", 1)),
        )
    ),
    manifest_of(mediaType=OCI, **IMAGE) * 2,
    manifest_of(mediaType=OCI, **IMAGE)[:-1],
    manifest_of(mediaType=OCI, **IMAGE) + "\0",
    "\xef\xbb\xbf" + manifest_of(mediaType=OCI, **IMAGE),
]


def lies_at(digest: str) -> str:
    """Return where the registry keeps a blob."""
    name = digest.rpartition(":")[2]
    return f"blobs/sha256/{name[:2]}/{name}/data"


def tag_at(tag: str) -> str:
    """Return where the registry keeps what a tag leads to."""
    return f"repositories/{KINDS}/_manifests/tags/{tag}/current/link"


def revision_at(digest: str) -> str:
    """Return where the registry keeps that a repository has a manifest."""
    return f"repositories/{KINDS}/_manifests/revisions/sha256/{digest.rpartition(':')[2]}/link"


@pytest.fixture(scope="module")
def child(deployment: Blobs) -> dict[str, Any]:
    """A manifest that others refer to."""
    digest = deployment.push(KINDS, "a layer, and a configuration").rpartition("/")[2]
    part = {"mediaType": "application/octet-stream", "digest": digest, "size": 28}
    text = manifest_of(mediaType=OCI, config=part, layers=[])
    return {"mediaType": OCI, "digest": deployment.push_manifest("child", OCI, text), "size": len(text), "part": part}


@pytest.fixture(scope="module")
def kinds(deployment: Blobs, child: dict[str, Any]) -> dict[str, tuple[str, str, bool]]:
    """Push all kinds of manifests; return for each its form, its digest, and whether nginx is to send it itself."""
    part = child["part"]
    known = kinds_of(part, {name: child[name] for name in ("mediaType", "digest", "size")})
    return {tag: (form, deployment.push_manifest(tag, form, text), own) for tag, (form, text, own) in known.items()}


def asked(reference: str, method: str = "GET", accepts: Sequence[str] = FORMS, **headers: str) -> dict[str, Any]:
    """A request for a manifest."""
    more = [[name.replace("_", "-"), value] for name, value in headers.items()]
    return {
        "method": method,
        "path": f"/v2/{KINDS}/manifests/{reference}",
        "headers": [["Accept", one] for one in accepts] + more,
    }


def same(one: Both) -> bool:
    """Tell whether nginx's answer is the registry's."""
    registry, nginx = comparable(one.registry), comparable(one.nginx)
    if registry.headers.get("content-type") == OLD:
        # Made and signed for each answer.
        return (nginx.status, nginx.headers["content-type"]) == (registry.status, OLD)
    assert nginx == registry
    return True


@pytest.mark.parametrize("kind", kinds_of({}, {}))
def test_manifests_are_the_registrys(deployment: Blobs, kinds: dict[str, tuple[str, str, bool]], kind: str) -> None:
    form, digest, own = kinds[kind]
    # What is as large as can be takes a second each time.
    accepts = ACCEPTS if kind != "longest" else ("containerd", "none")
    cases = list(itertools.product((kind, digest), ("GET", "HEAD"), accepts))
    answers = deployment.both(*(asked(reference, method, ACCEPTS[name]) for reference, method, name in cases))
    # Lists in which no registry has a choice.
    lists = {name: ", ".join(values) for name, values in ACCEPTS.items()}
    named = {
        name for name, text in lists.items() if name in ACCEPTING_ALL or (text.isascii() and form in text.split(", "))
    }
    for (reference, method, name), answer in zip(cases, answers, strict=True):
        assert same(answer), (reference, method, name)
        assert answer.alone == (own and name in named), (reference, method, name)
        if own and name in named:
            assert answer.nginx.headers["content-type"] == form
            assert answer.nginx.headers["docker-content-digest"] == digest


def test_what_is_no_manifest_is_the_registrys_to_explain(deployment: Blobs) -> None:
    files: dict[str, str | None] = {}
    for number, text in enumerate(STRANGE):
        digest = "sha256:" + hashlib.sha256(text.encode("latin-1")).hexdigest()
        files |= {lies_at(digest): text, revision_at(digest): digest, tag_at(f"strange-{number}"): digest}
    deployment.place(files)
    cases = [(number, method) for number in range(len(STRANGE)) for method in ("GET", "HEAD")]
    answers = deployment.both(*(asked(f"strange-{number}", method) for number, method in cases))
    for (number, method), answer in zip(cases, answers, strict=True):
        assert same(answer), (STRANGE[number], method)
        assert not answer.alone, (STRANGE[number], method)


def test_conditions_and_ranges_are_the_registrys(deployment: Blobs, kinds: dict[str, tuple[str, str, bool]]) -> None:
    digest, other = kinds["oci"][1], kinds["docker"][1]
    # Each with whether nginx answers it alone.
    cases = [
        ({"If_None_Match": f'"{digest}"'}, True),
        ({"If_None_Match": digest}, True),
        ({"If_None_Match": f'"{other}"'}, False),
        ({"If_None_Match": f'W/"{digest}"'}, False),
        ({"If_None_Match": f'"{other}", "{digest}"'}, False),
        ({"If_None_Match": "*"}, False),
        ({"If_Match": f'"{other}"'}, False),
        ({"If_Modified_Since": "Sat, 01 Jan 2050 00:00:00 GMT"}, False),
        ({"Range": "bytes=0-9"}, False),
        ({"Range": "bytes=0-9", "If_None_Match": f'"{digest}"'}, False),
    ]
    wanted = [
        (reference, method, *case) for reference in ("oci", digest) for method in ("GET", "HEAD") for case in cases
    ]
    answers = deployment.both(*(asked(reference, method, **headers) for reference, method, headers, _ in wanted))
    for (reference, method, headers, alone), answer in zip(wanted, answers, strict=True):
        assert same(answer), (reference, method, headers)
        assert answer.alone == alone, (reference, method, headers)
    assert answers[0].nginx.status == 304


def test_what_is_not_there_is_the_registrys_to_explain(deployment: Blobs, child: dict[str, Any]) -> None:
    # The last is a layer, which 2.8 tries to read as a manifest.
    references = {"missing": 404, "sha256:" + "0" * 64: 404, "sha512:" + "0" * 128: 404, child["part"]["digest"]: 500}
    answers = deployment.both(*(asked(one, method) for one in references for method in ("GET", "HEAD")))
    for status, answer in zip([one for one in references.values() for _ in range(2)], answers, strict=True):
        assert same(answer)
        assert (answer.nginx.status, answer.alone) == (status, False)


def test_the_root_is_the_registrys(deployment: Blobs) -> None:
    for answer in deployment.both(*({"method": one, "path": "/v2/", "headers": []} for one in ("GET", "HEAD"))):
        assert same(answer)
        assert answer.alone


def test_a_manifest_is_had_from_its_own_repository_only(
    deployment: Blobs, kinds: dict[str, tuple[str, str, bool]]
) -> None:
    for reference in ("oci", kinds["oci"][1]):
        elsewhere = {**asked(reference), "path": f"/v2/ours/app/manifests/{reference}"}
        (answer,) = deployment.both(elsewhere)
        assert same(answer)
        assert answer.nginx.status == 404


@pytest.mark.parametrize(("user", "status"), [("", 401), ("other", 403)])
def test_who_may_not_have_a_manifest_gets_nothing(
    deployment: Blobs, kinds: dict[str, tuple[str, str, bool]], user: str, status: int
) -> None:
    for reference, options in itertools.product(("oci", kinds["oci"][1]), ((), ("--head",))):
        path = f"/v2/{KINDS}/manifests/{reference}"
        answer = deployment.nginx(path, "--header", f"Accept: {OCI}", *options, user=user)
        assert answer.status == status
        assert "docker-content-digest" not in answer.headers


def test_pulls_after_a_push_or_a_delete_see_it(deployment: Blobs, child: dict[str, Any]) -> None:
    """Each pull begins when the answer to the write has come; nothing of an earlier answer is left."""
    part = child["part"]
    texts = [manifest_of(mediaType=OCI, config=part, layers=[], annotations={"n": str(n)}) for n in range(2)]
    digests = ["sha256:" + hashlib.sha256(text.encode()).hexdigest() for text in texts]
    put = [{**asked("moving", "PUT", (), Content_Type=OCI), "body": text} for text in texts]
    steps = [step for _ in range(20) for text in put for step in (text, asked("moving", "HEAD"), asked("moving"))]
    for number, answer in enumerate(deployment.both(*steps)):
        if number % 3:
            assert answer.alone
            assert answer.nginx.headers["docker-content-digest"] == digests[number // 3 % 2]
    gone = asked(digests[1], "DELETE", ())
    # The registry is asked first, so that nginx's own question comes too late for it.
    _, *after = deployment.both(gone, asked("moving"), asked(digests[1]), asked(digests[0]))
    assert [answer.nginx.status for answer in after] == [404, 404, 200]
    assert all(same(answer) for answer in after)


def test_a_tag_is_pulled_while_it_is_pushed(deployment: Blobs, child: dict[str, Any]) -> None:
    """A registry of 2.8 empties a link before it writes it again, so that it may fail in between itself; nginx asks it then."""
    texts = [manifest_of(mediaType=OCI, config=child["part"], layers=[], annotations={"m": str(n)}) for n in range(2)]
    digests = {"sha256:" + hashlib.sha256(text.encode()).hexdigest() for text in texts}
    pushes = [{**asked("busy", "PUT", (), Content_Type=OCI), "body": text} for text in texts]
    deployment.both(pushes[0])
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(deployment.both, *(pushes * 100))
        while not pushed.done():
            for answer in deployment.both(*[asked("busy")] * 100):
                if answer.nginx.status == 200:
                    assert answer.nginx.headers["docker-content-digest"] in digests
                    assert answer.nginx.headers["docker-content-digest"] == f"sha256:{answer.nginx.sha256}"
                else:
                    assert (answer.nginx.status, answer.alone) == (500, False)
    assert [answer.nginx.status for answer in pushed.result()] == [201] * 200


# Where a symbolic link is put: in place of the file, or of a folder above it.
PLACES = {"file": 0, "folder": 1, "folder above": 2}


@pytest.mark.parametrize("what", ["tag", "revision", "blob"])
@pytest.mark.parametrize("place", PLACES)
def test_symbolic_links_lead_to_no_manifest(deployment: Blobs, child: dict[str, Any], what: str, place: str) -> None:
    """nginx follows none, whatever lies there: the answer is the registry's, to which it is a file like any other."""
    text = manifest_of(mediaType=OCI, config=child["part"], layers=[], annotations={"link": f"{what} {place}"})
    digest = deployment.push_manifest("linked", OCI, text)
    path = f"{STORAGE}/" + {"tag": tag_at("linked"), "revision": revision_at(digest), "blob": lies_at(digest)}[what]
    # As the containers see it, the link leads to what is there.
    script = """
        set -e
        path=$1
        for up in $(seq "$2"); do path=$(dirname "$path"); done
        mv "$path" "$3"
        ln --symbolic --relative "$3" "$path"
    """
    words = (path, str(PLACES[place]), f"{STORAGE}/elsewhere")
    deployment.host("sh", "-c", script, "sh", *words)
    try:
        references = ("linked",) if what == "tag" else ("linked", digest)
        ways = list(itertools.product(references, ("GET", "HEAD"), (FORMS, ("*/*",))))
        for answer in deployment.both(*(asked(*way) for way in ways), asked(references[-1], Range="bytes=0-9")):
            assert same(answer)
            assert not answer.alone
    finally:
        back = 'path=$1; for up in $(seq "$2"); do path=$(dirname "$path"); done; rm "$path"; mv "$3" "$path"'
        deployment.host("sh", "-c", back, "sh", *words)


def test_broken_storage_never_leads_to_another_image(
    deployment: Blobs, child: dict[str, Any], kinds: dict[str, tuple[str, str, bool]]
) -> None:
    other = kinds["docker"][1]
    text = manifest_of(mediaType=OCI, config=child["part"], layers=[], annotations={"broken": "storage"})
    digest = deployment.push_manifest("broken", OCI, text)
    tag, revision, blob = tag_at("broken"), revision_at(digest), lies_at(digest)
    whole: dict[str, str | None] = {tag: digest, revision: digest, blob: text}
    links = (
        "",
        digest[:-1],
        digest + "\n",
        f"{digest}\n{other}",
        "sha256:../../../..",
        "x",
        f"{digest} ",
        digest.upper(),
    )
    broken: list[dict[str, str | None]] = [{link: content} for link in (tag, revision) for content in links]
    # Gone, or a folder with something in it.
    broken += [{one: None} for one in whole]
    broken += [{f"{one}/x": "x"} for one in whole]
    # The tag's folder without what it leads to.
    broken.append({tag.removesuffix("/current/link") + "/index/x": "x", tag: None})
    # The manifest of another digest, or half of it, or nothing.
    broken += [{blob: content} for content in (text + " ", text[:-9], "")]
    for change in broken:
        for name in change:
            # A folder in place of a file.
            if name.endswith("/x") and name.removesuffix("/x") in whole:
                deployment.place({name.removesuffix("/x"): None})
        deployment.place(change)
        answers = deployment.both(*(asked(one, method) for one in ("broken", digest) for method in ("GET", "HEAD")))
        for answer in answers:
            assert answer.nginx.headers.get("docker-content-digest", digest) == digest, change
            assert same(answer), change
            assert not answer.alone or answer.nginx.status == 200, change
        deployment.place(whole)
    assert deployment.both(asked("broken"))[0].alone


def test_pulls_go_on_without_registries(deployment: Blobs, kinds: dict[str, tuple[str, str, bool]], blob: str) -> None:
    """What nginx needs no registry for; the rest, and the health, say what is wrong."""
    accept = ("--header", f"Accept: {OCI}")
    deployment.host("docker", "stop", *REGISTRIES)
    try:
        for path in ("/v2/", f"/v2/{KINDS}/manifests/oci", f"/v2/{KINDS}/manifests/{kinds['oci'][1]}", blob):
            for options in ((), ("--head",)):
                assert deployment.nginx(path, *accept, *options).status == 200, path
        for path in (f"/v2/{KINDS}/manifests/missing", f"/v2/{KINDS}/manifests/long", f"/v2/{KINDS}/tags/list"):
            assert deployment.nginx(path, *accept).status == 502, path
        # An answer of the last seconds may be known.
        end = time.monotonic() + 30
        while deployment.nginx("/healthz", user="").status != 503 and time.monotonic() < end:
            time.sleep(1)
        assert deployment.nginx("/healthz", user="").status == 503
    finally:
        deployment.host("docker", "start", *REGISTRIES)
        end = time.monotonic() + WAIT_SECONDS
        while deployment.nginx("/healthz", user="").status != 200 and time.monotonic() < end:
            time.sleep(1)
    assert deployment.nginx(f"/v2/{KINDS}/tags/list").status == 200


def test_an_image_is_pulled(deployment: Blobs) -> None:
    image = f"{ADDRESS}/ours/image:1"
    deployment.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
    assert deployment.login("admin", deployment.passwords["admin"])
    deployment.host("sh", "-c", f"tar --create --directory /usr lib/os-release | docker import - {image}")
    deployment.host("docker", "push", image)
    deployment.host("docker", "rmi", image)
    deployment.host("docker", "pull", image)


# ---- images of other registries


@pytest.fixture(scope="module")
def theirs(deployment: Blobs) -> str:
    """An image of another registry; its name there, without the registry."""
    deployment.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
    assert deployment.login("admin", deployment.passwords["admin"])
    deployment.host("sh", "-ec", ANOTHER)
    deployment.host("sh", "-c", f"cat > {ASKED}/front.py", stdin=FRONT)
    deployment.host("sh", "-ec", ANSWERS)
    push_there(deployment, "lib/app:1")
    return "lib/app"


def push_there(deployment: Blobs, name: str) -> tuple[str, str]:
    """Push a new image to the other registry; return its digest and that of its layer."""
    image = f"{BEHIND}/{name}"
    made = f"head -c 3M /dev/urandom > /srv/random; tar -C /srv -c random | docker import - {image}"
    deployment.host("sh", "-c", made)
    deployment.host("docker", "push", image)
    deployment.host("docker", "rmi", image)
    accept = ("--silent", "--header", f"Accept: {DOCKER}, {OCI}")
    repository, _, tag = name.partition(":")
    said = deployment.host("curl", *accept, f"http://{BEHIND}/v2/{repository}/manifests/{tag}").stdout
    return "sha256:" + hashlib.sha256(said.encode()).hexdigest(), json.loads(said)["layers"][0]["digest"]


def asked_there(deployment: Blobs) -> list[str]:
    """Return what the other registry was asked since the last time."""
    return deployment.host("sh", "-c", f"cd {ASKED}; touch asked; cat asked; : > asked").stdout.splitlines()


def got_there(deployment: Blobs) -> list[str]:
    return [line for line in asked_there(deployment) if line.startswith("GET ")]


def curl_layer(deployment: Blobs, path: str) -> tuple[str, ...]:
    """Return a command that gets a layer as a client does, and fails unless all of it comes."""
    login = f"admin:{deployment.passwords['admin']}"
    return (
        "curl",
        "--silent",
        "--fail",
        "--cacert",
        "/etc/drydock/tls/ca.crt",
        "--user",
        login,
        f"https://{ADDRESS}{path}",
    )


def test_an_image_of_another_registry_is_asked_for_once(deployment: Blobs, theirs: str) -> None:
    asked_there(deployment)
    image = f"{ADDRESS}/there/{theirs}:1"
    deployment.host("docker", "pull", image)
    first = got_there(deployment)
    # The manifest, the configuration and the layer.
    assert len(first) == len(set(first)) == 3
    deployment.host("docker", "rmi", image)
    deployment.host("docker", "pull", image)
    assert set(asked_there(deployment)) == {f"HEAD /v2/{theirs}/manifests/1"}
    accept = ("--header", f"Accept: {DOCKER}, {OCI}")
    for path in sorted(line.partition(" ")[2].replace("/v2/", "/v2/there/") for line in first)[:2]:
        assert deployment.sent_by_nginx(path, *accept)
        # The registry finds what is kept as well.
        assert comparable(deployment.registry(path, *accept)) == comparable(deployment.nginx(path, *accept))


def test_another_registry_is_meant_by_a_parameter_or_a_name(deployment: Blobs, theirs: str) -> None:
    accept = ("--header", f"Accept: {DOCKER}, {OCI}")
    digest, layer = push_there(deployment, "lib/named:1")
    for path in (f"manifests/{digest}", "manifests/1", f"blobs/{layer}"):
        whole = deployment.nginx(f"/v2/there/lib/named/{path}", *accept)
        meant = deployment.nginx(f"/v2/lib/named/{path}?ns={ELSEWHERE.replace(':', '%3A')}", *accept)
        named = deployment.nginx(f"/v2/lib/named/{path}", *accept, "--header", f"Host: hub.{ADDRESS}", user="")
        assert whole.status == 200
        assert whole.sha256 == meant.sha256 == named.sha256
    assert deployment.nginx(f"/v2/{theirs}/manifests/1", *accept).status == 404
    assert deployment.nginx("/v2/", "--header", f"Host: hub.{ADDRESS}", user="").status == 200
    assert deployment.nginx("/v2/", user="").status == 401


def test_who_may_not_have_another_registrys_image_gets_nothing(deployment: Blobs, theirs: str) -> None:
    digest, layer = push_there(deployment, "lib/private:1")
    deployment.host("docker", "pull", f"{ADDRESS}/there/lib/private:1")
    for path in ("manifests/1", f"manifests/{digest}", f"blobs/{layer}", "tags/list"):
        assert deployment.nginx(f"/v2/there/lib/private/{path}").status == 200
        assert deployment.nginx(f"/v2/there/lib/private/{path}", user="other").status == 403
        meant = f"/v2/lib/private/{path}?ns={ELSEWHERE.replace(':', '%3A')}"
        assert deployment.nginx(meant, user="other").status == 403
        assert deployment.nginx(f"/v2/there/lib/private/{path}", user="").status == 401
        # Nor by a name of another repository, whatever its layers are.
        assert deployment.nginx(f"/v2/theirs/app/{path}", user="other").status == 404
    assert deployment.nginx(f"/v2/there/{theirs}/blobs/uploads/", "--request", "POST").status == 403


@pytest.mark.usefixtures("theirs")
def test_fifty_clients_that_want_the_same_at_once(deployment: Blobs) -> None:
    _digest, layer = push_there(deployment, "lib/many:1")
    asked_there(deployment)
    path = f"/v2/there/lib/many/blobs/{layer}"
    deployment.host("touch", f"{ASKED}/gate")
    many = 'seq 50 | xargs -P 50 -I {} sh -c \'"$@" | sha256sum\' {} "$@"'
    with ThreadPoolExecutor(1) as pool:
        pulled = pool.submit(deployment.host, "sh", "-c", many, "sh", *curl_layer(deployment, path))
        deployment.until(lambda: deployment.host("cat", f"{ASKED}/asked", check=False).stdout)
        deployment.host("rm", f"{ASKED}/gate")
        sums = pulled.result().stdout.splitlines()
    assert [line.split()[0] for line in sums] == [layer.partition(":")[2]] * 50
    assert asked_there(deployment) == [f"GET /v2/lib/many/blobs/{layer}"]


@pytest.mark.usefixtures("theirs")
def test_what_a_killed_program_was_about_to_keep_is_never_sent(deployment: Blobs) -> None:
    _digest, layer = push_there(deployment, "lib/killed:1")
    path = f"/v2/there/lib/killed/blobs/{layer}"
    spool = "/var/lib/drydock/registry/drydock-mirror"
    deployment.host("touch", f"{ASKED}/gate")
    with ThreadPoolExecutor(1) as pool:
        pulled = pool.submit(deployment.host, *curl_layer(deployment, path), "--output", "/srv/part", check=False)
        deployment.until(lambda: deployment.host("sh", "-c", "test ! -s /srv/part || echo yes").stdout)
        deployment.host("systemctl", "kill", "--signal=KILL", "drydock-mirror.service")
        assert pulled.result().returncode != 0
    assert int(deployment.host("stat", "--format=%s", "/srv/part").stdout) < 3 * 2**20
    value = layer.partition(":")[2]
    assert deployment.host("ls", f"{STORAGE}/blobs/sha256/{value[:2]}/{value}", check=False).returncode != 0
    deployment.host("rm", f"{ASKED}/gate")
    deployment.host("docker", "pull", f"{ADDRESS}/there/lib/killed:1")
    assert deployment.sent_by_nginx(path)
    assert deployment.host("ls", spool).stdout == ""


@pytest.mark.usefixtures("theirs")
def test_a_tag_that_moved_arrives_in_time(deployment: Blobs) -> None:
    accept = ("--header", f"Accept: {DOCKER}, {OCI}")

    def told(mirror: str) -> str:
        return deployment.nginx(f"/v2/{mirror}/lib/moves/manifests/1", *accept).headers["docker-content-digest"]

    first, _layer = push_there(deployment, "lib/moves:1")
    assert (told("there"), told("hub")) == (first, first)
    second, _layer = push_there(deployment, "lib/moves:1")
    # One is asked each time, and the other for its five minutes no more.
    assert (told("there"), told("hub")) == (second, first)


def test_what_is_kept_is_pulled_when_the_other_registry_has_counted_enough(deployment: Blobs, theirs: str) -> None:
    image = f"{ADDRESS}/there/{theirs}:1"
    push_there(deployment, "lib/counted:1")
    deployment.host("docker", "pull", image)
    deployment.host("sh", "-c", f"echo 0 > {ASKED}/left")
    try:
        deployment.host("docker", "rmi", image)
        deployment.host("docker", "pull", image)
        refused = deployment.host("docker", "pull", f"{ADDRESS}/there/lib/counted:1", check=False)
        assert "has counted too many pulls, and this is not kept here yet" in refused.stderr
        state = json.loads(deployment.host("cat", "/var/lib/drydock/mirror/state.json").stdout)["there"]
        assert (state["limit"], state["remaining"]) == (100, 0)
    finally:
        deployment.host("sh", "-c", f"echo 100 > {ASKED}/left")
    deployment.until(lambda: deployment.host("docker", "pull", f"{ADDRESS}/there/lib/counted:1", check=False).stdout)


def test_clients_find_the_mirrors_by_the_names_that_images_have_elsewhere(deployment: Blobs, theirs: str) -> None:
    script = deployment.folder / "client.sh"
    given = {
        "registry_client_address": ADDRESS,
        "registry_client_server_ca": deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout,
        "registry_client_runtimes": ["docker", "containerd", "podman"],
        "registry_client_mirrors": [
            {"registry": "docker.io", "name": "hub", "host": f"hub.{ADDRESS}"},
            {"registry": ELSEWHERE, "name": "there"},
        ],
        "registry_client_script_path": str(script),
    }
    deployment.play("client_script.yml", f"--extra-vars={json.dumps(given)}")
    deployment.host("sh", "-s", stdin=script.read_text(encoding="utf-8"))
    own = ("hub.registry.test", ADDRESS)
    deployment.host("sh", "-c", f"echo 127.0.0.1 {' '.join(own)} >> /etc/hosts")
    deployment.host("docker", "logout", ADDRESS)
    asked_there(deployment)
    try:
        login = ("--user", f"admin:{deployment.passwords['admin']}")
        containerd = ("ctr", "images", "pull", "--hosts-dir", "/etc/containerd/certs.d", *login)
        deployment.host(*containerd, f"{ELSEWHERE}/{theirs}:1")
        # Whoever gets this comes through a mirror.
        proof = "docker.io/drydock/mirror/check:1"
        deployment.host(*containerd, proof)
        deployment.host("docker", "pull", proof)
        deployment.host("docker", "pull", f"docker.io/{theirs}:1")
        podman_pulls(deployment, proof)
    finally:
        deployment.host("sh", "-s", "--", "--remove", stdin=script.read_text(encoding="utf-8"))
        assert deployment.login("admin", deployment.passwords["admin"])
    assert not [line for line in asked_there(deployment) if "/drydock/mirror/" in line]


def podman_pulls(deployment: Blobs, image: str) -> None:
    """Pull with podman on this machine, as the host's settings say, by the host's address."""
    configured = deployment.host("cat", "/etc/containers/registries.conf.d/50-drydock-mirror.conf").stdout
    # podman takes no path of over 50 characters for its sockets.
    with tempfile.TemporaryDirectory(prefix="drydock-") as short:
        folder = Path(short)
        (folder / "registries.conf").write_text(configured.replace(ADDRESS, deployment.ip), encoding="ascii")
        (folder / "certificates").mkdir()
        ca = deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout
        (folder / "certificates/ca.crt").write_text(ca, encoding="ascii")
        podman = ("podman", f"--root={short}/root", f"--runroot={short}/run", "--storage-driver=vfs")
        environment = {**os.environ, "CONTAINERS_REGISTRIES_CONF": f"{short}/registries.conf"}
        for command in (("pull", f"--cert-dir={short}/certificates", image), ("rmi", "--all", "--force")):
            done = subprocess.run([*podman, *command], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_the_program_that_asks_other_registries_is_replaced_unnoticed(deployment: Blobs, theirs: str) -> None:
    restart = "for _ in 1 2 3; do systemctl restart drydock-mirror; done"
    with ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(deployment.host, "sh", "-ec", restart)
        statuses = set()
        while not restarted.done():
            statuses.add(
                deployment.nginx(f"/v2/there/{theirs}/manifests/1", "--header", f"Accept: {DOCKER}, {OCI}").status
            )
        restarted.result()
    assert statuses == {200}


@pytest.mark.usefixtures("theirs")
def test_images_are_got_ahead_of_time(deployment: Blobs) -> None:
    _digest, layer = push_there(deployment, "lib/ahead:1")
    deployment.settings["registry_mirror_prefetch"] = ["there/lib/ahead:1"]
    changed = deployment.play("configure.yml", "--tags", "mirror").roles()
    assert changed == {"registry_mirror"}
    assert deployment.host("systemctl", "is-active", "drydock-mirror-prefetch.timer").stdout == "active\n"
    deployment.host("systemctl", "start", "drydock-mirror-prefetch.service")
    asked_there(deployment)
    assert deployment.sent_by_nginx(f"/v2/there/lib/ahead/blobs/{layer}")
    assert asked_there(deployment) == []


@pytest.mark.usefixtures("theirs")
def test_a_second_run_with_mirrors_changes_nothing(deployment: Blobs) -> None:
    assert deployment.play("configure.yml", TOLD).changed == []


def test_what_is_kept_is_pulled_while_the_other_registry_is_away(deployment: Blobs, theirs: str) -> None:
    image = f"{ADDRESS}/there/{theirs}:1"
    deployment.host("docker", "pull", image)
    deployment.host("systemctl", "stop", "elsewhere")
    try:
        deployment.host("docker", "rmi", image)
        deployment.host("docker", "pull", image)
        refused = deployment.host("docker", "pull", f"{ADDRESS}/there/{theirs}:2", check=False)
        assert f"there: http://{ELSEWHERE} does not answer" in refused.stderr
    finally:
        deployment.host("sh", "-ec", ANSWERS)


def test_nginx_sees_what_it_needs_and_writes_its_log(deployment: Blobs) -> None:
    mounts = json.loads(deployment.host("docker", "inspect", "--format={{json .Mounts}}", "drydock-proxy").stdout)
    assert {one["Source"] for one in mounts if one["RW"]} == {"/var/log/drydock"}
    needed = (
        "/etc/drydock/proxy",
        "/etc/drydock/tls",
        "/etc/drydock/auth",
        "/var/lib/drydock/sockets",
        "/var/lib/drydock/passwords",
    )
    stored = ("/var/lib/drydock/registry", "/var/lib/drydock/maintenance", "/var/log/drydock")
    assert {one["Source"] for one in mounts} == {*needed, *stored}


def test_another_name_is_one_switch(deployment: Blobs) -> None:
    """Which names are known belongs to the certificate that is shown, at each moment; the old name stays, since the inventory says so.

    The new one is an IPv6 address, under which the run's own client then uses the registry.
    """
    deployment.host("sysctl", "--write", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.lo.disable_ipv6=0")
    deployment.settings |= {
        "drydock_domain": "::1",
        "registry_tls_names": [ADDRESS],
        # What is another registry's is sent by nginx, which sends nothing itself then.
        "registry_mirror_upstreams": [],
        # What answers have is the registries' to say then.
        "registry_server_config": {"http": {"headers": {"X-Own": ["yes"]}}},
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


def test_with_headers_of_their_own_registries_send_all(deployment: Blobs, blob: str) -> None:
    for path in (blob, f"/v2/{KINDS}/manifests/oci", "/v2/"):
        assert not deployment.sent_by_nginx(path, "--header", f"Accept: {OCI}")
        answer = deployment.nginx(path, "--header", f"Accept: {OCI}")
        assert (answer.status, answer.headers["x-own"]) == (200, "yes")
    mounts = json.loads(deployment.host("docker", "inspect", "--format={{json .Mounts}}", "drydock-proxy").stdout)
    assert "/var/lib/drydock/registry" not in [one["Source"] for one in mounts]


def test_nothing_of_mirrors_is_left_but_the_images(deployment: Blobs) -> None:
    remove = "name=drydock.registry.registry_mirror tasks_from=remove"
    with deployment.ansible(
        "ansible", ADDRESS, "--become", "--module-name=include_role", f"--args={remove}"
    ) as process:
        assert process.communicate(timeout=300)[0], process.returncode
    assert process.returncode == 0
    left = deployment.host("find", "/etc", "/usr/local", "/var/lib/drydock", "-name", "*mirror*").stdout.splitlines()
    assert sorted(left) == [f"/var/lib/drydock/registry/{name}" for name in ("drydock-mirror", "mirrors.json")]
    assert deployment.host("systemctl", "list-units", "--all", "--plain", "--no-legend", "drydock-mirror*").stdout == ""
    assert json.loads(deployment.host("cat", "/var/lib/drydock/registry/mirrors.json").stdout) == ["hub", "there"]
