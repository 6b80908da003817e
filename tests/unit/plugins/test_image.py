# SPDX-License-Identifier: GPL-3.0-or-later
"""How an image gets to a host: each provider on each kind of host, dry runs, and runs that stop at each step."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._image import (
    Archive,
    Found,
    ImageProblem,
    Question,
    Result,
    Wanted,
    ensure,
    found_from,
    is_passing,
    known_answer,
    read_archive,
)

REFERENCE = "docker.io/library/registry:3"
ARCHIVE = Archive("registry.example/registry:3", ["sha256:archived"])
BUILT = "drydock/registry:2.8.2-0123456789ab"
OUTDATED = "drydock/registry:2.8.1-ba9876543210"
NO_PLAN = "apt-get cannot install docker-registry from this host's sources: E: Unable to locate package"
NO_APT = "This host has no apt-get, so no image can be built from Debian packages here."


class Interrupted(Exception):
    """The run ends here."""


@dataclass
class FakeHost:
    """A host with a Docker that has some images, by name their ids. It keeps what was done, and may be stopped before or after it."""

    images: dict[str, str] = field(default_factory=dict)
    reach: bool = False
    apt: bool = True
    lists: bool = True
    docker: bool = True
    complaint: str = "no route to host"
    # Of the images that were built here, why.
    because: str = ""
    done: list[str] = field(default_factory=list)
    stop: tuple[int, str] = (0, "")

    def look(self, question: Question) -> Found:
        self.step("look")
        answer: dict[str, object] = {"apt": self.apt}
        if not self.docker:
            answer.update(answers=False, error="Cannot connect to the Docker daemon")
        found = (
            question.reference
            if self.images.get(question.reference, "") in (question.ids or self.images.values())
            else ""
        )
        if not found and question.plan != "never":
            built_here = any(name.startswith("drydock/registry:") for name in self.images)
            answer["because"] = self.because if built_here else ""
            if question.plan == "always" or built_here:
                plan = BUILT if self.lists else "drydock/registry:not-known-yet"
                problem = NO_APT if not self.apt else "" if self.lists else NO_PLAN
                answer.update(planned=plan if self.apt else "", problem=problem)
                found = plan if plan in self.images else ""
        if question.registry:
            answer["in_registry"] = self.reach
        if found:
            answer.update(reference=found, id=self.images[found], version_output="registry v3")
        if found == BUILT:
            answer["because"] = self.because
        self.end()
        return replace(Found(), **answer)  # type: ignore[arg-type]

    def pull(self, reference: str) -> str:
        self.step("pull")
        if self.reach:
            self.images[reference] = "sha256:pulled"
        self.end()
        return "" if self.reach else self.complaint

    def load(self) -> None:
        self.step("load")
        self.images[ARCHIVE.reference] = ARCHIVE.ids[0]
        self.end()

    def build(self, because: str) -> str:
        self.step("build")
        if not self.lists:
            raise ImageProblem(NO_PLAN)
        self.images[BUILT], self.because = "sha256:built", because
        self.end()
        return BUILT

    def step(self, name: str) -> None:
        self.done.append(name)
        if self.stop == (len(self.done), "before"):
            raise Interrupted

    def end(self) -> None:
        if self.stop == (len(self.done), "after"):
            raise Interrupted


def wanted(provider: str, *, dry_run: bool = False) -> Wanted:
    return Wanted(
        name="registry",
        variable="registry_server_image",
        provider=provider,
        reference=REFERENCE,
        host="web1",
        archive=ARCHIVE if provider == "archive" else None,
        dry_run=dry_run,
    )


# What community.docker says of any failure of the engine's.
CLIENT = "Error pulling image registry:3 - 500 Server Error for http+docker://localhost/v1.45/images/create?tag=3: Internal Server Error"
LIMIT = "toomanyrequests: You have reached your pull rate limit"
FOR_A_LIMIT = f"{REFERENCE} cannot be pulled ({LIMIT})"
FOR_GOOD = f"{REFERENCE} cannot be pulled (no route to host)"
HAS_REFERENCE = {REFERENCE: "sha256:here"}
HAS_ARCHIVED = {ARCHIVE.reference: "sha256:archived"}
HAS_ANOTHER = {ARCHIVE.reference: "sha256:another"}

# provider, host, what is done, the image, its id, and how the host got it
RUNS = [
    ("pull", FakeHost(images=HAS_REFERENCE), "look", REFERENCE, "sha256:here", "kept"),
    ("pull", FakeHost(reach=True), "look pull look", REFERENCE, "sha256:pulled", "pulled"),
    ("archive", FakeHost(images=HAS_ARCHIVED), "look", ARCHIVE.reference, "sha256:archived", "kept"),
    ("archive", FakeHost(images=HAS_ANOTHER), "look load look", ARCHIVE.reference, "sha256:archived", "loaded"),
    ("archive", FakeHost(apt=False), "look load look", ARCHIVE.reference, "sha256:archived", "loaded"),
    ("debian", FakeHost(images={BUILT: "sha256:here"}), "look", BUILT, "sha256:here", "kept"),
    ("debian", FakeHost(), "look build look", BUILT, "sha256:built", "built"),
    ("debian", FakeHost(images={OUTDATED: "sha256:old"}), "look build look", BUILT, "sha256:built", "built"),
    # What the host has wins over what it could pull or build.
    ("auto", FakeHost(images=HAS_REFERENCE, reach=True), "look", REFERENCE, "sha256:here", "kept"),
    ("auto", FakeHost(images=HAS_REFERENCE | {OUTDATED: "sha256:old"}), "look", REFERENCE, "sha256:here", "kept"),
    # What was built once is kept and built anew, and never pulled.
    ("auto", FakeHost(images={BUILT: "sha256:here"}, reach=True), "look", BUILT, "sha256:here", "kept"),
    ("auto", FakeHost(images={OUTDATED: "x"}, reach=True), "look build look", BUILT, "sha256:built", "built"),
    ("auto", FakeHost(reach=True), "look pull look", REFERENCE, "sha256:pulled", "pulled"),
    ("auto", FakeHost(), "look pull look build look", BUILT, "sha256:built", "built"),
    # A pull that failed for a reason that lasts decides for good, as does one that nobody knows of; a limit does not.
    ("auto", FakeHost(images={BUILT: "x"}, reach=True, because=FOR_GOOD), "look", BUILT, "x", "kept"),
    (
        "auto",
        FakeHost(images={BUILT: "x"}, reach=True, because=FOR_A_LIMIT),
        "look pull look",
        REFERENCE,
        "sha256:pulled",
        "pulled",
    ),
    (
        "auto",
        FakeHost(images={OUTDATED: "x"}, reach=True, because=FOR_A_LIMIT),
        "look pull look",
        REFERENCE,
        "sha256:pulled",
        "pulled",
    ),
]


@pytest.mark.parametrize(("provider", "host", "done", "reference", "image_id", "source"), RUNS)
def test_a_run_takes_what_is_there_or_fetches_it(
    provider: str, host: FakeHost, done: str, reference: str, image_id: str, source: str
) -> None:
    host = replace(host, images=dict(host.images), done=[])
    result = ensure(wanted(provider), host)
    because = host.because if reference == BUILT else ""
    assert result == Result(reference, image_id, "registry v3", source, changed=source != "kept", because=because)
    assert host.done == done.split()

    # Another run asks once and changes nothing.
    host.done.clear()
    assert ensure(wanted(provider), host) == replace(result, source="kept", changed=False)
    assert host.done == ["look"]


@pytest.mark.parametrize(("provider", "host", "done", "reference", "image_id", "source"), RUNS)
def test_an_interrupted_run_is_completed_by_the_next(
    provider: str, host: FakeHost, done: str, reference: str, image_id: str, source: str
) -> None:
    for number in range(1, len(done.split()) + 1):
        for moment in ("before", "after"):
            stopped = replace(host, images=dict(host.images), done=[], stop=(number, moment))
            with pytest.raises(Interrupted):
                ensure(wanted(provider), stopped)
            assert len(stopped.done) == number

            next_run = replace(stopped, done=[], stop=(0, ""))
            result = ensure(wanted(provider), next_run)
            assert (result.reference, result.id, result.version_output) == (reference, image_id, "registry v3")
            assert result.source in (source, "kept")


@pytest.mark.parametrize(
    ("provider", "host", "reference", "source"),
    [
        ("pull", FakeHost(), REFERENCE, "pulled"),
        ("pull", FakeHost(docker=False), REFERENCE, "pulled"),
        ("archive", FakeHost(), ARCHIVE.reference, "loaded"),
        ("archive", FakeHost(docker=False), ARCHIVE.reference, "loaded"),
        ("debian", FakeHost(), BUILT, "built"),
        ("debian", FakeHost(lists=False, docker=False), "drydock/registry:not-known-yet", "built"),
        ("auto", FakeHost(reach=True), REFERENCE, "pulled"),
        ("auto", FakeHost(), BUILT, "built"),
        ("auto", FakeHost(images={OUTDATED: "x"}, reach=True), BUILT, "built"),
        ("auto", FakeHost(images={BUILT: "x"}, reach=True, because=FOR_A_LIMIT), REFERENCE, "pulled"),
        (
            "auto",
            FakeHost(lists=False, docker=False),
            f"{REFERENCE}, or drydock/registry:not-known-yet where it cannot be pulled",
            "pulled or built",
        ),
        ("auto", FakeHost(apt=False, docker=False), REFERENCE, "pulled"),
    ],
)
def test_a_dry_run_says_what_a_run_would_take(provider: str, host: FakeHost, reference: str, source: str) -> None:
    before = dict(host.images)
    result = ensure(wanted(provider, dry_run=True), host)
    assert replace(result, because="") == Result(reference, "", "", source, changed=True)
    assert set(host.done) == {"look"}
    assert host.images == before


@pytest.mark.parametrize(
    ("provider", "host"),
    [
        ("pull", FakeHost(images=HAS_REFERENCE)),
        ("archive", FakeHost(images=HAS_ARCHIVED)),
        ("debian", FakeHost(images={BUILT: "sha256:here"})),
        ("auto", FakeHost(images={BUILT: "sha256:here"})),
        ("auto", FakeHost(images={BUILT: "sha256:here"}, because=FOR_A_LIMIT)),
    ],
)
def test_a_dry_run_keeps_what_is_there(provider: str, host: FakeHost) -> None:
    result = ensure(wanted(provider, dry_run=True), host)
    assert (result.source, result.changed, result.version_output) == ("kept", False, "registry v3")


def test_a_pull_that_fails_for_a_while_is_tried_again_by_each_run() -> None:
    host = FakeHost(complaint=f'{CLIENT} ("{LIMIT}")')
    built = ensure(wanted("auto"), host)
    assert (built.source, built.because) == ("built", FOR_A_LIMIT)
    host.done.clear()

    assert ensure(wanted("auto"), host) == replace(built, source="kept", changed=False)
    assert host.done == ["look", "pull"]

    host.reach = True
    assert ensure(wanted("auto"), host).reference == REFERENCE


def test_a_pull_that_fails_for_good_decides_and_says_why() -> None:
    host = FakeHost(complaint=f'{CLIENT} ("no route to host")')
    built = ensure(wanted("auto"), host)
    assert (built.source, built.because) == ("built", FOR_GOOD)
    host.done.clear()
    host.reach = True
    assert ensure(wanted("auto"), host) == replace(built, source="kept", changed=False)
    assert host.done == ["look"]


@pytest.mark.parametrize(
    ("complaint", "passes"),
    [
        (LIMIT, True),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ("net/http: TLS handshake timeout", True),
        ("dial tcp 192.0.2.1:443: i/o timeout", True),
        ("context deadline exceeded", True),
        ("lookup registry-1.docker.io on 192.0.2.53:53: server misbehaving", True),
        ("read tcp 192.0.2.1:443: read: connection reset by peer", True),
        ("lookup registry-1.docker.io on 192.0.2.53:53: no such host", False),
        ("manifest for registry:3 not found: manifest unknown", False),
        ("pull access denied for registry, repository does not exist or may require 'docker login'", False),
        ("dial tcp 192.0.2.1:5000: connect: connection refused", False),
    ],
)
def test_what_passes_by_itself(complaint: str, passes: bool) -> None:
    assert is_passing(f"{REFERENCE} cannot be pulled ({complaint})") is passes


@pytest.mark.parametrize(
    ("provider", "host", "sentence"),
    [
        (
            "pull",
            FakeHost(),
            (
                f"registry_server_image_reference: web1 cannot pull {REFERENCE} (no route to host); correct the name or the network, or "
                "set registry_server_image_provider to `archive` (a tar file) or `debian` (built on the host)."
            ),
        ),
        (
            "auto",
            FakeHost(apt=False),
            (
                f"registry_server_image_reference: web1 cannot pull {REFERENCE} (no route to host) and has no apt to build it with; "
                "correct the name or the network, or set registry_server_image_provider to `archive` and "
                "registry_server_image_archive to a tar file."
            ),
        ),
        ("debian", FakeHost(lists=False), NO_PLAN),
        ("debian", FakeHost(apt=False), NO_APT),
        *(
            (
                provider,
                FakeHost(docker=False),
                (
                    "Docker does not answer on web1 (Cannot connect to the Docker daemon); run the role drydock.registry.docker_engine "
                    "on it first, or start Docker."
                ),
            )
            for provider in ("auto", "pull", "archive", "debian")
        ),
    ],
)
def test_what_cannot_be_had_is_one_sentence(provider: str, host: FakeHost, sentence: str) -> None:
    with pytest.raises(ImageProblem) as problem:
        ensure(wanted(provider), host)
    assert str(problem.value) == sentence
    assert host.images == {}


def test_without_apt_a_dry_run_refuses_to_build() -> None:
    with pytest.raises(ImageProblem, match="no apt-get"):
        ensure(wanted("debian", dry_run=True), FakeHost(apt=False))


def tar_file(path: Path, members: dict[str, object]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize(
    ("members", "ids"),
    [
        (
            {"manifest.json": [{"Config": "aa.json", "RepoTags": ["web:1"], "Layers": []}]},
            ["sha256:aa"],
        ),
        (
            {
                "index.json": {"manifests": [{"digest": "sha256:bb"}]},
                "manifest.json": [{"Config": "blobs/sha256/aa", "RepoTags": ["web:1", "web:2"], "Layers": []}],
            },
            ["sha256:aa", "sha256:bb"],
        ),
    ],
)
def test_an_archive_says_which_image_it_holds(tmp_path: Path, members: dict[str, object], ids: list[str]) -> None:
    assert read_archive(tar_file(tmp_path / "image.tar", members), "x") == Archive("web:1", ids)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({}, "is not an archive of images"),
        ({"manifest.json": []}, "is not an archive of images"),
        ({"manifest.json": b"{"}, "is not an archive of images"),
        ({"manifest.json": [{"Config": "aa.json", "RepoTags": None}]}, "has no name"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, members: dict[str, object], sentence: str) -> None:
    with pytest.raises(ImageProblem, match=sentence) as problem:
        read_archive(tar_file(tmp_path / "image.tar", members), "web_image")
    assert str(problem.value).startswith("web_image_archive: ")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_text("not a tar file", encoding="utf-8")
    with pytest.raises(ImageProblem, match="is not an archive of images"):
        read_archive(str(tmp_path / "image.tar"), "web_image")


ASKED: dict[str, object] = {
    "name": "registry",
    "provider": "debian",
    "reference": "",
    "debian": None,
    "version_command": [],
}
KNOWN = {"asked": ASKED, "found": Found(reference=BUILT, id="sha256:1").__dict__}


def test_what_a_look_has_seen_counts() -> None:
    assert known_answer(KNOWN, ASKED) == Found(reference=BUILT, id="sha256:1")


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ({}, ASKED),
        (KNOWN, {**ASKED, "provider": "auto"}),
        (KNOWN, {**ASKED, "version_command": ["registry", "--version"]}),
        ({**KNOWN, "found": Found(planned=BUILT).__dict__}, ASKED),
        ({**KNOWN, "found": Found(reference=BUILT, because="toomanyrequests").__dict__}, ASKED),
    ],
)
def test_what_is_not_known_is_asked(known: dict[str, object], asked: dict[str, object]) -> None:
    assert known_answer(known, asked) is None


def test_the_answer_of_the_host_is_read() -> None:
    answer = {**Found(reference="web:1", id="x").__dict__, "changed": False, "invocation": {}}
    assert found_from(answer) == Found(reference="web:1", id="x")
