#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring what certbot obtained to the directory that a TLS server reads, and have the server load it.

    drydock-deploy-certificate SETTINGS [deploy|install|leave]

`deploy` (certbot's deploy hook) checks the pair in certbot's lineage as a client would, puts it beside the present
one, makes it the present one by one rename, and runs the command that reloads the server. `install` sees to it that
there is a pair with which a server starts: certbot's, or one that signs itself. `leave` makes plain files of the
present pair and takes away what belongs to certbot's lineage.

Prints `changed`, or `unchanged` where there is nothing new; then nothing is reloaded either, unless the last reload
failed. What is wrong is one sentence on standard error, with the status 1.
It needs Python's own library, and `openssl` for the pair that signs itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# The present pair, the one before it, and one to spare for a reader that is slow.
GENERATIONS_KEPT = 3
SHORT_LIVED_SECONDS = 10 * 86400
RELOAD_LIMIT_SECONDS = 120


class Refused(Exception):
    """The sentence for whoever reads certbot's log."""


class BadPair(Refused):
    """The lineage's pair is none that clients would take, so the old one stays."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The new certificate is not used and the old one stays: {reason}.")


class Settings(NamedTuple):
    """What the role wrote."""

    directory: Path
    lineage: Path
    renewal: Path
    names: list[str]
    group: int
    reload_command: list[str]
    drop_in: Path
    state: Path


def read_settings(path: Path) -> Settings:
    """Read the role's settings."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Settings(
        directory=Path(raw["directory"]),
        lineage=Path(raw["lineage"]),
        renewal=Path(raw["renewal"]),
        names=[str(name) for name in raw["names"]],
        group=int(raw["group"]),
        reload_command=shlex.split(raw["reload_command"]),
        drop_in=Path(raw["drop_in"]),
        state=path.parent,
    )


# ---- the check -----------------------------------------------------------------------------------------------------


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict[str, Any]:
    """Let a client that asks for `name` meet the server, both in memory; return the certificate that it got."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [client_side, server_side]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    return dict(client_side.getpeercert() or {})


def one_of(name: str) -> str:
    """A host's name that a wildcard stands for, or the name itself."""
    return name.replace("*", "any", 1) if name.startswith("*.") else name


def check(certificate: Path, key: Path, names: list[str]) -> dict[str, Any]:
    """Meet a server with this pair under each of the names; return the certificate, or refuse the pair."""
    blocks = CERTIFICATE.findall(certificate.read_text(encoding="ascii"))
    if not blocks:
        raise BadPair(f"{certificate} holds no certificate")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
            raise BadPair(f"the key {key} does not belong to the certificate {certificate}") from error
        raise BadPair(f"{certificate} and {key} are no pair that a server could load ({reason})") from error

    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whether clients trust the last one of the chain is not this host's to say; that all leads to it, is.
    client.load_verify_locations(cadata=blocks[-1])
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    found: dict[str, Any] = {}
    for name in names:
        try:
            found = handshake(server, client, one_of(name))
        except ssl.SSLCertVerificationError as error:
            raise BadPair(f"{certificate} is not good for {name}: {error.verify_message.rstrip('.')}") from error
        except ssl.SSLError as error:
            raise BadPair(f"{certificate} makes no connection for {name}: {error.reason}") from error

    issuer = found["issuer"]
    for number, block in enumerate(blocks[1:], start=2):
        reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        reader.load_verify_locations(cadata=block)
        links = reader.get_ca_certs()
        if not links or links[0]["subject"] != issuer:
            raise BadPair(
                f"{certificate} has its chain out of order: its certificate {number} did not issue the one before it"
            )
        issuer = links[0]["issuer"]
    return found


# ---- the swap ------------------------------------------------------------------------------------------------------


