# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry goes on writing while a run takes things away: nothing that was answered 201 is ever lost.

Each request is stopped after each of its steps, at each place between two steps of the run where that can matter, and goes on either
before the second look or after the run. A request may be refused, then the client repeats it.
"""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from drydock_store.layout import ROOT, layer_path, tag_path
from drydock_store.store import Store

from tests.unit.store.model import Driver, Files, Objects, Refused, Registry, Steps, digest_of, done, image, index, push
from tests.unit.store.places import DAY, Place, bucket, folder

CONFIG, KEPT, OLD, ALONE = b"{}", b"kept", b"old garbage", b"blob without a link"
# A manifest that lies there without a link, as its layer does.
GONE = image(ALONE, config=b"gone")
GOING = image(b"going")


def prepare(place: Place) -> None:
    """Make what each run finds: an image that stays, garbage with a link, garbage without one, and a tag that goes."""
    registry = place.registry
    push(registry, "app", "kept", KEPT)
    push(registry, "lib", "kept", b"other")
    done(registry.upload("app", OLD))
    push(registry, "app", "gone", ALONE, config=b"gone")
    push(registry, "app", "going", b"going")
    place.driver.age(30 * DAY)
    done(registry.delete_manifest("app", digest_of(GONE)))
    for content in (ALONE, b"gone"):
        place.driver.delete(layer_path("app", digest_of(content)))


class Request:
    """A request of a client, and what has to be there once it was answered 201."""

    def __init__(self, steps: Callable[[Registry], Steps], there: str = "", gone: str = "") -> None:
        self.steps = steps
        self.there = there
        self.gone = gone


def mounted(registry: Registry) -> Steps:
    try:
        yield from registry.mount("lib", "app", digest_of(OLD))
    except Refused:
        # Then it is the beginning of an upload.
        yield from registry.upload("lib", OLD)
    yield from registry.push("lib", [CONFIG], image(OLD), "new")


def uploaded(registry: Registry) -> Steps:
    yield from registry.upload("app", OLD)
    yield from registry.push("app", [CONFIG], image(OLD), "new")


def indexed(registry: Registry) -> Steps:
    yield from registry.push("app", [CONFIG, OLD], image(OLD))
    yield from registry.put_manifest("app", index(image(OLD), image(KEPT)), "new")


def above(registry: Registry) -> Steps:
    yield from registry.push("app", [CONFIG, b"going"], GOING)
    yield from registry.put_manifest("app", index(GOING), "new")


COLLECT = {
    "push with a layer that is old garbage": Request(
        lambda r: r.push("app", [CONFIG, OLD], image(OLD), "new"), "app new"
    ),
    "upload again, push": Request(uploaded, "app new"),
    "mount, push": Request(mounted, "lib new"),
    "push what lies there without a link": Request(lambda r: r.push("app", [b"gone", ALONE], GONE, "new"), "app new"),
    "the same, by digest": Request(lambda r: r.push("app", [b"gone", ALONE], GONE), f"app {digest_of(GONE)}"),
    "the same, to another repository": Request(lambda r: r.push("lib", [b"gone", ALONE], GONE, "new"), "lib new"),
    "push an index": Request(indexed, "app new"),
    "DELETE a tag": Request(lambda r: r.delete_tag("app", "going"), gone="app going"),
    "DELETE by digest": Request(lambda r: r.delete_manifest("app", digest_of(GOING)), gone="app going"),
}
RETENTION = {
    "the tag again": Request(lambda r: r.push("app", [CONFIG, b"going"], GOING, "going"), "app going"),
    "the tag with another image": Request(lambda r: r.push("app", [CONFIG, KEPT], image(KEPT), "going"), "app going"),
    "another tag of the image": Request(lambda r: r.push("app", [CONFIG, b"going"], GOING, "new"), "app new"),
    "an index of the image": Request(above, "app new"),
    "DELETE the tag": Request(lambda r: r.delete_tag("app", "going"), gone="app going"),
    "DELETE by digest": Request(lambda r: r.delete_manifest("app", digest_of(GOING)), gone="app going"),
}
RULES = [{"repositories": ["app"], "tags": ["going"], "keep_pushed_within_days": 7}]


class Stops:
    """Calls back before each step of a run that changes something, and before its second look."""

    def __init__(self, store: Store, reached: Callable[[int], None]) -> None:
        self.count = 0
        self.store = store
        self._reached = reached
        discard, discard_folder = store.discard, store.discard_folder

        def one_by_one(run: str, paths: Iterable[str]) -> None:
            for path in paths:
                self.stop()
                discard(run, [path])

        def folders(run: str, path: str) -> None:
            self.stop()
            discard_folder(run, path)

        store.discard = one_by_one  # type: ignore[method-assign]
        store.discard_folder = folders  # type: ignore[method-assign]

    def stop(self, _seconds: float = 0) -> None:
        """Let something else happen."""
        self._reached(self.count)
        self.count += 1


def run(place: Place, command: str, reached: Callable[[int], None]) -> int:
    """Run a command; returns the number of its last stop, which is the one before the second look."""
    stops = Stops(place.store(), reached)
    if command == "collect":
        result, _ = place.collect(store=stops.store, pause=stops.stop)
        assert not result["undone"], result
    else:
        place.retention(store=stops.store, pause=stops.stop)
    return stops.count - 1


def lost(place: Place, command: str, request: Request, at: int, count: int, last: int) -> str:
    """Stop a request in the middle of a run, let it go on before the second look or, where there is none, afterwards."""
    registry = place.registry
    steps = request.steps(registry)
    refused = False

    def go_on(count_of_steps: int) -> None:
        nonlocal refused
        try:
            for _ in zip(range(count_of_steps), steps):
                pass
        except Refused:
            refused = True

    def reached(number: int) -> None:
        if number == at:
            go_on(count)
        if number == last:
            go_on(ALL)

    run(place, command, reached)
    if last < 0 or at > last:
        go_on(ALL)
    if last < 0:
        # What a registry wrote after the second look is for the next run to see.
        place.collect()
    if refused and request.there:
        # A client that was refused repeats it.
        try:
            done(request.steps(registry))
        except Refused as error:
            return f"refused for good: {error}"
    expected = ["app kept", "lib kept", *([request.there] if request.there else [])]
    found = [registry.missing(*image_of.split(" ")) for image_of in expected]
    if request.gone and place.driver.get(tag_path(*request.gone.split(" "))) is not None:
        found.append(f"{request.gone} came back")
    return ", ".join(filter(None, found))


ALL = 10_000


@pytest.mark.parametrize("renames", [False, True], ids=["2.8", "3.x"])
@pytest.mark.parametrize("command", ["collect", "retention"])
def test_nothing_is_lost_in_a_folder(fast: Path, command: str, renames: bool) -> None:
    template = folder(fast / "template", renames=renames, retention=RULES)
    prepare(template)
    problems = []
    tried = 0
    for name, request in (COLLECT if command == "collect" else RETENTION).items():
        length = sum(1 for _ in request.steps(again(template, fast).registry)) + 1
        last = run(again(template, fast), command, lambda _: None)
        # A part of the table on each kind of registry, which differ in few steps: all of it takes a minute.
        for at, count, late in itertools.product(range(last + 1), range(1, length + 1), (False, True)):
            if (at + count + 2 * late + 2 * renames) % 4:
                continue
            problem = lost(again(template, fast), command, request, at, count, -1 if late else last)
            tried += 1
            if problem:
                when = "after the run" if late else "before the second look"
                problems.append(f"{name}, {count} steps at stop {at} of {last}, the rest {when}: {problem}")
    assert problems == []
    assert tried > 80


# Where a request has looked and not yet written, before links go (0), before blobs go (1) and before the second look (4).
CRITICAL = [
    ("push with a layer that is old garbage", "uploaded", 0, False),
    ("push with a layer that is old garbage", "verified", 0, True),
    ("mount, push", "looked", 0, False),
    ("upload again, push", "looked for the blob", 0, False),
    ("push what lies there without a link", "looked for the blob", 1, False),
    ("push what lies there without a link", "linked", 2, True),
    ("push what lies there without a link", "looked for the manifest", 3, True),
    ("the same, by digest", "looked for the manifest", 1, False),
    ("DELETE by digest", "looked", 0, False),
    # Before the image goes, before its tag goes (1) and before the second look (2).
    ("the tag again", "verified", 0, True),
    ("the tag with another image", "noted", 1, False),
    ("another tag of the image", "linked", 0, False),
    ("an index of the image", "link of a platform read", 0, True),
]


@pytest.mark.parametrize(("name", "label", "at", "late"), CRITICAL)
@pytest.mark.usefixtures("aws")
def test_nothing_is_lost_in_a_bucket(tmp_path: Path, name: str, label: str, at: int, late: bool) -> None:
    command, last = ("collect", 4) if name in COLLECT else ("retention", 2)
    request = COLLECT[name] if name in COLLECT else RETENTION[name]
    place = bucket(tmp_path, retention=RULES)
    prepare(place)
    waited(place)
    count = 1 + list(request.steps(Registry(Dry(place.driver)))).index(label)
    assert lost(place, command, request, at, count, -1 if late else last) == ""


class Dry(Objects):
    """Reads a bucket, and writes nothing."""

    def __init__(self, of: Driver) -> None:
        self.__dict__.update(of.__dict__)
        self.written: dict[str, bytes] = {}

    def get(self, path: str) -> bytes | None:
        return self.written.get(path) or super().get(path)

    def put(self, path: str, content: bytes) -> Steps:
        yield "about to put"
        self.written[path] = content

    def exists(self, path: str) -> bool:
        return path in self.written or super().exists(path)

    def move(self, source: str, target: str) -> Steps:
        yield "copied"
        self.written[target] = self.written.pop(source)

    def delete(self, path: str) -> bool:
        return bool(path)


def again(template: Place, directory: Path) -> Place:
    """Return a fresh copy."""
    target = directory / "copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(directory / "template", target)
    text = json.dumps(template.document).replace(f"{directory}/template", f"{directory}/copy")
    driver = copy.copy(template.driver)
    assert isinstance(driver, Files)
    driver.folder, driver.root = target / "images", target / "images" / ROOT
    place = Place(driver, json.loads(text))
    waited(place)
    return place


def waited(place: Place) -> None:
    """Have it that what has no link was seen so long ago."""
    memory = place.memory()
    memory.unreferenced = dict.fromkeys(map(digest_of, (ALONE, b"gone", GONE)), 0.0)
    memory.keep_seen()
