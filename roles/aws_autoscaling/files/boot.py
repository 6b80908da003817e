#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a registry of the host that this runs on, and keep it up to date, with what its bucket holds.

    boot.py boot|bake --seconds=N    at the first boot, called by the user-data: install, configure, watch; `bake` for an image
    boot.py pull                     by a timer: configure again where `live.json` has changed, finish where the group takes the host out,
                                     end where nothing has answered on it for long

It lies in a bundle beside the collections whose playbook it runs. Whatever it did may be done again at any time.
A failure is one sentence, the last line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional
from urllib.parse import urlencode, urlsplit

# Its own folder is where Python looks first.
from _instance_fetch import (
    Fetched,
    NoRedirect,
    Problem,
    Source,
    ask,
    fetch,
    metadata,
    patiently,
    role_keys,
    say,
    signed,
)

FORMAT = 1
HOME = Path("/opt/drydock")
UNITS = Path("/etc/systemd/system")
LOCK = Path("/run/drydock-boot.lock")
BUNDLE = Path(__file__).resolve().parents[1]
MINIMUM_PYTHON = (3, 11)
# A run of the playbook that takes longer than this hangs.
RUN_SECONDS = 1500
HEALTH_SECONDS = 60
STORAGE_SECONDS = 20
LONGEST_PAUSE_SECONDS = 600
# What nobody answers for so long is nothing that Docker starts again by itself.
SILENT_SECONDS = 300
# A download breaks off, or somebody else installs a package just then.
AGENT_TRIES = 3
AGENT_PAUSE_SECONDS = 5
# The group begins to wait for a host some seconds after it runs.
GROUP_SECONDS = 60
# What AWS says of a host that nobody waits for: https://docs.aws.amazon.com/autoscaling/ec2/userguide/completing-lifecycle-hooks.html
NOBODY_WAITS = "No active Lifecycle Action found"
# What is true until the host restarts: since when nobody answers on it, that the group knows that it serves, that it is to go, that it
# has finished; when the agent of Session Manager was tried last.
SILENT, ENTERED, LEAVING, FINISHED, AGENT_ASKED = (
    Path(f"/run/drydock-{name}") for name in ("silent-since", "entered", "leaving", "finished", "agent-asked")
)
# In the order in which they end: nginx finishes its requests while registries answer.
CONTAINERS = ("drydock-proxy", "drydock-registry-a", "drydock-registry-b")
# The repository that verify.yml pushes to.
PROBE = "drydock/probe"

# All that may change while a host lives. A bundle is known by its checksum, and this is known by nothing: whoever may write it decides who
# gets in, and about nothing else.
LIVE = frozenset(
    (
        "registry_auth_users",
        "registry_auth_anonymous_pull_enabled",
        "registry_auth_anonymous_repositories",
        "registry_proxy_client_ca_certificate",
        "registry_proxy_client_crl",
        "registry_tls_provided",
    )
)
# What makes a host this host and no other, or is not for everybody who gets its image. The roles make all of it anew, and what is
# fetched is fetched anew: the bundle holds the secret that registries share.
IDENTITY = (
    "/etc/drydock",
    "/var/lib/drydock",
    *(str(HOME / name) for name in ("ansible", "bundles", "current", "source.json", "state")),
    "/etc/docker/key.json",
    "/etc/letsencrypt",
    "/etc/ssh/ssh_host_*",
    *(
        f"{home}/{name}"
        for home in ("/root", "/home/*")
        for name in (".ssh/authorized_keys", ".bash_history", ".docker")
    ),
    "/var/lib/amazon",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/log/drydock",
    "/var/log/journal/*",
    "/var/log/cloud-init*.log",
)
# The variables that put somewhere else what lies in the first two.
FOLDER = re.compile(r"(drydock|registry)_(\w+_)?(directory|webroot)")
# On an image: the bundle with which everything was installed.
BAKED = HOME / "baked"
# What Ansible tells the age of apt's lists by.
LISTS = (Path("/var/lib/apt/periodic/update-success-stamp"), Path("/var/lib/apt/lists"))


