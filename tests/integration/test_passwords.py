# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts to get in without the right password, now that a right one is remembered for a while.

One host of each Debian release serves all tests, which run in the order of this file. What the registry gets is written down on the
way, so "refused" means that nothing of a request came through; how often a password was checked, the password server's log says.
"""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from deployment import Deployment, deployed_hosts
from proxy_host import Answer, Authority, Site, basic

FOLDER = Path(__file__).with_name("passwords")
HTPASSWD = "/etc/drydock/auth/htpasswd"
SERVER = "drydock-passwords"
ALL = ("drydock-proxy", SERVER, "drydock-registry-a", "drydock-registry-b")
CROWD = 20

USERS: list[dict[str, Any]] = [
    {"name": "admin", "password": "the admin's", "access": "admin", "repositories": ["**"]},
    {"name": "alice", "password": "alice: with a colon", "access": "push", "repositories": ["team-a/*"]},
    # With the password of another user, who may do less.
    {"name": "twin", "password": "the admin's", "access": "pull", "repositories": ["team-a/*"]},
    {"name": "jörg", "password": "pass of jörg ✓", "access": "pull", "repositories": ["team-a/app"]},
    *(
        {"name": f"user-{i}", "password": f"pass of user {i}", "access": "pull", "repositories": ["team-a/*"]}
        for i in range(CROWD)
    ),
]
PASSWORDS = {user["name"]: str(user["password"]) for user in USERS}

NO_DIGEST = "sha256:" + "0" * 64
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PATHS = (
    "/v2/",
    "/v2/_catalog",
    "/v2/team-a/app/manifests/1",
    f"/v2/team-a/app/blobs/{NO_DIGEST}",
    "/v2/team-a/app/blobs/uploads/",
    "/v2/team-a/app/tags/list?n=1",
    "/v2/no/such/path",
    "/v2/team-a/app/../../manifests/1",
)


def encoded(credentials: str | bytes) -> str:
    """Return a header with these credentials, whatever they are."""
    data = credentials.encode() if isinstance(credentials, str) else credentials
    return f"Basic {base64.b64encode(data).decode()}"


ALICE = encoded(f"alice:{PASSWORDS['alice']}")
# What no user can have sent, with the password that would be right beside the mistake.
MALFORMED = {
    "empty": "",
    "another scheme": "Bearer " + ALICE.split()[1],
    "digest": 'Digest username="alice"',
    "the scheme alone": "Basic",
    "no base64": "Basic !!!",
    "plain": f"Basic alice:{PASSWORDS['alice']}",
    "a tab": ALICE.replace(" ", "\t"),
    "more behind it": ALICE + " x",
    "twice": f"{ALICE}, {ALICE}",
    "too much padding": ALICE.rstrip("=") + "====",
    "another encoding of the same": "Basic YWxpY2U6cB==",
    "URL-safe": "Basic " + base64.urlsafe_b64encode(b"alice:\xff\xfe\xff").decode(),
    "no colon": encoded("alice"),
    "no user": encoded(f":{PASSWORDS['alice']}"),
    "no password": encoded("alice:"),
    "neither": encoded(":"),
    "NUL behind the password": encoded(f"alice:{PASSWORDS['alice']}\0"),
    "NUL behind the user": encoded(f"alice\0:{PASSWORDS['alice']}"),
    "a line break": encoded(f"alice:{PASSWORDS['alice']}\n"),
    "two users": encoded(f"x\nalice:{PASSWORDS['alice']}"),
    "a space behind the user": encoded(f"alice :{PASSWORDS['alice']}"),
    "an invisible character": encoded(f"alice\u200b:{PASSWORDS['alice']}"),
    "a byte order mark": encoded(f"\ufeffalice:{PASSWORDS['alice']}"),
    "a path": encoded(f"../alice:{PASSWORDS['alice']}"),
    "a comment": encoded(f"#alice:{PASSWORDS['alice']}"),
    "no UTF-8": encoded("jörg:pass of jörg ✓".encode()[:-1]),
    "Latin-1": encoded("jörg:pass".encode("latin-1")),
    "UTF-8 that is too long": encoded(b"alic\xc1\xa5:x"),
    "half a surrogate pair": encoded(b"alice:\xed\xa0\x80"),
    "73 bytes": encoded("alice:" + "x" * 73),
    "6000 bytes": encoded("alice:" + "x" * 6000),
    "a long user": encoded("a" * 400 + ":x"),
}
# What a user could have sent, and is wrong.
WRONG = {
    "wrong": encoded("alice:wrong"),
    "one character more": encoded(f"alice:{PASSWORDS['alice']}x"),
    "one character less": encoded(f"alice:{PASSWORDS['alice'][:-1]}"),
    "a space more": encoded(f"alice:{PASSWORDS['alice']} "),
    "another user's": encoded(f"alice:{PASSWORDS['admin']}"),
    "nobody": encoded(f"nobody:{PASSWORDS['alice']}"),
    "other letters": encoded(f"Alice:{PASSWORDS['alice']}"),
    "a property of objects": encoded(f"__proto__:{PASSWORDS['alice']}"),
    "a variable of nginx": encoded("$remote_user:$password_name"),
    "72 bytes": encoded("alice:" + "x" * 72),
}


class Guarded(Site):
    """The host, and what its password server has been asked."""

    def __init__(self, folder: Path, image: str) -> None:
        Deployment.__init__(self, "passwords", folder, image)
        self.authority = Authority(folder, "Client CA")
        self.passwords = dict(PASSWORDS)

    def checked(self) -> Counter[int]:
        """Return how many passwords the password server has checked, by its answers."""
        lines = self.docker("logs", SERVER).stdout.splitlines()
        return Counter(int(json.loads(line)["status"]) for line in lines if line.startswith("{"))

    def checks(self, action: Callable[[], Any]) -> int:
        """Return how many passwords the password server has to check for an action."""
        before = self.checked()
        action()
        return sum((self.checked() - before).values())

    def forget(self) -> None:
        """Have nginx forget the passwords that have been right, as any change of the users does."""
        self.change_users(lambda text: f"{text}# {time.monotonic()}\n")

    def change_users(self, change: Callable[[str], str]) -> None:
        """Change the file of the users and let nginx take it."""
        self.write(HTPASSWD, change(self.host("cat", HTPASSWD).stdout))
        assert self.reload() == "changed"

    def at_once(self, headers: Sequence[str], path: str = "/v2/") -> list[Answer]:
        """Make requests at the same time, each on a connection of its own."""
        with ThreadPoolExecutor(len(headers)) as pool:
            return list(pool.map(lambda header: self.answer(path, headers={"Authorization": header}), headers))

    def log_in(self, user: str, password: str = "") -> int:
        """Return the status of a login."""
        return self.answer("/v2/", headers=basic(user, password or self.passwords[user])).status

    def computed(self) -> int:
        """Return how much of the processors the password server has used, in ticks."""
        look = "for pid in $(docker top \"$1\" -o pid | tail -n +2); do cut -d' ' -f14,15 /proc/$pid/stat; done"
        return sum(int(ticks) for ticks in self.host("sh", "-c", look, "sh", SERVER).stdout.split())

    def server(self, *action: str) -> None:
        """Do something to the password server's container."""
        self.docker(*action, SERVER)


