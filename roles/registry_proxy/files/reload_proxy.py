#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make nginx take what lies on disk: its configuration, certificates, revocations and access rules.

    drydock-reload-proxy            reloads nginx where it has loaded something else; prints "changed" or "unchanged"
    drydock-reload-proxy --check    changes nothing; prints "loaded" or "pending"
    drydock-reload-proxy --leave    leaves what nginx refuses where it is, for another nginx that is about to take its place
    drydock-reload-proxy --put-back puts back what nginx had accepted before, and reloads

Where one nginx is taking the place of another, both take it. Ends with 0 as well where there is no container, or one that is stopped
or cannot start: that one reads the files when it starts.
Otherwise ends with 1 and one sentence on standard error, and nginx goes on with what it had loaded. So it does after a restart: what it
had accepted is put back in the place of what it refuses.

Folders are those of the container, the port is that of nginx.conf. What is loaded, nginx itself says at /healthz, so a reload that was
lost is noticed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CONTAINER = "drydock-proxy"
# One takes the place of another, and both serve meanwhile; where a run was killed, for longer.
CONTAINERS = (CONTAINER, f"{CONTAINER}-old")
# Where the container sees the folders.
CONFIGURATION = "/etc/drydock/proxy"
TLS = "/etc/drydock/tls"
AUTH = "/etc/drydock/auth"

# What nginx reads when it loads, and the passwords: those that it has accepted, it forgets at a reload.
READ_AT_LOAD = (
    (CONFIGURATION, "nginx.conf"),
    (CONFIGURATION, "access.js"),
    (CONFIGURATION, "passwords.js"),
    (CONFIGURATION, "metrics.js"),
    (CONFIGURATION, "client-ca.crt"),
    (CONFIGURATION, "client.crl"),
    (AUTH, "access.json"),
    (AUTH, "htpasswd"),
    (TLS, "tls.crt"),
    (TLS, "tls.key"),
)

DOCKER_SECONDS = 30
LOCK_SECONDS = 120
RESTART_SECONDS = 30
LOAD_SECONDS = 60
# /healthz takes nine where no registry reads its storage: what is said of nginx is the same then.
ANSWER_SECONDS = 10
# For a moment after a reload, old worker processes still accept connections.
SETTLED_SECONDS = 0.5


class Failed(Exception):
    """Carries the sentence for the user."""


# As the role's template writes it.
LISTENS = re.compile(r"^\s*listen (?!\[::\])([0-9.]+|\[[0-9a-f:.]+\]):([0-9]+) ssl\b", re.MULTILINE)
READS_RULES = re.compile(r"^\s*js_preload_object access_rules ", re.MULTILINE)


