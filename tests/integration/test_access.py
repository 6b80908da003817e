# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts to get past nginx: users beyond their rights, strangers, clients with certificates that should not count.

One host serves all tests, which run in the order of this file: first with passwords only, then with client certificates in each
mode. What the registry gets is written down on the way, so "refused" means that nothing of a request came through.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from deployment import ADDRESS, MANIFEST_TYPE, RELOAD, WAIT_SECONDS, deployed_hosts
from proxy_host import DAY, PROXY, Answer, Authority, Pair, Site, basic, pem

PAGE = "https://ui.example"
NO_DIGEST = "sha256:" + "0" * 64
NO_UPLOAD = "00000000-0000-4000-8000-000000000000"

USERS: list[dict[str, Any]] = [
    {"name": "admin", "password": "the admin's", "access": "admin", "repositories": ["**"]},
    {"name": "alice", "password": "alice: with a colon", "access": "push", "repositories": ["team-a/*"]},
    {"name": "release", "password": "the pass of release", "access": "create", "repositories": ["team-a/*"]},
    {"name": "bob", "password": "the pass of bob", "access": "pull", "repositories": ["team-b/**", "*/shared"]},
    {"name": "carla", "password": "the pass of carla", "access": "admin", "repositories": ["team-a/**"]},
    {"name": "jörg", "password": "pass of jörg", "access": "pull", "repositories": ["team-a/app"]},
    {"name": "constructor", "password": "pass of constructor", "access": "pull", "repositories": ["nothing"]},
    {"name": "machine", "certificate_only": True, "access": "push", "repositories": ["team-a/*"]},
]
# What that means, written out. Nobody else has any right in these repositories.
RIGHTS = {
    "": {"public/tool": "pull"},
    "admin": dict.fromkeys(
        ("team-a/app", "team-a/shared", "team-a/deep/app", "team-a", "team-b/app", "public/tool", "other"), "admin"
    ),
    "alice": {"team-a/app": "push", "team-a/shared": "push", "public/tool": "pull"},
    "release": {"team-a/app": "create", "team-a/shared": "create", "public/tool": "pull"},
    "bob": {"team-a/shared": "pull", "team-b/app": "pull", "public/tool": "pull"},
    "carla": {"team-a/app": "admin", "team-a/shared": "admin", "team-a/deep/app": "admin", "public/tool": "pull"},
    "jörg": {"team-a/app": "pull", "public/tool": "pull"},
    "constructor": {"public/tool": "pull"},
}
INCLUDED = {
    "": (),
    "pull": ("pull",),
    "create": ("pull", "create"),
    "push": ("pull", "create"),
    "admin": ("pull", "create", "admin"),
}
CALLS = (
    ("GET", "manifests/1", "pull"),
    ("HEAD", "manifests/1", "pull"),
    ("GET", f"manifests/{NO_DIGEST}", "pull"),
    ("GET", f"blobs/{NO_DIGEST}", "pull"),
    ("HEAD", f"blobs/{NO_DIGEST}", "pull"),
    ("GET", "tags/list", "pull"),
    ("GET", f"referrers/{NO_DIGEST}", "pull"),
    ("POST", "blobs/uploads/", "create"),
    ("GET", f"blobs/uploads/{NO_UPLOAD}", "create"),
    ("PATCH", f"blobs/uploads/{NO_UPLOAD}", "create"),
    ("PUT", f"blobs/uploads/{NO_UPLOAD}", "create"),
    ("DELETE", f"blobs/uploads/{NO_UPLOAD}", "create"),
    ("PUT", "manifests/new", "create"),
    ("DELETE", f"manifests/{NO_DIGEST}", "admin"),
    ("DELETE", f"blobs/{NO_DIGEST}", "admin"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the host, on which a registry runs already, and say how it is to be."""
    made = Site(tmp_path_factory.mktemp("access"), "debian12-deployed")
    made.passwords = {user["name"]: user["password"] for user in USERS if "password" in user}
    with deployed_hosts(made):
        made.settings = {
            "registry_auth_users": USERS,
            "registry_auth_anonymous_pull_enabled": True,
            "registry_auth_anonymous_repositories": ["public/**"],
            # For clients outside of the host, which do not know its name.
            "registry_tls_names": [made.ip],
            "registry_proxy_names": [made.ip],
            "registry_proxy_client_certificates": "off",
            "registry_proxy_immutable_tags": STAY,
            "registry_proxy_quotas": QUOTAS,
            "registry_proxy_storage_report": REPORT,
            # There is one on the host so far.
            "registry_proxy_page_enabled": False,
        }
        yield made


@pytest.fixture(scope="module")
def layers(site: Site) -> dict[str, str]:
    """Push an image to some repositories; return the digests of their layers."""
    return {name: site.push(name, "admin") for name in ("team-a/app", "team-b/app", "public/tool")}


def refusal(answer: Answer, status: int, code: str) -> bool:
    """Tell whether an answer refuses as registries do."""
    assert (answer.status, answer.headers["content-type"], answer.code) == (status, "application/json", code), answer
    return True


# ---- the role ------------------------------------------------------------------------------------------------------


def test_nginx_does_not_start_without_the_access_rules(site: Site) -> None:
    site.deploy("--skip-tags=proxy")
    site.start_recorder()
    rules = "/etc/drydock/auth/access.json"
    site.host("mv", rules, "/srv/access.json")
    reason = site.refused("--tags=proxy")
    assert "registry_proxy_access_rules_enabled" in reason
    assert "no /etc/drydock/auth/access.json" in reason
    site.host("mv", "/srv/access.json", rules)


def test_second_run_changes_nothing(site: Site) -> None:
    site.settings["registry_proxy_http_port"] = 80
    site.settings["registry_proxy_cors_origins"] = [PAGE]
    site.settings["registry_proxy_client_networks"] = ["127.0.0.1", str(ip_network(f"{site.ip}/16", strict=False))]
    site.deploy("--tags=proxy")
    before = site.containers()["drydock-proxy"]
    assert site.deploy("--tags=proxy").changed == []
    assert site.containers()["drydock-proxy"] == before
    assert site.code("/healthz") == 200


# ---- who may connect, and from which web pages ----------------------------------------------------------------------


def test_other_networks_are_not_answered(site: Site) -> None:
    def ask(source: str, path: str) -> str:
        origin = ("--interface", source, "--resolve", f"{ADDRESS}:443:127.0.0.1", "--header", f"Origin: {PAGE}")
        return site.curl(path, *origin, user="admin")[-3:]

    with site.recording() as recorded:
        for path in ("/v2/", "/v2/team-a/app/manifests/1", "/v2/_catalog"):
            assert ask("127.0.0.9", path) == "403"
    assert recorded == []
    assert ask("127.0.0.9", "/healthz") == "200"
    assert ask("127.0.0.1", "/v2/") == "200"


@pytest.mark.parametrize("origin", [PAGE, "https://evil.example", f"{PAGE}.evil.example", "null"])
def test_only_listed_origins_may_use_passwords(site: Site, origin: str, layers: dict[str, str]) -> None:
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization",
    }
    listed = origin == PAGE
    with site.recording() as recorded:
        asked = site.answer("/v2/team-a/app/manifests/1", "OPTIONS", headers=asks)
    assert (asked.status, recorded) == (204 if listed else 401, [])
    answers = [
        asked,
        site.answer("/v2/", headers={"Origin": origin}),
        site.answer("/v2/", headers={"Origin": origin}, user="alice"),
        site.answer("/v2/team-b/app/tags/list", headers={"Origin": origin}, user="alice"),
        site.answer(f"/v2/team-a/app/blobs/{layers['team-a/app']}", headers={"Origin": origin}, user="alice"),
    ]
    assert [answer.status for answer in answers[1:]] == [401, 200, 403, 200]
    for answer in answers:
        allowed = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
        assert answer.headers["vary"] == "Origin"
        assert (allowed.get("access-control-allow-origin"), allowed.get("access-control-allow-credentials")) == (
            (origin, "true") if listed else (None, None)
        )
        assert bool(allowed) == listed
    if listed:
        assert "DELETE" in asked.headers["access-control-allow-methods"]
        assert "Authorization" in asked.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/team-a/app/manifests/1", "/v2/team-a/app/tags/list", "/healthz", "/v2/x", "/x"]
)
def test_no_header_comes_twice(site: Site, path: str) -> None:
    for user in ("alice", ""):
        names = [line.partition(":")[0].lower() for line in site.curl(path, user=user).splitlines() if ":" in line]
        assert len(names) > 5
        assert len(names) == len(set(names)), names


# ---- rights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", RIGHTS)
def test_each_right_ends_where_it_should(site: Site, user: str) -> None:
    """Every method on every repository, and what of it the registry got."""
    expected = []
    with site.recording() as recorded, site.connect() as client:
        for repository in RIGHTS["admin"]:
            rights = INCLUDED[RIGHTS[user].get(repository, "")]
            for method, rest, right in CALLS:
                target = f"/v2/{repository}/{rest}"
                answer = client.ask(target, method, site.auth(user))
                if right in rights:
                    # Whoever may not move a tag has it looked at before.
                    looked = rest == "manifests/new" and RIGHTS[user][repository] == "create"
                    expected += [("HEAD", target)] * looked + [(method, target)]
                    assert answer.status not in {401, 403, 405}, (method, target, answer)
                elif method == "HEAD":
                    assert answer.status == (403 if user else 401)
                else:
                    assert refusal(answer, *((403, "DENIED") if user else (401, "UNAUTHORIZED")))
    assert [(one.method, one.target) for one in recorded] == expected


@pytest.mark.parametrize("user", RIGHTS)
def test_catalog_is_for_those_who_may_see_everything(site: Site, user: str) -> None:
    for path in ("/v2/_catalog", "/v2/_catalog?n=1", "/v2/_catalog?last=team-a"):
        assert site.code(path, user=user) == {"": 401, "admin": 200}.get(user, 403)


LIST = "/v2/_drydock/repositories/list"
STATE = "/v2/_drydock/registry/state"


def listed(site: Site, user: str, query: str = "") -> dict[str, Any]:
    """Ask for the repositories that a user may pull."""
    answer = site.answer(f"{LIST}{query}", user=user)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store"), answer
    return dict(json.loads(answer.body))


@pytest.mark.parametrize("user", RIGHTS)
def test_list_has_what_a_user_may_pull(site: Site, user: str, layers: dict[str, str]) -> None:
    """From the report, which spares the registry the question, and from the registry where there is no report that says anything."""
    if not user:
        for path in (LIST, STATE):
            assert refusal(site.answer(path), 401, "UNAUTHORIZED")
        return
    sizes = {name.replace("/", "__"): 3 for name in RIGHTS["admin"]}
    report(site, **sizes)
    with site.recording() as recorded:
        found = listed(site, user)
        assert site.code(STATE, user=user) == (200 if user == "admin" else 403)
    assert recorded == []
    assert (found["user"], found["next"]) == (user, None)
    assert {one["name"]: one["access"] for one in found["repositories"]} == RIGHTS[user]
    assert all((one["size"], one["tags"], one["newest"]) == (3 * KIB, 1, None) for one in found["repositories"])
    for text in ("{", "null", '{"time": "2026-11-30T00:00:00Z"}', ""):
        site.write(REPORT, text)
        found = listed(site, user)
        assert found["time"] is None
        there = {one["name"]: one["access"] for one in found["repositories"] if one["name"] in layers}
        assert there == {name: right for name, right in RIGHTS[user].items() if name in layers}
        assert {one["name"] for one in found["repositories"] if one["name"] in RIGHTS["admin"]} <= set(RIGHTS[user])
    site.host("rm", REPORT)
    assert listed(site, user)["time"] is None
    if user == "admin":
        state = json.loads(site.answer(STATE, user=user).body)
        assert (state["report"], state["certificate_ends"][:2]) == (None, "20")


@pytest.mark.parametrize("reported", [True, False])
def test_list_comes_in_parts_and_is_searched(site: Site, reported: bool, layers: dict[str, str]) -> None:
    if reported:
        report(site, **{f"many__r{i:04}": 1 for i in range(1500)}, **{name.replace("/", "__"): 1 for name in layers})
    names: list[str] = []
    query: str | None = "?n=2" if not reported else "?n=1000"
    while query is not None:
        found = listed(site, "admin", query)
        names += [one["name"] for one in found["repositories"]]
        query = found["next"] and found["next"].removeprefix(LIST)
    assert len(names) == len(set(names))
    assert set(layers) <= set(names)
    assert len(names) >= (1503 if reported else 3)
    assert {one["name"] for one in listed(site, "admin", "?search=AM-B%2Fa")["repositories"]} == {"team-b/app"}
    # Nobody can tell what else there is from what is found, from the number of parts or from where they begin.
    assert listed(site, "bob", "?search=team-a/app")["repositories"] == []
    assert listed(site, "bob", "?n=1&search=many/")["next"] is None
    assert [one["name"] for one in listed(site, "bob", "?last=team-a/zzz")["repositories"]] == ["team-b/app"]
    for wrong in ("n=0", "n=1001", "n=x", "n=1e2", "n=0x9", "n=-1", "n=1.5", "last=../x", "last=A", "n=1&n=2"):
        assert refusal(site.answer(f"{LIST}?{wrong}", user="admin"), 400, "UNSUPPORTED")
    for path in (LIST, STATE):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert refusal(site.answer(path, method, user="admin"), 405, "UNSUPPORTED")
        for other in (path + "/", path.replace("_drydock", "_Drydock"), path.replace("/list", "%2Flist"), "/catalog"):
            if other != path:
                assert refusal(site.answer(other, user="admin"), 404, "UNSUPPORTED")
    if reported:
        site.host("rm", REPORT)


def test_page_can_be_left_out(site: Site) -> None:
    for path in ("/", "/page/page.js", "/page/index.html"):
        assert refusal(site.answer(path), 404, "UNSUPPORTED")
    assert site.host("ls", f"{PROXY}/page", check=False).returncode != 0


@pytest.mark.parametrize("user", RIGHTS)
def test_login_takes_the_right_password(site: Site, user: str) -> None:
    assert site.code("/v2/", user=user) == (200 if user else 401)
    if user:
        for wrong in ("", "wrong", site.passwords[user] + " ", site.passwords[user][:-1], "x" * 5000):
            answer = site.answer("/v2/", headers=basic(user, wrong))
            assert refusal(answer, 401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"] == 'Basic realm="Registry"'


def test_empty_credentials_are_none(site: Site, layers: dict[str, str]) -> None:
    assert layers
    nobody = basic("", "")
    assert site.answer("/v2/public/tool/tags/list", headers=nobody).status == 200
    for target in ("/v2/", "/v2/team-a/app/tags/list", "/v2/_catalog"):
        assert refusal(site.answer(target, headers=nobody), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("name", ["Alice", "alice ", "toString", "__proto__", "", "machine", "nobody"])
def test_other_names_are_nobody(site: Site, name: str) -> None:
    for path in ("/v2/", "/v2/team-a/app/tags/list", "/v2/public/tool/tags/list"):
        assert site.answer(path, headers=basic(name, site.passwords["alice"])).status == 401


def test_password_without_an_entry_in_the_rules_is_worth_nothing(site: Site) -> None:
    """As between the two writes of a run that adds a user."""
    path = "/etc/drydock/auth/htpasswd"
    before = site.host("cat", path).stdout
    hashed = site.host("openssl", "passwd", "-apr1", "right").stdout.strip()
    site.write(path, f"{before}toString:{hashed}\nhasOwnProperty:{hashed}\nnewcomer:{hashed}\n")
    for name in ("newcomer", "toString", "hasOwnProperty"):
        assert site.answer("/v2/", headers=basic(name, "wrong")).status == 401
        for target in ("/v2/", "/v2/team-a/app/tags/list", "/v2/public/tool/tags/list", "/v2/_catalog"):
            assert refusal(site.answer(target, headers=basic(name, "right")), 403, "DENIED")
    site.write(path, before)


# Ways to write a repository that alice may not see, or the catalog.
TARGETS = (
    "/v2/team-b/app/manifests/1",
    "/v2/team-b/app/manifests/1?x=/v2/team-a/app/manifests/1",
    "/v2/team-b/app/manifests/1#/v2/team-a/app/manifests/1",
    "/v2/team-b%2Fapp/manifests/1",
    "/v2/team-b%2fapp/tags/list",
    "/v2/team-b%252Fapp/manifests/1",
    "/v2/%74eam-b/app/manifests/1",
    "/v2/team-b/app%2Fmanifests%2F1",
    "/v2/team-a/../team-b/app/manifests/1",
    "/v2/team-a/%2e%2e/team-b/app/manifests/1",
    "/v2/team-a/.%2e/team-b/app/manifests/1",
    "/v2/team-a/..%2fteam-b/app/manifests/1",
    "/v2/team-a/..%252fteam-b/app/manifests/1",
    "/v2/team-a/%252e%252e/team-b/app/manifests/1",
    "/v2/team-a/app/manifests/../../../team-b/app/manifests/1",
    "/v2/team-a/app/manifests/1/../../../../team-b/app/manifests/1",
    "/v2/team-a/app/blobs/uploads/../../../../team-b/app/manifests/1",
    "/v2/./team-b/app/manifests/1",
    "/v2//team-b/app/manifests/1",
    "//v2/team-b/app/manifests/1",
    "/v2/team-b//app/manifests/1",
    "/v2/team-b/app//manifests/1",
    "/v2/team-a/app/..;/..;/team-b/app/manifests/1",
    "/v2/team-a/app;/../../team-b/app/manifests/1",
    "/v2/team-b/app;x=1/manifests/1",
    "/v2/team-b/app/manifests/1;/v2/team-a/app",
    "/v2/team-a\\..\\team-b/app/manifests/1",
    "/v2/team-a/..%5cteam-b/app/manifests/1",
    "/v2/team-a/..%c0%afteam-b/app/manifests/1",
    "/v2/TEAM-B/app/manifests/1",
    "/v2/Team-b/app/manifests/1",
    "/V2/team-b/app/manifests/1",
    "/%76%32/team-b/app/manifests/1",
    "/v2/team-b/app/manifests/1/",
    "/v2/team-b/app/Manifests/1",
    "/v2/team-b/app/manifests/1%00",
    "/v2/team-b/app/manifests/%31",
    "/v2/team-b/app%20/manifests/1",
    "/v2/team-b/app%0d%0aX-Injected:%201/manifests/1",
    "/v2/team-b/app/manifests/1%",
    "/v2/team-b/app/manifests/%zz",
    "/v2/registry.test/team-b/app/manifests/1",
    "/v2/localhost:443/team-b/app/manifests/1",
    "/v2/team-a/app/tags/list/../../../../team-b/app/tags/list",
    "/v2/team-b/app/tags/list?n=1",
    f"/v2/team-b/app/referrers/{NO_DIGEST}?artifactType=x",
    "/v2/_catalog",
    "/v2/_catalog/",
    "/v2/%5Fcatalog",
    "/v2/team-a/../_catalog",
    "/v2//_catalog",
    "/healthz/../v2/_catalog",
    "/healthz/..%2fv2/_catalog",
    "/v2/%2e./healthz/../v2/_catalog",
    "https://registry.test/v2/team-b/app/manifests/1",
    "https://registry.test/v2/team-a/../team-b/app/manifests/1",
    "https://alice@registry.test/v2/team-b/app/manifests/1",
    "http://registry.test:443/v2/_catalog",
    "/v2/" + "team-a/" * 40 + "app/tags/list",
    "/v2/team-a/" + "a" * 250 + "/tags/list",
    "/v2/team-a/app/manifests/" + "a" * 129,
    "/v2/team-a/app/manifests/.hidden",
    "/v2/team-a/app/blobs/sha256:0",
    "/v2/team-a/app/blobs/uploads/..",
    "/v2/team-a/app/blobs/uploads/%2e%2e",
    "/v2/team-a/app/blobs/uploads",
)


@pytest.mark.parametrize("user", ["", "alice", "bob"])
def test_other_repositories_are_out_of_reach_however_they_are_written(
    site: Site, layers: dict[str, str], user: str
) -> None:
    theirs = "team-a" if user == "bob" else "team-b"
    targets = [target.replace("team-b", theirs) for target in TARGETS if user != "bob" or "team-a" not in target]
    targets.append(f"/v2/{theirs}/app/blobs/{layers[f'{theirs}/app']}")
    with site.recording() as recorded, site.connect() as client:
        for target in targets:
            for method, headers in (("GET", {}), ("GET", {"Range": "bytes=0-3"}), ("HEAD", {})):
                answer = client.ask(target, method, {**site.auth(user), **headers})
                assert answer.status in ({400, 403, 404} if user else {400, 401, 404}), (method, target, answer)
    assert recorded == []


def test_only_the_grammar_gets_through_even_for_admin(site: Site) -> None:
    """What is refused to everybody cannot mean one thing to nginx and another to the registry."""
    plain = ("/v2/team-b/app/manifests/1", "/v2/team-b/app/tags/list?n=1", "/v2/_catalog", "https://registry.test/v2/")
    known = (*plain, f"/v2/team-b/app/referrers/{NO_DIGEST}?artifactType=x")
    odd = [
        target
        for target in TARGETS
        if target not in known and "?x=" not in target and "registry.test/v2/team-b" not in target
    ]
    with site.recording() as recorded, site.connect() as client:
        for target in odd:
            if not target.startswith(("/v2/registry.test/", "http://registry.test:443/v2/_catalog")):
                assert client.ask(target, headers=site.auth("admin")).status in {400, 404}, target
    assert recorded == []


def test_what_was_read_is_what_is_passed_on(site: Site) -> None:
    state = "abc_DEF-123" * 60 + "%3D%3D"
    upload = f"/v2/team-a/app/blobs/uploads/{NO_UPLOAD}"
    cases = {
        f"/v2/team-a/app/blobs/sha256%3a{'0' * 64}": f"/v2/team-a/app/blobs/{NO_DIGEST}",
        "/v2/team-a/app/tags/list?n=10&last=v1.0&ns=docker.io": "/v2/team-a/app/tags/list?n=10&last=v1.0",
        "/v2/team-a/app/manifests/1?ns=docker.io&x=1": "/v2/team-a/app/manifests/1",
        f"{upload}?_state={state}&digest=sha256%3A{'0' * 64}": f"{upload}?_state={state}&digest=sha256%3A{'0' * 64}",
        f"{upload}?digest={NO_DIGEST}&_state={state}": f"{upload}?digest={NO_DIGEST}&_state={state}",
        f"https://{ADDRESS}/v2/team-a/app/tags/list": "/v2/team-a/app/tags/list",
        f"/v2/team-a/app/referrers/{NO_DIGEST}?artifactType=application/vnd.x%2Bjson": (
            f"/v2/team-a/app/referrers/{NO_DIGEST}?artifactType=application/vnd.x%2Bjson"
        ),
    }
    with site.recording() as recorded, site.connect() as client:
        for target in cases:
            assert client.ask(target, headers=site.auth("alice")).status not in {401, 403}
    assert [one.target for one in recorded] == list(cases.values())


@pytest.mark.parametrize(
    "query", ["n=1&n=2", "n=1;last=x", "n", "n=%zz", "n=1%", "n=<x>", "n=1&last=a&last=b", "=1", "n=1&%00=2", "n=1 2"]
)
def test_ambiguous_queries_are_refused(site: Site, query: str) -> None:
    with site.recording() as recorded:
        assert site.code(f"/v2/team-a/app/tags/list?{query}", user="alice") == 400
    assert recorded == []


# ---- mounts --------------------------------------------------------------------------------------------------------


def mounts(digest: str) -> dict[str, tuple[str, dict[str, str], bytes]]:
    """Ways to ask for a blob of team-b: the query, the headers, the body."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"mount={digest}&from=team-b/app".encode()
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    multipart = (part.format("mount", digest) + part.format("from", "team-b/app") + "--x--\r\n").encode()
    return {
        "plain": (f"mount={digest}&from=team-b/app", {}, b""),
        "encoded value": (f"mount={digest.replace(':', '%3A')}&from=team-b%2Fapp", {}, b""),
        "encoded letters": (f"mount={digest}&from=%74eam-b/app", {}, b""),
        "encoded keys": (f"%6dount={digest}&%66rom=team-b/app", {}, b""),
        "one encoded key": (f"mount={digest}&%66rom=team-b/app", {}, b""),
        "twice": (f"mount={digest}&from=team-a/app&from=team-b/app", {}, b""),
        "twice, other order": (f"mount={digest}&from=team-b/app&from=team-a/app", {}, b""),
        "second encoded": (f"mount={digest}&from=team-a/app&%66rom=team-b/app", {}, b""),
        "first encoded": (f"mount={digest}&%66rom=team-b/app&from=team-a/app", {}, b""),
        "semicolon": (f"mount={digest};from=team-b/app", {}, b""),
        "semicolon in a value": (f"mount={digest}&from=team-a/app;from=team-b/app", {}, b""),
        "upper case": (f"mount={digest}&from=TEAM-B/app", {}, b""),
        "upper case keys": (f"MOUNT={digest}&FROM=team-b/app", {}, b""),
        "blank": (f"mount={digest}&from=+team-b/app", {}, b""),
        "dots": (f"mount={digest}&from=team-a/../team-b/app", {}, b""),
        "double encoded": (f"mount={digest}&from=team-b%252Fapp", {}, b""),
        "nul": (f"mount={digest}&from=team-b/app%00", {}, b""),
        "form": ("", form, body),
        "form with a charset": ("", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body),
        "form and query": (f"mount={digest}&from=team-a/app", form, b"from=team-b/app"),
        "two types": ("", {**form, "content-type": "text/plain"}, body),
        "multipart": ("", {"Content-Type": "multipart/form-data; boundary=x"}, multipart),
    }


@pytest.mark.parametrize("way", mounts(NO_DIGEST))
def test_blobs_of_other_repositories_cannot_be_mounted(site: Site, layers: dict[str, str], way: str) -> None:
    digest = layers["team-b/app"]
    query, headers, body = mounts(digest)[way]
    target = f"/v2/team-a/app/blobs/uploads/{'?' if query else ''}{query}"
    with site.recording() as recorded:
        answer = site.answer(target, "POST", user="alice", headers=headers, body=body)
    assert answer.status in {202, 400}, answer
    for one in recorded:
        assert "team-b" not in one.target
        assert one.headers["content-type"] == "application/octet-stream"
    assert site.code(f"/v2/team-a/app/blobs/{digest}", user="alice") == 404


def test_blobs_of_own_and_public_repositories_can_be_mounted(site: Site, layers: dict[str, str]) -> None:
    for source, user, target in (("team-a/app", "alice", "team-a/new"), ("public/tool", "alice", "team-a/new")):
        digest = layers[source]
        for query in (
            f"mount={digest}&from={source}",
            f"from={source.replace('/', '%2F')}&mount={digest.replace(':', '%3A')}",
        ):
            answer = site.answer(f"/v2/{target}/blobs/uploads/?{query}", "POST", user=user)
            assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
        assert site.code(f"/v2/{target}/blobs/{digest}", user=user) == 200
    # The right to push somewhere is none to read there.
    assert site.code(f"/v2/team-a/new/blobs/uploads/?mount={digest}&from=team-a/app", "POST", user="bob") == 403


# ---- tags that stay ------------------------------------------------------------------------------------------------

STAY = [{"repositories": ["team-a/*"], "tags": ["v*"], "except_tags": ["v0*"]}]
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def manifest(site: Site, layers: dict[str, str]) -> bytes:
    """A manifest of team-a/app. With blanks at its end it is another one."""
    assert layers
    return site.answer("/v2/team-a/app/manifests/1", user="admin").body


def digest_of(body: bytes) -> str:
    """Return the digest of a manifest."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def put(site: Site, user: str, reference: str, body: bytes, kind: str = MANIFEST_TYPE) -> Answer:
    """Push a manifest to team-a/app."""
    headers = {"Content-Type": kind}
    return site.answer(f"/v2/team-a/app/manifests/{reference}", "PUT", user=user, headers=headers, body=body)


def send(site: Site, target: str, body: bytes, method: str = "PATCH", user: str = "admin", **headers: str) -> Answer:
    """Send a body as chunks, without a length."""
    sent = {"Host": ADDRESS, "Transfer-Encoding": "chunked", **site.auth(user), **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    with site.connect() as client:
        return client.raw("\r\n".join(lines).encode() + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n", method)


def led_to(site: Site, tag: str) -> str:
    """Return the digest that a tag of team-a/app has."""
    accept = {"Accept": f"{INDEX_TYPE}, {MANIFEST_TYPE}"}
    return site.answer(f"/v2/team-a/app/manifests/{tag}", "HEAD", user="admin", headers=accept).headers[
        "docker-content-digest"
    ]


@pytest.mark.parametrize(
    ("user", "tag", "stays"),
    [
        ("release", "r1", True),
        ("release", "index", True),
        ("alice", "a1", False),
        ("alice", "v0.1", False),
        ("alice", "v1", True),
        ("alice", "v-index", True),
        ("admin", "v2", True),
    ],
)
def test_tags_that_stay(site: Site, manifest: bytes, user: str, tag: str, stays: bool) -> None:
    kind, first, second = MANIFEST_TYPE, manifest, manifest + b" "
    if "index" in tag:
        # The second has another child.
        kind = INDEX_TYPE
        first, second = (
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX_TYPE,
                    "manifests": [{"mediaType": MANIFEST_TYPE, "digest": digest_of(body), "size": len(body)}],
                }
            ).encode()
            for body in (first, second)
        )
        assert put(site, user, digest_of(manifest + b" "), manifest + b" ").status == 201
    for _ in range(2):
        done = put(site, user, tag, first, kind)
        assert (done.status, done.headers["docker-content-digest"]) == (201, digest_of(first))
        assert done.headers["location"] == f"https://{ADDRESS}/v2/team-a/app/manifests/{digest_of(first)}"
    # By its digest, it moves no tag.
    assert put(site, user, digest_of(second), second, kind).status == 201
    assert led_to(site, tag) == digest_of(first)
    with site.recording() as recorded:
        moved = put(site, user, tag, second, kind)
        if stays:
            again = send(site, f"/v2/team-a/app/manifests/{tag}", second, "PUT", user, **{"Content-Type": kind})
            assert (again.status, again.body) == (moved.status, moved.body)
    if stays:
        assert refusal(moved, 403, "DENIED")
        assert f"the tag team-a/app:{tag} exists, with {digest_of(first)}" in moved.body.decode()
        assert {one.method for one in recorded} == {"HEAD"}
    assert (moved.status, led_to(site, tag)) == ((403, digest_of(first)) if stays else (201, digest_of(second)))


def test_what_the_registry_says_of_a_manifest_arrives(site: Site, manifest: bytes) -> None:
    missing = json.loads(manifest)
    missing["layers"] = [{**missing["layers"][0], "digest": digest_of(str(n).encode())} for n in range(100)]
    answer = put(site, "release", "r2", json.dumps(missing).encode())
    assert answer.status == 400
    assert [one["code"] for one in json.loads(answer.body)["errors"]] == ["MANIFEST_BLOB_UNKNOWN"] * 100
    assert put(site, "release", "r2", b"").code == "MANIFEST_INVALID"
    large = manifest + b" " * 4 * 2**20
    with site.recording() as recorded:
        assert refusal(put(site, "release", "r2", large), 413, "MANIFEST_INVALID")
        assert send(site, "/v2/team-a/app/manifests/r2", large, "PUT", "release").status == 413
    assert recorded == []
    assert site.code("/v2/team-a/app/manifests/r2", user="release") == 404


def test_first_of_two_pushes_wins(site: Site, manifest: bytes) -> None:
    """The recorder holds what is to be written, so that all are under way at once; the first one's client even goes away."""
    bodies = [manifest + b" " * n for n in range(5)]
    answers: list[tuple[bytes, Answer]] = []

    def push(body: bytes) -> None:
        answers.append((body, put(site, "release", "r3", body)))

    threads = [threading.Thread(target=push, args=(body,)) for body in bodies[1:]]
    with site.holding() as written:
        with site.connect() as gone:
            lines = (
                f"PUT /v2/team-a/app/manifests/r3 HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Length: {len(manifest)}\r\n"
            )
            lines += f"Content-Type: {MANIFEST_TYPE}\r\nAuthorization: {site.auth('release')['Authorization']}\r\n\r\n"
            gone.socket.sendall(lines.encode() + bodies[0])
            written()
        for thread in threads:
            thread.start()
        # Time for those who would not wait.
        time.sleep(1)
        assert written() == 1
    for thread in threads:
        thread.join()
    assert [refusal(answer, 403, "DENIED") for _, answer in answers] == [True] * 4
    assert led_to(site, "r3") == digest_of(bodies[0])


def test_who_may_create_overtakes_nobody_who_may_push(site: Site, manifest: bytes) -> None:
    """A first push that takes long does not move the tag that somebody else has pushed meanwhile."""
    moved = manifest + b" "
    with ThreadPoolExecutor() as pool:
        with site.holding() as written:
            created = pool.submit(put, site, "release", "r4", manifest)
            written()
            pushed = pool.submit(put, site, "alice", "r4", moved)
            # Time for one who would not wait.
            time.sleep(1)
            assert written() == 1
        assert (created.result().status, pushed.result().status) == (201, 201)
    assert led_to(site, "r4") == digest_of(moved)


# ---- quotas --------------------------------------------------------------------------------------------------------

QUOTAS = [
    {"namespaces": ["home/*"], "quota_gib": 1 / 1024},
    # The same namespace once more, whose bytes count once all the same.
    {"namespaces": ["home/alice"], "quota_gib": 1},
    {"repositories": ["team-a/small", "big/**"], "quota_gib": 1 / 1024},
]
REPORT = "/srv/report/report.json"
KIB = 1024


def report(site: Site, minutes: float = 0, **sizes: int) -> None:
    """Write a storage report that was made so many minutes from now, with sizes in KiB."""
    made = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    repositories = {name.replace("__", "/"): {"size": size * KIB, "tags": 1} for name, size in sizes.items()}
    text = {"time": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "seconds": 2.5, "repositories": repositories, "largest": []}
    site.write(REPORT, json.dumps(text))


def upload(site: Site, repository: str) -> str:
    """Begin an upload as the admin; return its path and query, or the sentence of the refusal."""
    begun = site.answer(f"/v2/{repository}/blobs/uploads/", "POST", user="admin")
    if begun.status == 202:
        return begun.headers["location"].partition(ADDRESS)[2]
    assert refusal(begun, 403, "DENIED")
    return str(json.loads(begun.body)["errors"][0]["message"])


def test_upload_above_a_quota_is_refused_when_it_begins(site: Site, layers: dict[str, str], manifest: bytes) -> None:
    # Nobody counts them but the report.
    report(site, home__alice__app=900, home__alice=50, home__alicia=5000, home__bob__deep__app=2000)
    assert "home/bob/ holds 2.0 MiB of its quota of 1.0 MiB" in upload(site, "home/bob")
    target = upload(site, "home/alice/new")
    assert target.startswith("/v2/")
    # 900 and 50 KiB are there. What announces more than what is left does not begin; what announces nothing does, and counts.
    with site.recording() as recorded:
        for method, path in (
            ("PATCH", target),
            ("PUT", f"{target}&digest={NO_DIGEST}"),
            ("POST", "/v2/home/alice/x/blobs/uploads/"),
        ):
            answer = site.answer(path, method, user="admin", body=b"x" * 75 * KIB)
            assert refusal(answer, 403, "DENIED")
            assert (
                "home/alice/ holds 950.0 KiB of its quota of 1.0 MiB, and 75.0 KiB more do not fit"
                in answer.body.decode()
            )
    assert recorded == []
    layer = b"y" * 130 * KIB
    done = send(site, target, layer)
    assert done.status == 202
    assert "home/alice/ holds 1.1 MiB of its quota of 1.0 MiB, and more does not fit" in upload(site, "home/alice/app")
    query = f"mount={layers['public/tool']}&from=public/tool"
    with site.recording() as recorded:
        for path in (
            f"/v2/home/alice/app/blobs/uploads/?{query}",
            f"/v2/home/alice/app/blobs/uploads/?digest={NO_DIGEST}",
        ):
            assert refusal(site.answer(path, "POST", user="admin"), 403, "DENIED")
        assert refusal(send(site, target, b"more"), 403, "DENIED")
        large = manifest + b" " * 64 * KIB
        for reference in ("1", digest_of(large)):
            path = f"/v2/home/alice/app/manifests/{reference}"
            assert refusal(site.answer(path, "PUT", user="admin", body=large), 403, "DENIED")
            assert refusal(send(site, path, manifest, "PUT"), 403, "DENIED")
    assert recorded == []
    # What has been sent may be finished, read and deleted; other namespaces and repositories do not notice.
    target = done.headers["location"].partition(ADDRESS)[2]
    done = site.answer(f"{target}&digest={digest_of(layer)}", "PUT", user="admin")
    assert done.status == 201
    blob = f"/v2/home/alice/new/blobs/{digest_of(layer)}"
    assert site.code(blob, user="admin") == 200
    assert site.code("/v2/home/alice/app/manifests/1", "PUT", user="admin") == 400
    assert site.code(blob, "DELETE", user="admin") == 202
    for other in ("home/carol/app", "home", "homes/alice", "team-b/app"):
        assert upload(site, other).startswith("/v2/")


def test_what_was_pushed_counts_until_the_next_report(site: Site) -> None:
    report(site)
    # None of this reaches a registry.
    for user, password in (("admin", "wrong"), ("alice", site.passwords["alice"]), ("nobody", "x")):
        path = f"/v2/big/app/blobs/uploads/{NO_UPLOAD}"
        assert site.answer(path, "PATCH", headers=basic(user, password), body=b"x" * 600 * KIB).status in {401, 403}
    with ThreadPoolExecutor() as pool:
        targets = list(pool.map(lambda name: upload(site, name), ["big/app", "big/deep/app", "team-a/small"]))
        answers = list(pool.map(lambda target: send(site, target, b"x" * 320 * KIB), targets))
    assert [answer.status for answer in answers] == [202] * 3
    # Counted in blocks of 64 KiB.
    quota = "team-a/small, big/** holds 1.1 MiB of its quota of 1.0 MiB"
    assert quota in upload(site, "big/other")
    # Where there is no report, or none that says anything, it is all that counts.
    for text in (
        "",
        "{",
        '{"time": "now", "seconds": 1, "repositories": {}}',
        '{"repositories": {"big/app": {"size": "x"}}}',
    ):
        site.write(REPORT, text)
        assert quota in upload(site, "big/app")
    site.host("rm", REPORT)
    assert quota in upload(site, "big/app")
    # The next report has it. Before it, in its time, nothing else was pushed.
    report(site, 10, big__app=100, big__deep__app=200, team_a__small=300)
    assert upload(site, "big/app").startswith("/v2/")
    report(site, 10, **{"big__app": 700, "team-a__small": 400})
    assert "holds 1.1 MiB" in upload(site, "team-a/small")


# ---- what a request claims -----------------------------------------------------------------------------------------

PASSED_ON = {
    *(
        "host",
        "x-forwarded-proto",
        "x-forwarded-for",
        "x-real-ip",
        "x-request-id",
        "referer",
        "user-agent",
        "accept",
        "content-type",
    ),
    *("content-length", "transfer-encoding", "content-range", "range", "if-range", "if-match", "if-none-match"),
    "if-modified-since",
}


def test_claims_of_a_client_never_reach_the_registry(site: Site) -> None:
    claims = {
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "80",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Ssl": "off",
        "X-Forwarded-Client-Cert": "By=x",
        "X-Real-IP": "192.0.2.1",
        "X-Remote-User": "admin",
        "X-User": "admin",
        "Remote-User": "admin",
        "X-SSL-Client-S-DN": "CN=admin",
        "X-SSL-Client-Verify": "SUCCESS",
        "X-Client-Cert": "x",
        "SSL-Client-Cert": "x",
        "Forwarded": "host=evil.example;proto=http",
        "X-Original-URL": "/v2/team-b/app/manifests/1",
        "X-Rewrite-URL": "/v2/team-b/app/manifests/1",
        "X-HTTP-Method-Override": "DELETE",
        "Cookie": "a=b",
        "Connection": "keep-alive, X-Forwarded-Proto, Host",
        "Proxy-Authorization": "Basic x",
        "Upgrade": "websocket",
        "X-Request-Id": "mine",
        "Referer": "mine",
    }
    with site.recording() as recorded:
        answer = site.answer("/v2/team-a/app/blobs/uploads/", "POST", user="alice", headers=claims)
    assert answer.status == 202
    assert answer.headers["location"].startswith(f"https://{ADDRESS}/v2/team-a/app/blobs/uploads/")
    (one,) = recorded
    assert set(one.headers) <= PASSED_ON
    assert (one.headers["host"], one.headers["x-forwarded-proto"]) == (ADDRESS, "https")
    assert not {"192.0.2.1", "mine"} & set(one.headers.values())
    # By this name the request is found in each log.
    assert one.headers["referer"] == one.headers["x-request-id"] == answer.headers["x-request-id"]


def test_what_a_client_needs_does_reach_the_registry(site: Site, layers: dict[str, str]) -> None:
    types = ["application/vnd.oci.image.manifest.v1+json", MANIFEST_TYPE]
    accepts = [("Accept", name) for name in types]
    with site.recording() as recorded, site.connect() as client:
        answer = client.ask("/v2/team-a/app/manifests/1", headers=[*accepts, *site.auth("alice").items()])
        assert (answer.status, answer.headers["content-type"]) == (200, MANIFEST_TYPE)
        ranged = {**site.auth("alice"), "Range": "bytes=0-4"}
        part = client.ask(f"/v2/team-a/app/blobs/{layers['team-a/app']}", headers=ranged)
        assert (part.status, part.body) == (206, b"layer")
    assert recorded[0].headers["accept"] == ", ".join(types)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:443", "registry.test.evil.example", "10.0.0.1", "x", "[::1]"]
)
def test_other_hosts_are_not_served(site: Site, host: str) -> None:
    with site.recording() as recorded, site.connect() as client:
        for target in ("/v2/team-a/app/blobs/uploads/", f"https://{host}/v2/team-a/app/blobs/uploads/"):
            assert refusal(client.ask(target, "POST", site.auth("alice"), host=host), 421, "UNSUPPORTED")
        # A load balancer asks an address.
        assert client.ask("/healthz", host=host).status == 200
        moved = client.ask("/v2", host=host)
        assert (moved.status, moved.headers["location"]) == (308, "/v2/")
    assert recorded == []


def test_addresses_in_answers_are_those_of_a_known_host(site: Site) -> None:
    path = "/v2/team-a/app/blobs/uploads/"
    with site.connect() as client:
        for target, host, expected in (
            (path, "REGISTRY.test", ADDRESS),
            (path, f"{ADDRESS}:8443", f"{ADDRESS}:8443"),
            (path, site.ip, site.ip),
            (f"https://{ADDRESS}{path}", "evil.example", ADDRESS),
        ):
            answer = client.ask(target, "POST", site.auth("alice"), host=host)
            assert answer.status == 202, (target, host, answer)
            assert answer.headers["location"].startswith(f"https://{expected}{path}")


def test_nginx_answers_what_is_no_request(site: Site) -> None:
    known = f"Host: {ADDRESS}\r\nAuthorization: {site.auth('alice')['Authorization']}\r\n"
    own = "/v2/team-a/app/tags/list"
    cases = {
        f"GET {own} HTTP/1.0\r\n{known}\r\n": {200},
        f"GET {own} HTTP/1.1\r\n\r\n": {400},
        f"GET {own}\r\n": {0, 400},
        f"GET {own} HTTP/2.0\r\n{known}\r\n": {400, 505},
        f"get {own} HTTP/1.1\r\n{known}\r\n": {400},
        f"PROPFIND {own} HTTP/1.1\r\n{known}\r\n": {405},
        f"OPTIONS {own} HTTP/1.1\r\n{known}\r\n": {405},
        f"TRACE {own} HTTP/1.1\r\n{known}\r\n": {405},
        f"MOVE {own} HTTP/1.1\r\n{known}Destination: /v2/x\r\n\r\n": {405},
        f"CONNECT {ADDRESS}:443 HTTP/1.1\r\n{known}\r\n": {400, 405},
        f"OPTIONS * HTTP/1.1\r\n{known}\r\n": {400, 404, 405},
        f"GET /v2/\0 HTTP/1.1\r\n{known}\r\n": {400},
        f"GET {own}?{'n' * 40000} HTTP/1.1\r\n{known}\r\n": {0, 414},
        f"GET {own} HTTP/1.1\r\n{known}X: {'y' * 40000}\r\n\r\n": {400},
        f"GET {own} HTTP/1.1\r\n{known}Authorization: Basic eDp4\r\n\r\n": {400},
        f"GET {own} HTTP/1.1\r\n{known}Host: evil.example\r\n\r\n": {400},
        f"GET {own} HTTP/1.1\r\n{known}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": {400},
        f"GET {own} HTTP/1.1\r\nHost: {ADDRESS}\r\nAuthorization: Bearer abc\r\n\r\n": {401},
        f"GET {own} HTTP/1.1\r\nHost: {ADDRESS}\r\nAuthorization: Basic !!!\r\n\r\n": {401},
        f"GET {own} HTTP/1.1\r\nHost: {ADDRESS}\r\nAuthorization:\r\n\r\n": {401},
        f"GET {own} HTTP/1.1\r\nHost: {ADDRESS}\r\nAuthorization : {known.split()[-2]} x\r\n\r\n": {400, 401},
    }
    with site.recording() as recorded:
        for request, statuses in cases.items():
            with site.connect() as client:
                answer = client.raw(request.encode())
            assert answer.status in statuses, request[:120]
            assert answer.status in {0, 200} or answer.code, answer
    assert [one.target for one in recorded] == [own]


def test_encrypted_port_speaks_nothing_else(site: Site) -> None:
    with socket.create_connection((site.ip, 443), timeout=20) as plain:
        plain.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode())
        assert b" 400 " in plain.recv(4096).split(b"\r\n")[0]


