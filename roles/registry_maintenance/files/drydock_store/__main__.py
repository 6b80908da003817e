# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m drydock_store --config FILE [--json] COMMAND"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from drydock_store import audit, commands, copying, screen
from drydock_store.config import Config, ConfigError, load, place, store_of
from drydock_store.layout import is_digest
from drydock_store.memory import Memory
from drydock_store.store import Locked, Store, StoreError, iso


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}: see `--help`.")


def _add_copy(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--to", default="", metavar="PLACE", help="a folder, s3://BUCKET/PREFIX, or JSON as `storage` has it"
    )
    command.add_argument(
        "--from", default="", dest="from_", metavar="PLACE", help="the same, of where the images come from"
    )
    command.add_argument("--mirror", action="store_true", help="take away there what the storage does not have")
    command.add_argument("--repository", action="append", default=[], metavar="PATTERN", help="only these")
    command.add_argument(
        "--tag", action="append", default=[], metavar="REPO:TAG", help="only these, with what belongs to them"
    )
    command.add_argument(
        "--replace", default="", metavar="PLACE", help="replace the images of the place with this name"
    )
    command.add_argument("--limit", type=int, default=0, metavar="MIB", help="copy so many MiB in a second at most")
    command.add_argument(
        "--unlocked", action="store_true", help="write no lock into the storage; nobody may collect meanwhile"
    )


def _check_copy(asked: argparse.Namespace) -> None:
    if not asked.to and not asked.from_:
        raise ConfigError("copy: say where to by --to, or where from by --from.")
    if asked.mirror and (asked.repository or asked.tag):
        raise ConfigError("--mirror is about all images: leave it out, or --repository and --tag.")
    if asked.replace and not asked.mirror:
        raise ConfigError("--replace says what --mirror may take away: add --mirror, or leave it out.")
    if asked.limit < 0:
        raise ConfigError(f"--limit {asked.limit}: write 1 or more MiB, or leave it out.")


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="drydock_store",
        description="Reports on the storage of a registry, checks it, keeps it small, and copies it.",
    )
    parser.add_argument("--config", required=True, help="the configuration, a JSON file")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of a screen")
    # Before the command or after it.
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    commands_of = parser.add_subparsers(dest="command", required=True)
    apply = _Parser(add_help=False)
    apply.add_argument("--apply", action="store_true", help="do it; without it, only say what would be done")
    commands_of.add_parser("validate", parents=[common], help="check the configuration")
    commands_of.add_parser("report", parents=[common], help="say what there is, and how large")
    command = commands_of.add_parser("check", parents=[common], help="look for defects")
    command.add_argument("--digests", action="store_true", help="read all content, too")
    command.add_argument(
        "--pull", type=int, default=0, metavar="COUNT", help="pull so many tags from the registry, too"
    )
    commands_of.add_parser("retention", parents=[common, apply], help="remove what the rules do not keep")
    commands_of.add_parser("collect", parents=[common, apply], help="move what nothing refers to into the trash")
    command = commands_of.add_parser("undo", parents=[common, apply], help="bring back what runs took")
    command.add_argument("runs", nargs="*", metavar="RUN")
    _add_copy(
        commands_of.add_parser("copy", parents=[common, apply], help="copy the storage to another place, or from one")
    )
    command = commands_of.add_parser("delete", parents=[common, apply], help="remove tags, images or repositories")
    command.add_argument("--tag", action="append", default=[], metavar="REPO:TAG")
    command.add_argument("--image", action="append", default=[], metavar="REPO:TAG or REPO@DIGEST")
    command.add_argument("--repository", action="append", default=[], metavar="REPO")
    asked = parser.parse_args(words)
    if asked.command == "copy":
        _check_copy(asked)
    if asked.command in ("copy", "delete"):
        for one in asked.tag:
            if not one.rpartition(":")[0] or "/" in one.rpartition(":")[2]:
                raise ConfigError(f"--tag {one}: write it as REPOSITORY:TAG.")
    if asked.command == "delete":
        if not (asked.tag or asked.image or asked.repository):
            raise ConfigError("delete: name something by --tag, --image or --repository.")
        for one in asked.image:
            repository, at, digest = one.partition("@")
            if (
                (at and not is_digest(digest))
                or (not at and (":" not in one or "/" in one.rpartition(":")[2]))
                or not repository
            ):
                raise ConfigError(f"--image {one}: write it as REPOSITORY:TAG or REPOSITORY@sha256:HEX.")
        for one in asked.repository:
            if ":" in one or "@" in one or not one:
                raise ConfigError(f"--repository {one}: write the name of a repository; --tag and --image take tags.")
    return asked