class Proxy(NamedTuple):
    """Where nginx has its folders on this host, and the containers in which it runs."""

    folders: dict[str, Path]
    running: tuple[str, ...]

    def listens(self) -> tuple[str, int]:
        """Return where nginx answers with the configuration that lies on disk."""
        conf = self.folders[CONFIGURATION] / "nginx.conf"
        found = LISTENS.search(conf.read_text(encoding="utf-8"))
        if not found:
            raise Failed(f"{conf} does not say where nginx listens; run the playbook that wrote it once more.")
        address = "127.0.0.1" if found[1] == "0.0.0.0" else found[1].strip("[]")  # noqa: S104 (a comparison)
        return address, int(found[2])

    def conf(self) -> Path:
        """Return the file that nginx.conf includes."""
        return self.folders[CONFIGURATION] / "loaded.conf"


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run docker. Programs that call this one may have no PATH to speak of."""
    path = ":".join(filter(None, (os.environ.get("PATH"), "/usr/local/bin:/usr/bin:/bin")))
    try:
        return subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DOCKER_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(
            f"Docker does not answer within {DOCKER_SECONDS} seconds; look at `systemctl status docker`."
        ) from error


def find_proxy() -> Proxy | None:
    """Look for the containers; None where there are none or Docker is not installed."""
    try:
        found = [details for name in CONTAINERS for details in inspect(name)]
    except FileNotFoundError:
        return None
    return proxy_of(found) if found else None


def inspect(name: str) -> list[dict[str, Any]]:
    """Ask Docker for a container; nothing where there is none."""
    done = docker("container", "inspect", name)
    if done.returncode == 0:
        return list(json.loads(done.stdout))
    if "no such container" in done.stderr.lower():
        return []
    raise Failed(f"Docker cannot tell whether there is a container {name}: {complaint(done.stderr)}")


def proxy_of(found: list[dict[str, Any]]) -> Proxy:
    """Read what `docker container inspect` says of the containers."""
    folders = {mount["Destination"]: Path(mount["Source"]) for mount in found[0]["Mounts"]}
    missing = [folder for folder in (CONFIGURATION, TLS, AUTH) if folder not in folders]
    if missing:
        raise Failed(f"the container {CONTAINER} has no {missing[0]}; run the playbook that made it once more.")
    return Proxy(folders, tuple(details["Name"].lstrip("/") for details in found if serves(details)))


def serves(details: dict[str, Any]) -> bool:
    """Tell whether nginx runs in a container."""
    state = details["State"]
    # One with a network of its own is of an earlier release, cannot listen as nginx.conf says, and is about to be replaced.
    on_host = details["HostConfig"]["NetworkMode"] == "host"
    return bool(on_host and state["Running"] and not state["Restarting"])


def complaint(text: str) -> str:
    """Return the line of a program's complaint that names the cause."""
    lines = text.strip().splitlines() or ["no reason given"]
    return next((line for line in lines if "[emerg]" in line), lines[-1])


def rules_problem(text: bytes) -> str:
    """Say what is wrong with the access rules, or nothing. nginx takes any JSON, and refuses everybody where it is not this."""
    try:
        rules = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {error}"
    if not isinstance(rules, dict) or not isinstance(rules.get("users"), dict) or "anonymous" not in rules:
        return "has to be an object with `users` and `anonymous`"
    anonymous = rules["anonymous"]
    if anonymous is not None and not has_repositories(anonymous):
        return "has to have `anonymous` null, or an object with a list of repositories"
    for name, user in rules["users"].items():
        if not has_repositories(user) or user.get("access") not in ("pull", "create", "push", "admin", "metrics"):
            return (
                f"has to give the user {json.dumps(name)} an access, pull, create, push, admin or metrics, "
                "and a list of repositories"
            )
    return ""


def has_repositories(entry: Any) -> bool:
    """Tell whether an entry of the rules has a list of patterns."""
    patterns = entry.get("repositories") if isinstance(entry, dict) else None
    return isinstance(patterns, list) and all(isinstance(pattern, str) for pattern in patterns)


def refuse_rules(proxy: Proxy) -> None:
    """Raise where nginx would read access rules that say nothing."""
    rules = proxy.folders[AUTH] / "access.json"
    conf = (proxy.folders[CONFIGURATION] / "nginx.conf").read_text(encoding="utf-8")
    problem = rules_problem(rules.read_bytes()) if READS_RULES.search(conf) and rules.exists() else ""
    if problem:
        raise Failed(f"nginx goes on with what it had loaded: {rules} {problem}.")


def content(folders: dict[str, Path]) -> bytes:
    """Return all that nginx reads when it loads, so that no two states look alike."""
    parts = []
    for folder, name in READ_AT_LOAD:
        path = folders[folder] / name
        text = path.read_bytes() if path.exists() else b""
        parts.append(f"{name} {path.exists()} {len(text)}\n".encode() + text)
    return b"".join(parts)


def fingerprint(folders: dict[str, Path]) -> str:
    """Name the present content of all that nginx reads when it loads. Everybody may know this name."""
    return hashlib.sha256(content(folders)).hexdigest()[:12]


def secret(folders: dict[str, Path]) -> str:
    """Return the secret under which nginx remembers accepted passwords: another one at each change, known to whoever reads the key."""
    key = folders[TLS] / "tls.key"
    return hmac.new(key.read_bytes() if key.exists() else b"", content(folders), hashlib.sha256).hexdigest()


