# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of a htpasswd file: what is refused, what is kept, what is made."""

from __future__ import annotations

import importlib
import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.filter.users_problems import users_problems
from ansible_collections.drydock.registry.plugins.module_utils import _htpasswd as htpasswd
from ansible_collections.drydock.registry.plugins.module_utils._file_set import Refused
from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import User
from ansible_collections.drydock.registry.plugins.modules import htpasswd as module

# What follows the prefix in a hash of cost 4.
TAIL = "04$wJ2C7VxV9Y7N5rn0QDmdaubgwN0NLxfbTo8CWQH6LOE2T7fUnNjJe"


class FakeHasher:
    """A hash that can be read, so that a test can tell what was done."""

    def __init__(self) -> None:
        self.hashed: list[str] = []
        self.verified: list[str] = []
        self._lock = threading.Lock()

    @staticmethod
    def of(password: str, cost: int = 10) -> str:
        return f"$2y${cost:02}${password.ljust(53, '.')}"

    def hash(self, password: str, cost: int) -> str:
        with self._lock:
            self.hashed.append(password)
        return self.of(password, cost)

    def verify(self, password: str, hashed: str) -> bool:
        with self._lock:
            self.verified.append(password)
        return hashed[7:] == password.ljust(53, ".")


@pytest.fixture
def hasher() -> FakeHasher:
    return FakeHasher()


@pytest.mark.parametrize(
    "name",
    ["alice", "a", "a.b-c_d@example.org", "...", "Zoë", "用户", "x" * 255, "a#b", "a=b", "'", "\\", "$(x)"],
)
def test_good_names(name: str) -> None:
    assert htpasswd.name_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        (None, "not text"),
        (7, "not text"),
        ("al:ice", "colon"),
        (".", "directory"),
        ("..", "directory"),
        ("../alice", "slash"),
        ("#alice", "comment"),
        ("al ice", "space"),
        (" alice", "space"),
        ("alice\n", "control character"),
        ("al\x00ice", "control character"),
        ("al\x7fice", "control character"),
        ("al\u200bice", "invisible"),
        ("al\u2028ice", "space"),
        ("al\udcffice", "control character"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
    ],
)
def test_bad_names(name: object, word: str) -> None:
    assert word in htpasswd.name_problem(name)


@pytest.mark.parametrize(
    "password", ["a", "x" * 72, "é" * 36, "with space", "{{ braces }}", "co:lon", "\U0001f469\u200d\U0001f4bb"]
)
def test_good_passwords(password: str) -> None:
    assert htpasswd.password_problem(password) == ""


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("", "empty"),
        (None, "not text"),
        (83, "not text"),
        (1.5, "not text"),
        (True, "not text"),
        (b"secret", "not text"),
        (["secret"], "not text"),
        ({"secret": 1}, "not text"),
        ("sec\x00ret", "control character"),
        ("secret\n", "control character"),
        ("sec\udcffret", "control character"),
        ("x" * 73, "72 bytes"),
        ("é" * 37, "72 bytes"),
    ],
)
def test_bad_passwords(password: object, word: str) -> None:
    problem = htpasswd.password_problem(password)
    assert word in problem
    assert "secret" not in problem
    assert "83" not in problem


def test_text_that_is_no_str_is_a_password() -> None:
    class Vaulted:
        def __str__(self) -> str:
            return "correct"

    assert htpasswd.password_problem(Vaulted()) == ""


@pytest.mark.parametrize(
    ("cost", "good"), [(4, True), (10, True), (31, True), (3, False), (32, False), ("10", False), (True, False)]
)
def test_costs(cost: object, good: bool) -> None:
    assert (htpasswd.cost_problem(cost) == "") is good