def test_port_80_shows_proofs_and_leads_on(site: Site) -> None:
    folder = "/var/lib/drydock/acme/.well-known/acme-challenge"
    site.host(
        "sh",
        "-c",
        f"mkdir -p {folder} && printf proof > {folder}/tok-EN_1 && ln -s /etc/drydock/proxy/nginx.conf {folder}/x",
    )

    def ask(target: str, host: str = ADDRESS) -> tuple[bytes, bytes, bytes]:
        with socket.create_connection((site.ip, 80), timeout=20) as plain:
            plain.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            text = b"".join(iter(lambda: plain.recv(65536), b""))
        head, _, body = text.partition(b"\r\n\r\n")
        location = [line.partition(b": ")[2] for line in head.split(b"\r\n") if line.startswith(b"Location")]
        return head.split()[1], location[0] if location else b"", body

    assert ask("/.well-known/acme-challenge/tok-EN_1") == (b"200", b"", b"proof")
    assert ask("/.well-known/acme-challenge/none")[0] == b"404"
    assert ask("/.well-known/acme-challenge/tok-EN_1", "evil.example")[2] == b"proof"
    for target in (
        "/v2/",
        "/v2/_catalog?n=1",
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/a.b",
        "/healthz",
    ):
        assert ask(target, "evil.example")[:2] == (b"308", f"https://{ADDRESS}{target}".encode())
    # A link of root's to a file that nginx can read is the one way to it.
    site.host("rm", f"{folder}/x")
    assert ask("/.well-known/acme-challenge/../../../../etc/drydock/proxy/nginx.conf")[0] in {b"400", b"308"}


