# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a htpasswd file with bcrypt hashes is, without any Ansible.

The file is owned as a whole: the users that are wanted decide what it holds, and nothing else survives.
No sentence made here ever holds a password or a hash.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

# bcrypt reads no further: a longer password would be accepted by its first 72 bytes alone.
PASSWORD_LIMIT_BYTES = 72
# The longest name that Apache's tools handle.
NAME_LIMIT_BYTES = 255
# The bounds of bcrypt itself.
COST_MINIMUM = 4
COST_MAXIMUM = 31
# The form that Apache's own tool writes. Everything that reads bcrypt at all reads it.
IDENT = "2y"

FILE_SUFFIX = ".password"
# The longest file name of common file systems.
FILE_NAME_LIMIT_BYTES = 255

BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")

T = TypeVar("T")
R = TypeVar("R")


class LibraryError(Exception):
    """passlib or bcrypt is missing or does not work; the text is a sentence for the user."""


class User(NamedTuple):
    """A user as wanted: with a password and the cost of its hash, or with a hash that is taken as it is."""

    name: str
    password: str = ""
    cost: int = COST_MINIMUM
    password_hash: str = ""


class Hasher(Protocol):
    """What is needed of a bcrypt library."""

    def hash(self, password: str, cost: int) -> str: ...

    def verify(self, password: str, hashed: str) -> bool: ...


# ----- what is wrong with users -----------------------------------------------------------------


def name_problem(name: object) -> str:
    """Say what is wrong with a user name, or nothing."""
    if not isinstance(name, str):
        return "is not text: put it in quotes"
    if not name:
        return "is empty: write a name"
    if ":" in name:
        return "contains a colon, which ends the name in the file: leave it out"
    if name in (".", ".."):
        return "stands for a directory: choose another name"
    if "/" in name:
        return "contains a slash, and names also name files: leave it out"
    if name.startswith("#"):
        return "begins with '#', which begins a comment in the file: leave it out"
    # C: control, format and unpaired characters; Z: spaces and separators
    if any(unicodedata.category(character)[0] in "CZ" for character in name):
        return "contains a space, a control character or an invisible one: leave it out"
    if len(name.encode()) > NAME_LIMIT_BYTES:
        return f"is longer than {NAME_LIMIT_BYTES} bytes: shorten it"
    return ""


def password_problem(password: object) -> str:
    """Say what is wrong with a password, or nothing."""
    # A subclass or a stand-in for text (a vaulted value) is as good as text.
    if password is None or isinstance(password, (bool, int, float, bytes, Mapping, list, tuple)):
        return "is not text: put it in quotes"
    text = str(password)
    if not text:
        return "is empty: write one"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return "contains a control character such as NUL or a line break: leave it out"
    if len(text.encode()) > PASSWORD_LIMIT_BYTES:
        return f"is longer than {PASSWORD_LIMIT_BYTES} bytes in UTF-8, of which bcrypt ignores the rest: shorten it"
    return ""


def hash_problem(hashed: object) -> str:
    """Say what is wrong with a hash, or nothing."""
    match = BCRYPT.fullmatch(str(hashed))
    if match is None or not COST_MINIMUM <= int(match["cost"]) <= COST_MAXIMUM:
        return "is no bcrypt hash: write one as `htpasswd -nB` prints it behind the colon, beginning with $2y$"
    return ""


def cost_problem(cost: object) -> str:
    """Say what is wrong with a bcrypt cost, or nothing."""
    if isinstance(cost, bool) or not isinstance(cost, int) or not COST_MINIMUM <= cost <= COST_MAXIMUM:
        return f"must be a whole number from {COST_MINIMUM} to {COST_MAXIMUM}"
    return ""


def users_problems(users: object, variable: str, password_optional: bool = False) -> list[str]:
    """Say what is wrong with a list of users, one sentence each, naming the variable they came from."""
    if not isinstance(users, Sequence) or isinstance(users, (str, bytes)):
        return [f"{variable} is not a list: write a list of users such as [{{name: alice}}]."]

    problems: list[str] = []
    names: Counter[str] = Counter()
    for number, user in enumerate(users, start=1):
        # The entry itself is not shown: it may be a password that stands in the wrong place.
        if not isinstance(user, Mapping):
            problems.append(f"Entry {number} of {variable} is not a dictionary: write {{name: alice}}.")
            continue
        if "name" not in user:
            problems.append(f"Entry {number} of {variable} has no name: add the key 'name'.")
            continue
        name = user["name"]
        label = _label(name)
        problem = name_problem(name)
        if problem:
            problems.append(f"The user name {label} in {variable} {problem}.")
        else:
            names[str(name)] += 1
        has_hash = user.get("password_hash") is not None
        if has_hash and user.get("password") is not None:
            problems.append(f"User {label} in {variable} has a password and a password_hash: leave out one of them.")
        elif has_hash:
            problem = hash_problem(user["password_hash"])
            if problem:
                problems.append(f"The password_hash of user {label} in {variable} {problem}.")
        elif "password" in user and (user["password"] is not None or password_optional):
            problem = password_problem(user["password"])
            if problem and password_optional:
                problem += ", or leave out the key 'password' to have one generated"
            if problem:
                problems.append(f"The password of user {label} in {variable} {problem}.")
        elif not password_optional:
            problems.append(f"User {label} in {variable} has no password: add the key 'password' or 'password_hash'.")
        elif not problem and len((str(name) + FILE_SUFFIX).encode()) > FILE_NAME_LIMIT_BYTES:
            problems.append(f"The user name {label} in {variable} is too long to name a password file: shorten it.")
        problem = cost_problem(user["cost"]) if user.get("cost") is not None else ""
        if problem:
            problems.append(f"The cost of user {label} in {variable} {problem}.")

    problems.extend(
        f"{variable} names the user {_label(name)} {count} times: keep one of them."
        for name, count in names.items()
        if count > 1
    )
    return problems