@pytest.mark.parametrize(
    ("users", "sentences"),
    [
        ([{"name": "alice", "password": "correct"}, {"name": "bob"}], []),
        ([], ["users is empty: give at least one user, such as [{name: alice}]."]),
        ("alice:secret", ["users is not a list: write a list of users such as [{name: alice}]."]),
        ({"alice": "secret"}, ["users is not a list: write a list of users such as [{name: alice}]."]),
        (["alice:secret"], ["Entry 1 of users is not a dictionary: write {name: alice}."]),
        ([{"password": "secret"}], ["Entry 1 of users has no name: add the key 'name'."]),
        (
            [{"name": "al:ice"}],
            ["The user name 'al:ice' in users contains a colon, which ends the name in the file: leave it out."],
        ),
        (
            [{"name": "bob", "password": ""}],
            [
                (
                    "The password of user 'bob' in users is empty: write one, or leave out the key 'password' "
                    "to have one generated."
                )
            ],
        ),
        (
            [{"name": "bob"}, {"name": "alice"}, {"name": "bob", "password": "secret"}],
            ["users names the user 'bob' 2 times: keep one of them."],
        ),
        (
            [{"name": "x" * 250}],
            [f"The user name '{'x' * 49}...' in users is too long to name a password file: shorten it."],
        ),
        ([{"name": "x" * 250, "password": "correct"}], []),
        (
            [{"name": "bob", "cost": 99}],
            ["The cost of user 'bob' in users must be a whole number from 4 to 31."],
        ),
    ],
)
def test_problems_of_an_inventory(users: object, sentences: list[str]) -> None:
    assert users_problems(users, variable="users") == sentences


def test_a_name_cannot_disturb_the_terminal() -> None:
    (sentence,) = htpasswd.users_problems([{"name": "\x1b[2J", "password": "correct"}], "users")
    assert sentence.isprintable()


def test_the_module_wants_every_password() -> None:
    assert htpasswd.users_problems([{"name": "bob"}], "users") == [
        "User 'bob' in users has no password: add the key 'password' or 'password_hash'."
    ]


def test_password_files() -> None:
    users = [{"name": "alice", "password": "correct"}, {"name": "bob"}]
    assert htpasswd.password_files(users, "/c") == [
        {"name": "alice", "password_file": ""},
        {"name": "bob", "password_file": "/c/bob.password"},
    ]
    assert htpasswd.join_passwords(users, "/c", {"/c/bob.password": "random"}, 10, 5) == [
        {"name": "alice", "password": "correct", "cost": 10},
        {"name": "bob", "password": "random", "cost": 5},
    ]


def test_stored_problems() -> None:
    passwords = {"/c/a": "correct", "/c/b": "", "/c/c": "secret" * 20}
    assert htpasswd.stored_problems(passwords) == [
        "The password in /c/b is empty: delete the file to have a new one generated.",
        (
            "The password in /c/c is longer than 72 bytes in UTF-8, of which bcrypt ignores the rest: "
            "delete the file to have a new one generated."
        ),
    ]


@pytest.mark.parametrize(
    ("text", "stored", "others"),
    [
        ("", {}, 0),
        ("alice:x\nbob:y\n", {"alice": "x", "bob": "y"}, 0),
        ("alice:x", {"alice": "x"}, 0),
        ("alice:x\r\n", {"alice": "x"}, 0),
        ("alice:x\nalice:y\n", {"alice": "x"}, 1),
        ("# comment:x\n\nno colon\n:x\n al:x\nbob:y\n", {"bob": "y"}, 5),
        ("al\udcffice:x\n", {}, 1),
    ],
)
def test_parse(text: str, stored: dict[str, str], others: int) -> None:
    assert htpasswd.parse(text) == (stored, others)


@pytest.mark.parametrize(
    ("field", "cost"),
    [
        ("$2a$" + TAIL, 4),
        ("$2b$" + TAIL, 4),
        ("$2y$" + TAIL, 4),
        ("$2x$" + TAIL, None),
        ("$2y$" + TAIL[:-1], None),
        ("$2y$" + TAIL + "\n", None),
        ("$2y$" + TAIL + ":more", None),
        ("$apr1$x$y", None),
        ("{SHA}x", None),
        ("", None),
    ],
)
def test_stored_cost(field: str, cost: int | None) -> None:
    assert htpasswd.stored_cost(field) == cost


