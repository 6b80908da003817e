# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage in a bucket of S3.

What goes gets a delete marker, and comes back as a copy of the version below it: no right to destroy a version is needed. In a
bucket without versions, which has to be allowed, it is copied into a folder of ours first.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any, Callable, Optional, TypeVar

from drydock_store.layout import BLOBS, OURS, REPOSITORIES, ROOT
from drydock_store.store import SMALL, Item, Locked, Store, StoreError

try:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as missing:
    raise StoreError("storage.s3 needs the Python library boto3: install it (Debian: python3-boto3).") from missing

LEASE_SECONDS = 600
_RENEW_SECONDS = 120
_BATCH = 500
_CHUNK = 1 << 20
_PART = 8 << 20
_GONE = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
# What makes a request depend on what is there. Python's library knows these of requests that change something since 2024, that of
# Debian 12 does not; S3 reads them from headers.
_CONDITIONS = {"IfMatch": "If-Match", "IfNoneMatch": "If-None-Match"}
_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_BLIND = "is in a store that does not heed {} when it writes, so two runs would not see each other: use one that knows conditional writes."
_BLIND_DELETE = (
    "is in a store that does not heed If-Match when it deletes, so what is pushed at that moment would be lost: enable versioning, or "
    "use one that knows conditional deletes."
)
_PERMISSIONS = {
    "list_objects_v2": "s3:ListBucket",
    "head_object": "s3:GetObject and s3:ListBucket",
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "copy": "s3:GetObjectVersion and s3:PutObject",
    "list_object_versions": "s3:ListBucketVersions",
    "get_bucket_versioning": "s3:GetBucketVersioning",
}

# Where a machine that sleeps has a clock that goes on.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

One = TypeVar("One")
Other = TypeVar("Other")


def _keep_conditions(params: dict[str, Any], model: Any, context: dict[str, Any], **_rest: Any) -> None:
    """Take out conditions that this version of the library would refuse."""
    unknown = [name for name in _CONDITIONS if name in params and name not in model.input_shape.members]
    context["drydock_conditions"] = {_CONDITIONS[name]: params.pop(name) for name in unknown}


def _send_conditions(params: dict[str, Any], context: dict[str, Any], **_rest: Any) -> None:
    """Send them all the same."""
    params["headers"].update(context.get("drydock_conditions", {}))