def _label(name: object) -> str:
    """Show a name so that nothing in it can disturb a terminal or fill it."""
    text = ascii(str(name)) if not str(name).isprintable() else f"'{name}'"
    return text if len(text) <= 60 else f"{text[:50]}...'"


# ----- users whose password is kept in a file ---------------------------------------------------


def password_files(users: Iterable[Mapping[str, Any]], directory: str) -> list[dict[str, str]]:
    """Name the file that keeps each user's generated password; '' where the password is given."""
    return [
        {
            "name": str(user["name"]),
            "password_file": ""
            if "password" in user or "password_hash" in user
            else os.path.join(directory, str(user["name"]) + FILE_SUFFIX),
        }
        for user in users
    ]


def stored_problems(passwords: Mapping[str, str]) -> list[str]:
    """Say what is wrong with stored passwords, by file; a file may be empty after a run that was killed."""
    problems = {path: password_problem(password).partition(":")[0] for path, password in passwords.items()}
    return [
        f"The password in {path} {problem}: delete the file to have a new one generated."
        for path, problem in problems.items()
        if problem
    ]


def join_passwords(
    users: Iterable[Mapping[str, Any]],
    directory: str,
    passwords: Mapping[str, str],
    cost: int,
    generated_cost: int,
) -> list[dict[str, Any]]:
    """Complete each user with a password and a cost; `passwords` are the generated ones, by their file."""
    users = list(users)
    joined: list[dict[str, Any]] = []
    for user, file in zip(users, password_files(users, directory)):
        if "password_hash" in user:
            joined.append({"name": file["name"], "password_hash": str(user["password_hash"])})
        elif file["password_file"]:
            joined.append({"name": file["name"], "password": passwords[file["password_file"]], "cost": generated_cost})
        else:
            joined.append({"name": file["name"], "password": str(user["password"]), "cost": cost})
    return joined