ALICE = f"alice:{FakeHasher.of('a')}\n"
BOB = f"bob:{FakeHasher.of('b')}\n"
CAROL = f"carol:{FakeHasher.of('c')}\n"
USER = {"alice": User("alice", "a", 10), "bob": User("bob", "b", 10), "carol": User("carol", "c", 10)}


@pytest.mark.parametrize(
    ("before", "wanted", "after", "outcome"),
    [
        pytest.param("", ["alice", "bob"], ALICE + BOB, {"added": ["alice", "bob"]}, id="new file"),
        pytest.param(ALICE + BOB, ["alice", "bob"], ALICE + BOB, {"kept": ["alice", "bob"]}, id="unchanged"),
        pytest.param(ALICE + BOB, ["bob", "alice"], ALICE + BOB, {"kept": ["alice", "bob"]}, id="other order"),
        pytest.param(BOB, ["alice", "bob"], BOB + ALICE, {"kept": ["bob"], "added": ["alice"]}, id="added"),
        pytest.param(ALICE + BOB, ["bob"], BOB, {"kept": ["bob"], "removed": ["alice"]}, id="removed"),
        pytest.param(
            ALICE + f"bob:{FakeHasher.of('old')}\n" + CAROL,
            ["alice", "bob", "carol"],
            ALICE + BOB + CAROL,
            {"kept": ["alice", "carol"], "changed_users": ["bob"]},
            id="changed password",
        ),
        pytest.param(
            f"alice:{FakeHasher.of('a', 31)}\n" + BOB,
            ["alice", "bob"],
            ALICE + BOB,
            {"kept": ["bob"], "changed_users": ["alice"]},
            id="changed cost",
        ),
        pytest.param(
            "alice:{SHA}x\ndave:$apr1$x$y\n" + BOB,
            ["alice", "bob"],
            ALICE + BOB,
            {"kept": ["bob"], "changed_users": ["alice"], "removed": ["dave"]},
            id="not bcrypt",
        ),
        pytest.param("# x\n" + ALICE + "\n", ["alice"], ALICE, {"kept": ["alice"], "changed": True}, id="stray lines"),
        pytest.param(ALICE.strip(), ["alice"], ALICE, {"kept": ["alice"], "changed": True}, id="no last newline"),
        pytest.param(ALICE + BOB, [], "", {"removed": ["alice", "bob"]}, id="nobody"),
        pytest.param("", [], "", {}, id="nobody before and after"),
    ],
)
def test_plan_and_execute(
    hasher: FakeHasher, before: str, wanted: list[str], after: str, outcome: dict[str, Any]
) -> None:
    todo = htpasswd.plan(before, [USER[name] for name in wanted], hasher.verify)
    assert hasher.hashed == []
    assert todo.added == outcome.get("added", [])
    assert todo.removed == outcome.get("removed", [])
    assert todo.changed_users == outcome.get("changed_users", [])
    assert todo.kept == outcome.get("kept", [])
    assert todo.changed is outcome.get("changed", before != after)
    assert htpasswd.make_text(todo, hasher.hash) == after

    again = htpasswd.plan(after, [USER[name] for name in wanted], hasher.verify)
    assert not again.changed


def test_a_hash_of_another_cost_is_not_verified(hasher: FakeHasher) -> None:
    htpasswd.plan(f"alice:{FakeHasher.of('a', 31)}\n", [USER["alice"]], hasher.verify)
    assert hasher.verified == []


def test_diff_shows_names_alone(hasher: FakeHasher) -> None:
    text = ALICE + f"bob:{FakeHasher.of('old')}\ndave:x\nsecret\n"
    before, after = htpasswd.plan(text, list(USER.values()), hasher.verify).diff()
    assert before == "alice\nbob\ndave\n(1 lines that are no user's)\n"
    assert after == "alice\nbob (new hash)\ncarol\n"