def _run(asked: argparse.Namespace, settings: Config) -> commands.Outcome:
    if asked.command == "validate":
        return {"problems": list(settings.problems)}, commands.FINE
    store = store_of(settings)
    memory = Memory(settings.state_directory, settings.storage_name)
    result, status = _answer(asked, settings, store, memory)
    if memory.full:
        problem = f"state_directory: nothing was remembered in {settings.state_directory}, since the disk is full."
        result["problems"] = [*result["problems"], problem]
        status = status or commands.UNFINISHED
    # A copy to elsewhere changes nothing here.
    if result.get("applied") and result.get("target", store.name) == store.name and settings.log_directory:
        now = time.time()
        told = audit.line(asked.command, result, status, now, audit.who(os.environ))
        problem = audit.record(settings.log_directory, told, now)
        if problem:
            result["problems"] = [*result["problems"], problem]
    return result, status


def _answer(asked: argparse.Namespace, settings: Config, store: Store, memory: Memory) -> commands.Outcome:
    if asked.command == "report":
        return commands.report(store, memory, settings)
    if asked.command == "check":
        return commands.check_store(store, memory, settings, digests=asked.digests, pulls=asked.pull)
    if asked.command == "retention":
        result, status = commands.apply_retention(store, memory, settings, apply=asked.apply)
        result["problems"] = [*settings.problems, *result["problems"]]
        return result, status
    if asked.command == "collect":
        return commands.collect(store, memory, settings, apply=asked.apply)
    if asked.command == "copy":
        options = copying.Options(
            apply=asked.apply,
            mirror=asked.mirror,
            repositories=asked.repository,
            tags=asked.tag,
            replace=asked.replace,
            limit=asked.limit << 20,
            unlocked=asked.unlocked,
        )
        source = place("--from", asked.from_) if asked.from_ else store
        target = place("--to", asked.to) if asked.to else store
        if source.name == target.name:
            raise ConfigError(f"copy: {target.name} is the storage itself: name another place.")
        return copying.copy(source, target, memory, settings, options, tell=lambda text: _print(text, sys.stderr))
    if asked.command == "undo":
        return commands.undo_runs(store, memory, settings, asked.runs, apply=asked.apply)
    named = {"tags": asked.tag, "images": asked.image, "repositories": asked.repository}
    return commands.delete(store, memory, settings, named, apply=asked.apply)


def _print(text: str, to: TextIO) -> None:
    # A file may have a name that no text can have.
    encoding = to.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=to)


def main(words: Sequence[str]) -> int:
    """Run a command; returns its exit status."""
    as_json = "--json" in words
    began = time.monotonic()
    result: dict[str, Any]
    try:
        asked = _arguments(words)
        result, status = _run(asked, load(asked.config))
        result = {"command": asked.command, **result, "seconds": round(time.monotonic() - began, 3)}
        result.setdefault("time", iso(time.time()))
    except ConfigError as error:
        result, status = {"error": str(error)}, commands.WRONG
    except StoreError as error:
        result, status = {"error": str(error)}, commands.UNUSABLE
    except Locked as error:
        result, status = {"error": str(error)}, commands.LOCKED
    except OSError as error:
        # A disk that is full, a file system that went away.
        result, status = {"error": f"The storage cannot be used: {error}."}, commands.UNUSABLE
    for problem in [result["error"]] if "error" in result else result["problems"]:
        _print(problem, sys.stderr)
    if as_json:
        if "error" not in result:
            result["screen"] = screen.shown(result).splitlines()
        print(json.dumps(result))
    elif "error" not in result:
        _print(screen.shown(result), sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