def hashed_users(users: Iterable[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    """Give each user with a password the hash that a htpasswd file has for it, in place of the password."""
    stored, _others = parse(text)
    hashed: list[dict[str, Any]] = []
    for user in users:
        known = {key: value for key, value in user.items() if key != "password"}
        if str(user["name"]) in stored:
            known["password_hash"] = stored[str(user["name"])]
        hashed.append(known)
    return hashed


# ----- the file ---------------------------------------------------------------------------------


def parse(text: str) -> tuple[dict[str, str], int]:
    """Read a htpasswd file: what each user's line holds, in the file's order, and how many other lines there are.

    Of two lines for one user the first counts, as it does for nginx and Apache.
    """
    stored: dict[str, str] = {}
    others = 0
    for line in text.splitlines():
        name, colon, field = line.partition(":")
        if not colon or name_problem(name) or name in stored:
            others += 1
        else:
            stored[name] = field
    return stored, others


def stored_cost(field: str) -> int | None:
    """Tell the cost of a stored bcrypt hash; None for anything else."""
    match = BCRYPT.fullmatch(field)
    return int(match["cost"]) if match else None


def render(lines: Mapping[str, str]) -> str:
    """Write a htpasswd file."""
    return "".join(f"{name}:{hashed}\n" for name, hashed in lines.items())


@dataclass(frozen=True)
class Plan:
    """What has to become of a file. Making it verifies hashes but makes none."""

    order: list[str]
    keep: dict[str, str]
    renew: list[User]
    added: list[str]
    removed: list[str]
    changed_users: list[str]
    other_lines: int
    changed: bool

    @property
    def kept(self) -> list[str]:
        return list(self.keep)

    def diff(self) -> tuple[str, str]:
        """Show before and after by name alone."""
        known = set(self.added)
        gone = [f"({self.other_lines} lines that are no user's)"] if self.other_lines else []
        before = [name for name in self.order if name not in known] + self.removed + gone
        after = [f"{name} (new hash)" if name in set(self.changed_users) else name for name in self.order]
        return "".join(f"{line}\n" for line in before), "".join(f"{line}\n" for line in after)


def plan(
    text: str,
    users: Sequence[User],
    verify: Callable[[str, str], bool],
    workers: int = 1,
) -> Plan:
    """Compare the file with the users that are wanted.

    A stored hash is kept when it has the wanted cost and matches the password, or is the one that is given. A hash of another cost is
    never verified, so that a foreign line of cost 31 cannot hold up the run for hours.
    Users that are there keep their place; new ones follow in the order given.
    """
    stored, other_lines = parse(text)
    wanted = {user.name: user for user in users}
    order = [name for name in stored if name in wanted]
    order += [name for name in wanted if name not in stored]

    candidates = [
        name
        for name in order
        if name in stored and not wanted[name].password_hash and stored_cost(stored[name]) == wanted[name].cost
    ]
    matches = parallel(lambda name: verify(wanted[name].password, stored[name]), candidates, workers)
    right = {name for name, matched in zip(candidates, matches) if matched}
    keep = {
        name: stored[name]
        for name in order
        if name in right or (wanted[name].password_hash and stored.get(name) == wanted[name].password_hash)
    }

    renew = [wanted[name] for name in order if name not in keep]
    return Plan(
        order=order,
        keep=keep,
        renew=renew,
        added=[user.name for user in renew if user.name not in stored],
        removed=[name for name in stored if name not in wanted],
        changed_users=[user.name for user in renew if user.name in stored],
        other_lines=other_lines,
        # The text is compared too: stray lines or a missing last newline are mended.
        changed=bool(renew) or render(keep) != text,
    )


def make_text(todo: Plan, make_hash: Callable[[str, int], str], workers: int = 1) -> str:
    """Make the hashes that a plan lacks and return the file's new text."""
    made = parallel(lambda user: user.password_hash or make_hash(user.password, user.cost), todo.renew, workers)
    hashes = {**todo.keep, **{user.name: hashed for user, hashed in zip(todo.renew, made)}}
    return render({name: hashes[name] for name in todo.order})


def parallel(function: Callable[[T], R], items: Sequence[T], workers: int) -> list[R]:
    """Map over threads: bcrypt works without the interpreter's lock, so threads use all cores."""
    if workers <= 1 or len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max_workers=workers) as executor:
        return list(executor.map(function, items))


def available_cores() -> int:
    """Count the cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


# ----- the library ------------------------------------------------------------------------------


class Passlib:
    """bcrypt through passlib (1.7.4 as in Debian, or its maintained fork libpass)."""

    def __init__(self, bcrypt: Any) -> None:
        self._bcrypt = bcrypt

    def hash(self, password: str, cost: int) -> str:
        """Hash a password with a new random salt."""
        return str(self._bcrypt.using(rounds=cost, ident=IDENT).hash(password))

    def verify(self, password: str, hashed: str) -> bool:
        """Tell whether a stored hash is this password's."""
        try:
            return bool(self._bcrypt.verify(password, hashed))
        except ValueError:  # looks like bcrypt but is not, such as cost 03
            return False


def importable(library: str) -> bool:
    try:
        importlib.import_module(library)
    except ImportError:
        return False
    return True


def load_passlib(python: str) -> Passlib:
    """Find passlib and bcrypt for the Python at `python`, and see that they work together."""
    remedy = (
        f"run '{python} -m pip install libpass bcrypt', "
        "or install the packages python3-passlib and python3-bcrypt on Debian and Ubuntu"
    )
    missing = [library for library in ("passlib", "bcrypt") if not importable(library)]
    if missing:
        raise LibraryError(f"The Python library {' and '.join(missing)} is missing for {python}: {remedy}.")

    # passlib 1.7.4 logs a harmless traceback because bcrypt 4 has no attribute __about__.
    logging.getLogger("passlib").setLevel(logging.ERROR)
    try:
        bcrypt = importlib.import_module("passlib.hash").bcrypt
        # Loaded here once, since passlib's lazy loading is not meant for many threads at a time.
        bcrypt.set_backend("bcrypt")
    # passlib 1.7.4 with bcrypt 5 raises a ValueError in passlib's self-test; other pairs raise other things.
    except Exception as error:
        raise LibraryError(
            f"The Python libraries passlib and bcrypt of {python} do not work together "
            f"({type(error).__name__}): run '{python} -m pip install --upgrade libpass bcrypt'."
        ) from error
    # Stored hashes of sloppy tools make passlib warn on standard error; they are verified all the same.
    category = importlib.import_module("passlib.exc").PasslibHashWarning
    warnings.simplefilter("ignore", category)
    return Passlib(bcrypt)