def test_no_difference_no_diff(hasher: FakeHasher) -> None:
    before, after = htpasswd.plan(ALICE, [USER["alice"]], hasher.verify).diff()
    assert before == after


def test_a_thousand_users_touch_one_line(hasher: FakeHasher) -> None:
    users = [User(f"user{number}", f"p{number}", 10) for number in range(1000)]
    text = htpasswd.make_text(htpasswd.plan("", users, hasher.verify, workers=4), hasher.hash, workers=4)
    assert len(text.splitlines()) == 1000
    hasher.hashed.clear()

    users[500] = users[500]._replace(password="changed")
    todo = htpasswd.plan(text, users, hasher.verify, workers=4)
    changed = htpasswd.make_text(todo, hasher.hash, workers=4)
    assert todo.changed_users == ["user500"]
    assert hasher.hashed == ["changed"]
    different = [old for old, new in zip(text.splitlines(), changed.splitlines()) if old != new]
    assert [line.split(":")[0] for line in different] == ["user500"]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_parallel_keeps_the_order(workers: int) -> None:
    assert htpasswd.parallel(lambda number: number * 2, list(range(50)), workers) == [n * 2 for n in range(50)]


def test_available_cores() -> None:
    assert htpasswd.available_cores() >= 1


@pytest.fixture(scope="module")
def passlib() -> htpasswd.Passlib:
    return htpasswd.load_passlib("python3")


def test_real_hashes(passlib: htpasswd.Passlib) -> None:
    hashed = passlib.hash("correct", 4)
    assert htpasswd.stored_cost(hashed) == 4
    for form in ("$2a$", "$2b$", "$2y$"):
        assert passlib.verify("correct", form + hashed[4:])
        assert not passlib.verify("wrong", form + hashed[4:])
    assert passlib.hash("correct", 4) != hashed


def test_the_longest_password_counts_to_its_last_byte(passlib: htpasswd.Passlib) -> None:
    hashed = passlib.hash("é" * 36, 4)
    assert passlib.verify("é" * 36, hashed)
    assert not passlib.verify("é" * 35 + "e", hashed)


@pytest.mark.parametrize("hashed", ["$2y$03$" + TAIL[3:], "$2y$99$" + TAIL[3:], "$2y$" + TAIL[:-1]])
def test_a_hash_that_is_none_matches_nothing(passlib: htpasswd.Passlib, hashed: str) -> None:
    assert not passlib.verify("correct", hashed)


def fail_import(*missing: str) -> Callable[[str], Any]:
    def import_module(name: str) -> Any:
        if name in missing:
            raise ImportError(name)
        return object()

    return import_module


@pytest.mark.parametrize(
    ("missing", "words"), [(("passlib",), "passlib is"), (("passlib", "bcrypt"), "passlib and bcrypt is")]
)
def test_missing_library(monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], words: str) -> None:
    monkeypatch.setattr(importlib, "import_module", fail_import(*missing))
    with pytest.raises(htpasswd.LibraryError) as caught:
        htpasswd.load_passlib("/usr/bin/python3")
    assert str(caught.value) == (
        f"The Python library {words} missing for /usr/bin/python3: run '/usr/bin/python3 -m pip install libpass bcrypt', "
        "or install the packages python3-passlib and python3-bcrypt on Debian and Ubuntu."
    )


def test_libraries_that_do_not_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bcrypt:
        def set_backend(self, name: str) -> None:
            raise ValueError(f"{name}: password cannot be longer than 72 bytes")

    class Module:
        bcrypt = Bcrypt()

    monkeypatch.setattr(importlib, "import_module", lambda _name: Module())
    with pytest.raises(
        htpasswd.LibraryError, match=r"do not work together \(ValueError\): run 'python3 -m pip install"
    ):
        htpasswd.load_passlib("python3")


# ----- hashes that are given --------------------------------------------------------------------