# ---- real clients --------------------------------------------------------------------------------------------------


def local(*command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a client on this machine."""
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)


def docker_uses(site: Site, pair: Pair | None, user: str) -> None:
    """Log in where there is a user, push to team-a, pull it again, and fail to push to team-b."""
    site.give_docker(pair)
    image, theirs = (f"{ADDRESS}/{team}/docker:1" for team in ("team-a", "team-b"))
    script = 'tar --create --directory /etc hostname | docker import - "$1" && docker tag "$1" "$2"'
    site.host("sh", "-c", script, "sh", image, theirs)
    if user:
        login = ("login", "--username", user, "--password-stdin", ADDRESS)
        if site.settings["registry_proxy_client_certificates"] != "required":
            assert site.docker(*login, stdin="wrong", check=False).returncode != 0
        site.docker(*login, stdin=site.passwords[user])
    site.docker("push", image)
    denied = site.docker("push", theirs, check=False)
    assert denied.returncode != 0
    assert "denied" in denied.stderr
    site.docker("rmi", image, theirs)
    site.docker("pull", image)
    site.docker("rmi", image)
    site.docker("logout", ADDRESS)
    site.give_docker(None)
    assert site.docker("pull", image, check=False).returncode != 0


def skopeo_and_podman_use(site: Site, pair: Pair | None, user: str) -> None:
    """Look at what is allowed and at what is not, and pull it."""
    folder = site.client_folder(pair)
    auth = folder / "auth.json"
    own, theirs = f"{site.ip}/team-a/app:1", f"{site.ip}/team-b/app:1"
    client = (f"--cert-dir={folder}", f"--authfile={auth}")
    auth.write_text("{}", encoding="ascii")
    # podman takes no path of over 50 characters for its sockets.
    with tempfile.TemporaryDirectory(prefix="drydock-") as short:
        podman = ("podman", "--root", folder / "root", "--runroot", short, "--storage-driver", "vfs")
        if user:
            login = (*podman, "login", *client, "--username", user, "--password-stdin", site.ip)
            done = local(*login, stdin=site.passwords[user])
            assert done.returncode == 0, done.stderr
        seen = local("skopeo", "inspect", *client, f"docker://{own}")
        assert seen.returncode == 0, seen.stderr
        hidden = local("skopeo", "inspect", *client, f"docker://{theirs}")
        assert hidden.returncode != 0
        assert "denied" in hidden.stderr
        pulled = local(*podman, "pull", *client, own)
        assert pulled.returncode == 0, pulled.stderr
        local(*podman, "rmi", "--all", "--force")


def tags_stay(site: Site) -> None:
    """See what clients say to a user who may not move a tag."""
    images = [f"{ADDRESS}/team-a/docker:{tag}" for tag in ("d1", "d2")]
    script = 'tar --create --directory /etc "$1" | docker import - "$2"'
    site.docker("login", "--username", "release", "--password-stdin", ADDRESS, stdin=site.passwords["release"])
    for source, image in zip(("hostname", "hosts"), images, strict=True):
        site.host("sh", "-c", script, "sh", source, image)
        site.docker("push", image)
    site.docker("tag", *images)
    moved = site.docker("push", images[1], check=False)
    assert moved.returncode != 0
    assert "denied: the tag team-a/docker:d2 exists" in moved.stderr
    site.docker("rmi", *images)
    site.docker("logout", ADDRESS)

    cert = f"--cert-dir={site.client_folder(None)}"
    creds = f"--creds=release:{site.passwords['release']}"
    first, second = (f"{site.ip}/team-a/docker:{tag}" for tag in ("d1", "d2"))
    secrets = (f"--src-{cert[2:]}", f"--dest-{cert[2:]}", f"--src-{creds[2:]}", f"--dest-{creds[2:]}")
    copied = local("skopeo", "copy", *secrets, f"docker://{first}", f"docker://{second}")
    assert copied.returncode != 0
    assert "the tag team-a/docker:d2 exists" in copied.stderr
    with tempfile.TemporaryDirectory(prefix="drydock-") as short:
        podman = ("podman", "--root", site.folder / "root", "--runroot", short, "--storage-driver", "vfs")
        pulled = local(*podman, "pull", cert, creds, first)
        assert pulled.returncode == 0, pulled.stderr
        pushed = local(*podman, "push", cert, creds, first, f"docker://{second}")
        assert pushed.returncode != 0
        assert "the tag team-a/docker:d2 exists" in pushed.stderr
        new = local(*podman, "push", cert, creds, first, f"docker://{site.ip}/team-a/docker:d3")
        assert new.returncode == 0, new.stderr
        local(*podman, "rmi", "--all", "--force")


def nothing_fits(site: Site) -> None:
    """See what clients say where a quota is used up."""
    report(site, **{"team-a__small": 1025})
    image = f"{ADDRESS}/team-a/small:1"
    site.docker("login", "--username", "alice", "--password-stdin", ADDRESS, stdin=site.passwords["alice"])
    site.host("sh", "-c", 'tar --create --directory /etc hostname | docker import - "$1"', "sh", image)
    pushed = site.docker("push", image, check=False)
    site.docker("rmi", image)
    site.docker("logout", ADDRESS)
    cert = f"--cert-dir={site.client_folder(None)}"
    creds = f"--creds=alice:{site.passwords['alice']}"
    secrets = (f"--src-{cert[2:]}", f"--dest-{cert[2:]}", f"--src-{creds[2:]}", f"--dest-{creds[2:]}")
    copied = local(
        "skopeo", "copy", *secrets, f"docker://{site.ip}/team-a/docker:d1", f"docker://{site.ip}/team-a/small:1"
    )
    for client in (pushed, copied):
        assert client.returncode != 0
        assert "team-a/small, big/** holds 1.0 MiB of its quota of 1.0 MiB" in client.stderr


def everybody_pulls(site: Site) -> None:
    """Pull what is public without credentials, and nothing else. Docker itself wants some wherever a registry has passwords."""
    client = f"--cert-dir={site.client_folder(None)}"
    for repository, allowed in (("public/tool", True), ("team-a/app", False)):
        seen = local("skopeo", "inspect", "--no-creds", client, f"docker://{site.ip}/{repository}:1")
        assert (seen.returncode == 0) == allowed, seen.stderr


def test_clients_with_passwords_and_without(site: Site, layers: dict[str, str]) -> None:
    assert layers
    docker_uses(site, None, "alice")
    skopeo_and_podman_use(site, None, "alice")
    tags_stay(site)
    nothing_fits(site)
    everybody_pulls(site)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_rules_that_are_none_refuse(site: Site) -> None:
    """The reload program does not take them, and where nginx has read them without it, as when it starts, nobody may do anything."""
    path = "/etc/drydock/auth/access.json"
    before = site.host("cat", path).stdout
    alice = '{"access": "push", "repositories": ["team-a/*"]}'
    for text in (
        *("null", "{}", "[]", '"x"', "0", "true", '{"users": null}', f'{{"users": {{"alice": {alice}}}}}'),
        '{"anonymous": {}, "users": {"alice": {}, "bob": 1}}',
        '{"anonymous": null, "users": {"alice": {"access": "admin", "repositories": "**"}, "bob": {"access": "push"}}}',
    ):
        site.write(path, text)
        failed = site.host(RELOAD, check=False)
        assert (failed.returncode, path in failed.stderr) == (1, True), failed
        assert site.host("cat", path).stdout == before
        assert site.code("/v2/team-a/app/tags/list", user="alice") == 200
        site.write(path, text)
        site.docker("exec", "drydock-proxy", "nginx", "-c", f"{PROXY}/nginx.conf", "-s", "reload")
        end = time.monotonic() + WAIT_SECONDS
        # For a moment, worker processes that end still answer.
        while any(site.code("/v2/team-a/app/tags/list", user="alice") != 403 for _ in range(10)):
            assert time.monotonic() < end, f"nginx takes {text} for rules"
        with site.recording() as recorded:
            for user in ("alice", "bob", "admin", ""):
                for target in ("/v2/team-a/app/tags/list", "/v2/public/tool/tags/list", "/v2/_catalog"):
                    assert site.code(target, user=user) == (403 if user else 401), (text, user, target)
        assert recorded == []
        site.write(path, before)
        site.docker("exec", "drydock-proxy", "nginx", "-c", f"{PROXY}/nginx.conf", "-s", "reload")
        while any(site.code("/v2/team-a/app/tags/list", user="alice") != 200 for _ in range(10)):
            assert time.monotonic() < end, "nginx does not take the rules back"
    assert site.reload() == "unchanged"


def test_errors_are_the_apis_while_no_registry_answers(site: Site, layers: dict[str, str]) -> None:
    site.host("systemctl", "stop", "recorder")
    try:
        blob = f"/v2/team-a/app/blobs/{layers['team-a/app']}"
        for path, method, headers in (
            ("/v2/team-a/app/tags/list", "GET", {}),
            ("/v2/team-a/app/manifests/1", "GET", {}),
            ("/v2/team-a/app/blobs/uploads/", "POST", {}),
            (blob, "GET", {"Range": "bytes=0-9"}),
        ):
            assert refusal(site.answer(path, method, user="alice", headers=headers), 502, "UNAVAILABLE")
        head = site.answer("/v2/team-a/app/tags/list", "HEAD", user="alice")
        assert head.headers["content-type"] == "application/json"
        # For this one, nginx needs none.
        assert site.code("/v2/", user="alice") == 200
        # Nobody says whether there is such a tag.
        assert refusal(put(site, "release", "unknown", b"{}"), 503, "UNAVAILABLE")
        # Whose request failed, the log says all the same.
        site.answer("/v2/team-a/app/tags/list?n=502", user="alice")
        assert (site.logged("?n=502")["user"], site.logged("?n=502")["status"]) == ("alice", 502)
    finally:
        site.start_recorder()


def test_reload_program_keeps_what_works(site: Site) -> None:
    path = "/etc/drydock/auth/access.json"
    before = site.host("cat", path).stdout
    loaded = site.host("cat", f"{PROXY}/loaded.conf").stdout
    assert site.reload() == "unchanged"
    assert site.host(RELOAD, "--check").stdout == "loaded\n"
    site.write(path, "{ no json")
    pending = site.host(RELOAD, "--check").stdout
    failed = site.host(RELOAD, check=False)
    status = site.code("/v2/team-a/app/tags/list", user="alice")
    # A restart would find what works.
    assert site.host("cat", path).stdout == before
    assert (pending, failed.returncode, failed.stdout) == ("pending\n", 1, "")
    assert "nginx goes on with what it had loaded" in failed.stderr
    assert f"{path} is no JSON" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert status == 200
    assert site.host("cat", f"{PROXY}/loaded.conf").stdout == loaded
    assert site.reload() == "unchanged"


def test_reload_program_copes_with_a_container_that_is_away(site: Site) -> None:
    # Many at once: one reloads, the others find it done.
    site.host("sh", "-c", f"echo '# another' >> {PROXY}/nginx.conf")
    words: list[str] = []
    threads = [threading.Thread(target=lambda: words.append(site.reload())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(words) == ["changed", "unchanged", "unchanged", "unchanged"]
    # Stopped: the files are for its next start.
    site.docker("stop", "drydock-proxy")
    site.host("sed", "-i", "$d", f"{PROXY}/nginx.conf")
    assert [site.reload(), site.reload()] == ["changed", "unchanged"]
    site.docker("start", "drydock-proxy")
    site.healthy_again()
    assert site.host(RELOAD, "--check").stdout == "loaded\n"
    # No Docker on the path of what calls it, and none at all.
    assert site.host("env", "--ignore-environment", RELOAD).stdout == "unchanged\n"
    hidden = site.host(
        "unshare", "--mount", "sh", "-c", f"mount --bind /dev/null $(command -v docker) && {RELOAD}", check=False
    )
    assert (hidden.returncode, hidden.stdout) in {(0, "unchanged\n"), (1, "")}
    assert "Traceback" not in hidden.stderr


def test_log_names_users_and_holds_no_password(site: Site) -> None:
    site.answer("/v2/team-a/app/tags/list?n=7", user="jörg")
    site.answer("/v2/team-a/app/tags/list?n=8", headers=basic("alice", "mistyped secret"))
    site.answer("/v2/public/tool/tags/list?n=9")
    lines = [site.logged(f"?n={number}") for number in (7, 8, 9)]
    assert [(line["user"], line["status"]) for line in lines] == [("jörg", 200), ("", 401), ("", 200)]
    done = site.docker("logs", "drydock-proxy")
    text = done.stdout + done.stderr
    encoded = [site.auth(user)["Authorization"].split()[1] for user in site.passwords]
    for secret in (*site.passwords.values(), *encoded, "mistyped secret"):
        assert secret not in text


# ---- the audit log -------------------------------------------------------------------------------------------------

LOGS = "/var/log/drydock"


def restart(site: Site) -> None:
    """Start nginx anew: it forgets how many refusals there were, and sees what was mounted."""
    site.docker("restart", "drydock-proxy")
    end = time.monotonic() + WAIT_SECONDS
    while site.code("/healthz") != 200:
        assert time.monotonic() < end
        time.sleep(0.2)


def audited(site: Site, agent: str, count: int, *events: str) -> list[dict[str, Any]]:
    """Wait until the audit log, which is written after the answer, has so many lines about a client; return them."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        lines = site.host("sh", "-c", f"cat {LOGS}/audit-*.log").stdout.splitlines()
        found = [one for line in lines if line.startswith("{") and (one := json.loads(line)).get("agent") == agent]
        found = [one for one in found if not events or one["event"] in events]
        if len(found) >= count:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_audit_log_says_who_did_what(site: Site, layers: dict[str, str], manifest: bytes, tmp_path: Path) -> None:
    layer, digest, agent = layers["team-a/app"], digest_of(manifest), "who-did-what"
    restart(site)
    mount = f"/v2/team-a/shared/blobs/uploads/?mount={layer}&from=team-a/app"
    calls: list[tuple[str, str, str, dict[str, Any]]] = [
        ("alice", "PUT", "/v2/team-a/app/manifests/audited", {"event": "push", "status": 201, "reference": "audited"}),
        ("alice", "PUT", "/v2/team-a/app/manifests/v2", {"event": "push", "status": 403, "reference": "v2"}),
        (
            "alice",
            "POST",
            mount,
            {"event": "mount", "repository": "team-a/shared", "digest": layer, "from": "team-a/app"},
        ),
        ("carla", "DELETE", f"/v2/team-a/app/manifests/{NO_DIGEST}", {"event": "delete", "status": 404}),
        ("bob", "DELETE", f"/v2/team-b/app/manifests/{digest}", {"event": "refused_right", "repository": "team-b/app"}),
        ("bob", "GET", "/v2/_catalog", {"event": "refused_right", "status": 403, "method": "GET"}),
    ]
    for user, method, path, _ in calls:
        body = manifest + b" " * path.endswith("v2") if method == "PUT" else b""
        headers = {"User-Agent": agent, **({"Content-Type": MANIFEST_TYPE} if body else {})}
        answer = site.answer(path, method, user=user, headers=headers, body=body)
        calls[0][3].setdefault("request_id", answer.headers["x-request-id"])
    for headers in (basic("bob", "mistyped secret"), {"Authorization": "Basic !"}, basic("", ""), {}):
        site.answer("/v2/team-b/app/tags/list?token=hidden", headers={"User-Agent": agent, **headers})
    # What only reads, and is no refusal.
    for path in ("/v2/team-a/app/manifests/1", "/v2/team-a/app/tags/list", "/v2/nothing/like/this"):
        site.answer(path, user="alice", headers={"User-Agent": agent})
    lines = audited(site, agent, 8)
    assert len(lines) == 8
    for line, (user, method, path, told) in zip(lines, calls, strict=False):
        assert {"user": user, **told}.items() <= line.items(), (method, path, line)
    assert (lines[0]["digest"], lines[0]["bytes"]) == (digest, len(manifest))
    assert [(one["event"], one["status"], one.get("user")) for one in lines[6:]] == [
        ("refused_login", 401, "bob"),
        ("refused_login", 401, None),
    ]
    shown = tmp_path / "audit.json"
    asked = f"drydock_audit_user=bob drydock_audit_repository=team-b/* drydock_audit_lines=2 drydock_audit_json={shown}"
    assert site.play("audit.yml", "--extra-vars", asked).changed == []
    assert [one["event"] for one in json.loads(shown.read_text())[ADDRESS]] == ["refused_right", "refused_login"]
    assert "drydock_audit_lines is 0" in site.attempt("audit.yml", "--extra-vars", "drydock_audit_lines=0").failures[-1]
    assert site.host("stat", "--format=%U:%G %a", LOGS).stdout.strip() == "drydock:drydock 750"
    text = site.host("sh", "-c", f"cat {LOGS}/audit-*.log").stdout
    for secret in (*site.passwords.values(), "mistyped secret", "hidden", "_state"):
        assert secret not in text


def test_refusals_without_end_take_few_lines_and_pushes_all_of_theirs(site: Site, manifest: bytes) -> None:
    agent = "flood"
    with site.connect() as client:
        for number in range(60):
            asks = {**site.auth("bob"), "User-Agent": agent}
            assert client.ask("/v2/other/tags/list", headers=asks).status == 403
            pushed = {**site.auth("alice"), "User-Agent": agent, "Content-Type": MANIFEST_TYPE}
            assert client.ask(f"/v2/team-a/app/manifests/f{number}", "PUT", pushed, body=manifest).status == 201
    pushes = audited(site, agent, 60, "push")
    assert [one["reference"] for one in pushes] == [f"f{number}" for number in range(60)]
    assert 1 <= len(audited(site, agent, 1, "refused_right")) < 40


def test_each_day_has_a_file_and_the_oldest_go(site: Site, manifest: bytes) -> None:
    today = site.host("date", "--utc", "+%F").stdout.strip()
    days = (1, 89, 92, 4000)
    dates = [site.host("date", "--utc", f"--date={number} days ago", "+%F").stdout.strip() for number in days]
    for date in dates:
        site.host("touch", f"{LOGS}/audit-{date}.log", f"{LOGS}/pulls-{date}.log")
    site.host("touch", f"{LOGS}/audit-mine.log")
    # Today's file is there: a run or the maintenance at night wrote before nginx did.
    site.host("touch", f"{LOGS}/audit-{today}.log")
    restart(site)
    assert put(site, "alice", "day", manifest).status == 201
    end = time.monotonic() + WAIT_SECONDS
    while f"audit-{dates[-1]}.log" in (names := site.host("ls", LOGS).stdout.split()):
        assert time.monotonic() < end, "the oldest stay"
        time.sleep(0.2)
    kept = {f"{kind}-{date}.log" for kind in ("audit", "pulls") for date in dates[:2]}
    assert set(names) - {f"pulls-{today}.log"} == kept | {f"audit-{today}.log", "audit-mine.log"}
    site.host("sh", "-c", f"rm {LOGS}/*")


def test_full_disk_under_the_log_stops_nobody_and_the_loss_is_told(site: Site, manifest: bytes) -> None:
    site.host("mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", LOGS)
    restart(site)
    try:
        headers = {"Content-Type": MANIFEST_TYPE, "User-Agent": "full"}

        def push(tag: str) -> int:
            path = f"/v2/team-a/app/manifests/{tag}"
            return site.answer(path, "PUT", user="alice", headers=headers, body=manifest).status

        assert push("full-1") == 201
        assert len(audited(site, "full", 1)) == 1
        # With the room that the log's last page has left.
        fill = 'cat /dev/zero > "$1/full"; f=$(ls "$1"/audit-*); yes "" | head -c $((4096 - $(stat -c %s "$f") % 4096)) >> "$f"'
        site.host("sh", "-c", fill, "sh", LOGS)
        assert [push(f"full-{number}") for number in (2, 3, 4)] == [201] * 3
        assert site.code("/v2/team-a/app/manifests/full-4", user="alice") == 200
        end = time.monotonic() + WAIT_SECONDS
        while site.docker("logs", "--tail", "200", "drydock-proxy").stderr.count("the audit log lost a line") < 3:
            assert time.monotonic() < end
            time.sleep(0.2)
        site.host("rm", f"{LOGS}/full")
        assert push("full-5") == 201
        told = [one["reference"] for one in audited(site, "full", 2)]
        assert told == ["full-1", "full-5"]
        lost = site.host("sh", "-c", f"grep -h lost {LOGS}/audit-*.log").stdout
        assert json.loads(lost)["count"] == 3
    finally:
        site.host("umount", LOGS)
        restart(site)


# ---- A user who goes -----------------------------------------------------------------------------------------------


def test_removed_user_is_out(site: Site) -> None:
    site.settings["registry_auth_users"] = [user for user in USERS if user["name"] != "bob"]
    with site.connect() as client:
        assert client.ask("/v2/team-b/app/tags/list", headers=site.auth("bob")).status == 200
        changed = site.deploy("--tags=users,proxy").changed
        assert "drydock.registry.registry_proxy : apply | Reload nginx if its files changed" in changed
        assert client.ask("/v2/team-b/app/tags/list", headers=site.auth("bob")).status in {0, 401}
    assert site.code("/v2/team-b/app/tags/list", user="bob") == 401
    assert site.code("/v2/", user="alice") == 200
    site.settings["registry_auth_users"] = USERS


# ---- TLS -----------------------------------------------------------------------------------------------------------


def test_sslyze_finds_mozillas_intermediate_profile(site: Site, tmp_path: Path) -> None:
    report = tmp_path / "sslyze.json"
    ca = tmp_path / "ca.crt"
    ca.write_text(site.ca, encoding="ascii")
    program = Path(sys.executable).with_name("sslyze")
    command = (
        program,
        f"--json_out={report}",
        f"--certinfo_ca_file={ca}",
        "--mozilla_config=intermediate",
        f"--sni={ADDRESS}",
    )
    done = subprocess.run([*command, f"{site.ip}:443"], capture_output=True, text=True, check=False, timeout=300)
    assert f"{site.ip}:443: OK - Compliant" in done.stdout, done.stdout
    found = json.loads(report.read_text(encoding="utf-8"))["server_scan_results"][0]["scan_result"]
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert found[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"] == [], version
    renegotiation = found["session_renegotiation"]["result"]
    assert renegotiation["is_vulnerable_to_client_renegotiation_dos"] is False
    assert renegotiation["supports_secure_renegotiation"] is True
    assert found["tls_compression"]["result"]["supports_compression"] is False


# ---- client certificates: optional ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(site: Site) -> dict[str, Pair]:
    """Certificates of all kinds, and the CA that nginx trusts."""
    ca = site.authority
    names = {name: ca.issue(name) for name in ("alice", "bob", "admin", "machine", "stranger", "constructor")}
    return {
        **names,
        "resumed": ca.issue("machine"),
        "open": ca.issue("machine"),
        "revoked": ca.issue("machine"),
    }


def bad_pairs(site: Site, pairs: dict[str, Pair]) -> dict[str, Pair]:
    """Certificates that TLS itself must not accept."""
    ca, folder = site.authority, site.folder
    return {
        "self-made CA": Authority(folder, "Client CA").issue("admin"),
        "below a CA that the CA issued": Authority(folder, "Sub CA", ca).issue("admin"),
        "expired": ca.issue("admin", begins=-3 * DAY, ends=-DAY),
        "not yet valid": ca.issue("admin", begins=DAY, ends=2 * DAY),
        "for servers": ca.issue("admin", usage=[ExtendedKeyUsageOID.SERVER_AUTH]),
        "for signing code": ca.issue("admin", usage=[ExtendedKeyUsageOID.CODE_SIGNING]),
        "revoked": pairs["revoked"],
    }


def nameless_pairs(site: Site) -> dict[str, Pair]:
    """Certificates that the CA issued for no user."""
    ca = site.authority
    return {
        "no name": ca.issue(organization="admin"),
        "two names": ca.issue("admin", "alice"),
        "a name in a name": ca.issue("x,CN=admin"),
        "a name in an organization": ca.issue(organization="x,CN=admin"),
        "a name after a plus": ca.issue(organization="x+CN=admin"),
        "a line in a name": ca.issue("admin\nCN=admin"),
        "a blank": ca.issue("admin "),
        "a backslash": ca.issue("admin\\"),
        "beyond ASCII": ca.issue("jörg"),
        "nothing": ca.issue("."),
        "a prototype": ca.issue("__proto__"),
    }


def set_mode(site: Site, mode: str, *revoked: Pair, tags: str = "proxy") -> list[str]:
    """Let the role change the mode; return what changed."""
    site.settings |= {
        "registry_proxy_client_certificates": mode,
        "registry_proxy_client_ca_certificate": pem(site.authority.certificate),
        "registry_proxy_client_crl": site.authority.crl(*revoked),
    }
    return site.deploy(f"--tags={tags}").changed


def test_certificates_count_for_nothing_until_they_are_wanted(site: Site, pairs: dict[str, Pair]) -> None:
    assert site.code("/v2/", pair=pairs["admin"]) == 401
    before = site.containers()["drydock-proxy"]
    # The user who was removed is back as well.
    set_mode(site, "optional", pairs["revoked"], tags="users,proxy")
    assert site.containers()["drydock-proxy"] == before, "only files changed"
    assert site.code("/v2/", pair=pairs["admin"]) == 200


def test_certificate_gives_its_users_rights(site: Site, pairs: dict[str, Pair]) -> None:
    for name, target, status in (
        ("machine", "/v2/team-a/app/tags/list", 200),
        ("machine", "/v2/team-b/app/tags/list", 403),
        ("machine", "/v2/public/tool/tags/list", 200),
        ("machine", "/v2/_catalog", 403),
        ("admin", "/v2/_catalog", 200),
        ("bob", "/v2/team-b/app/tags/list", 200),
        ("stranger", "/v2/", 403),
        ("stranger", LIST, 403),
        ("stranger", "/v2/public/tool/tags/list", 403),
        ("constructor", "/v2/team-a/app/tags/list", 403),
    ):
        assert site.code(target, pair=pairs[name]) == status, (name, target)
    assert site.code("/v2/team-a/new/blobs/uploads/", "POST", pair=pairs["machine"]) == 202
    assert site.code("/v2/team-b/app/blobs/uploads/", "POST", pair=pairs["machine"]) == 403
    assert site.code("/v2/team-a/app/tags/list?n=77", pair=pairs["machine"]) == 200
    assert site.logged("?n=77")["user"] == "machine"
    # What quotas were counted by.
    site.host("rm", "--force", REPORT)
    found = json.loads(site.answer(LIST, pair=pairs["machine"]).body)
    names = [one["name"] for one in found["repositories"]]
    assert (found["user"], "team-a/app" in names) == ("machine", True)
    assert all(name.startswith(("team-a/", "public/")) for name in names)


def test_password_counts_where_both_are_sent(site: Site, pairs: dict[str, Pair]) -> None:
    assert site.code("/v2/team-b/app/tags/list", user="bob", pair=pairs["machine"]) == 200
    assert site.code("/v2/team-a/app/tags/list", user="bob", pair=pairs["machine"]) == 403
    wrong = basic("machine", "")
    assert site.answer("/v2/", pair=pairs["machine"], headers=wrong).status == 401
    assert site.answer("/v2/", pair=pairs["admin"], headers=basic("admin", "wrong")).status == 401
    assert site.answer("/v2/", pair=pairs["admin"], headers={"Authorization": "Bearer x"}).status == 401


def test_certificates_that_do_not_count(site: Site, pairs: dict[str, Pair]) -> None:
    with site.recording() as recorded:
        for kind, pair in bad_pairs(site, pairs).items():
            for target in ("/v2/", "/v2/team-a/app/tags/list", "/v2/public/tool/tags/list", "/healthz"):
                answer = site.answer(target, pair=pair)
                assert refusal(answer, 403, "DENIED"), (kind, target)
                assert "the client certificate is not accepted" in answer.body.decode()
            # The right password does not make up for it.
            assert site.code("/v2/", user="admin", pair=pair) == 403, kind
        for kind, pair in nameless_pairs(site).items():
            for target in ("/v2/", "/v2/team-a/app/tags/list"):
                assert refusal(site.answer(target, pair=pair), 403, "DENIED"), kind
    assert recorded == []


def test_passwords_and_nobody_are_as_before(site: Site) -> None:
    assert site.code("/v2/") == 401
    assert site.code("/v2/public/tool/tags/list") == 200
    assert site.code("/v2/team-a/app/tags/list") == 401
    assert site.code("/v2/team-a/app/tags/list", user="alice") == 200
    claims = {"X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=admin", "ssl_client_s_dn": "CN=admin"}
    assert site.answer("/v2/", headers=claims).status == 401


def test_clients_with_a_certificate_and_without(site: Site, layers: dict[str, str], pairs: dict[str, Pair]) -> None:
    assert layers
    docker_uses(site, pairs["machine"], "")
    skopeo_and_podman_use(site, pairs["machine"], "")
    docker_uses(site, None, "alice")
    everybody_pulls(site)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_revocation_reaches_sessions_and_connections(
    site: Site, pairs: dict[str, Pair], version: ssl.TLSVersion
) -> None:
    site.trust(site.authority.crl(pairs["revoked"]))
    context = site.context(pairs["resumed"], version)
    with site.connect(context=context) as client:
        assert client.ask("/v2/team-a/app/tags/list").status == 200
        session = client.socket.session
    with site.connect(context=context, session=session) as client:
        # It would not be asked again whether its certificate has expired or was revoked.
        assert not client.socket.session_reused
        assert client.ask("/v2/team-a/app/tags/list").status == 200
        session = client.socket.session or session
    with site.connect(pairs["open"]) as opened:
        assert opened.ask("/v2/team-a/app/tags/list").status == 200

        site.settings["registry_proxy_client_crl"] = site.authority.crl(
            pairs["revoked"], pairs["resumed"], pairs["open"]
        )
        before = site.containers()["drydock-proxy"]
        changed = site.deploy("--tags=trust").changed
        assert {task.partition(" : ")[2] for task in changed} == {
            "client_trust | Install the client CA and its CRL where nginx runs",
            "client_trust | Reload nginx if they changed",
        }
        assert site.containers()["drydock-proxy"] == before
        assert opened.ask("/v2/team-a/app/tags/list").status in {0, 403}
    with site.connect(context=context, session=session) as client:
        assert not client.socket.session_reused
        assert client.ask("/v2/team-a/app/tags/list").status == 403
    assert site.code("/v2/", pair=pairs["machine"]) == 200, "another certificate of the same name"


@pytest.mark.parametrize("how", ["out of date", "of another CA", "missing", "CA missing"])
def test_without_a_valid_list_no_certificate_counts(site: Site, pairs: dict[str, Pair], how: str) -> None:
    if how in {"missing", "CA missing"}:
        site.host("rm", f"{PROXY}/{'client.crl' if how == 'missing' else 'client-ca.crt'}")
        assert site.reload() == "changed"
    else:
        other = Authority(site.folder, "Another CA")
        site.trust(site.authority.crl(ends=-DAY) if how == "out of date" else other.crl())
    assert site.code("/v2/", pair=pairs["admin"]) in {401, 403}
    assert site.code("/v2/team-a/app/tags/list", pair=pairs["machine"]) in {401, 403}
    assert site.code("/v2/team-a/app/tags/list", user="alice") == 200
    assert site.code("/v2/public/tool/tags/list") == 200
    site.write(f"{PROXY}/client-ca.crt", pem(site.authority.certificate))
    site.trust(site.authority.crl(pairs["revoked"]))
    assert site.code("/v2/", pair=pairs["admin"]) == 200


def test_nginx_that_cannot_start_for_a_missing_list_is_mended(site: Site, pairs: dict[str, Pair]) -> None:
    site.host("rm", f"{PROXY}/client.crl")
    site.docker("restart", "drydock-proxy")
    assert site.code("/v2/") == 0
    assert site.reload() == "changed"
    site.healthy_again()
    assert site.code("/v2/", pair=pairs["admin"]) == 401
    assert site.code("/v2/", user="alice") == 200
    site.trust(site.authority.crl(pairs["revoked"]))
    assert site.code("/v2/", pair=pairs["admin"]) == 200


# ---- client certificates: required, both ---------------------------------------------------------------------------


def test_required_certificate_leaves_passwords_no_meaning(site: Site, pairs: dict[str, Pair]) -> None:
    set_mode(site, "required", pairs["revoked"])
    for target in ("/v2/", "/v2/team-a/app/tags/list", "/v2/public/tool/tags/list", "/v2/_catalog", "/v2/%5fcatalog"):
        for user in ("", "admin", "alice"):
            answer = site.answer(target, user=user)
            assert refusal(answer, 403, "DENIED")
            assert "a client certificate is required" in answer.body.decode()
    assert site.code("/healthz") == 200
    assert site.code("/v2/", pair=pairs["machine"]) == 200
    assert site.answer("/v2/", pair=pairs["machine"], headers=basic("machine", "wrong")).status == 200
    # The certificate's rights, not the password's.
    assert site.code("/v2/_catalog", user="admin", pair=pairs["machine"]) == 403
    assert site.code("/v2/team-a/app/tags/list", user="bob", pair=pairs["machine"]) == 200
    assert site.code("/v2/", pair=pairs["stranger"]) == 403
    for kind, pair in {**bad_pairs(site, pairs), **nameless_pairs(site)}.items():
        assert site.code("/v2/", user="admin", pair=pair) == 403, kind
    docker_uses(site, pairs["machine"], "")
    skopeo_and_podman_use(site, pairs["machine"], "")
    # Logging in does no harm.
    docker_uses(site, pairs["alice"], "alice")


def test_both_must_be_of_the_same_user(site: Site, pairs: dict[str, Pair]) -> None:
    set_mode(site, "both", pairs["revoked"])
    alice = pairs["alice"]
    assert site.code("/v2/", user="alice", pair=alice) == 200
    assert site.code("/v2/team-a/app/tags/list", user="alice", pair=alice) == 200
    assert site.code("/v2/team-b/app/tags/list", user="alice", pair=alice) == 403
    assert refusal(site.answer("/v2/", pair=alice), 401, "UNAUTHORIZED")
    assert site.code("/v2/public/tool/tags/list", pair=alice) == 401
    assert site.answer("/v2/", pair=alice, headers=basic("alice", "wrong")).status == 401
    assert site.answer("/v2/", pair=alice, headers=basic("admin", "wrong")).status == 401
    assert refusal(site.answer("/v2/", user="admin", pair=alice), 403, "DENIED")
    assert refusal(site.answer("/v2/_catalog", user="alice", pair=pairs["admin"]), 403, "DENIED")
    for user in ("", "alice", "admin"):
        for target in ("/v2/", "/v2/public/tool/tags/list", "/v2/team-a/app/tags/list"):
            assert refusal(site.answer(target, user=user), 403, "DENIED")
    for kind, pair in {**bad_pairs(site, pairs), **nameless_pairs(site)}.items():
        assert site.code("/v2/", user="admin", pair=pair) == 403, kind
    assert site.code("/healthz") == 200
    docker_uses(site, alice, "alice")
    skopeo_and_podman_use(site, alice, "alice")