def link(target: str, path: Path) -> None:
    """Make `path` a link, by one rename, whatever it was before."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(path)


def add_generation(directory: Path, certificate: bytes, key: bytes, group: int) -> Path:
    """Write a pair into a new directory of its own, whole or not at all."""
    generations = directory / "generations"
    generations.mkdir(mode=0o750, exist_ok=True)
    os.chown(generations, -1, group)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    beside = Path(tempfile.mkdtemp(prefix=f".{stamp}-", dir=generations))
    beside.chmod(0o750)
    os.chown(beside, -1, group)
    for file, content in (("tls.crt", certificate), ("tls.key", key)):
        descriptor = os.open(beside / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, 0o640)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    place = generations / beside.name.removeprefix(".")
    beside.rename(place)
    return place


def pair_in(directory: Path) -> tuple[bytes, bytes] | None:
    """The pair that readers of the directory get, or nothing."""
    try:
        return (directory / "tls.crt").read_bytes(), (directory / "tls.key").read_bytes()
    except OSError:
        return None


def prune(directory: Path) -> None:
    """Delete generations that nobody can be reading any more, and what an interrupted run left."""
    generations = directory / "generations"
    present = (directory / "current").resolve()
    every = [path for path in generations.iterdir() if path.is_dir()]
    whole = sorted((path for path in every if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime_ns)
    for path in every:
        if path.resolve() != present and path not in whole[-GENERATIONS_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def is_linked(directory: Path) -> bool:
    """Tell whether readers of the directory go through the one link."""
    files = (directory / "tls.crt", directory / "tls.key")
    return all(path.is_symlink() and str(path.readlink()) == f"current/{path.name}" for path in files)


def is_present(directory: Path, pair: tuple[bytes, bytes]) -> bool:
    """Tell whether readers of the directory get this pair."""
    return is_linked(directory) and pair_in(directory) == pair


def swap(settings: Settings, pair: tuple[bytes, bytes]) -> None:
    """Make this pair the one that readers get."""
    directory = settings.directory
    before = pair_in(directory)
    linked = is_linked(directory)
    if before and not linked:
        # Plain files become links to the same content first, so that no reader ever meets one new and one old file.
        point_to(directory, add_generation(directory, *before, settings.group))
        link_files(directory)
    point_to(directory, add_generation(directory, *pair, settings.group))
    if not (before or linked):
        link_files(directory)
    prune(directory)


def point_to(directory: Path, generation: Path) -> None:
    """Make a generation the present one."""
    link(f"generations/{generation.name}", directory / "current")


def link_files(directory: Path) -> None:
    """Let readers of the two files go through the one link."""
    for file in ("tls.crt", "tls.key"):
        link(f"current/{file}", directory / file)


# ---- certbot -------------------------------------------------------------------------------------------------------


def renew_before_minutes(certificate: dict[str, Any]) -> int:
    """How long before its end this certificate is due: a third of its life, half of it where that is short."""
    lifetime = (
        ssl.cert_time_to_seconds(certificate["notAfter"]) - ssl.cert_time_to_seconds(certificate["notBefore"]) + 1
    )
    return max(1, round(lifetime / (2 if lifetime < SHORT_LIVED_SECONDS else 3) / 60))


def tell_certbot(renewal: Path, minutes: int) -> None:
    """Write when the lineage is due into its renewal configuration; older releases know 30 days only."""
    lines = renewal.read_text(encoding="utf-8").splitlines()
    # The option stands above the first section.
    end = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    wanted = f"renew_before_expiry = {minutes} minutes"
    head = [line for line in lines[:end] if not re.match(r"\s*renew_before_expiry\s*=", line)]
    text = "\n".join([wanted, *head, *lines[end:]]) + "\n"
    if lines[0:1] == [wanted] and len(head) == end - 1:
        return
    beside = renewal.with_name(renewal.name + ".new")
    beside.write_text(text, encoding="utf-8")
    shutil.copymode(renewal, beside)
    beside.replace(renewal)


# ---- what can be asked for -----------------------------------------------------------------------------------------


def reload_server(settings: Settings) -> None:
    """Run the command; where it fails, remember that it is still to be done."""
    if not settings.reload_command:
        return
    pending = settings.state / "reload-pending"
    pending.touch()
    program = settings.reload_command[0]
    start = "The new certificate is in place, but the server still has the old one:"
    try:
        done = subprocess.run(
            settings.reload_command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RELOAD_LIMIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        # The server was taken down and its certificate kept. One that comes back reads what is there.
        return
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{start} {program} did not run ({error}).") from error
    if done.returncode != 0:
        said = " ".join(done.stdout.split()).rstrip(".") or "it gives no reason"
        raise Refused(f"{start} {program} ended with {done.returncode} ({said}).")
    pending.unlink(missing_ok=True)


def deploy(settings: Settings, *, reload: bool = True) -> bool:
    """Bring the lineage's pair to the server; tell whether it is another one."""
    certificate, key = settings.lineage / "fullchain.pem", settings.lineage / "privkey.pem"
    if not settings.renewal.exists():
        # Nothing was ordered yet.
        return False
    try:
        pair = certificate.read_bytes(), key.read_bytes()
        changed = not is_present(settings.directory, pair)
        if changed:
            found = check(certificate, key, settings.names)
            tell_certbot(settings.renewal, renew_before_minutes(found))
            swap(settings, pair)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The new certificate is not used and the old one stays: {error}.") from error
    if reload and (changed or (settings.state / "reload-pending").exists()):
        reload_server(settings)
    return changed