GIVEN = f"$2b${TAIL}"


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ({"name": "alice", "password_hash": GIVEN}, ""),
        ({"name": "alice", "password_hash": GIVEN, "password": "correct"}, "has a password and a password_hash"),
        ({"name": "alice", "password_hash": "correct"}, "is no bcrypt hash"),
        ({"name": "alice", "password_hash": ""}, "is no bcrypt hash"),
        ({"name": "alice", "password_hash": GIVEN.replace("$04$", "$03$")}, "is no bcrypt hash"),
        ({"name": "alice", "password_hash": GIVEN + "\nmallory:x"}, "is no bcrypt hash"),
    ],
)
def test_a_hash_may_be_given_in_place_of_a_password(user: dict[str, Any], sentence: str) -> None:
    found = users_problems([user], "users")
    assert sentence in found[0] if sentence else found == [], found
    assert "correct" not in " ".join(found)


def test_a_given_hash_is_written_as_it_is(hasher: FakeHasher) -> None:
    alice = User("alice", password_hash=GIVEN)
    todo = htpasswd.plan("", [alice], hasher.verify)
    assert (todo.changed, todo.added) == (True, ["alice"])
    text = htpasswd.make_text(todo, hasher.hash)
    assert text == f"alice:{GIVEN}\n"
    assert not htpasswd.plan(text, [alice], hasher.verify).changed
    assert hasher.hashed == hasher.verified == []


def test_another_given_hash_replaces_the_old_one(hasher: FakeHasher) -> None:
    text = f"alice:{FakeHasher.of('old')}\n"
    todo = htpasswd.plan(text, [User("alice", password_hash=GIVEN)], hasher.verify)
    assert todo.changed_users == ["alice"]
    assert htpasswd.make_text(todo, hasher.hash) == f"alice:{GIVEN}\n"


def test_a_line_without_a_hash_is_not_kept(hasher: FakeHasher) -> None:
    todo = htpasswd.plan("alice:\n", [User("alice", "correct", 10)], hasher.verify)
    assert todo.changed_users == ["alice"]


def test_users_get_the_hashes_of_a_file() -> None:
    users: list[dict[str, Any]] = [
        {"name": "alice", "password": "correct", "access": "admin"},
        {"name": "bob"},
        {"name": "carol", "certificate_only": True},
    ]
    hashed = htpasswd.hashed_users(users, f"bob:{GIVEN}\nalice:{FakeHasher.of('correct')}\n")
    assert hashed == [
        {"name": "alice", "access": "admin", "password_hash": FakeHasher.of("correct")},
        {"name": "bob", "password_hash": GIVEN},
        {"name": "carol", "certificate_only": True},
    ]
    assert users_problems(hashed[1:2], "users") == []


def test_a_user_with_a_hash_has_no_password_file() -> None:
    users = [{"name": "alice", "password_hash": GIVEN}]
    assert htpasswd.password_files(users, "folder") == [{"name": "alice", "password_file": ""}]
    assert htpasswd.join_passwords(users, "folder", {}, 10, 5) == [{"name": "alice", "password_hash": GIVEN}]


# ----- the module -------------------------------------------------------------------------------