class Bucket(Store):
    """The objects of a registry with the s3 driver."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        region: str = "",
        endpoint: str = "",
        *,
        path_style_enabled: bool = False,
        unversioned_enabled: bool = False,
        profile: str = "",
        threads: int = 16,
    ) -> None:
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._root = f"{prefix}/{ROOT}/" if prefix else f"{ROOT}/"
        self.shown = f"s3://{bucket}/{self._root.rstrip('/')}"
        self.threads = threads
        # Where S3 itself can copy from one to the other.
        self._place = (endpoint, profile)
        self._unversioned_enabled = unversioned_enabled
        self._versioned = True
        self._batches = 0
        self._page = 1000
        # Until when the lock is ours, by the clock that nobody sets.
        self._held_until = 0.0
        try:
            session = boto3.Session(profile_name=profile) if profile else boto3
            self._client = session.client(
                "s3",
                region_name=region or None,
                endpoint_url=endpoint or None,
                config=Config(
                    max_pool_connections=threads + 2,
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 6},
                    s3={"addressing_style": "path"} if path_style_enabled else None,
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"{self.name} cannot be reached: {error}.") from error
        self._client.meta.events.register("before-parameter-build.s3", _keep_conditions)
        self._client.meta.events.register("before-call.s3", _send_conditions)

    # ----- requests --------------------------------------------------------------------------------------------------

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask S3; a refusal becomes a sentence that names the permission."""
        with self._sentences(operation, arguments):
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **arguments)
            return answer

    @contextmanager
    def _sentences(self, operation: str, arguments: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _GONE | _TAKEN:
                raise
            if code in ("AccessDenied", "403"):
                wanted = "s3:GetObjectVersion" if "VersionId" in arguments else _PERMISSIONS[operation]
                raise StoreError(f"{self.name}: the permission {wanted} is missing: allow it.") from error
            if code == "NoSuchBucket":
                raise StoreError(f"{self.name}: there is no such bucket: is storage.s3.bucket right?") from error
            raise StoreError(f"{self.name}: {operation} was refused: {error}.") from error
        except BotoCoreError as error:
            raise StoreError(f"{self.name} cannot be reached: {error}.") from error

    def _key(self, path: str) -> str:
        return self._root + path

    def _path(self, key: str) -> str:
        return key[len(self._root) :]

    def _together(self, work: Callable[[One], Other], of: Iterable[One]) -> Iterator[Other]:
        """Do something with many, side by side; a few times as many as there are threads wait at most."""
        rest = iter(of)
        with ThreadPoolExecutor(self.threads) as pool:
            running: set[Future[Other]] = {pool.submit(work, one) for one in islice(rest, 4 * self.threads)}
            try:
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    running |= {pool.submit(work, one) for one in islice(rest, len(done))}
                    for one in done:
                        yield one.result()
            finally:
                for one in running:
                    one.cancel()

    def now(self) -> float:
        answer = self._call("list_objects_v2", Prefix=self._root, MaxKeys=1)
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return email.utils.parsedate_to_datetime(said).timestamp() if said else time.time()

    # ----- opening ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        # One of which all has gone has our trash.
        if not {BLOBS, REPOSITORIES, OURS} & set(self.top()):
            raise StoreError(
                f"{self.name} holds no registry's storage: there is nothing in {self.shown}/blobs or /repositories."
            )

    def open_to_change(self) -> None:
        self.open()
        self._versioned = self._call("get_bucket_versioning").get("Status") == "Enabled"
        if not self._versioned and not self._unversioned_enabled:
            raise StoreError(
                f"{self.name} keeps no versions, so nothing could be brought back: enable versioning, or set "
                "storage.s3.unversioned_enabled to true to have a copy of everything made first."
            )
        # All that a run needs is tried before it changes anything.
        key = self._key(f"{OURS}/probe")
        version = self._call("put_object", Key=key, Body=b"").get("VersionId")
        if self._versioned:
            self._call("list_object_versions", Prefix=key, MaxKeys=1)
            self._call("get_object", Key=key, VersionId=version)["Body"].close()
        self._call("delete_object", Key=key)

    @contextmanager
    def lock(self) -> Iterator[None]:
        key = self._key(f"{OURS}/lock")
        etag = self._take(key)
        ended = threading.Event()

        def renew() -> None:
            nonlocal etag
            while not ended.wait(_RENEW_SECONDS):
                # A failure is for `_hold` to find: the lease ends.
                with contextlib.suppress(StoreError, ClientError):
                    etag = self._write_lock(key, IfMatch=etag)

        thread = threading.Thread(target=renew, daemon=True)
        try:
            self._prove_conditions(key)
            thread.start()
            yield
        finally:
            ended.set()
            if thread.ident:
                thread.join()
            # Not one that somebody else has got meanwhile.
            if time.clock_gettime(_CLOCK) <= self._held_until:
                with contextlib.suppress(StoreError, ClientError):
                    self._call("delete_object", Key=key, IfMatch=etag)

    def _write_lock(self, key: str, **condition: str) -> str:
        began = time.clock_gettime(_CLOCK)
        body = {"holder": f"{socket.gethostname()} process {os.getpid()}", "until": self.now() + LEASE_SECONDS}
        answer = self._call("put_object", Key=key, Body=json.dumps(body).encode(), **condition)
        self._held_until = began + LEASE_SECONDS - 60
        return str(answer["ETag"])

    def _prove_conditions(self, key: str) -> None:
        """Raise StoreError where the store takes what has to be refused while the lock is held."""
        nobodys = f'"{"0" * 32}"'
        attempts: list[tuple[Callable[[], object], str]] = [
            (lambda: self._write_lock(key, IfNoneMatch="*"), _BLIND.format("If-None-Match")),
            (lambda: self._write_lock(key, IfMatch=nobodys), _BLIND.format("If-Match")),
        ]
        if not self._versioned:
            attempts.append((lambda: self._call("delete_object", Key=key, IfMatch=nobodys), _BLIND_DELETE))
        for attempt, sentence in attempts:
            with contextlib.suppress(ClientError):
                attempt()
                self._call("delete_object", Key=key)
                raise StoreError(f"{self.name} {sentence}")

    def _take(self, key: str) -> str:
        try:
            return self._write_lock(key, IfNoneMatch="*")
        except ClientError:
            pass
        try:
            answer = self._call("get_object", Key=key)
            found = json.loads(answer["Body"].read())
            if found["until"] <= self.now():
                return self._write_lock(key, IfMatch=answer["ETag"])
        except ClientError as error:
            raise Locked(f"Another run is at work on {self.name}: try again later.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"s3://{self._bucket}/{key} is no lock of ours: remove it.") from error
        minutes = max(1, round((found["until"] - self.now()) / 60))
        raise Locked(
            f"Another run is at work on {self.name} ({found['holder']}): try again later. "
            f"If it was killed, its lock ends in {minutes} minutes."
        )

    def _hold(self) -> None:
        """Raise Locked where the lock was lost meanwhile, since this process slept for too long."""
        if time.clock_gettime(_CLOCK) > self._held_until:
            raise Locked(f"This run was stopped for so long that its lock on {self.name} ended: run it again.")

    # ----- reading ---------------------------------------------------------------------------------------------------

    def top(self) -> list[str]:
        answer = self._call("list_objects_v2", Prefix=self._root, Delimiter="/")
        found = [entry["Prefix"] for entry in answer.get("CommonPrefixes", ())]
        found += [entry["Key"] for entry in answer.get("Contents", ())]
        return [name for name in (self._path(one).rstrip("/") for one in found) if name]

    def files(self, under: str, *, foreign: bool = True) -> Iterator[Item]:  # noqa: ARG002
        # Where a page does not hold all of a folder, the folders in it are listed side by side.
        with ThreadPoolExecutor(self.threads) as pool:
            running = {pool.submit(self._listed, f"{self._key(under)}/", "")}
            try:
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for one in done:
                        items, more = one.result()
                        running |= {pool.submit(self._listed, *of) for of in more}
                        yield from items
            finally:
                for one in running:
                    one.cancel()

    def _listed(self, prefix: str, token: str) -> tuple[list[Item], list[tuple[str, str]]]:
        """Return a page, and which pages to ask for next, each by a prefix and a token."""
        answer = self._call(
            "list_objects_v2", Prefix=prefix, MaxKeys=self._page, **({"ContinuationToken": token} if token else {})
        )
        more: list[tuple[str, str]] = []
        contents = answer.get("Contents", ())
        if answer.get("IsTruncated"):
            if token or not self._splits(prefix):
                more.append((prefix, answer["NextContinuationToken"]))
            else:
                contents, more = self._split(prefix)
        return [self._item(entry) for entry in contents if not entry["Key"].endswith("/")], more

    def _splits(self, prefix: str) -> bool:
        parts = self._path(prefix).rstrip("/").split("/")
        # Below these are so many folders with one object each that pages are fewer.
        return len(parts) < 3 if parts[0] == BLOBS else not parts[-1].startswith("_") and "/_" not in prefix

    def _split(self, prefix: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        contents: list[dict[str, Any]] = []
        more: list[tuple[str, str]] = []
        token: dict[str, str] = {}
        while True:
            answer = self._call("list_objects_v2", Prefix=prefix, MaxKeys=self._page, Delimiter="/", **token)
            contents += answer.get("Contents", ())
            more += [(entry["Prefix"], "") for entry in answer.get("CommonPrefixes", ())]
            if not answer.get("IsTruncated"):
                return contents, more
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def _item(self, entry: dict[str, Any]) -> Item:
        return Item(self._path(entry["Key"]), entry["Size"], _seconds(entry))

    def stat(self, path: str) -> Optional[Item]:
        found = self._head(path)
        return Item(path, found["ContentLength"], _seconds(found)) if found else None

    def _head(self, path: str) -> Optional[dict[str, Any]]:
        try:
            return self._call("head_object", Key=self._key(path))
        except ClientError:
            return None

    def read(self, path: str) -> Optional[bytes]:
        found = self._read(path)
        return found[0] if found else None

    def _read(self, path: str) -> Optional[tuple[bytes, Optional[float]]]:
        """Return an object, of a large one the beginning, and when it had been pushed before it came back from the trash."""
        try:
            answer = self._call("get_object", Key=self._key(path))
        except ClientError:
            return None
        body = answer["Body"]
        with self._sentences("get_object", {}), contextlib.closing(body):
            content = bytes(body.read(SMALL + 1))
            if len(content) <= SMALL:
                # Whether that was all is looked at by who reads on.
                body.read(1)
            return content, _before(answer)

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Optional[bytes]]]:
        yield from self._together(lambda path: (path, self.read(path)), paths)

    def read_links(self, paths: Iterable[str]) -> Iterator[tuple[str, Optional[bytes], Optional[float]]]:
        yield from self._together(lambda path: (path, *(self._read(path) or (None, None))), paths)

    def chunks(self, path: str) -> Iterator[bytes]:
        try:
            body = self._call("get_object", Key=self._key(path))["Body"]
        except ClientError as error:
            raise FileNotFoundError(path) from error
        with self._sentences("get_object", {}), contextlib.closing(body):
            yield from iter(lambda: body.read(_CHUNK), b"")

    # ----- what a copy writes ----------------------------------------------------------------------------------------

    def blank(self) -> bool:
        return not {BLOBS, REPOSITORIES} & set(self.top())

    def open_to_fill(self) -> None:
        # All that a copy needs is tried before it writes anything.
        key = self._key(f"{OURS}/probe")
        self._call("put_object", Key=key, Body=b"")
        self._call("delete_object", Key=key)

    def write(self, path: str, content: bytes, at: float) -> None:
        self._call("put_object", Key=self._key(path), Body=content, Metadata={"written": str(at)})

    def fill(self, path: str, chunks: Iterable[bytes], size: int, at: float) -> None:  # noqa: ARG002
        # S3 takes 10,000 parts at most.
        transfer = TransferConfig(use_threads=False, multipart_chunksize=max(_PART, -(-size // 9000)))
        with self._sentences("put_object", {}):
            self._client.upload_fileobj(_Stream(chunks), self._bucket, self._key(path), Config=transfer)

    def adopt(self, source: Store, path: str) -> bool:
        if not isinstance(source, Bucket) or source._place != self._place:
            return False
        origin = {"Bucket": source._bucket, "Key": source._key(path), **source.version_of(path)}
        try:
            with self._sentences("copy", {}):
                self._client.copy(origin, self._bucket, self._key(path), SourceClient=source._client)
        except ClientError:
            return False
        return True

    def version_of(self, path: str) -> dict[str, str]:  # noqa: ARG002
        """Return which version of an object is meant: the newest."""
        return {}

    def barrier(self) -> None:
        """What S3 has answered is there."""

    def room(self) -> None:
        """A bucket has no end."""

    # ----- the trash -------------------------------------------------------------------------------------------------

    def discard(self, run: str, paths: Iterable[str]) -> None:
        rest = iter(paths)
        while True:
            batch = list(islice(rest, _BATCH))
            if not batch:
                return
            self._hold()
            # What is written first is known to the next run, whenever this one ends.
            self._batches += 1
            self._call(
                "put_object",
                Key=self._key(f"{OURS}/runs/{run}/{self._batches:06}-{time.time_ns()}.json"),
                Body=json.dumps(batch).encode(),
            )
            if self._versioned:
                self._delete([self._key(path) for path in batch])
            else:
                list(self._together(lambda path: self._copy_and_delete(run, path), batch))

    def _delete(self, keys: Sequence[str]) -> None:
        answer = self._call("delete_objects", Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
        for error in answer.get("Errors", ()):
            if error["Code"] == "AccessDenied":
                raise StoreError(
                    f"{self.name}: the permission s3:DeleteObject is missing for {error['Key']}: allow it."
                )
            raise StoreError(
                f"{self.name}: {error['Key']} could not be deleted: {error.get('Message', error['Code'])}."
            )

    def _copy_and_delete(self, run: str, path: str) -> None:
        found = self._head(path)
        if not found:
            return
        written = {"written": str(_pushed(found))}
        self._copy(
            self._key(path), self._key(f"{OURS}/trash/{run}/{path}"), Metadata=written, MetadataDirective="REPLACE"
        )
        # Not what was pushed since.
        with contextlib.suppress(ClientError):
            self._call("delete_object", Key=self._key(path), IfMatch=found["ETag"])

    def _copy(self, source: str, target: str, version: str = "", **arguments: str | dict[str, str]) -> None:
        origin = {"Bucket": self._bucket, "Key": source, **({"VersionId": version} if version else {})}
        with self._sentences("copy", {}):
            # In parts, where an object is too large for one request.
            self._client.copy(origin, self._bucket, target, ExtraArgs=arguments)

    def discard_folder(self, run: str, path: str) -> None:
        found = [item.path for item in self.files(path)]
        last = [one for one in found if one.endswith("/current/link")]
        self.discard(run, set(found) - set(last))
        self.discard(run, last)

    def runs(self) -> list[str]:
        return sorted({item.path.split("/")[2] for item in self.files(f"{OURS}/runs")})

    def discarded(self, run: str) -> Iterator[str]:
        records = (item.path for item in self.files(f"{OURS}/runs/{run}") if item.path.endswith(".json"))
        for _path, content in self.read_many(records):
            yield from json.loads(content or b"[]")

    def look_into_trash(self, run: str, paths: Iterable[str]) -> Iterator[Item]:
        for item in self._together(lambda path: self._in_trash(run, path), paths):
            if item:
                yield item

    def _in_trash(self, run: str, path: str) -> Optional[Item]:
        if self._versioned:
            found = self._version(path)
            return self._item(found) if found else None
        copy = self._head(f"{OURS}/trash/{run}/{path}")
        return Item(path, copy["ContentLength"], _pushed(copy)) if copy else None

    def _version(self, path: str) -> Optional[dict[str, Any]]:
        """Return the newest version that has content."""
        key = self._key(path)
        answer = self._call("list_object_versions", Prefix=key, MaxKeys=100)
        found = [version for version in answer.get("Versions", ()) if version["Key"] == key]
        return max(found, key=lambda version: (version["IsLatest"], version["LastModified"])) if found else None

    def restore(self, run: str, path: str) -> bool:
        if self._head(path):
            return False
        source = {"Key": self._key(f"{OURS}/trash/{run}/{path}")}
        if self._versioned:
            version = self._version(path)
            if not version:
                return False
            source = {"Key": version["Key"], "VersionId": version["VersionId"]}
        try:
            if path.startswith(f"{BLOBS}/"):
                self._copy(source["Key"], self._key(path), source.get("VersionId", ""))
            else:
                # A link: never over one that was pushed meanwhile.
                # It says itself when it was pushed: a tag would look like the newest one.
                answer = self._call("get_object", **source)
                written = {"written": str(_pushed(answer))}
                self._call(
                    "put_object", Key=self._key(path), Body=answer["Body"].read(), Metadata=written, IfNoneMatch="*"
                )
        except ClientError:
            return False
        return True

    def settle(self, run: str) -> None:
        self._call("put_object", Key=self._key(f"{OURS}/runs/{run}/settled"), Body=b"")

    def settled(self, run: str) -> bool:
        return self._head(f"{OURS}/runs/{run}/settled") is not None

    def trash_size(self) -> Optional[int]:
        size = sum(item.size for item in self.files(f"{OURS}/trash"))
        # Else it is old versions, and how large each is would be a request of its own.
        return size if size or not self.runs() else None

    def forget(self, run: str) -> tuple[int, int]:
        files = size = 0
        for folder in (f"{OURS}/trash/{run}", f"{OURS}/runs/{run}"):
            keys = []
            for item in self.files(folder):
                keys.append(self._key(item.path))
                if folder.startswith(f"{OURS}/trash"):
                    files, size = files + 1, size + item.size
            while keys:
                self._delete(keys[:_BATCH])
                keys = keys[_BATCH:]
        return files, size

    def tidy(self, before: float) -> None:
        """A bucket has no folders."""


class _Stream:
    """Chunks, read as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, count: int = -1) -> bytes:
        while count < 0 or len(self._rest) < count:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        end = len(self._rest) if count < 0 else count
        found, self._rest = self._rest[:end], self._rest[end:]
        return found


def _seconds(entry: dict[str, Any]) -> float:
    # Some answers have fractions, others none.
    return float(int(entry["LastModified"].timestamp()))


def _before(entry: dict[str, Any]) -> Optional[float]:
    """Return when an object had been pushed that a run has copied, or an undo."""
    with contextlib.suppress(KeyError, ValueError):
        return float(entry["Metadata"]["written"])
    return None


def _pushed(entry: dict[str, Any]) -> float:
    before = _before(entry)
    return _seconds(entry) if before is None else before


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