def loads(directory: Path) -> bool:
    """Tell whether a server starts with what is there."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / "tls.crt", directory / "tls.key")
    except (ssl.SSLError, OSError):
        return False
    return True


def install(settings: Settings) -> bool:
    """Let a server start before anything was ordered, or after something was broken."""
    try:
        changed = deploy(settings, reload=False)
    except Refused:
        changed = False
    if loads(settings.directory):
        return changed
    with tempfile.TemporaryDirectory(dir=settings.state) as folder:
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        names = ",".join(f"DNS:{name}" for name in settings.names)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"),
                *("-subj", "/CN=placeholder", "-addext", f"subjectAltName={names}"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            stderr=subprocess.DEVNULL,
            check=True,
        )
        swap(settings, (certificate.read_bytes(), key.read_bytes()))
    return True


def leave(settings: Settings) -> bool:
    """Stop renewing, and leave the present pair as plain files to whoever looks after it from now on."""
    directory = settings.directory
    present = pair_in(directory)
    for file, content in zip(("tls.crt", "tls.key"), present or ()):
        path = directory / file
        if path.is_symlink():
            beside = path.with_name(f".{file}.new")
            beside.unlink(missing_ok=True)
            beside.touch(mode=0o640)
            os.chown(beside, -1, settings.group)
            beside.write_bytes(content)
            beside.replace(path)
    (directory / "current").unlink(missing_ok=True)
    shutil.rmtree(directory / "generations", ignore_errors=True)
    # As `certbot delete` does, which refuses a lineage that is damaged.
    settings.renewal.unlink(missing_ok=True)
    for path in (settings.lineage, settings.lineage.parents[1] / "archive" / settings.lineage.name):
        shutil.rmtree(path, ignore_errors=True)
    if settings.drop_in.exists():
        settings.drop_in.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=False)
    shutil.rmtree(settings.state, ignore_errors=True)
    Path(__file__).unlink(missing_ok=True)
    return True


ACTIONS = {"deploy": deploy, "install": install, "leave": leave}


def main() -> int:
    """Do what was asked for, one at a time."""
    settings_file = Path(sys.argv[1])
    action = sys.argv[2] if len(sys.argv) > 2 else "deploy"
    try:
        settings = read_settings(settings_file)
        with settings_file.open(encoding="utf-8") as lock:
            # certbot's timer and a run of the role may come at the same moment.
            fcntl.flock(lock, fcntl.LOCK_EX)
            changed = ACTIONS[action](settings)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    print("changed" if changed else "unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