# The first one serves the tests that need only one as well.
HOSTS = ("debian13-deployed", "debian12-deployed")
one_host = pytest.mark.parametrize("site", HOSTS[:1], indirect=True)


@pytest.fixture(scope="module", params=HOSTS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Start the host with users, a registry and nginx, which lets so many passwords be tried that the tests need not wait."""
    made = Guarded(tmp_path_factory.mktemp("passwords"), request.param)
    with deployed_hosts(made):
        made.settings = {
            "registry_auth_users": USERS,
            "registry_auth_anonymous_pull_enabled": True,
            "registry_auth_anonymous_repositories": ["public/**"],
            "registry_tls_names": [made.ip],
            "registry_proxy_names": [made.ip],
            "registry_proxy_password_cache_seconds": 600,
            "registry_proxy_failed_logins_per_second": 100,
        }
        made.start_recorder()
        made.deploy()
        yield made


def is_refusal(answer: Answer, method: str = "GET") -> bool:
    """Tell whether an answer asks for a password, and says no more than that."""
    return (
        answer.status == 401
        and answer.headers["www-authenticate"] == 'Basic realm="Registry"'
        and (method == "HEAD" or answer.code == "UNAUTHORIZED")
    )


# ---- credentials that are not right --------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [False, True])
def test_credentials_that_nobody_can_have_are_refused_unasked(site: Guarded, remembered: bool) -> None:
    site.forget()
    if remembered:
        assert site.log_in("alice") == site.log_in("jörg") == 200

    def attempts() -> None:
        with site.connect() as client:
            for what, header in MALFORMED.items():
                for method in METHODS:
                    for path in PATHS:
                        answer = client.ask(path, method, {"Authorization": header} if header else {})
                        assert is_refusal(answer, method), (what, method, path, answer)

    with site.recording() as recorded:
        assert site.checks(attempts) == 0
    assert recorded == []


@pytest.mark.parametrize("remembered", [False, True])
def test_wrong_passwords_are_refused_everywhere(site: Guarded, remembered: bool) -> None:
    site.forget()
    if remembered:
        assert site.log_in("alice") == site.log_in("admin") == 200

    def attempts(what: str) -> None:
        # One after the other: of requests with one password, one asks and the others wait for it.
        with site.connect() as client:
            for method in METHODS:
                for path in PATHS[:4]:
                    answer = client.ask(path, method, {"Authorization": WRONG[what]})
                    assert is_refusal(answer, method), (what, method, path, answer)

    with site.recording() as recorded, ThreadPoolExecutor(len(WRONG)) as pool:
        list(pool.map(attempts, WRONG))
    assert recorded == []


def test_headers_and_paths_do_not_reach_behind_the_check(site: Guarded) -> None:
    site.forget()
    addresses = dict.fromkeys(("X-Real-IP", "Drydock-Network"), "192.0.2.1")
    lies = addresses | {"Drydock-Asked": "0", "X-Accel-Expires": "600", "X-Original-Method": "HEAD"}
    with site.recording() as recorded:
        assert is_refusal(site.answer("/v2/", headers=lies | {"Authorization": WRONG["wrong"]}))
        for path in ("/password", "/ask", "/password/", "/passwords", "//password", "/v2/../password", "/v2/../ask"):
            for header in (WRONG["wrong"], ALICE):
                assert site.answer(path, headers={"Authorization": header}).status in {401, 404}, path
    assert recorded == []
    assert "192.0.2.1" not in site.docker("logs", SERVER).stdout


def test_credentials_are_needed_for_what_is_not_open_to_all(site: Guarded) -> None:
    before = site.checked()
    assert site.answer("/v2/public/tool/tags/list").status == 404
    with site.recording() as recorded:
        for path in PATHS:
            assert is_refusal(site.answer(path))
        assert is_refusal(site.answer("/v2/public/tool/blobs/uploads/", "POST"))
    assert (recorded, site.checked()) == ([], before)


# ---- what is remembered --------------------------------------------------------------------------------------------


def test_the_password_of_a_crowd_is_checked_once(site: Guarded) -> None:
    site.forget()
    answers: list[Answer] = []
    assert site.checks(lambda: answers.extend(site.at_once([ALICE] * 30))) == 1
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize("size", [4 * 1024, 2 * 1024**2])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_request_that_has_the_password_checked_may_have_a_body(site: Guarded, size: int, chunked: bool) -> None:
    begun = site.answer("/v2/team-a/app/blobs/uploads/", "POST", user="alice")
    address = begun.headers["location"].partition("registry.test")[2]
    site.forget()
    body = b"x" * size
    if not chunked:
        assert site.answer(address, "PATCH", user="alice", body=body).status == 202
        return
    head = f"PATCH {address} HTTP/1.1\r\nHost: registry.test\r\nAuthorization: {ALICE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with site.connect() as client:
        assert client.raw(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)).status == 202


def test_each_of_a_crowd_gets_in_with_a_password_of_its_own(site: Guarded) -> None:
    site.forget()
    headers = [encoded(f"user-{i}:{PASSWORDS[f'user-{i}']}") for i in range(CROWD)]
    answers: list[Answer] = []
    assert site.checks(lambda: answers.extend(site.at_once(headers))) == CROWD
    assert {answer.status for answer in answers} == {200}
    assert site.checks(lambda: site.at_once(headers)) == 0


def test_wrong_passwords_are_not_remembered(site: Guarded) -> None:
    assert site.checks(lambda: [site.log_in("alice", "wrong") for _ in range(3)]) == 3


def test_who_is_remembered_may_do_no_more_than_before(site: Guarded) -> None:
    site.forget()
    assert site.log_in("jörg") == site.log_in("alice") == 200
    with site.recording() as recorded:
        for user, method, path in (
            ("jörg", "POST", "/v2/team-a/app/blobs/uploads/"),
            ("jörg", "PUT", "/v2/team-a/app/manifests/1"),
            ("jörg", "DELETE", f"/v2/team-a/app/manifests/{NO_DIGEST}"),
            ("jörg", "GET", "/v2/team-a/other/tags/list"),
            ("jörg", "GET", "/v2/_catalog"),
            ("alice", "DELETE", f"/v2/team-a/app/blobs/{NO_DIGEST}"),
            ("alice", "GET", "/v2/team-b/app/tags/list"),
        ):
            assert site.answer(path, method, user=user).status == 403, (user, method, path)
    assert recorded == []


def test_two_users_with_one_password_stay_two(site: Guarded) -> None:
    site.forget()
    assert site.checks(lambda: [site.log_in("admin"), site.log_in("twin")]) == 2
    assert site.code("/v2/_catalog", user="admin") == 200
    assert site.code("/v2/_catalog", user="twin") == 403
    assert site.code("/v2/team-a/app/blobs/uploads/", "POST", user="twin") == 403
    assert site.log_in("jörg", PASSWORDS["admin"]) == 401


def test_another_password_ends_the_former(site: Guarded) -> None:
    before = site.host("cat", HTPASSWD).stdout
    assert site.log_in("alice") == 200
    # The program that deployments use hashes as well as openssl does; any hash that nginx knows will do.
    hashed = site.host("openssl", "passwd", "-6", "another password").stdout.strip()
    lines = [line for line in before.splitlines() if not line.startswith("alice:")]
    site.change_users(lambda _: "\n".join([*lines, f"alice:{hashed}"]) + "\n")
    assert site.log_in("alice") == 401
    assert site.log_in("alice", "another password") == 200
    site.change_users(lambda _: before)
    assert (site.log_in("alice", "another password"), site.log_in("alice")) == (401, 200)


def test_a_user_who_is_removed_is_out(site: Guarded) -> None:
    before = site.host("cat", HTPASSWD).stdout
    with site.connect() as client:
        # On a connection that was there before, and on others.
        assert client.ask("/v2/", headers=site.auth("alice")).status == 200
        site.change_users(lambda text: "".join(line for line in text.splitlines(True) if not line.startswith("alice:")))
        assert client.ask("/v2/", headers=site.auth("alice")).status in {0, 401}
    for path in PATHS[:6]:
        assert site.answer(path, user="alice").status == 401
    site.docker("restart", "drydock-proxy", SERVER)
    site.healthy_again()
    assert (site.log_in("alice"), site.log_in("admin")) == (401, 200)
    site.change_users(lambda _: before)
    assert site.log_in("alice") == 200


def test_nothing_secret_is_left_behind(site: Guarded) -> None:
    """In what is remembered, in logs, in what Docker says of the containers, in environments and command lines."""
    assert site.log_in("alice") == site.log_in("admin") == site.log_in("jörg") == 200
    assert site.log_in("alice", "a wrong password") == 401
    headers = [encoded(f"{user}:{password}").split()[1] for user, password in PASSWORDS.items()]
    secret = site.host("grep", "--only-matching", "[0-9a-f]\\{64\\}", "/etc/drydock/proxy/loaded.conf").stdout.strip()
    site.host(
        "tee", "/run/secrets-of-test", stdin="\n".join([*PASSWORDS.values(), *headers, "a wrong password", secret])
    )
    look = """
        cd /proc/$(docker inspect --format '{{ .State.Pid }}' drydock-proxy)/root
        find tmp/right_passwords -type f | wc -l
        {
            find tmp -type f -exec cat {} +
            find tmp
            for name in "$@"; do docker logs $name 2>&1; done
            docker inspect "$@"
            for name in "$@"; do docker top $name -o pid | tail -n +2; done > /run/pids
            for pid in $(cat /run/pids); do cat /proc/$pid/environ /proc/$pid/cmdline; done
        } | tr '\\0' '\\n' > /run/look
        grep --text --count . /run/look
        grep --text --fixed-strings --file=/run/secrets-of-test /run/look || true
    """
    remembered, lines, *found = site.host("sh", "-c", look, "sh", *ALL).stdout.splitlines()
    assert int(remembered) >= 3
    assert int(lines) > 100
    assert found == []
    site.host("rm", "/run/secrets-of-test", "/run/look")


# ---- a password server that is away --------------------------------------------------------------------------------


def test_who_is_remembered_goes_on_while_the_password_server_hangs(site: Guarded) -> None:
    assert site.log_in("alice") == 200
    site.server("pause")
    try:
        assert [site.log_in("alice") for _ in range(5)] == [200] * 5
        assert site.code("/healthz") == 200
        assert is_refusal(site.answer("/v2/"))
        assert site.code("/v2/public/tool/tags/list") == 404
    finally:
        site.server("unpause")
    assert site.log_in("user-0") == 200


def test_passwords_are_checked_while_the_password_server_is_away(site: Guarded) -> None:
    site.forget()
    # As a crash does, this leaves the socket behind.
    site.server("kill", "--signal=KILL")
    assert (site.log_in("alice"), site.log_in("admin"), site.log_in("alice", "wrong")) == (200, 200, 401)
    site.server("start")
    end = time.monotonic() + 60
    while site.checks(lambda: site.log_in("nobody", "wrong")) == 0:
        assert time.monotonic() < end, "nobody asks the password server that has come back"
    site.server("rm", "--force")
    site.forget()
    assert (site.log_in("alice"), site.log_in("alice", "wrong")) == (200, 401)
    assert "apply | Run the server that checks passwords" in " ".join(site.deploy("--tags=proxy").changed)
    assert site.checks(lambda: site.log_in("jörg")) == 1


# ---- guessing ------------------------------------------------------------------------------------------------------


def test_a_refusal_takes_the_same_whatever_was_wrong(
    site: Guarded, record_property: Callable[[str, object], None]
) -> None:
    """The same time to whoever asks, and the same work: what the password server has computed is compared, not how long that took."""
    dear = bcrypt.hashpw(b"dear", bcrypt.gensalt(10)).decode()
    site.change_users(lambda text: f"{text}dear:{dear}\n")
    users = {"unknown user": "nobody", "cheap hash": "alice", "dear hash": "dear"}
    took: dict[str, list[float]] = {what: [] for what in users}
    work: dict[str, list[int]] = {what: [] for what in users}
    for i in range(6):
        for what, user in users.items():
            before, began = site.computed(), time.monotonic()
            assert site.log_in(user, f"wrong {i}") == 401
            took[what].append(time.monotonic() - began)
            work[what].append(site.computed() - before)
    record_property("ticks of CPU", work)
    # A hash of cost 10 takes some ticks of a hundredth of a second, one of cost 5 takes none.
    least, _, most = sorted(statistics.median(ticks) for ticks in work.values())
    assert 2 * least > most > 0, work
    for what, seconds in took.items():
        record_property(what, [round(one, 3) for one in seconds])
        record_property(f"{what}, median", round(statistics.median(seconds), 3))
        # A check takes less than a second, and until then nobody is answered.
        assert min(seconds) >= 1, took


def test_guessing_is_slow_and_slows_nobody_else(site: Guarded, record_property: Callable[[str, object], None]) -> None:
    """Guesses from many addresses, each with more connections than may wait; a user who is remembered shares an address with them."""
    rate, addresses, connections = 5, 12, 40
    site.settings |= {"registry_proxy_failed_logins_per_second": rate, "registry_proxy_password_cache_seconds": 4}
    assert "apply | Run nginx, which takes over" not in " ".join(site.deploy("--tags=proxy").changed)
    site.forget()
    given = {
        "addresses": addresses,
        "connections": connections,
        "remembered": ALICE,
        "fresh": [encoded(f"user-{i}:{PASSWORDS[f'user-{i}']}") for i in range(5)],
        "guess": encoded("user-19:a guess"),
    }
    subprocess.run(
        ["docker", "cp", FOLDER / "flood.py", f"{site.names['registry.test']}:/srv/"], check=True, timeout=60
    )
    before = site.checked()
    came = json.loads(site.host("python3", "/srv/flood.py", stdin=json.dumps(given)).stdout)
    refused = (site.checked() - before)[401]
    guesses = Counter(one["status"] for one in came["guesses"])
    record_property("guesses", {**guesses, "seconds": round(came["seconds"], 1)})
    for who, answers in came["meanwhile"].items():
        record_property(who, [round(one["seconds"], 3) for one in answers])
        assert {one["status"] for one in answers} == {200}, who
    # For longer than a right password is remembered, and long enough for many checks of it.
    assert came["seconds"] > 8
    assert guesses.keys() == {401, 429}
    # An address has one place of its own; the others of its five are among eight that all share.
    assert refused == guesses[401] <= (addresses + 8) * (came["seconds"] + 1)
    assert {one["retry_after"] for one in came["guesses"] if one["status"] == 429} == {"30"}


# ---- settings ------------------------------------------------------------------------------------------------------


@one_host
def test_passwords_are_remembered_for_as_long_as_it_is_set(site: Guarded) -> None:
    site.settings |= {"registry_proxy_failed_logins_per_second": 100, "registry_proxy_password_cache_seconds": 1}
    site.deploy("--tags=proxy")
    assert site.log_in("alice") == 200
    time.sleep(2)
    assert site.checks(lambda: site.log_in("alice")) == 1
    # Of a crowd that never stops, one asks each time.
    start = time.monotonic()
    checks = site.checks(lambda: [site.at_once([ALICE] * 20) for _ in range(10)])
    assert checks <= time.monotonic() - start + 1


@one_host
def test_each_request_is_checked_where_nothing_is_remembered(site: Guarded) -> None:
    site.settings["registry_proxy_password_cache_seconds"] = 0
    site.deploy("--tags=proxy")
    assert site.checks(lambda: [site.log_in("alice") for _ in range(3)]) == 3
    assert is_refusal(site.answer("/v2/", headers={"Authorization": WRONG["wrong"]}))
