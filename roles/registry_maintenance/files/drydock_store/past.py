# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket as it was at a time, by the versions that it keeps. It can be copied from, also into the bucket itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from drydock_store.s3 import Bucket
from drydock_store.store import Item, StoreError, iso


class Past(Bucket):
    """What the versions of a bucket say that it held."""

    past = True

    def __init__(self, at: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._at = at
        self.name = f"{self.name} of {iso(at)}"
        # Which version each object had.
        self._version_ids: dict[str, str] = {}

    def open(self) -> None:
        if not self._call("get_bucket_versioning").get("Status"):
            raise StoreError(f"{self.name} cannot be had: the bucket keeps no versions.")

    def blank(self) -> bool:
        raise StoreError(f"{self.name}: nothing can be written into the past: leave `at` out.")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """What has been does not change any more."""
        yield

    def files(self, under: str, *, foreign: bool = True) -> Iterator[Item]:  # noqa: ARG002
        token: dict[str, str] = {}
        # Versions and markers of a key come page by page, and those of one key may be on two pages.
        found: dict[str, dict[str, Any]] = {}
        while True:
            answer = self._call("list_object_versions", Prefix=f"{self._key(under)}/", **token)
            for entry in [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]:
                at = entry["LastModified"].timestamp()
                # In one second, content counts more than its removal: nothing is lost by too much.
                order = (at, "Size" in entry)
                known = found.get(entry["Key"])
                if at <= self._at and (known is None or order > (known["LastModified"].timestamp(), "Size" in known)):
                    found[entry["Key"]] = entry
            if not answer.get("IsTruncated"):
                break
            token = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer.get("NextVersionIdMarker", "")}
        for key, entry in found.items():
            if "Size" in entry and not key.endswith("/"):
                self._version_ids[key] = entry["VersionId"]
                yield self._item(entry)

    def version_of(self, path: str) -> dict[str, str]:
        return {"VersionId": self._version_ids[self._key(path)]}

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation in ("get_object", "head_object"):
            version = self._version_ids.get(arguments["Key"])
            if version is None:
                raise ClientError({"Error": {"Code": "404"}}, operation)
            arguments["VersionId"] = version
        return super()._call(operation, **arguments)