class Bundle(NamedTuple):
    """What this host is made of."""

    variables: Mapping[str, Any]
    collection_version: str
    pip_index_url: str
    pull_interval_seconds: int
    # The package of Session Manager's agent and its hash; empty where nobody is to have sessions.
    agent_url: str
    agent_sha256: str
    # The Auto Scaling group, where it is asked, and how long a host that it takes out may finish.
    group: str
    group_url: str
    drain_seconds: int


def read_bundle(folder: Path = BUNDLE) -> Bundle:
    """Read the settings that lie in a bundle."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    if settings["format"] != FORMAT:
        raise Problem(
            f"settings.json of the bundle has the format {settings['format']}, and this program reads {FORMAT}"
        )
    boot = settings["boot"]
    return Bundle(settings["variables"], settings["collection_version"], **boot)


# ----- what changes while the host lives --------------------------------------------------------------------------------------


class State:
    """What the host keeps of its bucket, for root only."""

    def __init__(self, home: Path = HOME) -> None:
        self.folder = home / "state"
        self.applied = self.folder / "live.json"
        self.refused = self.folder / "refused.json"
        self.inventory = self.folder / "inventory.yml"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def etag(self) -> str:
        """What S3 calls the version that the host runs with."""
        return str(self._read(self.folder / "etag.json").get("etag", ""))

    def keep(self, fetched: Fetched) -> None:
        """Remember what the host runs with."""
        write(self.applied, fetched.content)
        write(self.folder / "etag.json", json.dumps({"etag": fetched.etag}).encode())
        self.refused.unlink(missing_ok=True)

    def is_applied(self, live: Mapping[str, Any]) -> bool:
        """Tell whether the host runs with these variables; what else a file says of itself makes no difference.

        What was refused may have been in force in part, and so nothing is for sure until something has been applied again.
        """
        return not self.refused.is_file() and self.applied.is_file() and read_live(self.applied.read_bytes()) == live

    def refuse(self, content: bytes, interval: int) -> None:
        """Wait longer and longer with what has failed; something else is tried at once."""
        digest = hashlib.sha256(content).hexdigest()
        known = self._read(self.refused)
        pause = min(int(known["pause"]) * 2, LONGEST_PAUSE_SECONDS) if known.get("sha256") == digest else interval
        write(self.refused, json.dumps({"sha256": digest, "pause": pause, "until": time.time() + pause}).encode())
        # Should what was there before come back, it is to be seen.
        (self.folder / "etag.json").unlink(missing_ok=True)

    def waits(self, content: bytes) -> bool:
        """Tell whether this has failed and is to be left alone for a while."""
        known = self._read(self.refused)
        left = float(known.get("until", 0)) - time.time()
        # A clock that was set back does not make it wait for ever.
        return known.get("sha256") == hashlib.sha256(content).hexdigest() and 0 < left <= LONGEST_PAUSE_SECONDS

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def write(path: Path, content: bytes) -> None:
    """Write a file that only root reads: all of it or nothing."""
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
        os.fsync(stream.fileno())
    new.replace(path)


def read_live(content: bytes) -> dict[str, Any]:
    """Return the variables of live.json."""
    try:
        live = json.loads(content)
    except ValueError:
        raise Problem("live.json in the bucket is no JSON: run the playbook again") from None
    if not isinstance(live, dict) or live.get("format") != FORMAT or not isinstance(live.get("variables"), dict):
        raise Problem(f"live.json in the bucket is none of the format {FORMAT}: run the playbook again")
    strangers = sorted(set(live["variables"]) - LIVE)
    if strangers:
        raise Problem(
            f"live.json in the bucket holds {', '.join(strangers)}, which belongs into settings: run the playbook again"
        )
    return dict(live["variables"])


def bundle_source(home: Path = HOME) -> Source:
    """Return where the bucket is, and who may read it."""
    return Source(**json.loads((home / "source.json").read_text(encoding="utf-8")))


def live_source() -> Source:
    """Return where live.json is."""
    source = bundle_source()
    return source._replace(url=f"{source.url}/live.json")


# ----- the group that this host is of -----------------------------------------------------------------------------------------


def wanted_state() -> str:
    """Return where the group wants this host to be: `InService`, `Terminated`; empty for a host of no group.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
    """
    return metadata("autoscaling/target-lifecycle-state")[0]


def tell_group(bundle: Bundle, hook: str) -> None:
    """Tell the group, which waits at this hook, that this host is ready for what comes next."""
    source = bundle_source()
    keys = role_keys(source.instance_profile)
    call = {
        "Action": "CompleteLifecycleAction",
        "Version": "2011-01-01",
        "AutoScalingGroupName": bundle.group,
        "LifecycleHookName": hook,
        "LifecycleActionResult": "CONTINUE",
        "InstanceId": metadata("instance-id")[0],
    }
    body = urlencode(call).encode()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    now = datetime.datetime.now(datetime.timezone.utc)
    headers = signed(bundle.group_url, source.region, keys, kind, now, body)
    try:
        ask(urllib.request.build_opener(NoRedirect), bundle.group_url, headers, "POST", body)
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        if NOBODY_WAITS in said:
            raise Unawaited(f"the group {bundle.group} does not wait for this host at {hook}") from None
        message = re.search("<Message>(.*?)</Message>", said, re.DOTALL)
        raise Problem(
            f"the group {bundle.group} does not hear this host ({error.code} {message[1].strip() if message else said}): "
            f"give the role {keys.role} the right autoscaling:CompleteLifecycleAction on it"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Problem(
            f"{bundle.group_url} does not answer ({reason}): hosts need a way to it, such as an interface endpoint"
        ) from None


class Unawaited(Problem):
    """The group waits for something else, or for nothing."""


def enter_service(bundle: Bundle, deadline: float) -> None:
    """Have the group register this host with the load balancer, which it does only now."""
    if ENTERED.exists():
        return
    # It does not wait for a host that has restarted.
    with contextlib.suppress(Unawaited):
        patiently(lambda: tell_group(bundle, "launch"), deadline)
    ENTERED.touch()


def leave_service(bundle: Bundle) -> None:
    """Finish what is under way, and let the group end this host."""
    if FINISHED.exists():
        return
    if not LEAVING.exists():
        # The load balancer is told first, and lets go of a host within seconds.
        LEAVING.touch()
        return
    say("the group takes this host out: it finishes what is under way.")
    deadline = time.monotonic() + bundle.drain_seconds
    for name in CONTAINERS:
        seconds = max(int(deadline - time.monotonic()), 1)
        # One that is not there holds up nobody.
        subprocess.run(["docker", "stop", f"--time={seconds}", name], stdin=subprocess.DEVNULL, check=False)
    with contextlib.suppress(Unawaited):
        tell_group(bundle, "terminate")
    FINISHED.touch()
    say("this host has finished.")


def end_if_silent(bundle: Bundle, variables: Mapping[str, Any]) -> None:
    """End a host on which nobody has answered for long, so that the group makes another one.

    Asked is whether a registry answers at all. One whose storage is away does, and another host would find it away, too.
    """
    if answers(variables, "/livez"):
        SILENT.unlink(missing_ok=True)
        return
    now = time.monotonic()
    if not SILENT.exists():
        SILENT.write_text(str(now), encoding="utf-8")
    if now - float(SILENT.read_text(encoding="utf-8")) >= SILENT_SECONDS:
        run("systemctl", "--no-block", "poweroff", seconds=60)
        raise Problem(
            f"FAILED: no registry has answered on this host of {bundle.group} for {SILENT_SECONDS} s, so it ends"
        )


# ----- the playbook -----------------------------------------------------------------------------------------------------------


def as_yaml(value: Any) -> str:
    """Write YAML that Ansible takes as it is: what looks like a template in a text is none, whatever it looks like."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(str(key))}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(as_yaml(item) for item in value) + "]"
    if isinstance(value, str):
        # Behind this tag Ansible takes no notice of quotes: "off" would be false, "2.8" a number, "" nothing. Texts that are read so have
        # neither of these characters, and templates have one of them.
        return f"!unsafe {quoted(value)}" if re.search("[{#]", value) else quoted(value)
    return json.dumps(value)


