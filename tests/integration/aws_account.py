# SPDX-License-Identifier: GPL-3.0-or-later
"""An AWS account of its own for the tests of roles: a local server of the AWS API, empty at first."""

from __future__ import annotations

import base64
import configparser
import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import boto3
import yaml

ROOT = Path(__file__).parents[2]
SERVER = Path(os.environ.get("DRYDOCK_TEST_AWS_API", ROOT / "rehearsal/aws_api.py"))
REGION = "eu-central-1"
# The account that the server has for keys it did not make itself.
ACCOUNT_ID = "123456789012"
START_SECONDS = 300
RUN_SECONDS = 600
# What AWS checks and the server leaves out unless it is told.
SERVER_SETTINGS = {
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
}
INVENTORY = """\
---
all:
  hosts:
    localhost:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


class Account:
    """The account: how to reach it, look into it, change it behind Ansible's back, and run playbooks on it."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "of-no-use-elsewhere",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # Nothing of the user's own, neither from files nor from the machine's role.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._numbers = itertools.count(1)
        self._clients: dict[tuple[str, str], Any] = {}
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(INVENTORY, encoding="utf-8")

    def become(self, access_key: str, secret_key: str) -> None:
        """Take another user's keys from now on."""
        self.environment |= {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
        self._clients.clear()

    def client(self, service: str, region: str = REGION) -> Any:
        """Return boto3's client of a service."""
        if (service, region) not in self._clients:
            session = boto3.session.Session(
                aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
                region_name=region,
            )
            self._clients[service, region] = session.client(service, endpoint_url=self.endpoint)
        return self._clients[service, region]

    def run_playbook(self, playbook: str | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook, given as a path or as its text, with options of ansible-playbook; it may fail."""
        if isinstance(playbook, str):
            text, playbook = playbook, self.folder / f"play-{next(self._numbers)}.yml"
            playbook.write_text(text, encoding="utf-8")
        return subprocess.run(
            self.command(playbook, *arguments),
            cwd=ROOT,
            env=self.everything(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )

    def command(self, playbook: Path, *arguments: str) -> list[str | Path]:
        """Return how a playbook is run."""
        return [
            Path(sys.executable).with_name("ansible-playbook"),
            f"--inventory={self.inventory}",
            playbook,
            *arguments,
        ]

    def everything(self) -> dict[str, str]:
        """Return the whole environment of a run."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "AWS_"))}
        return {
            **inherited,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(ROOT / ".ansible"),
            "ANSIBLE_NOCOLOR": "1",
            **self.environment,
        }

    def reset(self) -> None:
        """Empty the account."""
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            pass


class Session:
    """A run of Ansible that goes on from one call of `Steps.play` to the next.

    Most of what a short run takes is Ansible's start and packing each module once. Each play of this one includes a pipe, from which
    Ansible reads tasks when a test has some.
    """

    PLAYS = 100
    # By folder, options and environment.
    running: ClassVar[dict[tuple[Path, tuple[str, ...], frozenset[tuple[str, str]]], Session]] = {}

    @classmethod
    def of(cls, account: Account, *arguments: str) -> Session:
        """Return the one that goes on, or begin one."""
        key = (account.folder, arguments, frozenset(account.environment.items()))
        if key not in cls.running or cls.running[key].over:
            cls.running[key] = cls(account, *arguments)
        return cls.running[key]

    @classmethod
    def end_all(cls, folder: Path) -> None:
        """End those of an account."""
        for key in [key for key in cls.running if key[0] == folder]:
            cls.running.pop(key).end()

    def __init__(self, account: Account, *arguments: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="session-", dir=account.folder))
        self._pipes = iter([self._folder / f"steps-{number}" for number in range(self.PLAYS)])
        plays = []
        for number in range(self.PLAYS):
            os.mkfifo(self._folder / f"steps-{number}")
            take = {"name": "Take steps", "ansible.builtin.include_tasks": str(self._folder / f"steps-{number}")}
            plays.append({"name": "Steps", "hosts": "localhost", "gather_facts": False, "tasks": [take]})
        playbook = self._folder / "play.json"
        playbook.write_text(json.dumps(plays), encoding="utf-8")
        self._log = self._folder / "output"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                # It would wait for ever for a process of tests that was killed.
                ["setpriv", "--pdeathsig", "KILL", *account.command(playbook, *arguments)],
                cwd=ROOT,
                env=account.everything(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._pipe = self._next()

    @property
    def over(self) -> bool:
        """Tell whether it takes no more tasks."""
        return self._pipe is None

    def run(self, tasks: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        """Run tasks, and return what is shown meanwhile."""
        assert self._pipe is not None
        begin = self._log.stat().st_size
        with os.fdopen(self._pipe, "w", encoding="utf-8") as pipe:
            json.dump(tasks, pipe)
        self._pipe = self._next()
        with self._log.open("rb") as output:
            output.seek(begin)
            shown = output.read().decode()
        return subprocess.CompletedProcess(self._process.args, self._process.returncode or 0, shown, "")

    def end(self) -> None:
        """Let it end."""
        try:
            if not self.over:
                # No play follows one whose only host has failed.
                self.run([{"name": "End", "ansible.builtin.fail": {"msg": "The tests have ended."}}])
        finally:
            self._process.kill()
            self._process.wait()

    def _next(self) -> int | None:
        """Wait until it reads the next pipe; return that, or nothing where the run is over."""
        path = next(self._pipes, None)
        deadline = time.monotonic() + RUN_SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < deadline, self._log.read_text(encoding="utf-8")[-3000:]
            if path:
                with contextlib.suppress(OSError):
                    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                    os.set_blocking(pipe, True)
                    return pipe
            time.sleep(0.02)
        return None


class Steps:
    """Calls of a role, each with other settings."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._tasks: list[dict[str, Any]] = []
        self._answers: dict[int, str] = {}
        # For each call, counted from 0, the names of the tasks that changed something.
        self.changed: list[list[str]] = []
        # What was shown, on one line, so that it does not matter where it was wrapped.
        self.said = ""

    def run(self, settings: dict[str, Any], entry: str = "main") -> Steps:
        """Add a call of an entry point; one of `main` leaves a result."""
        result = f"{self.role}_result | to_json" if entry == "main" else "''"
        return self._add({"block": [self._call(settings, entry), self._say(result)]})

    def refused(self, settings: dict[str, Any], entry: str = "main") -> Steps:
        """Add a call of an entry point that has to fail."""
        missed = {"name": "Miss the refusal", "ansible.builtin.fail": {"msg": "It was not refused."}}
        said = self._say("ansible_failed_result['msg']")
        return self._add({"block": [self._call(settings, entry), missed], "rescue": [said]})

    def play(self, account: Account, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the steps, which have to succeed."""
        done = Session.of(account, *arguments).run(self._tasks)
        changes(done)
        self._answers = {
            int(number): base64.b64decode(text).decode()
            for number, text in re.findall(r"answer-(\d+)-([\w+/=]*)-end", done.stdout)
        }
        # Each call ends with its answer.
        pieces = re.split(r"^TASK \[Say it\]", done.stdout, flags=re.MULTILINE)[:-1]
        assert len(pieces) == len(self._tasks), done.stdout
        self.changed = [_changed(piece) for piece in pieces]
        self.said = " ".join(done.stdout.split())
        return done

    def result(self, number: int) -> Any:
        """Return the role's result of a call, counted from 0."""
        return json.loads(self._answers[number])

    def refusal(self, number: int) -> str:
        """Return what a call that was refused said."""
        return self._answers[number]

    def _add(self, step: dict[str, Any]) -> Steps:
        self._tasks.append({"name": f"Step {len(self._tasks)}", **step})
        return self

    def _call(self, settings: dict[str, Any], entry: str) -> dict[str, Any]:
        role = {"name": f"drydock.registry.{self.role}", "tasks_from": entry}
        return {"name": f"Call {entry}", "ansible.builtin.include_role": role, "vars": settings}

    def _say(self, expression: str) -> dict[str, Any]:
        # One word, which is not wrapped, whatever it says.
        message = f"answer-{len(self._tasks)}-{{{{ {expression} | b64encode }}}}-end"
        return {"name": "Say it", "ansible.builtin.debug": {"msg": message}}


def changes(done: subprocess.CompletedProcess[str]) -> int:
    """Return how many tasks of a run, which has to have succeeded, changed something."""
    assert done.returncode == 0, f"ansible-playbook ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "TASK [" in done.stdout, done.stdout
    return len(_changed(done.stdout))


def changed_tasks(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the names of the tasks that changed something, without the role and the file they stand in."""
    return _changed(done.stdout)


def _changed(output: str) -> list[str]:
    found = []
    for block in re.split(r"^(?:TASK|RUNNING HANDLER) \[", output, flags=re.MULTILINE)[1:]:
        title, _, output = block.partition("] ***")
        if re.search(r"^changed: ", output, re.MULTILINE):
            found.append(re.split(r" : | \| ", title)[-1])
    return found


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a run, which has to have failed, said; on one line, so that it does not matter where it was wrapped."""
    assert done.returncode != 0, f"the run was to fail:\n{done.stdout}"
    return " ".join((done.stdout + done.stderr).split())


def refusals(account: Account, platform: str, inventory: Path, cases: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Provide a platform once for each case, a host with the inventory's settings and its own, and return what each was refused with.

    One run for all of them: most of what a refusal takes is Ansible's start.
    """
    folder = account.folder / f"cases-{platform}"
    folder.mkdir()
    for name in ("tasks", "vars"):
        # Tasks look for their variables beside the playbook.
        (folder / name).symlink_to(ROOT / "playbooks" / name)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: {**local, **settings} for name, settings in cases.items()}
    (folder / "hosts.json").write_text(json.dumps({"cases": {"hosts": hosts}}), encoding="utf-8")
    provide = {"name": "Provide it", "ansible.builtin.include_tasks": f"tasks/provide_{platform}.yml"}
    play = {"name": "Provide", "hosts": "cases", "gather_facts": False, "tasks": [provide]}
    (folder / "play.json").write_text(json.dumps([play]), encoding="utf-8")
    done = account.run_playbook(
        folder / "play.json", f"--inventory={inventory}", f"--inventory={folder}/hosts.json", "--forks=3"
    )
    sentences = {name: " ".join(last_failure(done, name).split()) for name in cases}
    assert all(sentences.values()), f"{sentences}\n{done.stdout}\n{done.stderr}"
    return sentences


def last_failure(done: subprocess.CompletedProcess[str], host: str) -> str:
    """Return what a host failed with at last, a line for each problem, or nothing where it did not."""
    found = re.findall(rf"^fatal: \[{host}\]: FAILED! => *\n((?:    .*\n)+)", done.stdout, re.MULTILINE)
    return str(yaml.safe_load(found[-1])["msg"]).strip() if found else ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_it_answers(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=10):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The AWS API did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")
        time.sleep(0.1)


@contextlib.contextmanager
def aws_account(*, policies_enforced: bool = False, **settings: str) -> Iterator[Account]:
    """Start a server of the AWS API, with settings for its environment, and stop it at the end.

    Where IAM's policies are enforced, the account is its administrator's; else, everybody may do everything.
    """
    with tempfile.TemporaryDirectory(prefix="drydock-aws-") as name:
        folder = Path(name)
        port = _free_port()
        log, keys = folder / "server.log", folder / "administrator"
        enforcing = ["--administrator", str(keys)] if policies_enforced else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, SERVER, "-H", "127.0.0.1", "-p", str(port), *enforcing],
                env={**os.environ, **SERVER_SETTINGS, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(process, endpoint, log)
            account = Account(endpoint, folder)
            if policies_enforced:
                found = configparser.ConfigParser()
                found.read(keys)
                (profile,) = (found[name] for name in found.sections())
                account.become(profile["aws_access_key_id"], profile["aws_secret_access_key"])
            yield account
        finally:
            Session.end_all(folder)
            process.terminate()
            process.wait(timeout=30)