def module_parameters(root: Path, *users: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The module's parameters for users with a cheap hash, and their rights beside them."""
    rights = {"owner": None, "group": None, "mode": "0640"}
    return {
        "path": str(root / "auth/htpasswd"),
        "users": [{"password": None, "password_hash": None, "cost": None, **user} for user in users],
        "cost": 4,
        "directories": [{"path": str(root / "auth"), **rights, "mode": "0750", "state": "present"}],
        "files": [
            {
                "path": str(root / "auth/access.json"),
                "content": "rights\n",
                "state": "present",
                "keep": False,
                "secret": False,
                **rights,
            }
        ],
        **rights,
        **more,
    }


ALICE_IN = {"name": "alice", "password": "wonderland"}
BOB_IN = {"name": "bob", "password": "builder"}


def test_users_and_rights_by_one_call(tmp_path: Path) -> None:
    done = module.run(module_parameters(tmp_path, ALICE_IN, BOB_IN), False, None)
    path = tmp_path / "auth/htpasswd"
    assert done["changed"]
    assert done["added"] == ["alice", "bob"]
    assert done["changed_files"] == [str(path), str(tmp_path / "auth/access.json")]
    assert [stat.S_IMODE(there.stat().st_mode) for there in (path.parent, path, path.with_name("access.json"))] == [
        0o750,
        0o640,
        0o640,
    ]
    assert "$2y$" not in repr(done)
    assert "wonderland" not in repr(done)

    first = path.read_text()
    again = module.run(module_parameters(tmp_path, ALICE_IN, BOB_IN), False, None)
    assert (again["changed"], again["kept"], again["changed_files"]) == (False, ["alice", "bob"], [])
    assert path.read_text() == first

    other = module.run(
        module_parameters(tmp_path, {**ALICE_IN, "password": "mirror"}, {"name": "carol", "password": "x"}), False, None
    )
    assert (other["added"], other["removed"], other["changed_users"]) == (["carol"], ["bob"], ["alice"])
    assert other["changed_files"] == [str(path)]
    assert other["diff"][0]["before"] == "alice\nbob\n"
    assert other["diff"][0]["after"] == "alice (new hash)\ncarol\n"
    assert "$2y$" not in repr(other)


def test_a_change_has_one_line_in_the_audit_log(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    asked = module_parameters(tmp_path, ALICE_IN, BOB_IN) | {"audit_directory": str(logs)}
    # Before there is an audit log.
    assert module.run(asked, False, None)["unwritten"] == ""
    logs.mkdir()
    asked = module_parameters(tmp_path, ALICE_IN) | {"audit_directory": str(logs)}
    module.run(asked, True, None)
    for _ in range(2):
        module.run(asked, False, None)
    (log,) = logs.iterdir()
    (line,) = log.read_text().splitlines()
    told = json.loads(line)
    assert (told["event"], told["removed"], told["files"]) == ("users", ["bob"], [str(tmp_path / "auth/htpasswd")])
    assert "$2y$" not in line
    assert "wonderland" not in line


def test_a_dry_run_changes_nothing_and_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_python: str) -> None:
        raise htpasswd.LibraryError("The Python library passlib is missing.")

    module.run(module_parameters(tmp_path, ALICE_IN), False, None)
    monkeypatch.setattr(module, "load_passlib", missing)
    before = (tmp_path / "auth/htpasswd").read_text()
    planned = module.run(module_parameters(tmp_path, ALICE_IN, BOB_IN), True, None)
    assert (planned["changed"], planned["added"], planned["kept"]) == (True, ["bob"], ["alice"])
    assert not module.run(module_parameters(tmp_path, ALICE_IN), True, None)["changed"]
    assert (tmp_path / "auth/htpasswd").read_text() == before
    bare = module.run(module_parameters(tmp_path / "bare", ALICE_IN, group="nobody-at-all"), True, None)
    assert (bare["changed"], len(bare["created"])) == (True, 3)
    assert not (tmp_path / "bare").exists()
    with pytest.raises(Refused, match="passlib is missing"):
        module.run(module_parameters(tmp_path, ALICE_IN, BOB_IN), False, None)


@pytest.mark.parametrize(
    ("users", "more", "words"),
    [
        ([{"name": "a:b", "password": "x"}], {}, "contains a colon"),
        ([ALICE_IN], {"cost": 3}, "The option cost must be"),
        ([ALICE_IN], {"directories": []}, "does not exist: add it to directories"),
        ([ALICE_IN], {"path": "/"}, "is a directory: name a file in it"),
    ],
)
def test_the_module_refuses(tmp_path: Path, users: list[dict[str, Any]], more: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        module.run(module_parameters(tmp_path, *users, **more), False, None)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    (tmp_path / "kept").write_text("")
    (tmp_path / "auth/htpasswd").symlink_to("../kept")
    module.run(module_parameters(tmp_path, ALICE_IN), False, None)
    assert (tmp_path / "auth/htpasswd").is_symlink()
    assert (tmp_path / "kept").read_text().startswith("alice:$2y$04$")
