#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for restic: it says what restic 0.14 says, and keeps plain copies."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

REPOSITORY = Path(os.environ["RESTIC_REPOSITORY"])
words = [word for word in sys.argv[1:] if not word.startswith("--")]
options = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
command, *arguments = words
tags = [word.split("=", 1)[1] for word in sys.argv[1:] if word.startswith("--tag=")]
with (REPOSITORY.parent / "asked").open("a", encoding="utf-8") as asked:
    print(*sys.argv[1:], file=asked)


def end(text: str, status: int = 1) -> None:
    print(f"Fatal: {text}", file=sys.stderr)
    sys.exit(status)


if (REPOSITORY / "away").exists():
    # It tries for a quarter of an hour.
    print("Load(<config/>) failed: dial tcp: connect: connection refused, retrying", file=sys.stderr, flush=True)
    time.sleep(60)
where = f"Is there a repository at the following location?\n{REPOSITORY}"
if (REPOSITORY / "denied").exists():
    end(f"unable to open config file: Stat: Access Denied.\n{where}")
password = Path(os.environ["RESTIC_PASSWORD_FILE"]).read_text(encoding="utf-8")
config = REPOSITORY / "config"
if command == "init":
    if config.exists():
        end("create repository failed: config file already exists")
    config.write_text(password, encoding="utf-8")
elif not config.exists():
    end(f"unable to open config file: stat {config}: no such file or directory\n{where}")
elif config.read_text(encoding="utf-8") != password:
    end("wrong password or no key found")

# How often it is still locked by somebody.
lock = REPOSITORY / "lock"
locks = command not in ("init", "unlock") and "--no-lock" not in sys.argv
if locks and lock.exists():
    count = int(lock.read_text(encoding="utf-8"))
    lock.write_text(str(count - 1), encoding="utf-8")
    if count == 1:
        lock.unlink()
    end("unable to create lock in backend: repository is already locked exclusively by PID 7 on other by root")
if command == "unlock":
    (REPOSITORY / "stale").unlink(missing_ok=True)
elif locks and (REPOSITORY / "stale").exists():
    end("unable to create lock in backend: repository is already locked exclusively by PID 7 on dead by root")

known = REPOSITORY / "snapshots"
known.mkdir(exist_ok=True)
entries = sorted(
    (json.loads(one.read_text(encoding="utf-8")) for one in known.glob("*.json")), key=lambda one: one["time"]
)
if command != "backup":
    entries = [one for one in entries if options.get("tag") in (None, *one["tags"])]
if command == "backup":
    if (REPOSITORY / "full").exists():
        end("write: no space left on device")
    name = f"{len(list(known.glob('*'))):08x}"
    excluded = [word.split("=", 1)[1] for word in sys.argv if word.startswith("--exclude=")]

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [one for one in names if f"{folder}/{one}" in excluded]

    for path in arguments:
        shutil.copytree(path, f"{known}/{name}{path}", symlinks=True, ignore=left_out)
    at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}.{time.time_ns() % 10**9:09}Z"
    entry = {
        "id": f"{name}{'0' * 56}",
        "time": at,
        "hostname": options["host"],
        "tags": tags,
        "paths": arguments,
    }
    (known / f"{name}.json").write_text(json.dumps(entry), encoding="utf-8")
    print(json.dumps({"message_type": "status", "percent_done": 0}))
    unreadable = (REPOSITORY / "unreadable").exists()
    if unreadable:
        error = {"message_type": "error", "error": {"message": "input/output error"}, "item": "/etc/http.secret"}
        print(json.dumps(error), file=sys.stderr)
    print(json.dumps({"message_type": "summary", "snapshot_id": name, "total_files_processed": 1, "data_added": 1}))
    sys.exit(3 if unreadable else 0)
elif command == "snapshots":
    print(json.dumps(entries))
elif command == "stats":
    size = sum(one.stat().st_size for one in (known / arguments[0][:8]).rglob("*") if one.is_file())
    print(json.dumps({"total_size": size}))
elif command == "restore":
    if (REPOSITORY / "broken").exists():
        Path(options["target"], "begun").touch()
        end("ciphertext verification failed")
    if (REPOSITORY / "slow").exists():
        Path(options["target"], "begun").touch()
        os.kill(os.getppid(), 9)
    shutil.copytree(known / arguments[0][:8], options["target"], symlinks=True, dirs_exist_ok=True)
elif command == "forget":
    if (REPOSITORY / "append only").exists():
        end("unable to remove snapshots: 403 Forbidden")
    for entry in entries[: -int(options["keep-last"])]:
        (known / f"{entry['id'][:8]}.json").unlink()