def loaded_conf(name: str, password_secret: str, *, asks_for_certificates: bool) -> str:
    """Return what nginx.conf includes. The cache's name goes with the content: no TLS session outlives what it was made under."""
    lines = [
        "# Written by drydock-reload-proxy at each reload.",
        f"set $loaded_configuration {name};",
        f"set $password_cache_secret {password_secret};",
    ]
    if asks_for_certificates:
        lines += [
            # A resumed session is not asked whether its certificate has expired meanwhile, and can be resumed again and again.
            "ssl_session_cache off;",
            # Whether there must be one is decided for each request, so that /healthz stays open and the answer says why.
            "ssl_verify_client optional;",
            # Directly below the CA.
            "ssl_verify_depth 0;",
            f"ssl_client_certificate {CONFIGURATION}/client-ca.crt;",
            f"ssl_crl {CONFIGURATION}/client.crl;",
        ]
    else:
        lines += [
            f"ssl_session_cache shared:tls_{name}:10m;",
            "# Without a CA and its list of revoked certificates, no certificate counts.",
            "ssl_verify_client off;",
        ]
    return "\n".join(lines) + "\n"


def wanted_conf(proxy: Proxy) -> str:
    """Return what nginx.conf shall include now."""
    there = all((proxy.folders[CONFIGURATION] / name).exists() for name in ("client-ca.crt", "client.crl"))
    return loaded_conf(fingerprint(proxy.folders), secret(proxy.folders), asks_for_certificates=there)


def written_conf(proxy: Proxy) -> str:
    """Return what nginx.conf includes so far."""
    return proxy.conf().read_text(encoding="utf-8") if proxy.conf().exists() else ""


def ask(proxy: Proxy) -> str:
    """Ask nginx what it has loaded; nothing where it does not answer."""
    # Which certificate it has is part of the answer.
    context = ssl._create_unverified_context()  # noqa: S323
    connection = http.client.HTTPSConnection(*proxy.listens(), timeout=ANSWER_SECONDS, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().getheader("Drydock-Configuration") or ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def kept(proxy: Proxy) -> Path:
    """Return the folder of what nginx has accepted, in a folder of its name. Nobody but root gets in."""
    return proxy.folders[CONFIGURATION].with_name("accepted")


def keep(proxy: Proxy) -> None:
    """Keep a copy of what nginx has accepted, which is what lies on disk."""
    folder = kept(proxy)
    place = folder / fingerprint(proxy.folders)
    if place.is_dir():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    former = list(folder.iterdir())
    beside = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    for inside, name in READ_AT_LOAD:
        path = proxy.folders[inside] / name
        if path.exists():
            copy(path, beside / name)
    beside.rename(place)
    for path in former:
        shutil.rmtree(path)


def copy(path: Path, to: Path) -> None:
    """Copy a file with its owner and mode, in one step."""
    about = path.stat()
    beside = to.with_name(f".{to.name}.copied")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600)
    os.chown(beside, about.st_uid, about.st_gid)
    beside.chmod(about.st_mode & 0o7777)
    beside.write_bytes(path.read_bytes())
    beside.replace(to)


def put_back(proxy: Proxy) -> None:
    """Put what nginx has accepted in the place of what it refuses."""
    for accepted in kept(proxy).glob("[0-9a-f]*"):
        for inside, name in READ_AT_LOAD:
            # A certificate that is renewed on the host is reached through links.
            path = (proxy.folders[inside] / name).resolve()
            if not (accepted / name).exists():
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_bytes() != (accepted / name).read_bytes():
                copy(accepted / name, path)