def quoted(text: str) -> str:
    """Write a text in quotes. JSON writes characters beyond U+FFFF as two, which YAML refuses."""
    return '"' + "".join(f"\\U{ord(one):08x}" if ord(one) > 0xFFFF else json.dumps(one)[1:-1] for one in text) + '"'


def inventory(bundle: Bundle, live: Mapping[str, Any]) -> str:
    """Return the inventory in which this host is the only registry."""
    variables = {
        **bundle.variables,
        **live,
        "drydock_platform": "host",
        "ansible_connection": "local",
        # root is who runs it.
        "ansible_become": False,
    }
    # The Python that runs Ansible has the libraries that the modules need. Last, so that nothing before it counts.
    variables.pop("ansible_python_interpreter", None)
    host = as_yaml(variables)[:-1] + ', "ansible_python_interpreter": "{{ ansible_playbook_python }}"}'
    return f'---\n{{"all": {{"children": {{"registry": {{"hosts": {{"localhost": {host}}}}}}}}}}}\n'


def configure(python: Path, bundle: Bundle, live: Mapping[str, Any], state: State, seconds: float) -> None:
    """Run the playbook on this host."""
    write(state.inventory, inventory(bundle, live).encode())
    keep_lists()
    run(
        python / "bin" / "ansible-playbook",
        f"--inventory={state.inventory}",
        BUNDLE / "collections/ansible_collections/drydock/registry/playbooks/configure.yml",
        seconds=seconds,
        environment={"ANSIBLE_CONFIG": str(BUNDLE / "boot/ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )


def keep_lists() -> None:
    """Have a host of an image of this bundle ask no mirror: it may have no way to one, and has what these lists say."""
    if BAKED.is_file() and BAKED.read_text(encoding="utf-8") == BUNDLE.name:
        for path in LISTS:
            if path.exists():
                os.utime(path)


def run(*command: str | Path, seconds: float, environment: Optional[Mapping[str, str]] = None) -> None:
    """Run a program whose output is for the log."""
    # cloud-init and systemd set neither a home nor a language.
    base = {"HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env={**os.environ, **base, **(environment or {})},
            timeout=max(seconds, 1),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"{name} has not ended after {int(max(seconds, 1))} s") from None
    except OSError as error:
        raise Problem(f"{name} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise Problem(f"{name} ended with {done.returncode}, and the log says why")


def answers(variables: Mapping[str, Any], path: str) -> bool:
    """Tell whether this host answers with 200."""
    # It asks itself, and the certificate is for another name.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", int(variables.get("registry_proxy_https_port", 443)), timeout=10, context=context
    )
    try:
        connection.request("GET", path, headers={"Host": str(variables.get("drydock_domain", "localhost"))})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_healthy(variables: Mapping[str, Any]) -> bool:
    """Tell whether the registry answers as the load balancer asks it."""
    return answers(variables, "/healthz")


def wait_until_healthy(variables: Mapping[str, Any], deadline: float) -> None:
    """Wait for the registry's answer."""
    while not is_healthy(variables):
        if time.monotonic() > deadline:
            raise Problem("the registry does not answer at /healthz")
        time.sleep(0.5)


class Socket(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def storage_problem(path: Path) -> str:
    """Say what keeps a registry from storing images; empty where nothing does.

    Its health page tells this only after several checks a minute apart. So an upload is begun, which writes and reads, and given up again.
    """
    try:
        with contextlib.closing(Socket(path)) as connection:
            connection.request("POST", f"/v2/{PROBE}/blobs/uploads/", headers={"Content-Length": "0"})
            answer = connection.getresponse()
            status, said, where = answer.status, answer.read(), urlsplit(answer.headers["Location"] or "")
            # One that takes no images from anybody: read-only, or a mirror.
            if status == 405:
                return ""
            if status == 202:
                connection.request("DELETE", f"{where.path}?{where.query}")
                answer = connection.getresponse()
                status, said = answer.status, answer.read()
                if status == 204:
                    return ""
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    return f"{status} {said[:300].decode(errors='replace').strip()}"


def wait_until_stored(variables: Mapping[str, Any], deadline: float) -> None:
    """Wait until a registry can store images: a role that is new is not known everywhere at once."""
    folder = Path(str(variables.get("registry_server_socket_directory", "/var/lib/drydock/sockets")))
    while problem := storage_problem(folder / "registry-a.sock"):
        if time.monotonic() > deadline:
            raise Problem(f"the registry cannot store images, and answers {problem}")
        time.sleep(1)


# ----- what the playbook needs ------------------------------------------------------------------------------------------------


def python_folder(requirements: bytes) -> Path:
    """Name the virtual environment by what is in it."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return HOME / "python" / hashlib.sha256(version.encode() + requirements).hexdigest()[:16]


def install_python(bundle: Bundle, deadline: float) -> Path:
    """Return a virtual environment with Ansible and the libraries, in the versions that the controller has."""
    path = BUNDLE / "requirements.txt"
    folder = python_folder(path.read_bytes())
    finished = folder / "finished"
    if finished.is_file():
        return folder
    if sys.version_info < MINIMUM_PYTHON:
        raise Problem(
            f"Python is {sys.version.split()[0]}, and Ansible needs 3.11 or newer: take an image of Debian 12 or newer"
        )
    patiently(lambda: install_venv(deadline), deadline)
    shutil.rmtree(folder, ignore_errors=True)
    seconds = deadline - time.monotonic()
    run(sys.executable, "-m", "venv", folder, seconds=seconds)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check")
    # Built packages only: a host has no compiler. An index may need a password, which is for no list of processes.
    environment = {"PIP_INDEX_URL": bundle.pip_index_url} if bundle.pip_index_url else {}
    # As the bundle is packed, with all hashes or none.
    hashes = ("--require-hashes",) if b"--hash=" in path.read_bytes() else ()
    patiently(
        lambda: run(
            *pip,
            *("--quiet", "--only-binary=:all:", *hashes, f"--requirement={path}"),
            seconds=deadline - time.monotonic(),
            environment=environment,
        ),
        deadline,
    )
    finished.touch()
    return folder


def agent_package(bundle: Bundle) -> bytes:
    """Return the agent's package, and no other file."""
    content = ask(urllib.request.build_opener(NoRedirect), bundle.agent_url, {})[0]
    found = hashlib.sha256(content).hexdigest()
    if found != bundle.agent_sha256:
        raise Problem(f"it is another file than the one that was meant, with the SHA-256 {found}")
    return content


def install_agent(bundle: Bundle, tries: int = AGENT_TRIES) -> None:
    """Let those whom IAM lets open a session on this host. Without the agent it is a registry all the same."""
    if not bundle.agent_url or shutil.which("amazon-ssm-agent"):
        return
    AGENT_ASKED.touch()
    package = HOME / "amazon-ssm-agent.deb"
    for left in reversed(range(tries)):
        try:
            package.write_bytes(agent_package(bundle))
            run("dpkg", "--install", package, seconds=300)
            run("systemctl", "enable", "--now", "amazon-ssm-agent.service", seconds=60)
        except (Problem, OSError, http.client.HTTPException) as problem:
            if left:
                time.sleep(AGENT_PAUSE_SECONDS)
                continue
            say(f"nobody can open a session on this host: {bundle.agent_url}: {problem}.")
        finally:
            package.unlink(missing_ok=True)
        return


def retry_agent(bundle: Bundle) -> None:
    """Try again now and then, where the host has come up without it."""
    if (
        bundle.agent_url
        and time.time() - (AGENT_ASKED.stat().st_mtime if AGENT_ASKED.exists() else 0) > LONGEST_PAUSE_SECONDS
    ):
        install_agent(bundle, tries=1)


def install_venv(deadline: float) -> None:
    """Install what makes virtual environments; Debian packs it by itself."""
    probe = subprocess.run(
        [sys.executable, "-c", "import ensurepip, venv"],
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if not probe.returncode:
        return
    if not shutil.which("apt-get"):
        raise Problem(
            "this Python makes no virtual environments, and there is no apt-get to install what it needs with"
        )
    # Another job of the first boot may hold either lock.
    run("apt-get", "-q", "update", seconds=deadline - time.monotonic())
    options = ("-qy", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends")
    run("apt-get", "install", *options, "python3-venv", seconds=deadline - time.monotonic())


def watch(bundle: Bundle) -> None:
    """Have the host look for changes from now on, after each start too."""
    interval = bundle.pull_interval_seconds
    timer = f"""[Unit]
Description=Look whether users or certificates of the registry have changed

[Timer]
OnActiveSec={interval}
OnUnitInactiveSec={interval}
# Not all hosts at once.
RandomizedDelaySec={max(interval // 4, 1)}
AccuracySec=1

[Install]
WantedBy=timers.target
"""
    (UNITS / "drydock-pull.timer").write_text(timer, encoding="utf-8")
    shutil.copyfile(BUNDLE / "boot/drydock-pull.service", UNITS / "drydock-pull.service")
    run("systemctl", "daemon-reload", seconds=60)
    run("systemctl", "enable", "--now", "drydock-pull.timer", seconds=60)


def tidy(python: Path) -> None:
    """Make this bundle the one in use, and remove what others have left, such as those of the image."""
    link = HOME / "current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(BUNDLE)
    link.replace(HOME / "current")
    for folder, kept in ((BUNDLE.parent, BUNDLE), (python.parent, python)):
        for other in folder.iterdir():
            if other != kept:
                shutil.rmtree(other, ignore_errors=True)


@contextlib.contextmanager
def alone(wait: bool) -> Iterator[bool]:
    """Keep two runs apart; yields whether this one may go on."""
    with LOCK.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


# ----- what is asked for ------------------------------------------------------------------------------------------------------


def boot(seconds: int) -> None:
    """Make a registry of this host."""
    deadline = time.monotonic() + seconds
    bundle, state = read_bundle(), State()
    with alone(wait=True):
        install_agent(bundle)
        python = install_python(bundle, deadline)
        fetched = patiently(lambda: fetch(live_source()), deadline)
        if fetched is None:
            raise Problem("the bucket has no live.json")
        live = read_live(fetched.content)
        configure(python, bundle, live, state, deadline - time.monotonic())
        wait_until_healthy({**bundle.variables, **live}, min(deadline, time.monotonic() + HEALTH_SECONDS))
        wait_until_stored(bundle.variables, min(deadline, time.monotonic() + STORAGE_SECONDS))
        state.keep(fetched)
        tidy(python)
    watch(bundle)
    # A host of no group, such as one that bakes an image, has nobody to tell.
    if wanted_state() == "InService":
        enter_service(bundle, min(deadline, time.monotonic() + GROUP_SECONDS))
    say("this host is a registry.")


def pull() -> None:
    """Have the host become what live.json says, where that has changed, and what the group wants it to be."""
    bundle, state = read_bundle(), State()
    with alone(wait=False) as may_go_on:
        if not may_go_on:
            return
        wanted = wanted_state()
        if wanted == "Terminated":
            leave_service(bundle)
            return
        if wanted == "InService":
            enter_service(bundle, time.monotonic())
            end_if_silent(bundle, {**bundle.variables, **read_live(state.applied.read_bytes())})
        retry_agent(bundle)
        fetched = fetch(live_source(), state.etag)
        if fetched is None:
            return
        if state.waits(fetched.content):
            return
        try:
            live = read_live(fetched.content)
        except Problem:
            state.refuse(fetched.content, bundle.pull_interval_seconds)
            raise
        if not state.is_applied(live):
            apply(bundle, state, live, fetched)
        state.keep(fetched)


def apply(bundle: Bundle, state: State, live: Mapping[str, Any], fetched: Fetched) -> None:
    """Run the playbook with another live.json; what fails leaves a registry that answers."""
    python = python_folder((BUNDLE / "requirements.txt").read_bytes())
    try:
        configure(python, bundle, live, state, RUN_SECONDS)
        wait_until_healthy({**bundle.variables, **live}, time.monotonic() + HEALTH_SECONDS)
    except Problem as problem:
        state.refuse(fetched.content, bundle.pull_interval_seconds)
        if state.applied.is_file():
            known = read_live(state.applied.read_bytes())
            if not is_healthy({**bundle.variables, **known}):
                say("the registry does not answer any more: back to what it had before.")
                configure(python, bundle, known, state, RUN_SECONDS)
        raise Problem(f"the changed live.json is not in force: {problem}") from None
    say("this host is as live.json says.")


def bake(seconds: int) -> None:
    """Install all that a host needs, then take away what makes it this host, and switch it off."""
    bundle = read_bundle()
    own_folders(bundle.variables)
    boot(seconds)
    run("systemctl", "disable", "--now", "drydock-pull.timer", seconds=60)
    # A run of it that had begun is at its end, and no other one begins.
    with alone(wait=True):
        forget({**bundle.variables, **read_live(State().applied.read_bytes())})
        write(BAKED, BUNDLE.name.encode())
    say("this host is ready to become an image.")
    if shutil.which("cloud-init"):
        run("cloud-init", "clean", "--logs", seconds=120)
    os.sync()
    run("systemctl", "--no-block", "poweroff", seconds=60)


def own_folders(variables: Mapping[str, Any]) -> list[str]:
    """Return the folders that the registry has to itself by its settings."""
    folders = []
    for name, value in sorted(variables.items()):
        if FOLDER.fullmatch(name) and value:
            folder = os.path.normpath(str(value))
            # With `/` and the folder's own name.
            if len(Path(folder).parts) < 3 or not folder.startswith("/"):
                raise Problem(
                    f"{name} is {value}, which no image can do without: write a folder of the registry's own, such as /srv/drydock"
                )
            folders.append(folder)
    return folders


def forget(variables: Mapping[str, Any]) -> None:
    """Take away what makes this host the one that it is."""
    for name in containers():
        run("docker", "rm", "--force", "--volumes", name, seconds=120)
    run("systemctl", "stop", "docker.service", "docker.socket", seconds=120)
    paths = [path for pattern in IDENTITY for path in Path("/").glob(pattern[1:])]
    # What is mounted there may be everybody's: nothing of it is touched, and there is no image.
    keep_mounts = ("--one-file-system", "--preserve-root=all")
    run("rm", "--recursive", "--force", *keep_mounts, "--", *paths, *own_folders(variables), seconds=300)
    # Empty, as systemd wants it in an image: each host that starts from it fills it anew.
    Path("/etc/machine-id").write_text("", encoding="utf-8")


def containers() -> list[str]:
    """Return the ids of all containers: they hold what they were made with."""
    done = subprocess.run(
        ["docker", "ps", "--all", "--quiet"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def main() -> int:
    """Do what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["boot", "bake", "pull"])
    parser.add_argument("--seconds", type=int, default=1200)
    arguments = parser.parse_args()
    whats: dict[str, Callable[[], None]] = {
        "boot": lambda: boot(arguments.seconds),
        "bake": lambda: bake(arguments.seconds),
        "pull": pull,
    }
    try:
        whats[arguments.what]()
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