def replace(path: Path, text: str, like: Path) -> None:
    """Replace a file in one step, with the group of another one, which the container can read."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchown(file.fileno(), 0, like.stat().st_gid)
            os.fchmod(file.fileno(), 0o640)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for something; tell whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Let nobody else reload at the same time. The lock ends with this process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def locked() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not wait_until(locked, LOCK_SECONDS):
            raise Failed(f"Another reload holds {folder} since {LOCK_SECONDS} seconds; `fuser {folder}` names it.")
        yield
    finally:
        os.close(descriptor)


def write(proxy: Proxy, text: str) -> None:
    """Write what nginx.conf includes."""
    replace(proxy.conf(), text, proxy.conf().with_name("nginx.conf"))


def nginx(container: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run nginx in a container, which may be about to restart."""
    done = None

    def answered() -> bool:
        nonlocal done
        done = docker("exec", container, "nginx", "-e", "stderr", "-c", f"{CONFIGURATION}/nginx.conf", *arguments)
        return done.returncode == 0 or not re.search("is restarting|is not running|stopped container", done.stderr)

    wait_until(answered, RESTART_SECONDS)
    assert done is not None  # noqa: S101 (for the reader and for mypy)
    return done


def load(proxy: Proxy, *, leave: bool = False) -> None:
    """Let nginx check what lies on disk and take it. What it does not take is left where it is, or put back as it was."""
    before = written_conf(proxy)
    try:
        try_to_load(proxy)
    except Failed:
        if not leave:
            put_back(proxy)
            if before:
                write(proxy, before)
        raise
    keep(proxy)


def try_to_load(proxy: Proxy) -> None:
    """Let nginx check what lies on disk and take it."""
    refuse_rules(proxy)
    before = written_conf(proxy)
    accepted = False
    write(proxy, wanted_conf(proxy))
    try:
        for container in proxy.running:
            checked = nginx(container, "-t", "-q")
            if checked.returncode != 0:
                raise Failed(
                    f"nginx goes on with what it had loaded, for it refuses what is new: {complaint(checked.stderr)}"
                )
        accepted = True
        for container in proxy.running:
            # Not `docker kill --signal HUP`: Docker takes any signal for a stop by hand, and would not start nginx after a reboot.
            signalled = nginx(container, "-s", "reload")
            if signalled.returncode != 0:
                raise Failed(f"nginx in {container} cannot be told to reload: {complaint(signalled.stderr)}")
    finally:
        # A container that crashes starts with what nginx has accepted.
        if not accepted and before:
            write(proxy, before)
    name = fingerprint(proxy.folders)
    if not settled(proxy, name):
        raise Failed(
            f"nginx does not say within {LOAD_SECONDS} seconds that it has loaded {name}; see `docker logs {CONTAINER}`."
        )


def settled(proxy: Proxy, name: str) -> bool:
    """Wait until nobody but new worker processes answers, of either nginx where there are two."""
    since = time.monotonic()

    def only_new_ones() -> bool:
        nonlocal since
        if ask(proxy) != name:
            since = time.monotonic()
        return time.monotonic() - since > SETTLED_SECONDS

    return wait_until(only_new_ones, LOAD_SECONDS)


def is_loaded(proxy: Proxy) -> bool:
    """Tell whether nginx has loaded what lies on disk, or will when it starts."""
    if written_conf(proxy) != wanted_conf(proxy):
        return False
    # Of two, one would answer for the other.
    return not proxy.running or (len(proxy.running) == 1 and ask(proxy) == fingerprint(proxy.folders))


def run(*, check: bool, leave: bool = False, back: bool = False) -> str:
    """Do what was asked; return the word that says so."""
    proxy = find_proxy()
    if check:
        return "loaded" if proxy is None or is_loaded(proxy) else "pending"
    if proxy is None:
        return "unchanged"
    with only_one(proxy.folders[CONFIGURATION]):
        if back:
            put_back(proxy)
        if is_loaded(proxy):
            if proxy.running:
                keep(proxy)
            return "unchanged"
        if proxy.running:
            load(proxy, leave=leave)
        else:
            refuse_rules(proxy)
            write(proxy, wanted_conf(proxy))
        return "changed"


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only look")
    parser.add_argument("--leave", action="store_true", help="leave what nginx refuses where it is")
    parser.add_argument("--put-back", action="store_true", help="put back what nginx had accepted")
    arguments = parser.parse_args()
    try:
        print(run(check=arguments.check, leave=arguments.leave, back=arguments.put_back))
    except (Failed, OSError, KeyError, ValueError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
